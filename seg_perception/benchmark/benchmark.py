"""Time each step of a frame's path, then, where ROS 2 is installed, the real node between camera and planner.

First every frame runs through the pipeline in this process, one after the other; the camera is calibrated, so that
ground is found. `rss_growth_mb` is what this process has grown by between the end of warm-up and the last frame
(--frames 10000 for a long run). The share of each output in the step `drivable` is timed after that, alone and on the
same masks, and so is making the maps anew for another pose of the camera. On a GPU `preprocess` is only queued, so what it
takes there counts as `network`, which waits for it, and not in `overhead_ms` and `overhead_speedup`; gpu-check times it alone.

Then the node, as a process of its own, gets images over DDS for --seconds from cameras of --rate, while a planner
watches label_mask and drivable_areas: `end_to_end_fps` counts its answers, `age_ms` is from sending an image to
receiving its mask. With --cameras N the first camera is alone before and after, so that shares, ages and recovery of
an overload show.

With --against naive up to 100 frames also take two other paths, in turn with ours and with the same network: the
textbook's (colour conversion, resize, all logits enlarged to the mask's size, argmax, connected components of every thing
class), and the lean one, which makes the same masks by a running maximum over the classes in buffers that stay.

--all measures every model that ships, also with one camera of 10, 30 and 60 Hz (`fixed_rates_hz`: missed frames, latency,
jitter, load and memory, as NVIDIA's ros2_benchmark has them), and writes a folder of results, the roofline too. Where the
folder holds results of a machine of the same class it says what moved. --roofline computes the bound
that operations and bytes set on embedded GPUs; nothing is measured for it. --training times training instead: how many
images a second the loader makes, how many the network learns from when they are ready, in turn, and how much memory
both take. --metrics times the metrics of `evaluate` on masks of the synthetic drive, beside torchmetrics and
cityscapesscripts where those are installed, by the CPU time of one thread.

Example:
  seg_perception benchmark --model models/camvid_pidnet_s.onnx --size 1280x720 --against naive
  seg_perception benchmark --model models/camvid_pidnet_s.onnx --cameras 4 --rate 30 --seconds 600
  seg_perception benchmark --all --out benchmarks
  seg_perception benchmark --roofline
  seg_perception benchmark --training --config config/train/camvid_pidnet_s.yaml --data DATA
  seg_perception benchmark --metrics --frames 20
"""

from __future__ import annotations

import argparse
import gc
import hashlib
import os
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from time import perf_counter_ns
from typing import Any

import numpy as np
import psutil
from numpy.typing import NDArray
from tqdm import tqdm

from seg_perception import machine, options
from seg_perception.backends.shipped_models import shipped_files
from seg_perception.benchmark import metrics as benchmark_metrics
from seg_perception.benchmark import roofline
from seg_perception.benchmark.moved import tell_what_moved
from seg_perception.benchmark.naive import LEAN_PREFIX, PREFIX, other_paths, speedups
from seg_perception.errors import SegPerceptionError, quoted
from seg_perception.ground.drivable import DrivableExtractor, DrivableSettings
from seg_perception.image_limits import ImageLimits
from seg_perception.labels import LabelSet
from seg_perception.libraries import missing
from seg_perception.metrics.times import percentiles
from seg_perception.network import add_domain_argument
from seg_perception.offline import add_model_arguments, check_model_arguments, opened_pipeline
from seg_perception.pipeline import STAGES, Pipeline
from seg_perception.reports import benchmark_report
from seg_perception.results import Frame, Panoptic, Wants
from seg_perception.synthetic.drive import SyntheticDrive
from seg_perception.tracking.settings import TrackingSettings
from seg_perception.writing import check_folder, user_path, write_json, write_text

CAMERA_SIZE, METRICS_SIZE = "1280x720", "2048x1024"
"""Images and masks unless --size says otherwise; Cityscapes' metrics are measured at the latter."""

PERIOD_NS = 1e9 / 30
DISTINCT_FRAMES = 8
WARM_UP_FRAMES = 2 * DISTINCT_FRAMES
"""Buffers grow with what is seen, so every distinct frame is seen before memory is watched."""
MOST_NAIVE_FRAMES = 100
ROOFLINE_PAGE = "roofline.md"

