from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seg_perception.errors import SegPerceptionError
from seg_perception.network_size import FEWEST_PIXELS, STEP, SizeLimits, size_hw_of

LIMITS = SizeLimits((128, 128), (1024, 2048))
BUDGET = 384 * 256


@pytest.mark.parametrize(
    ("camera_hw", "size_hw"),
    [
        ((720, 1280), (224, 416)),  # 1.78 and 1.86
        ((360, 480), (256, 352)),  # 1.33 and 1.38
        ((375, 1242), (160, 544)),  # 3.31 and 3.40
        ((1280, 720), (416, 224)),  # upright
    ],
)
def test_a_camera_is_seen_in_its_own_shape(camera_hw: tuple[int, int], size_hw: tuple[int, int]) -> None:
    assert LIMITS.nearest(camera_hw, BUDGET) == size_hw


@given(st.integers(64, 4000), st.integers(64, 4000), st.integers(200, 1500))
def test_a_size_is_allowed_within_the_budget_and_stretches_little(height: int, width: int, side: int) -> None:
    height, width = max(height, width // 5), max(width, height // 5)  # within 1:5
    pixels = side * side
    size = LIMITS.nearest((height, width), pixels)
    LIMITS.check(size)
    assert size[0] * size[1] <= pixels
    assert size[0] * size[1] >= FEWEST_PIXELS * pixels

    def stretch(hw: tuple[int, int]) -> float:
        return abs(math.log(hw[1] / hw[0] * height / width))

    others = [(h, w) for h in range(128, 1025, STEP) for w in range(128, 2049, STEP) if h * w <= pixels]
    better = [hw for hw in others if stretch(hw) < stretch(size) and hw[0] * hw[1] >= size[0] * size[1]]
    assert not better


def test_limits_that_leave_nothing_of_the_budget_give_what_is_nearest() -> None:
    narrow = SizeLimits((512, 512), (512, 1024))
    assert narrow.nearest((720, 1280), 100 * 100) == (512, 512)
    assert SizeLimits((64, 64), (64, 96)).nearest((720, 1280), BUDGET) == (64, 96)


@pytest.mark.parametrize("size_hw", [(96, 384), (256, 2080), (250, 384), (0, 0), (256, -384)])
def test_a_size_outside_is_refused_with_what_is_allowed(size_hw: tuple[int, int]) -> None:
    with pytest.raises(SegPerceptionError, match=r"multiples of 32 from 128x128 to 2048x1024"):
        LIMITS.check(size_hw)


@pytest.mark.parametrize("limits", [((0, 32), (64, 64)), ((64, 64), (32, 64)), ((33, 64), (64, 64))])
def test_limits_that_cannot_be_are_refused(limits: tuple[tuple[int, int], tuple[int, int]]) -> None:
    with pytest.raises(SegPerceptionError, match="cannot be"):
        SizeLimits(*limits)


def test_another_size_than_the_only_one_is_refused_with_that_one() -> None:
    with pytest.raises(SegPerceptionError, match="at 128x64: it is made for 96x64 alone, so give that"):
        SizeLimits((64, 96), (64, 96)).check((64, 128))


@pytest.mark.parametrize("words", ["", "384", "384x", "a384x256", "384x256x3", "-384x256", "1" * 5000 + "x256"])
def test_what_is_no_size_is_refused_in_a_short_sentence(words: str) -> None:
    with pytest.raises(SegPerceptionError, match="is no size: write WIDTHxHEIGHT") as caught:
        size_hw_of(words)
    assert len(str(caught.value)) < 300
