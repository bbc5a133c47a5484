"""Metrics of tracks: drawn cases, and slow definitions of each on random films."""

import itertools
import math
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seg_perception.labels import VOID, LabelClass, LabelSet
from seg_perception.metrics.hota import ALPHAS, HotaSequence, IdSwitches, hota
from seg_perception.metrics.new_things import ObstacleDelay
from seg_perception.metrics.panoptic_quality import PanopticQuality
from seg_perception.metrics.segment_pairs import pair_segments
from seg_perception.metrics.tally import Tally
from seg_perception.metrics.track_lengths import TrackLengths
from seg_perception.metrics.track_scores import TrackScores
from seg_perception.results import Drivable, Frame, Panoptic, Result, Segment, Track, Truth

LABELS = LabelSet(
    (
        LabelClass(0, "road", (128, 64, 128), drivable_cost=0),
        LabelClass(1, "car", (0, 0, 142), thing=True),
        LabelClass(2, "person", (220, 20, 60), thing=True),
    )
)
THINGS = LABELS.is_thing


def film(seed, frames=6, size=(12, 16)):
    """A random film, its labels and an answer that is partly right: semantic and instance [T, H, W] of both. Every number
    is of one class; numbers of the answer change now and then."""
    rng = np.random.default_rng(seed)
    true, found = np.zeros((frames, *size), np.int64), np.zeros((frames, *size), np.int64)
    for number in range(1, 6):
        y, x = rng.integers(0, size[0] - 3), rng.integers(0, size[1] - 4)
        changed = rng.integers(0, 3, frames).cumsum() // 3
        for t in range(frames):
            at = (slice(y, y + 4), slice(max(0, x + t - 2), x + t + 3))
            if rng.random() < 0.85:
                true[t][at] = number
            if rng.random() < 0.85:
                found[t][at[0], slice(max(0, x + t - 2 + rng.integers(0, 2)), x + t + 3)] = number + 10 * changed[t]

    def classes(numbers):
        return np.where(numbers == 0, 0, 1 + numbers % 2)

    semantic_true, semantic = classes(true).astype(np.uint8), classes(found).astype(np.uint8)
    semantic_true[:, :1] = VOID
    true[:, :1] = 0
    true[(true == 5)] = 0  # a crowd of cars
    return semantic_true, true.astype(np.uint16), semantic, found.astype(np.uint16)


def scored(*masks, period_s=0.1):
    scores = TrackScores(LABELS)
    for semantic_true, true, semantic, found in zip(*masks, strict=True):
        scores.add(pair_segments(semantic, found, semantic_true, true, THINGS), "", period_s)
    return scores


def slow_association_quality(semantic_true, true, semantic, found):
    """As the paper has it, over all pixels of the film."""
    things = THINGS[semantic_true] & (true > 0)
    crowd = THINGS[semantic_true] & (true == 0)
    answered = THINGS[semantic] & (found > 0) & ~crowd
    y, p = semantic_true.astype(int) * 1000 + true, semantic.astype(int) * 1000 + found
    total = 0.0
    numbers = np.unique(y[things])
    for g in numbers:
        mine = things & (y == g)
        for q in np.unique(p[mine & answered]):
            tpa = np.count_nonzero(mine & answered & (p == q))
            fna, fpa = np.count_nonzero(mine) - tpa, np.count_nonzero(answered & (p == q)) - tpa
            total += tpa * (tpa / (tpa + fna + fpa)) / np.count_nonzero(mine)
    return total / len(numbers) if len(numbers) else math.nan


@pytest.mark.parametrize("seed", range(8))
def test_association_quality_is_that_of_all_pixels(seed):
    masks = film(seed)
    assert scored(*masks).association_quality() == pytest.approx(slow_association_quality(*masks))


