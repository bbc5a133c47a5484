"""`evaluate --mode live`: the real node in a process of its own, fed from a bag over DDS as from its cameras.

Frames come as far apart as they were recorded, or a factor of that, and what comes back is received as by a planner: its
age, what was dropped, and how right it was. Ages are of the label mask at its arrival, from the stamp: by the machine's
clock from when the frame was sent, with --clock by the simulated clock from when it was recorded.
"""

from __future__ import annotations

import argparse
import itertools
import re
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from typing import Any

from seg_perception import machine, model_file
from seg_perception.errors import EXIT_INTERRUPTED, SegPerceptionError
from seg_perception.evaluation.compare import open_baseline
from seg_perception.evaluation.evaluate import open_sources, tell
from seg_perception.evaluation.evaluate_options import add_arguments, check
from seg_perception.evaluation.many import is_fleet
from seg_perception.evaluation.worst_frames import WorstFrames
from seg_perception.files import results_folder
from seg_perception.metrics.free_distance import FreeTimeline
from seg_perception.model_file import ModelInfo
from seg_perception.network import joined
from seg_perception.options import given, refuse
from seg_perception.play.judge import Judge
from seg_perception.play.pace import Pace
from seg_perception.play.play import Feed, Play, camera_parameters, network_parameters
from seg_perception.play.play import numbers as play_numbers
from seg_perception.play.process import NodeProcess
from seg_perception.play.replay import Replay, replay
from seg_perception.play.spool import Spool
from seg_perception.reports import report
from seg_perception.ros import settings
from seg_perception.ros.parameters import PANOPTIC
from seg_perception.ros.real_time import keep_memory

IMAGE_WORDS = ("compressed", "image", "image_raw", "image_color", "image_rect", "image_rect_color")
"""Last parts of image topics, which tell no camera from another."""


def run(arguments: argparse.Namespace) -> int:
    """Play, receive, judge, report; exit codes as of `evaluate`, 130 ended by Ctrl-C with the report of what was done."""
    factor = 1.0 if arguments.rate is None else arguments.rate
    _check(arguments)
    baseline = open_baseline(arguments)
    model = model_file.load(arguments.model)
    sources = open_sources(arguments, model.labels)
    keep_memory()
    with results_folder(arguments.out), ExitStack() as spools:
        names = camera_names([source.part for source in sources]) if len(sources) > 1 else [""]
        feeds = [
            Feed(source, spools.enter_context(Spool(arguments.out)), name)
            for source, name in zip(sources, names, strict=True)
        ]
        with joined(arguments.domain) as network:
            play = Play(feeds, Pace(factor, recorded=True, simulated=arguments.clock), network)
            with NodeProcess(_parameters(arguments, feeds), arguments.out / "node.log", network.node_name) as node:
                play.run(node)
        if not any(feed.spool.answered for feed in feeds):
            if play.interrupted:
                return EXIT_INTERRUPTED
            raise SegPerceptionError(
                f"no frame of {arguments.bag[0]} came back from the node: {(play.problems or [f'see {node.log}'])[0]}"
            )
        told = _judged(feeds, play, model, factor, arguments.clock)
        code = tell(arguments, told, baseline, _summary(told.numbers))
    return EXIT_INTERRUPTED if told.numbers["interrupted"] else code


def _check(arguments: argparse.Namespace) -> None:
    if not arguments.bag:
        raise SegPerceptionError("--mode live plays what was recorded: give a --bag, or use 'run' for anything else")
    if is_fleet(arguments.bag):
        raise SegPerceptionError("--mode live needs the machine for one bag at a time: give one --bag")
    check(arguments)
    options = given(arguments, add_arguments)
    refuse(options, ("tta", "scales"), "not what a robot runs: leave it out, or use --mode offline")
    offline = ("annotate", "rerun", "tracked_labels")
    refuse(options, offline, "for --mode offline, which answers every frame: leave one of them out")


def _parameters(arguments: argparse.Namespace, feeds: Sequence[Feed]) -> dict[str, Any]:
    parameters = {**network_parameters(arguments), **camera_parameters(feeds)}
    parameters[PANOPTIC + "min_ground_confidence"] = arguments.min_ground_confidence
    if arguments.clock:
        parameters["use_sim_time"] = True
    return parameters


