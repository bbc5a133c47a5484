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
_PART = 0.6
"""What it counts for, beside an overlap of equals, that a thing lies within a track's shape or the other way round: it is
partly hidden, or was."""
_LEAST_PART = 0.15
"""Share of the larger that a part must have."""
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
    xs, ys = np.empty(SIDE, np.int64), np.empty(SIDE, np.int64)
    counts[:] = 0
    for t in range(len(shapes)):
        _place_points(boxes[t], xs, ys)
        for row in range(SIDE):
            if not 0 <= ys[row] < height:
                continue
            for column in range(SIDE):
                if shapes[t, row, column] and 0 <= xs[column] < width:
                    number = instance[ys[row], xs[column]]
                    if number < counts.shape[1]:
                        counts[t, number] += 1


@compiled
def score_overlaps(
    counts: NDArray[np.int64],
    boxes: NDArray[np.float64],
    areas: NDArray[np.int64],
    whole: NDArray[np.float64],
    part: NDArray[np.float64],
) -> None:
    """How well masks fit, to whole and part [T, K] in [0, 1], from counts [T, K + 1] of count_overlaps.

    boxes: [T, 4] where shapes were put, of which counts what lies within the image; areas: [K] px of the things. whole is
    the intersection over the union; part is, where that is more, _PART of the share of the smaller mask that lies in the
    other.
    """
    for t in range(len(boxes)):
        left, top, right, bottom = boxes[t]
        point_px = (right - left) * (bottom - top) / SIDE**2
        mine = max(counts[t].sum() * point_px, 1e-9)
        for k in range(len(areas)):
            smaller = min(mine, float(areas[k]))
            both = min(counts[t, k + 1] * point_px, smaller)
            share = both / smaller if smaller >= _LEAST_PART * max(mine, float(areas[k])) else 0.0
            whole[t, k] = both / (mine + areas[k] - both)
            part[t, k] = max(whole[t, k], _PART * share) if share > 0.5 else whole[t, k]


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
    xs, ys = np.empty(SIDE, np.int64), np.empty(SIDE, np.int64)
    shapes[:] = 0
    points[:] = 0
    for k in range(len(ids)):
        _place_points(boxes[k], xs, ys)
        for row in range(SIDE):
            if not 0 <= ys[row] < height:
                continue
            for column in range(SIDE):
                if 0 <= xs[column] < width and instance[ys[row], xs[column]] == ids[k]:
                    shapes[k, row, column] = 1
                    points[k] += 1


@compiled
def _place_points(box: NDArray[np.float64], xs: NDArray[np.int64], ys: NDArray[np.int64]) -> None:
    """The pixels of a shape's points in a box, to xs and ys [SIDE]; they may lie outside the image."""
    left, top, right, bottom = box
    for n in range(SIDE):
        xs[n] = int(np.floor(left + (n + 0.5) * (right - left) / SIDE))
        ys[n] = int(np.floor(top + (n + 0.5) * (bottom - top) / SIDE))


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
    hidden[:] = False
    for k in range(len(ids)):
        left, top, right, bottom = boxes[k]
        for side in range(4):
            across = side % 2 == 0
            first, last = (top, bottom) if across else (left, right)
            start, end = (left, right) if across else (top, bottom)
            reach = max(1, int(_RIM * (end - start)))
            step = 1 if side < 2 else -1
            begin = start if side < 2 else end - 1
            strip = (begin - _BESIDE_PX, begin + reach) if side < 2 else (end - reach, end + _BESIDE_PX)
            if not _has_nearer(boxes, bottom, strip, (first, last), side % 2):
                continue
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
def find_feet_behind(
    masks: tuple[NDArray[np.uint16], NDArray[np.uint8], NDArray[np.uint8]],
    hides: NDArray[np.bool_],
    ids: NDArray[np.int64],
    boxes: NDArray[np.int64],
    behind: NDArray[np.bool_],
) -> None:
    """Whether each thing of ids [K] ends below where something begins that is no thing but hides its foot, to behind [K, 2]: a
    class that hides, and the own vehicle; where more than half of its lowest pixels touch that.

    masks: instance [H, W], semantic [H, W], and the own vehicle [H, W], 0 elsewhere, or [0, 0] where that is not known;
    hides: bool [256], classes that hide; boxes: int64 [K, 4].
    """
    instance, semantic, own = masks
    height = instance.shape[0]
    for k in range(len(ids)):
        left, top, right, bottom = boxes[k]
        reach = max(1, int(_RIM * (bottom - top)))
        ends = by_class = by_own = 0
        for x in range(left, right):
            for y in range(bottom - 1, bottom - 1 - reach, -1):
                if instance[y, x] != ids[k]:
                    continue
                ends += 1
                is_class = is_own = False
                for below in range(y + 1, min(y + 1 + _BESIDE_PX, height)):
                    is_class |= instance[below, x] == 0 and hides[semantic[below, x]]
                    is_own |= len(own) > 0 and own[below, x] != 0
                by_class, by_own = by_class + is_class, by_own + is_own
                break
        behind[k, 0], behind[k, 1] = 2 * by_class > ends, 2 * by_own > ends


@compiled
def _has_nearer(
    boxes: NDArray[np.int64], bottom: int, strip: tuple[int, int], lines: tuple[int, int], axis: int
) -> bool:
    """Whether any of boxes [K, 4] that ends below bottom has a pixel in a strip of these columns and lines (axis 0), or rows
    and lines (axis 1)."""
    for box in boxes:
        beside = box[axis] < strip[1] and box[axis + 2] > strip[0]
        if box[3] > bottom and beside and box[1 - axis] < lines[1] and box[3 - axis] > lines[0]:
            return True
    return False


@compiled
def choose_pairs(chosen: NDArray[np.int64], scores: NDArray[np.float64], least: float) -> None:
    """Write the pairs that score most together, each `least` or more, to chosen [T], the thing of each track: of the tracks
    that have none yet, -1, and the things that no track has. scores: [T, K]."""
    allowed = np.where(scores >= least, scores, 0.0)
    for t in range(len(chosen)):
        if chosen[t] >= 0:
            allowed[t], allowed[:, chosen[t]] = 0.0, 0.0
    is_row, is_column = np.zeros(allowed.shape[0], np.bool_), np.zeros(allowed.shape[1], np.bool_)
    for t in range(allowed.shape[0]):
        for k in range(allowed.shape[1]):
            if allowed[t, k] != 0:
                is_row[t] = is_column[k] = True
    rows, columns = np.flatnonzero(is_row), np.flatnonzero(is_column)
    found = np.empty(len(rows), np.int64)
    assign(allowed[rows][:, columns], found)
    for n in range(len(rows)):
        if found[n] >= 0:
            chosen[rows[n]] = columns[found[n]]


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
