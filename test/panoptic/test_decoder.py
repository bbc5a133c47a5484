import threading
import tracemalloc

import cv2
import numpy as np
import plain_panoptic as plain
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from panoptic_cases import FAR, WHOLE_CELLS, network_output, network_outputs

from seg_perception.errors import SegPerceptionError
from seg_perception.labels import CAMVID, VOID, LabelClass, LabelSet
from seg_perception.panoptic import mask_kernels
from seg_perception.panoptic.decoder import PanopticDecoder, PanopticSettings
from seg_perception.results import NetworkOutput, Wants

LABELS = LabelSet(
    (
        LabelClass(0, "road", (128, 64, 128), drivable_cost=0),
        LabelClass(1, "car", (0, 0, 142), thing=True),
        LabelClass(2, "person", (220, 20, 60), thing=True),
    )
)
ALL = PanopticSettings(min_stuff_area=0.0)


def _classes(rows):
    """Logits [3, h, w] that say what is drawn: a digit per cell."""
    drawn = np.array([[int(c) for c in row] for row in rows])
    return np.where(np.arange(3)[:, None, None] == drawn, 8.0, 0.0)


def _decode(output, size_hw, settings=ALL, labels=LABELS, stride=8, wants=None):
    return PanopticDecoder(labels, settings).decode(output, 0, size_hw, stride, wants or Wants())


# Semantics


def test_at_grid_size_the_mask_is_the_drawing():
    panoptic = _decode(network_output(_classes(["0011", "0012", "2200", "2222"])), (4, 4))
    assert panoptic.semantic.tolist() == [[0, 0, 1, 1], [0, 0, 1, 2], [2, 2, 0, 0], [2, 2, 2, 2]]


def test_twice_as_wide_the_border_lies_halfway_and_a_tie_goes_to_the_lower_class():
    """One row of two cells, road then car, to eight pixels. Their centres lie at -3/8, -1/8, … of the cell distance
    from the left cell's centre: clamped, clamped, 1/8, 3/8, 5/8, 7/8, clamped, clamped. Car wins from 1/2 on.
    To three pixels the middle one lies at 1/2 exactly, where both have the same logit: road, the lower class."""
    output = network_output(_classes(["01"]))
    assert _decode(output, (1, 8)).semantic.tolist() == [[0, 0, 0, 0, 1, 1, 1, 1]]
    assert _decode(output, (1, 3)).semantic.tolist() == [[0, 0, 1]]
    assert _decode(network_output(_classes(["10"])), (1, 3)).semantic.tolist() == [[1, 0, 0]]


def test_a_class_that_wins_no_cell_can_win_between_them():
    """Road 4, person 3, car 0 on the left, the mirror image on the right. Person's 3 is most from 1/4 to 3/4 of the
    way, and of five pixels, which lie at 0, 1/10, 1/2, 9/10 and 1, only the middle one is there."""
    logits = np.array([[[4.0, 0.0]], [[0.0, 4.0]], [[3.0, 3.0]]])
    assert _decode(network_output(logits), (1, 5)).semantic.tolist() == [[0, 0, 2, 1, 1]]


def test_an_equal_logit_everywhere_is_the_first_class():
    assert not _decode(network_output(np.zeros((3, 2, 3))), (7, 5)).semantic.any()


def test_logits_that_differ_in_the_last_bit_keep_their_order_on_every_pixel():
    logits = np.zeros((3, 3, 3), np.float32)
    logits[0] = 1
    logits[2] = np.nextafter(np.float32(1), np.float32(2))
    logits[1, 1, 1] = 5
    output = network_output(logits)
    assert np.array_equal(_decode(output, (37, 41)).semantic, plain.semantic(output.semantic_logits[0], (37, 41)))
    assert _decode(output, (37, 41)).semantic[0, 0] == 2


CASES = network_outputs(st.integers(1, 6), 40, (FAR, WHOLE_CELLS))


def _label_set(classes):
    return LabelSet(tuple(LabelClass(i, f"c{i}", (i, i, i), thing=i % 2 == 1) for i in range(classes)))


