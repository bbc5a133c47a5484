"""A verb as a process of its own; what it prints is read as it comes."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Mapping

from patience import WAIT_S, comes, ends


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
            assert comes(lambda left_s: self._grown.wait_for(lambda: part in self.output, left_s)), self.text

    def wait(self) -> int:
        if not ends(self.process):
            self.process.terminate()  # which also ends the node
            self.process.wait(WAIT_S)
            raise AssertionError(f"it does not end: {self.text}")
        self._reader.join(WAIT_S)
        return self.process.returncode

    @property
    def text(self) -> str:
        return self.output.decode()
