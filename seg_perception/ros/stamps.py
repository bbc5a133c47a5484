"""Whether an image's stamp can be believed. Plain arithmetic: time comes in, no ROS needed."""

from __future__ import annotations

from dataclasses import dataclass

ZERO = "stamp_zero"
NOT_NEWER = "stamp_not_newer"
OLD = "stamp_old"
AHEAD = "stamp_ahead"
NO_CLOCK = "no_clock"


@dataclass(frozen=True)
class Doubt:
    """What is wrong with an image that is run all the same. cause: short, of its stamp one of those above; sentence: for people."""

    cause: str
    sentence: str


class StampJudge:
    """Judges the stamps of one camera's images, in the order in which they come.

    max_age_s, max_ahead_s: how far a stamp may be before and after the node's clock.
    """

    def __init__(self, max_age_s: float, max_ahead_s: float) -> None:
        self._max_age_s, self._max_ahead_s = max_age_s, max_ahead_s
        self._last_ns = self._last_now_ns = 0

    def judge(self, stamp_ns: int, now_ns: int) -> Doubt | None:
        """What is wrong with the stamp of an image that has just come; now_ns: the node's clock, simulated or not."""
        jumped_back = now_ns < self._last_now_ns
        last_ns = 0 if jumped_back else self._last_ns
        self._last_ns, self._last_now_ns = stamp_ns, now_ns
        if stamp_ns <= 0:
            return Doubt(ZERO, f"the image's stamp is {stamp_ns * 1e-9:g} s: let the camera's driver stamp its images")
        if stamp_ns <= last_ns:
            return Doubt(
                NOT_NEWER,
                f"the image's stamp is {(last_ns - stamp_ns) * 1e-9:.3f} s before that of the image before: "
                "mend the driver's clock, or see whether two publish on the topic",
            )
        if not now_ns:
            return Doubt(NO_CLOCK, "use_sim_time is true and no time has come on /clock: start it, or let it be false")
        age_s = (now_ns - stamp_ns) * 1e-9
        if age_s > self._max_age_s:
            return Doubt(
                OLD,
                f"the image's stamp is {age_s:.1f} s old, more than stamp_max_age ({self._max_age_s:g} s): mend the "
                "clocks; for a recording, play its clock and let use_sim_time be true",
            )
        if -age_s > self._max_ahead_s:
            return Doubt(
                AHEAD,
                f"the image's stamp is {-age_s:.1f} s ahead of this node's clock, more than stamp_max_ahead "
                f"({self._max_ahead_s:g} s): mend the clocks",
            )
        return None