@pytest.mark.parametrize("seed", range(6))
def test_windows_are_tubes_of_so_many_frames(seed):
    """A tube is a segment of the frames laid side by side."""
    masks = film(seed)
    windows = scored(*masks).summary(None)["vpq_windows"]
    for k in (1, 2, 3, 4):
        quality = PanopticQuality(LABELS)
        for start in range(len(masks[0]) - k + 1):
            wide = [np.ascontiguousarray(np.concatenate(mask[start : start + k], axis=1)) for mask in masks]
            quality.update(pair_segments(wide[2], wide[3], wide[0], wide[1], THINGS))
        assert windows[str(k)] == pytest.approx(np.nanmean(quality.per_class()[0]))


def slow_hota(frames):
    """By the paper: for each threshold, every assignment is tried."""
    true_count, found_count, together = Counter(), Counter(), Counter()
    for true, found, iou in frames:
        true_count.update(true)
        found_count.update(found)
        for (i, g), (j, q) in itertools.product(enumerate(true), enumerate(found)):
            total = iou[:, j].sum() + iou[i].sum() - iou[i, j]
            together[g, q] += iou[i, j] / total if total > 0 else 0.0
    alignment = {(g, q): n / (true_count[g] + found_count[q] - n) for (g, q), n in together.items()}
    values = []
    for alpha in ALPHAS:
        hits, matches, true_total, found_total = 0, Counter(), 0, 0
        for true, found, iou in frames:
            true_total, found_total = true_total + len(true), found_total + len(found)
            padded = [*range(len(found)), *[None] * len(true)]
            best = max(
                itertools.permutations(padded, len(true)),
                key=lambda way: sum(
                    alignment[true[i], found[j]] * iou[i, j] for i, j in enumerate(way) if j is not None
                ),
                default=(),
            )
            for i, j in enumerate(best):
                if j is not None and iou[i, j] > 0 and iou[i, j] >= alpha - np.finfo(float).eps:
                    hits += 1
                    matches[true[i], found[j]] += 1
        association = sum(n * n / (true_count[g] + found_count[q] - n) for (g, q), n in matches.items())
        det = hits / max(true_total + found_total - hits, 1)
        values.append(math.sqrt(det * association / max(hits, 1)))
    return float(np.mean(values))


@pytest.mark.parametrize("seed", range(12))
def test_hota_is_that_of_the_paper(seed):
    rng = np.random.default_rng(seed)
    frames, sequence = [], HotaSequence()
    for _ in range(5):
        true = sorted(rng.choice(5, rng.integers(0, 4), replace=False).tolist())
        found = sorted(rng.choice(6, rng.integers(0, 4), replace=False).tolist())
        iou = np.where(rng.random((len(true), len(found))) < 0.6, rng.random((len(true), len(found))), 0.0)
        frames.append((true, found, iou))
        sequence.add(true, found, iou)
    expected = slow_hota(frames)
    assert (hota(sequence.counts())["hota"] or 0.0) == pytest.approx(expected, abs=1e-9)


@given(st.integers(0, 10**6))
@settings(max_examples=40, deadline=None)
def test_a_perfect_answer_scores_one_whatever_its_numbers(seed):
    semantic_true, true, _, _ = film(seed, frames=3)
    renamed = np.where(true > 0, 40 - true, 0).astype(np.uint16)
    summary = scored(semantic_true, true, semantic_true, renamed).summary(1.0)
    if summary["aq"] is None:
        return
    assert summary["aq"] == summary["stq"] == summary["vpq"] == pytest.approx(1.0)
    assert summary["hota"] == pytest.approx(1.0) and summary["id_switches"] == 0


def _line(*numbers):
    """One row of cars, a number per pixel, 0 = road."""
    instance = np.array([numbers], np.uint16)
    return (instance > 0).astype(np.uint8), instance


