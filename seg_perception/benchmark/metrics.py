"""How many frames a second the metrics take, ours and those of the tools they are held against, in one run.

A frame's cost is the CPU time of this process, on one thread, so other programs on the machine hardly change it.
"""

from __future__ import annotations

import contextlib
import io
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module, metadata
from pathlib import Path
from time import process_time_ns
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from seg_perception.files import write_image
from seg_perception.labels import LabelSet
from seg_perception.metrics.confusion import ConfusionMatrix
from seg_perception.metrics.panoptic_quality import PanopticQuality
from seg_perception.metrics.segment_pairs import pair_segments
from seg_perception.synthetic.drive import SyntheticDrive

DISTINCT_FRAMES = 4
FRAMES_APART = 3
"""What the drive shows so much later stands for the prediction: alike, but for the edges and what is far away."""
RENDERED_WIDTH_PX = 1024
"""Masks are enlarged from this, as a network's are."""

Step = Callable[[int], object]


@dataclass(frozen=True)
class Masks:
    """A frame of the synthetic drive without void. semantic: uint8 [H, W]; instance: uint16 [H, W]."""

    semantic: NDArray[np.uint8]
    instance: NDArray[np.uint16]


def measure(size_wh: tuple[int, int], count: int) -> dict[str, Any]:
    """Frames a second of each tool, by metric and tool, `miou` and `pq`: the median over count frames of masks of that
    size, the tools in turn; None for a tool that is not installed."""
    labels, masks = SyntheticDrive.labels, _masks(size_wh)
    with tempfile.TemporaryDirectory() as folder:
        steps = {
            ("miou", "seg_perception"): _our_confusion(labels, masks),
            ("miou", "torchmetrics"): _of("torchmetrics", lambda: _torch_confusion(labels, masks)),
            ("miou", "cityscapesscripts"): _of("cityscapesscripts", lambda: _files_confusion(masks, Path(folder))),
            ("pq", "seg_perception"): _our_quality(labels, masks),
            ("pq", "torchmetrics"): _of("torchmetrics", lambda: _torch_quality(labels, masks)),
            ("pq", "cityscapesscripts"): _of("cityscapesscripts", lambda: _files_quality(labels, masks, Path(folder))),
        }
        samples: dict[tuple[str, str], list[int]] = {name: [] for name in steps}
        for number in tqdm(range(-1, count), unit="frame", desc="metrics"):
            for name, step in steps.items():
                if step is None:
                    continue
                start = process_time_ns()
                step(number % DISTINCT_FRAMES)
                if number >= 0:
                    samples[name].append(process_time_ns() - start)
    numbers: dict[str, Any] = {"size": f"{size_wh[0]}x{size_wh[1]}", "frames": count, "versions": _versions()}
    for (metric, tool), times in samples.items():
        fps = round(1e9 / float(np.median(times)), 1) if times else None
        numbers.setdefault(metric, {})[tool] = fps
    return numbers


def print_table(numbers: dict[str, Any]) -> None:
    """What measure found."""
    print(f"metrics on masks of {numbers['size']}, {numbers['frames']} frames, CPU time of one thread")
    print("cityscapesscripts reads its masks from files, uncompressed here; its PQ is panopticapi's")
    print(f"{'frames a second':<28}{'mIoU':>9}{'PQ':>9}")
    for tool in numbers["miou"]:
        name = f"{tool} {numbers['versions'].get(tool, '')}"
        values = [numbers[metric][tool] for metric in ("miou", "pq")]
        print(f"{name:<28}" + "".join(f"{'absent' if value is None else value:>9}" for value in values))


def _masks(size_wh: tuple[int, int]) -> list[Masks]:
    """DISTINCT_FRAMES and one more: of each two neighbours the second is the truth, the first the prediction."""
    width = min(RENDERED_WIDTH_PX, size_wh[0])
    drive = SyntheticDrive(width, round(width * size_wh[1] / size_wh[0]))
    frames = (drive.frame(FRAMES_APART * number) for number in range(DISTINCT_FRAMES + 1))
    return [Masks(*(_enlarged(mask, size_wh) for mask in (frame.semantic, frame.instance))) for frame in frames]


