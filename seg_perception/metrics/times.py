"""Times of many frames in a few numbers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np


class StageTimes:
    """Times of a pipeline's stages over many frames. frames: how many."""

    def __init__(self) -> None:
        self.frames = 0
        self._samples_ms: dict[str, list[float]] = {}

    def add(self, stages_ms: Mapping[str, float]) -> None:
        """Add one frame."""
        self.frames += 1
        for name, value in stages_ms.items():
            self._samples_ms.setdefault(name, []).append(value)

    def summary(self) -> dict[str, dict[str, float]]:
        """p50, p95 and max of each stage in ms."""
        return {name: percentiles(values, 50, 95, 100) for name, values in self._samples_ms.items()}


def percentiles(values_ms: Iterable[float], *shares: int) -> dict[str, float]:
    """Percentiles under the names p50, p95, … and max (100); empty without values."""
    values = np.fromiter(values_ms, np.float64)
    if not len(values):
        return {}
    return {"max" if share == 100 else f"p{share}": round(float(np.percentile(values, share)), 3) for share in shares}
