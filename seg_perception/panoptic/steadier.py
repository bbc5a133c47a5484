"""Steadier classes: the class of the frame before, followed along the optical flow, gets a bonus on the network's grid.

A hidden Markov model's filter in its simplest form: a cell keeps its class with some probability, so the class that it had
gets the log-odds of that, `strength`, on top of its logit (Rabiner, "A tutorial on hidden Markov models", Proc. IEEE 1989).
What changes by more is taken over at once, so nothing lingers; and whatever becomes more dangerous is taken over at once
however unsure it is: ground that turns into an obstacle, anything that turns into a thing. So fusion delays neither a
thing that enters nor a gap that closes.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from seg_perception.compiled import compiled
from seg_perception.labels import NOT_GROUND, LabelSet
from seg_perception.results import NetworkOutput

SMALLEST_FLOW_PX = 16
"""OpenCV's optical flow takes no images that are smaller."""
LONGEST_GAP_NS = 500_000_000
"""After a longer one the frame before tells nothing."""
_UNKNOWN = 255


@dataclass(frozen=True)
class TemporalSettings:
    """strength: log-odds that the class of the frame before has ahead of others, 0 = every frame alone. Raises ValueError."""

    strength: float = 0.0

    def __post_init__(self) -> None:
        if not 0.0 <= self.strength <= 10.0:
            raise ValueError(f"strength is {self.strength}: allowed is 0 to 10")


class Steadier:
    """Adds the bonus to a camera's logits, frame after frame. Belongs to one thread; settings may be swapped."""

    def __init__(self, labels: LabelSet, settings: TemporalSettings) -> None:
        self.settings = settings
        costs = labels.drivable_costs[: len(labels)]
        danger = np.where(costs == NOT_GROUND, 1, 0) + labels.is_thing[: len(labels)]
        self._danger: NDArray[np.uint8] = danger.astype(np.uint8)
        self._flow = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_FAST)
        self._stamp_ns = 0
        self._grey: NDArray[np.uint8] = np.zeros((0, 0), np.uint8)
        self._winners: NDArray[np.uint8] = np.zeros((0, 0), np.uint8)
        self._spare = self._winners
        self._logits: NDArray[np.float32] = np.zeros((0, 0, 0), np.float32)

    def steady(self, image: NDArray[np.uint8], output: NetworkOutput, stamp_ns: int) -> NetworkOutput:
        """The output with steadier logits of its only image, uint8 [h, w, 3], the network's input; as it is where strength is
        0. The logits hold until the next call."""
        if not self.settings.strength:
            self._stamp_ns = 0
            return output
        logits = output.semantic_logits[0]
        grid: tuple[int, int] = (logits.shape[1], logits.shape[2])
        small = cv2.resize(image, grid[::-1], interpolation=cv2.INTER_AREA)
        grey = np.asarray(cv2.cvtColor(small, cv2.COLOR_RGB2GRAY))
        follows = self._winners.shape == grid and 0 < stamp_ns - self._stamp_ns <= LONGEST_GAP_NS and self._stamp_ns > 0
        if self._winners.shape != grid or self._logits.shape != logits.shape:
            self._winners, self._spare = np.full(grid, _UNKNOWN, np.uint8), np.empty(grid, np.uint8)
            self._logits = np.empty_like(logits)
        if not follows:
            self._winners[:] = _UNKNOWN
        back = self._back(grey) if follows else np.zeros((*grid, 2), np.float32)
        _hold(logits, self._winners, back, self._danger, self.settings.strength, self._logits, self._spare)
        self._winners, self._spare, self._grey, self._stamp_ns = self._spare, self._winners, grey, stamp_ns
        return replace(output, semantic_logits=self._logits[None])

    def _back(self, grey: NDArray[np.uint8]) -> NDArray[np.float32]:
        """[h, w, 2] = (dx, dy) from a cell to where it was in the frame before."""
        if min(grey.shape) < SMALLEST_FLOW_PX:
            return np.zeros((*grey.shape, 2), np.float32)
        return np.asarray(self._flow.calc(grey, self._grey, None), np.float32)


def warm_up(labels: LabelSet) -> None:
    """Hold the classes of two small frames, so that the first real one does not wait for compilers."""
    steadier, image = Steadier(labels, TemporalSettings(1.0)), np.zeros((32, 32, 3), np.uint8)
    one = np.zeros((1, 1, 16, 16), np.float32)
    output = NetworkOutput(np.zeros((1, len(labels), 16, 16), np.float32), one, np.zeros((1, 2, 16, 16), np.float32))
    for stamp_ns in (1, 2):
        steadier.steady(image, output, stamp_ns)


@compiled
def _hold(
    logits: NDArray[np.float32],
    before: NDArray[np.uint8],
    back: NDArray[np.float32],
    danger: NDArray[np.uint8],
    bonus: float,
    out: NDArray[np.float32],
    winners: NDArray[np.uint8],
) -> None:
    """Write logits [C, h, w] with the bonus to out, and the class of each cell then to winners [h, w].

    before: [h, w] classes of the frame before, 255 = unknown; back: [h, w, 2], where each cell was; danger: [C].
    """
    classes, height, width = logits.shape
    for row in range(height):
        for column in range(width):
            best, most = 0, logits[0, row, column]
            for k in range(classes):
                value = logits[k, row, column]
                out[k, row, column] = value
                if value > most:
                    best, most = k, value
            y = int(np.floor(row + back[row, column, 1] + 0.5))
            x = int(np.floor(column + back[row, column, 0] + 0.5))
            if 0 <= y < height and 0 <= x < width:
                old = before[y, x]
                if old != 255 and danger[best] <= danger[old]:
                    raised = logits[old, row, column] + np.float32(bonus)
                    out[old, row, column] = raised
                    if raised > most:
                        best = old
            winners[row, column] = best
