"""When another size of the network is made beside the one that runs, and what is said meanwhile."""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import Any

import pytest
from fakes import FakeBackend, empty_output, model_info
from hypothesis import given
from hypothesis import strategies as st
from patience import WAIT_S

from seg_perception.network_size import SizeLimits
from seg_perception.ros import resizing
from seg_perception.ros.resizing import MUCH, PAUSE_S, SETTLED_S, Resizing, size_for_all, squeezed_by, stretch

MODEL = replace(model_info(size_hw=(96, 128)), limits=SizeLimits((32, 32), (256, 256)))
"""Sees a 4:3 camera in its own size, 128x96, and a wide one in another."""
OWN, USUAL, WIDE, TALL = (96, 128), (480, 640), (375, 1242), (1280, 720)


class Works:
    """Makes backends at once, or when it is let; notes what was asked of it."""

    def __init__(self, fails: str = "", taken: bool = True, turn: threading.Lock | None = None) -> None:
        self.fails, self.taken = fails, taken
        self.now_s, self.size_hw = 100.0, OWN
        self.made: list[tuple[int, int]] = []
        self.logged: list[str] = []
        self.backends: list[FakeBackend] = []
        self.goes_on = threading.Event()
        self.goes_on.set()
        turn = turn or threading.Lock()
        self.resizing = Resizing(self.make, self.take_over, self.logged.append, turn, lambda: self.now_s)

    def make(self, size_hw: tuple[int, int]) -> Any:
        self.made.append(size_hw)
        assert self.goes_on.wait(WAIT_S)
        if self.fails:
            raise RuntimeError(self.fails)
        self.backends.append(FakeBackend(lambda images: empty_output(MODEL)))
        return self.backends[-1]

    def take_over(self, backend: Any) -> bool:
        if self.taken:
            self.size_hw = self.made[-1]
        return self.taken

    def look(self, age_s: float = SETTLED_S, **images: tuple[int, int]) -> str:
        """The warning after a look at cameras whose images have had these sizes for age_s; what it began has ended."""
        shapes = {name: (image_hw, self.now_s - age_s) for name, image_hw in images.items()}
        self.resizing.look_after(MODEL, self.size_hw, shapes)
        if self.goes_on.is_set():
            for thread in threading.enumerate():
                if thread.name == "resizing":
                    thread.join(WAIT_S)
        return self.resizing.warning


def test_a_camera_that_the_engine_squeezes_gets_an_engine_of_its_shape_and_the_old_one_runs_until_then() -> None:
    works = Works()
    works.goes_on.clear()
    assert works.look(front=USUAL) == "" and works.made == []
    better = MODEL.size_for(WIDE)
    told = works.look(front=WIDE)
    assert "images of 1242x375 (front) are squeezed to the engine's 128x96" in told
    assert f"until an engine for {better[1]}x{better[0]} is built, in the background" in told
    assert works.size_hw == OWN, "the old one runs"
    works.now_s += 1
    assert works.look(front=WIDE) == told and works.made == [better], "one at a time"
    works.goes_on.set()
    works.look(front=WIDE)
    assert works.look(front=WIDE) == "" and works.size_hw == better and works.made == [better]
    assert [line for line in works.logged if "squeezed" in line] == [told], "told once"
    assert not works.backends[0].closed


def test_a_shape_must_stay_for_a_while() -> None:
    works = Works()
    assert "kept their shape for 3 s" in works.look(SETTLED_S - 0.1, front=WIDE) and works.made == []
    works.look(SETTLED_S, front=WIDE)
    assert works.made == [MODEL.size_for(WIDE)]


def test_a_camera_that_goes_to_and_fro_costs_no_more_than_one_change_in_a_while() -> None:
    """For ten minutes of looks, between two shapes that each stay for 10 s."""
    works = Works()
    for second in range(600):
        works.now_s += 1
        image_hw = WIDE if second // 10 % 2 else USUAL
        told = works.look(second % 10, front=image_hw)
        if works.made and works.size_hw != MODEL.size_for(image_hw) and works.now_s < 100 + PAUSE_S:
            assert "the size changes once in 60 s" in told
    assert 2 <= len(works.made) <= 600 / PAUSE_S


