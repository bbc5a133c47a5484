"""`benchmark --mode live`: the real node in a process of its own, between cameras faster than it and a planner.

What a planner needs is watched, label_mask and drivable_areas, and no more, since the node computes what is watched. An
answer's age is from sending its image, which is its stamp, to receiving its label mask.

Several cameras make an overload: the first one is alone for ALONE_S before the others begin and after they end, so that
the age without load, the shares and ages under it, and the recovery are seen in one play.
"""

from __future__ import annotations

import argparse
import math
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from numpy.typing import NDArray

from seg_perception.benchmark import benchmark, fixed_rate, overload
from seg_perception.benchmark.overload import Sent
from seg_perception.network import joined
from seg_perception.play.answers import PLANNER_TOPICS
from seg_perception.play.pace import Pace
from seg_perception.play.play import Feed, Play, camera_parameters, network_parameters
from seg_perception.play.play import numbers as play_numbers
from seg_perception.play.process import NodeProcess
from seg_perception.play.spool import AgeSpool
from seg_perception.recordings.sources import Source, SourceFrame
from seg_perception.results import Frame
from seg_perception.ros.real_time import keep_memory
from seg_perception.synthetic.drive import SyntheticDrive

CAMERA_BOUND = 0.95
"""Share of the images that a node answers which is no slower than its cameras."""
ALONE_S = 2.0
"""Seconds; a camera's age without load is the median of these frames."""


Judge = Callable[[Sequence[Feed], int, int, Play, "Watch"], dict[str, Any]]
"""Takes the feeds, how many frames the first was alone for, how many each has, the play, and what the node took."""


def run(arguments: argparse.Namespace) -> int:
    """`benchmark` with the node."""
    return benchmark.run(arguments, measure)


class Images(Source):
    """A calibrated camera that shows the same images in turn, count frames from start_s on."""

    def __init__(
        self, images: Sequence[NDArray[np.uint8]], drive: SyntheticDrive, rate_hz: float, count: int, start_s: float
    ) -> None:
        super().__init__("rendered", "rendered images", rate_hz, count)
        self.camera, self.pose = drive.camera, drive.pose
        self._images, self._start_s = images, start_s

    def _frames(self) -> Iterator[SourceFrame]:
        for index in range(self.count or 0):
            stamp_ns = round((self._start_s + index / self.rate_hz) * 1e9)
            rgb = self._images[index % len(self._images)]
            yield SourceFrame(Frame(rgb, stamp_ns, "camera"), f"frame {index}")


class Watch:
    """What the node took between begin and end: memory that it shares with nobody, and processor time of all threads.

    Shared memory is left out since pages of DDS's ring of images count as resident once each has been written, which
    looks like growth until the ring is round.
    """

    def __init__(self, node: NodeProcess) -> None:
        self._process = psutil.Process(node.pid)
        self.growth_mb = self.cpu_s = self.own_mb = 0.0

    def begin(self) -> None:
        """The node is warm."""
        self.growth_mb, self.cpu_s = (-value for value in self._now())

    def end(self) -> None:
        """All is answered; the node still runs."""
        self.own_mb, cpu_s = self._now()
        self.growth_mb += self.own_mb
        self.cpu_s += cpu_s

    def _now(self) -> tuple[float, float]:
        memory, cpu = self._process.memory_info(), self._process.cpu_times()
        return (memory.rss - memory.shared) / 1e6, cpu.user + cpu.system


def measure(arguments: argparse.Namespace, size_wh: tuple[int, int]) -> dict[str, Any]:
    """Play images of (width, height) to the node for arguments.seconds from each of arguments.cameras at arguments.rate Hz;
    with --all also one camera of each of the fixed rates.

    Raises SegPerceptionError when the node does not start or answers nothing.
    """
    keep_memory()
    numbers = _played(arguments, size_wh, _numbers)
    if arguments.all:
        rates = {}
        for rate_hz in fixed_rate.RATES_HZ:
            alone = argparse.Namespace(**{**vars(arguments), "cameras": 1, "rate": rate_hz})
            rates[f"{rate_hz:g}"] = _played(alone, size_wh, _at_fixed_rate)
        numbers["fixed_rates_hz"] = rates
    return numbers


