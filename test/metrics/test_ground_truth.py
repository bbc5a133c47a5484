"""The exact ground and what is told of it, on grids of a few cells drawn by hand."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from seg_perception.ground.drivable import DrivableSettings
from seg_perception.labels import CAMVID
from seg_perception.metrics.ground_truth import GroundTruth, Judgement, _first_feet, judge, polygon_iou, summary
from seg_perception.results import Drivable, DrivableArea, Grid, LookAhead, Outline

ROAD = CAMVID.by_name("road").id
SMALL = DrivableSettings(grid_length_m=0.3, grid_width_m=0.3, resolution_m=0.1, range_max_m=10.0)
OBSTACLE, UNKNOWN, PAVED = 100, -1, 60


def truth_of(**changes: object) -> GroundTruth:
    """Three by three cells of road, that all count."""
    plain = GroundTruth(
        np.zeros((3, 3, 25), np.int8), np.zeros((3, 3), np.bool_), np.ones((3, 3), np.bool_), np.ones((15, 15), np.bool_),
        8.0, 6.0, (), SMALL,
    )  # fmt: skip
    return replace(plain, **changes)  # type: ignore[arg-type]


def cells(**values: int) -> NDArray[np.int8]:
    """Road all over but for some cells, by names such as r1c2."""
    made = np.zeros((3, 3), np.int8)
    for name, value in values.items():
        row, column = map(int, name[1:].split("c"))
        made[row, column] = value
    return made


def wrong(truth: GroundTruth, answer: NDArray[np.int8]) -> list[tuple[int, int]]:
    return list(map(tuple, np.argwhere(~truth.right(answer)).tolist()))


def test_a_cell_is_right_where_what_it_says_is_true_at_one_of_its_points() -> None:
    points = np.zeros((3, 3, 25), np.int8)
    points[1, 1, 7] = PAVED
    truth = truth_of(points=points)
    assert wrong(truth, cells()) == wrong(truth, cells(r1c1=PAVED)) == []
    assert wrong(truth, cells(r1c1=UNKNOWN, r0c2=PAVED)) == [(0, 2), (1, 1)]


def test_a_foot_is_marked_in_its_cell_or_beside_it() -> None:
    feet = np.zeros((3, 3), np.bool_)
    feet[0, 0] = True
    truth = truth_of(feet=feet)
    assert wrong(truth, cells()) == [(0, 0)], "nothing says that something stands there"
    for beside in ("r0c0", "r0c1", "r1c0", "r1c1"):
        assert wrong(truth, cells(**{beside: OBSTACLE})) == []
    assert wrong(truth, cells(r0c0=OBSTACLE, r2c2=OBSTACLE)) == [(2, 2)]
    assert wrong(truth, cells(r1c2=OBSTACLE)) == [(0, 0), (1, 2)]


def test_the_strictly_right_grid_is_of_the_cells_middles_and_feet() -> None:
    points, feet = np.zeros((3, 3, 25), np.int8), np.zeros((3, 3), np.bool_)
    points[0, 1], points[0, 1, 12], points[2, 2, 12] = PAVED, UNKNOWN, PAVED
    feet[1, 0] = True
    grid = truth_of(points=points, feet=feet).grid
    np.testing.assert_array_equal(grid.cells, cells(r0c1=UNKNOWN, r2c2=PAVED, r1c0=OBSTACLE))
    assert (grid.resolution_m, grid.origin_m) == (0.1, (0.0, pytest.approx(-0.15)))


@pytest.mark.parametrize(
    ("start", "bearing", "end", "foot"),
    [
        # Columns are counted along bearing 0; the wall stands in column 3 of row 0, and in row 4 of column 1.
        ((0.5, 0.5), 0.0, 2.5, (0, 3)),
        ((0.5, 1.5), 0.0, math.inf, None),
        ((1.5, 0.5), math.pi / 2, 3.5, (4, 1)),
        ((-3.0, 0.5), 0.0, 6.0, (0, 3)),  # the camera may stand beside the grid
        ((1.5, -2.0), math.pi / 2, 6.0, (4, 1)),
        ((4.5, 0.5), math.pi, 1.0, (0, 3)),
        ((2.5, 4.5), math.pi, math.inf, None),  # what is not seen is no foot
    ],
)
def test_a_ray_ends_at_the_first_ground_that_is_none(
    start: tuple[float, float], bearing: float, end: float, foot: tuple[int, int] | None
) -> None:
    costs, seen = np.zeros((6, 5), np.int8), np.ones((6, 5), np.bool_)
    costs[0, 3] = costs[4, 1] = costs[4, 0] = -1
    seen[4] = start[1] != 4.5
    ends, feet = _first_feet(costs, seen, np.array((bearing,)), np.array(start))
    assert ends.tolist() == [end]
    assert list(map(tuple, np.argwhere(feet).tolist())) == ([] if foot is None else [foot])


def square(low: float, high: float, hole: bool = False) -> Outline:
    corners = ((low, low), (high, low), (high, high), (low, high))
    return Outline(np.array(corners, np.float32), hole)


@pytest.mark.parametrize(
    ("outlines", "share"),
    [
        ((), 0.0),
        ((square(0.011, 0.489),), 1.0),  # 5 points to a cell of 0.1 m: points are 2 cm apart
        ((square(0.011, 0.249),), (12 / 24) ** 2),
        ((square(0.011, 0.489), square(0.111, 0.209, hole=True)), 1 - (4 / 24) ** 2),
        ((square(0.011, 0.489), square(0.111, 0.389, hole=True), square(0.211, 0.309)), 1 - (13**2 - 6**2) / 24**2),
        ((square(-0.3, 0.9),), (24 / 25) ** 2),
    ],
)
def test_polygons_are_held_against_the_points(outlines: tuple[Outline, ...], share: float) -> None:
    """A square of road from 0 to 0.48 m each way, in a grid of 0.5 m."""
    settings = DrivableSettings(grid_length_m=0.5, grid_width_m=0.5, grid_center_y_m=0.25, resolution_m=0.1)
    truth = np.zeros((25, 25), np.bool_)
    truth[:24, :24] = True
    assert polygon_iou(outlines, truth, settings) == pytest.approx(share, abs=0.09)
    assert polygon_iou((), np.zeros((25, 25), np.bool_), settings) == 1.0


def area(class_id: int, free_m: float, width_m: float, edges: tuple[LookAhead, ...] = ()) -> DrivableArea:
    return DrivableArea(class_id, 0.5, 1.0, (), free_distance_m=free_m, free_distance_width_m=width_m, edges=edges)


def test_an_answer_is_judged() -> None:
    points, feet, counted = np.zeros((3, 3, 25), np.int8), np.zeros((3, 3), np.bool_), np.ones((3, 3), np.bool_)
    points[0], feet[1, 1], counted[2] = UNKNOWN, True, False
    edges = (LookAhead(5.0, 3.0, 2.0), LookAhead(9.0, 4.0, math.inf), LookAhead(12.0, 1.0, 1.0))
    truth = truth_of(points=points, feet=feet, counted=counted, edges=edges)
    answered = (LookAhead(5.0, 3.5, math.nan), LookAhead(9.0, 3.0, 2.0), LookAhead(20.0, 1.0, 1.0))
    answer = Drivable(
        (area(CAMVID.by_name("pavement").id, 1.0, 1.0), area(ROAD, 8.5, math.nan, answered)),
        Grid(cells(r0c0=UNKNOWN, r0c1=UNKNOWN, r1c2=OBSTACLE, r2c2=PAVED), 0.1, SMALL.grid_origin_m),
    )
    found = judge(answer, CAMVID, truth)
    # Of six cells that count r0c2 is said to be free where nothing is known; r1c2 has the mark that r1c1 should have.
    assert (found.counted, found.right, found.strict, found.known, found.known_right) == (6, 5, 3, 4, 3)
    assert (found.free_m, found.exact_m, found.free_width_m, found.exact_width_m) == (8.5, 8.0, 0.0, 6.0)
    assert found.edge_errors_m == (0.5, 1.0) and found.edges == 5 and found.iou == 0.0
    far = judge(Drivable((area(ROAD, math.inf, 12.0),)), CAMVID, truth)
    assert (far.free_m, far.free_width_m) == (10.0, 10.0), "as far as is looked"
    nothing = judge(Drivable(()), CAMVID, truth)
    assert (nothing.free_m, nothing.free_width_m, nothing.edge_errors_m) == (0.0, 0.0, ())
    assert (nothing.counted, nothing.strict, nothing.known) == (6, 3, 3)


def judgement(**changes: object) -> Judgement:
    return replace(Judgement(10, 10, 10, 4, 4, 8.0, 8.0, 8.0, 8.0, (), 0, 1.0), **changes)  # type: ignore[arg-type]


def test_frames_are_summed_up() -> None:
    frames = [
        judgement(right=9, strict=5, known_right=3, free_m=7.0, edge_errors_m=(0.1, 0.3), edges=4, iou=0.5),
        judgement(counted=30, right=30, strict=20, known=6, known_right=6, free_width_m=8.15, edges=2),
    ]
    found = summary(frames)
    assert found["grid_accuracy_20m"] == 39 / 40 and found["grid_accuracy_20m_strict"] == 25 / 40
    assert found["grid_accuracy_20m_known"] == 9 / 10
    assert found["free_distance_error"] == pytest.approx(0.95 / 8, abs=1e-5)
    assert found["free_distance_error_m"] == pytest.approx(0.95) and found["free_distance_error_worst"] == 1 / 8
    assert found["free_distance_within"] == 0.5 and found["free_distance_width_within"] == 1.0
    assert found["free_distance_width_error"] == pytest.approx(0.95 * 0.15 / 8, abs=1e-5)
    assert found["edge_error_m"] == pytest.approx(0.29) and (found["edges_seen"], found["edges"]) == (2, 6)
    assert (found["polygon_iou"], found["polygon_iou_worst"]) == (0.75, 0.5)
    none = summary([judgement(known=0, known_right=0)])
    assert none["grid_accuracy_20m_known"] is None and none["edge_error_m"] is None


@pytest.mark.parametrize(
    ("free_m", "exact_m", "within"),
    [(10.19, 10.0, 1.0), (10.21, 10.0, 0.0), (9.81, 10.0, 1.0), (1.049, 1.0, 1.0), (1.051, 1.0, 0.0), (0.04, 0.0, 1.0)],
)
def test_a_free_distance_is_right_within_two_percent_or_five_centimetres(
    free_m: float, exact_m: float, within: float
) -> None:
    found = summary([judgement(free_m=free_m, exact_m=exact_m, free_width_m=free_m, exact_width_m=exact_m)])
    assert found["free_distance_within"] == found["free_distance_width_within"] == within
    assert found["free_distance_error"] == pytest.approx(abs(free_m - exact_m) / max(exact_m, 0.05), abs=1e-5)