def _check_against_plain(output, size_hw):
    logits = output.semantic_logits[0]
    labels = _label_set(len(logits))
    panoptic = _decode(output, size_hw, labels=labels)
    semantic = plain.semantic(logits, size_hw)
    assert np.array_equal(panoptic.semantic, semantic)
    assert np.abs(panoptic.confidence - 255 * plain.confidence(logits, size_hw)).max() <= 0.51

    found = plain.centers(output.center_heatmap[0, 0], 1, 0.1, 200)
    things = labels.is_thing[logits.argmax(0)]
    nearest = plain.nearest_center(output.center_offset[0], things, found, size_hw, 8) * labels.is_thing[semantic]
    pairs = {(int(a), int(b)) for a, b in zip(nearest.ravel(), panoptic.instance.ravel())}
    assert len({a for a, _ in pairs}) == len({b for _, b in pairs}) == len(pairs)
    assert np.array_equal(nearest == 0, panoptic.instance == 0)


@settings(max_examples=400, deadline=None)
@given(CASES)
def test_masks_equal_the_plain_definition_on_every_pixel(case):
    _check_against_plain(*case)


@pytest.mark.parametrize(("grid_hw", "size_hw"), [((6, 70), (61, 333)), ((40, 30), (17, 19)), ((9, 16), (144, 256))])
def test_wide_rows_and_masks_smaller_than_the_grid_equal_it_too(grid_hw, size_hw):
    """Rows that fill vector registers, of blobs, so that cells agree as often as not; 61 and 333 are no multiples."""
    rng = np.random.default_rng(5)
    coarse = rng.normal(size=(11, 4, 5)).astype(np.float32) * 9
    logits = np.stack([cv2.resize(plane, grid_hw[::-1], interpolation=cv2.INTER_LINEAR) for plane in coarse])
    heatmap = rng.random(grid_hw) ** 9
    _check_against_plain(network_output(logits, heatmap, rng.normal(size=(2, *grid_hw)) * 20), size_hw)


@settings(max_examples=100, deadline=None)
@given(CASES)
def test_segments_are_the_pixels_of_the_masks(case):
    output, size_hw = case
    labels = _label_set(output.semantic_logits.shape[1])
    panoptic = _decode(output, size_hw, labels=labels)
    things = [segment for segment in panoptic.segments if segment.is_thing]
    assert [segment.id for segment in panoptic.segments] == list(range(1, len(panoptic.segments) + 1))
    assert {s.id for s in things} == set(np.unique(panoptic.instance).tolist()) - {0}
    assert [s.score for s in things] == sorted((s.score for s in things), reverse=True)
    for segment in panoptic.segments:
        here = panoptic.instance == segment.id if segment.is_thing else panoptic.semantic == segment.class_id
        ys, xs = np.nonzero(here)
        counts = np.bincount(panoptic.semantic[here], minlength=len(labels))
        assert segment.area == len(ys) and segment.class_id == counts.argmax()
        assert segment.box == (xs.min(), ys.min(), xs.max() - xs.min() + 1, ys.max() - ys.min() + 1)
        assert segment.score == pytest.approx(panoptic.confidence[here].mean() / 255)
    stuff = {c for c in np.unique(panoptic.semantic).tolist() if not labels.classes[c].thing}
    assert {s.class_id for s in panoptic.segments if not s.is_thing} == stuff


# Confidence


def test_confidence_is_the_winners_upsampled_probability():
    """Probabilities 3/4 and 1/4 on the left, 1/3 and 2/3 on the right: 191.25, 138.1 and 170 of 255, as halfway between
    the first class has (3/4 + 1/3) / 2, and the larger logit: log(3) / 2 against log(2) / 2."""
    output = network_output(np.array([[[np.log(3.0), 0.0]], [[0.0, np.log(2.0)]]]))
    panoptic = _decode(output, (1, 3), labels=_label_set(2))
    assert panoptic.semantic.tolist() == [[0, 0, 1]] and panoptic.confidence.tolist() == [[191, 138, 170]]


