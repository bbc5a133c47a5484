"""Compiled loops of tracking, against plain definitions that try everything."""

from itertools import permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from seg_perception.tracking.kernels import choose_pairs, find_hidden

BESIDE_PX, RIM = 3, 0.15


def boxes_of(instance, ids):
    """left, top, right, bottom of each."""
    found = [np.nonzero(instance == k) for k in ids]
    return np.array([(x.min(), y.min(), x.max() + 1, y.max() + 1) for y, x in found], np.int64)


def hidden_by_definition(instance, k, bottoms):
    """Each side of thing k, looked at from that side: is what touches a third of its outermost pixels a nearer thing?"""
    answers = []
    for turns in (0, 1, 2, 3):  # left, top, right, bottom become the left side
        seen = np.rot90(instance, turns)
        rows, columns = np.nonzero(seen == k)
        first, reach = columns.min(), max(1, int(RIM * (columns.max() + 1 - columns.min())))
        touched = []
        for row in np.unique(rows):
            outermost = columns[rows == row].min()
            if outermost < first + reach:
                beside = seen[row, max(0, outermost - BESIDE_PX) : outermost]
                touched.append(any(n not in (0, k) and bottoms[n] > bottoms[k] for n in beside.tolist()))
        answers.append(3 * sum(touched) > len(touched))
    return answers


@given(seed=st.integers(0, 10**6), count=st.integers(1, 5), side=st.tuples(st.integers(4, 24), st.integers(4, 24)))
def test_a_side_is_hidden_where_a_nearer_thing_begins(seed, count, side):
    rng = np.random.default_rng(seed)
    instance = np.zeros(side, np.uint16)
    for k in range(1, count + 1):
        y, x = rng.integers(0, side[0]), rng.integers(0, side[1])
        instance[y : y + rng.integers(1, 12), x : x + rng.integers(1, 12)] = k
    ids = np.unique(instance[instance > 0]).astype(np.int64)
    boxes = boxes_of(instance, ids)
    bottoms = np.zeros(count + 1, np.int64)
    bottoms[ids] = boxes[:, 3]
    hidden = np.ones((len(ids), 4), np.bool_)
    find_hidden(instance, ids, boxes, bottoms, hidden)
    assert hidden.tolist() == [hidden_by_definition(instance, k, bottoms) for k in ids.tolist()]


@given(
    seed=st.integers(0, 10**6), tracks=st.integers(0, 4), things=st.integers(0, 4), least=st.sampled_from([0.2, 0.6])
)
def test_pairs_score_most_together_and_what_is_taken_stays(seed, tracks, things, least):
    rng = np.random.default_rng(seed)
    scores = rng.uniform(0, 1, (tracks, things)) * (rng.uniform(0, 1, (tracks, things)) < 0.7)
    before = np.full(tracks, -1, np.int64)
    if tracks and things and seed % 2:
        before[rng.integers(tracks)] = rng.integers(things)
    chosen = before.copy()
    choose_pairs(chosen, scores, least)
    assert (chosen[before >= 0] == before[before >= 0]).all()
    taken = chosen[chosen >= 0].tolist()
    assert len(set(taken)) == len(taken)
    new = np.flatnonzero((chosen >= 0) & (before < 0))
    assert (scores[new, chosen[new]] >= least).all()
    lost = np.flatnonzero(before < 0)
    free = [k for k in range(things) if k not in before.tolist()] + [-1] * len(lost)
    worth = {(t, k): scores[t, k] if k >= 0 and scores[t, k] >= least else 0.0 for t in lost.tolist() for k in free}
    best = max(sum(worth[t, k] for t, k in zip(lost.tolist(), order)) for order in permutations(free, len(lost)))
    assert scores[new, chosen[new]].sum() == pytest.approx(best)
