"""Films of moving things whose masks and numbers are exact: ellipses, the nearer before the farther."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from seg_perception.results import Panoptic, Segment

PERIOD_NS = 33_333_333


@dataclass(frozen=True)
class Thing:
    """place: (x, y) of its middle in px in second t; size: width, height in px; depth: nearer ones are smaller."""

    number: int
    place: Callable[[float], tuple[float, float]]
    size: tuple[float, float]
    class_id: int = 8
    depth: float = 1.0
    score: float = 0.9


def draw(things: Sequence[Thing], t: float, size_hw=(180, 320), least_px: int = 12) -> tuple[Panoptic, dict[int, int]]:
    """The masks in second t, ids by falling area as a network might have them, and which thing each id is."""
    height, width = size_hw
    rows, columns = np.mgrid[:height, :width]
    truth = np.zeros(size_hw, np.uint16)
    for thing in sorted(things, key=lambda thing: -thing.depth):
        x, y = thing.place(t)
        inside = ((columns - x) / thing.size[0] * 2) ** 2 + ((rows - y) / thing.size[1] * 2) ** 2 <= 1
        truth[inside] = thing.number
    semantic = np.full(size_hw, 3, np.uint8)
    seen = {thing.number: int((truth == thing.number).sum()) for thing in things}
    order = sorted((n for n in seen if seen[n] >= least_px), key=lambda n: (-seen[n], n))
    instance = np.zeros(size_hw, np.uint16)
    by_number = {thing.number: thing for thing in things}
    segments = []
    for new, number in enumerate(order, start=1):
        mask = truth == number
        instance[mask], semantic[mask] = new, by_number[number].class_id
        ys, xs = np.nonzero(mask)
        box = (int(xs.min()), int(ys.min()), int(np.ptp(xs)) + 1, int(np.ptp(ys)) + 1)
        thing = by_number[number]
        segments.append(Segment(new, thing.class_id, True, thing.score, seen[number], box))
    road = int((semantic == 3).sum())
    segments.append(Segment(len(order) + 1, 3, False, 0.9, road, (0, 0, width, height)))
    panoptic = Panoptic(semantic, instance, np.full(size_hw, 230, np.uint8), tuple(segments))
    return panoptic, dict(enumerate(order, start=1))
