"""A network of another program, as ONNX: which of its tensors are the image and the logits.

Exporters write its end in many ways: at the size of the image, as probabilities, as the best class alone. The decode
wants the logits before that, so they are looked for from the outputs backwards.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper

from seg_perception import model_file, model_weights
from seg_perception.backends.graph.operations import PLACED_SINCE
from seg_perception.errors import SegPerceptionError, cause_of, nearest_name, quoted
from seg_perception.network_size import LONGEST_SIDE, STEP
from seg_perception.training.export.foreign_run import KINDS, Image, Logits, Runner, Told, noise
from seg_perception.writing import is_file

AFTER_LOGITS = (
    "ArgMax",
    "Softmax",
    "LogSoftmax",
    "Sigmoid",
    "Resize",
    "Transpose",
    "Squeeze",
    "Unsqueeze",
    "Cast",
    "Identity",
)
"""Operators that make of logits what others want of them."""
WHITE = ("1", "255")
"""What training may call a white pixel before it normalises."""
HEAT_BEYOND = 0.5
"""How far from 0 to 1 a heatmap may go that was trained without a sigmoid."""
PAGE = "docs/own-network.md"
_QUANTISED_OTHERWISE = ("QLinearConv", "QLinearMatMul", "ConvInteger", "MatMulInteger", "DynamicQuantizeLinear")
"""Of which TensorRT knows none."""
_ACROSS = [0, 3, 2, 1]
"""Axes that torch moves to and back around a Softmax before opset 13; what lies between has its rows and columns exchanged."""


def read_foreign(path: Path) -> onnx.ModelProto:
    """A file with its weights, also those that lie beside it; every node has a name of its own.

    Raises SegPerceptionError where it cannot be read, is a model file already, has branches, or is quantised otherwise than by
    Q/DQ.
    """
    if not is_file(path):
        raise SegPerceptionError(f"there is no file {path}: check the path")
    try:
        model = onnx.load(str(path))
        if model.ByteSize() > model_file.LARGEST_FILE:
            raise ValueError("it is larger than any network for a vehicle")
        if model.functions:
            from onnx import inliner  # which old versions of onnx have not

            model = inliner.inline_local_functions(model)
        for entry in model.opset_import:
            entry.domain = "" if entry.domain == "ai.onnx" else entry.domain  # two names of one
        standard = [entry for entry in model.opset_import if not entry.domain]
        # The number says what reads the file, and newer exporters write more than its operators need.
        model.ir_version = min(model.ir_version, helper.find_min_ir_version_for(standard))
        _check(model)
    except Exception as error:  # of onnx, protobuf and the file system
        raise SegPerceptionError(
            f"{path} cannot be read as ONNX ({cause_of(error) or type(error).__name__}): copy it whole with the files "
            "that hold its weights, update onnx, or export it with an older opset"
        ) from error
    if model_file.METADATA_KEY in {entry.key for entry in model.metadata_props} and _is_ours(path):
        raise SegPerceptionError(f"{path} is a model file of this program: give it as --model")
    model_weights.check(model, path)
    if any(part.type in (part.GRAPH, part.GRAPHS) for node in model.graph.node for part in node.attribute):
        raise SegPerceptionError(
            f"{path} has branches or loops (If, Loop, Scan), which cannot be taken apart: export it with fixed sizes, or "
            "simplify it with onnxsim"
        )
    otherwise = next((node.op_type for node in model.graph.node if node.op_type in _QUANTISED_OTHERWISE), None)
    if otherwise:
        raise SegPerceptionError(
            f"{path} is quantised by {otherwise}, which TensorRT does not know: export it in float32, or quantise it by "
            "QuantizeLinear and DequantizeLinear (Q/DQ)"
        )
    for place, node in enumerate(model.graph.node):
        node.name = f"{node.op_type}_{place}"
    return model


def _is_ours(path: Path) -> bool:
    try:
        model_file.load(path)
    except SegPerceptionError:
        return False
    return True


def _check(model: onnx.ModelProto) -> None:
    """Raises onnx's ValidationError for nodes that are none or stand in no order. Shapes of the outputs may be missing: they are
    looked at when it runs."""
    nodes = onnx.ModelProto()
    nodes.CopyFrom(model)
    del nodes.graph.output[:]
    onnx.checker.check_model(nodes)


def find_image(model: onnx.ModelProto, path: Path, size_hw: tuple[int | None, int | None]) -> Image:
    """The input. Raises SegPerceptionError where there is none of three channels, or no size to run it at."""
    weights = {weight.name for weight in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in weights]
    if len(inputs) != 1:
        raise SegPerceptionError(
            f"{path} takes {len(inputs)} inputs ({', '.join(quoted(value.name, 20) for value in inputs)}) and one image is all "
            "that it is given: export it with the image alone"
        )
    kind = inputs[0].type.tensor_type
    dims = [max(0, dim.dim_value) for dim in kind.shape.dim]  # some exporters write -1 for what is open
    channels_last = len(dims) == 4 and dims[3] == 3 != dims[1]
    # Some exporters leave the number of channels open, too; those put them first.
    if len(dims) != 4 or not (channels_last or dims[1] in (0, 3)) or kind.elem_type not in KINDS:
        raise SegPerceptionError(
            f"{path} takes '{inputs[0].name}' of {TensorProto.DataType.Name(kind.elem_type).lower()} {dims}: an image of three "
            "channels, [N, 3, h, w] or [N, h, w, 3], of float32, float16 or uint8, is needed, so export it so"
        )
    sides = (dims[1], dims[2]) if channels_last else (dims[2], dims[3])
    chosen = [side or wanted for side, wanted in zip(sides, size_hw)]
    if None in chosen:
        raise SegPerceptionError(f"{path} leaves the size of its input open: give --height and --width")
    height, width = (int(side or 0) for side in chosen)
    if any(wanted not in (None, side) for side, wanted in zip((height, width), size_hw)):
        raise SegPerceptionError(f"{path} takes images of {width}x{height} alone: leave out --height and --width")
    if any(side <= 0 or side % STEP or side > LONGEST_SIDE for side in (height, width)):
        needed = f"to take images of {width}x{height}, and multiples of {STEP} up to {LONGEST_SIDE} are needed"
        remedy = "export it for such, or with its size left open" if all(sides) else "give --height and --width such"
        raise SegPerceptionError(f"{path} is {needed}: {remedy}")
    return Image(inputs[0].name, kind.elem_type, channels_last, dims[0] or None, (height, width), not all(sides))


def find_logits(model: onnx.ModelProto, path: Path, image: Image, told: Told) -> Logits:
    """The tensor that decodes into masks: told.logits, else the one that stands behind the outputs; of the grid of told.centers.
    Raises SegPerceptionError where there is none with a channel a class, or more than one, and for centres that are none."""
    ways = _ways_back(model, path, told.logits)
    centers = [_ways_back(model, path, name)[name][0] for name in told.centers or ()]
    names = list(dict.fromkeys([*centers, *(name for way in ways.values() for name in way)]))
    answers = dict(zip(names, Runner(model, path, names).run(image.prepared(noise(image), told))))
    grid_hw = _grid_of_centers(path, {name: answers[name] for name in centers})
    found: dict[str, list[str]] = {}
    fitting: dict[str, Logits] = {}
    for output, way in ways.items():
        fits = [one for name in way if (one := _fits(name, answers[name], image, len(told.labels)))]
        fits = [one for one in _enlarged_once(fits, image) if grid_hw in (None, one.grid_hw)]
        if fits:
            fitting[fits[-1].name] = fits[-1]
            found.setdefault(fits[-1].name, []).append(output)
    if len(fitting) == 1:
        return next(iter(fitting.values()))
    if fitting:
        outputs = ", ".join(quoted(of[0], 30) for of in found.values())
        raise SegPerceptionError(
            f"{path} has {len(fitting)} outputs of {len(told.labels)} channels ({outputs}): say by --logits which are the logits"
        )
    height, width = image.size_hw
    shown = ", ".join(f"'{quoted(way[-1], 30)}' {list(answers[way[-1]].shape)}" for way in ways.values() if way)
    raise SegPerceptionError(
        f"{path} answers {shown} to an image of {width}x{height}: a channel for each of the {len(told.labels)} classes of --labels "
        f"is needed, at every 1, 2, 4, 8, 16 or 32 px{'' if grid_hw is None else ' as its centres'}, so give the labels that it "
        "was trained on, or name its logits by --logits"
    )


def _enlarged_once(fits: Sequence[Logits], image: Image) -> list[Logits]:
    """From an output backwards, those that the decode makes its mask of: it enlarges in one step, and only to the image's size."""
    grids = list(dict.fromkeys(one.grid_hw for one in fits))
    same = grids[: 2 if image.size_hw in grids[:1] else 1]
    return [one for one in fits if one.grid_hw in same]


