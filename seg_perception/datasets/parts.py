"""Parts of an image: a thing takes a few of its pixels, and an image has hundreds of them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Part = tuple[tuple[slice, slice], NDArray[np.bool_]]
"""Rows and columns of an image, and which of their pixels are meant: bool [h, w]."""


def trimmed(mask: NDArray[np.bool_], top: int = 0, left: int = 0) -> Part:
    """The rows and columns that hold all of a mask [h, w], whose corner lies at top, left, and what of them is meant."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not len(rows):
        return (slice(0), slice(0)), np.zeros((0, 0), np.bool_)
    (first, last), (start, end) = (rows[0], rows[-1] + 1), (columns[0], columns[-1] + 1)
    place = slice(top + int(first), top + int(last)), slice(left + int(start), left + int(end))
    return place, np.ascontiguousarray(mask[first:last, start:end])
