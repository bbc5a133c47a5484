"""Measure a model on labelled data: every frame through the pipeline, all metrics, without ROS.

Masks are made and measured at the images' resolution. Where a data set's labels are coarser than the model's classes,
both are compared in the data set's. Writes report.json and report.html with the worst frames. --tta and --scales tell
what more time per frame would bring: the answers to mirrored and enlarged images are averaged.

Example:
  python -m seg_perception evaluate --model models/camvid_pidnet_s.onnx --dataset camvid --root data/camvid --out out/val
  python -m seg_perception evaluate --model M.onnx --bag drive --out out/drive --tta flip --scales 1.0,1.5
"""

from __future__ import annotations

import argparse
import heapq
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from seg_perception.errors import SegPerceptionError
from seg_perception.evaluation import machine, report
from seg_perception.evaluation.metrics import Scores, Truth
from seg_perception.evaluation.offline import StageTimes, add_model_arguments, open_pipeline
from seg_perception.evaluation.per_frame import PerFrame
from seg_perception.evaluation.sources import Source, SourceFrame
from seg_perception.evaluation.tta import Views, parse_scales
from seg_perception.files import write_json
from seg_perception.labels import NOT_GROUND, VOID, LabelClass, LabelSet
from seg_perception.pipeline import Pipeline
from seg_perception.results import Frame, Wants

WORST = 8
"""Frames shown in the report."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the verb."""
    add_model_arguments(parser)
    data = parser.add_mutually_exclusive_group(required=True)
    data.add_argument("--dataset", metavar="NAME", help="labelled data set, such as camvid, or synthetic_drive")
    data.add_argument("--bag", type=Path, metavar="BAG", help="rosbag with a label topic beside its image topic")
    parser.add_argument("--root", type=Path, metavar="DIR", help="the data set's folder; rendered ones have none")
    parser.add_argument("--split", default="val", help="part of the data set (default: val)")
    parser.add_argument("--topic", metavar="T", help="image topic of the bag (default: the one with most images)")
    parser.add_argument("--tta", choices=("flip",), help="look at every image mirrored too")
    parser.add_argument(
        "--scales", default="1.0", metavar="S,S", help="look at every image enlarged so many times (default: 1.0)"
    )
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder to write the report to")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the numbers here too")


def run(arguments: argparse.Namespace) -> int:
    """Evaluate; 0 when every frame was measured, 1 when some could not be read."""
    views = Views(parse_scales(arguments.scales), flip=arguments.tta == "flip")
    pipeline = open_pipeline(arguments, views=views)
    try:
        source = _source(arguments, pipeline.labels)
        told = evaluate(pipeline, source)
    finally:
        pipeline.backend.close()
    report.write(told, arguments.out)
    if arguments.json:
        write_json(arguments.json, told.numbers)
    for problem in source.problems:
        print(problem, file=sys.stderr)
    print(report.table(told.numbers))
    print(f"report in {arguments.out / 'report.html'}")
    return 1 if source.problems else 0


def _source(arguments: argparse.Namespace, labels: LabelSet) -> Source:
    if arguments.dataset:
        return DatasetSource(arguments.dataset, arguments.root, arguments.split, labels)
    from seg_perception.evaluation.bag import BagSource  # rosbags is needed for bags only

    return BagSource(arguments.bag, arguments.topic)


class DatasetSource(Source):
    """One split of a labelled data set; meaning: the names of the model's classes, labels, behind each of its ids."""

    def __init__(self, name: str, root: Path | None, split: str, labels: LabelSet) -> None:
        from seg_perception.training.datasets import open_dataset

        self._data = open_dataset(name, root, split, labels)
        self.meaning: Mapping[int, tuple[str, ...]] = self._data.meaning
        super().__init__("dataset", f"{name} {split}", 1.0, len(self._data))

    def _frames(self) -> Iterator[SourceFrame]:
        for index in range(self.count or 0):
            try:
                sample = self._data[index]
            except SegPerceptionError as error:
                self.problems.append(str(error))
                continue
            yield SourceFrame(Frame(sample.rgb, index), sample.name, Truth(sample.label, sample.instance))


