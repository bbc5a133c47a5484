"""All metrics against labels, defined as the reference tools of Cityscapes and COCO define them; frame by frame.

Masks are uint8 [H, W] class ids with 255 = void, instances uint16 [H, W] with 0 = none. A thing pixel whose instance is
0 belongs to no segment: in the truth it is a crowd, in a prediction it is void.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seg_perception.compiled import compiled
from seg_perception.errors import SegPerceptionError
from seg_perception.labels import NOT_GROUND, VOID, LabelSet


class ConfusionMatrix:
    """Pixels by true and predicted class over all frames. counts: int64 [C, C + 1], rows truth, columns prediction, the
    last column void; pixels whose truth is void count nowhere."""

    def __init__(self, labels: LabelSet) -> None:
        self.labels = labels
        self.counts: NDArray[np.int64] = np.zeros((len(labels), len(labels) + 1), np.int64)

    def update(self, prediction: NDArray[np.uint8], truth: NDArray[np.uint8]) -> NDArray[np.int64]:
        """Add one frame; returns its own counts [C, C + 1].

        Raises ValueError when the shapes differ, SegPerceptionError when a value is neither a class nor void.
        """
        if prediction.shape != truth.shape:
            raise ValueError(f"prediction is {list(prediction.shape)}, truth {list(truth.shape)}: they must be alike")
        joint = _joint_histogram(np.ascontiguousarray(truth), np.ascontiguousarray(prediction))
        classes = len(self.labels)
        for name, totals in (("labels", joint.sum(axis=1)), ("prediction", joint.sum(axis=0))):
            strange = [int(value) for value in np.flatnonzero(totals[:VOID]) if value >= classes]
            if strange:
                raise SegPerceptionError(
                    f"the {name} hold the value {strange[0]}, but classes are 0 to {classes - 1} and {VOID} is void: "
                    "convert them, or name their unlabelled value with --void"
                )
        counts = np.column_stack((joint[:classes, :classes], joint[:classes, VOID]))
        self.counts += counts
        return counts

    def iou(self) -> NDArray[np.float64]:
        """[C] intersection over union, NaN for classes that occur in neither truth nor prediction."""
        return iou_per_class(self.counts)

    def dice(self) -> NDArray[np.float64]:
        """[C] Dice coefficient, NaN as in iou."""
        hits, _, misses, false = _outcomes(self.counts)
        return ratio(2 * hits, 2 * hits + misses + false)

    def pixel_accuracy(self) -> float:
        """Share of the labelled pixels that got their class; void is a miss."""
        return float(ratio(np.trace(self.counts), self.counts.sum()))

    def drivable_iou(self) -> float:
        """IoU of ground (all drivable classes as one) against the rest."""
        ground = np.array([c.id for c in self.labels.drivable], np.intp)
        if not len(ground):
            return math.nan
        hits = self.counts[np.ix_(ground, ground)].sum()
        return float(ratio(hits, self.counts[ground].sum() + self.counts[:, ground].sum() - hits))

    def drivable_false_positives(self) -> float:
        """Share of the pixels labelled as no ground that were told as ground; NaN without such pixels."""
        ground = np.array([c.drivable_cost != NOT_GROUND for c in self.labels.classes], np.bool_)
        return float(ratio(self.counts[~ground, :-1][:, ground].sum(), self.counts[~ground].sum()))


def iou_per_class(counts: NDArray[np.int64]) -> NDArray[np.float64]:
    """[C] IoU from counts [C, C + 1] as in ConfusionMatrix, NaN for classes that do not occur."""
    hits, _, misses, false = _outcomes(counts)
    return ratio(hits, hits + misses + false)


def mean_known(values: NDArray[np.float64]) -> float:
    """Mean of what is not NaN, NaN when nothing is."""
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else math.nan


def _outcomes(counts: NDArray[np.int64]) -> tuple[NDArray[np.int64], ...]:
    """Per class: hits, pixels in truth, misses, false alarms."""
    hits = counts.diagonal()
    present = counts.sum(axis=1)
    return hits, present, present - hits, counts[:, :-1].sum(axis=0) - hits


def ratio(part: Any, whole: Any) -> NDArray[np.float64]:
    """part / whole as float64; NaN for 0 / 0."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(np.true_divide(part, whole), np.float64)


@compiled
def _joint_histogram(truth: NDArray[np.uint8], prediction: NDArray[np.uint8]) -> NDArray[np.int64]:
    """int64 [256, 256] pixels by truth and prediction; masks are made of runs, so it counts those."""
    joint = np.zeros((256, 256), np.int64)
    for y in range(truth.shape[0]):
        x, width = 0, truth.shape[1]
        while x < width:
            start, true_label, label = x, truth[y, x], prediction[y, x]
            x += 1
            while x < width and truth[y, x] == true_label and prediction[y, x] == label:
                x += 1
            joint[true_label, label] += x - start
    return joint
