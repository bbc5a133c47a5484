"""One play of recorded or rendered cameras to the real node over DDS, and what a consumer saw of its answers."""

from __future__ import annotations

import argparse
import functools
import heapq
import itertools
import math
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tqdm import tqdm

from seg_perception.backends.base import AUTO_PRECISION
from seg_perception.errors import SegPerceptionError
from seg_perception.metrics.times import StageTimes, percentiles
from seg_perception.network import Network
from seg_perception.network_size import size_hw_of
from seg_perception.play.answers import WATCHED
from seg_perception.play.keeper import Keeper
from seg_perception.play.pace import FORGOTTEN_S, Pace
from seg_perception.play.player import Player, refuse_others
from seg_perception.play.process import NodeProcess
from seg_perception.play.run_options import START_TIMEOUT_S
from seg_perception.play.spool import Spool, span
from seg_perception.recordings.sources import Source, SourceFrame

WARM_UP_FRAMES = 5
WARM_UP_PERIOD_S = 0.2
SILENCE_S = 15.0
"""Without any answer, until that is said."""
READY = "ready"
"""What the node's diagnostics say once it could answer."""
LAST_ANSWER_S = 10.0
DIAGNOSTICS_S = 3.0


@dataclass
class Feed:
    """One camera of a play. camera: its name at the node, empty where it is the only one; lost: frames that never
    reached the node, None when unknown; status: the node's last words about it; received: messages by topic; stamps_ns: of
    the frames sent; stages_ms: of those of them that the node has published."""

    source: Source
    spool: Spool
    camera: str = ""
    lost: int | None = None
    status: dict[str, str] = field(default_factory=dict)
    received: dict[str, int] = field(default_factory=dict)
    before: int | None = None
    stamps_ns: set[int] = field(default_factory=set)
    stages_ms: list[Mapping[str, float]] = field(default_factory=list)

    @property
    def ages_ms(self) -> list[float]:
        """Of every answer, in the order of the frames."""
        return [age for age in self.spool.age_ms if not math.isnan(age)]


