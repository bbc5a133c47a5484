"""Polygons of masks: drawn again they give the mask back, within what is stated."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from seg_perception.datasets.shapes import NO_PIXEL, Shape, crosses_itself, painted
from seg_perception.labelling.borders import rings_of, thinned
from seg_perception.labelling.outlines import LEAST_PX, TOLERANCE_PX, Outlined
from seg_perception.labelling.outlines import outlined as outlined_regions
from seg_perception.labelling.regions import regions_of
from seg_perception.labels import CAMVID, VOID, LabelSet

CAR, ROAD, TREE, POLE = 8, 3, 5, 2


def mask(*rows: str) -> NDArray[np.uint8]:
    """Letters are classes: r road, t tree, c car, p pole, a dot is void."""
    ids = {"r": ROAD, "t": TREE, "c": CAR, "p": POLE, ".": VOID}
    return np.array([[ids[letter] for letter in row] for row in rows], np.uint8)


def outlined(
    semantic: NDArray[np.uint8],
    instance: NDArray[np.uint16],
    labels: LabelSet,
    tolerance: float = TOLERANCE_PX,
    least_px: int = LEAST_PX,
) -> list[Outlined]:
    return outlined_regions(regions_of(semantic, instance, labels.is_thing, least_px), tolerance)


def drawn(found: list[Outlined], size_hw: tuple[int, int], smallest_in_front: bool = False) -> tuple[NDArray, NDArray]:
    label, instance, remarks = painted(
        [Shape(one.class_id, f"{one}", one.rings) for one in found], size_hw, smallest_in_front
    )
    # Of a region of a pixel, which people are not given (LEAST_PX), a tolerance of more may leave nothing.
    assert all(remark.kind == NO_PIXEL for remark in remarks)
    return label, instance


def without(semantic: NDArray[np.uint8]) -> NDArray[np.uint16]:
    return np.zeros(semantic.shape, np.uint16)


def test_a_square_has_four_corners() -> None:
    (one,) = outlined(mask("....", ".rr.", ".rr.", "...."), without(mask(*["...."] * 4)), CAMVID, 0, 1)
    assert one.class_id == ROAD and one.area == 4
    assert sorted(map(tuple, one.rings[0].tolist())) == [(1, 1), (1, 3), (3, 1), (3, 3)]


def test_what_is_inside_of_another_is_drawn_over_it_and_an_unlabelled_hole_is_cut_out() -> None:
    semantic = mask("rrrrrr", "rttrrr", "rttrrr", "rrrr.r", "rrrrrr")
    found = outlined(semantic, without(semantic), CAMVID, 0, 1)
    assert [one.class_id for one in found] == [ROAD, TREE]
    assert (drawn(found, semantic.shape)[0] == semantic).all()
    filled = mask("rrrrrr", "rttrrr", "rttrrr", "rrrrrr", "rrrrrr")
    road = outlined(filled, without(filled), CAMVID, 0, 1)[0]
    assert len(road.rings) == 1 and len(road.rings[0]) == 4  # nothing to see of the hole: pleasant to edit


def test_a_thing_behind_a_pole_is_one_and_two_beside_each_other_are_two() -> None:
    semantic = mask("ccpcc", "ccpcc", "ccccc")
    instance = np.where(semantic == CAR, np.uint16(7), np.uint16(0))
    instance[2] = 9
    found = outlined(semantic, instance, CAMVID, 0, 1)
    cars = [one for one in found if one.class_id == CAR]
    assert sorted(len(one.rings) for one in cars) == [1, 2]
    label, numbers = drawn(found, semantic.shape)
    assert (label == semantic).all()
    assert len(set(numbers[instance == 7].tolist())) == len(set(numbers[instance == 9].tolist())) == 1


def test_a_large_thing_with_a_part_in_the_hole_of_a_small_one_is_not_hidden() -> None:
    semantic = mask("tttccc", "tctccc", "tttccc", "rrrccc")
    instance = np.where(semantic == CAR, np.uint16(1), np.uint16(0))
    for smallest in (False, True):
        assert (drawn(outlined(semantic, instance, CAMVID, 0, 1), semantic.shape, smallest)[0] == semantic).all()


def test_slivers_and_crumbs_become_part_of_what_is_nearest() -> None:
    semantic = np.full((40, 60), ROAD, np.uint8)
    semantic[:, 30:] = TREE
    semantic[5:7, 3:5] = POLE
    semantic[:, 29] = CAR
    found = outlined(semantic, without(semantic), CAMVID)
    assert sorted(one.class_id for one in found) == [ROAD, TREE]
    assert [len(ring) for one in found for ring in one.rings] == [4, 4]


def test_a_slope_of_steps_is_one_line() -> None:
    semantic = np.where(np.add.outer(np.arange(60), np.arange(60)) < 60, ROAD, TREE).astype(np.uint8)
    assert all(len(one.rings[0]) <= 5 for one in outlined(semantic, without(semantic), CAMVID))


SMOOTH = st.builds(
    lambda seed, height, width, kinds: _blobs(seed, height, width, kinds),
    st.integers(0, 2**32 - 1),
    st.integers(1, 26),
    st.integers(1, 26),
    st.integers(1, 4),
)


def _blobs(seed: int, height: int, width: int, kinds: int) -> tuple[NDArray[np.uint8], NDArray[np.uint16]]:
    """Random masks, from noise of single pixels to large areas."""
    rng = np.random.default_rng(seed)
    grain = int(rng.integers(1, 9))
    coarse = rng.integers(0, kinds, (-(-height // grain), -(-width // grain)))
    picked = np.kron(coarse, np.ones((grain, grain), int))[:height, :width]
    semantic = np.array([ROAD, CAR, VOID, TREE], np.uint8)[picked]
    instance = (1 + np.kron(rng.integers(0, 2, coarse.shape), np.ones((grain, grain), int))[:height, :width]).astype(
        np.uint16
    )
    return semantic, np.where(semantic == CAR, instance, np.uint16(0))


@settings(max_examples=60, deadline=None)
@given(SMOOTH, st.booleans())
def test_without_tolerance_the_mask_comes_back_pixel_by_pixel(
    masks: tuple[NDArray[np.uint8], NDArray[np.uint16]], smallest: bool
) -> None:
    semantic, instance = masks
    label, numbers = drawn(outlined(semantic, instance, CAMVID, 0, 1), semantic.shape, smallest)
    assert (label == semantic).all()
    things = semantic == CAR
    pairs = set(zip(instance[things].tolist(), numbers[things].tolist(), strict=True))
    assert len(pairs) == len({a for a, _ in pairs}) == len({b for _, b in pairs})


def border_distance(semantic: NDArray[np.uint8], instance: NDArray[np.uint16]) -> NDArray[np.float64]:
    """By brute force, for the middle of each pixel: distance to the nearest edge between unlike pixels."""
    key = semantic.astype(int) + 1000 * instance
    height, width = key.shape
    edges = [
        ((x + 1, y), (x + 1, y + 1)) for y in range(height) for x in range(width - 1) if key[y, x] != key[y, x + 1]
    ]
    edges += [
        ((x, y + 1), (x + 1, y + 1)) for y in range(height - 1) for x in range(width) if key[y, x] != key[y + 1, x]
    ]
    ys, xs = np.mgrid[:height, :width] + 0.5
    distance = np.full(key.shape, np.inf)
    for (x0, y0), (x1, y1) in edges:
        distance = np.minimum(distance, np.hypot(xs - np.clip(xs, x0, x1), ys - np.clip(ys, y0, y1)))
    return distance


@settings(max_examples=40, deadline=None)
@given(SMOOTH, st.sampled_from([0.7, 1.5, 3.0]), st.booleans())
@example(_blobs(1393, 2, 3, 2), 1.5, False)
def test_only_pixels_within_the_tolerance_of_a_border_change(
    masks: tuple[NDArray[np.uint8], NDArray[np.uint16]], tolerance: float, smallest: bool
) -> None:
    semantic, instance = masks
    found = outlined(semantic, instance, CAMVID, tolerance, 1)
    label, _ = drawn(found, semantic.shape, smallest)
    # the rasteriser of COCO's tools places a border to half a pixel
    far = border_distance(semantic, instance) > tolerance + 0.75
    assert (label == semantic)[far].all()


@settings(max_examples=40, deadline=None)
@given(SMOOTH, st.sampled_from([1.5, 3.0]))
@example(_blobs(20293, 25, 16, 2), 3.0)  # a ring that crosses itself once its neighbour's border is finer
def test_no_polygon_crosses_itself_and_neighbours_share_their_corners(
    masks: tuple[NDArray[np.uint8], NDArray[np.uint16]], tolerance: float
) -> None:
    semantic, instance = masks
    regions = regions_of(semantic, instance, CAMVID.is_thing, 1)
    rings = rings_of(regions.number, tolerance)
    edges: dict[tuple, int] = {}
    height, width = semantic.shape
    for ring in rings:
        assert len(ring.points) >= 3 and not crosses_itself(ring.points)
        corners = list(map(tuple, ring.points.tolist()))
        for start, end in zip(corners, corners[1:] + corners[:1], strict=True):
            edges[start, end] = edges.get((start, end), 0) + 1
    for start, end in edges:
        on_frame = start[0] == end[0] in (0, width) or start[1] == end[1] in (0, height)
        assert on_frame or (end, start) in edges


@pytest.mark.parametrize("tolerance", [0.0, 1.0, 2.5])
def test_thinned_lines_stay_within_the_tolerance(tolerance: float) -> None:
    rng = np.random.default_rng(3)
    line = np.cumsum(rng.integers(-1, 2, (80, 2)), axis=0).astype(float)
    kept = thinned(line, tolerance)
    assert (kept[[0, -1]] == line[[0, -1]]).all()

    def off(point: NDArray) -> float:
        nearest = np.inf
        for a, b in pairwise(kept):
            t = np.clip((point - a) @ (b - a) / max((b - a) @ (b - a), 1e-12), 0, 1)
            nearest = min(nearest, float(np.linalg.norm(point - a - t * (b - a))))
        return nearest

    assert max(map(off, line)) <= tolerance + 1e-9
