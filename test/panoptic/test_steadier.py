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


def steady(steadier, image, frame, stamp_ns):
    """The only image's output after fusion."""
    found, place = steadier.steady(image[None], frame, 0, stamp_ns)
    assert place == 0
    return found


def winners(steadier, *frames, image=None):
    """The classes after the last of these outputs."""
    for i, frame in enumerate(frames, start=1):
        found = steady(steadier, picture() if image is None else image[i - 1], frame, i * PERIOD_NS)
    return found.semantic_logits[0].argmax(axis=0)


def test_what_changes_by_little_is_held_and_what_changes_by_more_is_not():
    """Both classes are pulled by 0.75 of the strength, so what is ahead by more than 1.5 of it wins at once."""
    settings = TemporalSettings(strength=1.0)
    assert (winners(Steadier(LABELS, settings), output(ROAD, 3), output(GRASS, 1.4)) == ROAD).all()
    assert (winners(Steadier(LABELS, settings), output(ROAD, 3), output(GRASS, 1.6)) == GRASS).all()
    assert (winners(Steadier(LABELS, settings), output(WALL, 3), output(ROAD, 1.4)) == WALL).all()
    assert (winners(Steadier(LABELS, settings), output(WALL, 30), output(ROAD, 1.6)) == ROAD).all(), "nothing lingers"


