"""What the node's ways of running frames give, measured and drawn: `python -m seg_perception.play.timeline`.

With one camera: the two halves of a frame's way one after the other, and overlapped. With several: one frame at a time, and
batched, overlapped where a device does the work. The cameras run rendered images, a new one being there whenever one is
taken, while another process watches the masks and the drivable areas in pixels, as a planner does. --network-ms stands in
for a GPU: the network's answer takes so long, --more-ms longer for each further image of a batch, and leaves the CPU alone.
Each way runs in turn, several times.

Examples:
  python -m seg_perception.play.timeline --model models/driving_mobileseg.onnx --network-ms 10
  python -m seg_perception.play.timeline --model models/driving_mobileseg.onnx --network-ms 10 --more-ms 3 --cameras 4
"""

from __future__ import annotations

import argparse
import itertools
import multiprocessing
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
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
from seg_perception.backends.base import Backend
from seg_perception.backends.batches import Answer, Batches
from seg_perception.errors import EXIT_ERROR, SegPerceptionError
from seg_perception.metrics.times import percentiles
from seg_perception.model_file import ModelInfo
from seg_perception.network import joined
from seg_perception.options import number, whole
from seg_perception.play.answers import PLANNER_TOPICS, WATCHED
from seg_perception.results import NetworkOutput
from seg_perception.ros.camera import Camera, HalfDone, Prepared
from seg_perception.ros.fill_messages import ImageFiller
from seg_perception.ros.inputs import Arrival
from seg_perception.ros.lane import MOST_TOGETHER, Lane
from seg_perception.ros.outputs import qos_profile
from seg_perception.ros.real_time import keep_memory
from seg_perception.ros.settings import Settings
from seg_perception.synthetic.drive import SyntheticDrive
from seg_perception.writing import user_path

ROUNDS, FRAMES, DRAWN_FRAMES = 15, 15, 6
IMAGES = 4
COLUMNS = 100


@dataclass(frozen=True)
class Way:
    """threads: of the lane; together: frames in a batch."""

    name: str
    threads: int = 1
    together: int = 1


def ways(cameras: int, on_device: bool) -> tuple[Way, ...]:
    """Those that are compared."""
    if cameras == 1:
        return Way("one after the other"), Way("overlapped", threads=2)
    threads = 2 if on_device else 1
    return Way("one at a time", threads), Way("batched", threads, min(cameras, MOST_TOGETHER))


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

    def __init__(self, model: ModelInfo, output: NetworkOutput, seconds: float, more_s: float) -> None:
        """more_s: for each further image of a batch."""
        self.model = model
        self._seconds, self._more_s = seconds, more_s
        parts = output.semantic_logits, output.center_heatmap, output.center_offset
        self._outputs = [
            NetworkOutput(*(np.repeat(part, count, axis=0) for part in parts)) for count in range(1, MOST_TOGETHER + 1)
        ]

    def infer(self, images: NDArray[np.uint8]) -> NetworkOutput:
        more = len(images) - 1
        time.sleep(self._seconds + more * self._more_s)
        return self._outputs[more]

    def warm_up(self) -> None:
        """Nothing to do."""

    def describe(self) -> Mapping[str, str]:
        return {"device": "none"}

    def close(self) -> None:
        """Nothing to do."""


