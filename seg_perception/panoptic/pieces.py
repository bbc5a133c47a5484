"""Instances that hang together: what the network's centres took for one although it cannot be is taken apart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seg_perception.labels import LabelSet
from seg_perception.panoptic import piece_kernels
from seg_perception.panoptic.decoder import Decoder, PanopticDecoder, PanopticSettings, thing_of
from seg_perception.panoptic.instance_kernels import AREA
from seg_perception.panoptic.piece_kernels import ID, LARGE_VEHICLE
from seg_perception.results import Panoptic, Segment, Wants

LARGE_VEHICLES = frozenset(
    ("car", "truck", "bus", "train", "tram", "van", "caravan", "trailer", "vehicle", "autorickshaw")
)
"""Things with a body that hides who sits in it. They are confused with each other, and a rider with his bicycle, but seldom
one of these with one of those: so each of the two kinds has its own pieces."""
MOST_RUNS, MOST_PIECES = 65_536, 512
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

    def __init__(self, decoder: Decoder, labels: LabelSet, settings: PanopticSettings) -> None:
        self._decoder, self._labels, self._settings = decoder, labels, settings
        self._kinds = np.zeros(256, np.uint8)
        self._kinds[[label.id for label in labels.classes if label.name in LARGE_VEHICLES]] = LARGE_VEHICLE
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
        numbers = pieces[:, ID].copy()
        if len(pieces):
            least_own = max(_OWN_SHARE, self._settings.min_thing_area) * panoptic.semantic.size
            piece_kernels.settle_pieces(runs, pieces, _LONGEST_GAP, _LEAST_BORDER, least_own, numbers)
        if (numbers == pieces[:, ID]).all():
            return panoptic
        return self._renumbered(panoptic, things, runs, pieces, numbers)

    def _find(self, panoptic: Panoptic, things: Sequence[Segment]) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
        boxes = np.array([s.box for s in things], np.int64)
        runs, pieces = piece_kernels.find_pieces(
            panoptic.semantic, panoptic.instance, self._kinds, boxes, self._runs, self._pieces
        )
        return self._runs[:runs], self._pieces[:pieces]

    def _renumbered(
        self,
        panoptic: Panoptic,
        things: Sequence[Segment],
        runs: NDArray[np.int32],
        pieces: NDArray[np.int64],
        numbers: NDArray[np.int64],
    ) -> Panoptic:
        """With instances `numbers` [N] of the pieces: segments by falling score again, and the mask accordingly."""
        is_new = numbers != pieces[:, ID]
        changed = sorted({*numbers[is_new].tolist(), *pieces[is_new, ID].tolist()} - {0})
        slot_of = np.full(max(*changed, *(s.id for s in things)) + 1, -1, np.int64)
        slot_of[changed] = np.arange(len(changed))
        tally = np.empty((len(changed), len(self._labels), 6), np.int64)
        piece_kernels.tally_pieces(runs, slot_of[numbers], panoptic.confidence, tally)
        least = max(1, self._settings.min_thing_area * panoptic.semantic.size)
        made = [thing_of(n, entry) for n, entry in zip(changed, tally) if entry[:, AREA].sum() >= least]
        made += [s for s in things if slot_of[s.id] < 0]
        made.sort(key=lambda s: (-s.score, s.id))
        ids = np.zeros(len(slot_of), np.uint16)
        for new, s in enumerate(made, start=1):
            ids[s.id] = new
        piece_kernels.repaint(runs, ids[numbers], panoptic.instance)
        stuff = [s for s in panoptic.segments if not s.is_thing]
        return replace(panoptic, segments=tuple(replace(s, id=new) for new, s in enumerate((*made, *stuff), start=1)))


def decoder_on_cpu(labels: LabelSet, settings: PanopticSettings) -> WholeThings:
    """What makes the masks of a network whose output lies in this machine's memory."""
    return WholeThings(PanopticDecoder(labels, settings), labels, settings)


def warm_up(labels: LabelSet) -> None:
    """Take a thing with a far stray pixel apart, so that no real frame waits for compilers."""
    thing = np.flatnonzero(labels.is_thing)[:1]
    if not len(thing):
        return
    semantic, instance = np.full((8, 64), thing[0], np.uint8), np.zeros((8, 64), np.uint16)
    instance[:, :8] = instance[0, 63] = 1
    found = Segment(1, int(thing[0]), True, 1.0, 65, (0, 0, 64, 8))
    WholeThings(PanopticDecoder(labels, PanopticSettings()), labels, PanopticSettings()).made_whole(
        Panoptic(semantic, instance, np.full_like(semantic, 255), (found,))
    )