class Play:
    """problems: what went wrong, one sentence each; interrupted: by Ctrl-C; backend: what the node says of it."""

    def __init__(
        self, feeds: Sequence[Feed], pace: Pace, network: Network, watched: Collection[str] = tuple(WATCHED)
    ) -> None:
        """network: which the node is on; watched: its topics to subscribe to; only what is watched is computed.

        Raises SegPerceptionError when others on the network publish the same.
        """
        refuse_others(network, [feed.camera for feed in feeds], simulated=pace.simulated)
        self._node_name = network.node_name
        self._feeds, self._pace, self._watched = {feed.camera: feed for feed in feeds}, pace, watched
        self._start_s = 0.0
        self._keeper: Keeper
        self.problems: list[str] = []
        self.interrupted = False
        self.duration_s = 0.0
        self.backend: dict[str, str] = {}

    def run(
        self,
        node: NodeProcess,
        start_timeout_s: float = START_TIMEOUT_S,
        warm: Callable[[], None] = lambda: None,
    ) -> None:
        """Play all frames; Ctrl-C and a node that dies end it early, which is noted. warm is called once the node has
        answered a few of every camera, before the first frame that counts.

        Raises SegPerceptionError when the node does not start.
        """
        self._keeper = Keeper({name: feed.spool for name, feed in self._feeds.items()})
        player = Player(
            self._keeper.on_answer,
            tuple(self._feeds),
            self._pace.now_ns,
            simulated=self._pace.simulated,
            watched=self._watched,
            node_name=self._node_name,
        )
        try:
            self._warm_up(player, node, start_timeout_s)
            if others := player.others():
                raise SegPerceptionError(f"others publish what this does: {', '.join(others)}; end them first")
            warm()
            self._play(player, node)
        except KeyboardInterrupt:
            self.interrupted = True
        finally:
            self.backend = player.diagnostics("backend")
            for name, feed in self._feeds.items():
                feed.status, feed.received = player.diagnostics(f"camera {name}"), player.channels[name].received
            for name, stamp_ns, stages_ms in node.stages():
                if stamp_ns in self._feeds[name].stamps_ns:  # the others warmed it up
                    self._feeds[name].stages_ms.append(stages_ms)
            player.close()
            self._keeper.close()
            self.problems += [self._keeper.problem] if self._keeper.problem else []

    def _warm_up(self, player: Player, node: NodeProcess, timeout_s: float) -> None:
        """Send the first frames until the node has answered them a few times, so that its start is not measured; then wait until
        it has forgotten what it follows in them, which seems to stand."""
        firsts = {name: _first(feed.source) for name, feed in self._feeds.items()}
        self._pace.hold(min(item.frame.stamp_ns for item in firsts.values()))
        start_s, said, sent = time.monotonic(), "", 0
        silence = Silence(start_s)
        print("starting the node …", flush=True)
        for name, first in firsts.items():
            channel = player.channels[name]
            while channel.answers < WARM_UP_FRAMES:
                node.check()
                waited_s = time.monotonic() - start_s
                if waited_s > timeout_s:
                    raise SegPerceptionError(
                        f"the node gave no answer for {timeout_s:.0f} s, its log {node.log} closes with:\n{node.tail()}"
                    )
                answered = channel.answers
                self._publish(player, name, first, 0)
                sent += 1
                channel.wait_for_answers(answered + 1, WARM_UP_PERIOD_S)
                state = player.diagnostics("backend").get("engine_state", "")
                if not channel.answers and silence.begins(time.monotonic(), state):
                    print(silent(sent, state, _received_by_node(player, name)), flush=True)
                if state not in ("", said):
                    print(f"node: {state}", flush=True)
                    said = state
            # those sent while the node was busy are still under way: the newest one is its last
            channel.wait_for_answer(self._publish(player, name, first, 0), LAST_ANSWER_S)
        warm_s = time.monotonic()
        player.wait_for_diagnostics(DIAGNOSTICS_S)
        if "segments" in self._watched and not self._pace.simulated:
            time.sleep(max(0.0, warm_s + FORGOTTEN_S - time.monotonic()))
        for name, feed in self._feeds.items():
            feed.before = _received_by_node(player, name)

    def _play(self, player: Player, node: NodeProcess) -> None:
        frames = self._merged()
        first = next(frames)  # warming up has shown that there is one
        slack_s = min(1.0 / (feed.source.rate_hz * self._pace.factor) for feed in self._feeds.values())
        totals = [feed.source.total for feed in self._feeds.values()]
        total = None if None in totals else sum(count or 0 for count in totals)
        stamps_ns: dict[str, int] = {}
        self._pace.start(first[0], slack_s)
        self._start_s = time.monotonic()
        try:
            with tqdm(total=total, unit="frame", desc="play") as progress:
                for due_ns, name, item in itertools.chain((first,), frames):
                    if not self._feeds[name].source.live:
                        self._pace.wait_for(due_ns)
                    if node.exit_code is not None:
                        self.problems.append(
                            f"the node ended with exit code {node.exit_code} after {progress.n} frames: see {node.log}"
                        )
                        return
                    feed = self._feeds[name]
                    if feed.source.live:
                        add = functools.partial(feed.spool.add_frame, len(feed.spool.sent_s), item.frame.rgb)
                        self._keeper.keep(add)
                    if self._keeper.problem:
                        return
                    stamps_ns[name] = self._send(player, name, item, due_ns)
                    progress.update()
                    progress.set_postfix(answers=sum(len(feed.spool) for feed in self._feeds.values()), refresh=False)
            for name, stamp_ns in stamps_ns.items():
                if not player.channels[name].wait_for_answer(stamp_ns, LAST_ANSWER_S):
                    of = f" of {name}" if name else ""
                    self.problems.append(f"the last frame{of} was not answered within {LAST_ANSWER_S:.0f} s")
        finally:
            self.duration_s = time.monotonic() - self._start_s
        player.wait_for_diagnostics(DIAGNOSTICS_S)
        for name, feed in self._feeds.items():
            after = _received_by_node(player, name)
            if feed.before is not None and after is not None:
                feed.lost = self.lost(feed, after - feed.before)
        self.problems += [
            f"meanwhile another published the same, so nothing here is sure: {it}" for it in player.others()
        ]

    def lost(self, feed: Feed, received: int) -> int | None:
        """Frames that the node did not receive; None, noted as a problem, where it received more than were sent."""
        sent = len(feed.spool.sent_s)
        if received <= sent:
            return sent - received
        self.problems.append(
            f"the node received {received} frames{f' of {feed.camera}' if feed.camera else ''}, of which {sent} were sent: "
            "another camera plays to it, so nothing here is sure"
        )
        return None

    def _merged(self) -> Iterator[tuple[int, str, SourceFrame]]:
        """All cameras' frames in the order in which they are due, with the name of the camera."""

        def of(name: str, source: Source) -> Iterator[tuple[int, str, SourceFrame]]:
            for due_ns, item in self._pace.due(source):
                yield due_ns, name, item

        return heapq.merge(*(of(name, feed.source) for name, feed in self._feeds.items()), key=lambda entry: entry[:2])

    def _send(self, player: Player, name: str, item: SourceFrame, due_ns: int) -> int:
        feed = self._feeds[name]
        index = len(feed.spool.sent_s)
        feed.spool.sent(time.monotonic() - self._start_s)
        stamp_ns = self._keeper.send(name, index, lambda: self._publish(player, name, item, due_ns))
        feed.stamps_ns.add(stamp_ns)
        return stamp_ns

    def _publish(self, player: Player, name: str, item: SourceFrame, due_ns: int) -> int:
        stamp_ns = self._pace.stamp_ns(due_ns)
        player.send(name, item.frame, self._feeds[name].source.camera, stamp_ns)
        return stamp_ns


