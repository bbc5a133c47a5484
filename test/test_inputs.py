"""The newest frame of every camera."""

from __future__ import annotations

import threading

from seg_perception.ros.inputs import Arrival, NewestFrames


def arrival(name: str) -> Arrival:
    return Arrival(name, 0.0)


def test_a_newer_frame_replaces_one_that_nobody_took() -> None:
    frames = NewestFrames(1)
    assert not frames.put(0, arrival("a"))
    assert frames.put(0, arrival("b"))
    assert frames.take() == (0, arrival("b"))
    assert not frames.put(0, arrival("c")), "b was taken, so nothing is replaced"


def test_cameras_are_served_in_turn() -> None:
    frames = NewestFrames(3)
    served = []
    for _ in range(6):
        frames.put(0, arrival("busy"))
        frames.put(2, arrival("busy too"))
        taken = frames.take()
        assert taken is not None
        served.append(taken[0])
    assert served == [0, 2, 0, 2, 0, 2]


def test_closing_wakes_who_waits() -> None:
    frames = NewestFrames(1)
    taken: list[object] = ["not yet"]
    thread = threading.Thread(target=lambda: taken.append(frames.take()))
    thread.start()
    frames.close()
    thread.join(10)
    assert taken == ["not yet", None]
