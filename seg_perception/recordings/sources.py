"""What frames come from: a folder of images, a camera device, or the synthetic drive; `video_file.py` has videos, `frames.py`
bags."""

from __future__ import annotations

import pickle
import zlib
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path

import cv2
import numpy as np
from tqdm import tqdm

from seg_perception.camera_model import CameraModel, CameraPose
from seg_perception.errors import SegPerceptionError
from seg_perception.files import (
    ScratchFile,
    image_files,
    in_either_form,
    is_file,
    one_form,
    quiet_opencv,
    read_mask,
    read_rgb,
    visible,
)
from seg_perception.ground.ego_mask import EgoMask
from seg_perception.image_limits import ImageLimits
from seg_perception.labels import VOID, LabelSet
from seg_perception.results import Frame, Truth
from seg_perception.synthetic.drive import SyntheticDrive

DEFAULT_RATE_HZ, FASTEST_HZ = 30.0, 1000.0
FOLDER_RATE_HZ = 10.0
"""Images of a folder carry no rate; this leaves a CPU time to answer each."""
SYNTHETIC_FRAMES = 150
FREE_DISTANCE_EVERY = 5
BAG_ENDINGS = (".mcap", ".db3", ".bag", ".bag.active")
"""The last is ROS 1's while it records, and stays where that was killed."""


@dataclass(frozen=True)
class SourceFrame:
    """One frame of a source, with what is known to be true of it. name: for reports and messages; free_distance_m:
    straight ahead of the base frame's origin, until the drivable ground ends; number: of a bag's image in its topic, from 0.
    """

    frame: Frame
    name: str
    truth: Truth | None = None
    free_distance_m: float | None = None
    number: int = 0


class Source(ABC):
    """Frames in the order of their stamps; every iteration starts anew, except from a device.

    kind and name say what it is. rate_hz: nominal frames a second. count: number of frames, None when not known before
    the end. live: frames come when they come, once. has_labels: whether there are label images or topics that `void`
    applies to. labels: what the values of the truth mean, None = the model's label set. ego: where its images show the own
    vehicle, whose pixels then count as unlabelled. part: which one of several in the same recording it is, such as a
    topic. Of the latest iteration, one sentence each: problems, what could not be read; notes, what is odd but cost
    nothing.
    """

    def __init__(self, kind: str, name: str, rate_hz: float, count: int | None) -> None:
        self.kind, self.name, self.rate_hz, self.count = kind, name, rate_hz, count
        self.live = self.stamped = self.has_labels = False
        self.labels: LabelSet | None = None
        self.camera: CameraModel | None = None
        self.pose: CameraPose | None = None
        self.ego: EgoMask | None = None
        self.part = ""
        self.problems: list[str] = []
        self.notes: list[str] = []
        self.limit: int | None = None

    def __iter__(self) -> Iterator[SourceFrame]:
        self.problems, self.notes = [], []
        return map(self._without_ego, islice(self._frames(), self.limit))

    def _without_ego(self, item: SourceFrame) -> SourceFrame:
        """A frame whose truth leaves the own vehicle out. Raises SegPerceptionError where the ego mask is of another shape."""
        if self.ego is None:
            return item
        height, width = item.frame.size_hw
        if misfit := self.ego.misfit((width, height)):
            raise SegPerceptionError(misfit)
        truth = item.truth
        if truth is None:
            return item
        own = self.ego.pixels((width, height), (truth.semantic.shape[0], truth.semantic.shape[1])) > 0
        instance = None if truth.instance is None else np.where(own, np.uint16(0), truth.instance)
        return replace(item, truth=Truth(np.where(own, np.uint8(VOID), truth.semantic), instance))

    @property
    def total(self) -> int | None:
        """Number of frames that an iteration gives, None when not known before the end."""
        return self.limit if self.count is None else min(self.count, self.limit or self.count)

    def prepare(self, folder: Path) -> None:  # noqa: B027 - most need nothing
        """Make ready to give frames at the nominal rate, with scratch files in folder; until close."""

    def close(self) -> None:  # noqa: B027
        """Give back what prepare took."""

    @abstractmethod
    def _frames(self) -> Iterator[SourceFrame]: ...

    def _stamp_ns(self, index: int) -> int:
        return round(index * 1e9 / self.rate_hz)


