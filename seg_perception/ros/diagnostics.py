"""Counts, rates and latencies of one camera and the verdict on them. Plain arithmetic: time comes in, no ROS needed."""

from __future__ import annotations

import json
import math
import threading
from collections import Counter, deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

from seg_perception.labels import LabelClass
from seg_perception.self_test import Outcome
from seg_perception.tracking.tracker import Tracker

OK, WARN, ERROR, STALE = 0, 1, 2, 3
"""Levels of diagnostic_msgs/DiagnosticStatus."""

STATES: Mapping[str, tuple[int, str]] = {
    "unconfigured": (WARN, "not configured, so no images are taken"),
    "configuring": (WARN, "configuring"),
    "inactive": (WARN, "inactive, so no images are taken"),
    "activating": (WARN, "activating"),
    "active": (OK, "running"),
    "deactivating": (WARN, "deactivating"),
    "cleaningup": (WARN, "cleaning up"),
    "shuttingdown": (WARN, "shutting down"),
    "errorprocessing": (WARN, "giving everything back after an error"),
    "finalized": (WARN, "finalized for good: start the process again to use it"),
}
"""What the node says in each state of its life cycle where nothing is wrong."""

FAILED = "failed"
"""Cause of a frame at which a step raised what it never should, beside the causes of camera/messages.py."""

WINDOW_S = 5.0
"""Rates and verdicts look this far back."""

KEPT = 512
"""Latencies look this many frames back."""


@dataclass(frozen=True)
class Status:
    """One status to publish. level: OK, WARN, ERROR or STALE, the worse the larger; values are in the order to show them in."""

    level: int
    message: str
    values: Mapping[str, str]


def node_status(state: str, problem: str, progress: str, facts: Mapping[str, str], warning: str = "") -> Status:
    """The node's own status. state: of its life cycle; problem: why the latest transition failed, empty after a success;
    progress: what configuring is at; facts: of the backend; warning: of the machine that it runs on."""
    level, sentence = STATES[state]
    if warning:
        level, sentence = max(level, WARN), f"{sentence}; {warning}"
    if state == "configuring" and progress:
        sentence = f"{sentence}: {progress}"
    values = {"lifecycle_state": state, **facts, "engine_state": progress or sentence}
    return Status(ERROR, problem, values) if problem else Status(level, sentence, values)


def legend(classes: Iterable[LabelClass]) -> str:
    """Classes' names and colours as JSON, `{"road": "#804080", …}`, for whoever shows overlays."""
    return json.dumps({label.name: "#{:02x}{:02x}{:02x}".format(*label.color) for label in classes})


def outcome_status(outcome: Outcome) -> Status:
    """How a self-test ended."""
    level = WARN if outcome.passed is None else OK if outcome.passed else ERROR
    return Status(level, outcome.sentence, {"differs": f"{outcome.differs:.5f}"})


@dataclass(frozen=True)
class GroundState:
    """Whether the outputs on the ground are made. cause: `ok`, `not watched`, or the short name of what stops them;
    problem: that in one sentence, else empty; stopped: which outputs it stops."""

    cause: str = "ok"
    problem: str = ""
    stopped: str = "ground outputs"

    def __str__(self) -> str:
        return f"no {self.stopped}: {self.problem}" if self.problem else ""


GROUND_OK = GroundState()
GROUND_UNWATCHED = GroundState("not watched")


@dataclass
class Verdict:
    """Collects what is wrong: the worst level and every sentence."""

    level: int = OK
    sentences: list[str] = field(default_factory=list)

    def add(self, level: int, sentence: str) -> None:
        """Note a problem."""
        self.level = max(self.level, level)
        self.sentences.append(sentence)


