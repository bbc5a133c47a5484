"""Steadier classes: what a cell of the network's grid may be is averaged with what it was, followed along the optical flow.

An exponential mean of log-probabilities (a logarithmic opinion pool: Genest & Zidek, "Combining probability distributions",
Statistical Science 1986) among the classes that are no things. What changes by much is taken over at once, since the past pulls
at a class by no more than `strength`. How sure it is that there is a thing is left as this frame has it, and ground that turns
into an obstacle is one at once. So fusion delays neither a thing that enters nor a gap that closes, and nothing that moves on
its own, which the flow follows badly, leaves a trail.
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
_MEMORY, _MEMORY_NS = 0.75, 33_333_333
"""What the past counts for after so long or less; after longer, for as much less as so many frames would have left of it."""
_FLOW_STEPS = 4
"""Of each patch's search: its neighbours' result is near."""


@dataclass(frozen=True)
class TemporalSettings:
    """strength: log-odds by which the past pulls at a class at most, 0 = every frame alone. Raises ValueError."""

    strength: float = 0.0

    def __post_init__(self) -> None:
        if not 0.0 <= self.strength <= 10.0:
            raise ValueError(f"strength is {self.strength}: allowed is 0 to 10")


class _Past:
    """What is kept of a frame. odds: float32 [h, w, S], log-probabilities of the classes that are no things, less the largest;
    best: uint8 [h, w], the place of the largest among them."""

    def __init__(self, grid: tuple[int, int], classes: int) -> None:
        self.odds = np.zeros((*grid, classes), np.float32)
        self.best = np.zeros(grid, np.uint8)


class Steadier:
    """Steadies a camera's logits, frame after frame. Belongs to one thread; settings may be swapped."""

    def __init__(self, labels: LabelSet, settings: TemporalSettings) -> None:
        self.settings = settings
        is_thing = labels.is_thing[: len(labels)]
        self._stuff = np.flatnonzero(~is_thing)
        self._is_obstacle: NDArray[np.bool_]
        self.tell(labels)
        self._flow = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_ULTRAFAST)
        self._flow.setFinestScale(0)
        self._flow.setGradientDescentIterations(_FLOW_STEPS)
        self._stamp_ns = 0
        self._grey: NDArray[np.uint8] = np.zeros((0, 0), np.uint8)
        self._logits: NDArray[np.float32] = np.zeros((0, 0, 0), np.float32)
        self._past = self._spare = _Past((0, 0), 0)
        self._winner: NDArray[np.uint8] = np.zeros((0, 0), np.uint8)

    def tell(self, labels: LabelSet) -> None:
        """What is ground from the next frame on, by the costs of these classes, which are the same but for them."""
        self._is_obstacle = labels.drivable_costs[self._stuff] == NOT_GROUND

    def steady(self, image: NDArray[np.uint8], output: NetworkOutput, stamp_ns: int) -> NetworkOutput:
        """The output with steadier logits of its only image, uint8 [h, w, 3], the network's input; as it is where strength is
        0. The logits hold until the next call."""
        if not self.settings.strength or len(self._stuff) < 2:
            self._stamp_ns = 0
            return output
        logits = output.semantic_logits[0]
        grid: tuple[int, int] = (logits.shape[1], logits.shape[2])
        small = cv2.resize(image, grid[::-1], interpolation=cv2.INTER_AREA)
        grey = np.asarray(cv2.cvtColor(small, cv2.COLOR_RGB2GRAY))
        gap_ns = stamp_ns - self._stamp_ns
        follows = self._logits.shape == logits.shape and 0 < gap_ns <= LONGEST_GAP_NS and self._stamp_ns > 0
        if self._logits.shape != logits.shape:
            self._past, self._spare = (_Past(grid, len(self._stuff)) for _ in range(2))
            self._logits, self._winner = np.empty_like(logits), np.empty(grid, np.uint8)
        memory = _MEMORY ** max(gap_ns / _MEMORY_NS, 1.0) if follows else 0.0
        back = self._back(grey) if follows else np.zeros((*grid, 2), np.float32)
        np.copyto(self._logits, logits)
        _find_best(logits, self._stuff, self._winner)
        _fuse(
            logits,
            self._stuff,
            self._is_obstacle,
            self._winner,
            (self._past.odds, self._past.best),
            back,
            (memory, self.settings.strength),
            self._logits,
            (self._spare.odds, self._spare.best),
        )
        self._past, self._spare, self._grey, self._stamp_ns = self._spare, self._past, grey, stamp_ns
        return replace(output, semantic_logits=self._logits[None])

    def _back(self, grey: NDArray[np.uint8]) -> NDArray[np.float32]:
        """[h, w, 2] = (dx, dy) from a cell to where it was in the frame before."""
        if min(grey.shape) < SMALLEST_FLOW_PX:
            return np.zeros((*grey.shape, 2), np.float32)
        return np.asarray(self._flow.calc(grey, self._grey, None), np.float32)


def warm_up(labels: LabelSet) -> None:
    """Steady the classes of two small frames, so that the first real one does not wait for compilers."""
    steadier, image = Steadier(labels, TemporalSettings(1.0)), np.zeros((32, 32, 3), np.uint8)
    one = np.zeros((1, 1, 16, 16), np.float32)
    output = NetworkOutput(np.zeros((1, len(labels), 16, 16), np.float32), one, np.zeros((1, 2, 16, 16), np.float32))
    for stamp_ns in (1, 2):
        steadier.steady(image, output, stamp_ns)


