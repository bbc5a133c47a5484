"""The way of all cameras' frames through the node's threads. Needs no ROS."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from seg_perception.backends.base import Backend

OVERLAPS = ("auto", "always", "never")
"""Not `on` and `off`, which YAML reads as true and false."""


def overlaps(choice: str, backend: Backend, cameras: int) -> bool:
    """Whether two frames shall be under way at once.

    It gives more frames, each a little older when it is published. Several cameras at a node that is full gain more,
    since each waits for its turn; one camera gains nothing. Nor does anyone where the network runs on the CPU, and needs
    the cores that the rest of the frame before would run on.
    """
    return choice == "always" or (choice == "auto" and cameras > 1 and backend.describe()["device"] != "CPU")


class Frames(Protocol):
    """Where frames wait: see inputs.NewestFrames."""

    def take(self) -> tuple[int, Any] | None:
        """Camera and frame, None in the end."""


class Steps(Protocol):
    """One camera's two halves of the work on a frame: see camera.Camera."""

    def see(self, arrival: Any, settings: Any, slot: int) -> Any:
        """What needs the network; None where there is nothing to publish."""

    def publish(self, half: Any) -> None:
        """The rest."""


class Lane:
    """Two places, network and publishing, with room for one frame each, which frames pass in order.

    One thread takes a frame through both. With a second thread the network has the next frame while this one is
    published; a frame is taken only when the network is free, and leaves it only when publishing is, so that none waits
    in between for longer than the other takes, and the newest one is taken as late as can be.
    """

    def __init__(self, frames: Frames, cameras: Sequence[Steps], settings: Callable[[], Any]) -> None:
        """settings: those in force now."""
        self._frames, self._cameras, self._settings = frames, cameras, settings
        self._network, self._publishing = threading.Lock(), threading.Lock()
        self._in_network: tuple[int, Any, float] | None = None
        self._left = False

    def work(self, slot: int) -> None:
        """A worker thread, until there are no more frames. slot: its number, which no other has."""
        while True:
            with self._network:
                taken = None if self._left else self._frames.take()
                if taken is None:
                    return
                index, arrival = taken
                camera = self._cameras[index]
                self._in_network = index, arrival, time.monotonic()
                half = camera.see(arrival, self._settings(), slot)
                self._in_network = None
                self._publishing.acquire()
            try:
                if half is not None and not self._left:
                    camera.publish(half)
            finally:
                self._publishing.release()

    def overdue(self, limit_s: float) -> tuple[int, Any] | None:
        """Camera and frame that the network has had for longer than limit_s; any thread may ask."""
        frame = self._in_network
        return frame[:2] if frame is not None and time.monotonic() - frame[2] > limit_s else None

    def leave(self) -> None:
        """Take no more frames, and publish nothing of one that is in the network now, whenever that returns."""
        self._left = True

    def is_published(self, timeout_s: float) -> bool:
        """After leave: wait until nothing is being published any more; False where that takes too long."""
        if not self._publishing.acquire(timeout=timeout_s):
            return False
        self._publishing.release()
        return True
