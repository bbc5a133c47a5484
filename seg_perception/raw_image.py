"""A camera's image as it lies in its message, and how the network's small RGB image comes of it without a large one.

The planes are resized as they are and mixed to RGB afterwards: a resize and a linear mix may change places, but for
rounding. So only pixels at the network's size are converted, and nothing at the camera's size is copied.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

Plane = NDArray[np.uint8]
Mix = Callable[[Sequence[Plane], NDArray[np.uint8], Plane], object]
"""mix(planes, scratch, rgb) writes rgb, uint8 [h, w, 3], of planes [h, w, channels]; scratch: uint8 [2, h, w, 3]."""

# ITU-R BT.601 in studio swing, as OpenCV converts yuv: rows R, G, B; columns Y, U, V and what is added.
_BT601 = np.array(
    [
        [1.164, 0.0, 1.596, -1.164 * 16 - 1.596 * 128],
        [1.164, -0.391, -0.813, -1.164 * 16 + (0.391 + 0.813) * 128],
        [1.164, 2.018, 0.0, -1.164 * 16 - 2.018 * 128],
    ],
    np.float32,
)


@dataclass(frozen=True)
class RawImage:
    """An image that is not RGB yet. size_hw: its height and width in px.

    planes: uint8 [rows, columns] or [rows, columns, channels], each showing the whole image at a resolution of its own,
    the first at the best there is. mix: makes RGB of the planes once they have been resized to one size. to_rgb: makes
    RGB of the image's own size, uint8 [H, W, 3]; it may be a buffer that the next image overwrites.
    """

    size_hw: tuple[int, int]
    planes: tuple[Plane, ...]
    mix: Mix
    to_rgb: Callable[[], NDArray[np.uint8]]


@dataclass(frozen=True)
class Recolor:
    """Mix of one plane, by a colour conversion of OpenCV."""

    code: int

    def __call__(self, planes: Sequence[Plane], scratch: NDArray[np.uint8], rgb: Plane) -> None:
        """See Mix."""
        cv2.cvtColor(planes[0], self.code, dst=rgb)


def yuv_matrix(full_range: bool, bt709: bool) -> NDArray[np.float32]:
    """What makes RGB of Y, U, V: float32 [3, 4], the last column is added. full_range: Y goes from 0 to 255, not from 16
    to 235; bt709: the colours are ITU-R BT.709's (HD video), else BT.601's."""
    if not full_range and not bt709:
        return _BT601
    red, blue = (0.2126, 0.0722) if bt709 else (0.299, 0.114)
    green = 1 - red - blue
    to_u, to_v = 2 * (1 - blue), 2 * (1 - red)
    mix = np.array(((1, 0, to_v), (1, -to_u * blue / green, -to_v * red / green), (1, to_u, 0)))
    black, scales = (0, (1, 1, 1)) if full_range else (16, (255 / 219, 255 / 224, 255 / 224))
    scaled = mix * scales
    return np.column_stack((scaled, -scaled @ (black, 128, 128))).astype(np.float32)


def from_yuv(luma: int, u: int, v: int, matrix: NDArray[np.float32] = _BT601) -> Mix:
    """Y, U and V are these channels, counted through all planes; matrix: as of yuv_matrix."""
    channels = [luma, 0, u, 1, v, 2]

    def mix(planes: Sequence[Plane], scratch: NDArray[np.uint8], rgb: Plane) -> None:
        yuv = scratch[0]
        cv2.mixChannels(planes, [yuv], channels)
        cv2.transform(yuv, matrix, dst=rgb)

    return mix


def from_bayer(pattern: str) -> Mix:
    """Two planes, the even and the odd rows, whose channels are the colours of pattern ("rggb"): each 2x2 pixels make
    one with both greens' mean."""
    red, blue, greens = pattern.index("r"), pattern.index("b"), [i for i in range(4) if pattern[i] == "g"]
    channels = [red, 0, greens[0], 1, blue, 2, red, 3, greens[1], 4, blue, 5]

    def mix(planes: Sequence[Plane], scratch: NDArray[np.uint8], rgb: Plane) -> None:
        first, second = scratch
        cv2.mixChannels(planes, [first, second], channels)
        cv2.addWeighted(first, 0.5, second, 0.5, 0.0, dst=rgb)

    return mix
