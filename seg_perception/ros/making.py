"""The backends of a node that is configured: what is made, at which size, and what its self-test is to answer. Needs no ROS."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from seg_perception import backends, self_test
from seg_perception.backends.base import Backend
from seg_perception.errors import BackendError, SegPerceptionError
from seg_perception.model_file import ModelInfo
from seg_perception.ros.lane import MOST_TOGETHER
from seg_perception.ros.resizing import Size, words
from seg_perception.ros.settings import Settings
from seg_perception.self_test import Outcome, SelfTest
from seg_perception.writing import user_path


class Maker:
    """Makes backends of one model file as the parameters say. size_hw: of those that are built for one size, None for the
    file's own; falls_back: why the CPU takes their place, empty where it does not; outcome_beside: of the self-test of what
    beside made last, None where none was wanted."""

    def __init__(self, model: ModelInfo, settings: Callable[[], Settings], log: Callable[[str], None]) -> None:
        self.model, self._settings, self._log = model, settings, log
        self.size_hw = self._asked
        self.falls_back = ""
        self.outcome_beside: Outcome | None = None
        self._answers: dict[Size, ModelInfo] = {}

    @property
    def _asked(self) -> Size | None:
        return self._settings().network_hw

    def make(self) -> Backend:
        """What the parameters name, or what is fallen back to. Raises SegPerceptionError as backends.choose."""
        if self.falls_back:
            model, threads = self._sized(self._asked), self._settings().node.threads or None
            return backends.on_the_cpu(model, threads, self.falls_back, self._log)
        if self.size_hw != self._asked:
            try:
                return self._engine(self.size_hw)
            except SegPerceptionError as error:
                self._log(f"the network runs at the model file's own size again: {error}")
                self.size_hw = self._asked
        return self._choose(self._asked, self._settings().node.fallback)

    def beside(self, size_hw: Size) -> Backend:
        """One of another size than the one that runs, warm and tested. Raises SegPerceptionError where that cannot be. One
        thread at a time."""
        backend = self._engine(size_hw)
        self.outcome_beside = None
        try:
            backend.warm_up()
            self._learn_answer(size_hw)
            self.check(self.test_of(backend), self._note_beside)
        except BaseException:
            backend.close()
            raise
        return backend

    def test_of(self, backend: Backend) -> SelfTest:
        """The self-test of a backend of this maker."""
        return SelfTest(self._answers.get(backend.model.size_hw, self.model), backend)

    def check(self, test: SelfTest, judged: Callable[[Outcome], None] = lambda outcome: None) -> None:
        """Run a test, unless none is wanted, and say how it ended; raises BackendError where it failed and that counts."""
        choice = self._settings().node.self_test
        if choice == "skip":
            return
        outcome = test.run()
        judged(outcome)
        if choice != "warn" and (outcome.passed is False or (choice == "require" and not outcome.passed)):
            raise BackendError(outcome.sentence, "self_test")

    def may_resize(self, backend: Backend) -> bool:
        """Whether it was built for one size that nobody asked for, though the file takes others."""
        return self.model.limits is not None and backend.model.limits is None and self._asked is None

    def size_of(self, backend: Backend) -> str:
        """At which size it runs, and why that."""
        if backend.model.limits is not None:
            return "by the shape of each camera's images"
        size = words(backend.model.size_hw)
        if self.model.limits is None:
            return f"{size}: the model file takes no other"
        if self._asked is not None:
            return f"{size}: by network_size"
        return f"{size}: by {'the model file' if self.size_hw is None else 'the shape of the images'}"

    def _note_beside(self, outcome: Outcome) -> None:
        self.outcome_beside = outcome

    def _engine(self, size_hw: Size | None) -> Backend:
        """Of a size that nobody asked for: an engine or nothing, for what runs on the CPU takes every size."""
        chosen, why = backends.resolve(self._settings().node.backend)
        if chosen != "tensorrt":
            raise BackendError(f"there is nothing to build an engine with ({why})")
        return self._choose(size_hw, fallback="none")

    def _choose(self, size_hw: Size | None, fallback: str) -> Backend:
        settings = self._settings()
        node = settings.node
        return backends.choose(
            self._sized(size_hw),
            backend=node.backend,
            fallback=fallback,
            providers=node.providers,
            precision=node.precision,
            cache_dir=user_path(node.engine_cache) if node.engine_cache else None,
            threads=node.threads or None,
            batch=1 if node.batch == "never" else min(len(settings.poses), MOST_TOGETHER),
            log=self._log,
        )

    def _sized(self, size_hw: Size | None) -> ModelInfo:
        return self.model if size_hw is None else self.model.at(size_hw)

    def _learn_answer(self, size_hw: Size) -> None:
        """The file holds the known image's masks at its own size alone: at another they are what the CPU makes of it."""
        if size_hw == self.model.size_hw or size_hw in self._answers or not self.model.self_test:
            return
        model = self.model.at(size_hw)
        on_cpu = backends.on_the_cpu(model, 1, "what another is held to", lambda line: None)
        self._answers[size_hw] = replace(model, self_test=self_test.answer(on_cpu))
        on_cpu.close()
