"""Occupancy grids of successive frames -> one grid in an odometry frame that remembers, and forgets.

Every cell holds the log-odds l = log(p / (1 - p)) that an obstacle stands in it. A frame in which the cell is seen adds
the log-odds of that one observation, with a prior of p = 0.5 (Moravec & Elfes, "High resolution maps from wide angle
sonar", ICRA 1985; Thrun, Burgard & Fox, "Probabilistic Robotics", 2005, chapter 9):

    l <- clamp(l * 2 ** (-dt / half_life) + l_observed)

The factor is the decay towards unknown, l = 0. The clamp bounds how long a cell holds out against what is seen now
(Yguel, Aycard & Laugier, "Update policy of dense maps", FSR 2007). What is unknown in a frame adds nothing, so nothing
spreads behind obstacles. The obstacles of the newest frame are published whatever was believed of their cells: memory
may delay that ground becomes free, never that an obstacle appears.

Frames may come from several cameras, whose evidence adds up in one memory. The obstacles of each camera's newest frame are
published until its next one, whatever the others see there, as long as it weighs HOLDS or more by its age: what one sees
free and another sees as an obstacle is an obstacle, and a camera that stalls fades.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from seg_perception.compiled import compiled
from seg_perception.errors import SegPerceptionError
from seg_perception.ground.maps import OBSTACLE
from seg_perception.ground.odometry import FASTEST_M_S, Odometry, PlanarPose
from seg_perception.results import Grid

_HIT, _MISS = math.log(0.8 / 0.2), math.log(0.35 / 0.65)
"""Log-odds of one observation: obstacle, free ground."""
_LEAST, _MOST = -_HIT, math.log(0.97 / 0.03)
"""The clamp: one obstacle undoes all belief that its cell is free, so what an approaching one hides is unknown."""
_SURE = math.log(0.6 / 0.4)
"""A cell is published as obstacle or free from here on, with p of at least 0.6 or at most 0.4."""
HOLDS = _SURE / _HIT
"""What is left, by its age, of the weight of a frame whose obstacles just count: after 1.8 half-lives."""
MAX_WINDOW_CELLS = 4_000_000
"""Of the window, which holds the grid at any yaw of the vehicle."""
HIT, HELD = 1, 2
"""Marks in the window while a frame is added: its obstacles, and those that other cameras' newest frames hold."""
_LEAST_STEP_NS, _NOISE_M, _NOISE_RAD = 20_000_000, 0.3, 0.15
"""Frames of several cameras come close together, where what odometry errs by would be any speed."""
_FORGOTTEN = 1e-3
"""Log-odds taken for unknown, long before the floats become so small that arithmetic on them is slow."""

_State = tuple[NDArray[np.float32], NDArray[np.int8]]
"""Log-odds, and the cost of the free class that was seen last (-1: none), of every cell [rows, columns]."""


@dataclass(frozen=True)
class FusionSettings:
    """half_life_s: time in which the log-odds of a cell that is not seen any more halve. cameras: whether the grids of all
    cameras become one. Raises ValueError."""

    enabled: bool = False
    half_life_s: float = 2.0
    cameras: bool = False

    def __post_init__(self) -> None:
        if not 0.01 <= self.half_life_s <= 3600.0:
            raise ValueError(f"half_life_s is {self.half_life_s}: allowed is 0.01 to 3600")


def window_side(shape: tuple[int, int], resolution_m: float, origin_m: tuple[float, float]) -> int:
    """Cells on a side of the square around the base frame's origin that holds a grid of this geometry at any yaw."""
    reach_x, reach_y = (
        max(abs(start), abs(start + count * resolution_m)) for start, count in zip(origin_m, reversed(shape))
    )
    return 2 * (math.ceil(math.hypot(reach_x, reach_y) / resolution_m) + 1) + 1


def window_problem(shape: tuple[int, int], resolution_m: float, origin_m: tuple[float, float]) -> str | None:
    """Why grids of this geometry cannot be fused, None where they can."""
    side = window_side(shape, resolution_m, origin_m)
    if side**2 <= MAX_WINDOW_CELLS:
        return None
    return (
        f"the grid needs a window of {side}x{side} cells around the vehicle: at most {MAX_WINDOW_CELLS} are allowed, make "
        "the grid smaller or its cells larger"
    )


@dataclass(frozen=True)
class _Newest:
    """A camera's newest frame. obstacles: int64 [K, 2] = (row, column) of their cells, counted from the odometry frame's
    origin."""

    stamp_ns: int
    obstacles: NDArray[np.int64]


