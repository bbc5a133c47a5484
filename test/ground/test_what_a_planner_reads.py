"""What is told of the ground holds for who reads one output alone: nothing is free that was not seen, nothing stands where
nothing is, and nothing vanishes, however thin it is and however coarse the grid."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from seg_perception.camera_model import CameraModel, CameraPose
from seg_perception.ground.drivable import DrivableExtractor, DrivableSettings
from seg_perception.ground.geometry import GroundProjection
from seg_perception.labels import CAMVID, VOID
from seg_perception.results import Drivable, FreeSpace, Grid, Panoptic, Wants

ROAD, POLE, CAR, SKY = (CAMVID.by_name(name).id for name in ("road", "pole", "car", "sky"))
HW = (720, 1280)
CAMERA = CameraModel(1280, 720, ((900, 0, 639.5), (0, 900, 359.5), (0, 0, 1)))
POSE = CameraPose(0, 0, 1.5, pitch=0.06)
ONLY_SCAN = Wants(areas=False, grid=False)


def rays_of(camera: CameraModel, pose: CameraPose, hw: tuple[int, int]) -> NDArray[np.float64]:
    """Of each pixel's middle, [H * W, 3] in the base frame, NaN where the lens has none."""
    v, u = np.mgrid[: hw[0], : hw[1]]
    return GroundProjection(camera, pose, hw).pixels_to_rays(np.column_stack((u.ravel(), v.ravel())))


def road(pose: CameraPose = POSE, camera: CameraModel = CAMERA) -> NDArray[np.uint8]:
    """All ground is road, all above the horizon is sky."""
    return np.where(rays_of(camera, pose, HW)[:, 2] < 0, ROAD, SKY).astype(np.uint8).reshape(HW)


def run(
    mask: NDArray[np.uint8],
    pose: CameraPose = POSE,
    camera: CameraModel = CAMERA,
    wants: Wants = Wants(),  # noqa: B008 - frozen, so safe to share
    **values: object,
) -> Drivable:
    extractor = DrivableExtractor(CAMVID, DrivableSettings(**values))  # type: ignore[arg-type]
    extractor.set_camera(camera, pose, mask.shape)
    assert extractor.ground_problem is None
    panoptic = Panoptic(mask, np.zeros(mask.shape, np.uint16), np.full(mask.shape, 200, np.uint8), ())
    return extractor.extract(panoptic, wants)


def scan(found: Drivable) -> tuple[FreeSpace, NDArray[np.float64]]:
    """The scan and its bearings."""
    free = found.free_space
    assert free is not None
    return free, free.angle_min_rad + free.angle_step_rad * np.arange(len(free.ranges_m))


def obstacles(grid: Grid | None) -> NDArray[np.float64]:
    """Middles of the grid's obstacles, [N, 2] (x, y)."""
    assert grid is not None
    row, column = np.nonzero(grid.cells == 100)
    return (np.column_stack((column, row)) + 0.5) * grid.resolution_m + grid.origin_m


def with_post(mask: NDArray[np.uint8], x: float, y: float, width_m: float, up_px: int = 75) -> NDArray[np.uint8]:
    """mask with a post that stands at x, y on the ground and is so many px high."""
    (u, v) = GroundProjection(CAMERA, POSE, HW).ground_to_pixels(np.array(((x, y),)))[0]
    half = width_m / x * 900 / 2
    mask = mask.copy()
    columns = np.arange(math.ceil(u - half), math.floor(u + half) + 1)
    assert len(columns) >= 1
    mask[int(v) - up_px + 1 : int(v) + 1, columns] = POLE
    return mask


def test_what_stands_where_the_view_begins_is_not_told_to_be_behind_free_ground() -> None:
    mask = road()
    mask[500:] = CAR
    found = run(mask)
    free, _ = scan(found)
    assert np.isnan(free.ranges_m).all() and (free.seen_m == 0).all()
    assert {area.free_distance_m for area in found.areas} == {0.0}
    assert found.grid is not None and not (found.grid.cells == 0).any() and (found.grid.cells == 100).any()
    everything = run(np.full(HW, CAR, np.uint8))
    assert everything.areas == () and np.isnan(scan(everything)[0].ranges_m).all()


