"""Metrics of tracks against labels whose things keep their numbers: STQ, VPQ, HOTA and id switches."""

from __future__ import annotations

import math
from collections import Counter, deque
from typing import Any

import numpy as np

from seg_perception.labels import LabelSet
from seg_perception.metrics.hota import ALPHAS, HotaSequence, IdSwitches, hota
from seg_perception.metrics.panoptic_quality import PanopticQuality
from seg_perception.metrics.segment_pairs import VOID_KEY, SegmentPairs

WINDOWS = (1, 2, 3, 4)
"""Frames of a window of VPQ."""
_SAME = 0.5
"""IoU above which a thing is found: no two can be of one."""


class _Sequence:
    """What is summed up over the frames of one camera's recording, by keys as in SegmentPairs."""

    def __init__(self) -> None:
        self.true_area: Counter[int] = Counter()
        self.area: Counter[int] = Counter()
        self.both: Counter[tuple[int, int]] = Counter()
        self.hota = HotaSequence()
        self.switches = IdSwitches()
        self.latest: deque[SegmentPairs] = deque(maxlen=max(WINDOWS))


class TrackScores:
    """Tracks against labels, sequence by sequence. frames: number added.

    *STQ* = sqrt(AQ x SQ) (Weber et al., "STEP: Segmenting and Tracking Every Pixel", NeurIPS 2021): SQ is the mean IoU of
    the classes; AQ the mean over all true things of the sum over the numbers that they are given, each with the pixels
    in common times the IoU of thing and number over the whole sequence, by the thing's pixels. *VPQ* of k frames (Kim et
    al., "Video Panoptic Segmentation", CVPR 2020): PQ of the tubes in every window of k frames; the mean over WINDOWS.
    *HOTA* of things by the IoU of masks of one class. An *id switch*: a thing whose mask is found (IoU above one half) has
    another number than when it was found last. What finds no thing and lies on void or a crowd for more than half is not
    counted as false.
    """

    def __init__(self, labels: LabelSet) -> None:
        self.frames = 0
        self._labels = labels
        self._sequences: dict[str, _Sequence] = {}
        self._windows = {k: PanopticQuality(labels) for k in WINDOWS}
        self._seconds = 0.0

    def add(self, pairs: SegmentPairs, sequence: str, period_s: float) -> None:
        """One frame, in which predictions have the numbers of their tracks. sequence: what it belongs to; period_s: for
        how long its things were seen since the one before."""
        of = self._sequences.setdefault(sequence, _Sequence())
        self.frames += 1
        self._add_areas(pairs, of)
        self._add_windows(pairs, of)
        self._add_things(pairs, of, period_s)

    def _is_thing(self, key: int) -> bool:
        return key != VOID_KEY and bool(self._labels.is_thing[key >> 16])

    def _is_crowd(self, key: int) -> bool:
        return self._is_thing(key) and key & 0xFFFF == 0

    def _add_areas(self, pairs: SegmentPairs, of: _Sequence) -> None:
        for (true_key, key), pixels in pairs.pixels.items():
            true = self._is_thing(true_key) and not self._is_crowd(true_key)
            found = self._is_thing(key) and not self._is_crowd(true_key)
            if true:
                of.true_area[true_key] += pixels
            if found:
                of.area[key] += pixels
            if true and found:
                of.both[true_key, key] += pixels

    def _add_windows(self, pairs: SegmentPairs, of: _Sequence) -> None:
        of.latest.append(pairs)
        for k, quality in self._windows.items():
            if len(of.latest) >= k:
                summed: Counter[tuple[int, int]] = Counter()
                for frame in list(of.latest)[-k:]:
                    summed.update(frame.pixels)
                quality.update(SegmentPairs(summed))

    def _add_things(self, pairs: SegmentPairs, of: _Sequence, period_s: float) -> None:
        true = [key for key in pairs.true_area if self._is_thing(key) and not self._is_crowd(key)]
        answered = [key for key in pairs.area if self._is_thing(key)]
        iou = np.zeros((len(true), len(answered)))
        for row, true_key in enumerate(true):
            for column, key in enumerate(answered):
                pixels = pairs.pixels.get((true_key, key), 0)
                if pixels and true_key >> 16 == key >> 16:
                    beside = pairs.pixels.get((VOID_KEY, key), 0)
                    iou[row, column] = pixels / (pairs.area[key] + pairs.true_area[true_key] - pixels - beside)
        counts = [
            bool((iou[:, column] > _SAME).any()) or not self._excused(key, pairs) for column, key in enumerate(answered)
        ]
        iou = np.ascontiguousarray(iou[:, counts])
        numbers = [key & 0xFFFF for key, is_counted in zip(answered, counts, strict=True) if is_counted]
        of.hota.add(true, numbers, iou)
        matched = {true[row]: numbers[column] for row, column in np.argwhere(iou > _SAME).tolist()}
        of.switches.add(true, matched)
        self._seconds += period_s * len(true)

    def _excused(self, key: int, pairs: SegmentPairs) -> bool:
        """Whether a prediction lies on void and its class' crowd for more than half."""
        beside = pairs.pixels.get((VOID_KEY, key), 0) + pairs.pixels.get((key >> 16 << 16, key), 0)
        return 2 * beside > pairs.area[key]

    def association_quality(self) -> float:
        """AQ, NaN without a true thing."""
        total, count = 0.0, 0
        for of in self._sequences.values():
            count += len(of.true_area)
            for (true_key, key), both in of.both.items():
                either = of.true_area[true_key] + of.area[key] - both
                total += both * (both / either) / of.true_area[true_key]
        return total / count if count else math.nan

    def summary(self, miou: float | None) -> dict[str, Any]:
        """Under their names in report.json: `stq`, `aq`; `vpq`, and `vpq_windows` by the number of frames; `hota`,
        `hota_detection`, `hota_association`; `id_switches`, `id_switches_per_minute`, of a thing that is seen for so long,
        and `thing_seconds`; each None where there is nothing to take it of. miou: SQ, of the same frames."""
        aq = self.association_quality()
        stq = None if miou is None or math.isnan(aq) else math.sqrt(aq * miou)
        windows = {str(k): _mean_known(quality.per_class()[0]) for k, quality in self._windows.items()}
        known = [value for value in windows.values() if value is not None]
        counts = sum((of.hota.counts() for of in self._sequences.values()), np.zeros((5, len(ALPHAS))))
        switches = sum(of.switches.switches for of in self._sequences.values())
        return {
            "stq": stq,
            "aq": None if math.isnan(aq) else aq,
            "vpq": sum(known) / len(known) if known else None,
            "vpq_windows": windows,
            **hota(counts),
            "id_switches": switches,
            "id_switches_per_minute": 60 * switches / self._seconds if self._seconds else None,
            "thing_seconds": self._seconds,
        }


def _mean_known(values: Any) -> float | None:
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else None
