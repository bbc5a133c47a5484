"""Message types of compressed video, for bags that do not define them themselves."""

from __future__ import annotations

from typing import Any

from rosbags.typesys import get_types_from_msg

FOXGLOVE, FFMPEG = "foxglove_msgs/msg/CompressedVideo", "ffmpeg_image_transport_msgs/msg/FFMPEGPacket"
VIDEO_TYPES = (FOXGLOVE, FFMPEG)

_FIELDS = {
    FOXGLOVE: "builtin_interfaces/Time timestamp\nstring frame_id\nuint8[] data\nstring format",
    FFMPEG: "std_msgs/Header header\nint32 width\nint32 height\nstring encoding\nuint64 pts\nuint8 flags\n"
    "bool is_bigendian\nuint8[] data",
}


def video_definitions() -> dict[str, Any]:
    """By name, as rosbags registers them."""
    found: dict[str, Any] = {}
    for kind, fields in _FIELDS.items():
        found.update(get_types_from_msg(fields, kind))
    return found
