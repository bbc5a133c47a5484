"""int8 by explicit Q/DQ: calibrated on real frames, symmetric, weights with a scale per channel.

Only the inputs and weights of convolutions are quantised (Wu et al. 2020, arXiv 2004.09602, and NVIDIA's guide for
explicit quantisation): their outputs and biases stay float, so that TensorRT fuses what follows. Convolutions that
cannot bear it stay float too; which these are is measured.
"""

from __future__ import annotations

import tempfile
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantFormat, QuantType, quantize_static
from tqdm import tqdm

from seg_perception.backends.graph.edits import outputs_of, reconnect
from seg_perception.backends.graph.operations import PLACED_SINCE
from seg_perception.errors import SegPerceptionError, cause_of
from seg_perception.model_file import INPUT
from seg_perception.spread import spread

LEAST_OPSET = 13
"""Version of ONNX's operators from which on a tensor may have a scale per channel."""

TRIAL_IMAGES = 6
"""Images that each trial is measured on, none of which has calibrated."""

MOST_KEPT = 32
PATIENCE = 8
"""Layers kept float at most, and how many more are tried without a gain before the search ends: ReLU6 and depthwise layers
spread the damage over many, so that the gain of the next few may be nothing."""

CENTER_PROBABILITY = 0.1
"""Heatmap above which a cell matters as a centre, as in the decode."""


@dataclass(frozen=True)
class Damage:
    """What quantising does to the outputs of the float model.

    classes_changed: share of the grid's cells whose best class changes; center: mean error of the heatmap where it is
    above CENTER_PROBABILITY; offset_px: mean length of the offset's error where the class is a thing.
    """

    classes_changed: float
    center: float
    offset_px: float

    def of(self, allowed: Damage) -> float:
        """The worst of the three as a multiple of what is allowed: at most 1 when all are."""
        return max(
            self.classes_changed / allowed.classes_changed,
            self.center / allowed.center,
            self.offset_px / allowed.offset_px,
        )


ALLOWED = Damage(classes_changed=0.005, center=0.01, offset_px=0.5)
"""No layer is kept float below this."""


def to_int8(
    model: onnx.ModelProto,
    images: Sequence[NDArray[np.uint8]],
    is_thing: NDArray[np.bool_],
    allowed: Damage = ALLOWED,
    trial: Sequence[NDArray[np.uint8]] = (),
) -> tuple[onnx.ModelProto, dict[str, Any]]:
    """The float32 model in int8, and how it was made (the metadata's `quantization`).

    images: at least one, uint8 [1, h, w, 3] at the model's size, from where the model will work; is_thing: bool [256]
    by class; trial: other images, to measure the damage on, without which it is measured on some of those that it was
    calibrated on. When all layers in int8 do more damage than allowed, each is quantised alone, and the worst stay float,
    one by one, until the rest does no more than that, or further ones bring no gain. Raises SegPerceptionError where there are no
    layers to quantise, or none is left.
    """
    layers = [node.name for node in model.graph.node if node.op_type == "Conv"]
    if not layers:
        raise SegPerceptionError("the network has no convolutions, which alone are made int8: export fp16")
    model = _with_scales(model)
    quantised = _quantise(model, images)
    judge = _Judge(model, trial or [images[i] for i in spread(len(images), TRIAL_IMAGES)], is_thing)
    whole = judge(quantised)
    kept: dict[str, float] = {}
    reached = whole
    if whole.of(allowed) > 1:
        variants = tqdm(layers, desc="each layer alone in int8", unit="layer")
        alone = {name: judge(_kept_float(quantised, model, {*layers} - {name})).of(allowed) for name in variants}
        kept, reached = _worst_kept(quantised, model, judge, alone, allowed, whole)
    if len(kept) == len(layers):
        raise SegPerceptionError(
            f"int8 harms each of the network's {len(layers)} convolutions more than is allowed, so none would be left: export "
            "fp16, or calibrate on other frames"
        )
    facts = {
        "calibration_images": len(images),
        "trial_images": len(judge.images),
        "layers": len(layers),
        "allowed": asdict(allowed),
        "all_layers_int8": asdict(whole),
        "reached": asdict(reached),
        "kept_float": {name: round(value, 4) for name, value in kept.items()},
    }
    return _kept_float(quantised, model, kept), facts


