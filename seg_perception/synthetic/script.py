"""Who moves where in a drive that tracking is judged by: paths, actors, and what happens in each of ten drives."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from seg_perception.synthetic.lorries import bus_size, lorry_size
from seg_perception.synthetic.objects import Look, car_shape
from seg_perception.synthetic.weather import FAIR, Weather

Kind = Literal["car", "lorry", "bus", "pedestrian", "bicyclist"]
_LONGEST_CAR_M = 6.0
"""Buses drive as such."""
STRAIGHT_ON = 1e-3
"""Speed in m/s below which who moves keeps the way that he faced."""


class Path:
    """A smooth way through points at times, which never swings back where they do not: a cubic with the slopes of
    Fritsch & Butland (SIAM J. Sci. Stat. Comput. 1984) on each axis, so who is at one point twice stands still between.
    Before its first and after its last point it goes straight on.

    times: s, rising, [N >= 2]; points: m in the world, [N, 2].
    """

    def __init__(self, times: list[float], points: list[tuple[float, float]]) -> None:
        self._times, self._points = np.array(times), np.array(points, float)
        long = np.diff(self._times)[:, None]
        steps = np.diff(self._points, axis=0) / long
        before, after = steps[:-1], steps[1:]
        w, v = 2 * long[1:] + long[:-1], long[1:] + 2 * long[:-1]
        same_way = before * after > 0
        total = np.where(same_way, w * after + v * before, 1.0)
        inner = np.where(same_way, (w + v) * before * after / total, 0.0)
        self._speeds = np.vstack((steps[:1], inner, steps[-1:]))

    def at(self, seconds: float) -> tuple[float, float, float, float]:
        """x, y in m and their speeds in m/s."""
        times = self._times
        if seconds <= times[0] or seconds >= times[-1]:
            end = 0 if seconds <= times[0] else -1
            x, y = (self._points[end] + self._speeds[end] * (seconds - times[end])).tolist()
            return x, y, float(self._speeds[end, 0]), float(self._speeds[end, 1])
        n = int(np.searchsorted(times, seconds, side="right")) - 1
        long = times[n + 1] - times[n]
        s = (seconds - times[n]) / long
        p, q, u, v = self._points[n], self._points[n + 1], self._speeds[n] * long, self._speeds[n + 1] * long
        place = (
            p * (2 * s**3 - 3 * s**2 + 1) + u * (s**3 - 2 * s**2 + s) + q * (3 * s**2 - 2 * s**3) + v * (s**3 - s**2)
        )
        speed = (p - q) * (6 * s**2 - 6 * s) + u * (3 * s**2 - 4 * s + 1) + v * (3 * s**2 - 2 * s)
        (x, y), (vx, vy) = place.tolist(), (speed / long).tolist()
        return x, y, vx, vy


@dataclass(frozen=True)
class Actor:
    """Who moves, or stands. number: his id, from 1. yaw: where he faces while he stands, in rad, 0 = along x."""

    number: int
    kind: Kind
    path: Path
    look: Look
    yaw: float = 0.0

    @cached_property
    def size_m(self) -> tuple[float, float]:
        """Length and width."""
        if self.kind == "car":
            shape = car_shape(self.look)
            return shape.length_m, shape.width_m
        if self.kind in ("lorry", "bus"):
            return (lorry_size if self.kind == "lorry" else bus_size)(self.look)
        return (0.5, 0.5) if self.kind == "pedestrian" else (1.7, 0.6)

    def heading(self, vx: float, vy: float) -> float:
        """Where he faces at this speed."""
        return math.atan2(vy, vx) if math.hypot(vx, vy) > STRAIGHT_ON else self.yaw


@dataclass(frozen=True)
class Scene:
    """One drive's script. ego: the camera's way; junction_m: where a street crosses, or None; is_motorway: lanes between
    barriers instead of a street; works_m: from where to where a barrier stands at the right kerb; shake: how much the
    camera shakes, 1 = as on a bad road."""

    ego: Path
    actors: tuple[Actor, ...]
    junction_m: float | None = None
    is_motorway: bool = False
    works_m: tuple[float, float] | None = None
    weather: Weather = FAIR
    shake: float = 0.0


class _Cast:
    """Gives numbers and looks to who appears."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng((77, seed))
        self.actors: list[Actor] = []

    def add(self, kind: Kind, times: list[float], points: list[tuple[float, float]], yaw: float = 0.0) -> None:
        look = Look(int(self.rng.integers(1 << 31)))
        while kind == "car" and car_shape(look).length_m > _LONGEST_CAR_M:
            look = Look(int(self.rng.integers(1 << 31)))
        self.actors.append(Actor(len(self.actors) + 1, kind, Path(times, points), look, yaw))

    def stand(self, kind: Kind, x: float, y: float, yaw: float = 0.0) -> None:
        """Someone who never moves."""
        self.add(kind, [0.0, 1.0], [(x, y), (x, y)], yaw)

    def drive(self, kind: Kind, x: float, y: float, speed: float, start: float = 0.0) -> None:
        """Someone who goes along the street at one speed, at x at the time start."""
        self.add(kind, [start, start + 1.0], [(x, y), (x + speed, y)])


