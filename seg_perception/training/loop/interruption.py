"""Ctrl-C, SIGTERM and the end of the terminal come between two steps, so that what is saved then is whole, and end the
processes that load images in order."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType

from seg_perception.signals import kept

AGAIN_S = 1.0
"""A signal so long after the first is meant: timeout and shells send the same one twice at once."""


@contextmanager
def held_back() -> Iterator[list[int]]:
    """Signals take effect when the block has ended, which is told of Ctrl-C; a second one at once, as where a step hangs. Where
    the block fails, its error goes before. Gives what came so far."""
    with kept(_tell, AGAIN_S) as came:
        yield came
    for number in came:
        signal.raise_signal(number)


def _tell(number: int) -> None:
    if number == signal.SIGINT:
        with suppress(OSError):
            print("\nthe step ends first; Ctrl-C once more stops at once", file=sys.stderr)


def end_as_by_ctrl_c(worker: int) -> None:
    """Let SIGTERM, which timeout, systemd and Slurm send to all processes of a run, and the end of the terminal end a process
    that loads images as Ctrl-C does: that it was killed would be an error in the middle of the training's step. A second one
    kills it."""
    del worker
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) != signal.SIG_IGN:  # nohup
            signal.signal(number, _interrupt)


def _interrupt(number: int, frame: FrameType | None) -> None:
    del frame
    signal.signal(number, signal.SIG_DFL)
    raise KeyboardInterrupt
