"""When the frames of a play are due, and the clock that their stamps are of."""

from __future__ import annotations

import time
from collections.abc import Iterator

from seg_perception.recordings.sources import Source, SourceFrame
from seg_perception.ros.settings import Settings

LONGEST_GAP_NS = 60 * 10**9
"""Nobody waits longer for the next frame of a recording: a longer gap is a clock that was set."""
FORGOTTEN_S = Settings.from_values({}).tracking.memory_s + 0.5
"""So long after an image the node remembers none of the things in it, where `tracking.memory_s` is as usual."""


class Pace:
    """Frames at their source's rate or, recorded, as far apart as their stamps, factor times as fast.

    simulated: stamps are the recorded ones, and the clock runs factor times as fast as the machine's; else it is the
    machine's, and a frame's stamp is when it is sent. jumps: stamps that lie before or much later than the one before,
    by the source's name. A source that cannot keep its rate is late for good: never a burst to catch up.
    """

    def __init__(self, factor: float = 1.0, *, recorded: bool = False, simulated: bool = False) -> None:
        self.factor, self.simulated = factor, simulated
        self._recorded = recorded or simulated
        self.jumps: dict[str, int] = {}
        self._first_ns = self._held_ns = 0
        self._start_s: float | None = None
        self._slack_s = self._late_s = 0.0

    def due(self, source: Source) -> Iterator[tuple[int, SourceFrame]]:
        """Every frame and when it is due, ns: its stamp, or by the source's rate. That always grows: a frame whose stamp
        jumps is due one period after the one before, and later ones move with it."""
        period_ns = round(1e9 / source.rate_hz)
        before_ns: int | None = None
        shift_ns = 0
        self.jumps[source.name] = 0
        for index, item in enumerate(source):
            due_ns = item.frame.stamp_ns + shift_ns if self._recorded else index * period_ns
            # a rate that was asked for is kept, however slow
            if self._recorded and before_ns is not None and not 0 < due_ns - before_ns <= LONGEST_GAP_NS:
                self.jumps[source.name] += 1
                next_ns = before_ns + min(period_ns, LONGEST_GAP_NS)
                shift_ns += next_ns - due_ns
                due_ns = next_ns
            before_ns = due_ns
            yield due_ns, item

    def hold(self, first_ns: int) -> None:
        """Let simulated time stand FORGOTTEN_S before the first frame's, until start."""
        self._held_ns = max(0, first_ns - round(FORGOTTEN_S * 1e9))

    def start(self, first_ns: int, slack_s: float) -> None:
        """Let time run from the first frame's; slack_s: how late a frame may be without moving the later ones."""
        self._first_ns, self._slack_s = first_ns, slack_s
        self._start_s = time.monotonic()

    def wait_for(self, due_ns: int) -> None:
        """Wait until a frame is due; where that is over by more than the slack, later ones are due later too."""
        assert self._start_s is not None
        due_s = self._start_s + (due_ns - self._first_ns) / 1e9 / self.factor + self._late_s
        wait_s = due_s - time.monotonic()
        if wait_s > 0:
            time.sleep(wait_s)
        else:
            self._late_s += max(0.0, -wait_s - self._slack_s)

    def stamp_ns(self, due_ns: int) -> int:
        """The stamp of a frame that is sent now; before start one of its own for each call."""
        if not self.simulated:
            return time.time_ns()
        if self._start_s is None:
            self._held_ns += 1
            return self._held_ns
        return due_ns + round(self._late_s * self.factor * 1e9)

    def now_ns(self) -> int:
        """The clock."""
        if not self.simulated:
            return time.time_ns()
        if self._start_s is None:
            return self._held_ns
        return self._first_ns + round((time.monotonic() - self._start_s) * self.factor * 1e9)
