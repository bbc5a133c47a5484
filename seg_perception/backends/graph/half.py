"""float16 inside the graph, where float16 can hold the numbers.

Converters at hand pass every tensor between two layers that stay float32 through float16, which rounds the image before
it is normalised and turns what is too large into infinity; so the types are assigned here, and cast only between layers
that differ.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from seg_perception.backends.graph.edits import casts_to, consumers, drop_unused
from seg_perception.backends.onnx_runtime import open_session, run
from seg_perception.errors import SegPerceptionError, cause_of
from seg_perception.model_file import INPUT

LARGEST_SAFE = 1e4
"""Tensors with larger values stay float32: float16 ends at 65504, and other images may have larger ones yet."""

ALWAYS_FLOAT = {"Resize": (1, 2), "Upsample": (1,)}
"""Inputs that ONNX allows in float32 only, by their place: the scales, which were a Resize's second input before opset 11."""


def to_half(model: onnx.ModelProto, float32_layers: Collection[str]) -> onnx.ModelProto:
    """The float32 model in float16: uint8 in and float32 out, normalisation in float32, and the named nodes too."""
    keep = {*_normalisation(model), *float32_layers}
    half = onnx.ModelProto()
    half.CopyFrom(model)
    del half.graph.node[:], half.graph.value_info[:]
    types = _Types(model, keep)
    for node in model.graph.node:
        types.add(node)
    half.graph.node.extend(types.nodes)
    half.graph.initializer.extend(types.weights)
    drop_unused(half)
    return half


def too_large(model: onnx.ModelProto, images: Sequence[NDArray[np.uint8]]) -> list[str]:
    """Names of the nodes that read or write values beyond LARGEST_SAFE on images (uint8 [1, h, w, 3] at the model's
    size): float32 they should stay."""
    large = {name for name, value in _largest_values(model, images).items() if not value <= LARGEST_SAFE}
    return [node.name for node in model.graph.node if large.intersection((*node.input, *node.output))]


class _Types:
    """Copies the nodes of a model one by one, in float16 unless they are among keep."""

    def __init__(self, model: onnx.ModelProto, keep: Collection[str]) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []
        self._keep = keep
        self._weights = {weight.name: weight for weight in model.graph.initializer}
        self._outputs = {value.name for value in model.graph.output}
        self._floats = _float_tensors(model)
        self._halves: set[str] = set()
        self._aliases: set[str] = set()

    def add(self, node: onnx.NodeProto) -> None:
        """Copy node, with casts before and after it where its neighbours are of the other type."""
        half = node.name not in self._keep and self._takes_half(node)
        exempt = ALWAYS_FLOAT.get(node.op_type, ())
        inputs = [self._read(name, half and place not in exempt) for place, name in enumerate(node.input)]
        copy = onnx.NodeProto()
        copy.CopyFrom(node)
        del copy.input[:]
        copy.input.extend(inputs)
        self.nodes.append(copy)
        if not half:
            return
        if casts_to(node, TensorProto.FLOAT):
            next(part for part in copy.attribute if part.name == "to").i = TensorProto.FLOAT16
        for place, name in enumerate(node.output):
            if name in self._outputs and name in self._floats:
                copy.output[place] = _alias(name, half=True)
                self._aliases.add(copy.output[place])
                self.nodes.append(_cast(copy.output[place], name, half=False))
            elif name in self._floats:
                self._halves.add(name)

    def _takes_half(self, node: onnx.NodeProto) -> bool:
        """Whether the type of its inputs is that of its output: what makes floats of none is of the type that it names."""
        return node.op_type == "Cast" or not self._floats.isdisjoint(node.input)

    def _read(self, name: str, half: bool) -> str:
        """Under which name a node of this type reads the tensor."""
        if name not in self._floats or (name in self._halves) == half:
            return name
        alias = _alias(name, half)
        if alias not in self._aliases:
            self._aliases.add(alias)
            if name in self._weights:
                values = numpy_helper.to_array(self._weights[name]).astype(np.float16)
                self.weights.append(numpy_helper.from_array(values, alias))
            else:
                self.nodes.append(_cast(name, alias, half))
        return alias


def _alias(name: str, half: bool) -> str:
    return f"{name}.{'half' if half else 'float'}"


def _cast(name: str, target: str, half: bool) -> onnx.NodeProto:
    to = TensorProto.FLOAT16 if half else TensorProto.FLOAT
    return helper.make_node("Cast", [name], [target], name=f"{target}.cast", to=to)


def _float_tensors(model: onnx.ModelProto) -> set[str]:
    """Names of all float32 tensors, weights among them."""
    try:
        graph = onnx.shape_inference.infer_shapes(model).graph
    except onnx.shape_inference.InferenceError as error:
        cause = cause_of(error)
        raise SegPerceptionError(
            f"the types of the model's tensors cannot be told ({cause}): export it again"
        ) from error
    values = (*graph.value_info, *graph.output)
    found = {value.name for value in values if value.type.tensor_type.elem_type == TensorProto.FLOAT}
    return found | {weight.name for weight in graph.initializer if weight.data_type == TensorProto.FLOAT}


def _normalisation(model: onnx.ModelProto) -> list[str]:
    """Names of the nodes between the input and the first convolution, or where the graph ends without one."""
    readers = consumers(model.graph)
    names, tensor = [], INPUT
    while len(readers.get(tensor, ())) == 1 and readers[tensor][0].op_type != "Conv":
        names.append(readers[tensor][0].name)
        tensor = readers[tensor][0].output[0]
    return names


def _largest_values(model: onnx.ModelProto, images: Sequence[NDArray[np.uint8]]) -> dict[str, float]:
    """Largest absolute value of every float32 tensor."""
    floats = _float_tensors(model)
    names = [name for node in model.graph.node for name in node.output if name in floats]
    watched = onnx.ModelProto()
    watched.CopyFrom(model)
    graph = watched.graph
    del graph.output[:]
    for place, name in enumerate(names):
        graph.node.append(helper.make_node("Abs", [name], [f"absolute.{place}"]))
        graph.node.append(helper.make_node("ReduceMax", [f"absolute.{place}"], [f"largest.{place}"], keepdims=0))
        graph.output.append(helper.make_tensor_value_info(f"largest.{place}", TensorProto.FLOAT, []))
    session = open_session(watched.SerializeToString())
    batch = graph.input[0].type.tensor_type.shape.dim[0].dim_value or 1
    largest = np.max([run(session, None, image.repeat(batch, 0)) for image in images], axis=0)
    weights = (weight for weight in graph.initializer if weight.name in floats)
    found = {weight.name: float(np.abs(numpy_helper.to_array(weight)).max(initial=0)) for weight in weights}
    return found | dict(zip(names, map(float, largest), strict=True))