class _Run:
    """Frames without end to the cameras, in turn, and the spans of those that came through."""

    def __init__(
        self, cameras: Sequence[Camera], backend: Backend, messages: Sequence[Image], settings: Settings, way: Way
    ) -> None:
        self._cameras, self._backend, self._messages = cameras, backend, messages
        self._settings, self.way, self._batches = settings, way, Batches()
        self._numbers: dict[int, int] = {}
        self._left_s: dict[str, float] = {}
        self._count = itertools.count()
        self._turn = itertools.cycle(range(len(cameras)))
        self.spans: list[Span] = []
        self.ages_ms: list[float] = []

    def fps(self, frames: int) -> float:
        """Frames a second of so many frames."""
        self._left = frames
        steps = [_Watched(self, camera) for camera in self._cameras]
        lane = Lane(self, steps, lambda: self._settings, self._answers, self.way.together)
        threads = [threading.Thread(target=lane.work, args=(slot,)) for slot in range(self.way.threads)]
        start_s = time.monotonic()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return frames / (time.monotonic() - start_s)

    @property
    def cameras(self) -> int:
        """How many there are."""
        return len(self._cameras)

    def take(self, most: int, wait_s: float, ended: Callable[[], bool]) -> Sequence[tuple[int, Arrival]]:
        """See Frames: there is always one, until there are no more."""
        taken = [(next(self._turn), self._arrival()) for _ in range(min(most, self._left))]
        self._left -= len(taken)
        return taken

    def wake(self) -> None:
        """See Frames: nobody waits."""

    def _arrival(self) -> Arrival:
        number = next(self._count)
        arrival = Arrival(self._messages[number % len(self._messages)], time.monotonic())
        self._numbers[id(arrival)] = number
        return arrival

    def _answers(self, prepared: Sequence[Prepared]) -> Iterator[tuple[int, Answer]]:
        return self._batches.answers(self._backend, [one.ready.images for one in prepared])

    def note(self, place: str, arrival: Arrival, begin_s: float) -> None:
        """A frame leaves a place. Of a batch, each is drawn from when the one before it left."""
        end_s = time.monotonic()
        self.spans.append(Span(place, self._numbers[id(arrival)], max(begin_s, self._left_s.get(place, 0.0)), end_s))
        self._left_s[place] = end_s


class _Watched:
    """A camera's steps, noted."""

    def __init__(self, run: _Run, camera: Camera) -> None:
        self._run, self._camera = run, camera

    def prepare(self, arrival: Arrival, settings: Settings, slot: int, place: int) -> Prepared | None:
        return self._camera.prepare(arrival, settings, slot, place)

    def see(self, prepared: Prepared, answer: Answer) -> HalfDone | None:
        half = self._camera.see(prepared, answer)
        self._run.note("network", prepared.arrival, prepared.ready.preprocess[0] / 1e9)
        return half

    def publish(self, half: HalfDone) -> None:
        begin_s, arrival = time.monotonic(), half.prepared.arrival
        self._camera.publish(half)
        self._run.note("publish", arrival, begin_s)
        self._run.ages_ms.append((time.monotonic() - arrival.arrived_s) * 1e3)


def measure(model: ModelInfo, network_ms: float, more_ms: float = 0.0, cameras: int = 1) -> dict[str, Any]:
    """By way: frames a second, ages and the time of each place in ms, and the spans of the last round's first frames."""
    with joined() as network:
        return _measure(model, network_ms / 1e3, more_ms / 1e3, cameras, network.node_name)


def _measure(model: ModelInfo, network_s: float, more_s: float, count: int, node_name: str) -> dict[str, Any]:
    keep_memory()
    names = [f"camera{index}" for index in range(count)] if count > 1 else [""]
    watcher = multiprocessing.get_context("spawn").Process(target=_watch, args=(node_name, names), daemon=True)
    watcher.start()
    rclpy.init()
    node = LifecycleNode(node_name)
    backend = backends.choose(model, backend="onnxruntime", log=print)
    drive = SyntheticDrive()
    settings = Settings.from_values({"camera_names": names} if count > 1 else {})
    try:
        if network_s:
            model = model.at(model.size_hw)
            output = backend.infer(np.zeros((1, *model.size_hw, 3), np.uint8))
            backend = _Waiting(model, output, network_s, more_s)
        cameras = [
            Camera(node, name, backend, settings, None, lambda: None, lambda *_: None, slots=2) for name in names
        ]
        node.trigger_configure()
        node.trigger_activate()
        cameras[0].warm_up()
        for camera in cameras:
            camera.listen(lambda arrival: False)
            while len(camera.outputs.watched(settings)) < len(PLANNER_TOPICS):
                if not watcher.is_alive():
                    raise SegPerceptionError("the process that watches ended: what it printed above says why")
                time.sleep(0.05)
        messages = [_message(drive.frame(i).rgb) for i in range(IMAGES)]
        return _in_turn([_Run(cameras, backend, messages, settings, way) for way in ways(count, network_s > 0)])
    finally:
        backend.close()
        rclpy.shutdown()
        watcher.terminate()
        watcher.join()


