"""PQ and AP against the reference tools and against hand-worked values."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from metric_maps import ALL_MAPS, LABELS, Maps, adversarial_maps

from seg_perception.labels import VOID
from seg_perception.metrics.average_precision import OVERLAPS, AveragePrecision
from seg_perception.metrics.panoptic_quality import FN, FP, IOU_SUM, TP, PanopticQuality
from seg_perception.metrics.segment_pairs import VOID_KEY, SegmentPairs, pair_segments

CITYSCAPES_IDS = np.zeros(256, np.int32)  # 0 is Cityscapes' 'unlabeled', ignored in the truth
CITYSCAPES_IDS[:5] = 7, 22, 11, 26, 24
IS_THING = LABELS.is_thing


def pairs_of(maps: Maps) -> SegmentPairs:
    return pair_segments(*maps, IS_THING)


def one_class_each(semantic: np.ndarray, instance: np.ndarray) -> np.ndarray:
    """A predicted semantic mask in which every instance has its commonest class, and thing pixels without one are void."""
    semantic = semantic.copy()
    thing = IS_THING[semantic]
    for number in np.unique(instance[thing]):
        pixels = thing & (instance == number)
        semantic[pixels] = np.bincount(semantic[pixels]).argmax() if number else VOID
    return semantic


def quality_of(*frames: Maps) -> PanopticQuality:
    quality = PanopticQuality(LABELS)
    for maps in frames:
        quality.update(pairs_of(maps))
    return quality


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from([1, 3, 40, 65535]))
def test_pairs_are_counted_pixel_by_pixel(seed: int, most: int) -> None:
    rng = np.random.default_rng(seed)
    semantic, true_semantic = rng.choice(np.array([0, 1, 3, 4, VOID], np.uint8), (2, 40, 50))
    instance, true_instance = rng.integers(0, most, (2, 40, 50), np.uint16, endpoint=True)
    merged = one_class_each(semantic, instance)
    expected: Counter[tuple[int, int]] = Counter()
    for y, x in np.ndindex(semantic.shape):
        true_label, label = int(true_semantic[y, x]), int(merged[y, x])
        true_key = true_label << 16 | (int(true_instance[y, x]) if IS_THING[true_label] else 0)
        key = label << 16 | (int(instance[y, x]) if IS_THING[label] else 0)
        expected[true_key, key] += 1
    pairs = pairs_of((semantic, instance, true_semantic, true_instance))
    assert pairs.pixels == expected
    assert pairs.area.total() == pairs.true_area.total() == semantic.size


def test_an_instance_is_of_the_class_that_most_of_its_pixels_have() -> None:
    semantic = np.array([[4, 3, 3, 0], [3, 4, 4, 3]], np.uint8)
    instance = np.array([[1, 1, 1, 1], [2, 2, 2, 2]], np.uint16)  # the second is tied: the first class has it
    pairs = pairs_of((semantic, instance, np.full((2, 4), VOID, np.uint8), instance))
    assert pairs.area == {3 << 16 | 1: 3, 0: 1, 3 << 16 | 2: 4}
    assert pairs.true_area == {VOID_KEY: 8}


def write_panoptic(path: Path, semantic: np.ndarray, instance: np.ndarray, truth: bool) -> dict[str, Any]:
    """A PNG of segment ids and its annotation, as the COCO panoptic format wants them."""
    ids = np.zeros(semantic.shape, np.int64)
    segments = []
    if not truth:
        semantic = one_class_each(semantic, instance)
    for label in LABELS.classes:
        for number in np.unique(instance[semantic == label.id]) if label.thing else [0]:
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
    quality, files = quality_of(*ALL_MAPS), []
    for number, (prediction, instance, truth, true_instance) in enumerate(ALL_MAPS):
        files.append(
            (
                write_panoptic(tmp_path / f"truth_{number}.png", truth, true_instance, truth=True),
                write_panoptic(tmp_path / f"predicted_{number}.png", prediction, instance, truth=False),
            )
        )
    categories = {c.id: {"isthing": int(c.thing), "name": c.name} for c in LABELS.classes}
    counts = reference.pq_compute_single_core(0, files, str(tmp_path), str(tmp_path), categories)
    things = IS_THING[: len(LABELS)]
    per_class = quality.per_class()
    for chosen, isthing in ((np.ones(5, bool), None), (things, True), (~things, False)):
        expected, _ = counts.pq_average(categories, isthing=isthing)
        for name, values in zip(("pq", "sq", "rq"), per_class, strict=True):
            assert np.nanmean(values[chosen]) == pytest.approx(expected[name], abs=1e-9)
    for label in range(len(LABELS)):
        want = counts[label]
        np.testing.assert_allclose(quality.sums[label], (want.iou, want.tp, want.fp, want.fn), rtol=0, atol=1e-9)


@pytest.fixture
def in_float64() -> Iterator[None]:
    """torch divides whole numbers into its default type, which is too coarse to compare with."""
    torch = pytest.importorskip("torch", reason="torch is not installed")
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(before)


@pytest.mark.usefixtures("in_float64")
def test_panoptic_quality_equals_torchmetrics() -> None:
    """Which knows no crowds, and forgives truth that is predicted as void: maps with neither."""
    import torch

    detection = pytest.importorskip("torchmetrics.detection", reason="torchmetrics is not installed")
    reference = detection.PanopticQuality(things={3, 4}, stuffs={0, 1, 2}, return_per_class=True)
    quality = PanopticQuality(LABELS)
    for prediction, instance, truth, true_instance in ALL_MAPS:
        semantic = np.where(prediction == VOID, np.uint8(1), prediction)
        maps = one_class_each(semantic, instance + 1), instance + 1, truth, true_instance + 1
        quality.update(pairs_of(maps))
        stacks = (np.stack((maps[k], maps[k + 1]), axis=-1).astype(np.int64)[None] for k in (0, 2))
        reference.update(*(torch.from_numpy(stack) for stack in stacks))
    order = torch.tensor([3, 4, 0, 1, 2]).argsort()  # things first
    np.testing.assert_allclose(quality.per_class()[0], reference.compute()[0][order].numpy(), rtol=0, atol=1e-9)


def test_half_overlap_is_no_match_and_crowds_are_neither_matched_nor_missed() -> None:
    maps = adversarial_maps()
    assert quality_of(maps[3]).sums[3].tolist() == [0, 0, 1, 2]
    assert quality_of(maps[4]).sums[3].tolist() == [0, 0, 0, 0]


def test_panoptic_quality_by_hand() -> None:
    truth = np.array([[0, 0, 2, 2], [0, 0, 2, 2], [0, 0, 3, 3], [VOID, 0, 3, 3]], np.uint8)
    prediction = np.array([[0, 0, 2, 2], [0, 0, 2, 2], [0, 3, 3, 3], [3, 0, 4, 4]], np.uint8)
    instance = np.array([[0, 0, 0, 0], [0, 0, 0, 0], [0, 1, 1, 1], [1, 0, 2, 2]], np.uint16)
    quality = quality_of((prediction, instance, truth, np.where(truth == 3, 1, 0).astype(np.uint16)))
    # car: 2 of 4 found and 1 on road beside; the one on void is in no union: 2 of 5, no match. person: nothing is there
    expected = [[6 / 7, 1, 0, 0], [0, 0, 0, 0], [1, 1, 0, 0], [0, 0, 1, 1], [0, 0, 1, 0]]
    np.testing.assert_allclose(quality.sums[:, [IOU_SUM, TP, FP, FN]], expected)


def scores_of(maps: Maps, seed: int) -> dict[int, float]:
    """A score for every instance, many of them equal."""
    rng = np.random.default_rng(seed)
    return {int(number): float(rng.integers(1, 6)) / 5 for number in np.unique(maps[1])}


def precision_of(*frames: Maps) -> np.ndarray:
    precision = AveragePrecision(LABELS)
    for seed, maps in enumerate(frames):
        precision.update(pairs_of(maps), scores_of(maps, seed))
    return precision.per_class()


def reference_precision(reference: Any, folder: Path, *frames: Maps) -> np.ndarray:
    """[2, overlaps] of car and person, by cityscapesscripts."""
    arguments = SimpleNamespace(**vars(reference.args))
    reference.setInstanceLabels(arguments)
    matches = {}
    for number, maps in enumerate(frames):
        semantic, instance, truth, true_instance = maps
        semantic, scores, predictions = one_class_each(semantic, instance), scores_of(maps, number), {}
        for key in np.unique(semantic.astype(np.int64)[IS_THING[semantic]] << 16 | instance[IS_THING[semantic]]):
            path = folder / f"{number}_{key}.png"
            mask = (semantic == key >> 16) & (instance == key & 0xFFFF)
            cv2.imwrite(str(path), mask.astype(np.uint8) * 255)
            predictions[path] = {"labelID": CITYSCAPES_IDS[key >> 16], "conf": scores[int(key & 0xFFFF)]}
        ids = CITYSCAPES_IDS[truth]
        ids = np.where(IS_THING[truth] & (true_instance > 0), 1000 * ids + true_instance, ids).astype(np.int32)
        cv2.imwrite(str(folder / f"{number}.png"), ids.astype(np.uint16))
        loaded = reference.instances2dict([str(folder / f"{number}.png")])
        instances = reference.filterGtInstances(next(iter(loaded.values())), arguments)
        found = reference.assignGt2Preds(instances, ids, predictions, arguments)
        matches[number] = dict(zip(("groundTruth", "prediction"), found, strict=True))
    table = reference.evaluateMatches(matches, arguments)[0]
    return table[[arguments.instLabels.index(name) for name in ("car", "person")]]


@pytest.mark.parametrize("chosen", [slice(None), slice(13), slice(13, 23), slice(23, None)])
def test_average_precision_equals_cityscapesscripts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chosen: slice
) -> None:
    reference = pytest.importorskip(
        "cityscapesscripts.evaluation.evalInstanceLevelSemanticLabeling", reason="cityscapesscripts is not installed"
    )
    monkeypatch.setattr(np, "in1d", np.isin, raising=False)  # it is written for NumPy 1
    precision = precision_of(*ALL_MAPS[chosen])
    expected = reference_precision(reference, tmp_path, *ALL_MAPS[chosen])
    assert np.nanmax(expected) > 0
    np.testing.assert_allclose(precision[3:], expected, rtol=0, atol=1e-9)
    assert np.isnan(precision[:3]).all()


def cars(*boxes: tuple[int, int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Masks of 20 x 100 with one car for each (first column, end, number), road elsewhere."""
    semantic, instance = np.zeros((20, 100), np.uint8), np.zeros((20, 100), np.uint16)
    for begin, end, number in boxes:
        semantic[:, begin:end], instance[:, begin:end] = 3, number
    return semantic, instance