class Comparison:
    """How the model's classes and the labels' ids are made comparable. labels: the set that both are measured in."""

    def __init__(self, model: LabelSet, meaning: Mapping[int, tuple[str, ...]] | None) -> None:
        self._truth_table, self._table = np.arange(256, dtype=np.uint8), np.arange(256, dtype=np.uint8)
        self.labels = model
        if meaning is None:
            return
        groups: dict[tuple[str, ...], list[int]] = {}
        for number, names in sorted(meaning.items()):
            if names:
                groups.setdefault(names, []).append(number)
        self._truth_table[:] = VOID
        if all(len(names) == 1 for names in groups):
            for (name,), numbers in groups.items():
                self._truth_table[numbers] = model.by_name(name).id
            return
        self._table[:] = VOID
        classes = []
        for place, (names, numbers) in enumerate(groups.items()):
            members = [model.by_name(name) for name in names]
            self._truth_table[numbers] = place
            for member in members:
                # a class that may be under several ids cannot be judged; the first has it
                if self._table[member.id] == VOID:
                    self._table[member.id] = place
            cost = max(member.drivable_cost for member in members)
            cost = cost if all(member.drivable_cost != NOT_GROUND for member in members) else NOT_GROUND
            thing = all(member.thing for member in members)
            classes.append(LabelClass(place, "/".join(names), members[0].color, thing, cost))
        self.labels = LabelSet(tuple(classes))

    def prediction(self, semantic: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """The model's mask in the common set."""
        return self._table[semantic]

    def truth(self, truth: Truth) -> Truth:
        """The labels in the common set."""
        return Truth(self._truth_table[truth.semantic], truth.instance)


def evaluate(pipeline: Pipeline, source: Source) -> report.Report:
    """Run every frame of source and measure what has labels.

    Raises SegPerceptionError when no frame has.
    """
    meaning = source.meaning if isinstance(source, DatasetSource) else None
    comparison = Comparison(pipeline.labels, meaning)
    scores, times, worst = Scores(comparison.labels), StageTimes(), _Worst(comparison.labels)
    per_frame = PerFrame(scores)
    wants = Wants(confidence=False, areas=False, grid=False, free_space=False)
    for index, item in enumerate(tqdm(source, total=source.total, unit="frame", desc="evaluate")):
        if item.truth is None:
            continue
        result = pipeline.run(item.frame, wants)
        times.add(result.stages_ms)
        semantic, truth = comparison.prediction(result.panoptic.semantic), comparison.truth(item.truth)
        miou = scores.add(semantic, result.panoptic.instance, truth)
        network_ms = round(result.stages_ms["network"], 3)
        instances = truth.instance is not None
        per_frame.add(item.name, item.frame.stamp_ns, network_ms=network_ms, instances=instances)
        worst.offer(miou, index, item, semantic, truth)
    if not scores.frames:
        raise SegPerceptionError(
            f"{source.name} has no labelled frame: {(source.problems or ['give one with labels'])[0]}"
        )
    numbers: dict[str, Any] = {
        "source": source.name,
        "frames": scores.frames,
        **scores.summary(),
        "stages_ms": times.summary(),
        "backend": dict(pipeline.backend.describe()),
        "model": pipeline.model.name,
        "machine": machine.describe(),
        "problems": source.problems,
        "classes": list(comparison.labels.names),
        "per_frame": per_frame.rows,
    }
    title = f"{pipeline.model.name} on {source.name}"
    return report.Report(title, numbers, comparison.labels, worst.pictures(), "Worst frames by mIoU")


class _Worst:
    """Keeps the frames of lowest mIoU, as pictures."""

    def __init__(self, labels: LabelSet) -> None:
        self._labels = labels
        self._heap: list[tuple[float, int, report.Picture]] = []

    def offer(self, miou: float, index: int, item: SourceFrame, semantic: NDArray[np.uint8], truth: Truth) -> None:
        if np.isnan(miou) or (len(self._heap) == WORST and -miou <= self._heap[0][0]):
            return
        heapq.heappush(self._heap, (-miou, index, self._picture(miou, item, semantic, truth)))
        if len(self._heap) > WORST:
            heapq.heappop(self._heap)

    def _picture(self, miou: float, item: SourceFrame, semantic: NDArray[np.uint8], truth: Truth) -> report.Picture:
        colors, rgb = self._labels.colors, item.frame.rgb
        wrong = (semantic != truth.semantic) & (truth.semantic != VOID)
        difference = (rgb // 3).astype(np.uint8)
        if wrong.shape == rgb.shape[:2]:
            difference[wrong] = colors[semantic][wrong]
        return report.Picture(
            f"{item.name}: mIoU {miou:.3f}",
            (
                ("image", rgb.copy()),
                ("prediction", colors[semantic]),
                ("truth", colors[truth.semantic]),
                ("where they differ, in the predicted colour", difference),
            ),
        )

    def pictures(self) -> list[report.Picture]:
        """The worst first."""
        return [picture for _, _, picture in sorted(self._heap, key=lambda entry: -entry[0])]
