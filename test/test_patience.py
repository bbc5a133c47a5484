"""A test waits for what is slow, and not for what never comes."""

from __future__ import annotations

import subprocess
import sys
import threading
import time

import patience
import pytest
from patience import comes, ends


def test_what_comes_is_not_waited_for_any_longer() -> None:
    event = threading.Event()
    threading.Timer(0.05, event.set).start()
    assert comes(event.wait)


def test_what_never_comes_is_given_up_once_nothing_was_kept_from_the_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    """A thread of a program has waited for a core for half a second."""
    monkeypatch.setattr(patience, "WAIT_S", 0.1)
    monkeypatch.setattr(patience, "starved_s", lambda: 0.5)
    began_s, never = time.monotonic(), threading.Event()
    assert not comes(never.wait)
    assert time.monotonic() - began_s >= 0.6


def test_a_process_that_ends_has_its_code() -> None:
    process = subprocess.Popen([sys.executable, "-c", "raise SystemExit(7)"])
    assert ends(process) and process.returncode == 7
