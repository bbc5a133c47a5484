"""Compiled loops over the sides of boxes: where they should be, and what is learnt from where they are seen.

Each side has a filter of constant velocity of its own, whose speed changes by white noise as motion.py tells. Boxes are
float64 [N, 4] = left, top, right, bottom in px, the last two exclusive; rates [N, 4] px/s; spread [N, 4, 3], the covariance of
each side: of position, of both and of velocity.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from seg_perception.camera_model import Floats
from seg_perception.compiled import compiled

PP, PV, VV = range(3)
"""Columns of a side's covariance: of position, of both, of velocity."""
EDGE_PX, EDGE_SHARE = 1.0, 0.02
"""Standard deviation of a box's edge: so many px, and this share of the box's size."""
_HIDDEN_FACTOR = 2.0
"""How much less is known of an edge that is hidden by another thing, and so taken to move as the opposite one does."""
_COVERED = 0.08
"""Share of a track's mask that nearer things cover from which on edges that come in are theirs rather than its own."""
_MISSING = 0.4
"""Share of a track's mask that is not seen though nothing nearer is there, from which on it is not where it was thought."""
_EDGE_CHANGE_PX, _EDGE_CHANGE_SHARE = 60.0, 3.0
"""How fast the speed of an edge changes, in px/s and in sizes per s, within a second."""
_OUTLIER = 3.0
"""Standard deviations from which on a measured edge is not believed: masks of networks merge, split and have stray pixels."""
_MOST_GROWTH = 0.5
"""In sizes per s, of a box that is not seen."""
_MOST_OFF = 5
"""Frames in a row after which a side is where it is seen, far off or not."""
_ENTERED = 4
"""Frames from which on no jump of a side is taken for the speed of a thing that the image still cuts off on the other."""

Bools = NDArray[np.bool_]


@compiled
def predict_coordinate(
    state: tuple[float, float], covariance: Floats, dt_s: float, noise: tuple[float, float, float]
) -> tuple[float, float]:
    """Position and velocity dt_s later; covariance [3] in place, to which noise is added."""
    position, velocity = state
    covariance[PP] += (2 * covariance[PV] + covariance[VV] * dt_s) * dt_s + noise[PP]
    covariance[PV] += covariance[VV] * dt_s + noise[PV]
    covariance[VV] += noise[VV]
    return position + velocity * dt_s, velocity


@compiled
def update_coordinate(
    state: tuple[float, float], covariance: Floats, measured: float, variance: float
) -> tuple[float, float]:
    """Position and velocity after measuring the position with this variance (inf: not measured); covariance [3] in place."""
    position, velocity = state
    total = covariance[PP] + variance
    gain, gain_velocity = covariance[PP] / total, covariance[PV] / total
    off = measured - position
    covariance[VV] -= gain_velocity * covariance[PV]
    covariance[PP] *= 1 - gain
    covariance[PV] *= 1 - gain
    return position + gain * off, velocity + gain_velocity * off


@compiled
def predict_sides(edges: Floats, rates: Floats, spread: Floats, dt_s: float, growth: tuple[float, float]) -> None:
    """Move boxes ahead by dt_s, in place. growth: dt_s^3 / 3 and dt_s^2 / 2."""
    for t in range(len(edges)):
        edge = edges[t]
        change = _EDGE_CHANGE_PX + _EDGE_CHANGE_SHARE * _size(edge)
        q = change * change
        noise = (q * growth[0], q * growth[1], q * dt_s)
        for side in range(4):
            edge[side], _ = predict_coordinate((edge[side], rates[t, side]), spread[t, side], dt_s, noise)
        _keep_a_pixel(edge)


@compiled
def move_as_one(edges: Floats, rates: Floats, spread: Floats) -> None:
    """Speeds of things that are not seen, in place: both sides move at the speed that is known best, and a box grows by no more
    than _MOST_GROWTH of itself in a second. What made it narrower was what it vanished behind."""
    for t in range(len(edges)):
        for side in range(2):
            low, high = rates[t, side], rates[t, side + 2]
            weight = spread[t, side + 2, VV] / (spread[t, side, VV] + spread[t, side + 2, VV])
            both = low * weight + high * (1 - weight)
            growth = min(max(high - low, 0.0), _MOST_GROWTH * (edges[t, side + 2] - edges[t, side]))
            middle = both if high < low else (low + high) / 2
            rates[t, side], rates[t, side + 2] = middle - growth / 2, middle + growth / 2


