"""Pictures of camera images for people: the overlay of a frame and the legend of a label set. All images are RGB."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable

import cv2
import numpy as np
from numpy.typing import NDArray

from seg_perception.camera_model import Floats
from seg_perception.compiled import compiled
from seg_perception.ground.geometry import GroundProjection
from seg_perception.labels import VOID, LabelSet
from seg_perception.pictures.drawing import (
    FREE_COLOR,
    Color,
    draw_lines,
    draw_tag,
    draw_text,
    flow_legend,
    font_scale,
    free_ahead_m,
    free_ends_m,
    ground_colors,
    in_metres,
    runs,
    tag_size,
    text_width,
    thickness,
)
from seg_perception.pictures.trails import Trails, foot_px, speed_text, track_color
from seg_perception.results import Drivable, DrivableArea, FreeSpace, Panoptic, Segment

MASK_WEIGHT = 0.45
LEAST_TAG_PX = 24
"""Smaller things get no tag: it would hide them."""
_SWATCH_RIM = (150, 150, 150)
_HATCH = (230, 230, 230)
FROM_VEHICLE = "speeds as seen from the vehicle"
_LONGEST_NOTE = "masks: 999 frames old"


class Overlay:
    """Draws results over their frame, within buffers that are made once per size. Where things are followed it remembers
    where they were, so one is for one camera's frames in their order."""

    def __init__(self, labels: LabelSet, gone: Collection[int] = ()) -> None:
        """gone: classes that no mask holds, and so no legend."""
        self._labels, self._gone = labels, gone
        self._table = np.ascontiguousarray(labels.colors[:, None])
        self._ground_colors = ground_colors(labels)
        self._colored = np.zeros((0, 0, 3), np.uint8)
        self._strip = np.zeros((0, 0, 3), np.uint8)
        self._trails = Trails(foot_px)

    def draw(
        self,
        rgb: NDArray[np.uint8],
        panoptic: Panoptic,
        drivable: Drivable | None = None,
        out: NDArray[np.uint8] | None = None,
        projection: GroundProjection | None = None,
        *,
        over_ground: bool = False,
    ) -> NDArray[np.uint8]:
        """uint8 [H, W, 3] of rgb's size: class colours, borders and tags of things, trails and speeds of those that are
        followed, the drivable areas' outlines, the own vehicle hatched, and a legend strip; with the projection of the
        mask's pixels also where free space ends, the free distance ahead and the areas' edges at the look-ahead distances.
        Masks of another size are stretched to it. out: where to draw; None or of another size = into a new image. over_ground:
        whether speeds in m/s are over the ground; else they are as seen from the vehicle, which is then said.
        """
        height, width = rgb.shape[:2]
        if self._colored.shape != rgb.shape:
            self._colored = np.zeros(rgb.shape, np.uint8)
            self._strip = legend_strip(self._labels, width, self._gone)
        if out is None or out.shape != rgb.shape:
            out = np.empty_like(rgb)
        semantic, instance = panoptic.semantic, panoptic.instance
        if semantic.shape != (height, width):
            semantic = cv2.resize(semantic, (width, height), interpolation=cv2.INTER_NEAREST)
            instance = cv2.resize(instance, (width, height), interpolation=cv2.INTER_NEAREST)
        cv2.applyColorMap(semantic, self._table, dst=self._colored)
        cv2.addWeighted(rgb, 1 - MASK_WEIGHT, self._colored, MASK_WEIGHT, 0, dst=out)
        _draw_borders(instance, out)
        if drivable is not None and drivable.ego is not None:
            hatch(drivable.ego, out)
        scale_xy = np.array([width, height]) / panoptic.semantic.shape[::-1]
        rows = min(len(self._strip), height // 4)
        tags = _Tags(out, height - rows)
        if drivable is not None:
            self._draw_outlines(drivable, scale_xy, out)
            if projection is not None:
                self._draw_ground(drivable, _View(projection, scale_xy), tags, out)
        self._draw_trails(panoptic, scale_xy, out)
        tells_ground_speed = self._tag_things(panoptic, scale_xy, tags)
        if tells_ground_speed and not over_ground:
            tags.add(FROM_VEHICLE, [(width, tags.height_px)])
        out[height - rows :] = self._strip[:rows]
        return out

    def _draw_outlines(self, drivable: Drivable, scale_xy: NDArray[np.float64], out: NDArray[np.uint8]) -> None:
        for area in drivable.areas:
            points = [(outline.points + 0.5) * scale_xy - 0.5 for outline in area.outlines_px]
            draw_lines(out, points, self._ground_colors[area.class_id], thickness(out.shape[1]) + 1, closed=True)

    def _draw_ground(self, drivable: Drivable, view: _View, tags: _Tags, out: NDArray[np.uint8]) -> None:
        line_px = thickness(out.shape[1])
        if drivable.free_space is not None:
            draw_lines(out, view.free_edge(drivable.free_space), FREE_COLOR, line_px + 1, cased=True)
        for area in drivable.areas:
            ticks = view.ticks(area, half_px=out.shape[0] / 90)
            draw_lines(out, ticks, self._ground_colors[area.class_id], line_px + 1, cased=True)
        free_m = free_ahead_m(drivable, self._labels)
        limit_m = math.inf if drivable.free_space is None else drivable.free_space.range_max_m
        x, y = view.pixels(np.array([[np.minimum(free_m, limit_m), 0.0]]))[0]
        if np.isfinite((x, y)).all():
            # below, on the free ground, where it hides no object
            tags.add(in_metres(free_m, limit_m), [(x, y + tags.height_px + 8), (x, y - 8)], centered=True)

    def _draw_trails(self, panoptic: Panoptic, scale_xy: NDArray[np.float64], out: NDArray[np.uint8]) -> None:
        """Where the feet of things were in the image of late, each in its track's colour."""
        tracks = [segment.track for segment in panoptic.segments if segment.track is not None]
        self._trails.add(tracks)
        for track in tracks:
            points = (self._trails.of(track) + 0.5) * scale_xy - 0.5
            if track.state != "new" and len(points) > 1:
                draw_lines(out, [points], track_color(track.id), thickness(out.shape[1]) + 1, cased=True)

    def _tag_things(self, panoptic: Panoptic, scale_xy: NDArray[np.float64], tags: _Tags) -> bool:
        """Near things, which are large, come first: where there is no room, a far one goes without. Returns whether any tells a
        speed in m/s."""
        tells_ground_speed = False
        for segment in sorted(panoptic.segments, key=lambda segment: -segment.area):
            x, y, width, height = np.asarray(segment.box) * np.tile(scale_xy, 2)
            if segment.is_thing and min(width, height) >= LEAST_TAG_PX:
                tags.add(self._tag(segment), [(x, y), (x, y + height + tags.height_px), (x, y + tags.height_px)])
                track = segment.track
                tells_ground_speed |= track is not None and track.state != "new" and track.ground is not None
        return tells_ground_speed

    def _tag(self, segment: Segment) -> str:
        """What it is, by most votes where it is followed, its number, and how fast it goes."""
        track = segment.track
        if track is None:
            return f"{self._labels.names[segment.class_id]} {segment.id}"
        return f"{self._labels.names[track.class_id]} {track.id}  {speed_text(track)}".rstrip()


class _Tags:
    """Tags that do not lie over each other, above the row `bottom` of out."""

    def __init__(self, out: NDArray[np.uint8], bottom: int) -> None:
        self._out, self._bottom = out, bottom
        self._scale = font_scale(out.shape[1])
        note_width, self.height_px = tag_size(_LONGEST_NOTE, self._scale)
        self._taken = [(0, 0, note_width + 4, self.height_px + 4)]

    def add(self, text: str, places: Iterable[tuple[float, float]], *, centered: bool = False) -> None:
        """Write text at the first place, the left (or the middle) of its lower edge, that leaves other tags free."""
        width, height = tag_size(text, self._scale)
        for x, y in places:
            left = int(min(max(0.0, x - width / 2 if centered else x), self._out.shape[1] - width))
            top = max(0, int(y) - height)
            box = left, top, left + width, top + height
            if box[3] <= self._bottom and not any(_overlap(box, other) for other in self._taken):
                draw_tag(self._out, left, top, text, self._scale)
                self._taken.append(box)
                return


def _overlap(a: tuple[int, int, int, int], b: tuple[int, int, int, int]) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


class _View:
    """From the ground to a picture that is scale_xy times as large as the projection's image."""

    def __init__(self, projection: GroundProjection, scale_xy: NDArray[np.float64]) -> None:
        self._projection, self._scale_xy = projection, scale_xy

    def pixels(self, ground: Floats) -> Floats:
        """Pixels [K, 2] of ground points [K, 2] in m; NaN where there are none."""
        pixels: Floats = (self._projection.ground_to_pixels(ground) + 0.5) * self._scale_xy - 0.5
        return pixels

    def free_edge(self, free_space: FreeSpace) -> list[Floats]:
        """Lines along what ends free space, without those ends that are only the edge of the image."""
        ends = free_ends_m(free_space)
        ends[~np.isfinite(free_space.ranges_m)] = np.nan
        pixels = self._projection.ground_to_pixels(ends)
        height, width = self._projection.image_hw
        margin = 0.01 * width
        with np.errstate(invalid="ignore"):
            inside = np.all((pixels > margin) & (pixels < (width - margin, height - margin)), axis=1)
        return [(line + 0.5) * self._scale_xy - 0.5 for line in runs(pixels, inside)]

    def ticks(self, area: DrivableArea, half_px: float) -> list[Floats]:
        """Upright lines where an area ends to the left and to the right."""
        points = [(e.ahead_m, y) for e in area.edges for y in (e.left_m, -e.right_m) if math.isfinite(y)]
        if not points:
            return []
        pixels = self.pixels(np.array(points))
        upright = np.array(((0.0, -half_px), (0.0, half_px)))
        return [pixel + upright for pixel in pixels[np.isfinite(pixels).all(axis=1)]]


def hatch(pixels: NDArray[np.uint8], out: NDArray[np.uint8]) -> None:
    """Hatch in out, uint8 [H, W, 3], what is not 0 in pixels, uint8 [h, w] of any size, and draw its border."""
    height, width = out.shape[:2]
    if pixels.shape != (height, width):
        pixels = cv2.resize(pixels, (width, height), interpolation=cv2.INTER_NEAREST)  # type: ignore[assignment]
    period = max(height // 40, 6)
    v, u = np.ogrid[:height, :width]
    stripes = (pixels > 0) & ((u + v) % period < max(period // 5, 1))
    out[stripes] = _HATCH
    borders, _ = cv2.findContours(pixels, cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(out, borders, -1, _HATCH, thickness(width))


def note_age(rgb: NDArray[np.uint8], frames: int) -> None:
    """Write into the upper left corner of rgb, uint8 [H, W, 3], that its masks are frames old; nothing when they are new."""
    if frames:
        draw_tag(rgb, 4, 4, f"masks: {frames} frame{'s' if frames > 1 else ''} old", font_scale(rgb.shape[1]))


def legend(labels: LabelSet) -> NDArray[np.uint8]:
    """uint8 [rows, columns, 3]: every class of a label set with its colour, id and kind, one a line."""
    lines = [f"{label.id:>3}  {label.name}{_kind(label.thing, label.drivable_cost)}" for label in labels.classes]
    lines.append(f"{VOID}  unlabelled")
    colors = [*(label.color for label in labels.classes), tuple(int(c) for c in labels.colors[VOID])]
    line_px, scale = 24, 0.5
    width = 44 + max(text_width(line, scale) for line in lines)
    image = np.full((line_px * len(lines) + 8, width, 3), 255, np.uint8)
    for i, (line, color) in enumerate(zip(lines, colors)):
        top = 4 + line_px * i
        cv2.rectangle(image, (8, top + 3), (28, top + line_px - 4), color, cv2.FILLED)
        draw_text(image, 36, top + 17, line, scale, (0, 0, 0))
    return image


def legend_strip(labels: LabelSet, width: int, gone: Collection[int] = ()) -> NDArray[np.uint8]:
    """uint8 [rows, width, 3]: the classes but those gone side by side, wrapped to width, for the edge of a picture. The rim of
    a ground class' swatch is the colour of its outline."""
    rims: dict[int, Color] = ground_colors(labels)
    rows = [label for label in labels.classes if label.id not in gone]
    items = [(label.name, label.color, rims.get(label.id, _SWATCH_RIM)) for label in rows]
    return flow_legend(items, width, font_scale(width))


def _kind(thing: bool, drivable_cost: int) -> str:
    ground = f", ground of cost {drivable_cost}" if drivable_cost >= 0 else ""
    return (", thing" if thing else "") + ground


@compiled
def _draw_borders(instance: NDArray[np.uint16], out: NDArray[np.uint8]) -> None:
    """Paint white every pixel of a thing whose right or lower neighbour is another's, and that neighbour's side too."""
    height, width = instance.shape
    for y in range(height):
        for x in range(width):
            here = instance[y, x]
            right = instance[y, x + 1] if x + 1 < width else here
            below = instance[y + 1, x] if y + 1 < height else here
            if here != right or here != below:
                out[y, x] = 255
                if here != right:
                    out[y, x + 1] = 255
                if here != below:
                    out[y + 1, x] = 255
