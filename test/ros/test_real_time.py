"""Priority and cores of a thread, memory that is kept, garbage that is left alone."""

from __future__ import annotations

import errno
import gc
import os
import resource
import subprocess
import sys
import threading
import weakref
from collections.abc import Iterator

import pytest

from seg_perception.errors import SegPerceptionError
from seg_perception.ros.real_time import Scheduling, freeze_garbage


@pytest.fixture
def thread() -> Iterator[threading.Thread]:
    """One that waits."""
    done = threading.Event()
    waiting = threading.Thread(target=done.wait)
    waiting.start()
    yield waiting
    done.set()
    waiting.join()


def may_use_fifo() -> bool:
    return os.geteuid() == 0 or resource.getrlimit(resource.RLIMIT_RTPRIO)[0] > 0


def test_nothing_asked_for_changes_nothing(thread: threading.Thread, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("sched_setscheduler", "sched_setaffinity"):
        monkeypatch.setattr(os, name, lambda *_: pytest.fail("asked the system"))
    Scheduling().apply(thread)
    Scheduling().check()


def test_a_thread_is_pinned_alone(thread: threading.Thread) -> None:
    mine = os.sched_getaffinity(0)
    core = max(mine)
    Scheduling(cores=(core,)).apply(thread)
    assert thread.native_id is not None
    assert os.sched_getaffinity(thread.native_id) == {core}
    assert os.sched_getaffinity(0) == mine, "no other thread"


def test_a_thread_gets_its_priority_alone(thread: threading.Thread) -> None:
    try:
        Scheduling(priority=7).apply(thread)
    except SegPerceptionError:
        if may_use_fifo():
            pytest.skip("this container refuses SCHED_FIFO whatever the user's limits say")
        return
    assert thread.native_id is not None
    assert os.sched_getscheduler(thread.native_id) == os.SCHED_FIFO
    assert os.sched_getparam(thread.native_id).sched_priority == 7
    assert os.sched_getscheduler(0) == os.SCHED_OTHER, "no other thread"


def test_a_priority_that_is_not_permitted_is_refused_with_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def refuse(thread_id: int, policy: int, parameters: os.sched_param) -> None:
        asked.append((policy, parameters.sched_priority))
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "sched_setscheduler", refuse)
    with pytest.raises(SegPerceptionError, match=r"'priority' is 50.*`ulimit -r`.*limits.conf.*CAP_SYS_NICE"):
        Scheduling(priority=50).check()
    assert asked == [(os.SCHED_FIFO, 50)]


def test_a_core_that_does_not_exist_is_refused_even_among_others(thread: threading.Thread) -> None:
    mine = os.sched_getaffinity(0)
    with pytest.raises(SegPerceptionError, match=r"'cpu_affinity' is \[\d+, 4000\].* core 4000: it may on \d"):
        Scheduling(cores=(min(mine), 4000)).check()
    with pytest.raises(SegPerceptionError):
        Scheduling(cores=(min(mine), 4000)).apply(thread)
    assert thread.native_id is not None
    assert os.sched_getaffinity(thread.native_id) == mine


COPIES = """
import resource, sys
import numpy as np
from seg_perception.ros.real_time import keep_memory
if sys.argv[1] == "kept" and not keep_memory():
    sys.exit("no glibc")
def copy(count):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(count):
        # two at a time, as a message and what it is converted to
        image = np.ones(1280 * 720 * 3, np.uint8)
        image.tobytes()
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
copy(3)
print(copy(20))
"""


def test_memory_of_images_is_kept() -> None:
    """Without, every image is written to new pages; with, to those of the image before."""
    faults = {}
    for how in ("kept", "as it comes"):
        done = subprocess.run([sys.executable, "-c", COPIES, how], capture_output=True, text=True, check=False)
        if "no glibc" in done.stderr:
            pytest.skip("mallopt is glibc's")
        faults[how] = int(done.stdout)
    assert faults["kept"] * 20 < faults["as it comes"]


class Ring:
    def __init__(self) -> None:
        self.itself = self


def test_what_is_frozen_is_left_alone_and_what_comes_later_is_not() -> None:
    old = Ring()
    freeze_garbage()
    try:
        frozen, new = weakref.ref(old), Ring()
        fresh = weakref.ref(new)
        del old, new
        gc.collect()
        assert frozen() is not None and fresh() is None
    finally:
        gc.unfreeze()
    gc.collect()
    assert frozen() is None


THREADS = """
import sys, threading
import numpy as np
from seg_perception.ros.real_time import keep_memory
if not keep_memory():
    sys.exit("no glibc")
def copy(wait):
    image = np.ones(1280 * 720 * 3, np.uint8)
    image.tobytes()
    del image
    wait()
def resident_kb():
    return int(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmRSS")))
after = []
for count in (2, 8):
    meet = threading.Barrier(count)
    threads = [threading.Thread(target=copy, args=(meet.wait,)) for _ in range(count)]
    for thread in threads: thread.start()
    for thread in threads: thread.join()
    after.append(resident_kb())
print(after[1] - after[0])
"""


def test_threads_share_the_memory_that_is_kept() -> None:
    """Each thread with a heap of its own would keep two images of 2.6 MB: six more of them 32 MB."""
    done = subprocess.run([sys.executable, "-c", THREADS], capture_output=True, text=True, check=False)
    if "no glibc" in done.stderr:
        pytest.skip("memory is kept by glibc's malloc only")
    assert int(done.stdout) < 16_000, done.stdout


GONE = """
import sys
import numpy as np
from seg_perception.ros.real_time import give_back_memory, keep_memory
if not keep_memory():
    sys.exit("no glibc")
def resident_kb():
    return int(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmRSS")))
images = [np.ones(1 << 20, np.uint8) for _ in range(100)]
full, images = resident_kb(), images[-1:]
kept = resident_kb()
give_back_memory()
print(full - kept, kept - resident_kb())
"""


def test_memory_that_is_kept_is_given_back_when_asked() -> None:
    """Of 100 MB of which only what was taken last is still in use."""
    done = subprocess.run([sys.executable, "-c", GONE], capture_output=True, text=True, check=False)
    if "no glibc" in done.stderr:
        pytest.skip("memory is kept by glibc's malloc only")
    by_itself, asked = map(int, done.stdout.split())
    assert by_itself < 10_000 < 90_000 < asked
