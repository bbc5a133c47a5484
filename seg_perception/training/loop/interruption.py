"""Ctrl-C, SIGTERM and the end of the terminal come between two steps, so that what is saved then is whole, and end the
processes that load images in order."""

from __future__ import annotations

import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

AGAIN_S = 1.0
"""A signal so long after the first is meant: timeout and shells send the same one twice at once."""


@contextmanager
def held_back() -> Iterator[None]:
    """Signals that somebody handles are handled when the block has ended, which is told of Ctrl-C; a second one at once, as where
    a step hangs. Where the block fails, its error goes before. Python handles signals in the main thread; in others nothing
    changes."""
    handlers: dict[int, Callable[[int, FrameType | None], Any]] = {
        number: handler for number in SIGNALS if callable(handler := signal.getsignal(number))
    }
    came: list[tuple[int, FrameType | None]] = []
    first_s = 0.0

    def hold(number: int, frame: FrameType | None) -> None:
        nonlocal first_s
        if not came:
            first_s = time.monotonic()
            came.append((number, frame))
            if number == signal.SIGINT:
                with suppress(OSError):
                    print("\nthe step ends first; Ctrl-C once more stops at once", file=sys.stderr)
        elif time.monotonic() - first_s > AGAIN_S:
            handlers[number](number, frame)

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    for number in handlers:
        signal.signal(number, hold)
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
    for number, frame in came:
        handlers[number](number, frame)


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
