"""The newest frame of every camera, and where a camera is mounted."""

from __future__ import annotations

import math
import sys
import threading
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from seg_perception.geometry import CameraPose
from seg_perception.ros.extrinsics import TransformSource, pose_of_optical_frame
from seg_perception.ros.inputs import Arrival, NewestFrames


def arrival(name: str) -> Arrival:
    return Arrival(name, 0.0)


def test_a_newer_frame_replaces_one_that_nobody_took() -> None:
    frames = NewestFrames(1)
    assert not frames.put(0, arrival("a"))
    assert frames.put(0, arrival("b"))
    assert frames.take() == (0, arrival("b"))
    assert not frames.put(0, arrival("c")), "b was taken, so nothing is replaced"


def test_cameras_are_served_in_turn() -> None:
    frames = NewestFrames(3)
    served = []
    for _ in range(6):
        frames.put(0, arrival("busy"))
        frames.put(2, arrival("busy too"))
        taken = frames.take()
        assert taken is not None
        served.append(taken[0])
    assert served == [0, 2, 0, 2, 0, 2]


def test_closing_wakes_who_waits() -> None:
    frames = NewestFrames(1)
    taken: list[object] = ["not yet"]
    thread = threading.Thread(target=lambda: taken.append(frames.take()))
    thread.start()
    frames.close()
    thread.join(10)
    assert taken == ["not yet", None]


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
    for name in ("x", "y", "z", "roll", "pitch", "yaw"):
        assert getattr(pose, name) == pytest.approx(getattr(expected, name), abs=1e-9), name


def test_a_camera_that_looks_down_has_positive_pitch() -> None:
    half = math.sqrt(0.5)
    level = pose_of_optical_frame((0, 0, 1), (-0.5, 0.5, -0.5, 0.5))
    assert (level.roll, level.pitch, level.yaw) == pytest.approx((0, 0, 0))
    straight_down = pose_of_optical_frame((0, 0, 1), (half, -half, 0.0, 0.0))
    assert straight_down.pitch == pytest.approx(math.pi / 2)


def test_a_ros_without_tf_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tf2_ros", None)
    node: Any = None
    pose, problem = TransformSource(node).lookup("base_footprint", "camera")
    assert pose is None
    assert problem.startswith("tf2_ros is not installed") and problem.endswith("give camera_pose instead")


def test_tf_is_asked_for_the_latest_pose_and_its_refusal_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stand-in with tf2_ros' interface: the wheels have no tf2_ros."""

    class TransformError(Exception):
        pass

    class Buffer:
        def lookup_transform(self, target: str, source: str, at: Any) -> Any:
            assert (target, at.nanoseconds) == ("base_footprint", 0)
            if source != "camera":
                raise TransformError(f'"{source}" does not exist')
            translation, rotation = SimpleNamespace(x=1.0, y=2.0, z=3.0), SimpleNamespace(x=-0.5, y=0.5, z=-0.5, w=0.5)
            return SimpleNamespace(transform=SimpleNamespace(translation=translation, rotation=rotation))

    class TransformListener:
        def __init__(self, buffer: Buffer, node: Any) -> None:
            pass

        def unregister(self) -> None:
            pass

    names = {"Buffer": Buffer, "TransformListener": TransformListener, "TransformException": TransformError}
    monkeypatch.setitem(sys.modules, "tf2_ros", SimpleNamespace(**names))
    node: Any = None
    source = TransformSource(node)
    pose, problem = source.lookup("base_footprint", "camera")
    assert pose is not None and (pose.x, pose.y, pose.z, problem) == (1.0, 2.0, 3.0, "")
    pose, problem = source.lookup("base_footprint", "mast")
    assert (pose, problem) == (None, 'no transform from mast to base_footprint ("mast" does not exist)')
    source.destroy()
