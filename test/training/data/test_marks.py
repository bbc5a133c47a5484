"""Weak labels: what of them stays a label, what becomes a mark, and that marks follow the image."""

from __future__ import annotations

import re
from pathlib import Path

import cv2
import numpy as np
import pytest

from seg_perception.datasets import open_dataset
from seg_perception.errors import SegPerceptionError
from seg_perception.labels import CAMVID, VOID
from seg_perception.training.augment_settings import AugmentSettings
from seg_perception.training.config import TrainConfig, load_config
from seg_perception.training.data.augment import CutOut, Scene, paste, warp
from seg_perception.training.data.marks import Weakness, grown, weakened
from seg_perception.training.data.oversampling import repeat_factors
from seg_perception.training.data.scene_store import SceneStore
from seg_perception.training.data.targets import PartialLabels

ROAD, PAVEMENT, CAR, PEDESTRIAN, ELSEWHERE = 3, 4, 8, 9, 40
IS_THING = np.isin(np.arange(256), (CAR, PEDESTRIAN))
V = VOID


def scene_of(codes: list[list[int]], instance: list[list[int]] | None = None) -> Scene:
    label = np.array(codes, np.uint8)
    numbers = np.zeros(label.shape, np.uint16) if instance is None else np.array(instance, np.uint16)
    return Scene(np.zeros((*label.shape, 3), np.uint8), label, numbers)


def test_marks_grow_into_what_is_unlabelled_as_far_as_the_nearer_one() -> None:
    codes = np.array([[ROAD, V, V, V, V, PAVEMENT]], np.uint8)
    assert grown(codes, 1).tolist() == [[ROAD, ROAD, V, V, PAVEMENT, PAVEMENT]]
    assert grown(codes, 9).tolist() == [[ROAD] * 3 + [PAVEMENT] * 3]
    assert grown(np.full((2, 2), V, np.uint8), 3).tolist() == [[V, V], [V, V]]


def test_scribbles_stay_labels() -> None:
    scene = weakened(scene_of([[ROAD, V, CAR]], [[0, 0, 5]]), Weakness("scribbles", 0, IS_THING, ELSEWHERE))
    assert scene.codes.tolist() == [[ROAD, V, CAR]] and scene.marks is None and not scene.instance.any()


def test_each_piece_of_a_class_is_a_point() -> None:
    """Two roads that do not touch, and a car between that touches both."""
    codes = [[ROAD, V, V], [V, CAR, V], [V, V, V], [V, V, ROAD]]
    scene = weakened(scene_of(codes), Weakness("points", 0, IS_THING, ELSEWHERE))
    assert scene.marks.tolist() == [[1, 0, 0], [0, 3, 0], [0, 0, 0], [0, 0, 2]]
    assert scene.codes_at_marks.tolist() == codes and (scene.codes == V).all()


@pytest.mark.parametrize("background", [True, False])
def test_each_object_is_a_box_and_around_it_are_none_of_its_kind(background: bool) -> None:
    """A crowd, which has no number, says nothing; labels that are no things stay."""
    codes, numbers = [[ROAD, V, CAR, CAR, PEDESTRIAN]], [[0, 0, 7, 7, 9]]
    expected = [[ROAD, ELSEWHERE, V, V, V]], [[0, 0, -1, -1, -2]]
    if not background:
        codes, numbers = [[CAR, CAR, PEDESTRIAN]], [[7, 7, 9]]
        expected = [[V, V, V]], [[-1, -1, -2]]
    scene = weakened(scene_of(codes, numbers), Weakness("boxes", 0, IS_THING, ELSEWHERE))
    assert (scene.codes.tolist(), scene.marks.tolist()) == expected
    assert scene.codes_at_marks[0, -3:].tolist() == [CAR, CAR, PEDESTRIAN]
    assert not scene.instance.any()


def test_a_crowd_says_nothing() -> None:
    scene = weakened(scene_of([[CAR, ROAD]]), Weakness("boxes", 0, IS_THING, ELSEWHERE))
    assert scene.codes.tolist() == [[V, ROAD]] and not scene.marks.any()


