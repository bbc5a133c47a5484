"""Which camera_info of a bag is of which image: the one that was recorded last before it, as the node hears them, or the one
of its very stamp."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import islice
from types import SimpleNamespace
from typing import Any

import numpy as np

from seg_perception.camera.messages import RECTIFIED, to_camera_model
from seg_perception.camera_model import CameraModel
from seg_perception.errors import SegPerceptionError
from seg_perception.faults import Faults
from seg_perception.recordings.bag_file import Bag, Entry
from seg_perception.recordings.video_topics import without_form

LOOKED_THROUGH = 100
"""So many of the first messages are looked through for one that can be used: drivers send empty ones until they have read
their calibration, and a camera that has none sends nothing else."""
_NAMES = "width", "height", "fx", "fy", "cx", "cy", "skew"


class Calibration:
    """Of the images of one topic. first: what is known of their camera when the bag is opened, None where it has no
    camera_info that can be used, and then none is followed; notes, problems: on it, one sentence each."""

    def __init__(self, bag: Bag, image_topic: str, info_topic: str | None) -> None:
        self._path, self._images, self._infos = bag.path, image_topic, info_topic
        self._several = info_topic is not None and bag.counts[info_topic] > 1
        self.first: CameraModel | None = None
        self.notes: list[str] = []
        self.problems: list[str] = []
        faults = Faults()
        for entry in islice(bag.entries([info_topic] if info_topic else []), LOOKED_THROUGH):
            try:
                self.first = self._read(entry)
                break
            except SegPerceptionError as error:
                faults.add(f"{self._path} {info_topic}", str(error))
        if self.first is None:
            self.problems = faults.sentences()
        else:
            self.notes += [f"{sentence}; until then the first good one is taken" for sentence in faults.sentences()]

    def _read(self, entry: Entry) -> CameraModel:
        info = of_ros2(entry.read())
        rectified = without_form(self._images).rsplit("/", 1)[-1].startswith(RECTIFIED) and bool(np.any(info.p))
        camera = to_camera_model(info, rectified)
        if rectified and (np.any(info.d) or np.any(camera.rectification != np.eye(3))):
            self._note(
                f"{self._images}: images of such a name are rectified, so {self._infos} describes them by P and R; the node "
                "needs image_rectified: true"
            )
        if camera.note:
            self._note(f"{self._path} {self._infos}: {camera.note}")
        return camera

    def _note(self, sentence: str) -> None:
        if sentence not in self.notes:
            self.notes.append(sentence)

    @contextmanager
    def followed(self) -> Iterator[Followed]:
        """To be asked for the camera of each image in the order of recording."""
        where = f"{self._path} {self._infos}"
        if self.first is None or self._infos is None or not self._several:
            yield Followed(where, iter(()), self._read)
            return
        with Bag(self._path) as bag:
            yield Followed(where, bag.entries([self._infos]), self._read)


class Followed:
    """camera: of the image that was asked for last. The messages are read on their own way through the bag, one ahead."""

    def __init__(self, where: str, entries: Iterator[Entry], read: Callable[[Entry], CameraModel]) -> None:
        """where: for sentences; read: as of a Calibration, whose first one it begins with."""
        self._where, self._entries, self._read = where, entries, read
        self._next = next(entries, None)
        self._said, self._stamp_ns, self._has_begun = b"", 0, False
        self._faults, self._changes, self._first_change = Faults(), 0, ""
        self.camera: CameraModel | None = None

    def at(self, time_ns: int, stamp_ns: int) -> CameraModel | None:
        """Of the next image, which was recorded at time_ns; None where none has come that can be used."""
        while self._next is not None and (self._next.time_ns <= time_ns or self._comes_late(self._next, stamp_ns)):
            self._stamp_ns = self._next.header_stamp_ns
            if self._next.behind_stamp != self._said:
                self._said = self._next.behind_stamp
                self._take(self._next)
            self._next = next(self._entries, None)
        self._has_begun = True
        return self.camera

    def _comes_late(self, entry: Entry, stamp_ns: int) -> bool:
        """Whether it is of an image of that stamp, and the first that is: where a clock stands, all have one stamp."""
        return self._stamp_ns != entry.header_stamp_ns == stamp_ns

    def _take(self, entry: Entry) -> None:
        try:
            camera = self._read(entry)
        except SegPerceptionError as error:
            if self.camera is not None:  # those before it were told when the bag was opened
                self._faults.add(f"{self._where} at {entry.time_ns} ns", f"{error}; the one before stays")
            return
        if self._has_begun and self.camera is not None and camera != self.camera:
            self._first_change = self._first_change or f"at {entry.time_ns} ns ({_differences(self.camera, camera)})"
            self._changes += 1
        self.camera = camera

    @property
    def problems(self) -> list[str]:
        """Of those that were read so far and cannot be used, one sentence a kind."""
        return self._faults.sentences()

    @property
    def notes(self) -> list[str]:
        """That it changed from one of the images to the next, if it did."""
        if not self._changes:
            return []
        how_often = "once," if self._changes == 1 else f"{self._changes} times, first"
        return [
            f"{self._where} changes {how_often} {self._first_change}: each image is placed by the one that was "
            "recorded last before it"
        ]


def of_ros2(message: Any) -> Any:
    """A CameraInfo under the field names of ROS 2; ROS 1 writes D, K, R, P large."""
    return SimpleNamespace(**{name.lower(): value for name, value in vars(message).items()})


def _differences(before: CameraModel, now: CameraModel) -> str:
    """What differs between two cameras, for a sentence."""
    found = [
        f"{name} {old:g} to {new:g}" for name, old, new in zip(_NAMES, _numbers(before), _numbers(now)) if old != new
    ]
    if (before.distortion_model, before.distortion) != (now.distortion_model, now.distortion):
        found.append("its distortion")
    if before.rectification != now.rectification:
        found.append("its rotation R")
    return ", ".join(found)


def _numbers(camera: CameraModel) -> tuple[float, ...]:
    (fx, skew, cx), (_, fy, cy), _ = camera.K
    return camera.width, camera.height, fx, fy, cx, cy, skew
