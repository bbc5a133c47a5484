"""Which frames wait, for which others, and who comes next."""

from __future__ import annotations

import itertools
import threading
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from patience import WAIT_S as PATIENCE_S

from seg_perception.ros import newest
from seg_perception.ros.newest import NewestFrames

WAIT_S = 0.005


class Clock:
    """Time that passes only where somebody waits for frames: then what comes until the wait's end comes, one at a time."""

    def __init__(self, events: list[tuple[float, int]]) -> None:
        """events: when a frame of which camera comes."""
        self.now_s = 0.0
        self.frames: NewestFrames[float] | None = None
        self._events = sorted(events)

    def monotonic(self) -> float:
        return self.now_s

    def wait(self, left_s: float | None = None) -> None:
        assert self.frames is not None
        end_s = None if left_s is None else self.now_s + left_s
        if self._events and (end_s is None or self._events[0][0] <= end_s):
            self.until(self._events[0][0])
        elif end_s is None:
            self.frames.close()
        else:
            self.now_s = end_s

    def until(self, end_s: float) -> None:
        """Let time pass."""
        assert self.frames is not None
        while self._events and self._events[0][0] <= end_s:
            come_s, camera = self._events.pop(0)
            self.now_s = max(self.now_s, come_s)
            self.frames.put(camera, come_s)
        self.now_s = max(self.now_s, end_s)


def taken(
    monkeypatch: pytest.MonkeyPatch,
    events: list[tuple[float, int]],
    cameras: int,
    wait_s: float = WAIT_S,
    run_s: float = 0.0,
) -> Iterator[tuple[float, dict[int, float]]]:
    """When a batch is taken, and when each of its frames had come; a run of the network takes run_s."""
    clock, frames = Clock(events), NewestFrames[float](cameras)
    clock.frames = frames
    monkeypatch.setattr(newest.time, "monotonic", clock.monotonic)
    monkeypatch.setattr(frames._filled, "wait", clock.wait)
    while batch := frames.take(cameras, wait_s):
        yield clock.now_s, dict(batch)
        clock.until(clock.now_s + run_s)


def every(period_s: float, camera: int, count: int, start_s: float = 0.0) -> list[tuple[float, int]]:
    return [(start_s + k * period_s, camera) for k in range(count)]


def test_a_newer_frame_replaces_one_that_nobody_took() -> None:
    frames = NewestFrames[str](1)
    assert not frames.put(0, "a")
    assert frames.put(0, "b")
    assert frames.take() == [(0, "b")]
    assert not frames.put(0, "c"), "b was taken, so nothing is replaced"


@pytest.mark.parametrize("most", [1, 2])
def test_cameras_are_served_in_turn(most: int) -> None:
    frames = NewestFrames[str](3)
    served: Counter[int] = Counter()
    for _ in range(6):
        for camera in range(3):
            frames.put(camera, "busy")
        served.update(camera for camera, _ in frames.take(most))
    assert served == dict.fromkeys(range(3), 2 * most)


def test_a_camera_that_sends_nothing_leaves_its_turn_to_the_others() -> None:
    frames = NewestFrames[str](3)
    served = []
    for _ in range(6):
        frames.put(0, "busy")
        frames.put(2, "busy too")
        served.append(frames.take()[0][0])
    assert served == [0, 2, 0, 2, 0, 2]


def test_a_request_is_taken_alone_and_in_its_turn() -> None:
    frames = NewestFrames[str](2, alone=1)
    for slot, frame in enumerate(("a", "b", "request")):
        frames.put(slot, frame)
    assert frames.take(3, WAIT_S) == [(0, "a"), (1, "b")]
    frames.put(0, "c")
    assert frames.take(3, WAIT_S) == [(2, "request")]
    assert frames.take(3) == [(0, "c")]


@pytest.mark.parametrize("most", [1, 2, 3, 4])
def test_a_request_waits_for_one_round_at_most_however_busy_the_cameras_are(most: int) -> None:
    frames = NewestFrames[str](4, alone=1)
    for start in range(4):
        for camera in range(4):
            frames.put(camera, "busy")
        frames.take(start + 1)
        frames.put(4, "request")
        for _ in range(5):
            for camera in range(4):
                frames.put(camera, "busy")
            if frames.take(most) == [(4, "request")]:
                break
        else:
            pytest.fail(f"the request starves after {start}")


