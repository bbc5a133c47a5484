"""A model file is written once it has been compared with what it was made of, and carries the result."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import onnx

from seg_perception import model_file, self_test
from seg_perception.backends.graph.stored import narrowed
from seg_perception.backends.onnx_runtime import OnnxRuntimeBackend
from seg_perception.errors import SegPerceptionError
from seg_perception.training.export.parity import ParityData, parity
from seg_perception.training.export.sources import Source
from seg_perception.writing import written_aside

LARGEST_RELATIVE_ERROR = {"fp32": 3e-2, "fp16": 3e-2, "int8": 1.0}
"""Between the model file and what it was made of, against the largest value; beyond it none is written. Weights of fp32
are rounded to float16 as well, which a network that was not trained passes on as 7e-3."""


class TooFarError(SegPerceptionError):
    """A model file differs too much from what it was made of. error: share of the largest value."""

    def __init__(self, error: float, reference: str) -> None:
        super().__init__(
            f"the exported network differs from {reference} by {error:.2g} of the largest value, so it was not written: export "
            "fp32, or report this with your versions of torch, onnx and onnxruntime"
        )
        self.error = error


def save_narrowed(
    graph: onnx.ModelProto, facts: Mapping[str, Any], source: Source, out: Path, data: Callable[[], ParityData]
) -> dict[str, Any]:
    """save_compared with the weights stored as float16, and as float32 where that harms a float32 network too much, as one whose
    layers pass on small errors enlarged."""
    try:
        return save_compared(narrowed(graph), facts, source, out, data())
    except TooFarError as error:
        if facts["precision"] != "fp32" or not math.isfinite(error.error):
            raise
        print(
            f"weights stored as float16 change the network by {error.error:.2g} of the largest value, so they stay float32"
        )
        return save_compared(graph, facts, source, out, data())


def save_compared(
    model: onnx.ModelProto, facts: Mapping[str, Any], source: Source, out: Path, data: ParityData
) -> dict[str, Any]:
    """Write the model file with facts and its parity to out; returns the parity.

    Raises SegPerceptionError, with nothing written, when it differs too much.
    """
    model_file.write_metadata(model, facts)
    with written_aside(out) as aside:
        model_file.save(model, aside)
        measured = parity(source.reference, aside, data)
        if source.parity is not None:
            measured["parity_of_reference"] = source.parity
        error = measured["largest_error_relative"]
        if not error <= LARGEST_RELATIVE_ERROR[facts["precision"]]:
            raise TooFarError(error, measured["reference"])
        facts = {**facts, "parity": measured, **_self_test(aside)}
        model_file.write_metadata(model, facts)
        model_file.save(model, aside)
    return measured


def _self_test(path: Path) -> dict[str, Any]:
    """The file's answer to the known image, as the metadata holds it."""
    backend = OnnxRuntimeBackend(model_file.load(path))
    answered = self_test.answer(backend)
    backend.close()
    if not answered:
        print("the file holds no self-test: the network is sure of too little of the known image")
    return {"self_test": answered} if answered else {}
