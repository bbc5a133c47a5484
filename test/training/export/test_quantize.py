"""int8 and float16 on graphs of a few layers, made so that it is known which of them can bear it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from fakes import FakeBackend, tiny_model
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from seg_perception.backends.graph import half
from seg_perception.backends.graph.edits import outputs_of
from seg_perception.labels import CAMVID
from seg_perception.model_file import INPUT, OUTPUTS
from seg_perception.results import NetworkOutput
from seg_perception.training.export import quantize
from seg_perception.training.export.parity import ParityData, parity

SIZE = 32
CLASSES = len(CAMVID)


def graph_of(gain: float, seed: int = 0) -> onnx.ModelProto:
    """image -> first (3 channels, the first `gain` times larger) -> second (ignores that channel) -> heads.

    Both are 1x1. `second` reads a tensor whose scale the large channel sets, and decides by the small ones; a `resize`
    to twice the size by scales follows.
    """
    rng = np.random.default_rng(seed)
    first = np.diag([gain, 1, 1]).astype(np.float32)[:, :, None, None] / 255
    second = rng.normal(size=(8, 3, 1, 1)).astype(np.float32)
    second[:, 0] = 0
    weights = {
        "mean": np.full(3, 100, np.float32),
        "first.weight": first,
        "second.weight": second,
        "scales": np.array([1, 1, 2, 2], np.float32),
        "heads.weight": rng.normal(size=(CLASSES + 3, 8, 1, 1)).astype(np.float32),
        "splits": np.array([CLASSES, 1, 2]),
    }
    nodes = [
        helper.make_node("Cast", [INPUT], ["float"], "cast", to=TensorProto.FLOAT),
        helper.make_node("Sub", ["float", "mean"], ["normal"], "normalise"),
        helper.make_node("Transpose", ["normal"], ["planes"], "transpose", perm=[0, 3, 1, 2]),
        helper.make_node("Conv", ["planes", "first.weight"], ["wide"], "first"),
        helper.make_node("Conv", ["wide", "second.weight"], ["narrow"], "second"),
        helper.make_node("Resize", ["narrow", "", "scales"], ["large"], "resize", mode="linear"),
        helper.make_node("Conv", ["large", "heads.weight"], ["all"], "heads", strides=[8, 8]),
        helper.make_node("Split", ["all", "splits"], [OUTPUTS[0], "heat", OUTPUTS[2]], "split", axis=1),
        helper.make_node("Sigmoid", ["heat"], [OUTPUTS[1]], "sigmoid"),
    ]
    outputs = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", count, SIZE // 4, SIZE // 4])
        for name, count in zip(OUTPUTS, (CLASSES, 1, 2))
    ]
    graph = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info(INPUT, TensorProto.UINT8, ["N", SIZE, SIZE, 3])],
        outputs,
        [numpy_helper.from_array(values, name) for name, values in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    return model


def images(count: int = 3) -> list[np.ndarray[Any, np.dtype[np.uint8]]]:
    return [np.random.default_rng(i).integers(0, 256, (1, SIZE, SIZE, 3), np.uint8) for i in range(count)]


def inputs_of(model: onnx.ModelProto) -> dict[str, list[str]]:
    return {node.name: list(node.input) for node in model.graph.node}


ALLOWED = quantize.Damage(classes_changed=0.1, center=0.1, offset_px=0.5)


def test_only_the_layer_that_was_made_sensitive_is_kept_float() -> None:
    """The large channel is 1000 times the others, so that in int8 the others have a step of 1000 / 127: nothing of
    them is left for `second`."""
    model = graph_of(gain=1000)
    mixed, facts = quantize.to_int8(model, images(), CAMVID.is_thing, ALLOWED)
    assert facts["all_layers_int8"]["classes_changed"] > 0.3
    assert list(facts["kept_float"]) == ["second"] and facts["kept_float"]["second"] > 1
    assert quantize.Damage(**facts["reached"]).of(ALLOWED) <= 1
    before, after = inputs_of(model), inputs_of(mixed)
    assert after["second"] == before["second"] == ["wide", "second.weight"]
    assert after["first"] != before["first"] and after["heads"] != before["heads"]
    names = [weight.name for weight in mixed.graph.initializer]
    assert "second.weight" in names and "second.weight_quantized" not in names and "first.weight" not in names
    writers = {name: node for node in mixed.graph.node for name in node.output}
    assert sum(node.op_type == "QuantizeLinear" for node in writers.values()) == 2
    onnx.checker.check_model(mixed, full_check=True)


def test_what_bears_it_is_all_in_int8() -> None:
    mixed, facts = quantize.to_int8(graph_of(gain=1), images(), CAMVID.is_thing, ALLOWED)
    assert facts["kept_float"] == {} and facts["reached"] == facts["all_layers_int8"]
    assert facts["calibration_images"] == 3 and facts["layers"] == 3
    assert not any(name.endswith(".weight") for name in (weight.name for weight in mixed.graph.initializer))


def test_the_search_ends_when_nothing_more_is_gained(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing satisfies, so that the search goes on until it may not: with one layer at most, the worst is kept."""
    monkeypatch.setattr(quantize, "MOST_KEPT", 1)
    impossible = quantize.Damage(1e-12, 1e-12, 1e-12)
    _, facts = quantize.to_int8(graph_of(gain=1000), images(), CAMVID.is_thing, impossible)
    assert list(facts["kept_float"]) == ["second"]
    assert facts["reached"]["classes_changed"] < facts["all_layers_int8"]["classes_changed"]


