"""Compiled loops of steadier masks. stuff: int64 [S], the classes that are no things; odds: float32 [S, h, w], log-probabilities
of theirs less the largest in each cell; best: uint8 [h, w], which of them that is, by its place in stuff.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from seg_perception.compiled import compiled


@compiled
def find_odds(
    logits: NDArray[np.float32], stuff: NDArray[np.int64], odds: NDArray[np.float32], best: NDArray[np.uint8]
) -> None:
    """Write odds and best of logits [C, h, w]."""
    height, width = best.shape
    # As wide as the logits, so that the compiler makes the loop over both wide.
    most, first = np.empty(width, np.float32), np.empty(width, np.int32)
    for row in range(height):
        first[:] = 0
        most[:] = logits[stuff[0], row]
        for s in range(1, len(stuff)):
            here, place = logits[stuff[s], row], np.int32(s)
            for column in range(width):
                larger = here[column] > most[column]
                first[column] = place if larger else first[column]
                most[column] = here[column] if larger else most[column]
        best[row] = first
        for s in range(len(stuff)):
            here, less = logits[stuff[s], row], odds[s, row]
            for column in range(width):
                less[column] = here[column] - most[column]


@compiled
def mark_borders(best: NDArray[np.uint8], is_border: NDArray[np.bool_]) -> None:
    """Say, to is_border [h, w], where one of the eight cells around a cell has another best class: elsewhere nothing that lies
    between them depends on how sure it is."""
    height, width = best.shape
    for row in range(height):
        borders = is_border[row]
        borders[:] = False
        here, inner = best[row, 1:-1], borders[1:-1]
        for near in range(max(row - 1, 0), min(row + 2, height)):
            left, middle, right = best[near, :-2], best[near, 1:-1], best[near, 2:]
            for column in range(len(here)):
                k = here[column]
                inner[column] |= (left[column] != k) | (middle[column] != k) | (right[column] != k)
            for column, beside in ((0, min(1, width - 1)), (width - 1, max(width - 2, 0))):
                k = best[row, column]
                borders[column] |= (best[near, column] != k) | (best[near, beside] != k)


@compiled
def fuse(
    past: tuple[NDArray[np.float32], NDArray[np.uint8]],
    back: NDArray[np.float32],
    weights: tuple[float, float],
    classes: tuple[NDArray[np.int64], NDArray[np.bool_]],
    is_border: NDArray[np.bool_],
    now: tuple[NDArray[np.float32], NDArray[np.uint8]],
    logits: NDArray[np.float32],
) -> None:
    """Average odds and best of this frame, now, with those of the frame before, past, and logits [C, h, w] with them.

    back: [h, w, 2] = (dx, dy), where each cell was; weights: what the past counts for, and by how much it pulls at most;
    classes: stuff, and whether each of it is an obstacle. The largest of a cell's logits stays as it is, so that what else
    it may be is as likely as before.
    """
    stuff, is_obstacle = classes
    odds, best = now
    height, width = best.shape
    memory, most_pull = np.float32(weights[0]), np.float32(weights[1])
    found = np.empty(len(stuff), np.float32)
    for row in range(height):
        for column in range(width):
            k = best[row, column]
            y, x = row + back[row, column, 1], column + back[row, column, 0]
            if not (-0.5 <= y < height - 0.5 and -0.5 <= x < width - 0.5):
                continue
            if past[1][int(y + 0.5), int(x + 0.5)] == k and not is_border[row, column]:
                continue
            if not _sample(past[0], y, x, found):
                continue
            found -= found.max()
            for s in range(len(stuff)):
                own = odds[s, row, column]
                found[s] = own + memory * min(max(found[s] - own, -most_pull), most_pull)
            likeliest = found.argmax()
            if is_obstacle[k] and not is_obstacle[likeliest]:
                continue
            best[row, column] = likeliest
            top, most = logits[stuff[k], row, column], found[likeliest]
            for s in range(len(stuff)):
                odds[s, row, column] = found[s] - most
                logits[stuff[s], row, column] = odds[s, row, column] + top


@compiled
def _sample(odds: NDArray[np.float32], y: float, x: float, found: NDArray[np.float32]) -> bool:
    """odds at (y, x), between cells by cubic convolution (Keys, "Cubic convolution interpolation", IEEE ASSP 1981), to found
    [S]: what is thinner than two cells is not worn away by moving from frame to frame. False where one is no number, so that a
    frame that failed does not spoil those after it."""
    classes, height, width = odds.shape
    row, column = int(np.floor(y)), int(np.floor(x))
    down, across = _cubic(np.float32(y - row)), _cubic(np.float32(x - column))
    y0, y1, y2, y3 = _neighbours(row, height)
    x0, x1, x2, x3 = _neighbours(column, width)
    total = np.float32(0)
    for s in range(classes):
        value = np.float32(0)
        for at, share in ((y0, down[0]), (y1, down[1]), (y2, down[2]), (y3, down[3])):
            near = across[1] * odds[s, at, x1] + across[2] * odds[s, at, x2]
            value += share * (across[0] * odds[s, at, x0] + near + across[3] * odds[s, at, x3])
        found[s] = value
        total += value
    return bool(np.isfinite(total))


@compiled
def _neighbours(at: int, length: int) -> tuple[np.uintp, np.uintp, np.uintp, np.uintp]:
    """The cells at -1, 0, 1 and 2 from one, each at most at the grid's edge. Unsigned, since an index that may count from the
    end costs half of the time."""
    last = length - 1
    return (
        np.uintp(min(max(at - 1, 0), last)),
        np.uintp(min(max(at, 0), last)),
        np.uintp(min(max(at + 1, 0), last)),
        np.uintp(min(max(at + 2, 0), last)),
    )


@compiled
def _cubic(t: np.float32) -> tuple[np.float32, np.float32, np.float32, np.float32]:
    """Weights of four neighbours, -1, 0, 1 and 2, at t in [0, 1) beyond the second."""
    half, one = np.float32(0.5), np.float32(1)
    return (
        -half * t * (one - t) * (one - t),
        (np.float32(1.5) * t - np.float32(2.5)) * t * t + one,
        ((np.float32(2) - np.float32(1.5) * t) * t + half) * t,
        half * (t - one) * t * t,
    )
