"""Poses from TF: the arithmetic, and what is said of every way in which a transform can be of no use."""

from __future__ import annotations

import math
import sys
import threading
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from geometry_msgs.msg import TransformStamped
from places import TESTS
from rclpy.time import Time

from seg_perception.camera_model import CameraPose
from seg_perception.ros.extrinsics import (
    TransformError,
    TransformSource,
    is_same_pose,
    pose_of_body_frame,
    pose_of_optical_frame,
)

H = math.sqrt(0.5)

BASE, CAMERA = "base_footprint", "camera_optical"
AHEAD = (-0.5, 0.5, -0.5, 0.5)
"""Turn of an optical frame that looks straight ahead."""
TOLERANCE_S = 0.1


def quaternion(rotation: np.ndarray) -> tuple[float, float, float, float]:
    """x, y, z, w of a rotation matrix whose trace is above -1."""
    w = math.sqrt(1 + np.trace(rotation)) / 2
    x, y, z = (rotation[2, 1] - rotation[1, 2], rotation[0, 2] - rotation[2, 0], rotation[1, 0] - rotation[0, 1])
    return x / (4 * w), y / (4 * w), z / (4 * w), w


def turn(axis: int, angle: float) -> np.ndarray:
    a, b = (axis + 1) % 3, (axis + 2) % 3
    matrix = np.eye(3)
    matrix[a, a] = matrix[b, b] = math.cos(angle)
    matrix[a, b], matrix[b, a] = -math.sin(angle), math.sin(angle)
    return matrix


@pytest.mark.parametrize("angles", [(0.0, 0.0, 0.0), (0.0, 0.3, 0.0), (0.1, -0.2, 0.7), (-0.3, 0.4, 1.2)])
def test_the_body_pose_of_an_optical_frame(angles: tuple[float, float, float]) -> None:
    roll, pitch, yaw = angles
    body = turn(2, yaw) @ turn(1, pitch) @ turn(0, roll)
    optical = body @ np.array([[0, 0, 1], [-1, 0, 0], [0, -1, 0]])  # columns: x right, y down, z ahead of the body
    pose = pose_of_optical_frame((1.0, 2.0, 3.0), quaternion(optical))
    expected = CameraPose(1.0, 2.0, 3.0, roll, pitch, yaw)
    by_body = pose_of_body_frame((1.0, 2.0, 3.0), quaternion(body))
    for name in ("x", "y", "z", "roll", "pitch", "yaw"):
        assert getattr(pose, name) == pytest.approx(getattr(expected, name), abs=1e-9), name
        assert getattr(by_body, name) == pytest.approx(getattr(expected, name), abs=1e-9), name


def test_a_camera_that_looks_down_has_positive_pitch() -> None:
    half = math.sqrt(0.5)
    level = pose_of_optical_frame((0, 0, 1), (-0.5, 0.5, -0.5, 0.5))
    assert (level.roll, level.pitch, level.yaw) == pytest.approx((0, 0, 0))
    straight_down = pose_of_optical_frame((0, 0, 1), (half, -half, 0.0, 0.0))
    assert straight_down.pitch == pytest.approx(math.pi / 2)


@pytest.mark.parametrize(
    "quaternion",
    [(H, -H, 0.0, 0.0), (1.0, 0.0, 0.0, 0.0), (0.0, 1.0, 0.0, 0.0), (H, H, 0.0, 0.0), (0.0, 0.0, 0.0, 1.0),
     (0.0, 0.0, H, H), (math.sin(0.4), math.cos(0.4), 0.0, 0.0)],
)  # fmt: skip
def test_a_camera_straight_down_or_up_keeps_its_turn(quaternion: tuple[float, ...]) -> None:
    x, y, z, w = quaternion
    rotation = np.array(
        (
            (1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)),
            (2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)),
            (2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)),
        )
    )
    np.testing.assert_allclose(pose_of_optical_frame((0, 0, 1), quaternion).base_from_optical(), rotation, atol=1e-9)


def test_angles_that_jump_are_no_new_pose() -> None:
    """Straight down the same view has many angles."""
    one, other = CameraPose(0, 0, 1, 0.0, math.pi / 2, 0.3), CameraPose(0, 0, 1, 1.0, math.pi / 2, 1.3)
    assert is_same_pose(one, other)
    assert not is_same_pose(one, CameraPose(0, 0, 1, 0.0, math.pi / 2, 0.31))


