"""The tables from the ground to pixels, against their plain definition."""

import math
from time import process_time

import numpy as np
import pytest

from seg_perception.camera_model import CameraModel, CameraPose
from seg_perception.ground.geometry import GroundProjection
from seg_perception.ground.kernels import UNSEEN
from seg_perception.ground.maps import GridMap, RayMap, place_cells

K = ((120.0, 0.0, 79.5), (0.0, 122.0, 59.5), (0.0, 0.0, 1.0))
HW = (120, 160)
LENSES = {
    "none": CameraModel(160, 120, K),
    "plumb_bob": CameraModel(160, 120, K, "plumb_bob", (-0.28, 0.07, 0.0005, -0.0003, 0.0)),
    "rational": CameraModel(160, 120, K, "rational_polynomial", (0.4, 0.1, 0.0, 0.0, 0.01, 0.7, 0.2, 0.02)),
    "fisheye": CameraModel(160, 120, K, "fisheye", (-0.02, 0.004, -0.003, 0.0005)),
}
POSES = [
    CameraPose(0.3, -0.2, 1.2, 0.05, 0.2, 0.1),
    CameraPose(10.0, 1.0, 2.0, 0.0, 0.5, math.pi),  # looks backwards
    CameraPose(5.0, 0.0, 6.0, 0.0, math.pi / 2, 0.0),  # looks straight down, all around its own foot
]
ORIGIN, SHAPE, CELL = (-3.0, -6.0), (40, 60), 0.3


def plain_pixels(projection: GroundProjection, ground: np.ndarray) -> np.ndarray:
    """Flat index of the pixel that holds each ground point [..., 2], UNSEEN outside the image."""
    pixels = projection.ground_to_pixels(ground.reshape(-1, 2)).reshape(ground.shape)
    with np.errstate(invalid="ignore"):
        nearest = np.floor(pixels + 0.5)
        inside = ((nearest >= 0) & (nearest < HW[::-1])).all(axis=-1)
    nearest = np.where(inside[..., None], nearest, 0).astype(int)
    return np.where(inside, nearest[..., 1] * HW[1] + nearest[..., 0], UNSEEN)


def assert_nearly_all_equal(ours: np.ndarray, plain: np.ndarray) -> None:
    """A point on the very border of two pixels may fall to either."""
    assert ours.shape == plain.shape and (ours != plain).mean() < 1e-3


@pytest.mark.parametrize("pose", POSES)
@pytest.mark.parametrize("lens", sorted(LENSES))
def test_samples_of_rays_know_their_pixels(lens, pose):
    projection = GroundProjection(LENSES[lens], pose, HW)
    bearings = np.linspace(-3, 3, 25)
    rays = RayMap.around((0.5, 0.25), bearings, 0.2, 9.9)
    assert (rays.pixels == UNSEEN).all()
    rays.update(projection)
    distances = 0.2 * np.arange(1, 51)
    ways = np.column_stack((np.cos(bearings), np.sin(bearings)))
    plain = plain_pixels(projection, np.array((0.5, 0.25)) + ways[:, None] * distances[None, :, None])
    assert_nearly_all_equal(rays.pixels, plain)
    assert (plain != UNSEEN).any()


@pytest.mark.parametrize("pose", POSES)
@pytest.mark.parametrize("lens", sorted(LENSES))
def test_cells_know_their_pixel_their_ray_and_their_place_on_it(lens, pose):
    projection = GroundProjection(LENSES[lens], pose, HW)
    grid = GridMap(ORIGIN, SHAPE, CELL)
    grid.update(projection)
    row, column = np.divmod(np.arange(SHAPE[0] * SHAPE[1]), SHAPE[1])
    middles = np.column_stack((ORIGIN[0] + (column + 0.5) * CELL, ORIGIN[1] + (row + 0.5) * CELL))
    plain = plain_pixels(projection, middles)
    ours = np.full(len(plain), UNSEEN)
    ours[grid.cells] = grid.cell_pixels
    assert_nearly_all_equal(ours, plain)
    assert (plain != UNSEEN).sum() > 100

    # A ray's samples lie in the cells that they name, half a cell apart; the cell's middle is never farther from its ray
    # than a third of a cell, and beyond its sample by less than a step.
    step = CELL / 2
    seen = grid.foot_cells != UNSEEN
    sample = np.broadcast_to(np.arange(grid.rays.shape[1]), grid.rays.shape)
    from_camera = middles - projection.position[:2]
    far = np.hypot(*from_camera.T)
    named = grid.foot_cells[seen]
    assert (np.abs(far[named] - (sample[seen] + 1) * step) <= CELL / math.sqrt(2) + 1e-9).all()
    assert ((far[grid.cells] / step - 1) - grid.cell_samples >= -1e-9).all()
    assert ((far[grid.cells] / step - 1) - grid.cell_samples <= 1 + 1e-9).all()
    for cell, ray, last in zip(grid.cells[::37], grid.cell_rays[::37], grid.cell_samples[::37]):
        if last < 0:
            continue
        met = grid.foot_cells[ray, max(last - 3, 0) : last + 4]
        near = np.abs(middles[met[met != UNSEEN]] - middles[cell]).max(axis=1)
        assert near.min() <= CELL + 1e-9


