"""Ctrl-C, SIGTERM and the end of the terminal, kept until what they would break off is whole."""

from __future__ import annotations

import math
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

ENDS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""What a person, a service or a terminal ends a program by."""


@contextmanager
def kept(at_first: Callable[[int], None], again_s: float = math.inf) -> Iterator[list[int]]:
    """While the block runs, keep those signals of ENDS that somebody handles, and give what came, for raise_signal behind the
    block. at_first: told of the first; one that comes more than again_s after it takes effect at once. Python handles signals
    in the main thread: in others nothing changes."""
    came: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield came
        return
    handlers: dict[int, Callable[[int, FrameType | None], Any]] = {
        number: handler for number in ENDS if callable(handler := signal.getsignal(number))
    }
    first_s = 0.0

    def keep(number: int, frame: FrameType | None) -> None:
        nonlocal first_s
        if not came:
            first_s = time.monotonic()
            came.append(number)
            at_first(number)
        elif time.monotonic() - first_s > again_s:
            handlers[number](number, frame)

    for number in handlers:
        signal.signal(number, keep)
    try:
        yield came
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
