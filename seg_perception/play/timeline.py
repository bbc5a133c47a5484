"""What overlapping the two halves of a frame's way gives, measured and drawn: `python -m seg_perception.play.timeline`.

One camera of the node runs rendered images, a new one being there whenever one is taken, while another process watches
the masks and the drivable areas in pixels, as a planner does. --network-ms stands in for a GPU: the network's answer
takes so long and leaves the CPU alone. Each way runs in turn, several times.

Example:
  python -m seg_perception.play.timeline --model models/driving_mobileseg.onnx --network-ms 10
"""

from __future__ import annotations

import argparse
import itertools
import multiprocessing
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import rclpy
from numpy.typing import NDArray
from rclpy.executors import ExternalShutdownException
from rclpy.lifecycle import LifecycleNode
from sensor_msgs.msg import Image
from tqdm import tqdm

from seg_perception import backends, model_file
from seg_perception.errors import SegPerceptionError
from seg_perception.metrics.times import percentiles
from seg_perception.model_file import ModelInfo
from seg_perception.network import joined
from seg_perception.options import number
from seg_perception.play.answers import PLANNER_TOPICS, WATCHED
from seg_perception.results import NetworkOutput
from seg_perception.ros.camera import Camera, HalfDone
from seg_perception.ros.fill_messages import ImageFiller
from seg_perception.ros.inputs import Arrival
from seg_perception.ros.lane import Lane
from seg_perception.ros.outputs import qos_profile
from seg_perception.ros.real_time import keep_memory
from seg_perception.ros.settings import Settings
from seg_perception.synthetic.drive import SyntheticDrive

WAYS = {1: "one after the other", 2: "overlapped"}
"""By the number of threads."""
ROUNDS, FRAMES, DRAWN_FRAMES = 15, 15, 6
IMAGES = 4
COLUMNS = 100


@dataclass(frozen=True)
class Span:
    """A frame in one of the two places of its way; seconds."""

    place: str
    frame: int
    begin_s: float
    end_s: float


def gantt(spans: Sequence[Span], columns: int = COLUMNS) -> list[str]:
    """A line for each place, in the order of their first use: a frame is drawn as the last digit of its number."""
    start_s, end_s = min(span.begin_s for span in spans), max(span.end_s for span in spans)
    lines = {span.place: [" "] * columns for span in sorted(spans, key=lambda span: span.begin_s)}
    for span in spans:
        first, last = (round((t - start_s) / (end_s - start_s) * columns) for t in (span.begin_s, span.end_s))
        lines[span.place][first:last] = str(span.frame % 10) * (last - first)
    return [f"{place:8} |{''.join(line)}|" for place, line in lines.items()]


class _Waiting:
    """A network on a device of its own, as the CPU sees it: the same answer always, after a while."""

    def __init__(self, model: ModelInfo, output: NetworkOutput, seconds: float) -> None:
        self.model = model
        self._output, self._seconds = output, seconds

    def infer(self, images: NDArray[np.uint8]) -> NetworkOutput:
        time.sleep(self._seconds)
        return self._output

    def warm_up(self) -> None:
        """Nothing to do."""

    def describe(self) -> Mapping[str, str]:
        return {"device": "none"}

    def close(self) -> None:
        """Nothing to do."""


class _Run:
    """Frames without end to a camera, and the spans of those that came through."""

    def __init__(self, camera: Camera, messages: Sequence[Image], settings: Settings, threads: int) -> None:
        self._camera, self._messages, self._settings, self._threads = camera, messages, settings, threads
        self._numbers: dict[int, int] = {}
        self._count = itertools.count()
        self.spans: list[Span] = []
        self.ages_ms: list[float] = []

    def fps(self, frames: int) -> float:
        """Frames a second of so many frames."""
        self._left = frames
        lane = Lane(self, [self], lambda: self._settings)
        threads = [threading.Thread(target=lane.work, args=(slot,)) for slot in range(self._threads)]
        start_s = time.monotonic()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return frames / (time.monotonic() - start_s)

    def take(self) -> tuple[int, Arrival] | None:
        if not self._left:
            return None
        self._left -= 1
        arrival = Arrival(self._messages[self._left % len(self._messages)], time.monotonic())
        self._numbers[id(arrival)] = next(self._count)
        return 0, arrival

    def see(self, arrival: Arrival, settings: Settings, slot: int) -> HalfDone | None:
        begin_s = time.monotonic()
        half = self._camera.see(arrival, settings, slot)
        self.spans.append(Span("network", self._numbers[id(arrival)], begin_s, time.monotonic()))
        return half

    def publish(self, half: HalfDone) -> None:
        begin_s = time.monotonic()
        self._camera.publish(half)
        end_s = time.monotonic()
        self.spans.append(Span("publish", self._numbers.pop(id(half.arrival)), begin_s, end_s))
        self.ages_ms.append((end_s - half.arrival.arrived_s) * 1e3)