def test_the_foot_of_a_wall_has_no_gaps():
    # Every cell that a ray from under the camera to any seen cell crosses is on some ray: so a wall across the view is
    # marked in each of its cells.
    projection = GroundProjection(LENSES["none"], CameraPose(0.0, 0.0, 1.2, pitch=0.2), HW)
    grid = GridMap((0.0, -6.0), (120, 80), 0.1)
    grid.update(projection)
    seen = np.zeros(120 * 80, np.bool_)
    seen[grid.cells] = True
    crossed = np.zeros(120 * 80, np.bool_)
    crossed[grid.foot_cells[(grid.foot_cells != UNSEEN) & (grid.rays != UNSEEN)]] = True
    wall = 70 + (30 + np.arange(60)) * 80  # one column of cells, 7 m ahead
    assert seen[wall].sum() > 30 and crossed[wall[seen[wall]]].all()


def test_buffers_are_reused_and_grow_only_where_they_must():
    grid = GridMap(ORIGIN, SHAPE, CELL)
    assert grid.rays.size == grid.cells.size == 0
    for pose in (POSES[0], POSES[1], POSES[2], POSES[0]):
        grid.update(GroundProjection(LENSES["none"], pose, HW))
    at = [a.__array_interface__["data"][0] for a in (grid.rays, grid.foot_cells, grid.cells, grid.cell_rays, grid.ends)]
    first = grid.rays.copy()
    grid.update(GroundProjection(LENSES["none"], POSES[1], HW))
    grid.update(GroundProjection(LENSES["none"], POSES[0], HW))
    assert at == [
        a.__array_interface__["data"][0] for a in (grid.rays, grid.foot_cells, grid.cells, grid.cell_rays, grid.ends)
    ]
    np.testing.assert_array_equal(grid.rays, first)
    assert len(grid.ends) >= len(grid.rays)


def test_a_grid_that_is_not_seen_is_empty():
    grid = GridMap((-50.0, -5.0), (20, 20), 0.5)
    grid.update(GroundProjection(LENSES["none"], POSES[0], HW))
    assert grid.cells.size == grid.rays.size == 0


def test_compiled_maps_are_much_faster_than_arrays():
    projection = GroundProjection(LENSES["plumb_bob"], POSES[0], HW)
    bearings = np.linspace(-0.5, 0.5, 100)
    rays = RayMap.around((0.0, 0.0), bearings, 0.05, 20.0)
    ways = np.column_stack((np.cos(bearings), np.sin(bearings)))
    ground = ways[:, None] * (0.05 * np.arange(1, 401))[None, :, None]

    def best(step) -> float:
        spans = []
        for _ in range(5):
            start = process_time()
            step(projection)
            spans.append(process_time() - start)
        return min(spans)

    rays.update(projection)
    assert 2 * best(rays.update) < best(lambda p: plain_pixels(p, ground))


def test_a_cell_belongs_to_the_nearest_ray_and_to_the_last_sample_before_it():
    bearings = np.array([0.0, 0.049, 0.051, 0.099, 0.149, 0.151, 0.3])
    distances = np.array([0.4, 0.5, 0.99, 1.0, 1.01, 2.6, 0.2])
    rays, samples = np.zeros(7, np.int32), np.zeros(7, np.int32)
    place_cells(bearings, distances, 0.0, 0.1, 0.5, rays, samples)
    assert rays.tolist() == [0, 0, 1, 1, 1, 2, 3]
    assert samples.tolist() == [-1, 0, 0, 1, 1, 4, -1]


@pytest.mark.parametrize("pose", POSES)
def test_no_cell_lies_farther_from_its_ray_than_half_way_to_the_next(pose):
    """All cells: a ray's bearing is that of the cells that it crosses."""
    projection = GroundProjection(LENSES["none"], pose, HW)
    grid = GridMap(ORIGIN, SHAPE, CELL)
    grid.update(projection)
    row, column = np.divmod(grid.cells, SHAPE[1])
    x = ORIGIN[0] + (column + 0.5) * CELL - projection.position[0]
    y = ORIGIN[1] + (row + 0.5) * CELL - projection.position[1]
    bearings, far = np.arctan2(y, x), np.hypot(x, y)
    order = np.argsort(grid.cell_rays, kind="stable")
    centred = np.angle(np.exp(1j * (bearings - np.angle(np.exp(1j * bearings).sum()))))
    slope, first = np.polyfit(grid.cell_rays[order], centred[order], 1)
    if np.ptp(centred) < 5:  # not all around
        off = np.abs(centred - (first + slope * grid.cell_rays))
        assert off.max() <= 0.56 * slope and (off * far).max() <= CELL / 3
