"""Ground that is none in the vehicle's way: how often it would be told to drive where something stands."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from seg_perception.ground.drivable import DrivableSettings
from seg_perception.ground.geometry import GroundProjection
from seg_perception.labels import NOT_GROUND, VOID, LabelSet
from seg_perception.results import at_middles

AHEAD_M = 15.0
LEAST_PATCH_M2 = 0.5
CELL_M = 0.05
"""Ground is looked at on a grid of this; a patch of the least area has 200 cells."""


class FalseGround:
    """Sums over frames: those with a projection, and those of them with a false patch in the vehicle's way.

    A false patch is a connected area (8 neighbours) on the flat ground of at least LEAST_PATCH_M2, within AHEAD_M ahead of
    the base frame's origin and half of vehicle_width_m to each side of the x axis, where the label is no ground and the
    prediction is. What stands up covers ground behind its foot, so its patch is as long as the false ground that a
    planner reads.
    """

    def __init__(self, labels: LabelSet, vehicle_width_m: float = DrivableSettings.vehicle_width_m) -> None:
        # void is neither ground nor known to be none
        self._ground = labels.drivable_costs != NOT_GROUND
        self._others = ~self._ground & (np.arange(256) != VOID)
        self._width_m = vehicle_width_m
        self._frames = np.zeros(2, np.int64)
        self._places: tuple[GroundProjection, NDArray[np.intp], NDArray[np.bool_]] | None = None

    def add(
        self, semantic: NDArray[np.uint8], truth: NDArray[np.uint8], projection: GroundProjection | None = None
    ) -> None:
        """One frame: predicted classes [H, W], which are brought to the labels' size by the middles of their
        pixels, and the labels; projection: of an image of the labels' size, None where the camera is not calibrated."""
        if projection is not None:
            false = self._others[truth] & self._ground[at_middles(semantic, truth.shape)]
            self._frames += 1, self._patch_m2(false, projection) >= LEAST_PATCH_M2

    def add_summary(self, summary: Mapping[str, Any]) -> None:
        """Add the frames of another evaluation, by its summary; a report from before there was one has none."""
        frames = summary.get("false_patch_of") or 0
        self._frames += frames, round(frames * (summary.get("false_patch_frames") or 0.0))

    def summary(self) -> dict[str, Any]:
        """`false_patch_frames`: share of the frames with a false patch, None without a calibrated camera; `false_patch_of`:
        how many frames that is of."""
        frames, patches = self._frames.tolist()
        return {"false_patch_frames": patches / frames if frames else None, "false_patch_of": frames}

    def _patch_m2(self, false: NDArray[np.bool_], projection: GroundProjection) -> float:
        """Area of the largest connected false patch in the vehicle's way."""
        if self._places is None or self._places[0] is not projection:
            self._places = (projection, *self._way(projection))
        _, places, seen = self._places
        cells = np.zeros(seen.shape, np.uint8)
        cells[seen] = false.ravel()[places]
        _, _, stats, _ = cv2.connectedComponentsWithStats(cells, connectivity=8)
        return float(stats[1:, cv2.CC_STAT_AREA].max(initial=0)) * CELL_M**2

    def _way(self, projection: GroundProjection) -> tuple[NDArray[np.intp], NDArray[np.bool_]]:
        """Of the cells in the vehicle's way, [X, Y]: which the image shows, and the flat index of the pixel of each that
        it does."""
        x = np.arange(CELL_M / 2, AHEAD_M, CELL_M)
        y = np.arange((CELL_M - self._width_m) / 2, self._width_m / 2, CELL_M)
        points = np.stack(np.meshgrid(x, y, indexing="ij"), axis=-1)
        height, width = projection.image_hw
        pixels = np.rint(projection.ground_to_pixels(points.reshape(-1, 2)))
        with np.errstate(invalid="ignore"):
            inside = ((pixels >= 0) & (pixels < (width, height))).all(axis=1)
        column, row = pixels[inside].astype(np.intp).T
        return row * width + column, inside.reshape(points.shape[:2])
