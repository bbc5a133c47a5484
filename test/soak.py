"""The real node at 30 images a second with faults of every kind mixed in, and what it cost: `make soak MINUTES=30`.

Prints memory, files, threads and shared memory over time, and whether each good frame was answered or counted as
replaced. Exit code 1 where something grew or a frame is unaccounted for.
"""

from __future__ import annotations

import argparse
import json
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from diagnostic_msgs.srv import SelfTest
from fakes import with_answer
from faults import NAN, THROW
from lifecycle_msgs.msg import Transition
from places import CHECKOUT, TESTS
from rclpy.executors import ExternalShutdownException
from rclpy.node import Node
from ros_harness import (
    EVERY_MESSAGE,
    RELIABLE,
    FakeCamera,
    NodeProcess,
    Peer,
    change_state,
    make_tiny_model,
    ros_domain,
    set_parameters,
    stamp_ns,
    values_of,
)
from sensor_msgs.msg import Image

from seg_perception.model_file import OUTPUTS
from seg_perception.ros import outputs, topics

RATE_HZ = 30.0
BOUND_S = 1.0
"""From sending an image to its mask."""
START_S = 300.0
"""Until a node that compiles on a busy machine answers, at most."""
GROWTH = 0.01
"""Of memory, after warming up."""
MOST_KILLED = 20
"""Subscribers, in one run: Fast DDS never takes back from the node's shared memory what a killed one had not read yet."""
COUNTED = ("frames_in", "frames_out", "dropped", "lost", "bad_frames")
SIZES = ((320, 240), (192, 128), (256, 144), (144, 256))
WATCHED = ("instance_mask", "segments", "drivable_areas", "segmentation_mask")


