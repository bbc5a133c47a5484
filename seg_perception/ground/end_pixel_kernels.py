"""Every compiled way to the pixels at which ground ends, their sides and depths; end_kernels.py says where those are."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from seg_perception.compiled import compiled
from seg_perception.labels import UNSEEN_LABEL

BLOCK_PX = 16
"""Side of the squares of pixels in which the way towards the camera is taken to be the same."""
_BYTE, _ALL_BUT_A_BYTE = np.uint64(8), np.uint64(56)
_DEEP_PX = 4
"""Of so many pixels of a thing, from its end on, the second nearest says where it stands: depth has holes and frays."""


@compiled
def find_ends(
    mask: NDArray[np.uint8],
    words: NDArray[np.uint64],
    costs: NDArray[np.int8],
    steps: NDArray[np.int8],
    rows: tuple[int, int],
    out: NDArray[np.int32],
    count: int,
    only_obstacles: bool,
) -> int:
    """Append the pixels of the rows first to last that differ from a neighbour towards the camera as an end does to the
    count that out [N, 6] has: x, y, step to that neighbour in x and y, label there and here. Returns how many there are
    then; those without room are counted alone.

    words: the same mask, eight pixels at a time; nothing [H, 0] where its width allows no such view. steps: of each block,
    int8 [H / BLOCK_PX, W / BLOCK_PX, 2], the way to the neighbour in x or in y; 0, 0 where there is none. only_obstacles:
    leave out where other ground begins.
    """
    for block_y in range(rows[0] // BLOCK_PX, -(-rows[1] // BLOCK_PX)):
        block_x = 0
        while block_x < steps.shape[1]:
            step_x, step_y = int(steps[block_y, block_x, 0]), int(steps[block_y, block_x, 1])
            begin = block_x * BLOCK_PX
            while block_x < steps.shape[1] and (steps[block_y, block_x, 0], steps[block_y, block_x, 1]) == (
                step_x,
                step_y,
            ):
                block_x += 1
            end = min(block_x * BLOCK_PX, mask.shape[1])
            if step_x == 0 and step_y == 0:
                continue
            first, last = begin // 8, end // 8
            for v in range(max(block_y * BLOCK_PX, rows[0]), min((block_y + 1) * BLOCK_PX, rows[1])):
                if not words.shape[1] or not 0 <= v + step_y < mask.shape[0]:
                    count = _ends_between(mask, costs, begin, end, v, step_x, step_y, only_obstacles, out, count)
                    continue
                here, there = words[v], words[v + step_y]
                for word in range(first, last):
                    # Pixels lie in a word from its lowest byte on; one at the picture's border has none beside it.
                    beside = there[word]
                    if step_x > 0:
                        beside = (beside >> _BYTE) | (there[min(word + 1, len(there) - 1)] << _ALL_BUT_A_BYTE)
                    elif step_x < 0:
                        beside = (beside << _BYTE) | (there[max(word - 1, 0)] >> _ALL_BUT_A_BYTE)
                    at_border = step_x != 0 and (word == 0 or word == len(there) - 1)
                    if here[word] != beside or at_border:
                        at = 8 * word
                        count = _ends_between(mask, costs, at, at + 8, v, step_x, step_y, only_obstacles, out, count)
    return count


@compiled
def _ends_between(
    mask: NDArray[np.uint8],
    costs: NDArray[np.int8],
    begin: int,
    end: int,
    v: int,
    step_x: int,
    step_y: int,
    only_obstacles: bool,
    out: NDArray[np.int32],
    count: int,
) -> int:
    """Append the ends among the pixels begin to end of row v to those that out has already: how many there are now."""
    inside = 0 <= v + step_y < mask.shape[0]
    here, there = mask[v], mask[v + step_y if inside else v]
    for u in range(begin, end):
        far, near = here[u], np.uint8(UNSEEN_LABEL)
        if inside and 0 <= u + step_x < len(there):
            near = there[u + step_x]
        if near == far or far == UNSEEN_LABEL or (only_obstacles and costs[far] >= 0):
            continue
        if costs[far] >= 0 if near == UNSEEN_LABEL else costs[near] < 0:
            continue
        if count < len(out):
            out[count, 0], out[count, 1], out[count, 2], out[count, 3] = u, v, step_x, step_y
            out[count, 4], out[count, 5] = near, far
        count += 1
    return count


@compiled
def find_ends_around(
    mask: NDArray[np.uint8],
    costs: NDArray[np.int8],
    below: tuple[float, float],
    rows: tuple[int, int],
    columns: tuple[int, int],
    out: NDArray[np.int32],
    count: int,
    only_obstacles: bool,
) -> int:
    """As find_ends, for the pixels around the place (x, y) in px that is right below the camera: each one's way leads there.

    only_obstacles: by the step to the side to which the way leans. The pixel that shows that place has no step: it is an end
    where it shows no ground, whatever is around it.
    """
    for v in range(rows[0], rows[1]):
        for u in range(columns[0], columns[1]):
            way_x, way_y = below[0] - u, below[1] - v
            if max(abs(way_x), abs(way_y)) <= 0.5:
                if not only_obstacles and costs[mask[v, u]] < 0 and mask[v, u] != UNSEEN_LABEL:
                    if count < len(out):
                        out[count] = 0
                        out[count, 0], out[count, 1] = u, v
                        out[count, 4], out[count, 5] = UNSEEN_LABEL, mask[v, u]
                    count += 1
                continue
            step_x, step_y = int(np.sign(way_x)), int(np.sign(way_y))
            if (abs(way_y) >= abs(way_x)) != only_obstacles:
                step_x = 0
            else:
                step_y = 0
            if step_x != 0 or step_y != 0:
                count = _ends_between(mask, costs, u, u + 1, v, step_x, step_y, only_obstacles, out, count)
    return count


@compiled
def end_depths(
    mask: NDArray[np.uint8],
    costs: NDArray[np.int8],
    depth: NDArray[np.float32],
    pixels: NDArray[np.int32],
    out: NDArray[np.float64],
) -> None:
    """How far ahead each end [N, 6] is, in m, into out [N]; NaN where that is not known. depth [H, W]: other than above 0 and
    finite = not known.

    That of what stands there; where it has none, as the sky, or is ground, that of the ground before it.
    """
    for i in range(len(pixels)):
        u, v, step_x, step_y = pixels[i, 0], pixels[i, 1], pixels[i, 2], pixels[i, 3]
        near, far = pixels[i, 4], pixels[i, 5]
        least, second, known = np.inf, np.inf, 0
        for k in range(_DEEP_PX if costs[far] < 0 else 0):
            x, y = u - k * step_x, v - k * step_y
            if not (0 <= x < mask.shape[1] and 0 <= y < mask.shape[0]) or mask[y, x] != far:
                break
            ahead = depth[y, x]
            if ahead > 0 and ahead < np.inf:
                known += 1
                least, second = (ahead, least) if ahead < least else (least, min(ahead, second))
        if known > 2:  # the nearest of several may be noise
            least = second
        if least == np.inf and near != UNSEEN_LABEL and depth[v + step_y, u + step_x] > 0:
            least = depth[v + step_y, u + step_x]
        out[i] = least if least < np.inf else np.nan


@compiled
def near_sides(pixels: NDArray[np.int32], out: NDArray[np.float64]) -> None:
    """The middle and both corners of the near side of each pixel [N, 6] (as find_ends has them), into out [3 N, 2]."""
    for i in range(len(pixels)):
        x, y = pixels[i, 0] + 0.5 * pixels[i, 2], pixels[i, 1] + 0.5 * pixels[i, 3]
        across_x, across_y = 0.5 * abs(pixels[i, 3]), 0.5 * abs(pixels[i, 2])
        for corner in range(3):
            sign = (0, -1, 1)[corner]
            out[3 * i + corner, 0] = x + sign * across_x
            out[3 * i + corner, 1] = y + sign * across_y
