"""Each data set in its own layout, written here in miniature."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from seg_perception.errors import SegPerceptionError
from seg_perception.labels import CAMVID, VOID
from seg_perception.training.datasets import open_dataset
from seg_perception.training.targets import PartialLabels


def pair(root: Path, split: str, stem: str, label: np.ndarray, ending: str = "png") -> None:
    """One image with its label."""
    for part in ("images", "labels"):
        (root / split / part).mkdir(parents=True, exist_ok=True)
    rgb = np.full((*label.shape, 3), (255, 128, 0), np.uint8)
    cv2.imwrite(str(root / split / "images" / f"{stem}.{ending}"), rgb[:, :, ::-1])
    cv2.imwrite(str(root / split / "labels" / f"{stem}.png"), label)


def test_camvid(tmp_path: Path) -> None:
    pair(tmp_path, "val", "0001TP", np.array([[3, 11], [10, 0]], np.uint8))
    dataset = open_dataset("camvid", tmp_path, "val", CAMVID)
    sample = dataset[0]
    assert len(dataset) == 1 and sample.name == "0001TP" and sample.instance is None
    assert sample.rgb[0, 0].tolist() == [255, 128, 0], "RGB, not BGR"
    assert sample.label.tolist() == [[3, VOID], [10, 0]]


def test_idd_lite_means_classes_that_exist(tmp_path: Path) -> None:
    pair(tmp_path, "train", "0_1", np.array([[0, 255], [6, 2]], np.uint8), "jpg")
    dataset = open_dataset("idd_lite", tmp_path, "train", CAMVID)
    codes = PartialLabels(CAMVID).codes_of(dataset.meaning)[dataset[0].label]
    assert codes[0].tolist() == [CAMVID.by_name("road").id, VOID]
    assert codes[1, 0] == CAMVID.by_name("sky").id and codes[1, 1] >= len(CAMVID)


def test_coco_polygons(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "labels").mkdir()
    for stem in ("a", "b"):
        cv2.imwrite(str(tmp_path / f"images/{stem}.jpg"), np.zeros((40, 60, 3), np.uint8))
    (tmp_path / "labels/a.txt").write_text("2 0 0 0.5 0 0.5 0.9 0 0.9\n0 0.1 0.1 0.3 0.1 0.3 0.3 0.1 0.3\n")
    (tmp_path / "labels/b.txt").write_text("44 0 0 1 0 1 1\n")
    dataset = open_dataset("coco_polygons", tmp_path, "", CAMVID)
    assert len(dataset) == 1, "an image without street classes is left out"
    sample = dataset[0]
    assert sample.label[30, 20] == 2 and sample.label[8, 12] == 0 and sample.label[30, 50] == VOID
    assert sample.instance is not None and len(np.unique(sample.instance)) == 3


def test_synthetic_scene_is_the_same_for_everybody() -> None:
    first, second = open_dataset("synthetic", ".", "val", CAMVID)[3], open_dataset("synthetic", ".", "val", CAMVID)[3]
    assert (first.rgb == second.rgb).all() and first.label.max() < len(CAMVID)
    assert first.instance is not None
    assert CAMVID.is_thing[first.label[first.instance > 0]].all()
    assert (open_dataset("synthetic", ".", "train", CAMVID)[3].rgb != first.rgb).any()


def test_bad_trees_are_named(tmp_path: Path) -> None:
    with pytest.raises(SegPerceptionError, match="did you mean 'camvid'"):
        open_dataset("camvd", tmp_path, "val", CAMVID)
    with pytest.raises(SegPerceptionError, match="no folder"):
        open_dataset("camvid", tmp_path, "val", CAMVID)
    pair(tmp_path, "val", "1", np.array([[77]], np.uint8))
    with pytest.raises(SegPerceptionError, match=r"unknown ids 77 \(1 pixels\), the first at x 0, y 0: allowed are 0-11 and 255"):
        open_dataset("camvid", tmp_path, "val", CAMVID)[0]
    (tmp_path / "val/labels/1.png").write_bytes(b"not a png")
    with pytest.raises(SegPerceptionError, match="can decode"):
        open_dataset("camvid", tmp_path, "val", CAMVID)[0]
    (tmp_path / "val/labels/1.png").unlink()
    with pytest.raises(SegPerceptionError, match="no label"):
        open_dataset("camvid", tmp_path, "val", CAMVID)
