"""The free distance straight ahead over a drive, held against the exact one where that is known."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seg_perception.labels import LabelSet
from seg_perception.metrics.times import percentiles
from seg_perception.results import Drivable

BANDS_M = (0.0, 10.0, 20.0, 40.0)
"""Errors are told by the exact distance between these."""
TOLERANCE, LEAST_TOLERANCE_M = 0.02, 0.05
"""A distance counts as right within the larger of this share of it and this length."""


@dataclass(frozen=True)
class FreeTimeline:
    """Free distance in m of the answered frames, by when they were sent, s from the start: straight ahead, over the
    vehicle's width, and the exact one ahead. NaN where unknown, inf beyond the range."""

    sent_s: Sequence[float] = ()
    ahead_m: Sequence[float] = ()
    width_m: Sequence[float] = ()
    exact_m: Sequence[float] = ()


class FreeDistance:
    """Collects what was measured on the free classes of a label set (those of cost 0)."""

    def __init__(self, labels: LabelSet) -> None:
        self._free = {label.id for label in labels.drivable if label.drivable_cost == 0}
        self._rows: list[tuple[float, float, float, float]] = []

    def add(self, sent_s: float, drivable: Drivable, exact_m: float | None) -> None:
        """Add one frame, sent sent_s after the start. exact_m: None where not known, inf beyond the range."""
        measured = [(a.free_distance_m, a.free_distance_width_m) for a in drivable.areas if a.class_id in self._free]
        ahead_m, wide_m = measured[0] if measured else (math.nan, math.nan)
        self._rows.append((sent_s, ahead_m, wide_m, math.nan if exact_m is None else exact_m))

    def timeline(self) -> FreeTimeline:
        """All frames; empty where nothing was measured."""
        sent_s, ahead_m, wide_m, exact_m = np.array(self._rows, np.float64).reshape(-1, 4).T.tolist()
        return FreeTimeline(sent_s, ahead_m, wide_m, exact_m) if not np.isnan(ahead_m).all() else FreeTimeline()

    def summary(self) -> dict[str, Any]:
        """Errors under their names in report.json, empty without a comparison: `free_distance_error_m`, absolute, over
        all frames in which both distances are finite; `free_distance_bands`, the same by exact distance, with the share
        within tolerance and the count of frames in which an exact distance was not measured."""
        _, ahead_m, _, exact_m = np.array(self._rows, np.float64).reshape(-1, 4).T
        both = np.isfinite(ahead_m) & np.isfinite(exact_m)
        if not both.any():
            return {}
        error_m = np.abs(ahead_m[both] - exact_m[both])
        return {
            "free_distance_error_m": percentiles(error_m, 50, 95),
            "free_distance_bands": [
                _band(ahead_m, exact_m, low, high)
                for low, high in itertools.pairwise(BANDS_M)
                if ((exact_m >= low) & (exact_m < high)).any()
            ],
        }


def _band(ahead_m: NDArray[np.float64], exact_m: NDArray[np.float64], low: float, high: float) -> dict[str, Any]:
    inside = (exact_m >= low) & (exact_m < high)
    measured = inside & np.isfinite(ahead_m)
    error_m = np.abs(ahead_m[measured] - exact_m[measured])
    right = error_m <= np.maximum(TOLERANCE * exact_m[measured], LEAST_TOLERANCE_M)
    return {
        "from_m": low,
        "to_m": high,
        "frames": int(inside.sum()),
        "not_measured": int((inside & ~measured).sum()),
        "error_m": percentiles(error_m, 50, 95),
        "within_tolerance": round(float(right.mean()), 4) if len(right) else None,
    }
