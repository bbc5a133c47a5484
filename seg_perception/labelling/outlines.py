"""A mask as polygons that people correct: few corners, no slivers, things apart, what is inside of another in front of it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from seg_perception.labelling.borders import Points, Ring, rings_of
from seg_perception.labelling.regions import Regions, is_void

TOLERANCE_PX = 1.5
LEAST_PX = 64


@dataclass(frozen=True)
class Outlined:
    """A thing, of one or more parts, or a connected part of stuff. rings: polygons of its parts, x and y in px from the image's
    corner, which do not overlap; area: px in them."""

    class_id: int
    rings: tuple[Points, ...]
    area: float


@dataclass
class _Found:
    """The parts of a thing or of stuff: outer rings, each with its holes; area: px within the outer rings."""

    class_id: int
    outer: list[Ring]
    holes: list[Ring]
    area: float
    cut: bool = False


def outlined(regions: Regions, tolerance: float = TOLERANCE_PX) -> list[Outlined]:
    """What a mask shows, the largest first, so that each is drawn over those before it; void is not outlined.

    Every pixel whose middle is farther than tolerance, px, from a border of regions is drawn as it was. A hole stays under
    what fills it; one that is not filled, or not by what is drawn later, is cut out by way of a seam.
    """
    found = _found(regions, rings_of(regions.number, tolerance))
    owner = np.full(len(regions.keys), -1, np.int64)
    for place, one in enumerate(found):
        owner[[ring.region for ring in one.outer]] = place
    for place, one in enumerate(found):
        one.cut = bool(one.holes) and not _is_filled(place, found, owner, regions.number)
    done = [Outlined(one.class_id, _rings(one), _area(one)) for one in found]
    return sorted(done, key=lambda one: -one.area)


def _found(regions: Regions, rings: Sequence[Ring]) -> list[_Found]:
    """Rings by what they bound: a thing's regions together, each of stuff alone."""
    groups: dict[tuple[int, int], list[Ring]] = defaultdict(list)
    for ring in rings:
        key = regions.keys[ring.region]
        if not is_void(key):
            groups[key, -1 if key >> 8 else ring.region].append(ring)
    found = []
    for (key, _), own in groups.items():
        outer = [ring for ring in own if ring.area > 0]
        holes = [ring for ring in own if ring.area < 0]
        found.append(_Found(key & 255, outer, holes, sum(ring.area for ring in outer)))
    return found


def _is_filled(place: int, found: Sequence[_Found], owner: NDArray[np.int64], number: NDArray[np.int32]) -> bool:
    """Whether all that lies in the holes of one is drawn after it, being smaller."""
    own = {ring.region for ring in found[place].outer}
    limit = _area(found[place], cut=False)
    for region in {ring.region for ring in found[place].holes}:
        inside = owner[np.unique(number[_in_holes(number, region)])]
        if (inside < 0).any() or any(_area(found[i], cut=False) >= limit for i in set(inside.tolist()) - {place}):
            return False
        if place in inside and len(own) > 1:  # a part of it within its own hole
            return False
    return True


def _in_holes(number: NDArray[np.int32], region: int) -> NDArray[np.bool_]:
    """bool [H, W]: what a region goes around."""
    outside = np.pad((number != region).astype(np.uint8), 1, constant_values=1)
    _, parts = cv2.connectedComponents(outside, connectivity=8, ltype=cv2.CV_32S)
    return np.asarray((outside > 0) & (parts != parts[0, 0]))[1:-1, 1:-1]


def _area(one: _Found, cut: bool | None = None) -> float:
    holes = sum(ring.area for ring in one.holes) if (one.cut if cut is None else cut) else 0.0
    return one.area + holes


def _rings(one: _Found) -> tuple[Points, ...]:
    if not one.cut:
        return tuple(ring.points for ring in one.outer)
    return tuple(
        with_seams(ring.points, [hole.points for hole in one.holes if hole.region == ring.region]) for ring in one.outer
    )


def with_seams(outer: Points, holes: Sequence[Points]) -> Points:
    """One polygon of an outer ring and its holes, each joined to the rest by a line there and back at the nearest corners."""
    ring = outer
    for hole in sorted(holes, key=lambda points: float(points[:, 0].min())):
        apart = ((ring[:, None] - hole[None]) ** 2).sum(axis=-1)
        at, there = map(int, np.unravel_index(int(apart.argmin()), apart.shape))
        around = np.concatenate([hole[there:], hole[: there + 1]])
        ring = np.concatenate([ring[: at + 1], around, ring[at:]])
    return ring