class Silence:
    """That the node, which is not heard to be busy with its start, does not answer."""

    def __init__(self, now_s: float) -> None:
        self._since_s, self._told = now_s, False

    def begins(self, now_s: float, state: str) -> bool:
        """Whether SILENCE_S are over, once. state: the node's last words, empty where it was not heard."""
        if state not in ("", READY):
            self._since_s = now_s
        over = not self._told and now_s - self._since_s > SILENCE_S
        self._told = self._told or over
        return over


def silent(sent: int, state: str, received: int | None) -> str:
    """What to say when images were sent for SILENCE_S and no answer came: what the node is heard to say of itself, and
    the usual causes. received: images, as the node counts them; None and an empty state: it is not heard either."""
    heard = f"it is {state} and received {received or 0} of them" if state else "it is not heard at all"
    return (
        f"no answer for {SILENCE_S:.0f} s: {sent} images were sent to the node, {heard}. If it does not only start slowly "
        "(node.log), the usual causes: /dev/shm is full or small ('df -h /dev/shm'; docker run --shm-size=1g); another "
        "middleware or Fast DDS profile than this program's (RMW_IMPLEMENTATION); a firewall or container without "
        "multicast on the loopback interface ('ip link set lo multicast on')"
    )


def numbers(feeds: Sequence[Feed]) -> dict[str, Any]:
    """What a play was for one camera, or for several together, under its names in report.json.

    Rates are of the time from the first frame sent to the last, and a period: waiting for an answer that does not come is
    not playing. None of fewer than two frames. frames_timed: of how many frames stages_ms are.
    """
    frames_in = sum(len(feed.spool.sent_s) for feed in feeds)
    ages_ms = [age for feed in feeds for age in feed.ages_ms]
    span_s = span(*(feed.spool.sent_s for feed in feeds))
    lost = [feed.lost for feed in feeds]
    times = StageTimes()
    for stages_ms in (frame for feed in feeds for frame in feed.stages_ms):
        times.add(stages_ms)
    return {
        "frames_in": frames_in,
        "frames_out": len(ages_ms),
        "dropped": frames_in - len(ages_ms),
        "lost_before_node": None if None in lost else sum(count or 0 for count in lost),
        "fps": None if span_s is None else round(len(ages_ms) / span_s, 2),
        "sent_hz": None if span_s is None else round(frames_in / span_s, 2),
        "age_ms": percentiles(ages_ms, 50, 95, 99, 100),
        "frames_timed": times.frames,
        "stages_ms": times.summary(),
        "messages": {name: sum(feed.received[name] for feed in feeds) for name in feeds[0].received},
    }


def network_parameters(arguments: argparse.Namespace) -> dict[str, Any]:
    """The node's parameters for the network that the arguments of add_model_arguments ask for."""
    parameters = {"model": str(arguments.model.resolve()), "backend": arguments.backend}
    if arguments.providers:
        parameters["providers"] = arguments.providers
    if arguments.threads:
        parameters["threads"] = arguments.threads
    if arguments.precision != AUTO_PRECISION:
        parameters["precision"] = arguments.precision
    if arguments.network_size:
        height, width = size_hw_of(arguments.network_size)
        parameters["network_size"] = [width, height]
    return parameters


def camera_parameters(feeds: Sequence[Feed]) -> dict[str, Any]:
    """The node's parameters for these cameras: their names, and where they are known their mountings and ego masks."""
    parameters: dict[str, Any] = {}
    names = [feed.camera for feed in feeds if feed.camera]
    if names:
        parameters["camera_names"] = names
    for feed in feeds:
        pose, prefix = feed.source.pose, f"{feed.camera}." if feed.camera else ""
        if feed.source.ego is not None:
            parameters[f"{prefix}ego_mask"] = str(Path(feed.source.ego.name).resolve())
        if pose is not None:
            parameters[f"{prefix}camera_pose"] = [
                float(v) for v in (pose.x, pose.y, pose.z, pose.roll, pose.pitch, pose.yaw)
            ]
    return parameters


def _first(source: Source) -> SourceFrame:
    first = next(iter(source), None)
    if first is None:
        raise SegPerceptionError(f"{source.name} gave no frame: {(source.problems or ['it is empty'])[0]}")
    return first


def _received_by_node(player: Player, camera: str) -> int | None:
    """Frames of a camera that the node has received in all, by its newest diagnostics; None before there are any."""
    count = player.diagnostics(f"camera {camera}").get("frames_in")
    return None if count is None else int(count)
