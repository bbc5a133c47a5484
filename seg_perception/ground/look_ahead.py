"""How far one class reaches: straight ahead over the vehicle's width, and to both sides at given distances ahead."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from seg_perception.compiled import compiled
from seg_perception.ground.end_kernels import end_lines_at_hidden, forget_hidden_reaches
from seg_perception.ground.ends import Ends, hiding_slack
from seg_perception.ground.geometry import GroundProjection
from seg_perception.ground.kernels import UNSEEN
from seg_perception.ground.maps import RayMap, walk_free
from seg_perception.ground.mark_kernels import nearest_in_lane
from seg_perception.labels import UNSEEN_LABEL, VOID
from seg_perception.results import LookAhead

_SIDE_STEP_M = 0.02
_BEGINS_SLACK = 1.05
"""What begins farther off than the view of the lane by more than this share begins behind something in the way."""


class AheadMap:
    """Lookup tables for one camera. vehicle_width_m: across the x axis; look_ahead_m: along it, where edges are looked
    for; step_m: between samples and between the lines along x. view_begins_m: the distance along x from where on all
    lines that see ground see it, NaN where none does."""

    def __init__(
        self, vehicle_width_m: float, look_ahead_m: tuple[float, ...], step_m: float, range_max_m: float
    ) -> None:
        beside = math.ceil(vehicle_width_m / 2 / step_m)
        y = np.linspace(-vehicle_width_m / 2, vehicle_width_m / 2, 2 * beside + 1)
        self._lines_y = y
        self._lines = RayMap(np.column_stack((0 * y, y)), np.tile((1.0, 0.0), (len(y), 1)), step_m, range_max_m)
        # To the left, then to the right; the first sample lies on the x axis.
        self._sides = np.repeat((1.0, -1.0), len(look_ahead_m))
        self._ahead_m = np.tile(look_ahead_m, 2)
        starts = np.column_stack((self._ahead_m, -self._sides * _SIDE_STEP_M))
        ways = np.column_stack((0 * self._sides, self._sides))
        self._across = RayMap(starts, ways, _SIDE_STEP_M, range_max_m)
        self._ranges = np.empty(len(y), np.float32)
        self._half_width_m, self._range_max_m = vehicle_width_m / 2, range_max_m
        self._only = np.zeros(256, np.bool_)
        self.view_begins_m = math.nan

    def update(
        self,
        projection: GroundProjection,
        ego: NDArray[np.uint8] | None = None,
        known: NDArray[np.uint8] | None = None,
    ) -> None:
        """Look from here. ego, known: as RayMap has them."""
        self._projection, self._slack = projection, hiding_slack(projection)
        self._lines.update(projection, ego, known)
        self._across.update(projection, ego, known)
        self.view_begins_m = view_begins(self._lines.pixels) * self._lines.step_m
        x, y, _ = projection.position.tolist()
        middle = len(self._lines_y) // 2
        # For a camera above that width whatever hides a part of it farther ahead stands in it, and ends it there.
        is_above = abs(y) <= self._half_width_m and 0 <= x <= self.view_begins_m
        self._partly_hidden = slice(middle, middle + 1) if is_above else slice(None)

    def free(self, mask: NDArray[np.uint8], class_id: int, ends: Ends) -> tuple[float, float]:
        """Distance in m to where a class ends, straight ahead and the shortest over the vehicle's width.

        mask: uint8 [H, W]; ends: in that mask. 0 where the first ground that is seen is of others, inf where the class
        runs to the range, NaN where nothing is known, for the second anywhere in the width. Lines are looked along for
        how far the class is known, which ends where something beside them hides it from the camera; ends say where
        something stands, however thin.
        """
        if ends.nearest[0] == 0:  # as all bearings are then
            return math.nan, math.nan  # something stands right below the camera
        self._only[:] = False
        self._only[class_id] = True
        walk_free(mask.reshape(-1), self._only, self._lines.pixels, self._lines.step_m, self._ranges)
        some = self._partly_hidden
        end_lines_at_hidden(
            mask.reshape(-1), self._lines.pixels[some], self._lines_y[some], self._lines.step_m, self._projection.position,
            ends.nearest, self._slack, self._ranges[some],
        )  # fmt: skip
        begins_m = self.view_begins_m * _BEGINS_SLACK + self._lines.step_m
        straight, wide = nearest_in_lane(
            ends.points, ends.labels, ends.depths, class_id, VOID, self._half_width_m, begins_m
        )
        known, known_wide = float(self._ranges[len(self._ranges) // 2]), float(self._ranges.min())
        return self._end(known, straight, ends), self._end(known_wide, wide, ends)

    def _end(self, known_m: float, end_m: float, ends: Ends) -> float:
        """Where a class ends that is known up to known_m, and by ends up to end_m."""
        if end_m > self._range_max_m:
            end_m = math.inf
        row_m = ends.row_share * known_m**2 if math.isfinite(known_m) else 0.0
        if row_m and known_m < end_m <= known_m + self._lines.step_m + row_m:
            return end_m
        return min(known_m, end_m)  # NaN stays: min returns its first argument unless the second is less

    def edges(self, mask: NDArray[np.uint8], class_id: int, ends: Ends) -> tuple[LookAhead, ...]:
        """How far a class reaches to both sides. mask: uint8 [H, W]; ends: in that mask."""
        stops, reaches = walk_sideways(mask.reshape(-1), class_id, self._across.pixels, _SIDE_STEP_M)
        projection = self._projection
        forget_hidden_reaches(
            self._ahead_m, self._sides, stops, _SIDE_STEP_M, projection.position, ends.nearest, self._slack,
            projection.lens.numbers.fx, reaches,
        )  # fmt: skip
        count = len(reaches) // 2
        return tuple(map(LookAhead, self._ahead_m.tolist(), reaches[:count].tolist(), reaches[count:].tolist()))


@compiled
def view_begins(rays: NDArray[np.int32]) -> float:
    """The farthest first sample, in steps, of the rays [R, S] that see anything; NaN where none does."""
    farthest = np.nan
    for ray in range(rays.shape[0]):
        for sample in range(rays.shape[1]):
            if rays[ray, sample] != UNSEEN:
                if not farthest >= sample + 0.5:
                    farthest = sample + 0.5
                break
    return farthest


@compiled
def walk_sideways(
    mask: NDArray[np.uint8], class_id: int, rays: NDArray[np.int32], step_m: float
) -> tuple[NDArray[np.int32], NDArray[np.float64]]:
    """For each ray the first sample that is not of the class, int32 [R], and the distance to there in m, float64 [R].

    rays: int32 [R, S], pixels of samples that are step_m apart from 0 on. The distance is inf where the ray leaves the
    view, or what is known of the ground, or ends in the class, NaN where it does not begin in it, or void comes next.
    """
    stops = np.empty(len(rays), np.int32)
    reaches = np.empty(len(rays))
    for ray in range(len(rays)):
        stop = 0
        while stop < rays.shape[1] and rays[ray, stop] != UNSEEN and mask[rays[ray, stop]] == class_id:
            stop += 1
        stops[ray] = stop
        if stop == 0:
            reaches[ray] = np.nan
        elif stop == rays.shape[1] or rays[ray, stop] == UNSEEN or mask[rays[ray, stop]] == UNSEEN_LABEL:
            reaches[ray] = np.inf
            stops[ray] = stop - 1
        elif mask[rays[ray, stop]] == VOID:
            reaches[ray] = np.nan
        else:
            reaches[ray] = (stop - 0.5) * step_m
    return stops, reaches