@pytest.mark.parametrize("gap_ns, margin", [(1, 1.6), (PERIOD_NS // 10, 1.6), (6 * PERIOD_NS, 0.6)])
def test_the_past_counts_for_less_after_a_longer_time_and_never_for_more(gap_ns, margin):
    steadier = Steadier(LABELS, TemporalSettings(strength=1.0))
    steady(steadier, picture(), output(ROAD, 3), PERIOD_NS)
    found = steady(steadier, picture(), output(GRASS, margin), PERIOD_NS + gap_ns)
    assert (found.semantic_logits[0].argmax(axis=0) == GRASS).all()


def test_a_thing_that_goes_leaves_nothing_behind():
    settings = TemporalSettings(strength=10.0)
    assert (winners(Steadier(LABELS, settings), output(CAR, 9), output(CAR, 9), output(ROAD, 0.1)) == ROAD).all()


@pytest.mark.parametrize("seed", range(3))
def test_how_sure_it_is_that_there_is_a_thing_stays_as_it_is(seed):
    rng, steadier = np.random.default_rng(seed), Steadier(LABELS, TemporalSettings(strength=5.0))
    zero = np.zeros((1, 1, *GRID), np.float32)
    for i in range(1, 4):
        frame = NetworkOutput(
            rng.normal(0, 3, (1, 4, *GRID)).astype(np.float32), zero, np.zeros((1, 2, *GRID), np.float32)
        )
        found = steady(steadier, picture(), frame, i * PERIOD_NS).semantic_logits[0]
        now = frame.semantic_logits[0]
        assert np.array_equal(found[CAR], now[CAR])
        np.testing.assert_allclose(found[:CAR].max(axis=0), now[:CAR].max(axis=0), rtol=1e-5, atol=1e-6)
    assert (found[:CAR] != now[:CAR]).mean() > 0.5, "nothing was averaged"


def by_definition(now, past, back, strength, memory):
    """Odds of the classes that are no things, [h, w, S], of what they are now and were in the frame before, less the largest
    each, and where each cell was: one cell after the other, in float64."""
    height, width, _ = now.shape
    found, best = now.copy(), now.argmax(axis=2)
    for y, x in np.ndindex(height, width):
        v, u = y + back[y, x, 1], x + back[y, x, 0]
        if not (-0.5 <= v < height - 0.5 and -0.5 <= u < width - 0.5):
            continue
        around = best[max(y - 1, 0) : y + 2, max(x - 1, 0) : x + 2]
        if (around == best[y, x]).all() and past[int(v + 0.5), int(u + 0.5)].argmax() == best[y, x]:
            continue
        patch = np.array(
            [
                [
                    past[np.clip(int(np.floor(v)) + i, 0, height - 1), np.clip(int(np.floor(u)) + j, 0, width - 1)]
                    for j in range(-1, 3)
                ]
                for i in range(-1, 3)
            ]
        )
        was = np.einsum("i,j,ijs->s", keys(v - np.floor(v)), keys(u - np.floor(u)), patch)
        mixed = now[y, x] + memory * np.clip(was - was.max() - now[y, x], -strength, strength)
        if not (best[y, x] == WALL and mixed.argmax() != WALL):
            found[y, x] = mixed - mixed.max()
    return found


def keys(t):
    """Keys' cubic convolution kernel, a = -0.5, at the distances of four neighbours."""
    d = np.abs(np.array((t + 1, t, 1 - t, 2 - t)))
    return np.where(d < 1, (1.5 * d - 2.5) * d**2 + 1, ((-0.5 * d + 2.5) * d - 4) * d + 2)


@pytest.mark.parametrize("seed", range(4))
def test_fusion_is_what_its_definition_says(seed):
    """On smooth noise, so that some cells lie within a class; the flow is made up and leaves the image in places."""
    rng, grid, strength = np.random.default_rng(seed), (18, 24), 1.5
    steadier = Steadier(LABELS, TemporalSettings(strength=strength))
    back = rng.uniform(-2, 2, (*grid, 2)).astype(np.float32)
    steadier._back = lambda grey: back
    past = None
    for i in range(1, 4):
        logits = cv2.resize(rng.normal(0, 4, (5, 6, 4)).astype(np.float32), grid[::-1], interpolation=cv2.INTER_CUBIC)
        frame = NetworkOutput(
            np.ascontiguousarray(logits.transpose(2, 0, 1))[None],
            np.zeros((1, 1, *grid), np.float32),
            np.zeros((1, 2, *grid), np.float32),
        )
        found = steady(steadier, picture(grid=grid), frame, i * PERIOD_NS).semantic_logits[0]
        now = logits[:, :, :CAR].astype(np.float64)
        now -= now.max(axis=2, keepdims=True)
        past = now if past is None else by_definition(now, past, back, strength, 0.75)
        odds = found[:CAR].transpose(1, 2, 0) - found[:CAR].max(axis=0)[..., None]
        np.testing.assert_allclose(odds, past, atol=1e-4)


def test_what_is_thinner_than_two_cells_is_not_worn_away_by_moving():
    """A strip of one cell's width that goes by 0.4 cells a frame, between road, as a network that answers it well sees it."""
    steadier = Steadier(LABELS, TemporalSettings(strength=10.0))
    steadier._back = lambda grey: np.broadcast_to(np.float32((-0.4, 0.0)), (*GRID, 2)).copy()
    for i in range(1, 40):
        near = np.clip(1 - np.abs(np.arange(GRID[1]) - (10 + 0.4 * i)), 0, 1)
        frame = output(np.full(GRID, GRASS), 0)
        frame.semantic_logits[0, ROAD] = 5.5
        frame.semantic_logits[0, GRASS] = 12.0 * near
        found = steady(steadier, picture(), frame, i * PERIOD_NS).semantic_logits[0].argmax(axis=0) == GRASS
        assert found[:, near.argmax()].all() and (found.sum(axis=1) <= 2).all()


def test_a_standing_picture_of_unsure_classes_changes_less_than_half_as_often():
    rng = np.random.default_rng(0)
    truth, changes = rng.normal(0, 1, (3, *GRID)), {}
    noise = rng.normal(0, 1, (20, 3, *GRID))
    for strength in (0.0, 1.5):
        steadier, before, changed = Steadier(LABELS, TemporalSettings(strength=strength)), None, 0
        for i, added in enumerate(noise, start=1):
            frame = output(np.full(GRID, CAR), -9.0)
            frame.semantic_logits[0, :CAR] = truth + added
            found = steady(steadier, picture(), frame, i * PERIOD_NS).semantic_logits[0].argmax(axis=0)
            changed += 0 if before is None else np.count_nonzero(found != before)
            before = found
        changes[strength] = changed
    assert changes[1.5] < changes[0.0] / 2


@pytest.mark.parametrize("before, now", [(ROAD, WALL), (ROAD, CAR), (GRASS, WALL), (GRASS, CAR), (WALL, CAR)])
def test_what_becomes_an_obstacle_or_a_thing_shows_at_once_however_unsure(before, now):
    steadier = Steadier(LABELS, TemporalSettings(strength=10.0))
    assert (winners(steadier, output(before, 9), output(before, 9), output(now, 0.01)) == now).all()


def test_a_frame_that_is_no_number_spoils_none_after_it():
    steadier, broken, after = Steadier(LABELS, TemporalSettings(strength=2.0)), output(GRASS, 3), output(GRASS, 0.5)
    broken.semantic_logits[0, :, 5:20, 5:20] = np.nan
    assert np.isnan(steady(steadier, picture(), broken, PERIOD_NS).semantic_logits).any(), "the decoder must refuse it"
    for i in (2, 3):
        assert np.isfinite(steady(steadier, picture(), after, i * PERIOD_NS).semantic_logits).all()


def test_labels_of_one_class_that_is_no_thing_are_left_as_they_are():
    labels = LabelSet(
        (LabelClass(0, "road", (128, 64, 128), drivable_cost=0), LabelClass(1, "car", (0, 0, 142), thing=True))
    )
    zero = np.zeros((1, 2, *GRID), np.float32)
    frame = NetworkOutput(zero, np.zeros((1, 1, *GRID), np.float32), zero)
    assert steady(Steadier(labels, TemporalSettings(strength=2.0)), picture(), frame, PERIOD_NS) is frame


def test_off_is_the_very_output():
    steadier, frame = Steadier(LABELS, TemporalSettings()), output(ROAD, 1)
    assert steady(steadier, picture(), frame, PERIOD_NS) is frame


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
    steady(steadier, picture(), output(ROAD, 3), stamps[0] * PERIOD_NS)
    found = steady(steadier, picture(), output(GRASS, 0.5), stamps[1] * PERIOD_NS)
    assert (found.semantic_logits[0].argmax(axis=0) == GRASS).all()


def test_another_grid_begins_anew_and_small_ones_have_no_flow():
    steadier = Steadier(LABELS, TemporalSettings(strength=5.0))
    steady(steadier, picture(), output(ROAD, 3), PERIOD_NS)
    small = (4, 6)
    for i, (winner, expected) in enumerate(((GRASS, GRASS), (ROAD, GRASS)), start=2):
        found = steady(steadier, picture(grid=small), output(winner, 0.5, small), i * PERIOD_NS)
        assert (found.semantic_logits[0].argmax(axis=0) == expected).all()


def test_a_strength_out_of_range_is_refused():
    with pytest.raises(ValueError, match="strength is -1"):
        TemporalSettings(strength=-1.0)
