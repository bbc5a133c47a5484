"""Segmentation metrics, defined as the reference tools of Cityscapes and COCO define them; accumulated frame by frame.

Masks are uint8 [H, W] class ids with 255 = void, instances uint16 [H, W] with 0 = none. A thing pixel whose instance is
0 belongs to no segment: in the truth it is a crowd, in a prediction it is void.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import cv2
import numba
import numpy as np
from numpy.typing import NDArray

from seg_perception.errors import SegPerceptionError
from seg_perception.labels import VOID, LabelSet

BOUNDARY_TOLERANCE = 0.0075
"""How far two boundaries may lie apart, as a share of the image's diagonal."""


@dataclass(frozen=True)
class Truth:
    """Labels of one frame. semantic: uint8 [H, W], 255 = unlabelled; instance: uint16 [H, W], a thing pixel with 0
    belongs to a crowd; None where objects are not told apart."""

    semantic: NDArray[np.uint8]
    instance: NDArray[np.uint16] | None = None

    def __post_init__(self) -> None:
        if self.semantic.dtype != np.uint8 or self.semantic.ndim != 2:
            raise ValueError(f"semantic is {self.semantic.dtype} {list(self.semantic.shape)}, expected uint8 [H, W]")
        other = self.instance
        if other is not None and (other.dtype != np.uint16 or other.shape != self.semantic.shape):
            shape = list(self.semantic.shape)
            raise ValueError(f"instance is {other.dtype} {list(other.shape)}, expected uint16 {shape}")


class ConfusionMatrix:
    """Pixels by true and predicted class over all frames. counts: int64 [C, C + 1], rows truth, columns prediction, the
    last column void; pixels whose truth is void count nowhere."""

    def __init__(self, labels: LabelSet) -> None:
        self.labels = labels
        self.counts: NDArray[np.int64] = np.zeros((len(labels), len(labels) + 1), np.int64)

    def update(self, prediction: NDArray[np.uint8], truth: NDArray[np.uint8]) -> NDArray[np.int64]:
        """Add one frame; returns its own counts [C, C + 1].

        Raises ValueError when the shapes differ, SegPerceptionError when a value is neither a class nor void.
        """
        if prediction.shape != truth.shape:
            raise ValueError(f"prediction is {list(prediction.shape)}, truth {list(truth.shape)}: they must be alike")
        joint = _joint_histogram(_dense(truth), _dense(prediction))
        classes = len(self.labels)
        for name, totals in (("labels", joint.sum(axis=1)), ("prediction", joint.sum(axis=0))):
            strange = [int(value) for value in np.flatnonzero(totals[:VOID]) if value >= classes]
            if strange:
                raise SegPerceptionError(
                    f"the {name} hold the value {strange[0]}, but classes are 0 to {classes - 1} and {VOID} is void: "
                    "convert them, or name their unlabelled value with --void"
                )
        counts = np.column_stack((joint[:classes, :classes], joint[:classes, VOID]))
        self.counts += counts
        return counts

    def iou(self) -> NDArray[np.float64]:
        """[C] intersection over union, NaN for classes that occur in neither truth nor prediction."""
        return iou_per_class(self.counts)

    def dice(self) -> NDArray[np.float64]:
        """[C] Dice coefficient, NaN as in iou."""
        hits, _, misses, false = _outcomes(self.counts)
        return _ratio(2 * hits, 2 * hits + misses + false)

    def pixel_accuracy(self) -> float:
        """Share of the labelled pixels that got their class; void is a miss."""
        return float(_ratio(np.trace(self.counts), self.counts.sum()))

    def drivable_iou(self) -> float:
        """IoU of ground (all drivable classes as one) against the rest."""
        ground = np.array([c.id for c in self.labels.drivable], np.intp)
        if not len(ground):
            return math.nan
        hits = self.counts[np.ix_(ground, ground)].sum()
        return float(_ratio(hits, self.counts[ground].sum() + self.counts[:, ground].sum() - hits))


