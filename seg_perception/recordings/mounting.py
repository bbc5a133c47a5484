"""A camera's mounting as static transforms, which is how a bag carries it, and back."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seg_perception.camera_model import OPTICAL_FROM_BODY, CameraPose

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
    optical frame to it."""
    parents = {str(t.child_frame_id).lstrip("/"): t for t in transforms}
    whole, frame = np.eye(4), optical_frame.lstrip("/")
    for _ in range(len(parents)):
        link = parents.get(frame)
        if link is None:
            return None
        whole = _matrix(link.transform) @ whole
        frame = str(link.header.frame_id).lstrip("/")
        if frame == BASE_FRAME:
            return _pose(whole)
    return None


def _matrix(transform: Any) -> NDArray[np.float64]:
    at, turn = transform.translation, transform.rotation
    x, y, z, w = np.array((turn.x, turn.y, turn.z, turn.w)) / math.hypot(turn.x, turn.y, turn.z, turn.w)
    return np.array(
        (
            (1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w), at.x),
            (2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w), at.y),
            (2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y), at.z),
            (0.0, 0.0, 0.0, 1.0),
        )
    )


def _pose(optical_in_base: NDArray[np.float64]) -> CameraPose:
    body = optical_in_base[:3, :3] @ OPTICAL_FROM_BODY
    x, y, z = map(float, optical_in_base[:3, 3])
    pitch = math.asin(max(-1.0, min(1.0, -float(body[2, 0]))))
    return CameraPose(x, y, z, math.atan2(body[2, 1], body[2, 2]), pitch, math.atan2(body[1, 0], body[0, 0]))
