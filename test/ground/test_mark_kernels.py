"""What ends mark, each against its plain definition: cells, bearings, a lane, points."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from seg_perception.ground.mark_kernels import mark_feet, nearest_in_lane, nearest_in_sectors, place_feet
from seg_perception.labels import CAMVID, UNSEEN_LABEL, VOID

ROAD, PAVEMENT, CAR = (CAMVID.by_name(name).id for name in ("road", "pavement", "car"))
BEGINS = UNSEEN_LABEL
FLAT = math.nan
"""The depth of what is taken to stand on flat ground."""
Place = tuple[float, float]
Side = tuple[Place, Place]


def near_sides(sides: list[Side]) -> NDArray[np.float64]:
    """Middle and corners of each, [N, 3, 2]."""
    return np.array([((np.add(*ends) / 2), *ends) for ends in sides]).reshape(-1, 3, 2)


def labels_of(pairs: list[tuple[int, int]]) -> NDArray[np.uint8]:
    return np.array(pairs, np.uint8).reshape(-1, 2)


PLACES = st.tuples(st.floats(-3.0, 5.0), st.floats(-2.0, 5.0))
ORIGIN_M, CELL_M, SHAPE = (-1.0, 0.5), 0.5, (6, 8)


@settings(max_examples=80, deadline=None)
@given(sides=st.lists(st.tuples(PLACES, PLACES, st.sampled_from((CAR, VOID))), min_size=1, max_size=3))
def test_the_cells_that_an_obstacles_side_runs_through_are_marked(sides: list[tuple[Place, Place, int]]) -> None:
    """All that it runs through, however short the way through a corner is, and none that it does not touch."""
    cells = np.full(SHAPE, 7, np.int8)
    is_obstacle = np.arange(256) == CAR
    mark_feet(
        near_sides([(a, b) for a, b, _ in sides]), labels_of([(ROAD, far) for *_, far in sides]), is_obstacle, ORIGIN_M,
        CELL_M, 100, cells,
    )  # fmt: skip
    touched, sure = np.zeros((2, *SHAPE), np.bool_)
    for a, b, far in sides:
        if far != CAR:
            continue
        along = np.linspace(a, b, 4001)
        where = np.floor((along - ORIGIN_M) / CELL_M).astype(int)
        share = np.abs(np.subtract(a, b)).max() / CELL_M / 4000
        for slip in ((0, 0), (1e-3, 1e-3), (-1e-3, -1e-3), (1e-3, -1e-3), (-1e-3, 1e-3)):
            column, row = np.floor((along + slip - ORIGIN_M) / CELL_M).astype(int).T
            inside = (row >= 0) & (row < SHAPE[0]) & (column >= 0) & (column < SHAPE[1])
            touched[row[inside], column[inside]] = True
        counts = np.zeros(SHAPE)
        inside = ((where >= 0) & (where < SHAPE[::-1])).all(axis=1)
        np.add.at(counts, (where[inside, 1], where[inside, 0]), share)
        sure |= counts > 0.001
    assert set(np.unique(cells)) <= {7, 100}
    assert not (sure & (cells != 100)).any() and not ((cells == 100) & ~touched).any()


@pytest.mark.parametrize(
    ("side", "marked"),
    [
        # The first and the last cell of each direction, and just beyond them.
        (((-0.99, 0.6), (-0.98, 0.6)), [(0, 0)]),
        (((2.98, 3.4), (2.99, 3.4)), [(5, 7)]),
        (((-1.02, 0.6), (-1.01, 0.6)), []),
        (((3.01, 3.4), (3.02, 3.4)), []),
        (((2.98, 3.51), (2.99, 3.51)), []),
        (((2.98, 0.49), (2.99, 0.49)), []),
        # From far outside into the grid, and right through it.
        (((9.0, 0.75), (2.75, 0.75)), [(0, 7)]),
        (((-0.75, -4.0), (-0.75, 0.75)), [(0, 0)]),
        (((-0.75, 9.0), (-0.75, 3.25)), [(5, 0)]),
        (((0.1, -9.0), (0.1, 9.0)), [(row, 2) for row in range(6)]),
        (((-30.0, 0.75), (30.0, 0.75)), [(0, column) for column in range(8)]),
        # Over a corner of a third cell.
        (((-0.55, 0.96), (-0.45, 1.02)), [(0, 0), (0, 1), (1, 1)]),
    ],
)
def test_a_side_at_the_edge_of_the_grid(side: Side, marked: list[tuple[int, int]]) -> None:
    cells = np.zeros(SHAPE, np.int8)
    mark_feet(near_sides([side]), labels_of([(ROAD, CAR)]), np.arange(256) == CAR, ORIGIN_M, CELL_M, 100, cells)
    assert list(map(tuple, np.argwhere(cells == 100).tolist())) == marked


FREE = np.arange(256) == ROAD
STEP = 0.25


def plain_sectors(
    sides: list[tuple[Side, int, int, float]], angle_min: float, count: int, limit_m: float
) -> tuple[list[float], list[bool]]:
    """The rule, sector by sector: nearest of what ends free ground or is measured, and where the view begins with something
    that may be nearer, nothing. And whether an edge of a side is so near to one of the sector that rounding decides."""
    told, doubtful = [], []
    for sector in range(count):
        ends, begins, unsure = math.inf, math.inf, False
        for (a, b), near, far, depth in sides:
            distance = math.hypot((a[0] + b[0]) / 2, (a[1] + b[1]) / 2)
            one, other = math.atan2(a[1], a[0]), math.atan2(b[1], b[0])
            half = math.remainder(other - one, 2 * math.pi) / 2
            away = abs(math.remainder(angle_min + sector * STEP - (one + half), 2 * math.pi)) - abs(half) - STEP / 2
            unsure |= abs(away) < 1e-9 or abs(abs(half) - math.pi / 2) < 1e-9 or abs(distance - limit_m) < 1e-9
            if away > 0 or distance > limit_m or FREE[far]:
                continue
            if near == BEGINS and math.isnan(depth):
                begins = min(begins, distance)
            elif far != VOID and (near == BEGINS or FREE[near]):
                ends = min(ends, distance)
        told.append(math.nan if begins <= ends and math.isfinite(begins) else ends)
        doubtful.append(unsure or (math.isfinite(begins) and abs(begins - ends) < 1e-9))
    return told, doubtful


@settings(max_examples=150, deadline=None)
@given(
    sides=st.lists(
        st.tuples(
            st.tuples(st.tuples(st.floats(-6, 6), st.floats(-6, 6)), st.tuples(st.floats(-6, 6), st.floats(-6, 6))),
            st.sampled_from((ROAD, PAVEMENT, CAR, BEGINS)),
            st.sampled_from((ROAD, PAVEMENT, CAR, VOID)),
            st.sampled_from((FLAT, 3.0)),
        ),
        max_size=6,
    ),
    angle_min=st.sampled_from((-math.pi, -0.8, 0.3, 3.0)),
)
def test_the_nearest_end_in_each_sector(sides: list[tuple[Side, int, int, float]], angle_min: float) -> None:
    out = np.empty(25)
    nearest_in_sectors(
        near_sides([side for side, *_ in sides]), labels_of([(near, far) for _, near, far, _ in sides]),
        np.array([depth for *_, depth in sides]), FREE, VOID, angle_min, STEP, 5.0, out,
    )  # fmt: skip
    told, doubtful = plain_sectors(sides, angle_min, len(out), 5.0)
    sure = ~np.array(doubtful)
    np.testing.assert_allclose(out[sure], np.array(told)[sure], rtol=1e-12)


@pytest.mark.parametrize(
    ("near", "far", "depth", "y", "straight", "wide"),
    [
        (ROAD, CAR, FLAT, (-0.1, 0.1), 6.0, 6.0),
        (ROAD, PAVEMENT, FLAT, (-0.1, 0.1), 6.0, 6.0),
        (ROAD, VOID, FLAT, (-0.1, 0.1), math.inf, math.inf),
        (ROAD, ROAD, FLAT, (-0.1, 0.1), math.inf, math.inf),
        (PAVEMENT, CAR, FLAT, (-0.1, 0.1), math.inf, math.inf),
        # Where the view begins with it, it may stand anywhere up to there, unless its depth is known.
        (BEGINS, CAR, FLAT, (-0.1, 0.1), 0.0, 0.0),
        (BEGINS, CAR, 6.0, (-0.1, 0.1), 6.0, 6.0),
        (BEGINS, VOID, FLAT, (-0.1, 0.1), math.inf, math.inf),
        # Beside the axis, and half in the lane of 1 m to each side.
        (ROAD, CAR, FLAT, (0.1, 0.3), math.inf, 6.0),
        (ROAD, CAR, FLAT, (0.3, 0.1), math.inf, 6.0),
        (ROAD, CAR, FLAT, (-0.3, -0.1), math.inf, 6.0),
        (ROAD, CAR, FLAT, (0.9, 1.1), math.inf, 6.0),
        (ROAD, CAR, FLAT, (-1.1, -0.9), math.inf, 6.0),
        (ROAD, CAR, FLAT, (1.0, 1.2), math.inf, math.inf),
        (ROAD, CAR, FLAT, (-1.2, -1.0), math.inf, math.inf),
        (ROAD, CAR, FLAT, (0.0, 0.2), 6.0, 6.0),
        (ROAD, CAR, FLAT, (-0.2, 0.0), 6.0, 6.0),
        (ROAD, CAR, FLAT, (-3.0, 3.0), 6.0, 6.0),
    ],
)
def test_what_ends_a_class_in_the_lane(
    near: int, far: int, depth: float, y: tuple[float, float], straight: float, wide: float
) -> None:
    side = near_sides([((6.0, y[0]), (6.0, y[1]))])
    found = nearest_in_lane(side, labels_of([(near, far)]), np.array((depth,)), ROAD, VOID, 1.0, 6.0)
    assert found == (straight, wide)


def test_of_several_in_the_lane_the_nearest_ahead_counts() -> None:
    sides = [((x, -0.1), (x, 0.1)) for x in (-2.0, 0.0, 9.0, 4.0, 7.0)]
    labels = labels_of([(ROAD, CAR)] * 5)
    depths = np.full(5, FLAT)
    assert nearest_in_lane(near_sides(sides), labels, depths, ROAD, VOID, 1.0, 6.0) == (4.0, 4.0)
    # What begins farther off than the view of the lane begins behind something in the way, so it stands where it is seen.
    labels[3] = BEGINS, CAR
    for begins_m, told in ((4.0, 0.0), (3.9, 4.0), (math.nan, 4.0)):
        if math.isfinite(begins_m):
            assert nearest_in_lane(near_sides(sides), labels, depths, ROAD, VOID, 1.0, begins_m) == (told, told)


@pytest.mark.parametrize(
    ("far", "depth", "away_m", "placed"),
    [(CAR, FLAT, 5.0, True), (VOID, FLAT, 5.0, False), (CAR, 5.0, 5.0, False), (CAR, FLAT, 5.1, False)],
)
def test_the_foot_of_an_obstacle_has_a_place(far: int, depth: float, away_m: float, placed: bool) -> None:
    """The camera stands at (2, -1): 3 m ahead and 4 m to the left of it are 5 m."""
    place = np.array((2.0, -1.0)) + np.array((3.0, 4.0)) * away_m / 5.0
    points = np.broadcast_to(place, (1, 3, 2)).copy()
    places = np.full((12, 4), np.nan, np.float32)
    pixels = np.array(((2, 1, 0, 1, ROAD, far),), np.int32)
    place_feet(
        pixels, points, labels_of([(ROAD, far)]), np.array((depth,)), np.arange(256) == CAR, np.array((2.0, -1.0, 1.5)), 5.0,
        4, places,
    )  # fmt: skip
    expected = np.full((12, 4), np.nan, np.float32)
    if placed:
        expected[1 * 4 + 2, :3] = *place, 0.0
    np.testing.assert_array_equal(places, expected)
