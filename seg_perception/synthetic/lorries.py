"""Trucks and buses, built from boxes: as large as a house, and no house."""

from __future__ import annotations

import numpy as np

from seg_perception.synthetic.canvas import Canvas, Color, Floats
from seg_perception.synthetic.classes import BUS, TRUCK
from seg_perception.synthetic.objects import Look

_DARK = np.array((26.0, 26.0, 30.0))
_GLASS = np.array((44.0, 52.0, 60.0))
_LAMP, _REFLECTOR = (175.0, 22.0, 20.0), (235.0, 120.0, 40.0)
_CIRCLE = np.stack([f(np.linspace(0, 2 * np.pi, 12, endpoint=False)) for f in (np.cos, np.sin)], axis=1)


class _Boxes:
    """What is built from boxes on its place. Local axes: x to its front, y to its left, z up, from the middle of its
    foot; eye: the camera in them."""

    def __init__(
        self, canvas: Canvas, x: float, y: float, yaw: float, sun: Floats, class_id: int, object_id: int
    ) -> None:
        self.canvas, self.class_id, self.object_id = canvas, class_id, object_id
        self.turn = np.array(((np.cos(yaw), np.sin(yaw), 0), (-np.sin(yaw), np.cos(yaw), 0), (0, 0, 1.0)))
        self.place = np.array((x, y, 0.0))
        self.eye: Floats = self.turn @ (canvas.view.position - self.place)
        self.sun: Floats = self.turn @ sun

    def fill(self, local: Floats, color: Color) -> None:
        """A flat polygon, [K, 3]."""
        self.canvas.paint(local @ self.turn + self.place, color, self.class_id, self.object_id)

    def box(self, x0: float, x1: float, half: float, z0: float, z1: float, color: Floats) -> None:
        """Its top, end and side that face the camera, each in its light."""
        light = 0.5 + 0.5 * np.maximum((self.sun, -self.sun), 0)
        if self.eye[2] > z1:
            self.fill(np.array(((x0, -half, z1), (x1, -half, z1), (x1, half, z1), (x0, half, z1))), color * light[0, 2])
        if not x0 <= self.eye[0] <= x1:
            end = x0 if self.eye[0] < x0 else x1
            self.end(end, -half, half, z0, z1, color * light[int(end == x0), 0])
        if abs(self.eye[1]) > half:
            self.side(x0, x1, half, z0, z1, color * light[int(self.eye[1] < 0), 1])

    def end(self, x: float, y0: float, y1: float, z0: float, z1: float, color: Color) -> None:
        """A rectangle across."""
        self.fill(np.array(((x, y0, z0), (x, y1, z0), (x, y1, z1), (x, y0, z1))), color)

    def side(self, x0: float, x1: float, half: float, z0: float, z1: float, color: Color) -> None:
        """A rectangle along the side that faces the camera."""
        if abs(self.eye[1]) > half:
            y = np.copysign(half, self.eye[1])
            self.fill(np.array(((x0, y, z0), (x1, y, z0), (x1, y, z1), (x0, y, z1))), color)

    def wheels(self, along: list[float], half: float, radius: float) -> None:
        """Tyres at the ends of the axles, and whole wheels on the side that faces the camera."""
        for x in along if self.eye[0] > 0 else along[::-1]:
            face = x + np.copysign(radius, self.eye[0] - x)
            for side in (-1.0, 1.0):
                self.end(face, side * (half - 0.5), side * half, 0.0, radius * 1.6, _DARK)
        if abs(self.eye[1]) <= half:
            return
        y = np.copysign(half + 0.01, self.eye[1])
        for x in along:
            for size, color in ((radius, _DARK), (radius * 0.55, np.array((105.0, 105, 108)))):
                disc = np.array((x, radius)) + size * _CIRCLE
                self.fill(np.column_stack((disc[:, 0], np.full(len(disc), y), disc[:, 1])), color)

    def lamps(self, x: float, half: float, z: float, color: Color, size: float) -> None:
        """Two lamps of an end."""
        for side in (-1.0, 1.0):
            at = side * (half - 0.18)
            self.end(x, at - size, at + size, z - size * 0.7, z + size * 0.7, color)
            self.canvas.shine(np.array((x, at, z)) @ self.turn + self.place, color, size)

    def shadow(self, long: float, half: float) -> None:
        """Dark ground under and around it."""
        foot = np.array(((-long, -half, 0), (-long, half, 0), (long, half, 0), (long, -half, 0.0)))
        self.canvas.shade_ground(foot @ self.turn + self.place, 0.45)


