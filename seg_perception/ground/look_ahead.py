"""How far one class reaches: straight ahead over the vehicle's width, and to both sides at given distances ahead."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from seg_perception.camera_model import Floats
from seg_perception.compiled import compiled
from seg_perception.ground.ends import Ends
from seg_perception.ground.geometry import GroundProjection
from seg_perception.ground.kernels import UNSEEN, look_along_rays
from seg_perception.ground.maps import RayMap, walk_free
from seg_perception.ground.mark_kernels import nearest_in_lane
from seg_perception.labels import UNSEEN_LABEL, VOID
from seg_perception.results import LookAhead

_SIDE_STEP_M = 0.02
_SIGHT_STEP_M = 0.2
_SIGHT_EVERY_M = 1.0
"""How far apart the ground beside the x axis is checked for being hidden."""
_BEGINS_SLACK = 1.05
"""What begins farther off than the view of the lane by more than this share begins behind something in the way."""
_LEAST_SIDE_M = 0.3
"""Nearer than this to the camera's own line a face along x is seen edge on."""


class AheadMap:
    """Lookup tables for one camera. vehicle_width_m: across the x axis; look_ahead_m: along it, where edges are looked
    for; step_m: between samples and between the lines along x. view_begins_m: the distance along x from where on all
    lines that see ground see it, NaN where none does."""

    def __init__(
        self, vehicle_width_m: float, look_ahead_m: tuple[float, ...], step_m: float, range_max_m: float
    ) -> None:
        beside = math.ceil(vehicle_width_m / 2 / step_m)
        y = np.linspace(-vehicle_width_m / 2, vehicle_width_m / 2, 2 * beside + 1)
        self._lines = RayMap(np.column_stack((0 * y, y)), np.tile((1.0, 0.0), (len(y), 1)), step_m, range_max_m)
        # To the left, then to the right; the first sample lies on the x axis.
        self._sides = np.repeat((1.0, -1.0), len(look_ahead_m))
        self._ahead_m = np.tile(look_ahead_m, 2)
        starts = np.column_stack((self._ahead_m, -self._sides * _SIDE_STEP_M))
        ways = np.column_stack((0 * self._sides, self._sides))
        self._across = RayMap(starts, ways, _SIDE_STEP_M, range_max_m)
        self._ranges = np.empty(len(y), np.float32)
        self._half_width_m = vehicle_width_m / 2
        self._only = np.zeros(256, np.bool_)
        self.view_begins_m = math.nan

    def update(
        self,
        projection: GroundProjection,
        ego: NDArray[np.uint8] | None = None,
        known: NDArray[np.uint8] | None = None,
    ) -> None:
        """Look from here. ego, known: as RayMap has them."""
        self._projection = projection
        self._lines.update(projection, ego, known)
        self._across.update(projection, ego, known)
        self.view_begins_m = view_begins(self._lines.pixels) * self._lines.step_m

    def free(self, mask: NDArray[np.uint8], class_id: int, ends: Ends) -> tuple[float, float]:
        """Distance in m to where a class ends, straight ahead and the shortest over the vehicle's width.

        mask: uint8 [H, W]; ends: in that mask. 0 where the first ground that is seen is of others, inf where the class
        runs to the range, NaN where nothing is known, for the second anywhere in the width. Lines are looked along for
        how far the class is known; ends say where something stands, however thin. Obstacles hide ground from a camera
        above that width only farther ahead than they themselves end it.
        """
        if ends.nearest[0] == 0:  # as all bearings are then
            return math.nan, math.nan  # something stands right below the camera
        self._only[:] = False
        self._only[class_id] = True
        walk_free(mask.reshape(-1), self._only, self._lines.pixels, self._lines.step_m, self._ranges)
        begins_m = self.view_begins_m * _BEGINS_SLACK + self._lines.step_m
        straight, wide = nearest_in_lane(
            ends.points, ends.labels, ends.depths, class_id, VOID, self._half_width_m, begins_m
        )
        known, known_wide = float(self._ranges[len(self._ranges) // 2]), float(self._ranges.min())
        return self._end(known, straight, ends), self._end(known_wide, wide, ends)

    def _end(self, known_m: float, end_m: float, ends: Ends) -> float:
        """Where a class ends that is known up to known_m, and by ends up to end_m."""
        row_m = ends.row_share * known_m**2 if math.isfinite(known_m) else 0.0
        if row_m and known_m < end_m <= known_m + self._lines.step_m + row_m:
            return end_m
        return min(known_m, end_m)  # NaN stays: min returns its first argument unless the second is less

    def edges(self, mask: NDArray[np.uint8], class_id: int, costs: NDArray[np.int8]) -> tuple[LookAhead, ...]:
        """How far a class reaches to both sides. mask: uint8 [H, W]; costs: int8 [256], by class id, -1 = no ground."""
        stops, reaches = walk_sideways(mask.reshape(-1), class_id, self._across.pixels, _SIDE_STEP_M)
        if not np.isnan(reaches).all():
            every = round(_SIGHT_EVERY_M / _SIDE_STEP_M)
            looked_at = [np.append(np.arange(0, stop, every), stop) for stop in stops.tolist()]
            rays = np.repeat(np.arange(len(stops)), np.array([len(samples) for samples in looked_at], np.int64))
            y = self._sides[rays] * np.concatenate([np.zeros(0), *looked_at]) * _SIDE_STEP_M
            hidden = self._hidden(mask, costs, np.column_stack((self._ahead_m[rays], y)))
            reaches[np.unique(rays[hidden])] = np.nan
        count = len(reaches) // 2
        return tuple(map(LookAhead, self._ahead_m.tolist(), reaches[:count].tolist(), reaches[count:].tolist()))

    def _hidden(self, mask: NDArray[np.uint8], costs: NDArray[np.int8], points: Floats) -> NDArray[np.bool_]:
        """Whether something that is no ground stands between the camera and each point [P, 2] on the ground."""
        projection = self._projection
        position, lens = projection.position, projection.lens.numbers
        ways = points - position[:2]
        distances = np.hypot(ways[:, 0], ways[:, 1])
        ways /= np.maximum(distances, 1e-9)[:, None]
        # A face along x begins a little before the point beside it that is seen first, by more the finer both angles
        # are that the ray and the mask's pixels leave; rows of pixels on the ground are longer far away.
        aside = np.maximum(np.abs(points[:, 1] - position[1]), _LEAST_SIDE_M)
        slack = distances * (_SIDE_STEP_M + distances / lens.fx) / aside
        slack += 1.5 * distances**2 / (lens.fy * position[2])
        count = max(math.ceil(float(distances.max(initial=0.0)) / _SIGHT_STEP_M), 1)
        pixels = np.empty((len(points), count), np.int32)
        starts = np.broadcast_to(position[:2], points.shape)
        look_along_rays(
            np.ascontiguousarray(starts), ways, _SIGHT_STEP_M, projection.to_optical, lens, *projection.image_hw, pixels
        )
        return stand_before(mask.reshape(-1), costs, pixels, (distances - slack) / _SIGHT_STEP_M)


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


@compiled
def stand_before(
    mask: NDArray[np.uint8], costs: NDArray[np.int8], rays: NDArray[np.int32], limits: NDArray[np.float64]
) -> NDArray[np.bool_]:
    """Whether one of the samples 0..limit of each ray [R, S] shows what is no ground, bool [R]; sample k is at k + 1."""
    found = np.zeros(len(rays), np.bool_)
    for ray in range(len(rays)):
        for sample in range(min(int(max(limits[ray], 0.0)), rays.shape[1])):
            pixel = rays[ray, sample]
            if pixel != UNSEEN and costs[mask[pixel]] < 0 and mask[pixel] != UNSEEN_LABEL:
                found[ray] = True
                break
    return found
