"""Each data set in its own layout, written here in miniature."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from seg_perception.datasets import Dataset, open_dataset
from seg_perception.datasets.base import numbered
from seg_perception.datasets.synthetic_scenes import SyntheticDrives
from seg_perception.errors import SegPerceptionError
from seg_perception.labels import CAMVID, CITYSCAPES, VOID, LabelSet
from seg_perception.synthetic.classes import AS_CAMVID, RAIL, TERRAIN, WALL
from seg_perception.synthetic.drive import SyntheticDrive
from seg_perception.synthetic.tracked_drive import TrackedDrive
from seg_perception.synthetic.weather import FAIR
from seg_perception.training.data.targets import PartialLabels

ORANGE = (255, 128, 0)


def write(path: Path, pixels: object, dtype: type = np.uint8) -> None:
    """An image file, with its folder; three channels are RGB."""
    image = np.asarray(pixels, dtype)
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), image[:, :, ::-1] if image.ndim == 3 else image)


def photo(path: Path, height: int, width: int) -> None:
    write(path, np.full((height, width, 3), ORANGE))


def pair(root: Path, split: str, stem: str, label: object, ending: str = "png") -> None:
    """One image with its label, in the layout of two folders."""
    photo(root / split / "images" / f"{stem}.{ending}", *np.shape(label))
    write(root / split / "labels" / f"{stem}.png", label)


def meant(dataset: Dataset, labels: LabelSet, index: int = 0) -> list[list[str]]:
    """For every pixel, the classes it may be, joined by a slash; "" is void."""
    partial = PartialLabels(labels)
    codes = partial.codes_of(dataset.meaning)[dataset[index].label]
    name = {code: "/".join(labels.names[i] for i in members) for code, members in enumerate(partial.sets)}
    return [[name.get(code, "") for code in row] for row in codes.tolist()]


def test_camvid(tmp_path: Path) -> None:
    pair(tmp_path, "val", "0001TP", [[3, 11], [10, 0]])
    dataset = open_dataset("camvid", tmp_path, "val", CAMVID)
    sample = dataset[0]
    assert len(dataset) == 1 and sample.name == "0001TP" and sample.instance is None
    assert sample.rgb[0, 0].tolist() == list(ORANGE), "RGB, not BGR"
    assert sample.label.tolist() == [[3, VOID], [10, 0]]
    assert meant(dataset, CAMVID) == [["road", ""], ["bicyclist", "sky"]]
    as_cityscapes = open_dataset("camvid", tmp_path, "val", CITYSCAPES)
    assert meant(as_cityscapes, CITYSCAPES) == [["road", ""], ["rider/motorcycle/bicycle", "sky"]]


def test_idd_lite_means_what_its_coarse_ids_cover(tmp_path: Path) -> None:
    pair(tmp_path, "train", "0_1", [[0, 255, 1, 2], [6, 3, 4, 5]], "jpg")
    assert meant(open_dataset("idd_lite", tmp_path, "train", CAMVID), CAMVID) == [
        ["road", "", "pavement/tree", "pedestrian/bicyclist"],
        ["sky", "car/bicyclist", "building/pole/pavement/sign/fence", "building/tree"],
    ]
    assert meant(open_dataset("idd_lite", tmp_path, "train", CITYSCAPES), CITYSCAPES)[0] == [
        *("road", "", "sidewalk/terrain", "person/rider"),
    ]


def test_coco_polygons(tmp_path: Path) -> None:
    (tmp_path / "labels").mkdir()
    for stem in ("a", "b"):
        photo(tmp_path / f"images/{stem}.jpg", 40, 60)
    (tmp_path / "labels/a.txt").write_text(
        "2 0 0 0.5 0 0.5 0.9 0 0.9\n0 0.1 0.1 0.3 0.1 0.3 0.3 0.1 0.3\n11 0.8 0 1 0 1 0.2 0.8 0.2\n"
    )
    (tmp_path / "labels/b.txt").write_text("44 0 0 1 0 1 1\n")
    dataset = open_dataset("coco_polygons", tmp_path, "", CAMVID)
    assert len(dataset) == 1, "an image without street classes is left out"
    sample = dataset[0]
    assert sample.label[30, 20] == 2 and sample.label[8, 12] == 0 and sample.label[30, 50] == VOID
    assert sample.instance is not None and len(np.unique(sample.instance)) == 3
    assert sample.label[2, 55] == 11 and sample.instance[2, 55] == 0, "a stop sign is no thing here"


def cityscapes_tree(root: Path) -> None:
    """Road, a car, a second car, a group of cars, a licence plate, a bridge, a rider, ego vehicle."""
    stem = "aachen/aachen_000000_000019"
    ids = [[7, 26, 26, 26], [255, 15, 25, 1]]
    objects = [[7, 26000, 26001, 26], [255, 15, 25000, 1]]
    photo(root / f"leftImg8bit/train/{stem}_leftImg8bit.png", 2, 4)
    write(root / f"gtFine/train/{stem}_gtFine_labelIds.png", ids)
    write(root / f"gtFine/train/{stem}_gtFine_instanceIds.png", objects, np.uint16)


def test_cityscapes(tmp_path: Path) -> None:
    cityscapes_tree(tmp_path)
    dataset = open_dataset("cityscapes", tmp_path, "train", CITYSCAPES)
    assert dataset[0].name == "aachen_000000_000019"
    assert meant(dataset, CITYSCAPES) == [["road", "car", "car", "car"], ["", "", "rider", ""]]
    assert dataset[0].instance is not None
    assert dataset[0].instance.tolist() == [[0, 2, 3, 0], [0, 0, 1, 0]], "a group is a crowd: class, no number"
    as_camvid = open_dataset("cityscapes", tmp_path, "train", CAMVID)
    assert meant(as_camvid, CAMVID) == [["road", "car", "car", "car"], ["", "building", "bicyclist", ""]]


def test_cityscapes_train_ids_are_the_published_ones(tmp_path: Path) -> None:
    """The mapping of the benchmark's own tools, from its documentation: id to train id, the rest is void."""
    published = {7: 0, 8: 1, 11: 2, 12: 3, 13: 4, 17: 5, 19: 6, 20: 7, 21: 8, 22: 9, 23: 10, 24: 11, 25: 12, 26: 13}
    published |= {27: 14, 28: 15, 31: 16, 32: 17, 33: 18}
    cityscapes_tree(tmp_path)
    codes = PartialLabels(CITYSCAPES).codes_of(open_dataset("cityscapes", tmp_path, "train", CITYSCAPES).meaning)
    assert {i: int(code) for i, code in enumerate(codes) if code != VOID} == published


