"""Masks written as run lengths, by COCO's tools and by Label Studio."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from seg_perception.datasets.parts import Part, trimmed

_MOST_BITS = 65
"""Of a run in COCO's compressed text, in groups of 5: a text without an end of its number would take the square of its length."""


def coco_counts(text: str) -> list[int]:
    """Run lengths in COCO's compressed text: groups of 5 bits, from the third number on as differences.

    After `rleFrString` of maskApi.c (Lin et al., ECCV 2014). Raises ValueError for a text that ends within a number.
    """
    counts: list[int] = []
    value = shift = 0
    for letter in text:
        group = ord(letter) - 48
        if not 0 <= group < 64:
            raise ValueError(f"'{letter}' is no letter of a compressed RLE")
        value |= (group & 31) << shift
        shift += 5
        if shift > _MOST_BITS:
            raise ValueError(f"a run of more than {_MOST_BITS} bits")
        if group & 32:
            continue
        if group & 16:
            value -= 1 << shift
        counts.append(value + (counts[-2] if len(counts) > 2 else 0))
        value = shift = 0
    if shift:
        raise ValueError("the compressed RLE ends within a number")
    return counts


def coco_part(counts: Sequence[int | str] | str, size_hw: tuple[int, int]) -> Part:
    """The pixels of COCO's runs, off and on in turn, down the columns. Raises ValueError where they do not fill size_hw."""
    height, width = size_hw
    lengths = _checked(coco_counts(counts) if isinstance(counts, str) else counts, (width, height))
    ends = np.cumsum(lengths)
    is_on = (np.arange(len(ends)) % 2 == 1) & (lengths > 0)
    if not is_on.any():
        return trimmed(np.zeros((0, 0), np.bool_))
    # only the columns from the first pixel to the last are unpacked
    first, last = int((ends - lengths)[is_on][0]) // height, (int(ends[is_on][-1]) - 1) // height + 1
    inside = np.diff(np.clip(np.append(0, ends), first * height, last * height))
    return trimmed(_unpacked(inside, (last - first, height)).T, left=first)


def in_turn(runs: Sequence[int | str], shape: tuple[int, int]) -> NDArray[np.bool_]:
    """bool [rows, columns] of runs, off and on in turn, row by row. Raises ValueError where they do not fill it."""
    return _unpacked(_checked(runs, shape), shape)


def _checked(runs: Sequence[int | str], shape: tuple[int, int]) -> NDArray[np.int64]:
    """The runs as numbers. Raises ValueError where they do not fill shape."""
    try:
        lengths = [int(run) for run in runs]
    except OverflowError as error:
        raise ValueError("a run is no number") from error
    if min(lengths, default=0) < 0 or sum(lengths) != shape[0] * shape[1]:
        raise ValueError(f"the runs have {sum(lengths)} pixels, not {shape[1]} x {shape[0]}")
    return np.array(lengths, np.int64)


def _unpacked(lengths: NDArray[np.int64], shape: tuple[int, int]) -> NDArray[np.bool_]:
    return np.repeat(np.arange(len(lengths)) % 2 == 1, lengths).reshape(shape)


def brush_mask(data: Sequence[int], size_hw: tuple[int, int]) -> NDArray[np.bool_]:
    """bool [H, W] of Label Studio's brush: where the last of 4 channels of its RLE (that of @thi.ng/rle-pack) is not 0.

    A stream of bits: 32 for the number of values, 5 for the bits of a value less one, 4 x 4 for the bits of a length less
    one; then blocks: 1 bit whether one value is repeated, 2 bits which size of length, a length less one, value or values.
    Raises ValueError where the bits end early or the values do not fill size_hw.
    """
    try:
        bits = np.unpackbits(np.frombuffer(bytes(iter(data)), np.uint8))  # older NumPy would make a 44 of 300
    except ValueError as error:
        raise ValueError("the brush's RLE has a number that is no byte") from error
    place = 0

    def number(count: int) -> int:
        nonlocal place
        if place + count > bits.size:
            raise ValueError("the brush's RLE ends early")
        found = int("".join(map(str, bits[place : place + count].tolist())), 2)
        place += count
        return found

    total, word = number(32), number(5) + 1
    if word > 8:
        raise ValueError(f"the brush's RLE has values of {word} bits, not of 8 at most")
    sizes = [number(4) + 1 for _ in range(4)]
    if total != size_hw[0] * size_hw[1] * 4:
        raise ValueError(f"the brush's RLE has {total} values, not 4 x {size_hw[0]} x {size_hw[1]}")
    values = np.zeros(total, np.uint8)
    start = 0
    while start < total:
        is_run = number(1)
        length = 1 + number(sizes[number(2)])
        if start + length > total:
            raise ValueError("the brush's RLE has more values than it says")
        if is_run:
            values[start : start + length] = number(word)
        else:
            if place + length * word > bits.size:
                raise ValueError("the brush's RLE ends early")
            words = bits[place : place + length * word].reshape(length, word)
            values[start : start + length] = words @ (1 << np.arange(word)[::-1])
            place += length * word
        start += length
    return np.asarray(values.reshape(*size_hw, 4)[..., 3] > 0)
