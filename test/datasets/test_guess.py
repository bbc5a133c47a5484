"""A folder of another layout is told by the adapter that fits."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from test_coco_instances import SQUARE, content, export
from test_datasets import cityscapes_tree, pair, photo
from test_tools import ROAD_AND_CAR, cvat, drawn, labelme, task, text, yolo

from seg_perception.datasets import open_dataset
from seg_perception.datasets.guess import fitting_adapters, looks_like
from seg_perception.errors import SegPerceptionError
from seg_perception.labels import CAMVID


def make(root: Path, kind: str) -> None:
    if kind == "voc":
        cvat(root)
    elif kind == "yolo":
        yolo(root, "train: images\nnames: [road, car]\n", "images/a.jpg", "labels/a.txt", ROAD_AND_CAR)
    elif kind == "labelme":
        labelme(root, drawn("road", [[0, 0], [4, 0], [4, 4]]), stem="train/a")
    elif kind == "label_studio":
        text(root / "export.json", [task("a.jpg", ("polygonlabels", {"points": [], "polygonlabels": ["road"]}))])
    elif kind == "coco_instances":
        export(root, content({"category_id": 1, "segmentation": [SQUARE]}), "mine.json")
    elif kind == "cityscapes":
        cityscapes_tree(root)
    elif kind == "roboflow_masks":
        text(root / "train/_classes.csv", "Pixel Value, Class\n0, road\n")
    elif kind == "supervisely":
        text(root / "meta.json", json.dumps({"classes": []}))
        text(root / "ds0/ann/a.jpg.json", "{}")
    elif kind == "folder":
        pair(root, "train", "a", [[3]])


KINDS = (
    "voc",
    "yolo",
    "labelme",
    "label_studio",
    "coco_instances",
    "cityscapes",
    "roboflow_masks",
    "supervisely",
    "folder",
)


@pytest.mark.parametrize("kind", KINDS)
def test_a_layout_is_told_by_its_files(tmp_path: Path, kind: str) -> None:
    make(tmp_path / "data", kind)
    assert fitting_adapters(tmp_path / "data")[:1] == [kind]
    asked = "folder" if kind != "folder" else "voc"
    with pytest.raises(SegPerceptionError, match=rf"by its files it is `name: {kind}`"):
        open_dataset(asked, tmp_path / "data", "val", CAMVID)
    inside = f"{tmp_path / 'data'} is `name: {kind}`"
    if kind != "labelme":  # which is looked for in folders of folders
        assert inside in looks_like(tmp_path, "camvid"), "in a folder of its own"


def test_a_layout_that_is_there_is_looked_for_nowhere_else(tmp_path: Path) -> None:
    """What is wrong then is something else, which the sentence says."""
    export(tmp_path, content({"category_id": 1, "segmentation": [SQUARE]}), "annotations/instances_default.json")
    assert looks_like(tmp_path, "coco_instances") == ""
    assert looks_like(tmp_path, "voc") == "; by its files it is `name: coco_instances`"


def test_what_archives_from_a_mac_bring_is_no_file_of_a_layout(tmp_path: Path) -> None:
    for kind in KINDS:
        root = tmp_path / kind
        make(root, kind)
        for path in [path for path in root.rglob("*") if path.is_file()]:
            path.with_name(f"._{path.name}").write_bytes(b"\0\5\x16\7")
        assert fitting_adapters(root)[:1] == [kind]
        if kind in ("yolo", "labelme", "label_studio", "coco_instances"):
            photo(root / "images/a.jpg", 6, 8)
            photo(root / "train/a.jpg", 4, 4)
            assert not open_dataset(kind, root, "train" if kind == "yolo" else "", CAMVID, complete=False).spare


def test_a_file_of_something_else_hides_no_layout(tmp_path: Path) -> None:
    make(tmp_path, "coco_instances")
    text(tmp_path / "a.json", "{}")
    assert fitting_adapters(tmp_path) == ["coco_instances"]
    with pytest.raises(SegPerceptionError, match=r"were looked for, there are a\.json, mine\.json; check"):
        open_dataset("coco_instances", tmp_path, "", CAMVID)


def test_what_keeps_a_folder_from_being_a_layout_is_told(tmp_path: Path) -> None:
    (tmp_path / "export.zip").write_bytes(b"PK")
    assert looks_like(tmp_path, "") == "; export.zip in it is packed: unpack it and name its folder"
    photo(tmp_path / "train/images/a.jpg", 2, 2)
    photo(tmp_path / "train/masks/a.png", 2, 2)
    with pytest.raises(SegPerceptionError, match=rf"rename {tmp_path}/train/masks to that$"):
        open_dataset("folder", tmp_path, "train", CAMVID)
    text(tmp_path / "min/a.json", [{"id": 1, "image": "a.jpg", "annotation_id": 2, "lead_time": 1.5}])
    with pytest.raises(SegPerceptionError, match="export as JSON, not as JSON-MIN"):
        open_dataset(fitting_adapters(tmp_path / "min")[0], tmp_path / "min", "", CAMVID)


def test_nothing_is_guessed_where_nothing_is(tmp_path: Path) -> None:
    photo(tmp_path / "a.jpg", 2, 2)
    assert fitting_adapters(tmp_path) == [] and looks_like(tmp_path, "folder") == ""
    with pytest.raises(SegPerceptionError, match=r"name one with images$"):
        open_dataset("folder", tmp_path / "nowhere", "train", CAMVID)
