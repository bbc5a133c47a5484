"""What is latched while the middleware does not come back from sending it: who asks every second must not wait."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from patience import WAIT_S
from rclpy.time import Time
from std_msgs.msg import Header

from seg_perception.ground.odometry import PlanarPose
from seg_perception.results import Grid
from seg_perception.ros.outputs import LatchedGrid
from seg_perception.ros.settings import Settings
from seg_perception.ros.shared_grid import SharedGrid

GRID = Grid(np.zeros((4, 4), np.int8), 0.5, (0.0, 0.0))
SETTINGS = Settings.from_values({"camera_names": ["left"], "fusion.enabled": True, "fusion.cameras": True})


class Hanging:
    """A publisher that does not come back until it may."""

    def __init__(self) -> None:
        self.sent: list[Any] = []
        self.begun, self.goes_on = threading.Event(), threading.Event()

    def publish(self, message: Any) -> None:
        self.begun.set()
        self.goes_on.wait()
        self.sent.append(message)

    def get_subscription_count(self) -> int:
        return 1


@pytest.fixture
def publisher() -> Iterator[Hanging]:
    made = Hanging()
    yield made
    made.goes_on.set()


def node_with(publisher: Hanging) -> Any:
    clock = SimpleNamespace(now=lambda: Time(seconds=1))
    return SimpleNamespace(create_lifecycle_publisher=lambda kind, topic, qos: publisher, get_clock=lambda: clock)


def ends(work: Any) -> bool:
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(WAIT_S)
    return not thread.is_alive()


def is_unknown(message: Any) -> bool:
    return set(message.data) == {-1}


def test_a_grid_that_hangs_on_its_way_is_retracted_once_it_has_gone(publisher: Hanging) -> None:
    latched = LatchedGrid(node_with(publisher), publisher)
    sending = threading.Thread(target=lambda: latched.publish(GRID, Header()), daemon=True)
    sending.start()
    publisher.begun.wait(WAIT_S)
    assert ends(latched.retract)
    publisher.goes_on.set()
    sending.join(WAIT_S)
    latched.retract()
    assert [is_unknown(message) for message in publisher.sent] == [False, True]


def test_the_grid_of_all_cameras_is_told_of_while_it_hangs_on_its_way(publisher: Hanging) -> None:
    shared = SharedGrid(node_with(publisher), ["left"], SETTINGS)
    assert shared.watched(SETTINGS)
    pose = PlanarPose(0.0, 0.0, 0.0)
    sending = threading.Thread(target=lambda: shared.add("left", GRID, pose, 10**9, 2.0), daemon=True)
    sending.start()
    publisher.begun.wait(WAIT_S)
    assert ends(shared.status) and ends(lambda: shared.lacks("left", "it stalls"))
    assert "left (it stalls)" in shared.status().message
    publisher.goes_on.set()
    sending.join(WAIT_S)
    shared.lacks("left", "it stalls")
    assert is_unknown(publisher.sent[-1])


def test_a_camera_that_has_sent_nothing_since_the_odometry_jumped_is_said_so(publisher: Hanging) -> None:
    """Its newest frame was "inf s older than that of another camera"."""
    publisher.goes_on.set()
    names = ["left", "right"]
    shared = SharedGrid(node_with(publisher), names, SETTINGS)
    assert shared.watched(SETTINGS)
    for name in names:
        shared.add(name, GRID, PlanarPose(0.0, 0.0, 0.0), 10**9, 2.0)
    shared.add("left", GRID, PlanarPose(900.0, 0.0, 0.0), 11 * 10**8, 2.0)
    status = shared.status()
    assert status.values["left"] == "ok" and "odometry jumped" in status.values["right"]
    shared.add("right", GRID, PlanarPose(900.0, 0.0, 0.0), 11 * 10**8, 2.0)
    assert set(shared.status().values.values()) == {"ok"}
