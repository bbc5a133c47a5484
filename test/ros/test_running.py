"""Signals are heard whichever thread the system hands them to."""

from __future__ import annotations

import subprocess
import sys

import pytest

from seg_perception.errors import EXIT_INTERRUPTED

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
        [sys.executable, "-c", PROGRAM, number, str(times)], capture_output=True, text=True, timeout=60, check=False
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
node._late(done)
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
