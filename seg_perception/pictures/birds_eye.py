"""The ground from above, for people: the grid, obstacles, outlines, free space and distances of one frame."""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.typing import NDArray

from seg_perception.camera_model import Floats
from seg_perception.ground.drivable import DrivableSettings
from seg_perception.ground.geometry import GroundProjection
from seg_perception.ground.maps import OBSTACLE
from seg_perception.labels import LabelSet
from seg_perception.pictures.drawing import (
    DARK,
    FREE_COLOR,
    WHITE,
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
    wrapped,
)
from seg_perception.results import Drivable, DrivableArea, FreeSpace, Grid

UNKNOWN_COLOR: Color = (44, 44, 50)
OBSTACLE_COLOR: Color = (255, 70, 130)
COST_COLORS: tuple[tuple[int, Color], ...] = ((0, (0, 92, 112)), (50, (138, 100, 16)), (99, (150, 62, 62)))
"""Dim shades of the outlines' colours, so that lines stay visible on them; mixed between these costs."""
RING_COLOR: Color = (120, 120, 130)
NOTE_COLOR: Color = (170, 170, 180)
RING_M = 5.0
_GLOW = (34.0, 34.0, 34.0, 0.0)
_BEHIND_M = 1.5
"""How much is shown behind the base frame's origin, for the vehicle."""
_DASH_M = 0.5
_IMAGE_WEIGHT = 0.45
_FOOT_PX = 1
"""An obstacle's mark reaches so far to every side of its cell's middle."""


