"""Metrics against the reference tools and against plain definitions, on random and adversarial maps."""

from __future__ import annotations

import math

import numpy as np
import pytest
from metric_maps import ALL_MAPS, LABELS, Maps

from seg_perception.errors import SegPerceptionError
from seg_perception.labels import CAMVID, VOID
from seg_perception.metrics.boundary import BOUNDARY_TOLERANCE, boundary_f1
from seg_perception.metrics.confusion import ConfusionMatrix, iou_per_class
from seg_perception.metrics.scores import Scores
from seg_perception.results import Segment, Truth, at_middles


def test_confusion_and_pixel_metrics_equal_cityscapesscripts() -> None:
    reference = pytest.importorskip(
        "cityscapesscripts.evaluation.evalPixelLevelSemanticLabeling", reason="cityscapesscripts is not installed"
    )
    road, grass, wall, car, person = 7, 22, 11, 26, 24
    ids = np.zeros(256, np.int32)  # 0 is Cityscapes' 'unlabeled', ignored in the truth
    ids[:5] = road, grass, wall, car, person
    evaluated = sorted(label.id for label in reference.labels if label.id >= 0)

    class Arguments:
        evalLabels = evaluated  # noqa: N815 - cityscapesscripts' own name

    matrix = ConfusionMatrix(LABELS)
    total = np.zeros((max(evaluated) + 1,) * 2, np.ulonglong)
    for prediction, _, truth, _ in ALL_MAPS:
        matrix.update(prediction, truth)
        np.add.at(total, (ids[truth], ids[prediction]), 1)
    expected = [reference.getIouScoreForLabel(int(label), total, Arguments) for label in ids[:5]]
    np.testing.assert_allclose(matrix.iou(), expected, rtol=0, atol=1e-9)


def test_confusion_and_pixel_metrics_equal_torchmetrics() -> None:
    torch = pytest.importorskip("torch", reason="torch is not installed")
    reference = pytest.importorskip("torchmetrics.classification", reason="torchmetrics is not installed")
    classes = len(LABELS) + 1  # a prediction of void is one more class to it
    confusion = reference.MulticlassConfusionMatrix(classes, ignore_index=VOID)
    dice = reference.MulticlassF1Score(classes, average="none", ignore_index=VOID)
    matrix = ConfusionMatrix(LABELS)
    for prediction, _, truth, _ in ALL_MAPS:
        matrix.update(prediction, truth)
        predicted = np.where(prediction == VOID, np.uint8(classes - 1), prediction)
        masks = [torch.from_numpy(mask.astype(np.int64)) for mask in (predicted, truth)]
        confusion.update(*masks)
        dice.update(*masks)
    counts = confusion.compute().numpy()
    np.testing.assert_array_equal(matrix.counts, counts[:-1])
    assert matrix.pixel_accuracy() == pytest.approx(counts.trace() / counts.sum(), abs=1e-9)
    np.testing.assert_allclose(matrix.dice(), dice.compute().numpy()[:-1], rtol=0, atol=1e-6)  # it is in float32
    hits, both = counts.diagonal()[:-1], (counts.sum(axis=0) + counts.sum(axis=1))[:-1]
    np.testing.assert_allclose(matrix.dice(), 2 * hits / both, rtol=0, atol=1e-9)
    np.testing.assert_allclose(matrix.iou(), hits / (both - hits), rtol=0, atol=1e-9)


@pytest.mark.parametrize("maps", ALL_MAPS)
def test_pixel_metrics_equal_their_definitions(maps: Maps) -> None:
    prediction, _, truth, _ = maps
    matrix = ConfusionMatrix(LABELS)
    frame = matrix.update(prediction, truth)
    labelled = truth != VOID
    for c in range(len(LABELS)):
        predicted, present = (prediction == c) & labelled, truth == c
        union = np.count_nonzero(predicted | present)
        both = np.count_nonzero(predicted & present)
        expected = both / union if union else math.nan
        assert matrix.iou()[c] == pytest.approx(expected, abs=1e-9, nan_ok=True)
        total = np.count_nonzero(predicted) + np.count_nonzero(present)
        assert matrix.dice()[c] == pytest.approx(2 * both / total if total else math.nan, abs=1e-9, nan_ok=True)
    ground, seen = np.isin(prediction, [0, 1]) & labelled, np.isin(truth, [0, 1])
    union = np.count_nonzero(ground | seen)
    expected = np.count_nonzero(ground & seen) / union if union else math.nan
    assert matrix.drivable_iou() == pytest.approx(expected, abs=1e-9, nan_ok=True)
    hits = np.count_nonzero(labelled & (prediction == truth))
    expected = hits / np.count_nonzero(labelled) if labelled.any() else math.nan
    assert matrix.pixel_accuracy() == pytest.approx(expected, abs=1e-9, nan_ok=True)
    np.testing.assert_array_equal(iou_per_class(frame), matrix.iou())