def _enlarged(mask: NDArray[Any], size_wh: tuple[int, int]) -> NDArray[Any]:
    return np.asarray(cv2.resize(mask, size_wh, interpolation=cv2.INTER_NEAREST))


def _of(package: str, make: Callable[[], Step]) -> Step | None:
    """The step, None where the package is not installed."""
    try:
        metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
    return make()


def _versions() -> dict[str, str]:
    known = {}
    for package in ("torchmetrics", "cityscapesscripts"):
        with contextlib.suppress(metadata.PackageNotFoundError):
            known[package] = metadata.version(package)
    return known


def _our_confusion(labels: LabelSet, masks: list[Masks]) -> Step:
    matrix = ConfusionMatrix(labels)
    return lambda k: matrix.update(masks[k].semantic, masks[k + 1].semantic)


def _our_quality(labels: LabelSet, masks: list[Masks]) -> Step:
    quality = PanopticQuality(labels)

    def step(k: int) -> None:
        predicted, truth = masks[k], masks[k + 1]
        pairs = pair_segments(predicted.semantic, predicted.instance, truth.semantic, truth.instance, labels.is_thing)
        quality.update(pairs)

    return step


def _torch_confusion(labels: LabelSet, masks: list[Masks]) -> Step:
    torch, tools = import_module("torch"), import_module("torchmetrics.classification")
    torch.set_num_threads(1)
    tensors = [torch.from_numpy(mask.semantic.astype(np.int64)) for mask in masks]
    matrix = tools.MulticlassConfusionMatrix(len(labels), validate_args=False)
    return lambda k: matrix.update(tensors[k], tensors[k + 1])


def _torch_quality(labels: LabelSet, masks: list[Masks]) -> Step:
    torch, tools = import_module("torch"), import_module("torchmetrics.detection")
    torch.set_num_threads(1)
    stacks = [np.stack((mask.semantic, mask.instance), axis=-1).astype(np.int64)[None] for mask in masks]
    tensors = [torch.from_numpy(stack) for stack in stacks]
    things = {label.id for label in labels.classes if label.thing}
    quality = tools.PanopticQuality(things=things, stuffs=set(range(len(labels))) - things)
    return lambda k: quality.update(tensors[k], tensors[k + 1])


def _files_confusion(masks: list[Masks], folder: Path) -> Step:
    tool = import_module("cityscapesscripts.evaluation.evalPixelLevelSemanticLabeling")
    paths = [folder / f"{number}.pgm" for number in range(len(masks))]
    for path, mask in zip(paths, masks, strict=True):
        write_image(path, mask.semantic)
    wanted = SimpleNamespace(evalInstLevelScore=False, evalPixelAccuracy=False, evalLabels=list(range(256)))
    matrix = np.zeros((256, 256), np.ulonglong)
    return lambda k: tool.evaluatePair(str(paths[k]), str(paths[k + 1]), matrix, {}, {}, wanted)


def _files_quality(labels: LabelSet, masks: list[Masks], folder: Path) -> Step:
    tool = import_module("cityscapesscripts.evaluation.evalPanopticSemanticLabeling")
    rows = [_panoptic_file(folder / f"{number}.ppm", mask, labels) for number, mask in enumerate(masks)]
    categories = {label.id: {"isthing": int(label.thing), "name": label.name} for label in labels.classes}

    def step(k: int) -> None:
        with contextlib.redirect_stdout(io.StringIO()):
            tool.pq_compute_single_core(0, [(rows[k + 1], rows[k])], str(folder), str(folder), categories)

    return step


def _panoptic_file(path: Path, mask: Masks, labels: LabelSet) -> dict[str, Any]:
    """Segment ids as colours, in COCO's panoptic format, and the annotation that belongs to them."""
    is_thing = labels.is_thing[mask.semantic]
    ids = (mask.semantic.astype(np.uint32) + 1) << 16 | np.where(is_thing, mask.instance, 0)
    write_image(path, np.stack((ids & 255, ids >> 8 & 255, ids >> 16), axis=-1).astype(np.uint8))
    found, areas = np.unique(ids, return_counts=True)
    segments = [
        {"id": int(key), "category_id": int(key >> 16) - 1, "iscrowd": 0, "area": int(area)}
        for key, area in zip(found, areas, strict=True)
    ]
    return {"file_name": path.name, "image_id": path.stem, "segments_info": segments}
