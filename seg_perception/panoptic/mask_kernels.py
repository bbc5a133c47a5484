"""Compiled loops that paint both masks. They release the GIL and work on a range of rows, so that threads share a frame; all
of one file, because Numba's cache does not notice a change in a loop of another file that was compiled into one of its own.

Both masks rest on one rule. Values are upsampled bilinearly and the largest wins, ties to the lowest index. Where the
four grid cells around a pixel have the same winner, so has the pixel: each rounded product and sum is monotone, and
distinct float32 corner values stay distinct in the float64 sums. So only where the four disagree is there something to
interpolate, and only among candidates that no corner's winner beats at all four.

Numbers of grid cells are called row and column, those of mask pixels y and x. A band is the range of mask rows, a run
the range of mask columns, that lie between the same two grid rows or columns.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from seg_perception.compiled import compiled
from seg_perception.labels import VOID

MIXED = VOID
"""Stands for a class where the four corners disagree; no class has this id."""


class Axis(NamedTuple):
    """How the pixels of one mask axis lie among the grid's cells.

    start: int64 [R + 1], the range of pixels start[i]..start[i + 1] lies between the cells low[i] and high[i], both
    int64 [R]. weight: float64 [pixels], the share of the high cell.
    """

    start: NDArray[np.int64]
    low: NDArray[np.int64]
    high: NDArray[np.int64]
    weight: NDArray[np.float64]


def axis(cells: int, pixels: int) -> Axis:
    """Half-pixel centres, clamped at the edges: bilinear sampling with align_corners=False."""
    at = np.clip((np.arange(pixels) + 0.5) * (cells / pixels) - 0.5, 0, cells - 1)
    low = np.floor(at).astype(np.int64)
    first = np.flatnonzero(np.diff(low, prepend=-1))
    start = np.append(first, pixels).astype(np.int64)
    return Axis(start, low[first], np.minimum(low[first] + 1, cells - 1), at - low)


@compiled
def score_cells(
    logits: NDArray[np.float32],
    rows: tuple[int, int],
    is_ground: NDArray[np.bool_],
    winner: NDArray[np.uint8],
    peak: NDArray[np.float32],
    share: NDArray[np.float32],
    ground: NDArray[np.float32],
) -> bool:
    """Per grid cell in rows: the winning class, its logit and its softmax probability, and that of all ground classes
    together; False if a logit is not finite.

    logits [C, h, w]; is_ground: by class; winner, peak, share, ground [h, w].
    """
    classes, _, width = logits.shape
    total, of_ground = np.empty(width, np.float32), np.empty(width, np.float32)
    odd = np.zeros(width, np.float32)
    for row in range(rows[0], rows[1]):
        best, top = winner[row], peak[row]
        best[:] = 0
        top[:] = logits[0, row]
        for k in range(1, classes):
            here = logits[k, row]
            for column in range(width):
                larger = here[column] > top[column]
                best[column] = k if larger else best[column]
                top[column] = here[column] if larger else top[column]
        total[:] = 0
        of_ground[:] = 0
        for k in range(classes):
            here, counts = logits[k, row], np.float32(is_ground[k])
            for column in range(width):
                odd[column] += here[column] - here[column]
                odds = _exp(here[column] - top[column])
                total[column] += odds
                of_ground[column] += counts * odds
        for column in range(width):
            share[row, column] = np.float32(1) / total[column]
            ground[row, column] = of_ground[column] / total[column]
    return bool((odd == 0).all())


@compiled
def _exp(x: np.float32) -> np.float32:
    """e to the x <= 0, within 2e-6: exp(x / 32) by its Taylor series, squared five times. math.exp has no vector form
    and takes four times as long; below -16 nothing is left that counts."""
    x = max(x, np.float32(-16)) * np.float32(1 / 32)
    y = np.float32(1 / 24) + x * (np.float32(1 / 120) + x * np.float32(1 / 720))
    y = np.float32(1) + x * (np.float32(1) + x * (np.float32(1 / 2) + x * (np.float32(1 / 6) + x * y)))
    for _ in range(5):
        y *= y
    return y


@compiled
def _at_corners(grid: NDArray[Any], rows: tuple[int, int], columns: tuple[int, int]) -> tuple[int, int, int, int]:
    """What grid [h, w] holds upper left, upper right, lower left and lower right."""
    (upper, lower), (left, right) = rows, columns
    return int(grid[upper, left]), int(grid[upper, right]), int(grid[lower, left]), int(grid[lower, right])


@compiled
def _find_candidates(
    corners: NDArray[np.float64], count: int, winners: tuple[int, int, int, int], chosen: NDArray[np.int64]
) -> int:
    """Write to chosen, in ascending order, who can win anywhere between four corners [count, 4]; returns their number."""
    found = 0
    for k in range(count):
        beaten = False
        for winner in winners:
            if winner == k:
                beaten = False
                break
            at_least, above = True, True
            for i in range(4):
                at_least &= corners[winner, i] >= corners[k, i]
                above &= corners[winner, i] > corners[k, i]
            beaten |= above or (at_least and winner < k)
        if not beaten:
            chosen[found] = k
            found += 1
    return found


@compiled
def paint_classes(
    logits: NDArray[np.float32],
    cells: tuple[NDArray[np.uint8], NDArray[np.float32], NDArray[np.float32]],
    down: Axis,
    across: Axis,
    bands: tuple[int, int],
    with_confidence: bool,
    semantic: NDArray[np.uint8],
    confidence: NDArray[np.uint8],
) -> None:
    """Write the bands' rows of semantic and, if wanted, confidence [H, W]. cells: winner, peak, share of score_cells."""
    winner, _, share = cells
    classes = len(logits)
    pixels = np.empty((2, semantic.shape[1]))
    scratch = (np.empty((classes, 4)), np.empty((classes, 4)), np.empty(classes, np.int64), pixels)
    stretched = np.empty((2, semantic.shape[1]), np.float32)
    for band in range(bands[0], bands[1]):
        upper, lower = down.low[band], down.high[band]
        first, end = down.start[band], down.start[band + 1]
        for run in range(len(across.low)):
            left, right = across.low[run], across.high[run]
            k = winner[upper, left]
            agree = k == winner[upper, right] and k == winner[lower, left] and k == winner[lower, right]
            semantic[first, across.start[run] : across.start[run + 1]] = k if agree else MIXED
        for y in range(first + 1, end):
            semantic[y] = semantic[first]
        if with_confidence:
            _stretch(share[upper], across, stretched[0])
            _stretch(share[lower], across, stretched[1])
            for y in range(first, end):
                _mix_rows(stretched[0], stretched[1], down.weight[y], confidence[y])
        for run in range(len(across.low)):
            if semantic[first, across.start[run]] == MIXED:
                _paint_mixed_classes(
                    logits, cells, down, across, band, run, with_confidence, scratch, semantic, confidence
                )