def plain_boundary_f1(prediction: np.ndarray, truth: np.ndarray, label: int) -> float:
    """The definition by whole-image distances."""

    def edge(mask: np.ndarray) -> np.ndarray:
        own, other = mask == label, (mask != label) & (truth != VOID)
        padded = np.pad(other, 1)
        beside = padded[:-2, 1:-1] | padded[2:, 1:-1] | padded[1:-1, :-2] | padded[1:-1, 2:]
        return own & (truth != VOID) & beside

    edges, true_edges = edge(prediction), edge(truth)
    if not edges.any() and not true_edges.any():
        return math.nan
    if not edges.any() or not true_edges.any():
        return 0.0
    radius = BOUNDARY_TOLERANCE * math.hypot(*truth.shape)
    points, true_points = np.argwhere(edges), np.argwhere(true_edges)
    distances = np.sqrt(((points[:, None] - true_points[None]) ** 2).sum(-1))
    precision = (distances.min(axis=1) <= radius).mean()
    recall = (distances.min(axis=0) <= radius).mean()
    return float(2 * precision * recall / (precision + recall)) if precision and recall else 0.0


@pytest.mark.parametrize("maps", ALL_MAPS)
def test_boundary_f1_equals_its_definition(maps: Maps) -> None:
    prediction, _, truth, _ = maps
    # 48x64 would give a tolerance below one pixel; repeated pixels make it 3.6 px
    for scale in (1, 6) if np.count_nonzero(np.diff(truth)) < 300 else (1,):
        large = [np.kron(mask, np.ones((scale, scale), np.uint8)) for mask in (prediction, truth)]
        if np.count_nonzero(np.diff(large[0].astype(int))) > 4000:
            continue
        scores = boundary_f1(large[0], large[1], len(LABELS))
        expected = [plain_boundary_f1(large[0], large[1], c) for c in range(len(LABELS))]
        np.testing.assert_allclose(scores, expected, rtol=0, atol=1e-9)


def test_boundary_f1_forgives_what_lies_within_the_tolerance_only() -> None:
    truth = np.zeros((300, 400), np.uint8)  # diagonal 500: tolerance 3.75 px
    truth[:, 200:] = 2
    for shift, expected in ((3, 1.0), (4, 0.0)):
        assert boundary_f1(np.roll(truth, shift, 1)[:, 10:], truth[:, 10:], 3)[0] == expected


def test_hand_drawn_frame() -> None:
    truth = np.array([[0, 0, 2, 2], [0, 0, 2, 2], [0, 0, 3, 3], [VOID, 0, 3, 3]], np.uint8)
    prediction = np.array([[0, 0, 2, 2], [0, 0, 2, VOID], [0, 0, 3, 3], [2, 0, 3, 0]], np.uint8)
    instance = np.where(truth == 3, 1, 0).astype(np.uint16)
    scores = Scores(LABELS)
    # road 7 of 8, wall 3 of 4 (void on it is a miss, wall on void is nothing), car 3 of 4
    assert scores.add(prediction, instance, Truth(truth, instance)) == pytest.approx((7 / 8 + 3 / 4 + 3 / 4) / 3)
    summary = scores.summary()
    assert summary["pixel_accuracy"] == pytest.approx(13 / 15)
    assert summary["iou"]["grass"] is None
    # every segment is matched; the wall's prediction on void is left out of its union
    assert summary["rq"] == 1.0
    assert summary["pq_things"] == pytest.approx(3 / 4)
    assert summary["pq_stuff"] == pytest.approx((7 / 8 + 3 / 4) / 2)
    assert summary["drivable_iou"] == pytest.approx(7 / 8)


def test_false_ground_by_hand() -> None:
    road, pavement, car, sky = (CAMVID.by_name(name).id for name in ("road", "pavement", "car", "sky"))
    matrix = ConfusionMatrix(CAMVID)
    assert math.isnan(matrix.drivable_false_positives())
    # wrong; right; ground taken for other ground; unlabelled; void is no ground; a missed ground is another error
    truth = np.array([[car, car, pavement, VOID, sky, road]], np.uint8)
    matrix.update(np.array([[road, car, road, road, VOID, car]], np.uint8), truth)
    assert matrix.drivable_false_positives() == pytest.approx(1 / 3)


def test_without_true_instances_the_quality_of_things_is_not_invented() -> None:
    semantic = np.array([[0, 3], [0, 3]], np.uint8)
    instance = np.array([[0, 1], [0, 1]], np.uint16)
    scores = Scores(LABELS)
    scores.add(semantic, instance, Truth(semantic))
    summary = scores.summary()
    assert summary["pq"] is summary["pq_things"] is None
    assert summary["pq_stuff"] == summary["miou"] == 1.0


def test_there_is_no_average_precision_without_the_scores_of_all_frames() -> None:
    semantic, instance = np.full((10, 10), 3, np.uint8), np.ones((10, 10), np.uint16)
    scores, segment = Scores(LABELS), Segment(1, 3, True, 0.8, 100, (0, 0, 10, 10))
    scores.add(semantic, instance, Truth(semantic, instance), [segment])
    summary = scores.summary()
    assert (summary["ap"], summary["ap50"], summary["ap_class"]["person"]) == (1.0, 1.0, None)
    assert (summary["sq_things"], summary["rq_things"], summary["rq_stuff"]) == (1.0, 1.0, None)
    scores.add(semantic, instance, Truth(semantic, instance))
    assert scores.summary()["ap"] is None and scores.summary()["pq"] == 1.0


