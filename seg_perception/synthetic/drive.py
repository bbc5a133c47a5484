"""A rendered drive with exact labels, calibration and ground truth in metres; and random streets to learn from."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from seg_perception.camera_model import CameraModel, CameraPose
from seg_perception.ground.geometry import GroundProjection
from seg_perception.labels import CAMVID, VOID
from seg_perception.results import Outline
from seg_perception.synthetic import scenery
from seg_perception.synthetic.canvas import Canvas, Floats, View
from seg_perception.synthetic.objects import TREE, Look, paint_bicyclist, paint_car, paint_pedestrian
from seg_perception.synthetic.scene import random_scene
from seg_perception.synthetic.street import Bend
from seg_perception.synthetic.weather import FAIR, Weather

__all__ = ["SyntheticDrive", "SyntheticFrame", "random_scene"]

RATE_HZ = 30.0
SPEED_M_S = 9.0
NOD_HZ = 1.3
"""How often a car nods on its springs."""
BLOCK_M = 22.0
_VIEW_M = 132.0
_LABEL_ROWS = 4
SUN = np.array((-0.4, 0.35, 0.85))
_HAZE = np.array((205.0, 213.0, 222.0))
_SKY = np.array((105.0, 150.0, 205.0))
_ASPHALT = np.array((104.0, 104.0, 108.0))
_PAVING = np.array((158.0, 152.0, 146.0))
_LEAVES = np.array((78.0, 98, 62))
_PAINT = np.array((222.0, 222.0, 218.0))

SMALLEST_THING = 25 / 375
"""Lowest visible height of a thing that is told apart, as a share of the image's: what the KITTI object benchmark calls
moderate (25 px of 375; Geiger et al., CVPR 2012). Smaller ones are a crowd, as annotators leave them."""

Thing = tuple[float, Callable[[Canvas, int], None]]


@dataclass(frozen=True)
class SyntheticFrame:
    """One frame of a drive. rgb: uint8 [H, W, 3]; semantic: uint8 [H, W], CAMVID ids, no void; instance: uint16
    [H, W], 1..n on things, else 0, and 0 on things lower than SMALLEST_THING, which are a crowd; stamp_ns: from the
    drive's start."""

    rgb: NDArray[np.uint8]
    semantic: NDArray[np.uint8]
    instance: NDArray[np.uint16]
    stamp_ns: int


