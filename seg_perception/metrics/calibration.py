"""Whether confidence means what it says: of pixels told with 0.8, eight in ten should be right."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seg_perception.compiled import compiled
from seg_perception.labels import VOID
from seg_perception.metrics.confusion import ratio
from seg_perception.results import at_middles

BINS = 15
"""As Guo et al. have it."""


class Calibration:
    """Expected calibration error over all labelled pixels that were given a class (Guo, Pleiss, Sun, Weinberger, On
    Calibration of Modern Neural Networks, ICML 2017, equation 3): the gap between confidence and share of right answers
    in bins of equal width, weighted by the pixels in each."""

    def __init__(self) -> None:
        # pixels by [0 wrong, 1 right; confidence of 0 to 255]: exact, whatever the bins
        self._counts = np.zeros((2, 256), np.int64)

    def add(self, semantic: NDArray[np.uint8], confidence: NDArray[np.uint8], truth: NDArray[np.uint8]) -> None:
        """One frame: predicted classes and their confidence of 0 to 255, both [H, W], and the labels, which a prediction
        of another size is brought to by the middles of their pixels."""
        semantic = at_middles(semantic, truth.shape)
        confidence = at_middles(confidence, truth.shape)
        _count(semantic, confidence, truth, self._counts)

    def summary(self) -> dict[str, Any]:
        """`ece`, 0 to 1, and `reliability`, lists of BINS values: mean `confidence` and `accuracy` of the pixels of each
        bin (None in an empty one), and their `share` of all. Empty without a pixel that counts."""
        total = int(self._counts.sum())
        if not total:
            return {}
        level = np.arange(256) / 255
        place = np.minimum((level * BINS).astype(int), BINS - 1)
        pixels = np.bincount(place, self._counts.sum(axis=0), BINS)
        confidence = ratio(np.bincount(place, self._counts.sum(axis=0) * level, BINS), pixels)
        accuracy = ratio(np.bincount(place, self._counts[1], BINS), pixels)
        gap = np.nan_to_num(np.abs(confidence - accuracy))
        return {
            "ece": float((gap * pixels).sum() / total),
            "reliability": {
                "confidence": _known(confidence),
                "accuracy": _known(accuracy),
                "share": (pixels / total).tolist(),
            },
        }


def _known(values: NDArray[np.float64]) -> list[float | None]:
    return [None if math.isnan(value) else float(value) for value in values]


@compiled
def _count(
    semantic: NDArray[np.uint8], confidence: NDArray[np.uint8], truth: NDArray[np.uint8], counts: NDArray[np.int64]
) -> None:
    for y in range(truth.shape[0]):
        for x in range(truth.shape[1]):
            if truth[y, x] != VOID and semantic[y, x] != VOID:
                counts[int(semantic[y, x] == truth[y, x]), confidence[y, x]] += 1