def test_closing_wakes_who_waits() -> None:
    frames = NewestFrames[str](1)
    took: list[Any] = ["not yet"]
    thread = threading.Thread(target=lambda: took.append(frames.take()))
    thread.start()
    frames.close()
    thread.join(PATIENCE_S)
    assert took == ["not yet", []]


def test_cameras_that_come_together_are_waited_for_once_their_rhythm_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three cameras at 20 Hz, each 1 ms after the one before. Of the second frames on each batch has all three, and leaves with
    the last."""
    events = [event for camera in range(3) for event in every(0.05, camera, 10, camera * 0.001)]
    batches = list(taken(monkeypatch, events, 3))
    together = [batch for _, batch in batches if len(batch) == 3]
    assert len(together) == 8
    assert all(at_s == pytest.approx(max(batch.values())) for at_s, batch in batches if len(batch) == 3)


def test_nothing_waits_for_a_camera_that_is_not_due(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two cameras at 20 Hz, half a period out of step, and a slow one: every frame leaves as it comes."""
    events = [*every(0.05, 0, 20), *every(0.05, 1, 20, 0.025), *every(0.5, 2, 2, 0.012)]
    for at_s, batch in taken(monkeypatch, events, 3):
        assert at_s == pytest.approx(min(batch.values()))


def test_a_camera_that_stalls_costs_the_bound_once_and_then_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    events = [*every(0.05, 0, 20), *every(0.05, 1, 10, 0.001)]
    waits = [at_s - batch[0] for at_s, batch in taken(monkeypatch, events, 2) if 0 in batch]
    assert max(waits) <= WAIT_S + 1e-9
    assert [round(wait, 6) for wait in waits[11:]] == [0.0] * 9


def test_no_wait_is_no_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    events = [*every(0.05, 0, 10), *every(0.05, 1, 10, 0.001)]
    assert all(at_s == max(batch.values()) for at_s, batch in taken(monkeypatch, events, 2, wait_s=0.0))


def test_a_node_that_is_full_takes_all_that_is_there_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The network is slower than the cameras: it is never idle, and every camera is in every batch."""
    events = [event for camera in range(4) for event in every(0.01, camera, 100, camera * 0.0025)]
    batches = list(taken(monkeypatch, events, 4, run_s=0.05))[2:-1]
    assert all(len(batch) == 4 for _, batch in batches)
    assert all(later - at == pytest.approx(0.05) for (at, _), (later, _) in itertools.pairwise(batches))


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.floats(0, 0.3), st.integers(0, 3)), min_size=1, max_size=60),
    st.floats(0, 0.02),
    st.floats(0, 0.03),
)
def test_no_frame_waits_longer_than_the_bound_and_none_is_lost(
    events: list[tuple[float, int]], wait_s: float, run_s: float
) -> None:
    """Whatever comes when: the network, once free, takes a frame no later than the bound after one began to wait; each
    frame is the newest of its camera, and the last one of each is always taken."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        free_s, last = 0.0, {}
        for at_s, batch in taken(monkeypatch, events, 4, wait_s, run_s):
            waiting_since = [
                min(come for come, one in events if one == camera and come > last.get(camera, -1.0)) for camera in batch
            ]
            assert at_s <= max(free_s, min(waiting_since) + wait_s) + 1e-9
            for camera, come_s in batch.items():
                assert come_s == max(come for come, one in events if one == camera and come <= at_s)
            last.update(batch)
            free_s = at_s + run_s
        assert last == {camera: max(come for come, one in events if one == camera) for _, camera in events}


def test_who_waits_ends_when_told_and_the_frame_stays_for_the_next() -> None:
    frames: NewestFrames[str] = NewestFrames(1)
    ended, taken = threading.Event(), []
    waiting = threading.Thread(target=lambda: taken.append(frames.take(1, 0.0, ended.is_set)))
    waiting.start()
    ended.set()
    frames.wake()
    waiting.join(PATIENCE_S)
    assert taken == [[]] and not waiting.is_alive()
    frames.put(0, "next")
    assert frames.take(1, 0.0, lambda: True) == [] and frames.take() == [(0, "next")]