def test_kitti(tmp_path: Path) -> None:
    ids, objects = (
        [[7, 26, 26], [23, 26, 24]],
        [[7 * 256, 26 * 256 + 1, 26 * 256 + 2], [23 * 256, 26 * 256, 24 * 256 + 1]],
    )
    photo(tmp_path / "training/image_2/000000_10.png", 2, 3)
    write(tmp_path / "training/semantic/000000_10.png", ids)
    write(tmp_path / "training/instance/000000_10.png", objects, np.uint16)
    dataset = open_dataset("kitti", tmp_path, "training", CAMVID)
    assert meant(dataset, CAMVID) == [["road", "car", "car"], ["sky", "car", "pedestrian"]]
    assert dataset[0].instance is not None
    assert dataset[0].instance.tolist() == [[0, 2, 3], [0, 0, 1]]
    write(tmp_path / "training/instance/000000_10.png", np.array(objects) % 256, np.uint8)
    with pytest.raises(SegPerceptionError, match=r"000000_10\.png holds objects of other ids"):
        dataset[0]


VISTAS = {
    "v1.2": (
        *("construction--flat--road", "human--person", "object--vehicle--car", "object--bench", "marking--general"),
        "object--traffic-sign--front",
    ),
    "v2.0": (
        *(
            "construction--flat--road",
            "human--person--individual",
            "object--vehicle--car",
            "human--person--person-group",
        ),
        *("marking--discrete--arrow--left", "object--traffic-sign--direction-front"),
    ),
}


