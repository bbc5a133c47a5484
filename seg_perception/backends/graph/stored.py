"""Weights stored as float16 in a model that computes in float32: half the bytes in the file, on the robot's disk, and in
every clone of a repository.

A Cast stands in front of what reads them. ONNX Runtime runs it once, when it loads the file, and drops the float16; for
TensorRT `widened` does the same before the parser sees the graph.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from seg_perception.backends.graph.edits import casts_to, consumers

LEAST_NUMBERS = 1024
"""In a tensor that is stored as float16: biases, scales and shapes cost nothing, and stay as they are."""


def narrowed(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model with large float32 weights as float16 and a Cast each; with numbers that float16 cannot hold they stay, and
    so do the scales of quantised ones, of which the least must not become 0."""
    kept = {value.name for value in model.graph.output} | _scales(model)

    def change(weight: TensorProto) -> tuple[TensorProto, list[onnx.NodeProto]]:
        large = weight.data_type == TensorProto.FLOAT and np.prod(weight.dims) >= LEAST_NUMBERS
        if not large or weight.name in kept:
            return weight, []
        with np.errstate(over="ignore"):
            values = numpy_helper.to_array(weight).astype(np.float16)
        if not np.isfinite(values).all():
            return weight, []
        name = f"{weight.name}.stored"
        cast = helper.make_node("Cast", [name], [weight.name], name=f"{weight.name}.widen", to=TensorProto.FLOAT)
        return numpy_helper.from_array(values, name), [cast]

    return _with_weights(model, change, dropped=set())


def _scales(model: onnx.ModelProto) -> set[str]:
    return {node.input[1] for node in model.graph.node if node.op_type in ("QuantizeLinear", "DequantizeLinear")}


def widened(model: onnx.ModelProto) -> onnx.ModelProto:
    """The inverse of narrowed, but for what rounding took: every Cast of a float16 weight to float32 is done."""
    readers = consumers(model.graph)
    halves = (weight.name for weight in model.graph.initializer if weight.data_type == TensorProto.FLOAT16)
    only = {name: readers[name][0] for name in halves if len(readers.get(name, ())) == 1}
    casts = {name: node for name, node in only.items() if casts_to(node, TensorProto.FLOAT)}

    def change(weight: TensorProto) -> tuple[TensorProto, list[onnx.NodeProto]]:
        if weight.name not in casts:
            return weight, []
        values = numpy_helper.to_array(weight).astype(np.float32)
        return numpy_helper.from_array(values, casts[weight.name].output[0]), []

    return _with_weights(model, change, dropped={node.output[0] for node in casts.values()})


def _with_weights(
    model: onnx.ModelProto,
    change: Callable[[TensorProto], tuple[TensorProto, list[onnx.NodeProto]]],
    dropped: set[str],
) -> onnx.ModelProto:
    """A copy in which change has made of every weight another, and nodes to stand first; without the nodes that write
    what is in dropped."""
    changed = [change(weight) for weight in model.graph.initializer]
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    graph = copy.graph
    del graph.initializer[:], graph.node[:]
    for weight, nodes in changed:
        graph.initializer.append(weight)
        graph.node.extend(nodes)
    graph.node.extend(node for node in model.graph.node if not dropped.intersection(node.output))
    return copy
