"""Stand-ins: a tiny model file that every runtime accepts, and a backend with a given answer."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from seg_perception import model_facts, model_file, self_test
from seg_perception.backends.graph.sizes import opened
from seg_perception.backends.onnx_runtime import OnnxRuntimeBackend
from seg_perception.labels import CAMVID, LabelClass, LabelSet
from seg_perception.model_file import INPUT, OUTPUTS, ModelInfo
from seg_perception.network_size import SizeLimits
from seg_perception.results import NetworkOutput

TWO_LABELS = LabelSet(
    (LabelClass(0, "road", (128, 64, 128), drivable_cost=0), LabelClass(1, "car", (0, 0, 142), thing=True))
)


def model_info(
    labels: LabelSet = CAMVID, size_hw: tuple[int, int] = (64, 96), stride: int = 8, batch: int | None = None
) -> ModelInfo:
    """A model of which there is no file."""
    grid_hw = (size_hw[0] // stride, size_hw[1] // stride)
    return ModelInfo(
        Path("none.onnx"), "fake", "fake", labels, "fp32", size_hw, grid_hw, batch, "nothing", "none", 0, 0
    )


def tiny_model(
    path: Path, size_hw: tuple[int, int] = (64, 96), labels: LabelSet = CAMVID, batch: int | None = None, seed: int = 0
) -> ModelInfo:
    """Write a model file of one convolution with random weights and read it back."""
    rng = np.random.default_rng(seed)
    channels = len(labels) + 3
    weights = numpy_helper.from_array(rng.normal(size=(channels, 3, 8, 8)).astype(np.float32) / 2000, "weights")
    splits = numpy_helper.from_array(np.array([len(labels), 1, 2], np.int64), "splits")
    nodes = [
        helper.make_node("Cast", [INPUT], ["float"], to=TensorProto.FLOAT),
        helper.make_node("Transpose", ["float"], ["planes"], perm=[0, 3, 1, 2]),
        helper.make_node("Conv", ["planes", "weights"], ["all"], kernel_shape=[8, 8], strides=[8, 8]),
        helper.make_node("Split", ["all", "splits"], [OUTPUTS[0], "heat", OUTPUTS[2]], axis=1),
        helper.make_node("Sigmoid", ["heat"], [OUTPUTS[1]]),
    ]
    return write_model(path, nodes, [weights, splits], size_hw, labels, batch)


def write_model(
    path: Path,
    nodes: list[Any],
    weights: list[Any],
    size_hw: tuple[int, int],
    labels: LabelSet = CAMVID,
    batch: int | None = 1,
) -> ModelInfo:
    """Write nodes from `image` to the three outputs at stride 8 as a model file, and read it back. batch: None = any."""
    first: Any = "N" if batch is None else batch
    grid = [size_hw[0] // 8, size_hw[1] // 8]
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info(INPUT, TensorProto.UINT8, [first, *size_hw, 3])],
        [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, [first, count, *grid])
            for name, count in zip(OUTPUTS, (len(labels), 1, 2))
        ],
        weights,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    content = model_file.metadata(
        name="tiny",
        network="tiny",
        labels=labels,
        precision="fp32",
        training_data="none, made by a test",
        license_note="none",
        parameters=sum(int(np.prod(tensor.dims)) for tensor in weights),
        macs=0,
    )
    model_file.write_metadata(model, content)
    onnx.checker.check_model(model)
    model_file.save(model, path)
    return model_file.load(path)


def with_answer(path: Path) -> Path:
    """Put the answer to the known image into a model file, as export does."""
    backend = OnnxRuntimeBackend(model_file.load(path))
    _, model = model_file.read(path)
    entry = next(entry for entry in model.metadata_props if entry.key == model_file.METADATA_KEY)
    content = {**json.loads(entry.value), "self_test": self_test.answer(backend)}
    assert content["self_test"], "the network is sure of too little"
    model_file.write_metadata(model, content)
    model_file.save(model, path)
    return path


def with_open_size(path: Path, limits: SizeLimits) -> Path:
    """Leave height and width of a model file open, as export does; its nodes must not mind."""
    info, model = model_file.read(path)
    model = opened(model)
    entry = next(entry for entry in model.metadata_props if entry.key == model_file.METADATA_KEY)
    content = {**json.loads(entry.value), "sizes": model_facts.sizes_of(limits, info.size_hw, info.stride)}
    model_file.write_metadata(model, content)
    model_file.save(model, path)
    return path


class FakeBackend:
    """Answers with what `answer` makes of the images; keeps the latest images and counts runs."""

    def __init__(self, answer: Callable[[NDArray[np.uint8]], NetworkOutput]) -> None:
        self._answer = answer
        self.runs = 0
        self.images: NDArray[np.uint8] | None = None
        self.closed = False

    def infer(self, images: NDArray[np.uint8]) -> NetworkOutput:
        self.runs += 1
        self.images = images.copy()
        return self._answer(images)

    def warm_up(self) -> None:
        self.runs += 1

    def describe(self) -> Mapping[str, str]:
        return {"backend": "fake", "device": "none", "model": "fake", "precision": "fp32"}

    def close(self) -> None:
        self.closed = True


def failing_model(path: Path) -> ModelInfo:
    """A model file that loads and whose nodes fail when they run: they split one channel more than there are, by a number that
    hangs on the image."""
    tiny_model(path)
    _, model = model_file.read(path)
    nodes = model.graph.node
    split = next(place for place, node in enumerate(nodes) if node.op_type == "Split")
    more = [
        helper.make_node("ReduceMin", ["float"], ["least"], keepdims=0),
        helper.make_node("Sign", ["least"], ["sign"]),
        helper.make_node("Exp", ["sign"], ["1 or more"]),
        helper.make_node("Cast", ["1 or more"], ["count"], to=TensorProto.INT64),
        helper.make_node("Add", ["splits", "count"], ["too many"]),
    ]
    nodes[split].input[1] = "too many"
    kept = [*nodes[:split], *more, *nodes[split:]]
    del nodes[:]
    nodes.extend(kept)
    model_file.save(model, path)
    return model_file.load(path)


def empty_output(model: ModelInfo, images: int = 1) -> NetworkOutput:
    """The first class everywhere and no centre."""
    h, w = model.grid_hw
    logits = np.zeros((images, len(model.labels), h, w), np.float32)
    logits[:, 0] = 10
    return NetworkOutput(logits, np.zeros((images, 1, h, w), np.float32), np.zeros((images, 2, h, w), np.float32))
