"""Network output to semantic, instance and confidence masks and segments, exact and cheap: see PanopticDecoder."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from seg_perception.errors import BackendError
from seg_perception.labels import NOT_GROUND, LabelSet
from seg_perception.machine import usable_cores
from seg_perception.panoptic import instance_kernels, mask_kernels, unsure_kernels
from seg_perception.panoptic.instance_kernels import AREA, CONFIDENCE, LEFT, RIGHT, TOP
from seg_perception.results import NetworkOutput, Panoptic, Segment, Wants

_In = TypeVar("_In")
_Out = TypeVar("_Out")

MOST_THREADS = 4
"""A frame is too little work for more."""
PARTS_PER_THREAD = 2


@dataclass(frozen=True)
class PanopticSettings:
    """How masks are made of the network's output.

    center_threshold: least heatmap value of an instance's centre, 0 to 1. center_window_px: side of the window in which
    a centre must be the largest, in px of the network's input (never less than the 3x3 cells around it).
    max_instances: the best this many centres are kept. min_stuff_area, min_thing_area: smaller segments, as a share of
    the mask's pixels, are left out of the segments; their pixels keep their class, and a thing's get instance 0.
    min_confidence: pixels whose confidence (0 to 1) is less become void. min_ground_confidence: pixels of ground go to the
    likeliest class that is none where the probabilities of all ground classes together are less. Void would hide what stands
    behind it, and at the foot of every obstacle ground becomes unsure.
    """

    center_threshold: float = 0.1
    center_window_px: float = 24.0
    max_instances: int = 200
    min_stuff_area: float = 0.001
    min_thing_area: float = 0.0
    min_confidence: float = 0.0
    min_ground_confidence: float = 0.0

    def __post_init__(self) -> None:
        for name, low, high in (
            ("center_threshold", 0.0, 1.0),
            ("center_window_px", 1.0, 1024.0),
            ("max_instances", 1, 1000),
            ("min_stuff_area", 0.0, 1.0),
            ("min_thing_area", 0.0, 1.0),
            ("min_confidence", 0.0, 1.0),
            ("min_ground_confidence", 0.0, 1.0),
        ):
            if not low <= getattr(self, name) <= high:
                raise ValueError(f"{name} is {getattr(self, name)}, allowed is {low} to {high}")

    @property
    def least_center(self) -> float:
        """center_threshold, and more than 0: a network that tells no objects apart answers that everywhere."""
        return max(self.center_threshold, float(np.finfo(np.float32).tiny))

    def center_radius(self, stride: int) -> int:
        """Cells from a centre to the edge of its window, where a cell has `stride` px of the network's input."""
        return max(1, int(self.center_window_px / (2 * stride)))


class Decoder(Protocol):
    """Makes masks of the output of a backend."""

    def decode(self, output: Any, index: int, mask_hw: tuple[int, int], stride: int, wants: Wants) -> Panoptic:
        """Masks of image `index` of the batch: see PanopticDecoder.decode."""


