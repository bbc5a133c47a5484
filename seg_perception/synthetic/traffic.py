"""Vehicles in lanes: cars, vans, trucks and buses at all distances, with the shadows of a low sun."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from seg_perception.synthetic.canvas import Canvas, Floats
from seg_perception.synthetic.lorries import bus_size, lorry_size, paint_bus, paint_lorry
from seg_perception.synthetic.objects import Look, car_shape, paint_car
from seg_perception.synthetic.roadside import Thing
from seg_perception.synthetic.street import Bend

_LONGEST_SHADOW_M = 22.0
_CLEAR_AHEAD_M, _CLEAR_ASIDE_M = 3.0, 0.7
"""What is nearer to the camera would hide nearly everything."""


@dataclass(frozen=True)
class Lane:
    """Its middle in m to the left of the camera's way, and where traffic in it heads: 0 = away from the camera."""

    left: float
    yaw: float


@dataclass(frozen=True)
class Shares:
    """How many of a hundred vehicles are trucks and buses; the rest are cars and vans."""

    lorries: float = 12.0
    buses: float = 6.0


def vehicle(
    canvas: Canvas,
    bend: Bend,
    rng: np.random.Generator,
    along: float,
    left: float,
    yaw: float,
    sun: Floats,
    shares: Shares = Shares(),
) -> list[Thing]:
    """A vehicle in the street, as one thing to paint; none where the camera would stand in it."""
    look, kind = Look(int(rng.integers(1 << 31))), rng.random() * 100
    if kind < shares.lorries:
        (long, wide), tall, paint = lorry_size(look), 3.6, paint_lorry
    elif kind < shares.lorries + shares.buses:
        (long, wide), tall, paint = bus_size(look), 3.2, paint_bus
    else:
        shape = car_shape(look)
        long, wide, tall, paint = shape.length_m, shape.width_m, shape.height_m, paint_car
    x, y, heading = bend.place(along, left)
    reach = abs(np.cos(yaw)) * long / 2 + abs(np.sin(yaw)) * wide / 2
    aside = abs(np.sin(yaw)) * long / 2 + abs(np.cos(yaw)) * wide / 2
    if along < 1.5 or (along - reach < _CLEAR_AHEAD_M and abs(left - canvas.view.position[1]) < aside + _CLEAR_ASIDE_M):
        return []
    cast_shadow(canvas, x, y, reach, aside, tall, sun)
    return [(along, lambda number: paint(canvas, x, y, yaw + heading, look, sun, number))]


def cast_shadow(canvas: Canvas, x: float, y: float, half_x: float, half_y: float, tall: float, sun: Floats) -> None:
    """The long shadow of a box at (x, y), where the sun is low."""
    if sun[2] > 0.45:
        return
    away = -sun[:2] / sun[2] * tall
    away *= min(1.0, _LONGEST_SHADOW_M / float(np.hypot(*away)))
    side = np.array((-away[1], away[0])) / float(np.hypot(*away))
    half = side * (abs(side[0]) * half_x + abs(side[1]) * half_y)
    foot = np.array((x, y))
    corners = np.array((foot - half, foot + half, foot + half * 0.8 + away, foot - half * 0.8 + away))
    canvas.shade_ground(np.column_stack((corners, np.zeros(4))), 0.5)


def lane_traffic(
    canvas: Canvas, bend: Bend, rng: np.random.Generator, lanes: tuple[Lane, ...], sun: Floats
) -> list[Thing]:
    """Traffic in lanes, dense or thin, from near to as far as it is seen."""
    things: list[Thing] = []
    gap = float(np.exp(rng.uniform(2.2, 4.6)))
    for lane in lanes:
        shares = Shares(*((28.0, 8.0) if rng.random() < 0.4 else (8.0, 4.0)))
        along = rng.uniform(2, 12) + rng.exponential(gap) * 0.6
        while along < 200:
            left, yaw = lane.left + rng.normal(0, 0.25), lane.yaw + rng.normal(0, 0.02)
            things += vehicle(canvas, bend, rng, along, left, yaw, sun, shares)
            along += 8 + rng.exponential(gap) + along * 0.05
    return things
