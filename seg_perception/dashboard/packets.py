"""Messages as the page reads them: a line of JSON, and where there are many numbers or a picture, bytes after it.

Needs no ROS: messages are read by their fields. JSON has no NaN and no infinity, so what is not known is null, and what
lies beyond the range the word "beyond".
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from seg_perception.ground.odometry import PlanarPose

Vehicle = PlanarPose | None
"""Where the vehicle is in a packet's frame; None: not known, so that what is in that frame cannot be drawn around it."""


def packet(kind: str, content: Mapping[str, Any], payload: bytes = b"") -> bytes:
    """kind and content as a line of JSON, then payload as it is."""
    line = json.dumps({"kind": kind, **content}, separators=(",", ":"), allow_nan=False)
    return line.encode() + b"\n" + payload


def plain(value: float) -> float | str | None:
    """A number as JSON can say it."""
    if math.isnan(value):
        return None
    return "beyond" if math.isinf(value) else round(value, 4)


def overlay(message: Any) -> bytes:
    """Of a sensor_msgs/CompressedImage, whose bytes go on as they are."""
    return packet("overlay", {"stamp_s": _stamp_s(message), "format": message.format}, bytes(message.data))


def grid(message: Any, vehicle: Vehicle) -> bytes:
    """Of a nav_msgs/OccupancyGrid: int8 [height, width], row 0 at its origin."""
    info, origin = message.info, message.info.origin
    content = {
        "stamp_s": _stamp_s(message),
        "frame": message.header.frame_id,
        "resolution": info.resolution,
        "width": info.width,
        "height": info.height,
        "origin": [origin.position.x, origin.position.y, _yaw(origin.orientation)],
        "vehicle": _numbers(vehicle),
    }
    return packet("grid", content, np.asarray(message.data, np.int8).tobytes())


def free_space(message: Any) -> bytes:
    """Of a sensor_msgs/LaserScan: float32 [K], m, as it is, NaN and infinity too."""
    content = {
        "stamp_s": _stamp_s(message),
        "frame": message.header.frame_id,
        "angle_min": message.angle_min,
        "angle_step": message.angle_increment,
        "range_max": message.range_max,
    }
    return packet("free_space", content, np.asarray(message.ranges, "<f4").tobytes())


def things(message: Any, vehicle: Vehicle, *, from_vehicle: bool) -> bytes:
    """Of a seg_perception_msgs/Segments: its things; stuff as names and shares. from_vehicle: whether speeds are as seen from the
    vehicle, and not over the ground."""
    pixels = max(message.width * message.height, 1)
    content = {
        "stamp_s": _stamp_s(message),
        "frame": message.motion_frame,
        "vehicle": _numbers(vehicle),
        "from_vehicle": from_vehicle,
        "things": [_thing(segment) for segment in message.segments if segment.is_thing],
        "stuff": [
            {"class": segment.class_name, "share": segment.area / pixels, "score": plain(segment.score)}
            for segment in message.segments
            if not segment.is_thing
        ],
    }
    return packet("things", content)


def _thing(segment: Any) -> dict[str, Any]:
    return {
        "class": segment.class_name,
        "score": plain(segment.score),
        "track": segment.track_id,
        "state": segment.state,
        "age": plain(segment.age),
        "foot": [plain(segment.foot_x), plain(segment.foot_y)],
        "velocity": [plain(segment.velocity_x), plain(segment.velocity_y)],
        "velocity_std": [plain(segment.velocity_std_x), plain(segment.velocity_std_y)],
    }


def areas(message: Any) -> bytes:
    """Of a seg_perception_msgs/DrivableAreas: one row a class."""
    rows = [
        {
            "class": area.class_name,
            "cost": area.cost,
            "coverage": plain(area.coverage),
            "area_m2": plain(area.area_m2),
            "ahead_m": plain(area.free_distance_m),
            "ahead_width_m": plain(area.free_distance_width_m),
            "view_begins_m": plain(area.view_begins_m),
        }
        for area in message.areas
    ]
    return packet("areas", {"stamp_s": _stamp_s(message), "frame": message.ground_frame, "areas": rows})


def diagnostics(message: Any, source: str) -> bytes | None:
    """Of a diagnostic_msgs/DiagnosticArray: what the node of a source says of itself and of it; None where it says nothing.

    source: a node's name, or that of one of its cameras below it (`/segmentation/front`).
    """
    statuses = [
        {
            "name": status.name.partition(": ")[2],
            "level": _level(status.level),
            "message": status.message,
            "values": {pair.key: pair.value for pair in status.values},
        }
        for status in message.status
        if _is_of(source, *status.name.split(": ", 1))
    ]
    return packet("diagnostics", {"stamp_s": _stamp_s(message), "statuses": statuses}) if statuses else None


def _is_of(source: str, node: str, part: str = "") -> bool:
    """Whether a part of what a node says is of a source: of the node or this camera of it, not of another camera."""
    if source == node:
        return True
    kind, _, camera = part.partition(" ")
    return source == f"{node}/{camera}" if kind == "camera" else source.startswith(f"{node}/")


def _level(level: bytes | int) -> int:
    """rclpy has a byte as bytes."""
    return level[0] if isinstance(level, bytes) else level


def _stamp_s(message: Any) -> float:
    return float(message.header.stamp.sec + message.header.stamp.nanosec * 1e-9)


def _yaw(turn: Any) -> float:
    return math.atan2(2 * (turn.w * turn.z + turn.x * turn.y), 1 - 2 * (turn.y * turn.y + turn.z * turn.z))


def _numbers(vehicle: Vehicle) -> list[float] | None:
    return None if vehicle is None else [vehicle.x, vehicle.y, vehicle.yaw]
