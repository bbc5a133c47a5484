"""Turn a checkpoint into the model file: one ONNX file with normalisation, label set and figures inside.

The file is compared with the network in torch before it is kept, and carries the result: on noise, on the frames of
--images, or with mIoU of both on a labelled data set. Frames of --images, else of the data set's `train`, calibrate
int8 and show which layers are too large for float16.

Example:
  seg_perception export --checkpoint out/train/best.pt --out models/mine.onnx --height 352 --width 480
  seg_perception export --checkpoint out/train/best.pt --out models/mine_int8.onnx --precision int8 \\
    --dataset camvid --root data/camvid
"""

from __future__ import annotations

import argparse
import copy
import io
import json
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from torch.utils.flop_counter import FlopCounterMode

from seg_perception import model_file
from seg_perception.camera.preprocess import Preprocessor
from seg_perception.datasets import open_dataset
from seg_perception.errors import SegPerceptionError
from seg_perception.files import image_files, read_rgb, write_json, written_aside
from seg_perception.labels import LabelSet
from seg_perception.results import Frame
from seg_perception.training.export.half import to_half
from seg_perception.training.export.onnx_graph import name_constants
from seg_perception.training.export.parity import ParityData, parity
from seg_perception.training.export.quantize import spread, to_int8
from seg_perception.training.loop import checkpoint
from seg_perception.training.networks.heads import PanopticNetwork

OPSET = 17
"""Old enough for the parser of TensorRT 10.3 (JetPack 6), new enough for every operator here."""

LARGEST_RELATIVE_ERROR = {"fp32": 1e-3, "fp16": 3e-2, "int8": 1.0}
"""Between torch in float32 and the model file, against the largest value; beyond it none is written."""

CALIBRATION_IMAGES = 64
CALIBRATION_SPLIT = "train"

