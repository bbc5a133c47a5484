"""Several processes that train together end between the same two steps: one that left alone would leave the others waiting for it
in the middle of a step, of which nothing could be kept."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, TypeVar

from seg_perception.signals import ENDS
from seg_perception.training.distributed import any_of_all, rank, wait_for_all, world_size
from seg_perception.training.loop.interruption import held_back

T = TypeVar("T")


class CommonEnd:
    """Of one process it holds back what would break a step off, and no more. save: keeps what was trained so far, in the process
    that does."""

    def __init__(self, save: Callable[[], None]) -> None:
        self._save = save
        self._came: list[int] = []
        self._handlers: dict[int, Any] = {}

    @contextmanager
    def agreed(self) -> Iterator[None]:
        """While the block runs, a signal to any process of several takes effect in all of them, where they next check."""
        if world_size() == 1:
            yield
            return
        if threading.current_thread() is threading.main_thread():
            self._handlers = {number: handler for number in ENDS if callable(handler := signal.getsignal(number))}
        with held_back() as self._came:
            yield

    def step(self) -> AbstractContextManager[object]:
        """What is not to be broken off in a process alone; several that are agreed break nothing off."""
        return held_back() if world_size() == 1 else nullcontext()

    def check(self, fault: BaseException | None = None) -> None:
        """Raises KeyboardInterrupt, or this process' fault, where a signal came to any process or any has a fault; what was trained
        is saved then, for which all wait. All must be here."""
        if any_of_all(bool(self._came) or fault is not None):
            self._save()
            wait_for_all()  # torchrun ends all processes when it sees that one has left
            raise KeyboardInterrupt if self._came or fault is None else fault

    def each(self, batches: Iterator[T]) -> Iterator[T]:
        """The batches of this process, as long as all processes get theirs; checks before each."""
        batch: T | None = None
        while True:
            fault: Exception | None = None
            try:
                batch = next(batches, None)
            except Exception as error:
                fault = error
            self.check(fault)
            if batch is None:
                return
            yield batch

    @contextmanager
    def alone(self) -> Iterator[None]:
        """While the block runs, which may be long, signals take effect at once in the first process, for which the others wait:
        it saves whatever becomes of them."""
        if not self._handlers or rank() > 0:
            yield
            return
        held = {number: signal.signal(number, handler) for number, handler in self._handlers.items()}
        try:
            yield
        finally:
            for number, handler in held.items():
                signal.signal(number, handler)
