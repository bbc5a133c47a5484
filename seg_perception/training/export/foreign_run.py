"""A network of another program, run as it came: its tensors, what it answers to images, and what that costs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper

from seg_perception.backends.graph.operations import MULTIPLYING, multiply_accumulates
from seg_perception.backends.onnx_runtime import open_session, run
from seg_perception.errors import SegPerceptionError
from seg_perception.labels import LabelSet
from seg_perception.results import NetworkOutput

KINDS = {TensorProto.FLOAT: np.float32, TensorProto.FLOAT16: np.float16, TensorProto.UINT8: np.uint8}
"""Types that an image may have."""
_QUANTISED = ("QuantizeLinear", "DequantizeLinear")


@dataclass(frozen=True)
class Told:
    """What a file does not say of itself. logits: name of the tensor, None = the one that fits. mean, std: of its input's
    channels, as training subtracted and divided, None where the graph does that itself; pixel_max: the value of a white pixel
    before that. bgr: its channels are blue, green, red. size_hw: of its input, None where the file fixes it. centers: names of
    its heatmap of centres and its offsets to them, both as a model file's outputs, None where it tells no objects apart."""

    labels: LabelSet
    logits: str | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    pixel_max: float = 1.0
    bgr: bool = False
    size_hw: tuple[int | None, int | None] = (None, None)
    centers: tuple[str, str] | None = None


@dataclass(frozen=True)
class Image:
    """The input. kind: one of KINDS. channels_last: [N, h, w, 3], else [N, 3, h, w]. batch: None when any. open_size: whether
    the file leaves height and width to whoever runs it."""

    name: str
    kind: int
    channels_last: bool
    batch: int | None
    size_hw: tuple[int, int]
    open_size: bool

    def prepared(self, images: NDArray[np.uint8], told: Told) -> NDArray[Any]:
        """Images uint8 [N, h, w, 3] RGB as the network wants them."""
        pixels: NDArray[Any] = images[..., ::-1] if told.bgr else images
        if told.mean is not None and told.std is not None:
            scaled = pixels.astype(np.float64) * (told.pixel_max / 255)
            pixels = (scaled - np.array(told.mean)) / np.array(told.std)
        moved = pixels if self.channels_last else pixels.transpose(0, 3, 1, 2)
        return np.ascontiguousarray(moved, KINDS[self.kind])


@dataclass(frozen=True)
class Logits:
    """name, and type of TensorProto; channels_last: [N, h, w, C], else [N, C, h, w]; grid_hw: at the image's size.
    probabilities: whether they are such, or sums of such."""

    name: str
    kind: int
    channels_last: bool
    grid_hw: tuple[int, int]
    probabilities: bool


def noise(image: Image) -> NDArray[np.uint8]:
    """As many images as the input takes, or one: uint8 [N, h, w, 3], the same each time."""
    shape = (image.batch or 1, *image.size_hw, 3)
    return np.random.default_rng(0).integers(0, 256, shape, np.uint8)


class Runner:
    """A graph as it came, with other outputs. shapes_only: of which the shapes are asked."""

    def __init__(self, model: onnx.ModelProto, path: Path, outputs: Sequence[str], shapes_only: bool = False) -> None:
        """Raises SegPerceptionError where ONNX Runtime cannot load it."""
        watched = onnx.ModelProto()
        watched.CopyFrom(model)
        graph = watched.graph
        del graph.output[:]
        for place, name in enumerate(outputs):
            shown = f"shape.of.{place}" if shapes_only else name
            if shapes_only:
                graph.node.append(helper.make_node("Shape", [name], [shown]))
            graph.output.append(onnx.ValueInfoProto(name=shown))
        self._outputs, self._name = [value.name for value in graph.output], str(path)
        self._session = open_session(watched.SerializeToString(), name=self._name)
        self._image = self._session.get_inputs()[0].name

    def run(self, pixels: NDArray[Any], *, quiet: bool = False) -> list[NDArray[Any]]:
        """The outputs. Raises as run of backends/onnx_runtime.py."""
        if not self._outputs:
            return []
        return run(self._session, self._outputs, pixels, self._name, image=self._image, quiet=quiet)


