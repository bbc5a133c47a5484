"""F1 of boundaries, class by class (Csurka et al., What is a good evaluation measure for semantic segmentation?, BMVC
2013)."""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from seg_perception.compiled import compiled
from seg_perception.labels import VOID

BOUNDARY_TOLERANCE = 0.0075
"""How far two boundaries may lie apart, as a share of the image's diagonal."""


def boundary_f1(prediction: NDArray[np.uint8], truth: NDArray[np.uint8], classes: int) -> NDArray[np.float64]:
    """[classes] F1 of each class's boundary in one frame, NaN where it has none in truth or prediction.

    A pixel is on its class's boundary when one of its four neighbours has another class; borders to unlabelled pixels
    and to the image's edge are none. It is matched when the other mask has a boundary pixel of the class within
    BOUNDARY_TOLERANCE of the image's diagonal.
    """
    truth, prediction = np.ascontiguousarray(truth), np.ascontiguousarray(prediction)
    true_edges, edges = _edges(truth, truth), _edges(prediction, truth)
    offsets = _disc(BOUNDARY_TOLERANCE * math.hypot(*truth.shape))
    found, near = _matched(edges, true_edges, offsets)
    present, recalled = _matched(true_edges, edges, offsets)
    # F1 = 2PR / (P + R) with P = near / found and R = recalled / present, without their divisions by zero
    with np.errstate(invalid="ignore"):
        scores = 2.0 * near * recalled / (1.0 * near * present + 1.0 * recalled * found)
    scores[(near == 0) | (recalled == 0)] = 0.0
    scores[(found == 0) & (present == 0)] = math.nan
    return scores[:classes]


@lru_cache(maxsize=8)
def _disc(radius: float) -> NDArray[np.int32]:
    """[K, 2] (dy, dx) of all pixels within radius, the nearest first, so that a search ends soon."""
    reach = int(radius)
    dy, dx = np.mgrid[-reach : reach + 1, -reach : reach + 1].reshape(2, -1)
    square = dy**2 + dx**2
    order = np.argsort(square, kind="stable")
    inside = order[square[order] <= radius**2]
    return np.stack((dy[inside], dx[inside]), axis=1).astype(np.int32)


@compiled
def _edges(mask: NDArray[np.uint8], truth: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The class of every boundary pixel of mask, 255 elsewhere; where truth is void there is nothing."""
    height, width = mask.shape
    edges = np.full((height, width), VOID, np.uint8)
    for y in range(height):
        for x in range(width):
            own = mask[y, x]
            if own == VOID or truth[y, x] == VOID:
                continue
            if (
                (x > 0 and mask[y, x - 1] != own and truth[y, x - 1] != VOID)
                or (x + 1 < width and mask[y, x + 1] != own and truth[y, x + 1] != VOID)
                or (y > 0 and mask[y - 1, x] != own and truth[y - 1, x] != VOID)
                or (y + 1 < height and mask[y + 1, x] != own and truth[y + 1, x] != VOID)
            ):
                edges[y, x] = own
    return edges


@compiled
def _matched(
    edges: NDArray[np.uint8], others: NDArray[np.uint8], offsets: NDArray[np.int32]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Per class: boundary pixels, and those of them with one of the same class in others at one of the offsets."""
    height, width = edges.shape
    total, near = np.zeros(256, np.int64), np.zeros(256, np.int64)
    for y in range(height):
        for x in range(width):
            own = edges[y, x]
            if own == VOID:
                continue
            total[own] += 1
            for k in range(len(offsets)):
                v, u = y + offsets[k, 0], x + offsets[k, 1]
                if 0 <= v < height and 0 <= u < width and others[v, u] == own:
                    near[own] += 1
                    break
    return total, near
