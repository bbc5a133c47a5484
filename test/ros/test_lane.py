"""The way of frames through the node's threads: order, room, what runs beside what."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from patience import WAIT_S

from seg_perception.ros.lane import Lane, overlaps, together
from seg_perception.ros.newest import NewestFrames


def network(ready: Sequence[Any]) -> Iterator[tuple[int, str]]:
    return ((index, f"answer {index}") for index in range(len(ready)))


class Line:
    """Frames that wait in line: camera and frame, then the end."""

    def __init__(self, frames: list[tuple[int, Any]]) -> None:
        self._frames: queue.SimpleQueue[tuple[int, Any]] = queue.SimpleQueue()
        for frame in frames:
            self._frames.put(frame)
        self.taken = 0

    def take(self, most: int, wait_s: float, ended: Callable[[], bool]) -> list[tuple[int, Any]]:
        taken: list[tuple[int, Any]] = []
        while not ended() and len(taken) < most and not self._frames.empty():
            taken.append(self._frames.get_nowait())
        self.taken += len(taken)
        return taken

    def wake(self) -> None:
        """Nobody waits here."""


class Watched:
    """A camera that notes what happens, and stops in both steps until it is let go."""

    def __init__(self, free: bool = False) -> None:
        self.events: list[tuple[str, Any]] = []
        self.slots: dict[Any, int] = {}
        self.places: dict[Any, int] = {}
        self.bad: set[Any] = set()
        self.useless: set[Any] = set()
        self._free = free
        self._changed = threading.Condition()
        self._let_go: set[tuple[str, Any]] = set()

    def prepare(self, arrival: Any, in_force: Any, slot: int, place: int) -> Any:
        self.slots[arrival], self.places[arrival] = slot, place
        return None if arrival in self.bad else arrival

    def see(self, ready: Any, answer: Any) -> Any:
        assert answer == f"answer {self.places[ready]}"
        self._step("see", ready)
        return None if ready in self.useless else ready

    def publish(self, half: Any) -> None:
        self._step("publish", half)

    def _step(self, name: str, frame: Any) -> None:
        with self._changed:
            self.events.append((f"{name} begins", frame))
            self._changed.notify_all()
            assert self._free or self._changed.wait_for(lambda: (name, frame) in self._let_go, WAIT_S)
            self.events.append((f"{name} ends", frame))
            self._changed.notify_all()

    def let_go(self, name: str, frame: Any) -> None:
        """Let a step end, and wait until it has."""
        with self._changed:
            self._let_go.add((name, frame))
            self._changed.notify_all()
        self.until(f"{name} ends", frame)

    def until(self, event: str, frame: Any) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: (event, frame) in self.events, WAIT_S), (event, frame, self.events)


@contextmanager
def working(lane: Lane, threads: int) -> Iterator[list[threading.Thread]]:
    running = [threading.Thread(target=lane.work, args=(slot,), daemon=True) for slot in range(threads)]
    for thread in running:
        thread.start()
    yield running
    for thread in running:
        thread.join(WAIT_S)
        assert not thread.is_alive()


def test_the_network_has_the_next_frame_while_one_is_published() -> None:
    """a is published while b's network runs; c is taken no sooner than b leaves the network, and b leaves it no sooner
    than a is out."""
    camera, line = Watched(), Line([(0, "a"), (0, "b"), (0, "c")])
    with working(Lane(line, [camera], lambda: None, network), 2):
        camera.let_go("see", "a")
        camera.until("publish begins", "a")
        camera.until("see begins", "b")
        assert ("publish ends", "a") not in camera.events
        camera.let_go("see", "b")
        assert line.taken == 2, "c is still where a newer one could replace it"
        assert ("publish begins", "b") not in camera.events
        camera.let_go("publish", "a")
        camera.until("publish begins", "b")
        camera.until("see begins", "c")
        for step in (("publish", "b"), ("see", "c"), ("publish", "c")):
            camera.let_go(*step)
    assert camera.slots["a"] == camera.slots["c"] != camera.slots["b"], "masks of a are free again for c, not for b"


def test_one_thread_begins_nothing_before_all_of_the_frame_before_is_done() -> None:
    camera = Watched(free=True)
    with working(Lane(Line([(0, "a"), (0, "b")]), [camera], lambda: None, network), 1):
        pass
    steps = [f"{step} {edge}" for step in ("see", "publish") for edge in ("begins", "ends")]
    assert camera.events == [(step, frame) for frame in "ab" for step in steps]


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(0, 2), max_size=30), st.sets(st.integers(0, 29)), st.integers(1, 2))
def test_every_frame_passes_once_and_in_order(cameras: list[int], useless: set[int], threads: int) -> None:
    one = Watched(free=True)
    one.useless = useless
    with working(
        Lane(Line([(camera, i) for i, camera in enumerate(cameras)]), [one] * 3, lambda: None, network), threads
    ):
        pass
    order = list(range(len(cameras)))
    for step in ("see begins", "see ends"):
        assert [frame for event, frame in one.events if event == step] == order
    for step in ("publish begins", "publish ends"):
        assert [frame for event, frame in one.events if event == step] == [i for i in order if i not in useless]
    for step in ("see", "publish"):
        edges = [event for event, _ in one.events if event.startswith(step)]
        assert edges == [f"{step} begins", f"{step} ends"] * (len(edges) // 2), "never two frames in one place"


def test_settings_are_those_of_when_the_frame_is_taken() -> None:
    seen = []
    camera = SimpleNamespace(prepare=lambda arrival, in_force, *_: seen.append(in_force), publish=pytest.fail)
    now = iter("xy")
    Lane(Line([(0, "a"), (0, "b")]), [camera], lambda: next(now), network).work(0)
    assert seen == ["x", "y"]


@pytest.mark.parametrize(
    ("choice", "device", "cameras", "overlap"),
    [
        ("auto", "CPU", 4, False),
        ("auto", "CUDA, CPU", 2, True),
        ("auto", "Orin (8.7)", 4, True),
        ("auto", "Orin (8.7)", 1, False),
        ("always", "CPU", 1, True),
        ("never", "Orin (8.7)", 4, False),
    ],
)
def test_frames_overlap_where_several_cameras_gain_by_it(choice: str, device: str, cameras: int, overlap: bool) -> None:
    backend: Any = SimpleNamespace(describe=lambda: {"device": device})
    assert overlaps(choice, backend, cameras) is overlap


@pytest.mark.parametrize("slots", [1, 2])
def test_a_lane_that_is_left_publishes_nothing_of_a_frame_that_comes_back(slots: int) -> None:
    camera, frames = Watched(), Line([(0, "late"), (0, "next")])
    lane = Lane(frames, [camera], lambda: None, network)
    with working(lane, slots) as threads:
        camera.until("see begins", "late")
        assert lane.overdue(0.0) == [(0, "late")] and not lane.overdue(1000.0)
        lane.leave()
        assert lane.is_published(WAIT_S)
        camera.let_go("see", "late")
        for thread in threads:
            thread.join(WAIT_S)
            assert not thread.is_alive()
    assert frames.taken == 1 and not lane.overdue(0.0)
    assert ("publish begins", "late") not in camera.events


def test_leaving_a_lane_waits_for_what_is_being_published() -> None:
    camera = Watched()
    lane = Lane(Line([(0, "a")]), [camera], lambda: None, network)
    with working(lane, 1):
        camera.let_go("see", "a")
        camera.until("publish begins", "a")
        assert not lane.overdue(0.0), "the network has nothing"
        lane.leave()
        assert not lane.is_published(0.01)
        camera.let_go("publish", "a")
        assert lane.is_published(WAIT_S)


def test_a_batch_goes_through_the_network_at_once_and_out_in_its_order() -> None:
    """A frame that cannot be used leaves no gap among the images, and one that the network fails at holds no other up."""
    runs: list[list[Any]] = []

    def noted(ready: Sequence[Any]) -> Iterator[tuple[int, str]]:
        runs.append(list(ready))
        return reversed([(index, f"answer {index}") for index in range(len(ready))])  # of several sizes, in any order

    camera = Watched(free=True)
    camera.bad, camera.useless = {"b"}, {"c"}
    frames = Line(list(enumerate("abcdef")))
    Lane(frames, [camera] * 6, lambda: None, noted, most=4).work(0)
    assert runs == [["a", "c", "d"], ["e", "f"]]
    assert camera.places == {"a": 0, "b": 1, "c": 1, "d": 2, "e": 0, "f": 1}
    assert [frame for event, frame in camera.events if event == "publish begins"] == ["a", "d", "e", "f"]


def test_a_lane_that_is_closed_publishes_what_it_has_and_takes_no_more() -> None:
    """As after a fault of the backend at one frame of a batch."""
    camera, frames = Watched(), Line([(0, "a"), (2, "bad"), (1, "b"), (0, "c")])
    camera.bad = {"bad"}
    lane = Lane(frames, [camera] * 3, lambda: None, network, most=3)
    with working(lane, 1):
        camera.let_go("see", "a")
        assert lane.overdue(0.0) == [(0, "a"), (1, "b")], "the bad one has been answered"
        lane.close()
        for step in (("see", "b"), ("publish", "a"), ("publish", "b")):
            camera.let_go(*step)
    assert frames.taken == 3


def test_a_lane_that_is_left_runs_no_more_of_the_batch() -> None:
    asked: list[int] = []

    def in_two_runs(ready: Sequence[Any]) -> Iterator[tuple[int, str]]:
        for index in range(len(ready)):
            asked.append(index)
            if index:
                lane.leave()
            yield index, f"answer {index}"

    camera = Watched(free=True)
    lane = Lane(Line(list(enumerate("abc"))), [camera] * 3, lambda: None, in_two_runs, most=3)
    lane.work(0)
    assert asked == [0, 1] and camera.events == [("see begins", "a"), ("see ends", "a")]


@pytest.mark.parametrize(
    ("choice", "device", "batch", "cameras", "frames"),
    [
        ("auto", "CPU", None, 4, 1),
        ("auto", "Orin (8.7)", None, 4, 4),
        ("auto", "Orin (8.7)", None, 1, 1),
        ("auto", "Orin (8.7)", None, 20, 8),
        ("always", "CPU", None, 4, 4),
        ("always", "Orin (8.7)", 1, 4, 1),
        ("never", "Orin (8.7)", None, 4, 1),
    ],
)
def test_frames_go_together_where_that_gains_and_the_model_file_allows_it(
    choice: str, device: str, batch: int | None, cameras: int, frames: int
) -> None:
    backend: Any = SimpleNamespace(describe=lambda: {"device": device}, model=SimpleNamespace(batch=batch))
    assert together(choice, backend, cameras) == frames


def test_who_waits_for_a_frame_when_the_lane_is_left_leaves_too_and_takes_no_others_wake() -> None:
    """Else the next frame would wake it alone, and not those who come after."""
    frames: NewestFrames[str] = NewestFrames(1)
    lane = Lane(frames, [Watched(free=True)], lambda: None, network)
    with working(lane, 1):
        lane.leave()
    frames.put(0, "a")
    assert frames.take() == [(0, "a")]