@compiled
def _find_best(logits: NDArray[np.float32], stuff: NDArray[np.int64], winner: NDArray[np.uint8]) -> None:
    """Which of the classes stuff [S] has the largest of logits [C, h, w] in each cell, as its place in stuff, to winner."""
    height, width = winner.shape
    most = np.empty(width, np.float32)
    for row in range(height):
        best = winner[row]
        best[:] = 0
        most[:] = logits[stuff[0], row]
        for s in range(1, len(stuff)):
            here = logits[stuff[s], row]
            for column in range(width):
                larger = here[column] > most[column]
                best[column] = s if larger else best[column]
                most[column] = here[column] if larger else most[column]


@compiled
def _fuse(
    logits: NDArray[np.float32],
    stuff: NDArray[np.int64],
    is_obstacle: NDArray[np.bool_],
    winner: NDArray[np.uint8],
    past: tuple[NDArray[np.float32], NDArray[np.uint8]],
    back: NDArray[np.float32],
    weights: tuple[float, float],
    out: NDArray[np.float32],
    now: tuple[NDArray[np.float32], NDArray[np.uint8]],
) -> None:
    """Write steadier logits of the classes stuff [S] to out [C, h, w], which holds those of the frame, and what is kept to now.

    is_obstacle: [S]; winner: see _find_best; past, now: odds and best as in _Past; back: [h, w, 2], where each cell was;
    weights: what the past counts for, and by how much it pulls at most. The largest of the logits stays as it is, so that
    what else a cell may be is as likely as before.
    """
    height, width = winner.shape
    memory, most_pull = np.float32(weights[0]), np.float32(weights[1])
    before = np.empty(len(stuff), np.float32)
    for row in range(height):
        for column in range(width):
            k = winner[row, column]
            top = logits[stuff[k], row, column]
            odds = now[0][row, column]
            for s in range(len(stuff)):
                odds[s] = logits[stuff[s], row, column] - top
            best = k
            y, x = row + back[row, column, 1], column + back[row, column, 0]
            seen = memory > 0 and -0.5 <= y < height - 0.5 and -0.5 <= x < width - 0.5
            settled = seen and past[1][int(y + 0.5), int(x + 0.5)] == k and _is_inside(winner, row, column)
            if seen and not settled and _sample(past[0], y, x, before):
                best = _pull(odds, before, memory, most_pull)
                if is_obstacle[k] and not is_obstacle[best]:
                    best = k
                else:
                    most = before[best]
                    for s in range(len(stuff)):
                        odds[s] = before[s] - most
                        out[stuff[s], row, column] = odds[s] + top
            now[1][row, column] = best


@compiled
def _pull(odds: NDArray[np.float32], before: NDArray[np.float32], memory: np.float32, most_pull: np.float32) -> np.intp:
    """Pull odds [S] towards those of the frame before [S], which become the result; returns the best of it."""
    before -= before.max()
    for s in range(len(odds)):
        before[s] = odds[s] + memory * min(max(before[s] - odds[s], -most_pull), most_pull)
    return before.argmax()


@compiled
def _is_inside(winner: NDArray[np.uint8], row: int, column: int) -> bool:
    """Whether a cell and those around it have the same winner: then nothing that lies between them depends on how sure it is."""
    height, width = winner.shape
    for y in range(max(row - 1, 0), min(row + 2, height)):
        for x in range(max(column - 1, 0), min(column + 2, width)):
            if winner[y, x] != winner[row, column]:
                return False
    return True


@compiled
def _sample(odds: NDArray[np.float32], y: float, x: float, found: NDArray[np.float32]) -> bool:
    """odds [h, w, S] at (y, x), between cells by cubic convolution (Keys, "Cubic convolution interpolation", IEEE ASSP 1981), to
    found [S]: what is thinner than two cells is not worn away by moving from frame to frame. False where one is no number, so
    that a frame that failed does not spoil those after it."""
    height, width, classes = odds.shape
    row, column = int(np.floor(y)), int(np.floor(x))
    down, across = _cubic(np.float32(y - row)), _cubic(np.float32(x - column))
    found[:] = 0
    x0, x1 = min(max(column - 1, 0), width - 1), min(max(column, 0), width - 1)
    x2, x3 = min(max(column + 1, 0), width - 1), min(max(column + 2, 0), width - 1)
    for i in range(4):
        y0 = min(max(row + i - 1, 0), height - 1)
        for s in range(classes):
            near = across[1] * odds[y0, x1, s] + across[2] * odds[y0, x2, s]
            found[s] += down[i] * (across[0] * odds[y0, x0, s] + near + across[3] * odds[y0, x3, s])
    return bool(np.isfinite(found.sum()))


@compiled
def _cubic(t: np.float32) -> tuple[np.float32, np.float32, np.float32, np.float32]:
    """Weights of four neighbours, -1, 0, 1 and 2, at t in [0, 1) beyond the second."""
    half, one = np.float32(0.5), np.float32(1)
    return (
        -half * t * (one - t) * (one - t),
        (np.float32(1.5) * t - np.float32(2.5)) * t * t + one,
        ((np.float32(2) - np.float32(1.5) * t) * t + half) * t,
        half * (t - one) * t * t,
    )
