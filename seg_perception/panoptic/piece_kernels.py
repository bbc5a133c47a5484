"""Compiled loops over the connected pieces of an instance mask, made of runs: pixels side by side of one instance and class.

A piece is what hangs together, corners included, of one instance and one kind of class: a car and the walker before it
are two pieces, even if the network's centres make them one instance.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from seg_perception.compiled import compiled

Y, BEGIN, END, INSTANCE, CLASS, PIECE = range(6)
"""Columns of a run."""
ID, KIND, AREA, LEFT, TOP, RIGHT, BOTTOM = range(7)
"""Columns of a piece: its instance, kind of class, pixels, and first and last column and row."""


@compiled
def find_pieces(
    semantic: NDArray[np.uint8],
    instance: NDArray[np.uint16],
    kinds: NDArray[np.uint8],
    window: tuple[int, int, int, int],
    runs: NDArray[np.int32],
    pieces: NDArray[np.int64],
) -> tuple[int, int]:
    """Write the runs of all instances within window (left, top, right, bottom of the masks [H, W]) to runs [M, 6], and their
    pieces, in the order of their first pixels, to pieces [N, 7]; how many those are, or (0, 0) where there is not enough room.

    kinds: uint8 [256], of each class.
    """
    left, top, right, bottom = window
    above, here, count = 0, 0, 0
    for y in range(top, bottom):
        above, here = here, count
        x = left
        while x < right:
            number = instance[y, x]
            if number == 0:
                x += 1
                continue
            if count == len(runs):
                return 0, 0
            begin, k = x, semantic[y, x]
            while x < right and instance[y, x] == number and semantic[y, x] == k:
                x += 1
            run = runs[count]
            run[Y], run[BEGIN], run[END], run[INSTANCE], run[CLASS], run[PIECE] = y, begin, x, number, k, count
            count += 1
        _join_row(runs, kinds, above, here, count)
    found = _number_pieces(runs[:count], kinds, pieces)
    return (count, found) if found >= 0 else (0, 0)


@compiled
def _join_row(runs: NDArray[np.int32], kinds: NDArray[np.uint8], above: int, here: int, end: int) -> None:
    """Join the runs of a row, here..end, with those beside them and above them, above..here, that are of the same piece:
    until all are joined PIECE is the number of an earlier run of the piece, or the run's own (Hoshen & Kopelman 1976)."""
    for run in range(here, end):
        begin, stop = runs[run, BEGIN], runs[run, END]
        if run > here and runs[run - 1, END] == begin and _is_same(runs, kinds, run - 1, run):
            _join(runs, run - 1, run)
        while above < here and runs[above, END] < begin:
            above += 1
        other = above
        while other < here and runs[other, BEGIN] <= stop:
            if _is_same(runs, kinds, other, run):
                _join(runs, other, run)
            other += 1


@compiled
def _is_same(runs: NDArray[np.int32], kinds: NDArray[np.uint8], one: int, other: int) -> bool:
    same_kind = kinds[runs[one, CLASS]] == kinds[runs[other, CLASS]]
    return same_kind and runs[one, INSTANCE] == runs[other, INSTANCE]


@compiled
def _root(runs: NDArray[np.int32], run: int) -> int:
    while runs[run, PIECE] != run:
        runs[run, PIECE] = runs[runs[run, PIECE], PIECE]
        run = runs[run, PIECE]
    return run


@compiled
def _join(runs: NDArray[np.int32], one: int, other: int) -> None:
    one, other = _root(runs, one), _root(runs, other)
    runs[max(one, other), PIECE] = min(one, other)


@compiled
def _number_pieces(runs: NDArray[np.int32], kinds: NDArray[np.uint8], pieces: NDArray[np.int64]) -> int:
    """Number the joined runs' pieces and count them; -1 where there are too many."""
    count = 0
    for at in range(len(runs)):
        run = runs[at]
        if run[PIECE] == at:
            if count == len(pieces):
                return -1
            run[PIECE] = count
            piece = pieces[count]
            piece[ID], piece[KIND], piece[AREA] = run[INSTANCE], kinds[run[CLASS]], 0
            piece[LEFT], piece[TOP], piece[RIGHT], piece[BOTTOM] = run[BEGIN], run[Y], run[END] - 1, run[Y]
            count += 1
        else:
            run[PIECE] = runs[run[PIECE], PIECE]  # of an earlier run, which has its number
        piece = pieces[run[PIECE]]
        piece[AREA] += run[END] - run[BEGIN]
        piece[LEFT], piece[RIGHT] = min(piece[LEFT], run[BEGIN]), max(piece[RIGHT], run[END] - 1)
        piece[BOTTOM] = run[Y]
    return count


