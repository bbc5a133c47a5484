"""Turn a checkpoint into the model file: one ONNX file with normalisation, label set and figures inside.

Example:
  python -m seg_perception export --checkpoint out/train/best.pt --out models/mine.onnx --height 352 --width 480
"""

from __future__ import annotations

import argparse
import io
import json
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from torch.utils.flop_counter import FlopCounterMode

from seg_perception import model_file
from seg_perception.backends.onnx_runtime import OnnxRuntimeBackend
from seg_perception.errors import SegPerceptionError
from seg_perception.files import written_aside
from seg_perception.labels import LabelSet
from seg_perception.training import checkpoint
from seg_perception.training.networks import make_network
from seg_perception.training.networks.heads import PanopticNetwork

OPSET = 17
"""Old enough for the parser of TensorRT 10.3 (JetPack 6), new enough for every operator here."""

LARGEST_RELATIVE_ERROR = {"fp32": 1e-3, "fp16": 3e-2}
"""Between torch in float32 and the model file in ONNX Runtime, against the largest value; beyond it none is written."""

DEFAULT_LICENSE_NOTE = "trained on data for research and evaluation only"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the verb."""
    parser.add_argument("--checkpoint", type=Path, required=True, help="best.pt or last.pt of a training run")
    parser.add_argument("--out", type=Path, required=True, help="the model file to write, NAME.onnx")
    parser.add_argument("--precision", choices=model_file.PRECISIONS, default="fp32", help="default: fp32")
    parser.add_argument("--height", type=int, help="of the network's input, a multiple of 32 (default: as trained)")
    parser.add_argument("--width", type=int, help="of the network's input, a multiple of 32 (default: as trained)")
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
    content = checkpoint.load(arguments.checkpoint)
    size_hw = (arguments.height or content["size_hw"][0], arguments.width or content["size_hw"][1])
    if any(length <= 0 or length % 32 for length in size_hw):
        raise SegPerceptionError(
            f"a size of {size_hw[1]}x{size_hw[0]} cannot be exported: give --height and --width as multiples of 32"
        )
    if arguments.precision == "int8":
        raise SegPerceptionError("int8 needs calibration, which is not built yet: export fp32 or fp16")
    labels = LabelSet.from_json(content["labels"])
    network = load_network(content)
    model = to_onnx(network, size_hw)
    if arguments.precision == "fp16":
        model = to_half(model)
    facts = model_file.metadata(
        name=arguments.name or arguments.out.stem,
        network=content["network"],
        labels=labels,
        precision=arguments.precision,
        training_data=", ".join(content["data"]),
        license_note=arguments.license_note,
        parameters=deployed_parameters(network),
        macs=multiply_accumulates(network, size_hw),
        metrics=_metrics(arguments.metrics),
    )
    model_file.write_metadata(model, facts)
    with written_aside(arguments.out) as aside:
        model_file.save(model, aside)
        parity = largest_error(network, aside)
        if parity > LARGEST_RELATIVE_ERROR[arguments.precision]:
            raise SegPerceptionError(
                f"the exported network differs from torch by {parity:.2g} of the largest value, so it was not written: "
                "export fp32, or report this with your versions of torch and onnx"
            )
    info = model_file.load(arguments.out)
    size_mb = arguments.out.stat().st_size / 1e6
    print(
        f"{arguments.out}: {info.network} {info.precision}, {size_mb:.1f} MB, input {size_hw[1]}x{size_hw[0]}, "
        f"{info.parameters / 1e6:.2f} M parameters, {info.macs / 1e9:.2f} GMAC, error against torch {parity:.1e}"
    )
    if arguments.json:
        arguments.json.write_text(json.dumps({**facts, "size_mb": size_mb, "largest_relative_error": parity}, indent=1))
    return 0


def load_network(content: Mapping[str, Any]) -> PanopticNetwork:
    """The averaged weights of a checkpoint, ready for inference."""
    network = make_network(content["network"], len(content["labels"]))
    network.load_state_dict(content["average"])
    return network.eval()


def to_onnx(network: PanopticNetwork, size_hw: tuple[int, int]) -> onnx.ModelProto:
    """The network as ONNX with fixed height and width and any batch, checked by onnx."""
    example = torch.zeros(1, *size_hw, 3, dtype=torch.uint8)
    buffer = io.BytesIO()
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore", DeprecationWarning)  # the tracing exporter gives the plainer graph
        torch.onnx.export(
            network,
            (example,),
            buffer,  # type: ignore[arg-type]
            input_names=[model_file.INPUT],
            output_names=list(model_file.OUTPUTS),
            dynamic_axes={name: {0: "N"} for name in (model_file.INPUT, *model_file.OUTPUTS)},
            opset_version=OPSET,
            dynamo=False,
        )
    model = onnx.load_from_string(buffer.getvalue())
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


def to_half(model: onnx.ModelProto) -> onnx.ModelProto:
    """float16 inside, uint8 in and float32 out; normalisation stays float32."""
    try:
        from onnxruntime.transformers.float16 import convert_float_to_float16
    except ImportError as error:
        raise SegPerceptionError(
            "this onnxruntime has no float16 converter: install onnxruntime 1.17 or newer"
        ) from error
    keep = [node.name for node in model.graph.node if node.op_type == "Cast"]
    half: onnx.ModelProto = convert_float_to_float16(model, keep_io_types=True, node_block_list=keep)
    return half


def largest_error(network: PanopticNetwork, path: Path) -> float:
    """Largest difference of any output between torch and the model file on noise, over that output's largest value."""
    info = model_file.load(path)
    image = np.random.default_rng(0).integers(0, 256, (1, *info.size_hw, 3), np.uint8)
    output = OnnxRuntimeBackend(info).infer(image)
    with torch.no_grad():
        wanted = [values.numpy() for values in network(torch.from_numpy(image))]
    found = (output.semantic_logits, output.center_heatmap, output.center_offset)
    return max(float(np.abs(f - w).max() / max(1.0, np.abs(w).max())) for f, w in zip(found, wanted, strict=True))


def deployed_parameters(network: PanopticNetwork) -> int:
    """Number of weights that the model file runs; the heads of training alone are left out."""
    return sum(p.numel() for name, p in network.named_parameters() if "loss_head" not in name)


def multiply_accumulates(network: PanopticNetwork, size_hw: tuple[int, int]) -> int:
    """Of one image."""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(torch.zeros(1, *size_hw, 3, dtype=torch.uint8))
    return int(counter.get_total_flops()) // 2


def _metrics(reports: Sequence[Path]) -> dict[str, dict[str, float]]:
    """Figures by the data that they were measured on."""
    found = {}
    for report in reports:
        try:
            values = json.loads(report.read_text())
            numbers = {key: values.get(key) for key in ("miou", "pixel_accuracy", "drivable_iou", "pq")}
            found[str(values["source"])] = {key: float(number) for key, number in numbers.items() if number is not None}
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise SegPerceptionError(
                f"{report} is no readable report.json ({error!r}): give the one that 'evaluate' wrote"
            ) from error
    return found
