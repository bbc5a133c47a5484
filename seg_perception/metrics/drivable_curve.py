"""Drivable ground over what is asked of its pixels: what a robot gains in precision and loses in recall."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from seg_perception.compiled import compiled
from seg_perception.labels import NOT_GROUND, VOID, LabelSet
from seg_perception.results import at_middles

BINS = 32
"""Steps of the threshold over 0 to 1."""


class DrivableCurve:
    """Sums over frames. All drivable classes count as one; pixels without a label count nowhere."""

    def __init__(self, labels: LabelSet) -> None:
        self._ground: NDArray[np.bool_] = labels.drivable_costs != NOT_GROUND
        self._predicted = np.zeros((2, BINS), np.int64)
        self._missed = 0

    def add(self, semantic: NDArray[np.uint8], confidence: NDArray[np.uint8], truth: NDArray[np.uint8]) -> None:
        """One frame: predicted classes and their confidence of 0 to 255, or how likely ground is there, both [H, W], and the
        labels, which a prediction of another size is brought to by the middles of their pixels."""
        semantic = at_middles(semantic, truth.shape)
        confidence = at_middles(confidence, truth.shape)
        self._missed += _count(semantic, confidence, truth, self._ground, self._predicted)

    def summary(self) -> dict[str, list[float | None]] | None:
        """Lists of BINS values: `threshold`, and the `precision`, `recall` and `iou` of drivable ground where only what is
        at least so confident counts as found; None where nothing counts. None without any drivable label.

        Precision TP / (TP + FP), recall TP / (TP + FN), both over pixels.
        """
        wrong, right = np.cumsum(self._predicted[:, ::-1], axis=1)[:, ::-1]
        truth = int(right[0]) + self._missed
        if not truth:
            return None
        return {
            "threshold": [step / BINS for step in range(BINS)],
            "precision": [int(hit) / int(hit + miss) if hit + miss else None for hit, miss in zip(right, wrong)],
            "recall": [int(hit) / truth for hit in right],
            "iou": [int(hit) / (truth + int(miss)) for hit, miss in zip(right, wrong)],
        }


def on_mask(likely: NDArray[np.float32], mask_hw: tuple[int, int]) -> NDArray[np.uint8]:
    """Probabilities of 0 to 1 on the network's grid, [h, w], upsampled bilinearly to a mask: 0 to 255, [H, W]."""
    upsampled = cv2.resize(likely, mask_hw[::-1], interpolation=cv2.INTER_LINEAR)
    return np.clip(np.rint(255 * upsampled), 0, 255).astype(np.uint8)


def at_best(curve: Mapping[str, Any]) -> tuple[float, float]:
    """(threshold, IoU) where the IoU of a summary is highest."""
    return max(zip(curve["threshold"], curve["iou"]), key=lambda pair: float(pair[1]))


@compiled
def _count(
    semantic: NDArray[np.uint8],
    confidence: NDArray[np.uint8],
    truth: NDArray[np.uint8],
    ground: NDArray[np.bool_],
    predicted: NDArray[np.int64],
) -> int:
    """Add pixels predicted as ground to predicted, [0 wrongly, 1 rightly; bin of confidence]; returns the number of those
    that are ground but were not predicted so."""
    missed = 0
    height, width = truth.shape
    for y in range(height):
        for x in range(width):
            if truth[y, x] == VOID:
                continue
            is_ground = ground[truth[y, x]]
            if ground[semantic[y, x]]:
                predicted[int(is_ground), int(confidence[y, x]) * BINS // 256] += 1
            elif is_ground:
                missed += 1
    return missed
