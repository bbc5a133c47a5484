"""All metrics against labels, defined as the reference tools of Cityscapes and COCO define them; frame by frame.

Masks are uint8 [H, W] class ids with 255 = void, instances uint16 [H, W] with 0 = none. A thing pixel whose instance is
0 belongs to no segment: in the truth it is a crowd, in a prediction it is void.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numba
import numpy as np
from numpy.typing import NDArray

from seg_perception.errors import SegPerceptionError
from seg_perception.labels import VOID, LabelSet
from seg_perception.metrics.average_precision import AveragePrecision
from seg_perception.metrics.boundary import boundary_f1
from seg_perception.metrics.panoptic_quality import PanopticQuality
from seg_perception.metrics.segment_pairs import pair_segments
from seg_perception.results import Segment


@dataclass(frozen=True)
class Truth:
    """Labels of one frame. semantic: uint8 [H, W], 255 = unlabelled; instance: uint16 [H, W], a thing pixel with 0
    belongs to a crowd; None where objects are not told apart."""

    semantic: NDArray[np.uint8]
    instance: NDArray[np.uint16] | None = None

    def __post_init__(self) -> None:
        if self.semantic.dtype != np.uint8 or self.semantic.ndim != 2:
            raise ValueError(f"semantic is {self.semantic.dtype} {list(self.semantic.shape)}, expected uint8 [H, W]")
        other = self.instance
        if other is not None and (other.dtype != np.uint16 or other.shape != self.semantic.shape):
            shape = list(self.semantic.shape)
            raise ValueError(f"instance is {other.dtype} {list(other.shape)}, expected uint16 {shape}")


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


@numba.njit(cache=True, nogil=True)
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


class Scores:
    """Every metric of one evaluation, frame by frame. frames: number added."""

    def __init__(self, labels: LabelSet) -> None:
        self.labels = labels
        self.confusion = ConfusionMatrix(labels)
        self.quality = PanopticQuality(labels)
        self.precision = AveragePrecision(labels)
        self.frames = 0
        self._things_known = True
        self._scores_known = True
        self._boundary_sum: NDArray[np.float64] = np.zeros(len(labels))
        self._boundary_frames: NDArray[np.int64] = np.zeros(len(labels), np.int64)

    def add(
        self,
        semantic: NDArray[np.uint8],
        instance: NDArray[np.uint16],
        truth: Truth,
        segments: Sequence[Segment] | None = None,
    ) -> float:
        """Add one frame's prediction; returns its own mIoU, NaN without a labelled pixel.

        segments: tell the score of every instance; without them there is no AP. A prediction of another size is brought
        to the labels' by nearest neighbour.
        """
        if semantic.shape != truth.semantic.shape:
            size_wh = truth.semantic.shape[::-1]
            semantic = cv2.resize(semantic, size_wh, interpolation=cv2.INTER_NEAREST)
            instance = cv2.resize(instance, size_wh, interpolation=cv2.INTER_NEAREST)
        counts = self.confusion.update(semantic, truth.semantic)
        true_instance = truth.instance
        if true_instance is None:
            self._things_known = False
            true_instance = np.zeros(truth.semantic.shape, np.uint16)
        pairs = pair_segments(semantic, instance, truth.semantic, true_instance, self.labels.is_thing)
        self.quality.update(pairs)
        self._scores_known &= segments is not None
        if self._things_known and self._scores_known and segments is not None:
            self.precision.update(pairs, {segment.id: segment.score for segment in segments if segment.is_thing})
        boundary = boundary_f1(semantic, truth.semantic, len(self.labels))
        self._boundary_sum += np.nan_to_num(boundary)
        self._boundary_frames += ~np.isnan(boundary)
        self.frames += 1
        return mean_known(iou_per_class(counts))

    def add_summary(self, summary: Mapping[str, Any], frames: int) -> None:
        """Add the frames of another evaluation in the same labels, by its summary and their number. There is no AP then,
        which needs every single prediction."""
        sums, names = summary["sums"], self.labels.names
        self.confusion.counts += np.array(summary["confusion"], np.int64)
        self.quality.sums += np.array([sums["pq"][name] for name in names])
        boundary = np.array([sums["boundary_f1"][name] for name in names])
        self._boundary_sum += boundary[:, 0]
        self._boundary_frames += boundary[:, 1].astype(np.int64)
        self._things_known &= sums["things_known"]
        self._scores_known = False
        self.frames += frames

    def boundary(self) -> NDArray[np.float64]:
        """[C] mean over the frames where the class has a boundary, NaN where it never has."""
        return ratio(self._boundary_sum, self._boundary_frames)

    def summary(self) -> dict[str, Any]:
        """The metrics under their names in report.json; None where one is not defined, as PQ of all and of things where
        the truth tells no objects apart, and AP where the predictions have no scores either."""
        things = self.labels.is_thing[: len(self.labels)]
        pq, sq, rq = self.quality.per_class()
        if not self._things_known:
            pq, sq, rq = (np.where(things, np.nan, values) for values in (pq, sq, rq))
        whole = self._things_known or not things.any()
        precision = self.precision.per_class()
        if not (self._things_known and self._scores_known):
            precision[:] = np.nan
        iou, dice, confusion = self.confusion.iou(), self.confusion.dice(), self.confusion
        values: dict[str, float] = {
            "miou": mean_known(iou),
            "pixel_accuracy": confusion.pixel_accuracy(),
            "dice": mean_known(dice),
            "pq": mean_known(pq) if whole else math.nan,
            "sq": mean_known(sq) if whole else math.nan,
            "rq": mean_known(rq) if whole else math.nan,
        }
        for name, metric in (("pq", pq), ("sq", sq), ("rq", rq)):
            values[f"{name}_things"], values[f"{name}_stuff"] = mean_known(metric[things]), mean_known(metric[~things])
        values |= {
            "ap": mean_known(precision),
            "ap50": mean_known(precision[:, 0]),
            "drivable_iou": confusion.drivable_iou(),
            "boundary_f1": mean_known(self.boundary()),
        }
        by_class = {
            "iou": iou,
            "dice_class": dice,
            "pq_class": pq,
            "ap_class": precision.mean(axis=1),
            "boundary_f1_class": self.boundary(),
        }
        known: dict[str, Any] = {name: _or_none(value) for name, value in values.items()}
        known |= {name: self._by_class(metric) for name, metric in by_class.items()}
        known["confusion"] = confusion.counts.tolist()
        known["thing_classes"] = [label.name for label in self.labels.classes if label.thing]
        known["drivable_classes"] = [label.name for label in self.labels.drivable]
        known["sums"] = self._sums()
        return known

    def _sums(self) -> dict[str, Any]:
        """What add_summary needs beside the confusion: per class the columns of PanopticQuality.sums, and the summed
        boundary F1 with the number of frames that have one; whether things were told apart in all frames."""
        boundary = np.stack((self._boundary_sum, self._boundary_frames), axis=1)
        by_class = {"pq": self.quality.sums, "boundary_f1": boundary}
        sums = {key: dict(zip(self.labels.names, rows.tolist(), strict=True)) for key, rows in by_class.items()}
        return {**sums, "things_known": self._things_known}

    def _by_class(self, values: NDArray[np.float64]) -> dict[str, float | None]:
        return {name: _or_none(value) for name, value in zip(self.labels.names, values, strict=True)}


def _or_none(value: float) -> float | None:
    return None if math.isnan(value) else float(value)
