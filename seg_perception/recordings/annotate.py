"""An annotated bag: the camera's images as they were recorded, its calibration and mounting, and the node's outputs beside
them. Plays with `ros2 bag play` and opens in Foxglove; written without ROS."""

from __future__ import annotations

import math
from collections import OrderedDict, deque
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer

from seg_perception.camera.video import MOST_HELD_BACK, header_of
from seg_perception.errors import SegPerceptionError
from seg_perception.ground.geometry import GroundProjection
from seg_perception.labels import LabelSet
from seg_perception.pictures.overlay import Overlay
from seg_perception.recordings import messages as kinds
from seg_perception.recordings.bag_file import INFO_TYPE, Bag, DamagedBagError, Entry, Key
from seg_perception.recordings.calibration import of_ros2
from seg_perception.recordings.messages import BagMessages
from seg_perception.recordings.mounting import BASE_FRAME
from seg_perception.recordings.sources import DEFAULT_RATE_HZ
from seg_perception.recordings.storage import as_asked
from seg_perception.recordings.topics import INFO_TOPIC, TF_TOPIC, beside, transforms_topic
from seg_perception.recordings.video_encoder import VideoEncoder
from seg_perception.recordings.video_topics import begins_anew
from seg_perception.recordings.video_types import FOXGLOVE, VIDEO_TYPES
from seg_perception.results import Grid, Result
from seg_perception.writing import folder_aside

NODE = "/segmentation"
"""Outputs have the names that the node gives them."""

JPEG_QUALITY = 90
LATCHED_TOPICS = (TF_TOPIC, "drivable_grid")


@contextmanager
def annotated_bag(path: Path, recording: Path, labels: LabelSet, codec: str | None = None) -> Iterator[AnnotatedBag]:
    """A new MCAP bag of what was found in the bag at recording: a file where path ends with .mcap, else a rosbag2 folder.
    labels: the model's; codec: of video_encoder.ENCODERS, for the overlay as video; None: each picture as JPEG.

    It is written aside and renamed when the block ends, and removed when it fails. Raises SegPerceptionError when there is
    something at path already.
    """
    if path.exists():
        raise SegPerceptionError(f"{path} exists already: give another name for the annotated bag, or take it away")
    path = path.resolve()  # of a link the target is written
    with folder_aside(path) as folder:
        aside = folder / path.stem  # the storage file is named after its folder
        writer = Writer(aside, version=8, storage_plugin=StoragePlugin.MCAP)
        # within the MCAP file, chunk by chunk, as every reader of it understands: masks shrink to a fiftieth
        writer.set_compression(CompressionMode.STORAGE, CompressionFormat.ZSTD)
        with writer, ExitStack() as recordings:
            bag = AnnotatedBag(writer, recording, labels, recordings, codec)
            yield bag
            bag.finish()
        as_asked(aside, path).rename(path)


class AnnotatedBag:
    """The open bag; what it takes goes to the disk in chunks of about 1 MB. counts: messages by topic."""

    def __init__(
        self, writer: Writer, recording: Path, labels: LabelSet, recordings: ExitStack, codec: str | None = None
    ) -> None:
        self._writer, self._path, self._recordings = writer, recording, recordings
        self._connections: dict[str, Any] = {}
        self._cameras: list[CameraAnnotation] = []
        self._transforms: set[str | None] = set()
        self.labels, self.codec = labels, codec
        self.messages = BagMessages(labels)
        self.counts: dict[str, int] = {}

    def camera(self, topic: str, *, alone: bool) -> CameraAnnotation:
        """What annotates one image topic of the recording. alone: whether it is the only one; several are told apart, as
        the node does, by a name before the output's, which is the topic's."""
        prefix = NODE if alone else f"{NODE}/{topic.strip('/')}"
        bag = self._recordings.enter_context(Bag(self._path))
        transforms = transforms_topic(bag, topic)
        recording = _Recording(self, bag, topic, None if transforms in self._transforms else transforms)
        self._transforms.add(transforms)
        self._cameras.append(CameraAnnotation(self, recording, prefix))
        return self._cameras[-1]

    def finish(self) -> None:
        """Copy what belongs to the last images."""
        for camera in self._cameras:
            camera.finish()

    def write(self, topic: str, kind: str, message: Any, time_ns: int) -> None:
        """Add a message as recorded at time_ns."""
        if topic not in self._connections:
            latched = topic.endswith(LATCHED_TOPICS)
            self._connections[topic] = self._writer.add_connection(
                topic, kind, typestore=self.messages.types, offered_qos_profiles=(kinds.LATCHED,) if latched else ()
            )
            self.counts[topic] = 0
        self._writer.write(self._connections[topic], time_ns, self.messages.serialize(message, kind))
        self.counts[topic] += 1


