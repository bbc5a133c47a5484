"""Which track is which thing of a frame: in stages, the surest first, each of what the ones before left over."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from seg_perception.camera_model import Floats
from seg_perception.tracking import association, sides
from seg_perception.tracking.association import Bools, Ints
from seg_perception.tracking.kernels import SIDE, choose_pairs, count_overlaps
from seg_perception.tracking.rows import Rows
from seg_perception.tracking.settings import TrackingSettings
from seg_perception.tracking.things import Things

_NEW_FACTOR = 0.5
"""What a track that is not confirmed counts for beside others: the thing may be one that was hidden."""
_SURE_OVERLAP = 0.45
"""What overlaps as a whole by that share is no part of another."""
_LEAST_OVERLAP, _LEAST_REST, _LEAST_NEARNESS = 0.2, 0.05, 0.05
_REACH, _SIGMAS, _MOST_REACH = 0.4, 2.0, 1.6
"""How far a track may be from where it should be: so many sizes, so many standard deviations more, and sizes at most."""
_PART = 0.6
"""Share of a thing's area below which what is seen of it is a part."""
_REST_S = 0.5
"""For so long what was left of a thing is told by where it is."""
_WITHIN, _GROWN = 0.6, 1.25
"""Share of a track's mask in a thing from which on it lies in it; how much larger than a track two things as one are."""


def associate(
    tracks: Rows, instance: NDArray[np.uint16], things: Things, stamp_ns: int, settings: TrackingSettings
) -> tuple[Ints, Floats, Floats, Bools]:
    """[T] the thing of each track, which was moved to where it should be, -1 where it has none; the shares of its mask
    that nearer things cover, and where neither those nor itself are seen; and whether it is merged with another thing."""
    chosen = np.full(len(tracks), -1, np.int64)
    if not len(tracks) or not len(things):
        return chosen, np.zeros(len(tracks)), np.zeros(len(tracks)), np.zeros(len(tracks), np.bool_)
    edges, seen = np.ascontiguousarray(tracks["edges"]), np.ascontiguousarray(tracks["last_box"])
    counts = _overlaps(instance, things.ids, tracks["shape"], edges)
    unseen_s = (stamp_ns - tracks["last_ns"]) / 1e9
    factors, known = association.class_factors(tracks["votes"], things.classes)
    factors = factors * association.recency_factors(unseen_s / settings.memory_s)
    factors[tracks["seen"] < settings.birth_frames] *= _NEW_FACTOR
    whole, part = association.overlap_scores(counts, edges, things.areas)
    # A thing that was half hidden a frame ago is so now: then what was seen of it tells more than the whole.
    of_seen = _overlaps(instance, things.ids, tracks["last_shape"], seen)
    whole = np.maximum(whole, association.overlap_scores(of_seen, seen, things.areas)[0])
    choose_pairs(chosen, whole * factors, _SURE_OVERLAP)
    if (chosen < 0).any() and len(without(len(things), chosen)):
        choose_pairs(chosen, np.where(known, part, whole) * factors, _LEAST_OVERLAP)
    if (chosen < 0).any() and len(free := without(len(things), chosen)):
        lost = np.flatnonzero(chosen < 0)
        _choose_by_place(
            chosen, tracks[lost], lost, things.only(free), free, factors[lost[:, None], free], unseen_s[lost]
        )
    merged = _merged(counts, chosen, tracks, things.areas)
    return chosen, *_covered(counts, chosen, things.boxes[:, 3], tracks["points"]), merged


def without(count: int, taken: Ints) -> Ints:
    """The numbers below count that are not taken; -1 is none."""
    is_free = np.ones(count + 1, np.bool_)
    is_free[taken] = False
    return is_free[:count].nonzero()[0]


def _choose_by_place(
    chosen: Ints, tracks: Rows, lost: Ints, things: Things, free: Ints, factors: Floats, unseen_s: Floats
) -> None:
    """Choose, as choose_pairs does, of tracks that are lost and things that are free, [L] and [F] numbers of rows, by where
    they are: those of one size near where they should be, then slivers of what is nearly hidden. factors: [L, F]."""
    boxes = things.boxes.astype(np.float64)
    same = tracks["votes"].argmax(axis=1)[:, None] == things.classes[None]
    whole_px = np.sqrt(tracks["whole_wh"].prod(axis=1))
    spread_px = np.sqrt(tracks["spread"][:, :, sides.PP].mean(axis=1))
    reach_px = np.minimum(_REACH * whole_px + _SIGMAS * spread_px, _MOST_REACH * whole_px)
    near = association.place_scores(tracks["edges"], reach_px, boxes, things.partly) * same
    near *= association.size_factors(tracks["whole_area"], things.areas)
    rest = _rest_scores(tracks, things, boxes, whole_px, unseen_s) * factors * same
    mine = np.full(len(lost), -1, np.int64)
    choose_pairs(mine, near, _LEAST_NEARNESS)
    choose_pairs(mine, rest, _LEAST_REST)
    chosen[lost[mine >= 0]] = free[mine[mine >= 0]]


def _rest_scores(tracks: Rows, things: Things, boxes: Floats, whole_px: Floats, unseen_s: Floats) -> Floats:
    is_rest: Bools = (tracks["last_hidden"] | (tracks["area"] < _PART * tracks["whole_area"])) & (unseen_s < _REST_S)
    is_part: Bools = np.asarray(things.hidden.any(axis=1))[None] | (
        things.areas[None] < _PART * tracks["whole_area"][:, None]
    )
    return association.rest_scores(tracks["last_box"], is_rest, whole_px, boxes, is_part)


def _overlaps(instance: NDArray[np.uint16], ids: Ints, shapes: NDArray[np.uint8], boxes: Floats) -> Ints:
    """[T, K + 1] points of each shape in no thing and in each of ids."""
    counts = np.empty((len(boxes), int(ids.max()) + 1), np.int64)
    count_overlaps(instance, np.ascontiguousarray(shapes), boxes, counts)
    return np.concatenate((counts[:, :1], counts[:, ids]), axis=1)


def _covered(counts: Ints, chosen: Ints, bottoms: Ints, points: Ints) -> tuple[Floats, Floats]:
    """[T] the share of each track's mask where a thing is seen that ends lower, so is nearer, than the track's own, `chosen`
    [T]; and the share where neither is. counts: [T, K + 1] points of its `points` [T] in each thing, bottoms: [K]."""
    own = np.where(chosen >= 0, bottoms[chosen], np.iinfo(np.int64).max)
    nearer = bottoms[None] > own[:, None]
    whole = np.maximum(points, 1)
    covered: Floats = (counts[:, 1:] * nearer).sum(axis=1) / whole
    itself: Floats = counts[np.arange(len(chosen)), chosen + 1] / whole
    return covered, 1 - covered - np.where(chosen >= 0, itself, 0.0)


def _merged(counts: Ints, chosen: Ints, tracks: Rows, areas: Ints) -> Bools:
    """[T] whether the thing of a track, `chosen` [T], is far larger than the track should be, and most of another track
    lies in it too. counts: [T, K + 1] points of each track in each thing, areas: [K]."""
    points = np.maximum(tracks["points"], 1)
    mine = points * (tracks["edges"][:, 2:] - tracks["edges"][:, :2]).prod(axis=1) / SIDE**2
    merged: Bools = (chosen >= 0) & (areas[chosen] > _GROWN * mine)
    if merged.any():
        inside = counts[:, 1:] >= _WITHIN * points[:, None]
        merged &= inside.sum(axis=0)[chosen] > 1
    return merged