def test_rounding_is_no_new_pose_and_a_hundredth_of_a_degree_is() -> None:
    pose = CameraPose(0.4, 0.0, 1.2, 0.0, 0.1, 0.0)
    assert is_same_pose(pose, CameraPose(0.4 + 1e-9, 0.0, 1.2, 0.0, 0.1 - 1e-9, 0.0))
    assert not is_same_pose(pose, CameraPose(0.4, 0.0, 1.2, 0.0, 0.1 + math.radians(0.01), 0.0))
    assert not is_same_pose(pose, CameraPose(0.4, 0.0, 1.201, 0.0, 0.1, 0.0))


def test_a_ros_without_tf_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tf2_ros", None)
    node: Any = None
    with pytest.raises(TransformError, match=r"^tf2_ros is not installed .*install it$") as refusal:
        source = TransformSource(node)
        source.listen()
        source.camera_pose(BASE, CAMERA, Time(), TOLERANCE_S)
    assert refusal.value.cause == "tf_not_installed"


class Listening:
    """A node that hands the subscriber's callback over, and what its clock calls where time jumps back."""

    def create_subscription(self, kind: Any, topic: str, callback: Callable[[Any], None], depth: int) -> Any:
        self.hear = callback

    def destroy_subscription(self, subscription: Any) -> None:
        self.hear = lambda message: None

    ros_time_is_active = False

    def get_clock(self) -> Any:
        return self

    def create_jump_callback(self, threshold: Any, post_callback: Callable[[Any], None]) -> Any:
        self.jump = post_callback
        return SimpleNamespace(unregister=lambda: None)


class Tf:
    """TransformSource on the stand-in for tf2_ros."""

    def __init__(self) -> None:
        self.node: Any = Listening()
        self.source = TransformSource(self.node)
        self.source.listen()

    def says(
        self,
        at: tuple[float, float, float],
        turn: tuple[float, float, float, float] = AHEAD,
        stamp_s: float = 0.0,
        parent: str = BASE,
        child: str = CAMERA,
    ) -> None:
        message = TransformStamped(child_frame_id=child)
        message.header.frame_id, message.header.stamp = parent, time_of(stamp_s).to_msg()
        v, q = message.transform.translation, message.transform.rotation
        (v.x, v.y, v.z), (q.x, q.y, q.z, q.w) = at, turn
        self.node.hear(message)

    def pose(self, stamp_s: float, base: str = BASE, camera: str = CAMERA) -> CameraPose:
        return self.source.camera_pose(base, camera, time_of(stamp_s), TOLERANCE_S)

    def refusal(self, stamp_s: float, base: str = BASE, camera: str = CAMERA) -> tuple[str, str]:
        with pytest.raises(TransformError) as refusal:
            self.pose(stamp_s, base, camera)
        return refusal.value.cause, str(refusal.value)


def time_of(seconds: float) -> Time:
    return Time(nanoseconds=round(seconds * 1e9))


@pytest.fixture
def tf(monkeypatch: pytest.MonkeyPatch) -> Tf:
    monkeypatch.syspath_prepend(str(TESTS / "fake_tf2"))
    monkeypatch.delitem(sys.modules, "tf2_ros", raising=False)
    return Tf()


@pytest.mark.parametrize("ends", [False, True])
def test_whoever_listens_at_the_same_time_there_is_one_listener_and_in_the_end_none(tf: Tf, ends: bool) -> None:
    """Parameters that change, in the executor's thread, while another configures or cleans up."""
    alive: list[str] = []
    other = threading.Thread(target=lambda: source.destroy() if ends else source.listen())

    class Slow(Listening):
        def create_subscription(self, *rest: Any) -> Any:
            alive.append("subscription")
            if not other.ident:
                other.start()
                other.join(0.2)  # unless it waits for this
            return super().create_subscription(*rest)

        def destroy_subscription(self, subscription: Any) -> None:
            alive.pop()

    node: Any = Slow()
    source = TransformSource(node)
    source.listen()
    other.join()
    assert len(alive) == (not ends)
    source.destroy()
    source.listen()
    assert not alive


