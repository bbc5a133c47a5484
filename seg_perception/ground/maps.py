"""Lookup tables from the ground to pixels, and the walks over them. Filled again only for another camera or pose."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from seg_perception.camera_model import Floats
from seg_perception.compiled import compiled
from seg_perception.ground.geometry import GroundProjection
from seg_perception.ground.kernels import UNSEEN, look_along_rays, look_at_cells
from seg_perception.labels import VOID

OBSTACLE = 100
_RAYS_PER_CELL = 1.5
"""Rays per grid cell where they are farthest apart, so that rays leave no cell of an obstacle's foot out."""


class RayMap:
    """Which pixels show the ground along rays. starts: float64 [R, 2] in m; ways: float64 [R, 2], unit directions.

    pixels: int32 [R, S], flat index of the pixel that shows sample k of a ray, at (k + 1) * step_m from its start, up
    to length_m; UNSEEN outside the image, and everywhere before the first update.
    """

    def __init__(self, starts: Floats, ways: Floats, step_m: float, length_m: float) -> None:
        self._starts, self._ways, self.step_m = np.ascontiguousarray(starts), np.ascontiguousarray(ways), step_m
        self.pixels: NDArray[np.int32] = np.full((len(starts), max(round(length_m / step_m), 1)), UNSEEN, np.int32)

    @staticmethod
    def around(start: tuple[float, float], bearings: Floats, step_m: float, length_m: float) -> RayMap:
        """Rays from one point. bearings: float64 [R], rad, 0 = along x, left positive."""
        starts = np.broadcast_to(np.array(start, np.float64), (len(bearings), 2))
        return RayMap(starts, np.column_stack((np.cos(bearings), np.sin(bearings))), step_m, length_m)

    def update(self, projection: GroundProjection) -> None:
        """Look from here, into the same buffer."""
        look_along_rays(
            self._starts, self._ways, self.step_m, projection.to_optical, projection.lens.numbers,
            *projection.image_hw, self.pixels,
        )  # fmt: skip