class PanopticDecoder:
    """Decodes network outputs within buffers that are made once per grid and mask size.

    *Semantic*: bilinear upsampling of all logits to the mask (half-pixel centres, clamped at the edges), then argmax,
    ties to the lowest class; exactly that on every pixel, in float64.

    *Confidence*: 255 x the softmax probability of the pixel's class, the probabilities being upsampled bilinearly;
    rounded to the nearest.

    *Instance*, after Panoptic-DeepLab: centres are maxima of the heatmap, ties to the first in raster order. Every grid
    cell votes for a place, its own centre plus its offset scaled to the mask; votes are upsampled bilinearly (equal to
    pixel + upsampled offset except in the outermost half cell), and each pixel of a thing class belongs to the centre
    nearest to its vote, ties to the better centre. Of the four cells around a pixel only those whose class is a thing vote,
    since offsets are taught on things alone, or all where none is one. The class of a thing segment is that of most of
    its pixels; the semantic mask stays the exact argmax and may differ from it. Ids are 1, 2, … by falling score.
    """

    def __init__(self, labels: LabelSet, settings: PanopticSettings) -> None:
        self.settings = settings
        self._labels = labels
        self._is_ground: NDArray[np.bool_] = labels.drivable_costs != NOT_GROUND
        self._buffers: _Buffers | None = None

    def decode(
        self, output: NetworkOutput, index: int, mask_hw: tuple[int, int], stride: int, wants: Wants
    ) -> Panoptic:
        """Masks of mask_hw = (height, width) from image `index` of the batch; stride: input px per grid cell.

        The arrays are views of buffers that the next call overwrites. Confidence is all 0 unless it, instances or areas
        are wanted; instance is all 0 and segments are empty unless instances are wanted.
        Raises BackendError when an output of the network is not finite.
        """
        logits = output.semantic_logits[index]
        buffers = self._sized(logits.shape, mask_hw)
        with_confidence = wants.confidence or wants.instances or wants.areas or self.settings.min_confidence > 0
        centers = buffers.centers[:0]
        if wants.instances:
            centers = self._centers(output, index, mask_hw, stride, buffers)
        else:
            _check_finite(output, index)
        if not all(
            _shared(buffers.cell_parts, lambda rows: buffers.judge_cells(logits, self._is_ground, centers, rows))
        ):
            raise not_finite("semantic_logits")
        least, least_ground = int(np.ceil(self.settings.min_confidence * 255)), self.settings.min_ground_confidence

        def paint(part: _Part) -> None:
            buffers.paint_classes(logits, part, with_confidence)
            if least_ground:
                buffers.replace_unsure_ground(logits, part, least_ground, self._is_ground)
            if least:
                mask_kernels.drop_unsure(part.pixel_rows, least, buffers.semantic, buffers.confidence)
            if wants.instances:
                buffers.paint_instances(centers, part, self._labels.is_thing, least_ground)

        _shared(buffers.parts, paint)
        segments: tuple[Segment, ...] = ()
        if wants.instances:
            segments = self._segments(buffers, len(centers), mask_hw)
        return Panoptic(
            buffers.semantic,
            buffers.instance if len(centers) else buffers.no_instance,
            buffers.confidence if with_confidence else buffers.no_confidence,
            segments,
            buffers.ground if wants.ground else None,
        )

    def _sized(self, logits_shape: tuple[int, ...], mask_hw: tuple[int, int]) -> _Buffers:
        sizes = (logits_shape, mask_hw)
        if self._buffers is None or self._buffers.sizes != sizes:
            self._buffers = _Buffers(logits_shape, mask_hw, self.settings.max_instances)
        return self._buffers

    def _centers(
        self, output: NetworkOutput, index: int, mask_hw: tuple[int, int], stride: int, buffers: _Buffers
    ) -> NDArray[np.float64]:
        """float64 [K, 2] = (y, x) of the centres, in the units of the votes, which are cast."""
        radius = self.settings.center_radius(stride)
        count = instance_kernels.find_centers(
            output.center_heatmap[index, 0], radius, self.settings.least_center, buffers.scores, buffers.places
        )
        if count < 0:
            raise not_finite("center_heatmap")
        if not instance_kernels.cast_votes(output.center_offset[index], mask_hw, stride, buffers.votes):
            raise not_finite("center_offset")
        centers = buffers.centers[:count]
        cell_px = np.divide(mask_hw, output.semantic_logits.shape[2:])
        np.rint((buffers.places[:count] + 0.5) * (cell_px * instance_kernels.SUBPIXELS), out=centers)
        return centers

    def _segments(self, buffers: _Buffers, count: int, mask_hw: tuple[int, int]) -> tuple[Segment, ...]:
        """Things by falling score, then stuff by class; numbers the instance mask accordingly."""
        tally = _merged([part.tally[: count + 1] for part in buffers.parts])
        numbers, segments = segments_of(tally, self._labels, self.settings, mask_hw[0] * mask_hw[1])
        moved = np.flatnonzero(numbers != np.arange(count + 1))
        if len(moved):
            left, top = tally[moved, :, LEFT : TOP + 1].min((0, 1))
            right, bottom = tally[moved, :, RIGHT:].max((0, 1))
            instance_kernels.renumber(numbers, buffers.instance[top : bottom + 1, left : right + 1])
        return segments


