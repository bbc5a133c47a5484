"""Which stamps can be believed, on made-up times."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from seg_perception.ros.stamps import AHEAD, NO_CLOCK, NOT_NEWER, OLD, ZERO, StampJudge

S = 10**9


def causes(*stamps_and_nows: tuple[float, float]) -> list[str]:
    judge = StampJudge(max_age_s=5.0, max_ahead_s=0.5)
    doubts = [judge.judge(round(stamp * S), round(now * S)) for stamp, now in stamps_and_nows]
    return [doubt.cause if doubt else "" for doubt in doubts]


def test_each_trouble_has_its_cause() -> None:
    assert causes((100, 100.1), (100.1, 100.2)) == ["", ""]
    assert causes((0, 100), (-3, 100)) == [ZERO, ZERO]
    assert causes((100, 100), (100, 100.1), (99, 100.2), (98, 100.3)) == ["", NOT_NEWER, NOT_NEWER, NOT_NEWER]
    assert causes((95, 100), (94.9, 100)) == ["", NOT_NEWER]
    assert causes((94.9, 100), (94.95, 100)) == [OLD, OLD]
    assert causes((100.5, 100), (100.6, 100)) == ["", AHEAD]
    assert causes((100, 0), (101, 0)) == [NO_CLOCK, NO_CLOCK]


def test_one_bad_stamp_does_not_spoil_those_after_the_next() -> None:
    assert causes((100, 100), (90000, 100.1), (100.2, 100.2), (100.3, 100.3)) == ["", AHEAD, NOT_NEWER, ""]


def test_a_recording_that_begins_again_with_its_clock_is_no_trouble() -> None:
    assert causes((100, 100.1), (110, 110.1), (50, 50.1), (50.1, 50.2)) == ["", "", "", ""]


@given(st.lists(st.floats(1e-3, 1.0), min_size=1, max_size=30), st.floats(0.0, 4.9))
def test_time_that_runs_is_believed(steps: list[float], delay_s: float) -> None:
    nows = [1000.0 + sum(steps[: i + 1]) for i in range(len(steps))]
    assert not any(causes(*((now - delay_s, now) for now in nows)))