def test_the_quick_exponential_is_as_near_as_it_says():
    x = -np.linspace(0, 20, 2001, dtype=np.float32)
    found = [mask_kernels._exp(one) for one in x]
    np.testing.assert_allclose(found, np.exp(x.astype(np.float64)), rtol=0, atol=2e-6)


def test_unsure_pixels_become_void_and_belong_to_no_segment():
    side = np.log(3.0)
    output = network_output(np.array([[[side, 0.0]], [[0.0, side]]]), heatmap=[[0.0, 1.0]])
    sure = PanopticSettings(min_confidence=0.7, min_stuff_area=0.0)
    panoptic = _decode(output, (1, 3), sure, labels=_label_set(2))
    assert panoptic.semantic.tolist() == [[0, VOID, 1]]
    assert panoptic.instance.tolist() == [[0, 0, 1]]
    assert [(s.class_id, s.area) for s in panoptic.segments] == [(1, 1), (0, 1)]


GROUND = LabelSet(
    (
        LabelClass(0, "road", (128, 64, 128), drivable_cost=0),
        LabelClass(1, "pavement", (244, 35, 232), drivable_cost=60),
        LabelClass(2, "car", (0, 0, 142), thing=True),
        LabelClass(3, "grass", (152, 251, 152)),
    )
)


def test_unsure_ground_is_told_as_what_else_it_may_be_and_a_border_between_two_kinds_of_ground_stays():
    """Probabilities of road, pavement, car and grass: 0.52, 0.38, 0.06, 0.04 is ground with 0.9 though no class is sure of
    itself; 0.6, 0, 0.3, 0.1 with 0.6; the third is grass and stays. Of five pixels the second lies 2/5 of the way between the
    first two cells, where ground has 0.78."""
    logits = np.log([[[0.52, 0.6, 0.2]], [[0.38, 1e-7, 0.2]], [[0.06, 0.3, 0.0001]], [[0.04, 0.1, 0.6]]])
    output = network_output(logits, heatmap=[[0, 0.9, 0]])

    def seen(least, size_hw=(1, 3)):
        return _decode(
            output, size_hw, PanopticSettings(min_ground_confidence=least, min_stuff_area=0.0), labels=GROUND
        )

    assert seen(0.55).semantic.tolist() == [[0, 0, 3]] and not seen(0.55).instance.any()
    asked = seen(0.7)
    assert asked.semantic.tolist() == [[0, 2, 3]] and asked.confidence.tolist() == [[133, 76, 153]]
    assert asked.instance.tolist() == [[0, 1, 0]]
    assert [(s.class_id, s.is_thing, s.area) for s in asked.segments] == [(2, True, 1), (0, False, 1), (3, False, 1)]
    assert seen(0.95).semantic.tolist() == [[2, 2, 3]]
    assert seen(0.77, (1, 5)).semantic[0, :3].tolist() == [0, 0, 2]
    assert seen(0.79, (1, 5)).semantic[0, :3].tolist() == [0, 2, 2]


def test_a_model_of_ground_alone_is_always_sure_of_it():
    labels = LabelSet(tuple(LabelClass(i, f"c{i}", (i, i, i), drivable_cost=i) for i in range(3)))
    output = network_output(np.random.default_rng(0).normal(size=(3, 6, 7)))
    sure = _decode(output, (40, 50), PanopticSettings(min_ground_confidence=0.999), labels=labels)
    assert np.array_equal(sure.semantic, plain.semantic(output.semantic_logits[0], (40, 50)))


def _every_kind(classes):
    return LabelSet(
        tuple(
            LabelClass(i, f"c{i}", (i, i, i), thing=i % 4 == 1, drivable_cost=i if i % 2 == 0 else -1)
            for i in range(classes)
        )
    )