def measure(model: ModelInfo, network_ms: float) -> dict[str, Any]:
    """By way: frames a second, ages and the time of each place in ms, and the spans of the last round's first frames."""
    with joined() as network:
        return _measure(model, network_ms, network.node_name)


def _measure(model: ModelInfo, network_ms: float, node_name: str) -> dict[str, Any]:
    keep_memory()
    watcher = multiprocessing.get_context("spawn").Process(target=_watch, args=(node_name,), daemon=True)
    watcher.start()
    rclpy.init()
    node = LifecycleNode(node_name)
    backend = backends.choose(model, backend="onnxruntime", log=print)
    drive = SyntheticDrive()
    settings = Settings.from_values({})
    try:
        if network_ms:
            model = model.at(model.size_hw)
            images = np.zeros((1, *model.size_hw, 3), np.uint8)
            found = backend.infer(images)
            output = NetworkOutput(*(getattr(found, name).copy() for name in found.__dataclass_fields__))
            backend = _Waiting(model, output, network_ms / 1e3)
        camera = Camera(node, "", backend, settings, None, lambda: None, lambda *_: None, slots=2)
        node.trigger_configure()
        node.trigger_activate()
        camera.warm_up()
        camera.listen(lambda arrival: False)
        while len(camera.outputs.watched(settings)) < len(PLANNER_TOPICS):
            if not watcher.is_alive():
                raise SegPerceptionError("the process that watches ended: what it printed above says why")
            time.sleep(0.05)
        messages = [_message(drive.frame(i).rgb) for i in range(IMAGES)]
        return _in_turn({threads: _Run(camera, messages, settings, threads) for threads in WAYS})
    finally:
        backend.close()
        rclpy.shutdown()
        watcher.terminate()
        watcher.join()


def _in_turn(runs: Mapping[int, _Run]) -> dict[str, Any]:
    """Rounds of both ways, so that whatever else the machine does disturbs both alike."""
    fps: dict[int, list[float]] = {threads: [] for threads in runs}
    for _ in tqdm(range(ROUNDS), unit="round", desc="timeline"):
        for threads, run in runs.items():
            run.spans.clear()
            fps[threads].append(run.fps(FRAMES))
    return {
        WAYS[threads]: {
            "fps": median(fps[threads]),
            "ratio": median(a / b for a, b in zip(fps[threads], fps[1])),
            "age_ms": percentiles(run.ages_ms, 50, 95),
            "spans": [s for s in run.spans if s.frame - min(span.frame for span in run.spans) < DRAWN_FRAMES],
        }
        for threads, run in runs.items()
    }


def _message(rgb: NDArray[np.uint8]) -> Image:
    return ImageFiller("rgb8").fill(rgb, Image().header)


def _watch(node_name: str) -> None:
    """The planner's process."""
    rclpy.init()
    node = rclpy.create_node("planner")
    for name in PLANNER_TOPICS:
        node.create_subscription(WATCHED[name], f"/{node_name}/{name}", lambda message: None, qos_profile("reliable"))
    try:
        rclpy.spin(node)
    except ExternalShutdownException:
        return


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True, metavar="M", help="model file (ONNX)")
    parser.add_argument(
        "--network-ms",
        type=number("--network-ms", least=0),
        default=0.0,
        metavar="MS",
        help="stand in for a GPU (default: none)",
    )
    given = parser.parse_args(arguments)
    for way, seen in measure(model_file.load(given.model), given.network_ms).items():
        age = seen["age_ms"]
        print(
            f"{way}: {seen['fps']:.1f} frames a second ({seen['ratio']:.2f} times the first), "
            f"age p50 {age['p50']:.1f} ms, p95 {age['p95']:.1f} ms"
        )
        span_s = max(s.end_s for s in seen["spans"]) - min(s.begin_s for s in seen["spans"])
        print("\n".join(gantt(seen["spans"])), f"{span_s * 1e3:.0f} ms\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
