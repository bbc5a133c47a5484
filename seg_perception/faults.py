"""What goes wrong again and again in a recording, told once with how often."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TypeVar

from seg_perception.errors import SegPerceptionError

K = TypeVar("K")
T = TypeVar("T")

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


def each_readable(
    keys: Iterable[K],
    read: Callable[[K], T],
    told: Callable[[Mapping[K, SegPerceptionError], int], str],
    most: int | None = None,
) -> Iterator[tuple[K, T]]:
    """What read makes of each key, with it. Where it raised a SegPerceptionError of any, raises one behind the last with what told
    makes of these faults and of how many keys were read; after so many faults as most no more are."""
    faults: dict[K, SegPerceptionError] = {}
    count = 0
    for key in keys:
        count += 1
        try:
            found = read(key)
        except SegPerceptionError as error:
            faults[key] = error
            if len(faults) == most:
                break
        else:
            yield key, found
    if faults:
        raise SegPerceptionError(told(faults, count)) from next(iter(faults.values()))
