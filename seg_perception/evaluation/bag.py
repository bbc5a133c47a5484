"""Camera images, labels and calibration out of rosbag2 (sqlite3, MCAP) and ROS 1 bags, without ROS installed."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rosbags.highlevel import AnyReader
from rosbags.typesys import Stores, get_typestore

from seg_perception.camera_messages import BadImageError, to_camera_model, to_rgb
from seg_perception.errors import SegPerceptionError, nearest_name
from seg_perception.evaluation.metrics import Truth
from seg_perception.evaluation.mounting import pose_from_transforms
from seg_perception.evaluation.sources import DEFAULT_RATE_HZ, Source, SourceFrame
from seg_perception.results import Frame

IMAGE_TOPIC, INFO_TOPIC, LABEL_TOPIC, INSTANCE_TOPIC = (
    "/camera/image_raw",
    "/camera/camera_info",
    "/camera/label",
    "/camera/instance",
)
"""Where `make-bag` writes; labels are looked for beside the image topic, under the same last names."""

TF_TOPIC = "/tf_static"
IMAGE_TYPES = ("sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage")
PENDING_FRAMES = 32
"""How many images wait for their labels, which may lie behind them in the bag."""


class DamagedBagError(SegPerceptionError):
    """A bag that cannot be read, from the start or from some message on."""


class Bag:
    """An open bag: its topics and its messages in order of time."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._reader = AnyReader([_readable(path)], default_typestore=get_typestore(Stores.LATEST))
            self._reader.open()
        except Exception as error:  # whatever rosbags' parsers meet in damaged bytes
            raise DamagedBagError(
                f"the bag {path} cannot be read ({_reason(error)}): 'ros2 bag reindex' may mend one that was cut off"
            ) from error
        self.types: dict[str, str] = {name: str(info.msgtype) for name, info in self._reader.topics.items()}
        self.counts: dict[str, int] = {name: int(info.msgcount) for name, info in self._reader.topics.items()}

    def __enter__(self) -> Bag:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._reader.close()

    @property
    def duration_s(self) -> float:
        """Time from the first to the last message in s."""
        return float(self._reader.duration) / 1e9

    def messages(self, topics: list[str]) -> Iterator[tuple[str, int, Any]]:
        """(topic, time of recording in ns, message) of these topics, in order of recording.

        Raises DamagedBagError where the bag's bytes make no sense.
        """
        wanted = [c for c in self._reader.connections if c.topic in topics]
        entries = iter(self._reader.messages(wanted)) if wanted else iter(())
        while True:
            try:
                entry = next(entries, None)
                message = self._reader.deserialize(entry[2], entry[0].msgtype) if entry else None
            except Exception as error:  # as above
                raise DamagedBagError(f"the bag {self.path} is damaged ({_reason(error)})") from error
            if entry is None:
                return
            yield entry[0].topic, entry[1], message

    def image_topic(self, wanted: str | None) -> str:
        """The image topic to take: the wanted one, or the only one, or the one with the most images.

        Raises SegPerceptionError listing what there is.
        """
        listed = ", ".join(f"{name} ({kind})" for name, kind in sorted(self.types.items())) or "none at all"
        if wanted is not None:
            if wanted not in self.types:
                raise SegPerceptionError(
                    f"the bag {self.path} has no topic {wanted}: {nearest_name(wanted, self.types)}"
                )
            if self.types[wanted] not in IMAGE_TYPES:
                kind = self.types[wanted]
                raise SegPerceptionError(
                    f"the topic {wanted} of {self.path} is a {kind}, no image: topics are {listed}"
                )
            return wanted
        images = [name for name, kind in self.types.items() if kind in IMAGE_TYPES and self.counts[name]]
        images = [name for name in images if name.rsplit("/", 1)[-1] not in ("label", "instance")]
        if not images:
            raise SegPerceptionError(f"the bag {self.path} holds no images: its topics are {listed}")
        return max(images, key=lambda name: self.counts[name])


