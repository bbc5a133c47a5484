"""A street that bends as a circle's arc: from (along it, to its left) to the base frame, for points and polygons."""

from __future__ import annotations

import math

import numpy as np

from seg_perception.synthetic.canvas import Canvas, Color, Floats, Surface

LARGEST_CURVATURE = 0.02
"""1/m: a radius of 50 m. With the 132 m of street that are drawn, none comes round to the camera again."""
_LONGEST_EDGE_M = 0.5
"""By default edges along the street are divided so finely: the arc bulges 0.6 mm beyond such an edge at the largest curvature."""
_TURN = 0.9 * math.pi
"""Angle after which a street ends, in rad."""


class Bend:
    """Where a street of this curvature (1/m, left positive) lies. It passes through the base frame's origin along x.
    longest_edge_m: how finely polygons are divided to follow it."""

    def __init__(self, curvature: float, longest_edge_m: float = _LONGEST_EDGE_M) -> None:
        if not abs(curvature) <= LARGEST_CURVATURE:
            raise ValueError(f"curvature is {curvature}: allowed is -{LARGEST_CURVATURE} to {LARGEST_CURVATURE} per m")
        self.curvature = curvature
        self._longest_edge_m = longest_edge_m

    def place(self, along: float, left: float) -> tuple[float, float, float]:
        """x, y in m and the street's heading in rad of a point that many metres along the street and to its left."""
        if not self.curvature:
            return along, left, 0.0
        x, y, _ = self.points(np.array((along, left, 0.0))).tolist()
        return x, y, self.curvature * along

    def points(self, points: Floats) -> Floats:
        """The same for (along, left, up) [..., 3]: float64 [..., 3] in the base frame."""
        if not self.curvature:
            return points
        radius = 1 / self.curvature
        angle = points[..., 0] * self.curvature
        from_center = radius - points[..., 1]
        return np.stack((from_center * np.sin(angle), radius - from_center * np.cos(angle), points[..., 2]), axis=-1)

    def polygon(self, points: Floats) -> Floats:
        """A closed polygon of (along, left, up) [K, 3], its edges divided so that they follow the street, [M, 3]."""
        if not self.curvature:
            return points
        points = points.copy()
        np.minimum(points[:, 0], _TURN / abs(self.curvature), out=points[:, 0])
        ahead = np.roll(points, -1, axis=0)
        parts = np.maximum(np.ceil(np.abs(ahead[:, 0] - points[:, 0]) / self._longest_edge_m), 1).astype(int)
        which = np.repeat(np.arange(len(points)), parts)
        share = (np.arange(len(which)) - np.repeat(np.cumsum(parts) - parts, parts)) / parts[which]
        return self.points(points[which] + (ahead - points)[which] * share[:, None])

    def over(self, canvas: Canvas) -> Surface:
        """What paints onto canvas in metres along the street, to its left and up."""
        return _BentSurface(canvas, self) if self.curvature else canvas


class _BentSurface:
    """Bends what is painted."""

    def __init__(self, canvas: Canvas, bend: Bend) -> None:
        self._canvas, self._bend = canvas, bend
        self.view = canvas.view

    def paint(self, points: Floats, color: Color, class_id: int, object_id: int = 0) -> None:
        self._canvas.paint(self._bend.polygon(points), color, class_id, object_id)

    def paint_many(self, polygons: Floats, color: Color, class_id: int, object_id: int = 0) -> None:
        self._canvas.paint_many(self._bend.points(polygons), color, class_id, object_id)