def test_a_smaller_prediction_is_measured_at_the_labels_size() -> None:
    truth = np.kron(np.array([[0, 1], [2, 0]], np.uint8), np.ones((8, 8), np.uint8))
    scores = Scores(LABELS)
    assert scores.add(truth[::2, ::2].copy(), np.zeros((8, 8), np.uint16), Truth(truth)) == 1.0


def test_values_outside_the_label_set_are_refused() -> None:
    truth, strange = np.zeros((2, 2), np.uint8), np.full((2, 2), 11, np.uint8)
    with pytest.raises(SegPerceptionError, match="labels hold the value 11"):
        ConfusionMatrix(LABELS).update(truth, strange)
    with pytest.raises(SegPerceptionError, match="prediction hold"):
        ConfusionMatrix(LABELS).update(strange, truth)
    with pytest.raises(ValueError, match=r"\[2, 3\]"):
        ConfusionMatrix(LABELS).update(np.zeros((2, 3), np.uint8), truth)


@pytest.mark.parametrize("factors", [(3, 3), (5, 5), (3, 5), (2, 2), (4, 3), (7, 1)])
def test_a_perfect_mask_that_is_finer_than_its_labels_scores_1(factors: tuple[int, int]) -> None:
    generator = np.random.default_rng(sum(factors))
    truth = generator.integers(0, len(LABELS), (9, 11), np.uint8)
    objects = np.where(LABELS.is_thing[truth], 4 * truth + generator.integers(1, 4, truth.shape), 0).astype(np.uint16)
    fine = [np.kron(mask, np.ones(factors, mask.dtype)) for mask in (truth, objects)]
    scores = Scores(LABELS)
    assert scores.add(fine[0], fine[1], Truth(truth, objects)) == 1.0
    told = scores.summary()
    assert told["miou"] == told["pq"] == told["boundary_f1"] == 1.0


@pytest.mark.parametrize(("size", "new", "places"), [(6, 2, [1, 4]), (5, 1, [2]), (4, 2, [1, 3]), (2, 4, [0, 0, 1, 1])])
def test_a_pixel_of_another_size_is_what_lies_under_its_middle(size: int, new: int, places: list[int]) -> None:
    line = np.arange(size, dtype=np.uint16)
    assert at_middles(line[None], (1, new)).tolist() == [places]
    assert at_middles(line[:, None], (new, 1)).ravel().tolist() == places
    assert at_middles(line[None], (1, size)) is not None


def test_a_frame_whose_objects_are_not_told_apart_counts_for_neither_pq_nor_ap_and_costs_no_other() -> None:
    """As when one instance message of a recording is lost."""
    whole, one_lost = Scores(LABELS), Scores(LABELS)
    for number, (prediction, instance, truth, objects) in enumerate(ALL_MAPS[:6]):
        segments = [Segment(int(k), 0, True, 0.5, 1, (0, 0, 1, 1)) for k in np.unique(instance)]
        if number != 2:
            whole.add(prediction, instance, Truth(truth, objects), segments)
        one_lost.add(prediction, instance, Truth(truth, objects if number != 2 else None), segments)
    expected, told = whole.summary(), one_lost.summary()
    assert expected["pq"] is not None and expected["ap"] is not None
    for key in ("pq", "sq", "rq", "pq_things", "pq_stuff", "ap", "ap50", "pq_class"):
        assert told[key] == expected[key], key
    assert (one_lost.frames, told["frames_with_objects"]) == (6, 5)
    assert "5 frames" in one_lost.notes[0] and whole.notes == []
    summed = Scores(LABELS)
    for scores in (one_lost, whole):
        summed.add_summary(scores.summary(), scores.frames)
    assert summed.frames_with_objects == 10 and summed.summary()["pq"] == pytest.approx(expected["pq"])


def test_boundary_f1_is_the_mean_over_the_frames_that_have_one() -> None:
    """One frame right, one wrong: a half. 300 frames keep theirs, though 300 is more than 8 bits hold."""
    truth = np.zeros((40, 40), np.uint8)
    truth[:, 20:] = 1
    moved = np.zeros((40, 40), np.uint8)
    moved[:, 35:] = 1
    nothing = np.zeros((40, 40), np.uint16)
    scores = Scores(LABELS)
    for prediction in (truth, moved):
        scores.add(prediction, nothing, Truth(truth))
    np.testing.assert_allclose(scores.boundary()[:2], 0.5)
    many = Scores(LABELS)
    for _ in range(300):
        many.add(truth, nothing, Truth(truth))
    assert many.boundary()[:2].tolist() == [1.0, 1.0]
    assert many.summary()["sums"]["boundary_f1"][LABELS.names[0]] == [300.0, 300.0]