class DeviceSource(Source):
    """A V4L2 camera."""

    def __init__(self, device: str) -> None:
        self._device = device
        super().__init__("device", device, DEFAULT_RATE_HZ, None)
        self.live = True
        self._capture = open_capture(device, cv2.CAP_V4L2)
        if not self._capture.isOpened():
            raise SegPerceptionError(
                f"the camera {device} cannot be opened: check that it is there ('ls /dev/video*'), that no other program "
                "uses it, and that you are in the group 'video'"
            )
        check_size(self._capture, device)
        self.rate_hz = known_rate_hz(self._capture.get(cv2.CAP_PROP_FPS))

    def close(self) -> None:
        """Give the camera back."""
        self._capture.release()

    def _frames(self) -> Iterator[SourceFrame]:
        index = 0
        while True:
            readable, bgr = self._capture.read()
            if not readable:
                self.problems.append(f"the camera {self._device} stopped after {index} frames")
                return
            rgb = cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB)
            yield SourceFrame(Frame(rgb, self._stamp_ns(index), "camera"), f"frame {index}")
            index += 1


@dataclass(frozen=True)
class LabelFolder:
    """Label images beside a folder of images: <stem>.png with class ids, 8 bit, or <stem>_labels.png as `predict` names
    them; instances (16 bit) likewise. void: values that stand for unlabelled, besides 255."""

    labels: Path
    instances: Path | None = None
    void: Collection[int] = field(default_factory=tuple)

    def __post_init__(self) -> None:
        for folder in (self.labels, self.instances):
            if folder is not None and not folder.is_dir():
                raise SegPerceptionError(f"there is no folder {folder}: name one with label images")
        if not self.files(self.labels):
            raise SegPerceptionError(
                f"the folder {self.labels} holds no label images: files are looked for that end in .png"
            )

    @staticmethod
    def files(folder: Path) -> list[Path]:
        """The label images of a folder in order, none where there is no folder."""
        return visible(folder.glob("*.png"))

    def truth(self, image: Path) -> Truth | None:
        """Labels of an image, None when it has none; raises SegPerceptionError when they cannot be read."""
        path = _mask_file(self.labels, image.stem, "labels")
        if path is None:
            return None
        semantic = read_mask(path, np.uint8)
        for value in self.void:
            semantic[semantic == value] = VOID
        ids = _mask_file(self.instances, image.stem, "instances") if self.instances else None
        instance = read_mask(ids, np.uint16) if ids else None
        if instance is not None and instance.shape != semantic.shape:
            raise SegPerceptionError(f"{ids} is {instance.shape}, but {path} {semantic.shape}: they must be alike")
        return Truth(semantic, instance)

    def spare(self, images: Collection[Path]) -> list[Path]:
        """Label images that belong to none of the images."""
        stems = {one_form(image.stem) for image in images}
        names = stems | {f"{stem}_labels" for stem in stems}
        others = {f"{stem}_instances" for stem in stems} if self.instances == self.labels else set()
        return [path for path in self.files(self.labels) if one_form(path.stem) not in names | others]


def _mask_file(folder: Path, stem: str, kind: str) -> Path | None:
    return next(
        (path for name in (stem, f"{stem}_{kind}") if is_file(path := in_either_form(folder / f"{name}.png"))), None
    )


class FolderSource(Source):
    """Images of a folder by name. Where it has the folders `images` and `labels` (and `instances`), those are taken."""

    def __init__(self, folder: Path, labels: LabelFolder | None = None, void: Collection[int] = ()) -> None:
        if labels is None and (folder / "images").is_dir():
            beside = folder / "instances"
            if LabelFolder.files(folder / "labels"):
                labels = LabelFolder(folder / "labels", beside if beside.is_dir() else None, void)
            self._files = image_files(folder / "images")
        else:
            self._files = image_files(folder)
        self._labels = labels
        super().__init__("folder", str(folder), FOLDER_RATE_HZ, len(self._files))
        self.has_labels = labels is not None
        if void and not self.has_labels:
            raise SegPerceptionError(f"--void is for labels, but the folder {folder} has none: leave it out")

    def _frames(self) -> Iterator[SourceFrame]:
        spare = self._labels.spare(self._files) if self._labels else []
        if self._labels and spare:
            masks = len(self._labels.files(self._labels.labels))
            self.problems.append(
                f"{self._labels.labels}: {len(spare)} of its {masks} masks belong to no image of {self.name}, the first is "
                f"{spare[0].name}: give label images the names of their images"
            )
        alone: list[str] = []
        for index, path in enumerate(self._files):
            try:
                truth = self._labels.truth(path) if self._labels else None
                frame = Frame(read_rgb(path), self._stamp_ns(index), "camera")
            except SegPerceptionError as error:
                self.problems.append(str(error))
                continue
            if truth and truth.instance is None:
                alone.append(path.name)
            yield SourceFrame(frame, path.name, truth)
        if alone and self._labels and self._labels.instances:
            self.problems.append(
                f"{self._labels.instances}: {len(alone)} labelled images have no instance mask there, the first is "
                f"{alone[0]}: they count for neither PQ nor AP"
            )


