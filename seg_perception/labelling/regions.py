"""A mask in regions: what is connected and of one class, or one thing, without what is too small to edit."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from seg_perception.datasets.nearest import from_nearest
from seg_perception.labels import VOID

_THINNEST_PX = 1.0
"""A region whose every pixel is as near as this to another region is one or two pixels thin: a sliver."""


@dataclass(frozen=True)
class Regions:
    """number: int32 [H, W], which region a pixel is of; keys: of each region class | instance << 8, VOID where nothing is
    labelled. Regions are connected by edges."""

    number: NDArray[np.int32]
    keys: tuple[int, ...]


def regions_of(
    semantic: NDArray[np.uint8], instance: NDArray[np.uint16], is_thing: NDArray[np.bool_], least_px: int
) -> Regions:
    """semantic: uint8 [H, W], 255 void; instance: uint16 [H, W], which counts on things; is_thing: bool [256]. Regions of less
    than least_px pixels, and slivers, become part of what is nearest; where nothing is left they stay."""
    keys = semantic.astype(np.int32) | np.where(is_thing[semantic], instance.astype(np.int32) << 8, 0)
    regions = _connected(keys)
    if least_px <= 1:
        return regions
    number = regions.number
    small = (np.bincount(number.ravel(), minlength=len(regions.keys)) < least_px) | (_depth(number) <= _THINNEST_PX)
    if not small.any() or small.all():
        return regions
    return _connected(from_nearest(keys, ~small[number])[0])


def _connected(keys: NDArray[np.int32]) -> Regions:
    number = np.zeros(keys.shape, np.int32)
    found: list[int] = []
    for key in np.unique(keys).tolist():
        count, parts = cv2.connectedComponents((keys == key).astype(np.uint8), connectivity=4, ltype=cv2.CV_32S)
        inside = parts > 0
        number[inside] = parts[inside] - 1 + len(found)
        found += [key] * (count - 1)
    return Regions(number, tuple(found))


def _depth(number: NDArray[np.int32]) -> NDArray[np.float64]:
    """For each region how far its innermost pixel is from the middle of one outside of it; the image's edge is no end."""
    border = np.zeros(number.shape, np.uint8)
    for axis in (0, 1):
        differs = np.diff(number, axis=axis) != 0
        first, second = [slice(None)] * 2, [slice(None)] * 2
        first[axis], second[axis] = slice(None, -1), slice(1, None)
        border[tuple(first)] |= differs
        border[tuple(second)] |= differs
    inside = cv2.distanceTransform(1 - border, cv2.DIST_L2, 3) + 1.0
    depth = np.zeros(int(number.max()) + 1)
    np.maximum.at(depth, number.ravel(), inside.ravel())
    return depth


def is_void(key: int) -> bool:
    """Whether a region is of no class."""
    return key & 255 == VOID
