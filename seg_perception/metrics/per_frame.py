"""What each frame adds to the sums behind the metrics, so that `compare` can draw frames anew and sum them again."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seg_perception.metrics.confusion import iou_per_class, mean_known
from seg_perception.metrics.scores import Scores


class PerFrame:
    """The rows of `per_frame` in report.json, beside the scores that its frames go into.

    rows: one dict a frame: `name`, `stamp_ns`, `miou` and `pixel_accuracy` (None without labels), `confusion` ([true,
    predicted, pixels] where there are any; predicted = number of classes means void), `pq` ([summed IoU, TP, FP, FN] by
    class; empty where the truth tells no objects apart), `age_ms`, `network_ms` and `flicker` (None where not measured).
    """

    def __init__(self, scores: Scores) -> None:
        self._scores = scores
        self._counts, self._quality = self._sums()
        self.rows: list[dict[str, Any]] = []

    def add(
        self,
        name: str,
        stamp_ns: int,
        *,
        age_ms: float | None = None,
        network_ms: float | None = None,
        flicker: float | None = None,
        instances: bool = False,
    ) -> None:
        """The row of a frame that has just been added to the scores, or of one without labels that has not; instances:
        whether its truth tells objects apart."""
        counts, quality = self._sums()
        confusion, pq = counts - self._counts, quality - self._quality
        self._counts, self._quality = counts, quality
        labelled = confusion.sum()
        found = np.argwhere(confusion)
        self.rows.append(
            {
                "name": name,
                "stamp_ns": stamp_ns,
                "miou": _known(mean_known(iou_per_class(confusion))),
                "pixel_accuracy": float(confusion.trace() / labelled) if labelled else None,
                "confusion": np.column_stack((found, confusion[tuple(found.T)])).tolist(),
                "pq": self._by_class(pq) if instances else {},
                "age_ms": age_ms,
                "network_ms": network_ms,
                "flicker": flicker,
            }
        )

    def _sums(self) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Confusion [C, C + 1]; summed IoU, TP, FP, FN [C, 4]."""
        return self._scores.confusion.counts.copy(), self._scores.quality.sums.copy()

    def _by_class(self, pq: NDArray[np.float64]) -> dict[str, list[float]]:
        names = self._scores.labels.names
        return {names[k]: [float(pq[k, 0]), *map(int, pq[k, 1:])] for k in np.flatnonzero(pq.any(axis=1))}


def _known(value: float) -> float | None:
    return None if math.isnan(value) else value
