"""Which frames are taken, held against a plain statement of the same."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from seg_perception.labelling.choose import LEAST_SHARE, Choice, Frames, Weights, choose


def frames(
    count: int, *, uncertainty: object = 0.0, sees: object = (), descriptor: object = None, recording: object = 0
) -> Frames:
    shares = np.zeros((count, 3), np.float32)
    for frame, label in sees:  # type: ignore[attr-defined]
        shares[frame, label] = 0.1
    spread = np.eye(count, max(count, 2), dtype=np.float32) if descriptor is None else np.array(descriptor, np.float32)
    return Frames(
        np.broadcast_to(np.array(uncertainty, np.float64), count).copy(),
        shares,
        spread,
        np.broadcast_to(np.array(recording), count).copy().astype(np.int64),
        np.arange(count, dtype=np.float64),
    )


def taken(choices: list[Choice]) -> list[int]:
    return [choice.index for choice in choices]


def test_the_least_sure_frame_is_first() -> None:
    assert taken(choose(frames(4, uncertainty=[0.1, 0.2, 0.9, 0.3]), 1)) == [2]


def test_a_class_that_few_frames_show_comes_before_one_that_all_show() -> None:
    found = choose(frames(5, sees=[(i, 0) for i in range(5)] + [(3, 2)]), 1)
    assert taken(found) == [3] and found[0].shows == 2


def test_the_second_is_not_for_a_class_that_the_first_has_shown() -> None:
    """Frames 0 and 1 show class 1, frame 4 class 2: one of each is worth more than two of a kind."""
    found = choose(frames(6, sees=[(0, 1), (1, 1), (4, 2), (5, 0), (3, 0), (2, 0)]), 2, Weights(0, 1, 0, 0))
    assert taken(found) == [4, 0]


def test_what_is_like_a_taken_frame_is_never_taken() -> None:
    """A car that stands for minutes: 50 frames in three places give three."""
    place = np.repeat(np.eye(3, dtype=np.float32), [48, 1, 1], axis=0)
    found = choose(frames(50, descriptor=place, uncertainty=np.linspace(1, 0, 50)), 10)
    assert sorted(taken(found)) == [0, 48, 49]


def test_what_is_labelled_already_is_not_labelled_again() -> None:
    every = frames(3)
    assert taken(choose(every, 3, beside=[every.descriptor[1]])) == [0, 2]


def test_of_equal_frames_those_far_apart_are_taken_and_of_every_recording_some() -> None:
    even = choose(frames(9, recording=[0] * 6 + [1] * 3), 3, Weights(0, 0, 0, 1))
    assert {0, 1} == {0 if i < 6 else 1 for i in taken(even)}
    assert len({i // 3 for i in taken(even)}) == 3


def test_nothing_is_chosen_of_nothing() -> None:
    assert choose(frames(0, descriptor=np.zeros((0, 2))), 5) == []


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 12), st.integers(1, 20))
def test_each_step_takes_the_best_by_the_plain_sum(seed: int, total: int, count: int) -> None:
    rng = np.random.default_rng(seed)
    every = Frames(
        rng.random(total),
        (rng.random((total, 4)) * 0.006).astype(np.float32),
        rng.normal(size=(total, 3)).astype(np.float32),
        rng.integers(0, 2, total),
        rng.random(total) * 10,
    )
    found = choose(every, count)
    assert found == choose(every, count)
    mean = every.descriptor.mean(axis=0)
    usual = 2**0.5 * np.mean([np.linalg.norm(d - mean) for d in every.descriptor])
    spans = [np.ptp(every.time_s[every.recording == r]) for r in set(every.recording.tolist())]
    gap = max(sum(spans) / count, 1e-9)
    often = [np.mean([s[c] >= LEAST_SHARE for s in every.shares]) for c in range(4)]
    surprise = [-np.log(o) if o else 0.0 for o in often]
    before: list[int] = []

    def far(i: int) -> float:
        return min((float(np.linalg.norm(every.descriptor[i] - every.descriptor[j])) for j in before), default=np.inf)

    def gain(i: int) -> float:
        uncertain = sum(u < every.uncertainty[i] for u in every.uncertainty) / max(1, total - 1)
        rare = 0.0
        for c in range(4):
            if every.shares[i, c] >= LEAST_SHARE:
                shown = sum(every.shares[j, c] >= LEAST_SHARE for j in before)
                rare = max(rare, surprise[c] / max(*surprise, 1e-9) / (1 + shown))
        same = [j for j in before if every.recording[j] == every.recording[i]]
        apart = min((min(1.0, abs(every.time_s[i] - every.time_s[j]) / gap) for j in same), default=1.0)
        unlike = min(1.0, far(i) / (1.5 * max(usual, 1e-6))) if before else 0.0
        return float(uncertain + rare + unlike + 0.5 * apart)

    for choice in found:
        free = [i for i in range(total) if i not in before and far(i) >= 0.1 * max(usual, 1e-6)]
        assert choice.index in free
        assert gain(choice.index) >= max(map(gain, free)) - 1e-6
        before.append(choice.index)
    if len(found) < count:
        assert all(i in before or far(i) < 0.1 * max(usual, 1e-6) + 1e-6 for i in range(total))
