"""Where ground that is seen ends, from the pixels: every foot of an obstacle, however thin, at any resolution.

A pixel is an end where it differs from its neighbour towards the camera and that neighbour is ground; towards the camera
means down the picture where the camera is upright, and is looked up for every other mounting. Where the view itself
begins with what is no ground, that is an end too, and right below the camera it is before all else. What lies behind an
obstacle on its own ray is none.

Where the way to the camera leans, a foot that runs along it shows its pixels' other sides too: they mark nothing, since the
sides of what stands upright look alike, but hide what is behind them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce

import numpy as np
from numpy.typing import NDArray

from seg_perception.camera_model import Floats
from seg_perception.ground.end_kernels import place_ends
from seg_perception.ground.end_pixel_kernels import BLOCK_PX, end_depths, find_ends, find_ends_around, near_sides
from seg_perception.ground.geometry import GroundProjection
from seg_perception.ground.metric_outlines import FlatImage

_BINS_PER_FOCAL_PX = 24
"""Bearings all around the camera for each px of its focal length: three or more for each pixel of the picture."""
_MOST_BINS = 1 << 20
"""A focal length of 44,000 px reaches it; a calibration may say any. Wider bins hide more, never less."""
_LEAST_LEAN = 1 / 256
"""From here on, in px a px, a way to the camera leans."""
_AROUND_BLOCKS = 2
"""So many blocks around that which shows the place right below the camera, the way to there is looked up for each pixel."""
_SLACK_ROWS = 1.5
"""Rows of pixels by which what hides ground may be farther away than it seems."""
_NUDGE = 1e-3
"""How far a ray is lowered to see which way in the picture that is."""


@dataclass(frozen=True)
class Ends:
    """Places where ground ends, in views of buffers that the next frame overwrites.

    points: float64 [N, 3, 2] (x, y) in m in the base frame: the middle of the end pixel's near side, and both corners of
    that side. pixels: int32 [N, 6], as find_ends has them: x and y of that pixel first. depths: float64 [N], m along the
    optical axis by which they are placed, NaN where they are taken to stand on flat ground. labels: uint8 [N, 2], values
    before and behind it; UNSEEN_LABEL before where the view begins there.
    nearest: float64 [B], distance in m from under the camera to the first end per bearing (see end_kernels.bins_of) behind
    which nothing is known, inf where there is none.
    row_share: 0 on flat ground; by depth ends are exact where the mask is not: it may show one nearer by a row of pixels, which is
    so long a share of the squared distance, 1/m.
    """

    points: Floats
    labels: NDArray[np.uint8]
    nearest: Floats
    pixels: NDArray[np.int32]
    depths: Floats
    row_share: float


class EndFinder:
    """Finds where ground ends in the masks of one camera. costs: int8 [256], by label value, -1 = no ground."""

    def __init__(self, costs: NDArray[np.int8]) -> None:
        self._costs = costs
        self.nearest: Floats = np.empty(1)
        self._room(1024)

    def _room(self, count: int) -> None:
        self._pixels = np.empty((count, 6), np.int32)
        self._sides = np.empty((count * 3, 2))
        self._points, self._labels = np.empty((count, 3, 2)), np.empty((count, 2), np.uint8)
        self._distances, self._depths = np.empty(count), np.empty(count)

    def update(self, projection: GroundProjection, flat: FlatImage, limit_m: float) -> None:
        """Look from here, no farther than limit_m."""
        self._projection, self._flat, self._limit_m = projection, flat, limit_m
        self._find_ways(projection, flat)
        # Between the lattice's crossings rays are mixed of theirs, so a ray falls only beside a crossing whose ray does.
        corners = _lattice(projection.image_hw, flat.step_px)
        falls = flat.rays(corners.reshape(-1, 2)) @ projection.base_from_optical[2] < 0
        rows = np.flatnonzero(falls.reshape(corners.shape[:2]).any(axis=1)).tolist() or [0]
        self._rows = max(rows[0] - 1, 0) * flat.step_px, min((rows[-1] + 1) * flat.step_px, projection.image_hw[0])
        bins = min(_BINS_PER_FOCAL_PX * math.ceil(max(flat.focal)), _MOST_BINS)
        if len(self.nearest) != bins:
            self.nearest = np.empty(bins)

    def _find_ways(self, projection: GroundProjection, flat: FlatImage) -> None:
        """The way to the camera in each block, and around the place right below it, where each pixel has its own."""
        blocks = _lattice(projection.image_hw, BLOCK_PX)
        ways = inward_ways(projection, flat, blocks.reshape(-1, 2)).reshape(blocks.shape)
        corners = ways[:-1, :-1], ways[:-1, 1:], ways[1:, :-1], ways[1:, 1:]
        middles = (blocks[:-1, :-1] + blocks[1:, 1:]) / 2
        self._inward = inward_ways(projection, flat, middles.reshape(-1, 2)).reshape(middles.shape)
        x, y = projection.ground_to_pixels(projection.position[None, :2])[0].tolist()
        self._below, self._around = (x, y), _around(x, y, projection.image_hw)
        rows, columns = (slice(first // BLOCK_PX, -(-last // BLOCK_PX)) for first, last in self._around)
        self._inward[rows, columns] = 0
        self._steps, self._side_steps = neighbour_steps(self._inward, corners)

    def find(self, mask: NDArray[np.uint8], depth: NDArray[np.float32] | None = None) -> Ends:
        """Ends in a mask, uint8 [H, W], contiguous. depth: of its pixels, float32 [H, W] in m, else all is on flat ground."""
        words = (mask if mask.shape[1] % 8 == 0 else mask[:, :0]).view(np.uint64)
        rows = self._rows if depth is None else (0, len(mask))  # ground that climbs is seen above the horizon too
        ends, count = self._find(mask, words, rows)
        if count > len(self._pixels):
            self._room(count * 5 // 4)
            ends, count = self._find(mask, words, rows)
        depths, row_share = self._depths[:count], 0.0
        if depth is None:
            depths.fill(np.nan)
        else:
            end_depths(mask, self._costs, depth, self._pixels[:count], depths)
            row_share = 1 / (self._projection.lens.numbers.fy * float(self._projection.position[2]))
        near_sides(self._pixels[:count], self._sides)
        rays = self._flat.rays(self._sides[: 3 * count])
        kept = place_ends(
            mask, self._costs, self._inward, self._below, rays, self._projection.base_from_optical, self._projection.position,
            self._limit_m, depths, self._pixels[:count], ends, self._points, self._labels, self._distances, self.nearest,
        )  # fmt: skip
        return Ends(
            self._points[:kept], self._labels[:kept], self.nearest, self._pixels[:kept], depths[:kept], row_share
        )

    def _find(self, mask: NDArray[np.uint8], words: NDArray[np.uint64], rows: tuple[int, int]) -> tuple[int, int]:
        """How many ends there are, and how many with the sides that only hide; the first that have room are in _pixels."""
        near = self._below, *self._around
        ends = find_ends(mask, words, self._costs, self._steps, rows, self._pixels, 0, False)
        ends = find_ends_around(mask, self._costs, *near, self._pixels, ends, False)
        count = find_ends_around(mask, self._costs, *near, self._pixels, ends, True)
        for steps in self._side_steps:
            count = find_ends(mask, words, self._costs, steps, rows, self._pixels, count, True)
        return ends, count


def hiding_slack(projection: GroundProjection) -> float:
    """By how much what hides ground may be farther away than it seems, as a share of its squared distance, 1/m."""
    return _SLACK_ROWS / (projection.lens.numbers.fy * float(projection.position[2]))


def _around(x: float, y: float, image_hw: tuple[int, int]) -> tuple[tuple[int, int], tuple[int, int]]:
    """First and past the last row and column of the blocks around a place x, y in px; none where that is far from the image,
    or NaN."""
    spans = []
    for at, size in ((y, image_hw[0]), (x, image_hw[1])):
        if not -_AROUND_BLOCKS * BLOCK_PX < at < size + _AROUND_BLOCKS * BLOCK_PX:
            return (0, 0), (0, 0)
        block = math.floor((at + 0.5) / BLOCK_PX)
        first, last = (block - _AROUND_BLOCKS) * BLOCK_PX, (block + 1 + _AROUND_BLOCKS) * BLOCK_PX
        spans.append((min(max(first, 0), size), min(max(last, 0), size)))
    return spans[0], spans[1]


def _lattice(image_hw: tuple[int, int], step_px: int) -> Floats:
    """Corners of pixels, float64 [rows, columns, 2] (x, y) in px, every step_px and at the image's far edges."""
    y, x = (np.append(np.arange(0, size, step_px), size) - 0.5 for size in image_hw)
    return np.stack(np.meshgrid(x, y), axis=-1)