class CameraAnnotation:
    """Writes the frames of one camera, in the order of its recording, and what was found in them."""

    def __init__(self, bag: AnnotatedBag, recording: _Recording, prefix: str) -> None:
        self._bag, self._recording, self._prefix = bag, recording, prefix
        self._overlay = Overlay(bag.labels)
        self._encoder = VideoEncoder(bag.codec, DEFAULT_RATE_HZ) if bag.codec else None
        self._drawn_ns = 0
        self._drawn: NDArray[np.uint8] | None = None
        self._grid: Grid | None = None

    def write(self, number: int, result: Result, projection: GroundProjection | None) -> None:
        """The recorded image of a frame and all that was found in it, under the image's own stamp and time of recording.

        number, projection: see CameraRecorder. Raises SegPerceptionError when the recording does not hold the image any
        more.
        """
        time_ns, recorded = self._recording.copy_image(number)
        messages, panoptic, drivable = self._bag.messages, result.panoptic, result.drivable
        header = messages.header(recorded)
        self._drawn = self._overlay.draw(result.frame.rgb, panoptic, drivable, self._drawn, projection)
        ground_frame = "" if projection is None else BASE_FRAME
        motion_frame = BASE_FRAME if result.motion_frame == "base" else ""
        outputs = {
            "label_mask": (kinds.IMAGE, messages.image(panoptic.semantic, header)),
            "instance_mask": (kinds.IMAGE, messages.image(panoptic.instance, header)),
            "segments": (kinds.SEGMENTS, messages.segments(panoptic, header, motion_frame)),
            "drivable_areas": (kinds.DRIVABLE_AREAS, messages.drivable_areas(drivable, header, ground_frame)),
        }
        if self._encoder is not None:
            self._write_video(self._encoder, self._encoder.encode(self._drawn, (header, time_ns)))
        else:
            outputs["segmentation_mask/compressed"] = (
                kinds.COMPRESSED,
                messages.jpeg(self._drawn, JPEG_QUALITY, header),
            )
        grid = drivable.grid
        if grid is None and self._grid is not None:  # latched, so that the last one would stay
            grid = replace(self._grid, cells=np.full_like(self._grid.cells, -1))
        if grid is not None:
            outputs["drivable_grid"] = (kinds.GRID, messages.grid(grid, messages.header(recorded, BASE_FRAME)))
        self._grid = drivable.grid
        for name, (kind, message) in outputs.items():
            self._bag.write(f"{self._prefix}/{name}", kind, message, time_ns)

    def finish(self) -> None:
        """Copy what belongs to the last image."""
        if self._encoder is not None:
            self._write_video(self._encoder, self._encoder.rest())
        self._recording.finish()

    def _write_video(self, encoder: VideoEncoder, packets: list[tuple[Any, bytes]]) -> None:
        for (header, time_ns), data in packets:
            # Readers sort by time: frames that were recorded in another order than they are shown in must not be.
            time_ns = self._drawn_ns = max(time_ns, self._drawn_ns + 1)
            message = kinds.video_message(self._bag.messages.types, encoder.codec, data, header)
            self._bag.write(f"{self._prefix}/segmentation_mask/foxglove", FOXGLOVE, message, time_ns)


