"""Outlines are valid polygons: shapely, which knows the OGC's rules, is the judge."""

from __future__ import annotations

import math

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from shapely import LinearRing, MultiPolygon, Polygon, box
from shapely.validation import explain_validity

from seg_perception.camera_model import CameraModel, CameraPose
from seg_perception.ground.geometry import GroundProjection
from seg_perception.ground.metric_outlines import TOLERANCE_PX, FlatImage, ground_outlines
from seg_perception.ground.outline_kernels import _by_row
from seg_perception.ground.outlines import OutlineTracer, Rings
from seg_perception.results import Outline

HW = (24, 32)
MASKS = st.one_of(
    arrays(np.bool_, (12, 17)),
    st.tuples(arrays(np.bool_, (6, 8)), arrays(np.bool_, HW, fill=st.just(False))).map(
        lambda parts: np.kron(parts[0], np.ones((4, 4), np.bool_)) ^ parts[1]
    ),
)


def traced(inside: NDArray[np.bool_], min_area_px: float = 0.0) -> Rings:
    tracer = OutlineTracer(inside.shape)
    tracer.mask[:] = inside
    return tracer.trace(min_area_px)


def drawn(*rows: str) -> NDArray[np.bool_]:
    return np.array([[letter == "#" for letter in row] for row in rows])


def polygons(outlines: tuple[Outline, ...], left_is_inside: bool) -> MultiPolygon:
    """The areas, checked: every ring runs the way it should, every hole follows the outer ring that it lies in."""
    areas: list[tuple[list[LinearRing], list[LinearRing]]] = []
    for outline in outlines:
        ring = LinearRing(outline.points)
        assert len(outline.points) >= 3 and ring.is_simple, explain_validity(ring)
        assert ring.is_ccw == (left_is_inside != outline.hole)
        if outline.hole:
            assert Polygon(areas[-1][0][0]).contains(ring)
            areas[-1][1].append(ring)
        else:
            areas.append(([ring], []))
    made = MultiPolygon([(outer[0], holes) for outer, holes in areas])
    assert made.is_valid, explain_validity(made)
    rings = [LinearRing(outline.points) for outline in outlines]
    assert not any(a.intersects(b) for number, a in enumerate(rings[:12]) for b in rings[:number])
    return made


def in_pixels(rings: Rings) -> MultiPolygon:
    return polygons(rings.outlines(), left_is_inside=False)  # y points down


def test_a_square_with_a_hole_runs_through_the_middles_of_its_edges() -> None:
    rings = traced(drawn("....", ".###", ".#.#", ".###"))
    outer, hole = rings.outlines()
    assert not outer.hole and hole.hole
    # Pixel centres lie at whole numbers, so the pixels (1, 1) to (3, 3) reach from 0.5 to 3.5.
    assert outer.points.min(axis=0).tolist() == [0.5, 0.5] and outer.points.max(axis=0).tolist() == [3.5, 3.5]
    assert sorted(hole.points.tolist()) == [[1.5, 2.0], [2.0, 1.5], [2.0, 2.5], [2.5, 2.0]]
    assert rings.area() == (9 - 0.5) - (1 - 0.5)


@pytest.mark.parametrize(
    ("mask", "outer_rings", "holes"),
    [
        (drawn("#.", ".#"), 2, 0),  # by a corner they do not hang together
        (drawn(".#", "#."), 2, 0),
        (drawn("###", "#.#", "##."), 1, 0),  # what is outside comes in by a corner
        (drawn("####", "#.##", "##.#", "####"), 1, 1),
        (drawn("#####", "#...#", "#.#.#", "#...#", "#####"), 2, 1),
        (drawn(".#.", "#.#", ".#."), 4, 0),
        (drawn("..", ".."), 0, 0),
    ],
)
def test_patches_and_holes_of_small_drawings(mask: NDArray[np.bool_], outer_rings: int, holes: int) -> None:
    outlines = traced(mask).outlines()
    assert [outline.hole for outline in outlines].count(False) == outer_rings
    assert len(outlines) == outer_rings + holes
    assert len(in_pixels(traced(mask)).geoms) == outer_rings


@pytest.mark.parametrize("side", [7, 12, 15, 16, 64])
def test_as_many_patches_as_there_are(side: int) -> None:
    """A chessboard: none of its squares hangs together with another, and each loses an eighth of itself at each corner. Those of
    64 px have 2,048 rings and 8,192 corners."""
    mask = np.add.outer(np.arange(side), np.arange(side)) % 2 == 0
    rings = traced(mask)
    assert len(rings.outers) == mask.sum() and rings.outers.tolist() == [*range(mask.sum())]
    assert rings.area() == mask.sum() / 2 and np.diff(rings.starts).tolist() == [4] * mask.sum()
    middles = [tuple(points.mean(axis=0).tolist()) for points in np.split(rings.points, rings.starts[1:-1])]
    assert sorted(middles) == sorted((float(x), float(y)) for y, x in np.argwhere(mask))


