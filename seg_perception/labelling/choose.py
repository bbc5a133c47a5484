"""Which frames are worth labelling: taken one by one, each the best beside those that are taken already.

Unlike what is taken: the greedy k-center of Sener and Savarese (Active learning for convolutional neural networks, ICLR
2018), here one of four reasons that are added.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

LEAST_SHARE = 0.002
"""Of an image's pixels, which a class must have to be seen in it."""
_ALIKE = 0.1
"""Frames nearer than this share of the usual distance are one frame twice."""
_SAMPLE = 500
"""Frames whose distances from the mean frame say what is usual."""
_WELL_APART = 1.5
"""Times the usual distance at which a frame is as unlike the others as can be."""


@dataclass(frozen=True)
class Frames:
    """Of N frames: uncertainty float [N]; shares float32 [N, C]; descriptor float32 [N, D]; recording int [N]; time_s
    float [N], in its recording."""

    uncertainty: NDArray[np.float64]
    shares: NDArray[np.float32]
    descriptor: NDArray[np.float32]
    recording: NDArray[np.int64]
    time_s: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.uncertainty)


@dataclass(frozen=True)
class Weights:
    """How much each reason counts; each is a number from 0 to 1 before."""

    uncertain: float = 1.0
    rare: float = 1.0
    unlike: float = 1.0
    apart: float = 0.5


@dataclass(frozen=True)
class Choice:
    """A frame that was taken. uncertain: the share of frames that are surer; rare: how much it was for the class `shows`,
    -1 = none; unlike: its distance from the nearest taken, of what is far; apart: its time from the nearest taken of its
    recording, against an even spread. All in [0, 1], as they were when it was taken."""

    index: int
    uncertain: float
    rare: float
    shows: int
    unlike: float
    apart: float


@dataclass
class _State:
    """Of each frame: distance to the nearest taken one, and time to the nearest of its recording; of each class: how many
    taken frames show it."""

    distance: NDArray[np.float64]
    gap_s: NDArray[np.float64]
    shown: NDArray[np.float64]
    free: NDArray[np.bool_]


def choose(
    frames: Frames,
    count: int,
    weights: Weights = Weights(),
    beside: Sequence[NDArray[np.float32]] = (),
) -> list[Choice]:
    """At most count frames, the best first; fewer where all others are like one that was taken. The same frames give the
    same choice: of equals the first is taken. beside: descriptors [D] of what is labelled already."""
    total = len(frames)
    if not total:
        return []
    usual = _usual_distance(frames.descriptor)
    uncertain = _ranks(frames.uncertainty)
    sees = frames.shares >= LEAST_SHARE
    rarity = _rarity(sees)
    gap_s = max(_span_s(frames) / max(count, 1), 1e-9)
    state = _State(np.full(total, np.inf), np.full(total, np.inf), np.zeros(sees.shape[1]), np.ones(total, np.bool_))
    for descriptor in beside:
        _move(state, frames, descriptor, usual)
    taken: list[Choice] = []
    while len(taken) < count and state.free.any():
        need = np.where(sees, rarity / (1.0 + state.shown), 0.0)
        rare = need.max(axis=1, initial=0.0)
        far = np.minimum(1.0, state.distance / (_WELL_APART * usual))
        unlike = np.where(np.isinf(state.distance), 0.0, far)
        apart = np.minimum(1.0, state.gap_s / gap_s)
        gain = weights.uncertain * uncertain + weights.rare * rare + weights.unlike * unlike + weights.apart * apart
        best = int(np.argmax(np.where(state.free, gain, -np.inf)))
        shows = int(need[best].argmax()) if rare[best] > 0 else -1
        taken.append(
            Choice(best, float(uncertain[best]), float(rare[best]), shows, float(unlike[best]), float(apart[best]))
        )
        state.shown += sees[best]
        state.free[best] = False
        own = frames.recording == frames.recording[best]
        state.gap_s[own] = np.minimum(state.gap_s[own], np.abs(frames.time_s[own] - frames.time_s[best]))
        _move(state, frames, frames.descriptor[best], usual)
    return taken


def _move(state: _State, frames: Frames, descriptor: NDArray[np.float32], usual: float) -> None:
    """Take note of a frame that is taken: what is the same again is no longer free."""
    distance = np.linalg.norm(frames.descriptor - descriptor, axis=1).astype(np.float64)
    np.minimum(state.distance, distance, out=state.distance)
    state.free &= distance >= _ALIKE * usual


def _usual_distance(descriptor: NDArray[np.float32]) -> float:
    """Of two frames: by those of a few from their mean, which is shorter by the root of 2."""
    some = descriptor[:: max(1, len(descriptor) // _SAMPLE)]
    spread = float(np.linalg.norm(some - some.mean(axis=0), axis=1).mean())
    return max(spread * 2**0.5, 1e-6)


def _ranks(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """For each value the share of the others that are smaller, in [0, 1]."""
    return np.searchsorted(np.sort(values), values) / max(1, len(values) - 1)


def _rarity(sees: NDArray[np.bool_]) -> NDArray[np.float64]:
    """By class, in [0, 1]: 0 where every frame shows it or none, 1 for the rarest."""
    often = sees.mean(axis=0)
    with np.errstate(divide="ignore"):
        surprise = np.where(often > 0, -np.log(often), 0.0)
    return np.asarray(surprise / max(float(surprise.max(initial=0.0)), 1e-9))


def _span_s(frames: Frames) -> float:
    """How long all recordings are together."""
    spans = (np.ptp(frames.time_s[frames.recording == number]) for number in np.unique(frames.recording))
    return float(sum(spans))