class SyntheticDrive:
    """A street, driven along at 9 m/s and filmed at 30 Hz; the same for the same arguments.

    width, height: px. distortion: coefficients of distortion_model in ROS's order, empty = none. pose: the camera's
    mounting in the base frame, which is on the ground with x along the street; by default it is under the camera.
    curvature: of the street, an arc, in 1/m, left positive, 0 = straight. nod_rad: how far the camera's pitch swings to
    either side of pose's. weather: what is before the lens in every frame. camera, labels: what is true of every frame;
    pose_at: where the camera was. frames is only what len() says: any frame can be asked for. Raises ValueError for a
    curvature beyond LARGEST_CURVATURE.
    """

    labels = CAMVID
    _streets_cross = False
    """Whether houses hide others who are farther, as they do in a bend."""

    def __init__(
        self,
        width: int = 1280,
        height: int = 720,
        seed: int = 0,
        frames: int = 300,
        distortion: tuple[float, ...] = (),
        pose: CameraPose | None = None,
        *,
        distortion_model: str = "plumb_bob",
        curvature: float = 0.0,
        nod_rad: float = 0.0,
        weather: Weather = FAIR,
    ) -> None:
        self._seed, self._frames, self._nod_rad, self._weather = seed, frames, nod_rad, weather
        self._bend = Bend(curvature)
        focal = 0.7 * width
        matrix = ((focal, 0.0, (width - 1) / 2), (0.0, focal, (height - 1) / 2), (0.0, 0.0, 1.0))
        self.camera = CameraModel(width, height, matrix, distortion_model, distortion)
        self.pose = pose or CameraPose(0.0, 0.0, 1.5, 0.0, 0.06, 0.0)
        rng = np.random.default_rng((seed, 0))
        self._right = -rng.uniform(1.7, 2.1)
        self._left = self._right + rng.uniform(6.8, 8.0)
        self._walk_m = rng.uniform(2.0, 3.0)
        self._projection = GroundProjection(self.camera, self.pose, (height, width))
        self._lens = _Lens(self._projection)
        self._grain = np.clip(scenery.noise(0) * 2.5 + scenery.noise(2) * 2 + 128, 0, 255).astype(np.uint8)

    def __len__(self) -> int:
        return self._frames

    def pose_at(self, i: int) -> CameraPose:
        """Where the camera is in frame i."""
        if not self._nod_rad:
            return self.pose
        return replace(self.pose, pitch=self.pose.pitch + self._nod_rad * math.sin(2 * math.pi * NOD_HZ * i / RATE_HZ))

    def _projection_at(self, i: int) -> GroundProjection:
        pose = self.pose_at(i)
        if pose == self.pose:
            return self._projection
        return GroundProjection(self.camera, pose, self._projection.image_hw)

    def frame(self, i: int) -> SyntheticFrame:
        """Frame i, from 0."""
        canvas = self._painted(i)
        rgb = self._with_grain(canvas.rgb, i)
        semantic, instance = self._labels(canvas)
        instance = small_as_crowd(instance)
        stamp_ns = round(i * 1e9 / RATE_HZ)
        bend = self._lens.bend
        return SyntheticFrame(bend(rgb, cv2.INTER_LINEAR), bend(semantic), bend(instance), stamp_ns)

    def _painted(self, i: int) -> Canvas:
        """Frame i as a pinhole sees it."""
        canvas = self._canvas(i)
        self._weather.prepare(canvas)
        self._paint_sky(canvas)
        self._weather.dim_sky(canvas)
        self._paint_street(canvas, i)
        self._weather.apply(canvas, np.random.default_rng((self._seed, 2)), i)
        return canvas

    def _canvas(self, i: int, has_picture: bool = True) -> Canvas:
        projection = self._projection_at(i)
        view = View.camera(self._lens.matrix, projection.base_from_optical, projection.position)
        return Canvas(*self._lens.size_hw, view, 0.0035, _HAZE, has_picture, label_rows=_LABEL_ROWS)

    def _labels(self, canvas: Canvas) -> tuple[NDArray[np.uint8], NDArray[np.uint16]]:
        """Semantic and instance mask of what is painted."""
        return canvas.labels()

    def birds_eye(
        self, i: int, origin_m: tuple[float, float], shape: tuple[int, int], cell_m: tuple[float, float]
    ) -> NDArray[np.uint8]:
        """The truth on the ground: which class the camera sees where each ground point is, uint8 [rows (y), columns
        (x)], cells of cell_m = (x, y) metres from the corner origin_m on; VOID outside the image.

        Rendered straight onto the ground, so it shares no step with what it is compared to: an object stands on its
        own foot and covers the ground that it hides.
        """
        projection = self._projection_at(i)
        # A rim of one cell, cut off in the end: of polygons that leave the canvas OpenCV may draw the edge along its border.
        corner = origin_m[0] - cell_m[0], origin_m[1] - cell_m[1]
        view = View.birds_eye(projection.position, corner, cell_m)
        canvas = Canvas(shape[0] + 2, shape[1] + 2, view, 0.0, _HAZE, has_picture=False)
        self._paint_street(canvas, i)
        x = origin_m[0] + (np.arange(shape[1]) + 0.5) * cell_m[0]
        y = origin_m[1] + (np.arange(shape[0]) + 0.5) * cell_m[1]
        pixels = projection.ground_to_pixels(np.stack(np.meshgrid(x, y), axis=-1).reshape(-1, 2))
        with np.errstate(invalid="ignore"):
            seen = ((pixels > -0.5) & (pixels < (self.camera.width - 0.5, self.camera.height - 0.5))).all(axis=1)
        semantic, _ = self._labels(canvas)
        return np.where(seen.reshape(shape), semantic[1:-1, 1:-1], np.uint8(VOID))

    def exact_free_distance(self, i: int, range_max_m: float = 40.0, width_m: float = 0.0) -> float:
        """Distance in m straight ahead to where the road ends or an object stands, to the centimetre; inf beyond
        range_max_m. width_m: the shortest one across this width, to 2 cm; 0 = along the x axis only."""
        # Finer across than along: an edge that is met at a small angle would come much too soon by a cell.
        cell, across = (0.02, 0.005) if width_m else (0.01, 0.001)
        rows = 2 * round(width_m / 2 / across) + 1
        ahead = self.birds_eye(i, (0.0, -rows * across / 2), (rows, round(range_max_m / cell)), (cell, across))
        ends = np.flatnonzero(((ahead != scenery.ROAD) & (ahead != VOID)).any(axis=0))
        return float(ends[0]) * cell if len(ends) else math.inf

    def exact_edges(self, i: int, ahead_m: float) -> tuple[float, float]:
        """How far in m, to the centimetre, the road reaches to the left and to the right of (ahead_m, 0): to another
        class or what hides it; inf where it leaves the image, NaN where (ahead_m, 0) is not seen to be road or lies
        behind an object."""
        cell, side = 0.01, 3000
        before = self.birds_eye(i, (0.0, -cell / 2), (1, round(ahead_m / cell)), (cell, cell))[0]
        if ((self.labels.drivable_costs[before] < 0) & (before != VOID)).any():
            return math.nan, math.nan
        line = self.birds_eye(i, (ahead_m - cell / 2, -(side + 0.5) * cell), (2 * side + 1, 1), (cell, cell))[:, 0]
        left, right = (_reach(half, cell) for half in (line[side:], line[side::-1]))
        return left, right

    def exact_polygon(self, i: int, range_m: float = 20.0) -> tuple[Outline, ...]:
        """The road that is seen within range_m ahead and to either side, as polygons on the ground in m.

        Traced on the bird's-eye view at 2 cm through the middles of its cells, so they lie up to 1 cm inside the truth.
        """
        cell = 0.02
        across = 2 * round(range_m / cell)
        road = self.birds_eye(i, (0.0, -range_m), (across, across // 2), (cell, cell)) == scenery.ROAD
        contours, hierarchy = cv2.findContours(road.astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
        corner = np.array((cell / 2, cell / 2 - range_m))
        return tuple(
            Outline((contour[:, 0] * cell + corner).astype(np.float32), bool(links[3] >= 0))
            for contour, links in zip(contours, hierarchy[0] if contours else ())
            if len(contour) > 2
        )

    def _with_grain(self, rgb: NDArray[np.uint8], i: int) -> NDArray[np.uint8]:
        height, width = rgb.shape[:2]
        grain = np.roll(self._grain, (37 * i % 1024, 61 * i % 1024), (0, 1))
        tiles = np.tile(grain, (-(-height // 1024), -(-width // 1024)))[:height, :width]
        return cv2.addWeighted(rgb, 1.0, cv2.merge((tiles, tiles, tiles)), 1.0, -128.0)

    def _paint_sky(self, canvas: Canvas) -> None:
        ramp = np.linspace(0, 2, canvas.codes.shape[0])[:, None].clip(0, 1)
        rows = (_SKY * (1 - ramp) + _HAZE * ramp).astype(np.uint8)[:, None]
        cv2.repeat(rows, 1, canvas.rgb.shape[1], canvas.rgb)

    def _paint_street(self, canvas: Canvas, i: int) -> None:
        """Everything but the sky, from far to near."""
        travelled = SPEED_M_S * i / RATE_HZ
        # Where nothing is painted the camera looks past the ground, in a bird's-eye view too.
        canvas.clear(scenery.SKY)
        self._paint_ground(canvas, travelled)
        self._close(canvas)
        things: list[Thing] = []
        for block in self._blocks(travelled):
            things += self._block(canvas, block, travelled, i / RATE_HZ)
        things += self._moving(travelled, i / RATE_HZ)
        for number, (_, paint) in enumerate(sorted(things, key=lambda thing: -thing[0]), start=1):
            paint(canvas, number)

    def _close(self, canvas: Canvas) -> None:
        """Trees close the street, so that what lies farther need not be drawn."""
        wide = 40 if self._bend.curvature else 60
        self._bend.over(canvas).paint(scenery.wall(_VIEW_M + 5, wide, _VIEW_M + 5, -wide, 0, 7), _LEAVES, TREE)

    def _blocks(self, travelled: float) -> range:
        """Numbers of the blocks that are seen, the farthest first."""
        first = math.floor(travelled / BLOCK_M)
        return range(first + round(_VIEW_M / BLOCK_M), first - 2, -1)

    def _paint_ground(self, canvas: Canvas, travelled: float) -> None:
        right, left = self._right, self._left
        street = self._bend.over(canvas)
        canvas.paint(scenery.rectangle(-5, 1000, -60, 60), _PAVING, scenery.PAVEMENT)
        street.paint(scenery.rectangle(-5, 1000, right, left), _ASPHALT, scenery.ROAD)
        joints = np.arange(-(travelled % 1.2), 40, 1.2)
        for y0, y1 in ((right - self._walk_m, right), (left, left + self._walk_m)):
            strips = np.stack([scenery.rectangle(x, x + 0.04, y0, y1) for x in joints])
            street.paint_many(strips, _PAVING * 0.85, scenery.PAVEMENT)
        for kerb, out in ((right, -1), (left, 1)):
            street.paint(scenery.rectangle(-5, 300, kerb, kerb + out * 0.15), _PAVING * 1.15, scenery.PAVEMENT)
        middle = (right + left) / 2
        dashes = np.arange(-(travelled % 9.0), 150, 9.0)
        street.paint_many(
            np.stack([scenery.rectangle(x, x + 3, middle - 0.07, middle + 0.07) for x in dashes]), _PAINT, scenery.ROAD
        )

    def _block(self, canvas: Canvas, block: int, travelled: float, seconds: float) -> Iterator[Thing]:
        """What stands along 22 m of the street. Houses of a straight street are painted at once: all else stands before
        them; where it bends or crosses another they hide what is farther."""
        rng = np.random.default_rng((self._seed, 1, block + 1000))
        x0 = block * BLOCK_M - travelled
        for side, kerb in ((-1, self._right), (1, self._left)):
            paint_front = self._front(rng, x0, side, kerb)
            if self._bend.curvature or self._streets_cross:
                yield x0 + BLOCK_M, paint_front
            else:
                paint_front(canvas, 0)
            for paint in (scenery.paint_pole, scenery.paint_tree, scenery.paint_sign):
                at, seed, drawn = x0 + rng.uniform(0, BLOCK_M), Look(int(rng.integers(1 << 31))), rng.random() < 0.5
                if drawn and at > 1.0:
                    x, y, _ = self._bend.place(at, kerb + side * 0.45)
                    yield at, lambda c, _, p=paint, s=seed, x=x, y=y: p(c, s.rng(), x, y)  # type: ignore[misc]
            yield from self._standing(rng, x0, side, kerb, seconds)

    def _front(self, rng: np.random.Generator, x0: float, side: int, kerb: float) -> Callable[[Canvas, int], None]:
        """What closes a block on one side: a house, a fence or a hedge."""
        look, front = Look(int(rng.integers(1 << 31))), kerb + side * self._walk_m
        kind, tall = rng.random(), rng.uniform(5, 13)
        if kind < 0.8:
            x1 = x0 + BLOCK_M - rng.uniform(0, 3)
            return lambda canvas, _: scenery.paint_house(self._bend.over(canvas), look.rng(), x0, x1, front, tall, SUN)
        enclose = scenery.paint_fence if kind < 0.9 else scenery.paint_hedge
        return lambda canvas, _: enclose(self._bend.over(canvas), look.rng(), x0, x0 + BLOCK_M, front + side * 0.2)

    def _standing(self, rng: np.random.Generator, x0: float, side: int, kerb: float, seconds: float) -> Iterator[Thing]:
        """Parked cars on the left, walkers on both sides."""
        for place in range(3):
            look, parked = Look(int(rng.integers(1 << 31))), rng.random() < 0.45
            x = x0 + 3.5 + place * 7.2 + rng.uniform(-0.3, 0.3)
            if parked and side > 0 and x > 1.5:
                yield self._car(x, kerb - 1.05, math.pi, look)
        for _ in range(int(rng.integers(0, 3))):
            look, start, pace = Look(int(rng.integers(1 << 31))), rng.uniform(0, BLOCK_M), rng.uniform(0.2, 0.5)
            y = kerb + side * rng.uniform(0.8, 1.7)
            x = x0 + start + 2.5 * math.sin(pace * seconds + start)
            if x > 1.5:
                yield self._walker(x, y, look, 6 * seconds)

    def _car(self, along: float, left: float, yaw: float, look: Look) -> Thing:
        x, y, heading = self._bend.place(along, left)
        return along, lambda canvas, number: paint_car(canvas, x, y, yaw + heading, look, SUN, number)

    def _walker(self, along: float, left: float, look: Look, phase: float) -> Thing:
        x, y, _ = self._bend.place(along, left)
        return along, lambda canvas, number: paint_pedestrian(canvas, x, y, look, phase, number)

    def _moving(self, travelled: float, seconds: float) -> Iterator[Thing]:
        """A car ahead that comes and goes, oncoming cars, a bicyclist at the kerb, a walker who crosses."""
        ahead = 30.0 + 19.0 * math.sin(2 * math.pi * seconds / 13.0 + self._seed)
        yield self._car(ahead, 0.0, 0.0, Look(self._seed * 7 + 1))
        spacing, closing = 55.0, SPEED_M_S + 10.0
        lane = (self._left + self._right) / 2 + 0.5 + 0.95
        first = math.floor(closing * seconds / spacing)
        for number in range(first, first + 4):
            x = number * spacing + 20 - closing * seconds
            if x > 2:
                yield self._car(x, lane, math.pi, Look(self._seed * 31 + number))
        rider = (25.0 + self._seed - 5.0 * seconds) % 60.0
        if rider > 3:
            x, y, _ = self._bend.place(rider, self._right + 0.5)
            look = Look(self._seed + 3)
            yield rider, lambda c, n, x=x, y=y: paint_bicyclist(c, x, y, look, 5 * seconds, False, n)  # type: ignore[misc]
        crossing = 46.0 - travelled % 90.0
        if crossing > 3:
            y = self._right - 1 + 1.4 * (travelled % 90.0) / SPEED_M_S
            yield self._walker(crossing, y, Look(self._seed + 5), 6 * seconds)


def _reach(labels: NDArray[np.uint8], cell_m: float) -> float:
    """How far road goes on from the middle of the first of these cells."""
    end = int((np.append(labels, np.uint8(VOID)) != scenery.ROAD).argmax())
    if end == 0:
        return math.nan
    return math.inf if end == len(labels) or labels[end] == VOID else (end - 0.5) * cell_m


def small_as_crowd(instance: NDArray[np.uint16]) -> NDArray[np.uint16]:
    """The instance mask with 0 for what is lower than SMALLEST_THING."""
    height = instance.shape[0]
    rows = np.zeros((height, int(instance.max()) + 1), np.bool_)
    rows[np.nonzero(instance)[0], instance[instance > 0]] = True
    tall = height - rows[::-1].argmax(axis=0) - rows.argmax(axis=0)
    ids = np.arange(rows.shape[1], dtype=np.uint16)
    return np.where(tall >= SMALLEST_THING * height, ids, 0).astype(np.uint16)[instance]


class _Lens:
    """Bends a pinhole picture as the camera's lens does. matrix: K of the pinhole picture; size_hw: its size, which is
    larger where the lens sees farther round."""

    def __init__(self, projection: GroundProjection) -> None:
        height, width = projection.image_hw
        self.matrix: Floats = np.array(projection.camera.K, np.float64)
        self.size_hw = (height, width)
        self._maps: tuple[NDArray[np.float32], NDArray[np.float32]] | None = None
        if not projection.is_distorted:
            return
        x, y = np.meshgrid(np.arange(width), np.arange(height))
        rays = projection.pixels_to_rays(np.column_stack((x.ravel(), y.ravel()))) @ projection.base_from_optical
        pinhole = (rays / rays[:, 2:] @ self.matrix.T)[:, :2]
        low, high = np.floor(pinhole.min(axis=0)) - 1, np.ceil(pinhole.max(axis=0)) + 1
        self.matrix[:2, 2] -= low
        self.size_hw = (int(high[1] - low[1]) + 1, int(high[0] - low[0]) + 1)
        maps = (pinhole - low).astype(np.float32).reshape(height, width, 2)
        self._maps = (maps[..., 0].copy(), maps[..., 1].copy())

    def bend(self, image: NDArray[Any], interpolation: int = cv2.INTER_NEAREST) -> NDArray[Any]:
        """The image through the lens; as it is for labels, which are picked and not mixed."""
        if self._maps is None:
            return image
        return cv2.remap(image, *self._maps, interpolation)
