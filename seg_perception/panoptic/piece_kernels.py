"""Compiled loops over the connected pieces of an instance mask, made of runs: pixels side by side of one instance and class.

A piece is what hangs together, corners included, of one instance and one kind of class: a car and the walker before it
are two pieces, even if the network's centres make them one instance.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from seg_perception.compiled import compiled
from seg_perception.panoptic import instance_kernels as tallies

KINDS, LARGE_VEHICLE = 2, 1
"""How many kinds of classes there are, and that of vehicles whose body hides who sits in them."""
Y, BEGIN, END, INSTANCE, CLASS, PIECE = range(6)
"""Columns of a run."""
ID, KIND, AREA, LEFT, TOP, RIGHT, BOTTOM = range(7)
"""Columns of a piece: its instance, kind of class, pixels, and first and last column and row."""


@compiled
def find_pieces(
    semantic: NDArray[np.uint8],
    instance: NDArray[np.uint16],
    kinds: NDArray[np.uint8],
    boxes: NDArray[np.int64],
    runs: NDArray[np.int32],
    pieces: NDArray[np.int64],
) -> tuple[int, int]:
    """Write the runs of all instances to runs [M, 6], and their pieces, in the order of their first pixels, to pieces [N, 7]; how
    many those are, or (0, 0) where there is not enough room.

    kinds: uint8 [256], of each class; boxes: [K, 4] = left, top, width, height, in which all instances of the masks [H, W] are.
    """
    above, here, count = 0, 0, 0
    for y in range(boxes[:, 1].min(), (boxes[:, 1] + boxes[:, 3]).max()):
        above, here = here, count
        x, right = _columns_of(boxes, y)
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
def _columns_of(boxes: NDArray[np.int64], y: int) -> tuple[int, int]:
    """From which column on, and before which, boxes [K, 4] have pixels in row y; (0, 0) for none."""
    begin, end = np.iinfo(np.int64).max, np.int64(0)
    for left, top, width, height in boxes:
        if top <= y < top + height:
            begin, end = min(begin, left), max(end, left + width)
    return min(begin, end), end


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
def settle_pieces(
    runs: NDArray[np.int32],
    pieces: NDArray[np.int64],
    gap: float,
    least_border: float,
    least_own: float,
    numbers: NDArray[np.int64],
) -> None:
    """The instance that each piece is of from now on, 0 for none, to numbers [N]; new ones have numbers beyond the known.

    Pieces near the largest of their instance and kind stay together, and those of its largest kind keep their number. The
    others, the largest first, go to the thing of their kind that they touch most; else to one near which they lie; else, if
    they are no part of a large vehicle and have least_own px, they are a new one; else they stay if they lie near their
    instance. Where they touch only what lies beside a thing's largest piece, and are large enough with it, both are a new
    one. gap: how far from a piece's box, in sizes of it, is near; least_border: px, for each of the root of a piece's area,
    along which it must touch.
    """
    leaders, keeps = np.empty(len(pieces), np.int64), np.empty(len(pieces), np.bool_)
    mains = _find_leaders(pieces, gap, leaders, keeps)
    areas, known = np.zeros(len(pieces), np.int64), len(mains)
    for at in range(len(pieces)):
        areas[leaders[at]] += pieces[at, AREA]
        numbers[at] = pieces[at, ID] if keeps[at] else 0
    loose = np.array(
        [at for at in np.argsort(-areas, kind="mergesort") if leaders[at] == at and not keeps[at]], np.int64
    )
    if not len(loose):
        return
    places = np.full(len(pieces), -1, np.int64)
    for at in range(len(pieces)):
        for place in range(len(loose)):
            places[at] = place if loose[place] == leaders[at] else places[at]
    borders = np.zeros((len(loose), len(pieces)), np.int64)
    _count_borders(runs, pieces, places, borders)
    held = np.zeros(known + len(loose), np.int64)
    for at in range(len(pieces)):
        held[numbers[at]] += pieces[at, AREA]
    for place in range(len(loose)):
        piece, area = loose[place], areas[loose[place]]
        number = _touched(borders[place], numbers, held, area, least_border * np.sqrt(area))
        may_stand = pieces[piece, KIND] != LARGE_VEHICLE
        if may_stand and 0 < number < len(mains) and borders[place, mains[number]] == 0:
            beside = _move(pieces, borders[place], numbers, held, number, known)
            if area + beside >= least_own:
                number, known = known, known + 1
            else:
                _move(pieces, borders[place], numbers, held, known, number)
        if number == 0:
            number = _near_thing(pieces, mains, held, piece, area, gap)
        if number == 0 and may_stand and area >= least_own:
            number, known = known, known + 1
        if number == 0 and _is_near(pieces, piece, mains[pieces[piece, ID]], gap):
            number = pieces[piece, ID]
        for at in range(len(pieces)):
            numbers[at] = number if places[at] == place else numbers[at]
        held[number] += area


@compiled
def _find_leaders(
    pieces: NDArray[np.int64], gap: float, leaders: NDArray[np.int64], keeps: NDArray[np.bool_]
) -> NDArray[np.int64]:
    """The largest piece of its instance and kind, of those near which each piece lies, to leaders [N], itself where it lies
    far from it; to keeps [N] whether that is of the kind that most of the instance is. Returns those largest pieces, by the
    instance's number, -1 where there is none."""
    units = (pieces[:, ID].max() + 1) * KINDS
    largest, areas = np.full(units, -1, np.int64), np.zeros(units, np.int64)
    for at in range(len(pieces)):
        unit = pieces[at, ID] * KINDS + pieces[at, KIND]
        if largest[unit] < 0 or pieces[at, AREA] > pieces[largest[unit], AREA]:
            largest[unit] = at
    for at in range(len(pieces)):
        unit = pieces[at, ID] * KINDS + pieces[at, KIND]
        leaders[at] = largest[unit] if _is_near(pieces, at, largest[unit], gap) else at
        if leaders[at] == largest[unit]:
            areas[unit] += pieces[at, AREA]
    mains = np.empty(units // KINDS, np.int64)
    for number in range(len(mains)):
        mains[number] = largest[number * KINDS + np.argmax(areas[number * KINDS : (number + 1) * KINDS])]
    for at in range(len(pieces)):
        keeps[at] = leaders[at] == mains[pieces[at, ID]]
    return mains


@compiled
def _is_near(pieces: NDArray[np.int64], one: int, main: int, gap: float) -> bool:
    """Whether the boxes of two pieces are no more than gap sizes of the second apart; a size is the root of its area."""
    wide = pieces[main, RIGHT] - pieces[main, LEFT] + 1
    high = pieces[main, BOTTOM] - pieces[main, TOP] + 1
    across = max(pieces[one, LEFT] - pieces[main, RIGHT], pieces[main, LEFT] - pieces[one, RIGHT])
    down = max(pieces[one, TOP] - pieces[main, BOTTOM], pieces[main, TOP] - pieces[one, BOTTOM])
    return bool(max(across, down) - 1 <= gap * np.sqrt(wide * high))


@compiled
def _touched(
    borders: NDArray[np.int64], numbers: NDArray[np.int64], held: NDArray[np.int64], area: int, least: float
) -> int:
    """The instance that a piece touches most, along least px or more, and that is no smaller than it; 0 for none. borders:
    [N] with each piece; numbers: [N] of those; held: the area of each instance."""
    lengths = np.zeros(len(held), np.int64)
    for at in range(len(borders)):
        lengths[numbers[at]] += borders[at]
    lengths[0] = 0
    best = int(np.argmax(lengths))
    return best if lengths[best] >= max(least, 1.0) and held[best] >= area else 0


@compiled
def _move(
    pieces: NDArray[np.int64],
    borders: NDArray[np.int64],
    numbers: NDArray[np.int64],
    held: NDArray[np.int64],
    number: int,
    other: int,
) -> int:
    """Give the pieces of thing `number` that touch another piece, along borders [N], to thing `other`; how many px those
    are."""
    area = 0
    for at in range(len(pieces)):
        if borders[at] > 0 and numbers[at] == number:
            numbers[at] = other
            area += pieces[at, AREA]
    held[number] -= area
    held[other] += area
    return area


@compiled
def _near_thing(
    pieces: NDArray[np.int64], mains: NDArray[np.int64], held: NDArray[np.int64], piece: int, area: int, gap: float
) -> int:
    """The largest instance of the same kind near which a piece lies, as what a pole or a walker cuts off does; 0 for none."""
    best = 0
    for number in range(1, len(mains)):
        main = mains[number]
        if main < 0 or number == pieces[piece, ID] or pieces[main, KIND] != pieces[piece, KIND]:
            continue
        if held[number] >= max(area, held[best] + 1 if best else 0) and _is_near(pieces, piece, main, gap):
            best = number
    return best


@compiled
def _count_borders(
    runs: NDArray[np.int32], pieces: NDArray[np.int64], places: NDArray[np.int64], borders: NDArray[np.int64]
) -> None:
    """How many pixels of each piece that has a place (>= 0) in places [N] touch those of each other piece of the same kind, to
    borders [places, N]. runs, pieces: see find_pieces."""
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
def tally_pieces(
    runs: NDArray[np.int32], slots: NDArray[np.int64], confidence: NDArray[np.uint8], tally: NDArray[np.int64]
) -> None:
    """Count the pixels of those pieces that have a slot (>= 0) in slots [N] into tally [S, C, 6], as
    instance_kernels.tally_segments does."""
    tally[:] = 0
    tally[:, :, tallies.LEFT : tallies.TOP + 1] = np.iinfo(np.int64).max
    tally[:, :, tallies.RIGHT :] = -1
    for run in runs:
        slot = slots[run[PIECE]]
        if slot < 0:
            continue
        entry = tally[slot, run[CLASS]]
        entry[tallies.AREA] += run[END] - run[BEGIN]
        for x in range(run[BEGIN], run[END]):
            entry[tallies.CONFIDENCE] += np.int64(confidence[run[Y], x])
        entry[tallies.LEFT], entry[tallies.TOP] = min(entry[tallies.LEFT], run[BEGIN]), min(entry[tallies.TOP], run[Y])
        entry[tallies.RIGHT], entry[tallies.BOTTOM] = (
            max(entry[tallies.RIGHT], run[END] - 1),
            max(entry[tallies.BOTTOM], run[Y]),
        )