def test_specks_and_pinholes_are_left_out() -> None:
    mask = np.zeros((20, 30), np.bool_)
    mask[2:12, 3:23] = True
    mask[5:8, 10:16] = False
    mask[9, 5] = False
    mask[17, 2] = True
    assert [outline.hole for outline in traced(mask, 4.0).outlines()] == [False, True]
    assert traced(mask, 4.0).area() == (10 * 20 - 0.5) - (3 * 6 - 0.5)


@settings(deadline=None, max_examples=60)
@given(mask=MASKS, tolerance=st.sampled_from((0.0, 0.5, 1.0, 3.0, 30.0)))
def test_outlines_are_valid_whatever_the_mask_and_the_tolerance(mask: NDArray[np.bool_], tolerance: float) -> None:
    rings = traced(mask)
    whole = in_pixels(rings)
    outer_rings = len(whole.geoms)
    assert outer_rings == cv2.connectedComponents(mask.astype(np.uint8), connectivity=4)[0] - 1
    # A border cuts an eighth of a pixel off at each corner and adds as much at each notch: of a patch it has four more
    # corners than notches, of a hole four fewer.
    exact = mask.sum() - outer_rings / 2 + (len(rings.outers) - outer_rings) / 2
    assert rings.area() == exact == whole.area
    thin = rings.thinned(tolerance)
    assert [outline.hole for outline in thin.outlines()] == [outline.hole for outline in rings.outlines()]
    simple = in_pixels(thin)
    assert math.isclose(simple.area, thin.area(), abs_tol=1e-3)
    if outer_rings:
        assert simple.boundary.hausdorff_distance(whole.boundary) <= tolerance + 1e-9
    if not tolerance:
        assert simple.equals(whole)


def test_a_round_patch_needs_few_points() -> None:
    y, x = np.mgrid[:200, :300]
    rings = traced(np.hypot(x - 150, y - 100) < 80)
    thin = rings.thinned(1.0)
    assert len(thin.points) < len(rings.points) / 8
    assert thin.area() == pytest.approx(math.pi * 80**2, rel=0.01)


K = ((30.0, 0, 15.5), (0, 30.0, 11.5), (0, 0, 1))
CAMERAS = {
    "ahead": (CameraModel(32, 24, K), CameraPose(0.0, 0.0, 1.5, pitch=0.3)),
    "crooked": (
        CameraModel(32, 24, K, "plumb_bob", (-0.3, 0.1, 0.001, 0.002, 0.0)),
        CameraPose(0.5, 0.2, 1.5, roll=0.1, pitch=0.3, yaw=0.2),
    ),
    "fisheye": (
        CameraModel(32, 24, ((9.0, 0, 15.5), (0, 9.0, 11.5), (0, 0, 1)), "fisheye", (0.02, -0.01, 0.003, -0.001)),
        CameraPose(0.0, 0.0, 1.5, pitch=0.6),
    ),
    "straight down": (
        CameraModel(32, 24, ((16.0, 0, 15.5), (0, 16.0, 11.5), (0, 0, 1))),
        CameraPose(0.0, 0.0, 1.0, pitch=math.pi / 2),
    ),
}


@settings(deadline=None, max_examples=80)
@given(mask=MASKS, camera=st.sampled_from(sorted(CAMERAS)), range_m=st.sampled_from((0.5, 1.0, 2.0, 5.0, 40.0)))
def test_outlines_on_the_ground_are_valid_wherever_the_range_cuts(
    mask: NDArray[np.bool_], camera: str, range_m: float
) -> None:
    model, pose = CAMERAS[camera]
    projection = GroundProjection(model, pose, mask.shape)
    flat = FlatImage.of(projection.lens, mask.shape)
    mask = mask if flat.known is None else mask & (flat.known > 0)
    rings = ground_outlines(traced(mask), flat, projection, range_m)
    outlines = rings.outlines()
    assert all((np.abs(outline.points) < range_m * 1.01).all() for outline in outlines)
    area = polygons(outlines, left_is_inside=True).area
    assert math.isclose(area, rings.area(), rel_tol=1e-3, abs_tol=1e-6)


