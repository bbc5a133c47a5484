"""A camera's mounting as static transforms, which is how a bag carries it, and back."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seg_perception.camera.video import header_of
from seg_perception.camera_model import NORM_TOLERANCE, CameraPose, turned
from seg_perception.errors import SegPerceptionError, quoted
from seg_perception.recordings.bag_file import Bag
from seg_perception.recordings.heard import Account, Heard

BASE_FRAME = "base_footprint"
"""The frame on the ground that poses are in, as the node's parameter `base_frame` has it by default."""


def optical_quaternion(pose: CameraPose) -> tuple[float, float, float, float]:
    """Rotation (x, y, z, w) of the optical frame of a camera body in the base frame."""
    (sr, cr), (sp, cp), (sy, cy) = ((math.sin(a / 2), math.cos(a / 2)) for a in (pose.roll, pose.pitch, pose.yaw))
    x, y = sr * cp * cy - cr * sp * sy, cr * sp * cy + sr * cp * sy
    z, w = cr * cp * sy - sr * sp * cy, cr * cp * cy + sr * sp * sy
    # times (-1, 1, -1, 1) / 2, the fixed turn from body to optical axes
    return (-w + x - y - z) / 2, (w + x + y - z) / 2, (-w + x + y + z) / 2, (w + x - y + z) / 2


class Mounting:
    """Where the camera of a topic's images is on the vehicle, by a bag's static transforms; those that come first are also of
    the images before them. first: of the first image, None where it is not known; notes, problems: one sentence each, more of
    which may come where images name another frame."""

    def __init__(self, bag: Bag, image_topic: str, tf_topic: str | None) -> None:
        self._where, self._frame_id = f"{bag.path} {tf_topic}", ""
        self._known: dict[str, list[Heard[CameraPose]]] = {}
        self.first: CameraPose | None = None
        self.notes: list[str] = []
        self.problems: list[str] = []
        # Of a damaged bag they come as they lie there.
        messages = sorted(bag.messages([tf_topic] if tf_topic else []), key=lambda found: found[1])
        self._sent = list(_what_is_new(messages))
        image = next(bag.messages([image_topic]), None) if self._sent else None
        if image is not None:
            self._frame_id = str(header_of(image[2]).frame_id)
            self.first = self.at(image[1], self._frame_id).value

    @property
    def is_told(self) -> bool:
        """Whether there are static transforms at all."""
        return bool(self._sent)

    def at(self, time_ns: int, frame_id: str) -> Heard[CameraPose]:
        """What an image of that frame that was recorded then finds said."""
        if frame_id not in self._known:
            self._known[frame_id] = self._of_frame(frame_id)
        known = self._known[frame_id]
        place = bisect_right(known, time_ns, key=lambda heard: max(heard.time_ns, heard.fault_ns))
        return known[max(place - 1, 0)] if known else Heard()

    def _of_frame(self, frame_id: str) -> list[Heard[CameraPose]]:
        """All that is said of a frame one after the other, from the first that can be used on; tells where there is nothing."""
        links: dict[str, Any] = {}
        for link in (link for _, transforms in self._sent for link in transforms):
            links.setdefault(_child_of(link), link)
        no_way = f"no static transforms lead from the images' frame '{quoted(frame_id)}' to {BASE_FRAME}"
        known: list[Heard[CameraPose]] = []
        heard = Heard[CameraPose]()
        for time_ns, transforms in self._sent:
            links.update({_child_of(link): link for link in transforms})
            try:
                pose = pose_from_transforms(links.values(), frame_id)
            except SegPerceptionError as error:
                heard = heard.fails(str(error), time_ns)
            else:
                heard = Heard(pose, time_ns) if pose is not None else heard.fails(no_way, time_ns)
            if heard.value is not None and not (known and _are_alike(heard, known[-1])):
                known.append(heard)
        if not known and heard.fault == no_way:
            self.notes.append(f"{self._where}: {no_way}, so nothing is told in metres")
        elif not known:
            self.problems.append(f"{self._where}: {heard.fault}")
        return known

    def account(self) -> Account[CameraPose]:
        """For one way through the bag."""
        where = f"{self._where}: the mounting of '{quoted(self._frame_id)}'"
        return Account(where, _differences, "; `run` keeps the first")


def _what_is_new(messages: Iterable[tuple[str, int, Any]]) -> Iterator[tuple[int, list[Any]]]:
    """Times of recording, and those transforms of then that say another thing of a frame than the last: some nodes send theirs
    again and again."""
    latest: dict[str, tuple[str, Any]] = {}
    for _, time_ns, message in messages:
        new = []
        for link in message.transforms:
            child, said = _child_of(link), (link.header.frame_id, link.transform)
            if latest.get(child) != said:
                latest[child] = said
                new.append(link)
        if new:
            yield time_ns, new


def _are_alike(one: Heard[CameraPose], other: Heard[CameraPose]) -> bool:
    return (one.value, one.fault) == (other.value, other.fault)


def _differences(before: CameraPose, now: CameraPose) -> str:
    """What differs between two poses, for a sentence."""
    pairs = zip(vars(before).items(), vars(now).values())
    return ", ".join(f"{name} {old:g} to {new:g}" for (name, old), new in pairs if old != new)


def _child_of(link: Any) -> str:
    return str(link.child_frame_id).lstrip("/")


def pose_from_transforms(transforms: Iterable[Any], optical_frame: str) -> CameraPose | None:
    """The camera body's pose in BASE_FRAME from static TransformStamped messages; None where they do not link the
    optical frame to it. Raises SegPerceptionError where one of those that do is no transform."""
    parents = {_child_of(link): link for link in transforms}
    whole, frame = np.eye(4), optical_frame.lstrip("/")
    for _ in range(len(parents)):
        link = parents.get(frame)
        if link is None:
            return None
        whole = _matrix(link) @ whole
        frame = str(link.header.frame_id).lstrip("/")
        if frame == BASE_FRAME:
            return CameraPose.of_optical(whole[:3, 3], whole[:3, :3])
    return None


def _matrix(link: Any) -> NDArray[np.float64]:
    at, turn = link.transform.translation, link.transform.rotation
    numbers, place = np.array((turn.x, turn.y, turn.z, turn.w)), (at.x, at.y, at.z)
    norm = float(np.linalg.norm(numbers))
    if not np.isfinite((*numbers, *place)).all() or abs(norm - 1) > NORM_TOLERANCE:
        said = ", ".join(f"{number:g}" for number in (*place, *numbers))
        raise SegPerceptionError(
            f"the transform from {link.child_frame_id} to {link.header.frame_id} holds {said}: mend what publishes it, since "
            "its numbers must be finite and its quaternion of length 1"
        )
    whole = np.eye(4)
    whole[:3, :3], whole[:3, 3] = turned(numbers / norm), place
    return whole
