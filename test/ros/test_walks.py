"""Random walks through the life cycle with frames flowing, and transitions that fail, hangs, jumps of time and kills mixed
in: whatever state the node is in, it answers, gives masks exactly while it is active, and a signal ends it.
`WALKS=200 pytest -s test/ros/test_walks.py` for the long run, which prints what each walk measured; `FIRST_WALK` is where
it begins."""

from __future__ import annotations

import json
import os
import random
import signal
import time
from collections.abc import Callable

import pytest
from faults import HANG, HANGS, OUT_OF_LUCK, UNLUCKY
from lifecycle_msgs.msg import Transition
from rclpy.time import Time
from ros_harness import (
    EVERY_MESSAGE,
    FakeCamera,
    NodeProcess,
    Peer,
    change_state,
    set_parameters,
    stamp_ns,
    state,
    values_of,
)
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import Image

from seg_perception.errors import EXIT_HUNG

FIRST, WALKS, STEPS = int(os.environ.get("FIRST_WALK", "133")), int(os.environ.get("WALKS", "2")), 10
"""The first two are active three times, and have kills, failures, refusals, a jump of time, parameters, and a hang at the end."""
SIGNAL_S = 5.0
ALLOWED = {
    ("unconfigured", Transition.TRANSITION_CONFIGURE): "inactive",
    ("inactive", Transition.TRANSITION_ACTIVATE): "active",
    ("active", Transition.TRANSITION_DEACTIVATE): "inactive",
    ("inactive", Transition.TRANSITION_CLEANUP): "unconfigured",
    ("unconfigured", Transition.TRANSITION_UNCONFIGURED_SHUTDOWN): "finalized",
    ("inactive", Transition.TRANSITION_INACTIVE_SHUTDOWN): "finalized",
    ("active", Transition.TRANSITION_ACTIVE_SHUTDOWN): "finalized",
}
TRANSITIONS = [transition for _, transition in ALLOWED]
OFTEN = [1 if after == "finalized" else 6 for after in ALLOWED.values()]