def test_a_static_mounting_holds_for_every_stamp(tf: Tf) -> None:
    tf.says((0.4, 0.1, 1.2))
    for stamp_s in (0.0, 5.0, 1e9):
        assert tf.pose(stamp_s) == CameraPose(0.4, 0.1, 1.2, 0.0, 0.0, 0.0)


@pytest.mark.parametrize(("base", "camera"), [(BASE, f"/{CAMERA}"), (f"/{BASE}", CAMERA), (f"/{BASE}", f"/{CAMERA}")])
def test_a_name_as_ros_1_wrote_it_finds_its_frame(tf: Tf, base: str, camera: str) -> None:
    tf.says((0.4, 0.1, 1.2), parent=f"/{BASE}", child=f"/{CAMERA}")
    assert tf.pose(5.0, base, camera) == CameraPose(0.4, 0.1, 1.2, 0.0, 0.0, 0.0)
    cause, sentence = tf.refusal(5.0, base, "/")
    assert cause == "tf_missing" and "without a frame_id" in sentence


def test_a_moving_frame_is_taken_at_the_image_s_stamp_and_not_at_its_newest(tf: Tf) -> None:
    for stamp_s in (10.0, 10.1, 10.2):
        tf.says((stamp_s, 0.0, 1.2), stamp_s=stamp_s)
    assert tf.pose(10.1).x == 10.1
    assert tf.pose(0.0).x == 10.2, "an image without a stamp gets the newest"


def test_a_late_transform_is_replaced_by_the_newest_one_within_the_tolerance(tf: Tf) -> None:
    tf.says((1.0, 0.0, 1.2), stamp_s=10.0)
    assert tf.pose(10.09).x == 1.0
    cause, sentence = tf.refusal(10.25)
    assert cause == "tf_late"
    assert sentence == (
        "the newest transform from camera_optical to base_footprint is 0.25 s older than the image: publish it more "
        "often, mend the clocks, or raise tf_tolerance (0.1 s)"
    )
    tf.says((2.0, 0.0, 1.2), stamp_s=10.25)
    assert tf.pose(10.25).x == 2.0, "it has come"


def test_a_transform_from_before_all_time_is_late_and_no_frame_is_lost_by_it(tf: Tf) -> None:
    """As a driver sends whose clock runs back: rclpy's Time takes no stamp below 0."""
    tf.says((1.0, 0.0, 1.2), stamp_s=0.0, child="wheel")
    tf.node.hear(stamped(BASE, CAMERA, -5))
    tf.node.hear(stamped("odom", BASE, -5))
    assert tf.refusal(10.0)[0] == "tf_late"
    with pytest.raises(TransformError) as refusal:
        tf.source.planar_pose("odom", BASE, time_of(10.0), TOLERANCE_S)
    assert refusal.value.cause == "tf_late"
    assert tf.source.planar_pose("odom", BASE, time_of(0.0), TOLERANCE_S).x == 0.0


def stamped(parent: str, child: str, sec: int) -> TransformStamped:
    message = TransformStamped(child_frame_id=child)
    message.header.frame_id, message.header.stamp.sec = parent, sec
    return message


def test_an_image_from_before_all_that_tf_keeps(tf: Tf) -> None:
    tf.says((1.0, 0.0, 1.2), stamp_s=10.0)
    cause, sentence = tf.refusal(9.5)
    assert cause == "tf_past"
    assert sentence.startswith("the image's stamp is 0.50 s before the newest transform from camera_optical to ")


@pytest.mark.parametrize(
    ("frames", "words"),
    [
        ((BASE, "mast"), 'no transform from mast to base_footprint ("mast" passed to lookupTransform does not exist)'),
        ((BASE, "wheel"), "no transform from wheel to base_footprint ('base_footprint' and 'wheel' are not part of"),
        ((BASE, ""), "no transform from an image without a frame_id to base_footprint (frame_id cannot be empty)"),
    ],
)
def test_a_missing_transform(tf: Tf, frames: tuple[str, str], words: str) -> None:
    tf.says((0.0, 0.0, 1.2))
    tf.says((0.0, 0.0, 0.0), parent="other", child="wheel")
    cause, sentence = tf.refusal(0.0, *frames)
    assert cause == "tf_missing"
    assert sentence.startswith(words) and sentence.endswith(": publish it in TF")


