"""How far two people who labelled the same images agree; neither is the truth."""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from seg_perception.labels import VOID, LabelSet
from seg_perception.metrics.confusion import ConfusionMatrix, mean_known, ratio
from seg_perception.metrics.panoptic_quality import PanopticQuality
from seg_perception.metrics.segment_pairs import pair_segments


@dataclass(frozen=True)
class FrameAgreement:
    """Of one image. same: share of the pixels that both labelled which have one class, NaN where there are none; both: share of
    all pixels that both labelled; either: that one of them did."""

    name: str
    same: float
    both: float
    either: float


class Agreement:
    """Sums over images. Pixels that one of the two left unlabelled count nowhere but in the shares."""

    def __init__(self, labels: LabelSet) -> None:
        self.labels = labels
        self.frames: list[FrameAgreement] = []
        self._pixels = ConfusionMatrix(labels)
        self._quality = PanopticQuality(labels)
        self._apart = np.zeros((len(labels), 2))
        self.with_things = 0

    def add(
        self,
        name: str,
        first: tuple[NDArray[np.uint8], NDArray[np.uint16] | None],
        second: tuple[NDArray[np.uint8], NDArray[np.uint16] | None],
    ) -> FrameAgreement:
        """One image: of each the classes, uint8 [H, W], 255 = none, and the things, uint16 [H, W], or None where nobody told
        them apart: then the image is left out of PQ. Things without a number, 0, are a crowd, and left out of PQ alone."""
        known = (first[0] != VOID) & (second[0] != VOID)
        a, b = (np.where(known, label, np.uint8(VOID)) for label in (first[0], second[0]))
        counts = self._pixels.update(b, a)
        self._apart += boundary_distances(a, b, len(self.labels))
        if first[1] is not None and second[1] is not None:
            # what one of them left as a crowd is neither matched nor missed, whoever of them comes first
            crowd = self._is_crowd(a, first[1]) | self._is_crowd(b, second[1])
            a, b = (np.where(crowd, np.uint8(VOID), label) for label in (a, b))
            self._quality.update(pair_segments(b, second[1], a, first[1], self.labels.is_thing))
            self.with_things += 1
        one = (first[0] != VOID) | (second[0] != VOID)
        found = FrameAgreement(
            name, float(ratio(np.trace(counts), counts.sum())), float(known.mean()), float(one.mean())
        )
        self.frames.append(found)
        return found

    def _is_crowd(self, label: NDArray[np.uint8], instance: NDArray[np.uint16]) -> NDArray[np.bool_]:
        return np.asarray(self.labels.is_thing[label] & (instance == 0))

    @property
    def counts(self) -> NDArray[np.int64]:
        """int64 [C, C]: pixels by what the first and the second say."""
        return self._pixels.counts[:, :-1]

    @property
    def kappa(self) -> float:
        """Cohen's kappa over the pixels that both labelled (Cohen, Educational and Psychological Measurement, 1960): 1 where
        they always agree, 0 where as often as by chance; NaN without pixels, 1 where both know one class alone."""
        total = float(self.counts.sum())
        if not total:
            return math.nan
        agreed = float(np.trace(self.counts)) / total
        by_chance = float(self.counts.sum(axis=1) / total @ (self.counts.sum(axis=0) / total))
        return 1.0 if by_chance == 1.0 else (agreed - by_chance) / (1 - by_chance)

    def iou(self) -> NDArray[np.float64]:
        """[C], NaN where neither has the class."""
        return self._pixels.iou()

    def pq(self) -> NDArray[np.float64]:
        """[C], NaN where neither has a segment of the class, or nobody told things apart."""
        return self._quality.per_class()[0]

    def distance_px(self) -> NDArray[np.float64]:
        """[C]: from a class' boundary pixel of one to the nearest of the other, mean of both ways, px; NaN where none is in one
        image of both."""
        return ratio(self._apart[:, 0], self._apart[:, 1])

    def summary(self) -> dict[str, float]:
        """The numbers of all classes together."""
        agreed = float(ratio(np.trace(self.counts), self.counts.sum()))
        return {
            "miou": mean_known(self.iou()),
            "pq": mean_known(self.pq()) if self.with_things else math.nan,
            "kappa": self.kappa,
            "pixels_agreed": agreed,
            "boundary_distance_px": float(ratio(self._apart[:, 0].sum(), self._apart[:, 1].sum())),
            "labelled_by_both": float(np.mean([frame.both for frame in self.frames])) if self.frames else math.nan,
            "labelled_by_one": float(np.mean([frame.either for frame in self.frames])) if self.frames else math.nan,
        }


def boundary_distances(first: NDArray[np.uint8], second: NDArray[np.uint8], classes: int) -> NDArray[np.float64]:
    """[C, 2]: summed distance in px from each boundary pixel of a class in one mask to the nearest of that class in the other,
    both ways, and their number; of classes that have a boundary in both. Both masks uint8 [H, W], 255 = none.

    A pixel is on its class' boundary when one of its four neighbours has another class; unlabelled is none.
    """
    sums = np.zeros((classes, 2))
    edges = [_is_edge(mask) for mask in (first, second)]
    for class_id in np.intersect1d(first[edges[0]], second[edges[1]]).tolist():
        a, b = edges[0] & (first == class_id), edges[1] & (second == class_id)
        for start, end in ((a, b), (b, a)):
            far = cv2.distanceTransform((~end).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
            sums[class_id] += float(far[start].sum()), int(start.sum())
    return sums


def _is_edge(mask: NDArray[np.uint8]) -> NDArray[np.bool_]:
    edge = np.zeros(mask.shape, np.bool_)
    for one, other, marked, beside in (
        (mask[1:], mask[:-1], edge[1:], edge[:-1]),
        (mask[:, 1:], mask[:, :-1], edge[:, 1:], edge[:, :-1]),
    ):
        differs = (one != other) & (one != VOID) & (other != VOID)
        marked |= differs
        beside |= differs
    return edge
