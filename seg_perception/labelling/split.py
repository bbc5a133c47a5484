"""Which recordings validate: whole ones, since frames of one drive are alike."""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

VAL_SHARE = 0.2
"""Of the images, that validate unless somebody says otherwise."""
_FEW = 24
"""Recordings of which the best choice is looked for, which takes the third power of their number."""


@dataclass(frozen=True)
class Row:
    """An image to be dealt out. recording: what it is from; number: its place there; classes: ids that it shows."""

    stem: str
    recording: str
    number: int
    classes: frozenset[int]


def validation_stems(rows: Sequence[Row], share: float) -> tuple[set[str], str]:
    """Which images validate, about a share of all, and a sentence on what is wrong with that, "" for nothing.

    Whole recordings, chosen so that training keeps every class; of a single one its last images. The same rows give the
    same answer.
    """
    recordings = sorted({row.recording for row in rows})
    if len(rows) < 2:
        return set(), "there is one image, so nothing is left to validate on"
    if len(recordings) == 1:
        ordered = sorted(rows, key=lambda row: (row.number, row.stem))
        count = min(len(rows) - 1, max(1, round(share * len(rows))))
        return {row.stem for row in ordered[-count:]}, (
            f"all images are of one recording ({recordings[0]}), so its last {count} validate: the numbers will flatter; label "
            "another drive"
        )
    held = (_held_out if len(recordings) <= _FEW else _spread_out)(rows, recordings, share)
    stems = {row.stem for row in rows if row.recording in held}
    lost = _classes(rows, held, inside=True) - _classes(rows, held, inside=False)
    told = f"{len(lost)} classes are in the recordings of validation alone" if lost else ""
    return stems, told


def _spread_out(rows: Sequence[Row], recordings: Sequence[str], share: float) -> frozenset[str]:
    """Of many recordings those that still fit into the share, in an order that has nothing to do with their names, but for
    those that alone show a class; the first of all where none fits."""
    sizes = Counter(row.recording for row in rows)
    shows: dict[str, set[int]] = {name: set() for name in recordings}
    for row in rows:
        shows[row.recording] |= row.classes
    showing = Counter(number for classes in shows.values() for number in classes)
    room = share * len(rows)
    held: list[str] = []
    order = sorted(recordings, key=lambda name: (zlib.crc32(name.encode()), name))
    for name in order:
        if sizes[name] <= room and all(showing[number] > 1 for number in shows[name]):
            held.append(name)
            room -= sizes[name]
            showing.subtract(shows[name])
    return frozenset(held or order[:1])


def _held_out(rows: Sequence[Row], recordings: Sequence[str], share: float) -> frozenset[str]:
    """By steps of one recording more, less or exchanged, as long as one helps."""
    sizes = Counter(row.recording for row in rows)

    def cost(held: frozenset[str]) -> tuple[int, float, int, list[str]]:
        off = abs(sum(sizes[name] for name in held) - share * len(rows))
        if not held or len(held) == len(recordings):
            return len(rows) + 256, off, 0, sorted(held)
        train, val = _classes(rows, held, inside=False), _classes(rows, held, inside=True)
        return len(val - train), off, len(train - val), sorted(held)

    best: frozenset[str] = frozenset()
    while True:
        steps = [best ^ {name} for name in recordings]
        steps += [best - {out} | {name} for out in best for name in recordings if name not in best]
        nearest = min(steps, key=cost)
        if cost(nearest) >= cost(best):
            return best
        best = nearest


def _classes(rows: Sequence[Row], held: Collection[str], *, inside: bool) -> frozenset[int]:
    return frozenset().union(*(row.classes for row in rows if (row.recording in held) == inside))


def sizes(rows: Sequence[Row], held: Collection[str]) -> Mapping[str, tuple[int, int]]:
    """Images of each recording: (training, validation)."""
    found: dict[str, tuple[int, int]] = {}
    for row in rows:
        train, val = found.get(row.recording, (0, 0))
        found[row.recording] = (train, val + 1) if row.stem in held else (train + 1, val)
    return found
