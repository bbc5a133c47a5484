"""What becomes of a node's backend while another one takes its place, and which one is made again."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest
from fakes import FakeBackend, empty_output, model_info
from patience import WAIT_S

from seg_perception import backends
from seg_perception.errors import BackendError
from seg_perception.model_file import ModelInfo
from seg_perception.network_size import SizeLimits
from seg_perception.pipeline import Pipeline
from seg_perception.ros import making
from seg_perception.ros.camera import Camera
from seg_perception.ros.inputs import Arrival
from seg_perception.ros.making import Maker
from seg_perception.ros.real_time import Scheduling
from seg_perception.ros.works import MOST_LEFT_BEHIND, OnRequest, Works
from seg_perception.self_test import Outcome
from seg_perception.tracking.settings import TrackingSettings

MODEL = replace(model_info(size_hw=(96, 128)), limits=SizeLimits((32, 32), (256, 256)))
OTHER = (64, 192)


class Engine(FakeBackend):
    """Built for one size."""

    def __init__(self, model: ModelInfo) -> None:
        super().__init__(lambda images: empty_output(model))
        self.model = model.at(model.size_hw)


class OnCpu(FakeBackend):
    """Takes whatever its model does."""

    def __init__(self, model: ModelInfo) -> None:
        super().__init__(lambda images: empty_output(model))
        self.model = model

    def describe(self) -> Any:
        return {**super().describe(), "device": "CPU"}


def settings(network_hw: tuple[int, int] | None = None, **values: Any) -> Any:
    node = {
        "backend": "tensorrt", "fallback": "none", "providers": (), "precision": "auto", "engine_cache": "", "threads": 1,
        "batch": "auto", "batch_wait_ms": 0.0, "overlap": "auto", "self_test": "check", "backend_restarts": 3,
    }  # fmt: skip
    return SimpleNamespace(node=SimpleNamespace(**{**node, **values}), network_hw=network_hw, poses={"": None})


class Gpu:
    """Where engines are made, or not; without one `auto` is ONNX Runtime."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.here, self.fails = True, False
        self.made: list[Any] = []
        monkeypatch.setattr(backends, "resolve", lambda name: ("tensorrt" if self.here else "onnxruntime", "its state"))
        monkeypatch.setattr(backends, "choose", self.choose)
        monkeypatch.setattr(Maker, "_learn_answer", lambda self, size_hw: None)
        monkeypatch.setattr(making, "SelfTest", Test)

    def choose(self, model: ModelInfo, *, fallback: str, **_: Any) -> Any:
        if self.here and self.fails and fallback == "none":
            raise BackendError("CUDA's cudaMalloc failed (out of memory)")
        self.made.append(Engine(model) if self.here and not self.fails else OnCpu(model))
        return self.made[-1]


class Test:
    """A self-test that notes which backend it ran, and whether that was closed."""

    __test__ = False
    ran: ClassVar[list[tuple[Any, bool]]] = []
    passes = True

    def __init__(self, model: ModelInfo, backend: Any) -> None:
        self.backend = backend

    def run(self) -> Outcome:
        self.ran.append((self.backend, self.backend.closed))
        return Outcome(self.passes, f"at {self.backend.model.size_hw}")


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> Gpu:
    monkeypatch.setattr(Test, "ran", [])
    monkeypatch.setattr(Test, "passes", True)
    return Gpu(monkeypatch)


@pytest.fixture
def owner() -> Any:
    said: list[Outcome] = []
    return SimpleNamespace(
        said=said, say_outcome=said.append, tell=lambda: None, leave=pytest.fail, give_up=lambda: True
    )


@pytest.fixture
def works(gpu: Gpu, owner: Any) -> Iterator[Works]:
    works = Works(owner, lambda: settings(self_test="warn"), lambda line: None)
    works.open(MODEL, Scheduling())
    works.start([])
    yield works
    works.stop()
    works.close()


def take_over(works: Works, backend: Any) -> bool:
    assert works._recovery is not None
    return works._take_over(works._recovery, backend)


def beside(works: Works) -> Any:
    assert works._maker is not None
    return works._maker.beside(OTHER)


