"""Time each step of a frame's path, frame after frame, without ROS; the camera is calibrated, so that ground is found.

The share of each output in the step `drivable` is timed after that, alone and on the same masks, and so is making the
maps anew for another pose of the camera.

With --against naive every frame also takes the textbook path, in turn with ours and with the same network: colour
conversion, resize, all logits enlarged to the mask's size, argmax, connected components of every thing class.

With --training it times training instead: how many images a second the loader makes, how many the network learns from
when they are ready, in turn, and how much memory both take.

With --metrics it times the metrics of `evaluate` on masks of the synthetic drive, beside torchmetrics and
cityscapesscripts where those are installed, by the CPU time of one thread.

Example:
  python -m seg_perception benchmark --model models/camvid_pidnet_s.onnx --size 1280x720 --against naive
  python -m seg_perception benchmark --training --config config/train/camvid_pidnet_s.yaml --data DATA
  python -m seg_perception benchmark --metrics --frames 20
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from time import perf_counter_ns
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from seg_perception.drivable import DrivableExtractor, DrivableSettings
from seg_perception.errors import SegPerceptionError
from seg_perception.evaluation import benchmark_metrics, machine
from seg_perception.evaluation.offline import add_model_arguments, open_pipeline, percentiles
from seg_perception.files import write_json
from seg_perception.labels import LabelSet
from seg_perception.pipeline import Pipeline
from seg_perception.results import Frame, Panoptic, Wants
from seg_perception.synthetic import SyntheticDrive, random_scene

CAMERA_SIZE, METRICS_SIZE = "1280x720", "2048x1024"
"""Images and masks unless --size says otherwise; Cityscapes' metrics are measured at the latter."""

