"""Folders of one's own, as tools and people write their labels."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from test_datasets import meant, pair, photo, write

from seg_perception.datasets import open_dataset
from seg_perception.datasets.categories import match_categories, plain
from seg_perception.datasets.guess import fitting_adapters
from seg_perception.errors import SegPerceptionError
from seg_perception.labels import CAMVID, VOID
from seg_perception.recordings.dataset_source import DatasetSource
from seg_perception.training.config import DataSource
from seg_perception.yaml_fields import build

ROAD, CAR = CAMVID.by_name("road"), CAMVID.by_name("car")


def palette_png(path: Path, ids: list[list[int]], colors: dict[int, tuple[int, int, int]]) -> None:
    """A PNG of 8 bits with a palette."""
    image = pytest.importorskip("PIL.Image", reason="Pillow is not installed")
    picture = image.fromarray(np.array(ids, np.uint8), "P")
    table = np.zeros((256, 3), np.uint8)
    for number, color in colors.items():
        table[number] = color
    picture.putpalette(table.ravel().tolist())
    path.parent.mkdir(parents=True, exist_ok=True)
    picture.save(path)


def opened(root: Path, **how: object) -> list[list[str]]:
    return meant(open_dataset("folder", root, "train", CAMVID, **how), CAMVID)


def test_a_palette_is_ids(tmp_path: Path) -> None:
    photo(tmp_path / "train/images/a.png", 1, 3)
    palette_png(tmp_path / "train/labels/a.png", [[3, 8, 255]], {3: (1, 2, 3), 8: (4, 5, 6)})
    assert opened(tmp_path) == [["road", "car", ""]]


def test_colours_of_the_label_set(tmp_path: Path) -> None:
    pair(tmp_path, "train", "a", [[0, 0, 0]])
    write(tmp_path / "train/labels/a.png", [[ROAD.color, CAR.color, (0, 0, 0)]])
    assert opened(tmp_path) == [["road", "car", ""]]
    write(tmp_path / "train/labels/a.png", [[ROAD.color, (128, 64, 129), (0, 0, 0)]])
    with pytest.raises(SegPerceptionError, match=r"colour \[128, 64, 129\] \(1 pixels\).*nearest is \[128, 64, 128\]"):
        opened(tmp_path)
    rgba = np.dstack([np.full((1, 3, 3), CAR.color[::-1], np.uint8), np.full((1, 3), 255, np.uint8)])
    assert cv2.imwrite(str(tmp_path / "train/labels/a.png"), rgba)
    assert opened(tmp_path) == [["car"] * 3]


def test_colours_of_a_table(tmp_path: Path) -> None:
    """Grey shades and a palette are colours too where there is a table."""
    colors = {"Road": (255, 255, 255), "CAR": (9, 9, 9), "dirt": (1, 2, 3)}
    pair(tmp_path, "train", "a", [[255, 9, 0]])
    with pytest.raises(SegPerceptionError, match=r"'dirt' is no class.*`classes: \{dirt: \["):
        opened(tmp_path, colors=colors)
    assert opened(tmp_path, colors=colors, classes={"dirt": ()}) == [["road", "car", ""]]
    palette_png(tmp_path / "train/labels/a.png", [[0, 1, 2]], {0: (255, 255, 255), 1: (9, 9, 9), 2: (1, 2, 3)})
    assert opened(tmp_path, colors=colors, classes={"Dirt": ("tree", "road")}) == [["road", "car", "road/tree"]]
    with pytest.raises(SegPerceptionError, match="colour of the ids 0 and 1"):
        opened(tmp_path, colors={"road": (5, 5, 5), "car": (5, 5, 5)})
    with pytest.raises(SegPerceptionError, match="`colors` are those of a `folder`"):
        open_dataset("camvid", tmp_path, "train", CAMVID, colors=colors)


def test_three_equal_channels_and_16_bits_are_ids(tmp_path: Path) -> None:
    pair(tmp_path, "train", "a", [[0, 0, 0]])
    write(tmp_path / "train/labels/a.png", [[(3, 3, 3), (8, 8, 8), (255, 255, 255)]])
    assert opened(tmp_path) == [["road", "car", ""]]
    write(tmp_path / "train/labels/a.png", [[3, 8, 65535]], np.uint16)
    assert opened(tmp_path) == [["road", "car", ""]]
    write(tmp_path / "train/labels/a.png", [[3, 256, 8]], np.uint16)
    with pytest.raises(SegPerceptionError, match="holds the id 256: ids are 0 to 255"):
        opened(tmp_path)


def test_labels_of_fractions_are_whole_numbers_or_refused(tmp_path: Path) -> None:
    """A TIFF may hold any numbers: 3.7 was taken for 3, and no number for 0."""
    pair(tmp_path, "train", "a", [[0, 0, 0]])
    (tmp_path / "train/labels/a.png").unlink()
    label = tmp_path / "train/labels/a.tiff"
    write(label, [[3, 8, 255]], np.float32)
    assert opened(tmp_path) == [["road", "car", ""]]
    for strange, told in ((3.7, "3.7"), (np.nan, "nan"), (np.inf, "inf"), (1e9, "1e.09")):
        write(label, [[3, strange, 8]], np.float32)
        with pytest.raises(SegPerceptionError, match=rf"a\.tiff holds {told}: a label holds whole numbers"):
            opened(tmp_path)
    write(label, [[3, -1, 8]], np.float32)
    with pytest.raises(SegPerceptionError, match="holds the id -1: ids are 0 to 255"):
        opened(tmp_path)


@pytest.mark.parametrize("factor", [1, 256, 257])
def test_colours_of_16_bits(factor: int, tmp_path: Path) -> None:
    """As tools widen them, or as they are: the upper halves of those are all black, which is void."""
    pair(tmp_path, "train", "a", [[0, 0]])
    write(tmp_path / "train/labels/a.png", factor * np.array([[ROAD.color, CAR.color]]), np.uint16)
    assert opened(tmp_path) == [["road", "car"]]


@pytest.mark.parametrize("resize", [True, False])
def test_a_label_that_lies_while_its_image_is_upright_is_not_squeezed(resize: bool, tmp_path: Path) -> None:
    """Readers turn the image as its EXIF says."""
    photo(tmp_path / "train/images/a.png", 4, 2)
    write(tmp_path / "train/labels/a.png", [[3, 8, 3, 8]] * 2)
    with pytest.raises(SegPerceptionError, match=r"a\.png is 2x4, its label 4x2, turned by a quarter: .*EXIF"):
        opened(tmp_path, resize_labels=resize)


def test_a_class_that_is_named_twice_is_one_class(tmp_path: Path) -> None:
    """A set of it twice would be a coarse label, of which half of the losses learn nothing."""
    pair(tmp_path, "train", "a", [[3, 8]])
    dataset = open_dataset("folder", tmp_path, "train", CAMVID, {3: ("road", "road"), 8: ("car", "tree", "car")})
    assert dataset.meaning == {3: ("road",), 8: ("car", "tree")}


def test_labels_of_another_size_only_if_the_source_says_so(tmp_path: Path) -> None:
    photo(tmp_path / "train/images/a.png", 2, 4)
    write(tmp_path / "train/labels/a.png", [[3, 8]])
    write(tmp_path / "train/instances/a.png", [[0, 5]])
    with pytest.raises(SegPerceptionError, match=r"`resize_labels: true`"):
        opened(tmp_path)
    sample = open_dataset("folder", tmp_path, "train", CAMVID, resize_labels=True)[0]
    assert sample.label.tolist() == [[3, 3, 8, 8]] * 2
    assert sample.instance is not None and sample.instance.tolist() == [[0, 0, 1, 1]] * 2


def test_255_may_be_named(tmp_path: Path) -> None:
    pair(tmp_path, "train", "a", [[0, 255]])
    assert opened(tmp_path) == [["sky", ""]]
    assert opened(tmp_path, classes={255: ("road",)}) == [["sky", "road"]]
    assert opened(tmp_path, classes={0: ("tree",), 255: ("road", "car")}) == [["tree", "road/car"]]


def test_255_cannot_be_named_where_no_id_is_free(tmp_path: Path) -> None:
    pair(tmp_path, "train", "a", [[0, 255]])
    classes = {**dict.fromkeys(range(254), ("sky",)), 255: ("road",)}
    with pytest.raises(SegPerceptionError, match="all ids from 0 to 253, so that `classes` can say nothing of 255"):
        open_dataset("folder", tmp_path, "train", CAMVID, classes)


def test_jpeg_labels_lose_what_is_no_id(tmp_path: Path) -> None:
    label = np.full((40, 40, 3), CAR.color, np.uint8)
    label[:, 20:] = ROAD.color
    photo(tmp_path / "train/images/a.png", 40, 40)
    write(tmp_path / "train/labels/a.jpg", label)
    sample = open_dataset("folder", tmp_path, "train", CAMVID).read(0)
    assert (sample.label[:, :15] == CAR.id).all() and (sample.label[:, 25:] == ROAD.id).all()
    assert set(np.unique(sample.label)) <= {CAR.id, ROAD.id, VOID}
    assert len(sample.remarks) == 1 and "of 1600 pixels" in sample.remarks[0].where


def test_categories_match_however_they_are_written() -> None:
    names = {0: "Traffic_Light", 1: "SIDEWALK", 2: " car ", 3: "Background", 4: "_background_"}
    meaning, unlike = match_categories(names, CAMVID)
    assert meaning == {0: ("sign",), 1: ("pavement",), 2: ("car",), 3: (), 4: ()} and not unlike
    assert plain("Fußgänger") == plain("FUSSGA\u0308NGER")


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("Strasse", "{Strasse: [road]}"),
        ("voiture", "{voiture: [car]}"),
        ("raod", "{raod: [road]}"),
        ("pedestrians", "{pedestrians: [pedestrian]}"),
        ("zebra: 2", "{'zebra: 2': [NAME]}"),
    ],
)
def test_what_matches_nothing_gets_the_line_to_write(name: str, line: str) -> None:
    meaning, (sentence,) = match_categories({7: name}, CAMVID)
    assert meaning == {7: ()} and f"`classes: {line}`" in sentence


def test_a_source_names_categories_ids_and_colours() -> None:
    content = {"name": "folder", "classes": {3: "road", "car": []}, "colors": {"car": [1, 2, 3]}, "resize_labels": True}
    source = build(DataSource, content)
    assert source.classes == {3: ("road",), "car": ()} and source.colors == {"car": (1, 2, 3)}
    with pytest.raises(SegPerceptionError, match=r"'classes' has 1.5, expected int or str"):
        build(DataSource, {"name": "folder", "classes": {1.5: "road"}})


@pytest.mark.parametrize("ending", [".PNG", ".tif"])
def test_instance_masks_are_found_by_any_ending_as_labels_are(ending: str, tmp_path: Path) -> None:
    """Else nobody tells that things were not told apart."""
    pair(tmp_path, "train", "a", [[CAR.id, CAR.id, ROAD.id]])
    mask = tmp_path / "train/instances/a.png"
    write(mask, [[1, 2, 0]], np.uint16)
    image = cv2.imread(str(mask), cv2.IMREAD_UNCHANGED)
    cv2.imwrite(str(mask.with_suffix(ending)), image)
    mask.unlink()
    sample = open_dataset("folder", tmp_path, "train", CAMVID)[0]
    assert sample.instance is not None and sample.instance.tolist() == [[1, 2, 0]]


def test_an_instance_mask_that_belongs_to_no_image_is_told_and_a_jpeg_is_none(tmp_path: Path) -> None:
    pair(tmp_path, "train", "a", [[CAR.id]])
    strange = tmp_path / "train/instances/a_instances.png"
    write(strange, [[1]], np.uint16)
    assert open_dataset("folder", tmp_path, "train", CAMVID).spare == [strange]
    cv2.imwrite(str(tmp_path / "train/instances/a.jpg"), np.ones((1, 1), np.uint8))
    with pytest.raises(SegPerceptionError, match=r"a\.jpg is a JPEG, which changes the numbers"):
        open_dataset("folder", tmp_path, "train", CAMVID)[0]


@pytest.mark.parametrize("ending", ["PNG", "bmp", "tiff", "jpeg"])
def test_a_folder_is_known_by_labels_of_any_ending(ending: str, tmp_path: Path) -> None:
    for kind in ("images", "labels"):
        (tmp_path / "train" / kind).mkdir(parents=True)
        (tmp_path / "train" / kind / f"a.{ending}").touch()
    assert fitting_adapters(tmp_path) == fitting_adapters(tmp_path / "train") == ["folder"]


def test_who_measures_by_jpegs_is_told(tmp_path: Path) -> None:
    """As who trains by them is; polygons of a tool likewise."""
    for name in ("a", "b"):
        pair(tmp_path, "val", name, np.full((16, 16), ROAD.id))
        path = tmp_path / f"val/labels/{name}.png"
        cv2.imwrite(str(path.with_suffix(".jpg")), np.tile(np.uint8([3, 8]), (16, 8)))
        path.unlink()
    source = DatasetSource("folder", tmp_path, "val", CAMVID)
    assert len(list(source)) == 2 and not source.problems
    (note,) = source.notes
    assert note.startswith("folder val: 2 labels are JPEGs, which change ids") and "a.png" in note