def _played(arguments: argparse.Namespace, size_wh: tuple[int, int], judge: Judge) -> dict[str, Any]:
    count = max(2, math.ceil(arguments.seconds * arguments.rate))
    alone = math.ceil(ALONE_S * arguments.rate) if arguments.cameras > 1 else 0
    with tempfile.TemporaryDirectory() as folder, ExitStack() as spools:
        feeds = _feeds(arguments, size_wh, count, alone, Path(folder), spools)
        network = spools.enter_context(joined(arguments.domain))
        play = Play(feeds, Pace(recorded=True), network, PLANNER_TOPICS)
        parameters = {**network_parameters(arguments), **camera_parameters(feeds)}
        with NodeProcess(parameters, Path(folder) / "node.log", network.node_name) as node:
            watch = Watch(node)
            play.run(node, warm=watch.begin)
            if play.interrupted:
                raise KeyboardInterrupt
            node.check()
            watch.end()
        return judge(feeds, alone, count, play, watch)


def _feeds(
    arguments: argparse.Namespace, size_wh: tuple[int, int], count: int, alone: int, folder: Path, spools: ExitStack
) -> list[Feed]:
    """The cameras, evenly out of step, of count frames; alone: more of the first one, before and after the others."""
    images, drive, cameras = benchmark.camera_images(size_wh), SyntheticDrive(*size_wh), arguments.cameras
    feeds = []
    for index in range(cameras):
        first = index == 0
        frames = count + (2 * alone if first else 0)
        start_s = (index / cameras + (0 if first else alone)) / arguments.rate
        source = Images(images, drive, arguments.rate, frames, start_s)
        name = f"camera{index}" if cameras > 1 else ""
        feeds.append(Feed(source, spools.enter_context(AgeSpool(folder)), name))
    return feeds


def _at_fixed_rate(feeds: Sequence[Feed], alone: int, count: int, play: Play, watch: Watch) -> dict[str, Any]:
    """Of one camera: see fixed_rate.figures; beside them the node's load, 100 % being one core, and its own memory."""
    (feed,) = feeds
    rate_hz = float(feed.source.rate_hz)
    return {
        **fixed_rate.figures(feed.spool.sent_s, feed.spool.age_ms, rate_hz),
        "cpu_percent": round(1e2 * watch.cpu_s * rate_hz / count, 1),
        "memory_mb": round(watch.own_mb, 1),
        "problems": list(play.problems),
    }


def _numbers(feeds: Sequence[Feed], alone: int, count: int, play: Play, watch: Watch) -> dict[str, Any]:
    """What `benchmark` adds to its own: see overload.summary; stages and losses as the node itself counts them. cpu_ms:
    processor time of the node, all threads, by the frames that it answered."""
    cameras = [
        Sent(feed.camera or "camera", feed.spool.sent_s, feed.spool.age_ms, 0 if index else alone)
        for index, feed in enumerate(feeds)
    ]
    seen = overload.summary(cameras, count)
    told = play_numbers(feeds)
    stages, problems = told["stages_ms"], list(play.problems)
    if seen["fps"] > CAMERA_BOUND * seen["sent_hz"]:
        problems.append("nearly every image was answered, so the camera set the rate and not the node: raise --rate")
    return {
        "end_to_end_fps": seen.pop("fps"),
        "age_ms": seen.pop("age_ms"),
        "end_to_end": {
            "watched": list(PLANNER_TOPICS),
            **seen,
            "lost_before_node": told["lost_before_node"],
            "stages_ms": stages,
            "overhead_ms": round(sum(stage["p50"] for name, stage in stages.items() if name != "network"), 3),
            "cpu_ms": round(watch.cpu_s * 1e3 / told["frames_out"], 2),
            "rss_growth_mb": round(watch.growth_mb, 3),
            "problems": problems,
        },
    }