class BagSource(Source):
    """Images of one topic of a bag, with the labels of its label and instance topics, matched by stamp."""

    def __init__(self, path: Path, topic: str | None = None) -> None:
        self._path = path
        self._calibration_problem: list[str] = []
        with Bag(path) as bag:
            self.topic = bag.image_topic(topic)
            base = self.topic.removesuffix("/compressed").rsplit("/", 1)[0]
            self._label, self._instance, self._info = (
                _present(bag, f"{base}/{name.rsplit('/', 1)[-1]}") for name in (LABEL_TOPIC, INSTANCE_TOPIC, INFO_TOPIC)
            )
            count = bag.counts[self.topic]
            rate = (count - 1) / bag.duration_s if count > 1 and bag.duration_s > 0 else DEFAULT_RATE_HZ
            super().__init__("bag", f"{path} {self.topic}", rate, count)
            self._take_calibration(bag)

    def _take_calibration(self, bag: Bag) -> None:
        """The camera model and mounting, where the bag tells them."""
        if self._info:
            self._take_info(next(message for _, _, message in bag.messages([self._info])))
        transforms = [link for _, _, message in bag.messages([TF_TOPIC]) for link in message.transforms]
        if transforms:
            _, _, image = next(bag.messages([self.topic]))
            self.pose = pose_from_transforms(transforms, image.header.frame_id)

    def _take_info(self, message: Any) -> None:
        lowered = message if hasattr(message, "k") else _Ros1Info(message)
        try:
            self.camera = to_camera_model(lowered)
        except SegPerceptionError as error:
            self._calibration_problem.append(f"{self._path} {self._info}: {error}")

    def _frames(self) -> Iterator[SourceFrame]:
        self.problems += self._calibration_problem
        waiting: deque[SourceFrame] = deque()
        labels: OrderedDict[tuple[str, int], NDArray[Any]] = OrderedDict()
        truth_topics = [topic for topic in (self._label, self._instance) if topic]
        for topic, stamp_ns, pixels, frame_id in self._pixels([self.topic, *truth_topics]):
            if topic == self.topic:
                waiting.append(SourceFrame(Frame(pixels, stamp_ns, frame_id), f"stamp {stamp_ns / 1e9:.3f} s"))
            else:
                labels[topic, stamp_ns] = pixels
                while len(labels) > 2 * PENDING_FRAMES:
                    labels.popitem(last=False)
            while waiting:
                oldest_ns = waiting[0].frame.stamp_ns
                if len(waiting) <= PENDING_FRAMES and any((topic, oldest_ns) not in labels for topic in truth_topics):
                    break
                yield self._labelled(waiting.popleft(), labels)
        for frame in waiting:
            yield self._labelled(frame, labels)

    def _pixels(self, topics: list[str]) -> Iterator[tuple[str, int, NDArray[Any], str]]:
        """(topic, stamp in ns, image or mask, frame) of what can be read; the rest is noted."""
        read = 0
        with Bag(self._path) as bag:
            try:
                for topic, time_ns, message in bag.messages(topics):
                    try:
                        pixels = to_rgb(message).copy() if topic == self.topic else _mask(message)
                    except BadImageError as error:
                        self.problems.append(f"{self._path} {topic} at {time_ns} ns: {error}")
                        continue
                    stamp = message.header.stamp
                    read += 1
                    # drivers that never set the stamp still have a time of recording
                    stamp_ns = int(stamp.sec) * 10**9 + int(stamp.nanosec) or time_ns
                    yield topic, stamp_ns, pixels, str(message.header.frame_id)
            except DamagedBagError as error:
                self.problems.append(f"after {read} messages {error}: the rest is left out")

    def _labelled(self, frame: SourceFrame, labels: OrderedDict[tuple[str, int], NDArray[Any]]) -> SourceFrame:
        stamp_ns = frame.frame.stamp_ns
        semantic = labels.pop((self._label, stamp_ns), None) if self._label else None
        instance = labels.pop((self._instance, stamp_ns), None) if self._instance else None
        if semantic is None:
            return frame
        try:
            truth = Truth(semantic, instance.astype(np.uint16) if instance is not None else None)
        except ValueError as error:
            self.problems.append(f"{self._path} labels at {stamp_ns} ns: {error}")
            return frame
        return SourceFrame(frame.frame, frame.name, truth)


class _Ros1Info:
    """A ROS 1 CameraInfo under the names of ROS 2."""

    def __init__(self, message: Any) -> None:
        self.width, self.height, self.distortion_model = message.width, message.height, message.distortion_model
        self.d, self.k, self.r, self.p = message.D, message.K, message.R, message.P
        self.binning_x, self.binning_y, self.roi = message.binning_x, message.binning_y, message.roi


def _mask(message: Any) -> NDArray[Any]:
    """A mono8 or mono16 image as it is, [H, W]; raises BadImageError."""
    depth = {"mono8": "u1", "8UC1": "u1", "mono16": "u2", "16UC1": "u2"}.get(message.encoding)
    if depth is None:
        raise BadImageError(
            "wrong_encoding", f"labels have the encoding '{message.encoding}': mono8 or mono16 is needed"
        )
    dtype = np.dtype((">" if message.is_bigendian else "<") + depth)
    if message.step < message.width * dtype.itemsize or len(message.data) < message.step * message.height:
        raise BadImageError(
            "truncated", f"labels of {message.width}x{message.height} hold {len(message.data)} bytes only"
        )
    pixels: NDArray[Any] = np.ndarray(
        (message.height, message.width), dtype, message.data, 0, (message.step, dtype.itemsize)
    )
    return pixels.astype(dtype.newbyteorder("="))


def _present(bag: Bag, topic: str) -> str | None:
    return topic if bag.counts.get(topic) else None


def _readable(path: Path) -> Path:
    """The path that rosbags reads: a folder with metadata, or the storage file in one without."""
    if not path.exists():
        raise SegPerceptionError(f"there is no bag {path}: check the path")
    if path.is_dir() and not (path / "metadata.yaml").is_file():
        return min(file for file in path.iterdir() if file.suffix in (".mcap", ".db3", ".bag"))
    return path


def _reason(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__
