"""Depth beside the mask: what it makes right that flat ground gets wrong, against scenes that are looked at ray by ray."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from seg_perception.camera_model import CameraModel, CameraPose
from seg_perception.ground.depth import EMPTY, UNITS
from seg_perception.ground.drivable import DrivableExtractor, DrivableSettings
from seg_perception.ground.geometry import GroundProjection
from seg_perception.labels import CAMVID, VOID
from seg_perception.results import Depth, Drivable, Panoptic, Wants

ROAD, PAVEMENT, CAR, SKY = (CAMVID.by_name(name).id for name in ("road", "pavement", "car", "sky"))
HW = (360, 640)
CAMERA = CameraModel(640, 360, ((450, 0, 319.5), (0, 450, 179.5), (0, 0, 1)))
FISHEYE = CameraModel(
    640, 360, ((240, 0, 319.5), (0, 240, 179.5), (0, 0, 1)), "equidistant", distortion=(0.01, 0.002, 0.0, 0.0)
)
HEIGHT_M = 1.5
POSE = CameraPose(0.4, 0.1, HEIGHT_M, pitch=0.1)
EVERYTHING = Wants(points=True)


@dataclass(frozen=True)
class Box:
    """A board across the way, x_m ahead of the camera, from one y to another and from one z to another, m."""

    x_m: float
    y_m: tuple[float, float]
    z_m: tuple[float, float]


def looked_at(climbs: list[tuple[float, float]], boxes: list[Box]) -> tuple[NDArray[np.uint8], Depth]:
    """Mask and depth of ground that climbs by so much from each x on (x in m ahead of the camera, metres a metre), and boards
    on it. The slow way: every ray is followed in steps of 1 cm."""
    rows, columns = np.mgrid[: HW[0], : HW[1]]
    projection = GroundProjection(CAMERA, POSE, HW)
    ways = projection.pixels_to_rays(np.column_stack((columns.ravel(), rows.ravel()))).reshape(*HW, 3)
    forward = projection.base_from_optical[:, 2]
    x = np.arange(0.0, 150.0, 0.01)
    ground_z = np.zeros_like(x)
    for begins_m, climb in climbs:
        ground_z += np.where(x > begins_m, climb * (x - begins_m), 0.0)
    mask, depth = np.full(HW, SKY, np.uint8), np.full(HW, np.nan, np.float32)
    up = ways[..., 2] / ways[..., 0]
    for v in range(HW[0]):  # all rays of a row climb alike, since the camera is only pitched
        meets = np.flatnonzero(HEIGHT_M + up[v, 0] * x <= ground_z)
        if len(meets):
            mask[v] = ROAD
            depth[v] = x[meets[0]] * (forward[0] + forward[2] * up[v, 0])
    aside = ways[..., 1] / ways[..., 0]
    for box in boxes:
        y, z = POSE.y + aside * box.x_m, HEIGHT_M + up * box.x_m
        away = box.x_m * (forward[0] + forward[1] * aside + forward[2] * up)
        stands = (box.y_m[0] <= y) & (y <= box.y_m[1]) & (box.z_m[0] <= z) & (z <= box.z_m[1]) & ~(away > depth)
        mask[stands], depth[stands] = CAR, away[stands]
    return mask, Depth(depth)


def drivable(
    mask: NDArray[np.uint8],
    depth: Depth | None,
    camera: CameraModel = CAMERA,
    pose: CameraPose = POSE,
    **changed: float,
) -> tuple[Drivable, DrivableExtractor]:
    extractor = DrivableExtractor(CAMVID, DrivableSettings(**changed))
    extractor.set_camera(camera, pose, HW)
    panoptic = Panoptic(mask, np.zeros(HW, np.uint16), np.full(HW, 200, np.uint8), ())
    return extractor.extract(panoptic, EVERYTHING, depth), extractor


def flat_depth(camera: CameraModel, pose: CameraPose) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Depth of flat ground by the geometry, and where it is seen within 60 m."""
    rows, columns = np.mgrid[: HW[0], : HW[1]]
    projection = GroundProjection(camera, pose, HW)
    at = np.column_stack((columns.ravel(), rows.ravel()))
    places = projection.pixels_to_ground(at) - projection.position[:2]
    points = np.column_stack((places, np.full(len(places), -projection.position[2])))
    ahead = (points @ projection.base_from_optical[:, 2]).reshape(HW)
    near = np.linalg.norm(places, axis=1).reshape(HW) < 60
    return np.where(near, ahead, np.nan).astype(np.float32), near