class GridMap:
    """How a grid's cells are seen. origin_m: its corner of smallest x and y; shape: rows (y), columns (x).

    rays, foot_cells: int32 [R, S], pixel and grid cell of the samples of the rays from under the camera (UNSEEN: not in
    the image, outside the grid). seen cells: their index, pixel, ray and sample along it, int32 [C] each. ends: int32,
    at least R, room for fill_grid. All are views of buffers that update overwrites, and empty before the first.
    """

    def __init__(self, origin_m: tuple[float, float], shape: tuple[int, int], resolution_m: float) -> None:
        self.origin_m, self.shape, self.resolution_m = origin_m, shape, resolution_m
        total = shape[0] * shape[1]
        self._cells, self._cell_pixels, self._cell_rays, self._cell_samples = np.empty((4, total), np.int32)
        self._bearings, self._distances = np.empty((2, total))
        self._ray_pixels, self._ray_cells = np.empty((2, 0), np.int32)
        self.ends = np.empty(0, np.int32)
        self._take(0, (0, 1))

    def update(self, projection: GroundProjection) -> None:
        """Look from here, into the same buffers where they are large enough."""
        position = (float(projection.position[0]), float(projection.position[1]))
        lens, to_optical = projection.lens.numbers, projection.to_optical
        height, width = projection.image_hw
        count = look_at_cells(
            self.origin_m, self.shape, self.resolution_m, to_optical, lens, height, width, self._cells,
            self._cell_pixels,
        )  # fmt: skip
        self._take(count, (0, 1))
        if not count:
            return
        axis, first, last, farthest = measure_cells(
            self.cells, position, self.origin_m, self.shape[1], self.resolution_m, self._bearings, self._distances
        )
        farthest += self.resolution_m
        spacing = self.resolution_m / (_RAYS_PER_CELL * farthest)
        first -= spacing
        step_m = self.resolution_m / 2
        count_rays, count_samples = math.ceil((last - first) / spacing) + 2, max(round(farthest / step_m), 1)
        if count_rays * count_samples > len(self._ray_pixels):
            self._ray_pixels, self._ray_cells = np.empty((2, count_rays * count_samples * 5 // 4), np.int32)
        if count_rays > len(self.ends):
            self.ends = np.empty(count_rays * 5 // 4, np.int32)
        self._take(count, (count_rays, count_samples))
        angles = axis + first + spacing * np.arange(count_rays)
        starts, ways = np.tile(position, (count_rays, 1)), np.column_stack((np.cos(angles), np.sin(angles)))
        look_along_rays(starts, ways, step_m, to_optical, lens, height, width, self.rays)
        cross_cells(position, ways, step_m, self.origin_m, self.shape, self.resolution_m, self.foot_cells)
        place_cells(self._bearings, self._distances, first, spacing, step_m, self.cell_rays, self.cell_samples)

    def _take(self, cells: int, rays: tuple[int, int]) -> None:
        """Point the public views at the used part of the buffers."""
        self.cells, self.cell_pixels = self._cells[:cells], self._cell_pixels[:cells]
        self.cell_rays, self.cell_samples = self._cell_rays[:cells], self._cell_samples[:cells]
        self.rays = self._ray_pixels[: rays[0] * rays[1]].reshape(rays)
        self.foot_cells = self._ray_cells[: rays[0] * rays[1]].reshape(rays)


@compiled
def measure_cells(
    cells: NDArray[np.int32],
    position_m: tuple[float, float],
    origin_m: tuple[float, float],
    columns: int,
    resolution_m: float,
    bearings: NDArray[np.float64],
    distances: NDArray[np.float64],
) -> tuple[float, float, float, float]:
    """Bearing (rad) and distance (m) of the middles of cells from a position, into the heads of bearings and distances.

    Bearings are relative to the first value returned, the middle of the view, so that a camera that looks backwards has
    no seam in it; then come the smallest and largest bearing and the largest distance.
    """
    mean_x = mean_y = 0.0
    for cell in cells:
        mean_x += origin_m[0] + (cell % columns + 0.5) * resolution_m - position_m[0]
        mean_y += origin_m[1] + (cell // columns + 0.5) * resolution_m - position_m[1]
    axis = math.atan2(mean_y, mean_x)
    cosine, sine = math.cos(axis), math.sin(axis)
    least, most, farthest = np.inf, -np.inf, 0.0
    for i in range(cells.shape[0]):
        x = origin_m[0] + (cells[i] % columns + 0.5) * resolution_m - position_m[0]
        y = origin_m[1] + (cells[i] // columns + 0.5) * resolution_m - position_m[1]
        bearings[i] = math.atan2(cosine * y - sine * x, cosine * x + sine * y)
        distances[i] = math.sqrt(x * x + y * y)
        least, most = min(least, bearings[i]), max(most, bearings[i])
        farthest = max(farthest, distances[i])
    return axis, least, most, farthest


@compiled
def cross_cells(
    position_m: tuple[float, float],
    ways: NDArray[np.float64],
    step_m: float,
    origin_m: tuple[float, float],
    shape: tuple[int, int],
    resolution_m: float,
    out: NDArray[np.int32],
) -> None:
    """The grid's cell at (s + 1) * step_m along each ray of direction ways [R, 2], or UNSEEN outside, into out [R, S]."""
    rows, columns = shape
    per_m = 1 / resolution_m
    x, y = (position_m[0] - origin_m[0]) * per_m, (position_m[1] - origin_m[1]) * per_m
    for ray in range(out.shape[0]):
        along_x, along_y = ways[ray, 0] * step_m * per_m, ways[ray, 1] * step_m * per_m
        for sample in range(out.shape[1]):
            column, row = x + (sample + 1) * along_x, y + (sample + 1) * along_y
            inside = (column >= 0) & (column < columns) & (row >= 0) & (row < rows)
            cell = np.int32(row) * np.int32(columns) + np.int32(column)
            out[ray, sample] = cell if inside else np.int32(UNSEEN)


@compiled
def place_cells(
    bearings: NDArray[np.float64],
    distances: NDArray[np.float64],
    first: float,
    spacing: float,
    step_m: float,
    rays: NDArray[np.int32],
    samples: NDArray[np.int32],
) -> None:
    """The nearest ray of each cell, and the last sample before the cell's middle, into rays and samples [C]."""
    for i in range(rays.shape[0]):
        rays[i] = int((bearings[i] - first) / spacing + 0.5)
        samples[i] = int(distances[i] / step_m) - 1


@compiled
def fill_grid(
    mask: NDArray[np.uint8],
    costs: NDArray[np.int8],
    rays: NDArray[np.int32],
    foot_cells: NDArray[np.int32],
    cells: NDArray[np.int32],
    cell_pixels: NDArray[np.int32],
    cell_rays: NDArray[np.int32],
    cell_samples: NDArray[np.int32],
    ends: NDArray[np.int32],
    out: NDArray[np.int8],
) -> None:
    """Write the cost of every cell into out [cells]. mask: flat semantic mask; costs: by class id; ends [R]: scratch."""
    out[:] = -1
    for ray in range(rays.shape[0]):
        ends[ray] = rays.shape[1]
        for sample in range(rays.shape[1]):
            pixel = rays[ray, sample]
            if pixel < 0:
                continue
            label = mask[pixel]
            if costs[label] < 0:
                ends[ray] = sample
                if label != VOID and foot_cells[ray, sample] >= 0:
                    out[foot_cells[ray, sample]] = OBSTACLE
                break
    for i in range(cells.shape[0]):
        cost = costs[mask[cell_pixels[i]]]
        if cost >= 0 and cell_samples[i] < ends[cell_rays[i]] and out[cells[i]] < 0:
            out[cells[i]] = cost


@compiled
def walk_free(
    mask: NDArray[np.uint8],
    free: NDArray[np.bool_],
    rays: NDArray[np.int32],
    step_m: float,
    near_is_free: bool,
    out: NDArray[np.float32],
) -> None:
    """Distance in m along each ray to where free ground ends, into out [R].

    free: by class id. NaN when nothing is seen along the ray, or void comes first; inf when free to the last sample.
    Ground nearer than the first that is seen counts as free, with near_is_free even where that first is not free (else
    such a ray gives 0); where the view ends, so does what is known to be free.
    """
    for ray in range(rays.shape[0]):
        known = False
        distance = np.float32(np.nan)
        for sample in range(rays.shape[1]):
            pixel = rays[ray, sample]
            if pixel < 0:
                if known:
                    distance = np.float32((sample + 0.5) * step_m)
                    break
                continue
            label = mask[pixel]
            if not free[label]:
                if not known and label != VOID and not near_is_free:
                    distance = np.float32(0)
                elif known or label != VOID:
                    distance = np.float32((sample + 0.5) * step_m)
                break
            known = True
            if sample == rays.shape[1] - 1:
                distance = np.float32(np.inf)
        out[ray] = distance
