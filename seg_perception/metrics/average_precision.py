"""Average precision of single things as Cityscapes defines it (Cordts et al., CVPR 2016, section 4.2)."""

from __future__ import annotations

from array import array
from collections import defaultdict
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from seg_perception.labels import LabelSet
from seg_perception.metrics.segment_pairs import VOID_KEY, SegmentPairs

OVERLAPS: NDArray[np.float64] = np.arange(0.5, 1.0, 0.05)
"""IoU that a match must exceed. Not rounded, so that an IoU equal to one falls to the side it does in Cityscapes' tool."""

SMALLEST_TRUTH_PX = 100
"""Smaller true things are neither to be found nor wrong to be found."""

_BITS = 1 << np.arange(len(OVERLAPS))


class AveragePrecision:
    """Every prediction's score and what it was at each of OVERLAPS, and how many things were there to be found.

    It needs all predictions in the end, so it keeps 12 bytes of each.
    """

    def __init__(self, labels: LabelSet) -> None:
        self.labels = labels
        self._truths: NDArray[np.int64] = np.zeros(len(labels), np.int64)
        self._scores = [array("d") for _ in labels.classes]
        # at which overlaps it was right, and at which wrong, a bit each; at neither where it is not judged
        self._right = [array("H") for _ in labels.classes]
        self._wrong = [array("H") for _ in labels.classes]

    def update(self, pairs: SegmentPairs, scores: Mapping[int, float]) -> None:
        """Add one frame. scores: of each predicted instance, by its number.

        Raises ValueError when an instance has none.
        """
        is_thing = self.labels.is_thing
        for true_key, area in pairs.true_area.items():
            if is_thing[true_key >> 16] and true_key & 0xFFFF and area >= SMALLEST_TRUTH_PX:
                self._truths[true_key >> 16] += 1
        met: defaultdict[int, list[int]] = defaultdict(list)
        for true_key, key in pairs.pixels:
            if true_key >> 16 == key >> 16:
                met[key].append(true_key)
        for key in pairs.area:
            if not is_thing[key >> 16]:
                continue
            score = scores.get(key & 0xFFFF)
            if score is None:
                raise ValueError(f"instance {key & 0xFFFF} has no score: give that of every predicted instance")
            right, wrong = _judge(pairs, key, met[key])
            self._scores[key >> 16].append(score)
            self._right[key >> 16].append(int(_BITS[right].sum()))
            self._wrong[key >> 16].append(int(_BITS[wrong].sum()))

    def per_class(self) -> NDArray[np.float64]:
        """[C, len(OVERLAPS)] average precision, NaN for stuff and for classes of which no thing was there."""
        table = np.full((len(self.labels), len(OVERLAPS)), np.nan)
        for c in np.flatnonzero(self._truths):
            scores = np.asarray(self._scores[c])
            right, wrong = (
                np.asarray(self._right[c])[:, None] & _BITS > 0,
                np.asarray(self._wrong[c])[:, None] & _BITS > 0,
            )
            for k in range(len(OVERLAPS)):
                judged = right[:, k] | wrong[:, k]
                table[c, k] = _area_under_curve(scores[judged], right[judged, k], int(self._truths[c]))
        return table


def _judge(pairs: SegmentPairs, key: int, met: list[int]) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """At which of OVERLAPS a prediction is right and at which it is wrong; met: true segments of its class."""
    area = pairs.area[key]
    excused = pairs.pixels[VOID_KEY, key]
    found = forgiven = 0.0
    for true_key in met:
        pixels, true_area = pairs.pixels[true_key, key], pairs.true_area[true_key]
        iou = pixels / (true_area + area - pixels)
        is_crowd, is_small = true_key & 0xFFFF == 0, true_area < SMALLEST_TRUTH_PX
        # a crowd that is small counts twice, as it does in Cityscapes' tool
        excused += pixels * (is_crowd + is_small)
        if is_crowd or is_small:
            forgiven = max(forgiven, iou)
        else:
            found = max(found, iou)
    right = found > OVERLAPS
    return right, ~right & (forgiven <= OVERLAPS) & (excused / area <= OVERLAPS)


def _area_under_curve(scores: NDArray[np.float64], right: NDArray[np.bool_], truths: int) -> float:
    """Precision over recall, each point weighted by half the way to its neighbours on both sides, from precision 1 at
    recall 0 on; equal scores make one point."""
    order = np.argsort(-scores, kind="stable")
    last = np.flatnonzero(np.diff(scores[order], append=-np.inf))
    hits = np.cumsum(right[order])[last]
    precision = np.concatenate(([1.0], hits / (last + 1)))
    recall = np.concatenate(([0.0], hits / truths))
    ways = np.concatenate(([0.0], recall, recall[-1:]))
    return float(precision @ (ways[2:] - ways[:-2]) / 2)
