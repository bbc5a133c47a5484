"""Agreement of two who labelled, held against plain statements of the same."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from seg_perception.labels import VOID, LabelClass, LabelSet
from seg_perception.metrics.agreement import Agreement, boundary_distances

LABELS = LabelSet(
    (
        LabelClass(0, "road", (1, 1, 1), drivable_cost=0),
        LabelClass(1, "tree", (2, 2, 2)),
        LabelClass(2, "car", (3, 3, 3), thing=True),
    )
)


def agreement(*pairs: tuple[list[list[int]], list[list[int]]]) -> Agreement:
    found = Agreement(LABELS)
    for first, second in pairs:
        found.add("a", (np.array(first, np.uint8), None), (np.array(second, np.uint8), None))
    return found


def test_kappa_is_one_for_the_same_zero_for_chance_and_not_known_for_nothing() -> None:
    assert agreement(([[0, 1]], [[0, 1]])).kappa == 1
    assert agreement(([[0, 0, 1, 1]], [[0, 1, 0, 1]])).kappa == 0
    assert agreement(([[0, 1]], [[1, 0]])).kappa == -1
    assert agreement(([[0, 0]], [[0, 0]])).kappa == 1
    assert math.isnan(agreement(([[255, 0]], [[1, 255]])).kappa)


def test_what_one_left_unlabelled_counts_as_a_share_alone() -> None:
    found = agreement(([[0, 0, 1, 255]], [[0, 1, 255, 255]]))
    assert found.counts.tolist() == [[1, 1, 0], [0, 0, 0], [0, 0, 0]]
    (frame,) = found.frames
    assert (frame.same, frame.both, frame.either) == (0.5, 0.5, 0.75)


def test_a_border_that_one_drew_two_pixels_to_the_right_is_two_pixels_apart() -> None:
    first = np.repeat(np.array([[0] * 4 + [1] * 6], np.uint8), 5, axis=0)
    second = np.repeat(np.array([[0] * 6 + [1] * 4], np.uint8), 5, axis=0)
    assert boundary_distances(first, second, 3).tolist() == [[20, 10], [20, 10], [0, 0]]
    found = Agreement(LABELS)
    found.add("a", (first, None), (second, None))
    assert found.summary()["boundary_distance_px"] == 2
    assert found.iou()[:2].tolist() == [4 / 6, 4 / 6]


def test_things_that_one_joined_and_the_other_did_not_lower_pq() -> None:
    label = np.full((1, 6), 2, np.uint8)
    one, two = np.ones((1, 6), np.uint16), np.array([[1, 1, 1, 1, 2, 2]], np.uint16)
    found = Agreement(LABELS)
    found.add("a", (label, one), (label, two))
    assert found.pq()[2] == pytest.approx((4 / 6) / 1.5)
    assert found.with_things == 1


def test_things_that_one_left_as_a_crowd_count_for_nobodys_pq() -> None:
    label = np.array([[2, 2, 2, 0, 2, 2]], np.uint8)
    crowd, told = np.array([[0, 0, 0, 0, 5, 5]], np.uint16), np.array([[1, 1, 2, 0, 3, 3]], np.uint16)
    for first, second in ((crowd, told), (told, crowd)):
        found = Agreement(LABELS)
        found.add("a", (label, first), (label, second))
        assert found.pq()[2] == 1 and found.iou()[2] == 1


MASKS = st.integers(0, 2**32 - 1).map(np.random.default_rng)


def masks(rng: np.random.Generator) -> tuple[NDArray[np.uint8], NDArray[np.uint16]]:
    label = np.kron(rng.choice([0, 1, 2, VOID], (3, 4)), np.ones((3, 3), int)).astype(np.uint8)
    noise = rng.random(label.shape) < 0.1
    label[noise] = rng.choice([0, 1, 2], noise.sum())
    told_apart = rng.random() < 0.5  # else some are a crowd, which has no number
    return label, np.where(label == 2, rng.integers(int(told_apart), 3, label.shape), 0).astype(np.uint16)


@settings(max_examples=20, deadline=None)
@given(MASKS)
def test_it_is_the_same_the_other_way_round_and_as_plainly_counted(rng: np.random.Generator) -> None:
    pairs = [(masks(rng), masks(rng)) for _ in range(2)]
    found, turned = Agreement(LABELS), Agreement(LABELS)
    for a, b in pairs:
        found.add("x", a, b)
        turned.add("x", b, a)
    for name, value in found.summary().items():
        assert turned.summary()[name] == pytest.approx(value, nan_ok=True), name
    np.testing.assert_allclose(found.pq(), turned.pq())
    said = [
        (int(p), int(q))
        for (a, _), (b, _) in pairs
        for p, q in zip(a.ravel(), b.ravel(), strict=True)
        if p != VOID and q != VOID
    ]
    agreed = sum(p == q for p, q in said) / len(said)
    chance = sum(sum(p == c for p, _ in said) / len(said) * sum(q == c for _, q in said) / len(said) for c in range(3))
    assert found.kappa == pytest.approx((agreed - chance) / (1 - chance))
    total = np.zeros((3, 2))
    for (a, _), (b, _) in pairs:
        known = (a != VOID) & (b != VOID)
        for c in range(3):
            edges = [_edge_places(np.where(known, mask, VOID), c) for mask in (a, b)]
            for start, end in (edges, edges[::-1]):
                if start and end:
                    total[c] += sum(min(math.dist(p, q) for q in end) for p in start), len(start)
    seen = total[:, 1] > 0
    np.testing.assert_allclose(found.distance_px()[seen], total[seen, 0] / total[seen, 1], rtol=1e-5)


def _edge_places(mask: NDArray[np.uint8], class_id: int) -> list[tuple[int, int]]:
    height, width = mask.shape
    return [
        (y, x)
        for y in range(height)
        for x in range(width)
        if mask[y, x] == class_id
        and any(
            0 <= v < height and 0 <= u < width and mask[v, u] not in (class_id, VOID)
            for v, u in ((y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1))
        )
    ]
