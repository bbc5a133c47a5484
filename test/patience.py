"""How long a test waits for what is sure to come. Only a failing test waits so long, so it may be long; and what is slow since
the machine is busy with something else is waited for longer."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil

WAIT_S = 180.0
"""On a machine that has nothing else to do, where the very first node compiles for a minute."""


class Patience:
    """That of one wait."""

    def __init__(self, wait_s: float | None = None) -> None:
        self._began_s, self._wait_s = time.monotonic(), WAIT_S if wait_s is None else wait_s

    @property
    def left_s(self) -> float:
        """How long to wait at most until this is asked again; 0: in vain."""
        over_s = time.monotonic() - self._began_s - self._wait_s
        return -over_s if over_s < 0 else max(0.0, starved_s() - over_s)


def comes(wait: Callable[[float], bool]) -> bool:
    """Whether what is waited for comes. wait: waits for so long at most, and says whether it has come."""
    patience = Patience()
    while True:
        left_s = patience.left_s
        if wait(left_s):
            return True
        if not left_s:
            return False


def ends(process: subprocess.Popen[Any]) -> bool:
    """Whether a process ends by itself."""

    def wait(left_s: float) -> bool:
        with suppress(subprocess.TimeoutExpired):
            process.wait(left_s)
        return process.returncode is not None

    return comes(wait)


def starved_s() -> float:
    """How long one of the threads of the programs that this one started has waited for a core so far, the most of all; 0 where
    the system does not say."""
    most_ns = 0
    for program in psutil.Process().children(recursive=True):
        for task in Path(f"/proc/{program.pid}/task").glob("*/schedstat"):
            with suppress(OSError, IndexError):  # it has ended meanwhile
                most_ns = max(most_ns, int(task.read_text().split()[1]))
    return most_ns / 1e9