def free_m(found: Drivable, class_id: int = ROAD) -> float:
    return next(area.free_distance_m for area in found.areas if area.class_id == class_id)


@pytest.mark.parametrize("camera", [CAMERA, FISHEYE])
@pytest.mark.parametrize("pose", [POSE, CameraPose(0.0, 0.0, 1.2, roll=0.3, pitch=0.25, yaw=-0.4)])
def test_depth_of_flat_ground_changes_nothing(camera: CameraModel, pose: CameraPose) -> None:
    depth, near = flat_depth(camera, pose)
    rng = np.random.default_rng(0)
    mask = np.where(near, ROAD, SKY).astype(np.uint8)
    for _ in range(4):
        v, u = rng.integers(150, 340), rng.integers(0, 600)
        mask[v : v + 20, u : u + 40][near[v : v + 20, u : u + 40]] = PAVEMENT
    without, _ = drivable(mask, None, camera, pose)
    with_it, extractor = drivable(mask, Depth(depth), camera, pose)
    assert extractor.depth_problem is None
    # What has no depth, the sky at 60 m, is placed by the ground before it rather than by its own edge.
    np.testing.assert_array_equal(with_it.grid.cells, without.grid.cells)
    np.testing.assert_array_equal(with_it.free_space.seen_m, without.free_space.seen_m)
    np.testing.assert_array_equal(with_it.free_space.ranges_m, without.free_space.ranges_m)
    for one, other in zip(with_it.areas, without.areas, strict=True):
        assert one.area_m2 == pytest.approx(other.area_m2, rel=0.01) and str(one.edges) == str(other.edges)
        near_m = min(other.free_distance_m, 40.0)
        assert min(one.free_distance_m, 40.0) == pytest.approx(near_m, nan_ok=True)
    placed = np.isfinite(without.points["x"])
    for axis in "xyz":
        np.testing.assert_allclose(with_it.points[axis][placed], without.points[axis][placed], atol=2e-3, rtol=1e-3)


@pytest.mark.parametrize("climb", [-0.08, -0.03, 0.03, 0.1])
@pytest.mark.parametrize("away_m", [9.0, 16.0])
def test_a_wall_on_a_slope_is_where_it_stands(climb: float, away_m: float) -> None:
    base = climb * (away_m - 5)
    mask, depth = looked_at([(5.0, climb)], [Box(away_m, (-30, 30), (base - 0.5, base + 1.5))])
    wrong, _ = drivable(mask, None)
    right, _ = drivable(mask, depth)
    truly_m = away_m + POSE.x
    assert free_m(wrong) != pytest.approx(truly_m, rel=0.015)
    assert free_m(right) == pytest.approx(truly_m, abs=0.1)
    ahead = len(right.free_space.ranges_m) // 2
    assert right.free_space.ranges_m[ahead] == pytest.approx(truly_m, abs=0.05)
    assert right.free_space.seen_m[ahead] == pytest.approx(truly_m, abs=0.15)
    cells = right.grid.cells[100]  # at y = 0
    assert (cells[45 : int(truly_m * 10) - 2] == 0).all(), "the road up to it is free"
    assert (cells[int(truly_m * 10) - 1 : int(truly_m * 10) + 2] == 100).any()
    assert (cells[int(truly_m * 10) + 2 :] == -1).all(), "and nothing is known behind it"


@pytest.mark.parametrize(("bottom_m", "away_m"), [(0.2, 10.0), (0.6, 5.0), (0.9, 10.0), (1.3, 10.0)])
def test_what_hangs_over_the_road_is_told_where_it_hangs(bottom_m: float, away_m: float) -> None:
    mask, depth = looked_at([], [Box(away_m, (-1.0, 1.0), (bottom_m, bottom_m + 0.4))])
    wrong, right = drivable(mask, None)[0], drivable(mask, depth)[0]
    truly_m = away_m + POSE.x
    ahead = len(right.free_space.ranges_m) // 2
    assert not wrong.free_space.ranges_m[ahead] < truly_m * 1.1
    assert right.free_space.ranges_m[ahead] == pytest.approx(truly_m, abs=0.05)
    assert free_m(right) == pytest.approx(truly_m, abs=0.05)
    assert (right.grid.cells[100, int(truly_m * 10) + 2 :] == -1).all(), "what is seen under it is behind it"


