"""Compiled loops that follow the borders of a mask and thin them out without one crossing another.

A ring is a closed border. Borders run along the edges of pixels, from corner to corner. There, where two pixels of the
mask touch diagonally, two rings meet or one meets itself; through the middles of the edges they are apart.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from seg_perception.compiled import compiled

Rings = tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.int32]]

# Walking west, south, east, north: the step, and the pixels ahead to the left and to the right of a corner, both (x, y)
# where the pixel (x, y) has the corner (x, y) at its upper left.
_STEPS = np.array(((-1, 0), (0, 1), (1, 0), (0, -1)))
_LEFT = np.array(((-1, 0), (0, 0), (0, -1), (-1, -1)))
_RIGHT = np.array(((-1, -1), (-1, 0), (0, 0), (0, -1)))
_WEST, _SOUTH, _EAST = 0, 1, 2
_NOBODY = -1

_MOST_ROWS = 1 << 16
"""In which points are looked up: more than a picture has."""


@compiled
def trace_rings(framed: NDArray[np.uint8], words: NDArray[np.uint64], owner: NDArray[np.int32]) -> Rings:
    """All rings of a mask: corners (x, y), int32 [N, 2]; where each ring starts among them, int32 [R + 1]; and its outer
    ring, int32 [R]: its own number for an outer ring, else that of the ring whose hole it is.

    framed: uint8 [h, w], not 0 = inside, all 0 along its border; words: the same memory as uint64 [h, w / 8].
    owner: int32 [h, w], scratch that holds -1 everywhere before and after. Only corners where the border turns are
    given. The mask lies to the left: outer rings run counter-clockwise as one sees the picture, holes clockwise. Where
    pixels touch diagonally the border stays with its pixel: what is inside hangs together by edges.
    """
    points = np.empty((4096, 2), np.int32)
    starts = np.empty(64, np.int32)
    starts[0] = count = rings = 0
    for y in range(1, framed.shape[0]):
        here, above = words[y], words[y - 1]
        for word in range(len(here)):
            if here[word] == above[word]:
                continue
            for x in range(word * 8, word * 8 + 8):
                inside = framed[y, x] != 0
                if inside == (framed[y - 1, x] != 0) or owner[y, x] != _NOBODY:
                    continue
                heading = first = _SOUTH if inside else _EAST
                at_x, at_y = x, y
                while True:
                    if count == len(points):
                        larger = np.empty((2 * count, 2), np.int32)
                        larger[:count] = points
                        points = larger
                    points[count] = (at_x, at_y)
                    count += 1
                    heading, at_x, at_y = _next_turn(framed, heading, at_x, at_y)
                    if at_x == x and at_y == y and heading == first:
                        break
                if rings + 2 > len(starts):
                    longer = np.empty(2 * len(starts), np.int32)
                    longer[: rings + 1] = starts[: rings + 1]
                    starts = longer
                _own(points[starts[rings] : count], owner, rings)
                rings += 1
                starts[rings] = count
    points, starts = points[:count], starts[: rings + 1]
    outers = _outer_rings(points, starts, framed, owner)
    for ring in range(rings):
        _own(points[starts[ring] : starts[ring + 1]], owner, _NOBODY)
    return points, starts, outers


@compiled
def _next_turn(framed: NDArray[np.uint8], heading: int, x: int, y: int) -> tuple[int, int, int]:
    """The heading after the next corner where the border turns, and that corner."""
    while True:
        x += _STEPS[heading, 0]
        y += _STEPS[heading, 1]
        if framed[y + _LEFT[heading, 1], x + _LEFT[heading, 0]] == 0:
            return (heading + 1) % 4, x, y
        if framed[y + _RIGHT[heading, 1], x + _RIGHT[heading, 0]] != 0:
            return (heading + 3) % 4, x, y


@compiled
def _own(ring: NDArray[np.int32], owner: NDArray[np.int32], number: int) -> None:
    """Write number to every edge along x of a ring."""
    before = len(ring) - 1
    for i in range(len(ring)):
        if ring[i, 1] == ring[before, 1]:
            low, high = min(ring[i, 0], ring[before, 0]), max(ring[i, 0], ring[before, 0])
            owner[ring[i, 1], low:high] = number
        before = i


@compiled
def _outer_rings(
    points: NDArray[np.int32], starts: NDArray[np.int32], framed: NDArray[np.uint8], owner: NDArray[np.int32]
) -> NDArray[np.int32]:
    """For each ring itself, or the outer ring around it when it is a hole's: up from the hole's top there is mask until
    another ring of the same patch, which lies higher."""
    outers = np.empty(len(starts) - 1, np.int32)
    for ring in range(len(outers)):
        x, y = points[starts[ring]]  # its highest corner: there it was found
        outers[ring] = ring
        if framed[y, x] == 0:
            y -= 1
            while framed[y - 1, x] != 0:
                y -= 1
            outers[ring] = owner[y, x]
    for ring in range(len(outers)):
        outer = ring
        while outers[outer] != outer:
            outer = outers[outer]
        outers[ring] = outer
    return outers


@compiled
def twice_area(points: NDArray[np.float64], starts: NDArray[np.int32]) -> NDArray[np.float64]:
    """Twice the signed area of each ring, float64 [R], positive where it runs from x to y."""
    areas = np.zeros(len(starts) - 1)
    for ring in range(len(areas)):
        before = starts[ring + 1] - 1
        x, y = points[before, 0], points[before, 1]
        for i in range(starts[ring], starts[ring + 1]):
            areas[ring] += (points[before, 0] - x) * (points[i, 1] - y) - (points[i, 0] - x) * (points[before, 1] - y)
            before = i
    return areas


@compiled
def select_rings(
    points: NDArray[np.int32], starts: NDArray[np.int32], outers: NDArray[np.int32], least_area: float
) -> Rings:
    """The rings of at least least_area, each outer ring followed by its holes; otherwise as trace_rings gives them."""
    areas = twice_area(points.astype(np.float64), starts)
    rings = np.argsort(outers.astype(np.int64) * 2 + (outers != np.arange(len(outers))), kind="mergesort")
    rings = rings[np.abs(areas[rings]) >= 2 * least_area]
    kept_starts = np.zeros(len(rings) + 1, np.int32)
    kept_outers = np.empty(len(rings), np.int32)
    for i in range(len(rings)):
        kept_starts[i + 1] = kept_starts[i] + starts[rings[i] + 1] - starts[rings[i]]
        kept_outers[i] = i if outers[rings[i]] == rings[i] else kept_outers[i - 1]
    kept = np.empty((kept_starts[-1], 2), np.int32)
    for i in range(len(rings)):
        kept[kept_starts[i] : kept_starts[i + 1]] = points[starts[rings[i]] : starts[rings[i] + 1]]
    return kept, kept_starts, kept_outers


@compiled
def cut_corners(points: NDArray[np.int32], starts: NDArray[np.int32]) -> tuple[NDArray[np.float64], NDArray[np.int32]]:
    """Rings through the middles of the pixels' edges, float64 [N, 2], and where each starts: a corner gives way to the
    middles of the edges before and after it. So rings that met in a corner come apart."""
    out = np.empty((2 * len(points), 2))
    out_starts = np.zeros_like(starts)
    count = 0
    for ring in range(len(starts) - 1):
        before = starts[ring + 1] - 1
        for i in range(starts[ring], starts[ring + 1]):
            after = i + 1 if i + 1 < starts[ring + 1] else starts[ring]
            x, y = points[i]
            run_x, run_y = x - points[before, 0], y - points[before, 1]
            # An edge of one pixel has one middle, which the corner before it gave already.
            if abs(run_x + run_y) > 1:
                out[count] = (x - 0.5 * np.sign(run_x), y - 0.5 * np.sign(run_y))
                count += 1
            out[count] = (x + 0.5 * np.sign(points[after, 0] - x), y + 0.5 * np.sign(points[after, 1] - y))
            count += 1
            before = i
        out_starts[ring + 1] = count
    return out[:count], out_starts


@compiled
def thin_rings(points: NDArray[np.float64], starts: NDArray[np.int32], tolerance: float) -> NDArray[np.bool_]:
    """Which points of rings to keep, bool [N], so that none that goes is farther than tolerance from what stays.

    points: float64 [N, 2] of rings that neither cross nor meet. That stays so: besides the distance (Douglas and Peucker
    1973) the patch between a border and its short cut must hold no other point, since only then nothing can come to lie
    across the short cut or on its other side. At least three points stay of a ring.
    """
    keep = np.zeros(len(points), np.bool_)
    rows, order, row_px = _by_row(points)
    todo = np.empty((len(points) + 4, 2), np.int64)
    for ring in range(len(starts) - 1):
        first, end = starts[ring], starts[ring + 1]
        size = end - first
        far = first
        for i in range(first, end):
            if _distance_squared(points[i], points[first], points[first]) > _distance_squared(
                points[far], points[first], points[first]
            ):
                far = i
        aside, most = first, 0.0
        for i in range(first, end):
            distance = _distance_squared(points[i], points[first], points[far])
            if distance > most:
                aside, most = i, distance
        a, b = min(far, aside), max(far, aside)
        keep[first] = keep[a] = keep[b] = True
        todo[0], todo[1], todo[2] = (first, a), (a, b), (b, end)
        depth = 3
        while depth:
            depth -= 1
            start, stop = todo[depth]
            if stop - start < 2:
                continue
            last = first + (stop - first) % size
            farthest, most = start + 1, -1.0
            for i in range(start + 1, stop):
                distance = _distance_squared(points[i], points[start], points[last])
                if distance > most:
                    farthest, most = i, distance
            if most > tolerance * tolerance or _cuts_off(points, start, stop, last, most, rows, order, row_px):
                keep[farthest] = True
                todo[depth], todo[depth + 1] = (start, farthest), (farthest, stop)
                depth += 2
    return keep


@compiled
def take_kept(
    points: NDArray[np.float64], starts: NDArray[np.int32], keep: NDArray[np.bool_]
) -> tuple[NDArray[np.float64], NDArray[np.int32]]:
    """The points of rings for which keep, bool [N], says so, and where each ring then starts."""
    out, out_starts = np.empty((np.count_nonzero(keep), 2)), np.empty_like(starts)
    count = 0
    for ring in range(len(starts) - 1):
        out_starts[ring] = count
        for i in range(starts[ring], starts[ring + 1]):
            if keep[i]:
                out[count, 0], out[count, 1] = points[i, 0], points[i, 1]
                count += 1
    out_starts[-1] = count
    return out, out_starts


@compiled
def _by_row(points: NDArray[np.float64]) -> tuple[NDArray[np.int64], NDArray[np.int64], float]:
    """Points by the row that y lies in, low rows first, and the height of a row: row r of the points is order[rows[1 + r -
    rows[0]] : rows[2 + r - rows[0]]], where rows[0] is the number of the lowest row."""
    if not len(points):
        return np.zeros(2, np.int64), np.zeros(0, np.int64), 1.0
    # A calibration may spread a picture over any number of pixels.
    row_px = max(1.0, (points[:, 1].max() - points[:, 1].min()) / _MOST_ROWS)
    low, high = int(np.floor(points[:, 1].min() / row_px)), int(np.floor(points[:, 1].max() / row_px))
    rows = np.zeros(high - low + 4, np.int64)
    for i in range(len(points)):
        rows[int(np.floor(points[i, 1] / row_px)) - low + 3] += 1
    for row in range(3, len(rows)):
        rows[row] += rows[row - 1]
    order = np.empty(len(points), np.int64)
    # Each row's beginning stands a place later until its points have moved it on to its end.
    for i in range(len(points)):
        row = int(np.floor(points[i, 1] / row_px)) - low
        order[rows[row + 2]] = i
        rows[row + 2] += 1
    rows[0] = low
    return rows, order, row_px


@compiled
def _distance_squared(p: NDArray[np.float64], a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """Squared distance of p from the line between a and b."""
    x, y = b[0] - a[0], b[1] - a[1]
    to_x, to_y = p[0] - a[0], p[1] - a[1]
    length = x * x + y * y
    if length > 0:
        share = min(max((to_x * x + to_y * y) / length, 0.0), 1.0)
        to_x -= share * x
        to_y -= share * y
    return to_x * to_x + to_y * to_y


@compiled
def _cuts_off(
    points: NDArray[np.float64],
    start: int,
    stop: int,
    last: int,
    reach: float,
    rows: NDArray[np.int64],
    order: NDArray[np.int64],
    row_px: float,
) -> bool:
    """Whether a point of another border lies between the border start..stop and the line from its first to its last
    point, or on either. reach: squared distance of the border's farthest point from that line."""
    low_x, high_x = min(points[start, 0], points[last, 0]), max(points[start, 0], points[last, 0])
    low_y, high_y = min(points[start, 1], points[last, 1]), max(points[start, 1], points[last, 1])
    for i in range(start + 1, stop):
        low_x, high_x = min(low_x, points[i, 0]), max(high_x, points[i, 0])
        low_y, high_y = min(low_y, points[i, 1]), max(high_y, points[i, 1])
    for row in range(int(np.floor(low_y / row_px)) - rows[0], int(np.floor(high_y / row_px)) - rows[0] + 1):
        for place in range(rows[1 + row], rows[2 + row]):
            i = order[place]
            x = points[i, 0]
            if x < low_x or x > high_x or start <= i < stop or i == last:
                continue
            near = _distance_squared(points[i], points[start], points[last]) <= reach
            if near and _lies_within(points, i, start, stop, last):
                return True
    return False


@compiled
def _lies_within(points: NDArray[np.float64], i: int, start: int, stop: int, last: int) -> bool:
    """Whether point i lies in the polygon of the points start..stop - 1 and last, or on it."""
    x, y = points[i]
    inside = False
    a = last
    for b in range(start, stop + 1):
        b = last if b == stop else b
        ax, ay, bx, by = points[a, 0] - x, points[a, 1] - y, points[b, 0] - x, points[b, 1] - y
        cross = ax * by - bx * ay
        if cross == 0 and ax * bx <= 0 and ay * by <= 0:
            return True
        if (ay > 0) != (by > 0) and (cross > 0) == (by > ay):
            inside = not inside
        a = b
    return inside
