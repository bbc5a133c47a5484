"""The frames of lowest mIoU, as pictures for the report."""

from __future__ import annotations

import heapq

import numpy as np
from numpy.typing import NDArray

from seg_perception.labels import VOID, LabelSet
from seg_perception.recordings.sources import SourceFrame
from seg_perception.reports import report
from seg_perception.results import Truth, at_middles

WORST = 8
"""Frames shown in the report."""


class WorstFrames:
    """Keeps the frames of lowest mIoU, as pictures."""

    def __init__(self, labels: LabelSet) -> None:
        self._labels = labels
        self._heap: list[tuple[float, int, int, report.Picture]] = []
        self._offers = 0

    def offer(self, miou: float, index: int, item: SourceFrame, semantic: NDArray[np.uint8], truth: Truth) -> None:
        """Take the frame where it is among the worst. index: breaks ties; semantic, truth: in labels."""
        if np.isnan(miou) or (len(self._heap) == WORST and -miou <= self._heap[0][0]):
            return
        self._offers += 1  # pictures cannot be compared, and two cameras have frames of the same index
        heapq.heappush(self._heap, (-miou, index, self._offers, self._picture(miou, item, semantic, truth)))
        if len(self._heap) > WORST:
            heapq.heappop(self._heap)

    def _picture(self, miou: float, item: SourceFrame, semantic: NDArray[np.uint8], truth: Truth) -> report.Picture:
        colors, rgb = self._labels.colors, item.frame.rgb
        semantic = at_middles(semantic, truth.semantic.shape)
        wrong = (semantic != truth.semantic) & (truth.semantic != VOID)
        difference = (rgb // 3).astype(np.uint8)
        if wrong.shape == rgb.shape[:2]:
            difference[wrong] = colors[semantic][wrong]
        return report.Picture(
            f"{item.name}: mIoU {miou:.3f}",
            (
                ("image", rgb.copy()),
                ("prediction", colors[semantic]),
                ("truth", colors[truth.semantic]),
                ("where they differ, in the predicted colour", difference),
            ),
        )

    def pictures(self) -> list[report.Picture]:
        """The worst first."""
        return [entry[-1] for entry in sorted(self._heap, key=lambda entry: -entry[0])]
