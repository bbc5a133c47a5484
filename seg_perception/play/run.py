"""The verb `run`, as its help in run_options.py says: play to the real node, then report its answers."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import yaml

from seg_perception import machine, model_file
from seg_perception.backends.shipped_models import find_model
from seg_perception.errors import EXIT_INTERRUPTED, SegPerceptionError
from seg_perception.model_file import ModelInfo
from seg_perception.network import joined
from seg_perception.play.pace import Pace
from seg_perception.play.play import Feed, Play, camera_parameters
from seg_perception.play.play import numbers as play_numbers
from seg_perception.play.process import NodeProcess
from seg_perception.play.replay import Replay, replay
from seg_perception.play.spool import Spool
from seg_perception.recordings import own_vehicle
from seg_perception.recordings.assumed_camera import AssumedCamera, assume
from seg_perception.recordings.open_source import open_source
from seg_perception.recordings.sources import LabelFolder
from seg_perception.reports import report
from seg_perception.reports.panels import Placing
from seg_perception.ros.parameters import DRIVABLE, POSE
from seg_perception.ros.real_time import keep_memory
from seg_perception.ros.settings import Settings
from seg_perception.writing import check_folder, results_folder, write_json

EXIT_DAMAGED = 1
DECIDED = {
    "model": "give --model",
    "camera_names": "it has one camera, so leave it out",
    "image_transport": "it sends raw images, so leave it out",
}
"""Parameters that a play sets or relies on, and what to do instead."""


def run(arguments: argparse.Namespace) -> int:
    """Play, receive, judge, report; exit codes as run_options.py says."""
    if arguments.instances and not arguments.labels:
        raise SegPerceptionError("--instances belong to labels: give --labels too")
    check_folder(arguments.out)
    labels = LabelFolder(arguments.labels, arguments.instances, arguments.void) if arguments.labels else None
    source = open_source(
        arguments.input,
        labels=labels,
        void=arguments.void,
        topic=arguments.topic,
        rate_hz=arguments.rate,
        frames=arguments.frames,
    )
    assumed = AssumedCamera.parse(arguments.assume_camera) if arguments.assume_camera else None
    if assumed is not None:
        assume(source, assumed)
    source.ego = own_vehicle.of_option(arguments)
    model = model_file.load(find_model(arguments.model, arguments.backend))
    parameters: dict[str, Any] = {"model": str(model.path.resolve()), "backend": arguments.backend}
    named = _named(arguments.param)
    keep_memory()
    with results_folder(arguments.out), closing(source), Spool(arguments.out) as spool:
        source.prepare(arguments.out)
        feed = Feed(source, spool)
        parameters |= {**camera_parameters([feed]), **named}
        pace = Pace(recorded=source.stamped and arguments.rate is None)
        with joined(arguments.domain) as network:
            play = Play([feed], pace, network)
            with NodeProcess(parameters, arguments.out / "node.log", network.node_name) as node:
                play.run(node, arguments.start_timeout)
        if not spool.answered:
            if play.interrupted:
                return EXIT_INTERRUPTED
            raise SegPerceptionError(
                f"no frame of {source.name} came back from the node: {(play.problems or [f'see {node.log}'])[0]}"
            )
        calibration = f"assumed: {assumed}" if assumed is not None else ""
        placing = _placing(feed, parameters, calibration)
        judged = replay(source, spool, model.labels, arguments.out / "overlay.mp4", placing)
        told = _report(feed, play, judged, model, calibration)
        source.close()  # the drawn frames and the answers take room that the report may need
        spool.close()
        written = [arguments.out / "overlay.mp4"] if judged.video else []
        written += _written_report(told, arguments.out)
    if arguments.json:
        write_json(arguments.json, told.numbers)
    _say(told.numbers, written)
    if play.interrupted or not judged.finished:
        return EXIT_INTERRUPTED
    return EXIT_DAMAGED if told.numbers["problems"] else 0


def _named(words: Sequence[str]) -> dict[str, Any]:
    """The parameters that the user names; raises SegPerceptionError where one is not written as such."""
    parameters: dict[str, Any] = {}
    for word in words:
        name, found, value = word.partition(":=")
        if not found or not name:
            raise SegPerceptionError(f"--param is '{word}': write NAME:=VALUE, for example backend:=onnxruntime")
        if name in DECIDED:
            raise SegPerceptionError(f"--param names '{name}', which the play decides: {DECIDED[name]}")
        parameters[name] = _read(word, value)
    return parameters


def _read(word: str, text: str) -> Any:
    """The value of a parameter, as a parameter file has it: a bool, a number, a text, or a list of such."""
    try:
        value = yaml.safe_load(text)
    except (yaml.YAMLError, RecursionError, ValueError, AttributeError):  # also a date that is none, endless digits
        value = None
    if not all(isinstance(part, (bool, int, float, str)) for part in (value if isinstance(value, list) else [value])):
        raise SegPerceptionError(
            f"--param is '{word}': write a number, a text, true, false or a list of such behind :=, in quotes what YAML "
            "takes for something else"
        )
    return value


def _placing(feed: Feed, parameters: Mapping[str, Any], calibration: str) -> Placing | None:
    """How the pictures show the ground; None where there is neither ground nor anything that should have given it."""
    if feed.source.camera is None and not feed.received["drivable_grid"]:
        return None
    named = {name: value for name, value in parameters.items() if name == POSE or name.startswith(DRIVABLE)}
    settings = Settings.from_values(named)
    problem = feed.status.get("ground_problem") or "its calibration came later"
    note = f"calibration {calibration}" if calibration else ""
    return Placing(settings.drivable, settings.poses[""], note, problem)


def _report(feed: Feed, play: Play, judged: Replay, model: ModelInfo, calibration: str) -> report.Report:
    source, spool = feed.source, feed.spool
    numbers: dict[str, Any] = {
        "source": source.name,
        "calibration": calibration or None,
        **play_numbers([feed]),
        "rate_hz": round((spool.rate_hz if source.live else None) or source.rate_hz, 3),
        "duration_s": round(play.duration_s, 2),
        "node": feed.status,
        "backend": play.backend,
        "model": model.name,
        "machine": machine.describe(),
        "interrupted": play.interrupted or not judged.finished,
        "problems": [*play.problems, *source.problems, *judged.problems],
        "notes": [*source.notes, *judged.notes],
        **judged.numbers,
        "classes": list(judged.labels.names),
        "per_frame": judged.rows,
    }
    timeline = report.Timeline(spool.sent_s, spool.age_ms)
    title = f"{model.name} on {source.name}"
    return report.Report(
        title, numbers, judged.labels, judged.pictures, timeline=timeline, free=judged.free, film=judged.film
    )


def _written_report(told: report.Report, out: Path) -> list[Path]:
    """Write it; returns its files. What the disk does not take is one more problem: the numbers are told all the same."""
    written: list[Path] = []
    try:
        report.write(told, out, written)
    except SegPerceptionError as error:
        told.numbers["problems"].append(str(error))
    return written


def _say(numbers: Mapping[str, Any], written: Sequence[Path]) -> None:
    age, lost = numbers["age_ms"], numbers["lost_before_node"]
    print(
        f"{numbers['frames_in']} frames sent, {numbers['frames_out']} answered, {numbers['dropped']} dropped"
        f"{f' ({lost} of them lost before the node)' if lost else ''}: "
        f"{report.shown(numbers['fps'], '{:.1f}')} answers a second, age p50 {age['p50']:.0f} ms, p95 {age['p95']:.0f} ms"
    )
    if numbers["calibration"]:
        print(f"calibration {numbers['calibration']}")
    text = report.table(numbers)
    if text:
        print(text)
    free = report.free_distance(numbers)
    if free:
        print(free)
    for line in (*numbers["problems"], *numbers["notes"]):
        print(line, file=sys.stderr)
    if written:
        print("written: " + ", ".join(map(str, written)))
