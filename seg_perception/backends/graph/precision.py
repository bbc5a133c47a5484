"""A model file's graph in the precision that TensorRT is to compute in: one file serves all.

TensorRT 11 knows strongly typed networks only, so the graph states the types. int8 needs frames to calibrate on:
`export --precision int8` makes it a file of its own.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from seg_perception import model_file
from seg_perception.backends.base import AUTO_PRECISION
from seg_perception.backends.graph.half import to_half, too_large
from seg_perception.backends.graph.sizes import fixed
from seg_perception.backends.graph.stored import widened
from seg_perception.errors import SegPerceptionError
from seg_perception.model_file import ModelInfo


def resolved(model: ModelInfo, choice: str) -> str:
    """What one of PRECISION_CHOICES means for a model file, one of model_file.PRECISIONS. Raises SegPerceptionError
    for one that the file cannot give."""
    if choice == AUTO_PRECISION:
        return "fp16" if model.precision == "fp32" else model.precision
    if model.precision not in ("fp32", choice):
        raise SegPerceptionError(
            f"{model.path} is of precision {model.precision}, of which no {choice} can be made: name an fp32 file, or "
            f"leave the precision at '{AUTO_PRECISION}'"
        )
    return choice


def in_precision(model: ModelInfo, choice: str) -> bytes:
    """The graph of a model file at the model's size, in one of PRECISION_CHOICES, as ONNX without metadata. Which layers
    stay float32 for their large numbers the file says; for files that do not, one run on noise does. Raises SegPerceptionError as
    model_file.load and resolved."""
    precision = resolved(model, choice)
    graph = fixed(widened(model_file.graph_of(model)), model.size_hw, model.grid_hw)
    if precision != model.precision:
        layers = model.float32_layers
        graph = to_half(graph, too_large(graph, [noise(model.size_hw)]) if layers is None else layers)
    del graph.metadata_props[:]
    return graph.SerializeToString()


def noise(size_hw: tuple[int, int]) -> NDArray[np.uint8]:
    """An image uint8 [1, h, w, 3] that is the same every time."""
    return np.random.default_rng(0).integers(0, 256, (1, *size_hw, 3), np.uint8)
