"""Make the model file of a checkpoint, of another model file, or of another program's network: one ONNX file with
normalisation, label set, figures and checksum inside, and its large weights stored as float16.

The file is compared with the network in torch, or with the file it was made of, before it is kept, and carries the
result: on noise, on the frames of --images, or with mIoU of both on a labelled data set. These frames also show which
layers are too large for float16; --images, else the data set's `train`, calibrate int8. With --model no torch is needed: so
files of a former version are converted, and others made of a float32 file in another precision. --onnx takes a network
that another program trained (docs/own-network.md): semantic logits, with what its file does not say given beside it.

Exit codes: 0 done, 2 nothing was written, 3 an int8 file was written that breaks its own limit on frames that did not
calibrate it.

Example:
  seg_perception export --checkpoint out/train/best.pt --out models/mine.onnx --height 352 --width 480
  seg_perception export --checkpoint out/train/best.pt --out models/mine_int8.onnx --precision int8 \\
    --dataset camvid --root data/camvid
  seg_perception export --model models/mine.onnx --out models/mine_fp16.onnx --precision fp16
  seg_perception export --onnx pidnet.onnx --labels cityscapes --mean 0.485 0.456 0.406 --std 0.229 0.224 0.225 \\
    --out models/pidnet.onnx
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from seg_perception import model_file, options
from seg_perception.backends.graph.half import to_half, too_large
from seg_perception.backends.graph.precision import noise
from seg_perception.backends.shipped_models import given_model
from seg_perception.camera.preprocess import Preprocessor
from seg_perception.datasets import open_dataset
from seg_perception.errors import SegPerceptionError
from seg_perception.files import image_files, read_rgb
from seg_perception.labels import LabelSet
from seg_perception.metrics.run_report import is_number
from seg_perception.network_size import SizeLimits, size_hw_of
from seg_perception.options import number, whole
from seg_perception.results import Frame
from seg_perception.spread import spread
from seg_perception.training.export import temperature
from seg_perception.training.export.adopted import from_foreign
from seg_perception.training.export.foreign_options import FOREIGN, add_foreign_arguments, told_of
from seg_perception.training.export.open_size import open_size
from seg_perception.training.export.parity import ParityData
from seg_perception.training.export.quantize import apart, limits_broken, to_int8
from seg_perception.training.export.saving import save_narrowed
from seg_perception.training.export.sources import Source, from_model
from seg_perception.writing import check_file, user_path, write_json

EXIT_BROKEN = 3
"""The file is written, but does more damage than its precision may."""
SMALLEST_HW, LARGEST_HW = (128, 128), (1024, 2048)
"""What a file takes unless --sizes says otherwise, and its own size where that lies outside."""

CALIBRATION_IMAGES = 64
CALIBRATION_SPLIT = "train"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the verb."""
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument(
        "--checkpoint",
        type=user_path,
        nargs="+",
        metavar="PT",
        help="best.pt or last.pt of a training run; the weights of several, which began with the same, are averaged",
    )
    source.add_argument("--model", type=given_model, metavar="ONNX", help="a model file of this program, instead")
    source.add_argument("--onnx", type=user_path, metavar="ONNX", help="a network of another program, instead")
    parser.add_argument(
        "--shares", type=number("--shares", least=0), nargs="+", metavar="F", help="of each checkpoint (default: equal)"
    )
    parser.add_argument("--out", type=user_path, required=True, help="the model file to write, NAME.onnx")
    parser.add_argument(
        "--precision",
        choices=model_file.PRECISIONS,
        help="what it computes in (default: fp32, of a model file its own)",
    )
    parser.add_argument(
        "--height",
        type=whole("--height", 32),
        help="of the network's input, a multiple of 32 (default: as trained, of --onnx what it fixes)",
    )
    parser.add_argument(
        "--width",
        type=whole("--width", 32),
        help="of the network's input, a multiple of 32 (default: as trained, of --onnx what it fixes)",
    )
    parser.add_argument(
        "--sizes",
        nargs=2,
        metavar="WxH",
        help="the smallest and the largest input that the file takes, so that a camera is seen in its own shape "
        "(default: 128x128 2048x1024, of a model file its own)",
    )
    parser.add_argument("--fixed-size", action="store_true", help="the file takes the one size alone")
    parser.add_argument(
        "--temperature",
        metavar="T",
        help="divide the logits by this, so that confidence means what it says; 'fit': what fits the labels of --dataset, "
        "which training must not have seen (default: as they are)",
    )
    add_foreign_arguments(parser)
    _add_data_arguments(parser)
    parser.add_argument("--name", help="the model's name (default: the file's)")
    parser.add_argument(
        "--license-note",
        help="what its use is bound to (default: research and evaluation, as the data; of --onnx what its own is)",
    )
    parser.add_argument("--json", type=user_path, help="write size, parameters and parity here")


