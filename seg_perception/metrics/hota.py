"""HOTA: how well things are found and how well their numbers are kept, in one number (Luiten et al., "HOTA: A Higher Order
Metric for Evaluating Multi-Object Tracking", IJCV 2021), counted as the authors' TrackEval counts it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from seg_perception.tracking.kernels import assign

ALPHAS = np.arange(0.05, 0.99, 0.05)
_EPSILON = float(np.finfo(float).eps)


class HotaSequence:
    """The frames of one sequence: true and predicted things, by any numbers, and how much their masks overlap."""

    def __init__(self) -> None:
        self._frames: list[tuple[list[int], list[int], NDArray[np.float64]]] = []

    def add(self, true: list[int], found: list[int], iou: NDArray[np.float64]) -> None:
        """One frame: the numbers of its things, each once, and their IoU [true, found]."""
        self._frames.append((true, found, iou))

    def counts(self) -> NDArray[np.float64]:
        """[5, ALPHAS] hits, misses, false ones, association accuracies summed over the hits, and their IoU so."""
        place_of_true, place_of_found = self._places()
        together = np.zeros((len(place_of_true), len(place_of_found)))
        true_count, found_count = np.zeros(len(place_of_true)), np.zeros(len(place_of_found))
        rows = []
        for true, found, iou in self._frames:
            t, f = [place_of_true[n] for n in true], [place_of_found[n] for n in found]
            rows.append((t, f))
            true_count[t] += 1
            found_count[f] += 1
            if t and f:
                total = iou.sum(axis=0)[None] + iou.sum(axis=1)[:, None] - iou
                together[np.ix_(t, f)] += np.where(total > _EPSILON, iou / np.where(total > _EPSILON, total, 1.0), 0.0)
        alignment = together / np.maximum(true_count[:, None] + found_count[None] - together, 1e-9)
        return self._matched(rows, alignment, true_count, found_count)

    def _matched(
        self,
        rows: list[tuple[list[int], list[int]]],
        alignment: NDArray[np.float64],
        true_count: NDArray[np.float64],
        found_count: NDArray[np.float64],
    ) -> NDArray[np.float64]:
        sums = np.zeros((5, len(ALPHAS)))
        matches: dict[tuple[int, int], NDArray[np.float64]] = {}  # few of all pairs meet, in hours of a recording
        for (t, f), (_, _, iou) in zip(rows, self._frames, strict=True):
            hits = np.zeros(len(ALPHAS))
            if t and f:
                chosen = np.empty(len(t), np.int64)
                assign(np.ascontiguousarray(alignment[np.ix_(t, f)] * iou), chosen)
                pairs = np.flatnonzero(chosen >= 0)
                overlap = iou[pairs, chosen[pairs]]
                good = overlap[None] >= ALPHAS[:, None] - _EPSILON
                for place, row in enumerate(pairs.tolist()):
                    matches.setdefault((t[row], f[chosen[row]]), np.zeros(len(ALPHAS)))[:] += good[:, place]
                hits = good.sum(axis=1)
                sums[4] += (good * overlap).sum(axis=1)
            sums[0] += hits
            sums[1] += len(t) - hits
            sums[2] += len(f) - hits
        for (true, found), count in matches.items():
            sums[3] += count * (count / np.maximum(true_count[true] + found_count[found] - count, 1))
        return sums

    def _places(self) -> tuple[Mapping[int, int], Mapping[int, int]]:
        true = sorted({number for frame in self._frames for number in frame[0]})
        found = sorted({number for frame in self._frames for number in frame[1]})
        return {n: place for place, n in enumerate(true)}, {n: place for place, n in enumerate(found)}


def hota(counts: NDArray[np.float64]) -> dict[str, float | None]:
    """`hota`, `hota_detection`, `hota_association`, each the mean over ALPHAS, of the summed counts of sequences; None
    where there is nothing."""
    hits, misses, false, association, _ = counts
    if not (hits + misses + false).any():
        return dict.fromkeys(("hota", "hota_detection", "hota_association"))
    det, ass = hits / np.maximum(hits + misses + false, 1), association / np.maximum(hits, 1)
    return {
        "hota": float(np.sqrt(det * ass).mean()),
        "hota_detection": float(det.mean()),
        "hota_association": float(ass.mean()),
    }


class IdSwitches:
    """Things that get another number than they had when they were found last (CLEAR MOT, Bernardin & Stiefelhagen, EURASIP
    JIVP 2008), of one sequence. switches: so far; frames: in how many things were, each counted."""

    def __init__(self) -> None:
        self.switches = self.frames = 0
        self._last: dict[int, int] = {}
        self.by_thing: Counter[int] = Counter()

    def add(self, true: list[int], matched: Mapping[int, int]) -> None:
        """One frame: its things, and the number that each of those is given which are found."""
        self.frames += len(true)
        for thing, number in matched.items():
            if self._last.get(thing, number) != number:
                self.switches += 1
                self.by_thing[thing] += 1
            self._last[thing] = number
