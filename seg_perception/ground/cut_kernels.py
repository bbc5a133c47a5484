"""Rings cut along lines, compiled."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from seg_perception.compiled import compiled

RingArrays = tuple[NDArray[np.float64], NDArray[np.int32], NDArray[np.int32]]
"""points [N, 2], starts [R + 1] and outers [R], as outlines.Rings has them."""


_STEP = 4.5e-16
"""Share of a number that it changes by at least when it is added to it: two steps of float64."""


@compiled
def clear_of_points(points: NDArray[np.float64], lines: NDArray[np.float64], apart: float) -> None:
    """Move lines [L, 3], each a x + b y + c with a unit (a, b), up by 2 apart, or what changes it, until no point [N, 2] is
    nearer than apart."""
    for line in range(len(lines)):
        meets = True
        while meets:
            meets = False
            for i in range(len(points)):
                side = lines[line, 0] * points[i, 0] + lines[line, 1] * points[i, 1] + lines[line, 2]
                if abs(side) < apart:
                    meets = True
                    break
            if meets:
                lines[line, 2] += max(2 * apart, _STEP * abs(lines[line, 2]))


@compiled
def cut_rings(
    points: NDArray[np.float64], starts: NDArray[np.int32], outers: NDArray[np.int32], line: NDArray[np.float64]
) -> RingArrays:
    """What of the areas, outer rings with their holes, lies on the side of a line [3] where line @ (x, y, 1) < 0; the line
    runs through no point.

    Rings are taken apart where they cross the line. All run with the area to their left, so along the line their ends
    and beginnings take turns: the first end belongs to the first beginning, and so on.
    """
    side = points[:, 0] * line[0] + points[:, 1] * line[1] + line[2]
    crossings = 0
    for ring in range(len(outers)):
        before = starts[ring + 1] - 1
        for i in range(starts[ring], starts[ring + 1]):
            crossings += (side[i] < 0) != (side[before] < 0)
            before = i
    if not crossings and (side < 0).all():
        return points, starts, outers
    out = np.empty((len(points) + crossings, 2))
    out_starts = np.zeros(len(starts) + crossings // 2, np.int32)
    out_outers = np.empty(len(outers) + crossings // 2, np.int32)
    runs, along = np.empty((crossings // 2, 3), np.int32), np.empty((2, crossings // 2))
    count = first = 0
    while first < len(outers):
        end = first + 1
        while end < len(outers) and outers[end] == first:
            end += 1
        found = _find_runs(points, starts, side, line, first, end, runs, along)
        if found:
            count = _chain(
                points, starts, side, first, end, runs[:found], along[:, :found], out, out_starts, out_outers, count
            )
        elif side[starts[first]] < 0:
            outer = count
            for ring in range(first, end):
                count = _copy(points, starts, ring, outer, out, out_starts, out_outers, count)
        first = end
    return out[: out_starts[count]], out_starts[: count + 1], out_outers[:count]


@compiled
def _find_runs(
    points: NDArray[np.float64],
    starts: NDArray[np.int32],
    side: NDArray[np.float64],
    line: NDArray[np.float64],
    first: int,
    end: int,
    runs: NDArray[np.int32],
    along: NDArray[np.float64],
) -> int:
    """How many stretches of the rings first to end lie within the line; of each its ring, first and last point into runs
    [K, 3], and how far along the line it begins and ends into along [2, K]."""
    found = 0
    for ring in range(first, end):
        before = starts[ring + 1] - 1
        for i in range(starts[ring], starts[ring + 1]):
            if side[i] < 0 and not side[before] < 0:
                last = i
                while side[_after(starts, ring, last)] < 0:
                    last = _after(starts, ring, last)
                runs[found, 0], runs[found, 1], runs[found, 2] = ring, i, last
                x, y = _crossing(points, side, before, i)
                along[0, found] = line[0] * y - line[1] * x
                x, y = _crossing(points, side, last, _after(starts, ring, last))
                along[1, found] = line[0] * y - line[1] * x
                found += 1
            before = i
    return found


@compiled
def _after(starts: NDArray[np.int32], ring: int, i: int) -> int:
    """The point that follows point i of a ring."""
    return i + 1 if i + 1 < starts[ring + 1] else int(starts[ring])


@compiled
def _crossing(points: NDArray[np.float64], side: NDArray[np.float64], one: int, other: int) -> tuple[float, float]:
    """Where the way from one point to another crosses the line."""
    share = side[one] / (side[one] - side[other])
    return (
        points[one, 0] + (points[other, 0] - points[one, 0]) * share,
        points[one, 1] + (points[other, 1] - points[one, 1]) * share,
    )


@compiled
def _chain(
    points: NDArray[np.float64],
    starts: NDArray[np.int32],
    side: NDArray[np.float64],
    first: int,
    end: int,
    runs: NDArray[np.int32],
    along: NDArray[np.float64],
    out: NDArray[np.float64],
    out_starts: NDArray[np.int32],
    out_outers: NDArray[np.int32],
    count: int,
) -> int:
    """Append the parts that the runs of an area make, each with the holes in it: how many rings out has then."""
    begins, ends = np.argsort(along[0], kind="mergesort"), np.argsort(along[1], kind="mergesort")
    follows = np.empty(len(runs), np.int64)
    follows[ends] = begins
    is_hole = np.zeros(end - first, np.bool_)
    for ring in range(first, end):
        is_hole[ring - first] = side[starts[ring]] < 0
    for run in range(len(runs)):
        is_hole[runs[run, 0] - first] = False
    parts = 0
    is_done = np.zeros(len(runs), np.bool_)
    for number in ends:
        if is_done[number]:
            continue
        part, at = count, out_starts[count]
        while not is_done[number]:
            at = _append_run(points, starts, side, runs[number], out, at)
            is_done[number] = True
            number = follows[number]
        out_outers[count], out_starts[count + 1] = part, at
        count, parts = count + 1, parts + 1
        for ring in range(first, end):
            if is_hole[ring - first] and (
                (parts == 1 and is_done.all())
                or _contains(out[out_starts[part] : out_starts[part + 1]], points, starts[ring])
            ):
                count = _copy(points, starts, ring, part, out, out_starts, out_outers, count)
                is_hole[ring - first] = False
    return count


@compiled
def _append_run(
    points: NDArray[np.float64],
    starts: NDArray[np.int32],
    side: NDArray[np.float64],
    run: NDArray[np.int32],
    out: NDArray[np.float64],
    at: int,
) -> int:
    """Write a run, from the line to the line, into out from at on: where it ends there."""
    ring, i, last = run[0], run[1], run[2]
    begin, end = starts[ring], starts[ring + 1]
    out[at] = _crossing(points, side, i - 1 if i > begin else end - 1, i)
    at += 1
    while True:
        out[at] = points[i]
        at += 1
        if i == last:
            break
        i = _after(starts, ring, i)
    out[at] = _crossing(points, side, last, _after(starts, ring, last))
    return at + 1


@compiled
def _copy(
    points: NDArray[np.float64],
    starts: NDArray[np.int32],
    ring: int,
    outer: int,
    out: NDArray[np.float64],
    out_starts: NDArray[np.int32],
    out_outers: NDArray[np.int32],
    count: int,
) -> int:
    """Append a ring as it is: how many out has then."""
    at, size = out_starts[count], starts[ring + 1] - starts[ring]
    out[at : at + size] = points[starts[ring] : starts[ring + 1]]
    out_starts[count + 1], out_outers[count] = at + size, outer
    return count + 1


@compiled
def _contains(ring: NDArray[np.float64], points: NDArray[np.float64], first: int) -> bool:
    """Whether the middle between a point and the next lies in a ring [K, 2], which does not run through it."""
    x, y = (points[first, 0] + points[first + 1, 0]) / 2, (points[first, 1] + points[first + 1, 1]) / 2
    is_within = False
    before_x, before_y = ring[-1, 0] - x, ring[-1, 1] - y
    for i in range(len(ring)):
        at_x, at_y = ring[i, 0] - x, ring[i, 1] - y
        if (at_y > 0) != (before_y > 0) and (at_x * before_y > at_y * before_x) == (before_y > at_y):
            is_within = not is_within
        before_x, before_y = at_x, at_y
    return is_within
