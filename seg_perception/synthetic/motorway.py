"""Roads without pavements: motorways, country roads and tunnels, with what stands along them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from seg_perception.synthetic import roadside, scenery
from seg_perception.synthetic.canvas import Canvas, Floats
from seg_perception.synthetic.classes import RAIL, TERRAIN
from seg_perception.synthetic.objects import BUILDING, POLE, SIGN
from seg_perception.synthetic.roadside import NEAREST_M, Thing, still
from seg_perception.synthetic.scenery import ROAD, rectangle, wall
from seg_perception.synthetic.street import Bend
from seg_perception.synthetic.traffic import Lane

FAR_M = 260.0


@dataclass(frozen=True)
class Road:
    """Where traffic goes. right, left: edges of the asphalt in m to the left of the camera's way; lanes."""

    right: float
    left: float
    lanes: tuple[Lane, ...]


def _asphalt(rng: np.random.Generator) -> Floats:
    if rng.random() < 0.2:  # concrete
        return np.array((172.0, 166, 152)) * rng.uniform(0.75, 1.15)
    return np.full(3, rng.uniform(48, 150)) + rng.normal(0, 4, 3)


def paint_motorway(canvas: Canvas, bend: Bend, rng: np.random.Generator, sun: Floats) -> tuple[Road, list[Thing]]:
    """Several lanes each way, hard shoulders, what parts the carriageways; returns where traffic goes and what is left to
    paint."""
    surface, things = bend.over(canvas), []
    count, wide = int(rng.integers(2, 6)), rng.uniform(3.3, 3.8)
    own = int(rng.integers(0, count))
    first = -wide * (own + 0.5)  # right edge of the rightmost lane
    shoulder = rng.uniform(1.8, 3.6) if rng.random() < 0.75 else rng.uniform(0.2, 1.0)
    inner = rng.uniform(0.3, 2.8)
    right, left = first - shoulder, first + count * wide + inner
    asphalt = _asphalt(rng)
    median = rng.uniform(0.7, 2.0) if (narrow := rng.random() < 0.6) else rng.uniform(2.5, 14)
    other_count = int(rng.integers(2, 6))
    other_first = left + median + rng.uniform(0.3, 2.5)
    other_left = other_first + other_count * wide + rng.uniform(0.5, 3.0)
    height_right = roadside.verge(surface, rng, right, -1.0, FAR_M)
    height_left = roadside.verge(surface, rng, other_left, 1.0, FAR_M)
    ground = roadside.grass(rng)
    surface.paint(
        rectangle(NEAREST_M, FAR_M, left, left + median),
        asphalt * 0.9 if narrow else ground,
        ROAD if narrow else TERRAIN,
    )
    surface.paint(rectangle(NEAREST_M, FAR_M, left + median, other_left), asphalt * rng.uniform(0.92, 1.08), ROAD)
    surface.paint(rectangle(NEAREST_M, FAR_M, right, left), asphalt, ROAD)
    if rng.random() < 0.5:
        surface.paint(rectangle(NEAREST_M, FAR_M, right, first - 0.2), asphalt * rng.uniform(0.8, 1.25), ROAD)
    _paint_lines(canvas, bend, rng, first, wide, count)
    _paint_lines(canvas, bend, rng, other_first, wide, other_count)
    if rng.random() < 0.25:
        roadside.kerb(surface, rng, right, -1.0, FAR_M)
    things += _median(canvas, bend, rng, left, median, narrow, sun, asphalt if narrow else ground)
    things += _side(canvas, bend, rng, right, -1.0, height_right, sun, ground)
    things += _side(canvas, bend, rng, other_left, 1.0, height_left, sun, ground)
    things += _overhead(canvas, bend, rng, right, other_left)
    lanes = [Lane(first + (i + 0.5) * wide, 0.0) for i in range(count)]
    lanes += [Lane(other_first + (i + 0.5) * wide, np.pi) for i in range(other_count)]
    return Road(right, left, tuple(lanes)), things