class ForeignBackend:
    """The network as it came, normalised in NumPy: what its model file is compared with."""

    def __init__(self, model: onnx.ModelProto, path: Path, image: Image, logits: Logits, told: Told) -> None:
        self._runner = Runner(model, path, [logits.name, *(told.centers or ())])
        self._image, self._logits, self._told, self._name = image, logits, told, path.stem

    def infer(self, images: NDArray[np.uint8]) -> NetworkOutput:
        """See Backend."""
        found, *centers = self._runner.run(self._image.prepared(images, self._told))
        logits = np.moveaxis(found, 3, 1) if self._logits.channels_last else found
        count, _, *grid = logits.shape
        heatmap, offset = centers or [np.zeros((count, channels, *grid)) for channels in (1, 2)]
        parts = (logits, heatmap.clip(0, 1), offset)
        return NetworkOutput(*(np.ascontiguousarray(part, np.float32) for part in parts))

    def warm_up(self) -> None:
        """See Backend."""

    def describe(self) -> Mapping[str, str]:
        """See Backend."""
        return {
            "backend": "onnxruntime",
            "device": "CPU",
            "model": self._name,
            "precision": "as it came",
        }

    def close(self) -> None:
        """See Backend: nothing is held."""


def takes_any_batch(model: onnx.ModelProto, path: Path, image: Image, logits: Logits, told: Told) -> bool:
    """Whether two images in one run get the answers that each gets alone: a batch may be open in the file's description and
    one in its nodes."""
    if image.batch is not None:
        return False
    pair = np.concatenate([noise(image), 255 - noise(image)])
    runner = Runner(model, path, [logits.name])
    try:
        (together,) = runner.run(image.prepared(pair, told), quiet=True)
        alone = np.concatenate([runner.run(image.prepared(one[None], told), quiet=True)[0] for one in pair])
    except SegPerceptionError:
        return False
    return together.shape == alone.shape and bool(
        np.allclose(together, alone, rtol=1e-2, atol=1e-2 * np.abs(alone).max())
    )


def precision_of(model: onnx.ModelProto, image: Image, logits: Logits) -> str:
    """What it computes in, one of model_file.PRECISIONS: float16 where one of its layers does."""
    graph, half = model.graph, TensorProto.FLOAT16
    if any(node.op_type in _QUANTISED for node in graph.node):
        return "int8"
    halves = {weight.name for weight in graph.initializer if weight.data_type == half}
    constants = (node for node in graph.node if node.op_type == "Constant")
    halves |= {node.output[0] for node in constants if any(part.t.data_type == half for part in node.attribute)}
    inside = any(node.op_type in MULTIPLYING and halves.intersection(node.input) for node in graph.node)
    return "fp16" if inside or half in (image.kind, logits.kind) else "fp32"


def counts(model: onnx.ModelProto, path: Path, image: Image, told: Told) -> dict[str, int]:
    """`parameters`, and `macs` of one image."""
    weights = {weight.name: tuple(weight.dims) for weight in model.graph.initializer}
    floats = (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.INT8)
    parameters = sum(int(np.prod(weight.dims)) for weight in model.graph.initializer if weight.data_type in floats)
    nodes = [node for node in model.graph.node if node.op_type in MULTIPLYING]
    read = {name for node in nodes for name in (*node.input[:2], node.output[0])}
    shown = sorted(read - set(weights) - {image.name})
    pixels = image.prepared(noise(image), told)
    shapes = Runner(model, path, shown, shapes_only=True).run(pixels)
    known = {**weights, image.name: pixels.shape, **{name: tuple(map(int, one)) for name, one in zip(shown, shapes)}}
    return {"parameters": parameters, "macs": sum(multiply_accumulates(node, known.__getitem__) for node in nodes)}
