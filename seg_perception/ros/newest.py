"""Where frames wait for the network: the newest of every camera. Needs no ROS."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from typing import Generic, TypeVar

_Frame = TypeVar("_Frame")


class NewestFrames(Generic[_Frame]):
    """One slot a camera. A newer frame replaces one that nobody took; taking goes round the cameras in turn."""

    def __init__(self, cameras: int, alone: int = 0) -> None:
        """alone: so many slots more, for what is never taken beside other frames."""
        self._slots: list[_Frame | None] = [None] * (cameras + alone)
        self._alone = range(cameras, cameras + alone)
        # Of each slot, by the steady clock: since when a frame waits there, when the last one came, and after how long.
        self._since_s = [-math.inf] * len(self._slots)
        self._came_s = [-math.inf] * len(self._slots)
        self._every_s = [math.inf] * len(self._slots)
        self._next = 0
        self._open = True
        self._filled = threading.Condition()

    def put(self, camera: int, frame: _Frame) -> bool:
        """Store the newest frame of a camera; True when one that was never taken made room."""
        now_s = time.monotonic()
        with self._filled:
            replaced = self._slots[camera] is not None
            self._slots[camera] = frame
            if not replaced:
                self._since_s[camera] = now_s
            self._every_s[camera], self._came_s[camera] = now_s - self._came_s[camera], now_s
            self._filled.notify()
            return replaced

    def take(
        self, most: int = 1, wait_s: float = 0.0, ended: Callable[[], bool] = lambda: False
    ) -> list[tuple[int, _Frame]]:
        """Wait for a frame, then take it and those of other cameras, most of them at most; the camera that was served
        longest ago comes first. Empty once closed, and once ended says so, which is asked at every wake.

        A frame waits up to wait_s for those of cameras whose next one is due, by their last interval, within that time: not
        for one that is slower, nor for one that has stalled.
        """
        with self._filled:
            while self._open and not ended():
                cameras = self._ready(most)
                left_s = self._worth_waiting(cameras, wait_s) - time.monotonic() if 0 < len(cameras) < most else 0.0
                if cameras and left_s <= 0:
                    self._next = (cameras[-1] + 1) % len(self._slots)
                    return [(camera, self._emptied(camera)) for camera in cameras]
                self._filled.wait(left_s if cameras else None)
            return []

    def wake(self) -> None:
        """Let those who wait in take ask whether that has ended for them; the frames stay."""
        with self._filled:
            self._filled.notify_all()

    def close(self) -> None:
        """Let take return nothing, now and ever after."""
        with self._filled:
            self._open = False
            self._filled.notify_all()

    def _ready(self, most: int) -> list[int]:
        """The cameras whose frames to take now, in turn."""
        count, ready = len(self._slots), list[int]()
        for camera in ((self._next + k) % count for k in range(count)):
            if self._slots[camera] is None:
                continue
            if camera in self._alone:  # those behind it wait until it has had its turn
                return ready or [camera]
            ready.append(camera)
            if len(ready) == most:
                break
        return ready

    def _worth_waiting(self, cameras: list[int], wait_s: float) -> float:
        """The moment up to which waiting for more than these cameras' frames is worth it."""
        if cameras[0] in self._alone:
            return -math.inf
        bound_s = min(self._since_s[camera] for camera in cameras) + wait_s
        empty = (k for k, frame in enumerate(self._slots) if frame is None and k not in self._alone)
        due_s = (self._came_s[camera] + self._every_s[camera] for camera in empty)
        return max((min(bound_s, due + wait_s) for due in due_s if due <= bound_s), default=-math.inf)

    def _emptied(self, camera: int) -> _Frame:
        frame, self._slots[camera] = self._slots[camera], None
        assert frame is not None
        return frame