def _with_scales(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model in a version of ONNX whose weights may have a scale per channel. Raises SegPerceptionError where it cannot be made
    one of it."""
    opset = next(entry.version for entry in model.opset_import if not entry.domain)
    if opset >= LEAST_OPSET:
        return model
    try:
        converted = onnx.version_converter.convert_version(model, LEAST_OPSET)
    except Exception as error:  # of the library's own classes, for operators that it cannot convert
        raise SegPerceptionError(
            f"int8 needs an ONNX file of opset {LEAST_OPSET}, and this one cannot be made one ({cause_of(error)}): export it from "
            f"where it was trained with opset {LEAST_OPSET} or newer"
        ) from error
    if opset < PLACED_SINCE:
        _place_from_corners(converted)
    return converted


def _place_from_corners(model: onnx.ModelProto) -> None:
    """Say in each Resize what it did before it could say so, which the library's converter leaves out."""
    meant = {"coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
    for node in model.graph.node:
        if node.op_type == "Resize":
            node.attribute.extend(onnx.helper.make_attribute(name, value) for name, value in meant.items())


def apart(images: Sequence[Any]) -> tuple[list[Any], list[Any]]:
    """The images to calibrate on and those to try on, of which there are TRIAL_IMAGES at most, a quarter, and none where
    there are fewer than two images at all: what was calibrated on flatters."""
    count = min(TRIAL_IMAGES, max(len(images) // 4, int(len(images) > 1)))
    chosen = {(2 * i + 1) * len(images) // (2 * count) for i in range(count)}
    return [images[i] for i in range(len(images)) if i not in chosen], [images[i] for i in sorted(chosen)]


def limits_broken(facts: Mapping[str, Any]) -> list[str]:
    """What an int8 file does more damage to than is allowed, with both numbers; facts: its `quantization`."""
    reached, allowed = facts["reached"], facts["allowed"]
    words = {
        "classes_changed": ("classes changed", "{:.2%}"),
        "center": ("error of centres", "{:.4f}"),
        "offset_px": ("error of offsets", "{:.2f} px"),
    }
    return [
        f"{name} {form.format(reached[key])}, allowed {form.format(allowed[key])}"
        for key, (name, form) in words.items()
        if not reached[key] <= allowed[key]
    ]


def _worst_kept(
    quantised: onnx.ModelProto,
    model: onnx.ModelProto,
    judge: _Judge,
    alone: Mapping[str, float],
    allowed: Damage,
    whole: Damage,
) -> tuple[dict[str, float], Damage]:
    """The layers to keep float, with the damage that each does alone, and the damage that is left."""
    ranked = sorted(alone, key=lambda name: -alone[name])
    best, least = 0, whole
    trials = tqdm(range(1, min(MOST_KEPT, len(ranked)) + 1), desc="worst layers kept float", unit="trial")
    for count in trials:
        damage = judge(_kept_float(quantised, model, ranked[:count]))
        if damage.of(allowed) < least.of(allowed):
            best, least = count, damage
        trials.set_postfix_str(f"{least.of(allowed):.2f} of what is allowed")
        if least.of(allowed) <= 1 or count - best >= PATIENCE:
            break
    return {name: alone[name] for name in ranked[:best]}, least


class _Judge:
    """Measures what a quantised model does to the float model's outputs, on a few images."""

    def __init__(
        self, model: onnx.ModelProto, images: Sequence[NDArray[np.uint8]], is_thing: NDArray[np.bool_]
    ) -> None:
        self.images = images
        self._is_thing = is_thing
        self._wanted = outputs_of(model, images)

    def __call__(self, model: onnx.ModelProto) -> Damage:
        changed, center, offset = [], [], []
        for wanted, found in zip(self._wanted, outputs_of(model, self.images)):
            best = wanted[0].argmax(1)
            changed.append(best != found[0].argmax(1))
            center.append(np.abs(found[1] - wanted[1])[wanted[1] > CENTER_PROBABILITY])
            offset.append(np.linalg.norm(found[2] - wanted[2], axis=1)[self._is_thing[best]])
        return Damage(*(_mean(np.concatenate([part.ravel() for part in parts])) for parts in (changed, center, offset)))


def _mean(values: NDArray[Any]) -> float:
    return float(values.mean()) if values.size else 0.0


class _Reader(CalibrationDataReader):
    def __init__(self, images: Sequence[NDArray[np.uint8]]) -> None:
        self._images: Iterator[NDArray[np.uint8]] = iter(tqdm(images, desc="calibrate", unit="frame"))

    def get_next(self) -> dict[str, NDArray[np.uint8]] | None:
        """The next input, None at the end."""
        image = next(self._images, None)
        return None if image is None else {INPUT: image}


def _quantise(model: onnx.ModelProto, images: Sequence[NDArray[np.uint8]]) -> onnx.ModelProto:
    """Every convolution in int8."""
    prepared = onnx.ModelProto()
    prepared.CopyFrom(model)
    # batch normalisation is folded and shapes are known: without this mark the library asks for both, at length
    prepared.metadata_props.add(key="onnx.quant.pre_process", value="onnxruntime.quant")
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder, "float.onnx"), Path(folder, "int8.onnx")
        onnx.save(prepared, str(source))
        quantize_static(
            str(source),
            str(target),
            _Reader(images),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=["Conv"],
            per_channel=True,
            activation_type=QuantType.QInt8,
            weight_type=QuantType.QInt8,
            calibrate_method=CalibrationMethod.MinMax,
            extra_options={
                "ActivationSymmetric": True,
                "WeightSymmetric": True,
                # TensorRT adds biases in float, and fuses Q of the next layer, not of this one's output
                "QuantizeBias": False,
                "OpTypesToExcludeOutputQuantization": ["Conv"],
                # the mean of the frames' extremes: one odd frame does not cost all others their resolution
                "CalibMovingAverage": True,
            },
        )
        quantised = onnx.load(str(target))
    del quantised.metadata_props[:]
    del quantised.graph.value_info[:]
    return quantised


def _kept_float(quantised: onnx.ModelProto, model: onnx.ModelProto, layers: Collection[str]) -> onnx.ModelProto:
    """quantised with these layers as they are in model."""
    mixed = onnx.ModelProto()
    mixed.CopyFrom(quantised)
    reconnect(mixed, {node.name: list(node.input) for node in model.graph.node if node.name in layers}, model)
    return mixed
