"""An image as a lens that keeps lines straight would show it: rays looked up on a lattice of 8 px, and straight in between."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from numpy.typing import NDArray

from seg_perception.camera_model import CameraModel, CameraPose
from seg_perception.ground.geometry import GroundProjection, Lens
from seg_perception.ground.metric_outlines import FlatImage, ground_outlines
from seg_perception.ground.outlines import OutlineTracer, Rings

HW = (30, 44)
K = ((20.0, 0, 21.5), (0, 24.0, 14.5), (0, 0, 1))
STRAIGHT = Lens(CameraModel(44, 30, K), HW)
BENT = Lens(CameraModel(44, 30, K, "plumb_bob", (-0.2, 0.05, 0.001, -0.002)), HW)
WIDE = Lens(CameraModel(44, 30, ((12.0, 0, 21.5), (0, 12.0, 14.5), (0, 0, 1)), "fisheye", (0.0,) * 4), HW)
"""Sees 90 degrees off its axis 18.8 px from the middle."""
COLUMNS, ROWS = (0, 8, 16, 24, 32, 40, 44), (0, 8, 16, 24, 30)
"""Of the lattice, in corners of pixels."""


def unit_rays(lens: Lens, points: NDArray[np.float64]) -> NDArray[np.float64]:
    rays = np.column_stack((lens.to_slopes(points), np.ones(len(points))))
    return rays / np.linalg.norm(rays, axis=1, keepdims=True)


def test_a_lens_that_keeps_lines_straight_is_its_own_flat_image() -> None:
    flat = FlatImage(STRAIGHT, HW)
    assert flat.known is None
    points = np.array(((21.5, 14.5), (41.5, 14.5), (21.5, -9.5)))
    np.testing.assert_allclose(flat.rays(points), ((0, 0, 1), (1, 0, 1), (0, -1, 1)))
    ring = Rings(points, np.array((0, 3), np.int32), np.zeros(1, np.int32))
    assert flat.flattened(ring, HW) is ring


def test_rays_are_the_lens_own_where_the_lattice_crosses_and_mixed_between() -> None:
    flat = FlatImage(BENT, HW)
    assert flat.known is None, "it has a ray everywhere"
    for top, bottom in itertools.pairwise(ROWS):
        for left, right in itertools.pairwise(COLUMNS):
            corners = np.array(((left, top), (right, top), (left, bottom), (right, bottom))) - 0.5
            own = unit_rays(BENT, corners)
            np.testing.assert_allclose(flat.rays(corners), own, atol=1e-12)
            for x, y in ((0.5, 0.5), (0.25, 0.75), (0.0, 0.5), (1.0, 0.25)):
                at = corners[0] + (corners[3] - corners[0]) * (x, y)
                mixed = (1 - y) * ((1 - x) * own[0] + x * own[1]) + y * ((1 - x) * own[2] + x * own[3])
                np.testing.assert_allclose(flat.rays(at[None])[0], mixed, atol=1e-12)


def test_pixels_are_known_where_all_of_their_cell_has_rays() -> None:
    flat = FlatImage(WIDE, HW)
    expected = np.zeros(HW, np.uint8)
    for top, bottom in itertools.pairwise(ROWS):
        for left, right in itertools.pairwise(COLUMNS):
            away = [math.hypot(x - 22.0, y - 15.0) for x in (left, right) for y in (top, bottom)]
            if max(away) < 12.0 * math.acos(0.05):
                expected[top:bottom, left:right] = 255
    np.testing.assert_array_equal(flat.known, expected)
    assert 0 < (expected > 0).mean() < 1


@pytest.mark.parametrize("lens", [BENT, WIDE])
def test_a_ring_is_seen_where_its_rays_are_in_a_straight_image(lens: Lens) -> None:
    """With more points, where it crosses the lattice: a square of 12 px around the middle crosses it once on each side."""
    flat = FlatImage(lens, HW)
    square = np.array(((15.5, 9.5), (15.5, 21.5), (27.5, 21.5), (27.5, 9.5)))
    rings = flat.flattened(Rings(square, np.array((0, 4), np.int32), np.zeros(1, np.int32)), HW)
    crossed = [
        (15.5, 15.5),
        (15.5, 21.5),
        (23.5, 21.5),
        (27.5, 21.5),
        (27.5, 15.5),
        (27.5, 9.5),
        (23.5, 9.5),
        (15.5, 9.5),
    ]
    rays = flat.rays(np.array(crossed))
    seen = rays[:, :2] / rays[:, 2:] * flat.focal + flat.center
    found = rings.points.tolist()
    assert rings.starts.tolist() == [0, len(crossed)] and len(found) == len(crossed)
    turn = int(np.linalg.norm(rings.points - seen[0], axis=1).argmin())
    np.testing.assert_allclose(np.roll(rings.points, -turn, axis=0), seen, atol=1e-9)


def test_the_same_flat_image_is_shared() -> None:
    assert FlatImage.of(BENT, HW) is FlatImage.of(BENT, HW) is not FlatImage.of(BENT, (60, 88))


def fisheye(width: int, height: int, focal: float) -> CameraModel:
    matrix = ((focal, 0, (width - 1) / 2), (0, focal, (height - 1) / 2), (0, 0, 1))
    return CameraModel(width, height, matrix, "equidistant", (0.0,) * 4)


@pytest.mark.parametrize("camera", [fisheye(44, 30, 12.0), fisheye(80, 60, 20.0), fisheye(160, 120, 40.0)])
def test_in_small_pictures_the_lattice_is_so_fine_that_rays_are_the_lens_own(camera: CameraModel) -> None:
    """Of a fisheye in 44x30 px they were up to 0.7 px off, and areas on the ground by a quarter."""
    hw = (camera.height, camera.width)
    lens = Lens.of(camera, hw)
    flat = FlatImage.of(lens, hw)
    assert flat.known is not None
    y, x = np.nonzero(flat.known)
    own = unit_rays(lens, np.column_stack((x, y)))
    mixed = flat.rays(np.column_stack((x, y)).astype(np.float64))
    mixed /= np.linalg.norm(mixed, axis=1, keepdims=True)
    assert np.linalg.norm(own - mixed, axis=1).max() * lens.numbers.fx < 0.15
    widest = FlatImage(lens, hw).known
    assert widest is not None
    np.testing.assert_array_equal(flat.known, widest, "what stands in a rim that is seen in part would hide nothing")


@pytest.mark.parametrize("pitch", [0.3, 0.8, 1.5])
def test_small_pictures_of_a_fisheye_have_their_area_on_the_ground(pitch: float) -> None:
    camera, hw = fisheye(44, 30, 12.0), (30, 44)
    projection = GroundProjection(camera, CameraPose(0, 0, 1.5, pitch=pitch), hw)
    flat = FlatImage.of(projection.lens, hw)
    v, u = np.mgrid[: hw[0], : hw[1]]
    rays = projection.pixels_to_rays(np.column_stack((u.ravel(), v.ravel())))
    rays /= np.linalg.norm(rays, axis=1, keepdims=True)
    assert flat.known is not None
    mask = (-rays[:, 2] > 0.15).reshape(hw) & (flat.known > 0)
    tracer = OutlineTracer(hw)
    tracer.mask[:] = mask * np.uint8(255)
    found = ground_outlines(tracer.trace(0.0), flat, projection, 1e4).area()
    around = np.linspace(-0.5, 0.5, 16, endpoint=False)
    side = np.full(16, -0.5)
    border = np.concatenate(
        [np.stack(s, axis=1) for s in ((around, side), (-side, around), (-around, -side), (side, -around))]
    )
    exact = 0.0
    for y, x in np.argwhere(mask):
        east, north = projection.pixels_to_ground(border + np.array((x, y))).T
        exact += abs(float(east @ np.roll(north, -1) - north @ np.roll(east, -1))) / 2
    assert found == pytest.approx(exact, rel=0.06)  # of 30 rows thinned by 0.65 px


def test_large_pictures_keep_the_wide_lattice() -> None:
    """Whatever the lens does at its rim: its rays are looked up for each new pose, and borders cut at it in each frame."""
    camera = fisheye(1280, 960, 280.0)
    assert FlatImage.of(Lens.of(camera, (960, 1280)), (960, 1280)).step_px == 8
    bent = CameraModel(1280, 720, ((640.0, 0, 639.5), (0, 640.0, 359.5), (0, 0, 1)), "fisheye", (0.9, -2.0, 0.0, 0.0))
    assert FlatImage.of(Lens.of(bent, (720, 1280)), (720, 1280)).step_px == 8