Live = Callable[[argparse.Namespace, tuple[int, int]], dict[str, Any]]
"""Measures the real node for these arguments and images of (width, height); returns what to add to the numbers."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the verb."""
    add_model_arguments(parser, required=False)
    size = f"size of the camera image (default: {CAMERA_SIZE}), or of the masks for --metrics (default: {METRICS_SIZE})"
    parser.add_argument("--size", metavar="WxH", help=size)
    parser.add_argument(
        "--frames",
        type=options.whole("--frames", 1),
        default=300,
        metavar="N",
        help="frames in this process (default: 300)",
    )
    parser.add_argument(
        "--against", choices=("naive",), help="compare with the textbook and the lean path in the same run"
    )
    ros = not missing(("rclpy", "seg_perception_msgs.msg._segments"))  # not the checkout's folder of that name alone
    parser.add_argument(
        "--mode",
        choices=("offline", "live"),
        default="live" if ros else "offline",
        help="offline: only the pipeline; live: the node too (default: live where ROS 2 is installed)",
    )
    parser.add_argument(
        "--rate",
        type=options.rate("--rate"),
        default=60.0,
        metavar="HZ",
        help="of each live camera (default: 60)",
    )
    parser.add_argument(
        "--seconds",
        type=options.number("--seconds", above=0),
        default=10.0,
        metavar="S",
        help="of live images (default: 10)",
    )
    parser.add_argument(
        "--cameras",
        type=options.whole("--cameras", 1),
        default=1,
        metavar="N",
        help="live cameras at one node (default: 1)",
    )
    add_domain_argument(parser)
    parser.add_argument("--all", action="store_true", help="measure all models that ship, against naive, into --out")
    parser.add_argument("--roofline", action="store_true", help="compute bounds of --model, or of all that ship")
    parser.add_argument("--metrics", action="store_true", help="time the metrics, and not a model")
    parser.add_argument("--training", action="store_true", help="time training by --config, and not a model")
    parser.add_argument("--config", type=user_path, metavar="YAML", help="the training configuration")
    parser.add_argument("--data", metavar="DIR", help="folder that holds its data sets (default: as for train)")
    parser.add_argument("--out", type=user_path, metavar="DIR", help="folder for the results of --all or --roofline")
    parser.add_argument("--json", type=user_path, metavar="FILE", help="write the numbers as JSON")


def run(arguments: argparse.Namespace, live: Live | None = None) -> int:
    """Measure and print a table; 0. live: what --mode live adds."""
    _check(arguments)
    if arguments.training:
        return _run_training(arguments)
    if arguments.metrics:
        return _run_metrics(arguments)
    if arguments.roofline:
        return _run_roofline(arguments)
    if arguments.all:
        return _run_all(arguments, live)
    if arguments.model is None:
        raise SegPerceptionError(
            "nothing says what to time: give --model, --all, --roofline, --metrics, or --training with --config"
        )
    (numbers,) = _measure(arguments, [arguments.model], live).values()
    if arguments.json:
        write_json(arguments.json, numbers)
    benchmark_report.print_table(numbers)
    return 0


_ANY = {"json", "mode"}
_NODE = {"rate", "seconds", "cameras", "domain"}
_NETWORK = {"precision", "network_size", "backend", "providers", "threads", "size", "frames"}
_KINDS = {
    "training": {"training", "config", "data"},
    "metrics": {"metrics", "size", "frames"},
    "roofline": {"roofline", "model", "out"},
    "all": {"all", "out", "against"} | _NETWORK | _NODE,
}
_ONE_MODEL = {"model", "against"} | _NETWORK | _NODE
"""Options of each kind of measurement."""


def _check(arguments: argparse.Namespace) -> None:
    """Raises SegPerceptionError naming options that would do nothing beside the others."""
    given = options.given(arguments, add_arguments)
    kind = next((kind for kind in _KINDS if kind in given), "")
    fit = _ANY | (_KINDS[kind] if kind else _ONE_MODEL)
    what = {"": "the measurement of one model", "training": "--training by --config"}.get(kind, f"--{kind}")
    options.refuse(given, given.keys() - fit, f"not for {what}: leave it out, see --help")
    if arguments.mode != "live":
        options.refuse(given, sorted(_NODE), "for the node: give --mode live, which needs ROS 2")
    if arguments.training and arguments.config is None:
        raise SegPerceptionError("--training times training, not a model: give it --config")
    if arguments.all and arguments.out is None:
        raise SegPerceptionError("--all writes results of every model: give it --out, and no --model")
    check_model_arguments(arguments)
    if arguments.out:
        check_folder(arguments.out)