def test_mapillary_2_has_markings_and_aisles_that_1_has_not(tmp_path: Path) -> None:
    names = ("marking-only--discrete--text", "construction--flat--parking-aisle", "construction--flat--road-shoulder")
    (tmp_path / "config.json").write_text(
        json.dumps({"labels": [{"name": name, "instances": False} for name in names]})
    )
    photo(tmp_path / "training/images/a.jpg", 1, 3)
    write(tmp_path / "training/instances/a.png", [[0, 256, 512]], np.uint16)
    dataset = open_dataset("mapillary", tmp_path, "training", CAMVID)
    assert meant(dataset, CAMVID) == [["road", "road/pavement", ""]]


@pytest.mark.parametrize("version", VISTAS)
@pytest.mark.parametrize("nested", [True, False])
def test_mapillary(tmp_path: Path, version: str, nested: bool) -> None:
    classes = [
        {"name": name, "instances": name.split("--")[-1] in ("person", "individual", "car")} for name in VISTAS[version]
    ]
    config = f"config_{version}.json" if nested else "config.json"
    (tmp_path / config).write_text(json.dumps({"labels": classes}))
    photo(tmp_path / "training/images/a.jpg", 2, 4)
    instances = tmp_path / "training" / (version if nested else ".") / "instances"
    write(instances / "a.png", [[0, 256, 257, 512], [3 * 256, 4 * 256, 5 * 256, 513]], np.uint16)
    dataset = open_dataset("mapillary", tmp_path, "training", CITYSCAPES)
    group = "person" if version == "v2.0" else ""
    assert meant(dataset, CITYSCAPES) == [["road", "person", "person", "car"], [group, "road", "traffic sign", "car"]]
    assert dataset[0].instance is not None
    assert dataset[0].instance.tolist() == [[0, 1, 2, 3], [0, 0, 0, 4]], "number 0 of a class is an object too"
    as_camvid = open_dataset("mapillary", tmp_path, "training", CAMVID)
    assert meant(as_camvid, CAMVID)[1][1:] == ["road", "sign", "car"]
    write(instances / "a.png", [[0, 1, 1, 2], [3, 4, 5, 2]])  # made anew with 8 bits: every pixel had the first id
    with pytest.raises(SegPerceptionError, match=r"a\.png holds no id: instance files are 16-bit"):
        as_camvid[0]


def test_coco_panoptic(tmp_path: Path) -> None:
    """Segment 66051 is R 3, G 2, B 1. Two persons, a crowd of them, a road, a bed, and what nobody labelled."""
    numbers = np.array([[66051, 9, 40000], [300, 5, 0]])
    photo(tmp_path / "val2017/000000000139.jpg", 2, 3)
    write(
        tmp_path / "annotations/panoptic_val2017/000000000139.png", np.dstack([numbers >> s & 255 for s in (0, 8, 16)])
    )
    categories = [(1, "person", 1), (149, "road", 0), (65, "bed", 1)]
    segments = [(66051, 1, 0), (9, 1, 0), (40000, 1, 1), (300, 149, 0), (5, 65, 0)]
    content = {
        "categories": [{"id": i, "name": name, "isthing": thing} for i, name, thing in categories],
        "annotations": [
            {
                "file_name": "000000000139.png",
                "segments_info": [{"id": i, "category_id": c, "iscrowd": crowd} for i, c, crowd in segments],
            }
        ],
    }
    (tmp_path / "annotations/panoptic_val2017.json").write_text(json.dumps(content))
    dataset = open_dataset("coco_panoptic", tmp_path, "val2017", CITYSCAPES)
    assert meant(dataset, CITYSCAPES) == [["person/rider"] * 3, ["road", "", ""]]
    assert dataset[0].instance is not None
    assert dataset[0].instance.tolist() == [[3, 2, 0], [0, 0, 0]], "neither a crowd nor a bed has a number"
    assert meant(open_dataset("coco_panoptic", tmp_path, "val2017", CAMVID), CAMVID)[0] == ["pedestrian/bicyclist"] * 3

    content["annotations"][0]["segments_info"].pop(0)
    (tmp_path / "annotations/panoptic_val2017.json").write_text(json.dumps(content))
    with pytest.raises(SegPerceptionError, match=r"000000000139\.png holds the segments \[66051\]"):
        open_dataset("coco_panoptic", tmp_path, "val2017", CAMVID)[0]