def test_quantised_layers_read_what_calibration_saw() -> None:
    """Scale of a symmetric tensor: the mean of the frames' largest values over 127."""
    model = graph_of(gain=1)
    mixed, _ = quantize.to_int8(model, images(), CAMVID.is_thing, ALLOWED)
    largest = np.mean([np.abs(image.astype(np.float32) - 100).max() for image in images()])
    weights = {weight.name: numpy_helper.to_array(weight) for weight in mixed.graph.initializer}
    first = next(node for node in mixed.graph.node if node.op_type == "QuantizeLinear" and node.input[0] == "planes")
    assert weights[first.input[1]] == pytest.approx(largest / 127.5, rel=0.01)


def test_damage_is_the_worst_of_its_parts() -> None:
    allowed = quantize.Damage(0.01, 0.1, 1.0)
    assert quantize.Damage(0.005, 0.02, 3.0).of(allowed) == 3.0
    assert quantize.Damage(0.02, 0.02, 0.5).of(allowed) == 2.0


# float16


def types_of(model: onnx.ModelProto) -> dict[str, int]:
    graph = onnx.shape_inference.infer_shapes(model, strict_mode=True).graph
    found = {value.name: value.type.tensor_type.elem_type for value in (*graph.value_info, *graph.output)}
    return found | {weight.name: weight.data_type for weight in graph.initializer}


def test_the_image_is_normalised_in_float32_and_the_rest_is_float16() -> None:
    model = half.to_half(graph_of(gain=1), [])
    types = types_of(model)
    assert {types[name] for name in ("float", "mean", "normal", "planes", *OUTPUTS)} == {TensorProto.FLOAT}
    assert {types[name] for name in ("wide", "narrow", "large", "all")} == {TensorProto.FLOAT16}
    by_name = {node.name: node for node in model.graph.node}
    assert types[by_name["first"].input[1]] == TensorProto.FLOAT16
    assert types[by_name["resize"].input[2]] == TensorProto.FLOAT
    casts = [node for node in model.graph.node if node.op_type == "Cast"]
    assert len(casts) == 1 + 1 + len(OUTPUTS), "only where types meet"


def test_half_precision_is_near_the_float_model() -> None:
    model = graph_of(gain=1)
    for wanted, found in zip(outputs_of(model, images()), outputs_of(half.to_half(model, []), images())):
        for right, other in zip(wanted, found):
            assert other.dtype == np.float32
            np.testing.assert_allclose(other, right, atol=5e-3 * np.abs(right).max())


def run_plainly(model: onnx.ModelProto) -> list[Any]:
    """In the types that the graph states: ONNX Runtime's CPU provider computes float16 layers in float32."""
    return ReferenceEvaluator(model).run(list(OUTPUTS), {INPUT: images(1)[0]})


