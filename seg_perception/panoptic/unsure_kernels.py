"""Compiled loops that tell another class where ground is not sure enough; by threads that share a frame, as mask_kernels.py,
whose words for grid cells and mask pixels these are.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from seg_perception.compiled import compiled
from seg_perception.labels import VOID
from seg_perception.panoptic.mask_kernels import Axis


@compiled
def replace_unsure_ground(
    logits: NDArray[np.float32],
    cells: tuple[NDArray[np.uint8], NDArray[np.float32], NDArray[np.float32]],
    ground: NDArray[np.float32],
    down: Axis,
    across: Axis,
    bands: tuple[int, int],
    least: np.float32,
    is_ground: NDArray[np.bool_],
    semantic: NDArray[np.uint8],
    confidence: NDArray[np.uint8],
) -> None:
    """Give the pixels of ground classes, in the bands' rows of semantic and confidence [H, W], to the likeliest other class,
    or make them void where there is none, where ground [h, w], upsampled, is below least. cells: see
    mask_kernels.paint_classes."""
    one = np.float32(1)
    for band in range(bands[0], bands[1]):
        rows = down.low[band], down.high[band]
        upper, lower = ground[rows[0]], ground[rows[1]]
        for run in range(len(across.low)):
            columns = across.low[run], across.high[run]
            left, right = columns
            if min(upper[left], upper[right], lower[left], lower[right]) >= least:
                continue  # then there is enough everywhere between them
            first, end = across.start[run], across.start[run + 1]
            weight = across.weight[first:end]
            for y in range(down.start[band], down.start[band + 1]):
                classes, levels = semantic[y, first:end], confidence[y, first:end]
                low_share = np.float32(down.weight[y])
                left_side = upper[left] * (one - low_share) + lower[left] * low_share
                right_side = upper[right] * (one - low_share) + lower[right] * low_share
                for x in range(len(classes)):
                    right_share = np.float32(weight[x])
                    sure = left_side * (one - right_share) + right_side * right_share >= least
                    if sure or not is_ground[classes[x]]:
                        continue
                    at = down.weight[y], weight[x]
                    k = _likeliest_other(logits, rows, columns, at, is_ground)
                    classes[x] = k
                    if k != VOID:
                        levels[x] = np.uint8(_probability(logits[k], cells, rows, columns, at) * 255 + 0.5)


@compiled
def _likeliest_other(
    logits: NDArray[np.float32],
    rows: tuple[int, int],
    columns: tuple[int, int],
    at: tuple[float, float],
    is_ground: NDArray[np.bool_],
) -> int:
    """The class that is no ground and has the largest logit at (down, across), 0 to 1 each, between four cells; VOID where all
    are ground."""
    best, most = VOID, -np.inf
    for k in range(len(logits)):
        if not is_ground[k]:
            value = _mixed(logits[k], rows, columns, at)
            best, most = (k, value) if value > most else (best, most)
    return best


@compiled
def _mixed(
    plane: NDArray[np.float32], rows: tuple[int, int], columns: tuple[int, int], at: tuple[float, float]
) -> float:
    """A plane [h, w] at (down, across) between four cells."""
    (upper, lower), (left, right), (low_share, right_share) = rows, columns, at
    high_share = 1 - low_share
    left_side = plane[upper, left] * high_share + plane[lower, left] * low_share
    right_side = plane[upper, right] * high_share + plane[lower, right] * low_share
    mixed: float = left_side * (1 - right_share) + right_side * right_share
    return mixed


@compiled
def _probability(
    plane: NDArray[np.float32],
    cells: tuple[NDArray[np.uint8], NDArray[np.float32], NDArray[np.float32]],
    rows: tuple[int, int],
    columns: tuple[int, int],
    at: tuple[float, float],
) -> float:
    """The probability, 0 to 1, of the class whose logits are plane [h, w] at (down, across) between four cells."""
    _, peak, share = cells
    total = 0.0
    for i in range(4):
        row, column = rows[i // 2], columns[i % 2]
        down, across = at[0] if i // 2 else 1 - at[0], at[1] if i % 2 else 1 - at[1]
        total += down * across * math.exp(np.float64(plane[row, column]) - peak[row, column]) * share[row, column]
    return total
