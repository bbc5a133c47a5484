"""Small changes to ONNX graphs that half precision, quantisation and export share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from seg_perception.backends.onnx_runtime import open_session, run
from seg_perception.model_file import OUTPUTS


def outputs_of(model: onnx.ModelProto, images: Sequence[NDArray[np.uint8]]) -> list[list[NDArray[np.float32]]]:
    """The contract's outputs for each of images, uint8 [1, h, w, 3]. Raises as open_session and run."""
    session = open_session(model.SerializeToString())
    return [run(session, OUTPUTS, image) for image in images]


def consumers(graph: onnx.GraphProto) -> dict[str, list[onnx.NodeProto]]:
    """The nodes that read a tensor, by its name."""
    found: dict[str, list[onnx.NodeProto]] = {}
    for node in graph.node:
        for name in node.input:
            found.setdefault(name, []).append(node)
    return found


def name_constants(model: onnx.ModelProto) -> None:
    """Make every constant a weight that nodes read by its own name: exporters write some as nodes, and torch's joins
    equal weights with an Identity before each use but the first."""
    graph = model.graph
    for node in graph.node:
        if node.op_type == "Constant":
            graph.initializer.add().CopyFrom(_constant(node))
            graph.initializer[-1].name = node.output[0]
    weights = {weight.name for weight in graph.initializer}
    aliases = {
        node.output[0]: node.input[0] for node in graph.node if node.op_type == "Identity" and node.input[0] in weights
    }
    others = [node for node in graph.node if node.op_type != "Constant" and node.output[0] not in aliases]
    del graph.node[:]
    graph.node.extend(others)
    for node in graph.node:
        _read_instead(node, [aliases.get(name, name) for name in node.input])
    drop_unused(model)


def _constant(node: onnx.NodeProto) -> onnx.TensorProto:
    """What a node of type Constant says, in whichever of its attributes: a tensor, a number, or a list of them."""
    value = onnx.helper.get_attribute_value(node.attribute[0])
    if isinstance(value, onnx.TensorProto):
        return value
    kind = np.float32 if node.attribute[0].name in ("value_float", "value_floats") else np.int64
    return onnx.numpy_helper.from_array(np.asarray(value, kind))


def casts_to(node: onnx.NodeProto, kind: int) -> bool:
    """Whether a node is a Cast to such a type of onnx.TensorProto."""
    return node.op_type == "Cast" and any(part.name == "to" and part.i == kind for part in node.attribute)


def reconnect(model: onnx.ModelProto, inputs: Mapping[str, Sequence[str]], origin: onnx.ModelProto) -> None:
    """Give the named nodes these inputs, with weights taken from origin where model lacks them, and drop what nobody
    reads any more."""
    for node in model.graph.node:
        if node.name in inputs:
            _read_instead(node, inputs[node.name])
    wanted = {name for names in inputs.values() for name in names} - {weight.name for weight in model.graph.initializer}
    model.graph.initializer.extend(weight for weight in origin.graph.initializer if weight.name in wanted)
    drop_unused(model)


def drop_unused(model: onnx.ModelProto) -> None:
    """Remove nodes and weights that no output depends on; nodes must stand in the order in which they run."""
    graph = model.graph
    read = {value.name for value in graph.output}
    kept: list[Any] = []
    for node in reversed(graph.node):
        if read.intersection(node.output):
            read.update(node.input)
            kept.append(node)
    weights = [weight for weight in graph.initializer if weight.name in read]
    del graph.node[:], graph.initializer[:]
    graph.node.extend(reversed(kept))
    graph.initializer.extend(weights)


def _read_instead(node: onnx.NodeProto, names: Sequence[str]) -> None:
    if list(node.input) != list(names):
        del node.input[:]
        node.input.extend(names)
