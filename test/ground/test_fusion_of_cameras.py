"""One grid of several cameras: what one sees and another does not, what comes late, twice or not at all."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from seg_perception.ground.fusion import HOLDS, GridFusion, window_side
from seg_perception.ground.odometry import PlanarPose
from seg_perception.results import Grid

CELL_M, SHAPE, ORIGIN_M = 0.5, (4, 5), (0.5, -1.0)
HALF_LIFE_S = 2.0
UNKNOWN, ROAD, GRASS, OBSTACLE = -1, 0, 60, 100
SECOND_NS = 10**9
STANDING = PlanarPose(0.0, 0.0, 0.0)
FIRST_COLUMN, FIRST_ROW = 1, -2
"""Cells of the odometry frame in which the grid of a vehicle at its origin begins."""


def full(value: int, **cells: int) -> NDArray[np.int8]:
    """A frame that is value all over but for some cells, by names such as r1c2."""
    frame = np.full(SHAPE, value, np.int8)
    for name, other in cells.items():
        row, column = map(int, name[1:].split("c"))
        frame[row, column] = other
    return frame


class Robot:
    """Fuses the frames of several cameras and reads the window in cells of the odometry frame."""

    def __init__(self) -> None:
        self.fusion = GridFusion(HALF_LIFE_S)

    def see(
        self, camera: str, at_s: float, cells: NDArray[np.int8], moved: tuple[int, int] = (0, 0)
    ) -> dict[tuple[int, int], int]:
        """moved: the vehicle, ahead and left in cells. Returns all cells that are not unknown, by row and column."""
        pose = PlanarPose(moved[0] * CELL_M, moved[1] * CELL_M, 0.0)
        fused = self.fusion.fuse(Grid(cells, CELL_M, ORIGIN_M), pose, round(at_s * SECOND_NS), camera)
        first_column, first_row = (round(corner / CELL_M) for corner in fused.origin_m)
        rows, columns = np.nonzero(fused.cells != UNKNOWN)
        return {
            (r + first_row, c + first_column): int(fused.cells[r, c]) for r, c in zip(rows.tolist(), columns.tolist())
        }

    def at(self, camera: str, at_s: float, cells: NDArray[np.int8], name: str = "r1c2") -> int:
        """What the window says of one cell of the standing vehicle's grid then."""
        row, column = map(int, name[1:].split("c"))
        return self.see(camera, at_s, cells).get((row + FIRST_ROW, column + FIRST_COLUMN), UNKNOWN)


def test_before_the_first_frame_nothing_is_known() -> None:
    fusion = GridFusion(HALF_LIFE_S)
    assert fusion.stamp_ns == 0 and fusion.behind_s("front") == math.inf and not fusion.holds("front")


def test_what_one_sees_free_and_another_as_an_obstacle_is_an_obstacle() -> None:
    """However often the other says so: front sees the post at 2 Hz, left sees free ground there at 30 Hz."""
    robot = Robot()
    for frame in range(90):
        if frame % 15 == 0:
            assert robot.at("front", frame / 30, full(ROAD, r1c2=OBSTACLE)) == OBSTACLE
        assert robot.at("left", frame / 30 + 0.01, full(ROAD)) == OBSTACLE, frame


def test_a_late_frame_from_before_the_odometry_jumped_is_left_out() -> None:
    """It was placed by where the vehicle was said to be then, 2 m beside where that is now: a post that nobody has there."""
    robot = Robot()
    for frame in range(5):
        robot.see("front", 1 + 0.1 * frame, full(ROAD), (8, 0))
        robot.see("left", 1.03 + 0.1 * frame, full(ROAD, r1c2=OBSTACLE), (8, 0))
    jumped = robot.see("front", 1.5, full(ROAD), (4, 0))
    assert OBSTACLE not in jumped.values()
    assert robot.see("left", 1.48, full(ROAD, r1c2=OBSTACLE), (8, 0)) == jumped
    assert OBSTACLE in robot.see("left", 1.53, full(ROAD, r1c2=OBSTACLE), (4, 0)).values(), "the next one counts"


def test_odometry_that_jumps_between_two_cameras_frames_is_seen_by_the_second() -> None:
    """10 ms apart no speed can be told, but 2.5 m can: the second came to stand in what was remembered of the place before."""
    robot = Robot()
    for frame in range(5):
        robot.see("front", 1 + 0.1 * frame, full(ROAD, r1c2=OBSTACLE), (10, 0))
        robot.see("left", 1.01 + 0.1 * frame, full(UNKNOWN), (10, 0))
    robot.see("front", 1.5, full(ROAD, r1c2=OBSTACLE), (10, 0))
    assert robot.see("left", 1.51, full(UNKNOWN, r0c0=ROAD), (5, 0)) == {(FIRST_ROW, FIRST_COLUMN + 5): ROAD}


