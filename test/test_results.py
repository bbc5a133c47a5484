"""What passes between the steps cannot be built from arrays of another kind: the error names the field, what came and what
was expected."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest

from seg_perception.results import Frame, FreeSpace, Grid, NetworkOutput, Outline, Panoptic, Truth

BYTES, WORDS, FLOATS, DOUBLES = np.uint8, np.uint16, np.float32, np.float64


def of(kind: type[np.generic], *shape: int) -> np.ndarray[Any, Any]:
    return np.zeros(shape, kind)


@pytest.mark.parametrize(
    ("made", "words"),
    [
        (lambda: Frame(of(BYTES, 4, 6)), "pixels is uint8 [4, 6], expected uint8 [any, any, 3]"),
        (lambda: Frame(of(BYTES, 4, 6, 4)), "pixels is uint8 [4, 6, 4]"),
        (lambda: Frame(of(FLOATS, 4, 6, 3)), "pixels is float32"),
        (
            lambda: NetworkOutput(of(DOUBLES, 1, 3, 4, 6), of(FLOATS, 1, 1, 4, 6), of(FLOATS, 1, 2, 4, 6)),
            "semantic_logits is float64",
        ),
        (
            lambda: NetworkOutput(of(FLOATS, 1, 3, 4, 6), of(FLOATS, 2, 1, 4, 6), of(FLOATS, 1, 2, 4, 6)),
            "center_heatmap is float32 [2, 1, 4, 6], expected float32 [1, 1, 4, 6]",
        ),
        (
            lambda: NetworkOutput(of(FLOATS, 1, 3, 4, 6), of(FLOATS, 1, 1, 4, 6), of(FLOATS, 1, 2, 4, 5)),
            "center_offset is float32 [1, 2, 4, 5]",
        ),
        (lambda: Panoptic(of(WORDS, 4, 6), of(WORDS, 4, 6), of(BYTES, 4, 6), ()), "semantic is uint16"),
        (lambda: Panoptic(of(BYTES, 4, 6), of(BYTES, 4, 6), of(BYTES, 4, 6), ()), "instance is uint8"),
        (lambda: Panoptic(of(BYTES, 4, 6), of(WORDS, 4, 6), of(BYTES, 6, 4), ()), "confidence is uint8 [6, 4]"),
        (lambda: Outline(of(FLOATS, 5, 3)), "points is float32 [5, 3], expected float32 [any, 2]"),
        (lambda: Outline(of(DOUBLES, 5, 2)), "points is float64"),
        (lambda: Grid(of(BYTES, 5, 2), 0.1, (0.0, 0.0)), "cells is uint8"),
        (lambda: Grid(of(np.int8, 5), 0.1, (0.0, 0.0)), "cells is int8 [5]"),
        (lambda: FreeSpace(of(DOUBLES, 5), of(FLOATS, 5), 0.0, 0.1, 0.01, 40.0), "ranges_m is float64"),
        (lambda: FreeSpace(of(FLOATS, 5), of(FLOATS, 4), 0.0, 0.1, 0.01, 40.0), "seen_m is float32 [4]"),
        (lambda: Truth(of(WORDS, 4, 6)), "semantic is uint16"),
        (lambda: Truth(of(BYTES, 4, 6), of(WORDS, 6, 4)), "instance is uint16 [6, 4], expected uint16 [4, 6]"),
    ],
)
def test_arrays_of_another_kind_are_refused(made: Any, words: str) -> None:
    with pytest.raises(ValueError, match="^" + re.escape(words)):
        made()
