"""The rows of per_frame: hand-worked, and their sums are the whole."""

from __future__ import annotations

import json

import numpy as np
import pytest

from seg_perception.labels import VOID, LabelClass, LabelSet
from seg_perception.metrics.per_frame import PerFrame
from seg_perception.metrics.scores import Scores
from seg_perception.results import Truth

LABELS = LabelSet((LabelClass(0, "road", (0, 0, 0), drivable_cost=0), LabelClass(1, "car", (0, 0, 1), thing=True)))


def test_a_row_is_what_its_own_frame_adds() -> None:
    scores = Scores(LABELS)
    rows = PerFrame(scores)
    for _ in range(2):
        # road: 2 of 3 hit, one void; the car is whole; one pixel is unlabelled
        truth = Truth(np.array([[0, 0, 0], [1, 1, VOID]], np.uint8), np.array([[0, 0, 0], [1, 1, 0]], np.uint16))
        scores.add(np.array([[0, 0, VOID], [1, 1, 1]], np.uint8), np.array([[0, 0, 0], [7, 7, 7]], np.uint16), truth)
        rows.add("first", 5, network_ms=1.5, flicker=0.25, instances=True)
    assert rows.rows[0] == rows.rows[1]
    assert rows.rows[1] == {
        "name": "first",
        "stamp_ns": 5,
        "miou": pytest.approx((2 / 3 + 1) / 2),
        "pixel_accuracy": pytest.approx(4 / 5),
        "confusion": [[0, 0, 2], [0, 2, 1], [1, 1, 2]],
        "pq": {"road": [pytest.approx(2 / 3), 1, 0, 0], "car": [pytest.approx(1.0), 1, 0, 0]},
        "age_ms": None,
        "network_ms": 1.5,
        "flicker": 0.25,
    }


def test_a_frame_without_labels_has_a_row_without_numbers() -> None:
    rows = PerFrame(Scores(LABELS))
    rows.add("plain", 1, age_ms=20.0)
    (row,) = json.loads(json.dumps(rows.rows, allow_nan=False))
    assert (row["miou"], row["pixel_accuracy"], row["confusion"], row["pq"], row["age_ms"]) == (None, None, [], {}, 20)


def test_the_rows_sum_up_to_the_whole() -> None:
    generator = np.random.default_rng(0)
    scores = Scores(LABELS)
    rows = PerFrame(scores)
    for number in range(5):
        semantic, true = generator.choice(np.array([0, 1, VOID], np.uint8), (2, 6, 7))
        instance, true_instance = generator.integers(0, 3, (2, 6, 7)).astype(np.uint16)
        scores.add(semantic, instance, Truth(true, true_instance))
        rows.add(str(number), number, instances=True)
    counts = np.zeros_like(scores.confusion.counts)
    quality = np.zeros((len(LABELS), 4))
    for row in rows.rows:
        for true, predicted, pixels in row["confusion"]:
            counts[true, predicted] += pixels
        for name, values in row["pq"].items():
            quality[LABELS.by_name(name).id] += values
    np.testing.assert_array_equal(counts, scores.confusion.counts)
    np.testing.assert_allclose(quality, scores.quality.sums)