def _add_data_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--images", type=user_path, metavar="DIR", help="frames to calibrate and compare on")
    parser.add_argument("--dataset", metavar="NAME", help="labelled data to compare on, such as camvid, with --root")
    parser.add_argument("--root", type=user_path, metavar="DIR", help="the data set's folder")
    parser.add_argument("--split", default="val", help="part of the data set to compare on (default: val)")
    parser.add_argument(
        "--metrics",
        type=user_path,
        nargs="+",
        default=[],
        help="report.json of 'evaluate', to carry its figures in the file",
    )


def run(arguments: argparse.Namespace) -> int:
    """Export; returns the exit code."""
    _check_out(arguments.out, arguments.onnx)
    given = options.given(arguments, add_arguments)
    if not arguments.dataset:
        options.refuse(given, ("root", "split"), "for a data set: give --dataset too")
    if not arguments.onnx:
        options.refuse(given, FOREIGN, "for a network of another program: give --onnx too")
    told = {"license_note": arguments.license_note, "metrics": _metrics(arguments.metrics)}
    _check_temperature(arguments)
    source = _source(arguments)
    precision = arguments.precision or source.precision
    split = CALIBRATION_SPLIT if precision == "int8" else arguments.split
    dataset = (arguments.dataset, arguments.root, split) if arguments.dataset else None
    images = sample_images(arguments.images, dataset, source.labels, source.size_hw)
    if precision == "int8" != source.precision and not images:
        raise SegPerceptionError(
            "int8 needs frames to calibrate on: give --images a folder of frames from where the model will work, or "
            "--dataset and --root"
        )
    limits = _limits(arguments, source)
    graph, made = convert(source, precision, images)
    if arguments.temperature:
        factor = _temperature(arguments, source)
        graph = temperature.tempered(graph, factor)
        source = replace(source, reference=temperature.Tempered(source.reference, factor))
        made["temperature"] = factor * source.facts.get("temperature", 1.0)
    facts = model_file.metadata(
        name=arguments.name or arguments.out.stem,
        labels=source.labels,
        precision=precision,
        **{**source.facts, **{key: value for key, value in told.items() if value}, **made},
    )
    if limits is not None:
        graph, facts["sizes"] = open_size(graph, source.size_hw, limits)
    facts["parity"] = save_narrowed(
        graph, facts, source, arguments.out, lambda: _parity_data(arguments, images, source)
    )
    size_mb = arguments.out.stat().st_size / 1e6
    print(_summary(arguments.out, size_mb, source.size_hw, facts))
    if arguments.json:
        write_json(arguments.json, {**facts, "size_mb": size_mb})
    broken = limits_broken(facts["quantization"]) if facts.get("quantization") else []
    if broken:
        print(
            f"{arguments.out} breaks the limit of int8 ({'; '.join(broken)}): calibrate on more frames from where it will work, "
            "or export fp16",
            file=sys.stderr,
        )
    return EXIT_BROKEN if broken else 0


def _check_out(out: Path, network: Path | None) -> None:
    """Raises SegPerceptionError for a name that is no model file's, cannot be written, or is that of another program's network."""
    if out.suffix != ".onnx":  # by which every verb tells a model file from a checkpoint
        raise SegPerceptionError(f"--out is {out}: a model file's name ends in .onnx")
    if network and out.resolve() == network.resolve():
        raise SegPerceptionError(f"--out is {out}, the network itself: give --out another name")
    check_file(out)


def _check_temperature(arguments: argparse.Namespace) -> None:
    """Raises SegPerceptionError for a --temperature that is none, or has no labels to be fitted on."""
    if arguments.temperature and temperature.parse(arguments.temperature) is None and not arguments.dataset:
        raise SegPerceptionError("a temperature is fitted on labels: give --dataset and --root, or a number")


def _temperature(arguments: argparse.Namespace, source: Source) -> float:
    """What the source's logits are to be divided by; _check_temperature goes before."""
    given = temperature.parse(arguments.temperature)
    if given is not None:
        return given
    dataset = arguments.dataset, arguments.root, arguments.split
    return temperature.fit(source.reference, source.size_hw, dataset, source.labels)


def _limits(arguments: argparse.Namespace, source: Source) -> SizeLimits | None:
    """The sizes that the file is to take, None for one alone."""
    if arguments.fixed_size:
        if arguments.sizes:
            raise SegPerceptionError("--sizes is of no use beside --fixed-size: leave one of them out")
        return None
    if not source.open_size:
        if arguments.sizes:
            raise SegPerceptionError(f"--sizes is of no use where {arguments.onnx} fixes its own: leave it out")
        return None
    if not arguments.sizes and source.limits is not None:
        return source.limits
    if arguments.sizes:
        limits = SizeLimits(*map(size_hw_of, arguments.sizes))
        limits.check(source.size_hw)
        return limits
    (height, width), (low, left), (high, right) = source.size_hw, SMALLEST_HW, LARGEST_HW
    return SizeLimits((min(low, height), min(left, width)), (max(high, height), max(right, width)))


def _source(arguments: argparse.Namespace) -> Source:
    if arguments.onnx is not None:
        return from_foreign(arguments.onnx, told_of(arguments), arguments.precision)
    if arguments.model is None:
        from seg_perception.training.export.from_checkpoint import from_checkpoints

        return from_checkpoints(arguments.checkpoint, arguments.shares, arguments.height, arguments.width)
    for option in ("shares", "height", "width"):
        if getattr(arguments, option) is not None:
            raise SegPerceptionError(
                f"--{option} is of no use beside --model, whose weights and size are fixed: give its --checkpoint instead"
            )
    return from_model(arguments.model, arguments.precision)


