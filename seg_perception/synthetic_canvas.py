"""Painter's algorithm for `synthetic`: one polygon goes into the picture and into the labels alike, so they agree."""

from __future__ import annotations

import math
from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Color = Sequence[float] | NDArray[np.float64]

NEAR_M = 0.3
_SUBPIXEL_BITS = 4
_CLASS_BITS = 4
MAX_OBJECTS = (1 << (16 - _CLASS_BITS)) - 1


class View:
    """A pinhole camera in the world (x forward, y left, z up, metres).

    camera_matrix: [3, 3]; optical_from_world: rotation [3, 3] into x right, y down, z along the ray; position: [3].
    """

    def __init__(self, camera_matrix: Floats, optical_from_world: Floats, position: Floats) -> None:
        self.camera_matrix = camera_matrix
        self.optical_from_world = optical_from_world
        self.position = position

    def to_camera(self, points: Floats) -> Floats:
        """World points [K, 3] in the camera's optical axes, [K, 3]."""
        result: Floats = (points - self.position) @ self.optical_from_world.T
        return result

    def to_pixels(self, points: Floats) -> Floats:
        """Points [K, 3] in optical axes, all in front of the camera, to pixels [K, 2]."""
        k = self.camera_matrix
        return points[:, :2] / points[:, 2:] * (k[0, 0], k[1, 1]) + (k[0, 2], k[1, 2])


class Canvas:
    """Picture and labels of one frame. rgb: uint8 [H, W, 3]; codes: uint16 [H, W], object id x 16 + class id.

    haze_per_m and haze_color fade what is painted with its distance.
    """

    def __init__(self, height: int, width: int, view: View, haze_per_m: float, haze_color: Floats) -> None:
        self.rgb = np.zeros((height, width, 3), np.uint8)
        self.codes = np.zeros((height, width), np.uint16)
        self.view = view
        self.haze_per_m = haze_per_m
        self.haze_color = haze_color
        self._haze_levels: list[float] = haze_color.tolist()

    def hazed(self, color: Color, distance_m: float) -> tuple[float, ...]:
        """color as it is seen from distance_m."""
        kept = math.exp(-self.haze_per_m * max(distance_m, 0.0))
        # Plain floats: for three numbers they are several times faster than arrays.
        return tuple(min(max(float(c) * kept + h * (1 - kept), 0.0), 255.0) for c, h in zip(color, self._haze_levels))

    def paint(self, points: Floats, color: Color, class_id: int, object_id: int = 0) -> None:
        """Fill a flat polygon of world points [K, 3]."""
        seen = clip_near(self.view.to_camera(points))
        if len(seen):
            self.paint_pixels([self.view.to_pixels(seen)], color, class_id, object_id, float(seen[0, 2]))

    def paint_many(self, polygons: Floats, color: Color, class_id: int, object_id: int = 0) -> None:
        """Fill flat polygons of one colour, world points [N, K, 3]; those that reach behind the camera are left out."""
        seen = self.view.to_camera(polygons.reshape(-1, 3)).reshape(polygons.shape)
        seen = seen[(seen[:, :, 2] > NEAR_M).all(axis=1)]
        if len(seen):
            pixels = self.view.to_pixels(seen.reshape(-1, 3)).reshape(len(seen), -1, 2)
            self.paint_pixels(list(pixels), color, class_id, object_id, float(seen[0, 0, 2]))

    def paint_pixels(
        self, polygons: Sequence[Floats], color: Color, class_id: int, object_id: int = 0, distance_m: float = 0.0
    ) -> None:
        """Fill polygons given in pixels, each [K, 2]; they must not overlap, or fillPoly leaves holes."""
        height, width = self.codes.shape
        fixed = [
            np.rint(p * (1 << _SUBPIXEL_BITS)).astype(np.int32)
            for p in polygons
            if p[:, 0].max() > -1 and p[:, 1].max() > -1 and p[:, 0].min() < width and p[:, 1].min() < height
        ]
        if fixed:
            cv2.fillPoly(self.rgb, fixed, self.hazed(color, distance_m), cv2.LINE_8, _SUBPIXEL_BITS)
            code = object_id << _CLASS_BITS | class_id
            cv2.fillPoly(self.codes, fixed, (code,), cv2.LINE_8, _SUBPIXEL_BITS)

    def shade_ground(self, points: Floats, factor: float) -> None:
        """Darken the picture, not the labels, inside a polygon of world points [K, 3]."""
        seen = clip_near(self.view.to_camera(points))
        if not len(seen):
            return
        pixels = np.clip(self.view.to_pixels(seen), -1e5, 1e5)
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
        semantic = (self.codes & ((1 << _CLASS_BITS) - 1)).astype(np.uint8)
        objects = self.codes >> _CLASS_BITS
        seen = np.bincount(objects.ravel(), minlength=1) > 0
        seen[0] = False
        numbers = (np.cumsum(seen) * seen).astype(np.uint16)
        return semantic, numbers[objects]


def clip_near(points: Floats) -> Floats:
    """The part of a polygon, [K, 3] in optical axes, that lies farther than NEAR_M; empty [0, 3] when none does."""
    depth = points[:, 2] - NEAR_M
    if depth.min() > 0:
        return points
    kept = []
    for i in range(len(points)):
        here, there = depth[i - 1], depth[i]
        if (here > 0) != (there > 0):
            kept.append(points[i - 1] + (points[i] - points[i - 1]) * (here / (here - there)))
        if there > 0:
            kept.append(points[i])
    return np.array(kept).reshape(-1, 3)
