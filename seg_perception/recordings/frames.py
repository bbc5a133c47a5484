"""Camera images, labels and calibration out of rosbag2 (sqlite3, MCAP) and ROS 1 bags, without ROS installed."""

from __future__ import annotations

import math
from collections import Counter, OrderedDict, deque
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from seg_perception.camera.messages import (
    TRUNCATED,
    UNDECODABLE,
    WRONG_ENCODING,
    BadImageError,
    ImageReader,
    check_compressed,
    to_camera_model,
)
from seg_perception.errors import SegPerceptionError
from seg_perception.faults import Faults
from seg_perception.labels import VOID
from seg_perception.recordings.bag_file import IMAGE_TYPES, INFO_TYPE, TF_TYPE, Bag, stamp_ns_of
from seg_perception.recordings.mounting import pose_from_transforms
from seg_perception.recordings.sources import DEFAULT_RATE_HZ, LabelFolder, Source, SourceFrame
from seg_perception.results import Frame, Truth

IMAGE_TOPIC, INFO_TOPIC, LABEL_TOPIC, INSTANCE_TOPIC = (
    "/camera/image_raw",
    "/camera/camera_info",
    "/camera/label",
    "/camera/instance",
)
"""Where `make-bag` writes; labels are looked for beside the image topic, under the same last names."""

TF_TOPIC = "/tf_static"
NO_CAMERA = ("label", "instance", "label_mask", "instance_mask", "confidence", "segmentation_mask")
"""Last names of image topics that no camera sends: labels, and what the node answers."""
PENDING_FRAMES = 32
"""How many images wait for their labels, which may lie behind them in the bag."""
LABEL_DELAY_NS = 10 * 10**9
"""How long after the excerpt's end its labels may have been recorded."""


@dataclass(frozen=True)
class Excerpt:
    """Which images of a bag to take: those recorded from start_s to end_s after the bag's first message, the first of
    them and then every stride-th.

    Raises SegPerceptionError when that is none.
    """

    start_s: float = 0.0
    end_s: float = math.inf
    stride: int = 1

    def __post_init__(self) -> None:
        if not 0 <= self.start_s < self.end_s:
            raise SegPerceptionError(
                f"the excerpt is from {self.start_s:g} to {self.end_s:g} s: give --start, at least 0, below --end"
            )
        if self.stride < 1:
            raise SegPerceptionError(f"--stride is {self.stride}: give 1 for every image, 2 for every second")


def image_topics(path: Path, wanted: Sequence[str] = (), *, everything: bool = False) -> list[str]:
    """The image topics of a bag to take: the wanted ones in their order, or every camera's, or without a wish the one
    with most images.

    Raises SegPerceptionError listing what there is.
    """
    with Bag(path) as bag:
        if wanted and not everything:
            return [bag.require_image(topic) for topic in dict.fromkeys(wanted)]
        found = [name for name, kind in sorted(bag.types.items()) if kind in IMAGE_TYPES and bag.counts[name]]
        found = [name for name in found if name.removesuffix("/compressed").rsplit("/", 1)[-1] not in NO_CAMERA]
        if not found:
            raise SegPerceptionError(f"the bag {path} holds no images: its topics are {bag.listed}")
        return found if everything else [max(found, key=lambda name: bag.counts[name])]


def beside(image_topic: str, usual: str) -> str:
    """The topic beside an image topic that has the last name of the usual one."""
    base = image_topic.removesuffix("/compressed").rsplit("/", 1)[0]
    return f"{base}/{usual.rsplit('/', 1)[-1]}"