def _measure(arguments: argparse.Namespace, paths: Sequence[Path], live: Live | None) -> dict[str, dict[str, Any]]:
    """All numbers of each model, by its file's stem. The node, which has a network of its own, comes after all pipelines:
    playing to it changes how this process handles memory."""
    size_wh = _size(arguments.size or CAMERA_SIZE)
    results: dict[str, dict[str, Any]] = {path.stem: {} for path in paths}
    for step in (_pipeline,) if live is None else (_pipeline, live):
        for path in paths:
            arguments.model = path
            print(f"{path.stem} …", file=sys.stderr)
            results[path.stem] |= step(arguments, size_wh)
    return results


def _pipeline(arguments: argparse.Namespace, size_wh: tuple[int, int]) -> dict[str, Any]:
    """What --mode offline measures."""
    with opened_pipeline(arguments, partial(Pipeline, tracking=TrackingSettings())) as pipeline:
        return benchmark(pipeline, size_wh, arguments.frames, naive=arguments.against == "naive")


def _run_all(arguments: argparse.Namespace, live: Live | None) -> int:
    arguments.against = "naive"
    results = _measure(arguments, shipped_files(), live)
    for name, numbers in results.items():
        tell_what_moved(arguments.out / f"{name}.json", numbers)
        write_json(arguments.out / f"{name}.json", numbers)
    write_text(arguments.out / ROOFLINE_PAGE, roofline.markdown(roofline.computed(shipped_files())))
    page = benchmark_report.markdown(results)
    write_text(arguments.out / "README.md", page)
    if arguments.json:
        write_json(arguments.json, results)
    print(page)
    return 0


def _run_roofline(arguments: argparse.Namespace) -> int:
    entries = roofline.computed([arguments.model] if arguments.model else shipped_files())
    if arguments.json:
        write_json(arguments.json, {"roofline": entries})
    page = roofline.markdown(entries)
    if arguments.out:
        write_text(arguments.out / ROOFLINE_PAGE, page)
    print(page)
    return 0


def _run_training(arguments: argparse.Namespace) -> int:
    from seg_perception.training.loop.throughput import measure  # needs torch, as nothing else here does

    numbers = {"machine": machine.describe(), **measure(arguments.config, arguments.data)}
    if arguments.json:
        write_json(arguments.json, numbers)
    for name, value in numbers.items():
        print(f"{name:<24}{value}")
    return 0


def _run_metrics(arguments: argparse.Namespace) -> int:
    numbers = {
        "machine": machine.describe(),
        **benchmark_metrics.measure(_size(arguments.size or METRICS_SIZE), arguments.frames),
    }
    if arguments.json:
        write_json(arguments.json, numbers)
    benchmark_metrics.print_table(numbers)
    return 0


def _size(words: str) -> tuple[int, int]:
    found = re.fullmatch(r"(\d{1,5})x(\d{1,5})", words)
    size_wh = (int(found[1]), int(found[2])) if found else (0, 0)
    if min(size_wh) < 16:
        raise SegPerceptionError(
            f"--size is '{quoted(words)}': write WIDTHxHEIGHT of at least 16x16, for example 1280x720"
        )
    ImageLimits().check(size_wh[::-1], "what --size asks for")
    return size_wh


