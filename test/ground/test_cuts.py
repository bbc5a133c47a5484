"""Rings cut along a line, and the loops that thin them, each against its plain definition; shapely and OpenCV are the judges."""

from __future__ import annotations

import math

import cv2
import numpy as np
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from shapely import LinearRing, MultiPolygon, Polygon

from seg_perception.ground.cut_kernels import clear_of_points, cut_rings
from seg_perception.ground.metric_outlines import _cut_at_cells
from seg_perception.ground.outline_kernels import _by_row, _cuts_off, take_kept, twice_area
from seg_perception.ground.outlines import OutlineTracer, Rings

MASKS = arrays(np.bool_, (7, 9))
APART = 1e-3


def traced(inside: NDArray[np.bool_]) -> Rings:
    tracer = OutlineTracer(inside.shape)
    tracer.mask[:] = inside
    return tracer.trace(0.0)


def areas_of(rings: Rings) -> MultiPolygon:
    """Each outer ring with the holes that follow it."""
    found: list[tuple[NDArray[np.float64], list[NDArray[np.float64]]]] = []
    for number, outer in enumerate(rings.outers.tolist()):
        points = rings.points[rings.starts[number] : rings.starts[number + 1]]
        assert len(points) >= 3 and LinearRing(points).is_simple
        assert LinearRing(points).is_ccw == (outer != number), "as in the picture, where y points down"
        if outer == number:
            found.append((points, []))
        else:
            found[-1][1].append(points)
    made = MultiPolygon(found)
    assert made.is_valid
    return made


def half_plane(line: NDArray[np.float64], far: float = 1e3) -> Polygon:
    """Where line @ (x, y, 1) < 0."""
    normal, along = line[:2], np.array((-line[1], line[0]))
    foot = -line[2] * normal
    corners = (
        foot + far * along,
        foot - far * along,
        foot - far * along - far * normal,
        foot + far * along - far * normal,
    )
    return Polygon([corner.tolist() for corner in corners])


@settings(max_examples=60, deadline=None)
@given(
    mask=MASKS,
    cuts=st.lists(
        st.tuples(st.floats(0, 2 * math.pi), st.floats(-1, 9), st.floats(-1, 7)), min_size=1, max_size=2
    ),
)  # fmt: skip
def test_what_is_cut_is_what_lies_on_its_side(mask: NDArray[np.bool_], cuts: list[tuple[float, float, float]]) -> None:
    rings = traced(mask)
    whole = areas_of(rings)
    for turn, x, y in cuts:
        normal = np.array((math.cos(turn), math.sin(turn)))
        lines = np.array(((*normal, -float(normal @ (x, y))),))
        clear_of_points(rings.points, lines, APART)
        line = lines[0]
        assert (np.abs(rings.points @ line[:2] + line[2]) >= APART).all()
        whole = whole.intersection(half_plane(line))
        rings = Rings(*cut_rings(rings.points, rings.starts, rings.outers, line))
        found = areas_of(rings)
        assert found.symmetric_difference(whole).area < 1e-9
        assert math.isclose(rings.area(), whole.area, abs_tol=1e-9)
        assert (rings.points @ line[:2] + line[2] < 1e-9).all()
        assert rings.starts[0] == 0 and rings.starts[-1] == len(rings.points)


def test_a_line_moves_until_no_point_is_near_it() -> None:
    """By twice the least distance at a time, each line for itself."""
    points = np.array(((1.0, 5.0), (1.0021, 6.0), (1.0075, 7.0)))
    lines = np.array(((1.0, 0.0, -1.0), (1.0, 0.0, -1.002), (-1.0, 0.0, 1.004), (0.0, 1.0, -4.0)))
    clear_of_points(points, lines, 1e-3)
    np.testing.assert_allclose(lines[:, 2], (-0.998, -0.998, 1.004, -4.0), atol=1e-12)


@pytest.mark.parametrize("far", [1.9e13, 1e15, 3e17])
def test_a_line_moves_on_where_its_numbers_are_coarser_than_the_distance(far: float) -> None:
    """Where it stood still it was moved for ever."""
    points = np.array(((far, 0.0), (-far, 1.0)))
    lines = np.array(((1.0, 0.0, -far), (1.0, 0.0, far)))
    clear_of_points(points, lines, 1e-3)
    assert (np.abs(points @ lines[:, :2].T + lines[:, 2]) >= 1e-3).all()
    np.testing.assert_allclose(np.abs(lines[:, 2]), far, rtol=1e-14)


BLOCK = np.zeros((60, 80), np.bool_)
BLOCK[3:55, 5:77] = True


