"""Notices what does not end, and says where it stands. Needs no ROS."""

from __future__ import annotations

import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

SHOWN_CALLS = 2
"""How many of a thread's innermost calls are told."""


@contextmanager
def watched(limit_s: float, late: Callable[[], None]) -> Iterator[None]:
    """Call late once, in a thread of its own, where the block has not ended after limit_s."""
    timer = threading.Timer(limit_s, late)
    timer.name, timer.daemon = "watchdog", True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def standing(*names: str) -> str:
    """Where the threads whose names begin so stand now: name, file, line and function of their innermost calls."""
    frames = sys._current_frames()
    told = []
    for thread in threading.enumerate():
        if thread.name.startswith(names) and thread.ident in frames:
            calls = traceback.extract_stack(frames[thread.ident])[-SHOWN_CALLS:]
            places = (f"{Path(call.filename).name}:{call.lineno} {call.name}" for call in reversed(calls))
            told.append(f"thread '{thread.name}' stands in {', called by '.join(places)}")
    return "; ".join(told) or "no thread is left"