class _Recording:
    """Copies one camera's images that are asked for, the calibration that was valid for each, and the static transforms.

    They are taken in the order of recording, one message at a time, so the memory does not grow with the bag. Images and
    calibration are read together, as BagSource does, so that both count images alike in a damaged bag; transforms are held
    packed. transforms: the topic of those, None where they need no copy.
    """

    def __init__(self, out: AnnotatedBag, bag: Bag, topic: str, transforms: str | None) -> None:
        self._out, self._bag, self._topic = out, bag, topic
        self._info_topic = beside(topic, INFO_TOPIC)
        camera = [topic, *([self._info_topic] if bag.types.get(self._info_topic) == INFO_TYPE else [])]
        self._entries = bag.entries(camera)
        self._transforms = deque(bag.entries([transforms] if transforms else []))
        self._taken = 0
        self._info: tuple[int, Any] | None = None
        self._start_ns: int | None = None
        self._copied_ns = 0
        self._is_video = bag.types[topic] in VIDEO_TYPES
        self._copied: OrderedDict[int, tuple[int, Any]] = OrderedDict()
        self._before: list[tuple[int, Key, Any]] = []

    def copy_image(self, number: int) -> tuple[int, Any]:
        """Copy the image of this number in its topic and what belongs to it; returns its time of recording in ns, and
        header. Stamps do not tell images apart: drivers repeat them, and bags that are joined jump back.

        Of video every packet is copied from the key frame on that the first image stands on.
        """
        while number not in self._copied:
            entry = next(self._entries, None)
            if entry is None:
                raise SegPerceptionError(
                    f"image {number} of {self._topic} is not in {self._bag.path} any more: evaluate again when nothing "
                    "writes to the bag"
                )
            if entry.topic != self._topic:
                self._keep(entry)
                continue
            if self._is_video:
                self._take_packet(self._taken, entry, number)
            elif self._taken == number:
                self._copy(number, entry.key, entry.read())
            self._taken += 1
        return self._copied.pop(number)

    def _take_packet(self, number: int, entry: Entry, wanted: int) -> None:
        """Copy a packet of video; before the first frame that is wanted only those that it stands on."""
        try:
            message = entry.read()
        except DamagedBagError:
            self._before.clear()  # what follows does not stand on them any more
            return
        if begins_anew(message):
            self._before.clear()
        self._before.append((number, entry.key, message))
        if self._start_ns is not None or number == wanted:
            for packet in self._before:
                self._copy(*packet)
            self._before.clear()

    def _copy(self, number: int, key: Key, message: Any) -> None:
        """An image, and what was kept for it."""
        time_ns, self._copied_ns = key
        self._start_ns = time_ns if self._start_ns is None else self._start_ns
        self._write_kept(self._start_ns, time_ns)
        self._out.write(self._topic, self._bag.types[self._topic], message, time_ns)
        self._copied[number] = time_ns, header_of(message)
        if len(self._copied) > MOST_HELD_BACK:  # no decoder shows it any more
            self._copied.popitem(last=False)

    def finish(self) -> None:
        """Copy what was recorded right after the last image, as some drivers send its calibration."""
        if self._start_ns is None:
            return
        until_ns = math.inf
        for entry in self._entries:
            if entry.topic == self._topic:
                until_ns = entry.time_ns
                break
            self._keep(entry)
        self._write_kept(self._start_ns, until_ns)

    def _keep(self, info: Entry) -> None:
        with suppress(DamagedBagError):  # BagSource tells of what it is for
            self._info = info.time_ns, info.read()
            if self._start_ns is not None and info.key[1] == self._copied_ns:  # it is of the image before it
                self._write_info(self._start_ns)

    def _write_kept(self, start_ns: int, until_ns: float) -> None:
        """The calibration, and the transforms that were recorded until then. What was recorded before the first copied image goes
        where that begins, lest a player waits for it."""
        while self._transforms and self._transforms[0].time_ns <= until_ns:
            sent = self._transforms.popleft()
            with suppress(DamagedBagError):  # nothing could be copied of it
                self._out.write(sent.topic, kinds.TF, sent.read(), max(sent.time_ns, start_ns))
        self._write_info(start_ns)

    def _write_info(self, start_ns: int) -> None:
        if self._info is not None:
            time_ns, message = self._info
            self._out.write(self._info_topic, kinds.CAMERA_INFO, of_ros2(message), max(time_ns, start_ns))
        self._info = None
