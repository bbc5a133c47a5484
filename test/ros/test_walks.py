"""Random walks through the life cycle with frames flowing, and hangs, jumps of time and kills mixed in: whatever state
the node is in, it answers, and a signal ends it. `WALKS=200 pytest test/ros/test_walks.py` for the long run."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable

import pytest
from faults import HANG, HANGS
from lifecycle_msgs.msg import Transition
from rclpy.time import Time
from ros_harness import EVERY_MESSAGE, FakeCamera, NodeProcess, Peer, change_state, set_parameters, state, values_of
from rosgraph_msgs.msg import Clock

from seg_perception.errors import EXIT_HUNG

WALKS, STEPS = int(os.environ.get("WALKS", "2")), 10
SIGNAL_S = 5.0
ALLOWED = {
    ("unconfigured", Transition.TRANSITION_CONFIGURE): "inactive",
    ("inactive", Transition.TRANSITION_ACTIVATE): "active",
    ("active", Transition.TRANSITION_DEACTIVATE): "inactive",
    ("inactive", Transition.TRANSITION_CLEANUP): "unconfigured",
}
TRANSITIONS = [transition for _, transition in ALLOWED]


class Walker:
    """One node on its walk, and a camera and a clock that go on meanwhile."""

    def __init__(self, start: Callable[..., NodeProcess], seed: int) -> None:
        self.random = random.Random(seed)
        self.begin = lambda: start(["hang"], autostart=False, use_sim_time=True)
        self.now_s, self.frame_id, self.way = 100.0, "camera", [str(seed)]
        self._begin()

    def _begin(self) -> None:
        self.process, self.state = self.begin(), "unconfigured"
        self.peer = peer = Peer()
        self.camera, self.diagnostics = FakeCamera(peer), peer.diagnostics()
        self.clock = peer.node.create_publisher(Clock, "/clock", EVERY_MESSAGE)
        peer.node.create_timer(0.03, self._tick)

    def _tick(self) -> None:
        self.now_s += 0.03
        message = self.camera.message()
        stamp = Time(nanoseconds=int(self.now_s * 1e9)).to_msg()
        message.header.stamp, message.header.frame_id = stamp, self.frame_id
        self.clock.publish(Clock(clock=stamp))
        self.camera.send(message)

    def change(self) -> None:
        """Ask for any transition: it succeeds exactly where it is allowed."""
        transition = self.random.choice(TRANSITIONS)
        after = ALLOWED.get((self.state, transition))
        assert change_state(self.peer, transition) == (after is not None), self.told()
        self.state = after or self.state
        assert state(self.peer) == self.state, self.told()

    def jump(self) -> None:
        """Time goes to anywhere."""
        self.now_s = self.random.uniform(1.0, 1000.0)

    def tune(self) -> None:
        """A parameter changes."""
        assert set_parameters(self.peer, jpeg_quality=self.random.randint(1, 100)).successful, self.told()

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

    def walk(self) -> None:
        """Steps at random, then perhaps a hang, then a signal."""
        for _ in range(STEPS):
            step = self.random.choices([self.change, self.jump, self.tune, self.kill], [8, 1, 1, 1])[0]
            self.way.append(step.__name__)  # type: ignore[arg-type]
            step()
        said = lambda: values_of(self.diagnostics, "backend").get("lifecycle_state") == self.state  # noqa: E731
        self.peer.until(said, f"diagnostics of {self.state}: {self.told()}")
        hangs = self.random.random() < 0.5 and self.hang()
        since_s = time.monotonic()
        code = self.process.stop(self.random.choice([signal.SIGINT, signal.SIGTERM]))
        assert time.monotonic() - since_s < SIGNAL_S, self.told()
        assert code == (EXIT_HUNG if hangs else 0), self.told()


@pytest.mark.parametrize("seed", range(WALKS))
def test_a_walk_ends_with_a_signal(start: Callable[..., NodeProcess], seed: int) -> None:
    walker = Walker(start, seed)
    try:
        walker.walk()
    finally:
        walker.peer.close()
