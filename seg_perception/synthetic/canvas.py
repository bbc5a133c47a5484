"""Painter's algorithm for `synthetic`: one polygon goes into the picture and into the labels alike, so they agree."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Color = Sequence[float] | NDArray[np.float64]

_SUBPIXEL_BITS = 4
_CLASS_BITS = 4
MAX_OBJECTS = (1 << (16 - _CLASS_BITS)) - 1


class View:
    """How the world (x forward, y left, z up, metres) is seen from a point, by a homogeneous matrix.

    matrix [3, 3] takes the way from position [3] to a world point to (x * w, y * w, w): pixel x, y and a w that grows
    with distance; only what has w > near is seen. Equal for a camera and for its bird's-eye view, in which every
    object covers the ground that it hides.
    """

    def __init__(self, matrix: Floats, position: Floats, near: float = 0.3) -> None:
        self.matrix, self.position, self.near = matrix, position, near

    @staticmethod
    def camera(camera_matrix: Floats, base_from_optical: Floats, position: Floats) -> View:
        """A pinhole camera; w is the depth in m."""
        return View(camera_matrix @ base_from_optical.T, position)

    @staticmethod
    def birds_eye(position: Floats, origin_m: tuple[float, float], cell_m: tuple[float, float]) -> View:
        """The ground as seen from a camera at position: column = x, row = y, pixel [0, 0] at the corner origin_m; w is
        how far a point is below the camera in m."""
        shift = [(position[i] - origin_m[i]) / cell_m[i] - 0.5 for i in (0, 1)]
        height = position[2]
        rows = ((height / cell_m[0], 0, -shift[0]), (0, height / cell_m[1], -shift[1]), (0, 0, -1.0))
        return View(np.array(rows), position, near=0.01)

    def to_view(self, points: Floats) -> Floats:
        """World points [K, 3] to homogeneous pixels [K, 3]."""
        result: Floats = (points - self.position) @ self.matrix.T
        return result

    def clip(self, seen: Floats) -> Floats:
        """The part of a polygon of homogeneous pixels [K, 3] that can be seen; empty [0, 3] when none can."""
        depth = seen[:, 2] - self.near
        if depth.min() > 0:
            return seen
        kept = []
        for i in range(len(seen)):
            here, there = depth[i - 1], depth[i]
            if (here > 0) != (there > 0):
                kept.append(seen[i - 1] + (seen[i] - seen[i - 1]) * (here / (here - there)))
            if there > 0:
                kept.append(seen[i])
        return np.array(kept).reshape(-1, 3)


def to_pixels(seen: Floats) -> Floats:
    """Homogeneous pixels [K, 3] to pixels [K, 2]."""
    return seen[:, :2] / seen[:, 2:]


class Light(NamedTuple):
    """A lamp in the picture: where and how large in px, its colour, and the code of what it is fixed to."""

    at: tuple[float, float]
    radius_px: float
    color: tuple[float, ...]
    code: int


class Surface(Protocol):
    """What polygons can be painted on: a Canvas, or what leads to one."""

    view: View

    def paint(self, points: Floats, color: Color, class_id: int, object_id: int = 0) -> None:
        """Fill a flat polygon, [K, 3]."""

    def paint_many(self, polygons: Floats, color: Color, class_id: int, object_id: int = 0) -> None:
        """Fill flat polygons of one colour, [N, K, 3]."""


class Canvas:
    """Picture and labels of one frame. rgb: uint8 [H, W, 3]; codes: uint16 [H, W], object id x 16 + class id.

    haze_per_m and haze_color fade what is painted with its distance. Without a picture only labels are painted.
    OpenCV fills every pixel that an edge touches, so areas grow by half a pixel: labels are painted on label_rows lines
    for each row and picked from the one through the pixels' middles, which makes that 1 / label_rows of half a pixel.
    """

    def __init__(
        self,
        height: int,
        width: int,
        view: View,
        haze_per_m: float,
        haze_color: Floats,
        has_picture: bool = True,
        label_rows: int = 1,
    ) -> None:
        self.rgb = np.zeros((height, width, 3) if has_picture else (0, 0, 3), np.uint8)
        self._label_rows = label_rows
        self._lines = np.zeros((height * label_rows, width), np.uint16)
        self.view = view
        self.haze_per_m = haze_per_m
        self.haze_color = haze_color
        self.has_picture = has_picture
        self._haze_levels: list[float] = haze_color.tolist()
        self.headlights: tuple[float, float] | None = None
        """At night: how bright all is without them, 0 to 1, and how far in m they reach; None by day."""
        self.lights: list[Light] = []

    def set_haze(self, per_m: float, color: Floats) -> None:
        """How the air fades what is painted from now on."""
        self.haze_per_m, self.haze_color = per_m, color
        self._haze_levels = color.tolist()

    @property
    def codes(self) -> NDArray[np.uint16]:
        """Labels as painted so far, uint16 [H, W], a view."""
        return self._lines[self._label_rows // 2 :: self._label_rows]

    def clear(self, class_id: int) -> None:
        """Label everything as this class."""
        self._lines[:] = class_id

    def hazed(self, color: Color, distance_m: float) -> tuple[float, ...]:
        """color as it is seen from distance_m."""
        kept = math.exp(-self.haze_per_m * max(distance_m, 0.0))
        if self.headlights is not None:
            ambient, reach_m = self.headlights
            color = np.asarray(color) * (ambient + (1 - ambient) / (1 + (max(distance_m, 0.0) / reach_m) ** 2))
        # Plain floats: for three numbers they are several times faster than arrays.
        return tuple(min(max(float(c) * kept + h * (1 - kept), 0.0), 255.0) for c, h in zip(color, self._haze_levels))

    def paint(self, points: Floats, color: Color, class_id: int, object_id: int = 0) -> None:
        """Fill a flat polygon of world points [K, 3]."""
        seen = self.view.clip(self.view.to_view(points))
        if len(seen):
            self._fill(to_pixels(seen)[None], self.hazed(color, float(seen[0, 2])), object_id << _CLASS_BITS | class_id)

    def paint_many(self, polygons: Floats, color: Color, class_id: int, object_id: int = 0) -> None:
        """Fill flat polygons of one colour, world points [N, K, 3]; those that reach behind the camera are left out.

        They must not overlap in the picture, or fillPoly leaves holes.
        """
        seen = self.view.to_view(polygons.reshape(-1, 3)).reshape(polygons.shape)
        seen = seen[(seen[:, :, 2] > self.view.near).all(axis=1)]
        if len(seen):
            pixels = to_pixels(seen.reshape(-1, 3)).reshape(len(seen), -1, 2)
            self._fill(pixels, self.hazed(color, float(seen[0, 0, 2])), object_id << _CLASS_BITS | class_id)

    def _fill(self, pixels: Floats, shade: Sequence[float], code: int) -> None:
        """Fill polygons given in pixels, [N, K, 2]."""
        height, width = len(self._lines) // self._label_rows, self._lines.shape[1]
        if len(pixels) == 1:  # most are, and this test is quicker
            (left, top), (right, bottom) = pixels[0].min(axis=0).tolist(), pixels[0].max(axis=0).tolist()
            if not (right > -1 and bottom > -1 and left < width and top < height):
                return
        else:
            low, high = pixels.min(axis=1), pixels.max(axis=1)
            inside = (high > -1).all(axis=1) & (low < (width, height)).all(axis=1)
            if not inside.any():
                return
            pixels = pixels[inside]
        pixels = pixels * (1 << _SUBPIXEL_BITS)
        corners = list(np.rint(pixels).astype(np.int32))
        if self.has_picture:
            cv2.fillPoly(self.rgb, corners, shade, cv2.LINE_8, _SUBPIXEL_BITS)
        rows = self._label_rows
        if rows > 1:
            corners = list(np.rint(pixels * (1, rows) + (0, rows // 2 << _SUBPIXEL_BITS)).astype(np.int32))
        cv2.fillPoly(self._lines, corners, (code,), cv2.LINE_8, _SUBPIXEL_BITS)

    def shine(self, point: Floats, color: Color, size_m: float) -> None:
        """At night: a lamp of that size at a world point [3], drawn when all is painted, unless something hides it."""
        if self.headlights is None:
            return
        seen = self.view.to_view(np.array((point, point + np.array((0.0, 0.0, size_m)))))
        if seen[:, 2].min() <= self.view.near:
            return
        (x, y), (_, top) = to_pixels(seen).tolist()
        height, width = self.codes.shape
        if 0 <= x < width and 0 <= y < height:
            code = int(self.codes[int(y), int(x)])
            self.lights.append(Light((x, y), abs(y - top), tuple(float(c) for c in color), code))

    def shade_ground(self, points: Floats, factor: float) -> None:
        """Darken the picture, not the labels, inside a polygon of world points [K, 3]."""
        seen = self.view.clip(self.view.to_view(points))
        if not len(seen) or not self.has_picture:
            return
        pixels = np.clip(to_pixels(seen), -1e5, 1e5)
        height, width = self.codes.shape
        x0, y0 = np.clip(np.floor(pixels.min(axis=0)).astype(int), 0, (width, height))
        x1, y1 = np.clip(np.ceil(pixels.max(axis=0)).astype(int) + 1, 0, (width, height))
        if x0 >= x1 or y0 >= y1:
            return
        mask = np.zeros((y1 - y0, x1 - x0), np.uint8)
        cv2.fillPoly(mask, [np.rint((pixels - (x0, y0)) * 16).astype(np.int32)], (1,), cv2.LINE_8, 4)
        patch = self.rgb[y0:y1, x0:x1]
        cv2.copyTo(cv2.convertScaleAbs(patch, alpha=factor), mask, patch)

    def labels(self) -> tuple[NDArray[np.uint8], NDArray[np.uint16]]:
        """Semantic mask uint8 [H, W] and instance mask uint16 [H, W], the objects that are seen numbered 1..n."""
        codes = np.ascontiguousarray(self.codes)
        seen = np.zeros(1 << 16, np.bool_)
        seen[codes.reshape(-1)] = True
        seen[: 1 << _CLASS_BITS] = False
        numbers = (np.cumsum(seen) * seen).astype(np.uint16)
        return codes.astype(np.uint8) & np.uint8((1 << _CLASS_BITS) - 1), np.take(numbers, codes)
