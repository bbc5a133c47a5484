"""What can be told of masks without labels: how much they flicker, how sure the network is, what it leaves unlabelled."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from seg_perception.compiled import compiled
from seg_perception.labels import VOID
from seg_perception.results import Frame

BINS = 32
"""Of the confidence histogram, over 0 to 1."""

FLOW_WIDTH_PX = 512
"""Images are shrunk to this for optical flow; it is also how finely masks are compared."""

SMALLEST_FLOW_PX = 16
"""OpenCV's optical flow takes no images that are smaller."""

FOLLOWS_S = (0.001, 1.0)
"""How long after another a frame comes that shows the same scene. Frames of a data set are no sequence: their stamps, if
any, are numbers, a nanosecond apart."""


class Flicker:
    """Share of the pixels that change class from one frame to the next though they show the same point.

    Where a pixel was in the frame before is found by dense inverse search (Kroeger et al., Fast Optical Flow using Dense
    Inverse Search, ECCV 2016). Pixels that came into view or from behind something show no point of the frame before and
    are left out: there the flow forth and the flow back do not cancel out (Sundaram, Brox and Keutzer, ECCV 2010,
    equation 5), nor do they where all looks alike. Void counts as a class. changed, compared, seen: pixels so far of the
    frames that have one before them, on the grid of the flow.
    """

    def __init__(self) -> None:
        self.changed = self.compared = self.seen = 0
        self._flow = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
        self._before: tuple[NDArray[np.uint8], NDArray[np.uint8]] | None = None

    def add(self, rgb: NDArray[np.uint8], semantic: NDArray[np.uint8], *, follows: bool) -> float | None:
        """The image, uint8 [H, W, 3], and its mask, uint8 of any size over the same view; follows: whether it was taken
        right after the one before. Returns this frame's share; None where it has none before it of the same size, or
        nothing can be compared."""
        before, grey = self._before, _shrunk_grey(rgb)
        self._before = grey, semantic.copy()
        if not follows or before is None or before[0].shape != grey.shape or before[1].shape != semantic.shape:
            return None
        if min(grey.shape) < SMALLEST_FLOW_PX:
            return None
        back, forth = self._flow.calc(grey, before[0], None), self._flow.calc(before[0], grey, None)
        changed, compared = _count_changes(before[1], semantic, back, forth)
        self.changed += changed
        self.compared += compared
        self.seen += grey.size
        return changed / compared if compared else None

    @property
    def share(self) -> float | None:
        """Over all frames so far; None where nothing could be compared."""
        return self.changed / self.compared if self.compared else None


def _shrunk_grey(rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
    height, width = rgb.shape[:2]
    scale = min(1.0, FLOW_WIDTH_PX / width)
    if scale < 1:
        # averaged before it loses its colour: there are fewer pixels left to do
        rgb = cv2.resize(rgb, (FLOW_WIDTH_PX, max(1, round(height * scale))), interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY))


@compiled
def _count_changes(
    earlier: NDArray[np.uint8], mask: NDArray[np.uint8], back: NDArray[np.float32], forth: NDArray[np.float32]
) -> tuple[int, int]:
    """Pixels of the flow's grid whose class changed, and those that could be compared.

    earlier, mask: [H, W]; back, forth: [h, w, 2] = (dx, dy) from a pixel to where it was in the frame before, and from
    there to where it went.
    """
    height, width = back.shape[:2]
    down, across = mask.shape[0] / height, mask.shape[1] / width
    changed = compared = 0
    for y in range(height):
        for x in range(width):
            dx, dy = back[y, x, 0], back[y, x, 1]
            u, v = x + dx + 0.5, y + dy + 0.5
            if not (0 <= u < width and 0 <= v < height):
                continue
            fx, fy = forth[int(v), int(u), 0], forth[int(v), int(u), 1]
            gap = (dx + fx) ** 2 + (dy + fy) ** 2
            if gap > 0.01 * (dx**2 + dy**2 + fx**2 + fy**2) + 0.5:
                continue
            compared += 1
            if mask[int((y + 0.5) * down), int((x + 0.5) * across)] != earlier[int(v * down), int(u * across)]:
                changed += 1
    return changed, compared


class WithoutLabels:
    """Sums over frames: Flicker, the confidence of all pixels, and how many are void."""

    def __init__(self) -> None:
        self.flicker = Flicker()
        self._confidence: NDArray[np.int64] = np.zeros(BINS, np.int64)
        self._void = self._pixels = 0
        self._stamp_ns: int | None = None

    def add(self, frame: Frame, semantic: NDArray[np.uint8], confidence: NDArray[np.uint8]) -> float | None:
        """One frame, its mask and the confidence of each of the mask's pixels, 0 to 255, both uint8 [H, W]. Returns its
        flicker; None where it comes not right after the one before it, by their stamps, or nothing can be compared."""
        before_ns, self._stamp_ns = self._stamp_ns, frame.stamp_ns
        follows = before_ns is not None and FOLLOWS_S[0] <= (frame.stamp_ns - before_ns) / 1e9 <= FOLLOWS_S[1]
        self._confidence += np.bincount((confidence // (256 // BINS)).ravel(), minlength=BINS)
        self._void += int(np.count_nonzero(semantic == VOID))
        self._pixels += semantic.size
        return self.flicker.add(frame.rgb, semantic, follows=follows)

    def summary(self) -> dict[str, Any]:
        """`flicker`, and `flicker_compared`, the share of the pixels that it is of; `unlabelled`, a share too; each None
        where there is nothing to take a share of. `confidence_histogram`: pixels by confidence in BINS equal steps."""
        flicker = self.flicker
        return {
            "flicker": flicker.share,
            "flicker_compared": flicker.compared / flicker.seen if flicker.seen else None,
            "unlabelled": self._void / self._pixels if self._pixels else None,
            "confidence_histogram": self._confidence.tolist(),
        }
