"""Metrics against the reference tools and against plain definitions, on random and adversarial maps."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from seg_perception.errors import SegPerceptionError
from seg_perception.evaluation.metrics import (
    BOUNDARY_TOLERANCE,
    ConfusionMatrix,
    PanopticQuality,
    Scores,
    Truth,
    boundary_f1,
    iou_per_class,
)
from seg_perception.labels import VOID, LabelClass, LabelSet

LABELS = LabelSet(
    (
        LabelClass(0, "road", (128, 64, 128), drivable_cost=0),
        LabelClass(1, "grass", (0, 128, 0), drivable_cost=80),
        LabelClass(2, "wall", (90, 90, 90)),
        LabelClass(3, "car", (0, 0, 142), thing=True),
        LabelClass(4, "person", (220, 20, 60), thing=True),
    )
)
VALUES = np.array([0, 1, 2, 3, 4, VOID], np.uint8)
Maps = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]


def random_maps(seed: int) -> Maps:
    """Prediction and truth with classes, instances, crowds and void; from pixel noise to large blocks."""
    rng = np.random.default_rng(seed)
    block = int(rng.choice([1, 3, 8, 16]))
    shape = (-(-48 // block), -(-64 // block))

    def blocks(values: np.ndarray) -> np.ndarray:
        return np.kron(values, np.ones((block, block), values.dtype))[:48, :64]

    truth = blocks(rng.choice(VALUES, shape))
    true_instance = blocks(rng.integers(0, 4, shape).astype(np.uint16))
    noise = rng.random((48, 64)) < rng.choice([0.02, 0.3, 0.9])
    prediction = np.where(noise, rng.choice(VALUES, (48, 64)), truth).astype(np.uint8)
    instance = np.where(noise, rng.integers(0, 4, (48, 64)), true_instance + 7).astype(np.uint16)
    return prediction, instance, truth, true_instance


def adversarial_maps() -> list[Maps]:
    void, road = np.full((48, 64), VOID, np.uint8), np.zeros((48, 64), np.uint8)
    car, none = np.full((48, 64), 3, np.uint8), np.zeros((48, 64), np.uint16)
    one, halves = none + 1, none + 1
    halves[:, 32:] = 2
    pixel = road.copy()
    pixel[20, 20] = 3
    return [
        (road, none, road, none),
        (road, none, void, none),
        (void, none, road, none),
        (car, one, car, halves),  # IoU of exactly one half is no match
        (car, halves, car, none),  # all crowd: nothing matched, nothing missed
        (car, none, car, one),  # a prediction without an instance is void
        (pixel, one, road, none),
        (road, none, pixel, one),
        (pixel, one, pixel, one),
        (np.where(halves == 1, 3, 0).astype(np.uint8), one, np.where(halves == 1, VOID, 0).astype(np.uint8), none),
    ]


ALL_MAPS = adversarial_maps() + [random_maps(seed) for seed in range(20)]


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


def write_panoptic(path: Path, semantic: np.ndarray, instance: np.ndarray, truth: bool) -> dict[str, Any]:
    """A PNG of segment ids and its annotation, as the COCO panoptic format wants them."""
    ids = np.zeros(semantic.shape, np.int64)
    segments = []
    for label in LABELS.classes:
        for number in np.unique(instance[semantic == label.id]) if label.thing else [0]:
            if label.thing and number == 0 and not truth:
                continue
            mask = semantic == label.id
            mask &= (instance == number) | (not label.thing)
            if mask.any():
                ids[mask] = (label.id + 1) * 100_000 + int(number)
                segments.append(
                    {
                        "id": (label.id + 1) * 100_000 + int(number),
                        "category_id": label.id,
                        "iscrowd": int(label.thing and number == 0),
                        "area": int(np.count_nonzero(mask)),
                    }
                )
    bgr = np.stack((ids >> 16, ids >> 8 & 255, ids & 255), axis=-1).astype(np.uint8)
    cv2.imwrite(str(path), bgr)
    return {"file_name": path.name, "image_id": path.stem, "segments_info": segments}


def test_panoptic_quality_equals_cityscapesscripts(tmp_path: Path) -> None:
    reference = pytest.importorskip(
        "cityscapesscripts.evaluation.evalPanopticSemanticLabeling", reason="cityscapesscripts is not installed"
    )
    quality, pairs = PanopticQuality(LABELS), []
    for number, (prediction, instance, truth, true_instance) in enumerate(ALL_MAPS):
        quality.update(prediction, instance, truth, true_instance)
        pairs.append(
            (
                write_panoptic(tmp_path / f"truth_{number}.png", truth, true_instance, truth=True),
                write_panoptic(tmp_path / f"predicted_{number}.png", prediction, instance, truth=False),
            )
        )
    categories = {c.id: {"isthing": int(c.thing), "name": c.name} for c in LABELS.classes}
    counts = reference.pq_compute_single_core(0, pairs, str(tmp_path), str(tmp_path), categories)
    things = LABELS.is_thing[: len(LABELS)]
    per_class = quality.per_class()
    for chosen, isthing in ((np.ones(5, bool), None), (things, True), (~things, False)):
        expected, _ = counts.pq_average(categories, isthing=isthing)
        for name, values in zip(("pq", "sq", "rq"), per_class, strict=True):
            assert np.nanmean(values[chosen]) == pytest.approx(expected[name], abs=1e-9)
    for label in range(len(LABELS)):
        have = (quality.tp[label], quality.fp[label], quality.fn[label])
        assert have == (counts[label].tp, counts[label].fp, counts[label].fn)


def test_half_overlap_is_no_match_and_crowds_are_neither_matched_nor_missed() -> None:
    maps = adversarial_maps()
    quality = PanopticQuality(LABELS)
    quality.update(*maps[3])
    assert (quality.tp[3], quality.fp[3], quality.fn[3]) == (0, 1, 2)
    quality = PanopticQuality(LABELS)
    quality.update(*maps[4])
    assert (quality.tp[3], quality.fp[3], quality.fn[3]) == (0, 0, 0)


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


def test_without_true_instances_the_quality_of_things_is_not_invented() -> None:
    semantic = np.array([[0, 3], [0, 3]], np.uint8)
    instance = np.array([[0, 1], [0, 1]], np.uint16)
    scores = Scores(LABELS)
    scores.add(semantic, instance, Truth(semantic))
    summary = scores.summary()
    assert summary["pq"] is summary["pq_things"] is None
    assert summary["pq_stuff"] == summary["miou"] == 1.0


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
