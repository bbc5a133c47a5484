"""Times of calls on the wall's clock, and of queued work on the GPU's."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from seg_perception.backends.cuda.driver import Stream


@dataclass(frozen=True)
class Times:
    """Of one call, ms. cpu: that this thread computed, or spun, in the mean."""

    p50: float
    p95: float
    cpu: float

    def __str__(self) -> str:
        return f"{self.p50:.3f}/{self.p95:.3f}"


def wall_ms(call: Callable[[], object], seconds: float, least: int = 5) -> Times:
    """Call it for seconds, at least so often, after a first time that does not count."""
    call()
    times: list[float] = []
    began, spent = time.perf_counter(), time.thread_time()
    while len(times) < least or time.perf_counter() - began < seconds:
        start = time.perf_counter_ns()
        call()
        times.append((time.perf_counter_ns() - start) / 1e6)
    spent = 1e3 * (time.thread_time() - spent) / len(times)
    times.sort()
    return Times(times[len(times) // 2], times[min(len(times) - 1, int(len(times) * 0.95))], spent)


def gpu_ms(stream: Stream, queue: Callable[[], object], count: int) -> float:
    """Mean of what is queued so often, between two events of the stream."""
    cuda = stream.cuda
    for _ in range(3):
        queue()
    stream.synchronize()
    first, last = cuda.call("cudaEventCreate"), cuda.call("cudaEventCreate")
    cuda.call("cudaEventRecord", first, stream.handle)
    for _ in range(count):
        queue()
    cuda.call("cudaEventRecord", last, stream.handle)
    cuda.call("cudaEventSynchronize", last)
    milliseconds = float(cuda.call("cudaEventElapsedTime", first, last)) / count
    for event in (first, last):
        cuda.call("cudaEventDestroy", event)
    return milliseconds