def test_an_obstacle_that_its_camera_sees_no_more_is_free_after_some_frames() -> None:
    robot = Robot()
    for frame in range(30):
        robot.see("front", frame / 30, full(ROAD, r1c2=OBSTACLE))
        robot.see("left", frame / 30 + 0.01, full(ROAD))
    seen = [robot.at(("front", "left")[frame % 2], 1 + frame / 60, full(ROAD)) for frame in range(8)]
    assert seen[0] == OBSTACLE and seen[-1] == ROAD


def test_what_nobody_sees_stays_unknown_and_cameras_add_up() -> None:
    robot = Robot()
    left_half, right_half = full(UNKNOWN), full(UNKNOWN)
    left_half[2:], right_half[:1] = GRASS, ROAD
    robot.see("left", 0.0, left_half)
    seen = robot.see("right", 0.01, right_half)
    cells = {(r + FIRST_ROW, c + FIRST_COLUMN): v for (r, c), v in np.ndenumerate(left_half) if v != UNKNOWN}
    cells |= {(r + FIRST_ROW, c + FIRST_COLUMN): v for (r, c), v in np.ndenumerate(right_half) if v != UNKNOWN}
    assert seen == cells


def test_a_frame_that_comes_twice_counts_once_whatever_came_between() -> None:
    robot, once = Robot(), Robot()
    for one in (robot, once):
        for frame in range(3):
            one.see("front", frame * 0.1, full(UNKNOWN, r1c2=OBSTACLE))
        one.see("left", 0.25, full(ROAD))
    for _ in range(5):
        again = robot.see("front", 0.2, full(UNKNOWN, r1c2=OBSTACLE))
        robot.see("left", 0.25, full(ROAD))
    assert again == once.see("left", 0.25, full(ROAD))
    assert robot.see("left", 0.3, full(ROAD)) == once.see("left", 0.3, full(ROAD))


@pytest.mark.parametrize("seen", [OBSTACLE, ROAD])
def test_a_camera_that_stalls_fades(seen: int) -> None:
    """What it saw last counts against what another one sees for 1.77 half-lives, and where no other sees anything it becomes
    unknown as all that left the view does."""
    robot = Robot()
    holds_s = HALF_LIFE_S * math.log2(1 / HOLDS)
    assert holds_s == pytest.approx(1.774 * HALF_LIFE_S, abs=0.01)
    robot.see("front", 0.0, full(UNKNOWN, r1c2=seen, r3c3=seen))
    assert robot.fusion.holds("front") and not robot.fusion.holds("left")
    for frame in range(60):
        at_s = 0.1 * (frame + 1)
        told = robot.see("left", at_s, full(UNKNOWN, r1c2=ROAD))
        stalls = {(1 + FIRST_ROW, 2 + FIRST_COLUMN): seen, (3 + FIRST_ROW, 3 + FIRST_COLUMN): seen}
        counts = at_s < (holds_s if seen == OBSTACLE else HALF_LIFE_S * math.log2(0.619 / 0.405)) - 1e-9
        assert told == (stalls if counts else {(1 + FIRST_ROW, 2 + FIRST_COLUMN): ROAD}), at_s
        assert robot.fusion.behind_s("front") == pytest.approx(at_s)
    assert not robot.fusion.holds("front")


def test_a_frame_that_comes_late_is_placed_where_the_vehicle_was_and_weighs_less() -> None:
    """left's frame of 0.1 s comes after front's of 0.2 s, by when the vehicle has moved by 3 cells."""
    robot = Robot()
    robot.see("front", 0.2, full(UNKNOWN, r0c0=ROAD), moved=(3, 0))
    told = robot.see("left", 0.1, full(UNKNOWN, r1c2=OBSTACLE), moved=(1, 0))
    assert told == {(FIRST_ROW, FIRST_COLUMN + 3): ROAD, (FIRST_ROW + 1, FIRST_COLUMN + 2 + 1): OBSTACLE}
    assert robot.fusion.stamp_ns == 200_000_000
    very_late = robot.see("rear", 0.1 - 4 * HALF_LIFE_S, full(OBSTACLE), moved=(-2, 0))
    assert very_late == told and not robot.fusion.holds("rear")