def test_a_number_that_changes_in_the_middle_halves_the_association():
    """A car of 2 px over 4 frames; its number changes after 2. Each number has 4 of the 8 px: 2 x 4 x (4 / 8) / 8."""
    semantic, true = (np.stack([part] * 4) for part in _line(1, 1, 0, 0))
    found = np.stack([_line(n, n, 0, 0)[1] for n in (7, 7, 9, 9)])
    scores = scored(semantic, true, semantic, found, period_s=0.5)
    summary = scores.summary(1.0)
    assert summary["aq"] == pytest.approx(0.5) and summary["stq"] == pytest.approx(math.sqrt(0.5))
    assert (summary["id_switches"], summary["thing_seconds"]) == (1, 2.0)
    assert summary["id_switches_per_minute"] == pytest.approx(30.0)
    assert summary["hota_detection"] == pytest.approx(1.0) and summary["hota_association"] == pytest.approx(0.5)


def test_a_switch_is_told_across_frames_in_which_a_thing_is_missed():
    switches = IdSwitches()
    for matched in ({1: 5}, {}, {1: 5}, {}, {1: 6}, {1: 6}):
        switches.add([1], matched)
    assert (switches.switches, switches.frames) == (1, 6)


def test_sequences_are_counted_apart():
    semantic, true = (np.stack([part] * 2) for part in _line(1, 1, 0, 0))
    scores = TrackScores(LABELS)
    for name, number in (("a", 3), ("b", 4)):
        for t in range(2):
            pairs = pair_segments(semantic[t], _line(number, number, 0, 0)[1], semantic[t], true[t], THINGS)
            scores.add(pairs, name, 0.1)
    assert scores.summary(1.0)["stq"] == pytest.approx(1.0) and scores.summary(1.0)["id_switches"] == 0
    assert scores.frames == 4


def test_what_finds_a_thing_counts_however_much_of_it_lies_on_void():
    """2 px of a car beside 3 px of void, all answered as a car: IoU 1. Beside it one that lies on void alone: no false one."""
    semantic_true, true = np.array([[1, 1, 255, 255, 255, 255]], np.uint8), np.array([[1, 1, 0, 0, 0, 0]], np.uint16)
    semantic, found = np.ones((1, 6), np.uint8), np.array([[7, 7, 7, 7, 7, 4]], np.uint16)
    masks = ([part] * 2 for part in (semantic_true, true, semantic))
    summary = scored(*masks, [found, np.where(found == 7, np.uint16(9), found)]).summary(None)
    assert summary["hota_detection"] == pytest.approx(1.0)
    assert (summary["vpq_windows"]["1"], summary["id_switches"]) == (1.0, 1)


def _answered(numbers, time_s):
    """One row of cars, each of which is the track of its number."""
    semantic, instance = _line(*numbers)
    segments = []
    for number in sorted({*numbers} - {0}):
        track = Track(number, 1, "confirmed", 1.0, 9, 0.0, (0.0, 0.0, 1.0, 1.0), (0.0, 0.0), (1.0, 1.0))
        segments.append(Segment(number, 1, True, 0.9, numbers.count(number), (0, 0, len(numbers), 1), track))
    panoptic = Panoptic(semantic, instance, np.full_like(semantic, 255), tuple(segments))
    return Result(Frame(np.zeros((1, len(numbers), 3), np.uint8), round(time_s * 1e9)), panoptic, Drivable(()))


def test_a_thing_was_seen_since_the_labels_before_but_not_through_a_gap():
    """Every third frame of 0.1 s has labels; an hour later the recording goes on, and then its clock goes back."""
    tally = Tally(LABELS)
    truth = Truth(*_line(1, 1, 0, 0))
    for i, time_s in enumerate((0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 3600.0, 0.0)):
        result = _answered((7, 7, 0, 0), time_s)
        tally.add_tracks(result, result.panoptic.semantic, truth if i % 3 == 0 or i > 6 else None, "", True)
    assert tally.tracks.summary(None)["thing_seconds"] == pytest.approx(0.6 + 2.0)


