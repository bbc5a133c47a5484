"""Measure a model on labelled data or a recording: every frame through the pipeline, all metrics, without ROS.

Masks are made and measured at the images' resolution. Where a data set's labels are coarser than the model's classes,
both are compared in the data set's. A bag brings its labels in topics beside its images, matched by stamp, or gets them
from a folder (--labels: <stamp in ns>.png, or <number of the frame from 0>.png); without any, what needs no labels is
measured. Writes report.json and report.html with the worst frames. --tta and --scales tell what more time per frame
would bring: the answers to mirrored and enlarged images are averaged.

--annotate writes a bag of the images, calibration and mounting as recorded, with all that was found in them under the
node's topic names; it plays with `ros2 bag play` and opens in Foxglove.

Several bags, or a folder of them, are evaluated --jobs at a time, each into a folder of --out that is named after it; the
report in --out is of all their frames together. What is finished is not done again when the command is repeated.

--baseline compares the report with an earlier one, as compare does; --fail-if sets limits, which compare --help
explains. Exit codes: 0 every frame was measured, 1 some could not be read or had unusable labels, or a bag failed
twice, 2 nothing could be measured, 3 a limit is broken.

Example:
  seg_perception evaluate --model models/camvid_pidnet_s.onnx --dataset camvid --root data/camvid --out out/val
  seg_perception evaluate --model M.onnx --bag drive --topic all --start 60 --end 90 --out out/drive
  seg_perception evaluate --model M.onnx --bag drive --mode live --rate 0.5 --out out/live
  seg_perception evaluate --model M.onnx --bag drive --annotate out/annotated.mcap --out out/drive
  seg_perception evaluate --model M.onnx --bag drive --rerun out/drive.rrd --out out/drive
  seg_perception evaluate --model M.onnx --bag recordings --jobs 4 --out out/recordings
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from seg_perception import machine
from seg_perception.errors import EXIT_ERROR, SegPerceptionError
from seg_perception.evaluation import many
from seg_perception.evaluation.compare import Baseline, open_baseline
from seg_perception.evaluation.evaluate_options import ALL_TOPICS, check
from seg_perception.evaluation.evaluate_options import add_arguments as add_arguments  # of the verb
from seg_perception.evaluation.tta import Views, parse_scales
from seg_perception.evaluation.worst_frames import WorstFrames
from seg_perception.labels import LabelSet
from seg_perception.metrics.tally import Tally
from seg_perception.offline import opened_pipeline, panoptic_settings
from seg_perception.pictures.overlay import Overlay
from seg_perception.pipeline import Pipeline
from seg_perception.recordings import own_vehicle
from seg_perception.recordings.dataset_source import Comparison, DatasetSource
from seg_perception.recordings.excerpt import Excerpt
from seg_perception.recordings.projections import Projections
from seg_perception.recordings.recorder import CameraRecorder, LastingRecorder, Recorder
from seg_perception.recordings.rerun_file import rerun_file
from seg_perception.recordings.sources import LabelFolder, Source, SourceFrame
from seg_perception.reports import fleet_report, report
from seg_perception.reports.film import Film
from seg_perception.results import Result, Wants
from seg_perception.tracking.settings import TrackingSettings
from seg_perception.writing import results_folder, write_json

EXIT_DAMAGED = 1


def run(arguments: argparse.Namespace) -> int:
    """Evaluate; the exit codes stand above."""
    check(arguments)
    baseline = open_baseline(arguments)
    is_fleet = bool(arguments.bag) and many.is_fleet(arguments.bag)
    with results_folder(arguments.out):
        told = many.evaluate(arguments, work=run) if is_fleet else _evaluate_one(arguments)
        code = tell(arguments, told, baseline, fleet_report.table(told.numbers["bags"]) if is_fleet else "")
        return code if told.numbers["frames"] else EXIT_ERROR  # the report says what each of many bags failed by


def tell(arguments: argparse.Namespace, told: report.Report, baseline: Baseline | None, more: str = "") -> int:
    """Write the report, print what is in it and more, and hold it against the baseline; returns the exit code."""
    try:
        report.write(told, arguments.out)
    finally:  # what took hours is told though the disk takes no page
        _say(told.numbers, more)
    if arguments.json:
        write_json(arguments.json, told.numbers)
    print(f"report in {arguments.out / 'report.html'}")
    broken = baseline.judge(told.numbers, arguments.out) if baseline else 0
    return broken or (EXIT_DAMAGED if told.numbers["problems"] else 0)


def _say(numbers: Mapping[str, Any], more: str) -> None:
    for line in (*numbers["problems"], *numbers["notes"]):
        print(line, file=sys.stderr)
    print(report.table(numbers))
    if more:
        print(more)


def _evaluate_one(arguments: argparse.Namespace) -> report.Report:
    views = Views(parse_scales(arguments.scales), flip=arguments.tta == "flip")
    tracking = None if arguments.dataset else TrackingSettings()  # a data set's frames do not follow each other
    settings = panoptic_settings(arguments)
    with opened_pipeline(arguments, partial(views.pipeline, tracking=tracking, panoptic=settings)) as pipeline:
        sources = open_sources(arguments, pipeline.labels)
        with ExitStack() as open_files:
            recorders = [open_files.enter_context(file) for file in _recorders(arguments, pipeline.labels)]
            told = evaluate(pipeline, *sources, recorders=recorders, steady=arguments.tracked_labels)
    told.numbers["problems"].extend(recorder.problem for recorder in recorders if recorder.problem)
    return told


def _recorders(arguments: argparse.Namespace, labels: LabelSet) -> Iterator[LastingRecorder]:
    if arguments.annotate:
        from seg_perception.recordings.annotate import annotated_bag  # rosbags is needed for bags only

        bag = annotated_bag(arguments.annotate, arguments.bag[0], labels, arguments.video_codec)
        yield LastingRecorder(bag, arguments.annotate)
    if arguments.rerun:
        yield LastingRecorder(rerun_file(arguments.rerun, labels), arguments.rerun)


def open_sources(arguments: argparse.Namespace, labels: LabelSet) -> list[Source]:
    """What the arguments name: one data set, or the topics of a bag. labels: the model's.

    Raises SegPerceptionError for what is not there or does not fit together.
    """
    ego = own_vehicle.of_option(arguments)
    sources = _open_sources(arguments, labels)
    if ego is not None and len(sources) > 1:
        raise SegPerceptionError(
            f"--ego-mask is of one camera, but there are {', '.join(source.part for source in sources)}: give one --topic"
        )
    for source in sources:
        source.ego = ego
    return sources


def _open_sources(arguments: argparse.Namespace, labels: LabelSet) -> list[Source]:
    if arguments.dataset:
        return [DatasetSource(arguments.dataset, arguments.root, arguments.split, labels)]
    from seg_perception.recordings.frames import BagSource  # rosbags is needed for bags only
    from seg_perception.recordings.storage import Storage
    from seg_perception.recordings.topics import image_topics

    (bag,) = arguments.bag
    _kept = Storage(bag)  # what is unpacked for its topics is there for the sources, too
    topics = image_topics(bag, arguments.topic or [], everything=arguments.topic == [ALL_TOPICS])
    if len(topics) > 1 and (arguments.label_topic or arguments.instance_topic or arguments.labels):
        raise SegPerceptionError(
            "--label-topic, --instance-topic and --labels are of one image topic, but there are "
            f"{', '.join(topics)}: give one --topic, or name the label topics 'label' beside each"
        )
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
            tolerance_s=arguments.label_tolerance,
            is_wanted=topic in (arguments.topic or []),
        )
        for topic in topics
    ]


def evaluate(
    pipeline: Pipeline, *sources: Source, recorders: Sequence[Recorder] = (), steady: bool = False
) -> report.Report:
    """Run every frame of the sources, one source after the other, and measure what has labels; several sources are told
    together and, under `topics`, apart. recorders: what all outputs are written to. steady: whether
    things keep their numbers in the labels, so that tracks are judged by them.

    Raises SegPerceptionError when there is no frame.
    """
    meaning = sources[0].meaning if isinstance(sources[0], DatasetSource) else None
    comparison = Comparison(pipeline.labels, meaning)
    whole, worst = Tally(comparison.labels), WorstFrames(comparison.labels)
    parts = {source.part: Tally(comparison.labels) for source in sources if len(sources) > 1}
    projections, film = Projections(), _Filmed(pipeline.labels)
    counts = [source.total for source in sources]
    total = None if None in counts else sum(count or 0 for count in counts)
    with tqdm(total=total, unit="frame", desc="evaluate") as progress:
        for source in sources:
            if pipeline.tracker is not None:
                pipeline.tracker.forget()
            cameras = [recorder.camera(source.part, alone=len(sources) == 1) for recorder in recorders]
            for item, result in _results(pipeline, source, cameras):
                semantic = comparison.prediction(result.panoptic.semantic, item.truth.semantic if item.truth else None)
                truth = comparison.truth(item.truth) if item.truth else None
                name = f"{source.part} {item.name}" if parts else item.name
                seen = projections.of(source, truth)
                miou = whole.add(name, result, semantic, truth, seen)
                tallies = [whole]
                if parts:
                    parts[source.part].add(item.name, result, semantic, truth, seen)
                    tallies.append(parts[source.part])
                if pipeline.tracker is not None:
                    if source is sources[0]:
                        film.add(item, result)
                    usable = None if miou is None else truth
                    for tally in tallies:
                        tally.add_tracks(result, semantic, usable, source.part, steady)
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
        "notes": [*(note for source in sources for note in source.notes), *comparison.notes, *whole.notes],
        "classes": list(comparison.labels.names),
        "per_frame": whole.per_frame.rows,
    }
    title = f"{pipeline.model.name} on {title}"
    pictures = worst.pictures()
    return report.Report(title, numbers, comparison.labels, pictures, "Worst frames by mIoU", film=film.film)


class _Filmed:
    """Draws what is followed until the film is full; trails need every frame of it."""

    def __init__(self, labels: LabelSet) -> None:
        self.film, self._overlay = Film(), Overlay(labels)
        self._drawn: NDArray[np.uint8] | None = None

    def add(self, item: SourceFrame, result: Result) -> None:
        if self.film.follows(result.panoptic.segments):
            self._drawn = self._overlay.draw(item.frame.rgb, result.panoptic, out=self._drawn)
            self.film.add(self._drawn, item.frame.stamp_ns / 1e9)


def _results(
    pipeline: Pipeline, source: Source, cameras: Sequence[CameraRecorder]
) -> Iterator[tuple[SourceFrame, Result]]:
    """Every frame of a source and what was found in it, which holds until the next; cameras: what write it to files."""
    wants = Wants(ground=True) if cameras else Wants(areas=False, grid=False, free_space=False, ground=True)
    for item in source:
        # which may be another than the frame's before; for the tracks, too, where nothing else on the ground is wanted
        pipeline.set_camera(source.camera, source.pose, source.ego)
        result = pipeline.run(item.frame, wants)
        for camera in cameras:
            camera.write(item.number, result, pipeline.projection)
        yield item, result
