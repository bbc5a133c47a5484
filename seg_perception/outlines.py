"""Outlines of a mask, in pixels and on the ground."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from seg_perception.geometry import Floats, GroundProjection
from seg_perception.results import Outline

_GROUND_TOLERANCE_PX = 0.5
"""Outlines on the ground are simplified less than those in pixels: far away a pixel is many decimetres."""
_GROUND_EDGE_PX = 24.0
"""Longest edge that is taken straight through a lens that bends lines."""


@dataclass(frozen=True)
class FineOutline:
    """An outline with all its points, float32 [K, 1, 2], along the pixels' outer edges."""

    points: NDArray[np.float32]
    hole: bool

    def simplified(self, tolerance_px: float) -> NDArray[np.float32]:
        """Fewer points, float32 [K, 2], nowhere farther than tolerance_px from the outline."""
        return cv2.approxPolyDP(self.points, tolerance_px, True).reshape(-1, 2)


def trace_outlines(mask: NDArray[np.uint8], min_area_px: float) -> list[FineOutline]:
    """Outlines of the patches of mask (uint8 [H, W], not 0 = inside) and of the holes in them.

    Patches and holes of less than min_area_px are left out.
    """
    contours, hierarchy = cv2.findContours(mask, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    # OpenCV runs through the middles of the border pixels; the area ends at their outer edges.
    framed = cv2.copyMakeBorder(mask, 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=0)
    found = []
    for contour, (_, _, _, parent) in zip(contours, hierarchy[0] if len(contours) else ()):
        if len(contour) < 3 or cv2.contourArea(contour) + len(contour) / 2 < min_area_px:
            continue
        x, y = contour[:, 0, 0] + 1, contour[:, 0, 1] + 1
        outward_x = (framed[y, x + 1] == 0).astype(np.float32) - (framed[y, x - 1] == 0)
        outward_y = (framed[y + 1, x] == 0).astype(np.float32) - (framed[y - 1, x] == 0)
        points = contour + 0.5 * np.stack((outward_x, outward_y), axis=-1)[:, None]
        found.append(FineOutline(points.astype(np.float32), bool(parent >= 0)))
    return found


def ground_outlines(
    outlines: list[FineOutline], projection: GroundProjection, range_max_m: float
) -> tuple[Outline, ...]:
    """Outlines on the ground in m, cut at range_max_m to every side of the base frame's origin (a square)."""
    found = []
    for outline in outlines:
        pixels = outline.simplified(_GROUND_TOLERANCE_PX)
        if projection.is_distorted:
            pixels = _divided(pixels, _GROUND_EDGE_PX)
        rays = projection.pixels_to_rays(pixels)
        rays = rays[np.isfinite(rays).all(axis=1)]
        for side in _range_planes(projection, range_max_m):
            rays = _clipped(rays, side)
        if len(rays) < 3:
            continue
        ground = projection.position[:2] - rays[:, :2] * (projection.position[2] / rays[:, 2:])
        found.append(Outline(ground.astype(np.float32), outline.hole))
    return tuple(found)


def polygon_area(outlines: tuple[Outline, ...]) -> float:
    """Area within outlines and outside their holes."""
    signs = [-1.0 if outline.hole else 1.0 for outline in outlines]
    return float(sum(sign * _area(np.float64(outline.points)) for sign, outline in zip(signs, outlines)))


def _area(points: Floats) -> float:
    points = points - points[0]
    x, y = points[:, 0], points[:, 1]
    return abs(float(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1)))) / 2


def _range_planes(projection: GroundProjection, range_max_m: float) -> list[Floats]:
    """Normals [3] of planes through the camera: rays with a negative product hit the ground within the range.

    A point at height h is reached at position + ray * h / -ray_z, so `x <= limit` is linear in the ray.
    """
    h = float(projection.position[2])
    planes = [np.array((0.0, 0.0, 1.0))]
    for axis in (0, 1):
        for sign in (1.0, -1.0):
            normal = np.zeros(3)
            normal[axis] = sign * h
            normal[2] = range_max_m - sign * projection.position[axis]
            planes.append(normal)
    return planes


def _clipped(rays: Floats, normal: Floats) -> Floats:
    """The part of a polygon of rays [K, 3] on the negative side of a plane (Sutherland and Hodgman)."""
    if not len(rays):
        return rays
    side = rays @ normal
    inside = side < 0
    if inside.all():
        return rays
    before, side_before, inside_before = np.roll(rays, 1, axis=0), np.roll(side, 1), np.roll(inside, 1)
    crosses = inside != inside_before
    share = side_before[crosses] / (side_before[crosses] - side[crosses])
    # Each edge gives its crossing, then its end: twice as many places, of which those that exist are kept.
    both = np.empty((2 * len(rays), 3))
    both[0::2][crosses] = before[crosses] + (rays[crosses] - before[crosses]) * share[:, None]
    both[1::2] = rays
    kept = np.empty(2 * len(rays), np.bool_)
    kept[0::2], kept[1::2] = crosses, inside
    return both[kept]


def _divided(points: NDArray[np.float32], longest: float) -> NDArray[np.float32]:
    """The closed polygon with points added so that no edge is longer than longest."""
    ahead = np.roll(points, -1, axis=0)
    parts = np.maximum(np.ceil(np.linalg.norm(ahead - points, axis=1) / longest), 1).astype(int)
    which = np.repeat(np.arange(len(points)), parts)
    step = np.arange(len(which)) - np.repeat(np.cumsum(parts) - parts, parts)
    share = (step / parts[which])[:, None]
    return (points[which] + (ahead[which] - points[which]) * share).astype(np.float32)