def test_marks_follow_the_image_and_change_in_a_mirror_as_labels_do() -> None:
    """Pictures of their own marks stay so under any change of geometry."""
    numbers = np.kron(np.arange(1, 7, dtype=np.int16).reshape(2, 3), np.ones((30, 30), np.int16)) * 20
    codes = np.arange(121, dtype=np.uint8)
    swapped = np.arange(256, dtype=np.uint8)
    swapped[[20, 40]] = 40, 20
    rgb = np.dstack([numbers.astype(np.uint8)] * 3)
    scene = Scene(rgb, np.full((60, 90), V, np.uint8), np.zeros((60, 90), np.uint16), -numbers, codes)
    mirrored = []
    for seed in range(8):
        rng = np.random.default_rng(seed)
        settings = AugmentSettings(scale=(0.8, 1.5))
        moved = warp(scene, rng, settings, (32, 64), 90, swapped)
        inside = moved.marks < 0
        near = cv2.erode(inside.astype(np.uint8), np.ones((5, 5))).astype(bool)
        plain = cv2.morphologyEx(moved.rgb[..., 0], cv2.MORPH_GRADIENT, np.ones((3, 3))) == 0
        assert (moved.rgb[..., 0] == -moved.marks)[near & plain].all() and (near & plain).mean() > 0.2
        found = set(moved.codes_at_marks[moved.marks == -20].tolist())
        mirrored += found
    assert set(mirrored) == {20, 40}


def test_what_is_pasted_hides_marks() -> None:
    scene = weakened(scene_of([[CAR] * 96] * 64, [[1] * 96] * 64), Weakness("boxes", 0, IS_THING, ELSEWHERE))
    thing = CutOut(np.full((20, 20, 3), 9, np.uint8), np.ones((20, 20), bool), PEDESTRIAN, 100.0)
    pasted = paste(scene, np.random.default_rng(3), [thing], 2)
    assert (pasted.codes == PEDESTRIAN).any() and not pasted.marks[pasted.codes == PEDESTRIAN].any()
    assert (scene.marks == -1).all()


def test_a_mark_that_is_hidden_in_part_says_no_more_that_its_class_is_there() -> None:
    """The rows of a box beside a pasted car may hold none of what the box is of; a point's only pixel may be behind it."""
    boxes = np.arange(96) // 8 + 1
    scene = weakened(scene_of([[CAR] * 96] * 64, [boxes.tolist()] * 64), Weakness("boxes", 0, IS_THING, ELSEWHERE))
    thing = CutOut(np.full((20, 20, 3), 9, np.uint8), np.ones((20, 20), bool), PEDESTRIAN, 100.0)
    pasted = paste(scene, np.random.default_rng(3), [thing], 1)
    hidden = set(np.unique(scene.marks[pasted.codes == PEDESTRIAN]).tolist())
    left = {number: (pasted.marks == number).sum() for number in np.unique(scene.marks).tolist()}
    assert 0 < len(hidden) < 12
    assert left == {number: 0 if number in hidden else 64 * 8 for number in left}


def test_images_with_rare_classes_are_shown_more_often() -> None:
    """Of four images all have a, one has b: with 0.5, b is shown by the root of 0.5 / 0.25 more often."""
    present = np.array([[True, False], [True, True], [True, False], [True, False]])
    assert repeat_factors(present, 0.5).tolist() == pytest.approx([1, 2**0.5, 1, 1])
    assert repeat_factors(np.zeros((2, 3), bool), 0.5).tolist() == [1, 1]


CONFIG = """
size_hw: [64, 96]
crop_hw: [64, 64]
batch_size: 2
workers: 0
augment: {paste: 0}
allow_absent: [%s]
data:
  - {name: folder, root: mine, split: train%s}
validation: {name: folder, root: mine, split: train}
"""
OTHERS = "sky, building, pole, pavement, tree, sign, fence, pedestrian, bicyclist"


def write_folder(root: Path, rows: list[int]) -> None:
    for part in ("images", "labels", "instances"):
        (root / "mine/train" / part).mkdir(parents=True)
    for i, row in enumerate(rows):
        label = np.full((60, 80), V, np.uint8)
        label[30:32, 10:20], label[row : row + 6, 40:60] = ROAD, CAR
        numbers = (label == CAR).astype(np.uint8)
        for part, image in (("images", np.dstack([label] * 3)), ("labels", label), ("instances", numbers)):
            cv2.imwrite(str(root / f"mine/train/{part}/{i}.png"), image)


def config_of(root: Path, source: str, rest: str = "", absent: str = OTHERS) -> TrainConfig:
    (root / "c.yaml").write_text(CONFIG % (absent, source) + rest)
    return load_config(root / "c.yaml", data_root=str(root))


def test_points_and_boxes_reach_the_batch(tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="the stream gives tensors")
    from seg_perception.training.data.stream import TrainingStream

    write_folder(tmp_path, [30, 40])
    boxes = config_of(tmp_path, ", weak: boxes", "loss: {weak: {box_projection: 1.0}}")
    stream = TrainingStream(boxes, CAMVID, 8)
    weights = stream.class_weights()
    item = next(item for item in map(stream.__getitem__, range(8)) if (item["marks"] < 0).any())
    at_box = item["marks"] < 0
    assert (item["mark_codes"][at_box] == CAR).all() and (item["codes"][at_box] == V).all()
    around = np.unique(item["codes"][~at_box].numpy()).tolist()
    elsewhere = next(code for code in around if code not in (ROAD, V))
    assert set(stream.partial.sets[elsewhere]) == set(range(len(CAMVID))) - set(np.flatnonzero(CAMVID.is_thing))
    assert weights[elsewhere] > 0 and not (item["edge"][~at_box & (item["codes"] == elsewhere)] == 1).any()
    points = config_of(tmp_path, ", weak: points, mark_px: 2", "loss: {weak: {noisy_or: 1.0}}")
    item = TrainingStream(points, CAMVID, 8)[0]
    assert set(np.unique(item["mark_codes"]).tolist()) <= {ROAD, CAR, V} and (item["codes"] == V).all()


