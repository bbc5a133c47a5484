"""Obstacle delay: in how many frames a thing that comes into view is seen at all."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from seg_perception.labels import LabelSet
from seg_perception.results import Truth, at_middles

COVERED = 0.5
"""Share of a new thing's pixels that must be of some thing's class for it to count as seen."""


class ObstacleDelay:
    """Frames from the first in which a true thing is labelled to the first in which COVERED of its pixels are answered as a
    thing, whatever its class and number: 0 where that is the same frame."""

    def __init__(self, labels: LabelSet) -> None:
        self._is_thing = labels.is_thing
        self._waiting: dict[tuple[str, int, int], int] = {}
        self._known: set[tuple[str, int, int]] = set()
        self.delays: list[int] = []

    def add(self, semantic: NDArray[np.uint8], truth: Truth, sequence: str) -> None:
        """One frame's answer and its labels, whose things keep their numbers within a sequence."""
        assert truth.instance is not None
        semantic = at_middles(semantic, truth.semantic.shape)
        numbers = truth.semantic.astype(np.int64) << 16 | truth.instance
        seen = (truth.instance > 0) & self._is_thing[truth.semantic]
        keys, place = np.unique(numbers[seen], return_inverse=True)
        hits = np.bincount(place, weights=self._is_thing[semantic[seen]], minlength=len(keys))
        area = np.bincount(place, minlength=len(keys))
        for key, covered in zip(keys.tolist(), (hits >= COVERED * area).tolist()):
            name = (sequence, key >> 16, key & 0xFFFF)
            if name not in self._known:
                self._known.add(name)
                self._waiting[name] = 0
            if name in self._waiting:
                if covered:
                    self.delays.append(self._waiting.pop(name))
                else:
                    self._waiting[name] += 1

    def summary(self) -> dict[str, Any]:
        """`obstacle_delay`: mean and `max` in frames over the `of` things that were seen in the end, and how many were
        `never`; None where no thing came into view."""
        if not self._known:
            return {"obstacle_delay": None}
        delays = self.delays
        return {
            "obstacle_delay": {
                "mean": float(np.mean(delays)) if delays else None,
                "max": max(delays, default=None),
                "of": len(delays),
                "never": len(self._waiting),
            }
        }
