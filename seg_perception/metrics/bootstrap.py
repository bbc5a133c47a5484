"""Bootstrap confidence intervals of what differs between two runs, by drawing their frames anew.

Percentile intervals (Efron & Tibshirani, An Introduction to the Bootstrap, 1993, chapter 13). Their BCa intervals
(chapter 14) are nearer to the nominal coverage where a statistic is skewed, but they are not defined where resamples tie,
as they all do for two equal models, and their acceleration is not for percentiles of times. Frames of a drive that
follow each other are alike, so that drawing each by itself makes intervals too narrow; then blocks of neighbours are
drawn, on a circle (Politis & Romano, A circular block-resampling procedure for stationary data, 1992).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from seg_perception.errors import SegPerceptionError

RESAMPLES = 2000
CONFIDENCE = 0.95
SEED = 0
"""The same two reports always give the same intervals."""
FEWEST_DRAWS = 10
"""Of fewer frames, or blocks of frames, no interval is given: it would be narrow for want of variety, not of doubt."""
FEWEST_BEYOND = 2.0
"""Frames, or blocks of them, beyond a percentile, of fewer of which its interval would hold the truth too seldom: at 30
frames that of p99 covers 85 % instead of 95 %, at 100 frames 92 %, at 200 and more 94 to 99 % (150 pairs of log-normal
times)."""
CHUNK = 100
"""Resamples made at once: 100 of 10,000 frames are 8 MB."""

Statistic = Callable[[NDArray[np.float64]], Mapping[str, NDArray[np.float64]]]
"""Numbers by their names, each float64 [R], of frames that count so many times: float64 [R, F]; NaN where undefined."""


def weights(generator: np.random.Generator, frames: int, resamples: int, block: int) -> NDArray[np.float64]:
    """float64 [resamples, frames]: how many times each resample holds each frame, `frames` of them in all; they are drawn
    in blocks of so many neighbours."""
    starts = generator.integers(0, frames, (resamples, -(-frames // block), 1))
    places = ((starts + np.arange(block)) % frames).reshape(resamples, -1)[:, :frames]
    places = places + frames * np.arange(resamples)[:, None]
    counts = np.bincount(places.ravel(), minlength=resamples * frames)
    return counts.reshape(resamples, frames).astype(np.float64)


def intervals(
    first: Statistic, second: Statistic, frames: tuple[int, int], *, paired: bool, block: int = 1
) -> dict[str, tuple[float, float]]:
    """The interval of second - first, by the names that both know; frames: how many each has, equal when paired, which
    means that frame k of both is the same one, so that both are drawn together.

    A number that is undefined in more than 1 - CONFIDENCE of the resamples, as the IoU of a class that one or two frames
    show, has no interval: its resamples differ too little to tell anything.

    Raises SegPerceptionError when block is less than 1.
    """
    if block < 1:
        raise SegPerceptionError(f"--block is {block}: at least one frame is drawn at once")
    if min(frames) < FEWEST_DRAWS * block:
        return {}
    generator = np.random.default_rng(SEED)
    samples: dict[str, list[NDArray[np.float64]]] = {}
    for _ in tqdm(range(RESAMPLES // CHUNK), desc="bootstrap", leave=False):
        ours = weights(generator, frames[0], CHUNK, block)
        others = ours if paired else weights(generator, frames[1], CHUNK, block)
        a, b = first(ours), second(others)
        for name in a:
            if name in b:
                samples.setdefault(name, []).append(b[name] - a[name])
    found = {}
    tail = 50.0 * (1.0 - CONFIDENCE)
    for name, parts in samples.items():
        differences = np.concatenate(parts)
        known = differences[~np.isnan(differences)]
        if len(known) >= CONFIDENCE * len(differences):
            low, high = np.percentile(known, (tail, 100.0 - tail))
            found[name] = (float(low), float(high))
    return found


def is_enough_for(share: int, frames: int, block: int) -> bool:
    """Whether so many frames, drawn in blocks, say how sure a percentile is."""
    return frames / block * min(share, 100 - share) / 100 >= FEWEST_BEYOND - 1e-9


def percentiles_statistic(values: Sequence[float], shares: Mapping[str, int]) -> Statistic:
    """Percentiles of values, one a frame, by name; interpolated as numpy.percentile does."""
    order = np.argsort(values)
    ordered = np.asarray(values, np.float64)[order]

    def statistic(weights: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
        up_to = np.cumsum(weights[:, order], axis=1)

        def at(place: int) -> NDArray[np.float64]:
            return ordered[np.count_nonzero(up_to <= place, axis=1)]

        found = {}
        for name, share in shares.items():
            below, part = divmod(share / 100 * (len(ordered) - 1), 1)
            low = at(int(below))
            found[name] = low + part * (at(min(int(below) + 1, len(ordered) - 1)) - low)
        return found

    return statistic
