"""Lookup tables from the ground to pixels, and the walks over them. Made once for a camera, pose and mask size."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

from seg_perception.geometry import Floats, GroundProjection
from seg_perception.labels import VOID

UNSEEN = -1
OBSTACLE = 100
_RAYS_PER_CELL = 1.5
"""Rays per grid cell where they are farthest apart, so that rays leave no cell of an obstacle's foot out."""


def pixel_indices(projection: GroundProjection, ground: Floats) -> NDArray[np.int32]:
    """Flat index of the mask's pixel that shows each ground point [..., 2]; UNSEEN outside the image; int32 [...]."""
    height, width = projection.image_hw
    pixels = projection.ground_to_pixels(ground.reshape(-1, 2))
    with np.errstate(invalid="ignore"):
        inside = (pixels > -0.5).all(axis=1) & (pixels[:, 0] < width - 0.5) & (pixels[:, 1] < height - 0.5)
    nearest = np.rint(np.where(inside[:, None], pixels, 0.0)).astype(np.int32)
    indices = np.where(inside, nearest[:, 1] * np.int32(width) + nearest[:, 0], np.int32(UNSEEN))
    return indices.reshape(ground.shape[:-1])


@dataclass(frozen=True)
class RayMap:
    """Rays over the ground from one point. pixels: int32 [R, S], the pixel that shows sample k of a ray, at
    (k + 1) * step_m from the point."""

    pixels: NDArray[np.int32]
    step_m: float

    @staticmethod
    def make(
        projection: GroundProjection, start: tuple[float, float], bearings: Floats, step_m: float, length_m: float
    ) -> tuple[RayMap, Floats]:
        """The map, and its samples on the ground, float64 [R, S, 2] in m."""
        distances = step_m * np.arange(1, max(round(length_m / step_m), 1) + 1)
        ways = np.column_stack((np.cos(bearings), np.sin(bearings)))
        ground = np.array(start) + ways[:, None] * distances[None, :, None]
        return RayMap(pixel_indices(projection, ground), step_m), ground


@dataclass(frozen=True)
class GridMap:
    """How a grid's cells are seen. shape: rows (y), columns (x).

    rays, foot_cells: int32 [R, S], pixel and grid cell of the samples of the rays from under the camera (UNSEEN: not in
    the image, outside the grid). seen cells: their index, pixel, ray and sample along it, int32 [C] each.
    """

    shape: tuple[int, int]
    rays: NDArray[np.int32]
    foot_cells: NDArray[np.int32]
    cells: NDArray[np.int32]
    cell_pixels: NDArray[np.int32]
    cell_rays: NDArray[np.int32]
    cell_samples: NDArray[np.int32]

    @staticmethod
    def make(
        projection: GroundProjection, origin_m: tuple[float, float], shape: tuple[int, int], resolution_m: float
    ) -> GridMap:
        """Tables of a grid whose corner of smallest x and y is at origin_m."""
        rows, columns = shape
        x = origin_m[0] + (np.arange(columns) + 0.5) * resolution_m
        y = origin_m[1] + (np.arange(rows) + 0.5) * resolution_m
        centers = np.stack(np.meshgrid(x, y), axis=-1)
        pixels = pixel_indices(projection, centers).ravel()
        cells = np.flatnonzero(pixels != UNSEEN).astype(np.int32)
        from_camera = centers.reshape(-1, 2)[cells] - projection.position[:2]
        distances = np.hypot(from_camera[:, 0], from_camera[:, 1])
        if not len(cells):
            empty = np.zeros((0, 1), np.int32)
            return GridMap(shape, empty, empty, cells, cells, cells, cells)
        # Bearings relative to the middle of the view, so that a camera that looks backwards has no seam in it.
        axis = math.atan2(*from_camera.mean(axis=0)[::-1])
        bearings = np.angle(np.exp(1j * (np.arctan2(from_camera[:, 1], from_camera[:, 0]) - axis)))
        farthest = float(distances.max()) + resolution_m
        spacing = resolution_m / (_RAYS_PER_CELL * farthest)
        first = float(bearings.min()) - spacing
        angles = axis + first + spacing * np.arange(math.ceil((bearings.max() - first) / spacing) + 2)
        step_m = resolution_m / 2
        rays, ground = RayMap.make(
            projection, (float(projection.position[0]), float(projection.position[1])), angles, step_m, farthest
        )
        column, row = (np.floor((ground[..., i] - origin_m[i]) / resolution_m).astype(np.int32) for i in (0, 1))
        inside = (column >= 0) & (column < columns) & (row >= 0) & (row < rows)
        foot_cells = np.where(inside, row * columns + column, UNSEEN).astype(np.int32)
        ray = np.rint((bearings - first) / spacing).astype(np.int32)
        sample = (distances / step_m).astype(np.int32) - 1
        return GridMap(shape, rays.pixels, foot_cells, cells, pixels[cells], ray, sample)


@njit(cache=True, nogil=True)
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


@njit(cache=True, nogil=True)
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