@settings(max_examples=200, deadline=None)
@given(case=CASES, least=st.sampled_from([0.05, 0.3, 0.5, 0.8]))
def test_unsure_ground_is_replaced_by_the_plain_definition(case, least):
    output, size_hw = case
    logits = output.semantic_logits[0]
    labels = _every_kind(len(logits))
    chosen = PanopticSettings(min_ground_confidence=least, min_stuff_area=0.0)
    seen = _decode(output, size_hw, chosen, labels=labels)
    semantic, likely = plain.semantic(logits, size_hw), plain.ground(logits, labels.drivable_costs >= 0, size_hw)
    near = np.abs(likely - least) < 1e-5  # the kernels add in float32, by a quick exponential
    unsure = (labels.drivable_costs[semantic] >= 0) & (likely < least)
    expected = np.where(unsure, plain.likeliest_other(logits, labels.drivable_costs >= 0, size_hw), semantic)
    assert np.array_equal(seen.semantic[~near], expected[~near])
    sure = plain.confidence_of(logits, np.where(expected == VOID, semantic, expected), size_hw)
    assert np.abs(seen.confidence - 255 * sure)[~near].max(initial=0) <= 0.51

    found = plain.centers(output.center_heatmap[0, 0], 1, 0.1, 200)
    things = labels.is_thing[logits.argmax(0)]
    nearest = plain.nearest_center(output.center_offset[0], things, found, size_hw, 8) * labels.is_thing[seen.semantic]
    assert np.array_equal(nearest == 0, seen.instance == 0)
    assert len(set(zip(nearest.ravel().tolist(), seen.instance.ravel().tolist()))) == len(np.unique(nearest))


# Instances


def test_two_cars_are_split_halfway_between_their_centres():
    """A row of six car cells, centres at cells 1 and 4, no offsets: each pixel goes to the nearer one."""
    panoptic = _decode(network_output(_classes(["111111"]), heatmap=[[0, 1.0, 0, 0, 0.9, 0]]), (1, 6))
    left, right = panoptic.instance[0, 0], panoptic.instance[0, 5]
    assert panoptic.instance.tolist() == [[left] * 3 + [right] * 3] and {left, right} == {1, 2}


def test_offsets_are_scaled_to_the_masks_columns():
    """Cells of 8 px of the network are 4 px wide in the mask, so 8 px to the right become 4. The centres lie at 6 and
    18, pixel x votes for x + 0.5 + 4, so the border at 12 is crossed from x = 8 on."""
    offset = np.zeros((2, 1, 6))
    offset[1] = 8
    panoptic = _decode(network_output(_classes(["111111"]), [[0, 1.0, 0, 0, 0.9, 0]], offset), (2, 24))
    left, right = panoptic.instance[0, 0], panoptic.instance[0, 23]
    assert left != right and panoptic.instance.tolist() == [[left] * 8 + [right] * 16] * 2


def test_offsets_are_scaled_to_the_masks_rows():
    """Cells are 2 px high, so 16 px down become 4. Centres lie at 1 and 11, pixel y votes for y + 0.5 + 4: from y = 2 on
    that is beyond 6."""
    heatmap = np.zeros((6, 1))
    heatmap[0], heatmap[5] = 1.0, 0.9
    offset = np.zeros((2, 6, 1))
    offset[0] = 16
    panoptic = _decode(network_output(_classes(["1"] * 6), heatmap, offset), (12, 1))
    upper, lower = panoptic.instance[0, 0], panoptic.instance[11, 0]
    assert upper != lower and panoptic.instance[:, 0].tolist() == [upper] * 2 + [lower] * 10


def test_what_is_no_thing_does_not_vote_on_the_outline_of_one():
    """Two cars of two cells, road between them whose offsets, which nobody taught it, point beyond the other car: at x = 6
    and 7 the road has 1/8 and 3/8 of the weight, and would take these pixels of the left car to the right one."""
    offset = np.zeros((2, 1, 6))
    offset[1, 0, 2], offset[1, 0, 3] = 400, -400
    panoptic = _decode(network_output(_classes(["110011"]), [[1.0, 0, 0, 0, 0, 0.9]], offset), (1, 24))
    left, right = panoptic.instance[0, 0], panoptic.instance[0, 23]
    assert panoptic.instance.tolist() == [[left] * 8 + [0] * 8 + [right] * 8] and {left, right} == {1, 2}


