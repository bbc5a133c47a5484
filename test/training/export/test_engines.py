"""What is exported, in every precision, through the real parser and builder of TensorRT for RTX; no GPU is needed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

pytest.importorskip("torch", reason="export needs torch")

from seg_perception import model_file
from seg_perception.backends.graph import half
from seg_perception.backends.graph.stored import narrowed
from seg_perception.backends.tensorrt import engine as engines
from seg_perception.cli import main
from seg_perception.labels import CAMVID
from seg_perception.training.export import from_checkpoint, quantize
from seg_perception.training.networks import NETWORKS, make_network

SIZE_HW = (64, 96)
QUICK = [name for name in NETWORKS if not name.endswith(("_m", "_l", "_light", "_lite2"))]
"""The others have the same layers, and more or fewer of them."""

pytestmark = pytest.mark.skipif("rtx" not in engines.installed(), reason="TensorRT for RTX is not installed")


@pytest.fixture(scope="module", params=QUICK)
def exported(request: pytest.FixtureRequest) -> tuple[str, Any]:
    """A network's name and its float32 graph."""
    return request.param, from_checkpoint.to_onnx(make_network(request.param, len(CAMVID)).eval(), SIZE_HW)


def with_dead_channels(graph: Any) -> Any:
    """The same with a channel of next to nothing in each convolution, as training leaves some."""
    copy = onnx.ModelProto()
    copy.CopyFrom(graph)
    convolutions = {node.input[1] for node in copy.graph.node if node.op_type == "Conv"}
    for weight in copy.graph.initializer:
        if weight.name in convolutions:
            values = numpy_helper.to_array(weight).copy()
            values[len(values) // 2] *= 1e-9
            weight.CopyFrom(numpy_helper.from_array(values, weight.name))
    return copy


@pytest.mark.parametrize("precision", model_file.PRECISIONS)
def test_every_network_compiles_in_every_precision(exported: tuple[str, Any], precision: str, tmp_path: Path) -> None:
    name, graph = exported
    images = [np.random.default_rng(0).integers(0, 256, (1, *SIZE_HW, 3), np.uint8)]
    graph = with_dead_channels(graph)
    if precision == "fp16":
        graph = half.to_half(graph, half.too_large(graph, images))
    elif precision == "int8":
        graph, _ = quantize.to_int8(graph, images, CAMVID.is_thing, quantize.Damage(1e9, 1e9, 1e9))
    facts = model_file.metadata(
        name=name,
        network=name,
        labels=CAMVID,
        precision=precision,
        training_data="none, made by a test",
        license_note="",
        parameters=0,
        macs=0,
    )
    weights = graph.ByteSize()
    graph = narrowed(graph)  # as export stores it
    model_file.write_metadata(graph, facts)
    path, told = tmp_path / f"{name}.onnx", tmp_path / "told.json"
    model_file.save(graph, path)
    words = ["build-engine", "--model", str(path), "--out", str(tmp_path / "engine"), "--flavor", "rtx"]
    words += ["--compute-capability", "8.6"]
    for asked, bytes_least in {"fp32": (("fp32", 1.0), ("fp16", 0.5))}.get(precision, ((precision, 1.0),)):
        choice = [] if asked == "int8" else ["--precision", asked]
        assert main([*words, *choice, "--json", str(told)]) == 0
        facts = json.loads(told.read_text())
        assert facts["precision"] == asked
        # an engine that had dropped part of the network would be smaller than its weights
        assert facts["bytes"] > bytes_least * weights
