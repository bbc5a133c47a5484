"""What a section works with, and where it writes what it finds."""

from __future__ import annotations

import json
import math
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any, TextIO

from seg_perception.backends.cuda.driver import Cuda
from seg_perception.backends.cuda.kernels import CudaKernels
from seg_perception.gpu_check.libraries import Libraries
from seg_perception.gpu_check.verdicts import FAULT, LEFT_OUT, MEASURED, OK, WRONG


class Lab:
    """One section's. log: takes a JSON object a line, written at once, so that what was found outlives the process.

    deadline: on time.monotonic's clock. images: a folder of camera images, None = only rendered ones.
    """

    def __init__(self, libraries: Libraries, log: TextIO, deadline: float, images: Path | None = None) -> None:
        self.libraries, self.images = libraries, images
        self.quick = libraries.quick
        self._log, self._deadline = log, deadline

    @cached_property
    def cuda(self) -> Cuda:
        """See Libraries.cuda."""
        return self.libraries.cuda()

    @cached_property
    def kernels(self) -> CudaKernels:
        """Compiled when first asked for."""
        return self.libraries.kernels(self.cuda.gpu())

    @property
    def left_s(self) -> float:
        """Seconds until this process is ended."""
        return self._deadline - time.monotonic()

    def row(self, check: str, value: object, verdict: str = MEASURED) -> None:
        """A row of the table."""
        self._write({"row": [check, str(value), verdict]})

    def check(self, check: str, right: bool, value: object = "") -> None:
        """A row with a judgement."""
        self.row(check, value, OK if right else WRONG)

    def leave_out(self, check: str, why: str) -> None:
        """A row of what could not be done here."""
        self.row(check, why, LEFT_OUT)

    def keep(self, **data: Any) -> None:
        """Put numbers into the JSON beside the rows; what is not finite, which is no JSON, as a word."""
        self._write({"data": _told(data)})

    @contextmanager
    def part(self, check: str) -> Iterator[None]:
        """What raises in here is a row of its own and does not keep the section from what comes next."""
        try:
            yield
        except Exception as error:  # whatever a driver, a compiler or PyTorch raises is what is looked for here
            self.row(check, " ".join(f"{type(error).__name__}: {error}".split())[:200], FAULT)
            self._write({"traceback": traceback.format_exc()})

    def _write(self, entry: dict[str, Any]) -> None:
        self._log.write(json.dumps(entry, default=str) + "\n")
        self._log.flush()


def _told(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _told(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_told(one) for one in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value