def _street_life(cast: _Cast, right: float, left: float, long_m: float, has_bicyclist: bool = True) -> None:
    """Cars parked on the left with two wheels on the pavement, a bicyclist at the kerb, walkers who pass each other."""
    rng = cast.rng
    for x in np.arange(12.0, long_m, 8.0):
        if rng.random() < 0.45:
            cast.stand("car", float(x + rng.uniform(-0.4, 0.4)), left - 0.3, math.pi)
    if has_bicyclist:
        cast.drive("bicyclist", 18.0, right + 0.4, rng.uniform(3.5, 5.0))
    for side, kerb in ((-1, right), (1, left)):
        for x in rng.uniform(8, long_m, 4):
            way = 1 if rng.random() < 0.5 else -1
            y = kerb + side * rng.uniform(0.9, 1.7)
            cast.drive("pedestrian", float(x), y, way * rng.uniform(0.9, 1.6))


def _oncoming(cast: _Cast, y: float, first_m: float, count: int, speed: float = 10.0) -> None:
    for number in range(count):
        kind: Kind = "car" if cast.rng.random() < 0.75 else "lorry"
        cast.drive(kind, first_m + 38.0 * number + cast.rng.uniform(-6, 6), y, -speed)


def crossing(seed: int, right: float, left: float) -> Scene:
    """The camera stops before a junction: two cars cross and meet, walkers cross, one of them turns round."""
    cast, at = _Cast(seed), 62.0
    rng = cast.rng
    ego = Path([0, 2.5, 5.0, 8.5, 10.0], [(0, 0), (22, 0), (38, 0), (38, 0), (44, 0)])
    _street_life(cast, right, left, 46.0, has_bicyclist=False)
    cast.add("bicyclist", [0, 4, 6, 10], [(x, right + 0.4) for x in (18, 43, 49, 49)])
    for start, side, y in ((rng.uniform(1.0, 1.8), 1.0, -1.7), (rng.uniform(1.0, 1.8), -1.0, 1.7)):
        speed = rng.uniform(7.5, 9.0)
        cast.add("car", [start, start + 8], [(at + y, -side * 30), (at + y, -side * 30 + side * speed * 8)])
    cast.add("lorry", [4.0, 12.0], [(at - 1.8, -34.0), (at - 1.8, 14.0)])
    walk, side = at - 9.0, left + 1.0
    cast.add("pedestrian", [2.0, 9.0], [(walk, right - 1.5), (walk, left + 2.0)])
    turn = [(walk + 0.8, y) for y in (side, 1.2, 1.2, side + 1)]
    cast.add("pedestrian", [3.0, 5.5, 6.0, 9.0], turn)
    cast.add("pedestrian", [4.0, 10.0], [(walk + 0.5, left + 1.5), (walk + 0.3, right - 1.0)])
    return Scene(ego, tuple(cast.actors), at)


def overtaking(seed: int, right: float, left: float) -> Scene:
    """Cars overtake the camera and come in before it, others come towards it, the one ahead brakes to a stop."""
    cast = _Cast(seed)
    lane = (left + right) / 2 + 1.1
    ego = Path([0, 4, 7.5, 10], [(0, 0), (34, 0), (44, 0), (46, 0)])
    cast.add("car", [0, 3, 5.5, 10], [(24, 0), (50, 0), (62, 0), (62, 0)])
    cast.add("car", [0, 1.5, 3.0, 4.5, 10], [(-9, lane), (12, lane), (34, lane * 0.6), (49, 0.1), (55, 0)])
    _street_life(cast, right, left, 80.0)
    _oncoming(cast, lane, 105.0, 4)
    return Scene(ego, tuple(cast.actors), works_m=(24.0, 42.0))


