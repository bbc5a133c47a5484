"""How far a class reaches ahead and to both sides, on streets painted into a mask from their plan in metres."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from seg_perception.camera_model import CameraModel, CameraPose
from seg_perception.ground.ends import EndFinder, Ends
from seg_perception.ground.geometry import GroundProjection
from seg_perception.ground.look_ahead import AheadMap, stand_before, view_begins, walk_sideways
from seg_perception.ground.metric_outlines import FlatImage
from seg_perception.labels import CAMVID, UNSEEN_LABEL, VOID

SKY, BUILDING, ROAD, PAVEMENT, CAR = (CAMVID.by_name(n).id for n in ("sky", "building", "road", "pavement", "car"))
HW = (480, 640)
CAMERA = CameraModel(640, 480, ((450.0, 0, 319.5), (0, 450.0, 239.5), (0, 0, 1)))
POSE = CameraPose(0.0, 0.0, 1.5, pitch=0.1)
PROJECTION = GroundProjection(CAMERA, POSE, HW)
Plan = Callable[[NDArray[Any], NDArray[Any]], NDArray[Any]]


def ahead_map(width_m: float = 1.8, look_ahead_m: tuple[float, ...] = (10.0,), step_m: float = 0.05) -> AheadMap:
    made = AheadMap(width_m, look_ahead_m, step_m, 40.0)
    made.update(PROJECTION)
    return made


def free(mask: NDArray[np.uint8], width_m: float = 1.8) -> tuple[float, float]:
    """How far road is free, straight ahead and over a width."""
    finder = EndFinder(CAMVID.drivable_costs)
    finder.update(PROJECTION, FlatImage.of(PROJECTION.lens, HW), 100.0)
    return ahead_map(width_m).free(mask, ROAD, finder.find(mask))


def _ground() -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    v, u = np.mgrid[: HW[0], : HW[1]]
    ground = PROJECTION.pixels_to_ground(np.column_stack((u.ravel(), v.ravel())))
    hits = np.isfinite(ground[:, 0])
    return hits, ground[hits, 0], ground[hits, 1]


HITS, X, Y = _ground()


def painted(plan: Plan, *boxes: tuple[float, float, float, float]) -> NDArray[np.uint8]:
    """A mask whose ground is plan(x, y), in m, with tall boxes (x, y, length, width) on it, as seen from the origin: a
    box covers the ground that it stands on and all that is behind."""
    labels = np.array(plan(X, Y), np.uint8)
    for x0, y0, length, width in boxes:
        # A ray y = slope * x enters the box where it has come over both its near sides.
        with np.errstate(divide="ignore", invalid="ignore"):
            sides = np.sort(np.stack((y0 * X / Y, (y0 + width) * X / Y)), axis=0)
        enters, leaves = np.maximum(x0, sides[0]), np.minimum(x0 + length, sides[1])
        labels[(enters < leaves) & (enters <= X)] = CAR
    mask = np.full(HW[0] * HW[1], SKY, np.uint8)
    mask[HITS] = labels
    return mask.reshape(HW)


def street(x: NDArray[Any], y: NDArray[Any]) -> NDArray[Any]:
    """A road from 4 m right to 4 m left, pavement 2 m wide, then houses."""
    return np.where(np.abs(y) < 4, ROAD, np.where(np.abs(y) < 6, PAVEMENT, BUILDING))


def edges(mask: NDArray[np.uint8], *look_ahead_m: float, label: int = ROAD) -> list[tuple[float, float, float]]:
    found = ahead_map(look_ahead_m=look_ahead_m).edges(mask, label, CAMVID.drivable_costs)
    return [(edge.ahead_m, edge.left_m, edge.right_m) for edge in found]


def close(value: float) -> Any:
    return pytest.approx(value, abs=0.05, nan_ok=True)


def test_a_corner_at_the_side_of_the_lane_ends_the_width_but_not_the_middle() -> None:
    mask = painted(street, (8.0, 0.6, 4.0, 1.8))
    assert free(mask, 1.8) == (math.inf, pytest.approx(8.0, rel=0.02))
    assert free(mask, 1.1) == (math.inf, math.inf)
    assert free(mask, 1.3)[1] == pytest.approx(8.0, rel=0.02)


def test_lines_are_parallel_to_x_and_no_bearings() -> None:
    """A post 12 m ahead and 1 m to the left lies at the bearing that is at the vehicle's side 10.8 m ahead."""
    mask = painted(street, (12.0, 1.0, 0.3, 0.3))
    assert free(mask, 1.8) == (math.inf, math.inf)
    assert free(mask, 2.4) == (math.inf, pytest.approx(12.0, rel=0.02))


def test_free_over_the_width_is_unknown_where_a_part_of_it_is() -> None:
    mask = painted(lambda x, y: np.where((y > 0.5) & (x < 10), VOID, street(x, y)))
    straight, over_width = free(mask)
    assert straight == math.inf and math.isnan(over_width)
    assert free(painted(lambda x, y: np.full(x.shape, PAVEMENT))) == (0.0, 0.0)