def test_a_wall_whose_foot_is_below_the_picture_is_told_where_it_stands() -> None:
    """Without depth nothing is known of it: it stands where the view begins, or nearer."""
    mask, depth = looked_at([], [Box(2.5, (-3, 3), (0, 4))])
    assert (mask[-1] == CAR).all()
    wrong, right = drivable(mask, None)[0], drivable(mask, depth)[0]
    ahead = len(right.free_space.ranges_m) // 2
    assert math.isnan(wrong.free_space.ranges_m[ahead])
    assert right.free_space.ranges_m[ahead] == pytest.approx(2.5 + POSE.x, abs=0.02)


@settings(max_examples=8, deadline=None, phases=(Phase.reuse, Phase.generate))
@given(
    climbs=st.lists(st.tuples(st.floats(3, 15), st.floats(-0.06, 0.08)), max_size=2),
    box=st.builds(Box, st.floats(6, 18), st.tuples(st.floats(-3, -0.3), st.floats(0.3, 3)), st.just((-3.0, 3.0))),
    noise=st.sampled_from([0.0, 0.004]),
    as_mm=st.booleans(),
)
def test_cells_are_what_their_rays_show(climbs: list[tuple[float, float]], box: Box, noise: float, as_mm: bool) -> None:
    """The grid against the cells that the rays of the pixels fall into, one by one."""
    mask, exact = looked_at(climbs, [box])
    rng = np.random.default_rng(1)
    metres = exact.values * (1 + noise * rng.normal(size=HW).astype(np.float32))
    depth = (
        Depth(np.where(metres < 65, metres * 1000, 0).astype(np.uint16)) if as_mm else Depth(metres.astype(np.float32))
    )
    found, extractor = drivable(mask, depth)
    assert extractor.depth_problem is None
    rows, columns = np.mgrid[: HW[0], : HW[1]]
    projection = GroundProjection(CAMERA, POSE, HW)
    ways = projection.pixels_to_rays(np.column_stack((columns.ravel(), rows.ravel()))).reshape(*HW, 3)
    x = exact.values / (ways @ projection.base_from_optical[:, 2])[...]
    at = ways * x[..., None] + projection.position
    where = np.floor((at[..., :2] - found.grid.origin_m) / found.grid.resolution_m)
    inside = np.isfinite(where).all(axis=2) & (where >= 0).all(axis=2) & (where < (200, 200)).all(axis=2)
    shown = np.zeros((200, 200), np.int64)
    road = inside & (mask == ROAD)
    np.add.at(shown, (where[road][:, 1].astype(int), where[road][:, 0].astype(int)), 1)
    cells = found.grid.cells
    stands = int((box.x_m + POSE.x) * 10)
    slack = 2 + int(noise * 5 * stands)
    lots = shown >= 4
    lots[:, stands - slack : stands + slack + 1] = False
    told = cells[lots]
    assert lots.sum() > 200
    # Of a cell at the edge of the view the middle may not be in it.
    assert not (told == 100).any() and (told == 0).mean() > 0.96, np.unique(told, return_counts=True)
    middle = cells[100]
    assert (middle[max(stands - slack, 0) : stands + slack + 1] == 100).any()
    assert (middle[stands + slack + 1 :] == -1).all() and not (middle[: stands - slack] == 100).any()
    np.testing.assert_allclose(found.free_space.ranges_m[45], box.x_m + POSE.x, rtol=4 * noise, atol=0.05)
    pixels = np.isfinite(found.points["x"])
    assert pixels[road].all()
    pixels &= depth.values > 0  # what has no depth is taken to be on flat ground
    for axis, name in enumerate("xyz"):
        np.testing.assert_allclose(
            found.points[name][pixels], at[..., axis][pixels], atol=0.02 + 6 * noise * 40, rtol=1e-3
        )


@pytest.mark.parametrize("climb", [0.1, 0.3])
def test_a_road_that_runs_out_of_the_view_has_no_edge_on_a_slope_either(climb: float) -> None:
    """Beside the picture's border nothing comes to lie where flat ground would be seen; that was told as the road's edge."""
    found, extractor = drivable(*looked_at([(5.0, climb)], []))
    assert extractor.depth_problem is None
    (area,) = found.areas
    assert all(reach == math.inf for edge in area.edges for reach in (edge.left_m, edge.right_m))


def test_pixels_without_depth_stand_on_flat_ground() -> None:
    depth, near = flat_depth(CAMERA, POSE)
    mask = np.where(near, ROAD, SKY).astype(np.uint8)
    holes = np.random.default_rng(0).random(HW) < 0.4
    without, _ = drivable(mask, None)
    for nothing in (math.nan, 0.0, math.inf, -1.0):
        found, extractor = drivable(mask, Depth(np.where(holes, np.float32(nothing), depth)))
        assert extractor.depth_problem is None
        np.testing.assert_array_equal(found.grid.cells, without.grid.cells)
        np.testing.assert_array_equal(found.free_space.ranges_m, without.free_space.ranges_m)


