"""The node as a process: it spins from the first moment, and ends in order where that is possible, else at once."""

from __future__ import annotations

import os
import signal
import threading
import time
from types import FrameType

import rclpy
from rclpy.executors import Executor, SingleThreadedExecutor
from rclpy.impl.implementation_singleton import rclpy_implementation

from seg_perception.errors import EXIT_ERROR, EXIT_HUNG, EXIT_INTERRUPTED
from seg_perception.ros.life_cycle import ACTIVATE, CONFIGURE, ManagedNode
from seg_perception.ros.watchdog import standing

END_S = 3.0
"""How long the node may take to come down before the process leaves it."""

LAST_WORDS_S = 1.0
"""How long a process that leaves at once waits for what it still has to say, and for the middleware to sign off."""


def stop_on_signals() -> threading.Event:
    """Set by the first SIGINT or SIGTERM; the second ends the process at once.

    rclpy's own handlers would tear down the middleware before the node could deactivate and clean up.
    """
    stop = threading.Event()

    def handle(number: int, frame: FrameType | None) -> None:
        if stop.is_set():
            os._exit(EXIT_INTERRUPTED)
        stop.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, handle)
    return stop


def run(node: ManagedNode, autostart: bool) -> int:
    """Spin node until its `stop` is set, by a signal or since it cannot go on; returns the exit code, or leaves at once
    where something does not end.

    0: ended in order, or left while it configured; EXIT_ERROR: autostart failed; EXIT_HUNG: something waits for ever.
    An exception in one of the node's callbacks is raised here.
    """
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    failures: list[Exception] = []
    # Python handles signals in the main thread only, between two of its steps, and the middleware's wait is one step.
    spinning = threading.Thread(target=_spin, args=(executor, node.stop, failures), name="executor", daemon=True)
    spinning.start()
    failed = _start(node) if autostart else threading.Event()
    node.stop.wait()
    code = _end(node, executor, spinning)
    if failures:
        raise failures[0]
    return EXIT_ERROR if failed.is_set() else code


def _spin(executor: Executor, stop: threading.Event, failures: list[Exception]) -> None:
    try:
        while not _spun(executor):
            pass
    except Exception as error:
        failures.append(error)
    finally:
        stop.set()


def _spun(executor: Executor) -> bool:
    """Spin to the end; False where only something was taken away by another thread in the middle of it."""
    try:
        executor.spin()
    except rclpy_implementation.InvalidHandle:  # up to Humble
        return False
    return True


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


def _end(node: ManagedNode, executor: Executor, spinning: threading.Thread) -> int:
    """Bring the node down within END_S; leaves the process where that is not possible."""
    end_s = time.monotonic() + END_S
    configuring = node.state == "configuring"
    if node.hung.is_set() or not node.shut_down(END_S):
        if configuring:
            node.get_logger().info(f"left in the middle of configuring ({standing('transition')})")
        elif not node.hung.is_set():
            node.get_logger().fatal(f"does not end, leaving it: {standing('frames', 'transition')}")
        _leave(node, executor, 0 if configuring else EXIT_HUNG)
    executor.shutdown(timeout_sec=0.0)
    spinning.join(max(end_s - time.monotonic(), LAST_WORDS_S))
    if spinning.is_alive():
        node.get_logger().fatal(f"does not end, leaving it: {standing('executor')}")
        os._exit(EXIT_HUNG)
    if not _sign_off(node, max(end_s - time.monotonic(), LAST_WORDS_S)):
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


def _leave(node: ManagedNode, executor: Executor, code: int) -> None:
    """End the process although threads of it wait for ever: let the executor say what it has to say, take the node off
    the network, and go."""
    said = threading.Event()
    # The second round: by then whatever waited in the first has been answered.
    executor.create_task(lambda: executor.create_task(said.set))
    said.wait(LAST_WORDS_S)
    executor.shutdown(timeout_sec=0.0)
    _sign_off(node, LAST_WORDS_S)
    os._exit(code)
