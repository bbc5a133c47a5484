"""Outlines in the image -> outlines on the ground, cut at the range."""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from seg_perception.compiled import compiled
from seg_perception.ground.geometry import GroundProjection, Lens
from seg_perception.ground.outlines import Floats, Rings

TOLERANCE_PX = 0.65
"""Outlines on the ground are thinned less than those in pixels: far away a pixel is many decimetres."""
_STEP_PX = 8
"""Between the rays that are looked up of a lens that bends lines."""
_APART_PX = 1e-3
"""The range ends sooner by as much where it would pass through a point: two rings could come to touch there."""
_LEAST_AHEAD = 0.05
"""Rays farther than 87 degrees from the optical axis have no place in a flat image."""


class FlatImage:
    """The image as a lens with the same focal length and centre would show it that keeps lines straight.

    Rays are known at the crossings of a lattice of _STEP_PX. Borders are cut where they cross it, and in between what
    is looked up is linear: what was apart in the image stays apart. known: uint8 [H, W], 255 where the lens has a ray,
    0 elsewhere; None where it has one everywhere.
    """

    def __init__(self, lens: Lens, image_hw: tuple[int, int]) -> None:
        n = lens.numbers
        self.focal: Floats = np.array((n.fx, n.fy))
        self.center: Floats = np.array((n.cx, n.cy))
        self.known: NDArray[np.uint8] | None = None
        self._rays: Floats | None = None
        self._image_hw = image_hw
        if not lens.is_distorted:
            return
        y, x = (np.minimum(np.arange(math.ceil(size / _STEP_PX) + 1) * _STEP_PX, size) for size in image_hw)
        at = np.stack(np.meshgrid(x, y), axis=-1) - 0.5
        rays = np.ones((*at.shape[:2], 3))
        rays[..., :2] = lens.to_slopes(at.reshape(-1, 2)).reshape(at.shape)
        rays /= np.linalg.norm(rays, axis=2, keepdims=True)
        known = rays[..., 2] > _LEAST_AHEAD  # False for NaN
        if not known.all():
            cells = known[1:, 1:] & known[1:, :-1] & known[:-1, 1:] & known[:-1, :-1]
            wide = np.kron(cells, np.ones((_STEP_PX, _STEP_PX), np.bool_))[: image_hw[0], : image_hw[1]]
            self.known = np.where(wide, 255, 0).astype(np.uint8)
        rays[~known] = 0.0
        self._rays = rays

    @staticmethod
    @lru_cache(maxsize=16)
    def of(lens: Lens, image_hw: tuple[int, int]) -> FlatImage:
        """The same object while it is asked for again."""
        return FlatImage(lens, image_hw)

    def rays(self, points: Floats) -> Floats:
        """Directions in optical axes, float64 [K, 3] (not of unit length), of points [K, 2] (x, y) in px; zero, or near
        such, where the lens has no ray."""
        if self._rays is None:
            return _straight(points, self.focal, self.center)
        return _interpolated(points + 0.5, self._rays, *self._image_hw, _STEP_PX)

    def flattened(self, rings: Rings, image_hw: tuple[int, int]) -> Rings:
        """rings of the image as rings of the flat image, both in px; they must lie where rays are known."""
        if self._rays is None:
            return rings
        points, starts = _cut_at_cells(rings.points + 0.5, rings.starts, _STEP_PX)
        rays = _interpolated(points, self._rays, *image_hw, _STEP_PX)
        return Rings(rays[:, :2] / rays[:, 2:] * self.focal + self.center, starts, rings.outers)


