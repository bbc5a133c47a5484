"""Ten drives to judge tracking by: who is where, how fast on the ground and how much of him is seen, in every frame.

drive = TrackedDrive(3, 1280, 720)
frame = drive.frame(40)            # a SyntheticFrame whose instance mask holds the same ids in every frame
for seen in frame.objects: ...     # id, class_id, position_m, velocity_m_s, visibility
truth = frame.truth                # results.Truth
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from seg_perception.camera_model import CameraPose
from seg_perception.results import Truth
from seg_perception.synthetic import roadside, scenery
from seg_perception.synthetic.canvas import Canvas
from seg_perception.synthetic.classes import AS_CAMVID, TERRAIN
from seg_perception.synthetic.drive import BLOCK_M, RATE_HZ, SUN, SyntheticDrive, SyntheticFrame, Thing, small_as_crowd
from seg_perception.synthetic.lorries import paint_bus, paint_lorry
from seg_perception.synthetic.objects import BICYCLIST, CAR, PEDESTRIAN, paint_bicyclist, paint_car, paint_pedestrian
from seg_perception.synthetic.script import DRIVES, Actor, scene_of, shaken

FRAMES = round(10 * RATE_HZ)
"""Of each drive: 10 s."""
RANGE_M = 120.0
"""Who is farther ahead is not painted."""
_BEHIND_M = 0.8
_CLASS = {"car": CAR, "lorry": CAR, "bus": CAR, "pedestrian": PEDESTRIAN, "bicyclist": BICYCLIST}
_VEHICLES = {"car": paint_car, "lorry": paint_lorry, "bus": paint_bus}
_MOTORWAY_RIGHT, _MOTORWAY_LEFT, _MEDIAN, _OTHER = -8.2, 6.0, 6.8, 18.5


@dataclass(frozen=True)
class SeenObject:
    """A thing of one frame, exactly. id: its value in the instance mask, the same in every frame of the drive.

    class_id: of CAMVID. position_m: the middle of its foot in the base frame of this moment (x ahead, y left).
    velocity_m_s: over the ground, not relative to the camera, along the base frame's axes, which the world shares: the
    camera never turns. yaw_rad, size_m (length, width): how its foot lies around position_m. visibility: the share that
    is seen, 0 to 1, of the pixels that it would have in the image with nothing before it. area_px: those that are seen.
    """

    id: int
    class_id: int
    position_m: tuple[float, float]
    velocity_m_s: tuple[float, float]
    yaw_rad: float
    size_m: tuple[float, float]
    visibility: float
    area_px: int


@dataclass(frozen=True)
class TrackedFrame(SyntheticFrame):
    """objects: every thing that is in the image's field of view, hidden ones too (visibility 0), by id. base_in_world:
    x, y in m and yaw in rad of the base frame, as odometry would say; speed_m_s: of it, along x. In the instance mask
    things lower than SMALLEST_THING are a crowd, 0, as in every drive; they stand in objects nevertheless."""

    objects: tuple[SeenObject, ...]
    base_in_world: tuple[float, float, float]
    speed_m_s: float

    @property
    def truth(self) -> Truth:
        """As metrics take it."""
        return Truth(self.semantic, self.instance)


class TrackedDrive(SyntheticDrive):
    """Drive 0 to DRIVES - 1 (crossing, overtaking, hidden walkers, motorway; by day, at night, in rain and fog, with a
    camera that shakes), 10 s at 30 Hz; the same for the same arguments. Raises ValueError for another number."""

    def __init__(self, number: int, width: int = 1280, height: int = 720) -> None:
        if not 0 <= number < DRIVES:
            raise ValueError(f"there is no drive {number} to track in: they are 0 to {DRIVES - 1}")
        super().__init__(width, height, seed=5000 + number, frames=FRAMES)
        self.scene = scene_of(number, self._right, self._left)
        self._weather = self.scene.weather
        self._streets_cross = self.scene.junction_m is not None

    def pose_at(self, i: int) -> CameraPose:
        """Where the camera is in frame i, shaken."""
        if not self.scene.shake:
            return self.pose
        up, roll, pitch, yaw = shaken(self.scene.shake, i / RATE_HZ).tolist()
        pose = self.pose
        return replace(pose, z=pose.z + up, roll=pose.roll + roll, pitch=pose.pitch + pitch, yaw=pose.yaw + yaw)

    def frame(self, i: int) -> TrackedFrame:
        """Frame i, from 0 to len - 1."""
        canvas = self._painted(i)
        semantic, instance = self._labels(canvas)
        x, y, speed, _ = self.scene.ego.at(i / RATE_HZ)
        stamp_ns = round(i * 1e9 / RATE_HZ)
        objects = tuple(self._seen(i, instance))
        rgb, instance = self._with_grain(canvas.rgb, i), small_as_crowd(instance)
        return TrackedFrame(rgb, semantic, instance, stamp_ns, objects, (x, y, 0.0), speed)

    def _labels(self, canvas: Canvas) -> tuple[NDArray[np.uint8], NDArray[np.uint16]]:
        codes = np.ascontiguousarray(canvas.codes)
        return AS_CAMVID[codes & 15], (codes >> 4).astype(np.uint16)

    def _seen(self, i: int, instance: NDArray[np.uint16]) -> Iterator[SeenObject]:
        """Everybody in the field of view, each painted alone once more to see how much of him is hidden."""
        seen = np.bincount(instance.ravel(), minlength=len(self.scene.actors) + 1)
        alone = self._canvas(i, has_picture=False)
        for actor, (x, y, vx, vy), _ in self._acting(i):
            alone.clear(0)
            self._paint_actor(alone, actor, i)
            area, whole = int(seen[actor.number]), int(np.count_nonzero(alone.codes))
            if whole:
                yaw, share = actor.heading(vx, vy), min(area / whole, 1.0)
                class_id = _CLASS[actor.kind]
                yield SeenObject(actor.number, class_id, (x, y), (vx, vy), yaw, actor.size_m, share, area)

    def _acting(self, i: int) -> Iterator[tuple[Actor, tuple[float, float, float, float], float]]:
        """Who is ahead in frame i, with his place in the base frame, his speed, and how far he is painted."""
        seconds = i / RATE_HZ
        ego_x, ego_y, *_ = self.scene.ego.at(seconds)
        for actor in self.scene.actors:
            x, y, vx, vy = actor.path.at(seconds)
            long, wide = actor.size_m
            turn = actor.heading(vx, vy)
            reach = (abs(math.cos(turn)) * long + abs(math.sin(turn)) * wide) / 2
            ahead = x - ego_x
            if ahead + reach > _BEHIND_M and ahead < RANGE_M and (reach > 1 or ahead > _BEHIND_M):
                yield actor, (ahead, y - ego_y, vx, vy), ahead

    def _paint_actor(self, canvas: Canvas, actor: Actor, i: int) -> None:
        seconds = i / RATE_HZ
        ego_x, ego_y, *_ = self.scene.ego.at(seconds)
        x, y, vx, vy = actor.path.at(seconds)
        x, y, yaw = x - ego_x, y - ego_y, actor.heading(vx, vy)
        if actor.kind == "pedestrian":
            paint_pedestrian(canvas, x, y, actor.look, 6 * seconds if math.hypot(vx, vy) > 0.1 else 0.0, actor.number)
        elif actor.kind == "bicyclist":
            paint_bicyclist(canvas, x, y, actor.look, 5 * seconds, abs(vy) > abs(vx), actor.number)
        else:
            _VEHICLES[actor.kind](canvas, x, y, yaw, actor.look, SUN, actor.number)

    def _paint_street(self, canvas: Canvas, i: int) -> None:
        travelled = self.scene.ego.at(i / RATE_HZ)[0]
        canvas.clear(scenery.SKY)
        paint = self._motorway if self.scene.is_motorway else self._houses
        things = [*paint(canvas, travelled)]
        for actor, _, ahead in self._acting(i):
            things.append((ahead, lambda c, _, a=actor: self._paint_actor(c, a, i)))  # type: ignore[misc]
        for _, draw in sorted(things, key=lambda thing: -thing[0]):
            draw(canvas, 0)

    def _houses(self, canvas: Canvas, travelled: float) -> Iterator[Thing]:
        """The street with its houses, and the one that crosses it."""
        self._paint_ground(canvas, travelled)
        at = self.scene.junction_m
        if at is not None:
            near = at - 4.5 - travelled
            canvas.paint(scenery.rectangle(near, near + 9, -60, 60), (104.0, 104.0, 108.0), scenery.ROAD)
            bars = np.arange(self._right + 0.5, self._left - 0.5, 1.0)
            walk = near - 5.5
            stripes = np.stack([scenery.rectangle(walk, walk + 3, y, y + 0.5) for y in bars])
            canvas.paint_many(stripes, (222.0, 222, 218), scenery.ROAD)
        self._close(canvas)
        for block in self._blocks(travelled):
            start, end = block * BLOCK_M, (block + 1) * BLOCK_M
            if at is None or end < at - 8 or start > at + 8:
                yield from self._block(canvas, block, travelled, 0.0)
        yield from self._works(canvas, travelled)

    def _standing(self, rng: np.random.Generator, x0: float, side: int, kerb: float, seconds: float) -> Iterator[Thing]:
        """Nobody: who stands in the street is in its script."""
        yield from ()

    def _works(self, canvas: Canvas, travelled: float) -> Iterator[Thing]:
        """A barrier along the right kerb for a stretch."""
        rng = np.random.default_rng((self._seed, 3))
        if self.scene.works_m is None:
            return
        start, end = (max(at - travelled, -3.0) for at in self.scene.works_m)
        y = self._right + 0.35
        for at, paint in roadside.concrete_barrier(canvas, rng, y, start, end, SUN, travelled) if end > 1 else ():
            yield at, lambda _, n, p=paint: p(n)  # type: ignore[misc]

    def _motorway(self, canvas: Canvas, travelled: float) -> Iterator[Thing]:
        """Three lanes each way, a concrete barrier between them, a guard rail beside a bank."""
        rng = np.random.default_rng((self._seed, 4))
        dry, asphalt = roadside.grass(rng), np.array((96.0, 96, 100))
        paint = (222.0, 222, 218)
        canvas.paint(scenery.rectangle(-5, 1000, -80, 80), dry * 0.95, TERRAIN)
        bank = scenery.rectangle(-5, 1000, -24, -10)
        bank[:2, 2] = 4.0
        canvas.paint(bank, dry, TERRAIN)
        canvas.paint(scenery.rectangle(-5, 1000, _MOTORWAY_RIGHT, _OTHER), asphalt, scenery.ROAD)
        for y in (-5.4, 5.4, 7.6, 18.2):
            canvas.paint(scenery.rectangle(-5, 400, y - 0.08, y + 0.08), paint, scenery.ROAD)
        dashes = np.arange(-(travelled % 12.0), 150, 12.0)
        for y in (-1.8, 1.8, 11.2, 14.8):
            strips = np.stack([scenery.rectangle(x, x + 4, y - 0.07, y + 0.07) for x in dashes])
            canvas.paint_many(strips, paint, scenery.ROAD)
        self._close(canvas)
        seed = np.random.default_rng((self._seed, 5))
        for at, draw in (
            *roadside.concrete_barrier(canvas, seed, _MEDIAN - 0.3, -3.0, 140.0, SUN, travelled),
            *roadside.guard_rail(canvas, seed, _MOTORWAY_RIGHT - 0.6, -3.0, 140.0, dry, travelled),
        ):
            yield at, lambda _, n, p=draw: p(n)  # type: ignore[misc]
        yield from self._trees(travelled)

    def _trees(self, travelled: float) -> Iterator[Thing]:
        """Trees on the bank and beyond the other lanes."""
        for block in self._blocks(travelled):
            rng = np.random.default_rng((self._seed, 6, block + 1000))
            for y, up in ((-rng.uniform(16, 23), 2.0), (rng.uniform(22, 34), 0.0)):
                at, seed = block * BLOCK_M + rng.uniform(0, BLOCK_M) - travelled, int(rng.integers(1 << 31))
                if at > 3 and rng.random() < 0.7:
                    yield (
                        at,
                        lambda c, _, x=at, y=y, u=up, s=seed: scenery.paint_tree(c, np.random.default_rng(s), x, y, u),  # type: ignore[misc]
                    )
