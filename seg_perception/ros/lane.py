"""The way of all cameras' frames through the node's threads. Needs no ROS."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Protocol

from seg_perception.backends.base import Backend

CHOICES = ("auto", "always", "never")
"""Not `on` and `off`, which YAML reads as true and false."""
MOST_TOGETHER = 8
"""Images in one run of the network: an engine holds memory for each number of them."""


def overlaps(choice: str, backend: Backend, cameras: int) -> bool:
    """Whether two frames shall be under way at once.

    It gives more frames, each a little older when it is published. Several cameras at a node that is full gain more,
    since each waits for its turn; one camera gains nothing. Nor does anyone where the network runs on the CPU, and needs
    the cores that the rest of the frame before would run on.
    """
    return choice == "always" or (choice == "auto" and cameras > 1 and not _on_cpu(backend))


def together(choice: str, backend: Backend, cameras: int) -> int:
    """How many cameras' frames go through the network at once: 1 where the model file fixes that, and by default on the
    CPU, where a batch takes as long as its images one by one and each would wait for all."""
    alone = choice == "never" or (choice == "auto" and _on_cpu(backend))
    return 1 if alone or backend.model.batch is not None else min(cameras, MOST_TOGETHER)


def _on_cpu(backend: Backend) -> bool:
    return backend.describe()["device"] == "CPU"


class Frames(Protocol):
    """Where frames wait: see newest.NewestFrames."""

    def take(self, most: int, wait_s: float, ended: Callable[[], bool]) -> Sequence[tuple[int, Any]]:
        """Cameras and frames, none in the end."""

    def wake(self) -> None:
        """Ask again who waits in take whether that has ended."""


class Steps(Protocol):
    """One camera's steps of the work on a frame: see camera.Camera."""

    def prepare(self, arrival: Any, settings: Any, slot: int, place: int) -> Any:
        """What comes before the network; None where it needs none. place: of its image among those that go into it."""

    def see(self, ready: Any, answer: Any) -> Any:
        """Masks of the network's answer; None where there is nothing to publish."""

    def publish(self, half: Any) -> None:
        """The rest."""


Network = Callable[[Sequence[Any]], Iterable[tuple[int, Any]]]
"""The answers to what was prepared, and to which of it, each of which holds until the next is asked for."""


class Lane:
    """Two places, network and publishing, with room for one batch each, which frames pass in order.

    One thread takes a batch through both. With a second thread the network has the next frames while these are
    published; frames are taken only when the network is free, and leave it only when publishing is, so that none waits
    in between for longer than the others take, and the newest ones are taken as late as can be.
    """

    def __init__(
        self,
        frames: Frames,
        cameras: Sequence[Steps],
        settings: Callable[[], Any],
        network: Network,
        most: int = 1,
        wait_s: float = 0.0,
    ) -> None:
        """settings: those in force now; most: frames in a batch, one a camera; wait_s: how long one may wait for others."""
        self._frames, self._cameras, self._settings, self._run_network = frames, cameras, settings, network
        self._most, self._wait_s = most, wait_s
        self._network, self._publishing = threading.Lock(), threading.Lock()
        self._in_network: tuple[Sequence[tuple[int, Any]], float] | None = None
        self._full = self._left = False

    def work(self, slot: int) -> None:
        """A worker thread, until there are no more frames. slot: its number, which no other has."""
        while True:
            with self._network:
                taken = self._frames.take(self._most, self._wait_s, lambda: self._full)
                if not taken:
                    return
                halves = self._see(taken, slot, time.monotonic())
                self._in_network = None
                self._publishing.acquire()
            try:
                for camera, half in halves:
                    if not self._left:
                        camera.publish(half)
            finally:
                self._publishing.release()

    def _see(self, taken: Sequence[tuple[int, Any]], slot: int, since_s: float) -> list[tuple[Steps, Any]]:
        self._in_network = taken, since_s
        settings = self._settings()
        cameras: list[Steps] = []
        ready: list[Any] = []
        usable: list[tuple[int, Any]] = []
        for index, arrival in taken:
            one = self._cameras[index].prepare(arrival, settings, slot, len(ready))
            if one is not None:
                cameras.append(self._cameras[index])
                ready.append(one)
                usable.append((index, arrival))
        self._in_network = usable, since_s
        halves: dict[int, Any] = {}
        for index, answer in self._run_network(ready):
            if self._left:
                break
            halves[index] = cameras[index].see(ready[index], answer)
        return [(cameras[index], half) for index, half in sorted(halves.items()) if half is not None]

    def overdue(self, limit_s: float) -> Sequence[tuple[int, Any]]:
        """Cameras and frames that the network has had for longer than limit_s; any thread may ask."""
        batch = self._in_network
        return batch[0] if batch is not None and time.monotonic() - batch[1] > limit_s else ()

    def close(self) -> None:
        """Take no more frames; who waits for one waits no longer."""
        self._full = True
        self._frames.wake()

    def leave(self) -> None:
        """Take no more frames, and publish nothing of those that are in the network now, whenever that returns."""
        self._left = True
        self.close()

    def is_published(self, timeout_s: float) -> bool:
        """After leave: wait until nothing is being published any more; False where that takes too long."""
        if not self._publishing.acquire(timeout=timeout_s):
            return False
        self._publishing.release()
        return True
