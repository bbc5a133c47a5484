"""Which numbers a frame's instance mask holds: those of the frame, or those of the tracks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from seg_perception.panoptic.instance_kernels import renumber
from seg_perception.results import Panoptic, Segment

INSTANCE_IDS = ("frame", "track")
FIRST_STUFF_ID = 65_280
"""By track, stuff has this plus its class as its id, beyond those of tracks."""


def track_mask(panoptic: Panoptic) -> NDArray[np.uint16]:
    """The instance mask, uint16 [H, W], with the numbers of tracks instead of its own, in a new array; 0 for what is no
    track."""
    numbers = np.zeros(1 + max((s.id for s in panoptic.segments if s.is_thing), default=0), np.uint16)
    for s in panoptic.segments:
        if s.track is not None:
            numbers[s.id] = s.track.id
    return numbers[panoptic.instance]


def numbered_by_track(panoptic: Panoptic) -> Panoptic:
    """The same with the ids of its tracks, in the mask too, which is changed in place; things that are no track are none."""
    things = [s for s in panoptic.segments if s.is_thing]
    numbers = np.zeros(max((s.id for s in things), default=0) + 1, np.uint16)
    segments: list[Segment] = []
    for s in panoptic.segments:
        if s.track is not None:
            numbers[s.id] = s.track.id
            segments.append(replace(s, id=s.track.id))
        elif not s.is_thing:
            segments.append(replace(s, id=FIRST_STUFF_ID + s.class_id))
    if things:
        _renumber_within(things, numbers, panoptic.instance)
    return replace(panoptic, segments=tuple(sorted(segments, key=lambda segment: segment.id)))


def _renumber_within(things: Sequence[Segment], numbers: NDArray[np.uint16], instance: NDArray[np.uint16]) -> None:
    left, top = (min(s.box[axis] for s in things) for axis in (0, 1))
    right, bottom = (max(s.box[axis] + s.box[axis + 2] for s in things) for axis in (0, 1))
    renumber(numbers, instance[top:bottom, left:right])