class BirdsEye:
    """Draws the ground from above, ahead is up and left is left, into an image of size_wh = (width, height) in px.

    The view is that of the settings' grid. note: a line or more that stands in every picture.
    """

    def __init__(self, labels: LabelSet, settings: DrivableSettings, size_wh: tuple[int, int], note: str = "") -> None:
        width, height = size_wh
        self._labels, self._settings = labels, settings
        self._line_colors = ground_colors(labels)
        self._scale = font_scale(2 * width)
        self._line_px = round(40 * self._scale)
        legend = self._legend(width)
        self._note = wrapped(note, width - 12, self._scale)
        self._top = self._line_px * (2 + len(self._note)) + 8
        bottom = min(max(self._top, height - len(legend)), height)
        self._base = np.full((height, width, 3), DARK, np.uint8)
        self._base[bottom:] = legend[: height - bottom]
        for number, line in enumerate(self._note, start=2):
            draw_text(self._base, 6, self._baseline(number), line, self._scale, NOTE_COLOR)
        self._view_hw = (max(0, bottom - self._top), width)
        self._fan = np.zeros((max(self._view_hw[0], 1), width), np.uint8)
        self._place()
        self._colored = np.zeros((*settings.grid_shape, 3), np.uint8)
        self._table = _cost_table()
        self._image = np.zeros((*self._fan.shape, 3), np.uint8)
        self._looked_up: tuple[GroundProjection | None, tuple[int, int]] = (None, (0, 0))
        self._lookup: tuple[NDArray[np.int16], NDArray[np.uint16]]

    def _place(self) -> None:
        """Choose scale and origin of the view, and prepare what is the same in every picture."""
        s, (height, width) = self._settings, self._view_hw
        near_m = min(0.0, s.grid_near_m) - _BEHIND_M
        self._per_m = min(width / s.grid_width_m, max(height, 1) / (s.grid_near_m + s.grid_length_m - near_m))
        self._origin_px = np.array((width / 2 + s.grid_center_y_m * self._per_m, height - 1 + near_m * self._per_m))
        half_m = s.vehicle_width_m / 2
        starts = np.arange(0.0, height / self._per_m, 2 * _DASH_M)
        self._dashes = np.array([[(x, y), (x + _DASH_M, y)] for x in starts for y in (half_m, -half_m)])
        self._vehicle = self._pixels(np.array([(near_m, half_m), (0, half_m), (0, -half_m), (near_m, -half_m)]))
        self._rings = [self._ring(RING_M * number) for number in range(1, int(height / self._per_m / RING_M) + 1)]

    def _ring(self, radius_m: float) -> tuple[Floats, str, int, int]:
        """A ring's points, and its label where it meets the left edge of the view, or the horizontal through the origin."""
        bearings = np.linspace(-math.pi / 2, math.pi / 2, 91)
        points = self._pixels(radius_m * np.column_stack((np.cos(bearings), np.sin(bearings))))
        text = f"{radius_m:g} m"
        text_width, text_height = tag_size(text, self._scale)
        across, radius = float(self._origin_px[0]), radius_m * self._per_m
        up = math.sqrt(max(0.0, radius**2 - across**2))
        left = max(0, round(across - radius - text_width / 2))
        return points, text, left, round(float(self._origin_px[1]) - up - text_height / 2)

    def draw(
        self,
        drivable: Drivable | None,
        out: NDArray[np.uint8] | None = None,
        *,
        problem: str = "",
        rgb: NDArray[np.uint8] | None = None,
        projection: GroundProjection | None = None,
    ) -> NDArray[np.uint8]:
        """uint8 [height, width, 3]. Without a grid it says why, which is problem. out: where to draw; None or of another
        size = into a new image. rgb, uint8 [H, W, 3], with the projection of the mask: the camera's image, which then
        shines through on seen ground, so that lane lines tell how good the calibration is."""
        if out is None or out.shape != self._base.shape:
            out = np.empty_like(self._base)
        np.copyto(out, self._base)
        if self._view_hw[0] < 1:
            return out
        view = out[self._top : self._top + self._view_hw[0]]
        if drivable is None or drivable.grid is None:
            view[:] = UNKNOWN_COLOR
            lines = wrapped(f"no ground in metres: {problem}", out.shape[1] - 24, self._scale)
            for number, line in enumerate(lines):
                draw_text(view, 12, (number + 2) * self._line_px, line, self._scale)
            return out
        self._draw_grid(drivable.grid, view)
        if rgb is not None and projection is not None:
            self._draw_image(drivable.grid, rgb, projection, view)
        if drivable.free_space is not None:
            self._draw_fan(drivable.free_space, view)
        draw_lines(view, [points for points, *_ in self._rings], RING_COLOR, 1)
        for area in drivable.areas:
            self._draw_area(area, view)
        if drivable.free_space is not None:
            ends = self._pixels(free_ends_m(drivable.free_space))
            known = np.isfinite(drivable.free_space.ranges_m) & (drivable.free_space.seen_m > 0)
            draw_lines(view, runs(ends, known), FREE_COLOR, 2, cased=True)
        self._draw_feet(drivable.grid, view)
        self._draw_vehicle(drivable, view)
        for _, text, left, top in self._rings:
            draw_tag(view, left, top, text, self._scale)
        self._write(drivable, out)
        return out

    def _pixels(self, ground: NDArray[np.floating]) -> Floats:
        """Pixels [K, 2] of the view of ground points [K, 2] in m."""
        pixels: Floats = self._origin_px - ground[:, ::-1] * self._per_m
        return pixels

    def _draw_grid(self, grid: Grid, view: NDArray[np.uint8]) -> None:
        if self._colored.shape[:2] != grid.cells.shape:
            self._colored = np.zeros((*grid.cells.shape, 3), np.uint8)
        cv2.applyColorMap(np.ascontiguousarray(grid.cells).view(np.uint8), self._table, dst=self._colored)
        cv2.warpAffine(
            self._colored, self._from_cells(grid), view.shape[1::-1], view, cv2.INTER_NEAREST, cv2.BORDER_CONSTANT,
            UNKNOWN_COLOR,
        )  # fmt: skip

    def _from_cells(self, grid: Grid) -> Floats:
        """Affine map [2, 3] from a cell's column (x, ahead) and row (y, left) to the view, where both run backwards."""
        cell_px = grid.resolution_m * self._per_m
        first = self._pixels(np.array([grid.origin_m]) + grid.resolution_m / 2)[0]
        return np.array(((0.0, -cell_px, first[0]), (-cell_px, 0.0, first[1])))

    def _draw_image(
        self, grid: Grid, rgb: NDArray[np.uint8], projection: GroundProjection, view: NDArray[np.uint8]
    ) -> None:
        if self._looked_up[0] is not projection or self._looked_up[1] != rgb.shape[:2]:
            self._looked_up = (projection, (rgb.shape[0], rgb.shape[1]))
            self._lookup = self._image_lookup(projection, rgb.shape[1], rgb.shape[0])
        self._image = cv2.remap(rgb, *self._lookup, cv2.INTER_LINEAR, self._image)
        cv2.addWeighted(view, 1 - _IMAGE_WEIGHT, self._image, _IMAGE_WEIGHT, 0, dst=self._image)
        is_ground = cv2.inRange(grid.cells, 0, OBSTACLE - 1)
        cv2.warpAffine(is_ground, self._from_cells(grid), view.shape[1::-1], self._fan, cv2.INTER_NEAREST)
        cv2.copyTo(self._image, self._fan, view)

    def _image_lookup(
        self, projection: GroundProjection, width: int, height: int
    ) -> tuple[NDArray[np.int16], NDArray[np.uint16]]:
        """cv2.remap's tables from an image of width x height px to the view."""
        rows, columns = self._fan.shape
        u, v = np.meshgrid(np.arange(columns), np.arange(rows))
        ground = (self._origin_px - np.column_stack((u.ravel(), v.ravel())))[:, ::-1] / self._per_m
        scale_xy = np.array((width, height)) / projection.image_hw[::-1]
        pixels = (projection.ground_to_pixels(ground) + 0.5) * scale_xy - 0.5
        pixels = np.where(np.isfinite(pixels), np.clip(pixels, -2, (width + 2, height + 2)), -2)
        x, y = pixels.T.astype(np.float32).reshape(2, rows, columns)
        coarse, fine = cv2.convertMaps(x, y, cv2.CV_16SC2)
        return coarse, fine

    def _draw_feet(self, grid: Grid, view: NDArray[np.uint8]) -> None:
        """Mark obstacles again, over the lines: a cell may be no larger than a pixel."""
        rows, columns = np.nonzero(grid.cells == OBSTACLE)
        ground = np.column_stack((columns, rows)) * grid.resolution_m + (
            np.array(grid.origin_m) + grid.resolution_m / 2
        )
        x, y = np.rint(self._pixels(ground)).astype(np.intp).T
        inside = (x >= _FOOT_PX) & (x < view.shape[1] - _FOOT_PX) & (y >= _FOOT_PX) & (y < view.shape[0] - _FOOT_PX)
        for step_x in range(-_FOOT_PX, _FOOT_PX + 1):
            for step_y in range(-_FOOT_PX, _FOOT_PX + 1):
                view[y[inside] + step_y, x[inside] + step_x] = OBSTACLE_COLOR

    def _draw_fan(self, free_space: FreeSpace, view: NDArray[np.uint8]) -> None:
        """Brighten what is free."""
        self._fan.fill(0)
        ends = self._pixels(free_ends_m(free_space))
        for run in runs(ends, free_space.seen_m > 0):
            corners = np.vstack((self._origin_px, run))
            cv2.fillPoly(self._fan, [np.rint(corners).astype(np.int32)], 255)
        cv2.add(view, _GLOW, dst=view, mask=self._fan)

    def _draw_area(self, area: DrivableArea, view: NDArray[np.uint8]) -> None:
        color = self._line_colors[area.class_id]
        draw_lines(view, [self._pixels(outline.points) for outline in area.outlines_ground], color, 1, closed=True)
        sides = [(e.ahead_m, y) for e in area.edges for y in (e.left_m, -e.right_m) if math.isfinite(y)]
        if sides:
            half_px = self._view_hw[1] / 60
            level = np.array(((-half_px, 0.0), (half_px, 0.0)))
            draw_lines(view, [point + level for point in self._pixels(np.array(sides))], color, 2, cased=True)

    def _draw_vehicle(self, drivable: Drivable, view: NDArray[np.uint8]) -> None:
        """Its front edge at the base frame's origin (only its width is known), and its way as far as it is free."""
        free_m = min((area.free_distance_width_m for area in self._cheapest(drivable)), default=math.nan)
        shown = self._dashes[self._dashes[:, 1, 0] <= free_m]
        draw_lines(view, [self._pixels(dash) for dash in shown], WHITE, 1)
        cv2.fillPoly(view, [np.rint(self._vehicle).astype(np.int32)], (88, 88, 96))
        draw_lines(view, [self._vehicle], WHITE, 1, closed=True)

    def _cheapest(self, drivable: Drivable) -> list[DrivableArea]:
        """The area of the cheapest class that is seen, none where there is none."""
        return sorted(drivable.areas, key=lambda area: self._labels.classes[area.class_id].drivable_cost)[:1]

    def _write(self, drivable: Drivable, out: NDArray[np.uint8]) -> None:
        limit_m = self._settings.range_max_m
        ahead = in_metres(free_ahead_m(drivable, self._labels), limit_m)
        wide_m = min((area.free_distance_width_m for area in self._cheapest(drivable)), default=math.nan)
        wide = in_metres(wide_m, limit_m)
        draw_text(out, 6, self._baseline(0), f"free straight ahead: {ahead}", self._scale)
        draw_text(out, 6, self._baseline(1), f"{self._settings.vehicle_width_m:g} m wide: {wide}", self._scale)

    def _baseline(self, line: int) -> int:
        return self._line_px * line + round(30 * self._scale) + 4

    def _legend(self, width: int) -> NDArray[np.uint8]:
        table = _cost_table()[:, 0]
        items: list[tuple[str, Color, Color]] = []
        for label in sorted(self._labels.drivable, key=lambda label: label.drivable_cost):
            red, green, blue = map(int, table[label.drivable_cost])
            items.append((label.name, (red, green, blue), self._line_colors[label.id]))
        items += [
            ("obstacle", OBSTACLE_COLOR, OBSTACLE_COLOR),
            ("unknown", UNKNOWN_COLOR, RING_COLOR),
            ("free space ends", FREE_COLOR, FREE_COLOR),
        ]
        return flow_legend(items, width, self._scale)


def _cost_table() -> NDArray[np.uint8]:
    """uint8 [256, 1, 3]: colour of each cost 0-100 seen as uint8; -1, which is 255, is unknown."""
    table = np.full((256, 1, 3), UNKNOWN_COLOR, np.uint8)
    costs, colors = zip(*COST_COLORS)
    for channel in range(3):
        table[:OBSTACLE, 0, channel] = np.interp(range(OBSTACLE), costs, [color[channel] for color in colors])
    table[OBSTACLE, 0] = OBSTACLE_COLOR
    return table
