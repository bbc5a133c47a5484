"""Signals are heard whichever thread the system hands them to."""

from __future__ import annotations

import subprocess
import sys
import threading
from types import SimpleNamespace
from typing import Any

import pytest
from patience import WAIT_S

from seg_perception.errors import EXIT_HUNG, EXIT_INTERRUPTED
from seg_perception.ros import running

PROGRAM = """
import signal, sys, threading, time
from seg_perception.ros.running import stop_on_signals
number, times = signal.Signals[sys.argv[1]], int(sys.argv[2])
stop = stop_on_signals()
signal.signal(signal.SIGUSR1, lambda number, frame: print("heard", flush=True))
signal.raise_signal(signal.SIGUSR1)
assert not stop.wait(0.5), "another signal stops nothing"
def elsewhere():
    for _ in range(times):
        time.sleep(0.2)  # by then the main thread waits
        signal.pthread_kill(threading.get_ident(), number)
threading.Thread(target=elsewhere).start()
stop.wait()
print("stopped", flush=True)
threading.Event().wait(None if times == 2 else 0)
"""


@pytest.mark.parametrize("number", ["SIGINT", "SIGTERM"])
@pytest.mark.parametrize(("times", "code"), [(1, 0), (2, EXIT_INTERRUPTED)])
def test_a_signal_that_another_thread_gets_stops_the_node_and_the_second_ends_it(
    number: str, times: int, code: int
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, number, str(times)], capture_output=True, text=True, timeout=WAIT_S, check=False
    )
    assert (done.stdout.strip(), done.returncode) == ("heard\nstopped", code), done.stderr


LATE = """
import threading
import rclpy
from lifecycle_msgs.msg import Transition
from rclpy.impl.implementation_singleton import rclpy_implementation
from rclpy.lifecycle import TransitionCallbackReturn
from seg_perception.ros.life_cycle import ManagedNode

class Hangs(ManagedNode):
    begun, goes_on = threading.Event(), threading.Event()
    def on_configure(self, before):
        self.begun.set()
        self.goes_on.wait()
        return TransitionCallbackReturn.SUCCESS

rclpy.init()
node = Hangs("late", threading.Event())
done = node.change_state(Transition.TRANSITION_CONFIGURE)
node.begun.wait()
(thread,) = [thread for thread in threading.enumerate() if thread.name == "transition"]
node.destroy_node()
node._late(4.0, done)
node.goes_on.set()
thread.join()
try:
    node.state
except rclpy_implementation.InvalidHandle:
    print("left", done.done())
"""


def test_a_thread_that_comes_back_after_the_node_has_signed_off_does_not_crash_it() -> None:
    """The watchdog and the transition that hung may both look at the life cycle while the process leaves."""
    done = subprocess.run([sys.executable, "-c", LATE], capture_output=True, text=True, check=False)
    assert (done.stdout.strip(), done.returncode) == ("left True", 0), done.stderr


LIMITS = """
import threading
from contextlib import contextmanager
import rclpy
from lifecycle_msgs.msg import Transition
from rclpy.lifecycle import TransitionCallbackReturn
from seg_perception.ros import life_cycle

limits = []
@contextmanager
def watched(limit_s, late):
    limits.append(limit_s)
    yield
life_cycle.watched = watched

class Fails(life_cycle.ManagedNode):
    def on_error(self, before):
        limits.append("gives everything back")
        return TransitionCallbackReturn.SUCCESS
    def on_deactivate(self, before):
        raise RuntimeError("it fails")

def take(node, name):
    ended, limits[:] = threading.Event(), []
    node.change_state(getattr(Transition, f"TRANSITION_{name}")).add_done_callback(lambda _: ended.set())
    ended.wait()
    print(name, *limits)

rclpy.init()
good, bad = life_cycle.ManagedNode("good", threading.Event()), Fails("bad", threading.Event())
for name in ("CONFIGURE", "ACTIVATE", "DEACTIVATE", "CLEANUP", "UNCONFIGURED_SHUTDOWN"):
    take(good, name)
for name in ("CONFIGURE", "ACTIVATE", "DEACTIVATE"):
    take(bad, name)
bad.on_configure = bad.on_deactivate
take(bad, "CONFIGURE")
"""


def test_what_ends_something_has_4_s_and_what_begins_something_longer_and_giving_back_is_always_watched() -> None:
    done = subprocess.run([sys.executable, "-c", LIMITS], capture_output=True, text=True, check=False)
    assert done.stdout.splitlines() == [
        "CONFIGURE",
        "ACTIVATE 30.0",
        "DEACTIVATE 4.0",
        "CLEANUP 4.0",
        "UNCONFIGURED_SHUTDOWN 4.0",
        "CONFIGURE",
        "ACTIVATE 30.0",
        "DEACTIVATE 4.0 4.0 gives everything back",
        "CONFIGURE 4.0 gives everything back",
    ], done.stderr


@pytest.mark.parametrize("hangs", [False, True])
def test_who_leaves_while_it_configures_says_whether_something_hangs(
    monkeypatch: pytest.MonkeyPatch, hangs: bool
) -> None:
    """As a restart of the backend that never ends, of which a new configuration waits for the end."""
    left: list[int] = []
    node: Any = SimpleNamespace(
        state="configuring",
        hung=threading.Event(),
        shut_down=lambda timeout_s: False,
        get_logger=lambda: SimpleNamespace(info=print, fatal=print),
    )
    if hangs:
        node.hung.set()

    def leave(code: int) -> None:
        left.append(code)
        raise SystemExit

    monkeypatch.setattr(running.os, "_exit", leave)
    monkeypatch.setattr(running, "_sign_off", lambda node, timeout_s: True)
    with pytest.raises(SystemExit):
        running._end(node, SimpleNamespace(end=lambda timeout_s: True))  # type: ignore[arg-type]
    assert left == [EXIT_HUNG if hangs else 0]


FAULTY = """
import threading
import rclpy
from seg_perception.ros.life_cycle import ManagedNode
from seg_perception.ros.running import run

rclpy.init()
node = ManagedNode("faulty", threading.Event())
node.create_timer(0.01, lambda: 1 / 0)
run(node, autostart=False)
"""


def test_a_fault_of_the_program_ends_it_with_its_traceback() -> None:
    done = subprocess.run([sys.executable, "-c", FAULTY], capture_output=True, text=True, check=False)
    assert done.returncode == 1 and "ZeroDivisionError" in done.stderr, done.stderr
