"""A point for each pixel of the masks: where on the ground what it shows stands.

Known is the place of ground that is seen, and of the foot of each obstacle; what rises from a foot, what is behind one and
what is above the horizon has none, since one camera cannot tell how far it is.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from seg_perception.compiled import compiled
from seg_perception.ground.ends import Ends, bearing_bin
from seg_perception.ground.geometry import GroundProjection, Lens
from seg_perception.results import POINT

_HORIZON = 1e-4


class PointPlacer:
    """Fills the points of one camera's masks. Belongs to one thread."""

    def __init__(self, costs: NDArray[np.int8], is_obstacle: NDArray[np.bool_], range_max_m: float) -> None:
        """costs: int8 [256], by label value, -1 = no ground; is_obstacle: bool [256]; points farther than range_max_m from
        the camera's foot have no place."""
        self._costs, self._is_obstacle, self._range_max_m = costs, is_obstacle, range_max_m
        self._lens: Lens | None = None
        self._slopes = np.empty((0, 2), np.float32)
        self._points = np.empty((0, 0), POINT)

    def place(
        self,
        masks: tuple[NDArray[np.uint8], NDArray[np.uint16], NDArray[np.uint8]],
        seen: NDArray[np.uint8],
        ends: Ends,
        projection: GroundProjection,
    ) -> NDArray[np.void]:
        """POINT [H, W]; a view of a buffer that the next call overwrites. masks: semantic, instance and confidence [H, W];
        seen: the semantic mask with UNSEEN_LABEL where nothing is seen."""
        self._look(projection)
        raw = self._points.reshape(-1).view(np.float32).reshape(-1, 4)
        semantic, instance, confidence = masks
        place_ground(
            np.ravel(semantic), np.ravel(instance), np.ravel(confidence), seen.reshape(-1), self._costs, self._slopes,
            projection.base_from_optical, projection.position, self._range_max_m, ends.nearest, raw, raw.view(np.uint32),
        )  # fmt: skip
        place_feet(
            ends.pixels, ends.points, ends.labels, self._is_obstacle, projection.position, self._range_max_m,
            self._points.shape[1], raw,
        )  # fmt: skip
        return self._points

    def _look(self, projection: GroundProjection) -> None:
        """The slopes of all pixels' rays, which a pose does not change."""
        if projection.lens is self._lens and self._points.shape == projection.image_hw:
            return
        height, width = projection.image_hw
        at = np.stack(np.meshgrid(np.arange(width), np.arange(height)), axis=-1).reshape(-1, 2)
        self._slopes = projection.lens.to_slopes(at).astype(np.float32)
        self._points = np.zeros(projection.image_hw, POINT)
        self._lens = projection.lens


@compiled
def place_ground(
    semantic: NDArray[np.uint8],
    instance: NDArray[np.uint16],
    confidence: NDArray[np.uint8],
    seen: NDArray[np.uint8],
    costs: NDArray[np.int8],
    slopes: NDArray[np.float32],
    base_from_optical: NDArray[np.float64],
    position: NDArray[np.float64],
    range_max_m: float,
    nearest: NDArray[np.float64],
    places: NDArray[np.float32],
    words: NDArray[np.uint32],
) -> None:
    """Write all points [N, 4]: x, y, z into places, NaN where what is seen is no ground or something nearer hides it; label,
    confidence and instance into the last of words, which is the same memory."""
    r, bins = base_from_optical, len(nearest)
    for i in range(len(semantic)):
        words[i, 3] = (
            np.uint32(semantic[i])
            | (np.uint32(confidence[i]) << np.uint32(8))
            | (np.uint32(instance[i]) << np.uint32(16))
        )
        places[i, 0] = places[i, 1] = places[i, 2] = np.nan
        if costs[seen[i]] < 0:
            continue
        u, v = slopes[i, 0], slopes[i, 1]
        fall = -(r[2, 0] * u + r[2, 1] * v + r[2, 2])
        if not fall > _HORIZON:
            continue
        scale = position[2] / fall
        x, y = (r[0, 0] * u + r[0, 1] * v + r[0, 2]) * scale, (r[1, 0] * u + r[1, 1] * v + r[1, 2]) * scale
        distance = math.sqrt(x * x + y * y)
        if distance <= range_max_m and distance < nearest[bearing_bin(x, y, bins)]:
            places[i, 0], places[i, 1], places[i, 2] = x + position[0], y + position[1], 0.0


@compiled
def place_feet(
    pixels: NDArray[np.int32],
    points: NDArray[np.float64],
    labels: NDArray[np.uint8],
    is_obstacle: NDArray[np.bool_],
    position: NDArray[np.float64],
    range_max_m: float,
    columns: int,
    places: NDArray[np.float32],
) -> None:
    """Give the lowest pixel of each obstacle within the range the place of its near side."""
    for i in range(len(pixels)):
        away_x, away_y = points[i, 0, 0] - position[0], points[i, 0, 1] - position[1]
        if is_obstacle[labels[i, 1]] and math.sqrt(away_x * away_x + away_y * away_y) <= range_max_m:
            at = pixels[i, 1] * columns + pixels[i, 0]
            places[at, 0], places[at, 1], places[at, 2] = points[i, 0, 0], points[i, 0, 1], 0.0
