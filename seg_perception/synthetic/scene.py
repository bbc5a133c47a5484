"""Random single roads with exact labels, as varied as possible: they teach the network."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from seg_perception.camera_model import CameraPose
from seg_perception.synthetic import scenery
from seg_perception.synthetic.canvas import MAX_OBJECTS, Canvas, Floats, View
from seg_perception.synthetic.classes import TERRAIN
from seg_perception.synthetic.motorway import paint_country_road, paint_motorway, paint_tunnel
from seg_perception.synthetic.objects import Look, paint_bicyclist, paint_pedestrian
from seg_perception.synthetic.roadside import Thing, add_streaks, concrete_barrier, grass, guard_rail, solid_wall
from seg_perception.synthetic.street import Bend
from seg_perception.synthetic.traffic import lane_traffic, vehicle
from seg_perception.synthetic.weather import Weather, random_weather

_STREETS = 0.57
"""Share of streets; motorways, country roads and tunnels follow."""


def random_scene(
    rng: np.random.Generator, height: int, width: int, is_open: bool = False
) -> tuple[NDArray[np.uint8], NDArray[np.uint8], NDArray[np.uint16]]:
    """One road as varied as possible in kind, camera, light, weather and traffic. is_open: no street between houses.

    Returns the picture uint8 [H, W, 3] RGB, the semantic mask uint8 [H, W] (CAMVID ids and those of classes.FINER, no
    void) and the instance mask uint16 [H, W], 1..n on things and 0 elsewhere. The same rng state gives the same scene.
    """
    weather, kind = random_weather(rng), rng.uniform(_STREETS if is_open else 0.0, 1.0)
    inside = kind > 0.97
    if inside:
        weather = Weather(night=rng.uniform(0.2, 0.6), dirt=weather.dirt)
    is_street = kind < _STREETS
    view = _random_view(rng, height, width)
    haze = 10 ** rng.uniform(-3.5, -1.9)
    canvas = Canvas(height, width, view, haze, np.clip(rng.uniform(150, 245) + rng.normal(0, 8, 3), 0, 255))
    weather.prepare(canvas, reach_m=rng.uniform(10, 30))
    sun = _sun(rng, weather)
    scenery.paint_sky(canvas, rng)
    weather.dim_sky(canvas)
    if rng.random() < 0.8:
        scenery.paint_backdrop(canvas, rng, rng.uniform(70, 200))
    things = _street(canvas, rng, sun) if is_street else _open_road(canvas, rng, sun, kind)
    order = sorted(range(len(things)), key=lambda i: -things[i][0])
    for object_id, i in enumerate(order[-MAX_OBJECTS:], start=1):
        things[i][1](object_id)
    scenery.add_texture(canvas, rng)
    scenery.add_growth(canvas, rng, grass(rng))
    add_streaks(canvas.rgb, canvas.codes, rng)
    weather.apply(canvas, rng)
    semantic, instance = canvas.labels()
    return scenery.expose(canvas.rgb, rng), semantic, instance


def _sun(rng: np.random.Generator, weather: Weather) -> Floats:
    """Where light comes from: unit vector [3]."""
    sun = rng.normal(0, 1, 3)
    sun[2] = 0.35 * float(np.hypot(*sun[:2])) if weather.sun else abs(sun[2]) + 0.5
    result: Floats = sun / np.linalg.norm(sun)
    return result


def _street(canvas: Canvas, rng: np.random.Generator, sun: Floats) -> list[Thing]:
    """A street between houses: paints the ground and what closes it, returns the rest."""
    road = rng.uniform(2.2, 7.5), rng.uniform(2.2, 7.5)
    right, left, walk = -road[0], road[1], rng.uniform(1.0, 5.0)
    scenery.paint_ground(canvas, rng, right, left, walk, 300.0)
    for kerb, out in ((right, -1.0), (left, 1.0)):
        if rng.random() < 0.25:
            _paint_grass_strip(canvas, rng, kerb, out, walk)
    _paint_ground_shadows(canvas, rng)
    scenery.add_ground_texture(canvas, rng, rng.uniform(2, 12), 40.0)
    for side in (right - walk, left + walk):
        _paint_frontage(canvas, rng, side, sun)
    things = _furniture(canvas, rng, right, left, walk) + _traffic(canvas, rng, right, left, walk, sun)
    for kerb, out in ((right, -1.0), (left, 1.0)):
        if rng.random() < 0.25:
            things += _barrier(canvas, rng, kerb, out, walk, sun)
    return things


def _paint_grass_strip(canvas: Canvas, rng: np.random.Generator, kerb: float, out: float, walk: float) -> None:
    """Grass instead of paving behind the kerb, or all the way to the houses and beyond."""
    a, b = sorted((rng.uniform(0.15, walk), rng.uniform(0.15, walk) if rng.random() < 0.5 else 60.0))
    start = rng.uniform(-3, 20)
    strip = scenery.rectangle(start, start + rng.uniform(15, 200), kerb + out * a, kerb + out * b)
    canvas.paint(strip, grass(rng), TERRAIN)


def _barrier(
    canvas: Canvas, rng: np.random.Generator, kerb: float, out: float, walk: float, sun: Floats
) -> list[Thing]:
    """What keeps traffic off a pavement, or a garden's wall behind it."""
    start, kind = rng.uniform(-3, 40), rng.random()
    end = start + rng.uniform(5, 80)
    if kind < 0.35:
        return guard_rail(canvas, rng, kerb + out * 0.3, start, end, np.full(3, rng.uniform(70, 160)))
    if kind < 0.65:
        return concrete_barrier(canvas, rng, kerb + out * rng.uniform(-1.2, 0.4), start, end, sun)
    return solid_wall(canvas, rng, kerb + out * walk * 0.97, start, end, sun)


