"""What can be told of tracks without labels: how long they last, and how often a thing seems to change its number."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from seg_perception.labels import LabelSet
from seg_perception.metrics.segment_pairs import VOID_KEY, pair_segments
from seg_perception.metrics.without_labels import FOLLOWS_S
from seg_perception.tracking.settings import TrackingSettings

_SAME = 0.5
"""IoU above which things of two successive frames are taken to be one: nothing moves by half its size in between."""
_BACK_NS = round(TrackingSettings.memory_s * 1e9)
"""Stamps that go back by more begin another recording, whose tracks have the numbers of the first ones again."""


class TrackLengths:
    """Tracks by number, frame after frame; masks hold the tracks' numbers."""

    def __init__(self, labels: LabelSet) -> None:
        self._labels = labels
        self._spans: dict[tuple[str, int, int], list[int]] = {}
        self._before: tuple[str, NDArray[np.uint8], NDArray[np.uint16], int] | None = None
        self._newest_ns, self._part = 0, 0
        self._switches = 0
        self._seconds = 0.0

    def add(self, semantic: NDArray[np.uint8], instance: NDArray[np.uint16], stamp_ns: int, sequence: str) -> None:
        """One frame; sequence: what it belongs to."""
        before, self._before = self._before, (sequence, semantic.copy(), instance.copy(), stamp_ns)
        self._add_spans(instance, stamp_ns, sequence)
        if before is None or before[0] != sequence or before[1].shape != semantic.shape:
            return
        gap_s = (stamp_ns - before[3]) / 1e9
        if not FOLLOWS_S[0] <= gap_s <= FOLLOWS_S[1]:
            return
        self._seconds += gap_s
        pairs = pair_segments(semantic, instance, before[1], before[2], self._labels.is_thing)
        for (old, new), pixels in pairs.pixels.items():
            if VOID_KEY in (old, new) or not self._labels.is_thing[new >> 16] or old >> 16 != new >> 16:
                continue
            number, was = new & 0xFFFF, old & 0xFFFF
            union = pairs.area[new] + pairs.true_area[old] - pixels
            self._switches += number != was and 0 not in (number, was) and pixels > _SAME * union

    def _add_spans(self, instance: NDArray[np.uint16], stamp_ns: int, sequence: str) -> None:
        if stamp_ns < self._newest_ns - _BACK_NS:
            self._newest_ns, self._part = stamp_ns, self._part + 1
        self._newest_ns = max(self._newest_ns, stamp_ns)
        for number in np.unique(instance[instance > 0]).tolist():
            span = self._spans.setdefault((sequence, self._part, number), [stamp_ns, stamp_ns])
            span[0], span[1] = min(span[0], stamp_ns), max(span[1], stamp_ns)

    def summary(self) -> dict[str, Any]:
        """`tracks`: their number; `track_length_s`: p50 of the time from first to last sight; `number_changes_per_minute`:
        things that lie where one of the same class was in the frame before, with another number, per minute of frames that
        follow each other; None where there is nothing."""
        spans = [(end - start) / 1e9 for start, end in self._spans.values()]
        return {
            "tracks": len(spans),
            "track_length_s": float(np.median(spans)) if spans else None,
            "number_changes_per_minute": 60 * self._switches / self._seconds if self._seconds else None,
        }
