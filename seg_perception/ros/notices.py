"""What is told of one camera: its diagnostics, and in the log whatever changes."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping

from rclpy.lifecycle import LifecycleNode

from seg_perception.ros.diagnostics import GROUND_OK, GROUND_UNWATCHED, CameraMonitor, GroundState, Status
from seg_perception.ros.watchdog import standing

LOG_EVERY_S = 5.0
"""Between two lines of the log about the same."""


class Notices:
    """`note` belongs to the thread that publishes, `begin` to the one that subscribes, the rest to the executor."""

    def __init__(self, node: LifecycleNode, ground_changed: Callable[[], None]) -> None:
        """ground_changed: called where what stops the outputs on the ground is another."""
        self._node, self._ground_changed = node, ground_changed
        self.begin()

    def begin(self) -> None:
        """Nothing has been told yet."""
        self._ground, self._ground_told, self._silence_told = GROUND_UNWATCHED, GROUND_OK, (False, False)
        self._hang_is_logged, self._hang_logged_s = False, -math.inf
        self._ground_logged_s: dict[tuple[str, str], float] = {}

    def note(self, ground: GroundState) -> None:
        """What stops the outputs on the ground now."""
        before, self._ground = self._ground, ground
        if ground.cause != before.cause:
            self._ground_changed()

    def has_news(self, monitor: CameraMonitor) -> bool:
        """Whether a silence, of the camera or of what goes out, has begun or ended since status() was asked for."""
        return monitor.silence(time.monotonic()) != self._silence_told

    def status(self, monitor: CameraMonitor, enabled: bool, more: Mapping[str, str]) -> Status:
        """The diagnostics of now. enabled: whether frames are run; more: values to show after the monitor's."""
        ground, now_s = self._ground, time.monotonic()
        self._log_ground(monitor.topic, ground, now_s)
        silence = monitor.silence(now_s)
        self._log_hang(monitor.topic, silence[1], now_s)
        self._silence_told = silence
        return monitor.status(now_s, ground, enabled, more)

    def _log_hang(self, topic: str, hangs: bool, now_s: float) -> None:
        """Once for each hang that lasts, and not with every frame of a network that is slower than the timeout."""
        if not hangs:
            self._hang_is_logged = False
        elif not self._hang_is_logged and now_s - self._hang_logged_s >= LOG_EVERY_S:
            self._hang_is_logged, self._hang_logged_s = True, now_s
            self._node.get_logger().error(f"{topic}: nothing goes out, {standing('frames', 'video')}")

    def _log_ground(self, topic: str, ground: GroundState, now_s: float) -> None:
        """What changed; what comes and goes with every frame not each time."""
        told, change = self._ground_told, (self._ground_told.cause, ground.cause)
        if ground is GROUND_UNWATCHED or ground.cause == told.cause:
            return
        if now_s - self._ground_logged_s.get(change, -math.inf) < LOG_EVERY_S:
            return
        self._ground_logged_s[change] = now_s
        if ground.problem:
            self._node.get_logger().warning(f"{topic}: {ground}")
        else:
            self._node.get_logger().info(f"{topic}: {told.stopped} back after: {told.problem}")
        self._ground_told = ground