def _in_turn(runs: Sequence[_Run]) -> dict[str, Any]:
    """Rounds of all ways, so that whatever else the machine does disturbs them alike."""
    fps: list[list[float]] = [[] for _ in runs]
    for _ in tqdm(range(ROUNDS), unit="round", desc="timeline"):
        for run, seen in zip(runs, fps):
            run.spans.clear()
            seen.append(run.fps(FRAMES * run.cameras))
    return {
        run.way.name: {
            "fps": median(seen),
            "ratio": median(a / b for a, b in zip(seen, fps[0])),
            "age_ms": percentiles(run.ages_ms, 50, 95),
            "spans": _first(run.spans, max(DRAWN_FRAMES, 3 * run.cameras)),
        }
        for run, seen in zip(runs, fps)
    }


def _first(spans: Sequence[Span], frames: int) -> list[Span]:
    first = min(span.frame for span in spans)
    return [span for span in spans if span.frame < first + frames]


def _message(rgb: NDArray[np.uint8]) -> Image:
    return ImageFiller("rgb8").fill(rgb, Image().header)


def _watch(node_name: str, cameras: Sequence[str]) -> None:
    """The planner's process."""
    rclpy.init()
    node = rclpy.create_node("planner")
    for camera, name in itertools.product(cameras, PLANNER_TOPICS):
        topic = "/".join(filter(None, ("", node_name, camera, name)))
        node.create_subscription(WATCHED[name], topic, lambda message: None, qos_profile("reliable"))
    try:
        rclpy.spin(node)
    except ExternalShutdownException:
        return


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print; 0, or 2 where one sentence says why not."""
    try:
        _run(arguments)
    except SegPerceptionError as error:
        print(f"timeline: {error}", file=sys.stderr)
        return EXIT_ERROR
    return 0


def _run(arguments: Sequence[str] | None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=user_path, required=True, metavar="M", help="model file (ONNX)")
    parser.add_argument(
        "--network-ms",
        type=number("--network-ms", least=0),
        default=0.0,
        metavar="MS",
        help="stand in for a GPU (default: none)",
    )
    parser.add_argument(
        "--more-ms",
        type=number("--more-ms", least=0),
        default=0.0,
        metavar="MS",
        help="longer for each further image of a batch (default: 0)",
    )
    parser.add_argument("--cameras", type=whole("--cameras", 1), default=1, metavar="N", help="cameras (default: 1)")
    given = parser.parse_args(arguments)
    if given.more_ms and not (given.network_ms and given.cameras > 1):
        raise SegPerceptionError("--more-ms needs --network-ms and --cameras: it is of further images of a batch")
    told = measure(model_file.load(given.model), given.network_ms, given.more_ms, given.cameras)
    for way, seen in told.items():
        age = seen["age_ms"]
        print(
            f"{way}: {seen['fps']:.1f} frames a second ({seen['ratio']:.2f} times the first), "
            f"age p50 {age['p50']:.1f} ms, p95 {age['p95']:.1f} ms"
        )
        span_s = max(s.end_s for s in seen["spans"]) - min(s.begin_s for s in seen["spans"])
        print("\n".join(gantt(seen["spans"])), f"{span_s * 1e3:.0f} ms\n")


if __name__ == "__main__":
    sys.exit(main())
