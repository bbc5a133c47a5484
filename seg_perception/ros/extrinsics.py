"""Where frames are, from TF. tf2_ros is imported only where it is asked for, since not every ROS has it."""

from __future__ import annotations

import math
import threading
from collections.abc import Sequence
from typing import Any

import numpy as np
from rclpy.clock import JumpThreshold
from rclpy.duration import Duration
from rclpy.node import Node
from rclpy.time import Time

from seg_perception.camera_model import NORM_TOLERANCE, OPTICAL_FROM_BODY, CameraPose, turned
from seg_perception.errors import LONGEST_REASON, SegPerceptionError, quoted
from seg_perception.ground.odometry import FASTEST_M_S, PlanarPose

_FARTHEST_M = 1e12
"""Beyond it a number holds no more fractions of a millimetre, so that nothing adds up any more."""
_SAME_M, _SAME_RAD = 1e-3, 1e-3
"""Two frames coincide where they differ by less."""
_NOISE_M, _NOISE_RAD = 1e-4, 1e-5
"""Rounding in a chain of transforms: a camera 1.2 m up that moves by less sees the ground at 20 m move by 5 mm."""
_LOOK_BACK_NS = 100_000_000
"""Over which it is taken how a vehicle moves that is carried on."""
_STRAGGLER_NS = 10**9
"""How far ahead of simulated time a transform must be to be from before a jump."""


class TransformError(SegPerceptionError):
    """A transform that cannot be used. cause: tf_not_installed, tf_missing, tf_late, tf_past, tf_invalid or
    ground_frame."""

    def __init__(self, cause: str, sentence: str) -> None:
        super().__init__(sentence)
        self.cause = cause


def pose_of_optical_frame(translation_m: Sequence[float], quaternion_xyzw: Sequence[float]) -> CameraPose:
    """The camera body's pose from that of its optical frame (x right, y down, z forward), both in the base frame."""
    return CameraPose.of_optical(translation_m, turned(quaternion_xyzw))


def pose_of_body_frame(translation_m: Sequence[float], quaternion_xyzw: Sequence[float]) -> CameraPose:
    """The camera body's pose from that of its body frame (x ahead, y left, z up), both in the base frame."""
    return CameraPose.of_optical(translation_m, turned(quaternion_xyzw) @ OPTICAL_FROM_BODY.T)


def is_same_pose(one: CameraPose, other: CameraPose) -> bool:
    """Whether two poses differ by no more than rounding, so that nothing that hangs on the pose need be made again."""
    moves = (one.x - other.x, one.y - other.y, one.z - other.z)
    # Rotations, not angles: those jump where the camera looks straight down.
    turned = np.abs(one.base_from_optical() - other.base_from_optical()).max()
    return max(map(abs, moves)) <= _NOISE_M and bool(turned <= _NOISE_RAD)


