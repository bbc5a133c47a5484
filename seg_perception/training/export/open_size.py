"""A model file that takes images of many sizes: its graph with height and width left open, once it was seen to run at others."""

from __future__ import annotations

from typing import Any

import onnx

from seg_perception import model_facts
from seg_perception.backends.graph.edits import outputs_of
from seg_perception.backends.graph.precision import noise
from seg_perception.backends.graph.sizes import opened
from seg_perception.errors import SegPerceptionError, cause_of
from seg_perception.network_size import STEP, SizeLimits


def open_size(
    graph: onnx.ModelProto, size_hw: tuple[int, int], limits: SizeLimits
) -> tuple[onnx.ModelProto, dict[str, Any]]:
    """The graph with height and width left open, and what the metadata says of them. Raises SegPerceptionError where it
    does not run at other sizes."""
    rows = graph.graph.output[0].type.tensor_type.shape.dim[2].dim_value
    stride = size_hw[0] // rows
    graph = opened(graph)
    height, width = size_hw
    turned = (width, height) if limits.takes((width, height)) else size_hw
    for h, w in dict.fromkeys((limits.smallest_hw, _odd_multiples(limits), turned)):
        try:
            (outputs,) = outputs_of(graph, [noise((h, w))])
        except SegPerceptionError as error:
            cause = cause_of(error.__cause__ or error)
            raise SegPerceptionError(f"the network does not run at {w}x{h} ({cause}): give --fixed-size") from error
        if any(output.shape[2:] != (h // stride, w // stride) for output in outputs):
            raise SegPerceptionError(f"the network's outputs at {w}x{h} have another stride: give --fixed-size")
    return graph, model_facts.sizes_of(limits, size_hw, stride)


def _odd_multiples(limits: SizeLimits) -> tuple[int, int]:
    """The smallest sides within limits that are no multiples of twice STEP, where there are such: a network may need those."""
    sides = zip(limits.smallest_hw, limits.largest_hw)
    height, width = (low if low // STEP % 2 else min(low + STEP, high) for low, high in sides)
    return height, width
