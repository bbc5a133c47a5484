"""Calibration: hand-worked, and held to torchmetrics' figure."""

from __future__ import annotations

import numpy as np
import pytest

from seg_perception.labels import CAMVID, VOID
from seg_perception.metrics.calibration import BINS, Calibration

ROAD, CAR = (CAMVID.by_name(name).id for name in ("road", "car"))


def test_a_hand_worked_row() -> None:
    calibration = Calibration()
    # four pixels told with 0.8: two right; one with 1: right; no label and no class count nowhere
    truth = np.array([[ROAD, ROAD, CAR, CAR, ROAD, VOID, ROAD]], np.uint8)
    semantic = np.array([[ROAD, ROAD, ROAD, ROAD, ROAD, ROAD, VOID]], np.uint8)
    confidence = np.array([[204, 204, 204, 204, 255, 255, 255]], np.uint8)
    calibration.add(semantic, confidence, truth)
    told = calibration.summary()
    assert told["ece"] == pytest.approx(4 / 5 * 0.3)
    at = int(0.8 * BINS)
    assert told["reliability"]["confidence"][at] == pytest.approx(0.8)
    assert told["reliability"]["accuracy"][at] == pytest.approx(0.5)
    assert (told["reliability"]["share"][at], told["reliability"]["accuracy"][0]) == (0.8, None)


def test_frames_sum_up_and_labels_may_be_smaller() -> None:
    rng = np.random.default_rng(3)
    whole, parts = Calibration(), Calibration()
    truth, semantic = (rng.choice(np.array([ROAD, CAR], np.uint8), (4, 6)) for _ in range(2))
    confidence = rng.integers(0, 256, (4, 6), dtype=np.uint8)
    whole.add(semantic, confidence, truth)
    for rows in (slice(0, 1), slice(1, 4)):
        # each pixel four times: nearest neighbour brings it back
        larger = (np.kron(mask[rows], np.ones((2, 2), np.uint8)) for mask in (semantic, confidence))
        parts.add(*larger, truth[rows])
    assert parts.summary() == whole.summary()


def test_nothing_is_told_without_labels() -> None:
    assert Calibration().summary() == {}


@pytest.mark.parametrize("seed", range(3))
def test_torchmetrics_says_the_same(seed: int) -> None:
    torch = pytest.importorskip("torch")
    metrics = pytest.importorskip("torchmetrics.functional.classification")
    rng = np.random.default_rng(seed)
    # no value on a bin's border, where the two tools take sides
    confidence = rng.choice(np.array([v for v in range(256) if v * BINS % 255], np.uint8), (20, 30))
    truth = rng.choice(np.array([ROAD, CAR], np.uint8), (20, 30))
    right = rng.random((20, 30)) < confidence / 255
    semantic = np.where(right, truth, ROAD + CAR - truth).astype(np.uint8)
    calibration = Calibration()
    calibration.add(semantic, confidence, truth)
    # a two-class answer: the chance of "right", which it bins by as we do
    expected = metrics.binary_calibration_error(
        torch.tensor(confidence.ravel() / 255.0), torch.tensor(right.ravel().astype(int)), n_bins=BINS, norm="l1"
    )
    assert calibration.summary()["ece"] == pytest.approx(float(expected), abs=1e-6)
