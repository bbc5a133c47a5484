"""The textbook path that benchmark --against naive compares with, run by the pipeline's own network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from time import perf_counter_ns

import cv2
import numpy as np
from numpy.typing import NDArray

from seg_perception.labels import LabelSet
from seg_perception.pipeline import Pipeline

PREFIX = "naive_"
"""Of this path's stages in the numbers."""


class NaivePath:
    """Colour conversion, resize, network, all logits enlarged to the mask's size, argmax, connected components."""

    def __init__(self, pipeline: Pipeline) -> None:
        self._backend, self._labels = pipeline.backend, pipeline.labels
        self._size_wh = pipeline.model.size_hw[::-1]

    def run(self, rgb: NDArray[np.uint8]) -> dict[str, float]:
        """Run one frame, as BGR like a camera's; returns the time of its steps in ms."""
        bgr = np.ascontiguousarray(rgb[..., ::-1])
        times = [perf_counter_ns()]
        images = cv2.resize(cv2.cvtColor(bgr.copy(), cv2.COLOR_BGR2RGB), self._size_wh)[None]
        times.append(perf_counter_ns())
        output = self._backend.infer(images)
        times.append(perf_counter_ns())
        naive_masks(output.semantic_logits[0], (rgb.shape[1], rgb.shape[0]), self._labels)
        times.append(perf_counter_ns())
        names = ("preprocess", "network", "decode")
        return {PREFIX + name: (end - start) / 1e6 for name, start, end in zip(names, times, times[1:], strict=False)}


def naive_masks(
    logits: NDArray[np.float32], size_wh: tuple[int, int], labels: LabelSet
) -> tuple[NDArray[np.uint8], NDArray[np.uint16]]:
    """Semantic mask uint8 [H, W] and instance mask uint16 [H, W] of logits [C, h, w], as textbooks do it."""
    large = np.stack([cv2.resize(plane, size_wh, interpolation=cv2.INTER_LINEAR) for plane in logits])
    semantic = large.argmax(axis=0).astype(np.uint8)
    instance = np.zeros(semantic.shape, np.uint16)
    total = 0
    for label in labels.classes:
        if label.thing:
            count, parts = cv2.connectedComponents((semantic == label.id).astype(np.uint8), ltype=cv2.CV_16U)
            instance[parts > 0] = parts[parts > 0] + total
            total += count - 1
    return semantic, instance


def speedups(samples_ms: Mapping[str, Sequence[float]]) -> dict[str, float]:
    """How many times faster our decode, our steps but the network, and our whole path are, by the medians over frames
    that took both paths in turn. samples_ms: of every stage of both, in the order of the frames."""
    ours = {name: values for name, values in samples_ms.items() if not name.startswith(PREFIX)}
    theirs = {name.removeprefix(PREFIX): values for name, values in samples_ms.items() if name.startswith(PREFIX)}

    def ratio(*networks: str) -> float:
        """Of the sums of all stages but these."""
        sums = [np.sum([v for name, v in path.items() if name not in networks], axis=0) for path in (theirs, ours)]
        return round(float(np.median(sums[0]) / np.median(sums[1])), 2)

    return {
        "decode_speedup": round(float(np.median(theirs["decode"]) / np.median(ours["decode"])), 2),
        "overhead_speedup": ratio("network"),
        "pipeline_speedup": ratio(),
    }
