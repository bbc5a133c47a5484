"""The ways of cleaning a mask up that tools/measure_clean_up.py measures, on small cases."""

import numpy as np
from measure_clean_up import REACH, STEP, dense_crf, majority

SIZE = 40


def test_majority_takes_islands_and_leaves_straight_borders() -> None:
    mask = np.zeros((SIZE, SIZE), np.uint8)
    mask[:, 20:] = 1
    dirty = mask.copy()
    dirty[10, 5] = dirty[30:32, 8] = 1
    cleaned = majority(dirty, 3, 5)
    np.testing.assert_array_equal(cleaned[:, 3:-3], mask[:, 3:-3])


def test_a_crf_moves_a_border_to_where_the_colours_change() -> None:
    """The network's border is three pixels off and unsure there; without pairs it stays."""
    rgb = np.zeros((SIZE, SIZE, 3), np.uint8)
    rgb[:, 20:] = 200
    columns = np.arange(SIZE, dtype=np.float32) - 22.5
    logits = np.stack([-columns, columns]).repeat(SIZE, 0).reshape(2, SIZE, SIZE) * 0.1
    moved, kept = dense_crf(logits, rgb, 10.0), dense_crf(logits, rgb, 0.0)
    inner = slice(REACH * STEP, -REACH * STEP)
    assert (kept[inner, 20:23] == 0).all() and (moved[inner, 20:23] == 1).all()
    assert (moved[inner, :20] == 0).all() and (moved[inner, 23:] == 1).all()
