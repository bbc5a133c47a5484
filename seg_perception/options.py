"""Options of the command line: numbers that are checked where they are read, and options that fit beside each other."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Iterable, Mapping

from seg_perception.errors import SegPerceptionError

_LARGEST, _LARGEST_WHOLE = 1e9, 2**31 - 1
"""Where an option has no limit of its own: more is a slip, and seconds as nanoseconds or a thread's number would overflow."""


def whole(option: str, least: int, most: int | None = None) -> Callable[[str], int]:
    """What reads a whole number within limits; raises SegPerceptionError naming the option, the value and the limits."""

    def read(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            value = None  # type: ignore[assignment]
        if value is None or value < least or (most is not None and value > most):
            wanted = f"at least {least}" if most is None else f"from {least} to {most}"
            raise SegPerceptionError(f"{option} is {text}: give a whole number, {wanted}")
        if value > _LARGEST_WHOLE:
            raise SegPerceptionError(f"{option} is {text}: give a whole number, at most {_LARGEST_WHOLE}")
        return value

    return read


def number(
    option: str,
    *,
    least: float = -math.inf,
    most: float = math.inf,
    above: float | None = None,
    infinite: bool = False,
) -> Callable[[str], float]:
    """What reads a number of at least `least`, at most `most` and more than `above`, finite unless `infinite`; raises as
    whole."""

    def read(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not least <= value <= most or (above is not None and value <= above) or (math.isinf(value) and not infinite):
            if most < math.inf:
                raise SegPerceptionError(f"{option} is {text}: give a number from {least:g} to {most:g}")
            limit = f", at least {least:g}" if least > -math.inf else "" if above is None else f", more than {above:g}"
            raise SegPerceptionError(f"{option} is {text}: give a number{limit}")
        if abs(value) > _LARGEST and not math.isinf(value):
            raise SegPerceptionError(f"{option} is {text}: give a number, at most {_LARGEST:g}")
        return value

    return read


def rate(option: str) -> Callable[[str], float]:
    """What reads frames a second, or how many times as fast, as number: as slow as time lapses and as fast as any camera."""
    return number(option, least=0.001, most=1000.0)


def given(arguments: argparse.Namespace, add_arguments: Callable[[argparse.ArgumentParser], None]) -> Mapping[str, str]:
    """The options that arguments hold with another value than their default, by destination; add_arguments: what declared
    them."""
    parser = argparse.ArgumentParser(add_help=False)
    add_arguments(parser)
    return {
        action.dest: action.option_strings[-1]
        for action in parser._actions
        if action.option_strings and getattr(arguments, action.dest, action.default) != action.default
    }


def refuse(options: Mapping[str, str], names: Iterable[str], why: str) -> None:
    """Raise SegPerceptionError where one of these options, by destination, is among those given; why: ends the sentence
    `--stride and --topic are …`, or `--stride is …`."""
    found = [options[name] for name in names if name in options]
    if found:
        listed = " and ".join([", ".join(found[:-1]), found[-1]] if len(found) > 1 else found)
        raise SegPerceptionError(f"{listed} {'are' if len(found) > 1 else 'is'} {why}")
