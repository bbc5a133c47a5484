"""A camera's mounting as static transforms, which is how a bag carries it, and back."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seg_perception.camera_model import NORM_TOLERANCE, CameraPose, turned
from seg_perception.errors import SegPerceptionError

BASE_FRAME = "base_footprint"
"""The frame on the ground that poses are in, as the node's parameter `base_frame` has it by default."""


def optical_quaternion(pose: CameraPose) -> tuple[float, float, float, float]:
    """Rotation (x, y, z, w) of the optical frame of a camera body in the base frame."""
    (sr, cr), (sp, cp), (sy, cy) = ((math.sin(a / 2), math.cos(a / 2)) for a in (pose.roll, pose.pitch, pose.yaw))
    x, y = sr * cp * cy - cr * sp * sy, cr * sp * cy + sr * cp * sy
    z, w = cr * cp * sy - sr * sp * cy, cr * cp * cy + sr * sp * sy
    # times (-1, 1, -1, 1) / 2, the fixed turn from body to optical axes
    return (-w + x - y - z) / 2, (w + x + y - z) / 2, (-w + x + y + z) / 2, (w + x - y + z) / 2


def pose_from_transforms(transforms: Iterable[Any], optical_frame: str) -> CameraPose | None:
    """The camera body's pose in BASE_FRAME from static TransformStamped messages; None where they do not link the
    optical frame to it. Raises SegPerceptionError where one of those that do is no transform."""
    parents = {str(t.child_frame_id).lstrip("/"): t for t in transforms}
    whole, frame = np.eye(4), optical_frame.lstrip("/")
    for _ in range(len(parents)):
        link = parents.get(frame)
        if link is None:
            return None
        whole = _matrix(link) @ whole
        frame = str(link.header.frame_id).lstrip("/")
        if frame == BASE_FRAME:
            return CameraPose.of_optical(whole[:3, 3], whole[:3, :3])
    return None


def _matrix(link: Any) -> NDArray[np.float64]:
    at, turn = link.transform.translation, link.transform.rotation
    numbers, place = np.array((turn.x, turn.y, turn.z, turn.w)), (at.x, at.y, at.z)
    norm = float(np.linalg.norm(numbers))
    if not np.isfinite((*numbers, *place)).all() or abs(norm - 1) > NORM_TOLERANCE:
        said = ", ".join(f"{number:g}" for number in (*place, *numbers))
        raise SegPerceptionError(
            f"the transform from {link.child_frame_id} to {link.header.frame_id} holds {said}: mend what publishes it, since "
            "its numbers must be finite and its quaternion of length 1"
        )
    whole = np.eye(4)
    whole[:3, :3], whole[:3, 3] = turned(numbers / norm), place
    return whole