@compiled
def _stretch(shares: NDArray[np.float32], across: Axis, stretched: NDArray[np.float32]) -> None:
    """Upsample a row of winners' probabilities [w] to confidences of 0.5 to 255.5 in stretched [W]."""
    for run in range(len(across.low)):
        left = shares[across.low[run]] * np.float32(255) + np.float32(0.5)
        slope = (shares[across.high[run]] - shares[across.low[run]]) * np.float32(255)
        # Slices rather than a range of x: a compiled loop over indices that might be negative is not vectorized.
        here, weight = _of_run(stretched, across, run), _of_run(across.weight, across, run)
        for x in range(len(here)):
            here[x] = left + slope * np.float32(weight[x])


@compiled
def _of_run(row: NDArray[Any], across: Axis, run: int) -> NDArray[Any]:
    return row[across.start[run] : across.start[run + 1]]


@compiled
def _mix_rows(
    upper: NDArray[np.float32], lower: NDArray[np.float32], lower_weight: float, confidence: NDArray[np.uint8]
) -> None:
    """One row of confidence [W] between two stretched rows [W]; right where the winners agree."""
    weight = np.float32(lower_weight)
    for x in range(len(confidence)):
        confidence[x] = np.uint8(upper[x] + (lower[x] - upper[x]) * weight)