@pytest.mark.parametrize(
    ("at", "turn"),
    [
        ((0.0, 0.0, 1.2), (0.0, 0.0, 0.0, 0.0)),
        ((0.0, 0.0, 1.2), (-0.5, 0.5, -0.5, 0.7)),
        ((0.0, 0.0, 1.2), (math.nan, 0.0, 0.0, 1.0)),
        ((0.0, math.inf, 1.2), AHEAD),
        ((-1e300, 0.0, 1.2), AHEAD),
    ],
)
def test_numbers_that_are_no_pose(
    tf: Tf, at: tuple[float, float, float], turn: tuple[float, float, float, float]
) -> None:
    tf.says(at, turn)
    cause, sentence = tf.refusal(0.0)
    assert cause == "tf_invalid"
    assert "camera_optical to base_footprint holds" in sentence and "of length 1" in sentence
    tf.says((0.0, 0.0, 1.2))
    assert tf.pose(0.0).z == 1.2, "it is mended"


def test_a_quaternion_that_is_only_rounded_is_brought_to_length_one(tf: Tf) -> None:
    tf.says((0.0, 0.0, 1.2), tuple(0.995 * number for number in AHEAD))  # type: ignore[arg-type]
    pose = tf.pose(0.0)
    assert (pose.roll, pose.pitch, pose.yaw) == pytest.approx((0.0, 0.0, 0.0), abs=1e-12)


@pytest.mark.parametrize("yaw", [0.0, 0.5, -3.0])
def test_the_vehicle_seen_from_above(tf: Tf, yaw: float) -> None:
    pitch = quaternion(turn(2, yaw) @ turn(1, 0.05))
    tf.says((3.0, -2.0, 0.3), pitch, parent="odom", child=BASE)
    pose = tf.source.planar_pose("odom", BASE, time_of(0.0), TOLERANCE_S)
    assert (pose.x, pose.y, pose.yaw) == pytest.approx((3.0, -2.0, yaw))


@pytest.mark.parametrize("rate_hz", [10.0, 20.0, 50.0])
@pytest.mark.parametrize("turn_rad_s", [0.0, -0.5])
def test_odometry_that_is_older_than_the_image_is_carried_on(tf: Tf, rate_hz: float, turn_rad_s: float) -> None:
    """A vehicle of 15 m/s, on a straight and on a curve: between two messages it does not stand."""

    def place(t: float) -> tuple[float, float, float]:
        if not turn_rad_s:
            return 15.0 * t, 0.0, 0.0
        radius = 15.0 / turn_rad_s
        return radius * math.sin(turn_rad_s * t), radius * (1 - math.cos(turn_rad_s * t)), turn_rad_s * t

    for i in range(int(rate_hz / 2) + 1):
        x, y, yaw = place(i / rate_hz)
        tf.says((x, y, 0.0), quaternion(turn(2, yaw)), 100.0 + i / rate_hz, "odom", BASE)
    newest_s = int(rate_hz / 2) / rate_hz
    for late_s in (0.4 / rate_hz, 0.9 / rate_hz):
        pose = tf.source.planar_pose("odom", BASE, time_of(100.0 + newest_s + late_s), TOLERANCE_S)
        assert (pose.x, pose.y, pose.yaw) == pytest.approx(place(newest_s + late_s), abs=0.01)


def test_odometry_without_a_past_or_that_jumped_is_not_carried_on(tf: Tf) -> None:
    tf.says((1.0, 2.0, 0.0), quaternion(turn(2, 0.3)), 100.0, "odom", BASE)
    pose = tf.source.planar_pose("odom", BASE, time_of(100.05), TOLERANCE_S)
    assert (pose.x, pose.y, pose.yaw) == pytest.approx((1.0, 2.0, 0.3))
    tf.says((51.0, 2.0, 0.0), quaternion(turn(2, 0.3)), 100.1, "odom", BASE)
    pose = tf.source.planar_pose("odom", BASE, time_of(100.15), TOLERANCE_S)
    assert (pose.x, pose.y, pose.yaw) == pytest.approx((51.0, 2.0, 0.3))
    tf.says((math.nan, 0.0, 0.0), quaternion(turn(2, 0.3)), 100.2, "odom", BASE)
    tf.says((52.0, 2.0, 0.0), quaternion(turn(2, 0.3)), 100.3, "odom", BASE)
    assert tf.source.planar_pose("odom", BASE, time_of(100.35), TOLERANCE_S).x == pytest.approx(52.0)
