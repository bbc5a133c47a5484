"""What happens after the backend failed: a new one is made, a limited number of times. Needs no ROS."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Protocol

from seg_perception.backends.base import Backend
from seg_perception.errors import BackendError, SegPerceptionError
from seg_perception.ros.watchdog import standing, watched

MINUTE_S = 60.0
PAUSE_S = 1.0
"""Between two tries."""
RESTART_S = 30.0
"""How long the old backend may take to end, or a new one to begin: what takes longer waits for ever."""


class Parts(Protocol):
    """What is taken apart and put together again: see works.Works."""

    def take_apart(self, hangs: bool) -> None:
        """End the threads that run frames, and the backend; where it hangs, leave both behind."""

    def remake(self) -> Backend:
        """A new backend that has passed its test; whatever it raises is another failure."""

    def may_fall_back(self, because: BackendError) -> bool:
        """Whether remake makes another kind of backend from now on; asked once there were too many failures."""

    def adopt(self, backend: Backend) -> None:
        """Run frames with it; where that raises, none are run."""

    def give_up(self) -> bool:
        """No backend is made any more; False where it must be told once more."""

    def leave(self, cause: str) -> None:
        """End the process."""


class Recovery:
    """From one activation to the next deactivation. One recovery at a time, in a thread of its own: all of it may take
    long, and any of it may be the driver that fails."""

    def __init__(self, parts: Parts, per_minute: int, log: Callable[[str], None]) -> None:
        """per_minute: restarts in any minute, beyond which it gives up."""
        self._parts, self._limit, self._log = parts, per_minute, log
        self._lock, self._replacing = threading.Lock(), threading.Lock()
        self._begun_s: deque[float] = deque()
        self._error: BackendError | None = None
        self._stopped = self._busy = False
        self._thread: threading.Thread | None = None
        self._problem = ""
        self._restarts, self._last, self._last_s = 0, "", 0.0

    def begin(self, error: BackendError, hangs: bool = False) -> bool:
        """The backend failed so; hangs: it has not returned. Any thread; False where that is known already."""
        with self._lock:
            if self._stopped or self._busy or self._error is not None:
                return False
            self._error = error
            self._thread = threading.Thread(target=self._recover, args=(error, hangs), name="recovery", daemon=True)
            self._thread.start()
        return True

    def stop(self) -> str:
        """Begin nothing any more; says why there is no backend, empty where there is one."""
        with self._lock:
            self._stopped = True
        with self._replacing:
            return self.problem

    @property
    def runs(self) -> bool:
        """Whether a recovery is under way, which may have the driver make a backend even after stop."""
        return self._thread is not None and self._thread.is_alive()

    def join(self) -> None:
        """After stop: wait until nothing of it runs any more. What does not end within RESTART_S ends the process."""
        if self._thread is not None:
            self._thread.join()

    def replace(self, swap: Callable[[], bool]) -> bool:
        """Let swap put another backend in the place of one that works, and say whether it did; False, and nothing done, where
        that does not work any more or the end has come. What the old one fails at meanwhile is of no matter."""
        with self._replacing:
            with self._lock:
                if self._stopped or self._error is not None:
                    return False
                self._busy = True
            try:
                with watched(RESTART_S, self._late):
                    return swap()
            finally:
                self._busy = False

    @property
    def problem(self) -> str:
        """Why no frames are run now, empty where they are."""
        return self._problem or (f"the backend is being restarted: {self._error}" if self._error else "")

    @property
    def warning(self) -> str:
        """What happened within the last minute."""
        if not self._last or time.monotonic() - self._last_s > MINUTE_S:
            return ""
        return f"the backend was restarted: {self._last}"

    @property
    def restarts(self) -> int:
        """So many worked."""
        return self._restarts

    def _recover(self, error: BackendError, hangs: bool) -> None:
        self._log(f"the backend is being restarted: {error}")
        with watched(RESTART_S, self._late):
            self._parts.take_apart(hangs)
        while not self._stopped and self._may(error):
            try:
                self._try(error)
                return
            except Exception as again:  # the edge of the thread; every vendor's library raises classes of its own
                error = again if isinstance(again, BackendError) else BackendError(f"{type(again).__name__}: {again}")
                self._log(f"restarting the backend failed: {error}")
                time.sleep(PAUSE_S)

    def _try(self, error: BackendError) -> None:
        """One try; what the new backend or its adoption raises is raised when that one is closed."""
        with watched(RESTART_S, self._late):
            backend, adopted = self._parts.remake(), False
            try:
                adopted = self._adopted(backend, error)
            finally:
                if not adopted:
                    with suppress(SegPerceptionError):
                        backend.close()

    def _may(self, error: BackendError) -> bool:
        """Whether another try is due; counts it, and gives up where it is one too many."""
        now_s = time.monotonic()
        while self._begun_s and self._begun_s[0] < now_s - MINUTE_S:
            self._begun_s.popleft()
        if len(self._begun_s) >= self._limit:
            if not self._parts.may_fall_back(error):
                self._problem = (
                    f"the backend failed more often than {self._limit} times a minute, the last time: {error}"
                )
                self._log(self._problem)
                while not self._stopped and not self._parts.give_up():
                    time.sleep(PAUSE_S / 10)
                return False
            self._begun_s.clear()
        self._begun_s.append(now_s)
        return True

    def _adopted(self, backend: Backend, error: BackendError) -> bool:
        with self._lock:
            if self._stopped:
                return False
            self._parts.adopt(backend)
            self._error = None
            self._restarts, self._last, self._last_s = self._restarts + 1, str(error), time.monotonic()
        return True

    def _late(self) -> None:
        self._parts.leave(
            f"restarting the backend does not end after {RESTART_S:g} s ({standing('recovery', 'resizing', 'frames')})"
        )