@compiled
def _paint_mixed_classes(
    logits: NDArray[np.float32],
    cells: tuple[NDArray[np.uint8], NDArray[np.float32], NDArray[np.float32]],
    down: Axis,
    across: Axis,
    band: int,
    run: int,
    with_confidence: bool,
    scratch: tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int64], NDArray[np.float64]],
    semantic: NDArray[np.uint8],
    confidence: NDArray[np.uint8],
) -> None:
    """Interpolate between four cells whose winners differ."""
    winner, peak, share = cells
    corners, shares, chosen, pixels = scratch
    rows, columns = (down.low[band], down.high[band]), (across.low[run], across.high[run])
    for k in range(len(logits)):
        for i in range(4):
            corners[k, i] = logits[k, rows[i // 2], columns[i % 2]]
    count = _find_candidates(corners, len(logits), _at_corners(winner, rows, columns), chosen)
    for n in range(count):
        for i in range(4):
            at = rows[i // 2], columns[i % 2]
            shares[n, i] = 255 * math.exp(corners[chosen[n], i] - peak[at]) * share[at]
    weight = _of_run(across.weight, across, run)
    most, sure = pixels[0, : len(weight)], pixels[1, : len(weight)]
    for y in range(down.start[band], down.start[band + 1]):
        classes = _of_run(semantic[y], across, run)
        most[:] = -np.inf
        for n in range(count):
            k = np.uint8(chosen[n])
            left, right = _mix_sides(corners[k], down.weight[y])
            left_share, right_share = _mix_sides(shares[n], down.weight[y])
            for x in range(len(weight)):
                left_weight = 1 - weight[x]
                value = left * left_weight + right * weight[x]
                larger = value > most[x]
                classes[x] = k if larger else classes[x]
                sure[x] = left_share * left_weight + right_share * weight[x] if larger else sure[x]
                most[x] = value if larger else most[x]
        if with_confidence:
            levels = _of_run(confidence[y], across, run)
            for x in range(len(weight)):
                levels[x] = np.uint8(sure[x] + 0.5)


@compiled
def _mix_sides(corners: NDArray[np.float64], lower_weight: float) -> tuple[float, float]:
    """Left and right value of a mask row between upper left, upper right, lower left and lower right corner [4]."""
    upper_weight = 1 - lower_weight
    return (
        corners[0] * upper_weight + corners[2] * lower_weight,
        corners[1] * upper_weight + corners[3] * lower_weight,
    )


@compiled
def _largest(left: NDArray[np.float64], right: NDArray[np.float64], right_weight: float, count: int) -> int:
    """Index of the largest mix of left and right [count]; ties go to the lowest."""
    left_weight = 1 - right_weight
    best, most = 0, left[0] * left_weight + right[0] * right_weight
    for n in range(1, count):
        value = left[n] * left_weight + right[n] * right_weight
        if value > most:
            best, most = n, value
    return best


@compiled
def drop_unsure(
    pixel_rows: tuple[int, int], least: int, semantic: NDArray[np.uint8], confidence: NDArray[np.uint8]
) -> None:
    """Make void the pixels whose 8-bit confidence is below least."""
    for y in range(pixel_rows[0], pixel_rows[1]):
        for x in range(semantic.shape[1]):
            semantic[y, x] = semantic[y, x] if confidence[y, x] >= least else VOID


@compiled
def elect_centers(
    votes: NDArray[np.float64],
    centers: NDArray[np.float64],
    rows: tuple[int, int],
    elected: NDArray[np.uint16],
) -> None:
    """Per grid cell in rows, the index of the centre [K, 2] = (y, x) nearest to its vote; votes [2, h, w].

    Squared distance less what all centres share is linear in the vote, so it upsamples as logits do: see _closeness.
    """
    width = votes.shape[2]
    most = np.empty(width)
    for row in range(rows[0], rows[1]):
        best = elected[row]
        best[:] = 0
        for column in range(width):
            most[column] = _closeness(votes[0, row, column], votes[1, row, column], centers[0])
        for k in range(1, len(centers)):
            y, x = centers[k]
            norm = y * y + x * x
            for column in range(width):
                value = 2 * (y * votes[0, row, column] + x * votes[1, row, column]) - norm
                best[column] = k if value > most[column] else best[column]
                most[column] = max(value, most[column])


@compiled
def _closeness(y: float, x: float, center: NDArray[np.float64]) -> float:
    """|vote|^2 - |vote - centre|^2: the nearer, the larger."""
    value: float = 2 * (center[0] * y + center[1] * x) - (center[0] * center[0] + center[1] * center[1])
    return value


@compiled
def paint_instances(
    votes: NDArray[np.float64],
    centers: NDArray[np.float64],
    elected: NDArray[np.uint16],
    down: Axis,
    across: Axis,
    bands: tuple[int, int],
    is_thing: NDArray[np.bool_],
    winner: NDArray[np.uint8],
    ground: NDArray[np.float32],
    least: np.float32,
    semantic: NDArray[np.uint8],
    instance: NDArray[np.uint16],
) -> None:
    """Write the bands' rows of instance [H, W]: 1 + index of the centre of each thing pixel, 0 elsewhere.

    winner: uint8 [h, w], the class of each grid cell; ground, least: as of unsure_kernels.py, 0 where that was not called.
    Cells that are no things were taught no offsets: of four cells only those of things vote, all where none is one.
    """
    count = len(centers)
    corners, chosen, sides = np.empty((count, 4)), np.empty(count, np.int64), np.empty((2, count))
    votes_here = np.empty(4, np.bool_)
    for band in range(bands[0], bands[1]):
        upper, lower = down.low[band], down.high[band]
        ys = down.start[band], down.start[band + 1]
        instance[ys[0] : ys[1]] = 0
        for run in range(len(across.low)):
            left, right = across.low[run], across.high[run]
            xs = across.start[run], across.start[run + 1]
            unsure = _is_unsure(ground, (upper, lower), (left, right), least)
            if not unsure and not _may_hold_thing(winner, is_thing, upper, lower, left, right):
                continue
            winners = _at_corners(elected, (upper, lower), (left, right))
            choice = winners[0]
            if not winners[0] == winners[1] == winners[2] == winners[3]:
                classes_here = _at_corners(winner, (upper, lower), (left, right))
                choice = _only_choice(classes_here, is_thing, winners, votes_here)
            if choice >= 0:
                number = np.uint16(choice + 1)
                for y in range(ys[0], ys[1]):
                    classes, here = semantic[y, xs[0] : xs[1]], instance[y, xs[0] : xs[1]]
                    for x in range(len(here)):
                        here[x] = number if is_thing[classes[x]] else 0
                continue
            for k in range(count):
                for i in range(4):
                    row, column = (lower if i // 2 else upper), (right if i % 2 else left)
                    near = _closeness(votes[0, row, column], votes[1, row, column], centers[k])
                    corners[k, i] = near if votes_here[i] else 0.0
            candidates = _find_candidates(corners, count, winners, chosen)
            for y in range(ys[0], ys[1]):
                for n in range(candidates):
                    sides[0, n], sides[1, n] = _mix_sides(corners[chosen[n]], down.weight[y])
                for x in range(xs[0], xs[1]):
                    if is_thing[semantic[y, x]]:
                        n = _largest(sides[0], sides[1], across.weight[x], candidates)
                        instance[y, x] = chosen[n] + 1


@compiled
def _only_choice(
    classes: tuple[int, int, int, int],
    is_thing: NDArray[np.bool_],
    centers: tuple[int, int, int, int],
    votes_here: NDArray[np.bool_],
) -> int:
    """Write to votes_here [4] which of four corners vote; returns the centre that all these elect, -1 where they differ."""
    for i in range(4):
        votes_here[i] = is_thing[classes[i]]
    if not votes_here.any():
        votes_here[:] = True
    choice = -1
    for i in range(4):
        if votes_here[i]:
            if choice >= 0 and choice != centers[i]:
                return -1
            choice = centers[i]
    return choice


@compiled
def _may_hold_thing(
    winner: NDArray[np.uint8], is_thing: NDArray[np.bool_], upper: int, lower: int, left: int, right: int
) -> bool:
    """False only if the four cells agree on a class that is no thing; where they differ any class may win between."""
    k = winner[upper, left]
    agree = k == winner[upper, right] and k == winner[lower, left] and k == winner[lower, right]
    return is_thing[k] or not agree


@compiled
def _is_unsure(ground: NDArray[np.float32], rows: tuple[int, int], columns: tuple[int, int], least: np.float32) -> bool:
    """Whether any of four cells has less ground than least: then another class may have been told between them."""
    (upper, lower), (left, right) = rows, columns
    most = min(ground[upper, left], ground[upper, right], ground[lower, left], ground[lower, right])
    return bool(most < least)