def ground_outlines(rings: Rings, flat: FlatImage, projection: GroundProjection, range_max_m: float) -> Rings:
    """Rings of an image on the ground, in m, cut at range_max_m to every side of the base frame's origin (a square).

    flat: of the projection's lens. Where the cut parts an area, each part has a ring of its own.
    """
    rings = flat.flattened(rings, projection.image_hw).thinned(TOLERANCE_PX)
    to_slopes = np.diag((*(1 / flat.focal), 1.0))
    to_slopes[:2, 2] = -flat.center / flat.focal
    ray = projection.base_from_optical @ to_slopes
    # The point on the ground of a pixel w = (x, y, 1) is ground @ w / (fall @ w), where fall @ w > 0 below the horizon.
    fall = -ray[2]
    ground = projection.position[2] * ray[:2] + np.outer(projection.position[:2], fall)
    beyond = [sign * ground[axis] - range_max_m * fall for axis in (0, 1) for sign in (1, -1)]
    cut = _cut(rings, np.array(beyond))
    pixels = np.column_stack((cut.points, np.ones(len(cut.points))))
    return Rings(pixels @ ground.T / (pixels @ fall)[:, None], cut.starts, cut.outers)


def _cut(rings: Rings, lines: Floats) -> Rings:
    """What of the areas lies on the side of every line [L, 3] where line @ (x, y, 1) < 0."""
    lines = lines / np.linalg.norm(lines[:, :2], axis=1, keepdims=True)
    sides = rings.points @ lines[:, :2].T + lines[:, 2]
    while (met := (np.abs(sides) < _APART_PX).any(axis=0)).any():
        lines[met, 2] += 2 * _APART_PX
        sides[:, met] += 2 * _APART_PX
    if not len(rings.points):
        return rings
    outside = sides > 0
    begins = rings.starts[:-1]
    crosses: NDArray[np.bool_] = np.asarray(np.logical_or.reduceat(outside, begins))
    beyond: NDArray[np.bool_] = np.asarray(np.any(np.logical_and.reduceat(outside, begins), axis=1))
    is_cut: NDArray[np.bool_] = np.asarray(np.any(crosses, axis=1))
    done = []
    for first, end in _spans(rings.outers):
        if beyond[first]:
            continue
        areas = [[rings.points[rings.starts[i] : rings.starts[i + 1]] for i in range(first, end)]]
        if is_cut[first]:
            for line in lines[crosses[first]]:
                areas = [part for area in areas for part in _parts(area, line)]
        done += areas
    sizes = [len(ring) for area in done for ring in area]
    counts = [len(area) for area in done]
    points = np.concatenate([np.zeros((0, 2)), *(ring for area in done for ring in area)])
    outers = np.repeat(np.cumsum([0, *counts])[:-1], counts)
    return Rings(points, np.cumsum([0, *sizes]).astype(np.int32), outers.astype(np.int32))


def _spans(outers: NDArray[np.int32]) -> list[tuple[int, int]]:
    """First ring and end of each area, an outer ring with its holes."""
    firsts = np.flatnonzero(outers == np.arange(len(outers))).tolist()
    return list(zip(firsts, [*firsts[1:], len(outers)]))


def _parts(area: list[Floats], line: Floats) -> list[list[Floats]]:
    """The parts of an area, an outer ring with its holes, on the side of line where line @ (x, y, 1) < 0.

    Rings are taken apart where they cross the line. All run with the area to their left, so along the line their ends
    and beginnings take turns: the first end belongs to the first beginning, and so on.
    """
    whole, runs = [], []
    for ring in area:
        side = ring @ line[:2] + line[2]
        inside = side < 0
        if inside.all():
            whole.append(ring)
        elif inside.any():
            runs += _runs(ring, side, inside)
    if not runs:
        return [whole] if whole else []
    along = np.array((-line[1], line[0]))
    begins, ends = (np.argsort([run[i] @ along for run in runs], kind="stable") for i in (0, -1))
    follows = dict(zip(ends.tolist(), begins.tolist()))
    parts = []
    while follows:
        number = next(iter(follows))
        chain = []
        while number in follows:
            chain.append(runs[number])
            number = follows.pop(number)
        parts.append([np.concatenate(chain)])
    for hole in whole:
        middle = (hole[0] + hole[1]) / 2
        next(part for part in parts if len(parts) == 1 or _contains(part[0], middle)).append(hole)
    return parts


