"""The network of a node that is configured: its backend, the threads that run frames through it, its self-test, and the
way back after it failed."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import Any, Protocol

from seg_perception.backends.base import Backend
from seg_perception.backends.batches import Answer, Batches
from seg_perception.errors import BackendError, SegPerceptionError
from seg_perception.model_file import ModelInfo
from seg_perception.ros.camera import Camera, Prepared
from seg_perception.ros.diagnostics import legend
from seg_perception.ros.inputs import Arrival
from seg_perception.ros.lane import Frames, Lane, Steps, overlaps, together
from seg_perception.ros.making import Maker
from seg_perception.ros.newest import NewestFrames
from seg_perception.ros.real_time import Scheduling, give_back_memory
from seg_perception.ros.recovery import RESTART_S, Recovery
from seg_perception.ros.resizing import Resizing
from seg_perception.ros.settings import Settings
from seg_perception.ros.watchdog import standing
from seg_perception.self_test import Outcome, SelfTest

MOST_LEFT_BEHIND = 8
"""Networks that hang in one process, each with its thread and its memory: at the next a new process is due."""


class Owner(Protocol):
    """The node. left_behind: whether a thread was, that waits for ever."""

    left_behind: bool

    def say_outcome(self, outcome: Outcome) -> None:
        """A self-test ended so."""

    def give_up(self) -> bool:
        """Go to error; False where that cannot be now."""

    def leave(self, cause: str) -> None:
        """End the process."""

    def tell(self) -> None:
        """Publish diagnostics."""


class Crew:
    """A lane and a thread for each of its slots."""

    def __init__(
        self,
        frames: Frames,
        cameras: Sequence[Steps],
        settings: Callable[[], Settings],
        backend: Backend,
        slots: int,
        scheduling: Scheduling,
    ) -> None:
        self._backend, self._batches = backend, Batches()
        node = settings().node
        most = together(node.batch, backend, len(settings().poses))
        self.lane = Lane(frames, cameras, settings, self._answers, most, node.batch_wait_ms / 1e3)
        self._threads: list[threading.Thread] = []
        try:
            for slot in range(slots):
                thread = threading.Thread(target=self.lane.work, args=(slot,), name=f"frames {slot}", daemon=True)
                thread.start()
                self._threads.append(thread)
                scheduling.apply(thread)
        except BaseException:
            self.lane.close()
            self.join()
            raise

    def _answers(self, prepared: Sequence[Prepared]) -> Iterator[tuple[int, Answer]]:
        return self._batches.answers(self._backend, [one.ready.images for one in prepared])

    def join(self) -> None:
        """Wait for its end: the frames are closed, or the lane is left."""
        for thread in self._threads:
            thread.join()


class OnRequest:
    """What takes a camera's place in the lane, so that a test runs between two frames; its frames are requests."""

    def __init__(self, judged: Callable[[Outcome], None]) -> None:
        """judged: called with every outcome, in the lane's thread."""
        self._judged = judged
        self.test: SelfTest | None = None

    def prepare(self, arrival: Any, settings: Any, slot: int, place: int) -> None:
        """See Steps: test, and say how it ended."""
        if self.test is None:
            return
        try:
            outcome = self.test.run()
        except Exception as error:  # the edge of the lane's thread: a test must not end perception
            outcome = Outcome(False, f"the self-test failed: {type(error).__name__}: {error}", 1.0)
        self._judged(outcome)

    def see(self, ready: Any, answer: Any) -> None:
        """See Steps: there is nothing."""

    def publish(self, half: Any) -> None:
        """See Steps: there is nothing."""


