"""Outputs of a network for the decode, drawn by hand or at random: for the CPU's steps and for the GPU's."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st

from seg_perception.results import NetworkOutput

FAR, WHOLE_CELLS, BEYOND_REACH = "far", "whole cells", "beyond reach"


def network_output(logits, heatmap=None, offset=None):
    """logits [C, h, w] (h, w or both may be left out: 1), heatmap [h, w], offset [2, h, w]; none: no object."""
    logits = np.atleast_3d(logits)
    _, h, w = logits.shape
    heatmap = np.zeros((h, w)) if heatmap is None else heatmap
    offset = np.zeros((2, h, w)) if offset is None else offset
    arrays = (np.asarray(a, np.float32)[None] for a in (logits, np.asarray(heatmap)[None], offset))
    return NetworkOutput(*(np.ascontiguousarray(a) for a in arrays))


@st.composite
def network_outputs(draw, classes, widest, offsets):
    """An output of a number of classes, and the size of its mask, up to 40 high and widest wide. classes: a strategy;
    offsets: kinds to choose from."""
    h, w = draw(st.integers(1, 9)), draw(st.integers(1, 9))
    size_hw = draw(st.integers(1, 40)), draw(st.integers(1, widest))
    shape = (draw(classes), h, w)
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    logits = {
        "noise": lambda: rng.normal(size=shape) * 5,
        "few values": lambda: rng.integers(0, 3, shape),
        "constant": lambda: np.full(shape, rng.normal()),
        "huge": lambda: rng.normal(size=shape) * 1e30,
        "nearly tied": lambda: 1 + rng.integers(0, 3, shape) * 2.0**-23,
        "within float32's error of a mix": lambda: 1 + rng.normal(size=shape) * 2.0**-21,
    }
    offset = {
        FAR: lambda: rng.normal(size=(2, h, w)) * 30,
        WHOLE_CELLS: lambda: rng.integers(-2, 3, (2, h, w)) * 8,
        BEYOND_REACH: lambda: rng.normal(size=(2, h, w)) * 1e9,
    }
    kinds = draw(st.sampled_from(sorted(logits))), draw(st.sampled_from(offsets))
    return network_output(logits[kinds[0]](), rng.integers(0, 5, (h, w)) / 4, offset[kinds[1]]()), size_hw
