"""Limits that a run must keep, as --fail-if says them: "miou<-0.01", "age_ms.p95>100"."""

from __future__ import annotations

import argparse
import re
from collections.abc import Mapping
from dataclasses import dataclass

from seg_perception.errors import SegPerceptionError, nearest_name

_WORDS = re.compile(r"\s*(.*[^<>\s]|.*\S(?=\s))\s*([<>])\s*([+-]?)(\d+\.?\d*(?:[eE][+-]?\d+)?|\.\d+)\s*")

"""A class may be called by any words, so the last < or > counts; before it may stand spaces alone where a name ends so."""
_LIMIT_WITHIN = re.compile(r"[<>]\s*[+-]?\.?\d[\d.]*$")


@dataclass(frozen=True)
class Limit:
    """A condition under which a run fails: the number `key` of its report lies strictly below or above value.

    of_difference: the number is what the run's differs by from the baseline's; else it is the run's own.
    """

    text: str
    key: str
    above: bool
    value: float
    of_difference: bool

    @staticmethod
    def parse(text: str) -> Limit:
        """A value with a sign, "miou<-0.01" or "age_ms.p95>+5", limits the difference to the baseline; one without,
        "age_ms.p95>100", the run itself.

        Raises SegPerceptionError when the words are none of these.
        """
        found = _WORDS.fullmatch(text)
        if not found or _LIMIT_WITHIN.search(found[1]):
            raise SegPerceptionError(
                f"--fail-if is '{text}': write KEY<NUMBER or KEY>NUMBER in quotes, for example \"miou<-0.01\""
            )
        key, side, sign, number = found.groups()
        return Limit(text.strip(), key, side == ">", float(sign + number), bool(sign))

    def check_key(self, numbers: Mapping[str, float | None], whose: str) -> None:
        """Raises SegPerceptionError when the flat numbers of a report do not hold the key."""
        if numbers.get(self.key) is None:
            problem = "has no value there" if self.key in numbers else "has no such number"
            known = [key for key, value in numbers.items() if value is not None]
            raise SegPerceptionError(
                f"--fail-if names '{self.key}', but {whose} {problem}: {nearest_name(self.key, known)}"
            )

    def is_broken(self, number: float) -> bool:
        """Whether the number lies beyond the limit."""
        return number > self.value if self.above else number < self.value


def add_limits_argument(parser: argparse.ArgumentParser) -> None:
    """--fail-if, which may repeat."""
    parser.add_argument(
        "--fail-if",
        action="append",
        default=[],
        metavar="LIMIT",
        help='exit with 3 when a limit is broken; a number with a sign, as in "miou<-0.01", limits the difference to the '
        'baseline, one without, as in "age_ms.p95>100", the run itself; may repeat',
    )
