"""What a camera of a fixed rate gets from the node: answers, latency, jitter, in the terms of NVIDIA's ros2_benchmark.

Latency is from sending an image to receiving its mask. Jitter is how far the time between two answers, one after the
other, is from the camera's period; an answer that is missing makes the next interval longer, so it shows here too.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from seg_perception.metrics.times import percentiles

RATES_HZ = (10.0, 30.0, 60.0)


def figures(sent_s: Sequence[float], age_ms: Sequence[float], rate_hz: float) -> dict[str, Any]:
    """Of one camera's images, in the order of sending. age_ms: of the answer, NaN where there was none."""
    received_s = [sent + age / 1e3 for sent, age in zip(sent_s, age_ms) if not math.isnan(age)]
    intervals_ms = [(later - earlier) * 1e3 for earlier, later in pairwise(received_s)]
    span_s = received_s[-1] - received_s[0] if len(received_s) > 1 else math.nan
    return {
        "sent": len(sent_s),
        "missed": len(sent_s) - len(received_s),
        "mean_frame_rate_hz": None if math.isnan(span_s) else round((len(received_s) - 1) / span_s, 2),
        "latency_ms": percentiles((age for age in age_ms if not math.isnan(age)), 50, 90, 95, 99, 100),
        "jitter_ms": percentiles((abs(interval - 1e3 / rate_hz) for interval in intervals_ms), 50, 95, 100),
    }
