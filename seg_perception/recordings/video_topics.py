"""Topics of compressed video in bags: their message types, names of the forms of one camera's topic, and their frames."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from rosbags.typesys import get_types_from_msg

from seg_perception.camera.messages import BadImageError
from seg_perception.camera.video import VideoReader, codec_of, is_key_frame
from seg_perception.errors import SegPerceptionError

FOXGLOVE, FFMPEG = "foxglove_msgs/msg/CompressedVideo", "ffmpeg_image_transport_msgs/msg/FFMPEGPacket"
VIDEO_TYPES = (FOXGLOVE, FFMPEG)

_FIELDS = {
    FOXGLOVE: "builtin_interfaces/Time timestamp\nstring frame_id\nuint8[] data\nstring format",
    FFMPEG: "std_msgs/Header header\nint32 width\nint32 height\nstring encoding\nuint64 pts\nuint8 flags\n"
    "bool is_bigendian\nuint8[] data",
}

FORMS = ("/compressed", "/ffmpeg", "/foxglove")
"""What image_transport puts behind a camera's topic for what it makes of its images."""


def video_definitions() -> dict[str, Any]:
    """The types of video messages, for bags that do not define their own."""
    found: dict[str, Any] = {}
    for kind, fields in _FIELDS.items():
        found.update(get_types_from_msg(fields, kind))
    return found


def without_form(topic: str) -> str:
    """The camera's topic, of which this one is a form."""
    return next((topic.removesuffix(form) for form in FORMS if topic.endswith(form)), topic)


@dataclass(frozen=True)
class Place:
    """Of a message in its topic. number: among its images, from 0; key: of key_of; time_ns: of recording; inside: whether
    it lies in the excerpt; chosen: and is to be taken."""

    number: int
    key: tuple[int, int]
    time_ns: int
    inside: bool
    chosen: bool


Found = tuple[Place, Any]
"""An image and what ImageReader reads of it, or the error that stands for it."""


def video_images(messages: Iterable[tuple[Place, Callable[[], Any]]]) -> Iterator[Found]:
    """The chosen frames of a stream, in the order to show them; messages are read in the order of recording.

    Decoding begins at the last key frame before the excerpt, so that its first frames are there. Raises SegPerceptionError
    where this machine cannot decode the stream at all.
    """
    reader, before = VideoReader(), list[Found]()
    for place, read in messages:
        try:
            message = read()
        except SegPerceptionError as error:
            reader.lose()
            yield place, error
            continue
        if not place.inside:
            before = [*([] if begins_anew(message) else before), (place, message)]
            continue
        for earlier in before:
            yield from _decoded(reader, *earlier)
        before = []
        yield from _decoded(reader, place, message)
    yield from ((place, image) for place, image in reader.rest() if place.chosen)


def _decoded(reader: VideoReader, place: Place, message: Any) -> Iterator[Found]:
    try:
        frames = reader.read(message, place)
    except BadImageError as error:
        if place.chosen:
            yield place, error
        return
    yield from ((of, image) for of, image in frames if of.chosen)


def begins_anew(message: Any) -> bool:
    """Whether decoding may start with a packet."""
    try:
        return is_key_frame(codec_of(message), bytes(message.data))
    except BadImageError:
        return False