def test_what_float16_cannot_hold_stays_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    """`wide` reaches 155 / 255 x 1e6, ten times float16's largest number; `second` does not look at that channel, but
    0 x infinity is no number."""
    model = graph_of(gain=1e6)
    safe = half.to_half(model, half.too_large(model, images()))
    types = types_of(safe)
    assert types["wide"] == TensorProto.FLOAT and types["large"] == TensorProto.FLOAT16
    for right, other in zip(outputs_of(model, images(1))[0], run_plainly(safe)):
        np.testing.assert_allclose(other, right, atol=5e-3 * np.abs(right).max())
    monkeypatch.setattr(half, "LARGEST_SAFE", np.inf)
    with np.errstate(all="ignore"):
        assert not np.isfinite(run_plainly(half.to_half(model, half.too_large(model, images())))[0]).all()


# parity


def shifted(path: Path, shift: float) -> FakeBackend:
    """What the model file gives, with the logits of the first class raised."""
    model = onnx.load(str(path))

    def answer(images: NDArray[np.uint8]) -> NetworkOutput:
        logits, heat, offset = outputs_of(model, [images])[0]
        logits[:, 0] += shift
        return NetworkOutput(logits, heat, offset)

    return FakeBackend(answer)


def test_parity_is_the_difference_that_was_made(tmp_path: Path) -> None:
    """The reference has class 0 everywhere (its logits are raised by 1000), the file where it has it by itself."""
    info = tiny_model(tmp_path / "tiny.onnx")
    frames = [np.random.default_rng(i).integers(0, 256, (1, *info.size_hw, 3), np.uint8) for i in range(2)]
    outputs = [NetworkOutput(*values) for values in outputs_of(onnx.load(str(info.path)), frames)]
    same = parity(shifted(info.path, 0), info.path, ParityData.unlabelled("some", frames))
    assert (same["data"], same["frames"], same["logit_error"], same["pixels_changed"]) == ("some", 2, 0, 0)
    far = parity(shifted(info.path, 1000), info.path, ParityData.unlabelled("some", frames))
    assert far["logit_error"] == pytest.approx(1000, rel=1e-4)
    largest = max(np.abs(output.semantic_logits[:, 0] + 1000).max() for output in outputs)
    assert far["logit_error_relative"] == pytest.approx(1000 / largest, rel=1e-4)
    assert far["center_error"] == far["offset_error_px"] == 0
    from seg_perception.panoptic.decoder import PanopticDecoder, PanopticSettings
    from seg_perception.training.export.parity import MASK_ONLY

    decoder = PanopticDecoder(info.labels, PanopticSettings())
    masks = [decoder.decode(output, 0, info.size_hw, info.stride, MASK_ONLY).semantic.copy() for output in outputs]
    assert 0 < far["pixels_changed"] == pytest.approx(np.mean([mask != 0 for mask in masks]))


@pytest.mark.parametrize(("count", "trial"), [(1, 0), (2, 1), (3, 1), (8, 2), (64, 6)])
def test_what_is_tried_on_has_not_calibrated(count: int, trial: int) -> None:
    calibrating, tried = quantize.apart(range(count))
    assert len(tried) == trial and sorted([*calibrating, *tried]) == list(range(count))


def test_damage_is_measured_on_the_trial_images_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    given = images(4)
    seen: list[int] = []
    real = quantize.outputs_of
    monkeypatch.setattr(quantize, "outputs_of", lambda model, frames: seen.append(len(frames)) or real(model, frames))
    _, facts = quantize.to_int8(graph_of(gain=1), given[:3], CAMVID.is_thing, ALLOWED, given[3:])
    assert (facts["calibration_images"], facts["trial_images"]) == (3, 1) and set(seen) == {1}


def test_a_limit_that_is_broken_is_told_with_both_numbers() -> None:
    allowed = {"classes_changed": 0.005, "center": 0.01, "offset_px": 0.5}
    facts = {"allowed": allowed, "reached": {"classes_changed": 0.0441, "center": 0.01, "offset_px": float("nan")}}
    assert quantize.limits_broken(facts) == [
        "classes changed 4.41%, allowed 0.50%",
        "error of offsets nan px, allowed 0.50 px",
    ]
    assert quantize.limits_broken({"allowed": allowed, "reached": allowed}) == []