def benchmark(pipeline: Pipeline, size_wh: tuple[int, int], count: int, *, naive: bool) -> dict[str, Any]:
    """Run count frames of size_wh; returns what --json writes, times in ms. load_average: how many processes wanted a
    processor in the minute before."""
    load = os.getloadavg()[0]
    drive = SyntheticDrive(*size_wh)
    pipeline.set_camera(drive.camera, drive.pose)
    scenes = camera_images(size_wh)
    in_turn = _in_turn(pipeline, scenes, min(count, MOST_NAIVE_FRAMES)) if naive else {}
    samples, growth = _alone(pipeline, scenes, count)
    masks = [_kept(pipeline.run(Frame(rgb)).panoptic) for rgb in scenes]
    return {
        "model": pipeline.model.name,
        "backend": dict(pipeline.backend.describe()),
        "machine": machine.describe(),
        "load_average": round(load, 2),
        "input_sha256": hashlib.sha256(b"".join(scene.tobytes() for scene in scenes)).hexdigest(),
        "size": f"{size_wh[0]}x{size_wh[1]}",
        "frames": count,
        **_times(samples, in_turn),
        **growth,
        **(speedups(in_turn, LEAN_PREFIX) | speedups(in_turn, PREFIX) if in_turn else {}),
        "drivable_ms": drivable_shares(pipeline.labels, drive, masks, min(count, MOST_NAIVE_FRAMES)),
    }


def camera_images(size_wh: tuple[int, int]) -> list[NDArray[np.uint8]]:
    """The images to run in turn, uint8 [H, W, 3]: of rendered drives, which stay as they are while what
    networks learn from changes."""
    return [SyntheticDrive(*size_wh, seed=number).frame(31 * number).rgb for number in range(DISTINCT_FRAMES)]


def _in_turn(pipeline: Pipeline, scenes: Sequence[NDArray[np.uint8]], count: int) -> dict[str, list[float]]:
    """Times in ms of all stages of all paths, frame by frame."""
    others = other_paths(pipeline)
    samples: dict[str, list[float]] = {}
    for number in tqdm(range(-DISTINCT_FRAMES, count), unit="frame", desc="against naive"):
        rgb = scenes[number % DISTINCT_FRAMES]
        stages = dict(pipeline.run(Frame(rgb)).stages_ms)
        for other in others:
            stages |= other.run(rgb)
        if number >= 0:
            for name, value in stages.items():
                samples.setdefault(name, []).append(value)
    return samples


def _alone(
    pipeline: Pipeline, scenes: Sequence[NDArray[np.uint8]], count: int
) -> tuple[NDArray[np.float64], dict[str, float]]:
    """Times in ms [count, stages] of our path, and what memory has grown by since the end of warm-up: the process in
    MB, and Python's own allocations in blocks."""
    process = psutil.Process()
    samples = np.full((count, len(STAGES)), np.nan)
    before = (0, 0)
    for number in tqdm(range(-WARM_UP_FRAMES, count), unit="frame", desc="benchmark"):
        if number == 0:
            gc.collect()
            before = process.memory_info().rss, sys.getallocatedblocks()
        stamp_ns = round((number + 1 + WARM_UP_FRAMES) * PERIOD_NS)
        stages = pipeline.run(Frame(scenes[number % DISTINCT_FRAMES], stamp_ns)).stages_ms
        if number >= 0:
            samples[number] = [stages[name] for name in STAGES]
    gc.collect()
    rss, blocks = process.memory_info().rss, sys.getallocatedblocks()
    return samples, {
        "rss_growth_mb": round((rss - before[0]) / 1e6, 3),
        "python_blocks_growth": blocks - before[1],
    }


def _times(samples: NDArray[np.float64], in_turn: Mapping[str, Sequence[float]]) -> dict[str, Any]:
    """What the samples [frames, stages] in ms come to, and those of the other paths."""
    others = {name: v for name, v in in_turn.items() if name.startswith((LEAN_PREFIX, PREFIX))}
    stages = dict(zip(STAGES, samples.T)) | others
    total = samples.sum(axis=1)
    overhead = total - samples[:, STAGES.index("network")]
    decode = samples[:, STAGES.index("decode")]
    return {
        "stages_ms": {name: percentiles(values, 50, 95, 99, 100) for name, values in stages.items()},
        "decode_ms": percentiles(decode, 50, 95),
        "overhead_ms": percentiles(overhead, 50, 95),
        "total_ms": percentiles(total, 50, 95, 99, 100),
        "pipeline_fps": round(1e3 / float(np.median(total)), 2),
    }


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
    poses = replace(drive.pose, pitch=drive.pose.pitch + 0.001), drive.pose

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
