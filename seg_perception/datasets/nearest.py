"""Pixels that say nothing, filled from those that do."""

from __future__ import annotations

from typing import Any, TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

Value = TypeVar("Value", bound="np.integer[Any]")


def from_nearest(values: NDArray[Value], known: NDArray[np.bool_]) -> tuple[NDArray[Value], NDArray[np.float32]]:
    """Values [H, W], where they are not known that of a nearest pixel that is; and how far each pixel is from it, px, nearly.
    Some pixel must be known."""
    distance, place = cv2.distanceTransformWithLabels(
        (~known).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_5, labelType=cv2.DIST_LABEL_PIXEL
    )
    by_place = np.zeros(int(place.max()) + 1, values.dtype)
    by_place[place[known]] = values[known]
    return by_place[place], np.asarray(distance, np.float32)
