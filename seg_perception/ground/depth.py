"""Depth beside a mask: read at the mask's size, doubted where it cannot be right, and used to lay all ground flat.

Every step on the ground knows the plane z = 0 alone. Where depth says that ground is higher or lower, the mask's pixels are
moved to where that plane shows the same x and y, so that the steps that follow need not know of it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from seg_perception.ground.ends import Ends
from seg_perception.ground.geometry import GroundProjection, pixel_slopes
from seg_perception.ground.kernels import flatten
from seg_perception.labels import NOT_GROUND, UNSEEN_LABEL
from seg_perception.results import Depth

EMPTY, UNITS = "depth_empty", "depth_units"
_EVERY_PX = 8
"""What is doubted is looked at in every eighth row and column."""
_LEAST_KNOWN = 0.01
"""Share of the pixels whose depth is known below which there is none."""
_LEAST_GROUND = 20
"""Pixels of ground, of those that are looked at, that tell how far it must be."""
_NEAR_M = 15.0
"""How far ahead flat ground is taken to be near enough to the truth for that."""
_MOST_OFF = 3.0
"""By how many times depth may differ from that: slopes and a nodding vehicle do by less."""
_NEAREST_M, _FARTHEST_M = 0.05, 200.0
"""Where half of all that a depth camera sees may lie."""


@dataclass(frozen=True)
class DepthProblem:
    """Why a frame's depth was not used. cause: EMPTY or UNITS; sentence: for people."""

    cause: str
    sentence: str


class DepthReader:
    """The depth of one camera's masks, in buffers that frames reuse. costs: int8 [256], by label value, -1 = no ground."""

    def __init__(self, costs: NDArray[np.int8]) -> None:
        self._costs = costs
        self._metres = np.empty((0, 0), np.float32)
        self._flat = np.empty((0, 0), np.uint8)
        self._nearer = np.empty((0, 4))

    def read(
        self, depth: Depth, seen: NDArray[np.uint8], projection: GroundProjection
    ) -> NDArray[np.float32] | DepthProblem:
        """Depth in m of the pixels of a mask, float32 [H, W], in a buffer that the next call overwrites, or why it is of no
        use."""
        if self._metres.shape != seen.shape:
            self._metres = np.empty(seen.shape, np.float32)
        metres = depth.metres(self._metres)
        return self._doubt(metres, seen, projection) or metres

    def _doubt(
        self, metres: NDArray[np.float32], seen: NDArray[np.uint8], projection: GroundProjection
    ) -> DepthProblem | None:
        some = np.s_[::_EVERY_PX, ::_EVERY_PX]
        looked = metres[some].astype(np.float64)  # whose sums do not overflow
        known = np.isfinite(looked) & (looked > 0)
        if known.mean() < _LEAST_KNOWN:
            return DepthProblem(
                EMPTY,
                f"depth is known of {known.mean():.1%} of the image, all else is 0 or no number: see whether the depth camera "
                "works, and sees what the camera sees",
            )
        slopes = pixel_slopes(projection.lens, projection.image_hw).reshape(*seen.shape, 2)[some]
        falls = -(slopes @ projection.base_from_optical[2, :2] + projection.base_from_optical[2, 2])
        on_flat = projection.position[2] / np.maximum(falls, 1e-6)
        ground = known & (self._costs[seen[some]] != NOT_GROUND) & (falls > 0) & (on_flat < _NEAR_M)
        if ground.sum() >= _LEAST_GROUND:
            times = float(np.median(looked[ground] / on_flat[ground]))
            if not 1 / _MOST_OFF < times < _MOST_OFF:
                return DepthProblem(
                    UNITS,
                    f"depth has the ground before the camera {times:.3g} times as far away as the camera's pose has it: 32FC1 "
                    "must be in m and 16UC1 in mm, or mend the pose",
                )
            return None
        middle = float(np.median(looked[known]))
        if not _NEAREST_M < middle < _FARTHEST_M:
            side = "nearer than" if middle <= _NEAREST_M else "beyond"
            return DepthProblem(
                UNITS, f"half of what depth tells is {side} {middle:.3g} m: 32FC1 must be in m and 16UC1 in mm"
            )
        return None

    def flattened(
        self,
        seen: NDArray[np.uint8],
        metres: NDArray[np.float32],
        ends: Ends,
        projection: GroundProjection,
        known: NDArray[np.uint8] | None = None,
    ) -> NDArray[np.uint8]:
        """The mask as it would be if all ground lay in the plane z = 0; a buffer that the next call overwrites. known: uint8
        [H, W], 0 where the lens has no ray, and so nothing is seen whatever comes to lie there, or None."""
        if self._flat.shape != seen.shape:
            self._flat, self._nearer = np.empty(seen.shape, np.uint8), np.empty((seen.shape[1], 4))
        slopes = pixel_slopes(projection.lens, projection.image_hw).reshape(*seen.shape, 2)
        flatten(
            seen, self._costs, metres, slopes, projection.base_from_optical, float(projection.position[2]),
            projection.lens.numbers, ends.pixels, ends.depths, self._nearer, self._flat,
        )  # fmt: skip
        if known is not None:
            self._flat[known == 0] = UNSEEN_LABEL
        return self._flat
