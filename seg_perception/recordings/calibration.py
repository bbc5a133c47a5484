"""Which camera_info of a bag is of which image: the one that was recorded last before it, as the node hears them, or the one
of its very stamp."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from itertools import islice
from types import SimpleNamespace
from typing import Any

import numpy as np

from seg_perception.camera.messages import RECTIFIED, to_camera_model
from seg_perception.camera_model import CameraModel
from seg_perception.errors import SegPerceptionError
from seg_perception.faults import Faults
from seg_perception.recordings.bag_file import Bag, Entry
from seg_perception.recordings.heard import Account, Heard
from seg_perception.recordings.topics import without_form

LOOKED_THROUGH = 100
"""So many of the first messages are looked through for one that can be used: drivers send empty ones until they have read
their calibration, and a camera that has none sends nothing else."""
MOST_WAITING = 2
"""Images that are held back for a camera_info of their stamp which was recorded after them."""
_NAMES = "width", "height", "fx", "fy", "cx", "cy", "skew"


class Calibration:
    """Of the images of one topic. first: what is known of their camera when the bag is opened, None where it has no
    camera_info that can be used; topics: of the images and of it, which are read together; notes, problems: on the calibration,
    one sentence each."""

    def __init__(self, bag: Bag, image_topic: str, info_topic: str | None) -> None:
        self._path, self._images, self._infos = bag.path, image_topic, info_topic
        self._count = bag.counts[info_topic] if info_topic else 0
        self.topics = [topic for topic in (image_topic, info_topic) if topic]
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

    def followed(self, entries: Iterable[Entry]) -> Iterator[tuple[Entry, Heard[CameraModel]]]:
        """The images among the messages of `topics`, which come in the order of recording, each with what it finds said of its
        camera: by the last camera_info before it, or by the one of its very stamp that was recorded a little later."""
        heard, info, left = Heard[CameraModel](), None, self._count
        waiting: deque[Entry] = deque()
        for entry in entries:
            if entry.topic == self._images:
                waiting.append(entry)
                while len(waiting) > (MOST_WAITING if left > 0 else 0):
                    yield waiting.popleft(), heard
                continue
            left -= 1
            while waiting and not _is_of(entry, info, waiting[0]):
                yield waiting.popleft(), heard
            if info is None or entry.behind_stamp != info.behind_stamp:
                heard = self._hear(entry, heard)
            info = entry
        yield from ((image, heard) for image in waiting)

    def _hear(self, entry: Entry, before: Heard[CameraModel]) -> Heard[CameraModel]:
        try:
            return Heard(self._read(entry), entry.time_ns)
        except SegPerceptionError as error:
            return before.fails(str(error), entry.time_ns)

    def account(self) -> Account[CameraModel]:
        """For one way through the bag."""
        return Account(f"{self._path} {self._infos}", _differences)


def _is_of(info: Entry, before: Entry | None, image: Entry) -> bool:
    """Whether a camera_info was recorded before an image, or is of its very stamp and the first that is: where a clock stands,
    all have one stamp. before: the camera_info before it."""
    stamp_ns, (time_ns, image_stamp_ns) = info.header_stamp_ns, image.key
    is_first = before is None or before.header_stamp_ns != stamp_ns
    return info.time_ns <= time_ns or (is_first and stamp_ns == image_stamp_ns)


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
