"""How often a backend is made anew, and what becomes of one that comes too late."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
from fakes import FakeBackend, empty_output, model_info
from patience import WAIT_S

from seg_perception.errors import BackendError
from seg_perception.ros import recovery
from seg_perception.ros.recovery import Recovery

ERROR = BackendError("it fell off the bus")


class Parts:
    """Notes what is asked of it; `make` is what remake does."""

    def __init__(self, make: Callable[[], Any], fallback: bool = False, busy: int = 0, unfit: int = 0) -> None:
        """busy: so often giving up is not possible yet; unfit: so many backends cannot be adopted."""
        self._make, self._fallback, self._busy, self._unfit = make, fallback, busy, unfit
        self.events: list[str] = []
        self.changed = threading.Condition()

    def note(self, event: str) -> None:
        with self.changed:
            self.events.append(event)
            self.changed.notify_all()

    def until(self, event: str, count: int = 1) -> None:
        with self.changed:
            assert self.changed.wait_for(lambda: self.events.count(event) >= count, WAIT_S), self.events

    def take_apart(self, hangs: bool) -> None:
        self.note("left behind" if hangs else "taken apart")

    def remake(self) -> Any:
        self.note("made")
        return self._make()

    def may_fall_back(self, because: BackendError) -> bool:
        fallback, self._fallback = self._fallback, False
        self.note("asked for a fallback")
        return fallback

    def adopt(self, backend: Any) -> None:
        self._unfit -= 1
        if self._unfit >= 0:
            raise MemoryError("no room for masks")
        self.note("adopted")

    def give_up(self) -> bool:
        self._busy -= 1
        self.note("given up" if self._busy < 0 else "busy")
        return self._busy < 0

    def leave(self, cause: str) -> None:
        self.note(f"left: {cause}")


def backend() -> FakeBackend:
    model = model_info()
    return FakeBackend(lambda images: empty_output(model))


def failing() -> Any:
    raise RuntimeError("no device")


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recovery, "PAUSE_S", 0.01)


def test_a_backend_is_made_anew_once_for_all_who_notice() -> None:
    parts, goes_on = Parts(lambda: goes_on.wait(WAIT_S) and backend()), threading.Event()
    one = Recovery(parts, 3, print)
    assert one.begin(ERROR) and not one.begin(ERROR), "the second notices the same failure"
    assert one.problem == "the backend is being restarted: it fell off the bus"
    goes_on.set()
    parts.until("adopted")
    assert parts.events == ["taken apart", "made", "adopted"]
    assert one.stop() == "" and one.restarts == 1 and "it fell off the bus" in one.warning
    assert not one.begin(ERROR), "after its end"


def test_what_cannot_be_made_is_tried_so_often_a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    parts = Parts(failing, busy=2)
    one = Recovery(parts, 3, print)
    one.begin(ERROR, hangs=True)
    parts.until("given up")
    assert parts.events == ["left behind", *["made"] * 3, "asked for a fallback", "busy", "busy", "given up"]
    assert one.stop() == "the backend failed more often than 3 times a minute, the last time: RuntimeError: no device"


def test_a_minute_later_it_may_be_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    now_s = [0.0]
    monkeypatch.setattr(recovery.time, "monotonic", lambda: now_s[0])
    one = Recovery(Parts(backend), 1, print)
    assert one._may(ERROR)
    now_s[0] = 59.0
    assert not one._may(ERROR)
    one = Recovery(Parts(backend), 1, print)
    now_s[0] = 0.0
    assert one._may(ERROR)
    now_s[0] = 61.0
    assert one._may(ERROR)


def test_the_fallback_has_as_many_tries_of_its_own() -> None:
    parts = Parts(failing, fallback=True)
    one = Recovery(parts, 2, print)
    one.begin(ERROR)
    parts.until("given up")
    assert parts.events.count("made") == 4
    assert parts.events[3:4] == ["asked for a fallback"]


def test_a_backend_that_comes_after_the_end_is_closed() -> None:
    goes_on, late = threading.Event(), backend()
    parts = Parts(lambda: goes_on.wait(WAIT_S) and late)
    one = Recovery(parts, 3, print)
    one.begin(ERROR)
    parts.until("made")
    assert one.stop().startswith("the backend is being restarted")
    goes_on.set()
    next(thread for thread in threading.enumerate() if thread.name == "recovery").join(WAIT_S)
    assert late.closed and "adopted" not in parts.events


def test_a_backend_that_cannot_be_adopted_is_closed_and_counts_as_a_try() -> None:
    made: list[FakeBackend] = []
    parts = Parts(lambda: made.append(backend()) or made[-1], unfit=1)  # type: ignore[func-returns-value]
    one = Recovery(parts, 3, print)
    one.begin(ERROR)
    parts.until("adopted")
    assert [other.closed for other in made] == [True, False] and one.stop() == ""
    assert "MemoryError: no room for masks" in one.warning

    made.clear()
    parts = Parts(lambda: made.append(backend()) or made[-1], unfit=9)  # type: ignore[func-returns-value]
    one = Recovery(parts, 2, print)
    one.begin(ERROR)
    parts.until("given up")
    assert [other.closed for other in made] == [True, True]
    assert one.stop().endswith("the last time: MemoryError: no room for masks")


def test_who_joins_it_waits_for_what_it_still_makes() -> None:
    goes_on, late, joined = threading.Event(), backend(), threading.Event()
    parts = Parts(lambda: goes_on.wait(WAIT_S) and late)
    one = Recovery(parts, 3, print)
    one.join()
    assert not one.runs
    one.begin(ERROR)
    parts.until("made")
    one.stop()
    assert one.runs
    waiting = threading.Thread(target=lambda: (one.join(), joined.set()))
    waiting.start()
    assert not joined.wait(0.05)
    goes_on.set()
    assert joined.wait(WAIT_S) and late.closed and not one.runs
    waiting.join(WAIT_S)


def test_one_backend_replaces_another_that_works_and_no_other() -> None:
    swapped: list[str] = []
    parts, goes_on = Parts(lambda: goes_on.wait(WAIT_S) and backend()), threading.Event()
    one = Recovery(parts, 3, print)

    def swap() -> bool:
        assert not one.begin(ERROR), "what the old one fails at meanwhile is of no matter"
        swapped.append("once")
        return True

    assert not one.replace(lambda: False), "where that does nothing"
    assert one.replace(swap) and one.problem == one.warning == ""
    assert one.begin(ERROR), "the new one may fail"
    assert not one.replace(swap), "a restart is under way"
    goes_on.set()
    parts.until("adopted")
    next((thread.join(WAIT_S) for thread in threading.enumerate() if thread.name == "recovery"), None)
    one.stop()
    assert not one.replace(swap) and swapped == ["once"], "after the end"


def test_the_end_waits_for_a_swap_that_is_under_way() -> None:
    one, begun, goes_on, ended = Recovery(Parts(backend), 3, print), *(threading.Event() for _ in range(3))
    swap = threading.Thread(target=lambda: one.replace(lambda: bool(begun.set() or goes_on.wait(WAIT_S))))  # type: ignore[func-returns-value]
    stop = threading.Thread(target=lambda: (one.stop(), ended.set()))
    swap.start()
    assert begun.wait(WAIT_S)
    stop.start()
    assert not ended.wait(0.05)
    goes_on.set()
    assert ended.wait(WAIT_S)
    swap.join(WAIT_S)
    stop.join(WAIT_S)


def test_what_does_not_come_back_ends_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recovery, "RESTART_S", 0.01)
    goes_on = threading.Event()
    parts = Parts(lambda: goes_on.wait(WAIT_S) and backend())
    one = Recovery(parts, 3, print)
    one.begin(ERROR)
    with parts.changed:
        left = lambda: any(event.startswith("left: restarting the backend does not end") for event in parts.events)  # noqa: E731
        assert parts.changed.wait_for(left, WAIT_S), parts.events
    one.stop()
    goes_on.set()