def _grid_of_centers(path: Path, answers: Mapping[str, NDArray[Any]]) -> tuple[int, int] | None:
    """Rows and columns of heatmap and offsets, None where there are none. Raises SegPerceptionError where they are not such."""
    if not answers:
        return None
    shapes = {name: list(answer.shape) for name, answer in answers.items()}
    (heatmap, offsets), grids = answers.values(), {answer.shape[2:] for answer in answers.values()}
    if len(grids) != 1 or [answer.shape[1:2] for answer in (heatmap, offsets)] != [(1,), (2,)] or heatmap.ndim != 4:
        raise SegPerceptionError(
            f"{path} answers {shapes} by --centers: a heatmap [N, 1, h, w] and offsets [N, 2, h, w] of one size are needed, in "
            "this order"
        )
    low, high = float(heatmap.min()), float(heatmap.max())
    if not -HEAT_BEYOND <= low <= high <= 1 + HEAT_BEYOND:
        raise SegPerceptionError(
            f"{path} answers from {low:.3g} to {high:.3g} by the heatmap of --centers, which goes from 0 to 1: name "
            "the tensor behind its sigmoid"
        )
    return heatmap.shape[2], heatmap.shape[3]


def _ways_back(model: onnx.ModelProto, path: Path, named: str | None) -> dict[str, list[str]]:
    """From each output, or the tensor that is named, backwards through what comes after logits: names of tensors. Raises
    SegPerceptionError where there is no such tensor."""
    graph = model.graph
    opset = next(entry.version for entry in model.opset_import if not entry.domain)
    makers = {name: node for node in graph.node for name in node.output if name}
    outputs = [value.name for value in graph.output if value.name in makers]
    if named is not None and named not in makers:
        near = nearest_name(named, makers)
        told = near if near.startswith("did") else f"its outputs are {', '.join(quoted(name, 30) for name in outputs)}"
        raise SegPerceptionError(f"{path} has no tensor '{quoted(named)}': {told}")

    def way(name: str) -> Iterator[str]:
        across = False
        while (node := makers.get(name)) is not None:
            if not across:
                yield name
            if node.op_type not in AFTER_LOGITS or not _as_the_decode(node, opset):
                return
            across ^= _axes(node) == _ACROSS
            name = node.input[0]

    return {name: list(way(name)) for name in (outputs if named is None else [named])}