def test_what_cannot_be_made_is_told_with_its_reason_and_not_tried_again() -> None:
    works = Works(fails="CUDA's cudaMalloc failed (out of memory)")
    works.look(front=WIDE)
    told = works.look(front=WIDE)
    better = MODEL.size_for(WIDE)
    why = f"there is no engine for {better[1]}x{better[0]} (CUDA's cudaMalloc failed (out of memory))"
    assert why in told and "set network_size to [128, 96] to stay" in told
    works.now_s += 10 * PAUSE_S
    assert works.look(front=WIDE) == told and len(works.made) == 1
    works.fails = ""
    works.look(front=TALL)
    assert works.size_hw == MODEL.size_for(TALL), "another size may still do"


def test_what_comes_too_late_is_closed_and_tried_again() -> None:
    works = Works(taken=False)
    works.look(front=WIDE)
    assert works.backends[0].closed and works.size_hw == OWN
    works.taken = True
    works.look(front=WIDE)
    assert works.size_hw == MODEL.size_for(WIDE) and len(works.made) == 2


def test_what_cannot_take_over_is_closed_and_told() -> None:
    works = Works()

    def fail(backend: Any) -> bool:
        raise MemoryError

    works.resizing._take_over = fail
    works.look(front=WIDE)
    assert works.backends[0].closed and "(MemoryError)" in works.look(front=WIDE) and works.size_hw == OWN


def test_one_engine_cannot_suit_cameras_of_different_shapes() -> None:
    works = Works()
    told = works.look(front=USUAL, left=WIDE)
    assert "images of 1242x375 (left) are squeezed" in told and "start a node for each shape" in told
    assert works.made == []
    works.look(front=WIDE, left=WIDE)
    assert works.made == [MODEL.size_for(WIDE)]


def test_what_a_former_activation_still_builds_is_waited_for_and_what_was_never_begun_is_not() -> None:
    turn = threading.Lock()
    first, second, third = (Works(turn=turn) for _ in range(3))
    for works in (first, second, third):
        works.goes_on.clear()
        works.look(front=WIDE)
    threads = [thread for thread in threading.enumerate() if thread.name == "resizing"]
    first.resizing.stop()
    second.resizing.stop()
    assert len(threads) == 3 and (first.made, second.made, third.made) == ([MODEL.size_for(WIDE)], [], [])
    for works in (first, second, third):
        works.taken = works is third
        works.goes_on.set()
    for thread in threads:
        thread.join(WAIT_S)
    assert first.backends[0].closed and second.made == [] and third.size_hw == MODEL.size_for(WIDE)


SIZES = st.tuples(st.integers(60, 2000), st.integers(60, 2000))


@given(st.dictionaries(st.sampled_from("abc"), SIZES, min_size=1))
def test_a_size_for_all_stretches_none_by_much_more_than_its_own_best(images: dict[str, tuple[int, int]]) -> None:
    squeezed = squeezed_by(MODEL, OWN, images)
    better = size_for_all(MODEL, squeezed, images) if squeezed else OWN
    if better is None:
        assert len({MODEL.size_for(image_hw) for image_hw in images.values()}) > 1
    else:
        assert MODEL.takes(better)
        for image_hw in images.values():
            assert stretch(image_hw, better) < MUCH * stretch(image_hw, MODEL.size_for(image_hw))


@pytest.mark.parametrize(("image_hw", "size_hw", "by"), [((480, 640), (96, 128), 1.0), ((100, 200), (64, 64), 2.0)])
def test_stretch_is_the_same_both_ways(image_hw: tuple[int, int], size_hw: tuple[int, int], by: float) -> None:
    assert stretch(image_hw, size_hw) == pytest.approx(by)
    assert stretch(image_hw[::-1], size_hw[::-1]) == pytest.approx(by)


def test_a_look_at_the_moment_when_the_thread_ends_is_a_look_like_any_other() -> None:
    making: list[tuple[int, int] | None] = [None, WIDE]

    class Ending(Resizing):
        """Has ended when it is looked at for the second time."""

        _making = property(lambda self: making.pop(), lambda self, value: None)  # type: ignore[assignment]

    works = Works()
    one = Ending(works.make, works.take_over, works.logged.append, threading.Lock(), lambda: works.now_s)
    one.look_after(MODEL, OWN, {"front": (WIDE, 0.0)})
    assert "is built" in one.warning


def test_nothing_is_said_where_no_camera_has_sent() -> None:
    assert Works().look() == "" and resizing.SETTLED_S < resizing.PAUSE_S
