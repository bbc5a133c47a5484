"""What several cameras got of one node: rates, fair shares, ages, and the recovery after the load."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from seg_perception.errors import SegPerceptionError
from seg_perception.metrics.times import percentiles

RECOVERED = 2.0
"""A camera has recovered when its answers are no older than this many times the median without load."""


@dataclass(frozen=True)
class Sent:
    """The frames of one camera, in their order. sent_s: when each was sent, of a clock that all cameras share; age_ms: of
    its answer, NaN where none came. alone: how many of them were sent before the others began."""

    name: str
    sent_s: Sequence[float]
    age_ms: Sequence[float]
    alone: int = 0

    def loaded(self, count: int) -> Sent:
        """Of the count frames that were sent beside the others'."""
        part = slice(self.alone, self.alone + count)
        return Sent(self.name, self.sent_s[part], self.age_ms[part])

    @property
    def answered_ms(self) -> list[float]:
        """Ages of the frames that were answered."""
        return [age for age in self.age_ms if not math.isnan(age)]


def summary(cameras: Sequence[Sent], count: int) -> dict[str, Any]:
    """What count frames (at least 2) of each camera came to while all of them were sending.

    fps: answers a second in all; age_ms: of all; round_ms: the time in which each camera gets one answer; cameras: the
    same of each, share: its answers by the mean of all; recovery_s: from the last of these frames until the first
    camera's first answer that is as young as without load, None where it was never alone or did not recover.

    Raises SegPerceptionError when none of them was answered.
    """
    loaded = [camera.loaded(count) for camera in cameras]
    times = sorted(time_s for camera in loaded for time_s in camera.sent_s)
    span_s = (times[-1] - times[0]) * len(times) / (len(times) - 1)
    answers = sum(len(camera.answered_ms) for camera in loaded)
    if not answers:
        raise SegPerceptionError(
            f"none of {len(times)} images was answered: let the cameras send for longer, or slower"
        )
    each = {
        camera.name: {
            "fps": round(len(camera.answered_ms) / span_s, 2),
            "share": round(len(camera.answered_ms) * len(loaded) / answers, 3),
            "age_ms": percentiles(camera.answered_ms, 50, 95, 100),
        }
        for camera in loaded
    }
    return {
        "fps": round(answers / span_s, 2),
        "sent_hz": round(len(times) / span_s, 2),
        "age_ms": percentiles((age for camera in loaded for age in camera.answered_ms), 50, 95, 100),
        "round_ms": round(len(loaded) * span_s / answers * 1e3, 2),
        "cameras": each,
        "recovery_s": _recovery_s(cameras[0], count),
    }


def _recovery_s(camera: Sent, count: int) -> float | None:
    end = camera.alone + count
    before = Sent("", camera.sent_s[: camera.alone], camera.age_ms[: camera.alone]).answered_ms
    if not before or end > len(camera.sent_s):
        return None
    young_ms = RECOVERED * float(np.median(before))
    for sent_s, age_ms in zip(camera.sent_s[end:], camera.age_ms[end:]):
        if age_ms <= young_ms:
            return round(sent_s + age_ms / 1e3 - camera.sent_s[end - 1], 3)
    return None
