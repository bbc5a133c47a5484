"""What the operators of a graph do, and how much they compute."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import onnx

MULTIPLYING = ("Conv", "ConvTranspose", "MatMul", "Gemm")
"""Operators that are sums of products; all others count none."""
PLACED_SINCE = 11
"""Version of ONNX's operators from which on a Resize says how it places pixels: before, from their corners."""


def multiply_accumulates(node: onnx.NodeProto, shape: Callable[[str], Sequence[int]]) -> int:
    """Multiply-accumulates of an operator. shape: of a tensor, by its name."""
    if node.op_type == "Conv":  # weights [O, I / groups, ...]
        return math.prod(shape(node.output[0])) * math.prod(shape(node.input[1])[1:])
    if node.op_type == "ConvTranspose":  # weights [I, O / groups, ...]
        return math.prod(shape(node.input[0])) * math.prod(shape(node.input[1])[1:])
    if node.op_type in ("MatMul", "Gemm"):
        transposed = any(a.name == "transA" and a.i for a in node.attribute)
        return math.prod(shape(node.output[0])) * shape(node.input[0])[-2 if transposed else -1]
    return 0
