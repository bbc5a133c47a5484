"""The rules of ends, pixel by pixel: how far ahead one is, where its near side lies, and which are no feet."""

from __future__ import annotations

import math

import numpy as np
import pytest

from seg_perception.ground.end_kernels import _bearing_bin, _is_stair
from seg_perception.ground.end_pixel_kernels import end_depths, near_sides
from seg_perception.labels import CAMVID, UNSEEN_LABEL

LABELS = {name[0]: CAMVID.by_name(name).id for name in ("road", "pavement", "car", "sky")} | {"?": UNSEEN_LABEL}


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize(
    ("before", "behind", "depths", "told"),
    [
        # Depths of the pixel before the end, and of those from the end on away from the camera.
        ("r", "cccc", (3, 5, 4, 6, 7), 5.0),  # the second nearest of four
        ("r", "cccc", (3, 4, 4, 6, 7), 4.0),
        ("r", "cccc", (3, 5, 4, 6, math.nan), 5.0),
        ("r", "cccc", (3, 0.5, 0.4, 0.6, 0.7), 0.5),  # as near as may be
        ("r", "cccc", (3, 5, 4, math.nan, math.nan), 4.0),  # of two the nearest: too few to doubt it
        ("r", "cccc", (3, math.nan, 0, -1, 7), 7.0),
        ("r", "ccccc", (3, 5, 7, 6, 8, 1), 6.0),  # the fifth pixel does not count
        ("r", "ccs", (3, 6, 5, 1), 5.0),  # nor what is something else
        ("r", "cc", (3, 6, 5), 5.0),  # the picture ends
        # What has no depth is placed by the ground before it.
        ("r", "s", (3, math.nan), 3.0),
        ("r", "cccc", (3, math.inf, math.nan, 0, -2), 3.0),
        ("r", "s", (0.25, math.nan), 0.25),
        ("r", "s", (math.nan, math.nan), math.nan),
        ("r", "s", (math.inf, math.nan), math.nan),
        ("r", "s", (0, math.nan), math.nan),
        ("r", "ppp", (3, 5, 5, 5), 3.0),  # and so is other ground
        ("?", "c", (3, math.nan), math.nan),
        ("?", "cc", (3, 6, 5), 5.0),
    ],
)
def test_the_depth_of_an_end(before: str, behind: str, depths: tuple[float, ...], told: float, turned: bool) -> None:
    line = np.array([[LABELS[letter] for letter in (behind[::-1] + before)]], np.uint8)
    metres = np.array([depths[::-1]], np.float32)
    at = len(behind) - 1
    end = (0, at, 0, 1) if turned else (at, 0, 1, 0)
    pixels = np.array(((*end, LABELS[before], LABELS[behind[0]]),), np.int32)
    out = np.empty(1)
    step = (lambda array: np.ascontiguousarray(array.T)) if turned else np.ascontiguousarray
    end_depths(step(line), CAMVID.drivable_costs, step(metres), pixels, out)
    np.testing.assert_array_equal(out, [told])


@pytest.mark.parametrize(
    ("step", "sides"),
    [
        ((0, 1), [(3.0, 5.5), (2.5, 5.5), (3.5, 5.5)]),
        ((0, -1), [(3.0, 4.5), (2.5, 4.5), (3.5, 4.5)]),
        ((1, 0), [(3.5, 5.0), (3.5, 4.5), (3.5, 5.5)]),
        ((-1, 0), [(2.5, 5.0), (2.5, 4.5), (2.5, 5.5)]),
    ],
)
def test_the_near_side_of_a_pixel(step: tuple[int, int], sides: list[tuple[float, float]]) -> None:
    out = np.empty((6, 2))
    near_sides(np.array(((3, 5, *step, 0, 0),) * 2, np.int32), out)
    assert out.tolist() == [list(place) for place in sides * 2]


def test_bearings_are_counted_all_around() -> None:
    """From that along x on, each quarter by a quarter of them, and farther left is always more."""
    around = np.linspace(0, 2 * math.pi, 721)[:-1]
    bins = np.array([_bearing_bin(3 * math.cos(turn), 3 * math.sin(turn), 4000) for turn in around])
    assert (np.diff(bins) > 0).all() and bins[0] == 0 and bins[-1] < 4000
    np.testing.assert_allclose(bins[90::180], (500, 1500, 2500, 3500), atol=1)
    np.testing.assert_allclose(bins[180::180], (1000, 2000, 3000), atol=1)


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize(("mirrored", "flipped"), [(False, False), (True, False), (False, True), (True, True)])
@pytest.mark.parametrize(
    ("lean", "picture", "is_stair"),
    [
        # C is the end; the way to the camera leads down and, by so much for each row, to the right.
        (0.6, ["cCrr", "rrrr", "rrrr", "rrrr", "rrrr"], False),  # a foot: nothing comes beside it
        (0.6, ["cCcr", "rrrr", "rrrr", "rrrr", "rrrr"], False),
        (0.6, ["cCcr", "rrcr", "rrrr", "rrrr", "rrrr"], True),  # the next step of the stairs lies on the way
        (0.3, ["cCcr", "rrcr", "rrrr", "rrrr", "rrrr"], False),  # and here beside it
        (0.3, ["cCcr", "rrcr", "rrcr", "rrrr", "rrrr"], True),
        (0.3, ["cCcr", "rrcr", "rrrr", "rrcr", "rrrr"], True),
        (0.3, ["cCcr", "rrcr", "rrrr", "rrrr", "rrcr"], False),  # farther on something else begins
        (0.3, ["cCcr", "rrcr", "rr?r", "rrcr", "rrrr"], False),  # behind what is not seen, too
        (0.6, ["cCsr", "rrsr", "rrrr", "rrrr", "rrrr"], True),  # whatever stands there
        (0.6, ["cCrr", "rr?r", "rr?r", "rr?r", "rr?r"], False),
        (0.3, ["cCcr", "rrcr", "rrcr", "rrcr", "rrcr"], True),  # a side that goes on for long, whatever the way meets
        (1 / 1024, ["cCcr", "rrcr", "rrcr", "rrcr", "rrcr"], True),
        (1 / 1025, ["cCcr", "rrcr", "rrcr", "rrcr", "rrcr"], False),  # which leans too little to have stairs
        (0.1, ["cCcr", "rrcr", "rrcr", "rrcr", "rrrr"], False),  # a way that looks past what is shorter
        (0.1, ["cC", "rr", "rr", "rr", "rr"], False),  # at the edge of the picture
        (0.6, ["cC", "rr", "rr", "rr", "rr"], False),
        (0.6, ["cCc", "rrc"], True),
        (0.3, ["cCc", "rrc"], False),
    ],
)
def test_a_step_of_a_leaning_side_is_told_from_a_foot(
    lean: float, picture: list[str], is_stair: bool, mirrored: bool, flipped: bool, turned: bool
) -> None:
    mask = np.array([[LABELS[letter] for letter in row.lower()] for row in picture], np.uint8)
    u, v, way = 1, 0, [lean, 1.0]
    if mirrored:
        mask, u, way[0] = mask[:, ::-1], mask.shape[1] - 1 - u, -lean
    if flipped:
        mask, v, way[1] = mask[::-1], mask.shape[0] - 1 - v, -1.0
    if turned:
        mask, u, v, way = mask.T, v, u, way[::-1]
    inward = np.array([[way]], np.float32)
    costs = CAMVID.drivable_costs
    assert _is_stair(np.ascontiguousarray(mask), costs, inward, (math.nan, math.nan), u, v, not turned) == is_stair
