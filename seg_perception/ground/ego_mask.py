"""Which pixels of a camera's images show the own vehicle, and so nothing of the ground."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from seg_perception.camera_model import is_scaled
from seg_perception.errors import SegPerceptionError
from seg_perception.files import read_painted

LEAST_POINTS = 3
_REMEDY = "`seg_perception ego-mask` proposes one from a recording"
_FARTHEST_PX = 100_000
"""Of a corner from the picture: OpenCV counts fractions of a pixel in 32 bits, and what is beyond them comes back elsewhere."""
_SHIFT = 4
"""Binary digits of the fractions of a pixel in which OpenCV fills polygons."""


@dataclass(frozen=True, eq=False)
class EgoMask:
    """The own vehicle in the images of one camera. name: how it was given, for sentences; painted: bool [H, W], True where
    it is seen, in an image of the calibration's shape; or polygon: corners (x, y) in px of the calibrated image.

    Two are equal only where they are the same object, so that a change of one is noticed cheaply.
    """

    name: str
    painted: NDArray[np.bool_] | None = None
    polygon: tuple[tuple[float, float], ...] = ()

    @staticmethod
    def read(path: Path) -> EgoMask:
        """From a PNG: all that is not black (and not transparent) is the own vehicle.

        Raises SegPerceptionError when it cannot be read, or is black or painted all over.
        """
        if path.suffix.lower() != ".png":
            raise SegPerceptionError(
                f"the ego mask {path} is no PNG, and other formats blur its edge: save it as PNG, or {_REMEDY}"
            )
        painted = read_painted(path)
        if not painted.any():
            raise SegPerceptionError(
                f"the ego mask {path} is black all over and so masks nothing: paint the own vehicle white, or leave it out"
            )
        if painted.all():
            raise SegPerceptionError(
                f"the ego mask {path} is painted all over, so nothing would be seen: paint the own vehicle only, the rest "
                "black"
            )
        return EgoMask(str(path), painted)

    @staticmethod
    def of_polygon(name: str, numbers: Sequence[float]) -> EgoMask:
        """From x, y of each corner in turn; raises SegPerceptionError when they are no polygon."""
        if len(numbers) % 2 or len(numbers) < 2 * LEAST_POINTS:
            raise SegPerceptionError(
                f"{name} holds {len(numbers)} numbers: a polygon has x, y of at least {LEAST_POINTS} corners"
            )
        pairs = [float(number) for number in numbers]
        if not all(abs(number) <= _FARTHEST_PX for number in pairs):  # also where one is no number
            raise SegPerceptionError(
                f"{name} holds {', '.join(f'{number:g}' for number in pairs)}: corners are pixels of the camera's image, "
                f"between -{_FARTHEST_PX} and {_FARTHEST_PX}"
            )
        return EgoMask(name, None, tuple(zip(pairs[::2], pairs[1::2], strict=True)))

    def misfit(self, size_wh: tuple[int, int]) -> str | None:
        """Why it cannot be of images that are calibrated at (width, height) px, in one sentence; None where it can."""
        if self.painted is not None:
            height, width = self.painted.shape
            if is_scaled((height, width), size_wh):
                return None
            return (
                f"the ego mask {self.name} is {width}x{height} px and the camera's images {size_wh[0]}x{size_wh[1]} px, "
                f"another shape: make it of an image of this camera, {_REMEDY}"
            )
        return _polygon_misfit(self, size_wh)

    def pixels(self, size_wh: tuple[int, int], mask_hw: tuple[int, int]) -> NDArray[np.uint8]:
        """uint8 [H, W] of mask_hw = (height, width), 255 where the own vehicle is in any part of a pixel, else 0; shared,
        so not to be written to. size_wh: of the calibrated image."""
        return _pixels(self, size_wh, mask_hw)


@lru_cache(maxsize=16)
def _polygon_misfit(ego: EgoMask, size_wh: tuple[int, int]) -> str | None:
    covered = _pixels(ego, size_wh, (size_wh[1], size_wh[0]))
    if covered.any() and not covered.all():
        return None
    return (
        f"the polygon of {ego.name} covers {'all' if covered.any() else 'no pixel'} of the camera's images of "
        f"{size_wh[0]}x{size_wh[1]} px: give its corners in px of them"
    )


@lru_cache(maxsize=16)
def _pixels(ego: EgoMask, size_wh: tuple[int, int], mask_hw: tuple[int, int]) -> NDArray[np.uint8]:
    height, width = mask_hw
    if ego.painted is not None:
        sums = cv2.integral(ego.painted.astype(np.uint8))
        (top, bottom), (left, right) = (_spans(old, new) for old, new in zip(ego.painted.shape, mask_hw, strict=True))
        counts = sums[bottom][:, right] - sums[bottom][:, left] - sums[top][:, right] + sums[top][:, left]
        return np.where(counts > 0, 255, 0).astype(np.uint8)
    corners = (np.array(ego.polygon) + 0.5) * (width, height) / size_wh - 0.5
    drawn = np.zeros(mask_hw, np.uint8)
    cv2.fillPoly(drawn, [np.rint(corners * (1 << _SHIFT)).astype(np.int32)], (255,), cv2.LINE_8, _SHIFT)
    return drawn


def _spans(old: int, new: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """First and past the last of old pixels in a row that any part of each of new ones lies on, int64 [new] each."""
    at = np.arange(new, dtype=np.int64)
    return at * old // new, -(-(at + 1) * old // new)
