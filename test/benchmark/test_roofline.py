"""The roofline of a network of two convolutions, by hand, and what the shipped files say of themselves."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from fakes import tiny_model, write_model
from onnx import TensorProto, helper, numpy_helper
from places import CHECKOUT

from seg_perception import model_file
from seg_perception.benchmark import roofline
from seg_perception.benchmark.roofline import Device
from seg_perception.errors import SegPerceptionError

MODELS = sorted((CHECKOUT / "models").glob("*.onnx"))


def two_layers(batch: int | str = "N", rows: int | str = 8) -> onnx.ModelProto:
    """image uint8 [N, 3, 8, 8] -> Cast -> Conv 3 to 4, 3x3, stride 2 -> Conv 4 to 5, 1x1 -> out float32 [N, 5, 4, 4]."""
    weights = [
        numpy_helper.from_array(np.zeros((4, 3, 3, 3), np.float32), "w1"),
        numpy_helper.from_array(np.zeros((5, 4, 1, 1), np.float32), "w2"),
    ]
    nodes = [
        helper.make_node("Cast", ["image"], ["float"], to=TensorProto.FLOAT),
        helper.make_node("Conv", ["float", "w1"], ["half"], strides=[2, 2], pads=[1, 1, 1, 1]),
        helper.make_node("Conv", ["half", "w2"], ["out"]),
    ]
    inputs = [helper.make_tensor_value_info("image", TensorProto.UINT8, [batch, 3, rows, 8])]
    outputs = [helper.make_tensor_value_info("out", TensorProto.FLOAT, [batch, 5, None, None])]
    graph = helper.make_graph(nodes, "two", inputs, outputs, weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])


def test_operations_and_bytes_of_two_layers_by_hand() -> None:
    network = roofline.of_graph(two_layers(), "two", (8, 8))
    # 4x4 places x 4 channels x (3x3x3), then 4x4 x 5 x 4
    assert [(layer.operator, layer.macs) for layer in network.layers] == [("Cast", 0), ("Conv", 1728), ("Conv", 320)]
    assert network.macs == 2048
    # image 192 uint8; float 192; half 64; weights 108 and 20; out 80 float32
    image, floats, half, first, second, out = 192, 192, 64, 108, 20, 80 * 4
    assert network.bytes("fp16", fused=True) == image + 2 * (first + second) + out == 768
    assert network.bytes("int8", fused=True) == image + (first + second) + out
    cast = image + 2 * floats
    assert [layer.bytes("fp16") for layer in network.layers] == [
        cast,
        2 * (floats + first + half),
        2 * (half + second) + out,
    ]
    assert network.bytes("fp16", fused=False) == 576 + 728 + 488


def test_the_longer_of_arithmetic_and_memory_bounds_each_layer() -> None:
    network = roofline.of_graph(two_layers(), "two", (8, 8))
    # 1e6 operations and 1e6 bytes a second: 4096 operations take longer than 768 bytes
    even = Device("even", {"fp16": 1e-6}, 1e-3, "made up")
    bounds = roofline.bounds_fps(network, even, "fp16")
    assert bounds["fused"] == pytest.approx(1e6 / 4096)
    # Cast: 576 bytes; first convolution: 3456 operations; second: 640 operations over 488 bytes
    assert bounds["layer_by_layer"] == pytest.approx(1e6 / (576 + 3456 + 640))
    slow_memory = Device("slow memory", {"fp16": 1e-6}, 1e-4, "made up")
    bounds = roofline.bounds_fps(network, slow_memory, "fp16")
    assert bounds["fused"] == pytest.approx(1e5 / 768)
    assert bounds["layer_by_layer"] == pytest.approx(1e5 / (576 + 728 + 488))


def test_a_quantised_layer_moves_int8_and_its_markers_are_free() -> None:
    weights = [
        numpy_helper.from_array(np.zeros((4, 3, 1, 1), np.int8), "w8"),
        numpy_helper.from_array(np.float32(1), "scale"),
        numpy_helper.from_array(np.int8(0), "zero"),
    ]
    nodes = [
        helper.make_node("QuantizeLinear", ["image", "scale", "zero"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "scale", "zero"], ["x"]),
        helper.make_node("DequantizeLinear", ["w8", "scale", "zero"], ["w"]),
        helper.make_node("Conv", ["x", "w"], ["y"]),
        helper.make_node("Relu", ["y"], ["out"]),
    ]
    inputs = [helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, 2, 2])]
    outputs = [helper.make_tensor_value_info("out", TensorProto.FLOAT, [1, 4, 2, 2])]
    model = helper.make_model(
        helper.make_graph(nodes, "quantised", inputs, outputs, weights), opset_imports=[helper.make_opsetid("", 17)]
    )
    network = roofline.of_graph(model, "quantised", (2, 2))
    assert [(layer.operator, layer.macs) for layer in network.layers] == [("Conv", 2 * 2 * 4 * 3), ("Relu", 0)]
    assert network.layers[0].bytes("int8") == 12 + 12 + 16


def test_a_shape_that_is_not_fixed_is_refused() -> None:
    with pytest.raises(SegPerceptionError, match=r"of two cannot be counted, as the shape of its tensor '.*' is only"):
        roofline.of_graph(two_layers(rows="rows"), "two", (8, 8))


def test_weights_among_the_inputs_keep_their_shape(tmp_path: Path) -> None:
    """As older exporters list them."""
    plain, listed = tiny_model(tmp_path / "plain.onnx").path, tmp_path / "listed.onnx"
    _, model = model_file.read(plain)
    for weight in model.graph.initializer:
        model.graph.input.append(helper.make_tensor_value_info(weight.name, weight.data_type, list(weight.dims)))
    model_file.save(model, listed)
    assert roofline.load(listed) == roofline.load(plain)


def test_a_graph_that_contradicts_itself_is_named(tmp_path: Path) -> None:
    path = tiny_model(tmp_path / "bad.onnx").path
    _, model = model_file.read(path)
    convolution = next(node for node in model.graph.node if node.op_type == "Conv")
    for names in ([], ["planes"]):
        del convolution.input[:]
        convolution.input.extend(names)
        model_file.save(model, path)
        with pytest.raises(SegPerceptionError, match=r"of .*bad.onnx cannot be counted \(.+\): export it again"):
            roofline.computed([path])


def test_a_graph_that_multiplies_nothing_has_no_bound(tmp_path: Path) -> None:
    weights = [
        numpy_helper.from_array(np.zeros((1, count, 4, 4), np.float32), f"w{place}")
        for place, count in enumerate((11, 1, 2))
    ]
    nodes = [helper.make_node("Identity", [f"w{place}"], [name]) for place, name in enumerate(model_file.OUTPUTS)]
    path = write_model(tmp_path / "flat.onnx", nodes, weights, (32, 32)).path
    with pytest.raises(SegPerceptionError, match="multiplies nothing"):
        roofline.computed([path])


@pytest.mark.parametrize("path", MODELS, ids=lambda path: path.stem)
def test_shipped_networks_count_what_their_files_say(path: Path) -> None:
    network = roofline.load(path)
    assert network.macs == pytest.approx(model_file.load(path).macs, rel=0.02)
    for device in roofline.DEVICES:
        for precision in roofline.BYTES:
            bounds = roofline.bounds_fps(network, device, precision)
            assert bounds["layer_by_layer"] <= bounds["fused"]
        assert device.tera_ops["int8"] == 2 * device.tera_ops["fp16"], "as on every one of these GPUs"


def test_the_page_in_the_repository_is_of_the_models_that_ship() -> None:
    page = (CHECKOUT / "benchmarks" / "roofline.md").read_text()
    assert page == roofline.markdown(roofline.computed(MODELS)), "renew it: benchmark --roofline --out benchmarks"