DEFAULT_LICENSE_NOTE = "trained on data for research and evaluation only"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the verb."""
    parser.add_argument(
        "--checkpoint",
        type=Path,
        required=True,
        nargs="+",
        metavar="PT",
        help="best.pt or last.pt of a training run; the weights of several, which began with the same, are averaged",
    )
    parser.add_argument("--shares", type=float, nargs="+", metavar="F", help="of each checkpoint (default: equal)")
    parser.add_argument("--out", type=Path, required=True, help="the model file to write, NAME.onnx")
    parser.add_argument("--precision", choices=model_file.PRECISIONS, default="fp32", help="default: fp32")
    parser.add_argument("--height", type=int, help="of the network's input, a multiple of 32 (default: as trained)")
    parser.add_argument("--width", type=int, help="of the network's input, a multiple of 32 (default: as trained)")
    parser.add_argument("--images", type=Path, metavar="DIR", help="frames to calibrate and compare on")
    parser.add_argument("--dataset", metavar="NAME", help="labelled data to compare on, such as camvid, with --root")
    parser.add_argument("--root", type=Path, metavar="DIR", help="the data set's folder")
    parser.add_argument("--split", default="val", help="part of the data set to compare on (default: val)")
    parser.add_argument("--name", help="the model's name (default: the file's)")
    parser.add_argument("--license-note", default=DEFAULT_LICENSE_NOTE, help="what its use is bound to")
    parser.add_argument(
        "--metrics",
        type=Path,
        nargs="+",
        default=[],
        help="report.json of 'evaluate', to carry its figures in the file",
    )
    parser.add_argument("--json", type=Path, help="write size, parameters and parity here")


def run(arguments: argparse.Namespace) -> int:
    """Export; returns the exit code."""
    contents = [checkpoint.load(path) for path in arguments.checkpoint]
    content = checkpoint.mixed(contents, arguments.shares or [1.0] * len(contents))
    size_hw = (arguments.height or content["size_hw"][0], arguments.width or content["size_hw"][1])
    if any(length <= 0 or length % 32 for length in size_hw):
        raise SegPerceptionError(
            f"a size of {size_hw[1]}x{size_hw[0]} cannot be exported: give --height and --width as multiples of 32"
        )
    labels = LabelSet.from_json(content["labels"])
    dataset = (arguments.dataset, arguments.root) if arguments.dataset and arguments.precision != "fp32" else None
    images = sample_images(arguments.images, dataset, labels, size_hw)
    if arguments.precision == "int8" and not images:
        raise SegPerceptionError(
            "int8 needs frames to calibrate on: give --images a folder of frames from where the model will work, or "
            "--dataset and --root"
        )
    network = checkpoint.averaged_network(content)
    model, quantization = convert(to_onnx(network, size_hw), arguments.precision, images, labels)
    facts = model_file.metadata(
        name=arguments.name or arguments.out.stem,
        network=content["network"],
        labels=labels,
        precision=arguments.precision,
        training_data=", ".join(content["data"]),
        pretrained=content.get("pretrained", ""),
        license_note=arguments.license_note,
        parameters=deployed_parameters(network),
        macs=multiply_accumulates(network, size_hw),
        metrics=_metrics(arguments.metrics),
        quantization=quantization,
    )
    facts["parity"] = save_compared(
        model, facts, network, arguments.out, _parity_data(arguments, images, size_hw, labels)
    )
    size_mb = arguments.out.stat().st_size / 1e6
    print(_summary(arguments.out, size_mb, size_hw, facts))
    if arguments.json:
        write_json(arguments.json, {**facts, "size_mb": size_mb})
    return 0


def sample_images(
    folder: Path | None, dataset: tuple[str, Path | None] | None, labels: LabelSet, size_hw: tuple[int, int]
) -> list[NDArray[np.uint8]]:
    """CALIBRATION_IMAGES frames at most, each uint8 [1, h, w, 3], spread over a folder, else over the part
    CALIBRATION_SPLIT of a data set (name, root); none without either."""
    preprocess = Preprocessor(size_hw)
    if folder:
        files = image_files(folder)
        chosen = (read_rgb(files[i]) for i in spread(len(files), CALIBRATION_IMAGES))
    elif dataset:
        data = open_dataset(*dataset, CALIBRATION_SPLIT, labels)
        chosen = (data[i].rgb for i in spread(len(data), CALIBRATION_IMAGES))
    else:
        return []
    return [preprocess(Frame(rgb)).copy() for rgb in chosen]


def convert(
    model: onnx.ModelProto, precision: str, images: Sequence[NDArray[np.uint8]], labels: LabelSet
) -> tuple[onnx.ModelProto, dict[str, Any] | None]:
    """The float32 model in a precision, for int8 with images, and how it was quantised."""
    if precision == "int8":
        return to_int8(model, images, labels.is_thing)
    if precision == "fp16":
        height, width = (dim.dim_value for dim in model.graph.input[0].type.tensor_type.shape.dim[1:3])
        return to_half(model, images or [noise((height, width))]), None
    return model, None


def noise(size_hw: tuple[int, int]) -> NDArray[np.uint8]:
    """An image uint8 [1, h, w, 3] that is the same every time."""
    return np.random.default_rng(0).integers(0, 256, (1, *size_hw, 3), np.uint8)


def save_compared(
    model: onnx.ModelProto, facts: Mapping[str, Any], network: PanopticNetwork, out: Path, data: ParityData
) -> dict[str, Any]:
    """Write the model file with facts and its parity to out; returns the parity.

    Raises SegPerceptionError, with nothing written, when it differs too much.
    """
    model_file.write_metadata(model, facts)
    with written_aside(out) as aside:
        model_file.save(model, aside)
        measured = parity(network, aside, data)
        error = measured["largest_error_relative"]
        if not error <= LARGEST_RELATIVE_ERROR[facts["precision"]]:
            raise SegPerceptionError(
                f"the exported network differs from torch by {error:.2g} of the largest value, so it was not written: "
                "export fp32, or report this with your versions of torch and onnx"
            )
        model_file.write_metadata(model, {**facts, "parity": measured})
        model_file.save(model, aside)
    return measured


def _parity_data(
    arguments: argparse.Namespace, images: Sequence[NDArray[np.uint8]], size_hw: tuple[int, int], labels: LabelSet
) -> ParityData:
    if arguments.dataset:
        return ParityData.labelled(arguments.dataset, arguments.root, arguments.split, labels)
    if images:
        return ParityData.unlabelled("the frames of --images", images)
    return ParityData.unlabelled("noise", [noise(size_hw)])


def _summary(out: Path, size_mb: float, size_hw: tuple[int, int], facts: Mapping[str, Any]) -> str:
    compared = facts["parity"]
    lines = [
        f"{out}: {facts['network']} {facts['precision']}, {size_mb:.1f} MB, input {size_hw[1]}x{size_hw[0]}, "
        f"{facts['parameters'] / 1e6:.2f} M parameters, {facts['macs'] / 1e9:.2f} GMAC",
        f"against torch on {compared['data']}: largest logit error {compared['logit_error']:.2g} "
        f"({compared['logit_error_relative']:.2g} of the largest), {compared['pixels_changed']:.3%} of pixels change class"
        + (f", mIoU {compared['miou_fp32']:.4f} to {compared['miou']:.4f}" if "miou" in compared else ""),
    ]
    if "quantization" in facts:
        made = facts["quantization"]
        lines.append(
            f"{made['layers'] - len(made['kept_float'])} of {made['layers']} convolutions in int8, calibrated on "
            f"{made['calibration_images']} frames; classes changed {made['reached']['classes_changed']:.2%} on trial "
            f"(allowed: {made['allowed']['classes_changed']:.2%})"
        )
    return "\n".join(lines)


def to_onnx(network: PanopticNetwork, size_hw: tuple[int, int]) -> onnx.ModelProto:
    """The network as ONNX with fixed height and width and any batch, checked by onnx."""
    example = torch.zeros(1, *size_hw, 3, dtype=torch.uint8)
    buffer = io.BytesIO()
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore", DeprecationWarning)  # the tracing exporter gives the plainer graph
        torch.onnx.export(
            network,
            (example,),
            buffer,
            input_names=[model_file.INPUT],
            output_names=list(model_file.OUTPUTS),
            dynamic_axes={name: {0: "N"} for name in (model_file.INPUT, *model_file.OUTPUTS)},
            opset_version=OPSET,
            dynamo=False,
        )
    model = onnx.load_from_string(buffer.getvalue())
    name_constants(model)
    _state_output_sizes(model, network, example)
    onnx.checker.check_model(model, full_check=True)
    return model


def _state_output_sizes(model: onnx.ModelProto, network: PanopticNetwork, example: torch.Tensor) -> None:
    """Write the outputs' fixed dimensions, which tracing with a dynamic batch leaves open."""
    with torch.no_grad():
        shapes = [tuple(output.shape) for output in network(example)]
    for value, shape in zip(model.graph.output, shapes, strict=True):
        for dim, length in list(zip(value.type.tensor_type.shape.dim, shape, strict=True))[1:]:
            dim.dim_value = length


def deployed_parameters(network: PanopticNetwork) -> int:
    """Number of weights that the model file runs; the heads of training alone are left out."""
    return sum(p.numel() for name, p in network.named_parameters() if "loss_head" not in name)


def multiply_accumulates(network: PanopticNetwork, size_hw: tuple[int, int]) -> int:
    """Of one image."""
    shapes_only = copy.deepcopy(network).to("meta")
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        shapes_only(torch.zeros(1, *size_hw, 3, dtype=torch.uint8, device="meta"))
    return int(counter.get_total_flops()) // 2


def _metrics(reports: Sequence[Path]) -> dict[str, dict[str, float]]:
    """Figures by the data that they were measured on."""
    found = {}
    for report in reports:
        try:
            values = json.loads(report.read_text())
            numbers = {key: values.get(key) for key in ("miou", "pixel_accuracy", "drivable_iou", "pq", "pq_things")}
            found[str(values["source"])] = {key: float(number) for key, number in numbers.items() if number is not None}
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise SegPerceptionError(
                f"{report} is no readable report.json ({error!r}): give the one that 'evaluate' wrote"
            ) from error
    return found
