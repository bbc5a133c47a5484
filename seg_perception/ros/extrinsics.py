"""Where a camera is mounted, from TF. tf2_ros is imported only where it is asked for, since not every ROS has it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from rclpy.node import Node
from rclpy.time import Time

from seg_perception.geometry import CameraPose


def pose_of_optical_frame(translation_m: Sequence[float], quaternion_xyzw: Sequence[float]) -> CameraPose:
    """The camera body's pose from that of its optical frame (x right, y down, z forward), both in the base frame."""
    at_x, at_y, at_z = map(float, translation_m)
    x, y, z, w = quaternion_xyzw
    # Columns of the rotation: the optical frame's axes. The body looks along z, its left is -x and its up is -y.
    right = (1 - 2 * (y * y + z * z), 2 * (x * y + z * w), 2 * (x * z - y * w))
    down = (2 * (x * y - z * w), 1 - 2 * (x * x + z * z), 2 * (y * z + x * w))
    ahead = (2 * (x * z + y * w), 2 * (y * z - x * w), 1 - 2 * (x * x + y * y))
    roll = math.atan2(-right[2], -down[2])
    pitch = math.asin(max(-1.0, min(1.0, -ahead[2])))
    yaw = math.atan2(ahead[1], ahead[0])
    return CameraPose(at_x, at_y, at_z, roll, pitch, yaw)


class TransformSource:
    """Looks camera poses up in TF. problem: why there is none at all, else empty."""

    def __init__(self, node: Node) -> None:
        self._buffer: Any = None
        self._listener: Any = None
        self.problem = ""
        try:
            import tf2_ros
        except ImportError as error:
            self.problem = f"tf2_ros is not installed ({error}): give camera_pose instead"
            return
        self._failure: type[Exception] = tf2_ros.TransformException
        self._buffer = tf2_ros.Buffer()
        self._listener = tf2_ros.TransformListener(self._buffer, node)

    def lookup(self, base_frame: str, camera_frame: str) -> tuple[CameraPose | None, str]:
        """The latest pose of the camera's optical frame in base_frame, or None and why there is none."""
        if self._buffer is None:
            return None, self.problem
        try:
            transform = self._buffer.lookup_transform(base_frame, camera_frame, Time()).transform
        except self._failure as error:
            return None, f"no transform from {camera_frame} to {base_frame} ({error})"
        at, turn = transform.translation, transform.rotation
        return pose_of_optical_frame((at.x, at.y, at.z), (turn.x, turn.y, turn.z, turn.w)), ""

    def destroy(self) -> None:
        """Stop listening to TF."""
        if self._listener is not None:
            self._listener.unregister()
            self._listener = self._buffer = None
