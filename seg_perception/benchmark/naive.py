"""The paths that benchmark --against naive compares with, run by the pipeline's own network: the textbook's, and the lean
one that anybody who measures ends up with. Neither tells confidence or finds instances by their centres, as ours does."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from time import perf_counter_ns

import cv2
import numpy as np
from numpy.typing import NDArray

from seg_perception.labels import LabelSet
from seg_perception.pipeline import Pipeline

PREFIX, LEAN_PREFIX = "naive_", "lean_"
"""Of the stages of these paths in the numbers."""
Masks = tuple[NDArray[np.uint8], NDArray[np.uint16]]
"""Semantic uint8 [H, W] and instance uint16 [H, W]."""


class OtherPath:
    """Colour conversion, resize, network, and masks by decode, of logits [C, h, w] at (width, height). The textbook
    converts before it resizes; lean: after."""

    def __init__(
        self,
        pipeline: Pipeline,
        decode: Callable[[NDArray[np.float32], tuple[int, int]], Masks],
        prefix: str,
        *,
        lean: bool = False,
    ) -> None:
        self._backend, self._decode, self._prefix, self._lean = pipeline.backend, decode, prefix, lean
        self._size_for = pipeline.model.size_for

    def run(self, rgb: NDArray[np.uint8]) -> dict[str, float]:
        """Run one frame, as BGR like a camera's; returns the time of its steps in ms."""
        bgr, size_wh = np.ascontiguousarray(rgb[..., ::-1]), self._size_for((rgb.shape[0], rgb.shape[1]))[::-1]
        times = [perf_counter_ns()]
        if self._lean:
            image = cv2.cvtColor(cv2.resize(bgr, size_wh), cv2.COLOR_BGR2RGB)
        else:
            image = cv2.resize(cv2.cvtColor(bgr.copy(), cv2.COLOR_BGR2RGB), size_wh)
        times.append(perf_counter_ns())
        output = self._backend.infer(image[None])
        times.append(perf_counter_ns())
        self._decode(output.semantic_logits[0], (rgb.shape[1], rgb.shape[0]))
        times.append(perf_counter_ns())
        names = ("preprocess", "network", "decode")
        return {
            self._prefix + name: (end - start) / 1e6 for name, start, end in zip(names, times, times[1:], strict=False)
        }


def other_paths(pipeline: Pipeline) -> list[OtherPath]:
    """The textbook's and the lean one."""
    labels = pipeline.labels
    return [
        OtherPath(pipeline, lambda logits, size_wh: naive_masks(logits, size_wh, labels), PREFIX),
        OtherPath(pipeline, LeanMasks(labels), LEAN_PREFIX, lean=True),
    ]


class LeanMasks:
    """What a good programmer writes in an afternoon: one plane of logits at a time is enlarged and the winner kept, all in
    buffers that stay. OpenCV's maximum and comparison are a little faster than NumPy's, here and in what they cost."""

    def __init__(self, labels: LabelSet) -> None:
        self._labels = labels
        self._shape = (0, 0)

    def __call__(self, logits: NDArray[np.float32], size_wh: tuple[int, int]) -> Masks:
        """As naive_masks; the semantic mask is overwritten by the next call."""
        if self._shape != size_wh[::-1]:
            self._shape = size_wh[::-1]
            self._best, self._plane = np.empty((2, *self._shape), np.float32)
            self._semantic, self._wins = np.empty((2, *self._shape), np.uint8)
        cv2.resize(logits[0], size_wh, dst=self._best)
        self._semantic[:] = 0
        for number, plane in enumerate(logits[1:], 1):
            cv2.resize(plane, size_wh, dst=self._plane)
            cv2.compare(self._plane, self._best, cv2.CMP_GT, dst=self._wins)
            cv2.max(self._best, self._plane, dst=self._best)
            np.bitwise_and(self._wins, np.uint8(number), out=self._wins)
            cv2.max(self._semantic, self._wins, dst=self._semantic)
        return self._semantic, components(self._semantic, self._labels)


def naive_masks(logits: NDArray[np.float32], size_wh: tuple[int, int], labels: LabelSet) -> Masks:
    """Masks of logits [C, h, w], as textbooks make them: all enlarged, then the argmax."""
    large = np.stack([cv2.resize(plane, size_wh, interpolation=cv2.INTER_LINEAR) for plane in logits])
    semantic = large.argmax(axis=0).astype(np.uint8)
    return semantic, components(semantic, labels)


def components(semantic: NDArray[np.uint8], labels: LabelSet) -> NDArray[np.uint16]:
    """Instances uint16 [H, W]: what hangs together of every thing class."""
    instance = np.zeros(semantic.shape, np.uint16)
    total = 0
    for label in labels.classes:
        if label.thing:
            count, parts = cv2.connectedComponents((semantic == label.id).astype(np.uint8), ltype=cv2.CV_16U)
            instance[parts > 0] = parts[parts > 0] + total
            total += count - 1
    return instance


def speedups(samples_ms: Mapping[str, Sequence[float]], prefix: str) -> dict[str, float]:
    """How many times faster our decode, our steps but the network, and our whole path are than the path of that prefix,
    by the medians over frames that took all paths in turn. samples_ms: of every stage, in the order of the frames."""
    ours = {name: values for name, values in samples_ms.items() if not name.startswith((PREFIX, LEAN_PREFIX))}
    theirs = {name.removeprefix(prefix): values for name, values in samples_ms.items() if name.startswith(prefix)}

    def ratio(*networks: str) -> float:
        """Of the sums of all stages but these."""
        sums = [np.sum([v for name, v in path.items() if name not in networks], axis=0) for path in (theirs, ours)]
        return round(float(np.median(sums[0]) / np.median(sums[1])), 2)

    return {
        f"{prefix}decode_speedup": round(float(np.median(theirs["decode"]) / np.median(ours["decode"])), 2),
        f"{prefix}overhead_speedup": ratio("network"),
        f"{prefix}pipeline_speedup": ratio(),
    }
