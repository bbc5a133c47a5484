"""Steadier classes: what a cell of the network's grid may be is averaged with what it was, followed along the optical flow.

An exponential mean of log-probabilities (a logarithmic opinion pool: Genest & Zidek, "Combining probability distributions",
Statistical Science 1986) among the classes that are no things. What changes by much is taken over at once, since the past pulls
at a class by no more than `strength`. How sure it is that there is a thing is left as this frame has it, and ground that turns
into an obstacle is one at once. So fusion delays neither a thing that enters nor a gap that closes, and nothing that moves on
its own, which the flow follows badly, leaves a trail.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, NamedTuple, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from seg_perception.labels import NOT_GROUND, LabelSet
from seg_perception.panoptic import steadier_kernels
from seg_perception.results import NetworkOutput

SMALLEST_FLOW_PX = 16
"""OpenCV's optical flow takes no images that are smaller."""
LONGEST_GAP_NS = 500_000_000
"""After a longer one the frame before tells nothing."""
_MEMORY, _MEMORY_NS = 0.75, 33_333_333
"""What the past counts for after so long or less; after longer, for as much less as so many frames would have left of it."""
_FLOW_STRIDE = 8
"""From one patch of 8 cells to the next: six sevenths of the time of 6, which overlap, and as little flicker with more steps."""
_FLOW_STEPS = 8
"""Of each patch's search at most."""


@dataclass(frozen=True)
class TemporalSettings:
    """strength: log-odds by which the past pulls at a class at most, 0 = every frame alone. Raises ValueError."""

    strength: float = 0.0

    def __post_init__(self) -> None:
        if not 0.0 <= self.strength <= 10.0:
            raise ValueError(f"strength is {self.strength}: allowed is 0 to 10")


class Before(NamedTuple):
    """What the frame before is to this one. back: float32 [h, w, 2] = (dx, dy), from a cell to where it was; memory: what it
    counts for; strength: by how much it pulls at most; is_obstacle: bool [S], of the classes that are no things."""

    back: NDArray[np.float32]
    memory: float
    strength: float
    is_obstacle: NDArray[np.bool_]


class SteadyGrid(Protocol):
    """The part of fusion that is of the network's grid [h, w], where the logits lie. It keeps what the next frame needs."""

    def grey(self, images: Any, output: Any, place: int) -> NDArray[np.uint8]:
        """uint8 [h, w], not used by others afterwards: the network's input as small as the grid."""

    def fuse(self, output: Any, place: int, before: Before | None) -> tuple[Any, int]:
        """The output with steadier logits of image `place`, and its place there, which hold until the next call. None: no
        frame before tells anything, and the logits are as they were."""


class _Past:
    """What is kept of a frame. odds: float32 [S, h, w], log-probabilities of the classes that are no things, less the largest;
    best: uint8 [h, w], the place of the largest among them."""

    def __init__(self, grid: tuple[int, int], classes: int) -> None:
        self.odds = np.zeros((classes, *grid), np.float32)
        self.best = np.zeros(grid, np.uint8)