def paint_country_road(canvas: Canvas, bend: Bend, rng: np.random.Generator, sun: Floats) -> tuple[Road, list[Thing]]:
    """Two lanes, or one, between grass, earth, hedges, trees and rails; returns as paint_motorway."""
    surface = bend.over(canvas)
    wide = rng.uniform(2.6, 3.7)
    right, left = -rng.uniform(1.4, wide - 0.6), rng.uniform(wide + 0.8, 2 * wide)
    if rng.random() < 0.15:
        left = rng.uniform(1.5, 2.6)
    asphalt = _asphalt(rng)
    heights = roadside.verge(surface, rng, right, -1.0, FAR_M), roadside.verge(surface, rng, left, 1.0, FAR_M)
    surface.paint(rectangle(NEAREST_M, FAR_M, right, left), asphalt, ROAD)
    paint = np.array((222.0, 222, 216)) * rng.uniform(0.65, 1.05)
    if rng.random() < 0.7:
        for y in (right + rng.uniform(0.1, 0.4), left - rng.uniform(0.1, 0.4)):
            surface.paint(rectangle(NEAREST_M, 150, y, y + 0.12), paint, ROAD)
    if rng.random() < 0.7 and left > 3:
        _paint_dashes(canvas, bend, rng, (right + left) / 2, paint)
    things: list[Thing] = []
    for y, out, height in ((right, -1.0, heights[0]), (left, 1.0, heights[1])):
        if rng.random() < 0.15:
            roadside.kerb(surface, rng, y, out, FAR_M)
        things += _side(canvas, bend, rng, y, out, height, sun, roadside.grass(rng))
    return Road(
        right, left, (Lane(0.0, 0.0), Lane((right + left) / 2 + wide / 2, np.pi)) if left > 3 else (Lane(0.0, 0.0),)
    ), things


def paint_tunnel(canvas: Canvas, bend: Bend, rng: np.random.Generator, inside: bool) -> tuple[Road, list[Thing]]:
    """A tunnel, seen from inside or from before its portal; returns as paint_motorway."""
    surface = bend.over(canvas)
    count, wide = int(rng.integers(1, 4)), rng.uniform(3.2, 3.8)
    right = -wide * (int(rng.integers(0, count)) + 0.5) - rng.uniform(0.3, 1.5)
    left = right + count * wide + rng.uniform(0.6, 3.0)
    asphalt, tall = _asphalt(rng), rng.uniform(4.2, 6.5)
    start = NEAREST_M if inside else rng.uniform(18, 70)
    end = min(start + rng.uniform(60, 350), FAR_M)
    for y, out in ((right - 0.8, -1.0), (left + 0.8, 1.0)):
        roadside.verge(surface, rng, y, out, FAR_M)
    surface.paint(
        rectangle(NEAREST_M, FAR_M, right - 0.8, left + 0.8), asphalt * rng.uniform(0.8, 1.2), scenery.PAVEMENT
    )
    surface.paint(rectangle(NEAREST_M, FAR_M, right, left), asphalt, ROAD)
    _paint_lines(canvas, bend, rng, right + 0.3, wide, count)
    lit = rng.uniform(0.6, 1.1) if inside else rng.uniform(0.1, 0.45)
    tiles = scenery.earthy(rng) * 0.4 + 110
    if end >= FAR_M:
        canvas.paint(wall(FAR_M - 1, right - 0.8, FAR_M - 1, left + 0.8, 0, tall), tiles * lit * 0.5, BUILDING)
    ceiling = rectangle(start, end, right - 0.8, left + 0.8, tall)
    surface.paint(ceiling, tiles * lit * 0.55, BUILDING)
    for x0, x1 in roadside.parts(start, end, 8.0)[::-1]:
        for y in (right - 0.8, left + 0.8):
            surface.paint(wall(x0, y, x1, y, 0, tall), tiles * lit * rng.uniform(0.9, 1.1), BUILDING)
            surface.paint(wall(x0, y, x1, y, 0, 1.1), tiles * lit * 0.6, BUILDING)
    _paint_tunnel_lamps(canvas, bend, rng, (right + left) / 2, tall, start, end)
    if not inside:
        canvas.shade_ground(rectangle(start, end, right - 0.8, left + 0.8), lit)
        _paint_portal(canvas, rng, start, right - 0.8, left + 0.8, tall)
    lanes = [Lane(right + 0.3 + (i + 0.5) * wide, 0.0) for i in range(count)]
    return Road(right, left, tuple(lanes)), []


def _paint_tunnel_lamps(
    canvas: Canvas, bend: Bend, rng: np.random.Generator, middle: float, tall: float, start: float, end: float
) -> None:
    light = np.array((255.0, rng.uniform(200, 250), rng.uniform(120, 235)))
    for y in (middle,) if rng.random() < 0.5 else (middle - 1.6, middle + 1.6):
        at = np.arange(max(start, 1.0) + 1.0, min(end, 140.0), rng.uniform(4, 12))
        if len(at):
            lamps = np.stack([rectangle(x, x + 1.2, y - 0.15, y + 0.15, tall - 0.05) for x in at])
            bend.over(canvas).paint_many(lamps, light, BUILDING)


