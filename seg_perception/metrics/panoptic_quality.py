"""PQ, SQ and RQ (Kirillov et al., Panoptic Segmentation, CVPR 2019), counted as panopticapi and Cityscapes count."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from seg_perception.labels import LabelSet
from seg_perception.metrics.segment_pairs import VOID_KEY, SegmentPairs

IOU_SUM, TP, FP, FN = range(4)
"""Columns of PanopticQuality.sums."""


class PanopticQuality:
    """sums: float64 [C, 4]: summed IoU of the matched segments, then how many are matched, false and missed."""

    def __init__(self, labels: LabelSet) -> None:
        self.labels = labels
        self.sums: NDArray[np.float64] = np.zeros((len(labels), 4))

    def update(self, pairs: SegmentPairs) -> None:
        """Add one frame.

        Segments of a class match where their IoU is above one half, which two cannot be of one; the union leaves out
        what is predicted on void. A crowd is neither matched nor missed. A prediction that lies on void and its class'
        crowd for more than half is not counted as false.
        """
        matched: set[int] = set()
        true_matched: set[int] = set()
        for (true_key, key), pixels in pairs.pixels.items():
            if true_key >> 16 != key >> 16 or key == VOID_KEY or self._is_crowd(true_key):
                continue
            union = pairs.area[key] + pairs.true_area[true_key] - pixels - pairs.pixels[VOID_KEY, key]
            if 2 * pixels > union:
                self.sums[key >> 16, TP] += 1
                self.sums[key >> 16, IOU_SUM] += pixels / union
                matched.add(key)
                true_matched.add(true_key)
        for true_key in pairs.true_area.keys() - true_matched - {VOID_KEY}:
            if not self._is_crowd(true_key):
                self.sums[true_key >> 16, FN] += 1
        for key in pairs.area.keys() - matched - {VOID_KEY}:
            excused = pairs.pixels[VOID_KEY, key]
            if self.labels.is_thing[key >> 16]:
                excused += pairs.pixels[key >> 16 << 16, key]
            if 2 * excused <= pairs.area[key]:
                self.sums[key >> 16, FP] += 1

    def _is_crowd(self, true_key: int) -> bool:
        return bool(self.labels.is_thing[true_key >> 16]) and true_key & 0xFFFF == 0

    def per_class(self) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
        """PQ, SQ and RQ, each [C]; NaN for classes without any segment, SQ 0 where nothing matched."""
        iou_sum, tp, fp, fn = self.sums.T
        weight = tp + (fp + fn) / 2
        with np.errstate(invalid="ignore"):
            return iou_sum / weight, np.where(weight > 0, iou_sum / np.maximum(tp, 1), np.nan), tp / weight
