"""The free distance straight ahead over a drive, held against the exact one where that is known."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seg_perception.ground.drivable import DrivableSettings
from seg_perception.labels import LabelSet
from seg_perception.metrics.times import percentiles
from seg_perception.results import Drivable

BANDS_M = (0.0, 10.0, 20.0)
"""Errors are told by the exact distance from each of these on, and beyond the range."""
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
    """Collects what was measured on the free classes of a label set (those of cost 0). range_m: how far the node looks;
    what is beyond it is as far as it."""

    def __init__(self, labels: LabelSet, range_m: float = DrivableSettings().range_max_m) -> None:
        self._range_m = range_m
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
        """Under their names in report.json, of the frames whose exact distance is known, answered with a distance or not;
        empty where there are none. A frame that was not measured counts as 0 m, as nothing is free there.

        `free_distance_error_m`, absolute, and its `frames`; `free_distance_bands`, the same by exact distance, with the
        share within tolerance and the count of frames that were not measured; `free_distance_not_measured`;
        `free_distance_missed`, frames told to be free beyond the range where the ground ends within it;
        `free_distance_false`, frames told to end within the range where they do not: each a `share` `of` so many frames.
        """
        _, ahead_m, _, exact_m = np.array(self._rows, np.float64).reshape(-1, 4).T
        known = ~np.isnan(exact_m)
        if not known.any():
            return {}
        ahead_m, exact_m = np.minimum(ahead_m[known], self._range_m), np.minimum(exact_m[known], self._range_m)
        ends = exact_m < self._range_m
        edges_m = [*(band for band in BANDS_M if band < self._range_m), self._range_m, math.inf]
        return {
            "free_distance_error_m": _errors(ahead_m, exact_m),
            "free_distance_not_measured": _share(np.isnan(ahead_m)),
            "free_distance_missed": _share(ahead_m[ends] >= self._range_m),
            "free_distance_false": _share(ahead_m[~ends] < self._range_m),
            "free_distance_bands": [
                _band(ahead_m[inside], exact_m[inside], low, high)
                for low, high in itertools.pairwise(edges_m)
                if (inside := (exact_m >= low) & (exact_m < high)).any()
            ],
        }


def _share(found: NDArray[np.bool_]) -> dict[str, Any]:
    return {"share": round(float(found.mean()), 9) if len(found) else None, "of": len(found)}


def _errors(ahead_m: NDArray[np.float64], exact_m: NDArray[np.float64]) -> dict[str, Any]:
    return {**percentiles(np.abs(np.nan_to_num(ahead_m) - exact_m), 50, 95), "frames": len(exact_m)}


def _band(ahead_m: NDArray[np.float64], exact_m: NDArray[np.float64], low: float, high: float) -> dict[str, Any]:
    right = np.abs(ahead_m - exact_m) <= np.maximum(TOLERANCE * exact_m, LEAST_TOLERANCE_M)
    return {
        "from_m": low,
        "to_m": high if math.isfinite(high) else None,
        "frames": len(exact_m),
        "not_measured": int(np.isnan(ahead_m).sum()),
        "error_m": _errors(ahead_m, exact_m),
        "within_tolerance": round(float(right.mean()), 4),
    }
