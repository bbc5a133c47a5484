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
_MEMORY_NS = round(TrackingSettings.memory_s * 1e9)
"""A number that was not seen for longer is another track's: numbers begin again after the largest, and where stamps go back by
more, as in a recording that begins again."""


class TrackLengths:
    """Tracks by number, frame after frame; masks hold the tracks' numbers."""

    def __init__(self, labels: LabelSet) -> None:
        self._labels = labels
        self._spans: list[list[int]] = []
        self._open: dict[tuple[str, int], list[int]] = {}  # those that may go on, by their numbers
        self._before: tuple[str, NDArray[np.uint8], NDArray[np.uint16], int] | None = None
        self._newest_ns = self._switches = 0
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
        if stamp_ns < self._newest_ns - _MEMORY_NS:
            self._newest_ns = stamp_ns
            self._open.clear()
        self._newest_ns = max(self._newest_ns, stamp_ns)
        for number in np.unique(instance[instance > 0]).tolist():
            span = self._open.get((sequence, number))
            if span is None or abs(stamp_ns - span[1]) > _MEMORY_NS:
                span = self._open[sequence, number] = [stamp_ns, stamp_ns]
                self._spans.append(span)
            span[0], span[1] = min(span[0], stamp_ns), max(span[1], stamp_ns)

    def summary(self) -> dict[str, Any]:
        """`tracks`: their number; `track_length_s`: p50 of the time from first to last sight; `number_changes_per_minute`:
        things that lie where one of the same class was in the frame before, with another number, per minute of frames that
        follow each other; None where there is nothing."""
        spans = [(end - start) / 1e9 for start, end in self._spans]
        return {
            "tracks": len(spans),
            "track_length_s": float(np.median(spans)) if spans else None,
            "number_changes_per_minute": 60 * self._switches / self._seconds if self._seconds else None,
        }
