"""The tables from the ground to pixels, against their plain definition."""

import math
from time import process_time

import numpy as np
import pytest

from seg_perception.camera_model import CameraModel, CameraPose
from seg_perception.ground.geometry import GroundProjection
from seg_perception.ground.kernels import UNSEEN
from seg_perception.ground.maps import GridMap, RayMap, keep_longest

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
BINS = 4000


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


@pytest.mark.parametrize(
    ("known", "kept"),
    [
        ("111111", "012345"),
        ("011110", ".1234."),
        ("101111", "..2345"),  # the stairs of the near rim
        ("111011", "012..."),  # and of the far one
        ("010010", ".1...."),  # of equals the nearer
        ("000000", "......"),
        ("1.1110", "..234."),  # beside the picture nothing is known either
    ],
)
def test_a_ray_is_seen_in_one_stretch_whatever_stairs_the_rim_has(known, kept):
    rays = np.array([[UNSEEN if letter == "." else k for k, letter in enumerate(known)]], np.int32)
    keep_longest(rays, np.array([255 if letter == "1" else 0 for letter in known], np.uint8))
    assert "".join("." if pixel == UNSEEN else str(pixel) for pixel in rays[0]) == kept


@pytest.mark.parametrize("pose", POSES)
@pytest.mark.parametrize("lens", sorted(LENSES))
def test_cells_know_their_pixel_their_bearing_and_their_distance(lens, pose):
    projection = GroundProjection(LENSES[lens], pose, HW)
    grid = GridMap(ORIGIN, SHAPE, CELL)
    grid.update(projection, BINS)
    row, column = np.divmod(np.arange(SHAPE[0] * SHAPE[1]), SHAPE[1])
    middles = np.column_stack((ORIGIN[0] + (column + 0.5) * CELL, ORIGIN[1] + (row + 0.5) * CELL))
    plain = plain_pixels(projection, middles)
    ours = np.full(len(plain), UNSEEN)
    ours[grid.cells] = grid.cell_pixels
    assert_nearly_all_equal(ours, plain)
    assert (plain != UNSEEN).sum() > 100

    # Bearings of equal bins differ by less than a bin's width, whatever bins begin where.
    from_camera = (middles - projection.position[:2])[grid.cells]
    np.testing.assert_allclose(grid.distances, np.hypot(*from_camera.T))
    bearings = np.arctan2(from_camera[:, 1], from_camera[:, 0])
    order = np.argsort(grid.cell_bins, kind="stable")
    same = np.diff(grid.cell_bins[order]) == 0
    apart = np.abs(np.angle(np.exp(1j * np.diff(bearings[order]))))
    assert (apart[same] <= 2 * math.pi / BINS * 1.3).all() and 0 <= grid.cell_bins.min() <= grid.cell_bins.max() < BINS


def test_buffers_are_reused():
    grid = GridMap(ORIGIN, SHAPE, CELL)
    assert grid.cells.size == 0
    for pose in (POSES[0], POSES[1], POSES[2], POSES[0]):
        grid.update(GroundProjection(LENSES["none"], pose, HW), BINS)
    kept = (grid.cells, grid.cell_pixels, grid.cell_bins, grid.distances)
    at, first = [a.__array_interface__["data"][0] for a in kept], grid.cell_bins.copy()
    for pose in (POSES[1], POSES[0]):
        grid.update(GroundProjection(LENSES["none"], pose, HW), BINS)
    kept = (grid.cells, grid.cell_pixels, grid.cell_bins, grid.distances)
    assert at == [a.__array_interface__["data"][0] for a in kept]
    np.testing.assert_array_equal(grid.cell_bins, first)


def test_a_grid_that_is_not_seen_is_empty():
    grid = GridMap((-50.0, -5.0), (20, 20), 0.5)
    grid.update(GroundProjection(LENSES["none"], POSES[0], HW), BINS)
    assert grid.cells.size == 0


@pytest.mark.machine_code
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