class TransformSource:
    """Looks poses up in TF as of an image's stamp, without ever waiting for one. Any thread may look up.

    tolerance_s: where the transform of the stamp has not come yet, the newest one is taken if it is at most so much
    older; a vehicle of 10 m/s is then up to 10 * tolerance_s m away from where it is taken to be.
    """

    def __init__(self, node: Node) -> None:
        self._node = node
        self._tf2: Any = None
        self._buffer: Any = None
        self._listener: Any = None
        self._jumps: Any = None
        self._is_ended, self._changing = False, threading.Lock()
        self.problem = "TF is not listened to yet"

    def listen(self) -> None:
        """Listen to TF from now on, no more than once, and not after destroy. Any thread."""
        with self._changing:
            if self._listener is None and not self._is_ended:
                self._listen()

    def _listen(self) -> None:
        try:
            import tf2_ros
        except ImportError as error:
            self.problem = f"tf2_ros is not installed ({error}): install it"
            return
        self._tf2 = tf2_ros
        self._buffer = buffer = tf2_ros.Buffer()
        self._listener = tf2_ros.TransformListener(buffer, self._node)
        # Time that jumped back, as a recording's that begins again: tf2 would refuse what is older than what it has.
        # Humble's and Iron's Buffer has no such callback of its own.
        back = JumpThreshold(min_forward=None, min_backward=Duration(nanoseconds=-1), on_clock_change=True)
        self._jumps = self._node.get_clock().create_jump_callback(back, post_callback=lambda _: buffer.clear())

    def camera_pose(
        self, base_frame: str, camera_frame: str, stamp: Time, tolerance_s: float, axes: str = "optical"
    ) -> CameraPose:
        """The pose of the camera's body in base_frame, by its `optical` or its `body` frame; raises TransformError."""
        pose_of = pose_of_body_frame if axes == "body" else pose_of_optical_frame
        return pose_of(*self._lookup(base_frame, camera_frame, stamp, tolerance_s))

    def expect_same(self, base_frame: str, frame: str, stamp: Time, tolerance_s: float) -> None:
        """Raise TransformError unless two frames coincide."""
        (x, y, z), (turn_x, turn_y, turn_z, _) = self._lookup(base_frame, frame, stamp, tolerance_s)
        moved, turned = math.hypot(x, y, z), 2 * math.hypot(turn_x, turn_y, turn_z)
        if moved > _SAME_M or turned > _SAME_RAD:
            raise TransformError(
                "ground_frame",
                f"ground_frame '{frame}' is {moved:.3g} m and {turned:.3g} rad off {base_frame}, in which the ground is "
                "measured: name a frame that coincides with base_frame",
            )

    def planar_pose(self, odom_frame: str, base_frame: str, stamp: Time, tolerance_s: float) -> PlanarPose:
        """Where base_frame is in odom_frame, seen from above; raises TransformError.

        Where the transform of the stamp has not come yet, the vehicle goes on from the newest as it went before: odometry
        comes at 10 to 50 Hz, and between its messages a vehicle of 15 m/s would stand and jump by up to 1.5 m.
        """
        found = self._find(odom_frame, base_frame, stamp, tolerance_s)
        pose, at_ns = _seen_from_above(found), _stamp_ns(found)
        if not 0 < at_ns < stamp.nanoseconds:
            return pose
        try:
            earlier = self._find(odom_frame, base_frame, Time(nanoseconds=max(at_ns - _LOOK_BACK_NS, 1)), None)
        except TransformError:
            return pose
        before_ns = _stamp_ns(earlier)
        steps = (stamp.nanoseconds - at_ns) / (at_ns - before_ns) if before_ns < at_ns else 0.0
        return _carried_on(_seen_from_above(earlier), pose, steps, (at_ns - before_ns) / 1e9)

    def destroy(self) -> None:
        """Stop listening to TF, for good."""
        with self._changing:
            self._is_ended = True
            if self._listener is not None:
                self._jumps.unregister()
                self._listener.unregister()
                self._listener = self._buffer = None

    def _lookup(
        self, target: str, source: str, stamp: Time, tolerance_s: float
    ) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Translation in m and unit quaternion (x, y, z, w) of source in target."""
        return _numbers(self._find(target, source, stamp, tolerance_s))

    def _find(self, target: str, source: str, stamp: Time, tolerance_s: float | None) -> Any:
        """The TransformStamped of source in target, of finite numbers; tolerance_s: None = of no other time than stamp."""
        if self._buffer is None:
            raise TransformError("tf_not_installed", self.problem)
        # tf2 takes no name as ROS 1 wrote it, and has left the "/" out of what was published.
        target, source = target.lstrip("/"), source.lstrip("/")
        way = f"from {quoted(source) or 'an image without a frame_id'} to {target}"
        try:
            try:
                found = self._buffer.lookup_transform(target, source, stamp)
            except self._tf2.ExtrapolationException:
                if tolerance_s is None:
                    raise
                found = self._newest(target, source, stamp, tolerance_s, way)
        except self._tf2.TransformException as error:
            raise TransformError(
                "tf_missing", f"no transform {way} ({quoted(error, LONGEST_REASON)}): publish it in TF"
            ) from error
        at, turn = found.transform.translation, found.transform.rotation
        numbers = (at.x, at.y, at.z, turn.x, turn.y, turn.z, turn.w)
        norm = math.hypot(turn.x, turn.y, turn.z, turn.w)
        if not all(abs(number) < _FARTHEST_M for number in numbers) or abs(norm - 1) > NORM_TOLERANCE:
            raise TransformError(
                "tf_invalid",
                f"the transform {way} holds {', '.join(f'{number:g}' for number in numbers)}: "
                f"mend what publishes it, since its numbers must be finite and below {_FARTHEST_M:g} m, "
                "and its quaternion of length 1",
            )
        return found

    def _newest(self, target: str, source: str, stamp: Time, tolerance_s: float, way: str) -> Any:
        found = self._buffer.lookup_transform(target, source, Time())
        late_s = (stamp.nanoseconds - _stamp_ns(found)) * 1e-9
        if late_s < 0:
            self._forget_stragglers(_stamp_ns(found))
            raise TransformError(
                "tf_past",
                f"the image's stamp is {-late_s:.2f} s before the newest transform {way} and before all that TF keeps: "
                "mend the camera's clock or what makes its images so late",
            )
        if late_s > tolerance_s:
            raise TransformError(
                "tf_late",
                f"the newest transform {way} is {late_s:.2f} s older than the image: publish it more often, mend the "
                f"clocks, or raise tf_tolerance ({tolerance_s:g} s)",
            )
        return found

    def _forget_stragglers(self, newest_ns: int) -> None:
        """Begin anew where a transform from before simulated time jumped back came after that: TF would refuse all that
        is older for ever."""
        clock = self._node.get_clock()
        if clock.ros_time_is_active and newest_ns > clock.now().nanoseconds + _STRAGGLER_NS:
            self._buffer.clear()


def _stamp_ns(found: Any) -> int:
    """Below 0 where it is no time: rclpy's Time takes none such."""
    stamp = found.header.stamp
    return int(stamp.sec * 10**9 + stamp.nanosec)


def _numbers(found: Any) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Translation in m and unit quaternion (x, y, z, w) of a TransformStamped."""
    at, turn = found.transform.translation, found.transform.rotation
    norm = math.hypot(turn.x, turn.y, turn.z, turn.w)
    return (at.x, at.y, at.z), (turn.x / norm, turn.y / norm, turn.z / norm, turn.w / norm)


def _seen_from_above(found: Any) -> PlanarPose:
    (at_x, at_y, _), (x, y, z, w) = _numbers(found)
    return PlanarPose(at_x, at_y, math.atan2(2 * (x * y + z * w), 1 - 2 * (y * y + z * z)))


def _carried_on(before: PlanarPose, pose: PlanarPose, steps: float, step_s: float) -> PlanarPose:
    """The pose after so many steps like that from before to pose, which took step_s: on along the same arc."""
    x, y, turned = pose.x - before.x, pose.y - before.y, math.remainder(pose.yaw - before.yaw, 2 * math.pi)
    if math.hypot(x, y) > FASTEST_M_S * step_s:
        return pose
    bend = turned * (1 + steps) / 2  # between the middles of the two chords
    cos, sin = steps * math.cos(bend), steps * math.sin(bend)
    return PlanarPose(pose.x + cos * x - sin * y, pose.y + sin * x + cos * y, pose.yaw + steps * turned)
