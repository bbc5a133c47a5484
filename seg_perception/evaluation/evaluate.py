"""Measure a model on labelled data or a recording: every frame through the pipeline, all metrics, without ROS.

Masks are made and measured at the images' resolution. Where a data set's labels are coarser than the model's classes,
both are compared in the data set's. A bag brings its labels in topics beside its images, matched by stamp, or gets them
from a folder (--labels: <stamp in ns>.png, or <number of the frame from 0>.png); without any, what needs no labels is
measured. Writes report.json and report.html with the worst frames. --tta and --scales tell what more time per frame
would bring: the answers to mirrored and enlarged images are averaged.

Several bags, or a folder of them, are evaluated --jobs at a time, each into a folder of --out that is named after it; the
report in --out is of all their frames together. What is finished is not done again when the command is repeated.

--baseline compares the report with an earlier one, as compare does; --fail-if sets limits, which compare --help
explains. Exit codes: 0 every frame was measured, 1 some could not be read or had unusable labels, or a bag failed
twice, 2 nothing could be measured, 3 a limit is broken.

Example:
  python -m seg_perception evaluate --model models/camvid_pidnet_s.onnx --dataset camvid --root data/camvid --out out/val
  python -m seg_perception evaluate --model M.onnx --bag drive --topic all --start 60 --end 90 --out out/drive
  python -m seg_perception evaluate --model M.onnx --bag recordings --jobs 4 --out out/recordings
"""

from __future__ import annotations

import argparse
import math
import sys
from pathlib import Path
from typing import Any

from tqdm import tqdm

from seg_perception.errors import SegPerceptionError
from seg_perception.evaluation import fleet_report, machine, many, report
from seg_perception.evaluation.compare import add_baseline_arguments, open_baseline
from seg_perception.evaluation.dataset_source import Comparison, DatasetSource
from seg_perception.evaluation.offline import add_model_arguments, open_pipeline
from seg_perception.evaluation.sources import LabelFolder, Source
from seg_perception.evaluation.tally import Tally
from seg_perception.evaluation.tta import Views, parse_scales
from seg_perception.evaluation.worst_frames import WorstFrames
from seg_perception.files import write_json
from seg_perception.labels import LabelSet
from seg_perception.pipeline import Pipeline
from seg_perception.results import Wants