def test_where_no_cell_is_a_thing_all_vote_for_what_is_seen_between_them():
    """Road, person (2) and the wall's mirror image: a person wins between two cells of which none is one, as above."""
    logits = np.array([[[4.0, 0.0]], [[0.0, 4.0]], [[3.0, 3.0]]])
    labels = LabelSet(tuple(LabelClass(i, f"c{i}", (i, i, i), thing=i == 2) for i in range(3)))
    offset = np.zeros((2, 1, 2))
    offset[1] = 80
    panoptic = _decode(network_output(logits, [[1.0, 0.9]], offset), (1, 5), labels=labels)
    assert [s.box for s in panoptic.segments if s.is_thing] == [(2, 0, 1, 1)]


def test_without_a_centre_things_have_no_instance_and_no_segment():
    panoptic = _decode(network_output(_classes(["0011", "0011", "0000", "0000"])), (8, 8))
    assert (panoptic.semantic == 1).sum() > 0 and not panoptic.instance.any()
    assert [(s.class_id, s.is_thing) for s in panoptic.segments] == [(0, False)]


def test_where_the_heatmap_is_0_there_is_no_centre_at_any_threshold():
    """As everywhere in that of a network without an instance head: all its cars would be one."""
    nothing = network_output(_classes(["1111"] * 4), np.zeros((4, 4)))
    panoptic = _decode(nothing, (4, 4), PanopticSettings(center_threshold=0.0))
    assert not panoptic.instance.any() and not panoptic.segments


def test_a_plateau_gives_one_centre_the_first_in_raster_order():
    heatmap = np.zeros((4, 4))
    heatmap[1:3, 1:3] = 0.5
    panoptic = _decode(network_output(_classes(["1111"] * 4), heatmap), (4, 4))
    assert [s.id for s in panoptic.segments] == [1] and plain.centers(heatmap, 1, 0.1, 9) == [(1, 1)]


def test_centres_below_the_threshold_do_not_count():
    output = network_output(_classes(["1111"]), heatmap=[[0.2, 0, 0, 0.1]])
    kept = _decode(output, (1, 4), PanopticSettings(center_threshold=0.2, min_stuff_area=0))
    assert kept.instance.max() == 1
    assert _decode(output, (1, 4), PanopticSettings(center_threshold=0.21)).instance.max() == 0


def test_only_the_best_centres_are_kept():
    heatmap = [[0.5, 0, 0.7, 0, 0.9, 0, 0.7, 0]]
    output = network_output(_classes(["11111111"]), heatmap)
    assert plain.centers(np.array(heatmap), 1, 0.1, 2) == [(0, 4), (0, 2)]
    panoptic = _decode(output, (1, 8), PanopticSettings(max_instances=2))
    # Halfway between the cells 4 and 2 lies cell 3, equally near to both: the better centre has it.
    assert np.array_equal(panoptic.instance[0] == panoptic.instance[0, 4], [False] * 3 + [True] * 5)


def test_a_wider_window_merges_near_centres():
    output = network_output(_classes(["11111111"]), heatmap=[[0.5, 0, 0.7, 0, 0.9, 0, 0.7, 0]])
    assert _decode(output, (1, 8), PanopticSettings(center_window_px=40)).instance.max() == 1


def test_a_thing_takes_the_class_of_most_of_its_pixels_but_the_semantic_mask_stays():
    panoptic = _decode(network_output(_classes(["1112"]), heatmap=[[0, 1.0, 0, 0]]), (1, 4))
    assert panoptic.semantic.tolist() == [[1, 1, 1, 2]] and panoptic.instance.tolist() == [[1, 1, 1, 1]]
    assert [(s.class_id, s.area, s.box) for s in panoptic.segments] == [(1, 4, (0, 0, 4, 1))]


