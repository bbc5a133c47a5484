"""What stands in a synthetic street: cars, people, bicyclists, trees, poles, signs, fences, houses, in polygons."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from seg_perception.labels import CAMVID
from seg_perception.synthetic.canvas import Canvas, Color, Floats

BUILDING, POLE, TREE, SIGN, FENCE, CAR, PEDESTRIAN, BICYCLIST = (
    CAMVID.by_name(name).id for name in ("building", "pole", "tree", "sign", "fence", "car", "pedestrian", "bicyclist")
)
_CIRCLE = np.stack([f(np.linspace(0, 2 * np.pi, 14, endpoint=False)) for f in (np.cos, np.sin)], axis=1)
_DARK = np.array((28.0, 28.0, 32.0))


@dataclass(frozen=True)
class CarShape:
    """A car's side view: outline from the rear bumper over the roof to the front, x in lengths (-0.5 to 0.5), z in
    heights. glass: which of its edges are windows. windows: polygons on the side."""

    length_m: float
    width_m: float
    height_m: float
    outline: tuple[tuple[float, float], ...]
    glass: tuple[int, ...]
    windows: tuple[tuple[tuple[float, float], ...], ...]


_HATCH = CarShape(
    3.9,
    1.72,
    1.48,
    ((-0.5, 0.17), (-0.5, 0.56), (-0.42, 0.93), (-0.05, 1.0), (0.12, 0.97), (0.29, 0.63), (0.47, 0.52), (0.5, 0.15)),
    (1, 4),
    (
        ((-0.41, 0.62), (-0.36, 0.88), (-0.10, 0.91), (-0.10, 0.62)),
        ((-0.07, 0.62), (-0.07, 0.91), (0.10, 0.9), (0.24, 0.62)),
    ),
)
_SEDAN = CarShape(
    4.5,
    1.8,
    1.45,
    ((-0.5, 0.18), (-0.5, 0.62), (-0.34, 0.67), (-0.21, 0.96), (0.08, 1.0), (0.27, 0.64), (0.48, 0.54), (0.5, 0.16)),
    (2, 4),
    (
        ((-0.30, 0.66), (-0.20, 0.9), (-0.05, 0.92), (-0.05, 0.65)),
        ((-0.03, 0.65), (-0.03, 0.92), (0.07, 0.92), (0.21, 0.64)),
    ),
)
_SUV = CarShape(
    4.6,
    1.9,
    1.75,
    ((-0.5, 0.2), (-0.5, 0.6), (-0.47, 0.95), (-0.3, 1.0), (0.1, 0.98), (0.24, 0.66), (0.48, 0.57), (0.5, 0.18)),
    (1, 4),
    (
        ((-0.45, 0.63), (-0.43, 0.9), (-0.18, 0.92), (-0.18, 0.63)),
        ((-0.15, 0.63), (-0.15, 0.92), (0.09, 0.91), (0.19, 0.65)),
    ),
)
_VAN = CarShape(
    5.2,
    2.0,
    2.3,
    ((-0.5, 0.14), (-0.5, 0.55), (-0.49, 0.97), (-0.3, 1.0), (0.2, 0.98), (0.36, 0.58), (0.48, 0.48), (0.5, 0.13)),
    (1, 4),
    (((0.08, 0.58), (0.08, 0.86), (0.21, 0.86), (0.32, 0.58)),),
)
_BUS = CarShape(
    9.5,
    2.5,
    3.1,
    ((-0.5, 0.1), (-0.5, 0.5), (-0.5, 0.96), (-0.48, 1.0), (0.48, 1.0), (0.5, 0.85), (0.5, 0.4), (0.5, 0.1)),
    (1, 5),
    tuple(((x, 0.5), (x, 0.82), (x + 0.13, 0.82), (x + 0.13, 0.5)) for x in (-0.47, -0.32, -0.17, -0.02, 0.13, 0.28)),
)
CAR_SHAPES = (_HATCH, _SEDAN, _SUV, _VAN, _BUS)
_CAR_SHARES = (0.36, 0.3, 0.18, 0.11, 0.05)


@dataclass(frozen=True)
class Look:
    """What is drawn once for an object and stays with it: a seed for its colours and its build."""

    seed: int

    def rng(self) -> np.random.Generator:
        """The same numbers at every call."""
        return np.random.Generator(np.random.PCG64(self.seed))


def _car_color(rng: np.random.Generator) -> Floats:
    if rng.random() < 0.6:
        return np.clip(rng.uniform(20, 235) + rng.normal(0, 6, 3), 0, 255)
    return rng.uniform(10, 210, 3)


def _shape(rng: np.random.Generator) -> CarShape:
    return CAR_SHAPES[int(rng.choice(len(CAR_SHAPES), p=_CAR_SHARES))]


def car_shape(look: Look) -> CarShape:
    """What paint_car will draw."""
    return _shape(look.rng())


def paint_car(canvas: Canvas, x: float, y: float, yaw: float, look: Look, sun: Floats, object_id: int) -> None:
    """A car whose middle stands at (x, y), heading yaw (radians, 0 = away from the camera), lit from sun [3]."""
    rng = look.rng()
    shape = _shape(rng)
    car = _Car(canvas, shape, x, y, yaw, sun, object_id)
    color, glass = _car_color(rng), np.array((50.0, 58.0, 66.0)) * rng.uniform(0.3, 2.2)
    car.paint_shadow()
    car.paint_tyres()
    car.paint_hull(color, glass)
    if car.eye[0] < -shape.length_m / 2:
        car.paint_end(-1.0, (150.0, 20, 20), (225.0, 190, 40))
    if car.eye[0] > shape.length_m / 2:
        car.paint_end(1.0, (225.0, 225, 215), (225.0, 225, 220))
    if abs(car.eye[1]) > shape.width_m / 2:
        car.paint_side(color, glass)
        car.paint_wheels()


class _Car:
    """One car on its place. Local axes: x to its front, y to its left, z up, from the middle of its foot; eye: the
    camera in them."""

    def __init__(
        self, canvas: Canvas, shape: CarShape, x: float, y: float, yaw: float, sun: Floats, object_id: int
    ) -> None:
        self.canvas, self.shape, self.object_id = canvas, shape, object_id
        self.turn = np.array(((np.cos(yaw), np.sin(yaw), 0), (-np.sin(yaw), np.cos(yaw), 0), (0, 0, 1.0)))
        self.place = np.array((x, y, 0.0))
        self.eye: Floats = self.turn @ (canvas.view.position - self.place)
        self.sun: Floats = self.turn @ sun
        self.side = 1.0 if self.eye[1] > 0 else -1.0
        self.outline = np.array(shape.outline) * (shape.length_m, shape.height_m)
        self.wheel_m = 0.31 if shape.length_m < 6 else 0.48

    def _world(self, local: Floats) -> Floats:
        result: Floats = local @ self.turn + self.place
        return result

    def _paint(self, local: Floats, color: Color) -> None:
        self.canvas.paint(self._world(local), color, CAR, self.object_id)

    def _half_width(self, z: Floats) -> Floats:
        """Half the width at heights z: cars grow narrower above their doors, buses do not."""
        inward = 0.0 if self.shape is _BUS else 0.35
        result: Floats = self.shape.width_m / 2 * (1 - inward * np.clip(z / self.shape.height_m - 0.6, 0, 1))
        return result

    def _light(self, toward_sun: float) -> float:
        return 0.55 + 0.45 * max(toward_sun, 0.0)

    def paint_shadow(self) -> None:
        """Darken the ground around the foot."""
        long, wide = self.shape.length_m / 2 + 0.25, self.shape.width_m / 2 + 0.2
        foot = np.array(((-long, -wide, 0), (-long, wide, 0), (long, wide, 0), (long, -wide, 0.0)))
        self.canvas.shade_ground(self._world(foot), 0.5)

    def paint_hull(self, color: Floats, glass: Floats) -> None:
        """The strips across the car, rear to front, that face the camera."""
        half = self._half_width(self.outline[:, 1])
        strips = []
        for i in range(len(self.outline) - 1):
            (x0, z0), (x1, z1) = self.outline[i], self.outline[i + 1]
            normal = np.array((z0 - z1, 0.0, x1 - x0)) / np.hypot(z0 - z1, x1 - x0)
            toward = self.eye - np.array(((x0 + x1) / 2, 0, (z0 + z1) / 2))
            if normal @ toward > 0:
                strips.append((-float(np.linalg.norm(toward)), i, self._light(float(normal @ self.sun))))
        for _, i, light in sorted(strips):
            (x0, z0), (x1, z1) = self.outline[i], self.outline[i + 1]
            quad = np.array(((x0, half[i], z0), (x0, -half[i], z0), (x1, -half[i + 1], z1), (x1, half[i + 1], z1)))
            self._paint(quad, color * light)
            if i in self.shape.glass:
                middle = quad.mean(axis=0)
                self._paint(middle + (quad - middle) * (1, 0.86, 0.82), glass)

    def paint_side(self, color: Floats, glass: Floats) -> None:
        """The side that faces the camera, with its windows."""
        self._paint(self._on_side(self.outline), color * self._light(float(self.sun[1]) * self.side))
        for window in self.shape.windows:
            self._paint(self._on_side(np.array(window) * (self.shape.length_m, self.shape.height_m)), glass)

    def _on_side(self, xz: Floats) -> Floats:
        return np.column_stack((xz[:, 0], self.side * self._half_width(xz[:, 1]), xz[:, 1]))

    def paint_tyres(self) -> None:
        """The tyres as seen from the front or the rear, below the bumper."""
        edge, radius = self.shape.width_m / 2, self.wheel_m
        for along in (-0.31 * self.shape.length_m - radius, 0.31 * self.shape.length_m + radius):
            for side in (-1.0, 1.0):
                inner, outer = side * (edge - 0.22), side * edge
                low, high = ((along, inner, 0), (along, outer, 0)), ((along, outer, radius), (along, inner, radius))
                self._paint(np.array(low + high), _DARK)

    def paint_wheels(self) -> None:
        """The wheels on the side that faces the camera."""
        for along in (-0.31 * self.shape.length_m, 0.31 * self.shape.length_m):
            for radius, color in ((self.wheel_m, _DARK), (self.wheel_m * 0.6, np.array((120.0, 120, 125)))):
                disc = np.array((along, self.wheel_m)) + radius * _CIRCLE
                edge = np.full(len(disc), self.side * (self.shape.width_m / 2 + 0.01))
                self._paint(np.column_stack((disc[:, 0], edge, disc[:, 1])), color)

    def paint_end(self, end: float, lamp: Color, plate: Color) -> None:
        """Lamps, bumper and number plate of the rear (end = -1) or the front (end = 1)."""
        at, w, h = end * (self.shape.length_m / 2 + 0.01), self.shape.width_m / 2, self.shape.height_m

        def panel(y0: float, y1: float, z0: float, z1: float) -> Floats:
            return np.array(((at, y0, z0), (at, y1, z0), (at, y1, z1), (at, y0, z1)))

        self._paint(panel(-w, w, 0.17 * h, 0.26 * h), np.array((55.0, 55, 58)))
        for side in (-1, 1):
            self._paint(panel(side * 0.62 * w, side * 0.98 * w, 0.38 * h, 0.5 * h), lamp)
            self.canvas.shine(self._world(np.array((at, side * 0.8 * w, 0.44 * h))), lamp, 0.1 if end < 0 else 0.16)
        self._paint(panel(-0.28, 0.28, 0.29 * h, 0.29 * h + 0.12), plate)


class Billboard:
    """A flat figure that stands upright at (x, y, up) and faces the camera; (u, w) are metres to the right and up."""

    def __init__(self, canvas: Canvas, x: float, y: float, class_id: int, object_id: int = 0, up: float = 0.0) -> None:
        self.canvas, self.class_id, self.object_id = canvas, class_id, object_id
        dx, dy = x - canvas.view.position[0], y - canvas.view.position[1]
        distance = max(float(np.hypot(dx, dy)), 1e-6)
        self.right = np.array((dy, -dx, 0.0)) / distance
        self.place = np.array((x, y, up))

    def fill(self, uw: Floats, color: Color, class_id: int | None = None) -> None:
        """Fill a polygon of (u, w), [K, 2]."""
        points = self.place + uw[:, :1] * self.right + uw[:, 1:] * (0, 0, 1.0)
        self.canvas.paint(points, color, self.class_id if class_id is None else class_id, self.object_id)

    def limb(self, start: tuple[float, float], end: tuple[float, float], width: float, color: Color) -> None:
        """A thick line from start to end."""
        a, b = np.array(start), np.array(end)
        along = (b - a) / max(float(np.hypot(*(b - a))), 1e-6)
        side = np.array((-along[1], along[0])) * width / 2
        self.fill(np.array((a - side, a + side, b + side, b - side)), color)

    def disc(self, center: tuple[float, float], radius: float | tuple[float, float], color: Color) -> None:
        """An ellipse of the given half axes."""
        self.fill(np.array(center) + _CIRCLE * radius, color)


def paint_pedestrian(canvas: Canvas, x: float, y: float, look: Look, phase: float, object_id: int) -> None:
    """A walker; phase (radians) is where he is in his step."""
    rng = look.rng()
    tall = rng.uniform(1.5, 1.9) if rng.random() < 0.85 else rng.uniform(1.0, 1.4)
    coat, legs, skin, hair = rng.uniform(10, 220, 3), rng.uniform(10, 120, 3), _skin(rng), rng.uniform(10, 140, 3)
    stride = np.sin(phase) * rng.uniform(0.05, 0.2) * tall
    wide = rng.uniform(0.11, 0.16) * tall
    figure = Billboard(canvas, x, y, PEDESTRIAN, object_id)
    hip, shoulder = 0.5 * tall, 0.82 * tall
    for sign in (-1, 1):
        foot = (sign * stride + sign * 0.04, 0.0)
        figure.limb(foot, (sign * 0.05 * tall, hip), 0.085 * tall, legs * (1 if sign > 0 else 0.8))
        figure.disc((foot[0], 0.03), (0.07, 0.04), _DARK)
    figure.limb((wide * 0.9 + stride * 0.6, 0.47 * tall), (wide * 0.9, shoulder), 0.06 * tall, coat * 0.8)
    figure.limb((-wide * 0.9 - stride * 0.6, 0.47 * tall), (-wide * 0.9, shoulder), 0.06 * tall, coat * 0.85)
    hem = rng.uniform(0.3, 0.5) * tall
    left_half = np.array(((-wide, hem), (-wide * 0.85, shoulder), (-wide * 0.4, 0.86 * tall)))
    figure.fill(np.vstack((left_half, left_half[::-1] * (-1, 1))), coat)
    if rng.random() < 0.3:
        figure.disc((wide, 0.55 * tall), (0.12, 0.16), rng.uniform(10, 200, 3))
    _paint_head(figure, (0.0, 0.93 * tall), 0.066 * tall, skin, hair, bool(rng.random() < 0.5))


def _skin(rng: np.random.Generator) -> Floats:
    return np.array((215.0, 170, 140)) * rng.uniform(0.35, 1.05)


def _paint_head(
    figure: Billboard, at: tuple[float, float], radius: float, skin: Floats, hair: Floats, from_behind: bool
) -> None:
    figure.disc((at[0], at[1] - radius), (radius * 0.5, radius * 0.7), skin * 0.9)
    figure.disc((at[0], at[1] + radius * 0.12), (radius, radius * 1.1), hair)
    if not from_behind:
        figure.disc((at[0], at[1] - radius * 0.2), (radius * 0.8, radius * 0.85), skin)


def paint_bicyclist(
    canvas: Canvas, x: float, y: float, look: Look, phase: float, from_side: bool, object_id: int
) -> None:
    """A rider with his bicycle, seen from behind or from the side."""
    rng = look.rng()
    coat, legs, skin, hair = rng.uniform(20, 230, 3), rng.uniform(10, 110, 3), _skin(rng), rng.uniform(10, 200, 3)
    frame = rng.uniform(10, 220, 3)
    figure = Billboard(canvas, x, y, BICYCLIST, object_id)
    lift = 0.17 * np.sin(phase)
    if not from_side:
        figure.disc((0.0, 0.34), (0.05, 0.34), _DARK)
        for sign in (-1, 1):
            figure.limb((sign * 0.12, 0.28 + sign * lift), (sign * 0.11, 0.95), 0.14, legs)
            figure.limb((sign * 0.27, 0.98), (sign * 0.2, 1.35), 0.1, coat * 0.85)
        figure.limb((-0.28, 0.98), (0.28, 0.98), 0.05, frame)
        figure.fill(np.array(((-0.18, 0.9), (-0.24, 1.4), (-0.1, 1.5), (0.1, 1.5), (0.24, 1.4), (0.18, 0.9))), coat)
        _paint_head(figure, (0.0, 1.62), 0.12, skin, hair, True)
        return
    s = 1.0 if rng.random() < 0.5 else -1.0
    for wheel in (-0.52, 0.52):
        figure.disc((wheel, 0.34), 0.34, _DARK)
        figure.disc((wheel, 0.34), 0.28, np.array((110.0, 110, 108)))
        figure.disc((wheel, 0.34), 0.05, frame)
    rear, front, seat, crank, bar = (
        (-0.52 * s, 0.34),
        (0.52 * s, 0.34),
        (-0.2 * s, 0.9),
        (-0.05 * s, 0.3),
        (0.4 * s, 0.95),
    )
    for tube in ((rear, seat), (rear, crank), (crank, seat), (seat, bar), (crank, bar), (front, bar)):
        figure.limb(*tube, 0.05, frame)
    knee = (0.18 * s, 0.62 + lift * 0.5)
    figure.limb((-0.18 * s, 0.92), knee, 0.16, legs)
    figure.limb(knee, (0.0, 0.25 + lift), 0.12, legs * 0.85)
    figure.limb((-0.2 * s, 0.88), (0.1 * s, 1.42), 0.3, coat)
    figure.limb((0.1 * s, 1.38), (0.4 * s, 0.98), 0.1, coat * 0.8)
    _paint_head(figure, (0.2 * s, 1.6), 0.12, skin, hair, False)
