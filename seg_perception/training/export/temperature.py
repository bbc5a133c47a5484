"""One number that makes confidence mean what it says: logits are divided by it, so no class changes.

Guo, Pleiss, Sun, Weinberger, On Calibration of Modern Neural Networks, ICML 2017, section 4.2. It is fitted on labelled
frames that training has not seen, and stands in the graph, so that every backend and the decode are the same as before.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from tqdm import tqdm

from seg_perception.backends.base import Backend
from seg_perception.camera.preprocess import Preprocessor
from seg_perception.datasets import open_dataset
from seg_perception.errors import SegPerceptionError
from seg_perception.labels import LabelSet
from seg_perception.model_file import OUTPUTS
from seg_perception.results import Frame, NetworkOutput
from seg_perception.spread import spread

FIT = "fit"
LEAST, MOST = 0.05, 20.0
"""Beyond these a network is broken, not miscalibrated."""
FRAMES = 64
_STEPS = 40
_INVERSE = "temperature.inverse"

Pixels = tuple[NDArray[np.float32], NDArray[np.bool_]]
"""Logits [K, C] of labelled cells, and which classes each label may be, [K, C]."""


def parse(words: str) -> float | None:
    """A temperature, None for FIT. Raises SegPerceptionError for what is neither, or outside LEAST to MOST."""
    if words == FIT:
        return None
    try:
        value = float(words)
    except ValueError:
        value = math.nan
    if not LEAST <= value <= MOST:
        raise SegPerceptionError(f"--temperature is '{words}': write {FIT}, or a number from {LEAST:g} to {MOST:g}")
    return value


def fit(backend: Backend, size_hw: tuple[int, int], dataset: tuple[str, Path | None, str], labels: LabelSet) -> float:
    """The temperature of a network of input size_hw by which the labels of a data set (name, root, split) are likeliest.

    A label that may be one of several classes counts with their summed probability, one that is like no class does not.
    Raises SegPerceptionError where there are no labels, or where no temperature within LEAST and MOST is best: then the labels
    are not these classes.
    """
    data = open_dataset(*dataset, labels, unlike_is_void=True)
    allowed = _allowed(data.meaning, labels)
    preprocess = Preprocessor(size_hw)
    pixels = []
    for i in tqdm(spread(len(data), FRAMES), desc="temperature", unit="frame"):
        sample = data[i]
        logits = backend.infer(preprocess(Frame(sample.rgb))).semantic_logits[0]
        found = _labelled(logits, allowed[sample.label])
        if len(found[0]):
            pixels.append(found)
    if not pixels:
        raise SegPerceptionError(
            f"{dataset[0]} {dataset[2]} has no label that is one of the model's classes: name others"
        )
    best = _lowest(lambda log_t: sum(_loss(part, math.exp(log_t)) for part in pixels), math.log(LEAST), math.log(MOST))
    value = math.exp(best)
    if not 1.01 * LEAST < value < 0.99 * MOST:
        raise SegPerceptionError(
            f"no temperature from {LEAST:g} to {MOST:g} fits the labels of {dataset[0]} {dataset[2]}: they are not what "
            "the network has learned"
        )
    return value


def _allowed(meaning: Mapping[int, Sequence[str]], labels: LabelSet) -> NDArray[np.bool_]:
    """[256, C] classes that each id may be; none of them for void."""
    table = np.zeros((256, len(labels)), np.bool_)
    for number, names in meaning.items():
        table[number, [labels.by_name(name).id for name in names]] = True
    return table


def _labelled(logits: NDArray[np.float32], allowed: NDArray[np.bool_]) -> Pixels:
    """Cells [C, h, w] with the label in their middle, of allowed [H, W, C]; only those that have one."""
    _, h, w = logits.shape
    height, width, _ = allowed.shape
    rows = ((np.arange(h) + 0.5) * height / h).astype(int)
    columns = ((np.arange(w) + 0.5) * width / w).astype(int)
    classes = allowed[np.ix_(rows, columns)].reshape(h * w, -1)
    known = classes.any(axis=1) & ~classes.all(axis=1)
    return logits.reshape(len(logits), -1).T[known], classes[known]


def _loss(pixels: Pixels, temperature: float) -> float:
    """Summed negative log-likelihood."""
    logits, classes = pixels
    scaled = logits / temperature
    scaled -= scaled.max(axis=1, keepdims=True)
    odds = np.exp(scaled, dtype=np.float64)
    right = (odds * classes).sum(axis=1) / odds.sum(axis=1)
    return float(-np.log(np.maximum(right, 1e-30)).sum())


def _lowest(function: Callable[[float], float], low: float, high: float) -> float:
    """Where a function with one valley is lowest: golden-section search."""
    ratio = (math.sqrt(5) - 1) / 2
    left, right = high - ratio * (high - low), low + ratio * (high - low)
    at_left, at_right = function(left), function(right)
    for _ in range(_STEPS):
        if at_left < at_right:
            high, right, at_right = right, left, at_left
            left = high - ratio * (high - low)
            at_left = function(left)
        else:
            low, left, at_left = left, right, at_right
            right = low + ratio * (high - low)
            at_right = function(right)
    return (low + high) / 2


def tempered(model: onnx.ModelProto, temperature: float) -> onnx.ModelProto:
    """A copy whose logits are divided by the temperature, also where they were divided before."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    graph, logits = copy.graph, OUTPUTS[0]
    known = [weight for weight in graph.initializer if weight.name == _INVERSE]
    if known:
        before = float(numpy_helper.to_array(known[0]))
        known[0].CopyFrom(numpy_helper.from_array(np.float32(before / temperature), _INVERSE))
        return copy
    raw, division = f"{logits}.raw", "temperature"
    taken = {name for node in graph.node for name in node.output}
    while raw in taken:  # a float16 graph keeps the division of the file that it was made of, under other names
        raw, division = f"{raw}.raw", f"{division}.again"
    for node in graph.node:
        for names in (node.input, node.output):
            for place, name in enumerate(names):
                if name == logits:
                    names[place] = raw
    graph.initializer.append(helper.make_tensor(_INVERSE, TensorProto.FLOAT, (), [1 / temperature]))
    graph.node.append(helper.make_node("Mul", [raw, _INVERSE], [logits], name=division))
    return copy


class Tempered:
    """A backend whose logits are divided by a temperature: what a tempered file is compared with."""

    def __init__(self, backend: Backend, temperature: float) -> None:
        self._backend, self._temperature = backend, temperature

    def infer(self, images: NDArray[np.uint8]) -> NetworkOutput:
        """See Backend."""
        output = self._backend.infer(images)
        return replace(output, semantic_logits=output.semantic_logits / np.float32(self._temperature))

    def warm_up(self) -> None:
        """See Backend."""
        self._backend.warm_up()

    def describe(self) -> Mapping[str, str]:
        """See Backend."""
        return self._backend.describe()

    def close(self) -> None:
        """See Backend."""
        self._backend.close()