def test_what_lies_around_boxes_teaches_no_class(tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="the stream gives tensors")
    from seg_perception.training.data.stream import TrainingStream

    write_folder(tmp_path, [30])
    config = config_of(tmp_path, ", weak: boxes", "loss: {weak: {box_projection: 1.0}}", absent="pedestrian, bicyclist")
    with pytest.raises(SegPerceptionError, match="no training label has the classes sky, building"):
        TrainingStream(config, CAMVID, 8).class_weights()


def test_rare_classes_are_drawn_more_often(tmp_path: Path) -> None:
    """One image in four has a pedestrian: sqrt(1 / 0.25) = 2 draws for each of the others'."""
    pytest.importorskip("torch", reason="the stream gives tensors")
    from seg_perception.training.data.stream import TrainingStream

    write_folder(tmp_path, [30, 40, 45, 50])
    label = np.full((60, 80), PEDESTRIAN, np.uint8)
    cv2.imwrite(str(tmp_path / "mine/train/labels/2.png"), label)
    config = config_of(tmp_path, "", "oversample_below: 1.0", absent=OTHERS.replace("pedestrian, ", ""))
    stream = TrainingStream(config, CAMVID, 8)
    drawn = [stream._index(0, i, np.random.default_rng([0, i])) for i in range(2000)]
    shares = np.bincount(drawn, minlength=4) / 2000
    wanted = np.array([2 / 3**0.5, 2 / 3**0.5, 2, 2 / 3**0.5])
    assert shares == pytest.approx(wanted / wanted.sum(), abs=0.04)


@pytest.mark.parametrize(
    ("source", "rest", "message"),
    [
        (", weak: point", "", r"weak is 'point'.*did you mean 'points'"),
        (", weak: points", "", r"weak: points, and no loss learns from them: set loss\.weak to {noisy_or: 1\.0}"),
        (", weak: boxes", "loss: {weak: {noisy_or: 1.0}}", r"weak: boxes, and no loss|no source has weak: points"),
        ("", "loss: {weak: {box_projection: 1.0}}", r"names box_projection, but no source has weak: boxes"),
        ("", "loss: {weak: {smoothnes: 1.0}}", r"loss\.weak.*'smoothnes'.*did you mean 'smoothness'"),
        (", mark_px: 3", "", r"mark_px of folder grows points and scribbles"),
        (", weak: points, mark_px: -1", "", r"mark_px is -1"),
        ("", "loss: {affinity_px: 0}", r"loss\.affinity_px is 0, allowed is 1 to 64"),
        ("", "oversample_below: -1", r"oversample_below is -1"),
    ],
)
def test_what_cannot_be_is_refused(tmp_path: Path, source: str, rest: str, message: str) -> None:
    with pytest.raises(SegPerceptionError, match=message):
        config_of(tmp_path, source, rest)


def test_validation_is_by_masks(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text(re.sub(r"(validation: {.*)}", r"\1, weak: scribbles}", CONFIG % ("", "")))
    with pytest.raises(SegPerceptionError, match="validation is by masks"):
        load_config(tmp_path / "c.yaml")


def test_boxes_of_a_source_that_tells_no_objects_apart_are_refused(tmp_path: Path) -> None:
    """They taught nothing, and nobody was told; an image that shows no thing needs no numbers."""
    for part, value in (("images", 9), ("labels", ROAD)):
        (tmp_path / "train" / part).mkdir(parents=True)
        cv2.imwrite(str(tmp_path / "train" / part / "a.png"), np.full((4, 4), value, np.uint8))
    data, partial = open_dataset("folder", tmp_path, "train", CAMVID), PartialLabels(CAMVID)
    boxes = Weakness("boxes", 0, partial.may_be_thing, ELSEWHERE)
    assert (SceneStore([data], partial, 0, [boxes]).read(0, 0).codes == ROAD).all()
    cv2.imwrite(str(tmp_path / "train/labels/a.png"), np.full((4, 4), CAR, np.uint8))
    with pytest.raises(SegPerceptionError, match=r"a\.png has things and no numbers of objects"):
        SceneStore([data], partial, 0, [boxes]).read(0, 0)