class Works:
    """Opened when the node is configured, started when it is activated; see recovery.Parts for what its thread does, and
    resizing.py for what another one does."""

    def __init__(self, owner: Owner, settings: Callable[[], Settings], log: Callable[[str], None]) -> None:
        self._owner, self._settings, self._log = owner, settings, log
        self._maker: Maker | None = None
        self._backend: Backend | None = None
        self._cameras: list[Camera] = []
        self._scheduling = Scheduling()
        self._crew: Crew | None = None
        self._recovery: Recovery | None = None
        self._resizing: Resizing | None = None
        self._former: Recovery | None = None
        self._left_behind = 0
        self._one_size = threading.Lock()
        self._on_request = OnRequest(self._judge_request)
        self._outcome: Outcome | None = None
        self._asked: list[Callable[[Outcome], None]] = []
        self._asking = threading.Lock()
        self.slots = 1
        self.frames: NewestFrames[Arrival] = NewestFrames(0)

    def open(self, model: ModelInfo, scheduling: Scheduling) -> Backend:
        """Start the backend of a model file, once what was begun before has ended: a restart that was under way may still
        have the driver make another one. Raises SegPerceptionError as backends.choose."""
        former, self._former = self._former, None
        if former is not None and former.runs:
            self._log("waiting for the end of the restart that was under way")
            former.join()
        settings = self._settings()
        self._maker, self._scheduling = Maker(model, self._settings, self._log), scheduling
        self._backend = backend = self._maker.make()
        self.slots = 2 if overlaps(settings.node.overlap, backend, len(settings.poses)) else 1
        return backend

    def start(self, cameras: list[Camera]) -> None:
        """Test the backend, then run frames. Raises BackendError where the self-test failed and that counts."""
        assert self._backend is not None and self._maker is not None
        self._cameras = cameras
        self._on_request.test = self._tested(self._maker, self._backend)
        self.frames = NewestFrames(len(cameras), alone=1)
        self._recovery = recovery = Recovery(self, self._settings().node.backend_restarts, self._log)
        self._resizing = Resizing(
            self._maker.beside, lambda other: self._take_over(recovery, other), self._log, self._one_size
        )
        self._start_crew()

    def stop(self) -> str:
        """Finish the frame that runs and take no more; says why there is no backend, empty where there is one."""
        without_backend = self._recovery.stop() if self._recovery is not None else ""
        if self._resizing is not None:
            self._resizing.stop()
        self.frames.close()
        crew, self._crew = self._crew, None
        if crew is not None:
            crew.join()
        self._answer_asked(Outcome(None, "no self-test: the node was deactivated"))
        return without_backend

    def close(self) -> None:
        """Give the backend back."""
        # Diagnostics go on meanwhile, in the executor: they must not ask a backend that is being closed.
        backend, self._backend = self._backend, None
        self._former = self._recovery or self._former
        self._cameras, self._recovery, self._resizing = [], None, None
        self._on_request.test = self._outcome = None
        if backend is not None:
            backend.close()
        del backend
        give_back_memory()

    @property
    def facts(self) -> dict[str, str]:
        """For diagnostics."""
        backend, maker, recovery, outcome = self._backend, self._maker, self._recovery, self._outcome
        return {
            **(backend.describe() if backend is not None else {}),
            "legend": self._legend(backend) if backend is not None else "",
            "network_size": maker.size_of(backend) if backend is not None and maker is not None else "",
            "backend_restarts": str(recovery.restarts if recovery is not None else 0),
            "self_test": outcome.sentence if outcome is not None else "",
        }

    def _legend(self, backend: Backend) -> str:
        """Names and colours as the outputs tell them, which are the same for all cameras."""
        settings = self._settings()
        return legend(settings.told(next(iter(settings.poses)), backend.model.labels).classes)

    @property
    def problem(self) -> str:
        """What is an error now, empty where nothing is."""
        outcome = self._outcome
        failed = outcome.sentence if outcome is not None and outcome.passed is False else ""
        return (self._recovery.problem if self._recovery is not None else "") or failed

    @property
    def warning(self) -> str:
        """What is to be known of the backend, empty where nothing is."""
        backend = self._backend
        fallback = backend.describe().get("fallback", "") if backend is not None else ""
        parts = (self._recovery, self._resizing)
        return "; ".join(filter(None, (fallback, *(part.warning for part in parts if part is not None))))

    def test(self, answer: Callable[[Outcome], None]) -> None:
        """Test between two frames, and call answer from another thread; at once where no frames are run."""
        with self._asking:  # stop answers what was asked before it took the crew away, and nothing later
            is_asked = self._crew is not None
            if is_asked:
                self._asked.append(answer)
                self.frames.put(len(self._cameras), Arrival(None, time.monotonic()))
        if not is_asked:
            answer(Outcome(None, "no self-test: no frames are run; the node tests itself when it is activated"))

    def failed(self, backend: Backend | None, error: BackendError) -> None:
        """A worker thread: the backend lost a frame."""
        crew = self._crew
        if crew is None or self._recovery is None or backend is not self._backend:
            return
        if self._recovery.begin(error):
            # Here, before this thread waits for its next frame, which may never come.
            crew.lane.close()

    def look_after(self) -> None:
        """Once a second while frames are run: notice a network that hangs, and one of another shape than the images."""
        self._look_after_size()
        crew, recovery, backend, node = self._crew, self._recovery, self._backend, self._settings().node
        late = crew.lane.overdue(node.backend_timeout) if crew is not None else ()
        if not late or recovery is None or backend is None:
            return
        where = standing("frames")
        error = BackendError(f"the network has not answered for {node.backend_timeout:g} s ({where})", "backend_hangs")
        on_cpu = backend.describe()["device"] == "CPU"
        if not on_cpu and not self.may_fall_back(error):
            # What hangs in a GPU's driver holds its context, and with it whatever this process begins there anew.
            self._owner.leave(str(error))
            return
        if self._left_behind >= MOST_LEFT_BEHIND:
            self._owner.leave(f"{error}; one was left behind {MOST_LEFT_BEHIND} times before, with its memory")
            return
        if recovery.begin(error, hangs=True):
            for index, arrival in late:
                self._drop(index, arrival, error)

    def _look_after_size(self) -> None:
        maker, backend, resizing = self._maker, self._backend, self._resizing
        if maker is None or backend is None or resizing is None:
            return
        squeezes = maker.may_resize(backend)
        cameras = self._cameras if squeezes else []
        shapes = {camera.name: shape for camera in cameras if (shape := camera.shape) is not None}
        resizing.look_after(maker.model, backend.model.size_hw, shapes)

    def _drop(self, index: int, arrival: Arrival, error: BackendError) -> None:
        if index < len(self._cameras):
            self._cameras[index].drop(arrival, error)
        else:
            self._judge(Outcome(False, f"the self-test failed: {error}", 1.0))

    def _start_crew(self) -> None:
        assert self._backend is not None
        steps: list[Steps] = [*self._cameras, self._on_request]
        self._crew = Crew(self.frames, steps, self._settings, self._backend, self.slots, self._scheduling)

    def _tested(self, maker: Maker, backend: Backend) -> SelfTest:
        """The backend's self-test; raises BackendError where it failed and that counts."""
        test = maker.test_of(backend)
        maker.check(test, self._judge)
        return test

    def _judge(self, outcome: Outcome) -> None:
        self._tell_outcome(outcome)
        self._answer_asked(outcome)

    def _tell_outcome(self, outcome: Outcome) -> None:
        self._outcome = outcome
        self._owner.say_outcome(outcome)

    def _judge_request(self, outcome: Outcome) -> None:
        self._judge(outcome)
        if outcome.passed is False and self._settings().node.self_test in ("check", "require"):
            self.failed(self._backend, BackendError(outcome.sentence, "self_test"))

    def _answer_asked(self, outcome: Outcome) -> None:
        with self._asking:
            asked, self._asked = self._asked, []
        for answer in asked:
            answer(outcome)

    # What the recovery does, in its thread: see recovery.Parts.

    def take_apart(self, hangs: bool) -> None:
        """See Parts."""
        crew, self._crew = self._crew, None
        backend, self._backend, self._on_request.test = self._backend, None, None
        self._owner.tell()
        if crew is None:
            return
        if hangs:
            crew.lane.leave()
            self._owner.left_behind = True
            self._left_behind += 1
            if not crew.lane.is_published(RESTART_S):
                self._owner.leave(f"publishing does not end ({standing('frames')})")
        else:
            crew.lane.close()
            crew.join()
        for camera in self._cameras:
            camera.retract_grid("the backend is being restarted")
        if backend is not None and not hangs:
            with suppress(SegPerceptionError):
                backend.close()
            del backend
            give_back_memory()

    def remake(self) -> Backend:
        """See Parts."""
        assert self._maker is not None
        backend = self._maker.make()
        try:
            backend.warm_up()
            self._on_request.test = self._tested(self._maker, backend)
        except BaseException:
            backend.close()
            raise
        return backend

    def may_fall_back(self, because: BackendError) -> bool:
        """See Parts."""
        maker = self._maker
        if maker is None or maker.falls_back or self._settings().node.fallback == "none":
            return False
        maker.falls_back = f"fallback to the CPU: {because}"
        return True

    def adopt(self, backend: Backend) -> None:
        """See Parts."""
        self._backend = backend
        try:
            for camera in self._cameras:
                camera.use(backend)
            self._start_crew()
        except BaseException:
            self._backend = None
            raise
        self._owner.tell()

    def give_up(self) -> bool:
        """See Parts."""
        return self._owner.give_up()

    def leave(self, cause: str) -> None:
        """See Parts."""
        self._owner.leave(cause)

    # What resizing does, in its thread.

    def _take_over(self, recovery: Recovery, backend: Backend) -> bool:
        """Let a backend of another size run the frames from the next one on; False where there is no such one to replace."""
        return recovery.replace(lambda: self._swap(backend))

    def _swap(self, backend: Backend) -> bool:
        maker, crew, old, test = self._maker, self._crew, self._backend, self._on_request.test
        if maker is None or crew is None or old is None or not maker.may_resize(old):
            return False
        crew.lane.close()
        crew.join()
        # Before frames are run: a test that was asked for meanwhile must not find the old backend, which is being closed.
        self._on_request.test = maker.test_of(backend)
        try:
            self.adopt(backend)
        except BaseException:
            self._on_request.test = test
            self.adopt(old)
            raise
        maker.size_hw = backend.model.size_hw
        if maker.outcome_beside is not None:
            self._tell_outcome(maker.outcome_beside)
        with suppress(SegPerceptionError):
            old.close()
        return True