ALL_TOPICS = "all"
EXIT_DAMAGED = 1


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the verb."""
    add_model_arguments(parser)
    data = parser.add_mutually_exclusive_group(required=True)
    data.add_argument("--dataset", metavar="NAME", help="labelled data set, such as camvid, or synthetic_drive")
    data.add_argument(
        "--bag",
        type=Path,
        nargs="+",
        metavar="BAG",
        help="rosbag2 (MCAP, sqlite3) or ROS 1 bag; several, or folders of them",
    )
    parser.add_argument("--root", type=Path, metavar="DIR", help="the data set's folder; rendered ones have none")
    parser.add_argument("--split", default="val", help="part of the data set (default: val)")
    _add_bag_arguments(parser)
    many.add_fleet_arguments(parser)
    parser.add_argument("--tta", choices=("flip",), help="look at every image mirrored too")
    parser.add_argument(
        "--scales", default="1.0", metavar="S,S", help="look at every image enlarged so many times (default: 1.0)"
    )
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder to write the report to")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the numbers here too")
    add_baseline_arguments(parser)


def _add_bag_arguments(parser: argparse.ArgumentParser) -> None:
    bag = parser.add_argument_group("bags")
    bag.add_argument(
        "--topic",
        action="append",
        metavar="T",
        help=f"image topic; may be given again, '{ALL_TOPICS}' takes every one (default: the one with most images)",
    )
    bag.add_argument("--label-topic", metavar="T", help="label masks (default: 'label' beside the image topic)")
    bag.add_argument(
        "--instance-topic", metavar="T", help="instance masks (default: 'instance' beside the image topic)"
    )
    bag.add_argument("--labels", type=Path, metavar="DIR", help="folder of label images instead of a label topic")
    bag.add_argument("--instances", type=Path, metavar="DIR", help="folder of 16-bit instance images, for --labels")
    bag.add_argument(
        "--void", type=int, action="append", default=[], metavar="ID", help="label value that means unlabelled"
    )
    bag.add_argument(
        "--start", type=float, default=0.0, metavar="S", help="leave out what comes before, s from the start"
    )
    bag.add_argument(
        "--end", type=float, default=math.inf, metavar="S", help="leave out what comes after, s from the start"
    )
    bag.add_argument("--stride", type=int, default=1, metavar="N", help="take every Nth image (default: 1)")


def run(arguments: argparse.Namespace) -> int:
    """Evaluate; the exit codes stand above."""
    baseline = open_baseline(arguments)
    is_fleet = bool(arguments.bag) and many.is_fleet(arguments.bag)
    told = many.evaluate(arguments) if is_fleet else _evaluate_one(arguments)
    report.write(told, arguments.out)
    if arguments.json:
        write_json(arguments.json, told.numbers)
    for line in (*told.numbers["problems"], *told.numbers["notes"]):
        print(line, file=sys.stderr)
    print(report.table(told.numbers))
    if is_fleet:
        print(fleet_report.table(told.numbers["bags"]))
    print(f"report in {arguments.out / 'report.html'}")
    broken = baseline.judge(told.numbers, arguments.out) if baseline else 0
    return broken or (EXIT_DAMAGED if told.numbers["problems"] else 0)


def _evaluate_one(arguments: argparse.Namespace) -> report.Report:
    views = Views(parse_scales(arguments.scales), flip=arguments.tta == "flip")
    pipeline = open_pipeline(arguments, views=views)
    try:
        return evaluate(pipeline, *open_sources(arguments, pipeline.labels))
    finally:
        pipeline.backend.close()


def open_sources(arguments: argparse.Namespace, labels: LabelSet) -> list[Source]:
    """What the arguments name: one data set, or the topics of a bag. labels: the model's.

    Raises SegPerceptionError for what is not there or does not fit together.
    """
    if arguments.dataset:
        return [DatasetSource(arguments.dataset, arguments.root, arguments.split, labels)]
    from seg_perception.evaluation.bag import BagSource, Excerpt, image_topics  # rosbags is needed for bags only

    (bag,) = arguments.bag
    topics = image_topics(bag, arguments.topic or [], everything=arguments.topic == [ALL_TOPICS])
    if len(topics) > 1 and (arguments.label_topic or arguments.instance_topic or arguments.labels):
        raise SegPerceptionError(
            "--label-topic, --instance-topic and --labels are of one image topic, but there are "
            f"{', '.join(topics)}: give one --topic, or name the label topics 'label' beside each"
        )
    if arguments.instances and not arguments.labels:
        raise SegPerceptionError("--instances belong to labels: give --labels too")
    folder = LabelFolder(arguments.labels, arguments.instances, arguments.void) if arguments.labels else None
    excerpt = Excerpt(arguments.start, arguments.end, arguments.stride)
    return [
        BagSource(
            bag,
            topic,
            label_topic=arguments.label_topic,
            instance_topic=arguments.instance_topic,
            labels=folder,
            void=arguments.void,
            excerpt=excerpt,
        )
        for topic in topics
    ]


def evaluate(pipeline: Pipeline, *sources: Source) -> report.Report:
    """Run every frame of the sources, one source after the other, and measure what has labels; several sources are told
    together and, under `topics`, apart.

    Raises SegPerceptionError when there is no frame.
    """
    meaning = sources[0].meaning if isinstance(sources[0], DatasetSource) else None
    comparison = Comparison(pipeline.labels, meaning)
    whole, worst = Tally(comparison.labels), WorstFrames(comparison.labels)
    parts = {source.part: Tally(comparison.labels) for source in sources if len(sources) > 1}
    wants = Wants(areas=False, grid=False, free_space=False)
    counts = [source.total for source in sources]
    total = None if None in counts else sum(count or 0 for count in counts)
    with tqdm(total=total, unit="frame", desc="evaluate") as progress:
        for source in sources:
            for item in source:
                result = pipeline.run(item.frame, wants)
                semantic = comparison.prediction(result.panoptic.semantic)
                truth = comparison.truth(item.truth) if item.truth else None
                name = f"{source.part} {item.name}" if parts else item.name
                miou = whole.add(name, result, semantic, truth)
                if parts:
                    parts[source.part].add(item.name, result, semantic, truth)
                if miou is not None and truth is not None:
                    worst.offer(miou, whole.frames, item, semantic, truth)
                progress.update()
    problems = [problem for source in sources for problem in source.problems] + whole.problems
    title = ", ".join(source.name for source in sources)
    if not whole.frames:
        raise SegPerceptionError(f"{title} gave no frame: {(problems or ['it is empty'])[0]}")
    numbers: dict[str, Any] = {
        "source": title,
        **whole.numbers(),
        "topics": {name: part.numbers() for name, part in parts.items()},
        "backend": dict(pipeline.backend.describe()),
        "model": pipeline.model.name,
        "machine": machine.describe(),
        "problems": problems,
        "notes": [note for source in sources for note in source.notes],
        "classes": list(comparison.labels.names),
        "per_frame": whole.per_frame.rows,
    }
    title = f"{pipeline.model.name} on {title}"
    return report.Report(title, numbers, comparison.labels, worst.pictures(), "Worst frames by mIoU")
