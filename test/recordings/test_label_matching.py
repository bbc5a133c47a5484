"""Which label belongs to which image: by the nearest stamp, once, within a tolerance."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from seg_perception.recordings.label_matching import half_period_ns, nearest_labels

STAMPS = st.lists(st.integers(0, 60), max_size=9)


def plainly(images: list[int], labels: list[int], tolerance: int) -> list[int]:
    """The rule, word by word: each label goes to the nearest stamp that images have, the earlier of two; of those that
    come to one stamp as many as it has images stay, the nearest first; images and labels of one stamp keep their order."""
    found = [-1] * len(images)
    stamps = sorted(set(images))
    for stamp in stamps:
        mine = [
            (abs(label - stamp), place)
            for place, label in enumerate(labels)
            if min(stamps, key=lambda other, label=label: (abs(label - other), other)) == stamp
        ]
        here = [place for place, image in enumerate(images) if image == stamp]
        near = sorted(pair for pair in mine if pair[0] <= tolerance)[: len(here)]
        for image, label in zip(here, sorted(place for _, place in near)):
            found[image] = label
    return found


@given(STAMPS, STAMPS, st.integers(0, 30))
def test_it_is_the_rule(images: list[int], labels: list[int], tolerance: int) -> None:
    found = nearest_labels(np.array(images, np.int64), np.array(labels, np.int64), tolerance)
    assert found.tolist() == plainly(images, labels, tolerance)


@pytest.mark.parametrize(
    ("images", "labels", "tolerance", "found"),
    [
        ([0, 100, 200], [1, 101, 201], 50, [0, 1, 2]),  # a clock that is a little off
        ([0, 100, 200], [200, 0], 50, [1, -1, 0]),  # recorded in another order, one lost
        ([0, 100], [10, 40], 50, [0, -1]),  # the nearer one stays, the other is nobody's
        ([0, 100], [151], 50, [-1, -1]),
        ([7, 7, 7], [7, 7, 7], 0, [0, 1, 2]),  # a driver that never sets its stamps anew
        ([0, 100], [50], 50, [0, -1]),  # half way: the earlier
    ],
)
def test_drawn_cases(images: list[int], labels: list[int], tolerance: int, found: list[int]) -> None:
    assert nearest_labels(np.array(images), np.array(labels), tolerance).tolist() == found


@pytest.mark.parametrize(
    ("stamps", "half"),
    [([0, 100, 200, 300], 50), ([300, 0, 200, 100], 50), ([0, 100, 100, 200, 900], 50), ([5], None), ([5, 5], None)],
)
def test_half_a_frame_is_of_the_usual_distance(stamps: list[int], half: int | None) -> None:
    assert half_period_ns(np.array(stamps)) == (half if half is not None else round(1e9 / 30 / 2))
