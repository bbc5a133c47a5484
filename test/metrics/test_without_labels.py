"""Flicker on pictures whose motion is known, and the shares that need no labels."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from seg_perception.labels import VOID
from seg_perception.metrics.without_labels import BINS, FLOW_WIDTH_PX, Flicker, WithoutLabels
from seg_perception.results import Frame

SIZE_HW = (96, 160)


def texture(seed: int, size_hw: tuple[int, int] = SIZE_HW) -> np.ndarray:
    """uint8 [H, W, 3] with detail of a few pixels, which flow can follow."""
    noise = np.random.default_rng(seed).normal(size=(*size_hw, 3)).astype(np.float32)
    return np.clip(cv2.GaussianBlur(noise, (0, 0), 2) * 400 + 128, 0, 255).astype(np.uint8)


def blocks(size_hw: tuple[int, int] = SIZE_HW) -> np.ndarray:
    """uint8 [H, W] of 16 x 16 px squares of four classes."""
    y, x = np.indices(size_hw) // 16
    return ((x + 2 * y) % 4).astype(np.uint8)


def test_every_change_in_a_still_picture_counts() -> None:
    flicker, rgb, mask = Flicker(), texture(0), blocks()
    assert flicker.add(rgb, mask, follows=True) is None
    assert flicker.add(rgb, mask, follows=True) == 0
    other = mask.copy()
    other[10:20, 5:35] = VOID
    other[50, 60] = 9
    assert flicker.add(rgb, other, follows=True) == 301 / mask.size
    assert flicker.add(rgb, other, follows=True) == 0
    assert flicker.share == 301 / (3 * mask.size)
    assert flicker.compared == flicker.seen


def test_a_mask_that_moves_with_the_picture_does_not_flicker() -> None:
    wide, labels = texture(1, (96, 200)), blocks((96, 200))
    views = [(wide[:, k : k + 160], labels[:, k : k + 160]) for k in (0, 5, 11, 16)]
    moving, stuck = Flicker(), Flicker()
    for rgb, mask in views:
        moving.add(rgb, mask, follows=True)
        stuck.add(rgb, views[0][1], follows=True)
    assert moving.share is not None and stuck.share is not None
    assert moving.share < 0.02 and stuck.share > 0.2
    assert moving.compared > 0.9 * moving.seen


def test_what_comes_from_behind_something_does_not_count() -> None:
    behind, front = texture(2), texture(3, (40, 40))
    flicker, masks = Flicker(), []
    for left in (40, 50):
        rgb, mask = behind.copy(), np.zeros(SIZE_HW, np.uint8)
        rgb[30:70, left : left + 40], mask[30:70, left : left + 40] = front, 1
        masks.append(mask)
        flicker.add(rgb, mask, follows=True)
    uncovered = 10 * 40
    assert np.count_nonzero(masks[0] != masks[1]) == 2 * uncovered
    assert flicker.changed < uncovered / 4
    assert flicker.seen - flicker.compared > uncovered / 2


def test_large_pictures_are_compared_on_a_coarser_grid_and_masks_may_have_another_size() -> None:
    flicker = Flicker()
    rgb = texture(4, (200, 2 * FLOW_WIDTH_PX))
    mask = np.zeros((50, FLOW_WIDTH_PX // 2), np.uint8)
    flicker.add(rgb, mask, follows=True)
    mask[:, :64] = 1
    assert flicker.add(rgb, mask, follows=True) == 0.25
    assert flicker.seen == 100 * FLOW_WIDTH_PX


@pytest.mark.parametrize("second_hw", [SIZE_HW, (96, 200)])
def test_frames_that_do_not_follow_each_other_are_not_compared(second_hw: tuple[int, int]) -> None:
    flicker = Flicker()
    flicker.add(texture(5), blocks(), follows=False)
    assert flicker.add(texture(6, second_hw), blocks(second_hw), follows=second_hw != SIZE_HW) is None
    assert flicker.share is None
    assert flicker.add(texture(6, second_hw), blocks(second_hw), follows=True) == 0


def test_pictures_too_small_for_flow_are_not_compared() -> None:
    flicker = Flicker()
    for _ in range(2):
        assert flicker.add(texture(7, (8, 64)), blocks((8, 64)), follows=True) is None


def test_confidence_and_unlabelled_by_hand() -> None:
    nothing = {"flicker": None, "flicker_compared": None, "unlabelled": None, "confidence_histogram": [0] * BINS}
    sums = WithoutLabels()
    assert sums.summary() == nothing
    semantic = np.array([[0, 1, VOID, 3]], np.uint8)
    for values in ([0, 7, 8, 255], [255, 254, 247, 128]):
        sums.add(Frame(np.zeros((1, 4, 3), np.uint8)), semantic, np.array([values], np.uint8))
    summary = sums.summary()
    expected = [0] * BINS
    expected[0], expected[1], expected[16], expected[30], expected[31] = 2, 1, 1, 1, 3
    assert summary["confidence_histogram"] == expected
    assert (summary["unlabelled"], summary["flicker"]) == (0.25, None)


@pytest.mark.parametrize(("gap_ns", "follows"), [(33_333_333, True), (10**9, True), (2 * 10**9, False), (1, False)])
def test_stamps_tell_whether_a_frame_follows(gap_ns: int, follows: bool) -> None:
    sums, mask, sure = WithoutLabels(), blocks(), np.full(SIZE_HW, 255, np.uint8)
    start = 1_700_000_000 * 10**9
    assert sums.add(Frame(texture(8), start), mask, sure) is None
    assert sums.add(Frame(texture(8), start + gap_ns), mask, sure) == (0.0 if follows else None)
    assert sums.add(Frame(texture(8), start), mask, sure) is None  # stamps that jump back
    assert sums.summary()["flicker_compared"] == (1.0 if follows else None)