class BagSource(Source):
    """Images of one topic of a bag, with their labels: of the label and instance topics, matched by stamp, or of a
    folder, where a file's name is the image's stamp in ns or its number among the topic's images, from 0.

    topic: None takes the one with most images. label_topic, instance_topic: None takes those beside the image topic
    where they are. void: label values that mean unlabelled, besides 255 (a folder has its own). Where several images
    have one stamp, labels go to them in their order. Memory holds PENDING_FRAMES images and labels at most.
    """

    def __init__(
        self,
        path: Path,
        topic: str | None = None,
        *,
        label_topic: str | None = None,
        instance_topic: str | None = None,
        labels: LabelFolder | None = None,
        void: Collection[int] = (),
        excerpt: Excerpt = Excerpt(),
    ) -> None:
        self._path, self._void, self._excerpt = path, list(void), excerpt
        self._folder = _NumberedLabels(labels) if labels else None
        self._calibration_problem: list[str] = []
        self._left_out: list[str] = []
        (self.topic,) = image_topics(path, [topic] if topic else [])
        with Bag(path) as bag:
            self._label = self._truth_topic(bag, label_topic, beside(self.topic, LABEL_TOPIC))
            self._instance = self._truth_topic(bag, instance_topic, beside(self.topic, INSTANCE_TOPIC))
            self._info = self._if_of(bag, beside(self.topic, INFO_TOPIC), INFO_TYPE)
            count = bag.counts[self.topic]
            rate = (count - 1) / bag.duration_s if count > 1 and bag.duration_s > 0 else DEFAULT_RATE_HZ
            whole = excerpt.start_s == 0 and excerpt.end_s == math.inf
            total = math.ceil(count / excerpt.stride) if whole else None
            super().__init__("bag", f"{path} {self.topic}", rate / excerpt.stride, total)
            self.part = self.topic
            self._take_calibration(bag)

    def _truth_topic(self, bag: Bag, wanted: str | None, usual: str) -> str | None:
        if wanted is not None:
            return bag.require_image(wanted)
        if self._folder is not None:
            return None
        return self._if_of(bag, usual, *IMAGE_TYPES) or self._if_of(bag, f"{usual}/compressed", *IMAGE_TYPES)

    def _if_of(self, bag: Bag, topic: str, *kinds: str) -> str | None:
        """The topic, None where the bag has none of that name or type; the latter is told."""
        if not bag.counts.get(topic):
            return None
        if bag.types[topic] in kinds:
            return topic
        self._left_out.append(f"{topic} of {self._path} is a {bag.types[topic]}, no {kinds[0]}: it is left out")
        return None

    def _take_calibration(self, bag: Bag) -> None:
        """The camera model and mounting, where the bag tells them."""
        info = next(bag.messages([self._info]), None) if self._info else None
        if info is not None:
            self._take_info(info[2])
        tf = self._if_of(bag, TF_TOPIC, TF_TYPE)
        transforms = [link for _, _, message in bag.messages([tf] if tf else []) for link in message.transforms]
        first = next(bag.messages([self.topic]), None) if transforms else None
        if first is not None:
            self.pose = pose_from_transforms(transforms, first[2].header.frame_id)

    def _take_info(self, message: Any) -> None:
        lowered = message if hasattr(message, "k") else _Ros1Info(message)
        try:
            self.camera = to_camera_model(lowered)
        except SegPerceptionError as error:
            self._calibration_problem.append(f"{self._path} {self._info}: {error}")

    def _frames(self) -> Iterator[SourceFrame]:
        self.problems += self._calibration_problem
        self.notes += self._left_out
        faults, oddities = Faults(), _Oddities(self.topic)
        waiting: deque[SourceFrame] = deque()
        masks: _Masks = OrderedDict()
        truth_topics = [topic for topic in (self._label, self._instance) if topic]
        with Bag(self._path) as bag:
            try:
                for topic, stamp_ns, found in self._read(bag, truth_topics, faults, oddities):
                    if isinstance(found, SourceFrame):
                        waiting.append(found)
                    else:
                        masks.setdefault((topic, stamp_ns), deque()).append(found)
                        while len(masks) > 2 * PENDING_FRAMES:
                            masks.popitem(last=False)
                    while waiting:
                        oldest_ns = waiting[0].frame.stamp_ns
                        whole = all((name, oldest_ns) in masks for name in truth_topics)
                        if not whole and len(waiting) <= PENDING_FRAMES:
                            break
                        yield self._labelled(waiting.popleft(), masks, faults)
                while waiting:
                    yield self._labelled(waiting.popleft(), masks, faults)
            finally:
                self.problems += [*bag.damage, *faults.sentences()]
                self.notes += oddities.sentences()

    def _read(
        self, bag: Bag, truth_topics: Sequence[str], faults: Faults, oddities: _Oddities
    ) -> Iterator[tuple[str, int, SourceFrame | NDArray[Any]]]:
        """(topic, stamp in ns, frame or mask) of what can be read; the rest is noted."""
        excerpt = self._excerpt
        start_ns = bag.start_ns + round(excerpt.start_s * 1e9)
        end_ns = None if math.isinf(excerpt.end_s) else bag.start_ns + round(excerpt.end_s * 1e9)
        images = inside = 0
        stop_ns = end_ns + (LABEL_DELAY_NS if truth_topics else 0) if end_ns is not None else None
        for topic, time_ns, read in bag.entries([self.topic, *truth_topics], stop_ns):
            if topic == self.topic:
                images += 1
                if time_ns < start_ns or (end_ns is not None and time_ns >= end_ns):
                    continue
                inside += 1
                if (inside - 1) % excerpt.stride:
                    continue
            try:
                message = read()
                stamp_ns = stamp_ns_of(message, time_ns)
                if topic != self.topic:
                    yield topic, stamp_ns, _mask(message)
                    continue
                frame = Frame(ImageReader().read(message), stamp_ns, str(message.header.frame_id))
                oddities.see(frame)
                name = f"frame {images - 1} at {stamp_ns / 1e9:.3f} s"
                truth = self._folder.truth(stamp_ns, images - 1) if self._folder else None
                yield topic, stamp_ns, SourceFrame(frame, name, truth)
            except SegPerceptionError as error:
                faults.add(f"{self._path} {topic} at {time_ns} ns", str(error))
        if not inside and not bag.damage:
            faults.add(
                f"{self._path} {self.topic}",
                f"none of its {bag.counts[self.topic]} images is in the excerpt, the bag is {bag.duration_s:.1f} s long: "
                "give another --start or --end",
            )

    def _labelled(self, item: SourceFrame, masks: _Masks, faults: Faults) -> SourceFrame:
        stamp_ns = item.frame.stamp_ns
        semantic, instance = (_take(masks, topic, stamp_ns) for topic in (self._label, self._instance))
        if semantic is None:
            return item
        if semantic.dtype != np.uint8:
            faults.add(f"{self._path} {self._label} at {stamp_ns} ns", "labels have 16 bits: class ids of 8 are needed")
            return item
        semantic[np.isin(semantic, self._void)] = VOID
        try:
            truth = Truth(semantic, instance.astype(np.uint16) if instance is not None else None)
        except ValueError as error:
            faults.add(f"{self._path} labels at {stamp_ns} ns", str(error))
            return item
        return SourceFrame(item.frame, item.name, truth)


