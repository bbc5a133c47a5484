"""The weights in a model file: whether each of them is whole."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from seg_perception.errors import SegPerceptionError, quoted

if TYPE_CHECKING:
    import onnx


def check(model: onnx.ModelProto, path: Path) -> None:
    """Raises SegPerceptionError where weights of the file lie in another one, or do not fit their shape or type."""
    import onnx

    for tensor in _tensors(model):
        if tensor.data_location == onnx.TensorProto.EXTERNAL:
            raise SegPerceptionError(
                f"{path} has weights in another file and a model file is whole: export it again, of another program's network by "
                "'seg_perception export --onnx'"
            )
        try:
            onnx.numpy_helper.to_array(tensor)
        except Exception as error:  # of many kinds, for one cause: shape, type and bytes are not of one tensor
            raise SegPerceptionError(
                f"{path} has weights that do not fit their shape or type ('{quoted(tensor.name)}'): copy or export it again"
            ) from error


def _tensors(message: Any) -> Iterator[onnx.TensorProto]:
    """Every tensor in a message, however deep: of the graph, of constants, of the branches of a node, of functions."""
    import onnx

    for entry, value in message.ListFields():
        if entry.message_type is None:
            continue
        for part in value if isinstance(value, Sequence) or hasattr(value, "add") else (value,):
            if isinstance(part, onnx.TensorProto):
                yield part
            else:
                yield from _tensors(part)
