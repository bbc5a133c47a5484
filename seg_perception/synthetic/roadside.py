"""What keeps traffic on a road, and what lies beside it: barriers, rails, walls, kerbs, verges, banks."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import cv2
import numpy as np
from numpy.typing import NDArray

from seg_perception.synthetic.canvas import Canvas, Floats, Surface
from seg_perception.synthetic.classes import RAIL, TERRAIN, WALL
from seg_perception.synthetic.objects import FENCE, POLE, TREE, Billboard
from seg_perception.synthetic.scenery import PAVEMENT, earthy, leafy, rectangle, wall
from seg_perception.synthetic.street import Bend

Thing = tuple[float, Callable[[int], None]]
"""How far it is, and what paints it when all farther things are painted, given the number of its object."""

NEAREST_M = -3.0
_STEP = 1.35
"""A part of a barrier is so much longer than the one before, for what stands before and behind it to be painted in order."""


def still(at: float, paint: Callable[..., None], canvas: Canvas, rng: np.random.Generator, *place: float) -> Thing:
    """What is no object: paint(canvas, numbers of its own, *place) when its turn comes."""
    seed = int(rng.integers(1 << 31))
    return at, lambda _: paint(canvas, np.random.default_rng(seed), *place)


def parts(start: float, end: float, shortest_m: float = 4.0) -> list[tuple[float, float]]:
    """The stretch from start to end in pieces, short ones near the camera."""
    edges = [start]
    while edges[-1] < end:
        edges.append(min(max(edges[-1] * _STEP, edges[-1] + shortest_m), end))
    return list(pairwise(edges))


def _spread(paint: Callable[[float, float], None], start: float, end: float) -> list[Thing]:
    return [(x1, lambda _, x0=x0, x1=x1: paint(x0, x1)) for x0, x1 in parts(start, end)]  # type: ignore[misc]


def _repeated(x0: float, x1: float, step: float, travelled: float = 0.0) -> Floats:
    """From x0 to x1, the multiples of step from a point that lies `travelled` m behind the camera."""
    result: Floats = np.arange(np.ceil((x0 + travelled) / step) * step - travelled, x1, step)
    return result


def concrete_barrier(
    surface: Surface,
    rng: np.random.Generator,
    y: float,
    start: float,
    end: float,
    sun: Floats,
    travelled: float = 0.0,
) -> list[Thing]:
    """A New Jersey barrier along y: a broad foot, a steep face, joints; grey and stained, or red and white at works.
    travelled: how far the camera has come, in m, from where the joints were counted."""
    tall, color = rng.uniform(0.75, 1.15), np.full(3, rng.uniform(95, 205)) + rng.normal(0, 6, 3)
    side = 1.0 if surface.view.position[1] > y else -1.0
    # Half widths at heights of the profile (FHWA-RD-77-3), scaled to this height.
    profile = ((0.30, 0.0), (0.30, 0.075), (0.17, 0.33 * tall), (0.09, tall))
    lit = 0.6 + 0.4 * max(side * sun[1], 0.0)
    shades = (color * lit * 0.72, color * lit * 1.12, color * lit)
    joint, warning = rng.uniform(3, 8), rng.random() < 0.12
    worn = rng.uniform(0.75, 1.0, 64)

    def paint(x0: float, x1: float) -> None:
        fade = worn[int(abs(x0) * 7) % 64]
        for (out0, z0), (out1, z1), shade in zip(profile, profile[1:], shades):
            quad = (
                (x0, y + side * out0, z0),
                (x1, y + side * out0, z0),
                (x1, y + side * out1, z1),
                (x0, y + side * out1, z1),
            )
            surface.paint(np.array(quad), shade * fade, RAIL)
        if surface.view.position[2] > tall:
            top = np.array(((x0, y - 0.09, tall), (x1, y - 0.09, tall), (x1, y + 0.09, tall), (x0, y + 0.09, tall)))
            surface.paint(top, np.minimum(color * 1.15, 250), RAIL)
        if x0 == start > 0:  # its end, across
            half = np.array([(x0, y - out, z) for out, z in profile])
            surface.paint(np.vstack((half, [(x0, y + out, z) for out, z in profile[::-1]])), color * 0.85, RAIL)
        face = y + side * 0.17
        lines = _repeated(x0, min(x1, 90), joint, travelled)
        if warning and len(lines):
            bands = np.stack([wall(x, face, x + joint / 2, y + side * 0.1, 0.33 * tall, tall) for x in lines])
            surface.paint_many(bands, (200.0, 40, 35), RAIL)
        elif len(lines):
            surface.paint_many(np.stack([wall(x, face, x + 0.05, face, 0.02, tall) for x in lines]), color * 0.45, RAIL)

    return _spread(paint, start, end)


def guard_rail(
    surface: Surface,
    rng: np.random.Generator,
    y: float,
    start: float,
    end: float,
    ground: Floats,
    travelled: float = 0.0,
) -> list[Thing]:
    """A steel rail on posts along y; what shows below it is labelled with it, as annotators do. travelled: as above."""
    steel = np.full(3, rng.uniform(105, 205)) + rng.normal(0, 5, 3)
    if rng.random() < 0.2:
        steel = np.array((120.0, 85, 62)) * rng.uniform(0.7, 1.2)
    top, deep, spacing = rng.uniform(0.68, 0.85), rng.uniform(0.28, 0.36), rng.choice((1.33, 2.0, 4.0))
    rails = ((top - deep, top),) if rng.random() < 0.8 else ((top - deep, top), (top + 0.15, top + 0.15 + deep))

    def paint(x0: float, x1: float) -> None:
        surface.paint(wall(x0, y, x1, y, 0, top), ground * 0.72, RAIL)
        posts = _repeated(x0, min(x1, 80), spacing, travelled)
        if len(posts):
            bars = np.stack([wall(x, y, x + 0.12, y, 0, rails[-1][1] - 0.02) for x in posts])
            surface.paint_many(bars, steel * 0.6, RAIL)
        for low, high in rails:
            third = (high - low) / 3
            # The folded profile: light on the ridges, dark in the groove and below.
            for n, shade in enumerate((0.72, 0.88, 1.12)):
                surface.paint(
                    wall(x0, y, x1, y, low + n * third, low + (n + 1) * third), np.minimum(steel * shade, 250), RAIL
                )
            surface.paint(wall(x0, y, x1, y, low + 1.3 * third, low + 1.6 * third), steel * 0.66, RAIL)

    return _spread(paint, start, end)


def solid_wall(
    surface: Surface, rng: np.random.Generator, y: float, start: float, end: float, sun: Floats, is_tall: bool = False
) -> list[Thing]:
    """A wall of stone, brick or concrete along y, or a noise barrier of panels between posts."""
    tall = rng.uniform(2.5, 5.5) if is_tall else rng.uniform(0.7, 2.6)
    side = 1.0 if surface.view.position[1] > y else -1.0
    color = earthy(rng) * (0.6 + 0.4 * max(side * sun[1], 0.0))
    if is_tall and rng.random() < 0.3:
        color = np.array((95.0, 120, 88)) * rng.uniform(0.6, 1.2)
    panel, courses = rng.uniform(2.0, 5.0), int(rng.integers(2, 6))
    shades = rng.uniform(0.85, 1.1, 64)
    capped, grooved = rng.random() < 0.6, rng.random() < 0.7

    def paint(x0: float, x1: float) -> None:
        surface.paint(wall(x0, y, x1, y, 0, tall), color * shades[int(abs(x0) * 5) % 64], WALL)
        if grooved:
            for z in np.linspace(0, tall, courses + 1)[1:-1]:
                surface.paint(wall(x0, y, x1, y, z - 0.025, z + 0.025), color * 0.7, WALL)
        at = _repeated(x0, min(x1, 100), panel)
        if len(at):
            surface.paint_many(
                np.stack([wall(x, y, x + (0.2 if is_tall else 0.06), y, 0, tall) for x in at]), color * 0.62, WALL
            )
        if capped:
            surface.paint(wall(x0, y, x1, y, tall - 0.12, tall), np.minimum(color * 1.25, 250), WALL)

    return _spread(paint, start, end)


def hedge_row(surface: Surface, rng: np.random.Generator, y: float, start: float, end: float) -> list[Thing]:
    """Bushes along y, darker at their foot."""
    tall, leaf = rng.uniform(0.6, 3.0), leafy(rng)
    bumps = rng.uniform(0.75, 1.15, 64)

    def paint(x0: float, x1: float) -> None:
        along = np.linspace(x0, x1, 9)
        top = np.column_stack((along, np.full(9, y), tall * bumps[(np.abs(along) * 3).astype(int) % 64]))
        surface.paint(np.vstack((top, ((x1, y, 0), (x0, y, 0)))), leaf, TREE)
        surface.paint(wall(x0, y, x1, y, 0, tall * 0.35), leaf * 0.65, TREE)

    return _spread(paint, start, end)


def open_fence(
    surface: Surface, rng: np.random.Generator, y: float, up: float, start: float, end: float
) -> list[Thing]:
    """Boards or wire on posts along y, its foot `up` metres above the road."""
    tall, color = rng.uniform(0.9, 2.2), rng.uniform(50, 190) + rng.normal(0, 12, 3)
    back, step = color * rng.uniform(0.6, 1.2), rng.uniform(0.15, 3.0)

    def paint(x0: float, x1: float) -> None:
        surface.paint(wall(x0, y, x1, y, up, up + tall), np.clip(back, 0, 255), FENCE)
        at = _repeated(x0, min(x1, x0 + 60 * step), step)
        if len(at):
            bars = np.stack([wall(x, y, x + min(0.4 * step, 0.12), y, up, up + tall) for x in at])
            surface.paint_many(bars, np.clip(color * 0.7, 0, 255), FENCE)

    return _spread(paint, start, end)


def grass(rng: np.random.Generator) -> Floats:
    """A colour of what grows or lies beside a road: green, dry, earth or gravel."""
    kinds = (
        (70.0, 96, 44),
        (92.0, 108, 58),
        (176.0, 152, 96),
        (196.0, 174, 134),
        (150.0, 132, 84),
        (118.0, 92, 66),
        (146.0, 140, 130),
    )
    color = np.array(kinds[int(rng.choice(7, p=(0.24, 0.16, 0.18, 0.18, 0.1, 0.08, 0.06)))])
    return np.clip(color * rng.uniform(0.6, 1.2) + rng.normal(0, 6, 3), 8, 235)


def verge(surface: Surface, rng: np.random.Generator, y: float, out: float, far: float) -> Callable[[float], float]:
    """Grass or earth from y outward, flat or rising; patches of it in other colours. Returns how high the ground lies at
    a distance from y."""
    flat_m, color = rng.uniform(0.3, 5.0), grass(rng)
    slope = rng.uniform(0.12, 0.6) if rng.random() < 0.5 else 0.0
    long = rng.uniform(4, 16) if slope else 0.0

    def height(at_m: float) -> float:
        return slope * min(max(at_m - flat_m, 0.0), long)

    def strip(a: float, b: float, x0: float, x1: float) -> Floats:
        ya, yb, za, zb = y + out * a, y + out * b, height(a), height(b)
        return np.array(((x0, ya, za), (x1, ya, za), (x1, yb, zb), (x0, yb, zb)))

    edges = [0.0, flat_m, *([flat_m + long * 0.5, flat_m + long] if slope else [])]
    surface.paint(strip(edges[-1], 70, NEAREST_M, far), color * rng.uniform(0.8, 1.1), TERRAIN)
    for a, b in zip(edges[-2::-1], edges[:0:-1]):
        surface.paint(strip(a, b, NEAREST_M, far), np.clip(color * rng.uniform(0.85, 1.15), 0, 255), TERRAIN)
    other = grass(rng)
    for x in np.sort(np.exp(rng.uniform(1.0, 4.3, int(rng.integers(2, 14)))))[::-1]:
        a = rng.uniform(0.1, edges[-1] + 4)
        wide, deep = rng.uniform(0.3, 2.0), rng.uniform(0.5, 1.2) * x * 0.3
        surface.paint(strip(a, a + wide, x, x + deep), np.clip(other * rng.uniform(0.8, 1.1), 0, 255), TERRAIN)
    if rng.random() < 0.35:
        gravel = np.full(3, rng.uniform(85, 165)) + rng.normal(0, 6, 3)
        surface.paint(strip(0, min(flat_m, rng.uniform(0.2, 1.2)), NEAREST_M, far), gravel, TERRAIN)
    if rng.random() < 0.5:
        _paint_tufts(surface, rng, y, out, min(flat_m, 2.0), color)
    return height


def _paint_tufts(surface: Surface, rng: np.random.Generator, y: float, out: float, wide: float, color: Floats) -> None:
    """Blades that stand at the edge of the asphalt and break its line."""
    x = np.exp(rng.uniform(0.9, 3.4, 40))
    at, tall, half = y + out * rng.uniform(0, wide, 40), rng.uniform(0.06, 0.3, 40), rng.uniform(0.04, 0.2, 40)
    blades = np.stack(
        [
            np.array(((a, b - h, 0), (a, b + h, 0), (a, b + h * 0.4, t), (a, b - h * 0.5, t * 0.9)))
            for a, b, t, h in zip(x, at, tall, half)
        ]
    )
    for part in (blades[:20], blades[20:]):
        surface.paint_many(part, np.clip(color * rng.uniform(0.7, 1.2), 0, 255), TERRAIN)


def kerb(surface: Surface, rng: np.random.Generator, y: float, out: float, far: float) -> None:
    """A kerbstone along y, labelled pavement as CamVid does."""
    stone = np.full(3, rng.uniform(95, 200)) + rng.normal(0, 4, 3)
    wide, tall = rng.uniform(0.12, 0.35), rng.uniform(0.05, 0.16)
    top = rectangle(NEAREST_M, far, y, y + out * wide, tall)
    surface.paint(top, stone, PAVEMENT)
    surface.paint(wall(NEAREST_M, y, far, y, 0, tall), stone * 0.68, PAVEMENT)


def delineators(canvas: Canvas, bend: Bend, rng: np.random.Generator, y: float) -> list[Thing]:
    """White posts with reflectors along a road."""
    spacing, start = rng.uniform(12, 50), rng.uniform(3, 30)
    at = np.arange(start, 120, spacing).tolist()
    return [still(x, _paint_delineator, canvas, rng, *bend.place(x, y)[:2]) for x in at]


def _paint_delineator(canvas: Canvas, rng: np.random.Generator, x: float, y: float) -> None:
    del rng
    post = Billboard(canvas, x, y, POLE)
    post.limb((0, 0), (0, 0.95), 0.12, (215.0, 215, 212))
    post.limb((0, 0.68), (0, 0.86), 0.125, (30.0, 30, 34))


def add_streaks(rgb: NDArray[np.uint8], codes: NDArray[np.uint16], rng: np.random.Generator) -> None:
    """Water has run down barriers and walls: upright streaks in the picture [H, W, 3] where codes say so."""
    upright = np.isin(codes & 15, (RAIL, WALL))
    if not upright.any():
        return
    columns = cv2.GaussianBlur(rng.normal(0, 1, (1, codes.shape[1])).astype(np.float32), (0, 0), rng.uniform(0.8, 4))
    change = np.where(upright, columns * np.float32(rng.uniform(5, 28)), np.float32(0))
    rgb[:] = np.clip(rgb + change[:, :, None], 0, 255).astype(np.uint8)
