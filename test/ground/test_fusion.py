"""What a fused grid keeps, forgets and never invents."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from seg_perception.errors import SegPerceptionError
from seg_perception.ground.fusion import FusionSettings, GridFusion, window_side
from seg_perception.ground.odometry import PlanarPose
from seg_perception.results import Grid

CELL_M = 0.5
ORIGIN_M = (1.0, -2.0)
SHAPE = (8, 10)
UNKNOWN, ROAD, GRASS, OBSTACLE = -1, 0, 60, 100
STANDING = PlanarPose(0.0, 0.0, 0.0)
FRAME_NS = 10**9 // 30


def grid_of(cells: NDArray[np.int8]) -> Grid:
    return Grid(cells, CELL_M, ORIGIN_M)


def empty() -> NDArray[np.int8]:
    return np.full(SHAPE, UNKNOWN, np.int8)


def at(grid: Grid, x: float, y: float) -> int:
    """Value of the cell that holds a point of the grid's frame."""
    column, row = (math.floor((value - start) / grid.resolution_m) for value, start in zip((x, y), grid.origin_m))
    return int(grid.cells[row, column])


def window_of(grid: Grid, x: float = 0.0, y: float = 0.0) -> NDArray[np.int8]:
    """The part of a fused grid where a frame's grid lies whose base frame is at x, y with yaw 0."""
    column = round((x + ORIGIN_M[0] - grid.origin_m[0]) / CELL_M)
    row = round((y + ORIGIN_M[1] - grid.origin_m[1]) / CELL_M)
    return grid.cells[row : row + SHAPE[0], column : column + SHAPE[1]]


def test_one_frame_comes_out_as_it_went_in_and_the_rest_is_unknown() -> None:
    cells = np.random.default_rng(0).choice(np.array([UNKNOWN, ROAD, GRASS, OBSTACLE], np.int8), SHAPE)
    fused = GridFusion(2.0).fuse(grid_of(cells), STANDING, 0)
    assert np.array_equal(window_of(fused), cells)
    assert (fused.cells != UNKNOWN).sum() == (cells != UNKNOWN).sum()


def test_a_standing_robot_converges_through_noise() -> None:
    """Each cell is wrong in a twentieth of the frames and unknown in a fifth. After a second, what memory makes of it, seen
    in a frame that holds nothing new, is nearly all right, and the opposite nowhere."""
    rng = np.random.default_rng(1)
    truth = rng.choice(np.array([ROAD, OBSTACLE], np.int8), SHAPE, p=[0.8, 0.2])
    wrong = np.where(truth == ROAD, OBSTACLE, ROAD).astype(np.int8)
    fusion = GridFusion(2.0)
    for frame in range(30):
        luck = rng.random(SHAPE)
        noisy = np.where(luck < 0.05, wrong, np.where(luck < 0.25, UNKNOWN, truth)).astype(np.int8)
        fusion.fuse(grid_of(noisy), STANDING, frame * FRAME_NS)
    remembered = window_of(fusion.fuse(grid_of(empty()), STANDING, 30 * FRAME_NS))
    assert (noisy == truth).mean() < 0.8, "what one frame alone would have said"
    assert (remembered == truth).mean() > 0.9 and not (remembered == wrong).any()


def test_a_moving_robot_keeps_what_it_saw_in_place() -> None:
    """A post at (5.25, 0.25) of the odometry frame, seen once; then the robot drives past it at 0.7 m a frame."""
    cells = empty()
    cells[4, 8] = OBSTACLE  # x in [5, 5.5), y in [0, 0.5)
    fusion = GridFusion(10.0)
    fused = fusion.fuse(grid_of(cells), STANDING, 0)
    for step in range(1, 10):
        fused = fusion.fuse(grid_of(empty()), PlanarPose(0.7 * step, 0.03 * step, 0.1 * step), step * FRAME_NS)
        assert at(fused, 5.25, 0.25) == OBSTACLE
        assert (fused.cells != UNKNOWN).sum() == 1


@pytest.mark.parametrize("yaw", [0.0, 0.3, math.pi / 4, math.pi / 2, -2.5, math.pi])
def test_a_post_of_one_cell_is_never_lost_nor_spread_by_a_turn(yaw: float) -> None:
    cells = empty()
    cells[6, 3] = OBSTACLE
    x, y = ORIGIN_M[0] + 3.5 * CELL_M, ORIGIN_M[1] + 6.5 * CELL_M
    fused = GridFusion(2.0).fuse(grid_of(cells), PlanarPose(10.13, -7.4, yaw), 0)
    assert (fused.cells == OBSTACLE).sum() == (fused.cells != UNKNOWN).sum() == 1
    there = (10.13 + math.cos(yaw) * x - math.sin(yaw) * y, -7.4 + math.sin(yaw) * x + math.cos(yaw) * y)
    assert at(fused, *there) == OBSTACLE