def segments_of(
    tally: NDArray[np.int64], labels: LabelSet, settings: PanopticSettings, pixels: int
) -> tuple[NDArray[np.uint16], tuple[Segment, ...]]:
    """Ids of the things and all segments, things by falling score, then stuff by class, of a mask of so many pixels.

    tally: int64 [K + 1, C, 6], see instance_kernels.tally_segments, row 0 for pixels of no instance. The ids are uint16
    [K + 1], by row of the tally, 0 for what is too small.
    """
    areas, totals = tally[:, :, AREA].sum(1), tally[:, :, CONFIDENCE].sum(1)
    scores = totals[1:] / (255 * np.maximum(areas[1:], 1))
    kept = np.flatnonzero(areas[1:] >= max(1, settings.min_thing_area * pixels))
    kept = kept[np.argsort(-scores[kept], kind="stable")] + 1
    numbers = np.zeros(len(tally), np.uint16)
    numbers[kept] = np.arange(1, len(kept) + 1)

    things = np.column_stack((areas, totals, tally[:, :, LEFT : TOP + 1].min(1), tally[:, :, RIGHT:].max(1)))[kept]
    majority = tally[kept, :, AREA].argmax(1)
    stuff = [label.id for label in labels.classes if not label.thing]
    stuff = [k for k in stuff if tally[0, k, AREA] >= max(1, settings.min_stuff_area * pixels)]
    found = zip([*majority.tolist(), *stuff], [*things.tolist(), *tally[0, stuff].tolist()])
    segments = (_segment(number, k, number <= len(kept), *entry) for number, (k, entry) in enumerate(found, start=1))
    return numbers, tuple(segments)


@dataclass(frozen=True)
class _Part:
    """What one thread does of a mask: bands and their rows of pixels; tally int64 [max_instances + 1, C, 6]."""

    bands: tuple[int, int]
    pixel_rows: tuple[int, int]
    tally: NDArray[np.int64]


class _Buffers:
    """All memory of the decode for one size of grid and mask."""

    def __init__(self, logits_shape: tuple[int, ...], mask_hw: tuple[int, int], max_instances: int) -> None:
        classes, h, w = logits_shape
        self.sizes = (logits_shape, mask_hw)
        self.down, self.across = mask_kernels.axis(h, mask_hw[0]), mask_kernels.axis(w, mask_hw[1])
        self.cells = (np.empty((h, w), np.uint8), np.empty((h, w), np.float32), np.empty((h, w), np.float32))
        self.ground = np.empty((h, w), np.float32)
        self.semantic = np.empty(mask_hw, np.uint8)
        self.instance, self.no_instance = np.zeros(mask_hw, np.uint16), np.zeros(mask_hw, np.uint16)
        self.confidence, self.no_confidence = np.zeros(mask_hw, np.uint8), np.zeros(mask_hw, np.uint8)
        self.scores = np.empty(max_instances, np.float32)
        self.places = np.empty((max_instances, 2), np.int64)
        self.centers = np.empty((max_instances, 2), np.float64)
        self.votes = np.empty((2, h, w), np.float64)
        self.elected = np.empty((h, w), np.uint16)
        self.cell_parts = _split(h)
        start = self.down.start
        self.parts = [
            _Part(
                (begin, end), (int(start[begin]), int(start[end])), np.empty((max_instances + 1, classes, 6), np.int64)
            )
            for begin, end in _split(len(self.down.low))
        ]

    def judge_cells(
        self,
        logits: NDArray[np.float32],
        is_ground: NDArray[np.bool_],
        centers: NDArray[np.float64],
        rows: tuple[int, int],
    ) -> bool:
        """Class and, if there are centres, centre of each cell in rows; False if a logit is not finite."""
        if len(centers):
            mask_kernels.elect_centers(self.votes, centers, rows, self.elected)
        return mask_kernels.score_cells(logits, rows, is_ground, *self.cells, self.ground)

    def paint_classes(self, logits: NDArray[np.float32], part: _Part, with_confidence: bool) -> None:
        mask_kernels.paint_classes(
            logits, self.cells, self.down, self.across, part.bands, with_confidence, self.semantic, self.confidence
        )

    def replace_unsure_ground(
        self, logits: NDArray[np.float32], part: _Part, least: float, is_ground: NDArray[np.bool_]
    ) -> None:
        unsure_kernels.replace_unsure_ground(
            logits,
            self.cells,
            self.ground,
            self.down,
            self.across,
            part.bands,
            np.float32(least),
            is_ground,
            self.semantic,
            self.confidence,
        )

    def paint_instances(
        self, centers: NDArray[np.float64], part: _Part, is_thing: NDArray[np.bool_], least_ground: float
    ) -> None:
        if len(centers):
            mask_kernels.paint_instances(
                self.votes,
                centers,
                self.elected,
                self.down,
                self.across,
                part.bands,
                is_thing,
                self.cells[0],
                self.ground,
                np.float32(least_ground),
                self.semantic,
                self.instance,
            )
        instance_kernels.tally_segments(
            part.pixel_rows,
            self.semantic,
            self.instance if len(centers) else self.no_instance,
            self.confidence,
            part.tally[: len(centers) + 1],
        )


