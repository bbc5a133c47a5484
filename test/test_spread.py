"""Which of many are looked at."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from seg_perception.spread import spread


@given(count=st.integers(1, 5000), most=st.integers(1, 3000))
def test_different_ones_are_taken_from_the_first_to_the_last(count: int, most: int) -> None:
    found = spread(count, most)
    assert len(set(found)) == len(found) == min(count, most)
    assert found == sorted(found) and found[0] == 0
    assert most == 1 or found[-1] == count - 1


def test_of_none_none_are() -> None:
    assert spread(0, 3) == []
