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
from seg_perception.recordings.sources import SourceFrame
from seg_perception.results import Answer, at_middles


class Judge:
    """Frames of one camera or of several. rows: `per_frame` of report.json."""

    def __init__(self, labels: LabelSet) -> None:
        self.scores = Scores(labels)
        self._robot = ConfusionMatrix(labels)
        self._per_frame = PerFrame(self.scores)
        self._faults = Faults()

    @property
    def problems(self) -> list[str]:
        """Labels that cannot be used, one sentence a kind."""
        return self._faults.sentences()

    @property
    def notes(self) -> list[str]:
        """What the reader of the numbers must know."""
        return self.scores.notes

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
            try:
                self._robot.update(_had(newest, item.truth.semantic.shape), item.truth.semantic)
                if answer is not None:
                    miou = self.scores.add(answer.semantic, answer.instance, item.truth, answer.segments)
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


def _had(newest: Answer | None, shape: tuple[int, int]) -> NDArray[np.uint8]:
    """The mask that a robot has, brought to the labels' size."""
    if newest is None:
        return np.full(shape, VOID, np.uint8)
    return at_middles(newest.semantic, shape)
