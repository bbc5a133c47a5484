"""A drive whose pictures show the own bonnet."""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.typing import NDArray

HW = (180, 320)
COUNT = 24


def bonnet() -> NDArray[np.bool_]:
    """A round bonnet below the road, not over the whole width."""
    v, u = np.mgrid[: HW[0], : HW[1]]
    return ((u - 170) / 140) ** 2 + ((v - 200) / 50) ** 2 < 1


def drive(count: int = COUNT, own: bool = True, moves: bool = True) -> list[NDArray[np.uint8]]:
    """A street of patches that comes nearer, sky over it, and the bonnet with what is mirrored in it; exposure changes."""
    rng = np.random.default_rng(7)
    street = cv2.resize(rng.integers(40, 200, (60, 40, 3), np.uint8), (640, 1800), interpolation=cv2.INTER_NEAREST)
    images = []
    for number in range(count):
        way = 23 * number * moves
        image = street[way : way + HW[0], 160 : 160 + HW[1]].copy()
        image[:50] = (150, 180, 220)
        if own:
            mirrored = cv2.GaussianBlur(street[way + 40 : way + 40 + HW[0], 100 : 100 + HW[1]], (0, 0), 12)
            image[bonnet()] = (mirrored[bonnet()] * 0.2 + 8).astype(np.uint8)
        light = 1 + 0.15 * math.sin(number) * moves
        images.append(np.clip(image * light + rng.normal(0, 1, image.shape), 0, 255).astype(np.uint8))
    return images
