"""Plain NumPy definition of the decode: slow, obvious, and what the kernels must equal on every pixel."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def upsample(values: NDArray[np.floating], size_hw: tuple[int, int]) -> NDArray[np.float64]:
    """float64 [C, H, W]: values [C, h, w] bilinearly, half-pixel centres, clamped at the edges."""
    (y0, y1, ty), (x0, x1, tx) = (_samples(n, m) for n, m in zip(values.shape[1:], size_hw))
    values = values.astype(np.float64)
    rows = values[:, y0] * (1 - ty)[:, None] + values[:, y1] * ty[:, None]
    return rows[:, :, x0] * (1 - tx) + rows[:, :, x1] * tx


def _samples(cells: int, pixels: int) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.float64]]:
    at = np.clip((np.arange(pixels) + 0.5) * (cells / pixels) - 0.5, 0, cells - 1)
    low = np.floor(at).astype(np.intp)
    return low, np.minimum(low + 1, cells - 1), at - low


def semantic(logits: NDArray[np.float32], size_hw: tuple[int, int]) -> NDArray[np.uint8]:
    """uint8 [H, W]: upsample all logits [C, h, w], then argmax; ties go to the lowest class."""
    return upsample(logits, size_hw).argmax(0).astype(np.uint8)


def confidence(logits: NDArray[np.float32], size_hw: tuple[int, int]) -> NDArray[np.float64]:
    """float64 [H, W] in [0, 1]: the upsampled softmax probability of the winning class."""
    return confidence_of(logits, semantic(logits, size_hw), size_hw)


def confidence_of(
    logits: NDArray[np.float32], classes: NDArray[np.uint8], size_hw: tuple[int, int]
) -> NDArray[np.float64]:
    """float64 [H, W] in [0, 1]: the upsampled softmax probability of each pixel's class, uint8 [H, W]."""
    shifted = np.exp(logits.astype(np.float64) - logits.max(0))
    probabilities = upsample(shifted / shifted.sum(0), size_hw)
    return np.take_along_axis(probabilities, classes.astype(np.intp)[None], 0)[0]


def likeliest_other(
    logits: NDArray[np.float32], is_ground: NDArray[np.bool_], size_hw: tuple[int, int]
) -> NDArray[np.uint8]:
    """uint8 [H, W]: upsample, then argmax among the classes that are no ground; 255 where all are."""
    others = np.flatnonzero(~is_ground[: len(logits)])
    if not len(others):
        return np.full(size_hw, 255, np.uint8)
    return others[upsample(logits[others], size_hw).argmax(0)].astype(np.uint8)


def ground(logits: NDArray[np.float32], is_ground: NDArray[np.bool_], size_hw: tuple[int, int]) -> NDArray[np.float64]:
    """float64 [H, W] in [0, 1]: the upsampled softmax probability of all ground classes together; is_ground: by class."""
    shifted = np.exp(logits.astype(np.float64) - logits.max(0))
    shares = shifted[is_ground[: len(logits)]].sum(0) / shifted.sum(0)
    return upsample(shares[None], size_hw)[0]


def centers(heatmap: NDArray[np.float32], radius: int, threshold: float, most: int) -> list[tuple[int, int]]:
    """(row, column) of the maxima of heatmap [h, w], best first, ties in raster order."""
    h, w = heatmap.shape
    found = []
    for row in range(h):
        for column in range(w):
            here = (-heatmap[row, column], row, column)
            window = [
                (-heatmap[r, c], r, c)
                for r in range(max(0, row - radius), min(h, row + radius + 1))
                for c in range(max(0, column - radius), min(w, column + radius + 1))
            ]
            if heatmap[row, column] >= threshold and here == min(window):
                found.append(here)
    return [(row, column) for _, row, column in sorted(found)[:most]]


def nearest_center(
    offset: NDArray[np.float32],
    votes_here: NDArray[np.bool_],
    found: list[tuple[int, int]],
    size_hw: tuple[int, int],
    stride: int,
) -> NDArray[np.uint16]:
    """uint16 [H, W]: 1 + index of the centre nearest to each pixel's vote, 0 without centres.

    offset: float32 [2, h, w] = (dy, dx) in px of the network's input; votes_here: bool [h, w], the cells that are things.
    Votes are made per grid cell, in sixteenths of a mask pixel, and upsampled as the logits are, from those of the four
    cells around a pixel that are things, or from all four. Where all that vote elect the same centre it is that one.
    """
    if not found:
        return np.zeros(size_hw, np.uint16)
    _, h, w = offset.shape
    cell_px = np.array([size_hw[0] / h, size_hw[1] / w])
    unit = 16.0
    rows, columns = np.mgrid[:h, :w]
    at = np.stack([rows + 0.5, columns + 0.5]) * cell_px[:, None, None]
    reach = 4.0 * max(size_hw)
    moved = np.clip(offset.astype(np.float64) * (cell_px / stride)[:, None, None], -reach, reach)
    vote = np.rint((at + moved) * unit)
    center = np.rint((np.array(found) + 0.5) * cell_px * unit)
    closeness = 2 * np.einsum("kd,dhw->khw", center, vote) - (center**2).sum(1)[:, None, None]
    all_vote = ~_around(votes_here, size_hw).any(0)
    chosen = upsample(np.where(votes_here, closeness, 0), size_hw).argmax(0)
    elected = _around(closeness.argmax(0), size_hw)
    voting = _around(votes_here, size_hw)
    lowest = np.where(voting, elected, len(found)).min(0)
    chosen = np.where(lowest == np.where(voting, elected, -1).max(0), lowest, chosen)
    return (np.where(all_vote, upsample(closeness, size_hw).argmax(0), chosen) + 1).astype(np.uint16)


def _around(cells: NDArray[np.generic], size_hw: tuple[int, int]) -> NDArray[np.generic]:
    """[4, H, W]: what [h, w] holds in the four cells around each pixel."""
    (y0, y1, _), (x0, x1, _) = (_samples(n, m) for n, m in zip(cells.shape, size_hw))
    return np.stack([cells[y][:, x] for y in (y0, y1) for x in (x0, x1)])
