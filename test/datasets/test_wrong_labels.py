"""What would be a wrong label without a word, or would ask for any memory or time: each is told in one sentence."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_bad_exports import MASK, of_cvat, supervisely
from test_coco_instances import export
from test_cvat import ROAD
from test_datasets import pair, photo, write
from test_own_folder import opened
from test_tools import cvat, drawn, labelme, picture, text, yolo

from seg_perception.datasets import DATASETS, open_dataset
from seg_perception.datasets.base import MOST_OBJECTS, numbered
from seg_perception.datasets.categories import match_categories
from seg_perception.datasets.parts import trimmed
from seg_perception.datasets.rle import coco_counts
from seg_perception.datasets.shapes import Shape, painted
from seg_perception.errors import SegPerceptionError
from seg_perception.labels import CAMVID


def panoptic(root: Path, *more: dict[str, Any], categories: tuple[dict[str, Any], ...] = ()) -> None:
    """One image of a road and a car; more: annotations."""
    write(root / "annotations/panoptic_default/a.png", [[(1, 0, 0), (2, 1, 0)]])
    photo(root / "images/a.jpg", 1, 2)
    segments = [{"id": 1, "category_id": 1}, {"id": 258, "category_id": 2}]
    listed = [{"id": 1, "name": "road", "isthing": 0}, {"id": 2, "name": "car", "isthing": 1}, *categories]
    rows = {"categories": listed, "annotations": [{"file_name": "a.png", "segments_info": segments}, *more]}
    export(root, rows, "annotations/panoptic_default.json")


@pytest.mark.parametrize(
    ("annotation", "category", "told"),
    [
        ({"file_name": "b.png", "segments_info": [{"id": 1, "category_id": 1}] * 2}, {}, ""),
        ({"file_name": "a.png", "segments_info": []}, {}, r"two annotations of a\.png"),
        (
            {"file_name": "b.png", "segments_info": [{"id": 1, "category_id": 1}, {"id": 1, "category_id": 2}]},
            {},
            r"two segments of the id 1 in b\.png",
        ),
        ({}, {"id": 1, "name": "car", "isthing": 1}, "two categories of the id 1"),
        ({}, {"id": 1, "name": "road", "isthing": 0}, ""),
    ],
)
def test_what_a_panoptic_file_lists_twice_is_named(
    annotation: dict[str, Any], category: dict[str, Any], told: str, tmp_path: Path
) -> None:
    """As in files merged by hand: the pixels went to one of the two. The same twice says nothing else."""
    panoptic(tmp_path, *[annotation] * bool(annotation), categories=(category,) * bool(category))
    if not told:
        assert picture(tmp_path, "panoptic") == ["rc"]
        return
    with pytest.raises(SegPerceptionError, match=told):
        open_dataset("panoptic", tmp_path, "", CAMVID)


def test_more_objects_than_numbers_are_named() -> None:
    """The 65536th was none, the next one the first."""
    keys = np.arange(MOST_OBJECTS + 1).reshape(256, 256)
    assert numbered(keys, keys > 0, Path("a.png")).max() == MOST_OBJECTS
    with pytest.raises(SegPerceptionError, match=r"a\.png tells 65536 objects apart, and an image has at most 65535"):
        numbered(keys, keys >= 0, Path("a.png"))
    corner = np.array([(0.0, 0.0), (1.0, 0.0), (1.0, 1.0), (0.0, 1.0)])
    shapes = [
        Shape(1, f"shape {number} of it", mask=trimmed(np.ones((1, 1), np.bool_))) for number in range(MOST_OBJECTS)
    ]
    assert painted(shapes, (1, 1), smallest_in_front=False)[1].item() == MOST_OBJECTS
    with pytest.raises(SegPerceptionError, match="the last one is one object too many"):
        painted([*shapes, Shape(1, "the last one", (corner,))], (1, 1), smallest_in_front=False)


def test_objects_in_a_jpeg_are_refused(tmp_path: Path) -> None:
    """Its colours are as many objects as it has shades."""
    cvat(tmp_path)
    (tmp_path / "SegmentationObject/a.png").rename(tmp_path / "SegmentationObject/a.jpg")
    with pytest.raises(SegPerceptionError, match=r"a\.jpg is a JPEG, which changes the numbers of objects"):
        picture(tmp_path, "voc")


def test_a_mask_larger_than_its_image_is_never_unpacked(tmp_path: Path) -> None:
    side = 10**9
    huge = MASK.format(f"0, {side**2}").replace('width="2" height="2"', f'width="{side}" height="{side}"')
    with pytest.raises(SegPerceptionError, match=f"the mask of shape 1 .* is {side}x{side} at x 0, y 0"):
        open_dataset(of_cvat(tmp_path, huge), tmp_path, "", CAMVID)[0]


def test_a_run_without_an_end_takes_no_time() -> None:
    with pytest.raises(ValueError, match="a run of more than 65 bits"):
        coco_counts("o" * 10_000_000)
    assert coco_counts("oooooooooooo0") == [(1 << 60) - 1]


@pytest.mark.parametrize("number", [-1, 256, 300, 10**30])
def test_an_id_that_no_label_can_hold_is_named(number: int, tmp_path: Path) -> None:
    pair(tmp_path, "train", "a", [[0]])
    with pytest.raises(SegPerceptionError, match=f"folder has no id {number}, of which `classes` speaks: ids are 0 to"):
        open_dataset("folder", tmp_path, "train", CAMVID, {number: ("road",)})


def test_two_images_of_one_name_are_not_one(tmp_path: Path) -> None:
    photo(tmp_path / "images/a.jpg", 4, 4)
    photo(tmp_path / "images/a.png", 4, 4)
    text(tmp_path / "labels/a.txt", "2 0 0 1 0 1 1\n")
    with pytest.raises(SegPerceptionError, match=r"a\.jpg and .*a\.png share the name 'a'"):
        DATASETS["coco_polygons"](tmp_path, "")
    names = "u\u0308.png", "v/\u00fc.png"
    images = [f'<image id="1" name="{name}" width="4" height="4">{ROAD}</image>' for name in names]
    text(tmp_path / "annotations.xml", f"<annotations>{''.join(images)}</annotations>")
    for name in names:
        photo(tmp_path / "images" / name, 4, 4)
    with pytest.raises(SegPerceptionError, match="share the name '\u00fc'"):
        DATASETS["cvat"](tmp_path, "")


@pytest.mark.parametrize("split", ["ds [1]", "a*"])
def test_a_data_set_of_supervisely_is_named_as_it_is(split: str, tmp_path: Path) -> None:
    supervisely(tmp_path)
    (tmp_path / "ds").rename(tmp_path / split)
    assert len(DATASETS["supervisely"](tmp_path, split)) == len(DATASETS["supervisely"](tmp_path, "")) == 1
    for other in ("ds [2]", "**", "a**", str(tmp_path / "none")):
        with pytest.raises(SegPerceptionError, match=r"there is no image in .*: check `split`"):
            DATASETS["supervisely"](tmp_path, other)


@pytest.mark.parametrize("points", [[[0, 0, 1], [4, 0, 1], [4, 4, 1], [0, 4, 1]], [[[0, 0], [1, 1]], [[2, 2], [3, 3]]]])
def test_corners_are_pairs(points: list[Any], tmp_path: Path) -> None:
    """Of x, y and z of an even number of corners other pairs were made."""
    labelme(tmp_path, drawn("road", points))
    with pytest.raises(SegPerceptionError, match=r"shape 1 \('road'\) of .* is no list of x and y"):
        picture(tmp_path, "labelme")


@pytest.mark.parametrize("line", ["0 0 0 640 0 640 480 0 480", "0 -2 0 1 0 1 1", "0 0 0 2.1 0 1 1"])
def test_yolo_s_corners_are_shares_of_the_image(line: str, tmp_path: Path) -> None:
    """Of pixels the whole image was of that class, or nothing."""
    yolo(tmp_path, "train: images\nnames: [road]\n", "images/a.jpg", "labels/a.txt", line)
    with pytest.raises(SegPerceptionError, match=r"a\.txt, line 1 .*shares of the image, from 0 to 1, and no pixels"):
        picture(tmp_path, "yolo", "train")
    text(tmp_path / "labels/a.txt", "0 -0.9 0 1.9 0 1.9 1 -0.9 1")
    assert picture(tmp_path, "yolo", "train") == ["rrrr"] * 4


def test_key_points_of_yolo_are_no_outlines(tmp_path: Path) -> None:
    data = "train: images\nnames: [road]\nkpt_shape: [4, 2]\n"
    yolo(tmp_path, data, "images/a.jpg", "labels/a.txt", "0 0.5 0.5 1 1 0.1 0.1 0.2 0.2 0.3 0.3 0.4 0.4")
    with pytest.raises(SegPerceptionError, match=r"data\.yaml is of key points .*: export segmentation"):
        picture(tmp_path, "yolo", "train")


def test_a_black_picture_among_labels_in_colours_is_void(tmp_path: Path) -> None:
    """Nothing is labelled in it; it was taken for class 0 everywhere. Where all are grey, they are ids."""
    for number in range(41):
        photo(tmp_path / f"train/images/{number:02}.png", 1, 2)
        write(tmp_path / f"train/labels/{number:02}.png", np.zeros((1, 2, 3)))
    assert opened(tmp_path) == [["sky", "sky"]]
    write(tmp_path / "train/labels/30.png", [[CAMVID.by_name("road").color, (0, 0, 0)]])
    assert opened(tmp_path) == [["", ""]]
    write(tmp_path / "train/labels/00.png", [[(70, 70, 70), (153, 153, 153)]])
    assert opened(tmp_path) == [["building", "pole"]]
    (tmp_path / "train/labels/30.png").write_bytes(b"no image")
    write(tmp_path / "train/labels/00.png", [[(3, 3, 3), (8, 8, 8)]])
    assert opened(tmp_path) == [["road", "car"]], "who reads the broken one is told"


@pytest.mark.parametrize(
    ("name", "key"), [("off", "'off'"), ("No", "'No'"), ("it's", "'it''s'"), ("a\\b", "'a\\b'"), ("2nd", "'2nd'")]
)
def test_the_line_to_write_is_yaml_of_that_name(name: str, key: str) -> None:
    yaml = pytest.importorskip("yaml")
    _, (sentence,) = match_categories({7: name}, CAMVID)
    assert f"`classes: {{{key}: [" in sentence
    assert yaml.safe_load(f"{{{key}: []}}") == {name: []}