_Masks = OrderedDict[tuple[str, int], deque[NDArray[Any]]]
"""Label and instance masks by topic and stamp in ns."""


def _take(masks: _Masks, topic: str | None, stamp_ns: int) -> NDArray[Any] | None:
    found = masks.get((topic, stamp_ns)) if topic else None
    if not found or topic is None:
        return None
    if len(found) == 1:
        del masks[topic, stamp_ns]
    return found.popleft()


class _NumberedLabels:
    """A folder of labels whose names are stamps in ns or numbers of frames."""

    def __init__(self, folder: LabelFolder) -> None:
        self._folder = folder
        self._stems: dict[int, str] = {}
        for file in sorted(folder.labels.glob("*.png")):
            stem = file.stem.removesuffix("_labels")
            if not stem.isdecimal() or int(stem) in self._stems:
                raise SegPerceptionError(
                    f"{file} cannot be told which image it labels: name label images by the image's stamp in ns or by its "
                    "number in the bag from 0, one for each"
                )
            self._stems[int(stem)] = stem

    def truth(self, stamp_ns: int, number: int) -> Truth | None:
        """Labels of an image, None when it has none; raises SegPerceptionError when they cannot be read."""
        stem = self._stems.get(stamp_ns, self._stems.get(number))
        return None if stem is None else self._folder.truth(Path(f"{stem}.png"))


class _Oddities:
    """What is odd about the images of a topic, though each can be read."""

    def __init__(self, topic: str) -> None:
        self._topic = topic
        self._latest: tuple[int, tuple[int, ...]] | None = None
        self._seen: Counter[str] = Counter()

    def see(self, frame: Frame) -> None:
        """The next image."""
        stamp_ns, size = frame.stamp_ns, frame.size_hw
        if self._latest is not None:
            self._seen["stamps jump back"] += stamp_ns < self._latest[0]
            self._seen["stamps repeat the one before"] += stamp_ns == self._latest[0]
            self._seen["images differ in size from the one before"] += size != self._latest[1]
        self._latest = stamp_ns, size

    def sentences(self) -> list[str]:
        """One a kind."""
        return [f"{self._topic}: {count} {kind}" for kind, count in self._seen.items() if count]


class _Ros1Info:
    """A ROS 1 CameraInfo under the names of ROS 2."""

    def __init__(self, message: Any) -> None:
        self.width, self.height, self.distortion_model = message.width, message.height, message.distortion_model
        self.d, self.k, self.r, self.p = message.D, message.K, message.R, message.P
        self.binning_x, self.binning_y, self.roi = message.binning_x, message.binning_y, message.roi


def _mask(message: Any) -> NDArray[Any]:
    """A mono8 or mono16 image, or a PNG of one, as it is, [H, W]; raises BadImageError."""
    if hasattr(message, "format"):
        return _png_mask(message)
    depth = {"mono8": "u1", "8UC1": "u1", "mono16": "u2", "16UC1": "u2"}.get(message.encoding)
    if depth is None:
        raise BadImageError(WRONG_ENCODING, f"labels have the encoding '{message.encoding}': mono8 or mono16 is needed")
    dtype = np.dtype((">" if message.is_bigendian else "<") + depth)
    if message.step < message.width * dtype.itemsize or len(message.data) < message.step * message.height:
        raise BadImageError(
            TRUNCATED, f"labels of {message.width}x{message.height} hold {len(message.data)} bytes only"
        )
    pixels: NDArray[Any] = np.ndarray(
        (message.height, message.width), dtype, message.data, 0, (message.step, dtype.itemsize)
    )
    return pixels.astype(dtype.newbyteorder("="))


def _png_mask(message: Any) -> NDArray[Any]:
    check_compressed(message)
    mask = cv2.imdecode(np.frombuffer(message.data, np.uint8), cv2.IMREAD_UNCHANGED)
    if mask is None or mask.ndim != 2:
        raise BadImageError(
            UNDECODABLE, f"the labels '{message.format}' are no image of one channel: mono8 or mono16 is needed"
        )
    return mask
