"""ONNX files as other programs write them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

CLASSES = 19
HEIGHT, WIDTH = 64, 96

Node = tuple[str, list[str], dict[str, Any]]


def foreign_network(
    path: Path,
    *after: Node,
    before: tuple[Node, ...] = (),
    image: str = "input",
    kind: int = TensorProto.FLOAT,
    shape: tuple[object, ...] = (1, 3, HEIGHT, WIDTH),
    inside: int = TensorProto.FLOAT,
    result: int = TensorProto.FLOAT,
    opset: int = 11,
    more_outputs: tuple[str, ...] = (),
    out: str = "output",
) -> Path:
    """An ONNX file as others have them: before, a convolution of stride 8 from `planes` to `logits`, and after. Inputs of
    each node of before and after: what the one before it wrote, then those named."""
    rng = np.random.default_rng(1)
    floats = np.float16 if inside == TensorProto.FLOAT16 else np.float32
    weights = [
        numpy_helper.from_array(rng.normal(size=(CLASSES, 3, 8, 8)).astype(floats) / 8, "weight"),
        numpy_helper.from_array(rng.normal(size=CLASSES).astype(floats), "bias"),
        numpy_helper.from_array(np.array([1, 1, 8, 8], np.float32), "eight"),
        numpy_helper.from_array(np.zeros(0, np.float32), "none"),
    ]
    nodes, last = [], image
    for operator, inputs, attributes in before:
        nodes.append(helper.make_node(operator, [last, *inputs], [f"{operator}.out"], **attributes))
        last = f"{operator}.out"
    written = "logits" if after else out
    nodes.append(helper.make_node("Conv", [last, "weight", "bias"], [written], kernel_shape=[8, 8], strides=[8, 8]))
    for place, (operator, inputs, attributes) in enumerate(after):
        target = out if place == len(after) - 1 else f"after.{place}"
        nodes.append(helper.make_node(operator, [written, *inputs], [target], **attributes))
        written = target
    outputs = [onnx.ValueInfoProto(name=name) for name in more_outputs]
    outputs.append(helper.make_tensor_value_info(out, result, None))
    for value in outputs[:-1]:
        value.CopyFrom(helper.make_tensor_value_info(value.name, TensorProto.FLOAT, None))
    graph = helper.make_graph(nodes, "g", [helper.make_tensor_value_info(image, kind, shape)], outputs, weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=6 if opset < 15 else 10)
    onnx.save(model, str(path))
    return path
