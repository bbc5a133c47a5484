"""Play a video, a folder of images, a rosbag, a camera or the synthetic drive to the real node, and report its answers.

The node runs as a process of its own and gets the frames over DDS at their own rate, as from a camera. What comes back
is received as a planner would, and drawn and judged when the play is over. Writes overlay.mp4, report.json, report.html
and node.log. Exit codes: 0 done, 1 done but some frames could not be read or the node died, 2 nothing came back,
130 ended by Ctrl-C with the files of what was done.

Example:
  python -m seg_perception run --input drive.mp4 --out out/drive
"""

from __future__ import annotations

import argparse
import math
import queue
import signal
import sys
import threading
import time
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import yaml
from tqdm import tqdm

from seg_perception import model_file
from seg_perception.cli import EXIT_INTERRUPTED
from seg_perception.errors import SegPerceptionError
from seg_perception.evaluation import machine, report
from seg_perception.evaluation.assumed_camera import AssumedCamera, add_argument, assume
from seg_perception.evaluation.offline import percentiles
from seg_perception.evaluation.open_source import open_source
from seg_perception.evaluation.panels import Placing
from seg_perception.evaluation.replay import Replay, replay
from seg_perception.evaluation.sources import LabelFolder, Source, SourceFrame
from seg_perception.evaluation.spool import Answer, Spool
from seg_perception.files import write_json
from seg_perception.model_file import ModelInfo
from seg_perception.ros.parameters import DRIVABLE, POSE, NodeSettings, Settings
from seg_perception.ros.player import Player
from seg_perception.ros.process import NodeProcess, choose_network
from seg_perception.shipped_models import find_model

