"""Whether a thread that waits for the GPU computes meanwhile, and whether others may."""

from __future__ import annotations

import threading
import time

import numpy as np

from seg_perception.backends.cuda.driver import Stream, Transfer
from seg_perception.errors import SegPerceptionError
from seg_perception.gpu_check.lab import Lab

COUNTING_S = 0.1
SPINS = 0.5
"""Share of the wall's time from which on a wait is called spinning."""
BLOCKING_SYNC = 4
"""cudaDeviceScheduleBlockingSync."""


def check(lab: Lab) -> None:
    """As the backend waits, then as it would with blocking waits."""
    stream = Stream(lab.cuda)
    size, times = (1 << 16, 4) if lab.quick else (64 << 20, 60)
    transfer = Transfer(stream, (size,), np.uint8)
    _wait(lab, "a wait", stream, transfer, times)
    try:
        lab.cuda.call("cudaSetDeviceFlags", BLOCKING_SYNC)
    except SegPerceptionError as error:
        lab.leave_out("a blocking wait", str(error))
    else:
        _wait(lab, "a blocking wait", stream, transfer, times)
    transfer.free()
    stream.destroy()


def _wait(lab: Lab, what: str, stream: Stream, transfer: Transfer, times: int) -> None:
    with _Counter() as other:
        alone = other.rate(COUNTING_S)
    # Beside a thread that computes every call may wait for Python's lock: the GPU would be done before the wait begins.
    for _ in range(times):
        transfer.to_device()
    with _Counter() as other:
        counted, began, spent = other.count, time.perf_counter(), time.thread_time()
        stream.synchronize()
        wall, spent = time.perf_counter() - began, time.thread_time() - spent
        share = (other.count - counted) / wall / alone
    kind = "spins" if spent > SPINS * wall else "sleeps"
    lab.row(what, f"{kind}: CPU {spent / wall:.0%} of {1e3 * wall:.1f} ms; another Python thread runs at {share:.0%}")
    lab.keep(**{what: {"wall_s": wall, "cpu_s": spent, "other_thread": share}})


class _Counter:
    """A thread that counts as fast as it can."""

    def __init__(self) -> None:
        self.count, self._stop = 0, threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _run(self) -> None:
        while not self._stop.is_set():
            self.count += 1

    def rate(self, seconds: float) -> float:
        """Counts a second while nobody waits for the GPU."""
        before, began = self.count, time.perf_counter()
        time.sleep(seconds)
        return (self.count - before) / (time.perf_counter() - began)

    def __enter__(self) -> _Counter:
        self._thread.start()
        return self

    def __exit__(self, *problem: object) -> None:
        self._stop.set()
        self._thread.join()