DISTINCT_FRAMES = 8
WARM_UP_FRAMES = 3


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the verb."""
    add_model_arguments(parser, required=False)
    size = f"size of the camera image (default: {CAMERA_SIZE}), or of the masks for --metrics (default: {METRICS_SIZE})"
    parser.add_argument("--size", metavar="WxH", help=size)
    parser.add_argument("--frames", type=int, default=100, metavar="N")
    parser.add_argument("--against", choices=("naive",), help="compare with the textbook path in the same run")
    parser.add_argument("--metrics", action="store_true", help="time the metrics, and not a model")
    parser.add_argument("--training", action="store_true", help="time training by --config, and not a model")
    parser.add_argument("--config", type=Path, metavar="YAML", help="the training configuration")
    parser.add_argument("--data", metavar="DIR", help="folder that holds its data sets (default: as for train)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the numbers as JSON")


def run(arguments: argparse.Namespace) -> int:
    """Measure and print a table; 0."""
    if arguments.training:
        return _run_training(arguments)
    if arguments.frames < 1:
        raise SegPerceptionError(f"--frames is {arguments.frames}: at least one is needed")
    if arguments.metrics:
        return _run_metrics(arguments)
    if arguments.model is None:
        raise SegPerceptionError("nothing says what to time: give --model, --metrics, or --training with --config")
    size_wh = _size(arguments.size or CAMERA_SIZE)
    pipeline = open_pipeline(arguments)
    try:
        numbers = benchmark(pipeline, size_wh, arguments.frames, naive=arguments.against == "naive")
    finally:
        pipeline.backend.close()
    if arguments.json:
        write_json(arguments.json, numbers)
    _print(numbers)
    return 0


def _run_training(arguments: argparse.Namespace) -> int:
    if arguments.model is not None or arguments.config is None:
        raise SegPerceptionError("--training times training, not a model: give it --config and no --model")
    from seg_perception.training.benchmark_training import measure  # needs torch, as nothing else here does

    numbers = {"machine": machine.describe(), **measure(arguments.config, arguments.data)}
    if arguments.json:
        write_json(arguments.json, numbers)
    for name, value in numbers.items():
        print(f"{name:<24}{value}")
    return 0


def _run_metrics(arguments: argparse.Namespace) -> int:
    if arguments.model is not None:
        raise SegPerceptionError("--metrics times the metrics, not a model: give it no --model")
    numbers = {
        "machine": machine.describe(),
        **benchmark_metrics.measure(_size(arguments.size or METRICS_SIZE), arguments.frames),
    }
    if arguments.json:
        write_json(arguments.json, numbers)
    benchmark_metrics.print_table(numbers)
    return 0


def _size(words: str) -> tuple[int, int]:
    found = re.fullmatch(r"(\d+)x(\d+)", words)
    size_wh = (int(found[1]), int(found[2])) if found else (0, 0)
    if min(size_wh) < 16:
        raise SegPerceptionError(f"--size is '{words}': write WIDTHxHEIGHT of at least 16x16, for example 1280x720")
    return size_wh


def benchmark(pipeline: Pipeline, size_wh: tuple[int, int], count: int, *, naive: bool) -> dict[str, Any]:
    """Run count frames of size_wh; returns what --json writes, times in ms."""
    drive = SyntheticDrive(*size_wh)
    pipeline.set_camera(drive.camera, drive.pose)
    rng = np.random.default_rng(0)
    scenes = [random_scene(rng, size_wh[1], size_wh[0])[0] for _ in range(DISTINCT_FRAMES)]
    samples: dict[str, list[float]] = {}
    other = NaivePath(pipeline) if naive else None
    for number in tqdm(range(-WARM_UP_FRAMES, count), unit="frame", desc="benchmark"):
        rgb = scenes[number % DISTINCT_FRAMES]
        stages = dict(pipeline.run(Frame(rgb)).stages_ms)
        if other is not None:
            stages.update({f"naive_{name}": value for name, value in other.run(rgb).items()})
        if number >= 0:
            for name, value in stages.items():
                samples.setdefault(name, []).append(value)
    masks = [_kept(pipeline.run(Frame(rgb)).panoptic) for rgb in scenes]
    return _numbers(pipeline, size_wh, samples) | {"drivable_ms": drivable_shares(pipeline.labels, drive, masks, count)}


def _kept(panoptic: Panoptic) -> Panoptic:
    """A copy of what the decoder overwrites."""
    return replace(panoptic, semantic=panoptic.semantic.copy(), confidence=panoptic.confidence.copy())


def drivable_shares(
    labels: LabelSet, drive: SyntheticDrive, masks: Sequence[Panoptic], count: int
) -> dict[str, dict[str, float]]:
    """Time in ms, p50 and p95 of count runs, that each output of DrivableExtractor takes on masks of the drive's camera:
    `areas` (their outlines and distances), `grid`, `free_space`; and `maps`, when the camera's pose changes, with a
    free space over the new ones."""
    mask_hw = masks[0].semantic.shape
    extractor = DrivableExtractor(labels, DrivableSettings())
    extractor.set_camera(drive.camera, drive.pose, mask_hw)
    nothing = Wants(areas=False, grid=False, free_space=False)

    def share(only: Wants) -> dict[str, float]:
        return _timed(lambda number: extractor.extract(masks[number % len(masks)], only), count)

    shares = {name: share(replace(nothing, **{name: True})) for name in ("areas", "grid", "free_space")}
    poses = drive.pose, replace(drive.pose, pitch=drive.pose.pitch + 0.001)

    def move(number: int) -> None:
        extractor.set_camera(drive.camera, poses[number % 2], mask_hw)
        extractor.extract(masks[number % len(masks)], replace(nothing, free_space=True))

    shares["maps"] = _timed(move, count)
    return shares


def _timed(step: Callable[[int], object], count: int) -> dict[str, float]:
    """p50 and p95 in ms of step(number) over count runs that are warm."""
    samples = []
    for number in range(-WARM_UP_FRAMES, count):
        start = perf_counter_ns()
        step(number)
        samples.append((perf_counter_ns() - start) / 1e6)
    return percentiles(samples[WARM_UP_FRAMES:], 50, 95)


class NaivePath:
    """The textbook path with the pipeline's network."""

    def __init__(self, pipeline: Pipeline) -> None:
        self._backend, self._labels = pipeline.backend, pipeline.labels
        self._size_wh = pipeline.model.size_hw[::-1]

    def run(self, rgb: NDArray[np.uint8]) -> dict[str, float]:
        """Run one frame, as BGR like a camera's; returns the time of its steps in ms."""
        bgr = np.ascontiguousarray(rgb[..., ::-1])
        times = [perf_counter_ns()]
        images = cv2.resize(cv2.cvtColor(bgr.copy(), cv2.COLOR_BGR2RGB), self._size_wh)[None]
        times.append(perf_counter_ns())
        output = self._backend.infer(images)
        times.append(perf_counter_ns())
        naive_masks(output.semantic_logits[0], (rgb.shape[1], rgb.shape[0]), self._labels)
        times.append(perf_counter_ns())
        names = ("preprocess", "network", "decode")
        return {name: (end - start) / 1e6 for name, start, end in zip(names, times, times[1:], strict=False)}