def _as_the_decode(node: onnx.NodeProto, opset: int) -> bool:
    """Whether the decode does the same: of the ways to enlarge, the bilinear one whose pixels are areas; of the changes of axes,
    those that move channels."""
    if node.op_type == "Transpose":
        return _axes(node) in ([0, 2, 3, 1], [0, 3, 1, 2], _ACROSS)
    if node.op_type != "Resize":
        return True
    if opset < PLACED_SINCE:
        return False
    said = {part.name: helper.get_attribute_value(part) for part in node.attribute}
    placing = said.get("coordinate_transformation_mode", b"half_pixel")
    return (
        said.get("mode") == b"linear"
        and placing in (b"half_pixel", b"pytorch_half_pixel")
        and not said.get("antialias")
    )


def _axes(node: onnx.NodeProto) -> list[int]:
    """The order in which a Transpose has its input's axes, empty of other operators."""
    return next((list(part.ints) for part in node.attribute if part.name == "perm"), [])


def _fits(name: str, answer: NDArray[Any], image: Image, classes: int) -> Logits | None:
    """The tensor as logits, None where it is of another shape or type."""
    kinds = {np.dtype(np.float32): TensorProto.FLOAT, np.dtype(np.float16): TensorProto.FLOAT16}
    if answer.ndim != 4 or answer.size == 0 or answer.dtype not in kinds:
        return None
    for channels_last, (_, channels, *grid) in ((False, answer.shape), (True, np.moveaxis(answer, 3, 1).shape)):
        strides = {side / cells for side, cells in zip(image.size_hw, grid)}
        if channels == classes and len(strides) == 1 and all(s.is_integer() and STEP % s == 0 for s in strides):
            sums = answer.sum(3 if channels_last else 1, dtype=np.float64)
            probabilities = bool(answer.min() >= 0 and np.ptp(sums) <= 0.01 * sums.max())
            return Logits(name, kinds[answer.dtype], channels_last, (grid[0], grid[1]), probabilities)
    return None
