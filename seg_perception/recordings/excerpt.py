"""Which images of a recording to take."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from seg_perception.errors import SegPerceptionError


@dataclass(frozen=True)
class Excerpt:
    """Which images of a bag to take: those recorded from start_s to end_s after the bag's first message, the first of
    them and then every stride-th.

    Raises SegPerceptionError when that is none.
    """

    start_s: float = 0.0
    end_s: float = math.inf
    stride: int = 1

    def __post_init__(self) -> None:
        if not 0 <= self.start_s < self.end_s:
            raise SegPerceptionError(
                f"the excerpt is from {self.start_s:g} to {self.end_s:g} s: give --start, at least 0, below --end"
            )
        if self.stride < 1:
            raise SegPerceptionError(f"--stride is {self.stride}: give 1 for every image, 2 for every second")

    def window_ns(self, start_ns: int) -> tuple[float, float]:
        """The times of recording that it takes, from and below, of a bag whose first message was recorded at start_ns."""
        return start_ns + round(self.start_s * 1e9), math.inf if math.isinf(self.end_s) else start_ns + round(
            self.end_s * 1e9
        )

    def choose(self, times_ns: Sequence[int], start_ns: int) -> NDArray[np.bool_]:
        """bool [N]: which of the images that were recorded at these times, in this order, it takes."""
        first, end = self.window_ns(start_ns)
        inside = np.array([first <= time_ns < end for time_ns in times_ns], np.bool_)
        return inside & ((np.cumsum(inside) - 1) % self.stride == 0)
