"""Polygons cover the pixels that pycocotools gives them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seg_perception.datasets.polygons import filled, filled_part

POINT = st.tuples(st.floats(-3, 24), st.floats(-3, 20))


def drawn(points: list[tuple[float, float]], size_hw: tuple[int, int]) -> list[str]:
    return ["".join(".#"[int(inside)] for inside in row) for row in filled(np.array(points, np.float64), size_hw)]


def test_a_square_of_4_px_has_16() -> None:
    assert drawn([(1, 1), (5, 1), (5, 5), (1, 5)], (6, 6)) == [
        "......",
        ".####.",
        ".####.",
        ".####.",
        ".####.",
        "......",
    ]
    assert drawn([(1, 5), (5, 5), (5, 1), (1, 1)], (6, 6)) == [
        "......",
        ".####.",
        ".####.",
        ".####.",
        ".####.",
        "......",
    ]


def test_half_a_square_has_its_own_half_and_what_is_thin_has_nothing() -> None:
    assert drawn([(0, 0), (4, 4), (0, 4)], (4, 4)) == ["#...", "##..", "###.", "####"]
    assert drawn([(1.2, 0), (1.3, 0), (1.3, 4), (1.2, 4)], (4, 4)) == ["....", "....", "....", "...."]
    assert drawn([(-5, -5), (50, -5), (50, 50), (-5, 50)], (2, 3)) == ["###", "###"]


@settings(max_examples=200, deadline=None)
@given(st.lists(POINT, min_size=3, max_size=7))
def test_it_is_what_pycocotools_fills(points: list[tuple[float, float]]) -> None:
    mask = pytest.importorskip("pycocotools.mask", reason="pycocotools is not installed")
    flat = [coordinate for point in points for coordinate in point]
    expected = mask.decode(mask.frPyObjects([flat], 17, 21))[:, :, 0]
    np.testing.assert_array_equal(filled(np.array(points), (17, 21)), expected)


@settings(max_examples=200, deadline=None)
@given(st.lists(POINT, min_size=3, max_size=7))
def test_the_image_s_size_cuts_and_changes_nothing(points: list[tuple[float, float]]) -> None:
    larger = filled(np.array(points), (40, 50))
    np.testing.assert_array_equal(filled(np.array(points), (17, 21)), larger[:17, :21])
    place, part = filled_part(np.array(points), (40, 50))
    assert (larger[place] == part).all() and part.sum() == larger.sum()
    xs, ys = np.array(points).T
    assert part.shape[1] <= np.ptp(xs) + 1 and part.shape[0] <= np.ptp(ys) + 1, "no more of it than it takes"


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 9), st.integers(0, 9), st.integers(1, 9), st.integers(1, 9), st.integers(0, 3), st.booleans())
def test_a_rectangle_of_whole_pixels_has_them(x: int, y: int, w: int, h: int, turn: int, back: bool) -> None:
    corners = [(x, y), (x + w, y), (x + w, y + h), (x, y + h)]
    corners = corners[turn:] + corners[:turn]
    found = filled(np.array(corners[:: -1 if back else 1], np.float64), (20, 20))
    expected = np.zeros((20, 20), bool)
    expected[y : y + h, x : x + w] = True
    np.testing.assert_array_equal(found, expected)