@settings(deadline=None, max_examples=25)
@given(
    boxes=st.lists(
        st.tuples(st.floats(6, 25), st.floats(-3.5, 3.0), st.floats(0.5, 5), st.floats(0.3, 2)), min_size=1, max_size=3
    ),
    width_m=st.floats(0.5, 3.0),
)
def test_the_nearest_box_in_the_way_ends_it(boxes: list[tuple[float, float, float, float]], width_m: float) -> None:
    # What reaches into the way by less than two lines or pixels may be missed.
    slack = 0.15
    sure = [x for x, y, _, wide in boxes if y < width_m / 2 - slack and y + wide > -width_m / 2 + slack]
    maybe = [x for x, y, _, wide in boxes if y < width_m / 2 + slack and y + wide > -width_m / 2 - slack]
    straight, found = free(painted(street, *boxes), width_m)
    half_a_row = 25.0**2 / (450 * 1.5) / 2
    assert min(maybe, default=math.inf) - half_a_row - 0.1 <= found <= min(sure, default=math.inf) + half_a_row + 0.1
    assert found <= straight


def test_edges_of_a_street() -> None:
    # At 5 m the view, 320 / 450 to each side, ends before the road does.
    assert edges(painted(street), 5.0, 10.0, 20.0) == [
        (5.0, math.inf, math.inf),
        (10.0, close(4.0), close(4.0)),
        (20.0, close(4.0), close(4.0)),
    ]
    assert all(math.isnan(m) for m in edges(painted(street), 10.0, label=PAVEMENT)[0][1:])
    assert edges(painted(street)) == []


def test_edges_to_each_side_are_not_mixed_up() -> None:
    ((_, left, right),) = edges(painted(lambda x, y: np.where((y < 3) & (y > -1.5), ROAD, PAVEMENT)), 10.0)
    assert (left, right) == (close(3.0), close(1.5))


@pytest.mark.parametrize("beside_m", [0.6, 1.5, 2.5])
def test_a_parked_car_ends_the_road_beside_it_and_hides_it_behind(beside_m: float) -> None:
    mask = painted(street, (7.0, beside_m, 5.0, 1.8))
    (_, left, right), (_, left_behind, right_behind) = edges(mask, 10.0, 18.0)
    assert (left, right, right_behind) == (close(beside_m), close(4.0), close(4.0))
    assert math.isnan(left_behind)


def test_a_post_hides_the_road_behind_it() -> None:
    ((_, left, right),) = edges(painted(street, (6.0, 1.0, 0.2, 0.2)), 10.0)
    assert math.isnan(left) and right == close(4.0)


def test_road_that_shines_through_behind_an_obstacle_counts_as_hidden() -> None:
    """Painted flat, so that the road is seen again behind it; from 0.5 to 2.5 m it lies between the camera and 10 m."""
    mask = painted(lambda x, y: np.where((np.abs(x - 7) < 0.5) & (np.abs(y - 1.5) < 1), CAR, street(x, y)))
    ((_, left, right),) = edges(mask, 10.0)
    assert math.isnan(left) and right == close(4.0)


def test_what_stands_in_the_middle_or_is_void_leaves_the_edge_unknown() -> None:
    for mask in (
        painted(street, (9.0, -1.0, 4.0, 2.0)),
        painted(lambda x, y: np.where(np.abs(y) > 2, VOID, street(x, y))),
        np.full(HW, VOID, np.uint8),
    ):
        assert all(math.isnan(m) for m in edges(mask, 10.0)[0][1:])


# One row of samples is one ray; sample k is pixel k of a mask of four.
@pytest.mark.parametrize(
    ("pixels", "labels", "stop", "reach"),
    [
        ([0, 1, 2, 3], [ROAD, ROAD, PAVEMENT, ROAD], 2, 1.5),
        ([0, 1, 2, 3], [ROAD] * 4, 3, math.inf),
        ([0, 1, -1, -1], [ROAD] * 4, 1, math.inf),
        ([0, 1, 2, 3], [ROAD, ROAD, UNSEEN_LABEL, ROAD], 1, math.inf),
        ([0, 1, 2, 3], [UNSEEN_LABEL, ROAD, ROAD, ROAD], 0, math.nan),
        ([0, 1, 2, 3], [ROAD, VOID, ROAD, ROAD], 1, math.nan),
        ([0, 1, 2, 3], [PAVEMENT, ROAD, ROAD, ROAD], 0, math.nan),
        ([-1, 1, 2, 3], [ROAD] * 4, 0, math.nan),
    ],
)
def test_a_walk_sideways(pixels: list[int], labels: list[int], stop: int, reach: float) -> None:
    stops, reaches = walk_sideways(np.array(labels, np.uint8), ROAD, np.array([pixels], np.int32), 1.0)
    assert stops.tolist() == [stop]
    np.testing.assert_array_equal(reaches, [reach])