def inward_ways(projection: GroundProjection, flat: FlatImage, pixels: Floats) -> NDArray[np.float32]:
    """The way in the picture towards the ground under the camera, float32 [K, 2] (x, y), from pixels [K, 2]: its longer
    part is 1 px. (0, 0) where the lens has no ray."""
    rays = flat.rays(pixels)
    down = projection.base_from_optical.T @ (0.0, 0.0, -_NUDGE)
    lowered = rays + down * np.linalg.norm(rays, axis=1, keepdims=True)
    with np.errstate(invalid="ignore", divide="ignore"):
        ways = projection.lens.to_pixels(lowered[:, :2] / lowered[:, 2:]) - projection.lens.to_pixels(
            rays[:, :2] / rays[:, 2:]
        )
        ways /= np.maximum(*np.abs(ways).T)[:, None]
    return np.nan_to_num(ways, nan=0.0, posinf=0.0, neginf=0.0).astype(np.float32)


def neighbour_steps(
    ways: NDArray[np.float32], corners: Sequence[NDArray[np.float32]]
) -> tuple[NDArray[np.int8], tuple[NDArray[np.int8], NDArray[np.int8]]]:
    """Of blocks, by the ways in their middles and at their four corners, [..., 2] each: the step to the next pixel, in x or in y,
    that comes nearest to the way; and the steps to both sides of it to which the way leans anywhere in the block. 0, 0 where
    there is no way, or it hardly leans."""
    is_upright = np.abs(ways[..., 1:]) >= np.abs(ways[..., :1])
    longer = np.concatenate((~is_upright, is_upright), axis=-1)
    across = ~longer & ways.any(axis=-1, keepdims=True)
    low = across & (reduce(np.minimum, corners, ways) <= -_LEAST_LEAN)
    high = across & (reduce(np.maximum, corners, ways) >= _LEAST_LEAN)
    return (np.sign(ways) * longer).astype(np.int8), (-low.astype(np.int8), high.astype(np.int8))