class SyntheticSource(Source):
    """The rendered drive, with exact labels, calibration and camera pose."""

    def __init__(self, frames: int = SYNTHETIC_FRAMES) -> None:
        self._drive = SyntheticDrive(frames=frames)
        self._drawn: ScratchFile | None = None
        self._places: list[tuple[int, int]] = []
        super().__init__("synthetic", "the synthetic drive", DEFAULT_RATE_HZ, frames)
        self.labels, self.camera, self.pose = self._drive.labels, self._drive.camera, self._drive.pose

    def prepare(self, folder: Path) -> None:
        """Draw all frames into a scratch file of folder: that takes longer than a camera's period."""
        self._drawn = ScratchFile(folder)
        for index in tqdm(range(self.total or 0), unit="frame", desc="draw"):
            item = self._draw(index)
            packed = zlib.compress(pickle.dumps(replace(item, frame=None)), 1)  # type: ignore[arg-type]
            head = np.array((item.frame.stamp_ns, len(packed)), np.int64).tobytes()
            self._places.append(self._drawn.append(head, packed, np.ascontiguousarray(item.frame.rgb).data))

    def close(self) -> None:
        """Forget what was drawn."""
        if self._drawn is not None:
            self._drawn.close()
            self._drawn, self._places = None, []

    def _frames(self) -> Iterator[SourceFrame]:
        for index in range(self.count or 0):
            yield self._draw(index) if self._drawn is None else self._read(self._drawn, self._places[index])

    def _draw(self, index: int) -> SourceFrame:
        drawn = self._drive.frame(index)
        # as costly as the frame itself, and it changes slowly
        free_m = self._drive.exact_free_distance(index) if index % FREE_DISTANCE_EVERY == 0 else None
        frame = Frame(drawn.rgb, drawn.stamp_ns, "camera")
        return SourceFrame(frame, f"frame {index}", Truth(drawn.semantic, drawn.instance), free_m)

    def _read(self, drawn: ScratchFile, place: tuple[int, int]) -> SourceFrame:
        data = memoryview(drawn.read(place))
        stamp_ns, length = np.frombuffer(data, np.int64, 2)
        known: SourceFrame = pickle.loads(zlib.decompress(data[16 : 16 + length]))  # our own file
        assert known.truth is not None
        rgb = np.frombuffer(data, np.uint8, offset=16 + int(length)).reshape(*known.truth.semantic.shape, 3)
        return replace(known, frame=Frame(rgb, int(stamp_ns), "camera"))


def open_capture(name: str, api: int = cv2.CAP_ANY) -> cv2.VideoCapture:
    """A video file or a camera as OpenCV opens it, or does not, without its own words."""
    with quiet_opencv():
        return cv2.VideoCapture(name, api)


def is_storage_file(path: Path) -> bool:
    """Whether a file is one of a bag by its name, compressed as a whole or not; hidden ones, such as a Mac leaves beside each,
    are none."""
    return path.name[0] != "." and path.name.removesuffix(".zstd").endswith(BAG_ENDINGS)


def known_rate_hz(told: float) -> float:
    """A rate as a file, a camera or the times of recording tell it; the usual one where it is none that a camera has."""
    return told if 0 < told <= FASTEST_HZ else DEFAULT_RATE_HZ


def check_size(capture: cv2.VideoCapture, name: str) -> None:
    """Raises BadImageError where its frames are too costly, as its header says."""
    sides = cv2.CAP_PROP_FRAME_HEIGHT, cv2.CAP_PROP_FRAME_WIDTH
    height, width = (max(0, int(capture.get(side))) for side in sides)
    ImageLimits().check((height, width), name)
