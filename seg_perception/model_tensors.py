"""The tensors of a model file's graph: their names, and the sizes that the contract allows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from seg_perception import model_facts
from seg_perception.errors import SegPerceptionError
from seg_perception.network_size import LONGEST_SIDE, STEP

if TYPE_CHECKING:
    import onnx

INPUT = "image"
OUTPUTS = ("semantic_logits", "center_heatmap", "center_offset")
LARGEST_BATCH = 256


def sizes_in(
    graph: onnx.GraphProto, classes: int, sizes: Mapping[str, Any] | None
) -> tuple[int | None, tuple[int, int], tuple[int, int]]:
    """Batch, height and width of the input, and of the outputs' grid, where they are those of the contract; sizes: what
    the metadata says of a file that leaves them open."""
    from onnx import TensorProto

    tensors = {value.name: value for value in graph.input if value.name == INPUT}
    tensors |= {value.name: value for value in graph.output if value.name in OUTPUTS}
    missing = [name for name in (INPUT, *OUTPUTS) if name not in tensors]
    if missing:
        raise SegPerceptionError(f"has no tensor {', '.join(missing)}: it is no panoptic model file, export it again")
    also = {value.name for value in graph.input} - {weight.name for weight in graph.initializer} - {INPUT}
    if also:
        raise SegPerceptionError(
            f"takes '{', '.join(sorted(also))}' beside '{INPUT}', and nothing is given to it but images: export it again"
        )
    batch, height, width, channels = _shape(tensors[INPUT])
    if max(height, width) > LONGEST_SIDE or (batch or 0) > LARGEST_BATCH:
        raise SegPerceptionError(
            f"takes {batch or 'any number of'} images of {width}x{height}: at most {LARGEST_BATCH} of {LONGEST_SIDE} px a "
            "side can be, export it again"
        )
    if tensors[INPUT].type.tensor_type.elem_type != TensorProto.UINT8 or channels != 3:
        raise SegPerceptionError(f"has another input '{INPUT}' than uint8 [N, h, w, 3], export it again")
    _, logits, rows, columns = _shape(tensors[OUTPUTS[0]])
    if logits != classes:
        raise SegPerceptionError(f"has {logits} logits and {classes} classes in its label set, export it again")
    if sizes is not None:
        return batch, *_open_sizes(tensors, classes, sizes)
    if not height or not width:
        raise SegPerceptionError(
            "leaves its height or width open and says in no 'sizes' what it takes: export it again"
        )
    if height % STEP or width % STEP:
        raise SegPerceptionError(
            f"takes images of {width}x{height}: fixed multiples of 32 are needed, export it with other --height and --width"
        )
    if not rows or not columns or height % rows or width % columns or height // rows != width // columns:
        raise SegPerceptionError(
            f"has logits of {columns}x{rows}, which do not divide its input of {width}x{height}, export it again"
        )
    if STEP % (height // rows):
        raise SegPerceptionError(
            f"has logits at every {height // rows} px of its input, where it must be 1, 2, 4, 8, 16 or 32: export it again"
        )
    for name, count in zip(OUTPUTS, (classes, 1, 2)):
        kind = tensors[name].type.tensor_type.elem_type
        if kind != TensorProto.FLOAT or _shape(tensors[name])[1:] != (count, rows, columns):
            raise SegPerceptionError(
                f"has another output '{name}' than float32 [N, {count}, {rows}, {columns}], export it again"
            )
    return batch, (height, width), (rows, columns)


def _shape(value: Any) -> tuple[int | None, int, int, int]:
    """Dimensions of a 4-D tensor; 0 where a length is not fixed, None for such a batch."""
    dims = value.type.tensor_type.shape.dim
    if len(dims) != 4:
        raise SegPerceptionError(
            f"has the tensor '{value.name}' of {len(dims)} dimensions, expected 4, export it again"
        )
    lengths = [dim.dim_value if dim.HasField("dim_value") else 0 for dim in dims]
    if min(lengths) < 0:
        raise SegPerceptionError(
            f"has the tensor '{value.name}' of {lengths}: no length is negative, and an open one has none, export it again"
        )
    return lengths[0] or None, lengths[1], lengths[2], lengths[3]


def _open_sizes(
    tensors: Mapping[str, onnx.ValueInfoProto], classes: int, sizes: Mapping[str, Any]
) -> tuple[tuple[int, int], tuple[int, int]]:
    """The default size and its grid, where input and outputs leave height and width open."""
    from onnx import TensorProto

    wanted = {INPUT: (0, 0, 3)} | {name: (count, 0, 0) for name, count in zip(OUTPUTS, (classes, 1, 2))}
    for name, shape in wanted.items():
        if _shape(tensors[name])[1:] != shape:
            raise SegPerceptionError(
                f"says that it takes several sizes, but its tensor '{name}' is {_shape(tensors[name])[1:]} without the batch "
                f"and {shape} is needed, 0 for what is open: export it again"
            )
        if name != INPUT and tensors[name].type.tensor_type.elem_type != TensorProto.FLOAT:
            raise SegPerceptionError(f"has another output '{name}' than float32 [N, {shape[0]}, h, w], export it again")
    size_hw, stride = model_facts.pair(sizes["default"]), int(sizes["stride"])
    return size_hw, (size_hw[0] // stride, size_hw[1] // stride)