def camera_names(topics: Sequence[str]) -> list[str]:
    """A name for the camera of each image topic, as `camera_names` of the node wants them: what comes before
    `image_raw` and the like, or the whole topic where that does not tell them apart; with a number where names still do not."""
    short = ["_".join(part for part in topic.split("/") if part and part not in IMAGE_WORDS) for topic in topics]
    names = short if all(short) and len(set(short)) == len(short) else [topic.strip("/") for topic in topics]
    found: list[str] = []
    for name in (_allowed(re.sub(r"\W", "_", name, flags=re.ASCII)) for name in names):
        numbered = (f"{name}_{number}" for number in itertools.count(2))
        found.append(next(one for one in itertools.chain([name], numbered) if one not in found))
    return found


def _allowed(name: str) -> str:
    """A camera's name, with a word before it where the node would refuse it."""
    try:
        settings.camera_names({"camera_names": (name,)})
    except SegPerceptionError:
        return f"camera_{name}"
    return name


def _judged(feeds: Sequence[Feed], play: Play, model: ModelInfo, factor: float, simulated: bool) -> report.Report:
    whole, worst = Judge(model.labels), WorstFrames(model.labels)
    several = len(feeds) > 1
    judged = [
        replay(feed.source, feed.spool, model.labels, together=whole if several else None, worst=worst)
        for feed in feeds
    ]
    sources = [feed.source for feed in feeds]
    name = ", ".join(source.name for source in sources)
    numbers: dict[str, Any] = {
        "source": name,
        "mode": "live",
        "rate_factor": factor,
        "clock": "simulated" if simulated else "wall",
        "rate_hz": round(sum(source.rate_hz for source in sources) * factor, 3),
        "duration_s": round(play.duration_s, 2),
        **play_numbers(feeds),
        **(whole.numbers() if several else judged[0].numbers),
        "topics": _topics(feeds, judged) if several else {},
        "node": {feed.camera: feed.status for feed in feeds} if several else feeds[0].status,
        "backend": play.backend,
        "model": model.name,
        "machine": machine.describe(),
        "interrupted": play.interrupted or not all(one.finished for one in judged),
        "problems": [
            *play.problems,
            *(problem for source in sources for problem in source.problems),
            *(problem for one in judged for problem in one.problems),
        ],
        "notes": [
            *(note for source in sources for note in source.notes),
            *(note for one in judged for note in one.notes),
        ],
        "classes": list(model.labels.names),
        "per_frame": whole.rows if several else judged[0].rows,
    }
    pictures, pictures_title = worst.pictures(), "Worst answers by mIoU"
    if not pictures:
        pictures, pictures_title = [picture for one in judged for picture in one.pictures], "Sample frames"
    sent = sorted(pair for feed in feeds for pair in zip(feed.spool.sent_s, feed.spool.age_ms, strict=True))
    timeline = report.Timeline([time_s for time_s, _ in sent], [age_ms for _, age_ms in sent])
    free = judged[0].free if not several else FreeTimeline()
    title = f"{model.name} live on {name}"
    film = judged[0].film
    return report.Report(title, numbers, model.labels, pictures, pictures_title, timeline, free, film)


def _topics(feeds: Sequence[Feed], judged: Sequence[Replay]) -> dict[str, Any]:
    return {
        feed.source.part: {"camera": feed.camera, **play_numbers([feed]), **one.numbers}
        for feed, one in zip(feeds, judged, strict=True)
    }


def _summary(numbers: Mapping[str, Any]) -> str:
    """What a robot would notice, for the terminal."""
    lines = []
    for name, part in {"": numbers, **numbers["topics"]}.items():
        age = part["age_ms"]
        ages = f", age p50 {age['p50']:.0f} ms, p95 {age['p95']:.0f} ms by the {numbers['clock']} clock" if age else ""
        lines.append(
            f"{name + ': ' if name else ''}{part['frames_in']} frames sent, {part['frames_out']} answered, "
            f"{part['dropped']} dropped: {report.shown(part['fps'], '{:.1f}')} answers a second{ages}"
        )
    if numbers.get("miou_all") is not None:
        lines.append(f"mIoU {numbers['miou_all']:.3f} by the newest answer at every frame, answered or not")
    return "\n".join(lines)
