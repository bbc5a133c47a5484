"""Compiled loops over instance masks and pairs of tracks and things.

A shape is a thing's mask, picked at SIDE x SIDE points of a box: it costs the same at every resolution, and moves and
grows with the box. Boxes are float64 [N, 4] = left, top, right, bottom in px, the last two exclusive.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from seg_perception.compiled import compiled

SIDE = 24
"""Points of a shape along each side of its box."""
_RIM = 0.15
"""Where a thing ends on one side is told by the pixels in this share of its box there."""
_BESIDE_PX = 3
"""How far beside a thing's last pixel another may begin to touch it."""


@compiled
def count_overlaps(
    instance: NDArray[np.uint16], shapes: NDArray[np.uint8], boxes: NDArray[np.float64], counts: NDArray[np.int64]
) -> None:
    """Of each shape [T, SIDE, SIDE], put where its box is, how many points lie in each thing of instance [H, W], to
    counts [T, K + 1]: column 0 is for pixels of no thing; points beside the image count nowhere."""
    height, width = instance.shape
    side = shapes.shape[1]
    counts[:] = 0
    for t in range(len(shapes)):
        left, top, right, bottom = boxes[t]
        for row in range(side):
            y = int(np.floor(top + (row + 0.5) * (bottom - top) / side))
            if not 0 <= y < height:
                continue
            for column in range(side):
                if shapes[t, row, column]:
                    x = int(np.floor(left + (column + 0.5) * (right - left) / side))
                    if 0 <= x < width and instance[y, x] < counts.shape[1]:
                        counts[t, instance[y, x]] += 1


@compiled
def sample_shapes(
    instance: NDArray[np.uint16],
    ids: NDArray[np.int64],
    boxes: NDArray[np.float64],
    shapes: NDArray[np.uint8],
    points: NDArray[np.int64],
) -> None:
    """The shape of each thing of ids [K] in its box, to shapes [K, SIDE, SIDE], 1 where it is seen, and how many points
    that are, to points [K]."""
    height, width = instance.shape
    side = shapes.shape[1]
    shapes[:] = 0
    points[:] = 0
    for k in range(len(ids)):
        left, top, right, bottom = boxes[k]
        for row in range(side):
            y = int(np.floor(top + (row + 0.5) * (bottom - top) / side))
            if not 0 <= y < height:
                continue
            for column in range(side):
                x = int(np.floor(left + (column + 0.5) * (right - left) / side))
                if 0 <= x < width and instance[y, x] == ids[k]:
                    shapes[k, row, column] = 1
                    points[k] += 1


@compiled
def find_hidden(
    instance: NDArray[np.uint16],
    ids: NDArray[np.int64],
    boxes: NDArray[np.int64],
    bottoms: NDArray[np.int64],
    hidden: NDArray[np.bool_],
) -> None:
    """Whether each side (left, top, right, bottom) of each thing of ids [K] is where a nearer thing begins rather than
    where it ends itself, to hidden [K, 4].

    boxes: int64 [K, 4]; bottoms: [ids + 1], by id, the row below each thing. On flat ground, what ends lower in the image
    is nearer. A side is hidden where a third of its outermost pixels touch a nearer thing: the rest may be the tips that
    a round one leaves.
    """
    height, width = instance.shape
    for k in range(len(ids)):
        left, top, right, bottom = boxes[k]
        for side in range(4):
            across = side % 2 == 0
            first, last = (top, bottom) if across else (left, right)
            start, end = (left, right) if across else (top, bottom)
            reach = max(1, int(_RIM * (end - start)))
            step = 1 if side < 2 else -1
            begin = start if side < 2 else end - 1
            ends = touched = 0
            for line in range(first, last):
                for depth in range(reach):
                    at = begin + step * depth
                    y, x = (line, at) if across else (at, line)
                    if instance[y, x] != ids[k]:
                        continue
                    ends += 1
                    for gap in range(1, _BESIDE_PX + 1):
                        y, x = (line, at - step * gap) if across else (at - step * gap, line)
                        if not (0 <= y < height and 0 <= x < width):
                            break
                        other = instance[y, x]
                        if other != 0 and other != ids[k] and bottoms[other] > bottom:
                            touched += 1
                            break
                    break
            hidden[k, side] = 3 * touched > ends


@compiled
def assign(scores: NDArray[np.float64], chosen: NDArray[np.int64]) -> None:
    """The pairs of rows and columns of scores [N, M], all >= 0, whose scores sum up to the most, each row and column in one
    pair at most: to chosen [N] the column of each row, -1 where it has none. A score of 0 is no pair.

    The Hungarian method with shortest augmenting paths (Kuhn 1955; Jonker & Volgenant, Computing 1987), O(N M min(N, M)).
    """
    rows, columns = scores.shape
    chosen[:] = -1
    turned = rows > columns
    if turned:
        scores = scores.T
        rows, columns = columns, rows
    price_row, price = np.zeros(rows + 1), np.zeros(columns + 1)
    holder, way = np.zeros(columns + 1, np.int64), np.zeros(columns + 1, np.int64)
    for row in range(1, rows + 1):
        holder[0] = row
        column = 0
        least = np.full(columns + 1, np.inf)
        done = np.zeros(columns + 1, np.bool_)
        while holder[column] != 0:
            done[column] = True
            at, delta, following = holder[column], np.inf, 0
            for j in range(1, columns + 1):
                if done[j]:
                    continue
                reduced = -scores[at - 1, j - 1] - price_row[at] - price[j]
                if reduced < least[j]:
                    least[j], way[j] = reduced, column
                if least[j] < delta:
                    delta, following = least[j], j
            for j in range(columns + 1):
                if done[j]:
                    price_row[holder[j]] += delta
                    price[j] -= delta
                else:
                    least[j] -= delta
            column = following
        while column != 0:
            before = way[column]
            holder[column] = holder[before]
            column = before
    for j in range(1, columns + 1):
        i = holder[j]
        if i != 0 and scores[i - 1, j - 1] > 0:
            if turned:
                chosen[j - 1] = i - 1
            else:
                chosen[i - 1] = j - 1
