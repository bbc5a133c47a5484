"""The graph of another program within the model file's contract: uint8 pixels in, logits out, and centres of objects where it has
such."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, compose, helper, numpy_helper

from seg_perception.backends.graph.edits import drop_unused, name_constants
from seg_perception.backends.graph.stored import widened
from seg_perception.errors import SegPerceptionError
from seg_perception.model_file import INPUT, OUTPUTS
from seg_perception.training.export.foreign import PAGE, WHITE, find_image, find_logits, read_foreign
from seg_perception.training.export.foreign_run import (
    ForeignBackend,
    Image,
    Logits,
    Told,
    counts,
    precision_of,
    takes_any_batch,
)
from seg_perception.training.export.sources import Source

LICENSE_NOTE = "as the network and the data that it was trained on"
TRAINING_DATA = "not stated: trained by another program"
_PREFIX = "network/"
"""Of the names of its own tensors, so that none is taken twice."""
_Step = tuple[str, list[str], dict[str, Any]]
"""Operator, inputs and attributes of a node."""


def from_foreign(path: Path, told: Told, precision: str | None) -> Source:
    """A network of another program, to be written in a precision (None: its own). Raises SegPerceptionError for files that
    cannot be read, do not fit what is told of them, or are neither float32 nor of that precision."""
    model = read_foreign(path)
    image = find_image(model, path, told.size_hw)
    _check_told(path, image, told)
    logits = find_logits(model, path, image, told)
    if image.batch not in (None, 1):
        raise SegPerceptionError(
            f"{path} takes {image.batch} images at a time and frames come one by one: export it for one, or for any number"
        )
    any_batch = takes_any_batch(model, path, image, logits, told)
    own = precision_of(model, image, logits)
    if own not in ("fp32", precision or own):
        raise SegPerceptionError(
            f"{path} is of precision {own}, of which no {precision} can be made: export it in float32"
        )
    _say_what_is_left_out(path, model, logits, told)
    return Source(
        make_graph=lambda: in_contract(model, image, logits, told, any_batch),
        precision=own,
        labels=told.labels,
        size_hw=image.size_hw,
        facts={
            "network": f"{path.stem} of another program",
            "training_data": TRAINING_DATA,
            "license_note": LICENSE_NOTE,
            **counts(model, path, image, told),
        },
        reference=ForeignBackend(model, path, image, logits, told),
        open_size=image.open_size,
    )


def _check_told(path: Path, image: Image, told: Told) -> None:
    """Raises SegPerceptionError where the normalisation is missing, of no use, or cannot be right, and for a single class."""
    if len(told.labels) == 1:
        raise SegPerceptionError(
            "--labels holds one class, which every pixel would be: a network of one channel needs another of 0 before it, see "
            f"{PAGE}"
        )
    if image.kind == TensorProto.UINT8:
        if told.mean is not None or told.std is not None:
            raise SegPerceptionError(f"{path} takes uint8 and normalises itself: leave out --mean and --std")
        return
    if told.mean is None or told.std is None:
        raise SegPerceptionError(
            f"{path} takes float pixels: give --mean and --std, as its training subtracted and divided, see {PAGE}"
        )
    if max(told.mean) > told.pixel_max or not told.pixel_max / 255 <= min(told.std) <= max(told.std) <= told.pixel_max:
        mean, std = (" ".join(f"{value:g}" for value in values) for values in (told.mean, told.std))
        raise SegPerceptionError(
            f"--mean {mean} and --std {std} are not of pixels of 0 to {told.pixel_max:g}: give --pixel-max "
            f"{WHITE[told.pixel_max < 255]}, or those of its training"
        )


def _say_what_is_left_out(path: Path, model: onnx.ModelProto, logits: Logits, told: Told) -> None:
    if logits.name not in {value.name for value in model.graph.output}:
        print(f"of {path} '{logits.name}' is taken: the decode does what comes after it")
    if logits.probabilities:
        print(
            f"'{logits.name}' holds probabilities, of which classes are right and confidence is not: name what comes before them "
            "by --logits, or export it without its softmax"
        )
    if told.centers is None and told.labels.is_thing.any():
        print(f"{path} tells no objects apart: cars and people get no instances and no tracks")


def in_contract(model: onnx.ModelProto, image: Image, logits: Logits, told: Told, any_batch: bool) -> onnx.ModelProto:
    """A copy whose input and outputs are those of a model file, of one size."""
    named = onnx.ModelProto()
    named.CopyFrom(model)
    del named.graph.output[:]
    named.graph.output.extend(onnx.ValueInfoProto(name=name) for name in (logits.name, *(told.centers or ())))
    name_constants(named)
    named = compose.add_prefix(widened(named), _PREFIX)
    graph = named.graph
    before, weights = _image_nodes(image, told)
    after, more = _output_nodes(logits, told)
    nodes = [*before, *graph.node, *after]
    del graph.node[:], graph.value_info[:], graph.input[:], graph.output[:], named.metadata_props[:]
    graph.node.extend(nodes)
    graph.initializer.extend((*weights, *more))
    batch = "N" if any_batch else 1
    height, width = image.size_hw
    graph.input.append(helper.make_tensor_value_info(INPUT, TensorProto.UINT8, [batch, height, width, 3]))
    for name, channels in zip(OUTPUTS, (len(told.labels), 1, 2)):
        shape = [batch, channels, *logits.grid_hw]
        graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, shape))
    drop_unused(named)
    return named


def _image_nodes(image: Image, told: Told) -> tuple[list[onnx.NodeProto], list[TensorProto]]:
    """From uint8 [N, h, w, 3] RGB to what the network takes. Cast comes first: TensorRT moves no axes of uint8, and a network
    that takes uint8 casts to float as its own first step."""
    nodes: list[_Step] = [("Cast", [INPUT], {"to": TensorProto.FLOAT})]
    weights: list[TensorProto] = []
    if told.bgr:
        weights.append(numpy_helper.from_array(np.array([2, 1, 0], np.int64), "image.bgr"))
        nodes.append(("Gather", ["image.bgr"], {"axis": 3}))
    if told.mean is not None and told.std is not None:
        scale = told.pixel_max / 255
        mean, factor = np.array(told.mean) / scale, scale / np.array(told.std)
        for name, operator, values in (("image.mean", "Sub", mean), ("image.factor", "Mul", factor)):
            weights.append(numpy_helper.from_array(values.astype(np.float32), name))
            nodes.append((operator, [name], {}))
    if not image.channels_last:
        nodes.append(("Transpose", [], {"perm": [0, 3, 1, 2]}))
    if image.kind == TensorProto.FLOAT16:
        nodes.append(("Cast", [], {"to": TensorProto.FLOAT16}))
    return _chain(nodes, _PREFIX + image.name), weights


def _output_nodes(logits: Logits, told: Told) -> tuple[list[onnx.NodeProto], list[TensorProto]]:
    """From the network's tensors to the contract's outputs; without centres heatmap and offsets are 0 everywhere."""
    to_float: _Step = ("Cast", [], {"to": TensorProto.FLOAT})
    axes: list[_Step] = [("Transpose", [], {"perm": [0, 3, 1, 2]})] if logits.channels_last else []
    made = _chain([("Identity", [_PREFIX + logits.name], {}), *axes, to_float], OUTPUTS[0])
    weights: list[TensorProto] = []
    in_range: list[_Step] = [("Relu", [], {}), ("Min", ["one"], {})]
    for name, theirs, ends in zip(OUTPUTS[1:], told.centers or (), (in_range, [])):
        made += _chain([("Identity", [_PREFIX + theirs], {}), to_float, *ends], name)
    if told.centers is not None:
        weights.append(numpy_helper.from_array(np.array(1, np.float32), "one"))
    if told.centers is None:
        weights.append(numpy_helper.from_array(np.zeros((1, 1, 1, 1), np.float32), "none"))
        for name, places in zip(OUTPUTS[1:], ([0], [0, 0])):
            weights.append(numpy_helper.from_array(np.array(places, np.int64), f"{name}.places"))
            gathered = f"{name}.shape"
            made.append(helper.make_node("Gather", [OUTPUTS[0], f"{name}.places"], [gathered], name=gathered, axis=1))
            made.append(helper.make_node("Mul", [gathered, "none"], [name], name=name))
    return made, weights


def _chain(nodes: list[_Step], target: str) -> list[onnx.NodeProto]:
    """Nodes one behind the other, the last of which writes target; those behind the first read what the one before wrote, and
    then their own inputs."""
    made: list[onnx.NodeProto] = []
    for place, (operator, inputs, attributes) in enumerate(nodes):
        read = [made[-1].output[0], *inputs] if made else inputs
        written = target if place == len(nodes) - 1 else f"{target}.{place}"
        made.append(helper.make_node(operator, read, [written], name=f"{written}.{operator}", **attributes))
    return made
