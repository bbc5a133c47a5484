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
from seg_perception.ground.end_kernels import _bearing_bin, forget_hidden_reaches
from seg_perception.ground.ends import EndFinder, Ends
from seg_perception.ground.geometry import GroundProjection
from seg_perception.ground.look_ahead import AheadMap, view_begins, walk_sideways
from seg_perception.ground.metric_outlines import FlatImage
from seg_perception.labels import CAMVID, UNSEEN_LABEL, VOID

SKY, BUILDING, ROAD, PAVEMENT, CAR = (CAMVID.by_name(n).id for n in ("sky", "building", "road", "pavement", "car"))
HW = (480, 640)
CAMERA = CameraModel(640, 480, ((450.0, 0, 319.5), (0, 450.0, 239.5), (0, 0, 1)))
POSE = CameraPose(0.0, 0.0, 1.5, pitch=0.1)
PROJECTION = GroundProjection(CAMERA, POSE, HW)
Plan = Callable[[NDArray[Any], NDArray[Any]], NDArray[Any]]


def ahead_map(
    width_m: float = 1.8,
    look_ahead_m: tuple[float, ...] = (10.0,),
    step_m: float = 0.05,
    projection: GroundProjection = PROJECTION,
) -> AheadMap:
    made = AheadMap(width_m, look_ahead_m, step_m, 40.0)
    made.update(projection)
    return made


def ends_in(mask: NDArray[np.uint8], projection: GroundProjection = PROJECTION) -> Ends:
    finder = EndFinder(CAMVID.drivable_costs)
    finder.update(projection, FlatImage.of(projection.lens, HW), 100.0)
    return finder.find(mask)


def free(
    mask: NDArray[np.uint8], width_m: float = 1.8, projection: GroundProjection = PROJECTION
) -> tuple[float, float]:
    """How far road is free, straight ahead and over a width."""
    return ahead_map(width_m, projection=projection).free(mask, ROAD, ends_in(mask, projection))


def _ground(projection: GroundProjection) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    v, u = np.mgrid[: HW[0], : HW[1]]
    ground = projection.pixels_to_ground(np.column_stack((u.ravel(), v.ravel())))
    hits = np.isfinite(ground[:, 0])
    return hits, ground[hits, 0], ground[hits, 1]


HITS, X, Y = _ground(PROJECTION)


def painted_flat(plan: Plan, projection: GroundProjection) -> NDArray[np.uint8]:
    """A mask whose ground is plan(x, y), in m, on which nothing rises: ground is seen again behind what stands there."""
    hits, x, y = _ground(projection)
    mask = np.full(HW[0] * HW[1], SKY, np.uint8)
    mask[hits] = plan(x, y)
    return mask.reshape(HW)


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
    found = ahead_map(look_ahead_m=look_ahead_m).edges(mask, label, ends_in(mask))
    return [(edge.ahead_m, edge.left_m, edge.right_m) for edge in found]


def close(value: float) -> Any:
    return pytest.approx(value, abs=0.05, nan_ok=True)


def test_a_corner_at_the_side_of_the_lane_ends_the_width_but_not_the_middle() -> None:
    mask = painted(street, (8.0, 0.6, 4.0, 1.8))
    assert free(mask, 1.8) == (math.inf, pytest.approx(8.0, rel=0.02))
    assert free(mask, 1.1) == (math.inf, math.inf)
    assert free(mask, 1.3)[1] == pytest.approx(8.0, rel=0.02)


def test_a_class_that_ends_beyond_the_range_reaches_as_far_as_that() -> None:
    made = AheadMap(1.8, (), 0.05, 8.0)
    made.update(PROJECTION)
    for away_m, told_m in ((8.3, math.inf), (7.7, pytest.approx(7.7, rel=0.02))):
        mask = painted(street, (away_m, -3.0, 4.0, 6.0))
        assert made.free(mask, ROAD, ends_in(mask)) == (told_m, told_m)


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