def _runs(ring: Floats, side: Floats, inside: NDArray[np.bool_]) -> list[Floats]:
    """The stretches of a ring within a line, each from where it comes over the line to where it goes back."""
    first = int(np.flatnonzero(inside & ~np.roll(inside, 1))[0])
    ring, side, inside = np.roll(ring, -first, axis=0), np.roll(side, -first), np.roll(inside, -first)
    change = np.flatnonzero(inside != np.roll(inside, 1))
    before = change - 1
    share = (side[before] / (side[before] - side[change]))[:, None]
    crossings = ring[before] + (ring[change] - ring[before]) * share
    ends = np.append(change[1:], len(ring))
    leaves = np.append(crossings[1:], crossings[:1], axis=0)
    return [np.vstack((crossings[i], ring[change[i] : ends[i]], leaves[i])) for i in range(0, len(change), 2)]


def _contains(ring: Floats, point: Floats) -> bool:
    """Whether point (x, y) lies in ring, which does not run through it."""
    a, b = ring - point, np.roll(ring, 1, axis=0) - point
    crosses = (a[:, 1] > 0) != (b[:, 1] > 0)
    a, b = a[crosses], b[crosses]
    return bool(np.count_nonzero((a[:, 0] * b[:, 1] > a[:, 1] * b[:, 0]) == (b[:, 1] > a[:, 1])) % 2)


@compiled
def _cut_at_cells(
    points: NDArray[np.float64], starts: NDArray[np.int32], step: int
) -> tuple[NDArray[np.float64], NDArray[np.int32]]:
    """Rings with a point more wherever an edge along x or y crosses a multiple of step."""
    room = np.empty((len(points), 2), np.float64)
    out_starts = np.zeros_like(starts)
    count = 0
    for ring in range(len(starts) - 1):
        before = starts[ring + 1] - 1
        for i in range(starts[ring], starts[ring + 1]):
            axis = 0 if points[before, 0] != points[i, 0] else 1
            low, high = points[before, axis], points[i, axis]
            cuts = int(np.ceil(max(low, high) / step)) - int(np.floor(min(low, high) / step)) - 1
            if count + cuts + 1 > len(room):
                larger = np.empty((2 * len(room) + cuts + 1, 2), np.float64)
                larger[:count] = room[:count]
                room = larger
            for number in range(1, cuts + 1):
                room[count] = points[i]
                room[count, axis] = (
                    (np.floor(low / step) + number) * step if high > low else (np.ceil(low / step) - number) * step
                )
                count += 1
            room[count] = points[i]
            count += 1
            before = i
        out_starts[ring + 1] = count
    return room[:count], out_starts


@compiled
def _straight(
    points: NDArray[np.float64], focal: NDArray[np.float64], center: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Rays [N, 3] of pixels (x, y) of a flat image."""
    out = np.empty((len(points), 3))
    for i in range(len(points)):
        out[i, 0] = (points[i, 0] - center[0]) / focal[0]
        out[i, 1] = (points[i, 1] - center[1]) / focal[1]
        out[i, 2] = 1.0
    return out


@compiled
def _interpolated(
    points: NDArray[np.float64], rays: NDArray[np.float64], height: int, width: int, step: int
) -> NDArray[np.float64]:
    """Rays [N, 3] of corners of pixels (x, y) from those at the multiples of step, and at the image's far edges."""
    out = np.empty((len(points), 3))
    for i in range(len(points)):
        column = min(int(points[i, 0]) // step, rays.shape[1] - 2)
        row = min(int(points[i, 1]) // step, rays.shape[0] - 2)
        x = (points[i, 0] - column * step) / (min((column + 1) * step, width) - column * step)
        y = (points[i, 1] - row * step) / (min((row + 1) * step, height) - row * step)
        for k in range(3):
            upper = rays[row, column, k] * (1 - x) + rays[row, column + 1, k] * x
            lower = rays[row + 1, column, k] * (1 - x) + rays[row + 1, column + 1, k] * x
            out[i, k] = upper * (1 - y) + lower * y
    return out
