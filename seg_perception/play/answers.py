"""The node's messages, as a planner reads them, back into the plain results of one frame."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from nav_msgs.msg import OccupancyGrid
from numpy.typing import NDArray
from sensor_msgs.msg import Image, LaserScan

from seg_perception.results import (
    Answer,
    Drivable,
    DrivableArea,
    FreeSpace,
    Grid,
    GroundMotion,
    LookAhead,
    Outline,
    Segment,
    Track,
)
from seg_perception_msgs.msg import DrivableAreas, Segments

WATCHED: dict[str, Any] = {
    "label_mask": Image,
    "instance_mask": Image,
    "confidence": Image,
    "segments": Segments,
    "drivable_areas": DrivableAreas,
    "drivable_grid": OccupancyGrid,
    "free_space": LaserScan,
}
PLANNER_TOPICS = ("label_mask", "drivable_areas")
"""What a planner needs and no more, to measure by: the node computes what is watched."""
NEEDED = frozenset({"label_mask", "instance_mask", "segments", "drivable_areas"})
"""An answer is complete with these; they all carry the camera image's stamp."""
ON_GROUND = ("drivable_grid", "free_space")
"""And with these, which come only where the node knows the camera's calibration and mounting."""


def answer(parts: Mapping[str, Any]) -> Answer:
    """The answer that these messages, by topic, make; `label_mask` must be among them."""
    semantic = _mask(parts["label_mask"], np.dtype(np.uint8))
    instances = parts.get("instance_mask")
    instance = np.zeros(semantic.shape, np.uint16) if instances is None else _mask(instances, np.dtype("<u2"))
    segments, areas = parts.get("segments"), parts.get("drivable_areas")
    grid, scan = (parts.get(name) for name in ON_GROUND)
    drivable = Drivable(
        () if areas is None else tuple(_area(area) for area in areas.areas),
        None if grid is None else _grid(grid),
        None if scan is None else _free_space(scan),
    )
    return Answer(semantic, instance, () if segments is None else tuple(map(_segment, segments.segments)), drivable)


def _mask(message: Image, dtype: np.dtype[Any]) -> NDArray[Any]:
    return np.frombuffer(message.data, dtype).reshape(message.height, message.width)


def _segment(message: Any) -> Segment:
    box = message.x, message.y, message.width, message.height
    track = _track(message) if message.track_id else None
    return Segment(message.id, message.class_id, message.is_thing, message.score, message.area, box, track)


def _track(message: Any) -> Track:
    """What a segment says of its thing's track; a message tells the box of what is seen, and no place's covariance."""
    ground = None
    if math.isfinite(message.foot_x):
        across = message.velocity_correlation * message.velocity_std_x * message.velocity_std_y
        unknown = math.nan
        covariance = (
            (unknown,) * 4,
            (unknown,) * 4,
            (unknown, unknown, message.velocity_std_x**2, across),
            (unknown, unknown, across, message.velocity_std_y**2),
        )
        foot, speed = (message.foot_x, message.foot_y), (message.velocity_x, message.velocity_y)
        ground = GroundMotion(foot, speed, covariance)
    return Track(
        message.track_id,
        message.track_class_id,
        message.state,
        message.age,
        message.seen,
        0.0,
        (message.x, message.y, message.width, message.height),
        (message.image_velocity_x, message.image_velocity_y),
        (message.image_velocity_std_x, message.image_velocity_std_y),
        ground,
    )


def _area(message: Any) -> DrivableArea:
    def outlines(parts: Any) -> tuple[Outline, ...]:
        return tuple(
            Outline(np.array([(p.x, p.y) for p in part.points], np.float32).reshape(-1, 2), part.hole) for part in parts
        )

    return DrivableArea(
        message.class_id,
        message.coverage,
        message.confidence,
        outlines(message.outlines_px),
        outlines(message.outlines_ground),
        message.area_m2,
        message.free_distance_m,
        message.free_distance_width_m,
        tuple(LookAhead(edge.ahead_m, edge.left_m, edge.right_m) for edge in message.edges),
        message.view_begins_m,
    )


def _grid(message: OccupancyGrid) -> Grid:
    cells = np.array(message.data, np.int8).reshape(message.info.height, message.info.width)
    origin = message.info.origin.position
    return Grid(cells, message.info.resolution, (origin.x, origin.y))


def _free_space(message: LaserScan) -> FreeSpace:
    ranges, seen = (np.array(values, np.float32) for values in (message.ranges, message.intensities))
    return FreeSpace(ranges, seen, message.angle_min, message.angle_increment, message.range_min, message.range_max)