def naive_masks(
    logits: NDArray[np.float32], size_wh: tuple[int, int], labels: LabelSet
) -> tuple[NDArray[np.uint8], NDArray[np.uint16]]:
    """Semantic mask uint8 [H, W] and instance mask uint16 [H, W] of logits [C, h, w], as textbooks do it."""
    large = np.stack([cv2.resize(plane, size_wh, interpolation=cv2.INTER_LINEAR) for plane in logits])
    semantic = large.argmax(axis=0).astype(np.uint8)
    instance = np.zeros(semantic.shape, np.uint16)
    total = 0
    for label in labels.classes:
        if label.thing:
            count, parts = cv2.connectedComponents((semantic == label.id).astype(np.uint8), ltype=cv2.CV_16U)
            instance[parts > 0] = parts[parts > 0] + total
            total += count - 1
    return semantic, instance


def _numbers(pipeline: Pipeline, size_wh: tuple[int, int], samples: dict[str, list[float]]) -> dict[str, Any]:
    ours = {name: values for name, values in samples.items() if not name.startswith("naive_")}
    overhead = np.sum([values for name, values in ours.items() if name != "network"], axis=0)
    total = np.sum(list(ours.values()), axis=0)
    numbers: dict[str, Any] = {
        "model": pipeline.model.name,
        "backend": dict(pipeline.backend.describe()),
        "machine": machine.describe(),
        "size": f"{size_wh[0]}x{size_wh[1]}",
        "frames": len(total),
        "stages_ms": {name: percentiles(values, 50, 95, 99, 100) for name, values in samples.items()},
        "decode_ms": percentiles(samples["decode"], 50, 95),
        "overhead_ms": percentiles(overhead, 50, 95),
        "total_ms": percentiles(total, 50, 95, 99, 100),
        "pipeline_fps": round(1e3 / float(np.median(total)), 2),
    }
    if "naive_decode" in samples:
        naive_total = np.sum([samples[f"naive_{name}"] for name in ("preprocess", "network", "decode")], axis=0)
        numbers["decode_speedup"] = _speedup(samples["naive_decode"], samples["decode"])
        numbers["pipeline_speedup"] = _speedup(naive_total, total)
    return numbers


def _speedup(theirs: Any, ours: Any) -> float:
    return round(float(np.median(theirs) / np.median(ours)), 2)


def _print(numbers: dict[str, Any]) -> None:
    print(f"{numbers['model']}, {numbers['size']}, {numbers['frames']} frames, {numbers['backend']}")
    print(f"{'stage, ms':<18}" + "".join(f"{name:>9}" for name in ("p50", "p95", "p99", "max")))
    rows = {**numbers["stages_ms"], "total": numbers["total_ms"]}
    for stage, values in rows.items():
        print(f"{stage:<18}" + "".join(f"{value:9.2f}" for value in values.values()))
    overhead = numbers["overhead_ms"]
    for name, values in numbers["drivable_ms"].items():
        place = "maps, at a new pose" if name == "maps" else f"  drivable: {name}"
        print(f"{place:<26}p50 {values['p50']:.2f} ms, p95 {values['p95']:.2f} ms")
    print(f"all but the network: p50 {overhead['p50']:.2f} ms, p95 {overhead['p95']:.2f} ms")
    print(f"{numbers['pipeline_fps']} frames a second")
    if "decode_speedup" in numbers:
        print(f"against naive: decode {numbers['decode_speedup']}x, whole path {numbers['pipeline_speedup']}x as fast")
