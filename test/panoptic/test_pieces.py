"""What an instance is, where the network's centres say what cannot be. The masks are drawings."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seg_perception.compiled import counted
from seg_perception.labels import BUILT_IN, CAMVID
from seg_perception.panoptic import pieces
from seg_perception.panoptic.decoder import PanopticSettings
from seg_perception.panoptic.pieces import WholeThings
from seg_perception.results import Panoptic, Segment

ROAD, POLE, CAR, WALKER, RIDER = (
    CAMVID.by_name(name).id for name in ("road", "pole", "car", "pedestrian", "bicyclist")
)
SIZE_HW = (60, 120)


def drawn(*parts, size_hw=SIZE_HW, seed=0):
    """Each of parts = (class, instance, (left, top, right, bottom)) over the ones before; confidences are of chance."""
    semantic, instance = np.full(size_hw, ROAD, np.uint8), np.zeros(size_hw, np.uint16)
    for class_id, number, (left, top, right, bottom) in parts:
        semantic[top:bottom, left:right], instance[top:bottom, left:right] = class_id, number
    return panoptic_of(semantic, instance, np.random.default_rng(seed).integers(100, 256, size_hw).astype(np.uint8))


def panoptic_of(semantic, instance, confidence):
    """With segments counted plainly, things first and by falling score, as a decoder numbers them."""
    found = [segment_of(semantic, instance, confidence, int(n)) for n in np.unique(instance[instance > 0])]
    numbers = np.zeros(instance.max() + 1, np.uint16)
    numbers[[s.id for s in sorted(found, key=lambda s: -s.score)]] = np.arange(1, len(found) + 1)
    instance = numbers[instance]
    things = [segment_of(semantic, instance, confidence, n) for n in range(1, len(found) + 1)]
    road = semantic == ROAD
    stuff = Segment(len(things) + 1, ROAD, False, 0.5, int(road.sum()), (0, 0, *semantic.shape[::-1]))
    return Panoptic(semantic, instance, confidence, (*things, stuff))


def segment_of(semantic, instance, confidence, number):
    inside = instance == number
    ys, xs = np.nonzero(inside)
    box = (int(xs.min()), int(ys.min()), int(np.ptp(xs)) + 1, int(np.ptp(ys)) + 1)
    score = int(confidence[inside].astype(np.int64).sum()) / (255 * len(xs))
    return Segment(number, int(np.bincount(semantic[inside]).argmax()), True, score, len(xs), box)


def whole(panoptic, **settings):
    return WholeThings(None, CAMVID, PanopticSettings(**settings)).made_whole(panoptic)


def checked(before, **settings):
    """The frame made whole, whose classes are those of before and whose segments are those of its masks, by falling score."""
    semantic, confidence = before.semantic.copy(), before.confidence.copy()
    after = whole(before, **settings)
    assert np.array_equal(after.semantic, semantic) and np.array_equal(after.confidence, confidence)
    things = [s for s in after.segments if s.is_thing]
    assert [s.id for s in after.segments] == list(range(1, len(after.segments) + 1))
    assert things == [segment_of(semantic, after.instance, confidence, s.id) for s in things]
    assert set(np.unique(after.instance)) - {0} == {s.id for s in things}
    assert [s.score for s in things] == sorted((s.score for s in things), reverse=True)
    return after


def at(panoptic, x, y):
    """The thing at a pixel, None where none is."""
    return next((s for s in panoptic.segments if s.is_thing and s.id == panoptic.instance[y, x]), None)


def test_far_stray_pixels_leave_the_box_but_keep_their_class():
    found = checked(drawn((CAR, 1, (10, 20, 40, 40)), (CAR, 1, (100, 5, 104, 8))))
    assert at(found, 20, 30).box == (10, 20, 30, 20)
    assert at(found, 101, 6) is None and found.semantic[6, 101] == CAR


def test_far_pixels_that_touch_another_car_are_its():
    found = checked(drawn((CAR, 1, (5, 20, 35, 40)), (CAR, 2, (80, 20, 110, 40)), (CAR, 1, (80, 16, 110, 20))))
    assert at(found, 90, 18) == at(found, 90, 30) != at(found, 20, 30)
    assert at(found, 90, 18).box == (80, 16, 30, 24)


@pytest.mark.parametrize("left", [14, 25, 36])
def test_a_car_that_a_pole_cuts_in_two_stays_one(left):
    found = checked(drawn((CAR, 1, (10, 20, 40, 40)), (POLE, 0, (left, 0, left + 3, 60))))
    assert at(found, 11, 30) == at(found, 39, 30) and at(found, 11, 30).box == (10, 20, 30, 20)


def test_a_car_that_a_walker_cuts_in_two_stays_one():
    found = checked(drawn((CAR, 1, (10, 20, 50, 40)), (WALKER, 2, (27, 15, 34, 45))))
    assert at(found, 12, 30) == at(found, 48, 30) != at(found, 30, 30)


def test_a_walker_before_a_car_is_none_of_it_though_the_network_says_so():
    found = checked(drawn((CAR, 1, (10, 20, 60, 45)), (WALKER, 1, (30, 15, 38, 50))))
    car, walker = at(found, 15, 30), at(found, 33, 30)
    assert (car.class_id, walker.class_id) == (CAR, WALKER)
    assert car.box == (10, 20, 50, 25) and walker.box == (30, 15, 8, 35)


def test_a_walkers_legs_are_his_though_they_went_to_the_car_behind():
    found = checked(drawn((CAR, 1, (10, 20, 60, 45)), (WALKER, 2, (30, 12, 38, 34)), (WALKER, 1, (30, 34, 38, 50))))
    assert at(found, 33, 20) == at(found, 33, 45) and at(found, 33, 45).box == (30, 12, 8, 38)


def test_a_walker_of_whom_the_car_has_one_half_and_another_walker_the_other_is_one_of_his_own():
    halves = ((WALKER, 1, (40, 20, 44, 45)), (WALKER, 2, (44, 20, 48, 45)))
    found = checked(drawn((CAR, 1, (5, 10, 40, 50)), *halves, (WALKER, 2, (56, 10, 68, 50))))
    assert at(found, 42, 30).box == (40, 20, 8, 25) and at(found, 60, 30).box == (56, 10, 12, 40)
    assert at(found, 20, 30).box == (5, 10, 35, 40)


def test_a_cars_side_that_went_to_the_walker_before_it_is_the_cars():
    found = checked(drawn((CAR, 1, (10, 20, 28, 45)), (CAR, 2, (36, 20, 46, 40)), (WALKER, 2, (28, 5, 36, 55))))
    assert at(found, 40, 30) == at(found, 12, 30) and at(found, 12, 30).box == (10, 20, 36, 25)


def test_what_is_beside_a_walker_of_a_car_that_nobody_found_is_no_car_of_its_own():
    found = checked(drawn((CAR, 1, (36, 20, 46, 40)), (WALKER, 1, (28, 5, 36, 55))))
    assert at(found, 30, 30).class_id == WALKER
    assert at(found, 40, 30) in (None, at(found, 30, 30))


def test_a_rider_and_his_bicycle_stay_one_whatever_their_classes_are():
    before = drawn((WALKER, 1, (30, 5, 38, 30)), (RIDER, 1, (26, 30, 42, 50)))
    assert checked(before).segments == before.segments


def test_two_walkers_side_by_side_whose_masks_touch_stay_two():
    before = drawn((WALKER, 1, (30, 5, 38, 50)), (WALKER, 2, (38, 8, 46, 52)))
    assert checked(before).segments == before.segments


def test_a_driver_in_the_window_is_part_of_the_car():
    before = drawn((CAR, 1, (10, 20, 60, 45)), (WALKER, 1, (20, 24, 22, 26)))
    assert checked(before).segments == before.segments


def test_what_hangs_together_is_left_as_it_is():
    before = drawn((CAR, 1, (10, 20, 40, 40)), (CAR, 2, (60, 20, 90, 40)), (WALKER, 3, (100, 5, 108, 50)))
    assert whole(before) is before


def test_things_below_min_thing_area_are_none():
    strayed = drawn((CAR, 1, (10, 20, 15, 30)), (CAR, 1, (100, 5, 107, 12)))
    assert not [s for s in checked(strayed, min_thing_area=0.008).segments if s.is_thing]


def test_without_things_there_is_nothing_to_do():
    before = drawn()
    assert whole(before) is before


def test_noise_is_left_as_it_is():
    rng = np.random.default_rng(0)
    instance = rng.integers(0, 30, SIZE_HW).astype(np.uint16)
    semantic = np.where(instance > 0, rng.choice([CAR, WALKER], SIZE_HW), ROAD).astype(np.uint8)
    before = panoptic_of(semantic, instance, np.full(SIZE_HW, 200, np.uint8))
    assert whole(before) is before


def _plain_pieces(semantic, instance):
    """{pixel: piece} by flooding."""
    piece, seen = {}, 0
    kind = semantic == CAR
    for start in zip(*np.nonzero(instance)):
        if start in piece:
            continue
        todo = [start]
        piece[start] = seen
        while todo:
            y, x = todo.pop()
            for near in ((y + dy, x + dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1)):
                if near in piece or not (0 <= near[0] < instance.shape[0] and 0 <= near[1] < instance.shape[1]):
                    continue
                if instance[near] == instance[y, x] and kind[near] == kind[y, x]:
                    piece[near] = seen
                    todo.append(near)
        seen += 1
    return piece, seen


@given(st.integers(0, 2**32 - 1), st.sampled_from([(7, 9), (12, 5), (1, 20), (20, 1)]))
@settings(max_examples=30, deadline=None)
def test_pieces_are_what_hangs_together(seed, size_hw):
    rng = np.random.default_rng(seed)
    instance = rng.integers(0, 3, size_hw).astype(np.uint16)
    semantic = np.where(instance > 0, rng.choice([CAR, WALKER, RIDER], size_hw), ROAD).astype(np.uint8)
    panoptic = panoptic_of(semantic, instance, np.full(size_hw, 200, np.uint8))
    things = [s for s in panoptic.segments if s.is_thing]
    if not things:
        return
    runs, found = WholeThings(None, CAMVID, PanopticSettings())._find(panoptic, things)
    expected, count = _plain_pieces(semantic, instance)
    assert len(found) == count
    for y, begin, end, number, class_id, piece in runs.tolist():
        assert {expected[y, x] for x in range(begin, end)} == {piece}
        assert (instance[y, begin:end] == number).all() and (semantic[y, begin:end] == class_id).all()
    for piece, (*_, area, left, top, right, bottom) in enumerate(found.tolist()):
        pixels = [place for place, of in expected.items() if of == piece]
        (low_y, low_x), (high_y, high_x) = np.min(pixels, 0), np.max(pixels, 0)
        assert (area, left, top, right, bottom) == (len(pixels), low_x, low_y, high_x, high_y)


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=30, deadline=None)
def test_masks_and_segments_agree_whatever_the_network_says(seed):
    rng = np.random.default_rng(seed)
    parts = []
    for _ in range(rng.integers(1, 12)):
        left, top = int(rng.integers(0, 110)), int(rng.integers(0, 50))
        right, bottom = left + int(rng.integers(1, 30)), top + int(rng.integers(1, 30))
        parts.append((int(rng.choice([CAR, WALKER, RIDER])), int(rng.integers(1, 4)), (left, top, right, bottom)))
    found = checked(drawn(*parts, seed=seed), min_thing_area=float(rng.choice([0.0, 0.01])))
    again = found.instance.copy()
    assert len(np.unique(again)) == len({s.id for s in found.segments if s.is_thing}) + bool((again == 0).any())


def test_after_warming_up_no_frame_waits_for_a_compiler():
    pieces.warm_up(CAMVID)
    with counted() as compilations:
        checked(drawn((CAR, 1, (10, 20, 60, 45)), (WALKER, 1, (30, 15, 38, 50)), (CAR, 1, (100, 5, 104, 8))))
        assert compilations() == 0


def test_buses_and_cars_are_of_one_kind_and_whoever_rides_is_of_the_other():
    names = {label.name for labels in BUILT_IN.values() for label in labels.classes if label.thing}
    assert names - pieces.LARGE_VEHICLES == {"person", "pedestrian", "rider", "motorcycle", "bicycle", "bicyclist"}
