"""The one kind of error that a person at the robot is meant to read, and the help it gives with names."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

EXIT_ERROR = 2
"""A problem that was named; nothing was done, or not all."""
EXIT_HUNG = 4
"""Of the node: something in it waits for ever, a driver's call as a rule, and only a new process helps."""
EXIT_INTERRUPTED = 130
"""Stopped by Ctrl-C."""


class SegPerceptionError(Exception):
    """Something the user can mend: the message says the cause, then the remedy, in one sentence.

    The command line prints it without a traceback and exits with 2; the node names it in diagnostics.
    """


class BadImageError(SegPerceptionError):
    """An image that cannot be used. cause: a short name to count such by."""

    def __init__(self, cause: str, sentence: str) -> None:
        super().__init__(sentence)
        self.cause = cause


class BackendError(SegPerceptionError):
    """The network was not run, or what it answered is no use: a new backend may help. cause: in one word, for counters."""

    def __init__(self, sentence: str, cause: str = "backend_failed") -> None:
        super().__init__(sentence)
        self.cause = cause


LONGEST_QUOTE, LONGEST_REASON = 80, 500
"""Letters of a text that came from outside, in a sentence, and of what a library says of it."""


def quoted(text: object, most: int = LONGEST_QUOTE) -> str:
    """What came from outside, short enough for a sentence in the log and in each of the diagnostics from then on."""
    said = str(text)
    return said if len(said) <= most else f"{said[:most]}… ({len(said)} letters)"


def cause_of(error: BaseException, most: int = 200) -> str:
    """What a library says of its failure, in one line of at most so many letters."""
    return " ".join(str(error).split())[:most]


def nearest_name(wrong: str, known: Iterable[str]) -> str:
    """End of an error sentence: the nearest known name, or all of them when none is near."""
    names = sorted(known)
    near = difflib.get_close_matches(wrong, names, n=1, cutoff=0.5)
    return f"did you mean '{near[0]}'?" if near else f"known: {', '.join(names)}"
