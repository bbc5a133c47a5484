"""The segments of one frame in truth and prediction, and how many pixels each two share: what PQ and AP are made of."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from seg_perception.compiled import compiled
from seg_perception.labels import VOID

VOID_KEY = VOID << 16
_EMPTY = -1


@dataclass(frozen=True)
class SegmentPairs:
    """Segments by key = class << 16 | instance: all pixels of a stuff class have instance 0, as a thing class' crowd has
    in the truth; void is VOID_KEY. pixels: of each (true key, predicted key) that meet; true_area, area: px by key."""

    pixels: Counter[tuple[int, int]]
    true_area: Counter[int] = field(init=False, default_factory=Counter)
    area: Counter[int] = field(init=False, default_factory=Counter)

    def __post_init__(self) -> None:
        for (true_key, key), pixels in self.pixels.items():
            self.true_area[true_key] += pixels
            self.area[key] += pixels


def pair_segments(
    semantic: NDArray[np.uint8],
    instance: NDArray[np.uint16],
    true_semantic: NDArray[np.uint8],
    true_instance: NDArray[np.uint16],
    is_thing: NDArray[np.bool_],
) -> SegmentPairs:
    """Segments of a prediction and its truth, all [H, W]; is_thing: bool [256], by class.

    In a prediction thing pixels without an instance are void, and an instance is of the class that most of its pixels
    have (Cheng et al., Panoptic-DeepLab, CVPR 2020), the first of equals. In the truth every class has its own
    instances, and thing pixels without one are the class' crowd.
    """
    whole = np.ascontiguousarray
    found, counts = _count_pairs(whole(semantic), whole(instance), whole(true_semantic), whole(true_instance), is_thing)
    pixels = {(int(pair) >> 24, int(pair) & 0xFFFFFF): int(count) for pair, count in zip(found, counts, strict=True)}
    winners = _winners(pixels, is_thing)
    merged: Counter[tuple[int, int]] = Counter()
    for (true_key, key), count in pixels.items():
        if is_thing[key >> 16]:
            number = key & 0xFFFF
            key = winners[number] << 16 | number if number else VOID_KEY
        merged[true_key, key] += count
    return SegmentPairs(merged)


def _winners(pixels: dict[tuple[int, int], int], is_thing: NDArray[np.bool_]) -> dict[int, int]:
    """Class of each predicted instance."""
    votes: defaultdict[int, Counter[int]] = defaultdict(Counter)
    for (_, key), count in pixels.items():
        if is_thing[key >> 16]:
            votes[key & 0xFFFF][key >> 16] += count
    return {number: min(areas, key=lambda c: (-areas[c], c)) for number, areas in votes.items()}


@compiled
def _count_pairs(
    semantic: NDArray[np.uint8],
    instance: NDArray[np.uint16],
    true_semantic: NDArray[np.uint8],
    true_instance: NDArray[np.uint16],
    is_thing: NDArray[np.bool_],
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """[K] true key << 24 | key of pixels, and [K] how many have it.

    Masks are made of runs, so it takes a hash table's step a run, not a pixel.
    """
    slots, counts, used = np.full(1024, _EMPTY, np.int64), np.zeros(1024, np.int64), 0
    for y in range(semantic.shape[0]):
        x, width = 0, semantic.shape[1]
        while x < width:
            start = x
            label, number = semantic[y, x], instance[y, x]
            true_label, true_number = true_semantic[y, x], true_instance[y, x]
            x += 1
            while (
                x < width
                and semantic[y, x] == label
                and true_semantic[y, x] == true_label
                and instance[y, x] == number
                and true_instance[y, x] == true_number
            ):
                x += 1
            key = np.int64(label) << 16 | (np.int64(number) if is_thing[label] else 0)
            true_key = np.int64(true_label) << 16 | (np.int64(true_number) if is_thing[true_label] else 0)
            used += _add(slots, counts, true_key << 24 | key, x - start)
            if 2 * used > len(slots):
                slots, counts = _grown(slots, counts)
    return slots[slots != _EMPTY], counts[slots != _EMPTY]


@compiled
def _add(slots: NDArray[np.int64], counts: NDArray[np.int64], pair: int, pixels: int) -> int:
    """Add pixels to pair in an open hash table whose length is a power of 2; 1 when the pair is new."""
    place = ((pair ^ pair >> 24) * 0x5BD1 >> 8) & (len(slots) - 1)  # pairs have 48 bits, the product no more than 63
    while slots[place] != pair and slots[place] != _EMPTY:
        place = (place + 1) & (len(slots) - 1)
    is_new = slots[place] == _EMPTY
    slots[place] = pair
    counts[place] += pixels
    return 1 if is_new else 0


@compiled
def _grown(slots: NDArray[np.int64], counts: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    larger, more = np.full(2 * len(slots), _EMPTY, np.int64), np.zeros(2 * len(slots), np.int64)
    for place in range(len(slots)):
        if slots[place] != _EMPTY:
            _add(larger, more, slots[place], counts[place])
    return larger, more
