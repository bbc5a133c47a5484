"""Where ground ends, in hand-drawn columns of pixels and for walls."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from seg_perception.camera_model import CameraModel, CameraPose
from seg_perception.ground.drivable import DrivableExtractor, DrivableSettings
from seg_perception.ground.end_kernels import _bearing_bin
from seg_perception.ground.end_pixel_kernels import end_depths, find_ends
from seg_perception.ground.ends import EndFinder
from seg_perception.ground.geometry import GroundProjection
from seg_perception.ground.mark_kernels import nearest_in_lane, nearest_in_sectors
from seg_perception.ground.metric_outlines import FlatImage
from seg_perception.labels import CAMVID, UNSEEN_LABEL, VOID
from seg_perception.results import Panoptic, Wants

ROAD, PAVEMENT, CAR, SKY = (CAMVID.by_name(name).id for name in ("road", "pavement", "car", "sky"))
BEGINS = UNSEEN_LABEL


def finder(hw: tuple[int, int], pitch: float = 0.8, roll: float = 0.0) -> EndFinder:
    """For a camera 2 m up, all of whose picture is ground, so far from right below it that ways hardly lean."""
    height, width = hw
    focal = 200.0 * max(hw)
    camera = CameraModel(width, height, ((focal, 0, (width - 1) / 2), (0, focal, (height - 1) / 2), (0, 0, 1)))
    projection = GroundProjection(camera, CameraPose(0, 0, 2.0, roll, pitch), hw)
    made = EndFinder(CAMVID.drivable_costs)
    made.update(projection, FlatImage.of(projection.lens, hw), 100.0)
    return made


@pytest.mark.parametrize("width", [7, 8])
@pytest.mark.parametrize(
    ("upward", "ends"),
    [
        ([ROAD, ROAD, CAR, CAR], [(ROAD, CAR)]),
        ([ROAD, CAR, ROAD, CAR], [(ROAD, CAR)]),  # road that shines through behind it, and what follows, is hidden
        ([CAR, CAR, ROAD, ROAD], [(BEGINS, CAR)]),
        ([VOID, ROAD, ROAD, CAR], [(BEGINS, VOID)]),
        ([ROAD, VOID, ROAD, CAR], [(ROAD, VOID)]),
        ([BEGINS, CAR, CAR, CAR], [(BEGINS, CAR)]),
        ([BEGINS, ROAD, ROAD, CAR], [(ROAD, CAR)]),
        ([ROAD, PAVEMENT, ROAD, CAR], [(ROAD, PAVEMENT), (PAVEMENT, ROAD), (ROAD, CAR)]),
        ([ROAD, ROAD, ROAD, ROAD], []),
    ],
)
def test_ends_of_a_column(upward: list[int], ends: list[tuple[int, int]], width: int) -> None:
    """One column of four pixels amid road, from below; beside it nothing ends."""
    mask = np.full((4, width), ROAD, np.uint8)
    mask[:, 3] = upward[::-1]
    found = finder(mask.shape).find(mask)
    assert sorted(map(tuple, found.labels.tolist())) == sorted(ends)


@pytest.mark.parametrize(("roll", "turns"), [(0.0, 0), (math.pi / 2, 1), (math.pi, 2), (-math.pi / 2, 3)])
def test_towards_the_camera_is_another_way_in_a_turned_picture(roll: float, turns: int) -> None:
    """A square of 4 px in a picture of 32: its near side has four ends, however the camera is mounted."""
    mask = np.full((32, 32), ROAD, np.uint8)
    mask[14:18, 14:18] = CAR
    found = finder(mask.shape, roll=roll).find(np.ascontiguousarray(np.rot90(mask, turns)))
    assert found.labels.tolist() == [[ROAD, CAR]] * 4
    assert np.ptp(found.points[:, 0, 0]) < 0.01, "a side across the way"


def test_a_leaning_side_has_no_feet_but_its_foot() -> None:
    """Posts at the sides of a wide picture lean outwards; rows of pixels make stairs of their sides."""
    hw = (480, 640)
    camera = CameraModel(640, 480, ((300.0, 0, 319.5), (0, 300.0, 239.5), (0, 0, 1)))
    projection = GroundProjection(camera, CameraPose(0, 0, 1.5, pitch=0.5), hw)
    made = EndFinder(CAMVID.drivable_costs)
    made.update(projection, FlatImage.of(projection.lens, hw), 100.0)
    v, u = np.mgrid[:480, :640]
    rays = projection.pixels_to_rays(np.column_stack((u.ravel(), v.ravel())))
    bearings, falls = np.arctan2(rays[:, 1], rays[:, 0]), -rays[:, 2] / np.hypot(rays[:, 0], rays[:, 1])
    for middle in np.linspace(-0.75, 0.75, 31).tolist():
        mask = np.where(falls > 0, ROAD, SKY)
        mask[(np.abs(bearings - middle) < 0.012) & (falls < 1.5 / 4)] = CAR
        found = made.find(mask.astype(np.uint8).reshape(hw))
        cars = found.points[found.labels[:, 1] == CAR, 0]
        assert 4 <= len(cars) <= 16
        assert (np.abs(np.hypot(*cars.T) - 4.0) < 0.2).all(), middle


def wall(yaw: float, away_m: float) -> NDArray[np.int8]:
    """The grid that a camera makes of a tall straight wall, whose nearest point is so far away at a bearing of yaw."""
    camera = CameraModel(640, 480, ((450.0, 0, 319.5), (0, 450.0, 239.5), (0, 0, 1)))
    projection = GroundProjection(camera, CameraPose(0, 0, 1.5, pitch=0.1), (480, 640))
    v, u = np.mgrid[:480, :640]
    ground = projection.pixels_to_ground(np.column_stack((u.ravel(), v.ravel())))
    across = ground @ (math.cos(yaw), math.sin(yaw))
    mask = np.where(np.isfinite(across), np.where(across < away_m, ROAD, CAR), CAR).astype(np.uint8).reshape(480, 640)
    extractor = DrivableExtractor(CAMVID, DrivableSettings())
    extractor.set_camera(camera, projection.pose, (480, 640))
    grid = extractor.extract(
        Panoptic(mask, np.zeros((480, 640), np.uint16), np.full((480, 640), 255, np.uint8), ()), Wants(areas=False)
    ).grid
    assert grid is not None
    return grid.cells


@pytest.mark.parametrize(("yaw", "away_m"), [(0.0, 8.0), (0.4, 8.0), (-0.7, 5.0), (1.2, 2.5)])
def test_a_wall_has_no_gaps_and_nothing_free_behind_it(yaw: float, away_m: float) -> None:
    """Every ray from under the camera that comes to free ground comes to an obstacle before it comes to anything else."""
    cells = wall(yaw, away_m)
    rows, columns = np.nonzero(cells == 0)
    x, y = columns * 0.1 + 0.05, rows * 0.1 - 9.95
    assert len(rows) > 500 and (x * math.cos(yaw) + y * math.sin(yaw) < away_m + 0.1).all()
    marked = cells == 100
    gaps = 0
    for bearing in np.linspace(-0.5, 0.5, 200):
        d = np.arange(0.0, 20.0, 0.02)
        row, column = np.floor((d * np.sin(bearing) + 10) / 0.1).astype(int), (d * np.cos(bearing) / 0.1).astype(int)
        inside = (row >= 0) & (row < 200) & (column < 200)
        met = cells[row[inside], column[inside]]
        known = np.flatnonzero(met == 0)
        after = met[known[-1] + 1 :] if len(known) else met[:0]
        hits_wall = away_m / max(math.cos(bearing - yaw), 1e-3) < 18 and len(known) > 0
        gaps += bool(hits_wall and not (after[:12] == 100).any() and len(after) > 12)
    assert marked.any() and gaps <= 4


def test_a_calibration_of_any_focal_length_takes_little_memory() -> None:
    """The longest that is taken asked for 1.2 million bearings of a picture of 64 columns."""
    for focal in (500.0, 64_000.0):
        camera = CameraModel(64, 48, ((focal, 0, 31.5), (0, focal, 23.5), (0, 0, 1)))
        extractor = DrivableExtractor(CAMVID, DrivableSettings())
        extractor.set_camera(camera, CameraPose(0, 0, 1.5, 0, 0.5), (48, 64))
        mask = np.full((48, 64), ROAD, np.uint8)
        extractor.extract(Panoptic(mask, np.zeros((48, 64), np.uint16), mask, ()), Wants())
        assert extractor._ground.finder.nearest.nbytes <= 8 << 20


def sides(*places: tuple[float, float], half_m: float) -> NDArray[np.float64]:
    """Near sides across x, by their middles."""
    return np.array([[(x, y), (x, y + half_m), (x, y - half_m)] for x, y in places])


@pytest.mark.parametrize(("begins_m", "told_m"), [(12.0, 5.0), (3.0, math.nan), (5.0, math.nan), (math.inf, 5.0)])
@pytest.mark.parametrize("order", [1, -1])
def test_what_stands_before_the_view_begins_behind_a_bar_is_told(begins_m: float, told_m: float, order: int) -> None:
    """A post 5 m ahead, and beside it in the same sector a car above the own antenna, whose foot may be anywhere up to
    there: the post was lost."""
    points = sides((5.0, 0.0), (begins_m, 0.0), half_m=0.02)[::order].copy()
    labels = np.array(((ROAD, CAR), (BEGINS, CAR)), np.uint8)[::order].copy()
    free = np.arange(256) == ROAD
    out = np.empty(3)
    nearest_in_sectors(points, labels, np.full(len(points), np.nan), free, VOID, -0.1, 0.1, 40.0, out)
    np.testing.assert_array_equal(out, (math.inf, told_m, math.inf))


def test_what_is_partly_in_the_lane_ends_it() -> None:
    """Two coarse pixels that meet on the axis of a lane narrower than one of them: the middle was ended and the width not."""
    labels = np.array(((ROAD, CAR), (ROAD, CAR)), np.uint8)
    meeting = sides((20.0, 0.16), (20.0, -0.16), half_m=0.16)
    assert nearest_in_lane(meeting, labels, np.full(2, np.nan), ROAD, VOID, 0.15, 3.0) == (20.0, 20.0)
    beside = sides((20.0, 0.31), (20.0, -0.31), half_m=0.15)
    assert nearest_in_lane(beside, labels, np.full(2, np.nan), ROAD, VOID, 0.15, 3.0) == (math.inf, math.inf)


@pytest.mark.parametrize("only_obstacles", [False, True])
@pytest.mark.parametrize("shape", [(40, 64), (17, 8), (33, 24)])
def test_ends_by_words_are_those_by_pixels(shape: tuple[int, int], only_obstacles: bool) -> None:
    """Whichever way each block looks, also out of the picture; and both are what the definition says."""
    rng = np.random.default_rng(shape[0])
    costs, seen = CAMVID.drivable_costs, 0
    for _ in range(20):
        mask = np.kron(
            rng.choice([ROAD, PAVEMENT, CAR, VOID, UNSEEN_LABEL], (9, 13)).astype(np.uint8), np.ones((5, 5), np.uint8)
        )[: shape[0], : shape[1]].copy()
        blocks = -(-shape[0] // 16), -(-shape[1] // 16)
        steps = np.array(((0, 1), (0, -1), (1, 0), (-1, 0), (0, 0)), np.int8)[rng.integers(0, 5, blocks)]
        first = int(rng.integers(0, 2)) * 16 if shape[0] > 16 else 0
        found = []
        for words in (mask.view(np.uint64), mask[:, :0].view(np.uint64)):
            out = np.zeros((mask.size, 6), np.int32)
            count = find_ends(mask, words, costs, steps, (first, shape[0]), out, 0, only_obstacles)
            found.append(sorted(map(tuple, out[:count].tolist())))
        plain = []
        for v in range(first, shape[0]):
            for u in range(shape[1]):
                x, y = steps[v // 16, u // 16].tolist()
                inside = 0 <= u + x < shape[1] and 0 <= v + y < shape[0]
                near, far = int(mask[v + y, u + x]) if inside else UNSEEN_LABEL, int(mask[v, u])
                begins = near == UNSEEN_LABEL and costs[far] < 0
                ends = near != UNSEEN_LABEL and costs[near] >= 0 and near != far
                if (x or y) and far != UNSEEN_LABEL and (begins or ends) and not (only_obstacles and costs[far] >= 0):
                    plain.append((u, v, x, y, near, far))
        assert found[0] == found[1] == sorted(plain)
        seen += len(plain)
    assert seen > 100


HW = (16, 16)
HEIGHT_M = 2.0


def plain_ends(
    mask: NDArray[np.uint8], depth: NDArray[np.float32] | None
) -> list[tuple[tuple[int, ...], NDArray[np.float64], float]]:
    """The rule for a camera whose way to the camera is down the picture: each end's pixel, labels, the places of its near side's
    middle and corners from under the camera, and its depth."""
    made, costs = finder(HW), CAMVID.drivable_costs
    projection, found = made._projection, []
    for v, u in np.ndindex(*HW):
        far, near = int(mask[v, u]), int(mask[v + 1, u]) if v < HW[0] - 1 else UNSEEN_LABEL
        begins = near == UNSEEN_LABEL and costs[far] < 0
        if far in (UNSEEN_LABEL, near) or not (begins or (near != UNSEEN_LABEL and costs[near] >= 0)):
            continue
        out = np.full(1, math.nan)
        if depth is not None:
            end_depths(mask, costs, depth, np.array(((u, v, 0, 1, near, far),), np.int32), out)
        side = np.array(((u, v + 0.5), (u - 0.5, v + 0.5), (u + 0.5, v + 0.5)))
        if math.isnan(out[0]):
            places = projection.pixels_to_ground(side) - projection.position[:2]
        else:
            places = out[0] * projection.pixels_to_rays(side)[:, :2]
        found.append(((u, v, near, far), places, float(out[0])))
    return found


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), with_depth=st.booleans(), coarse=st.sampled_from((1, 2, 4)))
def test_ends_are_placed_and_what_is_behind_something_on_its_bearing_is_none(
    seed: int, with_depth: bool, coarse: int
) -> None:
    """By the rule, end by end: but where the edge of what hides is within two of the bearings that are told apart."""
    rng = np.random.default_rng(seed)
    mask = np.kron(
        rng.choice([ROAD, ROAD, ROAD, PAVEMENT, CAR, VOID], (16 // coarse, 16 // coarse)).astype(np.uint8),
        np.ones((coarse, coarse), np.uint8),
    )
    depth = np.where(rng.random(HW) < 0.8, rng.uniform(1.0, 6.0, HW), np.nan).astype(np.float32) if with_depth else None
    made = finder(HW)
    ends = made.find(mask, depth)
    told = {tuple(pixel[:2]): number for number, pixel in enumerate(ends.pixels.tolist())}
    all_ends = plain_ends(mask, depth)
    bearing = 2 * math.pi / len(ends.nearest) * 2
    spans = []
    for (_, _, _, far), places, _ in all_ends:
        turns = np.arctan2(places[:, 1], places[:, 0])
        if CAMVID.drivable_costs[far] < 0:
            spans.append((float(np.hypot(*places[0])), turns.min(), turns.max()))
    sure = 0
    for (u, v, near, far), places, metres in all_ends:
        away, turn = float(np.hypot(*places[0])), math.atan2(places[0, 1], places[0, 0])
        surely = any(d < away * (1 - 1e-6) and low + bearing < turn < high - bearing for d, low, high in spans)
        maybe = any(
            d < away * (1 + 1e-6) and low - bearing < turn < high + bearing for d, low, high in spans if d != away
        )
        number = told.get((u, v))
        if number is None:
            assert maybe, (u, v)
            continue
        assert not surely, (u, v)
        sure += 1
        assert ends.labels[number].tolist() == [near, far] and ends.pixels[number].tolist() == [u, v, 0, 1, near, far]
        np.testing.assert_allclose(ends.points[number], places, rtol=1e-6, atol=1e-9)
        np.testing.assert_array_equal(ends.depths[number], metres)
    assert sure == len(told)
    # A row of pixels is so long a share of the squared distance: 1 / (3200 px * 2 m).
    assert ends.row_share == (pytest.approx(1 / 6400) if with_depth else 0.0)
    for turn in np.linspace(-0.5, 0.5, 101).tolist():
        if any(abs(turn - edge) < bearing for _, *edges in spans for edge in edges):
            continue
        nearest = min((d for d, low, high in spans if low < turn < high), default=math.inf)
        found = ends.nearest[_bearing_bin(math.cos(turn), math.sin(turn), len(ends.nearest))]
        assert found == pytest.approx(nearest, rel=1e-6)


def test_an_end_beyond_the_limit_is_none_and_hides_nothing() -> None:
    mask = np.full(HW, ROAD, np.uint8)
    mask[4:6, 5:9] = CAR
    made = finder(HW)
    away_m = float(np.hypot(*made.find(mask).points[:, 0].T).max())
    for limit_m, count in ((away_m + 0.01, 4), (away_m - 0.05, 0)):
        made.update(made._projection, FlatImage.of(made._projection.lens, HW), limit_m)
        ends = made.find(mask)
        assert len(ends.points) == count and np.isfinite(ends.nearest).any() == (count > 0)


@pytest.mark.parametrize("roll", [0.0, 0.6, 1.5, -2.5])
@pytest.mark.parametrize("pitch", [-0.4, -0.8, -1.0, -1.2, -1.3, -1.4])
def test_a_fisheye_that_looks_up_finds_what_stands_in_the_slightest_crescent_of_ground(
    pitch: float, roll: float
) -> None:
    """The crescent may be narrower than a block, anywhere along the rim; with depth, here known of no pixel, all is looked at."""
    hw = (120, 150)
    camera = CameraModel(150, 120, ((38.0, 0, 74.5), (0, 38.0, 59.5), (0, 0, 1)), "equidistant", (0.01, 0, 0, 0))
    projection = GroundProjection(camera, CameraPose(0, 0, 2.0, roll, pitch), hw)
    flat = FlatImage.of(projection.lens, hw)
    assert flat.known is not None
    mask = np.random.default_rng(3).choice(np.array((ROAD, CAR), np.uint8), hw)
    mask[flat.known == 0] = UNSEEN_LABEL
    made = EndFinder(CAMVID.drivable_costs)
    made.update(projection, flat, 100.0)
    everywhere = made.find(mask, np.full(hw, np.nan, np.float32)).pixels.tolist()
    assert len(everywhere) and made.find(mask).pixels.tolist() == everywhere


def test_more_ends_than_there_was_room_for_are_found() -> None:
    """A picture like sand, where none had ends before: as by one that has had room from the start."""
    hw = (64, 64)
    made, roomy = finder(hw), finder(hw)
    calm = np.full(hw, ROAD, np.uint8)
    assert len(made.find(calm).points) == 0
    mask = np.random.default_rng(0).choice([ROAD, PAVEMENT], hw).astype(np.uint8)
    room = len(made._pixels)
    roomy._room(4 * mask.size)
    ends, same = made.find(mask), roomy.find(mask)
    assert len(made._pixels) > room and len(ends.points) > 900
    for name in ("pixels", "points", "labels", "nearest", "depths"):
        np.testing.assert_array_equal(getattr(ends, name), getattr(same, name))
    assert len(made.find(calm).points) == 0
