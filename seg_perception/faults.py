"""What goes wrong again and again in a recording, told once with how often."""

from __future__ import annotations

import re

_NUMBER = re.compile(r"\d+")


class Faults:
    """Faults of one kind each, which differ in numbers at most: a long recording may have one a frame, and nobody reads so many
    sentences."""

    def __init__(self) -> None:
        self._found: dict[str, tuple[str, int]] = {}

    def add(self, where: str, sentence: str) -> None:
        """The fault that sentence tells, at that place."""
        kind = _NUMBER.sub("0", sentence)
        first, count = self._found.get(kind, (f"{where}: {sentence}", 0))
        self._found[kind] = first, count + 1

    def __len__(self) -> int:
        """How many were added."""
        return sum(count for _, count in self._found.values())

    def sentences(self) -> list[str]:
        """One a kind: where it was first, what it is, and how many more there are."""
        return [
            first + (f" (and {count - 1} more like it)" if count > 1 else "") for first, count in self._found.values()
        ]