class GridFusion:
    """A window of the odometry frame that moves with the vehicle by whole cells. Belongs to one thread.

    Its memory depends on the geometry of the grids, and on what stands in the newest one of each camera; grids of another
    geometry, a camera's time that runs backwards, or odometry that jumps make it forget everything. A frame that comes twice,
    told by its stamp, counts once. Raises SegPerceptionError for grids whose window would be larger than MAX_WINDOW_CELLS.
    """

    def __init__(self, half_life_s: float) -> None:
        self.half_life_s = half_life_s
        self.stamp_ns = 0
        """Of the newest frame, which the window is of."""
        self._geometry: tuple[tuple[int, ...], float, tuple[float, float]] | None = None
        self._newest: dict[str, _Newest] = {}
        self._odometry, self._placed_ns, self._placed = Odometry(), 0, PlanarPose(0.0, 0.0, 0.0)
        self._jumped_ns = 0
        """Stamp of the frame that showed that the odometry had jumped: what is older was placed by what it was before."""
        self._corner = (0, 0)
        self._cells: NDArray[np.int8]
        self._memory: _State
        self._spare: _State
        self._forget(0)

    def fuse(self, grid: Grid, pose: PlanarPose, stamp_ns: int, camera: str = "") -> Grid:
        """Add a frame's grid; returns the window in the odometry frame, a view of a buffer that the next call overwrites.

        grid: in the base frame; pose: of the base frame at stamp_ns. The window's axes are the odometry frame's and its
        corner lies on a whole number of cells; it is of the newest frame's time and place. A frame that comes after a newer
        one of another camera weighs as much less as it is older, and is left out below HOLDS, and where it is from before the
        odometry jumped. A free cell has the cost that was seen in it last.
        """
        resolution = grid.resolution_m
        geometry, before = (grid.cells.shape, resolution, grid.origin_m), self._newest.get(camera)
        if geometry == self._geometry and before is not None and stamp_ns == before.stamp_ns:
            return self._window(resolution)
        is_new = geometry != self._geometry or (before is not None and stamp_ns < before.stamp_ns)
        if is_new or self._jumped(pose, stamp_ns):
            if problem := window_problem(grid.cells.shape, resolution, grid.origin_m):
                raise SegPerceptionError(problem)
            self._forget(window_side(grid.cells.shape, resolution, grid.origin_m))
            self._geometry, self.stamp_ns = geometry, stamp_ns
            self._odometry, self._placed_ns, self._placed = Odometry(_NOISE_M, _NOISE_RAD), stamp_ns, pose
            self._odometry.jumped(pose, 0.0)
            self._jumped_ns = 0 if is_new else stamp_ns
        corner, keep, weight = self._corner, 1.0, 1.0
        if not self._newest or stamp_ns > self.stamp_ns:
            half = len(self._cells) // 2
            corner = (math.floor(pose.x / resolution) - half, math.floor(pose.y / resolution) - half)
            keep, self.stamp_ns = self._left_after(stamp_ns - self.stamp_ns), stamp_ns
        else:
            weight = self._left_after(self.stamp_ns - stamp_ns)
        if weight < HOLDS or stamp_ns < self._jumped_ns:
            self._newest[camera] = _Newest(stamp_ns, np.empty((0, 2), np.int64))
            return self._window(resolution)
        # Cells of the window in cells of the frame's grid: turn by -yaw about the vehicle, then count from the corner.
        turn = (math.cos(pose.yaw), math.sin(pose.yaw))
        vehicle = (pose.x / resolution - corner[0], pose.y / resolution - corner[1])
        origin = (grid.origin_m[0] / resolution, grid.origin_m[1] / resolution)
        obstacles = np.empty((np.count_nonzero(grid.cells >= OBSTACLE), 2), np.int64)
        _place_obstacles(grid.cells, origin, turn, vehicle, corner, obstacles)
        self._newest[camera] = _Newest(stamp_ns, obstacles)
        self._mark_obstacles(camera, corner)
        shift = (corner[0] - self._corner[0], corner[1] - self._corner[1])
        _update(
            grid.cells, origin, turn, vehicle, shift, keep, weight,
            *self._memory, *self._spare, self._cells,
        )  # fmt: skip
        self._memory, self._spare = self._spare, self._memory
        self._corner = corner
        return self._window(resolution)

    def _jumped(self, pose: PlanarPose, stamp_ns: int) -> bool:
        """Whether all that is remembered lies elsewhere now: the odometry began anew, or was set."""
        step_ns = stamp_ns - self._placed_ns
        if step_ns < _LEAST_STEP_NS:  # too short for a speed, not for a leap
            moved_m = math.hypot(pose.x - self._placed.x, pose.y - self._placed.y)
            return step_ns >= 0 and moved_m > _NOISE_M + FASTEST_M_S * step_ns / 1e9
        self._placed_ns, self._placed = stamp_ns, pose
        return self._odometry.jumped(pose, step_ns / 1e9)

    def behind_s(self, camera: str) -> float:
        """How much older a camera's newest frame is than the newest of all, s; inf where it has none."""
        newest = self._newest.get(camera)
        return math.inf if newest is None else (self.stamp_ns - newest.stamp_ns) * 1e-9

    def holds(self, camera: str) -> bool:
        """Whether the obstacles of a camera's newest frame are published whatever others see there."""
        newest = self._newest.get(camera)
        return newest is not None and self._left_after(self.stamp_ns - newest.stamp_ns) >= HOLDS

    def _left_after(self, age_ns: int) -> float:
        return float(2.0 ** (-age_ns * 1e-9 / self.half_life_s))

    def _mark_obstacles(self, camera: str, corner: tuple[int, int]) -> None:
        """Into the window: HIT where the camera's newest frame has one, HELD where only another one's has."""
        self._cells[:] = 0
        for name in self._newest:
            if name != camera and self.holds(name):
                _mark(self._newest[name].obstacles, corner, HELD, self._cells)
        _mark(self._newest[camera].obstacles, corner, HIT, self._cells)

    def _window(self, resolution: float) -> Grid:
        """What was published last."""
        return Grid(self._cells, resolution, (self._corner[0] * resolution, self._corner[1] * resolution))

    def _forget(self, side: int) -> None:
        shape = (side, side)
        self._newest.clear()
        self._cells = np.empty(shape, np.int8)
        self._memory = np.zeros(shape, np.float32), np.full(shape, -1, np.int8)
        self._spare = np.empty(shape, np.float32), np.empty(shape, np.int8)