def _body_color(rng: np.random.Generator) -> Floats:
    kind = rng.random()
    if kind < 0.45:
        return np.clip(rng.uniform(150, 240) + rng.normal(0, 6, 3), 0, 250)
    return rng.uniform(20, 215, 3) if kind < 0.85 else np.full(3, rng.uniform(60, 130))


def lorry_size(look: Look) -> tuple[float, float]:
    """Length and width in m of what paint_lorry will draw."""
    return _lorry_length(look.rng()), 2.55


def _lorry_length(rng: np.random.Generator) -> float:
    return rng.uniform(13, 16.5) if rng.random() < 0.45 else rng.uniform(6.2, 9.5)


def paint_lorry(canvas: Canvas, x: float, y: float, yaw: float, look: Look, sun: Floats, object_id: int) -> None:
    """A truck with a box, a curtain, a container or a low bed, whose middle stands at (x, y), heading yaw (radians)."""
    rng = look.rng()
    length = _lorry_length(rng)
    half, long = rng.uniform(1.2, 1.28), length / 2
    truck = _Boxes(canvas, x, y, yaw, sun, TRUCK, object_id)
    truck.shadow(long + 0.4, half + 0.3)
    floor, top = rng.uniform(0.95, 1.25), rng.uniform(3.0, 4.0)
    body, cab = _body_color(rng), _body_color(rng)
    kind, gap, roof = rng.random(), rng.uniform(1.9, 2.5), rng.uniform(2.5, 3.7)
    if kind > 0.82:
        top = rng.uniform(1.3, 2.1)
    axles = [-0.72 * long, -0.55 * long, long - 1.3] if length > 11 else [-0.55 * long, long - 1.2]
    truck.box(-long + 0.1, long - 0.2, half * 0.94, 0.45, floor, _DARK * 1.4)
    truck.wheels(axles, half * 0.98, 0.5)

    def paint_cab() -> None:
        truck.box(long - gap, long, half * 0.97, 0.4, roof, cab)
        truck.side(long - gap * 0.62, long - 0.1, half * 0.98, 1.6, 2.35, _GLASS)
        if truck.eye[0] > long:
            truck.end(long + 0.01, -half * 0.85, half * 0.85, 1.55, 2.45, _GLASS * rng.uniform(0.6, 1.8))
            truck.end(long + 0.01, -half * 0.7, half * 0.7, 0.75, 1.35, cab * 0.4)
            truck.lamps(long + 0.02, half, 0.7, (228.0, 228, 215), 0.16)

    def paint_body() -> None:
        truck.box(-long, long - gap - 0.35, half, floor, top, body)
        if top > 2.5:
            _decorate(truck, rng, -long, long - gap - 0.35, half, floor, top, body)
        _paint_rear(truck, rng, -long, half, floor, top, body)

    for paint in (paint_cab, paint_body) if truck.eye[0] < 0 else (paint_body, paint_cab):
        paint()


def _decorate(
    truck: _Boxes, rng: np.random.Generator, x0: float, x1: float, half: float, z0: float, z1: float, body: Floats
) -> None:
    """Ribs, a stripe or a picture on the side."""
    kind, other = rng.random(), rng.uniform(15, 235, 3)
    if kind < 0.3:
        for x in np.arange(x0 + 0.3, x1 - 0.2, rng.uniform(0.4, 1.2)):
            truck.side(x, x + 0.1, half, z0 + 0.05, z1 - 0.05, body * 0.62)
    elif kind < 0.6:
        low = z0 + rng.uniform(0.1, 0.6) * (z1 - z0)
        truck.side(x0, x1, half, low, low + rng.uniform(0.2, 0.8), other)
    elif kind < 0.85:
        a = x0 + rng.uniform(0.1, 0.5) * (x1 - x0)
        truck.side(a, a + rng.uniform(0.2, 0.45) * (x1 - x0), half, z0 + 0.5, z1 - rng.uniform(0.4, 1), other)