WARM_UP_FRAMES = 5
WARM_UP_PERIOD_S = 0.2
LAST_ANSWER_S = 10.0
DIAGNOSTICS_S = 3.0
AGES = ("age_ms", "stamp_age_ms")
EXIT_DAMAGED = 1


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the verb."""
    parser.add_argument(
        "--input", metavar="INPUT", help="video, folder, bag or /dev/video0 (default: the synthetic drive)"
    )
    parser.add_argument(
        "--out", type=Path, default=Path("out/run"), metavar="DIR", help="folder to write to (default: out/run)"
    )
    parser.add_argument(
        "--model",
        default=NodeSettings().model,
        metavar="M",
        help="model file (default: auto, the one that ships for the backend)",
    )
    parser.add_argument("--backend", default=NodeSettings().backend, choices=("auto", "onnxruntime", "tensorrt"))
    parser.add_argument("--labels", type=Path, metavar="DIR", help="label images <stem>.png for a folder of images")
    parser.add_argument("--instances", type=Path, metavar="DIR", help="16-bit instance images for --labels")
    parser.add_argument("--void", type=int, action="append", default=[], help="label value that means unlabelled")
    parser.add_argument("--topic", metavar="T", help="image topic of a bag (default: the one with most images)")
    add_argument(parser)
    parser.add_argument("--rate", type=float, metavar="HZ", help="frames a second (default: the source's own)")
    parser.add_argument("--frames", type=int, metavar="N", help="play at most so many frames")
    parser.add_argument("--param", action="append", default=[], metavar="NAME:=VALUE", help="parameter of the node")
    parser.add_argument(
        "--start-timeout", type=float, default=900.0, metavar="S", help="how long the node may take to start"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the numbers here too")


def run(arguments: argparse.Namespace) -> int:
    """Play, receive, judge, report; the exit codes stand above."""
    for option, value in (("--rate", arguments.rate), ("--frames", arguments.frames)):
        if value is not None and not (math.isfinite(value) and value > 0):
            raise SegPerceptionError(f"{option} is {value}: it must be more than 0")
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
    model = model_file.load(find_model(arguments.model, arguments.backend))
    parameters = _parameters(arguments, model, source)
    arguments.out.mkdir(parents=True, exist_ok=True)
    choose_network()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with closing(source), Spool(arguments.out) as spool:
        source.prepare(arguments.out)
        play = Play(source, spool)
        with NodeProcess(parameters, arguments.out / "node.log") as node:
            play.run(node, arguments.start_timeout)
        if not spool.answered:
            if play.interrupted:
                return EXIT_INTERRUPTED
            raise SegPerceptionError(
                f"no frame of {source.name} came back from the node: {(play.problems or [f'see {node.log}'])[0]}"
            )
        calibration = f"assumed: {assumed}" if assumed is not None else ""
        placing = _placing(source, play, parameters, calibration)
        judged = replay(source, spool, model.labels, arguments.out / "overlay.mp4", placing)
        told = _report(source, spool, play, judged, model, calibration)
    report.write(told, arguments.out)
    if arguments.json:
        write_json(arguments.json, told.numbers)
    _say(told.numbers, arguments.out)
    if play.interrupted or not judged.finished:
        return EXIT_INTERRUPTED
    return EXIT_DAMAGED if told.numbers["problems"] else 0


def _parameters(arguments: argparse.Namespace, model: ModelInfo, source: Source) -> dict[str, Any]:
    """The node's parameters: the model, the camera's mounting where it is known, and what the user names."""
    parameters: dict[str, Any] = {"model": str(model.path.resolve()), "backend": arguments.backend}
    pose = source.pose
    if pose is not None:
        parameters["camera_pose"] = [float(v) for v in (pose.x, pose.y, pose.z, pose.roll, pose.pitch, pose.yaw)]
    for words in arguments.param:
        name, found, value = words.partition(":=")
        if not found or not name:
            raise SegPerceptionError(f"--param is '{words}': write NAME:=VALUE, for example backend:=onnxruntime")
        parameters[name] = yaml.safe_load(value)
    return parameters


def _placing(source: Source, play: Play, parameters: Mapping[str, Any], calibration: str) -> Placing | None:
    """How the pictures show the ground; None where there is neither ground nor anything that should have given it."""
    if source.camera is None and not play.received["drivable_grid"]:
        return None
    named = {name: value for name, value in parameters.items() if name == POSE or name.startswith(DRIVABLE)}
    settings = Settings.from_values(named)
    problem = play.camera.get("ground_problem") or "its calibration came later"
    note = f"calibration {calibration}" if calibration else ""
    return Placing(settings.drivable, source.camera, settings.poses[""], note, problem)


class Play:
    """One play of a source to the node. problems: what went wrong, one sentence each; interrupted: by Ctrl-C; lost:
    frames that never reached the node, None when unknown."""

    def __init__(self, source: Source, spool: Spool) -> None:
        self._source, self._spool = source, spool
        self._indices: dict[int, int] = {}
        self._start_s = 0.0
        self._answers: queue.Queue[tuple[int, float, Answer] | None] = queue.Queue(maxsize=32)
        self._lock = threading.Lock()
        self.problems: list[str] = []
        self.interrupted = False
        self.duration_s = 0.0
        self.backend: dict[str, str] = {}
        self.camera: dict[str, str] = {}
        self.received: dict[str, int] = {}
        self._before: int | None = None
        self.lost: int | None = None

    def run(self, node: NodeProcess, start_timeout_s: float) -> None:
        """Play all frames; Ctrl-C and a node that dies end it early, which is noted.

        Raises SegPerceptionError when the node does not start.
        """
        keeper = threading.Thread(target=self._keep, name="spool")
        keeper.start()
        player = Player(self._on_answer)
        try:
            self._warm_up(player, node, start_timeout_s)
            self._play(player, node)
        except KeyboardInterrupt:
            self.interrupted = True
        finally:
            self.backend, self.camera = player.diagnostics(": backend"), player.diagnostics(": camera")
            self.received = player.received
            player.close()
            self._answers.put(None)
            keeper.join()

    def _warm_up(self, player: Player, node: NodeProcess, timeout_s: float) -> None:
        """Send the first frame until the node has answered it a few times, so that its start is not measured."""
        first = next(iter(self._source), None)
        if first is None:
            raise SegPerceptionError(
                f"{self._source.name} gave no frame: {(self._source.problems or ['it is empty'])[0]}"
            )
        frame = first.frame
        end_s, said = time.monotonic() + timeout_s, ""
        print("starting the node …", flush=True)
        while player.answers < WARM_UP_FRAMES:
            node.check()
            if time.monotonic() > end_s:
                raise SegPerceptionError(
                    f"the node gave no answer for {timeout_s:.0f} s, its log {node.log} closes with:\n{node.tail()}"
                )
            answered = player.answers
            player.send(frame, self._source.camera)
            player.wait_for_answers(answered + 1, WARM_UP_PERIOD_S)
            state = player.diagnostics(": backend").get("engine_state", "")
            if state not in ("", said):
                print(f"node: {state}", flush=True)
                said = state
        # those sent while the node was busy are still under way: the newest one is its last
        player.wait_for_answer(player.send(frame, self._source.camera), LAST_ANSWER_S)
        player.wait_for_diagnostics(DIAGNOSTICS_S)
        self._before = _received_by_node(player)

    def _play(self, player: Player, node: NodeProcess) -> None:
        period_s = 1.0 / self._source.rate_hz
        self._start_s = due_s = time.monotonic()
        stamp_ns = 0
        try:
            with tqdm(total=self._source.total, unit="frame", desc="play") as progress:
                for item in self._source:
                    if not self._source.live:
                        time.sleep(max(0.0, due_s - time.monotonic()))
                        # a source that cannot keep its own rate is late for good: never a burst to catch up
                        due_s = max(due_s, time.monotonic() - period_s) + period_s
                    if node.exit_code is not None:
                        self.problems.append(
                            f"the node ended with exit code {node.exit_code} after {progress.n} frames: see {node.log}"
                        )
                        return
                    stamp_ns = self._send(player, item)
                    progress.update()
                    progress.set_postfix(answers=len(self._spool), refresh=False)
            if stamp_ns and not player.wait_for_answer(stamp_ns, LAST_ANSWER_S):
                self.problems.append(f"the last frame was not answered within {LAST_ANSWER_S:.0f} s")
        finally:
            self.duration_s = time.monotonic() - self._start_s
        player.wait_for_diagnostics(DIAGNOSTICS_S)
        after = _received_by_node(player)
        if self._before is not None and after is not None:
            self.lost = len(self._spool.sent_s) - (after - self._before)

    def _send(self, player: Player, item: SourceFrame) -> int:
        index = len(self._spool.sent_s)
        if self._source.live:
            self._spool.add_frame(index, item.frame.rgb)
        self._spool.sent(time.monotonic() - self._start_s)
        with self._lock:
            stamp_ns = player.send(item.frame, self._source.camera)
            self._indices[stamp_ns] = index
        return stamp_ns

    def _on_answer(self, stamp_ns: int, age_ms: float, answer: Answer) -> None:
        self._answers.put((stamp_ns, age_ms, answer))

    def _keep(self) -> None:
        """The spool's thread; answers to warm-up frames have no index."""
        while True:
            entry = self._answers.get()
            if entry is None:
                return
            stamp_ns, age_ms, answer = entry
            with self._lock:
                index = self._indices.pop(stamp_ns, None)
            if index is not None:
                self._spool.add_answer(index, age_ms, answer)