@pytest.mark.parametrize(("limit", "stands"), [(-1.0, False), (2.0, False), (2.9, False), (3.0, True), (9.0, True)])
def test_only_what_stands_before_the_limit_hides(limit: float, stands: bool) -> None:
    mask, ray = np.array([ROAD, PAVEMENT, CAR, ROAD], np.uint8), np.array([[0, 1, 2, 3]], np.int32)
    assert stand_before(mask, CAMVID.drivable_costs, ray, np.array([limit])).tolist() == [stands]


def test_the_middle_is_looked_along_however_wide_the_step() -> None:
    """Nothing is known of the right edge of the way, on lines at most 1 m apart: so of the width, but not of the middle."""
    mask = painted(lambda x, y: np.where(y < -0.7, VOID, street(x, y)))
    finder = EndFinder(CAMVID.drivable_costs)
    finder.update(PROJECTION, FlatImage.of(PROJECTION.lens, HW), 100.0)
    straight, over_width = ahead_map(1.8, step_m=1.0).free(mask, ROAD, finder.find(mask))
    assert straight == math.inf and math.isnan(over_width)


@pytest.mark.parametrize(
    ("rays", "begins"),
    [
        ([[0, 1, 2]], 0.5),
        ([[-1, -1, 2]], 2.5),
        ([[-1, 1, 2], [0, 1, 2]], 1.5),
        ([[0, 1, 2], [-1, 1, 2]], 1.5),
        ([[-1, 1, 2], [-1, -1, -1]], 1.5),  # a ray that sees nothing tells nothing
        ([[-1, -1, -1]], math.nan),
        ([[-1, 1, -1], [-1, -1, 0], [0, 0, 0]], 2.5),
    ],
)
def test_the_view_begins_where_on_all_rays_that_see_anything_it_is_seen(rays: list[list[int]], begins: float) -> None:
    np.testing.assert_array_equal(view_begins(np.array(rays, np.int32)), begins)


@pytest.mark.parametrize(
    ("known_m", "end_m", "row_share", "told_m"),
    [
        (2.5, 3.0, 0.0, 2.5),
        (2.5, 2.0, 0.0, 2.0),
        (2.5, math.inf, 0.0, 2.5),
        (math.inf, 4.0, 0.0, 4.0),
        (math.nan, 4.0, 0.0, math.nan),
        # By depth the mask may show it nearer by a row of pixels, here 0.1 * 2.5 * 2.5 m, and a step of 0.05 m.
        (2.5, 3.17, 0.1, 3.17),
        (2.5, 3.18, 0.1, 2.5),
        (2.5, 2.0, 0.1, 2.0),
        (2.5, math.inf, 0.1, 2.5),
        (math.inf, 4.0, 0.1, 4.0),
        (math.nan, 4.0, 0.1, math.nan),
    ],
)
def test_a_class_ends_where_the_mask_or_an_end_says(
    known_m: float, end_m: float, row_share: float, told_m: float
) -> None:
    none = np.empty(0)
    ends = Ends(none.reshape(0, 3, 2), np.empty((0, 2), np.uint8), none, np.empty((0, 6), np.int32), none, row_share)
    np.testing.assert_allclose(ahead_map()._end(known_m, end_m, ends), told_m)


@pytest.mark.parametrize(
    ("x", "y", "limit_m", "row_m"),
    [
        # Both angles, of a step of 2 cm and of a pixel's 1 / 450, over how far it is aside (0.3 m at least), and 1.5 rows:
        # 10 * (0.02 + 10 / 450) / 0.3 + 1.5 * 10 * 10 / (450 * 1.5) = 1.41 + 0.22 m nearer than the point.
        (10.0, 0.0, 10.0 - 1.63, 0.11),
        (10.0, 0.3, 10.004 - 1.63, 0.11),
        (10.0, 2.0, 10.198 - 0.449, 0.16),
        (10.0, -2.0, 10.198 - 0.449, 0.16),
        (20.0, 0.5, 20.006 - 3.469, 0.41),
    ],
)
def test_ground_is_hidden_by_what_stands_well_before_it(x: float, y: float, limit_m: float, row_m: float) -> None:
    """Something from a distance on: it hides a point from the limit on, but for a row of pixels and a sample of 0.2 m."""
    point = np.array(((x, y),))
    for off_m, hidden in ((-row_m - 0.21, True), (row_m + 0.01, False)):
        mask = painted(lambda x, y: np.where(np.hypot(x, y) < limit_m + off_m, ROAD, BUILDING))  # noqa: B023
        assert ahead_map()._hidden(mask, CAMVID.drivable_costs, point).tolist() == [hidden], off_m