def test_turned_ground_has_no_gaps() -> None:
    """Free ground of 5 m x 4 m: every cell whose centre lies in it, and none beside it, whatever the yaw."""
    yaw = 0.6
    fused = GridFusion(2.0).fuse(grid_of(np.full(SHAPE, GRASS, np.int8)), PlanarPose(0.2, 0.1, yaw), 0)
    rows, columns = np.indices(fused.cells.shape)
    x = fused.origin_m[0] + (columns + 0.5) * CELL_M - 0.2
    y = fused.origin_m[1] + (rows + 0.5) * CELL_M - 0.1
    ahead, left = math.cos(yaw) * x + math.sin(yaw) * y, math.cos(yaw) * y - math.sin(yaw) * x
    inside = (ahead >= 1.0) & (ahead < 6.0) & (left >= -2.0) & (left < 2.0)
    assert np.array_equal(fused.cells == GRASS, inside)
    assert np.array_equal(fused.cells == UNKNOWN, ~inside)


def test_an_obstacle_that_left_is_cleared_by_the_ground_seen_in_its_place() -> None:
    """From ln(97/3) = 3.48 down by ln(65/35) = 0.62 a frame: below ln(3/2) = 0.41 after 5, below -0.41 after 7."""
    blocked, free = empty(), empty()
    blocked[3, 3], free[3, 3] = OBSTACLE, ROAD
    fusion = GridFusion(3600.0)
    for frame in range(100):
        fused = fusion.fuse(grid_of(blocked), STANDING, frame)
    said = []
    for frame in range(8):
        fused = fusion.fuse(grid_of(free), STANDING, 100 + frame)
        said.append(int(window_of(fused)[3, 3]))
    assert said == [OBSTACLE] * 4 + [UNKNOWN] * 2 + [ROAD] * 2


def test_an_obstacle_appears_at_once_where_ground_was_free_for_long() -> None:
    """One obstacle weighs ln 4 = 1.39, which is also the clamp of free: a cell that is hidden next is unknown, l = 0."""
    free, blocked = empty(), empty()
    free[3, 3], blocked[3, 3] = ROAD, OBSTACLE
    fusion = GridFusion(3600.0)
    for frame in range(100):
        fusion.fuse(grid_of(free), STANDING, frame)
    assert window_of(fusion.fuse(grid_of(blocked), STANDING, 100))[3, 3] == OBSTACLE
    assert window_of(fusion.fuse(grid_of(empty()), STANDING, 101))[3, 3] == UNKNOWN


def test_what_is_not_seen_any_more_decays_to_unknown() -> None:
    """One obstacle has log-odds ln 4 = 1.386, published down to ln(3/2) = 0.405: for log2(3.419) = 1.77 half-lives."""
    cells = empty()
    cells[3, 3] = OBSTACLE
    for half_lives, expected in ((1.75, OBSTACLE), (1.80, UNKNOWN)):
        fusion = GridFusion(0.5)
        fusion.fuse(grid_of(cells), STANDING, 0)
        fused = fusion.fuse(grid_of(empty()), STANDING, round(half_lives * 0.5e9))
        assert window_of(fused)[3, 3] == expected