def _paint_portal(canvas: Canvas, rng: np.random.Generator, x: float, right: float, left: float, tall: float) -> None:
    stone, top = scenery.earthy(rng), tall + rng.uniform(1, 6)
    for y0, y1, z0 in ((right - 40, right, 0.0), (left, left + 40, 0.0), (right, left, tall)):
        canvas.paint(wall(x, y0, x, y1, z0, top), stone, BUILDING)


def _paint_lines(canvas: Canvas, bend: Bend, rng: np.random.Generator, first: float, wide: float, count: int) -> None:
    """Edge lines, dashes between the lanes."""
    surface, paint = bend.over(canvas), np.array((226.0, 226, 220)) * rng.uniform(0.6, 1.05)
    yellow = np.array((205.0, 165, 55)) if rng.random() < 0.4 else paint
    for y, color in ((first, paint), (first + count * wide, yellow)):
        surface.paint(rectangle(NEAREST_M, 180, y - 0.08, y + 0.08), color, ROAD)
    for i in range(1, count):
        _paint_dashes(canvas, bend, rng, first + i * wide, paint)


def _paint_dashes(canvas: Canvas, bend: Bend, rng: np.random.Generator, y: float, paint: Floats) -> None:
    long, gap = rng.uniform(2, 6), rng.uniform(4, 12)
    starts = np.arange(1.0 + rng.uniform(0, 12) - 12, 130, long + gap)
    strips = np.stack([rectangle(x, x + long, y - 0.07, y + 0.07) for x in starts])
    bend.over(canvas).paint_many(strips, paint, ROAD)


def _median(
    canvas: Canvas,
    bend: Bend,
    rng: np.random.Generator,
    left: float,
    median: float,
    narrow: bool,
    sun: Floats,
    ground: Floats,
) -> list[Thing]:
    surface, kind = bend.over(canvas), rng.random()
    start = NEAREST_M if rng.random() < 0.8 else rng.uniform(4, 40)
    if narrow:
        y = left + median / 2
        if kind < 0.65:
            return roadside.concrete_barrier(surface, rng, y, start, 200, sun)
        return roadside.guard_rail(surface, rng, y, start, 200, ground)
    things: list[Thing] = []
    if kind < 0.7:
        things += roadside.guard_rail(surface, rng, left + 0.4, start, 200, ground)
        things += roadside.guard_rail(surface, rng, left + median - 0.4, NEAREST_M, 200, ground)
    if kind > 0.5:
        things += roadside.hedge_row(surface, rng, left + median / 2, NEAREST_M, 200)
    return things + _poles(canvas, bend, rng, left + median / 2, rng.uniform(18, 60))


def _side(
    canvas: Canvas,
    bend: Bend,
    rng: np.random.Generator,
    y: float,
    out: float,
    height: Callable[[float], float],
    sun: Floats,
    ground: Floats,
) -> list[Thing]:
    """What stands beside a road, nearest first: a rail or a barrier, posts, a wall or a hedge, trees, fences."""
    surface, things = bend.over(canvas), []
    near = rng.random()
    start = NEAREST_M if rng.random() < 0.55 else rng.uniform(3, 45)
    end = start + rng.uniform(15, 200)
    if near < 0.3:
        things += roadside.guard_rail(surface, rng, y + out * rng.uniform(0.3, 1.2), start, end, ground)
    elif near < 0.5:
        things += roadside.concrete_barrier(surface, rng, y + out * rng.uniform(0.1, 0.6), start, end, sun)
    elif near < 0.65:
        things += roadside.delineators(canvas, bend, rng, y + out * 0.7)
    behind = rng.random()
    start = NEAREST_M if rng.random() < 0.6 else rng.uniform(3, 60)
    end = start + rng.uniform(20, 220)
    if behind < 0.3:
        away = rng.uniform(1.2, 5)
        if height(away) < 0.3:
            things += roadside.solid_wall(
                surface, rng, y + out * away, start, end, sun, is_tall=bool(rng.random() < 0.65)
            )
    elif behind < 0.45:
        things += roadside.hedge_row(surface, rng, y + out * rng.uniform(1.0, 4), start, end)
    elif behind < 0.65:
        away = rng.uniform(2, 14)
        things += roadside.open_fence(surface, rng, y + out * away, height(away), start, end)
    return things + _planted(canvas, bend, rng, y, out, height)


