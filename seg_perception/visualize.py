"""Pictures for people: the overlay of a frame, the legend of a label set, the ground from above. All images are RGB."""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.typing import NDArray

from seg_perception.labels import VOID, LabelSet
from seg_perception.panoptic_kernels import compiled
from seg_perception.results import Drivable, Grid, Panoptic

MASK_WEIGHT = 0.45
WHITE = (255, 255, 255)
OUTLINE_COLOR = (0, 255, 120)
UNKNOWN_COLOR = (60, 60, 66)
LEAST_TAG_PX = 24
"""Smaller things get no tag: it would hide them."""
BIRDS_EYE_PX = 480
BIRDS_EYE_RINGS_M = 5.0

_FONT = cv2.FONT_HERSHEY_SIMPLEX


class Overlay:
    """Draws results over their frame, within buffers that are made once per size."""

    def __init__(self, labels: LabelSet) -> None:
        self._labels = labels
        self._table = np.ascontiguousarray(labels.colors[:, None])
        self._colored = np.zeros((0, 0, 3), np.uint8)
        self._strip = np.zeros((0, 0, 3), np.uint8)

    def draw(
        self,
        rgb: NDArray[np.uint8],
        panoptic: Panoptic,
        drivable: Drivable | None = None,
        out: NDArray[np.uint8] | None = None,
    ) -> NDArray[np.uint8]:
        """uint8 [H, W, 3] of rgb's size: class colours, borders and tags of things, the drivable areas' outlines and a
        legend strip. Masks of another size are stretched to it. out: where to draw; None or of another
        size = into a new image.
        """
        height, width = rgb.shape[:2]
        if self._colored.shape != rgb.shape:
            self._colored = np.zeros(rgb.shape, np.uint8)
            self._strip = legend_strip(self._labels, width)
        if out is None or out.shape != rgb.shape:
            out = np.empty_like(rgb)
        semantic, instance = panoptic.semantic, panoptic.instance
        if semantic.shape != (height, width):
            semantic = cv2.resize(semantic, (width, height), interpolation=cv2.INTER_NEAREST)
            instance = cv2.resize(instance, (width, height), interpolation=cv2.INTER_NEAREST)
        cv2.applyColorMap(semantic, self._table, dst=self._colored)
        cv2.addWeighted(rgb, 1 - MASK_WEIGHT, self._colored, MASK_WEIGHT, 0, dst=out)
        _draw_borders(instance, out)
        scale_xy = np.array([width, height]) / panoptic.semantic.shape[::-1]
        if drivable is not None:
            _draw_outlines(drivable, scale_xy, out)
        self._draw_tags(panoptic, scale_xy, out)
        rows = min(len(self._strip), height // 4)
        out[height - rows :] = self._strip[:rows]
        return out

    def _draw_tags(self, panoptic: Panoptic, scale_xy: NDArray[np.float64], out: NDArray[np.uint8]) -> None:
        text_px = _tag_height(out)
        for segment in panoptic.segments:
            x, y, width, height = np.asarray(segment.box) * np.tile(scale_xy, 2)
            if segment.is_thing and min(width, height) >= LEAST_TAG_PX:
                text = f"{self._labels.names[segment.class_id]} {segment.id}"
                _draw_tag(out, int(x), max(0, int(y) - text_px - 6), text)


def note_age(rgb: NDArray[np.uint8], frames: int) -> None:
    """Write into the upper left corner of rgb, uint8 [H, W, 3], that its masks are frames old; nothing when they are new."""
    if frames:
        _draw_tag(rgb, 4, 4, f"masks: {frames} frame{'s' if frames > 1 else ''} old")


def legend(labels: LabelSet) -> NDArray[np.uint8]:
    """uint8 [rows, columns, 3]: every class of a label set with its colour, id and kind, one a line."""
    lines = [f"{label.id:>3}  {label.name}{_kind(label.thing, label.drivable_cost)}" for label in labels.classes]
    lines.append(f"{VOID}  unlabelled")
    colors = [*(label.color for label in labels.classes), tuple(int(c) for c in labels.colors[VOID])]
    line_px, scale = 24, 0.5
    width = 44 + max(_text_width(line, scale) for line in lines)
    image = np.full((line_px * len(lines) + 8, width, 3), 255, np.uint8)
    for i, (line, color) in enumerate(zip(lines, colors)):
        top = 4 + line_px * i
        cv2.rectangle(image, (8, top + 3), (28, top + line_px - 4), color, cv2.FILLED)
        cv2.putText(image, line, (36, top + 17), _FONT, scale, (0, 0, 0), 1, cv2.LINE_AA)
    return image


def legend_strip(labels: LabelSet, width: int) -> NDArray[np.uint8]:
    """uint8 [rows, width, 3]: the classes side by side, wrapped to width, for the edge of a picture."""
    scale = _font_scale(width)
    line_px, swatch = round(44 * scale), round(26 * scale)
    places, x, line = [], 4, 0
    for label in labels.classes:
        needed = swatch + 10 + _text_width(label.name, scale)
        if x + needed > width and x > 4:
            x, line = 4, line + 1
        places.append((x, line))
        x += needed + 6
    strip = np.full(((line + 1) * line_px, width, 3), 24, np.uint8)
    for label, (left, line) in zip(labels.classes, places):
        top = line * line_px + (line_px - swatch) // 2
        cv2.rectangle(strip, (left, top), (left + swatch, top + swatch), label.color, cv2.FILLED)
        cv2.rectangle(strip, (left, top), (left + swatch, top + swatch), (150, 150, 150), 1)
        at = left + swatch + 5, line * line_px + round(30 * scale)
        cv2.putText(strip, label.name, at, _FONT, scale, WHITE, _thickness(width), cv2.LINE_AA)
    return strip


def birds_eye(grid: Grid) -> NDArray[np.uint8]:
    """uint8 [H, W, 3]: a grid from above, ahead is up and left is left; free green, dear red, unknown grey, lines of
    equal distance ahead every 5 m. About 480 px high, whole pixels per cell."""
    columns = grid.cells.shape[1]
    cell_px = max(1, round(BIRDS_EYE_PX / columns))
    seen = cv2.applyColorMap(np.ascontiguousarray(grid.cells.T[::-1, ::-1]).view(np.uint8), _COST_COLORS)
    image: NDArray[np.uint8] = seen.repeat(cell_px, 0).repeat(cell_px, 1)
    per_m = cell_px / grid.resolution_m
    nearest = math.ceil(grid.origin_m[0] / BIRDS_EYE_RINGS_M) * BIRDS_EYE_RINGS_M
    farthest = grid.origin_m[0] + columns * grid.resolution_m
    for ahead_m in np.arange(nearest, farthest, BIRDS_EYE_RINGS_M):
        y = round(len(image) - 1 - (ahead_m - grid.origin_m[0]) * per_m)
        cv2.line(image, (0, y), (image.shape[1] - 1, y), (120, 120, 128), 1)
        cv2.putText(image, f"{ahead_m:.0f} m", (4, max(12, y - 4)), _FONT, 0.4, WHITE, 1, cv2.LINE_AA)
    return image


def _cost_colors() -> NDArray[np.uint8]:
    """uint8 [256, 1, 3]: colour of each cost 0-100 seen as uint8; -1, which is 255, is unknown."""
    table = np.full((256, 1, 3), UNKNOWN_COLOR, np.uint8)
    share = np.linspace(0, 1, 101)
    table[:101, 0, 0] = np.minimum(1, 2 * share) * 220
    table[:101, 0, 1] = np.minimum(1, 2 - 2 * share) * 190
    table[:101, 0, 2] = 40
    return table


_COST_COLORS = _cost_colors()


def _kind(thing: bool, drivable_cost: int) -> str:
    ground = f", ground of cost {drivable_cost}" if drivable_cost >= 0 else ""
    return (", thing" if thing else "") + ground


def _draw_outlines(drivable: Drivable, scale_xy: NDArray[np.float64], out: NDArray[np.uint8]) -> None:
    for area in drivable.areas:
        points = [np.rint(outline.points * scale_xy).astype(np.int32) for outline in area.outlines_px]
        cv2.polylines(out, points, True, OUTLINE_COLOR, _thickness(out.shape[1]) + 1, cv2.LINE_8)


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


def _draw_tag(out: NDArray[np.uint8], left: int, top: int, text: str) -> None:
    """White on a dark box: an outline of thicker letters would be wider than they are in OpenCV 5."""
    scale, text_px = _font_scale(out.shape[1]), _tag_height(out)
    corner = left + _text_width(text, scale) + 5, top + text_px + 5
    cv2.rectangle(out, (left, top), corner, (24, 24, 24), cv2.FILLED)
    cv2.putText(out, text, (left + 3, top + text_px), _FONT, scale, WHITE, _thickness(out.shape[1]), cv2.LINE_AA)


def _tag_height(out: NDArray[np.uint8]) -> int:
    return round(25 * _font_scale(out.shape[1]))


def _font_scale(width: int) -> float:
    """0.4 at 640 px, the least that can be read, 0.55 at 1280."""
    return min(1.2, max(0.4, 0.25 + width * 0.3 / 1280))


def _thickness(width: int) -> int:
    return 1 if width < 1600 else 2


def _text_width(text: str, scale: float) -> int:
    return int(cv2.getTextSize(text, _FONT, scale, 1)[0][0])
