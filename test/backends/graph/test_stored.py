"""Weights stored as float16: what comes back, and what the runtimes make of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from fakes import tiny_model, write_model
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from seg_perception import model_file
from seg_perception.backends.graph.edits import outputs_of
from seg_perception.backends.graph.stored import LEAST_NUMBERS, narrowed, widened
from seg_perception.backends.onnx_runtime import OnnxRuntimeBackend
from seg_perception.backends.tensorrt import engine as engines


@pytest.fixture
def model(tmp_path: Path) -> onnx.ModelProto:
    return onnx.load(str(tiny_model(tmp_path / "tiny.onnx").path))


def weights_of(model: onnx.ModelProto) -> dict[str, onnx.TensorProto]:
    return {weight.name: weight for weight in model.graph.initializer}


def summing(values: np.ndarray) -> onnx.ModelProto:
    """A graph that adds weights to its input."""
    graph = helper.make_graph(
        [helper.make_node("Add", ["x", "weights"], ["y"])],
        "sum",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, values.shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, values.shape)],
        [numpy_helper.from_array(values, "weights")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


@settings(max_examples=60, deadline=None)
@given(
    scale=st.sampled_from([1e-9, 1e-3, 1.0, 6e4, 1e6]),
    count=st.sampled_from([1, LEAST_NUMBERS - 1, LEAST_NUMBERS, 5000]),
    seed=st.integers(0, 1000),
)
def test_what_comes_back_is_rounded_once_or_untouched(scale: float, count: int, seed: int) -> None:
    values = (scale * np.random.default_rng(seed).uniform(-1, 1, count)).astype(np.float32)
    small = narrowed(summing(values))
    onnx.checker.check_model(small, full_check=True)
    back = widened(small)
    assert [weight.name for weight in back.graph.initializer] == ["weights"] and len(back.graph.node) == 1
    found = numpy_helper.to_array(back.graph.initializer[0])
    fits = count >= LEAST_NUMBERS and np.abs(values).max() < np.finfo(np.float16).max
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, values.astype(np.float16).astype(np.float32) if fits else values)
    assert narrowed(back) == small
    assert narrowed(small) == small and widened(back) == back


def test_only_what_is_large_is_stored_as_float16(model: onnx.ModelProto) -> None:
    before = model.SerializeToString()
    small = narrowed(model)
    kinds = {name: weight.data_type for name, weight in weights_of(small).items()}
    assert kinds == {"weights.stored": TensorProto.FLOAT16, "splits": TensorProto.INT64}
    assert model.SerializeToString() == before


def test_the_scales_of_quantised_weights_stay() -> None:
    """A channel that training left without weight has a scale that float16 rounds to 0, which TensorRT refuses."""
    scales = np.full(LEAST_NUMBERS, 0.01, np.float32)
    scales[3] = 1e-10
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "scales", "zeros"], ["whole"], axis=0),
        helper.make_node("DequantizeLinear", ["whole", "scales", "zeros"], ["y"], axis=0),
    ]
    graph = helper.make_graph(
        nodes,
        "quantised",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, scales.shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, scales.shape)],
        [
            numpy_helper.from_array(scales, "scales"),
            numpy_helper.from_array(np.zeros(LEAST_NUMBERS, np.int8), "zeros"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    assert narrowed(model) == model


def test_infinite_and_undefined_weights_stay() -> None:
    for odd in (np.inf, np.nan):
        values = np.ones(LEAST_NUMBERS, np.float32)
        values[7] = odd
        assert "weights" in weights_of(narrowed(summing(values)))


def test_a_weight_that_is_read_as_float16_elsewhere_is_left(model: onnx.ModelProto) -> None:
    """Widening would take it away from its other reader."""
    small = narrowed(model)
    small.graph.node.append(helper.make_node("Identity", ["weights.stored"], ["other"]))
    assert "weights.stored" in weights_of(widened(small))


def test_the_network_answers_as_with_rounded_weights(model: onnx.ModelProto) -> None:
    images = [np.random.default_rng(0).integers(0, 256, (2, 64, 96, 3), np.uint8)]
    rounded = onnx.ModelProto()
    rounded.CopyFrom(model)
    weights = weights_of(rounded)["weights"]
    values = numpy_helper.to_array(weights).astype(np.float16).astype(np.float32)
    weights.CopyFrom(numpy_helper.from_array(values, "weights"))
    small = narrowed(model)
    for wanted, found, back in zip(*(outputs_of(each, images)[0] for each in (rounded, small, widened(small)))):
        np.testing.assert_array_equal(found, wanted)
        np.testing.assert_array_equal(back, wanted)


def test_onnx_runtime_does_the_casts_once_when_it_loads(model: onnx.ModelProto, tmp_path: Path) -> None:
    """So a frame costs what it costs with float32 in the file, and no float16 stays in memory."""
    options = ort.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "optimised.onnx")
    options.log_severity_level = 3
    ort.InferenceSession(narrowed(model).SerializeToString(), options, providers=["CPUExecutionProvider"])
    graph = onnx.load(str(tmp_path / "optimised.onnx")).graph
    assert not [weight.name for weight in graph.initializer if weight.data_type == TensorProto.FLOAT16]
    assert len([node for node in graph.node if node.op_type == "Cast"]) == 1, "that of the image"


def test_a_stored_file_runs_as_a_backend(tmp_path: Path) -> None:
    info = tiny_model(tmp_path / "tiny.onnx")
    model_file.save(narrowed(onnx.load(str(info.path))), tmp_path / "small.onnx")
    small = model_file.load(tmp_path / "small.onnx")
    assert small.path.stat().st_size < 0.75 * info.path.stat().st_size
    images = np.random.default_rng(0).integers(0, 256, (1, *info.size_hw, 3), np.uint8)
    wanted, found = (OnnxRuntimeBackend(each).infer(images) for each in (info, small))
    np.testing.assert_allclose(found.semantic_logits, wanted.semantic_logits, atol=1e-2)


@pytest.mark.skipif("rtx" not in engines.installed(), reason="TensorRT for RTX is not installed")
def test_tensorrt_builds_the_casts_too(tmp_path: Path) -> None:
    """This program does them before; others, such as trtexec, give the file as it is to the parser."""
    weights = numpy_helper.from_array(np.ones((14, 3, 8, 8), np.float32) / 2000, "weights")
    nodes = [
        helper.make_node("Cast", ["image"], ["float"], to=TensorProto.FLOAT),
        helper.make_node("Transpose", ["float"], ["planes"], perm=[0, 3, 1, 2]),
        helper.make_node("Conv", ["planes", "weights"], ["all"], kernel_shape=[8, 8], strides=[8, 8]),
        helper.make_node("Split", ["all", "splits"], ["semantic_logits", "heat", "center_offset"], axis=1),
        helper.make_node("Sigmoid", ["heat"], ["center_heatmap"]),
    ]
    splits = numpy_helper.from_array(np.array([11, 1, 2], np.int64), "splits")
    info = write_model(tmp_path / "plain.onnx", nodes, [weights, splits], (64, 96))
    flavor = engines.load_flavor("rtx")
    trt, small = flavor.trt, narrowed(model_file.read(info.path)[1]).SerializeToString()
    builder = trt.Builder(flavor.logger)
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    assert trt.OnnxParser(network, flavor.logger).parse(small)
    config = builder.create_builder_config()
    config.num_compute_capabilities = 1
    config.set_compute_capability(trt.ComputeCapability.SM86, 0)
    assert builder.build_serialized_network(network, config) is not None