class Walker:
    """One node on its walk, and a camera and a clock that go on meanwhile."""

    def __init__(self, start: Callable[..., NodeProcess], seed: int) -> None:
        self.random = random.Random(seed)
        self.begin: Callable[[], NodeProcess] = lambda: start(["hang", "unlucky"], autostart=False, use_sim_time=True)
        self.now_s, self.way = 100.0, [str(seed)]
        self.measured: dict[str, list[float]] = {"masks_s": [], "signal_s": []}
        self._begin()

    def _begin(self) -> None:
        self.process, self.state, self.frame_id = self.begin(), "unconfigured", "camera"
        self.peer = peer = Peer()
        self.camera, self.diagnostics = FakeCamera(peer), peer.diagnostics()
        self.masks = peer.listen(Image, "/segmentation/label_mask")
        self.sent_ns: list[int] = []
        self.idle_ns: set[int] = set()
        self.idle_from = 0
        self.clock = peer.node.create_publisher(Clock, "/clock", EVERY_MESSAGE)
        peer.node.create_timer(0.03, self._tick)

    def _tick(self) -> None:
        self.now_s += 0.03
        message = self.camera.message()
        stamp = Time(nanoseconds=int(self.now_s * 1e9)).to_msg()
        message.header.stamp, message.header.frame_id = stamp, self.frame_id
        self.sent_ns.append(stamp_ns(message))
        self.clock.publish(Clock(clock=stamp))
        self.camera.send(message)

    def change(self) -> None:
        """Ask for any transition, mostly for one that is allowed: it succeeds exactly where it is. What is finalized ends,
        another begins."""
        if self.state == "finalized":
            self.end()
            self.peer.close()
            self._begin()
        likely = [5 * weight if resting == self.state else weight for (resting, _), weight in zip(ALLOWED, OFTEN)]
        (transition,) = self.random.choices(TRANSITIONS, likely)
        after = ALLOWED.get((self.state, transition))
        self.ask(transition, after is not None, after or self.state)

    def fail(self) -> None:
        """A transition that is allowed raises."""
        ways = [transition for resting, transition in ALLOWED if resting == self.state]
        if ways:
            self.fail_at(self.random.choice(ways))

    def fail_at(self, transition: int) -> None:
        """It raises: the node says why, is unconfigured, and goes on from there."""
        assert set_parameters(self.peer, jpeg_quality=UNLUCKY).successful, self.told()
        self.ask(transition, False, "unconfigured")
        said = lambda: OUT_OF_LUCK in values_of(self.diagnostics, "backend").get("message", "")  # noqa: E731
        self.peer.until(said, f"the reason in diagnostics: {self.told()}")
        assert set_parameters(self.peer, jpeg_quality=50).successful, self.told()

    def ask(self, transition: int, succeeds: bool, after: str) -> None:
        """A transition. Images that were sent while the node was not active, nor about to be, have no mask ever."""
        if self.state != "active":
            self.idle_ns.update(self.sent_ns[self.idle_from :])
        heard, since_s, was_active = len(self.masks), time.monotonic(), self.state == "active"
        assert change_state(self.peer, transition) == succeeds, self.told()
        if not was_active or after != "active":
            self.idle_from = len(self.sent_ns)
        self.state = after
        assert state(self.peer) == self.state, self.told()
        if after == "active" and not was_active:
            self.peer.until(lambda: len(self.masks) > heard, f"a mask: {self.told()}")
            self.measured["masks_s"].append(time.monotonic() - since_s)
        assert not self.idle_ns.intersection(map(stamp_ns, self.masks)), self.told()

    def jump(self) -> None:
        """Time goes to anywhere."""
        self.now_s = self.random.uniform(1.0, 1000.0)

    def tune(self) -> None:
        """A parameter changes."""
        assert set_parameters(self.peer, jpeg_quality=self.random.randint(20, 100)).successful, self.told()

    def kill(self) -> None:
        """The process is killed, and another begins where it lay, with a new peer: the old one would ask the dead."""
        assert self.process.stop(signal.SIGKILL) == -signal.SIGKILL
        self.peer.close()
        self._begin()

    def hang(self) -> bool:
        """The network hangs where it is active; whether it does."""
        if self.state != "active":
            return False
        self.frame_id = HANG
        self.process.wait_for_line(HANGS)
        return True

    def told(self) -> str:
        return f"{self.way}\n{self.process.output}"

    def end(self, hangs: bool = False) -> None:
        """A signal ends it."""
        code, seconds = self.process.end(self.random.choice([signal.SIGINT, signal.SIGTERM]))
        self.measured["signal_s"].append(seconds)
        assert self.measured["signal_s"][-1] < SIGNAL_S, self.told()
        assert code == (EXIT_HUNG if hangs else 0), self.told()

    def walk(self) -> None:
        """Steps at random, then perhaps a hang, then a signal."""
        steps = [self.change, self.fail, self.jump, self.tune, self.kill]
        for _ in range(STEPS):
            (step,) = self.random.choices(steps, [8, 1, 1, 1, 1])
            self.way.append(step.__name__)
            step()
        said = lambda: values_of(self.diagnostics, "backend").get("lifecycle_state") == self.state  # noqa: E731
        self.peer.until(said, f"diagnostics of {self.state}: {self.told()}")
        hangs = self.random.random() < 0.5 and self.hang()
        self.way += [self.state, "hangs" if hangs else ""]
        self.end(hangs)


@pytest.mark.parametrize("seed", range(FIRST, FIRST + WALKS))
def test_a_walk_ends_with_a_signal(start: Callable[..., NodeProcess], seed: int) -> None:
    walker = Walker(start, seed)
    try:
        walker.walk()
    finally:
        print(json.dumps({"way": walker.way, "load": os.getloadavg()[0], **walker.measured}))
        walker.peer.close()


def test_each_transition_may_fail_half_way_and_the_next_try_succeeds(start: Callable[..., NodeProcess]) -> None:
    """Every one, from every state that allows it; a walk meets some of them."""
    ways = {"unconfigured": 0, "inactive": 1, "active": 2}
    there = (Transition.TRANSITION_CONFIGURE, Transition.TRANSITION_ACTIVATE)
    walker = Walker(start, 0)
    try:
        for resting, transition in ALLOWED:
            for step in there[: ways[resting]]:
                walker.ask(step, True, ALLOWED[walker.state, step])
            walker.fail_at(transition)
        for step in there:
            walker.ask(step, True, ALLOWED[walker.state, step])
        walker.end()
    finally:
        walker.peer.close()