@compiled
def learn_sides(
    tracks: tuple[Floats, Floats, Floats, NDArray[np.int64]],
    boxes: NDArray[np.int64],
    hidden: Bools,
    cut: Bools,
    seen: NDArray[np.int64],
    shares: tuple[Floats, Floats],
    merged: Bools,
) -> None:
    """Take over where boxes [N, 4] were seen, in place. tracks: edges, rates, spread and, [N, 4], for how many frames in a row
    each side was far off; hidden, cut: [N, 4] whether a nearer thing, or the image's border, is at a side; seen: [N] frames
    before this one; shares: [N] of the masks, where nearer things are, and where neither those nor themselves are; merged: [N]
    whether other things' masks are part of theirs."""
    for t in range(len(boxes)):
        edges, rates, spread, far = tracks[0][t], tracks[1][t], tracks[2][t], tracks[3][t]
        box = boxes[t].astype(np.float64)
        sigma, own_sigma = EDGE_PX + EDGE_SHARE * _size(box), EDGE_PX + EDGE_SHARE * _size(edges)
        off, is_hidden, measured = np.empty(4), np.empty(4, np.bool_), np.empty(4)
        slips, there = shares[0][t] > _COVERED, shares[1][t] < _MISSING
        for side in range(4):
            gap = box[side] - edges[side]
            off[side] = gap / np.sqrt(spread[side, PP] + sigma * sigma)
            # A hidden edge lies at least as far out as what is seen, and moves as the other side does.
            covered = (hidden[t, side] or (slips and abs(gap) > sigma)) and there
            inward = off[side] > 0 if side < 2 else off[side] < 0
            # Merged with another, it may go on for many frames: what is far off by its own size, not by what is known.
            far_off = merged[t] and abs(gap) > _OUTLIER * own_sigma
            is_hidden[side] = ((covered or cut[t, side]) and inward) or far_off
            opposite = (side + 2) % 4
            measured[side] = edges[side] + (box[opposite] - edges[opposite]) if is_hidden[side] else box[side]
        is_off = ~is_hidden & (np.abs(off) > _OUTLIER)
        moved = measured - edges
        for side in range(4):
            opposite = (side + 2) % 4
            deviation = sigma * (_HIDDEN_FACTOR if is_hidden[side] else max(1.0, abs(off[side]) / _OUTLIER))
            # What enters the image grows at a speed that is not known in its first frames; both sides far off by as much
            # the same way are a thing, or a camera, that jerks.
            enters = seen[t] < _ENTERED and cut[t, opposite]
            jerks = is_off[opposite] and abs(moved[side] - moved[opposite]) < _OUTLIER * own_sigma
            unsure = is_off[side] and not enters and not jerks
            if unsure or (is_hidden[side] and (is_hidden[opposite] or is_off[opposite])):
                deviation = np.inf
            edges[side], rates[side] = update_coordinate(
                (edges[side], rates[side]), spread[side], measured[side], deviation * deviation
            )
        for low in range(2):
            if is_hidden[low] and is_hidden[low + 2]:  # it neither grows nor shrinks
                rates[low] = rates[low + 2] = (rates[low] + rates[low + 2]) / 2
        _begin_anew(edges, rates, spread, far, is_off, measured)
        _keep_a_pixel(edges)


@compiled
def _begin_anew(
    edges: Floats, rates: Floats, spread: Floats, far: NDArray[np.int64], is_off: Bools, measured: Floats
) -> None:
    """A side that is far off for _MOST_OFF frames in a row is where it is seen, and moves as the opposite one does."""
    rates_before, spread_before = rates.copy(), spread.copy()
    for side in range(4):
        far[side] = far[side] + 1 if is_off[side] else 0
        if far[side] >= _MOST_OFF:
            edges[side], far[side] = measured[side], 0
            rates[side], spread[side] = rates_before[(side + 2) % 4], spread_before[(side + 2) % 4]


@compiled
def _keep_a_pixel(edges: Floats) -> None:
    """Sides are filtered apart: a box [4] is a pixel wide and high at least, in place."""
    for low in range(2):
        middle = (edges[low] + edges[low + 2]) / 2
        edges[low], edges[low + 2] = min(edges[low], middle - 0.5), max(edges[low + 2], middle + 0.5)


@compiled
def _size(box: Floats) -> float:
    """Mean side of a box [4], px."""
    return float(np.sqrt(max((box[2] - box[0]) * (box[3] - box[1]), 1.0)))