def _received_by_node(player: Player) -> int | None:
    """Frames that the node has received in all, by its newest diagnostics; None before there are any."""
    count = player.diagnostics(": camera").get("frames_in")
    return None if count is None else int(count)


def _report(
    source: Source, spool: Spool, play: Play, judged: Replay, model: ModelInfo, calibration: str
) -> report.Report:
    ages_ms = [age for age in spool.age_ms if not math.isnan(age)]
    frames_in, frames_out = len(spool.sent_s), len(ages_ms)
    problems = [*play.problems, *source.problems]
    numbers: dict[str, Any] = {
        "source": source.name,
        "calibration": calibration or None,
        "frames_in": frames_in,
        "frames_out": frames_out,
        "dropped": frames_in - frames_out,
        "lost_before_node": play.lost,
        "fps": round(frames_out / play.duration_s, 2),
        "rate_hz": round(source.rate_hz, 3),
        "sent_hz": round((frames_in - 1) / spool.sent_s[-1], 2) if frames_in > 1 else None,
        "duration_s": round(play.duration_s, 2),
        "age_ms": percentiles(ages_ms, 50, 95, 99, 100),
        "stages_ms": _stages_ms(play.camera),
        "messages": play.received,
        "node": play.camera,
        "backend": play.backend,
        "model": model.name,
        "machine": machine.describe(),
        "interrupted": play.interrupted or not judged.finished,
        "problems": problems,
        **judged.numbers,
    }
    timeline = report.Timeline(spool.sent_s, spool.age_ms)
    title = f"{model.name} on {source.name}"
    return report.Report(title, numbers, model.labels, judged.pictures, timeline=timeline, free=judged.free)


def _stages_ms(values: dict[str, str]) -> dict[str, dict[str, float]]:
    """p50 and p95 of every stage that the node's diagnostics name, in their order."""
    stages: dict[str, dict[str, float]] = {}
    for key, value in values.items():
        name, _, share = key.rpartition("_")
        if share in ("p50", "p95") and name.endswith("_ms") and name not in AGES:
            stages.setdefault(name.removesuffix("_ms"), {})[share] = float(value)
    return stages


def _say(numbers: Mapping[str, Any], out: Path) -> None:
    age, lost = numbers["age_ms"], numbers["lost_before_node"]
    print(
        f"{numbers['frames_in']} frames sent, {numbers['frames_out']} answered, {numbers['dropped']} dropped"
        f"{f' ({lost} of them lost before the node)' if lost else ''}: "
        f"{numbers['fps']:.1f} answers a second, age p50 {age['p50']:.0f} ms, p95 {age['p95']:.0f} ms"
    )
    if numbers["calibration"]:
        print(f"calibration {numbers['calibration']}")
    text = report.table(numbers)
    if text:
        print(text)
    error_m = numbers.get("free_distance_error_m")
    if error_m:
        print(f"free distance ahead is off by {error_m['p50']:.2f} m (p50), {error_m['p95']:.2f} m (p95)")
    for problem in numbers["problems"]:
        print(problem, file=sys.stderr)
    print(f"{out / 'overlay.mp4'}, {out / 'report.html'} and {out / 'report.json'} are written")