class HostGrid:
    """SteadyGrid of images uint8 [1, H, W, 3] and a NetworkOutput."""

    def __init__(self, labels: LabelSet) -> None:
        self._stuff = stuff_of(labels)
        self._logits: NDArray[np.float32] = np.zeros((0, 0, 0), np.float32)
        self._past = self._spare = _Past((0, 0), 0)
        self._is_border: NDArray[np.bool_] = np.zeros((0, 0), np.bool_)

    def grey(self, images: NDArray[np.uint8], output: NetworkOutput, place: int) -> NDArray[np.uint8]:
        """See SteadyGrid; each cell is the mean of its pixels."""
        _, _, height, width = output.semantic_logits.shape
        grey = cv2.cvtColor(images[0], cv2.COLOR_RGB2GRAY)
        # Halved again and again, which takes a fifth of the time of one step.
        while grey.shape[0] % (2 * height) == 0 == grey.shape[1] % (2 * width):
            grey = cv2.resize(grey, (grey.shape[1] // 2, grey.shape[0] // 2), interpolation=cv2.INTER_AREA)
        as_grid = grey.shape == (height, width)
        return np.asarray(grey if as_grid else cv2.resize(grey, (width, height), interpolation=cv2.INTER_AREA))

    def fuse(self, output: NetworkOutput, place: int, before: Before | None) -> tuple[NetworkOutput, int]:
        """See SteadyGrid."""
        output = output.only(place)
        logits = output.semantic_logits[0]
        if self._logits.shape != logits.shape:
            grid: tuple[int, int] = (logits.shape[1], logits.shape[2])
            self._past, self._spare = (_Past(grid, len(self._stuff)) for _ in range(2))
            self._logits, self._is_border = np.empty_like(logits), np.empty(grid, np.bool_)
        now, past = self._spare, self._past
        np.copyto(self._logits, logits)
        steadier_kernels.find_odds(logits, self._stuff, now.odds, now.best)
        if before is not None:
            steadier_kernels.mark_borders(now.best, self._is_border)
            steadier_kernels.fuse(
                (past.odds, past.best),
                before.back,
                (before.memory, before.strength),
                (self._stuff, before.is_obstacle),
                self._is_border,
                (now.odds, now.best),
                self._logits,
            )
        self._past, self._spare = now, past
        return replace(output, semantic_logits=self._logits[None]), 0


class Steadier:
    """Steadies a camera's logits, frame after frame. Belongs to one thread; settings may be swapped."""

    def __init__(self, labels: LabelSet, settings: TemporalSettings, grid: SteadyGrid | None = None) -> None:
        """grid: where the logits lie, None = in the host's memory."""
        self.settings = settings
        self._grid = grid or HostGrid(labels)
        self._stuff = stuff_of(labels)
        self._is_obstacle: NDArray[np.bool_]
        self.tell(labels)
        self._flow = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_ULTRAFAST)
        self._flow.setFinestScale(0)
        self._flow.setGradientDescentIterations(_FLOW_STEPS)
        self._flow.setPatchStride(_FLOW_STRIDE)
        self._stamp_ns = 0
        self._grey: NDArray[np.uint8] = np.zeros((0, 0), np.uint8)

    def tell(self, labels: LabelSet) -> None:
        """What is ground from the next frame on, by the costs of these classes, which are the same but for them."""
        self._is_obstacle = labels.drivable_costs[self._stuff] == NOT_GROUND

    def steady(self, images: Any, output: Any, place: int, stamp_ns: int) -> tuple[Any, int]:
        """The output with steadier logits of its image `place`, and that one's place in it; as they are where strength is 0.
        images: what the network took. The logits hold until the next call."""
        before_ns, self._stamp_ns = self._stamp_ns, 0  # a frame that fails is the past of none
        if not self.settings.strength or len(self._stuff) < 2:
            return output, place
        grey, gap_ns = self._grid.grey(images, output, place), stamp_ns - before_ns
        before = None
        if self._grey.shape == grey.shape and 0 < gap_ns <= LONGEST_GAP_NS and before_ns > 0:
            memory = _MEMORY ** max(gap_ns / _MEMORY_NS, 1.0)
            before = Before(self._back(grey), memory, self.settings.strength, self._is_obstacle)
        output, place = self._grid.fuse(output, place, before)
        self._grey, self._stamp_ns = grey, stamp_ns
        return output, place

    def _back(self, grey: NDArray[np.uint8]) -> NDArray[np.float32]:
        """[h, w, 2] = (dx, dy) from a cell to where it was in the frame before."""
        if min(grey.shape) < SMALLEST_FLOW_PX:
            return np.zeros((*grey.shape, 2), np.float32)
        return np.asarray(self._flow.calc(grey, self._grey, None), np.float32)


def stuff_of(labels: LabelSet) -> NDArray[np.int64]:
    """Ids of the classes that are no things."""
    return np.flatnonzero(~labels.is_thing[: len(labels)])


def warm_up(labels: LabelSet) -> None:
    """Steady the classes of two small frames, so that the first real one does not wait for compilers."""
    steadier, images = Steadier(labels, TemporalSettings(1.0)), np.zeros((1, 32, 32, 3), np.uint8)
    one = np.zeros((1, 1, 16, 16), np.float32)
    output = NetworkOutput(np.zeros((1, len(labels), 16, 16), np.float32), one, np.zeros((1, 2, 16, 16), np.float32))
    for stamp_ns in (1, 2):
        steadier.steady(images, output, 0, stamp_ns)