def _open_road(canvas: Canvas, rng: np.random.Generator, sun: Floats, kind: float) -> list[Thing]:
    """A motorway, a country road or a tunnel, straight or bent: paints the ground, returns the rest."""
    bend = Bend(rng.uniform(-0.006, 0.006) if rng.random() < 0.45 else 0.0, longest_edge_m=3.0)
    if kind < 0.79:
        road, things = paint_motorway(canvas, bend, rng, sun)
    elif kind < 0.95:
        road, things = paint_country_road(canvas, bend, rng, sun)
    else:
        road, things = paint_tunnel(canvas, bend, rng, inside=kind > 0.97)
    if rng.random() < 0.5:
        _paint_ground_shadows(canvas, rng)
    scenery.add_ground_texture(canvas, rng, rng.uniform(2, 12), 60.0, wide=24.0)
    things += lane_traffic(canvas, bend, rng, road.lanes, sun)
    if rng.random() < 0.3:
        parked = road.right + rng.uniform(0.8, 1.6)
        things += vehicle(canvas, bend, rng, rng.uniform(8, 60), parked, rng.normal(0, 0.05), sun)
    return things


def _random_view(rng: np.random.Generator, height: int, width: int) -> View:
    focal = width * rng.uniform(0.6, 1.5)
    center = (width - 1) / 2 + rng.normal(0, 0.02) * width, (height - 1) / 2 + rng.normal(0, 0.03) * height
    camera = np.array(((focal, 0, center[0]), (0, focal, center[1]), (0, 0, 1.0)))
    roll, pitch, yaw = rng.normal(0, 0.02), rng.normal(0.02, 0.05), rng.normal(0, 0.12)
    pose = CameraPose(0.0, rng.normal(0, 0.4), rng.uniform(1.0, 2.3), roll, pitch, yaw)
    return View.camera(camera, pose.base_from_optical(), np.array((pose.x, pose.y, pose.z)))


def _paint_ground_shadows(canvas: Canvas, rng: np.random.Generator) -> None:
    if rng.random() < 0.5:
        return
    factor = rng.uniform(0.4, 0.8)
    for _ in range(int(rng.integers(1, 5))):
        x, y, slant = rng.uniform(2, 40), rng.uniform(-8, 8), rng.normal(0, 2)
        long, wide = rng.uniform(0.5, 12), rng.uniform(2, 14)
        near, far = ((x, y, 0.0), (x + long, y, 0.0)), ((x + long + slant, y + wide, 0.0), (x + slant, y + wide, 0.0))
        canvas.shade_ground(np.array(near + far), factor)


