"""Steadier classes: what is held, what never is, and that off is off."""

import cv2
import numpy as np
import pytest

from seg_perception.labels import LabelClass, LabelSet
from seg_perception.panoptic.steadier import Steadier, TemporalSettings
from seg_perception.results import NetworkOutput

ROAD, GRASS, WALL, CAR = range(4)
LABELS = LabelSet(
    (
        LabelClass(ROAD, "road", (128, 64, 128), drivable_cost=0),
        LabelClass(GRASS, "grass", (0, 128, 0), drivable_cost=80),
        LabelClass(WALL, "wall", (70, 70, 70)),
        LabelClass(CAR, "car", (0, 0, 142), thing=True),
    )
)
GRID = (40, 64)
PERIOD_NS = 33_000_000


def output(winner, margin, grid=GRID):
    """Logits of one class (or a class a cell) ahead of all others by margin."""
    logits = np.zeros((4, *grid), np.float32)
    np.put_along_axis(logits, np.broadcast_to(winner, grid)[None].astype(int), np.float32(margin), axis=0)
    zero = np.zeros((1, 1, *grid), np.float32)
    return NetworkOutput(logits[None], zero, np.zeros((1, 2, *grid), np.float32))


def picture(shift=0, grid=GRID):
    """Noise that is smooth enough to be followed, moved to the right by so many cells, 8 px each."""
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (grid[0] // 3 + 1, (grid[1] + 16) // 3 + 1), dtype=np.uint8)
    coarse = cv2.resize(coarse, (grid[1] + 16, grid[0]), interpolation=cv2.INTER_CUBIC)
    moved = coarse[:, 8 - shift : 8 - shift + grid[1]]
    return np.repeat(np.repeat(moved, 8, 0), 8, 1)[..., None].repeat(3, 2)


def winners(steadier, *frames, image=None):
    """The classes after the last of these outputs."""
    for i, frame in enumerate(frames, start=1):
        found = steadier.steady(picture() if image is None else image[i - 1], frame, i * PERIOD_NS)
    return found.semantic_logits[0].argmax(axis=0)


def test_what_changes_by_little_is_held_and_what_changes_by_more_is_not():
    settings = TemporalSettings(strength=1.0)
    assert (winners(Steadier(LABELS, settings), output(ROAD, 3), output(GRASS, 0.9)) == ROAD).all()
    assert (winners(Steadier(LABELS, settings), output(ROAD, 3), output(GRASS, 1.1)) == GRASS).all()
    assert (winners(Steadier(LABELS, settings), output(CAR, 3), output(ROAD, 0.9)) == CAR).all()
    assert (winners(Steadier(LABELS, settings), output(CAR, 30), output(ROAD, 1.1)) == ROAD).all(), "nothing lingers"


@pytest.mark.parametrize("before, now", [(ROAD, WALL), (ROAD, CAR), (GRASS, WALL), (GRASS, CAR), (WALL, CAR)])
def test_what_becomes_an_obstacle_or_a_thing_shows_at_once_however_unsure(before, now):
    steadier = Steadier(LABELS, TemporalSettings(strength=10.0))
    assert (winners(steadier, output(before, 9), output(before, 9), output(now, 0.01)) == now).all()


def test_off_is_the_very_output():
    steadier, frame = Steadier(LABELS, TemporalSettings()), output(ROAD, 1)
    assert steadier.steady(picture(), frame, PERIOD_NS) is frame


def test_the_backends_buffers_are_left_alone():
    steadier, second = Steadier(LABELS, TemporalSettings(strength=2.0)), output(GRASS, 0.5)
    kept = second.semantic_logits.copy()
    winners(steadier, output(ROAD, 3), second)
    assert np.array_equal(second.semantic_logits, kept)


def test_classes_move_with_the_picture():
    """Grass in the left third; the camera pans, so it must be held where it is now, not where it was."""
    classes = np.where(np.arange(GRID[1]) < 24, GRASS, ROAD)[None]
    moved = np.where(np.arange(GRID[1]) < 27, GRASS, ROAD)[None]
    steadier = Steadier(LABELS, TemporalSettings(strength=1.0))
    unsure = output(np.broadcast_to(ROAD, GRID), 0.5)
    found = winners(steadier, output(classes, 5), unsure, image=[picture(0), picture(3)])
    assert (found[8:32, 24:26] == GRASS).mean() > 0.8, "road there was unsure, and grass where it came from"
    assert (found == moved).mean() > 0.9


@pytest.mark.parametrize("stamps", [(2, 1), (1, 60), (1, 1), (0, 1)])
def test_frames_that_do_not_follow_are_judged_alone(stamps):
    steadier = Steadier(LABELS, TemporalSettings(strength=5.0))
    steadier.steady(picture(), output(ROAD, 3), stamps[0] * PERIOD_NS)
    found = steadier.steady(picture(), output(GRASS, 0.5), stamps[1] * PERIOD_NS)
    assert (found.semantic_logits[0].argmax(axis=0) == GRASS).all()


def test_another_grid_begins_anew_and_small_ones_have_no_flow():
    steadier = Steadier(LABELS, TemporalSettings(strength=5.0))
    steadier.steady(picture(), output(ROAD, 3), PERIOD_NS)
    small = (4, 6)
    for i, (winner, expected) in enumerate(((GRASS, GRASS), (ROAD, GRASS)), start=2):
        found = steadier.steady(picture(grid=small), output(winner, 0.5, small), i * PERIOD_NS)
        assert (found.semantic_logits[0].argmax(axis=0) == expected).all()


def test_a_strength_out_of_range_is_refused():
    with pytest.raises(ValueError, match="strength is -1"):
        TemporalSettings(strength=-1.0)
