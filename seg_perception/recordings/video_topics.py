"""The frames of a topic of compressed video in a bag."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from seg_perception.camera.messages import BadImageError
from seg_perception.camera.video import VideoReader, codec_of, is_key_frame
from seg_perception.camera_model import CameraModel
from seg_perception.errors import SegPerceptionError
from seg_perception.recordings.bag_file import Key
from seg_perception.recordings.heard import Heard


@dataclass(frozen=True)
class Place:
    """Of a message in its topic. number: among its images, from 0; key: its time of recording and stamp; heard: of its camera;
    inside: whether it lies in the excerpt; chosen: and is to be taken."""

    number: int
    key: Key
    heard: Heard[CameraModel]
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
            before = []  # what follows does not stand on them any more
            if place.chosen:
                yield place, error
            continue
        if not place.inside:
            if begins_anew(message):
                before = []
            elif not before:
                continue
            before.append((place, message))
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