@settings(max_examples=60, deadline=None)
@given(mask=MASKS, step=st.integers(1, 4))
@example(mask=BLOCK, step=4)
def test_borders_have_a_point_more_wherever_they_cross_the_lattice(mask: NDArray[np.bool_], step: int) -> None:
    """In the order in which they come to it; edges of less than a pixel, across corners, cross none."""
    rings = traced(mask)
    points = rings.points + 0.5
    expected, starts = [], [0]
    for first, end in zip(rings.starts.tolist(), rings.starts[1:].tolist()):
        for before, at in zip(np.roll(points[first:end], 1, axis=0), points[first:end], strict=True):
            along = int(np.abs(at - before).argmax())
            low, high = sorted((before[along], at[along]))
            crossed = [float(k) for k in range(0, 100, step) if low < k < high] if (at == before).any() else []
            for place in crossed if at[along] > before[along] else crossed[::-1]:
                expected.append(at.copy())
                expected[-1][along] = place
            expected.append(at)
        starts.append(len(expected))
    cut, cut_starts = _cut_at_cells(points, rings.starts, step)
    np.testing.assert_array_equal(cut, np.array(expected).reshape(-1, 2))
    assert cut_starts.tolist() == starts


@settings(max_examples=60, deadline=None)
@given(
    points=arrays(np.float64, (25, 2), elements=st.floats(-50, 50).map(lambda v: round(v * 2) / 2)),
    times=st.sampled_from((1.0, 1e5)),
)
def test_each_point_is_found_in_its_row(points: NDArray[np.float64], times: float) -> None:
    points = points * times
    rows, order, row_px = _by_row(points)
    assert sorted(order.tolist()) == list(range(25))
    lie_in = np.floor(points[:, 1] / row_px).astype(int)
    lowest, highest = int(lie_in.min()), int(lie_in.max())
    assert rows[0] == lowest
    for row in {own + k for own in lie_in.tolist() for k in (-1, 0, 1) if lowest <= own + k <= highest}:
        found = order[rows[1 + row - lowest] : rows[2 + row - lowest]]
        assert sorted(found.tolist()) == np.flatnonzero(lie_in == row).tolist()


def test_without_points_there_are_no_rows() -> None:
    rows, order, row_px = _by_row(np.empty((0, 2)))
    assert (rows.tolist(), len(order), row_px) == ([0, 0], 0, 1.0)


@settings(max_examples=60, deadline=None)
@given(mask=MASKS, data=st.data())
def test_a_short_cut_is_refused_where_it_would_leave_a_point_on_its_other_side(
    mask: NDArray[np.bool_], data: st.DataObject
) -> None:
    """Whether between a part of a border and the line from its first to its last point lies any point of another part."""
    rings = traced(mask)
    assume(len(rings.outers))
    ring = data.draw(st.integers(0, len(rings.outers) - 1))
    first, end = rings.starts[ring : ring + 2].tolist()
    start = data.draw(st.integers(first, end - 2))
    stop = data.draw(st.integers(start + 2, end))
    last = stop if stop < end else first
    assume(stop - start > 1 and last != start)
    part = [*range(start, stop), last]
    # OpenCV's polygons are of float32, which hold multiples of a half exactly.
    polygon = rings.points[part].astype(np.float32)[:, None]
    others = [i for i in range(len(rings.points)) if i not in part]
    within = any(cv2.pointPolygonTest(polygon, rings.points[i].tolist(), False) >= 0 for i in others)
    reach = max(distance(rings.points[i], rings.points[start], rings.points[last]) ** 2 for i in part)
    found = _cuts_off(rings.points, start, stop, last, reach + 1e-9, *_by_row(rings.points))
    assert found == within


def distance(p: NDArray[np.float64], a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """Of a point from the line between two others."""
    way = b - a
    share = min(max(float((p - a) @ way) / float(way @ way), 0.0), 1.0)
    return float(np.hypot(*(p - a - share * way)))


def test_points_are_kept_by_ring() -> None:
    points = np.arange(14.0).reshape(7, 2)
    starts = np.array((0, 3, 7), np.int32)
    keep = np.array((True, False, True, False, True, True, True))
    kept, kept_starts = take_kept(points, starts, keep)
    assert kept.tolist() == points[keep].tolist() and kept_starts.tolist() == [0, 2, 5]


@pytest.mark.parametrize("far", [0.0, 1e6])
def test_twice_the_area_is_signed(far: float) -> None:
    square = np.array(((0.0, 0.0), (2.0, 0.0), (2.0, 3.0), (0.0, 3.0))) + far
    points, starts = np.concatenate((square, square[::-1])), np.array((0, 4, 8), np.int32)
    assert twice_area(points, starts).tolist() == [12.0, -12.0]
