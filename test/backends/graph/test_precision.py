"""One float32 file in each precision that TensorRT can compute in."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from fakes import failing_model, tiny_model, write_model
from onnx import TensorProto, helper, numpy_helper

from seg_perception import backends, model_file
from seg_perception.backends.base import PRECISION_CHOICES
from seg_perception.backends.graph.edits import outputs_of
from seg_perception.backends.graph.precision import in_precision, resolved
from seg_perception.backends.graph.stored import narrowed
from seg_perception.errors import SegPerceptionError
from seg_perception.model_file import ModelInfo


def stating(path: Path, **facts: Any) -> ModelInfo:
    """A tiny model whose metadata says so; its large weights are stored as float16."""
    import json

    model = onnx.load(str(tiny_model(path).path))
    entry = next(entry for entry in model.metadata_props if entry.key == model_file.METADATA_KEY)
    small = narrowed(model)
    for node in small.graph.node:
        node.name = node.name or node.output[0]
    model_file.write_metadata(small, {**json.loads(entry.value), **facts})
    model_file.save(small, path)
    return model_file.load(path)


@pytest.mark.parametrize(
    ("of_file", "choice", "wanted"),
    [
        ("fp32", "auto", "fp16"),
        ("fp32", "fp32", "fp32"),
        ("fp32", "fp16", "fp16"),
        ("fp16", "auto", "fp16"),
        ("fp16", "fp16", "fp16"),
        ("int8", "auto", "int8"),
        ("fp16", "fp32", None),
        ("int8", "fp16", None),
        ("int8", "fp32", None),
    ],
)
def test_what_a_choice_means(tmp_path: Path, of_file: str, choice: str, wanted: str | None) -> None:
    info = stating(tmp_path / "tiny.onnx", precision=of_file)
    if wanted is None:
        with pytest.raises(SegPerceptionError, match=f"of precision {of_file}, of which no {choice} can be made"):
            resolved(info, choice)
    else:
        assert resolved(info, choice) == wanted


def test_float16_has_half_weights_and_the_contracts_ends(tmp_path: Path) -> None:
    info = stating(tmp_path / "tiny.onnx")
    kinds = {}
    images = [np.random.default_rng(0).integers(0, 256, (1, *info.size_hw, 3), np.uint8)]
    wanted = outputs_of(onnx.load(str(info.path)), images)[0]
    for choice in ("fp32", "fp16"):
        model = onnx.load_from_string(in_precision(info, choice))
        onnx.checker.check_model(model, full_check=True)
        assert not model.metadata_props
        kinds[choice] = {weight.data_type for weight in model.graph.initializer} - {TensorProto.INT64}
        assert {value.type.tensor_type.elem_type for value in model.graph.output} == {TensorProto.FLOAT}
        assert model.graph.input[0].type.tensor_type.elem_type == TensorProto.UINT8
        for right, found in zip(wanted, outputs_of(model, images)[0]):
            np.testing.assert_allclose(found, right, atol=5e-3 * max(1, np.abs(right).max()))
    assert kinds == {"fp32": {TensorProto.FLOAT}, "fp16": {TensorProto.FLOAT16}}


def test_layers_that_the_file_names_stay_float32(tmp_path: Path) -> None:
    info = stating(tmp_path / "tiny.onnx", float32_layers=["all"])
    model = onnx.load_from_string(in_precision(info, "fp16"))
    assert {weight.data_type for weight in model.graph.initializer if weight.name.startswith("weights")} == {
        TensorProto.FLOAT
    }


def test_a_file_that_names_none_is_asked_by_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from seg_perception.backends.graph import half

    monkeypatch.setattr(half, "LARGEST_SAFE", 1e-9)
    info = stating(tmp_path / "tiny.onnx")
    assert info.float32_layers is None
    model = onnx.load_from_string(in_precision(info, "fp16"))
    assert TensorProto.FLOAT16 not in {weight.data_type for weight in model.graph.initializer}


def test_it_needs_no_torch(tmp_path: Path) -> None:
    """A robot that builds an engine has none."""
    path = stating(tmp_path / "tiny.onnx").path
    code = (
        "import sys; sys.modules['torch'] = None; from seg_perception import model_file; "
        "from seg_perception.backends.graph.precision import in_precision; "
        f"in_precision(model_file.load({str(path)!r}), 'fp16')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_onnx_runtime_asked_for_by_name_refuses_what_it_cannot_give(tmp_path: Path) -> None:
    info = stating(tmp_path / "tiny.onnx")
    with pytest.raises(SegPerceptionError, match=r"runs .*tiny.onnx in its own precision, fp32.*export --model"):
        backends.choose(info, backend="onnxruntime", precision="fp16", log=lambda line: None)
    for fits in ("auto", "fp32"):
        backends.choose(info, backend="onnxruntime", precision=fits, log=lambda line: None).close()


def test_an_unknown_precision_is_answered_with_the_nearest(tmp_path: Path) -> None:
    info = stating(tmp_path / "tiny.onnx")
    with pytest.raises(SegPerceptionError, match="'fp8' is no precision: did you mean"):
        backends.choose(info, precision="fp8", log=lambda line: None)
    assert set(PRECISION_CHOICES) - {"auto"} < set(model_file.PRECISIONS)


def test_a_network_that_fails_on_noise_is_named(tmp_path: Path) -> None:
    with pytest.raises(SegPerceptionError, match="cannot run the model"):
        in_precision(failing_model(tmp_path / "failing.onnx"), "fp16")


@pytest.mark.parametrize("reads_image", [True, False])
def test_a_network_without_convolutions_has_a_half_too(tmp_path: Path, reads_image: bool) -> None:
    """Normalisation goes on to the first convolution, which need not be there; nor need the image be read at all."""
    grid, counts = (4, 4), (11, 1, 2)
    weights = [
        numpy_helper.from_array(np.zeros((1, count, *grid), np.float32), f"w{place}")
        for place, count in enumerate(counts)
    ]
    nodes = [helper.make_node("Identity", [f"w{place}"], [name]) for place, name in enumerate(model_file.OUTPUTS)]
    if reads_image:
        nodes[:1] = [
            helper.make_node("Cast", ["image"], ["float"], name="cast", to=TensorProto.FLOAT),
            helper.make_node("AveragePool", ["float"], ["small"], name="pool", kernel_shape=[8, 1], strides=[8, 1]),
            helper.make_node("ReduceMean", ["small"], ["mean"], name="mean", axes=[1, 2, 3]),
            helper.make_node("Add", ["mean", "w0"], ["semantic_logits"], name="add"),
        ]
    info = write_model(tmp_path / "flat.onnx", nodes, weights, (32, 32))
    graph = onnx.load_from_string(in_precision(info, "fp16"))
    onnx.checker.check_model(graph, full_check=True)