def test_a_test_that_is_asked_for_during_an_exchange_is_of_the_new_backend(
    works: Works, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The old one is being closed, on a GPU from under whoever still runs it."""
    old, other, answered = works._backend, beside(works), threading.Event()
    adopt = works.adopt

    def asked_meanwhile(backend: Any) -> None:
        adopt(backend)
        works.test(lambda outcome: answered.set())
        assert answered.wait(WAIT_S)

    monkeypatch.setattr(works, "adopt", asked_meanwhile)
    assert take_over(works, other) and old.closed  # type: ignore[union-attr]
    assert Test.ran[-1] == (other, False)


def test_what_a_restart_made_meanwhile_is_what_is_replaced_and_closed(works: Works) -> None:
    """One that was restarted between the look and the exchange."""
    other, recovery, restarted = beside(works), works._recovery, Engine(MODEL)
    assert recovery is not None
    exchange = recovery.replace

    def after_a_restart(swap: Any) -> bool:
        works._backend = restarted  # type: ignore[assignment]
        return exchange(swap)

    recovery.replace = after_a_restart  # type: ignore[method-assign]
    assert take_over(works, other) and works._backend is other and restarted.closed


def test_what_runs_on_the_cpu_meanwhile_is_not_replaced(works: Works) -> None:
    other, works._backend = beside(works), OnCpu(MODEL)  # type: ignore[assignment]
    assert not take_over(works, other)


def test_a_new_size_that_only_warns_of_its_self_test_says_how_it_ended(works: Works, owner: Any) -> None:
    Test.passes = False
    other = beside(works)
    assert owner.said[-1].passed and works.problem == "", "it does not run yet"
    assert take_over(works, other)
    assert owner.said[-1] == Outcome(False, f"at {OTHER}") and works.problem == f"at {OTHER}"


class Held:
    """Makes backends, of one size when it is let."""

    def __init__(self, gpu: Gpu, monkeypatch: pytest.MonkeyPatch, size_hw: tuple[int, int]) -> None:
        self.begun, self.again, self.goes_on = threading.Event(), threading.Event(), threading.Event()
        choose = gpu.choose

        def held(model: ModelInfo, **how: Any) -> Any:
            if model.size_hw == size_hw and not self.goes_on.is_set():
                (self.again if self.begun.is_set() else self.begun).set()
                assert self.goes_on.wait(WAIT_S)
            return choose(model, **how)

        monkeypatch.setattr(backends, "choose", held)


def reopened(works: Works) -> threading.Thread:
    """Deactivated, cleaned up, and being configured and activated anew."""
    works.stop()
    works.close()

    def again() -> None:
        works.open(MODEL, Scheduling())
        works.start([])

    thread = threading.Thread(target=again)
    thread.start()
    return thread


def test_what_a_restart_makes_after_its_end_is_waited_for_and_no_test_is_of_it(
    gpu: Gpu, works: Works, monkeypatch: pytest.MonkeyPatch
) -> None:
    held, answered = Held(gpu, monkeypatch, MODEL.size_hw), threading.Event()
    works.failed(works._backend, BackendError("it fell off the bus"))
    assert held.begun.wait(WAIT_S)
    thread = reopened(works)
    assert not held.again.wait(0.05), "two at once on one GPU"
    held.goes_on.set()
    thread.join(WAIT_S)
    works.test(lambda outcome: answered.set())
    assert answered.wait(WAIT_S)
    assert Test.ran[-1] == (works._backend, False)
    assert [made.closed for made in gpu.made] == [True, True, False]


def test_what_is_built_in_the_background_is_one_at_a_time_also_after_configuring_anew(
    gpu: Gpu, works: Works, monkeypatch: pytest.MonkeyPatch
) -> None:
    held, shapes = Held(gpu, monkeypatch, MODEL.size_for((375, 1242))), {"": ((375, 1242), -1e9)}
    works._resizing.look_after(MODEL, MODEL.size_hw, shapes)  # type: ignore[union-attr]
    assert held.begun.wait(WAIT_S)
    reopened(works).join(WAIT_S)
    works._resizing.look_after(MODEL, MODEL.size_hw, shapes)  # type: ignore[union-attr]
    assert "is built, in the background" in works.warning
    assert not held.again.wait(0.05), "two builders at once"
    threads = [thread for thread in threading.enumerate() if thread.name == "resizing"]
    held.goes_on.set()
    for thread in threads:
        thread.join(WAIT_S)
    assert len(threads) == 2 and works._backend is gpu.made[-1]
    assert [made.closed for made in gpu.made] == [True, True, True, False]


def test_a_test_that_is_asked_for_while_the_node_is_deactivated_is_answered(works: Works) -> None:
    stopping, answers = threading.Thread(target=works.stop), list[Outcome]()

    class Late(list[Any]):
        def append(self, answer: Any) -> None:
            stopping.start()
            stopping.join(0.2)  # unless it waits for this
            super().append(answer)

    works._asked = Late()
    works.test(answers.append)
    stopping.join(WAIT_S)
    assert len(answers) == 1


def test_what_was_left_behind_too_often_costs_the_process(
    gpu: Gpu, owner: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each thread that hangs keeps its backend's memory, and a few a minute are allowed for ever."""
    left: list[str] = []
    owner.leave, gpu.here = left.append, False
    works = Works(owner, lambda: settings(self_test="warn", backend_timeout=5.0), lambda line: None)
    works.open(MODEL, Scheduling())
    works.start([])
    for count in range(MOST_LEFT_BEHIND + 1):
        assert works._crew is not None and works._recovery is not None
        monkeypatch.setattr(works._crew.lane, "overdue", lambda limit_s: ((0, Arrival(None, 0.0)),))
        monkeypatch.setattr(works._recovery, "_limit", 1000)
        works.look_after()
        works._recovery.join()
        assert len(left) == (count == MOST_LEFT_BEHIND)
    assert "the network has not answered for 5 s" in left[0] and f"left behind {MOST_LEFT_BEHIND} times" in left[0]
    assert len(gpu.made) == 1 + MOST_LEFT_BEHIND
    works.stop()
    works.close()


def test_where_the_threads_of_frames_cannot_be_begun_none_is_left(
    works: Works, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: Scheduling, thread: threading.Thread) -> None:
        raise PermissionError("SCHED_FIFO")

    other = beside(works)
    old, before = works._crew, threading.active_count()
    monkeypatch.setattr(Scheduling, "apply", refuse)
    with pytest.raises(PermissionError):
        works.adopt(other)
    assert works._backend is None and works._crew is old and threading.active_count() == before


@pytest.mark.parametrize(("here", "backend", "fallback"), [(True, "tensorrt", "cpu"), (False, "auto", "none")])
def test_what_takes_every_size_is_not_held_to_the_one_that_an_engine_had(
    gpu: Gpu, here: bool, backend: str, fallback: str
) -> None:
    maker = Maker(MODEL, lambda: settings(backend=backend, fallback=fallback), lambda line: None)
    maker.size_hw = OTHER
    assert maker.make().model.size_hw == OTHER
    gpu.here, gpu.fails = here, True
    made = maker.make()
    assert made.model == MODEL and not maker.may_resize(made)
    assert maker.size_of(made) == "by the shape of each camera's images"
    with pytest.raises(BackendError):
        maker.beside(OTHER)


def test_a_size_that_was_asked_for_stays_and_nothing_is_said(gpu: Gpu, owner: Any) -> None:
    works = Works(owner, lambda: settings(network_hw=OTHER, self_test="warn"), lambda line: None)
    works.open(MODEL, Scheduling())
    works.start([])
    works._cameras = [SimpleNamespace(name="front", shape=((480, 480), -1e9))]  # type: ignore[list-item]
    works._look_after_size()
    assert works.warning == "" and [made.model.size_hw for made in gpu.made] == [OTHER]
    maker, backend = works._maker, works._backend
    assert maker is not None and backend is not None
    assert maker.size_of(backend) == "192x64: by network_size" and not maker.may_resize(backend)
    maker._settings = lambda: settings(self_test="warn")
    assert maker.may_resize(backend), "where nobody asked for it"
    works.stop()
    works.close()


def test_tracks_go_on_with_another_backend() -> None:
    """After a restart, and at another size."""
    one, other = (Pipeline(MODEL, Engine(MODEL), tracking=TrackingSettings()) for _ in range(2))  # type: ignore[arg-type]
    camera = Camera.__new__(Camera)
    camera._pipeline, camera._pipeline_of = one, lambda backend: other  # type: ignore[method-assign]
    camera.use(Engine(MODEL))  # type: ignore[arg-type]
    assert camera._pipeline is other and other.tracker is one.tracker is not None


def test_an_engine_that_cannot_be_made_again_is_one_of_the_files_own_size(
    gpu: Gpu, monkeypatch: pytest.MonkeyPatch
) -> None:
    logged: list[str] = []
    maker = Maker(MODEL, settings, logged.append)
    maker.size_hw = OTHER
    choose = gpu.choose

    def no_room(model: ModelInfo, **how: Any) -> Any:
        if model.size_hw == OTHER:
            raise BackendError("no room")
        return choose(model, **how)

    monkeypatch.setattr(backends, "choose", no_room)
    made = maker.make()
    assert made.model.size_hw == MODEL.size_hw and maker.size_hw is None
    assert logged == ["the network runs at the model file's own size again: no room"]


def test_a_self_test_that_throws_has_failed_and_ends_nothing() -> None:
    outcomes: list[Outcome] = []
    request = OnRequest(outcomes.append)
    request.prepare(None, None, 0, 0)
    assert not outcomes, "there is none while the backend is being made anew"

    def run() -> Outcome:
        raise ZeroDivisionError("by zero")

    request.test = SimpleNamespace(run=run)  # type: ignore[assignment]
    request.prepare(None, None, 0, 0)
    (outcome,) = outcomes
    assert outcome.passed is False and outcome.sentence == "the self-test failed: ZeroDivisionError: by zero"
