"""Whether a thin obstacle is in what is told: posts drawn into a mask, one at a time, and looked for."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from seg_perception.camera_model import Floats
from seg_perception.ground.drivable import DrivableExtractor
from seg_perception.ground.geometry import GroundProjection
from seg_perception.ground.maps import OBSTACLE
from seg_perception.metrics.ground_truth import GroundTruth
from seg_perception.results import Drivable, Panoptic, Wants

WIDTHS_M = (0.03, 0.2)
LEAST_PX = 2.0
HEIGHT_M = 1.0
_SHIFT = 4


@dataclass(frozen=True)
class Post:
    """An upright board of HEIGHT_M that faces the camera, at (x, y) on the ground, m."""

    x: float
    y: float
    width_m: float


def places(truth: GroundTruth, projection: GroundProjection, count: int, seed: int) -> list[Post]:
    """So many posts, at least LEAST_PX wide, where the truth sees ground that may be driven on."""
    rng = np.random.default_rng(seed)
    middle = truth.points[..., truth.points.shape[2] // 2]
    rows, columns = np.nonzero(truth.counted & (middle >= 0) & ~truth.feet)
    chosen = rng.choice(len(rows), min(count, len(rows)), replace=False)
    settings, lens = truth.settings, projection.lens.numbers
    posts = []
    for row, column in zip(rows[chosen].tolist(), columns[chosen].tolist(), strict=True):
        x = settings.grid_origin_m[0] + (column + 0.5) * settings.resolution_m
        y = settings.grid_origin_m[1] + (row + 0.5) * settings.resolution_m
        away_m = math.dist((x, y, 0.0), projection.position.tolist())
        width_m = float(rng.uniform(*WIDTHS_M))
        posts.append(Post(x, y, max(width_m, LEAST_PX * away_m / min(lens.fx, lens.fy))))
    return posts


def drawn(mask: NDArray[np.uint8], post: Post, projection: GroundProjection, label: int) -> NDArray[np.uint8]:
    """A copy of mask, uint8 [H, W], with the post as the camera sees it. It ends with its foot: the row that the middle
    of its lower edge falls into is the last one with the label."""
    towards = np.array((post.x, post.y)) - projection.position[:2]
    across = np.array((-towards[1], towards[0])) / max(float(np.hypot(*towards)), 1e-9) * post.width_m / 2
    foot = np.array((post.x, post.y))
    corners = [(*(foot + side * across), z) for side, z in ((-1, 0.0), (1, 0.0), (1, HEIGHT_M), (-1, HEIGHT_M))]
    pixels = _pixels(np.array(corners), projection)
    image = mask.copy()
    if np.isfinite(pixels).all():
        cv2.fillPoly(image, [np.rint(pixels * (1 << _SHIFT)).astype(np.int32)], (label,), cv2.LINE_8, _SHIFT)
    return image


def is_told(found: Drivable, post: Post, projection: GroundProjection) -> bool:
    """Whether grid and scan have the post: an obstacle within a cell and two pixels of it, and a range up to it."""
    grid, free = found.grid, found.free_space
    assert grid is not None and free is not None
    away_m = math.hypot(post.x - projection.position[0], post.y - projection.position[1])
    pixel_m = (away_m**2 + projection.position[2] ** 2) / (projection.lens.numbers.fy * projection.position[2])
    slack_m = grid.resolution_m + post.width_m / 2 + 2 * float(pixel_m)
    rows, columns = np.nonzero(grid.cells == OBSTACLE)
    marked = np.column_stack((columns, rows)) * grid.resolution_m + grid.origin_m + grid.resolution_m / 2
    if not (np.hypot(*(marked - (post.x, post.y)).T) <= slack_m * math.sqrt(2)).any():
        return False
    far_m = math.hypot(post.x, post.y)
    bearing = (math.atan2(post.y, post.x) - free.angle_min_rad) / free.angle_step_rad
    if not -0.5 <= bearing < len(free.ranges_m) - 0.5:
        return True
    # At the border of the view it may be seen in one of the sectors that it reaches into, and the other be unknown.
    half = (post.width_m / 2 / far_m + 2 / projection.lens.numbers.fx) / free.angle_step_rad
    ranges_m = free.ranges_m[max(round(bearing - half), 0) : round(bearing + half) + 1]
    return bool((ranges_m <= far_m + slack_m).any())


def count_told(
    extractor: DrivableExtractor, panoptic: Panoptic, truth: GroundTruth, label: int, count: int, seed: int
) -> tuple[int, int]:
    """How many of so many posts with this label are told by an extractor that has seen the frame, and how many there were."""
    projection = extractor.projection
    if projection is None:
        return 0, 0
    posts = places(truth, projection, count, seed)
    found = 0
    for post in posts:
        mask = drawn(panoptic.semantic, post, projection, label)
        answer = extractor.extract(replace(panoptic, semantic=mask), Wants(areas=False))
        found += is_told(answer, post, projection)
    return found, len(posts)


def _pixels(points: Floats, projection: GroundProjection) -> Floats:
    """Pixels (x, y) of points [K, 3] in the base frame; NaN behind the camera."""
    optical = (points - projection.position) @ projection.base_from_optical
    with np.errstate(invalid="ignore", divide="ignore"):
        slopes = np.where(optical[:, 2:] > 0, optical[:, :2] / optical[:, 2:], np.nan)
    return projection.lens.to_pixels(slopes)
