"""Polygons as pixels, exactly as COCO's own tools fill them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from seg_perception.datasets.parts import Part

_FINE = 5
"""Borders are drawn on a grid so many times as fine as the pixels."""


def filled(points_xy: NDArray[np.float64], size_hw: tuple[int, int]) -> NDArray[np.bool_]:
    """bool [H, W]: the pixels of a closed polygon [K, 2], x and y in px from the image's corner."""
    inside = np.zeros(size_hw, np.bool_)
    place, part = filled_part(points_xy, size_hw)
    inside[place] = part
    return inside


def filled_part(points_xy: NDArray[np.float64], size_hw: tuple[int, int]) -> Part:
    """The rows and columns that hold all pixels of a closed polygon, and which of theirs are its; as `filled`, without the cost
    of a whole image.

    After `rleFrPoly` of the COCO API (maskApi.c; Lin et al., ECCV 2014): where the border, drawn on a finer grid, crosses the
    middle of a column, everything below it in the column changes sides.
    """
    height, width = size_hw
    corners = (_FINE * points_xy + 0.5).astype(np.int64)  # towards zero, as C casts
    u, v = (np.concatenate(parts) for parts in zip(*map(_line, corners, np.roll(corners, -1, axis=0)), strict=True))
    step = np.flatnonzero(np.diff(u))
    column = (np.where(u[step + 1] < u[step], u[step + 1], u[step + 1] - 1) + 0.5) / _FINE - 0.5
    row = np.ceil(np.clip((np.minimum(v[step], v[step + 1]) + 0.5) / _FINE - 0.5, 0, height))
    whole = (np.floor(column) == column) & (column >= 0) & (column <= width - 1)
    x, y = column[whole].astype(np.int64), row[whole].astype(np.int64)
    left, top = (int(ends.min(initial=length)) for ends, length in ((x, width), (y, height)))
    wide, high = max(0, int(x.max(initial=-1)) + 1 - left), max(0, int(y.max(initial=0)) - top)
    crossings = np.bincount((x - left) * high + y - top, minlength=wide * high + 1)[: wide * high]
    inside = (np.cumsum(crossings) % 2 == 1).reshape(wide, high).T
    return (slice(top, top + high), slice(left, left + wide)), inside


def _line(start: NDArray[np.int64], end: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """x and y of the points from start to end, one a step along the longer axis, always computed in the same direction."""
    dx, dy = np.abs(end - start)
    along = int(dy > dx)
    flip = start[along] > end[along]
    first, last = (end, start) if flip else (start, end)
    steps = max(int(dx), int(dy))
    slope = (last[1 - along] - first[1 - along]) / max(1, steps)
    t = np.arange(steps + 1)[:: -1 if flip else 1]
    points = [t + first[along], (first[1 - along] + slope * t + 0.5).astype(np.int64)]
    return points[along], points[1 - along]