def test_where_the_view_ends_nothing_stands() -> None:
    """Looking 34 degrees down the view ends 8.1 m ahead: 1.5 / tan(34 - 21.8 degrees) + ..., far before the range."""
    pose = CameraPose(0, 0, 1.5, pitch=math.radians(34))
    found = run(np.full(HW, ROAD, np.uint8), pose)
    free, bearings = scan(found)
    ends_m = 1.5 / math.tan(math.radians(34) - math.atan(360 / 900))
    assert np.isnan(free.ranges_m).all()
    assert free.seen_m[len(bearings) // 2] == pytest.approx(ends_m, abs=0.15)
    assert found.areas[0].free_distance_m == pytest.approx(ends_m, abs=0.15)


def test_void_ends_what_is_known_and_is_no_wall() -> None:
    mask = road()
    mask[380:390] = VOID
    found = run(mask)
    free, _ = scan(found)
    (area,) = found.areas
    assert math.isnan(area.free_distance_m) and math.isnan(area.free_distance_width_m)
    seen = free.seen_m[np.isfinite(free.seen_m) & (free.seen_m > 0)]
    assert np.isnan(free.ranges_m).all() and len(seen) > 50
    assert free.seen_m[len(free.seen_m) // 2] == pytest.approx(1.5 / math.tan(0.06 + math.atan(30 / 900)), rel=0.02)


def test_infinite_is_what_was_seen_up_to_the_range() -> None:
    found = run(road())
    free, bearings = scan(found)
    ahead = np.abs(bearings) < 0.5
    assert np.isposinf(free.ranges_m[ahead]).all() and (free.seen_m[ahead] == free.range_max_m).all()
    assert np.isnan(free.ranges_m[[0, -1]]).all() and (free.seen_m[[0, -1]] == 0).all()


def test_areas_say_where_the_view_of_the_lane_begins() -> None:
    """The last row sees 3.175 m ahead; a tele camera sees ground from 12.5 m on."""
    (area,) = run(road()).areas
    assert area.free_distance_m == math.inf
    assert area.view_begins_m == pytest.approx(1.5 / math.tan(0.06 + math.atan(360 / 900)), abs=0.06)
    tele = CameraModel(1280, 720, ((6000, 0, 639.5), (0, 6000, 359.5), (0, 0, 1)))
    begins_m = 1.5 / math.tan(0.06 + math.atan(360 / 6000))
    (area,) = run(road(camera=tele), camera=tele).areas
    assert area.free_distance_m == math.inf and area.view_begins_m == pytest.approx(begins_m, abs=0.06)


def test_what_stands_far_aside_in_a_wide_lane_or_in_a_coarse_cell_is_there_however_near_the_range_is() -> None:
    """A pixel of 2 cm, seen from right above, between the lines along x that are looked along."""
    hw, pose = (480, 1280), CameraPose(0, 0, 4, pitch=math.pi / 2)
    camera = CameraModel(1280, 480, ((200, 0, 639.5), (0, 200, 239.5), (0, 0, 1)))
    mask = np.full(hw, ROAD, np.uint8)
    (u, v) = GroundProjection(camera, pose, hw).ground_to_pixels(np.array(((0.52, 9.03),)))[0]
    mask[round(v), round(u)] = POLE
    found = run(mask, pose, camera, vehicle_width_m=20.0, range_max_m=1.0, grid_length_m=0.1, grid_width_m=0.1)
    assert found.areas[0].free_distance_m == math.inf
    assert found.areas[0].free_distance_width_m == pytest.approx(0.52, abs=0.03)
    grid = run(
        mask, pose, camera, range_max_m=1.0, grid_length_m=0.1, grid_width_m=0.1, resolution_m=10, grid_center_y_m=5
    ).grid
    assert grid is not None and grid.cells.tolist() == [[100]]


def test_a_bearing_of_which_all_that_is_seen_lies_behind_something_is_not_seen() -> None:
    """The camera is 3 m to the left, so the way straight ahead comes into its view from the side, 4.2 m ahead."""
    pose = CameraPose(0, 3, 1.5, pitch=0.06)
    clear, bearings = scan(run(road(pose), pose))
    ahead = len(bearings) // 2
    assert clear.seen_m[ahead] == clear.range_max_m
    mask = road(pose)
    mask[650:, 1100:] = CAR
    hidden, _ = scan(run(mask, pose))
    assert hidden.seen_m[ahead] == 0 and math.isnan(hidden.ranges_m[ahead])


def steep(hw: tuple[int, int], pitch: float = math.pi / 2) -> tuple[CameraModel, CameraPose]:
    """A camera 2 m above the ground, a pixel of which right below it is 2 cm wide."""
    height, width = hw
    camera = CameraModel(width, height, ((100, 0, (width - 1) / 2), (0, 100, (height - 1) / 2), (0, 0, 1)))
    return camera, CameraPose(0, 0, 2, pitch=pitch)


AROUND = {"grid_near_m": -2.0, "grid_length_m": 4.0, "grid_width_m": 4.0, "resolution_m": 0.04, "range_max_m": 3.0}


@pytest.mark.parametrize("hw", [(80, 48), (64, 96), (51, 67)], ids=["a block's middle", "a block's corner", "anywhere"])
def test_what_stands_around_the_place_right_below_a_camera_is_there_and_hides(hw: tuple[int, int]) -> None:
    camera, pose = steep(hw)
    projection = GroundProjection(camera, pose, hw)
    for turn in np.linspace(0, 2 * math.pi, 30)[:-1]:
        mask = np.full(hw, ROAD, np.uint8)
        x, y = 14 * math.cos(turn) + (hw[1] - 1) / 2, 14 * math.sin(turn) + (hw[0] - 1) / 2
        mask[round(y) - 5 : round(y) + 6, round(x) - 5 : round(x) + 6] = CAR
        grid = run(mask, pose, camera, **AROUND).grid
        assert grid is not None
        (middle,) = projection.pixels_to_ground(np.array(((x, y),)))
        nearest_m = np.hypot(*(obstacles(grid) - middle * 9 / 14).T).min()
        assert nearest_m < 0.08, "its near side is not marked"
        for share in (1.0, 1.3, 1.6, 1.9):
            at = (middle * share - grid.origin_m) / grid.resolution_m
            assert grid.cells[int(at[1]), int(at[0])] in (-1, 100), "what it hides is told to be free"


@pytest.mark.parametrize("label", [CAR, VOID])
@pytest.mark.parametrize("size_px", [1, 5, 41])
def test_nothing_is_known_around_what_stands_right_below_a_camera(size_px: int, label: int) -> None:
    hw = (81, 65)
    camera, pose = steep(hw)
    mask = np.full(hw, ROAD, np.uint8)
    mask[40 - size_px // 2 : 41 + size_px // 2, 32 - size_px // 2 : 33 + size_px // 2] = label
    found = run(mask, pose, camera, **AROUND)
    free, _ = scan(found)
    assert found.grid is not None and not ((found.grid.cells >= 0) & (found.grid.cells < 100)).any()
    assert (np.hypot(*obstacles(found.grid).T) < 0.04).any() == (label == CAR)
    assert (free.seen_m <= 0.05 + 0.05).all() and not np.isposinf(free.ranges_m).any()
    assert math.isnan(found.areas[0].free_distance_m) and math.isnan(found.areas[0].free_distance_width_m)


def test_what_stands_along_the_whole_side_where_the_view_begins_is_marked_along_the_whole_side() -> None:
    """The place right below lies 15 px under the picture, so from most of its lowest row the way there leads sideways first."""
    hw = (60, 240)
    camera, pose = steep(hw, math.pi / 2 - math.atan(45 / 100))
    mask = np.full(hw, ROAD, np.uint8)
    mask[-8:] = CAR
    marked = obstacles(run(mask, pose, camera, **AROUND).grid)
    (row,) = GroundProjection(camera, pose, hw).pixels_to_ground(np.array(((119.5, 59.5),)))
    along = marked[np.abs(marked[:, 0] - row[0]) < 0.06, 1]
    np.testing.assert_array_less(np.diff(np.unique(along.round(2))), 0.05)
    assert along.min() < -1.9 and along.max() > 1.9


def test_a_side_that_leans_the_other_way_than_its_block_does_hides_too() -> None:
    """A long wall whose side is 6 px beside the way straight ahead, in blocks of which the middle is on that way."""
    hw = (600, 208)
    camera, pose = steep(hw, math.pi / 2 - math.atan(250 / 100))
    mask = np.full(hw, ROAD, np.uint8)
    mask[300:500, 110:190] = CAR
    projection = GroundProjection(camera, pose, hw)
    wide = {"grid_near_m": 0.0, "grid_length_m": 40.0, "grid_width_m": 40.0, "resolution_m": 0.1, "range_max_m": 40.0}
    grid = run(mask, pose, camera, **wide).grid
    assert grid is not None
    places = projection.pixels_to_ground(np.array([(x, y) for x in (112, 120, 140, 160) for y in (275, 285, 295)]))
    cells = ((places - grid.origin_m) / grid.resolution_m).astype(int)
    assert set(grid.cells[cells[:, 1], cells[:, 0]].tolist()) == {-1}


@pytest.mark.parametrize(
    ("width_m", "resolution_m"), [(0.15, 0.5), (0.15, 1.0), (0.15, 10.0), (0.04, 0.1), (0.04, 1.0)]
)
def test_a_thin_post_is_in_every_output_at_any_resolution(width_m: float, resolution_m: float) -> None:
    mask = road()
    for y in np.linspace(-0.8, 0.8, 12).tolist():
        found = run(with_post(mask, 16.0, y, width_m), resolution_m=resolution_m, grid_width_m=20.0)
        marked = obstacles(found.grid)
        row_m = 16.0**2 / (900 * 1.5)
        assert len(marked) and (np.abs(marked - (16.0, y)) <= resolution_m / 2 + row_m).all(axis=1).any(), y
        assert (np.abs(marked - (16.0, y)) <= resolution_m + row_m).all(), "and nowhere else"
        (area,) = found.areas
        assert area.free_distance_width_m == pytest.approx(16.0, abs=row_m)
        if abs(y) < width_m / 2 - 16 / 900:
            assert area.free_distance_m == pytest.approx(16.0, abs=row_m)
        free, bearings = scan(found)
        nearest = int(np.abs(bearings - math.atan2(y, 16.0)).argmin())
        assert free.ranges_m[nearest] == pytest.approx(math.hypot(16.0, y), abs=row_m)


def test_a_person_far_away_is_in_the_scan_wherever_he_stands() -> None:
    mask = road()
    for y in np.linspace(-5, 5, 20).tolist():
        free, bearings = scan(run(with_post(mask, 35.0, y, 0.45, up_px=40), wants=ONLY_SCAN))
        nearest = int(np.abs(bearings - math.atan2(y, 35.0)).argmin())
        assert free.ranges_m[nearest] == pytest.approx(math.hypot(35.0, y), abs=35.0**2 / (900 * 1.5)), y


def test_no_range_is_below_range_min() -> None:
    """A camera behind the base frame's origin sees what is very near to it."""
    pose = CameraPose(-3.3, 0, 1.5, pitch=0.06)
    mask = road(pose)
    mask[:690, 600:680] = CAR
    free, _ = scan(run(mask, pose))
    finite = free.ranges_m[np.isfinite(free.ranges_m)]
    assert len(finite) and finite.min() < 0.3
    assert finite.min() >= np.float32(free.range_min_m) and finite.max() <= free.range_max_m


def test_what_is_free_ends_at_the_foot_and_not_before_it() -> None:
    mask = road()
    mask[:400, 600:680] = CAR
    foot_m = 1.5 / math.tan(0.06 + math.atan(40 / 900))
    found = run(mask)
    free, bearings = scan(found)
    middle = len(bearings) // 2
    assert free.ranges_m[middle] == free.seen_m[middle] == pytest.approx(foot_m, abs=0.1)
    (area,) = found.areas
    assert area.free_distance_m == area.free_distance_width_m == pytest.approx(foot_m, abs=0.1)


def post_mask(
    camera: CameraModel,
    pose: CameraPose,
    hw: tuple[int, int],
    at: tuple[float, float],
    radius_m: float,
    height_m: float,
) -> NDArray[np.uint8]:
    """Road everywhere, and an upright cylinder on it, as this camera sees them."""
    rays = rays_of(camera, pose, hw)
    mask = np.where(rays[:, 2] < 0, ROAD, SKY).astype(np.uint8)
    mask[np.isnan(rays[:, 0])] = VOID
    flat = np.hypot(rays[:, 0], rays[:, 1])
    to_post = np.array(at) - (pose.x, pose.y)
    with np.errstate(invalid="ignore", divide="ignore"):
        along = (rays[:, :2] @ to_post) / flat
        aside2 = to_post @ to_post - along**2
        enters = along - np.sqrt(radius_m**2 - aside2)
        z = pose.z + rays[:, 2] / flat * enters
        mask[(aside2 < radius_m**2) & (enters > 0) & (z >= 0) & (z <= height_m)] = POLE
    return mask.reshape(hw)


LENSES = {
    "none": ((150.0, 150.0), "plumb_bob", ()),
    "plumb_bob": ((150.0, 150.0), "plumb_bob", (-0.28, 0.07, 0.0005, -0.0003, 0.0)),
    "rational": ((150.0, 150.0), "rational_polynomial", (0.4, 0.1, 0.0002, -0.0001, 0.01, 0.7, 0.2, 0.02)),
    "fisheye": ((110.0, 110.0), "fisheye", (-0.02, 0.004, -0.003, 0.0005)),
}
SMALL_HW = (240, 320)


@settings(deadline=None, max_examples=40)
@given(
    lens=st.sampled_from(sorted(LENSES)),
    height_m=st.floats(0.6, 3.0),
    pitch=st.floats(0.0, math.pi / 2),
    roll=st.sampled_from((0.0, 0.1, -0.3, math.pi / 2, math.pi, -1.0)),
    yaw=st.sampled_from((0.0, 0.4, -0.7)),
    pixel=st.tuples(st.floats(0.1, 0.9), st.floats(0.1, 0.9)),
    wide_px=st.floats(3.0, 8.0),
    resolution_m=st.sampled_from((0.01, 0.05, 0.1, 0.5, 1.0, 10.0)),
)
@example("fisheye", 1.0, 0.0, math.pi / 2, 0.0, (0.625, 0.484375), 4.0, 0.01)
def test_no_post_is_lost_in_any_mounting(
    lens: str, height_m: float, pitch: float, roll: float, yaw: float, pixel: tuple[float, float], wide_px: float,
    resolution_m: float,
) -> None:  # fmt: skip
    """Its foot is where a pixel sees the ground; it is marked there and nowhere else but for a pixel, and ends the scan."""
    (fx, fy), model, values = LENSES[lens]
    camera = CameraModel(320, 240, ((fx, 0, 159.5), (0, fy, 119.5), (0, 0, 1)), model, values)
    # Turned about its own axis, so that it looks at the same ground however the picture lies.
    pose = CameraPose(0.2, 0.1, height_m, roll, pitch, yaw)
    projection = GroundProjection(camera, pose, SMALL_HW)
    at = projection.pixels_to_ground(np.array((pixel,)) * SMALL_HW[::-1])[0]
    if not np.isfinite(at).all() or not np.hypot(*at) < 9:
        return
    away = float(np.hypot(*(at - (pose.x, pose.y))))
    slopes = projection.lens.to_slopes(np.array((pixel,)) * SMALL_HW[::-1])
    if away < 1.0 or np.hypot(*slopes[0]) > math.tan(math.radians(75)):  # rays beyond 87 degrees count as unseen
        return
    radius_m = wide_px * math.hypot(away, height_m) / fx / 2
    mask = post_mask(camera, pose, SMALL_HW, (float(at[0]), float(at[1])), radius_m, 0.8 * height_m)
    feet = (mask == POLE).any()
    found = run(
        mask, pose, camera, resolution_m=resolution_m, grid_near_m=-10.0, scan_angle_min_rad=-math.pi,
        scan_angle_max_rad=math.pi - 0.01,
    )  # fmt: skip
    assert feet and found.grid is not None
    marked = obstacles(found.grid)
    ground_px_m = (away**2 + height_m**2) / (fx * height_m)
    slack = radius_m + 2 * ground_px_m + resolution_m
    assert len(marked), "lost"
    assert (np.hypot(*(marked - at).T) <= slack).any()
    # Under a tilted lens that bends lines the leaning side of a post leaves up to seven cells of 1 cm beside it, in one of
    # some hundred mountings, since ways to the camera are known by blocks: on the safe side, and not mended yet.
    beside = np.hypot(*(marked - at).T) > slack + ground_px_m
    assert beside.sum() <= (0 if lens == "none" else 8), "a mark where nothing stands"
    free, bearings = scan(found)
    sector = int(np.abs(bearings - math.atan2(at[1], at[0])).argmin())
    distance = float(np.hypot(*at))
    if not math.isnan(free.ranges_m[sector]):
        assert free.ranges_m[sector] <= distance + slack


@pytest.mark.parametrize(("pitch", "begins_m"), [(0.1, 1.04), (0.3, 0.66), (0.6, 0.0)])
def test_a_clear_road_under_a_lens_whose_field_is_a_circle_in_the_picture_has_no_end(
    pitch: float, begins_m: float
) -> None:
    """Where its pixels end is no edge of the road, and the stairs of its rim, in blocks of 8 px, are none either."""
    camera = CameraModel(
        1280, 720, ((300, 0, 640), (0, 300, 360), (0, 0, 1)), "equidistant", (-0.103, 0.05, -0.238, 0.099)
    )
    (area,) = run(np.full(HW, ROAD, np.uint8), CameraPose(0, 0, 1.5, pitch=pitch), camera).areas
    assert area.free_distance_m == area.free_distance_width_m == math.inf
    assert all(reach == math.inf for edge in area.edges for reach in (edge.left_m, edge.right_m))
    assert begins_m <= area.view_begins_m <= begins_m + 0.3


Box = tuple[tuple[float, float], tuple[float, float], tuple[float, float]]
"""From and to in x, y and z, m."""


def enters_and_leaves(
    start: NDArray[np.float64], ways: NDArray[np.float64], box: Box
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Where rays [K, 3] from a point come into a box and out of it, in lengths of each; where they miss it, the other way round."""
    with np.errstate(divide="ignore", invalid="ignore"):
        ends = (np.array(box).T[:, None] - start) / ways
    return np.fmax(np.fmin(*ends).max(axis=1), 0), np.fmax(*ends).min(axis=1)


def is_behind(pose: CameraPose, ground: NDArray[np.float64], box: Box) -> NDArray[np.bool_]:
    """Whether points of the ground [K, 2] lie under a box or behind it, whatever is seen over it."""
    start = np.array((pose.x, pose.y, pose.z))
    tall = (*box[:2], (0.0, pose.z))
    enters, leaves = enters_and_leaves(start, np.column_stack((ground, np.zeros(len(ground)))) - start, tall)
    return (enters < leaves) & (enters < 1 - 1e-9)


OBLIQUE = (
    ("fisheye", CameraPose(0, 0, 2.16, 0.1, 0.84, 0.37), ((0.59, 3.06), (-3.16, -0.77), (0, 1.62))),
    ("fisheye", CameraPose(0, 0, 1.58, -1.0, 1.02, 0.47), ((4.37, 7.37), (3.55, 6.75), (0, 0.26))),
    ("none", CameraPose(0, 0, 1.74, 1.5, 0.44, 0.11), ((3.29, 5.48), (-3.95, -0.71), (0, 1.41))),
    ("none", CameraPose(0, 0, 1.5, 0.0, 0.3, 0.0), ((3.0, 7.0), (-3.8, -2.0), (0, 0.4))),
)


@pytest.mark.parametrize(("lens", "pose", "box"), OBLIQUE)
def test_nothing_behind_a_box_is_free_however_obliquely_it_is_seen(lens: str, pose: CameraPose, box: Box) -> None:
    """Not even road that is seen over it; but for what is a pixel from its sides. A foot that runs along the way to the
    camera let rays through between its pixels."""
    (fx, fy), model, values = LENSES[lens]
    camera = CameraModel(320, 240, ((fx, 0, 159.5), (0, fy, 119.5), (0, 0, 1)), model, values)
    rays = rays_of(camera, pose, SMALL_HW)
    mask = np.where(rays[:, 2] < 0, ROAD, SKY).astype(np.uint8)
    mask[np.isnan(rays[:, 0])] = VOID
    enters, leaves = enters_and_leaves(np.array((pose.x, pose.y, pose.z)), rays, box)
    mask[enters < leaves] = CAR
    grid = run(mask.reshape(SMALL_HW), pose, camera, resolution_m=0.05, grid_length_m=15.0).grid
    assert grid is not None
    row, column = np.nonzero(grid.cells == 0)
    free = (np.column_stack((column, row)) + 0.5) * grid.resolution_m + grid.origin_m
    away = np.hypot(*free.T)[:, None]
    ahead, aside = free / away, free[:, ::-1] * (-1, 1) / away
    slack_px = 1.5
    along, across = (away**2 + pose.z**2) / (fx * pose.z) * slack_px, np.hypot(away, pose.z) / fx * slack_px
    surely = np.ones(len(free), np.bool_)
    for way in (0 * ahead, ahead * along, -ahead * along, aside * across, -aside * across):
        surely &= is_behind(pose, free + way, box)
    assert len(free) > 1000 and not surely.any(), f"{surely.sum()} cells"


BESIDE = (
    (CameraPose(1.5, -0.6, 1.2, pitch=0.2), ((6.6, 8.1), (0.2, 1.1), (0.0, 1.4))),
    (CameraPose(0.0, 0.6, 1.2, pitch=0.06), ((7.2, 7.9), (-2.6, -1.3), (0.0, 0.7))),
    (CameraPose(1.5, 0.0, 1.2, pitch=0.06), ((7.5, 8.0), (2.5, 4.1), (0.0, 1.0))),
    (CameraPose(1.5, 0.6, 1.2, pitch=0.2), ((10.9, 12.6), (-3.6, -2.6), (0.0, 0.9))),
    (CameraPose(1.5, -0.6, 1.2, pitch=0.06), ((6.0, 6.3), (-0.2, 0.6), (0.0, 0.3))),  # road is seen over it
)


@pytest.mark.parametrize(("pose", "box"), BESIDE)
def test_a_bearing_ends_where_something_stands_though_the_camera_sees_past_it_elsewhere(
    pose: CameraPose, box: Box
) -> None:
    """The scan is taken from the frame's origin, and what hides its bearings from a camera beside that stands elsewhere: every
    range that is told has a part of the box at it, and what is told as seen is not behind the box."""
    mask = road(pose).ravel()
    mask[np.less(*enters_and_leaves(np.array((pose.x, pose.y, pose.z)), rays_of(CAMERA, pose, HW), box))] = CAR
    free, bearings = scan(run(mask.reshape(HW), pose, wants=ONLY_SCAN))
    ways = np.column_stack((np.cos(bearings), np.sin(bearings)))
    enters, leaves = enters_and_leaves(
        np.zeros(3), np.column_stack((ways, np.full(len(ways), 1e-12))), (*box[:2], (-1, 1))
    )
    share = np.linspace(0, 1, 200)[:, None]
    corners = np.array([(x, y) for x, y in zip(np.array(box[0])[[0, 0, 1, 1]], np.array(box[1])[[0, 1, 1, 0]])])
    rim = np.concatenate([a * (1 - share) + b * share for a, b in zip(corners, np.roll(corners, 1, axis=0))])
    told = np.flatnonzero(np.isfinite(free.ranges_m))
    assert len(told) > 2
    for k in told:
        row_m = (free.ranges_m[k] ** 2 + pose.z**2) / (900 * pose.z)
        beside = np.abs(np.arctan2(rim[:, 1], rim[:, 0]) - bearings[k]) <= free.angle_step_rad / 2 + 2 / 900
        assert (beside & (np.abs(np.hypot(*rim.T) - free.ranges_m[k]) <= 2 * row_m + 0.06)).any(), (k, free.ranges_m[k])
    meets = np.flatnonzero(enters < leaves)
    for k in meets[~is_behind(pose, ways[meets] * (enters[meets] - 0.02)[:, None], box)]:
        assert free.ranges_m[k] <= enters[k] + 0.3, "what the bearing meets in view is told"
    for k in np.flatnonzero(free.seen_m > 1):
        samples = np.arange(0.5, free.seen_m[k] - 0.6, 0.1)[:, None] * ways[k]
        away = np.hypot(*(samples - (pose.x, pose.y)).T)[:, None]
        nearer = samples - (samples - (pose.x, pose.y)) * (away / (900 * pose.z)) * 3
        assert not (is_behind(pose, nearer, box) & is_behind(pose, samples, box)).any(), k
