"""Settings of training that must lie within limits."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from seg_perception.errors import SegPerceptionError


def check_ranges(settings: Any, prefix: str, ranges: Mapping[str, tuple[float, float]]) -> None:
    """Raises SegPerceptionError naming prefix and setting, its value, and the least and the most that is allowed."""
    for name, (least, most) in ranges.items():
        value = getattr(settings, name)
        if not least <= value <= most:
            raise SegPerceptionError(f"{prefix}{name} is {value}, allowed is {least} to {most}")