@compiled
def find_leaders(
    pieces: NDArray[np.int64], gap: float, leaders: NDArray[np.int64], keeps: NDArray[np.bool_], kinds: int
) -> None:
    """The largest piece of the same instance and kind, of those near which each piece lies, to leaders [N]; itself where it
    lies far from it. To keeps [N] whether that is of the kind that most of the instance is.

    gap: how far from its box, in sizes of it, is near; kinds: how many there are.
    """
    units = (pieces[:, ID].max() + 1) * kinds
    largest, areas = np.full(units, -1, np.int64), np.zeros(units, np.int64)
    for at in range(len(pieces)):
        unit = pieces[at, ID] * kinds + pieces[at, KIND]
        if largest[unit] < 0 or pieces[at, AREA] > pieces[largest[unit], AREA]:
            largest[unit] = at
    for at in range(len(pieces)):
        unit = pieces[at, ID] * kinds + pieces[at, KIND]
        leaders[at] = largest[unit] if is_near(pieces, at, largest[unit], gap) else at
        if leaders[at] == largest[unit]:
            areas[unit] += pieces[at, AREA]
    for at in range(len(pieces)):
        first = pieces[at, ID] * kinds
        best = first
        for unit in range(first, first + kinds):
            best = unit if areas[unit] > areas[best] else best
        keeps[at] = leaders[at] == largest[best]


@compiled
def is_near(pieces: NDArray[np.int64], one: int, main: int, gap: float) -> bool:
    """Whether the boxes of two pieces are no more than gap sizes of the second apart; a size is the root of its area."""
    wide = pieces[main, RIGHT] - pieces[main, LEFT] + 1
    high = pieces[main, BOTTOM] - pieces[main, TOP] + 1
    across = max(pieces[one, LEFT] - pieces[main, RIGHT], pieces[main, LEFT] - pieces[one, RIGHT])
    down = max(pieces[one, TOP] - pieces[main, BOTTOM], pieces[main, TOP] - pieces[one, BOTTOM])
    return max(across, down) - 1 <= gap * np.sqrt(wide * high)


@compiled
def count_borders(
    runs: NDArray[np.int32], pieces: NDArray[np.int64], places: NDArray[np.int64], borders: NDArray[np.int64]
) -> None:
    """How many pixels of each piece that has a place (>= 0) in places [N] touch those of each other piece of the same kind, to
    borders [places, N]. runs, pieces: see find_pieces."""
    borders[:] = 0
    above, here = 0, 0
    for run in range(len(runs)):
        if runs[run, Y] != runs[here, Y]:
            above, here = (here, run) if runs[run, Y] == runs[here, Y] + 1 else (run, run)
        mine = runs[run, PIECE]
        if run > here and runs[run - 1, END] == runs[run, BEGIN]:
            _count(runs[run - 1, PIECE], mine, 1, pieces, places, borders)
        while above < here and runs[above, END] < runs[run, BEGIN]:
            above += 1
        other = above
        while other < here and runs[other, BEGIN] <= runs[run, END]:
            beside = min(runs[other, END], runs[run, END]) - max(runs[other, BEGIN], runs[run, BEGIN])
            _count(runs[other, PIECE], mine, max(beside, 1), pieces, places, borders)
            other += 1


@compiled
def _count(
    one: int,
    other: int,
    length: int,
    pieces: NDArray[np.int64],
    places: NDArray[np.int64],
    borders: NDArray[np.int64],
) -> None:
    if one != other and pieces[one, KIND] == pieces[other, KIND]:
        if places[one] >= 0:
            borders[places[one], other] += length
        if places[other] >= 0:
            borders[places[other], one] += length


@compiled
def repaint(runs: NDArray[np.int32], numbers: NDArray[np.uint16], instance: NDArray[np.uint16]) -> None:
    """Write the number of each piece, of numbers [N], to its pixels."""
    for run in runs:
        number = numbers[run[PIECE]]
        if number != run[INSTANCE]:
            instance[run[Y], run[BEGIN] : run[END]] = number
            run[INSTANCE] = number


@compiled
def tally_numbers(
    runs: NDArray[np.int32],
    slots: NDArray[np.int64],
    confidence: NDArray[np.uint8],
    areas: NDArray[np.int64],
    totals: NDArray[np.int64],
    boxes: NDArray[np.int64],
) -> None:
    """Of those pieces that have a slot (>= 0) in slots [N]: their pixels by class to areas [S, C], the sum of their 8-bit
    confidences to totals [S], and first and last columns and rows to boxes [S, 4]."""
    areas[:] = 0
    totals[:] = 0
    boxes[:, :2] = np.iinfo(np.int64).max
    boxes[:, 2:] = -1
    for run in runs:
        slot = slots[run[PIECE]]
        if slot < 0:
            continue
        areas[slot, run[CLASS]] += run[END] - run[BEGIN]
        for x in range(run[BEGIN], run[END]):
            totals[slot] += np.int64(confidence[run[Y], x])
        box = boxes[slot]
        box[0], box[1] = min(box[0], run[BEGIN]), min(box[1], run[Y])
        box[2], box[3] = max(box[2], run[END] - 1), max(box[3], run[Y])
