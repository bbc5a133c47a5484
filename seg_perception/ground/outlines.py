"""Outlines of a mask's patches: polygons that cross neither themselves nor each other, holes told apart."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from seg_perception.ground.outline_kernels import (
    cut_corners,
    select_rings,
    take_kept,
    thin_rings,
    trace_rings,
    twice_area,
)
from seg_perception.results import Outline

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Rings:
    """Closed polygons, each outer one followed by its holes. points: float64 [N, 2] (x, y); starts: int32 [R + 1], where
    each begins; outers: int32 [R], an outer ring's own number, or of a hole that of its outer ring.

    As one sees the picture, or the ground from above, outer rings run counter-clockwise and holes clockwise. No ring
    crosses or touches itself or another.
    """

    points: Floats
    starts: NDArray[np.int32]
    outers: NDArray[np.int32]

    def thinned(self, tolerance: float) -> Rings:
        """With fewer points, nowhere farther than tolerance from these rings; what cannot go without rings getting
        across each other stays."""
        keep = thin_rings(self.points, self.starts, tolerance)
        return Rings(*take_kept(self.points, self.starts, keep), self.outers)

    def outlines(self) -> tuple[Outline, ...]:
        """Each ring as an outline, in this order."""
        points = self.points.astype(np.float32)
        ends, outers = self.starts.tolist(), self.outers.tolist()
        return tuple(
            Outline(points[start:end], outer != number)
            for number, (start, end, outer) in enumerate(zip(ends, ends[1:], outers))
        )

    def area(self) -> float:
        """Area within the outer rings and outside their holes."""
        sizes = np.abs(twice_area(self.points, self.starts)) / 2
        return float(np.where(self.outers == np.arange(len(self.outers)), sizes, -sizes).sum())


class OutlineTracer:
    """Follows the borders in masks of one size. mask: uint8 [H, W], written by the caller: not 0 = inside."""

    def __init__(self, image_hw: tuple[int, int]) -> None:
        height, width = image_hw
        # The kernel compares eight pixels at a time, and needs an empty border.
        shape = height + 2, (width + 2 + 7) // 8 * 8
        self._framed = np.zeros(shape, np.uint8)
        self._owner = np.full(shape, -1, np.int32)
        self.mask: NDArray[np.uint8] = self._framed[1 : height + 1, 1 : width + 1]

    def trace(self, min_area_px: float) -> Rings:
        """Borders of the patches of mask and of the holes in them, in px, from middle to middle of the pixels' edges: a
        ring with all its points bounds half a pixel less than its pixels. They hang together by edges, not by corners.

        Patches and holes of less than min_area_px are left out.
        """
        found = trace_rings(self._framed, self._framed.view(np.uint64), self._owner)
        corners, starts, outers = select_rings(*found, min_area_px)
        points, starts = cut_corners(corners, starts)
        return Rings(points - 1.5, starts, outers)
