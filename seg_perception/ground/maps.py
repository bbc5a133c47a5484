"""Lookup tables from the ground to pixels, and the walks over them. Filled again only for another camera or pose."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from seg_perception.camera_model import Floats
from seg_perception.compiled import compiled
from seg_perception.ground.end_kernels import bins_of
from seg_perception.ground.geometry import GroundProjection
from seg_perception.ground.kernels import UNSEEN, look_along_rays, look_at_cells
from seg_perception.labels import UNSEEN_LABEL, VOID

OBSTACLE = 100


class RayMap:
    """Which pixels show the ground along rays. starts: float64 [R, 2] in m; ways: float64 [R, 2], unit directions.

    pixels: int32 [R, S], flat index of the pixel that shows sample k of a ray, at (k + 1) * step_m from its start, up
    to length_m; UNSEEN outside the image, where the lens is not known and where the own vehicle is in the way, and everywhere
    before the first update.
    """

    def __init__(self, starts: Floats, ways: Floats, step_m: float, length_m: float) -> None:
        self._starts, self.ways, self.step_m = np.ascontiguousarray(starts), np.ascontiguousarray(ways), step_m
        self.pixels: NDArray[np.int32] = np.full((len(starts), max(round(length_m / step_m), 1)), UNSEEN, np.int32)

    @staticmethod
    def around(start: tuple[float, float], bearings: Floats, step_m: float, length_m: float) -> RayMap:
        """Rays from one point. bearings: float64 [R], rad, 0 = along x, left positive."""
        starts = np.broadcast_to(np.array(start, np.float64), (len(bearings), 2))
        return RayMap(starts, np.column_stack((np.cos(bearings), np.sin(bearings))), step_m, length_m)

    def update(
        self,
        projection: GroundProjection,
        ego: NDArray[np.uint8] | None = None,
        known: NDArray[np.uint8] | None = None,
    ) -> None:
        """Look from here, into the same buffer. ego: uint8 [H, W], not 0 where the own vehicle is in the way, or None; known:
        uint8 [H, W], 0 where the lens has no ray, or None where it has one everywhere."""
        look_along_rays(
            self._starts, self.ways, self.step_m, projection.to_optical, projection.lens.numbers,
            *projection.image_hw, self.pixels,
        )  # fmt: skip
        if known is not None:
            keep_longest(self.pixels, known.reshape(-1))
        if ego is not None:
            self.pixels[ego.reshape(-1)[self.pixels] > 0] = UNSEEN  # what is UNSEEN already stays so


@compiled
def keep_longest(rays: NDArray[np.int32], known: NDArray[np.uint8]) -> None:
    """Of each ray [R, S] leave the longest stretch whose pixels are known, [H * W]; all else is UNSEEN. A lens' field is seen in
    one stretch, but the stairs of its rim would let a ray that runs along them in and out of it again."""
    for ray in range(len(rays)):
        begin, longest, first = 0, 0, 0
        for sample in range(rays.shape[1] + 1):
            if sample < rays.shape[1] and rays[ray, sample] != UNSEEN and known[rays[ray, sample]]:
                continue
            if sample - begin > longest:
                first, longest = begin, sample - begin
            begin = sample + 1
        rays[ray, :first] = UNSEEN
        rays[ray, first + longest :] = UNSEEN


class GridMap:
    """How a grid's cells are seen. origin_m: its corner of smallest x and y; far_corner_m: that of the largest; shape: rows (y),
    columns (x).

    Of the cells whose middle is in the image: their index, pixel and bearing (see end_kernels.bins_of), int32 [C] each, and their
    distance from under the camera in m, float64 [C]. All are views of buffers that update overwrites, and empty before the
    first.
    """

    def __init__(self, origin_m: tuple[float, float], shape: tuple[int, int], resolution_m: float) -> None:
        self.origin_m, self.shape, self.resolution_m = origin_m, shape, resolution_m
        self.far_corner_m = (origin_m[0] + shape[1] * resolution_m, origin_m[1] + shape[0] * resolution_m)
        total = shape[0] * shape[1]
        self._cells, self._cell_pixels, self._cell_bins = np.empty((3, total), np.int32)
        self._distances = np.empty(total)
        self._take(0)

    def update(self, projection: GroundProjection, bins: int) -> None:
        """Look from here, into the same buffers; bins: bearings all around the camera."""
        position = (float(projection.position[0]), float(projection.position[1]))
        self._take(
            look_at_cells(
                self.origin_m, self.shape, self.resolution_m, projection.to_optical, projection.lens.numbers,
                *projection.image_hw, self._cells, self._cell_pixels,
            )
        )  # fmt: skip
        bins_of(
            self.cells, position, self.origin_m, self.shape[1], self.resolution_m, bins, self.cell_bins, self.distances
        )

    def _take(self, count: int) -> None:
        """Point the public views at the used part of the buffers."""
        self.cells, self.cell_pixels = self._cells[:count], self._cell_pixels[:count]
        self.cell_bins, self.distances = self._cell_bins[:count], self._distances[:count]


@compiled
def fill_ground(
    mask: NDArray[np.uint8],
    costs: NDArray[np.int8],
    nearest: NDArray[np.float64],
    cells: NDArray[np.int32],
    cell_pixels: NDArray[np.int32],
    cell_bins: NDArray[np.int32],
    distances: NDArray[np.float64],
    out: NDArray[np.int8],
) -> None:
    """Write the cost of ground that is seen into those of out [rows * columns] that are unknown.

    mask: flat semantic mask; costs: by label value; nearest: distance to what hides the ground, by bearing. The rest as
    GridMap has it.
    """
    for i in range(cells.shape[0]):
        cost = costs[mask[cell_pixels[i]]]
        if cost >= 0 and distances[i] < nearest[cell_bins[i]] and out[cells[i]] < 0:
            out[cells[i]] = cost


@compiled
def walk_free(
    mask: NDArray[np.uint8],
    free: NDArray[np.bool_],
    rays: NDArray[np.int32],
    step_m: float,
    out: NDArray[np.float32],
) -> None:
    """Distance in m along each ray to where free ground ends, into out [R].

    free: by label value. NaN when nothing is seen along the ray, or void ends it; inf when free to the last sample; 0 when
    the first ground that is seen is not free. Where the view ends, so does what is known to be free.
    """
    for ray in range(rays.shape[0]):
        known = False
        distance = np.float32(np.nan)
        for sample in range(rays.shape[1]):
            pixel = rays[ray, sample]
            if pixel < 0 or mask[pixel] == UNSEEN_LABEL:
                if known:
                    distance = np.float32((sample + 0.5) * step_m)
                    break
                continue
            label = mask[pixel]
            if not free[label]:
                if label != VOID:
                    distance = np.float32((sample + 0.5) * step_m) if known else np.float32(0)
                break
            known = True
            if sample == rays.shape[1] - 1:
                distance = np.float32(np.inf)
        out[ray] = distance


@compiled
def scan_free(
    mask: NDArray[np.uint8],
    free: NDArray[np.bool_],
    rays: NDArray[np.int32],
    step_m: float,
    nearest: NDArray[np.float64],
    limits_m: tuple[float, float],
    row_share: float,
    ranges: NDArray[np.float32],
    seen: NDArray[np.float32],
) -> None:
    """Range and how far free ground is seen per bearing, as FreeSpace has them, into ranges and seen [K].

    rays: int32 [K, S], along the bearings; nearest: float64 [K], the nearest end in each bearing's sector, inf: none, NaN:
    the view begins with what is not free; limits_m: least and greatest range; row_share: as Ends has it. A range ends no
    farther than free ground is seen along the bearing, so that who clears up to it clears nothing else; only where the
    bearing itself is beside the view does an end in its sector count alone, and, where ends are measured by depth, where
    the view begins with one.
    """
    least, most = np.float32(limits_m[0]), np.float32(limits_m[1])
    for ray in range(rays.shape[0]):
        known, stopped, label = False, False, VOID
        sample = 0
        while sample < rays.shape[1]:
            pixel = rays[ray, sample]
            if pixel < 0 or mask[pixel] == UNSEEN_LABEL:
                if known:
                    break
            else:
                label = mask[pixel]
                if not free[label]:
                    stopped = True
                    break
                known = True
            sample += 1
        through = sample == rays.shape[1]
        end = np.float32((sample + 0.5) * step_m) if not through else most
        at = np.float32(nearest[ray])
        if at > most:
            at = np.float32(np.inf)
        ranges[ray] = np.nan
        seen[ray] = 0
        if math.isnan(at) or (stopped and not known and row_share == 0):
            continue
        if not known:
            if at < np.inf:
                ranges[ray] = max(at, least)
            continue
        if stopped and end < at <= end + np.float32(step_m + row_share * end * end):
            end = at
        seen[ray] = min(end, at)
        if at <= end + np.float32(step_m):
            ranges[ray] = max(at, least)
        elif through:
            ranges[ray] = np.inf
        elif stopped and label != VOID:
            ranges[ray] = max(end, least)