class CameraMonitor:
    """What happened to one camera's frames. Times are seconds of one steady clock; any thread may call any method."""

    def __init__(self, topic: str, timeout_s: float, now_s: float, max_age_s: float = math.inf) -> None:
        """timeout_s: after which silence is told, STALE where no image comes in and ERROR where nothing goes out; max_age_s:
        of an output, since its image arrived."""
        self.topic, self._timeout_s, self._started_s, self._max_age_s = topic, timeout_s, now_s, max_age_s
        self._lock = threading.Lock()
        self._last_input_s: float | None = None
        self._waiting_s: float | None = None
        self._decoding_s: float | None = None
        self._answered_s, self._finished_s = -math.inf, now_s
        self._inputs_s: deque[float] = deque()
        self._outputs_s: deque[float] = deque()
        self._late: deque[tuple[float, float]] = deque()
        self._problems_s: deque[float] = deque()
        self._counts: Counter[str] = Counter()
        self._bad: Counter[str] = Counter()
        self._last_problem = ""
        self._lost_known = True
        self._doubts: Counter[str] = Counter()
        self._doubts_s: dict[str, tuple[float, str]] = {}
        self._samples_ms: dict[str, deque[float]] = {}

    def received(self, now_s: float) -> None:
        """A message came in, good or bad."""
        with self._lock:
            self._last_input_s = now_s
            self._inputs_s.append(now_s)
            self._counts["frames_in"] += 1

    @property
    def has_input(self) -> bool:
        """Whether a message ever came."""
        with self._lock:
            return self._last_input_s is not None

    def is_silent(self, now_s: float) -> bool:
        """Whether nothing has gone out for as long as a camera may be still, whatever the reason."""
        with self._lock:
            return now_s - self._finished_s > self._timeout_s

    def silence(self, now_s: float) -> tuple[bool, bool]:
        """Whether no image comes in, and whether images come in and nothing goes out."""
        with self._lock:
            return self._silent(now_s) > self._timeout_s, self._waiting(now_s) > self._timeout_s

    def accepted(self, arrived_s: float) -> None:
        """A frame that arrived then shall be answered: by outputs, or by the reason why there are none."""
        with self._lock:
            if self._waiting_s is None and arrived_s > self._answered_s:
                self._waiting_s = arrived_s

    def answered(self, arrived_s: float) -> None:
        """The frame that arrived then has its answer; those before it will have none."""
        with self._lock:
            self._answered_s = arrived_s
            if self._waiting_s is not None and self._waiting_s <= arrived_s:
                self._waiting_s = None

    def decodes(self, since_s: float | None) -> None:
        """Since when the thread that decodes video is at one packet; None between two."""
        with self._lock:
            self._decoding_s = since_s

    def lost(self, count: int | None) -> None:
        """So many frames were sent and never came: the middleware lost or overwrote them; None: that is not known."""
        with self._lock:
            self._lost_known = count is not None
            self._counts["lost"] += count or 0

    def replaced(self) -> None:
        """A frame was replaced by a newer one before it was taken."""
        with self._lock:
            self._counts["dropped"] += 1

    def bad(self, cause: str, sentence: str, now_s: float) -> None:
        """A frame could not be used."""
        with self._lock:
            self._bad[cause] += 1
            self._problems_s.append(now_s)
            self._last_problem = sentence

    def doubted(self, cause: str, sentence: str, now_s: float) -> None:
        """A frame is run although something is wrong with it."""
        with self._lock:
            self._doubts[cause] += 1
            self._doubts_s[cause] = now_s, sentence

    def finished(self, now_s: float, age_ms: float, stamp_age_ms: float, stages_ms: Mapping[str, float]) -> None:
        """A frame's outputs are published. age_ms: since it arrived; stamp_age_ms: since its stamp."""
        with self._lock:
            self._finished_s = now_s
            self._outputs_s.append(now_s)
            self._counts["frames_out"] += 1
            if age_ms > self._max_age_s * 1e3:
                self._late.append((now_s, age_ms))
            samples = {"age_ms": age_ms, "stamp_age_ms": stamp_age_ms}
            samples.update({f"{name}_ms": value for name, value in stages_ms.items()})
            for name, value in samples.items():
                self._samples_ms.setdefault(name, deque(maxlen=KEPT)).append(value)

    def status(
        self,
        now_s: float,
        ground: GroundState = GROUND_OK,
        enabled: bool = True,
        more: Mapping[str, str] = MappingProxyType({}),
    ) -> Status:
        """The verdict now. more: values to show after the monitor's own."""
        with self._lock:
            verdict = self._verdict(now_s, ground, enabled)
            values = {**self._values(now_s, ground), **more}
            return Status(verdict.level, "; ".join(verdict.sentences) or "running", values)

    def _verdict(self, now_s: float, ground: GroundState, enabled: bool) -> Verdict:
        verdict = Verdict()
        if not enabled:
            verdict.sentences.append("disabled")
        silent_s = self._silent(now_s)
        if silent_s > self._timeout_s:
            what = "no image yet" if self._last_input_s is None else "camera stalled: no image"
            verdict.add(STALE, f"{what} on {self.topic} for {silent_s:.1f} s")
        waiting_s = self._waiting(now_s)
        if waiting_s > self._timeout_s:
            verdict.add(ERROR, f"images come on {self.topic}, nothing goes out since {waiting_s:.1f} s")
        while self._late and self._late[0][0] < now_s - WINDOW_S:
            self._late.popleft()
        if self._late:
            oldest_s = max(age_ms for _, age_ms in self._late) / 1e3
            verdict.add(WARN, f"outputs are up to {oldest_s:.1f} s old, more than max_age ({self._max_age_s:g} s)")
        if _trim(self._problems_s, now_s):
            outputs_s = _trim(self._outputs_s, now_s)
            every = not outputs_s or now_s - outputs_s[-1] > self._timeout_s
            verdict.add(ERROR if every else WARN, self._last_problem)
        doubts = [sentence for when_s, sentence in self._doubts_s.values() if when_s >= now_s - WINDOW_S]
        for sentence in doubts:
            verdict.add(WARN, sentence)
        if ground.problem and ground.problem not in doubts:
            verdict.add(WARN, str(ground))
        return verdict

    def _silent(self, now_s: float) -> float:
        """For how long no image has come, s."""
        return now_s - (self._started_s if self._last_input_s is None else self._last_input_s)

    def _waiting(self, now_s: float) -> float:
        """For how long images have come and nothing has gone out, s."""
        since_s = [moment for moment in (self._waiting_s, self._decoding_s) if moment is not None]
        return now_s - min(since_s) if since_s else 0.0

    def _values(self, now_s: float, ground: GroundState) -> dict[str, str]:
        span_s = max(min(WINDOW_S, now_s - self._started_s), 1e-3)
        stalled = self._last_input_s is not None and self._silent(now_s) > self._timeout_s
        values = {
            "input_rate_hz": f"{len(_trim(self._inputs_s, now_s)) / span_s:.2f}",
            "output_rate_hz": f"{len(_trim(self._outputs_s, now_s)) / span_s:.2f}",
            "frames_in": str(self._counts["frames_in"]),
            "frames_out": str(self._counts["frames_out"]),
            "dropped": str(self._counts["dropped"]),
            "lost": str(self._counts["lost"]) if self._lost_known else "unknown",
            "bad_frames": str(sum(self._bad.values())),
            **{f"bad_{cause}": str(count) for cause, count in sorted(self._bad.items())},
            "last_problem": self._last_problem,
            **{cause: str(count) for cause, count in sorted(self._doubts.items())},
            "camera_stalled": str(stalled).lower(),
            "hangs": str(self._waiting(now_s) > self._timeout_s).lower(),
            "ground": ground.cause,
            "ground_problem": ground.problem,
        }
        for name, samples in self._samples_ms.items():
            ordered = sorted(samples)
            values[f"{name}_p50"] = f"{percentile(ordered, 0.50):.2f}"
            values[f"{name}_p95"] = f"{percentile(ordered, 0.95):.2f}"
        return values


def percentile(ordered: Sequence[float], share: float) -> float:
    """The value below which a share (0 to 1) of ordered values lies, between neighbours in proportion; not for none."""
    place = share * (len(ordered) - 1)
    low = int(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (place - low) * (ordered[high] - ordered[low])


def _trim(times_s: deque[float], now_s: float) -> deque[float]:
    """Forget times before the window."""
    while times_s and times_s[0] < now_s - WINDOW_S:
        times_s.popleft()
    return times_s


def tracking_values(tracker: Tracker | None) -> dict[str, str]:
    """What diagnostics say of the tracks: how many there are, and how often and why they began anew."""
    if tracker is None:
        return {"tracking": "off"}
    return {
        "tracking": "on",
        "tracks": str(tracker.count),
        **{f"tracking_restarts_{cause}": str(count) for cause, count in sorted(tracker.restarts.items())},
        "tracking_restart": tracker.reason,
    }
