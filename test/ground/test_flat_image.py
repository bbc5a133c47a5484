"""An image as a lens that keeps lines straight would show it: rays looked up on a lattice of 8 px, and straight in between."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from numpy.typing import NDArray

from seg_perception.camera_model import CameraModel
from seg_perception.ground.geometry import Lens
from seg_perception.ground.metric_outlines import FlatImage
from seg_perception.ground.outlines import Rings

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
