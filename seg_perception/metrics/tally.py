"""What an evaluation sums up over the frames of one camera, or of several together."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from seg_perception.errors import SegPerceptionError
from seg_perception.faults import Faults
from seg_perception.ground.geometry import GroundProjection
from seg_perception.labels import LabelSet
from seg_perception.metrics.calibration import Calibration
from seg_perception.metrics.confusion import ConfusionMatrix, mean_known
from seg_perception.metrics.drivable_curve import DrivableCurve, on_mask
from seg_perception.metrics.false_ground import FalseGround
from seg_perception.metrics.new_things import ObstacleDelay
from seg_perception.metrics.per_frame import PerFrame
from seg_perception.metrics.scores import Scores
from seg_perception.metrics.segment_pairs import pair_segments
from seg_perception.metrics.times import StageTimes
from seg_perception.metrics.track_lengths import TrackLengths
from seg_perception.metrics.track_scores import TrackScores
from seg_perception.metrics.without_labels import WithoutLabels
from seg_perception.results import Result, Truth, at_middles
from seg_perception.tracking.numbers import track_mask
from seg_perception.tracking.settings import TrackingSettings


class Tally:
    """Frames and what is known of them. frames: number added; those whose labels hold a value outside the set count as
    unlabelled."""

    def __init__(self, labels: LabelSet) -> None:
        self.labels = labels
        self.scores = Scores(labels)
        self.per_frame = PerFrame(self.scores)
        self._curve, self._ground_curve = DrivableCurve(labels), DrivableCurve(labels)
        self._calibration = Calibration()
        self._false_ground = FalseGround(labels)
        self._without_labels = WithoutLabels()
        self.times = StageTimes()
        self.frames = 0
        self._faults = Faults()
        self.tracks, self.lengths, self.delay = TrackScores(labels), TrackLengths(labels), ObstacleDelay(labels)
        self._confusion = ConfusionMatrix(labels)  # of the frames whose tracks are judged
        self._follows = False
        self._judged_ns: dict[str, int] = {}

    @property
    def bad_labels(self) -> int:
        """Number of frames whose labels cannot be used."""
        return len(self._faults)

    @property
    def problems(self) -> list[str]:
        """What is wrong with them, one sentence a kind."""
        return self._faults.sentences()

    @property
    def notes(self) -> list[str]:
        """What the reader must know."""
        return self.scores.notes

    def add(
        self,
        name: str,
        result: Result,
        semantic: NDArray[np.uint8],
        truth: Truth | None,
        projection: GroundProjection | None = None,
    ) -> float | None:
        """One frame; semantic: the prediction, uint8 [H, W], and truth in the tally's labels; projection: of an image of the
        truth's size, where the camera is calibrated. Returns its mIoU, None where it has no labels that can be used."""
        miou, instances = None, False
        if truth is not None:
            try:
                miou = self.scores.add(semantic, result.panoptic.instance, truth, result.panoptic.segments)
                instances = truth.instance is not None
                self._curve.add(semantic, result.panoptic.confidence, truth.semantic)
                if result.panoptic.ground is not None:
                    likely = on_mask(result.panoptic.ground, result.panoptic.semantic.shape)
                    self._ground_curve.add(semantic, likely, truth.semantic)
                self._calibration.add(semantic, result.panoptic.confidence, truth.semantic)
                self._false_ground.add(semantic, truth.semantic, projection)
            except SegPerceptionError as error:
                self._faults.add(name, str(error))
        flicker = self._without_labels.add(result.frame, semantic, result.panoptic.confidence)
        self.times.add(result.stages_ms)
        network_ms = round(result.stages_ms["network"], 3)
        self.per_frame.add(name, result.frame.stamp_ns, network_ms=network_ms, flicker=flicker, instances=instances)
        self.frames += 1
        return miou

    def add_tracks(
        self, result: Result, semantic: NDArray[np.uint8], truth: Truth | None, sequence: str, steady: bool
    ) -> None:
        """The tracks of a frame that has just been added. truth: only where its labels can be used; sequence: the recording
        that it belongs to; steady: whether the truth's things keep their numbers there, so that tracks can be judged by
        them."""
        found, stamp_ns = track_mask(result.panoptic), result.frame.stamp_ns
        self._follows = True
        self.lengths.add(semantic, at_middles(found, semantic.shape), stamp_ns, sequence)
        if not steady or truth is None or truth.instance is None:
            return
        size = truth.semantic.shape
        answer, tracks = at_middles(semantic, size), at_middles(found, size)
        pairs = pair_segments(answer, tracks, truth.semantic, truth.instance, self.labels.is_thing)
        self.tracks.add(pairs, sequence, self._since_judged_s(sequence, stamp_ns))
        self._confusion.update(answer, truth.semantic)
        self.delay.add(semantic, truth, sequence)

    def _since_judged_s(self, sequence: str, stamp_ns: int) -> float:
        """Since the last frame whose tracks were judged, which may be the tenth before this; nothing is known of a thing
        that was not looked at for longer than tracks last."""
        before_ns, self._judged_ns[sequence] = self._judged_ns.get(sequence, stamp_ns), stamp_ns
        return min(max((stamp_ns - before_ns) / 1e9, 0.0), TrackingSettings.memory_s)

    def numbers(self) -> dict[str, Any]:
        """Under their names in report.json; metrics only where a frame has labels."""
        labelled = self.scores.frames
        return {
            "frames": self.frames,
            "frames_labelled": labelled,
            "bad_labels": self.bad_labels,
            **(self.scores.summary() if labelled else {}),
            **(self._false_ground.summary() if labelled else {}),
            **self._calibration.summary(),
            **self._without_labels.summary(),
            **self._track_numbers(),
            "drivable_curve": self._curve.summary(),
            "ground_curve": self._ground_curve.summary(),
            "stages_ms": self.times.summary(),
        }

    def _track_numbers(self) -> dict[str, Any]:
        if not self._follows:
            return {}
        judged = {}
        if self.tracks.frames:
            judged = {**self.tracks.summary(mean_known(self._confusion.iou())), **self.delay.summary()}
        return {**self.lengths.summary(), **judged}