def _merged(tallies: list[NDArray[np.int64]]) -> NDArray[np.int64]:
    merged = tallies[0]
    for other in tallies[1:]:
        merged[..., AREA : CONFIDENCE + 1] += other[..., AREA : CONFIDENCE + 1]
        np.minimum(merged[..., LEFT : TOP + 1], other[..., LEFT : TOP + 1], out=merged[..., LEFT : TOP + 1])
        np.maximum(merged[..., RIGHT:], other[..., RIGHT:], out=merged[..., RIGHT:])
    return merged


def thing_of(number: int, tally: NDArray[np.int64]) -> Segment:
    """Of an instance's entries of a tally, int64 [C, 6], of the class that most of its pixels have."""
    low, high = tally[:, LEFT : TOP + 1].min(0), tally[:, RIGHT:].max(0)
    area, total = tally[:, : CONFIDENCE + 1].sum(0)
    return _segment(number, int(tally[:, AREA].argmax()), True, int(area), int(total), *low.tolist(), *high.tolist())


def _segment(
    number: int, class_id: int, is_thing: bool, area: int, total: int, left: int, top: int, right: int, bottom: int
) -> Segment:
    """Of an entry of a tally."""
    box = (left, top, right - left + 1, bottom - top + 1)
    return Segment(number, class_id, is_thing, total / (255 * area), area, box)


def _check_finite(output: NetworkOutput, index: int) -> None:
    """A network whose centres are no numbers is broken, whether anybody asks for them or not."""
    for name in ("center_heatmap", "center_offset"):
        if not np.isfinite(getattr(output, name)[index].sum()):
            raise not_finite(name)


def not_finite(name: str) -> BackendError:
    """The error of a network whose output `name` holds infinity or no number."""
    return BackendError(
        f"the network's {name} hold values that are not finite, as float16 overflows do: use a model of precision fp32",
        "not_finite",
    )


def _threads() -> int:
    return min(MOST_THREADS, usable_cores())


@lru_cache(maxsize=1)
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(max(1, _threads() - 1), thread_name_prefix="decode")


def _split(length: int) -> list[tuple[int, int]]:
    """range(length) in about equal parts, a few for each thread."""
    parts = max(1, min(PARTS_PER_THREAD * _threads(), length))
    edges = [length * i // parts for i in range(parts + 1)]
    return list(pairwise(edges))


def _shared(parts: list[_In], work: Callable[[_In], _Out]) -> list[_Out]:
    """Results of work on every part, in their order; the kernels release the GIL, so threads work side by side.

    Whoever is free takes the next part, and the caller waits for no thread that has not begun: on a busy machine it does
    most of them itself.
    """
    todo = list(enumerate(parts))[::-1]
    results: dict[int, _Out] = {}

    def take() -> None:
        while True:
            try:
                index, part = todo.pop()
            except IndexError:
                return
            results[index] = work(part)

    helpers = [_pool().submit(take) for _ in range(min(_threads(), len(parts)) - 1)]
    take()
    for helper in helpers:
        if not helper.cancel():
            helper.result()
    return [results[index] for index in range(len(parts))]