def _paint_frontage(canvas: Canvas, rng: np.random.Generator, y: float, sun: Floats) -> None:
    """What closes the street on one side, from far to near: houses, gaps with fences and hedges."""
    setback = 0.0 if rng.random() < 0.6 else rng.uniform(2, 14)
    open_side = rng.random() < 0.2
    edges = [-12.0]
    while edges[-1] < 130:
        edges.append(edges[-1] + rng.uniform(5, 22))
    out = 1.0 if y > 0 else -1.0
    for x0, x1 in zip(edges[-2::-1], edges[:0:-1]):
        kind = rng.random()
        if kind < (0.15 if open_side else 0.85):
            scenery.paint_house(canvas, rng, x0, x1, y + out * setback, rng.uniform(3.5, 14), sun)
        if setback > 0 or kind > 0.85 or open_side:
            if rng.random() < 0.5:
                scenery.paint_tree(canvas, rng, rng.uniform(max(x0, 6), max(x1, 7)), y + out * rng.uniform(1, 6))
            if rng.random() < 0.6:
                paint = scenery.paint_fence if rng.random() < 0.55 else scenery.paint_hedge
                paint(canvas, rng, x0, x1, y + out * 0.3)


def _furniture(canvas: Canvas, rng: np.random.Generator, right: float, left: float, walk: float) -> list[Thing]:
    """Poles, signs and trees on the pavements, as (distance, painter)."""
    things: list[Thing] = []
    painters = (scenery.paint_pole, scenery.paint_sign, scenery.paint_tree)
    for kerb, out in ((right, -1), (left, 1)):
        for paint, most in zip(painters, (7, 4, 5)):
            for _ in range(int(rng.integers(0, most))):
                x, y = rng.uniform(5, 70), kerb + out * rng.uniform(0.2, min(walk, 1.2))
                seed = Look(int(rng.integers(1 << 31)))
                things.append((x, lambda _, p=paint, x=x, y=y, s=seed: p(canvas, s.rng(), x, y)))  # type: ignore[misc]
    return things


def _traffic(
    canvas: Canvas, rng: np.random.Generator, right: float, left: float, walk: float, sun: Floats
) -> list[Thing]:
    """Cars, people and bicyclists, as (distance, painter)."""
    things: list[Thing] = []

    straight = Bend(0.0)

    def car(x: float, y: float, yaw: float) -> None:
        things.extend(vehicle(canvas, straight, rng, x, y, yaw, sun))

    for kerb, inward in ((right, 1), (left, -1)):
        if rng.random() < 0.55:
            x, gap, way = rng.uniform(2, 20), rng.uniform(4.7, 7.5), (0.0 if rng.random() < 0.6 else np.pi)
            for _ in range(int(rng.integers(2, 14))):
                car(x, kerb + inward * rng.uniform(0.9, 1.1), way + rng.normal(0, 0.03))
                x += gap + rng.exponential(1.0)
    for _ in range(int(rng.integers(0, 6))):
        oncoming = rng.random() < 0.5
        y = rng.uniform(0, left - 1.0) if oncoming else rng.uniform(right + 1.0, 0.5)
        car(float(np.exp(rng.uniform(1.7, 4.3))), y, (np.pi if oncoming else 0.0) + rng.normal(0, 0.06))
    for _ in range(int(rng.integers(0, 3))):
        car(rng.uniform(7, 45), rng.uniform(-12, 12), rng.uniform(-np.pi, np.pi))
    for _ in range(int(rng.integers(0, 9))):
        x, y = float(np.exp(rng.uniform(1.4, 3.9))), rng.uniform(right - walk, left + walk)
        if rng.random() < 0.75:
            y = right - rng.uniform(0.2, walk) if rng.random() < 0.5 else left + rng.uniform(0.2, walk)
        for _ in range(1 + int(rng.random() < 0.3)):
            look, phase = Look(int(rng.integers(1 << 31))), rng.uniform(0, 6.3)
            things.append((x, lambda n, x=x, y=y, k=look, f=phase: paint_pedestrian(canvas, x, y, k, f, n)))  # type: ignore[misc]
            x, y = x + rng.normal(0, 0.4) + 0.05, y + rng.normal(0, 0.5)
    for _ in range(int(rng.integers(0, 5))):
        x, y = float(np.exp(rng.uniform(1.5, 3.7))), rng.uniform(right + 0.3, left - 0.3)
        look, phase, side = Look(int(rng.integers(1 << 31))), rng.uniform(0, 6.3), bool(rng.random() < 0.4)
        things.append((x, lambda n, x=x, y=y, k=look, f=phase, s=side: paint_bicyclist(canvas, x, y, k, f, s, n)))  # type: ignore[misc]
    return [(x, painter) for x, painter in things if x > 1.5]