def test_small_segments_are_left_out_and_numbers_close_up():
    """Of ten pixels: nine cells of car A, whose centre is the worse, one of car B."""
    heatmap = [[0.5, 0, 0, 0, 0, 0, 0, 0, 0, 0.9]]
    offset = np.zeros((2, 1, 10))
    offset[1, 0, :9] = -8 * np.arange(9)
    output = network_output(_classes(["1111111111"]), heatmap, offset)
    assert [s.area for s in sorted(_decode(output, (1, 10)).segments, key=lambda s: s.area)] == [1, 9]
    panoptic = _decode(output, (1, 10), PanopticSettings(min_thing_area=0.2))
    assert [(s.id, s.area) for s in panoptic.segments] == [(1, 9)]
    assert panoptic.instance.tolist() == [[1] * 9 + [0]]


def test_small_stuff_is_left_out_of_the_segments_only():
    output = network_output(_classes(["1110"]))
    assert _decode(output, (1, 4), PanopticSettings(min_stuff_area=0.25)).segments[0].area == 1
    panoptic = _decode(output, (1, 4), PanopticSettings(min_stuff_area=0.26))
    assert panoptic.segments == () and panoptic.semantic[0, 3] == 0


# Use


def test_only_what_is_wanted_is_made():
    output = network_output(_classes(["0111"]), heatmap=[[0, 0, 1.0, 0]])
    nothing = _decode(output, (2, 8), wants=Wants(False, False, False, False, False))
    assert (
        nothing.semantic.any() and not nothing.confidence.any() and not nothing.instance.any() and not nothing.segments
    )
    areas = _decode(output, (2, 8), wants=Wants(False, False, True, False, False))
    assert areas.confidence.all() and not areas.instance.any()


def test_what_one_frame_left_does_not_show_in_the_next():
    decoder = PanopticDecoder(LABELS, ALL)
    busy = network_output(_classes(["1212", "2121"]), heatmap=[[1.0, 0, 0.5, 0], [0, 0, 0, 0.7]])
    calm = network_output(_classes(["0000", "0000"]))
    decoder.decode(busy, 0, (20, 30), 8, Wants())
    first = decoder.decode(calm, 0, (20, 30), 8, Wants())
    assert not first.semantic.any() and not first.instance.any() and [s.area for s in first.segments] == [600]
    again = decoder.decode(busy, 0, (10, 15), 8, Wants())
    fresh = _decode(busy, (10, 15))
    assert np.array_equal(again.instance, fresh.instance) and again.segments == fresh.segments


def test_an_image_of_a_batch_is_decoded_as_if_alone():
    rng = np.random.default_rng(0)
    arrays = [rng.random((3, count, 4, 5)).astype(np.float32) for count in (3, 1, 2)]
    for index in range(3):
        both = PanopticDecoder(LABELS, ALL).decode(NetworkOutput(*arrays), index, (33, 47), 8, Wants())
        alone = _decode(NetworkOutput(*(a[index : index + 1] for a in arrays)), (33, 47))
        assert np.array_equal(both.semantic, alone.semantic) and np.array_equal(both.instance, alone.instance)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_logits_that_are_not_finite_are_refused(bad):
    logits = _classes(["01"])
    logits[2, 0, 1] = bad
    with pytest.raises(SegPerceptionError, match=r"semantic_logits.*fp32"):
        _decode(network_output(logits), (4, 4))


def test_offsets_that_are_not_finite_are_refused():
    offset = np.zeros((2, 1, 2))
    offset[0, 0, 1] = np.nan
    with pytest.raises(SegPerceptionError, match="center_offset"):
        _decode(network_output(_classes(["11"]), [[1.0, 0]], offset), (4, 4))


def test_offsets_are_looked_at_where_there_is_no_centre_too():
    offset = np.full((2, 1, 2), np.nan)
    with pytest.raises(SegPerceptionError, match="center_offset"):
        _decode(network_output(_classes(["11"]), [[0.0, 0]], offset), (4, 4))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("at", [0, 1])
def test_heatmaps_that_are_not_finite_are_refused(bad, at):
    heatmap = np.array([[1.0, 0.5]])
    heatmap[0, at] = bad
    with pytest.raises(SegPerceptionError, match=r"center_heatmap.*fp32"):
        _decode(network_output(_classes(["11"]), heatmap), (4, 4))


