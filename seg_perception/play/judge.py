"""Holds what the node answered in a play against the labels, as measured frame by frame and as a robot had it."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seg_perception.errors import SegPerceptionError
from seg_perception.faults import Faults
from seg_perception.labels import VOID, LabelSet
from seg_perception.metrics.confusion import ConfusionMatrix, iou_per_class, mean_known
from seg_perception.metrics.per_frame import PerFrame
from seg_perception.metrics.scores import Scores
from seg_perception.recordings.dataset_source import Comparison
from seg_perception.recordings.sources import SourceFrame
from seg_perception.results import Answer, Truth, at_middles


class Judge:
    """Frames of one camera or of several. labels: what they are judged in; rows: `per_frame` of report.json."""

    def __init__(self, labels: LabelSet, spoken: LabelSet | None = None) -> None:
        """labels: the model's; spoken: what the ids of the truth mean, None: the same."""
        self._comparison = Comparison.of_labels(labels, spoken)
        self.labels = self._comparison.labels
        self.scores = Scores(self.labels)
        self._robot = ConfusionMatrix(self.labels)
        self._per_frame = PerFrame(self.scores)
        self._faults = Faults()

    @property
    def problems(self) -> list[str]:
        """Labels that cannot be used, one sentence a kind."""
        return self._faults.sentences()

    @property
    def notes(self) -> list[str]:
        """What the reader of the numbers must know."""
        return [*self._comparison.notes, *self.scores.notes]

    def truth(self, truth: Truth) -> Truth:
        """In labels."""
        return self._comparison.truth(truth)

    @property
    def rows(self) -> list[dict[str, Any]]:
        """One a frame, answered or not; only answered ones hold metrics, so that the rows sum up to the summary."""
        return self._per_frame.rows

    def add(
        self, name: str, item: SourceFrame, answer: Answer | None, newest: Answer | None, age_ms: float
    ) -> float | None:
        """A frame that was sent. answer: to it, of that age; newest: the one that a robot has then, which is the same or
        older. Returns the answer's mIoU, None where there is none to tell."""
        miou, instances = None, False
        if item.truth is not None:
            truth = self.truth(item.truth)
            try:
                self._robot.update(self._had(newest, item.truth.semantic), truth.semantic)
                if answer is not None:
                    semantic = self._comparison.prediction(answer.semantic, item.truth.semantic)
                    miou = self.scores.add(semantic, answer.instance, truth, answer.segments)
                    instances = item.truth.instance is not None
            except SegPerceptionError as error:
                self._faults.add(name, str(error))
        age = None if math.isnan(age_ms) else round(age_ms, 3)
        self._per_frame.add(name, item.frame.stamp_ns, age_ms=age, instances=instances)
        return miou

    def numbers(self) -> dict[str, Any]:
        """Under their names in report.json, empty without labels. `miou_all`: over every labelled frame that was sent,
        by the newest answer there was, whoever's it was; before the first answer everything is unlabelled."""
        if not self._robot.counts.any():
            return {}
        miou_all = mean_known(iou_per_class(self._robot.counts))
        answered = self.scores.summary() if self.scores.frames else {}
        return {**answered, "miou_all": miou_all, "frames_labelled": self.scores.frames}

    def _had(self, newest: Answer | None, ids: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """The mask that a robot has, in labels and brought to the size of the truth's ids."""
        if newest is None:
            return np.full(ids.shape, VOID, np.uint8)
        return at_middles(self._comparison.prediction(newest.semantic, ids), ids.shape)
