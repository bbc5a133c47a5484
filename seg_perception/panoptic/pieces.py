"""Instances that hang together: what the network's centres took for one although it cannot be is taken apart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seg_perception.labels import LabelSet
from seg_perception.panoptic import piece_kernels
from seg_perception.panoptic.decoder import PanopticSettings
from seg_perception.panoptic.piece_kernels import AREA, ID, KIND
from seg_perception.panoptic.relabel import Decodes
from seg_perception.results import Panoptic, Segment, Wants

LARGE_VEHICLES = frozenset(("car", "truck", "bus", "train", "tram", "van", "caravan", "trailer", "vehicle", "autorickshaw"))
"""Things with a body that hides who sits in it. They are confused with each other, and a rider with his bicycle, but seldom
one of these with one of those: so each of the two kinds has its own pieces."""
_KINDS = 2
MOST_RUNS, MOST_PIECES = 65_536, 2_048
"""An instance mask of more is noise, and stays as it is."""
_LONGEST_GAP = 0.5
"""Between the boxes of two pieces of one thing, in sizes of the larger (the root of its box's area): a pole, or a walker
before a car, is narrower than that."""
_OWN_SHARE = 0.0008
"""Share of the mask's pixels from which on a piece may be a thing of its own."""


_LEAST_BORDER = 0.25
"""Pixels, for each of the root of a piece's area, that it touches another thing by to be part of it."""


class WholeThings:
    """A decoder whose instances hang together. The semantic mask stays as it is: only which thing a pixel is of changes.

    Centres are elected by distance alone, so pixels far away, whose votes are bad, go to the nearest one, and a walker's
    before a car to the car's. The pieces of an instance (piece_kernels) are therefore taken apart by kind, and of each kind
    the largest keeps those that lie near it: they may be the other part of what a pole cuts in two. What is left goes to
    the thing of its kind that it touches most; else, if it is large enough, it is a thing of its own; else it stays
    where it lies near a piece of its instance, whatever its kind, and belongs to none where it does not.
    """

    def __init__(self, decoder: Decodes, labels: LabelSet, settings: PanopticSettings) -> None:
        self._decoder, self._labels, self._settings = decoder, labels, settings
        self._kinds = np.zeros(256, np.uint8)
        self._kinds[[label.id for label in labels.classes if label.name in LARGE_VEHICLES]] = 1
        self._runs = np.empty((MOST_RUNS, 6), np.int32)
        self._pieces = np.empty((MOST_PIECES, 7), np.int64)

    def decode(self, output: Any, index: int, mask_hw: tuple[int, int], stride: int, wants: Wants) -> Panoptic:
        """See PanopticDecoder.decode."""
        return self.made_whole(self._decoder.decode(output, index, mask_hw, stride, wants))

    def made_whole(self, panoptic: Panoptic) -> Panoptic:
        """The same with instances that hang together; the instance mask is changed in place."""
        things = [s for s in panoptic.segments if s.is_thing]
        if not things:
            return panoptic
        runs, pieces = self._find(panoptic, things)
        numbers = self._settle(runs, pieces, panoptic.semantic.size)
        if (numbers == pieces[:, ID]).all():
            return panoptic
        return self._renumbered(panoptic, things, runs, pieces, numbers)

    def _find(
        self, panoptic: Panoptic, things: Sequence[Segment]
    ) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
        left, top = (min(s.box[axis] for s in things) for axis in (0, 1))
        right, bottom = (max(s.box[axis] + s.box[axis + 2] for s in things) for axis in (0, 1))
        runs, pieces = piece_kernels.find_pieces(
            panoptic.semantic, panoptic.instance, self._kinds, (left, top, right, bottom), self._runs, self._pieces
        )
        return self._runs[:runs], self._pieces[:pieces]

    def _settle(self, runs: NDArray[np.int32], pieces: NDArray[np.int64], pixels: int) -> NDArray[np.int64]:
        """[N] the instance that each piece is of from now on, 0 for none; new ones have numbers beyond the known."""
        numbers = pieces[:, ID].copy()
        leaders, keeps = np.empty(len(pieces), np.int64), np.empty(len(pieces), np.bool_)
        if len(pieces):
            piece_kernels.find_leaders(pieces, _LONGEST_GAP, leaders, keeps, _KINDS)
        if keeps.all():
            return numbers
        areas = np.bincount(leaders, pieces[:, AREA], len(pieces)).astype(np.int64)
        loose = np.flatnonzero(~keeps & (leaders == np.arange(len(pieces))))
        loose = loose[np.argsort(-areas[loose], kind="stable")]
        places = np.full(len(pieces), -1, np.int64)
        places[loose] = np.arange(len(loose))
        borders = np.empty((len(loose), len(pieces)), np.int64)
        piece_kernels.count_borders(runs, pieces, places[leaders], borders)
        numbers[~keeps] = 0
        free = int(pieces[:, ID].max()) + 1
        held = np.bincount(numbers, pieces[:, AREA], free + len(loose))
        least = max(1, max(_OWN_SHARE, self._settings.min_thing_area) * pixels)
        for place, leader in enumerate(loose.tolist()):
            number = _touched(borders[place], numbers, held, int(areas[leader]))
            if not number:
                number = _beyond(pieces, leaders, keeps, leader, held, int(areas[leader]))
            if not number and areas[leader] >= least:
                number, free = free, free + 1
            if not number and _is_beside(pieces, leaders, keeps, leader):
                number = int(pieces[leader, ID])
            numbers[leaders == leader] = number
            held[number] += areas[leader]
        return numbers

    def _renumbered(
        self,
        panoptic: Panoptic,
        things: Sequence[Segment],
        runs: NDArray[np.int32],
        pieces: NDArray[np.int64],
        numbers: NDArray[np.int64],
    ) -> Panoptic:
        """With instances `numbers` [N] of the pieces: segments by falling score again, and the mask accordingly."""
        changed = np.unique(np.concatenate((numbers, pieces[:, ID]))[np.tile(numbers != pieces[:, ID], 2)])
        changed = changed[changed > 0]
        slot_of = np.full(int(numbers.max(initial=0)) + len(things) + 2, -1, np.int64)
        slot_of[changed] = np.arange(len(changed))
        areas = np.empty((len(changed), len(self._labels)), np.int64)
        totals, boxes = np.empty(len(changed), np.int64), np.empty((len(changed), 4), np.int64)
        piece_kernels.tally_numbers(runs, slot_of[numbers], panoptic.confidence, areas, totals, boxes)
        made = [s for s in things if slot_of[s.id] < 0]
        made += [
            _segment(number, areas[slot], int(totals[slot]), boxes[slot])
            for slot, number in enumerate(changed.tolist())
            if areas[slot].any()
        ]
        made.sort(key=lambda s: (-s.score, s.id))
        ids = np.zeros(len(slot_of), np.uint16)
        for new, s in enumerate(made, start=1):
            ids[s.id] = new
        piece_kernels.repaint(runs, ids[numbers], panoptic.instance)
        stuff = [s for s in panoptic.segments if not s.is_thing]
        return replace(
            panoptic, segments=tuple(replace(s, id=new) for new, s in enumerate((*made, *stuff), start=1))
        )


def _touched(borders: NDArray[np.int64], numbers: NDArray[np.int64], held: NDArray[np.float64], area: int) -> int:
    """The instance that a piece of that area touches most and is a part of, 0 for none. borders: [N] with each piece;
    numbers: [N] of those; held: the area of each instance."""
    beside = np.flatnonzero(borders)
    if not len(beside):
        return 0
    lengths = np.bincount(numbers[beside], borders[beside])
    lengths[0] = 0
    best = int(lengths.argmax())
    return best if lengths[best] >= _LEAST_BORDER * np.sqrt(area) and held[best] >= area else 0


def _beyond(
    pieces: NDArray[np.int64],
    leaders: NDArray[np.int64],
    keeps: NDArray[np.bool_],
    piece: int,
    held: NDArray[np.float64],
    area: int,
) -> int:
    """The largest instance of the same kind near which a piece lies, as what another thing cuts off does; 0 for none."""
    mains = np.flatnonzero(keeps & (leaders == np.arange(len(pieces))) & (pieces[:, KIND] == pieces[piece, KIND]))
    near = [m for m in mains.tolist() if piece_kernels.is_near(pieces, piece, m, _LONGEST_GAP) and held[pieces[m, ID]] >= area]
    return int(pieces[max(near, key=lambda m: held[pieces[m, ID]]), ID]) if near else 0


def _is_beside(
    pieces: NDArray[np.int64], leaders: NDArray[np.int64], keeps: NDArray[np.bool_], piece: int
) -> bool:
    """Whether a piece lies near the largest of its instance, whatever its kind."""
    kept = np.flatnonzero(keeps & (pieces[:, ID] == pieces[piece, ID]))
    return len(kept) > 0 and bool(piece_kernels.is_near(pieces, piece, int(leaders[kept[0]]), _LONGEST_GAP))


def _segment(number: int, areas: NDArray[np.int64], total: int, box: NDArray[np.int64]) -> Segment:
    """areas: [C] px of each class; box: first and last column and row."""
    area, (left, top, right, bottom) = int(areas.sum()), box.tolist()
    score = total / (255 * area)
    return Segment(number, int(areas.argmax()), True, score, area, (left, top, right - left + 1, bottom - top + 1))
