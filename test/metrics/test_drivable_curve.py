"""The curve of drivable ground over confidence: hand-worked, and its ends are the metrics' own figures."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seg_perception.labels import CAMVID, VOID
from seg_perception.metrics.drivable_curve import BINS, DrivableCurve, at_best
from seg_perception.metrics.scores import Scores
from seg_perception.results import Truth

ROAD, PAVEMENT, CAR = (CAMVID.by_name(name).id for name in ("road", "pavement", "car"))


def test_a_hand_worked_row() -> None:
    curve = DrivableCurve(CAMVID)
    # right at 255 and, as another drivable class, at 128; wrong at 128; missed; unlabelled; right to leave out
    truth = np.array([[ROAD, PAVEMENT, CAR, ROAD, VOID, CAR]], np.uint8)
    semantic = np.array([[ROAD, ROAD, PAVEMENT, CAR, ROAD, VOID]], np.uint8)
    confidence = np.array([[255, 128, 128, 255, 255, 255]], np.uint8)
    curve.add(semantic, confidence, truth)
    told = curve.summary()
    assert told is not None
    json.dumps(told, allow_nan=False)
    half = BINS // 2
    assert told["threshold"][half] == 0.5
    assert told["precision"] == [2 / 3] * (half + 1) + [1.0] * (BINS - half - 1)
    assert told["recall"] == [2 / 3] * (half + 1) + [1 / 3] * (BINS - half - 1)
    assert told["iou"] == [2 / 4] * (half + 1) + [1 / 3] * (BINS - half - 1)
    assert at_best(told) == (0.0, 0.5)


def test_nothing_is_told_without_drivable_labels_and_precision_not_where_nothing_is_so_confident() -> None:
    curve = DrivableCurve(CAMVID)
    semantic, confidence = np.full((2, 2), ROAD, np.uint8), np.full((2, 2), 100, np.uint8)
    curve.add(semantic, confidence, np.full((2, 2), CAR, np.uint8))
    assert curve.summary() is None
    curve.add(semantic, confidence, np.full((2, 2), ROAD, np.uint8))
    told = curve.summary()
    assert told is not None
    assert (told["precision"][0], told["precision"][-1], told["recall"][-1]) == (0.5, None, 0.0)


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=20, deadline=None)
def test_asking_for_nothing_gives_the_metrics_drivable_iou_and_asking_for_more_never_raises_recall(seed: int) -> None:
    rng = np.random.default_rng(seed)
    curve, scores = DrivableCurve(CAMVID), Scores(CAMVID)
    for size_hw in ((3, 5), (7, 4)):
        semantic, truth = (rng.choice(np.array([ROAD, PAVEMENT, CAR, VOID], np.uint8), size_hw) for _ in range(2))
        truth[0, 0] = ROAD
        curve.add(semantic, rng.integers(0, 256, size_hw, dtype=np.uint8), truth)
        scores.add(semantic, np.zeros(size_hw, np.uint16), Truth(truth))
    told = curve.summary()
    assert told is not None
    assert told["iou"][0] == pytest.approx(scores.summary()["drivable_iou"], abs=1e-12)
    assert all(more <= less for less, more in zip(told["recall"], told["recall"][1:]))


def test_a_prediction_of_another_size_is_brought_to_the_labels() -> None:
    small, large = DrivableCurve(CAMVID), DrivableCurve(CAMVID)
    semantic = np.array([[ROAD, CAR], [CAR, ROAD]], np.uint8)
    confidence = np.array([[10, 20], [30, 240]], np.uint8)
    truth = np.kron(np.array([[ROAD, ROAD], [CAR, CAR]], np.uint8), np.ones((2, 2), np.uint8))
    small.add(semantic, confidence, truth)
    large.add(*(np.kron(mask, np.ones((2, 2), np.uint8)) for mask in (semantic, confidence)), truth)
    assert small.summary() == large.summary()