class Stream:
    """A camera that goes on in a thread of its own, and which of its images were answered when."""

    def __init__(self, peer: Peer, seed: int) -> None:
        self._peer, self._camera = peer, FakeCamera(peer, size_wh=SIZES[0])
        self._random = random.Random(seed)
        self._lock = threading.Lock()
        self.waiting: dict[int, float] = {}
        self.ages_s: list[float] = []
        self.counts: Counter[str] = Counter()
        self.bad: set[int] = set()
        self.wrong: list[str] = []
        self.odd: list[Image] = []
        self.flowing, self._ended = threading.Event(), threading.Event()
        peer.node.create_subscription(Image, "/segmentation/label_mask", self._answer, EVERY_MESSAGE)
        self._thread = threading.Thread(target=self._flow, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._ended.set()
        self._thread.join()

    def resize(self, size_wh: tuple[int, int]) -> None:
        self._camera.size_wh = size_wh
        self._camera.send_info()

    def image(self, frame_id: str = "camera") -> Image:
        message = self._camera.message(seed=self._random.randrange(8))
        message.header.frame_id = frame_id
        return message

    def send(self) -> int:
        """The next of the odd images, else a good one; returns its stamp."""
        with self._lock:
            message, good = (self.odd.pop(0), False) if self.odd else (self.image(), True)
            self.counts["sent"] += 1
            self.counts["good"] += good
            if good:
                self.waiting[stamp_ns(message)] = time.monotonic()
        self._camera.send(message)
        return stamp_ns(message)

    def _flow(self) -> None:
        next_s = time.monotonic()
        while not self._ended.is_set():
            if self.flowing.wait(0.1):
                self.send()
            next_s = max(next_s + 1 / RATE_HZ, time.monotonic() - 1 / RATE_HZ)
            time.sleep(max(0.0, next_s - time.monotonic()))

    def _answer(self, mask: Any) -> None:
        stamp, now_s = stamp_ns(mask), time.monotonic()
        with self._lock:
            sent_s = self.waiting.pop(stamp, None)
            self.counts["masks"] += 1
            if sent_s is not None:
                self.ages_s.append(now_s - sent_s)
                self.counts["answered"] += 1
            elif stamp in self.bad:
                self.wrong.append("a mask of an image that the network failed at")

    def begin_count(self) -> None:
        with self._lock:
            self.waiting.clear()
            self.counts = Counter({"masks_all": self.counts["masks_all"] + self.counts["masks"]})


class Soak:
    """One run; `events` lists its faults."""

    def __init__(self, seed: int, model: Path) -> None:
        self._random = random.Random(seed)
        self.peer = Peer("soak")
        self.diagnostics: list[DiagnosticArray] = []
        self.peer.node.create_subscription(DiagnosticArray, "/diagnostics", self._hear, RELIABLE)
        parameters = {
            "model": str(model),
            "backend": "onnxruntime",
            "use_tf": False,
            "camera_pose": [0.0, 0.0, 1.2, 0.0, 0.2, 0.0],
            "backend_restarts": 1000,
            "camera_timeout": 1.0,
        }
        self.node = NodeProcess(parameters, faults=["network"])
        self.stream = Stream(self.peer, seed)
        self.watcher: subprocess.Popen[bytes] | None = None
        self.samples: list[dict[str, float]] = []
        self.happened: Counter[str] = Counter()
        self.totals: Counter[str] = Counter()
        self.unaccounted = 0
        self._base: dict[str, str] = {}

    def _hear(self, message: DiagnosticArray) -> None:
        self.diagnostics[:] = [*self.diagnostics[-3:], message]

    def close(self) -> int:
        """End all; returns the node's exit code."""
        self.stream.close()
        if self.watcher is not None:
            self.watcher.kill()
            self.watcher.wait()
        try:
            return self.node.stop()
        finally:
            self.node.close()
            self.peer.close()

    def run(self, seconds: float, pause_s: float, each_fault_once: bool = False) -> None:
        """Frames and faults for so long, and a fault every pause_s; each_fault_once: longer where not all have been."""
        self._begin()
        events = self.events()
        started_s = time.monotonic()
        left: list[Callable[[], None]] = []
        while time.monotonic() - started_s < seconds or (each_fault_once and len(self.happened) < len(events)):
            if not left:
                left = self._random.sample(events, len(events))
            event = left.pop()
            self.happened[event.__name__] += 1
            event()
            self._settle(pause_s)
            self.samples.append(self._sample(time.monotonic() - started_s))
        self._account()

    def _settle(self, pause_s: float) -> None:
        self.stream.flowing.set()
        time.sleep(pause_s)

    def events(self) -> list[Callable[[], None]]:
        return [
            self.bad_messages,
            self.stall,
            self.resize,
            self.throw,
            self.not_a_number,
            self.tune,
            self.deactivate,
            self.kill_subscriber,
            self.test_itself,
        ]

    def bad_messages(self) -> None:
        """Messages that are no images, or worse."""
        good = self.stream.image()
        width, height = good.width, good.height
        for change in (
            {"encoding": "nonsense"},
            {"data": good.data[:-1]},
            {"height": 0},
            {"step": 1},
            {"width": 1, "height": 65535, "step": 3, "data": bytes(3 * 65535)},
            {"width": 65535, "height": 1, "step": 3 * 65535, "data": bytes(3 * 65535)},
        ):
            message = Image(
                header=self.stream.image().header, encoding="rgb8", width=width, height=height, step=good.step
            )
            message.data = good.data
            for name, value in change.items():
                setattr(message, name, value)
            self.stream.odd.append(message)

    def stall(self) -> None:
        self.stream.flowing.clear()
        time.sleep(self._random.uniform(0.5, 2.5))

    def resize(self) -> None:
        self.stream.resize(self._random.choice(SIZES))

    def throw(self) -> None:
        self._fail(THROW)

    def not_a_number(self) -> None:
        self._fail(NAN + self._random.choice(OUTPUTS))

    def _fail(self, frame_id: str) -> None:
        message = self.stream.image(frame_id)
        self.stream.bad.add(stamp_ns(message))
        self.stream.odd.append(message)

    def tune(self) -> None:
        answer = set_parameters(
            self.peer,
            jpeg_quality=self._random.randint(1, 100),
            panoptic__max_instances=self._random.randint(10, 200),
            drivable__resolution_m=self._random.choice([0.1, 0.2]),
        )
        self._expect(answer.successful, f"parameters: {answer.reason}")

    def deactivate(self) -> None:
        """Count, then change state while images go on."""
        self._account()
        self.stream.flowing.set()
        for transition in (Transition.TRANSITION_DEACTIVATE, Transition.TRANSITION_ACTIVATE):
            self._expect(change_state(self.peer, transition), f"transition {transition}")
        self._begin()

    def kill_subscriber(self) -> None:
        """One that watches everything, in the middle of it; later ones may leave in order, see MOST_KILLED."""
        if self.watcher is not None:
            self.watcher.send_signal(
                signal.SIGKILL if self.happened["kill_subscriber"] <= MOST_KILLED else signal.SIGTERM
            )
            self.watcher.wait()
        self.watcher = subprocess.Popen([sys.executable, str(TESTS / "soak.py"), "--watch"], cwd=CHECKOUT)

    def test_itself(self) -> None:
        answer = self.peer.call(SelfTest, "/segmentation/self_test", SelfTest.Request())
        self._expect(answer.passed == b"\x01", f"self-test: {[status.message for status in answer.status]}")

    def _expect(self, true: object, what: str) -> None:
        if not true:
            self.stream.wrong.append(what)

    def _begin(self) -> None:
        """Wait until images go all the way, and count from there."""
        before = self.stream.counts["answered"]
        self.stream.flowing.set()
        self.peer.until(lambda: self.stream.counts["answered"] > before + 2, "masks", START_S)
        self._base = self._quiet()
        self.stream.begin_count()
        self.stream.flowing.set()

    def _quiet(self) -> dict[str, str]:
        """Stop the images, wait until all are answered, and read the node's counts."""
        self.stream.flowing.clear()
        self.peer.until(
            self._answered, "the last image's mask", START_S
        )  # one that is lost is seen by the next that is not
        before: dict[str, str] = {}

        def settled() -> bool:
            """Two diagnostics in a row say the same, and that every image has had its answer."""
            nonlocal before
            now = {name: values[name] for name in COUNTED if name in (values := values_of(self.diagnostics, "camera"))}
            now["heard"] = str(id(self.diagnostics[-1])) if self.diagnostics else ""
            if now["heard"] == before.get("heard", ""):
                return False
            same = {**before, "heard": ""} == {**now, "heard": ""}
            before = now
            answered = sum(int(now.get(name, 0)) for name in ("frames_out", "dropped", "bad_frames"))
            return same and int(now.get("frames_in", -1)) == answered

        self.peer.until(settled, "rest", START_S)
        return values_of(self.diagnostics, "camera")

    def _answered(self) -> bool:
        """Whether an image that is sent now is answered; the odd ones go before it."""
        time.sleep(0.3)
        while self.stream.odd:
            self.stream.send()
        last = self.stream.send()
        time.sleep(0.3)
        return last not in self.stream.waiting

    def _account(self) -> None:
        """Each good image since the last count has a mask, or is among those that the node says it replaced or lost."""
        now = self._quiet()
        counts = self.stream.counts
        since = {name: int(now[name]) - int(self._base[name]) for name in COUNTED}
        unheard = counts["sent"] - since["frames_in"] - since["lost"]
        unanswered = counts["good"] - counts["answered"]
        self.unaccounted += abs(unheard) + max(0, unanswered - since["dropped"] - since["lost"])
        self.totals.update(counts)
        self.totals.update({name: since[name] for name in ("dropped", "lost", "bad_frames")})
        self._base = now
        self.stream.begin_count()

    def _sample(self, at_s: float) -> dict[str, float]:
        process = Path("/proc") / str(self.node.pid)
        rollup = dict(line.split(":") for line in (process / "smaps_rollup").read_text().splitlines()[1:])
        maps = (process / "maps").read_text().splitlines()
        return {
            "at_s": at_s,
            "rss_kb": int(rollup["Rss"].split()[0]),
            "pss_kb": int(rollup["Pss"].split()[0]),
            "own_kb": int(rollup["Anonymous"].split()[0]),
            "fds": len(list((process / "fd").iterdir())),
            "threads": len(list((process / "task").iterdir())),
            "shm": len({line.split()[-1] for line in maps if "/dev/shm/" in line}),
        }

    def figures(self, code: int) -> dict[str, Any]:
        """What the run says."""
        warm = self.samples[len(self.samples) // 5 :]
        part = max(1, len(warm) // 4)

        def ends(name: str) -> tuple[float, float]:
            values = [sample[name] for sample in warm]
            return statistics.median(values[:part]), statistics.median(values[-part:])

        ages = sorted(self.stream.ages_s)
        memory = {name: ends(name) for name in ("rss_kb", "pss_kb", "own_kb", "fds", "threads", "shm")}
        return {
            "seconds": self.samples[-1]["at_s"],
            "events": dict(self.happened),
            "images": {
                name: self.totals[name] for name in ("sent", "good", "answered", "dropped", "lost", "bad_frames")
            },
            "unaccounted": self.unaccounted,
            "age_ms": {
                name: 1e3 * ages[min(len(ages) - 1, int(share * len(ages)))]
                for name, share in (("p50", 0.5), ("p95", 0.95), ("p99", 0.99), ("max", 1.0))
            },
            "late": sum(age > BOUND_S for age in ages),
            "first": {name: values[0] for name, values in memory.items()},
            "last": {name: values[1] for name, values in memory.items()},
            "growth": {name: last / first - 1 for name, (first, last) in memory.items()},
            "wrong": self.stream.wrong,
            "exit_code": code,
            "over_time": {name: [sample[name] for sample in self.samples] for name in ("at_s", "rss_kb", "own_kb")},
        }


def broken(figures: dict[str, Any], growth: float = GROWTH) -> list[str]:
    """What of the figures is not as it must be."""
    said = list(figures["wrong"])
    said += [
        f"{name} grew by {figures['growth'][name]:.2%}"
        for name in ("rss_kb", "own_kb")  # its share of what others use too grows when others end
        if figures["growth"][name] > growth
    ]
    said += [
        f"{name} grew from {figures['first'][name]:g} to {figures['last'][name]:g}"
        for name in ("fds", "threads", "shm")
        if figures["last"][name] > figures["first"][name]
    ]
    if figures["unaccounted"]:
        said.append(f"{figures['unaccounted']} images are unaccounted for")
    if figures["late"]:
        said.append(f"{figures['late']} masks came later than {BOUND_S:g} s")
    if figures["exit_code"]:
        said.append(f"the node ended with {figures['exit_code']}")
    return said


def soak(
    seconds: float, seed: int, pause_s: float, model: Path | None = None, each_fault_once: bool = False
) -> dict[str, Any]:
    """Run it; returns the figures."""
    with ros_domain(), tempfile.TemporaryDirectory() as folder:
        one = Soak(seed, model or with_answer(make_tiny_model(Path(folder) / "tiny.onnx", contrast=0.1)))
        try:
            one.run(seconds, pause_s, each_fault_once)
        except BaseException:
            print(f"after {dict(one.happened)} the node said last:\n{one.node.output[-8000:]}", file=sys.stderr)
            print(f"what it held until then, over time: {json.dumps(one.samples)}", file=sys.stderr)
            raise
        finally:
            code = one.close()
        return one.figures(code)


def watch() -> None:
    """Subscribe to everything until killed."""
    rclpy.init()
    node = Node("watcher")
    kinds = {kind.__name__: kind for kind in outputs.MESSAGE_TYPES}
    for name in WATCHED:
        topic = topics.output(name)
        kind = kinds[topic.type.partition("/")[2]]
        node.create_subscription(kind, f"/segmentation/{name}", lambda _: None, outputs.qos_profile(topic.qos))
    with suppress(ExternalShutdownException):  # ended in order
        rclpy.spin(node)


def main() -> int:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--pause", type=float, default=4.0, help="s between two faults")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--model", type=Path, help="default: a tiny one")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--watch", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.watch:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        watch()
        return 0
    figures = soak(arguments.minutes * 60, arguments.seed, arguments.pause, arguments.model)
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=1) + "\n")
    del figures["over_time"]
    print(json.dumps(figures, indent=1))
    said = broken(figures)
    print("\n".join(said) or "nothing grew, every image is accounted for")
    return 1 if said else 0


if __name__ == "__main__":
    sys.exit(main())
