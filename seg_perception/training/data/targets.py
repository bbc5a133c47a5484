"""What the losses compare with: codes of partly known classes, instance centres, boundaries. NumPy only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from seg_perception.errors import SegPerceptionError
from seg_perception.labels import VOID, LabelSet

IMPOSSIBLE = -1e4
"""Added to the log-probability of a class that a pixel's label rules out."""


class PartialLabels:
    """One code for each set of classes that a label may stand for.

    Codes 0 … C-1 are the fine classes of the label set, later codes are sets of several; 255 says nothing. So data sets
    of different fineness train one network: the loss of a pixel is minus the log of the summed probability of its set.
    """

    def __init__(self, labels: LabelSet) -> None:
        self._labels = labels
        self.sets: list[tuple[int, ...]] = [(i,) for i in range(len(labels))]

    def codes_of(self, meaning: Mapping[int, tuple[str, ...]]) -> NDArray[np.uint8]:
        """uint8 [256]: code of each id of a data set with this meaning; an empty meaning is void.

        Raises SegPerceptionError when there is no such class, or too many different sets of classes for 8 bits.
        """
        table = np.full(256, VOID, np.uint8)
        for own_id, names in meaning.items():
            if names:
                table[own_id] = self._code(tuple(sorted(self._labels.by_name(name).id for name in names)))
        return table

    def _code(self, members: tuple[int, ...]) -> int:
        if members not in self.sets:
            if len(self.sets) == VOID:
                raise SegPerceptionError(
                    f"the data's ids stand for more than {VOID} different sets of classes: "
                    "train on fewer data sets at a time, or with fewer classes"
                )
            self.sets.append(members)
        return self.sets.index(members)

    def mirrored(self, pairs: Sequence[tuple[str, str]]) -> NDArray[np.uint8]:
        """uint8 [256]: the code of what each code may stand for in a mirror, where the classes of each pair change places.

        Raises SegPerceptionError as codes_of.
        """
        swapped = {}
        for one, other in pairs:
            first, second = self._labels.by_name(one).id, self._labels.by_name(other).id
            swapped |= {first: second, second: first}
        table = np.arange(256, dtype=np.uint8)
        for code, members in enumerate(self.sets):  # which grows meanwhile, at most by each one's image
            table[code] = self._code(tuple(sorted(swapped.get(member, member) for member in members)))
        return table

    @property
    def bias(self) -> NDArray[np.float32]:
        """float32 [256, C]: 0 for the classes that a code may stand for, IMPOSSIBLE for the rest; all 0 for void."""
        table = np.zeros((256, len(self._labels)), np.float32)
        for code, members in enumerate(self.sets):
            table[code] = IMPOSSIBLE
            table[code, list(members)] = 0
        return table

    @property
    def may_be_thing(self) -> NDArray[np.bool_]:
        """bool [256]: whether a code's set holds a thing class."""
        table = np.zeros(256, np.bool_)
        for code, members in enumerate(self.sets):
            table[code] = self._labels.is_thing[list(members)].any()
        return table


@dataclass(frozen=True)
class CenterTargets:
    """On the grid. heatmap: float32 [h, w] in [0, 1]; heatmap_known: bool [h, w]; offset: float32 [2, h, w], (dy, dx)
    in px of the image from the cell's middle to the instance's centroid; offset_known: bool [h, w]."""

    heatmap: NDArray[np.float32]
    heatmap_known: NDArray[np.bool_]
    offset: NDArray[np.float32]
    offset_known: NDArray[np.bool_]


def center_targets(
    instance: NDArray[np.uint16], unknown: NDArray[np.bool_], stride: int, sigma_px: float
) -> CenterTargets:
    """Gaussian of sigma at each visible mask's centroid (the larger where two meet), offsets on things only.

    instance: uint16 [H, W], 0 none; unknown: bool [H, W], where it is not known whether and which object is seen; one such
    pixel is enough for its cell.
    """
    rows, columns = instance.shape[0] // stride, instance.shape[1] // stride
    middle = (stride - 1) / 2
    y = np.arange(rows, dtype=np.float32) * stride + middle
    x = np.arange(columns, dtype=np.float32) * stride + middle
    at_cells = instance[stride // 2 :: stride, stride // 2 :: stride][:rows, :columns]
    heatmap = np.zeros((rows, columns), np.float32)
    offset = np.zeros((2, rows, columns), np.float32)
    pixel_y, pixel_x = np.nonzero(instance)
    ids = instance[pixel_y, pixel_x]
    areas = np.bincount(ids, minlength=1)
    sums_y, sums_x = np.bincount(ids, pixel_y, 1), np.bincount(ids, pixel_x, 1)
    for i in np.flatnonzero(areas):
        dy, dx = sums_y[i] / areas[i] - y, sums_x[i] / areas[i] - x
        bump = np.outer(np.exp(-(dy**2) / (2 * sigma_px**2)), np.exp(-(dx**2) / (2 * sigma_px**2)))
        np.maximum(heatmap, bump, out=heatmap)
        mine = at_cells == i
        offset[0][mine] = np.broadcast_to(dy[:, None], mine.shape)[mine]
        offset[1][mine] = np.broadcast_to(dx[None, :], mine.shape)[mine]
    whole = unknown[: rows * stride, : columns * stride]
    cell_unknown = whole.reshape(rows, stride, columns, stride).any(axis=(1, 3))
    return CenterTargets(heatmap, ~cell_unknown | (heatmap > 0.05), offset, at_cells > 0)


def boundaries(codes: NDArray[np.uint8], width_px: int = 3) -> NDArray[np.uint8]:
    """uint8 [H, W]: 1 where a border between two labelled codes runs, 255 next to void, 0 elsewhere."""
    kernel = np.ones((width_px, width_px), np.uint8)
    low, high = cv2.erode(codes, kernel), cv2.dilate(codes, kernel)
    edge = (low != high).astype(np.uint8)
    edge[high == VOID] = VOID
    return edge