def test_the_segmentation_part_of_stq_is_of_the_frames_whose_tracks_are_judged():
    """A frame whose labels tell no objects apart, and are of a class that the answer never has, takes no part."""
    tally, right = Tally(LABELS), _answered((7, 7, 0, 0), 0.0)
    tally.add_tracks(right, right.panoptic.semantic, Truth(*_line(1, 1, 0, 0)), "", True)
    alone = tally.numbers()["stq"]
    other = Truth(np.full((1, 4), 2, np.uint8))
    result = replace(_answered((7, 7, 0, 0), 0.1), stages_ms={"network": 1.0})
    tally.add("a", result, result.panoptic.semantic, other)
    tally.add_tracks(result, result.panoptic.semantic, other, "", True)
    assert tally.numbers()["miou"] == 0.0 and tally.numbers()["stq"] == alone == pytest.approx(1.0)


def test_without_things_nothing_is_claimed():
    assert TrackScores(LABELS).frames == 0
    summary = TrackScores(LABELS).summary(None)
    assert all(summary[key] is None for key in ("stq", "aq", "vpq", "hota", "id_switches_per_minute"))


def test_delay_counts_frames_until_half_of_a_new_thing_is_seen():
    delay = ObstacleDelay(LABELS)
    semantic, true = _line(1, 1, 0, 2)
    answers = [(0, 0, 0, 1), (1, 0, 0, 0), (1, 0, 0, 0)]
    for answer in answers:
        delay.add(np.array([answer], np.uint8), Truth(semantic, true), "")
    assert delay.summary()["obstacle_delay"] == {"mean": 0.5, "max": 1, "of": 2, "never": 0}
    delay.add(np.zeros((1, 4), np.uint8), Truth(semantic, true), "another sequence")
    assert delay.summary()["obstacle_delay"]["never"] == 2


def test_without_new_things_there_is_no_delay():
    assert ObstacleDelay(LABELS).summary() == {"obstacle_delay": None}


def test_lengths_and_changes_of_numbers_need_no_labels():
    lengths = TrackLengths(LABELS)
    for i, numbers in enumerate([(3, 3, 0, 4), (3, 3, 0, 4), (5, 5, 0, 4)]):
        semantic, instance = _line(*numbers)
        lengths.add(semantic, instance, i * 10**9, "")
    assert lengths.summary() == {"tracks": 3, "track_length_s": 1.0, "number_changes_per_minute": pytest.approx(30.0)}
    assert TrackLengths(LABELS).summary()["track_length_s"] is None


def test_a_number_that_changes_over_a_gap_or_where_the_clock_goes_back_is_another_track():
    lengths = TrackLengths(LABELS)
    for time_s, number in ((5.0, 3), (5.5, 3), (9.0, 4), (9.5, 4), (9.4, 4), (0.0, 3), (0.5, 3)):
        lengths.add(*_line(number, number, 0, 0), round(time_s * 1e9), "")
    assert lengths.summary() == {"tracks": 3, "track_length_s": 0.5, "number_changes_per_minute": 0.0}


def test_a_recording_that_begins_again_has_other_tracks_though_their_numbers_were_last_seen_then():
    lengths = TrackLengths(LABELS)
    for time_s, number in ((0.0, 3), (0.5, 3), (1.0, 4), (2.5, 4), (4.0, 4), (0.5, 3), (1.5, 3)):
        lengths.add(*_line(number, number, 0, 0), round(time_s * 1e9), "")
    assert lengths.summary()["tracks"] == 3


def test_a_number_that_comes_again_after_all_others_is_another_track():
    """Numbers begin again after 65279; a track that is not seen for longer than it is remembered has ended."""
    lengths = TrackLengths(LABELS)
    for time_s, number in ((0.0, 3), (0.5, 3), (2.4, 3), (3600.0, 3), (3600.5, 3)):
        lengths.add(*_line(number, number, 0, 0), round(time_s * 1e9), "")
    assert lengths.summary() == {"tracks": 2, "track_length_s": pytest.approx(1.45), "number_changes_per_minute": 0.0}
