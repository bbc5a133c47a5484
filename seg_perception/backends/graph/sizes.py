"""The height and width of a model's graph: open for any camera's shape, or fixed for a builder of one size."""

from __future__ import annotations

import onnx

from seg_perception.model_file import INPUT, OUTPUTS

_AXES = {INPUT: (1, 2)} | dict.fromkeys(OUTPUTS, (2, 3))
"""Where height and width stand."""
_NAMES = {INPUT: ("h", "w")} | dict.fromkeys(OUTPUTS, ("grid_h", "grid_w"))


def opened(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy whose height and width are left open. The nodes must compute with the sizes that they meet, as those of
    torch's exporter with a dynamic batch do."""
    return _with_lengths(model, _NAMES)


def fixed(model: onnx.ModelProto, size_hw: tuple[int, int], grid_hw: tuple[int, int]) -> onnx.ModelProto:
    """A copy for images of size_hw alone, whose outputs have grid_hw."""
    return _with_lengths(model, {INPUT: size_hw} | dict.fromkeys(OUTPUTS, grid_hw))


def _with_lengths(
    model: onnx.ModelProto, lengths: dict[str, tuple[str, str]] | dict[str, tuple[int, int]]
) -> onnx.ModelProto:
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    del copy.graph.value_info[:]  # shapes of what lies between: of the former size
    for value in (*copy.graph.input, *copy.graph.output):
        for axis, length in zip(_AXES.get(value.name, ()), lengths.get(value.name, ())):
            dim = value.type.tensor_type.shape.dim[axis]
            dim.Clear()
            if isinstance(length, int):
                dim.dim_value = length
            else:
                dim.dim_param = length
    return copy