def iou_per_class(counts: NDArray[np.int64]) -> NDArray[np.float64]:
    """[C] IoU from counts [C, C + 1] as in ConfusionMatrix, NaN for classes that do not occur."""
    hits, _, misses, false = _outcomes(counts)
    return _ratio(hits, hits + misses + false)


def mean_known(values: NDArray[np.float64]) -> float:
    """Mean of what is not NaN, NaN when nothing is."""
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else math.nan


def _outcomes(counts: NDArray[np.int64]) -> tuple[NDArray[np.int64], ...]:
    """Per class: hits, pixels in truth, misses, false alarms."""
    hits = counts.diagonal()
    present = counts.sum(axis=1)
    return hits, present, present - hits, counts[:, :-1].sum(axis=0) - hits


def _ratio(part: Any, whole: Any) -> NDArray[np.float64]:
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(np.true_divide(part, whole), np.float64)


@numba.njit(cache=True, nogil=True)
def _joint_histogram(truth: NDArray[np.uint8], prediction: NDArray[np.uint8]) -> NDArray[np.int64]:
    joint = np.zeros((256, 256), np.int64)
    for y in range(truth.shape[0]):
        for x in range(truth.shape[1]):
            joint[truth[y, x], prediction[y, x]] += 1
    return joint


class PanopticQuality:
    """PQ, SQ and RQ. iou: summed IoU of matched segments, tp, fp, fn: counts, all [C]."""

    def __init__(self, labels: LabelSet) -> None:
        self.labels = labels
        self.iou: NDArray[np.float64] = np.zeros(len(labels))
        self.tp: NDArray[np.int64] = np.zeros(len(labels), np.int64)
        self.fp, self.fn = self.tp.copy(), self.tp.copy()

    def update(
        self,
        semantic: NDArray[np.uint8],
        instance: NDArray[np.uint16],
        true_semantic: NDArray[np.uint8],
        true_instance: NDArray[np.uint16],
    ) -> None:
        """Add one frame: the prediction, then the truth, all [H, W]."""
        is_thing = self.labels.is_thing
        true_keys = _segment_keys(_dense(true_semantic), _dense(true_instance), is_thing, False)
        keys = _segment_keys(_dense(semantic), _dense(instance), is_thing, True)
        overlaps = _overlaps(true_keys, keys)
        area: Counter[int] = Counter()
        true_area: Counter[int] = Counter()
        for (true_key, key), pixels in overlaps.items():
            true_area[true_key] += pixels
            area[key] += pixels
        matched: set[int] = set()
        for (true_key, key), pixels in overlaps.items():
            if true_key >> 16 != key >> 16 or key == VOID_KEY or self._is_crowd(true_key):
                continue
            union = area[key] + true_area[true_key] - pixels - overlaps[VOID_KEY, key]
            if 2 * pixels > union:
                self.tp[key >> 16] += 1
                self.iou[key >> 16] += pixels / union
                matched |= {key, ~true_key}
        for true_key in true_area:
            if true_key != VOID_KEY and ~true_key not in matched and not self._is_crowd(true_key):
                self.fn[true_key >> 16] += 1
        for key in area:
            if key == VOID_KEY or key in matched:
                continue
            excused = overlaps[VOID_KEY, key]
            if is_thing[key >> 16]:
                excused += overlaps[key >> 16 << 16, key]
            if 2 * excused <= area[key]:
                self.fp[key >> 16] += 1

    def _is_crowd(self, true_key: int) -> bool:
        return bool(self.labels.is_thing[true_key >> 16]) and true_key & 0xFFFF == 0

    def per_class(self) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
        """PQ, SQ and RQ, each [C]; NaN for classes without any segment, SQ 0 where nothing matched."""
        weight = self.tp + (self.fp + self.fn) / 2
        matched = np.where((self.tp == 0) & (weight > 0), 1, self.tp)
        return _ratio(self.iou, weight), _ratio(self.iou, matched), _ratio(self.tp, weight)


VOID_KEY = VOID << 16
_dense = np.ascontiguousarray


