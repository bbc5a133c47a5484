"""The node as a process: it spins from the first moment, and ends in order where that is possible, else at once."""

from __future__ import annotations

import atexit
import math
import os
import signal
import sys
import threading
import time
import traceback
from typing import NoReturn

import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.impl.implementation_singleton import rclpy_implementation

from seg_perception.errors import EXIT_ERROR, EXIT_HUNG, EXIT_INTERRUPTED
from seg_perception.ros.life_cycle import ACTIVATE, CONFIGURE, ManagedNode
from seg_perception.ros.notices import LOG_EVERY_S
from seg_perception.ros.watchdog import standing

END_S = 3.0
"""How long the node may take to come down before the process leaves it."""

LAST_WORDS_S = 1.0
"""How long a process that leaves at once waits for what it still has to say, and for the middleware to sign off."""


_STOPPING = (signal.SIGINT, signal.SIGTERM)


def stop_on_signals() -> threading.Event:
    """Set by the first SIGINT or SIGTERM; the second ends the process at once.

    rclpy's own handlers would tear down the middleware before the node could deactivate and clean up. Python's run in the
    main thread alone, and nothing wakes that where the system hands the signal to another thread, as it does to one that
    is just beginning a third. What Python writes to its wake-up pipe is heard in any case.
    """
    stop = threading.Event()
    heard, told = os.pipe()
    os.set_blocking(told, False)

    def hear() -> None:
        while True:
            if os.read(heard, 1)[0] not in _STOPPING:  # others that Python handles are written there too
                continue
            if stop.is_set():
                os._exit(EXIT_INTERRUPTED)
            stop.set()

    for number in _STOPPING:
        signal.signal(number, lambda number, frame: None)
    signal.set_wakeup_fd(told, warn_on_full_buffer=False)
    threading.Thread(target=hear, name="signals", daemon=True).start()
    return stop


def run(node: ManagedNode, autostart: bool) -> int:
    """Spin node until its `stop` is set, by a signal or since it cannot go on; returns the exit code, or leaves at once
    where something does not end.

    0: ended in order, or left while it configured; EXIT_ERROR: autostart failed; EXIT_HUNG: something waits for ever.
    An exception in one of the node's callbacks is raised here.
    """
    spinning = Spinning(node)
    failed = _start(node) if autostart else threading.Event()
    node.stop.wait()
    code = _end(node, spinning)
    if spinning.failures:
        raise spinning.failures[0]
    return EXIT_ERROR if failed.is_set() else code


def end_process(code: int) -> NoReturn:
    """End a process whose node has signed off. Python would first take every library down, one by one, which takes
    seconds on a busy machine and has no deadline."""
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(code)


class Spinning:
    """The executor's thread: node's callbacks run there. An exception in one of them sets the node's `stop`."""

    def __init__(self, node: ManagedNode) -> None:
        self._node, self._told_s = node, -math.inf
        self._executor, self._stop, self._ended = SingleThreadedExecutor(), node.stop, threading.Event()
        self._executor.add_node(node)
        self.failures: list[Exception] = []
        # The main thread stays free, to end the process where a callback waits for ever.
        self._thread = threading.Thread(target=self._spin, name="executor", daemon=True)
        self._thread.start()

    def end(self, timeout_s: float) -> bool:
        """Let it say what it has to say, then end it; False where that takes too long."""
        # The second round: by then whatever waited in the first has been answered.
        self._executor.create_task(lambda: self._executor.create_task(self._ended.set))
        self._thread.join(timeout_s)
        if self._thread.is_alive():
            return False
        # Only now: it takes from the thread what that uses, and does not wait, whatever its timeout.
        self._executor.shutdown()
        return True

    def _spin(self) -> None:
        try:
            while not self._ended.is_set():
                self._spin_once()
        except Exception as error:
            self.failures.append(error)
        finally:
            self._stop.set()

    def _spin_once(self) -> None:
        try:
            self._executor.spin_once()
        except rclpy_implementation.InvalidHandle:  # up to Humble, where another thread took something away meanwhile
            return
        except ValueError as error:
            if not _is_of_clock(error):
                raise
            self._leave_out_time(error)

    def _leave_out_time(self, error: ValueError) -> None:
        """What somebody sends on /clock must not end perception."""
        now_s = time.monotonic()
        if now_s - self._told_s >= LOG_EVERY_S:
            self._told_s = now_s
            self._node.get_logger().warning(f"a message on /clock is left out, since its time is none: {error}")


def _is_of_clock(error: ValueError) -> bool:
    """Whether rclpy's own callback of /clock raised it, which takes no time below 0."""
    return any(
        frame.f_globals["__name__"] == "rclpy.time_source" for frame, _ in traceback.walk_tb(error.__traceback__)
    )


def _start(node: ManagedNode) -> threading.Event:
    """Configure and activate; what is returned is set where that fails, and the node stops."""
    failed = threading.Event()
    started = node.change_state(CONFIGURE, ACTIVATE)

    def judge(_: object) -> None:
        if not started.result() and not node.stop.is_set():
            failed.set()
            node.stop.set()

    started.add_done_callback(judge)
    return failed


def _end(node: ManagedNode, spinning: Spinning) -> int:
    """Bring the node down within END_S; leaves the process where that is not possible."""
    end_s = time.monotonic() + END_S
    configuring = node.state == "configuring"
    if node.hung.is_set() or not node.shut_down(END_S):
        if configuring and not node.hung.is_set():
            node.get_logger().info(f"left in the middle of configuring ({standing('transition')})")
        elif not node.hung.is_set():
            node.get_logger().fatal(f"does not end, leaving it: {standing('frames', 'transition', 'video')}")
        spinning.end(LAST_WORDS_S)
        _sign_off(node, LAST_WORDS_S)
        os._exit(0 if configuring and not node.hung.is_set() else EXIT_HUNG)
    if not spinning.end(max(end_s - time.monotonic(), LAST_WORDS_S)):
        node.get_logger().fatal(f"does not end, leaving it: {standing('executor')}")
        os._exit(EXIT_HUNG)
    if not _sign_off(node, max(end_s - time.monotonic(), LAST_WORDS_S)) or node.left_behind:
        os._exit(0)
    return 0


def _sign_off(node: ManagedNode, timeout_s: float) -> bool:
    """Take the node off the network, so that its peers need not wait for it; False when the middleware is slow."""

    def part() -> None:
        node.destroy_node()
        rclpy.shutdown()

    farewell = threading.Thread(target=part, name="farewell", daemon=True)
    farewell.start()
    farewell.join(timeout_s)
    return not farewell.is_alive()
