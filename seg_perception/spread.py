"""Which of many are looked at."""

from __future__ import annotations

import numpy as np


def spread(count: int, most: int) -> list[int]:
    """At most so many of the indices below count, evenly from the first to the last."""
    return sorted({int(index) for index in np.linspace(0, count - 1, min(count, most))})