def test_depth_of_another_size_is_looked_up_under_each_pixel() -> None:
    mask, depth = looked_at([(5.0, 0.05)], [Box(12.0, (-30, 30), (0, 2))])
    large = Depth(np.kron(depth.values, np.ones((2, 2), np.float32)))
    one, other = drivable(mask, depth)[0], drivable(mask, large)[0]
    np.testing.assert_array_equal(one.grid.cells, other.grid.cells)
    np.testing.assert_array_equal(one.points["x"], other.points["x"])


@pytest.mark.parametrize(
    ("values", "cause", "words"),
    [
        (lambda depth: np.full(HW, np.nan, np.float32), EMPTY, "0.0% of the image"),
        (lambda depth: np.zeros(HW, np.uint16), EMPTY, "see whether the depth camera works"),
        (lambda depth: depth * 1000, UNITS, "1e+03 times as far away"),
        (lambda depth: np.nan_to_num(depth * 100).astype(np.uint16), UNITS, "0.0999 times as far away"),
        (lambda depth: np.nan_to_num(depth * 4000).clip(0, 65535).astype(np.uint16), UNITS, "4 times as far away"),
    ],
    ids=["NaN", "zeros", "mm in 32FC1", "cm in 16UC1", "quarters of mm in 16UC1"],
)
def test_depth_that_cannot_be_right_is_left_out_and_told(values, cause: str, words: str) -> None:
    exact, near = flat_depth(CAMERA, POSE)
    mask = np.where(near, ROAD, SKY).astype(np.uint8)
    found, extractor = drivable(mask, Depth(np.asarray(values(exact))))
    without, _ = drivable(mask, None)
    assert extractor.depth_problem is not None and extractor.depth_problem.cause == cause
    assert words in extractor.depth_problem.sentence, extractor.depth_problem.sentence
    np.testing.assert_array_equal(found.grid.cells, without.grid.cells)
    assert found.points.tobytes() == without.points.tobytes()
    drivable(mask, Depth(exact))


@pytest.mark.parametrize(("times", "problem"), [(1.0, False), (1000.0, True), (0.001, True)])
def test_units_are_told_where_no_ground_is_seen(times: float, problem: bool) -> None:
    mask = np.full(HW, CAR, np.uint8)
    _, extractor = drivable(mask, Depth(np.full(HW, 4.0 * times, np.float32)))
    assert (extractor.depth_problem is not None) == problem
    if extractor.depth_problem:
        assert extractor.depth_problem.cause == UNITS and "must be in m" in extractor.depth_problem.sentence


def test_void_ends_what_is_known_and_marks_nothing() -> None:
    mask, depth = looked_at([(5.0, 0.05)], [Box(12.0, (-30, 30), (0, 2))])
    mask[mask == CAR] = VOID
    found, _ = drivable(mask, depth)
    assert not (found.grid.cells == 100).any()
    assert (found.grid.cells[100, 126:] == -1).all() and (found.grid.cells[100, 45:121] == 0).all()


@pytest.mark.parametrize("below_m", [-0.2, 0.3, 0.8])
def test_no_ground_comes_to_lie_beyond_the_field_of_a_lens(below_m: float) -> None:
    """Of a fisheye whose picture is a circle ground that is lower comes to lie farther out, where the lens has no ray: outlines
    there had no place, and to thin them out ended the process."""
    camera = CameraModel(640, 360, ((80, 0, 319.5), (0, 80, 179.5), (0, 0, 1)), "equidistant")
    pose = CameraPose(0.0, 0.0, HEIGHT_M, pitch=1.2)
    depth, near = flat_depth(camera, pose)
    lower = Depth(depth * np.float32((HEIGHT_M + below_m) / HEIGHT_M))
    found, extractor = drivable(np.where(near, ROAD, SKY).astype(np.uint8), lower, camera, pose)
    assert extractor.depth_problem is None
    (area,) = found.areas
    assert area.outlines_ground and all(np.isfinite(one.points).all() for one in area.outlines_ground)
    assert 0 < area.area_m2 < 80.0**2 and (found.grid.cells == 0).any()


def test_depth_beyond_all_bounds_is_told_without_a_warning() -> None:
    _, extractor = drivable(np.full(HW, CAR, np.uint8), Depth(np.full(HW, 3e38, np.float32)))
    assert extractor.depth_problem is not None and "beyond 3e+38 m" in extractor.depth_problem.sentence