@compiled
def _place_obstacles(
    frame: NDArray[np.int8],
    origin: tuple[float, float],
    turn: tuple[float, float],
    vehicle: tuple[float, float],
    corner: tuple[int, int],
    out: NDArray[np.int64],
) -> None:
    """Write the cell of the odometry frame into which the centre of each obstacle's cell falls to out [K, 2].

    Obstacles go from the frame to the window and free ground the other way: neither does an obstacle of one cell fall
    between the centres of a turned window, nor does a turned window show gaps in free ground.
    """
    k = 0
    for row in range(frame.shape[0]):
        for column in range(frame.shape[1]):
            if frame[row, column] >= OBSTACLE:
                x, y = column + 0.5 + origin[0], row + 0.5 + origin[1]
                out[k, 0] = math.floor(vehicle[1] + turn[1] * x + turn[0] * y) + corner[1]
                out[k, 1] = math.floor(vehicle[0] + turn[0] * x - turn[1] * y) + corner[0]
                k += 1


@compiled
def _mark(obstacles: NDArray[np.int64], corner: tuple[int, int], value: int, out: NDArray[np.int8]) -> None:
    """Set the obstacles' cells in the window, those that lie in it."""
    for k in range(len(obstacles)):
        row, column = obstacles[k, 0] - corner[1], obstacles[k, 1] - corner[0]
        if 0 <= row < out.shape[0] and 0 <= column < out.shape[1]:
            out[row, column] = value


@compiled
def _update(
    frame: NDArray[np.int8],
    origin: tuple[float, float],
    turn: tuple[float, float],
    vehicle: tuple[float, float],
    shift: tuple[int, int],
    keep: float,
    weight: float,
    log_odds: NDArray[np.float32],
    costs: NDArray[np.int8],
    next_log_odds: NDArray[np.float32],
    next_costs: NDArray[np.int8],
    out: NDArray[np.int8],
) -> None:
    """Scroll by shift (columns, rows), decay by keep, add a frame by weight; out: HIT and HELD -> what is published."""
    rows, columns = log_odds.shape
    hit, miss = np.float32(_HIT * weight), np.float32(_MISS * weight)
    for row in range(rows):
        y = row + 0.5 - vehicle[1]
        for column in range(columns):
            odds, cost = np.float32(0), np.int8(-1)
            old_row, old_column = row + shift[1], column + shift[0]
            if 0 <= old_row < rows and 0 <= old_column < columns:
                odds, cost = log_odds[old_row, old_column] * np.float32(keep), costs[old_row, old_column]
            x = column + 0.5 - vehicle[0]
            ahead = turn[0] * x + turn[1] * y - origin[0]
            left = turn[0] * y - turn[1] * x - origin[1]
            mark = out[row, column]
            if mark == HIT:
                odds = min(odds + hit, np.float32(_MOST))
            elif 0 <= ahead < frame.shape[1] and 0 <= left < frame.shape[0]:
                seen = frame[int(left), int(ahead)]
                if 0 <= seen < OBSTACLE:
                    odds, cost = max(odds + miss, np.float32(_LEAST)), seen
                elif seen >= OBSTACLE:
                    # No middle of the obstacle's cell falls here, but a part of it does: what was free is so no more.
                    odds = max(odds, np.float32(0))
            if abs(odds) < _FORGOTTEN:
                odds = np.float32(0)
            next_log_odds[row, column], next_costs[row, column] = odds, cost
            out[row, column] = OBSTACLE if mark != 0 or odds >= _SURE else cost if odds <= -_SURE else -1