def _planted(
    canvas: Canvas, bend: Bend, rng: np.random.Generator, y: float, out: float, height: Callable[[float], float]
) -> list[Thing]:
    """Trees, lamp posts and signs beside a road."""
    things: list[Thing] = []
    for _ in range(int(rng.integers(0, 9))):
        at, away = float(np.exp(rng.uniform(1.8, 4.8))), rng.uniform(2.0, 22)
        things.append(still(at, scenery.paint_tree, canvas, rng, *bend.place(at, y + out * away)[:2], height(away)))
    if rng.random() < 0.4:
        things += _poles(canvas, bend, rng, y + out * rng.uniform(0.8, 2.5), rng.uniform(15, 60))
    for _ in range(int(rng.integers(0, 3))):
        at, away = float(np.exp(rng.uniform(1.9, 4.4))), rng.uniform(0.8, 3)
        things.append(still(at, scenery.paint_sign, canvas, rng, *bend.place(at, y + out * away)[:2]))
    return things


def _poles(canvas: Canvas, bend: Bend, rng: np.random.Generator, y: float, spacing: float) -> list[Thing]:
    """Lamp posts or the like, all in one row and alike."""
    seed = int(rng.integers(1 << 31))
    return [
        still(at, scenery.paint_pole, canvas, np.random.default_rng(seed), *bend.place(at, y)[:2])
        for at in np.arange(rng.uniform(4, spacing), 120, spacing).tolist()
    ]


def _overhead(canvas: Canvas, bend: Bend, rng: np.random.Generator, right: float, left: float) -> list[Thing]:
    """A gantry with boards, or a bridge."""
    kind, at = rng.random(), float(np.exp(rng.uniform(2.9, 4.7)))
    if kind > 0.4 or bend.curvature:
        return []
    low = rng.uniform(5.0, 6.5)
    if kind > 0.22:
        return [still(at, _paint_bridge, canvas, rng, at, right, left, low)]
    return [still(at, _paint_gantry, canvas, rng, at, right, low)]


def _paint_bridge(canvas: Canvas, rng: np.random.Generator, x: float, right: float, left: float, low: float) -> None:
    color, deep, wide = scenery.earthy(rng), rng.uniform(0.8, 2.0), rng.uniform(6, 14)
    under = rectangle(x, x + wide, right - 60, left + 60, low)
    canvas.paint(under, color * 0.35, BUILDING)
    for y0, y1 in ((right - 60, right - rng.uniform(1, 6)), (left + rng.uniform(1, 6), left + 60)):
        canvas.paint(wall(x, y0, x, y1, 0, low), color * 0.7, BUILDING)
    canvas.paint(wall(x, right - 60, x, left + 60, low, low + deep), color, BUILDING)
    canvas.paint(wall(x, right - 60, x, left + 60, low + deep, low + deep + 1.0), color * 0.8, RAIL)


def _paint_gantry(canvas: Canvas, rng: np.random.Generator, x: float, right: float, low: float) -> None:
    steel = np.full(3, rng.uniform(90, 180))
    a, b = right - rng.uniform(0.8, 2), right + rng.uniform(8, 16)
    for y in (a, b):
        canvas.paint(wall(x, y - 0.18, x, y + 0.18, 0, low + 1.2), steel, POLE)
    canvas.paint(wall(x, a, x, b, low + 0.3, low + 0.9), steel * 0.8, POLE)
    face = np.array(((30.0, 75, 165), (20.0, 105, 60), (235.0, 235, 230))[int(rng.integers(3))])
    y = a + rng.uniform(0.5, 2)
    while y + 2 < b:
        wide = rng.uniform(2, 5)
        canvas.paint(wall(x - 0.3, y, x - 0.3, min(y + wide, b), low - 0.4, low + 1.9), face, SIGN)
        text = 255 - face * 0.4 if face.mean() < 200 else face * 0.2
        for z in (low + 0.3, low + 1.1):
            canvas.paint(wall(x - 0.32, y + 0.4, x - 0.32, min(y + wide * 0.8, b), z, z + 0.35), text, SIGN)
        y += wide + rng.uniform(0.3, 2)
