"""A verb as a process of its own; what it prints is read as it comes."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Mapping

WAIT_S = 60.0
"""How long a run may take before a test fails; only a failing test ever waits so long."""


class Run:
    """`seg_perception run`, or another verb, with these words."""

    def __init__(self, *words: object, verb: str = "run", environment: Mapping[str, str] | None = None) -> None:
        command = [sys.executable, "-m", "seg_perception", verb, *map(str, words)]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=environment)
        self.output = b""
        self._grown = threading.Condition()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        while data := self.process.stdout.read1():  # type: ignore[union-attr]
            with self._grown:
                self.output += data
                self._grown.notify_all()

    def until(self, part: bytes) -> None:
        with self._grown:
            assert self._grown.wait_for(lambda: part in self.output, WAIT_S), self.output.decode()

    def wait(self) -> int:
        try:
            code = self.process.wait(WAIT_S)
        except subprocess.TimeoutExpired:
            self.process.terminate()  # which also ends the node
            self.process.wait(WAIT_S)
            raise AssertionError(self.text) from None
        self._reader.join(WAIT_S)
        return code

    @property
    def text(self) -> str:
        return self.output.decode()
