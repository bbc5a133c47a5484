"""Compiled loops around the masks: centres of things, votes for them, and what each segment holds."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from seg_perception.compiled import compiled
from seg_perception.labels import VOID

SUBPIXELS = 16
"""Votes for centres are counted in this part of a mask pixel."""
VOTE_REACH = 4.0
"""Votes are clipped to this many times the mask's longer side."""

AREA, CONFIDENCE, LEFT, TOP, RIGHT, BOTTOM = range(6)
"""Columns of a tally: pixels, sum of their 8-bit confidences, and the first and last column and row that hold one."""


@compiled
def find_centers(
    heatmap: NDArray[np.float32],
    radius: int,
    threshold: float,
    scores: NDArray[np.float32],
    places: NDArray[np.int64],
) -> int:
    """Write the maxima of heatmap [h, w], best first, to scores [K] and places [K, 2] = (row, column); their number,
    or -1 if a value is not finite.

    A maximum is largest in the window of 2 * radius + 1 cells around it; of equal ones the first in raster order stays.
    """
    height, width = heatmap.shape
    found = 0
    for row in range(height):
        for column in range(width):
            value = heatmap[row, column]
            if not abs(value) < np.inf:
                return -1
            full = found == len(scores)
            if not value >= threshold or (full and value <= scores[found - 1]):
                continue
            if not _is_maximum(heatmap, row, column, radius):
                continue
            rank = found - 1 if full else found
            found = rank + 1
            while rank > 0 and scores[rank - 1] < value:
                scores[rank] = scores[rank - 1]
                places[rank] = places[rank - 1]
                rank -= 1
            scores[rank] = value
            places[rank, 0], places[rank, 1] = row, column
    return found


@compiled
def _is_maximum(heatmap: NDArray[np.float32], row: int, column: int, radius: int) -> bool:
    height, width = heatmap.shape
    value = heatmap[row, column]
    for r in range(max(0, row - radius), min(height, row + radius + 1)):
        for c in range(max(0, column - radius), min(width, column + radius + 1)):
            earlier = r < row or (r == row and c < column)
            if heatmap[r, c] > value or (earlier and heatmap[r, c] == value):
                return False
    return True


@compiled
def cast_votes(offset: NDArray[np.float32], size_hw: tuple[int, int], stride: int, votes: NDArray[np.float64]) -> bool:
    """Per grid cell, where its pixel's centre should lie, to votes [2, h, w] = (y, x); False if one is not finite.

    offset [2, h, w] = (dy, dx) in px of the network's input. Votes are whole sixteenths of a mask pixel, counted from
    the mask's corner, and clipped to four times its size: then float64 holds the products below without rounding.
    """
    _, height, width = offset.shape
    finite = True
    reach = VOTE_REACH * max(size_hw[0], size_hw[1])
    for axis_index in range(2):
        cell_px = size_hw[axis_index] / offset.shape[1 + axis_index]
        scale = cell_px / stride
        for row in range(height):
            for column in range(width):
                at = ((row if axis_index == 0 else column) + 0.5) * cell_px
                moved = offset[axis_index, row, column] * scale
                finite &= abs(moved) < np.inf
                votes[axis_index, row, column] = np.rint((at + min(max(moved, -reach), reach)) * SUBPIXELS)
    return finite


@compiled
def tally_segments(
    pixel_rows: tuple[int, int],
    semantic: NDArray[np.uint8],
    instance: NDArray[np.uint16],
    confidence: NDArray[np.uint8],
    tally: NDArray[np.int64],
) -> None:
    """Count the pixels of rows into tally [instances + 1, C, 6], by instance and class; void counts nowhere."""
    height, width = semantic.shape
    tally[:, :, :] = 0
    tally[:, :, LEFT] = width
    tally[:, :, TOP] = height
    tally[:, :, RIGHT:] = -1
    for y in range(pixel_rows[0], pixel_rows[1]):
        x = 0
        while x < width:
            begin, k, i, total = x, semantic[y, x], instance[y, x], 0
            while x < width and semantic[y, x] == k and instance[y, x] == i:
                total += int(confidence[y, x])
                x += 1
            if k != VOID:
                entry = tally[i, k]
                entry[AREA] += x - begin
                entry[CONFIDENCE] += total
                entry[LEFT] = min(entry[LEFT], begin)
                entry[TOP] = min(entry[TOP], y)
                entry[RIGHT] = max(entry[RIGHT], x - 1)
                entry[BOTTOM] = max(entry[BOTTOM], y)


@compiled
def renumber(numbers: NDArray[np.uint16], instance: NDArray[np.uint16]) -> None:
    """Replace each value of instance by its entry in numbers, where 0 is 0."""
    for y in range(instance.shape[0]):
        for x in range(instance.shape[1]):
            instance[y, x] = numbers[instance[y, x]]
