"""Outlines in the image -> outlines on the ground, cut at the range."""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from seg_perception.compiled import compiled
from seg_perception.ground.cut_kernels import clear_of_points, cut_rings
from seg_perception.ground.geometry import GroundProjection, Lens
from seg_perception.ground.outlines import Floats, Rings

TOLERANCE_PX = 0.65
"""Outlines on the ground are thinned less than those in pixels: far away a pixel is many decimetres."""
LATTICE_PX = 8
"""Between the rays that are looked up of a lens that bends lines, at most; a power of 2."""
_MIXED_PX, _MOST_RAYS = 0.1, 20_000
"""How far off a ray may be that is mixed of those, for which they stand closer in small pictures of a fisheye, while they are no
more than so many: large pictures have enough of them."""
_APART_PX = 1e-3
"""The range ends sooner by as much where it would pass through a point: two rings could come to touch there."""
_LEAST_AHEAD = 0.05
"""Rays farther than 87 degrees from the optical axis have no place in a flat image."""


class FlatImage:
    """The image as a lens with the same focal length and centre would show it that keeps lines straight.

    Rays are known at the crossings of a lattice of step_px. Borders are cut where they cross it, and in between what
    is looked up is linear: what was apart in the image stays apart. known: uint8 [H, W], 255 where the lens has a ray,
    0 elsewhere; None where it has one everywhere.
    """

    def __init__(self, lens: Lens, image_hw: tuple[int, int], step_px: int = LATTICE_PX) -> None:
        n, self.step_px = lens.numbers, step_px
        self.focal: Floats = np.array((n.fx, n.fy))
        self.center: Floats = np.array((n.cx, n.cy))
        self.known: NDArray[np.uint8] | None = None
        self._rays: Floats | None = None
        self._image_hw = image_hw
        if not lens.is_distorted:
            return
        y, x = (np.minimum(np.arange(math.ceil(size / step_px) + 1) * step_px, size) for size in image_hw)
        rays = _unit_rays(lens, np.stack(np.meshgrid(x, y), axis=-1) - 0.5)
        known = rays[..., 2] > _LEAST_AHEAD  # False for NaN
        if not known.all():
            cells = known[1:, 1:] & known[1:, :-1] & known[:-1, 1:] & known[:-1, :-1]
            wide = np.kron(cells, np.ones((step_px, step_px), np.bool_))[: image_hw[0], : image_hw[1]]
            self.known = np.where(wide, 255, 0).astype(np.uint8)
        rays[~known] = 0.0
        self._rays = rays

    @staticmethod
    @lru_cache(maxsize=16)
    def of(lens: Lens, image_hw: tuple[int, int]) -> FlatImage:
        """The same object while it is asked for again, of the widest lattice that is fine enough. However fine it is, of the rim of
        the lens' field as much is unknown as with the widest: what stands there is seen in part, and would hide nothing."""
        step_px = LATTICE_PX
        while (
            lens.is_distorted
            and step_px > 1
            and 4 * image_hw[0] * image_hw[1] <= _MOST_RAYS * step_px**2
            and _mixed_off_px(lens, image_hw, step_px) > _MIXED_PX
        ):
            step_px //= 2
        flat = FlatImage(lens, image_hw, step_px)
        widest = FlatImage(lens, image_hw).known if step_px < LATTICE_PX else None
        if widest is not None and flat.known is not None:
            flat.known = np.minimum(flat.known, widest)
        return flat

    def rays(self, points: Floats) -> Floats:
        """Directions in optical axes, float64 [K, 3] (not of unit length), of points [K, 2] (x, y) in px; zero, or near
        such, where the lens has no ray."""
        if self._rays is None:
            return _straight(points, self.focal, self.center)
        return _interpolated(points + 0.5, self._rays, *self._image_hw, self.step_px)

    def flattened(self, rings: Rings, image_hw: tuple[int, int]) -> Rings:
        """rings of the image as rings of the flat image, both in px; they must lie where rays are known."""
        if self._rays is None:
            return rings
        points, starts = _cut_at_cells(rings.points + 0.5, rings.starts, self.step_px)
        rays = _interpolated(points, self._rays, *image_hw, self.step_px)
        return Rings(_seen_straight(rays, self.focal, self.center), starts, rings.outers)


def _unit_rays(lens: Lens, at: Floats) -> Floats:
    """Rays of length 1, [..., 3], of pixels [..., 2]; NaN where the lens has none."""
    rays = np.ones((*at.shape[:-1], 3))
    rays[..., :2] = lens.to_slopes(at.reshape(-1, 2)).reshape(at.shape)
    unit: Floats = rays / np.linalg.norm(rays, axis=-1, keepdims=True)
    return unit


def _mixed_off_px(lens: Lens, image_hw: tuple[int, int], step_px: int) -> float:
    """How far, in px at the image's middle, the mixed ray of a cell's middle is off the lens' own, at worst; 0 without a cell."""
    y, x = (np.arange(size // step_px + 1) * step_px - 0.5 for size in image_hw)
    rays = _unit_rays(lens, np.stack(np.meshgrid(x, y), axis=-1))
    middles = np.stack(np.meshgrid(x[:-1], y[:-1]), axis=-1) + step_px / 2
    mixed = (rays[:-1, :-1] + rays[:-1, 1:] + rays[1:, :-1] + rays[1:, 1:]) / 4
    off = _unit_rays(lens, middles) - mixed / np.linalg.norm(mixed, axis=-1, keepdims=True)
    off_px: float = np.nan_to_num(np.linalg.norm(off, axis=-1)).max(initial=0.0) * max(lens.numbers.fx, lens.numbers.fy)
    return off_px


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
    clear_of_points(rings.points, lines, _APART_PX)
    for line in lines:
        rings = Rings(*cut_rings(rings.points, rings.starts, rings.outers, line))
    return rings


@compiled
def _cut_at_cells(
    points: NDArray[np.float64], starts: NDArray[np.int32], step: int
) -> tuple[NDArray[np.float64], NDArray[np.int32]]:
    """Rings with a point more wherever an edge along x or y crosses a multiple of step."""
    room = np.empty((len(points) * 3 // 2, 2), np.float64)
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
def _seen_straight(
    rays: NDArray[np.float64], focal: NDArray[np.float64], center: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Pixels (x, y) [N, 2] of a flat image in which rays [N, 3] are seen."""
    out = np.empty((len(rays), 2))
    for i in range(len(rays)):
        out[i, 0] = rays[i, 0] / rays[i, 2] * focal[0] + center[0]
        out[i, 1] = rays[i, 1] / rays[i, 2] * focal[1] + center[1]
    return out


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
    columns, rows = rays.shape[1] - 2, rays.shape[0] - 2
    last_x, last_y = 1 / (width - columns * step), 1 / (height - rows * step)
    for i in range(len(points)):
        column, row = min(int(points[i, 0]) // step, columns), min(int(points[i, 1]) // step, rows)
        x = (points[i, 0] - column * step) * (last_x if column == columns else 1 / step)
        y = (points[i, 1] - row * step) * (last_y if row == rows else 1 / step)
        above, below = rays[row], rays[row + 1]
        for k in range(3):
            upper = above[column, k] * (1 - x) + above[column + 1, k] * x
            lower = below[column, k] * (1 - x) + below[column + 1, k] * x
            out[i, k] = upper * (1 - y) + lower * y
    return out
