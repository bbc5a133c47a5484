"""What is told of one camera: its diagnostics, and in the log whatever changes."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from rclpy.lifecycle import LifecycleNode

from seg_perception.ros.diagnostics import GROUND_OK, GROUND_UNWATCHED, CameraMonitor, GroundState, Status
from seg_perception.ros.watchdog import standing


class Notices:
    """`note` belongs to the thread that publishes, `begin` to the one that subscribes, the rest to the executor."""

    def __init__(self, node: LifecycleNode, ground_changed: Callable[[], None]) -> None:
        """ground_changed: called where what stops the outputs on the ground is another."""
        self._node, self._ground_changed = node, ground_changed
        self.begin()

    def begin(self) -> None:
        """Nothing has been told yet."""
        self._ground, self._ground_told, self._silence_told = GROUND_UNWATCHED, GROUND_OK, (False, False)

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
        self._log_ground(monitor.topic, ground)
        silence = monitor.silence(now_s)
        if silence[1] and not self._silence_told[1]:
            where = standing("frames", "video")
            self._node.get_logger().error(f"{monitor.topic}: nothing goes out, {where}")
        self._silence_told = silence
        return monitor.status(now_s, ground, enabled, more)

    def _log_ground(self, topic: str, ground: GroundState) -> None:
        told = self._ground_told
        if ground is GROUND_UNWATCHED or ground.cause == told.cause:
            return
        if ground.problem:
            self._node.get_logger().warning(f"{topic}: {ground}")
        else:
            self._node.get_logger().info(f"{topic}: {told.stopped} back after: {told.problem}")
        self._ground_told = ground
