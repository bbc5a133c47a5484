"""What the operating system and Python do to the path of a frame: where the thread that runs frames runs and before
whom, memory that stays, no collection of old garbage. Linux; needs no ROS."""

from __future__ import annotations

import ctypes
import errno
import gc
import os
import threading
from dataclasses import dataclass

from seg_perception.errors import SegPerceptionError

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_ARENA_MAX = -1, -3, -8
"""mallopt(3)'s numbers."""
LARGEST_KEPT = 32 << 20
"""Bytes; mallopt takes no more for M_MMAP_THRESHOLD on 64 bits."""
NEVER_TRIM = 2**31 - 1
ARENAS = 2
"""glibc gives new threads heaps of their own, each of which would keep the memory of its largest image: a node whose
threads were made anew again and again grew by 10 % in four minutes, and by 1.7 % with so many."""


@dataclass(frozen=True)
class Scheduling:
    """Of one thread. priority: of SCHED_FIFO, 1 to 99, 0 = the ordinary policy; cores: numbers of the cores that it
    may run on, empty = as it was."""

    priority: int = 0
    cores: tuple[int, ...] = ()

    def check(self) -> None:
        """Try on a thread that does nothing; raises as apply."""
        done = threading.Event()
        thread = threading.Thread(target=done.wait, name="scheduling check")
        thread.start()
        try:
            self.apply(thread)
        finally:
            done.set()
            thread.join()

    def apply(self, thread: threading.Thread) -> None:
        """Schedule a running thread so; raises SegPerceptionError where this machine or its owner does not allow it."""
        assert thread.native_id is not None
        if self.cores:
            self._pin(thread.native_id)
        if self.priority:
            self._raise_priority(thread.native_id)

    def _pin(self, thread_id: int) -> None:
        allowed = os.sched_getaffinity(thread_id)
        # Linux takes a list of cores of which only some exist and leaves the others out without a word.
        missing = sorted(set(self.cores) - allowed)
        if missing:
            raise SegPerceptionError(
                f"parameter 'cpu_affinity' is {list(self.cores)}, but this process may not run on core "
                f"{', '.join(map(str, missing))}: it may on {', '.join(map(str, sorted(allowed)))}"
            )
        os.sched_setaffinity(thread_id, self.cores)

    def _raise_priority(self, thread_id: int) -> None:
        try:
            os.sched_setscheduler(thread_id, os.SCHED_FIFO, os.sched_param(self.priority))
        except OSError as error:
            if error.errno != errno.EPERM:
                raise
            raise SegPerceptionError(
                f"parameter 'priority' is {self.priority}, but this user may not use SCHED_FIFO so (`ulimit -r` says up to "
                "where): allow it by 'rtprio' in /etc/security/limits.conf, by CAP_SYS_NICE (docker run "
                "--cap-add SYS_NICE), or let it be 0"
            ) from error


def keep_memory() -> bool:
    """Let the process keep the memory of images that it has done with; False where the C library is not glibc.

    malloc as it comes gives buffers of that size back to the system and takes them anew with every image, and touching
    new pages takes several times as long as copying the image into them.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    wanted = ((M_MMAP_THRESHOLD, LARGEST_KEPT), (M_TRIM_THRESHOLD, NEVER_TRIM), (M_ARENA_MAX, ARENAS))
    return all([bool(mallopt(name, value)) for name, value in wanted])  # noqa: C419 - each must be called


def give_back_memory() -> bool:
    """Give all memory that is free now back to the system, where keep_memory has kept it; False where the C library is not
    glibc. For when a backend has gone: what the next one leaves free between its own parts would add up."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is None:
        return False
    trim(0)
    return True


def freeze_garbage() -> None:
    """Leave all objects of now out of future collections, which else look at them all while a frame waits."""
    gc.collect()
    gc.freeze()