def hidden(seed: int, right: float, left: float) -> Scene:
    """A bus stops at the kerb and hides walkers; one steps out before it, turns and goes back; a car passes between."""
    cast = _Cast(seed)
    rng, lane = cast.rng, (left + right) / 2 + 1.2
    ego = Path([0, 3, 6, 8, 10], [(0, 0), (12, 0), (17, 0), (17, 0), (22, 0)])
    lay_by = right + 0.8
    cast.add("bus", [0, 3, 8, 10, 12], [(x, lay_by) for x in (22, 41, 41, 46, 60)])
    for start, x in ((4.0, 49.5), (4.8, 50.3)):
        turn = rng.uniform(0.9, 1.4)
        times = [start + after for after in (-3.0, 0.0, 2.2, 2.8, 5.5)]
        cast.add("pedestrian", times, [(x, y) for y in (right - 2.0, right - 1.0, turn, turn, right - 2.2)])
    cast.add("pedestrian", [0, 10], [(35.0, right - 1.0), (49.0, right - 1.2)])
    _street_life(cast, right, left, 70.0, has_bicyclist=False)
    _oncoming(cast, lane, 45.0, 5, rng.uniform(7, 10))
    return Scene(ego, tuple(cast.actors))


def motorway(seed: int, right: float, left: float) -> Scene:
    """Three lanes at 25 m/s: trucks on the right, cars that overtake on the left and change lanes, a jam's end ahead."""
    del right, left
    cast = _Cast(seed)
    rng = cast.rng
    ego = Path([0, 6, 10], [(0, 0), (150, 0), (230, 0)])
    for x in (28.0, 75.0):
        cast.drive("lorry" if rng.random() < 0.7 else "bus", x + rng.uniform(-4, 4), -3.6, rng.uniform(20, 22.5))
    cast.drive("car", 40.0, 0.0, rng.uniform(22, 24))
    cast.add("car", [0, 2, 4, 6, 10], [(-14, 3.6), (46, 3.6), (104, 3.4), (160, 0.3), (250, 0.0)])
    cast.add("car", [0, 3, 5, 10], [(52, -3.6), (120, -3.2), (170, -0.1), (292, 0.0)])
    cast.drive("car", -75.0, 3.6, rng.uniform(31, 34))
    for number in range(6):
        kind: Kind = "car" if rng.random() < 0.7 else "lorry"
        cast.drive(kind, 60.0 + 75 * number + rng.uniform(-15, 15), 9.4 + 3.6 * (number % 2), -rng.uniform(22, 28))
    return Scene(ego, tuple(cast.actors), is_motorway=True)


_NIGHT, _RAIN, _BOTH = Weather(night=0.8), Weather(rain=0.7), Weather(night=0.75, rain=0.6)
_PLAYS = (
    (crossing, FAIR, 0.0),
    (overtaking, FAIR, 0.3),
    (hidden, FAIR, 0.3),
    (motorway, FAIR, 0.3),
    (crossing, _NIGHT, 0.2),
    (overtaking, _RAIN, 0.5),
    (hidden, _BOTH, 0.3),
    (motorway, _RAIN, 1.0),
    (crossing, Weather(fog=0.012), 1.0),
    (motorway, _NIGHT, 0.5),
)
DRIVES = len(_PLAYS)


def scene_of(number: int, right: float, left: float) -> Scene:
    """The script of drive 0 to DRIVES - 1 in a street between kerbs at y = right and left."""
    play, weather, shake = _PLAYS[number]
    return replace(play(number, right, left), weather=weather, shake=shake)


def shaken(shake: float, seconds: float) -> NDArray[np.float64]:
    """How far the camera is moved: up in m, roll, pitch and yaw in rad; smooth, without a period within a drive."""
    t = seconds * 2 * math.pi
    slow, fast = np.array((1.1, 0.9, 1.3, 0.7)), np.array((7.3, 6.1, 8.7, 5.3))
    sway = np.sin(t * slow + (0, 1, 2, 3)) + 0.4 * np.sin(t * fast + (3, 1, 4, 1))
    return np.array((0.02, 0.006, 0.010, 0.004)) * shake * sway