@numba.njit(cache=True, nogil=True)
def _segment_keys(
    semantic: NDArray[np.uint8], instance: NDArray[np.uint16], is_thing: NDArray[np.bool_], drop_loose: bool
) -> NDArray[np.uint32]:
    """Class << 16 | instance of every pixel, 0 as the instance of stuff and void; drop_loose makes void of thing pixels
    without an instance."""
    keys = np.empty(semantic.shape, np.uint32)
    for y in range(semantic.shape[0]):
        for x in range(semantic.shape[1]):
            value = semantic[y, x]
            key = np.uint32(value) << np.uint32(16)
            if is_thing[value]:
                if drop_loose and instance[y, x] == 0:
                    key = np.uint32(VOID_KEY)
                else:
                    key |= np.uint32(instance[y, x])
            keys[y, x] = key
    return keys


def _overlaps(true_keys: NDArray[np.uint32], keys: NDArray[np.uint32]) -> Counter[tuple[int, int]]:
    """Pixels of every pair (true segment, predicted segment) that meets."""
    pairs = (true_keys.astype(np.uint64) << np.uint64(32) | keys).ravel()
    # Masks are made of runs, so sorting one entry a run instead of one a pixel is some twenty times cheaper.
    starts = np.flatnonzero(np.concatenate(([True], pairs[1:] != pairs[:-1])))
    lengths = np.diff(np.append(starts, pairs.size))
    unique, place = np.unique(pairs[starts], return_inverse=True)
    pixels = np.bincount(place.ravel(), weights=lengths, minlength=len(unique)).astype(np.int64)
    return Counter({(int(p) >> 32, int(p) & 0xFFFFFFFF): int(n) for p, n in zip(unique, pixels, strict=True)})


def boundary_f1(prediction: NDArray[np.uint8], truth: NDArray[np.uint8], classes: int) -> NDArray[np.float64]:
    """[classes] F1 of each class's boundary in one frame, NaN where it has none in truth or prediction.

    A pixel is on its class's boundary when one of its four neighbours has another class; borders to unlabelled pixels
    and to the image's edge are none. It is matched when the other mask has a boundary pixel of the class within
    BOUNDARY_TOLERANCE of the image's diagonal.
    """
    truth, prediction = _dense(truth), _dense(prediction)
    true_edges, edges = _edges(truth, truth), _edges(prediction, truth)
    offsets = _disc(BOUNDARY_TOLERANCE * math.hypot(*truth.shape))
    found, near = _matched(edges, true_edges, offsets)
    present, recalled = _matched(true_edges, edges, offsets)
    # F1 = 2PR / (P + R) with P = near / found and R = recalled / present, without their divisions by zero
    scores = _ratio(2.0 * near * recalled, 1.0 * near * present + 1.0 * recalled * found)
    scores[(near == 0) | (recalled == 0)] = 0.0
    scores[(found == 0) & (present == 0)] = math.nan
    return scores[:classes]


@lru_cache(maxsize=8)
def _disc(radius: float) -> NDArray[np.int32]:
    """[K, 2] (dy, dx) of all pixels within radius, the nearest first, so that a search ends soon."""
    reach = int(radius)
    dy, dx = np.mgrid[-reach : reach + 1, -reach : reach + 1].reshape(2, -1)
    square = dy**2 + dx**2
    order = np.argsort(square, kind="stable")
    inside = order[square[order] <= radius**2]
    return np.stack((dy[inside], dx[inside]), axis=1).astype(np.int32)