def sample_images(
    folder: Path | None, dataset: tuple[str, Path | None, str] | None, labels: LabelSet, size_hw: tuple[int, int]
) -> list[NDArray[np.uint8]]:
    """CALIBRATION_IMAGES frames at most, each uint8 [1, h, w, 3], spread over a folder, else over a data set (name,
    root, split); none without either."""
    preprocess = Preprocessor(size_hw)
    if folder:
        files = image_files(folder)
        chosen = (read_rgb(files[i]) for i in spread(len(files), CALIBRATION_IMAGES))
    elif dataset:
        try:
            data = open_dataset(*dataset, labels, unlike_is_void=True)
        except SegPerceptionError as error:
            if dataset[1] is None:
                raise
            told = f"; frames come from its split '{dataset[2]}': where it has none, give --images a folder of frames"
            raise SegPerceptionError(f"{error}{told}") from error
        chosen = (data[i].rgb for i in spread(len(data), CALIBRATION_IMAGES))
    else:
        return []
    return [preprocess(Frame(rgb)).copy() for rgb in chosen]


def convert(
    source: Source, precision: str, images: Sequence[NDArray[np.uint8]]
) -> tuple[onnx.ModelProto, dict[str, Any]]:
    """The source's graph in a precision, from float32 with images (for int8 at least one), and what the metadata says of
    how: `quantization`, and `float32_layers` of a float32 file, so that others can make float16 of it without images."""
    graph = source.make_graph()
    if precision == source.precision != "fp32":
        return graph, {"quantization": source.quantization}
    if precision == "int8":
        calibrating, trial = apart(images)
        quantised, quantization = to_int8(graph, calibrating, source.labels.is_thing, trial=trial)
        return quantised, {"quantization": quantization}
    layers = {*(source.float32_layers or ()), *too_large(graph, images or [noise(source.size_hw)])}
    if precision == "fp16":
        return to_half(graph, layers), {}
    return graph, {"float32_layers": sorted(layers)}


def _parity_data(arguments: argparse.Namespace, images: Sequence[NDArray[np.uint8]], source: Source) -> ParityData:
    if arguments.dataset:
        return ParityData.labelled(arguments.dataset, arguments.root, arguments.split, source.labels)
    if images:
        return ParityData.unlabelled("the frames of --images", images)
    return ParityData.unlabelled("noise", [noise(source.size_hw)])


def _summary(out: Path, size_mb: float, size_hw: tuple[int, int], facts: Mapping[str, Any]) -> str:
    compared = facts["parity"]
    lines = [
        f"{out}: {facts['network']} {facts['precision']}, {size_mb:.1f} MB, input {size_hw[1]}x{size_hw[0]}, "
        f"{facts['parameters'] / 1e6:.2f} M parameters, {facts['macs'] / 1e9:.2f} GMAC",
        f"against {compared['reference']} on {compared['data']}: largest logit error {compared['logit_error']:.2g} "
        f"({compared['logit_error_relative']:.2g} of the largest), {compared['pixels_changed']:.3%} of pixels change class"
        + (f", mIoU {compared['miou_fp32']:.4f} to {compared['miou']:.4f}" if "miou" in compared else ""),
    ]
    if "temperature" in facts:
        lines.append(f"logits divided by {facts['temperature']:.3f}")
    if "quantization" in facts:
        made = facts["quantization"]
        lines.append(
            f"{made['layers'] - len(made['kept_float'])} of {made['layers']} convolutions in int8, calibrated on "
            f"{made['calibration_images']} frames; classes changed {made['reached']['classes_changed']:.2%} on trial "
            f"(allowed: {made['allowed']['classes_changed']:.2%})"
        )
    return "\n".join(lines)


def _metrics(reports: Sequence[Path]) -> dict[str, dict[str, float]]:
    """Figures by the data that they were measured on."""
    found: dict[str, dict[str, float]] = {}
    of: dict[str, Path] = {}
    for report in reports:
        source, figures = _figures(report)
        if source in found:
            raise SegPerceptionError(f"{of[source]} and {report} are both of '{source}': give one of them")
        found[source], of[source] = figures, report
    return found


def _figures(report: Path) -> tuple[str, dict[str, float]]:
    """What a report was measured on, and what a model file tells of it."""
    try:
        values = json.loads(report.read_text(encoding="utf-8"))
        numbers = {key: values.get(key) for key in ("miou", "pixel_accuracy", "drivable_iou", "pq", "pq_things")}
        for key, number in numbers.items():
            if number is not None and not is_number(number):
                raise ValueError(f"its {key} is no number")
        return str(values["source"]), {key: float(number) for key, number in numbers.items() if number is not None}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise SegPerceptionError(
            f"{report} is no readable report.json ({type(error).__name__}: {error}): give the one that 'evaluate' wrote"
        ) from error