def test_time_that_runs_backwards_for_one_camera_begins_all_anew() -> None:
    robot = Robot()
    robot.see("front", 100.0, full(OBSTACLE))
    robot.see("left", 100.0, full(OBSTACLE))
    assert set(robot.see("left", 3.0, full(ROAD)).values()) == {ROAD}
    assert set(robot.see("front", 3.1, full(ROAD)).values()) == {ROAD}


class Plain:
    """The rule of fusion.py, cell by cell, for a vehicle that does not turn and moves by whole cells."""

    def __init__(self) -> None:
        self.odds: dict[tuple[int, int], float] = {}
        self.costs: dict[tuple[int, int], int] = {}
        self.newest: dict[str, tuple[float, set[tuple[int, int]]]] = {}
        self.now_s, self.vehicle = 0.0, (0, 0)

    def see(
        self, camera: str, at_s: float, cells: NDArray[np.int8], moved: tuple[int, int]
    ) -> dict[tuple[int, int], int]:
        if camera in self.newest and at_s < self.newest[camera][0]:
            self.__init__()  # type: ignore[misc]
        if camera not in self.newest or at_s != self.newest[camera][0]:
            self._add(camera, at_s, cells, moved)
        return self._told(camera)

    def _add(self, camera: str, at_s: float, cells: NDArray[np.int8], moved: tuple[int, int]) -> None:
        weight = 1.0
        if not self.newest or at_s > self.now_s:
            keep = 0.5 ** ((at_s - self.now_s) / HALF_LIFE_S) if self.newest else 1.0
            self.odds = {cell: odds * keep for cell, odds in self.odds.items()}
            self.now_s, self.vehicle = at_s, moved
        else:
            weight = 0.5 ** ((self.now_s - at_s) / HALF_LIFE_S)
        half = window_side(SHAPE, CELL_M, ORIGIN_M) // 2
        seen = {
            (r + FIRST_ROW + moved[1], c + FIRST_COLUMN + moved[0]): int(value)
            for (r, c), value in np.ndenumerate(cells)
        }
        if weight < HOLDS:
            self.newest[camera] = at_s, set()
            return
        self.newest[camera] = at_s, {cell for cell, value in seen.items() if value == OBSTACLE}
        self.in_view = {
            (row, column)
            for row in range(self.vehicle[1] - half, self.vehicle[1] + half + 1)
            for column in range(self.vehicle[0] - half, self.vehicle[0] + half + 1)
        }
        self.odds = {cell: odds for cell, odds in self.odds.items() if cell in self.in_view and abs(odds) >= 1e-3}
        for cell, value in seen.items():
            odds = self.odds.get(cell, 0.0)
            if cell not in self.in_view or value == UNKNOWN:
                continue
            if value == OBSTACLE:
                self.odds[cell] = min(odds + weight * math.log(4), math.log(0.97 / 0.03))
            else:
                self.odds[cell], self.costs[cell] = max(odds + weight * math.log(0.35 / 0.65), -math.log(4)), value

    def _told(self, camera: str) -> dict[tuple[int, int], int]:
        sure = math.log(1.5)
        told = {
            cell: OBSTACLE if odds >= sure else self.costs[cell]
            for cell, odds in self.odds.items()
            if abs(odds) >= sure
        }
        for at_s, obstacles in self.newest.values():
            if 0.5 ** ((self.now_s - at_s) / HALF_LIFE_S) >= HOLDS:
                told.update(dict.fromkeys(obstacles & self.in_view, OBSTACLE))
        return told


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["front", "left", "rear"]),
            st.sampled_from([0.0, 0.05, 0.3, 0.3, 1.1]),
            st.integers(0, 5),
            st.integers(0, 2**32 - 1),
            st.tuples(st.integers(-6, 6), st.integers(-6, 6)),
        ),
        min_size=1,
        max_size=25,
    )
)
def test_it_does_what_the_plain_rule_does(frames: list[tuple[str, float, int, int, tuple[int, int]]]) -> None:
    """Frames of three cameras in any order, some late, some twice, some that go back in time."""
    robot, plain, now_s = Robot(), Plain(), 10.0
    robot.fusion._jumped = lambda pose, stamp_ns: False  # this vehicle may be anywhere; jumps have a test of their own
    for camera, later_s, late, seed, moved in frames:
        now_s += later_s
        cells = np.random.default_rng(seed).choice(np.array([UNKNOWN, ROAD, GRASS, OBSTACLE], np.int8), SHAPE)
        at_s = round(now_s - 0.15 * late, 3)
        assert robot.see(camera, at_s, cells, moved) == plain.see(camera, at_s, cells, moved)