@pytest.mark.parametrize(
    ("camera_y", "x", "y", "straight_m", "over_width_m"),
    [
        # Beside the way: seen past its near right corner, the way's left side and its middle are hidden from there on.
        (2.0, (6.0, 6.5), (1.2, 1.5), 15.0, 8.25),
        (-2.0, (6.0, 6.5), (-1.5, -1.2), 15.0, 8.25),
        # Above the way but beside its middle: it ends where that stands, and the middle where that hides it.
        (0.5, (6.0, 6.2), (0.2, 0.3), 10.0, 6.0),
        (2.0, (6.0, 6.5), (2.5, 3.0), math.inf, math.inf),
    ],
)
def test_the_way_ends_where_something_beside_it_hides_it(
    camera_y: float, x: tuple[float, float], y: tuple[float, float], straight_m: float, over_width_m: float
) -> None:
    """Something low, behind which road is seen again: that may as well be the roof of it."""
    projection = GroundProjection(CAMERA, CameraPose(0.0, camera_y, 1.5, pitch=0.1), HW)
    mask = painted_flat(
        lambda at_x, at_y: np.where((at_x > x[0]) & (at_x < x[1]) & (at_y > y[0]) & (at_y < y[1]), CAR, ROAD),
        projection,
    )
    straight, over_width = free(mask, projection=projection)
    assert straight == pytest.approx(straight_m, rel=0.06)
    assert over_width == pytest.approx(over_width_m, rel=0.06)


def test_something_tiny_right_before_the_camera_hides_the_edges() -> None:
    """5 cm long and 0.3 m before the place below the camera; ground is seen again behind it."""
    projection = GroundProjection(CAMERA, CameraPose(0.0, 0.0, 1.5, pitch=1.3), HW)
    mask = painted_flat(lambda x, y: np.where((x > 0.3) & (x < 0.35) & (np.abs(y) < 0.02), CAR, ROAD), projection)
    found = ahead_map(look_ahead_m=(0.9,), projection=projection).edges(mask, ROAD, ends_in(mask, projection))
    assert math.isnan(found[0].left_m) and math.isnan(found[0].right_m)


def test_the_middle_is_looked_along_however_wide_the_step() -> None:
    """Nothing is known of the right edge of the way, on lines at most 1 m apart: so of the width, but not of the middle."""
    mask = painted(lambda x, y: np.where(y < -0.7, VOID, street(x, y)))
    straight, over_width = ahead_map(1.8, step_m=1.0).free(mask, ROAD, ends_in(mask))
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
    ("y", "stop_y", "reach", "slack_m"),
    [
        # A step of 2 cm and 1.5 rows: 0.02 + 1.5 * 10.198 * 10.198 / (450 * 1.5), and where it ends, both angles, of a step
        # and of a pixel's 1 / 450, over how far it is aside (0.3 m at least): 10.198 * (0.02 + 10.198 / 450) / 2.
        (2.0, 2.0, math.inf, 0.2511),
        (2.0, 2.0, 2.0, 0.4686),
        (2.0, 2.02, 2.0, 0.4686),  # two pixels beside it, of 10.198 / 450 m each, and a step
        (2.0, 2.06, 2.0, 0.4686),
        (2.0, 2.08, 2.0, 0.2511),
        (0.1, 0.1, 0.1, 0.2423 + 1.4076),
    ],
)
@pytest.mark.parametrize("side", [1.0, -1.0])
def test_a_reach_is_hidden_by_what_stands_well_before_any_of_it(
    y: float, stop_y: float, reach: float, slack_m: float, side: float
) -> None:
    away = math.hypot(10.0, y)
    for nearer_m, hidden in ((slack_m + 0.001, True), (slack_m - 0.001, False)):
        nearest, reaches = np.full(1 << 14, np.inf), np.array((reach,))
        nearest[_bearing_bin(10.0, side * y, len(nearest))] = away - nearer_m
        forget_hidden_reaches(
            np.array((10.0,)), np.array((side,)), np.array((round(stop_y / 0.02),), np.int32), 0.02,
            np.array((0.0, 0.0, 1.5)), nearest, 1.5 / (450 * 1.5), 450.0, reaches,
        )  # fmt: skip
        np.testing.assert_array_equal(reaches, [math.nan if hidden else reach])