def test_ade20k(tmp_path: Path) -> None:
    photo(tmp_path / "images/training/ADE_train_00000001.jpg", 2, 3)
    write(tmp_path / "annotations/training/ADE_train_00000001.png", [[0, 7, 1], [21, 150, 13]])
    dataset = open_dataset("ade20k", tmp_path, "training", CAMVID)
    assert meant(dataset, CAMVID) == [["", "road", "building"], ["car", "", "pedestrian/bicyclist"]]
    as_cityscapes = open_dataset("ade20k", tmp_path, "training", CITYSCAPES)
    assert meant(as_cityscapes, CITYSCAPES) == [["", "road", "building/wall"], ["car", "", "person/rider"]]
    assert dataset[0].instance is None


def test_folder_in_the_label_set_in_use(tmp_path: Path) -> None:
    pair(tmp_path, "", "a", [[3, 8, 8], [255, 9, 0]], "jpg")
    write(tmp_path / "instances/a.png", [[4, 1, 300], [7, 1, 0]], np.uint16)
    pair(tmp_path, "", "b", [[3]])
    (tmp_path / "labels/._b.png").write_bytes(b"left by a Mac")
    dataset = open_dataset("folder", tmp_path, "", CAMVID)
    assert len(dataset) == 2 and not dataset.spare
    assert meant(dataset, CAMVID) == [["road", "car", "car"], ["", "pedestrian", "sky"]]
    assert dataset[0].instance is not None
    found = dataset[0].instance.tolist()
    assert found[0][0] == found[1][0] == found[1][2] == 0, "neither road nor void is a thing"
    assert len({found[0][1], found[0][2], found[1][1]}) == 3, "car 1 and pedestrian 1 are two objects"
    assert dataset[1].instance is None


def test_folder_with_ids_of_its_own(tmp_path: Path) -> None:
    pair(tmp_path, "train", "a", [[40, 50, 60, 255]])
    classes = {40: ("road",), 50: ("pavement", "tree"), 60: ()}
    dataset = open_dataset("folder", tmp_path, "train", CAMVID, classes)
    assert meant(dataset, CAMVID) == [["road", "pavement/tree", "", ""]]
    with pytest.raises(SegPerceptionError, match="did you mean 'pavement'"):
        open_dataset("folder", tmp_path, "train", CAMVID, {40: ("pavment",)})
    pair(tmp_path, "train", "a", [[40, 3]])
    with pytest.raises(SegPerceptionError, match=r"unknown ids 3 \(1 pixels\).*allowed are 40, 50, 60 and 255"):
        dataset[0]


def test_a_source_may_say_otherwise_than_its_data_set(tmp_path: Path) -> None:
    pair(tmp_path, "train", "a", [[5, 8]])
    dataset = open_dataset("camvid", tmp_path, "train", CITYSCAPES, {5: ("terrain",)})
    assert meant(dataset, CITYSCAPES) == [["terrain", "car/truck/bus/train"]]


def test_synthetic_scene_is_the_same_for_everybody() -> None:
    first, second = (open_dataset("synthetic", ".", "val", CAMVID)[3] for _ in range(2))
    assert (first.rgb == second.rgb).all()
    assert first.instance is not None
    assert CAMVID.is_thing[AS_CAMVID[first.label[first.instance > 0]]].all()
    assert (open_dataset("synthetic", ".", "train", CAMVID)[3].rgb != first.rgb).any()


