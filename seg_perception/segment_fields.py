"""What a Segment message says of a segment, by field: the same for the node and for annotated bags. Needs no ROS."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from seg_perception.results import GroundMotion, Segment, Track

_IMAGE_MOTION = ("image_velocity_x", "image_velocity_y", "image_velocity_std_x", "image_velocity_std_y")
_NO_GROUND_MOTION = dict.fromkeys(
    ("foot_x", "foot_y", "velocity_x", "velocity_y", "velocity_std_x", "velocity_std_y", "velocity_correlation"),
    math.nan,
)
_NO_TRACK: Mapping[str, Any] = {
    **{"track_id": 0, "track_class_id": 0, "state": "", "age": 0.0, "seen": 0},
    **dict.fromkeys(_IMAGE_MOTION, math.nan),
    **_NO_GROUND_MOTION,
}


def segment_fields(segment: Segment, names: Sequence[str]) -> dict[str, Any]:
    """All fields of seg_perception_msgs/Segment. names: of the classes, by id."""
    x, y, width, height = segment.box
    return {
        "id": segment.id,
        "class_id": segment.class_id,
        "class_name": names[segment.class_id],
        "is_thing": segment.is_thing,
        "score": segment.score,
        "area": segment.area,
        **{"x": x, "y": y, "width": width, "height": height},
        **_track(segment.track),
    }


def _track(track: Track | None) -> Mapping[str, Any]:
    if track is None:
        return _NO_TRACK
    speed, std = track.velocity_px_s, track.velocity_std_px_s
    return {
        "track_id": track.id,
        "track_class_id": track.class_id,
        "state": track.state,
        "age": track.age_s,
        "seen": track.seen,
        **dict(zip(_IMAGE_MOTION, (*speed, *std), strict=True)),
        **(_NO_GROUND_MOTION if track.ground is None else _ground_motion(track.ground)),
    }


def _ground_motion(ground: GroundMotion) -> dict[str, float]:
    std_x, std_y = (math.sqrt(ground.covariance[axis][axis]) for axis in (2, 3))
    correlation = min(max(ground.covariance[2][3] / (std_x * std_y), -1.0), 1.0)
    numbers = (*ground.foot_m, *ground.velocity_m_s, std_x, std_y, correlation)
    return dict(zip(_NO_GROUND_MOTION, numbers, strict=True))