@numba.njit(cache=True, nogil=True)
def _edges(mask: NDArray[np.uint8], truth: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The class of every boundary pixel of mask, 255 elsewhere; where truth is void there is nothing."""
    height, width = mask.shape
    edges = np.full((height, width), VOID, np.uint8)
    for y in range(height):
        for x in range(width):
            own = mask[y, x]
            if own == VOID or truth[y, x] == VOID:
                continue
            if (
                (x > 0 and mask[y, x - 1] != own and truth[y, x - 1] != VOID)
                or (x + 1 < width and mask[y, x + 1] != own and truth[y, x + 1] != VOID)
                or (y > 0 and mask[y - 1, x] != own and truth[y - 1, x] != VOID)
                or (y + 1 < height and mask[y + 1, x] != own and truth[y + 1, x] != VOID)
            ):
                edges[y, x] = own
    return edges


@numba.njit(cache=True, nogil=True)
def _matched(
    edges: NDArray[np.uint8], others: NDArray[np.uint8], offsets: NDArray[np.int32]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Per class: boundary pixels, and those of them with one of the same class in others at one of the offsets."""
    height, width = edges.shape
    total, near = np.zeros(256, np.int64), np.zeros(256, np.int64)
    for y in range(height):
        for x in range(width):
            own = edges[y, x]
            if own == VOID:
                continue
            total[own] += 1
            for k in range(len(offsets)):
                v, u = y + offsets[k, 0], x + offsets[k, 1]
                if 0 <= v < height and 0 <= u < width and others[v, u] == own:
                    near[own] += 1
                    break
    return total, near


class Scores:
    """Every metric of one evaluation, frame by frame. frames: number added."""

    def __init__(self, labels: LabelSet) -> None:
        self.labels = labels
        self.confusion = ConfusionMatrix(labels)
        self.quality = PanopticQuality(labels)
        self.frames = 0
        self._things_known = True
        self._boundary_sum: NDArray[np.float64] = np.zeros(len(labels))
        self._boundary_frames: NDArray[np.int64] = np.zeros(len(labels), np.int64)

    def add(self, semantic: NDArray[np.uint8], instance: NDArray[np.uint16], truth: Truth) -> float:
        """Add one frame's prediction; returns its own mIoU.

        A prediction of another size is brought to the labels' by nearest neighbour.
        """
        if semantic.shape != truth.semantic.shape:
            size_wh = truth.semantic.shape[::-1]
            semantic = cv2.resize(semantic, size_wh, interpolation=cv2.INTER_NEAREST)
            instance = cv2.resize(instance, size_wh, interpolation=cv2.INTER_NEAREST)
        frame = self.confusion.update(semantic, truth.semantic)
        true_instance = truth.instance
        if true_instance is None:
            self._things_known = False
            true_instance = np.zeros(truth.semantic.shape, np.uint16)
        self.quality.update(semantic, instance, truth.semantic, true_instance)
        boundary = boundary_f1(semantic, truth.semantic, len(self.labels))
        self._boundary_sum += np.nan_to_num(boundary)
        self._boundary_frames += ~np.isnan(boundary)
        self.frames += 1
        return mean_known(iou_per_class(frame))

    def boundary(self) -> NDArray[np.float64]:
        """[C] mean over the frames where the class has a boundary, NaN where it never has."""
        return _ratio(self._boundary_sum, self._boundary_frames)

    def summary(self) -> dict[str, Any]:
        """The metrics under their names in report.json; None where one is not defined, as PQ of all and of things where
        the truth tells no objects apart."""
        things = self.labels.is_thing[: len(self.labels)]
        pq, sq, rq = self.quality.per_class()
        if not self._things_known:
            pq, sq, rq = (np.where(things, np.nan, values) for values in (pq, sq, rq))
        whole = self._things_known or not things.any()
        iou, confusion = self.confusion.iou(), self.confusion
        values: dict[str, Any] = {
            "miou": mean_known(iou),
            "pixel_accuracy": confusion.pixel_accuracy(),
            "dice": mean_known(confusion.dice()),
            "pq": mean_known(pq) if whole else math.nan,
            "sq": mean_known(sq) if whole else math.nan,
            "rq": mean_known(rq) if whole else math.nan,
            "pq_things": mean_known(pq[things]),
            "pq_stuff": mean_known(pq[~things]),
            "drivable_iou": confusion.drivable_iou(),
            "boundary_f1": mean_known(self.boundary()),
        }
        known = {name: None if math.isnan(value) else value for name, value in values.items()}
        known["iou"] = self._by_class(iou)
        known["pq_class"] = self._by_class(pq)
        known["boundary_f1_class"] = self._by_class(self.boundary())
        known["confusion"] = confusion.counts.tolist()
        return known

    def _by_class(self, values: NDArray[np.float64]) -> dict[str, float | None]:
        by_name = zip(self.labels.names, values, strict=True)
        return {name: None if math.isnan(value) else float(value) for name, value in by_name}