def test_rendered_scenes_teach_coarse_and_fine_label_sets() -> None:
    coarse, fine = (open_dataset("synthetic", None, "train", labels).meaning for labels in (CAMVID, CITYSCAPES))
    names = {11: ("tree",), 12: ("building",), 13: ("fence",), 14: ("car",), 15: ("car",)}
    assert {i: coarse[i] for i in names} == names
    names = {11: ("terrain",), 12: ("wall",), 13: ("fence",), 14: ("truck",), 15: ("bus",), 5: ("vegetation",)}
    assert {i: fine[i] for i in names} == names


def test_drives_to_learn_from_have_weather_and_those_to_judge_by_have_not() -> None:
    train, val = SyntheticDrives(Path(), "train"), SyntheticDrives(Path(), "val")
    drawn = [train._training_drive(i)[0]._weather for i in range(40)]
    assert 10 < sum(weather == FAIR for weather in drawn) < 30
    assert [train[i].name for i in (3, 4, 5)] == ["drive_000003", "drive_000004", "road_000005"]
    assert np.isin(train[5].label, (RAIL, TERRAIN, WALL)).any()
    hard = SyntheticDrives(Path(), "hard")
    assert len(hard) == 60 and (hard[13].label == TrackedDrive(3).frame(64).semantic).all()
    assert (val[1].rgb == SyntheticDrive(seed=1).frame(0).rgb).all()


def test_objects_are_numbered_from_one() -> None:
    keys = np.array([[70000, 5], [5, 9]], np.int32)
    assert numbered(keys, keys != 9, Path("a.png")).tolist() == [[2, 1], [1, 0]]


@settings(max_examples=30, deadline=None)
@given(arrays.arrays(np.int32, (4, 5), elements=st.integers(0, 1 << 24)), arrays.arrays(np.bool_, (4, 5)))
def test_numbers_keep_objects_apart(keys: np.ndarray, is_object: np.ndarray) -> None:
    instance = numbered(keys, is_object, Path("a.png"))
    assert ((instance > 0) == is_object).all()
    same_key = keys[is_object][:, None] == keys[is_object][None]
    assert (same_key == (instance[is_object][:, None] == instance[is_object][None])).all()


def test_bad_trees_are_named(tmp_path: Path) -> None:
    with pytest.raises(SegPerceptionError, match="did you mean 'camvid'"):
        open_dataset("camvd", tmp_path, "val", CAMVID)
    with pytest.raises(SegPerceptionError, match="no folder"):
        open_dataset("camvid", tmp_path, "val", CAMVID)
    for name, needed in (("cityscapes", "leftImg8bit"), ("mapillary", r"config\.json"), ("coco_panoptic", "_val.json")):
        with pytest.raises(SegPerceptionError, match=needed):
            open_dataset(name, tmp_path, "val", CAMVID)
    pair(tmp_path, "val", "1", [[77]])
    with pytest.raises(
        SegPerceptionError, match=r"1\.png holds the unknown ids 77 \(1 pixels\), the first at x 0, y 0"
    ):
        open_dataset("camvid", tmp_path, "val", CAMVID)[0]
    write(tmp_path / "val/labels/1.png", [[3, 3]])
    with pytest.raises(SegPerceptionError, match=r"1\.png is 1x1, its label 2x1"):
        open_dataset("camvid", tmp_path, "val", CAMVID)[0]
    write(tmp_path / "val/labels/1.png", [[3]], np.uint16)
    with pytest.raises(SegPerceptionError, match=r"1\.png is uint16.*mask is uint8"):
        open_dataset("camvid", tmp_path, "val", CAMVID)[0]
    (tmp_path / "val/labels/1.png").write_bytes(b"not a png")
    with pytest.raises(SegPerceptionError, match="can decode"):
        open_dataset("camvid", tmp_path, "val", CAMVID)[0]
    (tmp_path / "val/labels/1.png").unlink()
    with pytest.raises(SegPerceptionError, match=r"1 images have no label, the first is .*1\.png"):
        open_dataset("camvid", tmp_path, "val", CAMVID)


