"""Every metric of one evaluation, frame by frame."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seg_perception.labels import LabelSet
from seg_perception.metrics.average_precision import AveragePrecision
from seg_perception.metrics.boundary import boundary_f1
from seg_perception.metrics.confusion import ConfusionMatrix, iou_per_class, mean_known, ratio
from seg_perception.metrics.panoptic_quality import PanopticQuality
from seg_perception.metrics.segment_pairs import pair_segments
from seg_perception.results import Segment, Truth, at_middles


class Scores:
    """Every metric of one evaluation, frame by frame. frames: number added; frames_with_objects: of them those whose truth
    tells objects apart, which all have where no class is a thing: PQ and AP are of these alone, or, where there is none,
    PQ of stuff is of all."""

    def __init__(self, labels: LabelSet) -> None:
        self.labels = labels
        self.confusion = ConfusionMatrix(labels)
        self.quality = PanopticQuality(labels)
        self.precision = AveragePrecision(labels)
        self.frames = self.frames_with_objects = 0
        self._things = labels.is_thing[: len(labels)]
        self._of_stuff = PanopticQuality(labels)
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
        to the labels' by the middles of their pixels.
        """
        semantic, instance = (at_middles(mask, truth.semantic.shape) for mask in (semantic, instance))
        counts = self.confusion.update(semantic, truth.semantic)
        true_instance = truth.instance
        tells = true_instance is not None or not self._things.any()
        if true_instance is None:
            true_instance = np.zeros(truth.semantic.shape, np.uint16)
        pairs = pair_segments(semantic, instance, truth.semantic, true_instance, self.labels.is_thing)
        (self.quality if tells else self._of_stuff).update(pairs)
        if tells:
            self.frames_with_objects += 1
            self._scores_known &= segments is not None
            if segments is not None:
                self.precision.update(pairs, {segment.id: segment.score for segment in segments if segment.is_thing})
        boundary = boundary_f1(semantic, truth.semantic, len(self.labels))
        self._boundary_sum += np.nan_to_num(boundary)
        self._boundary_frames += ~np.isnan(boundary)
        self.frames += 1
        return mean_known(iou_per_class(counts))

    @property
    def notes(self) -> list[str]:
        """What the reader of the numbers must know, a sentence each."""
        if self.frames_with_objects in (0, self.frames):
            return []
        return [f"PQ and AP are of {self.frames_with_objects} frames, the other labels don't tell objects apart"]

    def add_summary(self, summary: Mapping[str, Any], frames: int) -> None:
        """Add the frames of another evaluation in the same labels, by its summary and their number. There is no AP then,
        which needs every single prediction."""
        sums, names = summary["sums"], self.labels.names
        self.confusion.counts += np.array(summary["confusion"], np.int64)
        self.quality.sums += np.array([sums["pq"][name] for name in names])
        self._of_stuff.sums += np.array([sums["pq_without_objects"][name] for name in names])
        boundary = np.array([sums["boundary_f1"][name] for name in names])
        self._boundary_sum += boundary[:, 0]
        self._boundary_frames += boundary[:, 1].astype(np.int64)
        self.frames_with_objects += sums["frames_with_objects"]
        self._scores_known = False
        self.frames += frames

    def boundary(self) -> NDArray[np.float64]:
        """[C] mean over the frames where the class has a boundary, NaN where it never has."""
        return ratio(self._boundary_sum, self._boundary_frames)

    def summary(self) -> dict[str, Any]:
        """The metrics under their names in report.json; None where one is not defined, as PQ of all and of things where
        no truth tells objects apart, and AP where the predictions have no scores either."""
        things, whole = self._things, self.frames_with_objects > 0
        pq, sq, rq = (self.quality if whole else self._of_stuff).per_class()
        if not whole:
            pq, sq, rq = (np.where(things, np.nan, values) for values in (pq, sq, rq))
        precision = self.precision.per_class()
        if not (whole and self._scores_known):
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
            "drivable_false_positives": confusion.drivable_false_positives(),
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
        known["frames_with_objects"] = self.frames_with_objects
        known["confusion"] = confusion.counts.tolist()
        known["thing_classes"] = [label.name for label in self.labels.classes if label.thing]
        known["drivable_classes"] = [label.name for label in self.labels.drivable]
        known["sums"] = self._sums()
        return known

    def _sums(self) -> dict[str, Any]:
        """What add_summary needs beside the confusion: per class the columns of PanopticQuality.sums, and the summed
        boundary F1 with the number of frames that have one; in how many frames objects were told apart."""
        boundary = np.stack((self._boundary_sum, self._boundary_frames), axis=1)
        by_class = {
            "pq": self.quality.sums,
            "pq_without_objects": self._of_stuff.sums,
            "boundary_f1": boundary,
        }
        sums = {key: dict(zip(self.labels.names, rows.tolist(), strict=True)) for key, rows in by_class.items()}
        return {**sums, "frames_with_objects": self.frames_with_objects}

    def _by_class(self, values: NDArray[np.float64]) -> dict[str, float | None]:
        return {name: _or_none(value) for name, value in zip(self.labels.names, values, strict=True)}


def _or_none(value: float) -> float | None:
    return None if math.isnan(value) else float(value)