def _paint_rear(
    truck: _Boxes, rng: np.random.Generator, x: float, half: float, floor: float, top: float, body: Floats
) -> None:
    """Doors, a beam with lamps and plate, tyres below."""
    if truck.eye[0] > x:
        return
    at, kind = x - 0.01, rng.random()
    if top > 2.5:
        if kind < 0.6:
            truck.end(at, -0.03, 0.03, floor, top - 0.1, body * 0.45)
            for side in (-0.55, 0.55):
                truck.end(at, side * half - 0.03, side * half + 0.03, floor + 0.1, top - 0.2, body * 0.6)
        else:
            truck.end(at, -half * 0.93, half * 0.93, floor + 0.1, top - 0.12, body * rng.uniform(0.6, 0.95))
        if rng.random() < 0.4:
            truck.end(
                at - 0.01, -half * 0.6, half * 0.6, floor + 0.9, floor + rng.uniform(1.2, 1.8), rng.uniform(15, 235, 3)
            )
        truck.end(at, -half, half, top - 0.1, top, body * 0.5)
    truck.end(at, -half * 0.95, half * 0.95, 0.4, floor, _DARK)
    truck.end(at - 0.01, -half * 0.97, half * 0.97, floor - 0.16, floor - 0.05, body * 0.35 + 40)
    if rng.random() < 0.5:
        stripes = np.linspace(-half, half, 9)
        for i in range(8):
            truck.end(
                at - 0.02,
                stripes[i],
                stripes[i + 1],
                floor - 0.32,
                floor - 0.2,
                ((200, 25, 25), (225, 225, 220))[i % 2],
            )
    truck.lamps(at - 0.02, half, floor - 0.3, _LAMP, 0.13)
    truck.end(at - 0.02, -0.26, 0.26, 0.62, 0.74, (225.0, 200, 90))


def bus_size(look: Look) -> tuple[float, float]:
    """Length and width in m of what paint_bus will draw."""
    return _bus_length(look.rng()), 2.55


def _bus_length(rng: np.random.Generator) -> float:
    return rng.uniform(8.5, 12.5)


def paint_bus(canvas: Canvas, x: float, y: float, yaw: float, look: Look, sun: Floats, object_id: int) -> None:
    """A city bus or a coach whose middle stands at (x, y), heading yaw (radians)."""
    rng = look.rng()
    long, half = _bus_length(rng) / 2, rng.uniform(1.22, 1.28)
    bus = _Boxes(canvas, x, y, yaw, sun, BUS, object_id)
    bus.shadow(long + 0.4, half + 0.3)
    top = rng.uniform(2.9, 3.7) if rng.random() < 0.85 else 4.3
    body = rng.uniform(20, 225, 3) if rng.random() < 0.6 else np.full(3, rng.uniform(170, 240))
    glass = _GLASS * rng.uniform(0.5, 2.2)
    bus.wheels([-0.5 * long, 0.58 * long], half * 0.98, 0.48)
    bus.box(-long, long, half, 0.3, top, body)
    low, high = rng.uniform(1.15, 1.5), top - rng.uniform(0.35, 0.7)
    pane = rng.uniform(1.0, 1.9)
    for left in np.arange(-long + 0.25, long - 0.6, pane):
        bus.side(left, min(left + pane - 0.1, long - 0.15), half + 0.01, low, high, glass)
    if rng.random() < 0.5:
        bus.side(-long, long, half + 0.01, 0.55, rng.uniform(0.7, 1.0), rng.uniform(15, 235, 3))
    bus.wheels([-0.5 * long, 0.58 * long], half, 0.48)
    _paint_bus_ends(bus, rng, long, half, low, top, glass, body)


def _paint_bus_ends(
    bus: _Boxes,
    rng: np.random.Generator,
    long: float,
    half: float,
    low: float,
    top: float,
    glass: Floats,
    body: Floats,
) -> None:
    if bus.eye[0] > long:
        bus.end(long + 0.01, -half * 0.92, half * 0.92, low - 0.35, top - 0.55, glass)
        bus.end(long + 0.01, -half * 0.7, half * 0.7, top - 0.45, top - 0.12, (28.0, 24, 14))
        bus.end(long + 0.02, -half * 0.55, half * 0.4, top - 0.4, top - 0.18, (240.0, 150, 30))
        bus.lamps(long + 0.02, half, 0.75, (228.0, 228, 215), 0.15)
    elif bus.eye[0] < -long:
        at = -long - 0.01
        bus.end(at, -half * 0.85, half * 0.85, max(low + 0.2, top - 1.5), top - 0.4, glass)
        bus.end(at, -half * 0.8, half * 0.8, 0.5, low - 0.1, body * rng.uniform(0.4, 0.9))
        bus.lamps(at - 0.01, half, 1.0, _LAMP, 0.15)
        bus.lamps(at - 0.01, half, 1.3, _REFLECTOR, 0.08)
        bus.end(at - 0.01, -0.26, 0.26, 0.6, 0.72, (225.0, 200, 90))