def test_average_precision_by_hand() -> None:
    truth = cars((0, 20, 1), (40, 60, 2), (80, 100, 3))
    predicted = cars((0, 20, 1), (20, 30, 2), (40, 56, 3))
    precision = AveragePrecision(LABELS)
    precision.update(pair_segments(*predicted, *truth, IS_THING), {1: 0.9, 2: 0.8, 3: 0.7})
    # the first is right at every overlap, the second never, the third has an IoU of 0.8
    # points (recall, precision): (0, 1), (1/3, 1), (1/3, 1/2), (2/3, 2/3), weighted by half the way between neighbours
    both = (1 * (1 / 3) + 1 * (1 / 3) + 1 / 2 * (1 / 3) + 2 / 3 * (1 / 3)) / 2
    # without the third: (0, 1), (1/3, 1), (1/3, 1/2), (1/3, 1/3)
    first = (1 * (1 / 3) + 1 * (1 / 3)) / 2
    expected = [both if overlap < 0.79 else first for overlap in OVERLAPS]
    np.testing.assert_allclose(precision.per_class()[3], expected)
    assert math.isnan(precision.per_class()[4, 0])


def test_average_precision_forgives_crowds_void_and_the_very_small() -> None:
    truth, instance = cars((0, 20, 1), (40, 60, 0))
    truth[:, 80:], truth[:5, 30:35], instance[:5, 30:35] = VOID, 3, 9
    predicted = cars((0, 20, 1), (30, 35, 2), (40, 60, 3), (80, 100, 4))
    predicted[0][5:, 30:35] = 0
    precision = AveragePrecision(LABELS)
    precision.update(pair_segments(*predicted, truth, instance, IS_THING), {1: 0.1, 2: 0.9, 3: 0.9, 4: 0.9})
    np.testing.assert_array_equal(precision.per_class()[3], 1.0)


def test_every_instance_needs_a_score() -> None:
    masks = cars((0, 20, 7))
    with pytest.raises(ValueError, match="instance 7 has no score"):
        AveragePrecision(LABELS).update(pair_segments(*masks, *masks, IS_THING), {1: 0.5})
