"""How well tracks and things fit, by the overlap of masks, by place, by size and by class."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from seg_perception.camera_model import Floats
from seg_perception.tracking.kernels import score_overlaps

_OTHER_CLASS = 0.34
"""What is left of a score where a track was never called so: a mask that is the same but for its rim is still taken."""
_KNOWN_CLASS = 0.15
"""Share of a track's votes from which on it may be what it was called so."""
_CLASS_DOUBT = 0.3
"""Votes that a track gets beforehand for whatever a thing may be called: one frame's name is no certainty."""
_LONG_UNSEEN = 0.3
"""Share of a score that a track loses until it is forgotten: who was just seen is likelier to be seen again."""
_LARGEST_RATIO = 1.8
"""Between the sides of a box and those of the track that it may be, where they don't overlap."""
_LONGEST_GAP = 1.0
"""In sizes, of what lies between the two parts of a thing."""

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]


def overlap_scores(counts: Ints, boxes: Floats, areas: Ints) -> tuple[Floats, Floats]:
    """How well masks fit, both [T, K] in [0, 1]: see kernels.score_overlaps."""
    whole, part = np.empty((2, len(boxes), len(areas)))
    score_overlaps(np.ascontiguousarray(counts), boxes, np.ascontiguousarray(areas), whole, part)
    return whole, part


def place_scores(predicted: Floats, reach_px: Floats, boxes: Floats, partly: Bools) -> Floats:
    """How near things are to where tracks should be, [T, K] in [0, 1], by boxes [T, 4] and [K, 4]; reach_px: [T] how far a
    track may be off; partly: [K] whether a thing is hidden in part. 0 where sizes don't fit.

    A whole thing is as far off as the middles of the boxes; a part as far as it sticks out of the track's box.
    """
    size, seen = predicted[:, 2:] - predicted[:, :2], boxes[:, 2:] - boxes[:, :2]
    middle, at = (predicted[:, 2:] + predicted[:, :2]) / 2, (boxes[:, 2:] + boxes[:, :2]) / 2
    off = np.abs(middle[:, None] - at[None]).max(axis=2)
    beside = np.concatenate(
        (predicted[:, None, :2] - boxes[None, :, :2], boxes[None, :, 2:] - predicted[:, None, 2:]), 2
    )
    off = np.where(partly, np.minimum(off, np.maximum(beside.max(axis=2), 0)), off)
    off = off / np.maximum(reach_px, 1.0)[:, None]
    ratio = np.log(np.maximum(seen, 1.0)[None] / np.maximum(size, 1.0)[:, None])
    limit = np.log(_LARGEST_RATIO)
    fits = (ratio.max(axis=2) < limit) & (partly | (ratio.min(axis=2) > -limit))
    scores: Floats = np.where(fits & (off < 1), 1 - off, 0.0)
    return scores


def rest_scores(last_boxes: Floats, is_rest: Bools, whole: Floats, boxes: Floats, is_part: Bools) -> Floats:
    """[T, K] in [0, 1]: how near what is left of a thing is to what was left of a track: masks of what is nearly hidden
    change from frame to frame, and it comes out on the other side of a pole while it still goes in. Of what is no part, how
    much of the smaller box lies in the other.

    last_boxes: [T, 4] of what was seen of the tracks last; is_rest: [T] whether that was a part of them; whole: [T] px, how
    large they are (square root of the box's area); boxes: [K, 4]; is_part: [T, K] whether a thing can be a part of a track.
    """
    low = np.maximum(last_boxes[:, None, :2], boxes[None, :, :2])
    high = np.minimum(last_boxes[:, None, 2:], boxes[None, :, 2:])
    gap = np.maximum(low - high, 0).max(axis=2)
    mine, theirs = ((b[:, 2:] - b[:, :2]).prod(axis=1) for b in (last_boxes, boxes))
    inside = np.maximum(high - low, 0).prod(axis=2) / np.minimum(mine[:, None], theirs[None])
    scores: Floats = np.where(is_rest[:, None] & is_part, 1 - gap / (_LONGEST_GAP * whole)[:, None], inside)
    return np.maximum(scores, 0.0)


def class_factors(votes: Floats, classes: Ints) -> tuple[Floats, Bools]:
    """[T, K] in [_OTHER_CLASS, 1]: how often tracks were called what things are called now; and whether that is often enough
    for a part of one to be the other. votes: [T, C]."""
    total = votes.sum(axis=1, keepdims=True)
    named = votes[:, classes]
    share = (named + _CLASS_DOUBT) / (total + _CLASS_DOUBT)
    return _OTHER_CLASS + (1 - _OTHER_CLASS) * share, named > _KNOWN_CLASS * total


def size_factors(whole_areas: Floats, areas: Ints) -> Floats:
    """[T, K] in [0, 1]: how alike the areas of tracks as they were seen best, [T] px, and of things [K] are."""
    mine, theirs = whole_areas[:, None], areas[None].astype(np.float64)
    factors: Floats = np.sqrt(np.minimum(mine, theirs) / np.maximum(np.maximum(mine, theirs), 1.0))
    return factors


def recency_factors(unseen: Floats) -> Floats:
    """[T, 1] from how much of the time after which tracks are forgotten they have not been seen, [T] in [0, 1]."""
    factors: Floats = 1 - _LONG_UNSEEN * np.clip(unseen, 0, 1)[:, None]
    return factors
