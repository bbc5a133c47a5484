"""A camera's mounting from a bag's static transforms: as the node has it from TF, wherever the camera looks."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from seg_perception.camera_model import CameraPose, rotation
from seg_perception.errors import SegPerceptionError
from seg_perception.recordings.mounting import BASE_FRAME, optical_quaternion, pose_from_transforms

H = math.sqrt(0.5)


def link(parent: str, child: str, at: tuple[float, ...], turn: tuple[float, ...]) -> Any:
    """A TransformStamped."""
    (x, y, z), (qx, qy, qz, qw) = at, turn
    transform = SimpleNamespace(
        translation=SimpleNamespace(x=x, y=y, z=z), rotation=SimpleNamespace(x=qx, y=qy, z=qz, w=qw)
    )
    return SimpleNamespace(header=SimpleNamespace(frame_id=parent), child_frame_id=child, transform=transform)


@pytest.mark.parametrize(
    ("quaternion", "right"),
    [
        ((H, -H, 0.0, 0.0), (0.0, -1.0, 0.0)),
        ((1.0, 0.0, 0.0, 0.0), (1.0, 0.0, 0.0)),
        ((0.0, 1.0, 0.0, 0.0), (-1.0, 0.0, 0.0)),
        ((0.0, 0.0, 0.0, 1.0), (1.0, 0.0, 0.0)),
    ],
    ids=["down", "down, left", "down, right", "up"],
)
def test_a_camera_straight_down_or_up_keeps_its_turn(
    quaternion: tuple[float, ...], right: tuple[float, float, float]
) -> None:
    """right: where the picture's right lies in the base frame."""
    pose = pose_from_transforms([link(BASE_FRAME, "camera", (0.0, 0.0, 1.0), quaternion)], "camera")
    assert pose is not None
    np.testing.assert_allclose(pose.base_from_optical()[:, 0], right, atol=1e-9)
    np.testing.assert_allclose(np.linalg.det(pose.base_from_optical()), 1.0)


@given(
    roll=st.floats(-math.pi, math.pi),
    pitch=st.one_of(
        st.floats(-math.pi / 2, math.pi / 2),
        st.builds(lambda off, way: way * (math.pi / 2 - 10.0**off), st.floats(-17, -3), st.sampled_from((1, -1))),
    ),
    yaw=st.floats(-math.pi, math.pi),
)
def test_every_view_comes_back_from_its_quaternion(roll: float, pitch: float, yaw: float) -> None:
    """Also those that look nearly straight down."""
    given_pose = CameraPose(0.1, 0.2, 1.3, roll, pitch, yaw)
    pose = pose_from_transforms([link(BASE_FRAME, "camera", (0.1, 0.2, 1.3), optical_quaternion(given_pose))], "camera")
    assert pose is not None
    np.testing.assert_allclose(pose.base_from_optical(), given_pose.base_from_optical(), atol=2e-7)


def test_links_are_followed_to_the_base_and_only_there() -> None:
    half = (0.0, 0.0, math.sin(0.25), math.cos(0.25))
    mast = link(BASE_FRAME, "mast", (1.0, 0.0, 2.0), half)
    camera = link("/mast", "/camera", (1.0, 0.0, 0.0), optical_quaternion(CameraPose(0, 0, 0, pitch=0.3)))
    pose = pose_from_transforms([mast, camera], "/camera")
    assert pose is not None
    assert (pose.x, pose.y, pose.z) == pytest.approx((1 + math.cos(0.5), math.sin(0.5), 2.0))
    np.testing.assert_allclose(rotation(pose.roll, pose.pitch, pose.yaw), rotation(0.0, 0.3, 0.5), atol=1e-12)
    assert pose_from_transforms([camera], "camera") is None and pose_from_transforms([], "camera") is None
    circle = [link("a", "b", (0.0,) * 3, half), link("b", "a", (0.0,) * 3, half)]
    assert pose_from_transforms(circle, "a") is None


@pytest.mark.parametrize("turn", [(0.0, 0.0, 0.0, 0.0), (0.5, 0.5, 0.5, 0.9), (math.nan, 0.0, 0.0, 1.0)])
def test_what_is_no_rotation_is_refused_and_only_where_it_is_needed(turn: tuple[float, ...]) -> None:
    bad = link(BASE_FRAME, "camera", (0.0, 0.0, 1.0), turn)
    with pytest.raises(SegPerceptionError, match=r"from camera to base_footprint holds 0, 0, 1, .* of length 1"):
        pose_from_transforms([bad], "camera")
    good = link(BASE_FRAME, "other", (0.0, 0.0, 1.0), (0.0, 0.0, 0.0, 1.0))
    assert pose_from_transforms([bad, good], "other") is not None
