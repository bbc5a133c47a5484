"""Hands answers from the thread that receives to the spools on disk, which take longer."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Mapping

from seg_perception.play.spool import Spool
from seg_perception.results import Answer

WAITING = 32
"""Answers that may wait for the disk before receiving waits too."""


class Keeper:
    """problem: why no more is kept, one sentence, else empty; what was kept before stays. Any thread may call."""

    def __init__(self, spools: Mapping[str, Spool]) -> None:
        """spools: by the camera's name."""
        self._spools = spools
        self._indices: dict[tuple[str, int], int] = {}
        self._lock = threading.Lock()
        self._answers: queue.Queue[tuple[str, int, float, Answer] | None] = queue.Queue(WAITING)
        self.problem = ""
        self._thread = threading.Thread(target=self._work, name="spool", daemon=True)
        self._thread.start()

    def send(self, camera: str, index: int, publish: Callable[[], int]) -> int:
        """Publish the frame of that index, whose answer is kept; returns its stamp, which publish tells."""
        with self._lock:  # its answer may come before this knows its stamp
            stamp_ns = publish()
            self._indices[camera, stamp_ns] = index
        return stamp_ns

    def on_answer(self, camera: str, stamp_ns: int, age_ms: float, answer: Answer) -> None:
        """Keep the answer to a frame that was sent; others, such as those to warm-up frames, are not kept."""
        self._answers.put((camera, stamp_ns, age_ms, answer))

    def keep(self, add: Callable[[], None]) -> None:
        """Add to a spool; where the disk takes no more, nothing is from then on."""
        if self.problem:
            return
        try:
            add()
        except OSError as error:
            self.problem = f"the play ended early: the disk takes no more ({error.strerror}), so free space there"

    def close(self) -> None:
        """All is answered; wait until it is kept."""
        self._answers.put(None)
        self._thread.join()

    def _work(self) -> None:
        while (entry := self._answers.get()) is not None:
            camera, stamp_ns, age_ms, answer = entry
            with self._lock:
                index = self._indices.pop((camera, stamp_ns), None)
            if index is not None:
                spool, place = self._spools[camera], index
                self.keep(lambda: spool.add_answer(place, age_ms, answer))  # noqa: B023 - called at once