def test_decay_depends_on_time_and_not_on_the_number_of_frames() -> None:
    cells = np.random.default_rng(2).choice(np.array([UNKNOWN, ROAD, OBSTACLE], np.int8), SHAPE)
    last = []
    for steps in (1, 40):
        fusion = GridFusion(1.0)
        fusion.fuse(grid_of(cells), STANDING, 0)
        for step in range(1, steps + 1):
            fused = fusion.fuse(grid_of(empty()), STANDING, step * 600_000_000 // steps)
        last.append(fused.cells.copy())
    assert np.array_equal(*last)
    assert (last[0] == OBSTACLE).sum() == (cells == OBSTACLE).sum()


def test_nothing_is_smeared_behind_an_obstacle() -> None:
    """A wall comes nearer by a cell a frame, over ground that was long seen free up to column 7: what was never seen
    stays unknown, and what the wall passed over is unknown."""
    fusion = GridFusion(10.0)
    for frame in range(-10, 6):
        column = 7 - max(frame, 0)
        cells = empty()
        cells[:, :column] = ROAD
        cells[:, column] = ROAD if frame < 0 else OBSTACLE
        fused = window_of(fusion.fuse(grid_of(cells), STANDING, frame * FRAME_NS + 10**9))
        assert (fused[:, :column] == ROAD).all() and (fused[:, column] == cells[:, column]).all()
        assert (fused[:, column + 1 :] == UNKNOWN).all()
    assert column == 2


def test_the_newest_class_counts_where_ground_is_free() -> None:
    fusion = GridFusion(2.0)
    for frame, cost in enumerate((ROAD, ROAD, GRASS)):
        fused = fusion.fuse(grid_of(np.full(SHAPE, cost, np.int8)), STANDING, frame)
    assert (window_of(fused) == GRASS).all()


@settings(max_examples=30, deadline=None)
@given(
    cells=st.lists(st.sampled_from([UNKNOWN, ROAD, GRASS, OBSTACLE]), min_size=80, max_size=80),
    steps=st.lists(st.tuples(st.integers(-30, 30), st.integers(-30, 30)), min_size=1, max_size=4),
    start=st.tuples(st.integers(-(10**6), 10**6), st.integers(-(10**6), 10**6)),
)
def test_driving_whole_cells_is_a_shift(cells: list[int], steps: list[tuple[int, int]], start: tuple[int, int]) -> None:
    """What was seen before stays in place in the odometry frame while it is in the window, and nothing else appears."""
    seen = np.array(cells, np.int8).reshape(SHAPE)
    fusion = GridFusion(3600.0)
    fusion._jumped = lambda pose, stamp_ns: False  # this vehicle may be anywhere; jumps have a test of their own
    x, y = start[0] * CELL_M, start[1] * CELL_M
    before = fusion.fuse(grid_of(seen), PlanarPose(x, y, 0.0), 0)
    assert np.array_equal(window_of(before, x, y), seen)
    for number, (ahead, left) in enumerate(steps, 1):
        cells_before = before.cells.copy()
        x, y = x + ahead * CELL_M, y + left * CELL_M
        before = fusion.fuse(grid_of(empty()), PlanarPose(x, y, 0.0), number)
        side = len(cells_before)
        expected = np.full((3 * side, 3 * side), UNKNOWN, np.int8)
        expected[side : 2 * side, side : 2 * side] = cells_before
        row, column = (int(np.clip(side + move, 0, 2 * side)) for move in (left, ahead))
        assert np.array_equal(before.cells, expected[row : row + side, column : column + side])


@pytest.mark.parametrize("far_m", [1e7, 2e9, -7e11])
def test_odometry_may_count_from_anywhere(far_m: float) -> None:
    """Cells counted from its origin are more than 32 bits hold."""
    cells = np.random.default_rng(5).choice(np.array([UNKNOWN, ROAD, OBSTACLE], np.int8), SHAPE)
    fusion = GridFusion(2.0)
    fusion.fuse(grid_of(cells), PlanarPose(far_m, -far_m, 0.0), 0, "front")
    fused = fusion.fuse(grid_of(np.full(SHAPE, ROAD, np.int8)), PlanarPose(far_m, -far_m, 0.0), FRAME_NS, "left")
    assert np.array_equal(window_of(fused, far_m, -far_m) == OBSTACLE, cells == OBSTACLE)


def test_memory_is_fixed_and_buffers_are_reused() -> None:
    fusion = GridFusion(2.0)
    fusion._jumped = lambda pose, stamp_ns: False  # as above
    addresses = set()
    for frame in range(50):
        fused = fusion.fuse(grid_of(empty()), PlanarPose(3.3 * frame, -frame, 0.2 * frame), frame)
        addresses.add(fused.cells.ctypes.data)
        assert fused.cells.shape == (window_side(SHAPE, CELL_M, ORIGIN_M),) * 2
    assert len(addresses) == 1


def test_the_window_holds_the_grid_at_any_yaw() -> None:
    """The farthest corner is at (6, 2): 6.32 m are 12.6 cells to each side, and one for where in a cell the vehicle is."""
    assert window_side(SHAPE, CELL_M, ORIGIN_M) == 2 * (13 + 1) + 1


@pytest.mark.parametrize("change", ["time that runs backwards", "another geometry"])
def test_it_starts_anew_with(change: str) -> None:
    cells = np.full(SHAPE, ROAD, np.int8)
    fusion = GridFusion(2.0)
    fusion.fuse(grid_of(cells), STANDING, 10**9)
    if change == "another geometry":
        fused = fusion.fuse(Grid(empty(), CELL_M, (1.0, -2.5)), STANDING, 10**9)
    else:
        fused = fusion.fuse(grid_of(empty()), STANDING, 10**9 - 1)
    assert (fused.cells == UNKNOWN).all()


@pytest.mark.parametrize("to", [(0.0, 0.0, 0.0), (21.5, 5.0, 0.3), (20.0, 5.0, 1.9)], ids=["anew", "aside", "turned"])
def test_odometry_that_jumps_leaves_nothing_that_was_seen_elsewhere(to: tuple[float, float, float]) -> None:
    """It was free ground, for seconds, where nobody had ever looked: another part of the world lies there now."""
    fusion = GridFusion(2.0)
    for frame in range(10):
        told = fusion.fuse(grid_of(np.full(SHAPE, ROAD, np.int8)), PlanarPose(20.0, 5.0, 0.3), frame * FRAME_NS)
    assert (told.cells == ROAD).sum() >= SHAPE[0] * SHAPE[1]
    told = fusion.fuse(grid_of(empty()), PlanarPose(*to), 10 * FRAME_NS)
    assert (told.cells == UNKNOWN).all()


@pytest.mark.parametrize("hz", [5.0, 15.0, 60.0])
def test_no_way_of_driving_is_a_jump(hz: float) -> None:
    """It brakes from 30 m/s by 10 m/s^2 while it turns, by odometry that errs by 10 cm and 3 degrees; a second camera's frames
    come a millisecond after the first one's."""
    rng, fusion = np.random.default_rng(3), GridFusion(3600.0)
    x = y = yaw = 0.0
    fusion.fuse(grid_of(np.full(SHAPE, ROAD, np.int8)), STANDING, 10**9, "front")
    for frame in range(1, round(3 * hz)):
        speed = 30.0 - 10.0 * frame / hz
        yaw += 1.5 / hz
        x, y = x + speed / hz * math.cos(yaw), y + speed / hz * math.sin(yaw)
        for after_ns in (0, 10**6):
            said = PlanarPose(x + rng.uniform(-0.1, 0.1), y + rng.uniform(-0.1, 0.1), yaw + rng.uniform(-0.05, 0.05))
            forgets = fusion._jumped(said, 10**9 + round(frame * 1e9 / hz) + after_ns)
            assert not forgets, frame


def test_a_frame_that_comes_twice_counts_once() -> None:
    """Three frames of an obstacle, then one of free ground five times."""
    blocked, free = empty(), empty()
    blocked[3, 3], free[3, 3] = OBSTACLE, ROAD
    fusion = GridFusion(3600.0)
    for frame in range(3):
        fusion.fuse(grid_of(blocked), STANDING, frame)
    once = fusion.fuse(grid_of(free), STANDING, 3).cells.copy()
    for _ in range(4):
        again = fusion.fuse(grid_of(free), STANDING, 3)
    assert np.array_equal(again.cells, once) and window_of(again)[3, 3] == OBSTACLE


@pytest.mark.parametrize("yaw", [0.3, math.radians(30), 1.0])
@pytest.mark.parametrize("off", [(0.0, 0.0), (0.03, 0.04)])
def test_no_cell_of_a_wall_that_is_seen_now_stays_free(yaw: float, off: tuple[float, float]) -> None:
    """Ground that was long free, then a wall across it: no cell of the window with its middle in the wall, or that a
    point of the wall's middle line falls into, is free."""
    shape, cell = (200, 100), 0.1
    free, walled = np.zeros(shape, np.int8), np.zeros(shape, np.int8)
    walled[:, 50], walled[:, 51:] = OBSTACLE, UNKNOWN
    fusion = GridFusion(3600.0)
    for frame in range(10):
        fusion.fuse(Grid(free, cell, (0.0, -10.0)), PlanarPose(*off, yaw), frame)
    fused = fusion.fuse(Grid(walled, cell, (0.0, -10.0)), PlanarPose(*off, yaw), 10)
    rows, columns = np.indices(fused.cells.shape)
    x = fused.origin_m[0] + (columns + 0.5) * cell - off[0]
    y = fused.origin_m[1] + (rows + 0.5) * cell - off[1]
    ahead, left = math.cos(yaw) * x + math.sin(yaw) * y, math.cos(yaw) * y - math.sin(yaw) * x
    in_wall = (ahead >= 5.0 + 1e-9) & (ahead < 5.1 - 1e-9) & (np.abs(left) < 10.0)
    assert in_wall.sum() > 150 and not ((fused.cells >= 0) & (fused.cells < OBSTACLE))[in_wall].any()
    for left_m in np.arange(-9.95, 10.0, 0.1).tolist():
        point = (
            off[0] + math.cos(yaw) * 5.05 - math.sin(yaw) * left_m,
            off[1] + math.sin(yaw) * 5.05 + math.cos(yaw) * left_m,
        )
        assert at(fused, *point) == OBSTACLE


def test_a_window_that_is_too_large_is_refused() -> None:
    with pytest.raises(SegPerceptionError, match=r"window of 40\d+x40\d+ cells"):
        GridFusion(2.0).fuse(Grid(np.zeros((200, 20000), np.int8), 0.05, (0.0, -5.0)), STANDING, 0)


def test_a_half_life_that_cannot_be_is_refused() -> None:
    for value in (0.0, -1.0, math.nan, math.inf):
        with pytest.raises(ValueError, match="half_life_s"):
            FusionSettings(half_life_s=value)