@pytest.mark.parametrize("camera", ["ahead", "crooked", "straight down"])
def test_squares_on_the_ground_have_their_area_and_place(camera: str) -> None:
    hw = (480, 640)
    model, pose = CAMERAS[camera]
    projection = GroundProjection(model, pose, hw)
    v, u = np.mgrid[: hw[0], : hw[1]]
    x, y = projection.pixels_to_ground(np.column_stack((u.ravel(), v.ravel()))).T.reshape(2, *hw)
    middle = projection.pixels_to_ground(np.array([[hw[1] / 2, hw[0] * 0.6]]))[0]
    size = float(np.linalg.norm(middle - projection.position[:2])) / 3 + 0.1
    with np.errstate(invalid="ignore"):
        square = np.maximum(np.abs(x - middle[0]), np.abs(y - middle[1])) < size
        hole = np.maximum(np.abs(x - middle[0]), np.abs(y - middle[1])) < size / 4
    flat = FlatImage.of(projection.lens, hw)
    rings = ground_outlines(traced(square & ~hole), flat, projection, 40.0)
    assert rings.area() == pytest.approx((2 * size) ** 2 * (1 - 1 / 16), rel=0.01)
    exact = box(*(middle - size), *(middle + size)) - box(*(middle - size / 4), *(middle + size / 4))
    found = polygons(rings.outlines(), left_is_inside=True)
    assert found.intersection(exact).area / found.union(exact).area > 0.98


def test_the_range_cuts_through_a_hole() -> None:
    hw = (480, 640)
    projection = GroundProjection(*CAMERAS["ahead"], hw)
    v, u = np.mgrid[: hw[0], : hw[1]]
    x, y = projection.pixels_to_ground(np.column_stack((u.ravel(), v.ravel()))).T.reshape(2, *hw)
    with np.errstate(invalid="ignore"):
        frame = (np.maximum(np.abs(x - 5), np.abs(y)) < 1) & (np.maximum(np.abs(x - 5), np.abs(y)) > 0.5)
    rings = ground_outlines(traced(frame), FlatImage.of(projection.lens, hw), projection, 5.0)
    assert [outline.hole for outline in rings.outlines()] == [False]  # the hole has become a notch
    assert rings.area() == pytest.approx((4 - 1) / 2, rel=0.02)
    assert rings.points[:, 0].max() == pytest.approx(5.0, abs=1e-3)


def test_the_range_parts_a_comb_and_keeps_the_hole_with_its_tooth() -> None:
    """From straight above, drawn in squares of 1/16 m: square (u, v) lies at x = (11.5 - v) / 16, y = (15.5 - u) / 16."""
    mask = np.zeros(HW, np.bool_)
    mask[0:3, 8:24] = True  # the comb's back, from x = 9/16 on
    mask[3:12, 8:12] = mask[3:12, 16:24] = True
    mask[6:9, 18:21] = False
    mask = np.kron(mask, np.ones((10, 10), np.bool_))
    projection = GroundProjection(*CAMERAS["straight down"], mask.shape)
    flat = FlatImage.of(projection.lens, mask.shape)
    whole = ground_outlines(traced(mask), flat, projection, 5.0)
    assert [outline.hole for outline in whole.outlines()] == [False, True]
    cut = ground_outlines(traced(mask), flat, projection, 9 / 16)  # along the very edge of the back
    parts = polygons(cut.outlines(), left_is_inside=True).geoms
    left, right = sorted(parts, key=lambda part: -part.centroid.y)
    assert not left.interiors and left.area == pytest.approx(4 * 9 / 16**2, rel=0.03)
    assert right.area == pytest.approx((8 * 9 - 3 * 3) / 16**2, rel=0.03)
    (hole,) = right.interiors
    assert hole.centroid.coords[0] == pytest.approx((4.5 / 16, -3.5 / 16), abs=1e-6)


def test_borders_that_almost_meet_stay_apart_when_thinned() -> None:
    """A slit one pixel wide slants through a block: with a generous tolerance its sides must not change places."""
    mask = np.ones((40, 60), np.bool_)
    for x in range(2, 58):
        mask[10 + x // 3, x] = False
    for tolerance in (0.5, TOLERANCE_PX, 1.0, 5.0, 50.0):
        thin = traced(mask).thinned(tolerance)
        assert len(in_pixels(thin).geoms) == 1 and len(thin.outlines()) == len(traced(mask).outlines())


def test_rings_spread_over_any_number_of_pixels_take_little_memory() -> None:
    """A calibration of 10^9 px asked for half a gigabyte of rows, and six seconds."""
    ring = np.array([[0.0, 0.0], [9.0, 0.0], [9.0, 0.1], [9.0, 9.0], [0.0, 9.0]])
    spread = ring * (1.0, 1e12)
    starts, outers = np.array([0, 5], np.int32), np.zeros(1, np.int32)
    assert len(Rings(spread, starts, outers).thinned(1.0).points) == 4
    rows, _, row_px = _by_row(spread)
    assert len(rows) < 70_000 and row_px > 1
    assert _by_row(ring)[2] == 1