@pytest.mark.parametrize("ending", ["png", "jpg"])
def test_a_truncated_image_is_named(tmp_path: Path, ending: str) -> None:
    pair(tmp_path, "val", "1", np.zeros((40, 40)), ending)
    path = tmp_path / f"val/images/1.{ending}"
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(SegPerceptionError, match=rf"1\.{ending} is truncated after \d+ bytes"):
        open_dataset("camvid", tmp_path, "val", CAMVID)[0]


def test_two_images_of_one_name_are_refused(tmp_path: Path) -> None:
    pair(tmp_path, "val", "1", [[3]], "png")
    pair(tmp_path, "val", "1", [[3]], "jpg")
    with pytest.raises(SegPerceptionError, match=r"1\.jpg and .*1\.png share the name '1'"):
        open_dataset("camvid", tmp_path, "val", CAMVID)


def test_validation_drives_are_none_of_the_training_drives() -> None:
    """Frames are the same for everybody; things keep their instance, those too small are left to a crowd."""
    training, validation = (open_dataset("synthetic_drive", ".", split, CAMVID) for split in ("train", "val"))
    assert training[5].rgb.shape == (360, 640, 3) and validation[0].rgb.shape == (720, 1280, 3)
    assert (training[5].rgb == open_dataset("synthetic_drive", ".", "train", CAMVID)[5].rgb).all()
    assert training[5].instance is not None and training[5].instance.any()
    assert SyntheticDrives.drives_of_val <= SyntheticDrives.first_training_seed
    with pytest.raises(SegPerceptionError, match="use train, val or hard"):
        open_dataset("synthetic_drive", ".", "test", CAMVID)


def test_only_rendered_sets_need_no_folder() -> None:
    assert len(open_dataset("synthetic_drive", None, "val", CAMVID)) == 60
    with pytest.raises(SegPerceptionError, match="camvid lies in a folder: say which by --root"):
        open_dataset("camvid", None, "val", CAMVID)


def test_whole_drives_are_held_out_by_name(tmp_path: Path) -> None:
    for stem in ("0006R0_f1", "0006R0_f2", "0016E5_1", "0016e5_2"):
        pair(tmp_path, "train", stem, [[3]])

    def names(**part: list[str]) -> list[str]:
        dataset = open_dataset("camvid", tmp_path, "train", CAMVID, **part)
        assert [dataset.path(i).stem for i in range(len(dataset))] == [dataset[i].name for i in range(len(dataset))]
        return [dataset[i].name for i in range(len(dataset))]

    assert names(leave_out=["0006R0_*"]) == ["0016E5_1", "0016e5_2"]
    assert names(only=["0006R0_*"]) == ["0006R0_f1", "0006R0_f2"]
    assert names(only=["*_f?", "0016E5_*"], leave_out=["*2"]) == ["0006R0_f1", "0016E5_1"]
    with pytest.raises(SegPerceptionError, match=r"no image's name fits '0006RO_\*', such as 0006R0_f1"):
        names(leave_out=["0006RO_*"])
    with pytest.raises(SegPerceptionError, match="no labelled image"):
        names(leave_out=["*"])
    with pytest.raises(SegPerceptionError, match="synthetic is rendered"):
        open_dataset("synthetic", None, "train", CAMVID, leave_out=["1*"])


def test_an_image_without_a_label_is_none_of_a_part_that_leaves_it_out(tmp_path: Path) -> None:
    for stem in ("a1", "b1", "b2"):
        pair(tmp_path, "train", stem, [[3, 8]])
    (tmp_path / "train/labels/b1.png").unlink()

    def part(**patterns: list[str]) -> Dataset:
        return open_dataset("folder", tmp_path, "train", CAMVID, **patterns)

    assert len(part(leave_out=["b1"])) == 2 and len(part(leave_out=["b*"])) == len(part(only=["a*"])) == 1
    for patterns in ({"only": ["b*"]}, {"leave_out": ["a*"]}, {}):
        with pytest.raises(SegPerceptionError, match=r"1 images have no label, the first is .*b1\.png"):
            part(**patterns)