def test_decoders_of_several_cameras_run_at_once():
    outputs = [network_output(np.random.default_rng(i).normal(size=(3, 8, 12)), np.eye(8, 12)) for i in range(3)]
    expected = [_decode(output, (80, 120)) for output in outputs]
    failures = []

    def run(output, wanted):
        decoder = PanopticDecoder(LABELS, ALL)
        for _ in range(20):
            got = decoder.decode(output, 0, (80, 120), 8, Wants())
            if not np.array_equal(got.instance, wanted.instance) or got.segments != wanted.segments:
                failures.append(output)

    threads = [threading.Thread(target=run, args=pair) for pair in zip(outputs, expected)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures


def test_a_frame_takes_no_memory_that_grows_with_the_image():
    decoder = PanopticDecoder(CAMVID, ALL)
    rng = np.random.default_rng(0)
    output = network_output(rng.normal(size=(11, 22, 30)), rng.random((22, 30)), rng.normal(size=(2, 22, 30)) * 9)
    peaks = []
    for size_hw in ((480, 640), (720, 960)):
        decoder.decode(output, 0, size_hw, 8, Wants())
        tracemalloc.start()
        try:
            for _ in range(5):
                decoder.decode(output, 0, size_hw, 8, Wants())
            kept, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        peaks.append(peak)
        assert kept < 30_000
    assert max(peaks) < 100_000 < 480 * 640, peaks


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("center_threshold", 1.5),
        ("center_window_px", 0),
        ("max_instances", 0),
        ("min_stuff_area", -0.1),
        ("min_confidence", float("nan")),
        ("min_ground_confidence", 1.1),
    ],
)
def test_settings_out_of_range_are_refused_by_name(field, value):
    with pytest.raises(ValueError, match=rf"{field} is .* allowed is"):
        PanopticSettings(**{field: value})


def test_a_car_that_has_left_is_in_no_later_frame_of_the_same_size():
    """A car on the left, then one on the right, each with its centre: ids of the first must not stay where it was."""
    decoder = PanopticDecoder(LABELS, ALL)
    left = network_output(_classes(["1100", "1100"]), heatmap=[[0.9, 0, 0, 0], [0, 0, 0, 0]])
    right = network_output(_classes(["0011", "0011"]), heatmap=[[0, 0, 0, 0.9], [0, 0, 0, 0]])
    assert decoder.decode(left, 0, (20, 30), 8, Wants()).instance[:, :14].all()
    again, fresh = decoder.decode(right, 0, (20, 30), 8, Wants()), _decode(right, (20, 30))
    assert np.array_equal(again.instance, fresh.instance) and again.segments == fresh.segments
    assert not again.instance[:, :14].any() and again.segments[0].box[0] >= 14


def test_three_hundred_centres_are_three_hundred_ids():
    heat = np.full((15, 20), 0.5, np.float32) + np.arange(300, dtype=np.float32).reshape(15, 20) / 1000
    spread = np.zeros((45, 60), np.float32)
    spread[1::3, 1::3] = heat
    output = network_output(np.broadcast_to(np.array([0, 9, 0])[:, None, None], (3, 45, 60)), spread)
    panoptic = _decode(output, (45, 60), PanopticSettings(max_instances=300, center_window_px=16))
    assert sorted(np.unique(panoptic.instance)) == list(range(1, 301))
    assert [segment.id for segment in panoptic.segments] == list(range(1, 301))


def test_the_window_of_a_centre_is_never_less_than_its_neighbours():
    """A smooth bump is one object though the window is narrower than a cell."""
    bump = np.exp(-((np.arange(7) - 3) ** 2) / 4)[None] * np.exp(-((np.arange(5) - 2) ** 2) / 4)[:, None]
    output = network_output(np.broadcast_to(np.array([0, 9, 0])[:, None, None], (3, 5, 7)), bump)
    settings = PanopticSettings(center_window_px=1, min_stuff_area=0.0)
    assert settings.center_radius(8) == 1
    assert np.unique(_decode(output, (40, 56), settings).instance).tolist() == [1]
