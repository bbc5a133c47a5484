"""What a recording says of a camera, again and again: its calibration, its mounting. Each image goes by what was said last
before it; what cannot be used, and that it changes, is told where images go by it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from seg_perception.faults import Faults

T = TypeVar("T")


@dataclass(frozen=True)
class Heard(Generic[T]):
    """What an image finds said. value: by the last message that can be used, None where none came before it, which was recorded
    at time_ns; fault: why the newest, which was recorded at fault_ns, cannot be used, empty where it can."""

    value: T | None = None
    time_ns: int = 0
    fault: str = ""
    fault_ns: int = 0

    def fails(self, fault: str, time_ns: int) -> Heard[T]:
        """After a message that was recorded at time_ns and cannot be used."""
        return Heard(self.value, self.time_ns, fault, time_ns)


class Account(Generic[T]):
    """Of what the images went by that were taken. where: it was said, for sentences; differences: what differs between two
    values, for a sentence; remark: the end of the sentence that tells of changes."""

    def __init__(self, where: str, differences: Callable[[T, T], str], remark: str = "") -> None:
        self._where, self._differences, self._remark = where, differences, remark
        self._latest: Heard[T] = Heard()
        self._faults, self._changes, self._first_change = Faults(), 0, ""

    def take(self, heard: Heard[T]) -> T | None:
        """What the next image goes by, None where nothing that can be used had come."""
        before, now = self._latest.value, heard.value
        if now is not None and heard.fault and heard != self._latest:
            self._faults.add(f"{self._where} at {heard.fault_ns} ns", f"{heard.fault}; the one before stays")
        if now is not None and before is not None and now != before:
            how = f"at {heard.time_ns} ns ({self._differences(before, now)})"
            self._first_change = self._first_change or how
            self._changes += 1
        self._latest = heard
        return now

    @property
    def problems(self) -> list[str]:
        """What was said and cannot be used, one sentence a kind."""
        return self._faults.sentences()

    @property
    def notes(self) -> list[str]:
        """That it changed from one of the images to the next, if it did."""
        if not self._changes:
            return []
        how_often = "once," if self._changes == 1 else f"{self._changes} times, first"
        return [
            f"{self._where} changes {how_often} {self._first_change}: each image is placed by the one that was recorded last "
            f"before it{self._remark}"
        ]
