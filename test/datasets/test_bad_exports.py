"""Exports that are damaged, incomplete or odd: each is named, none raises what only a programmer can read."""

from __future__ import annotations

import base64
import json
import shutil
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_coco_instances import SQUARE, content, export
from test_cvat import BOX, ROAD, xml
from test_datasets import photo, write
from test_tools import cvat, drawn, labelme, picture, png, task, text, yolo

from seg_perception.datasets import DATASETS, open_dataset
from seg_perception.datasets import labelme as reader
from seg_perception.datasets.polygons import filled
from seg_perception.datasets.shapes import Shape, painted
from seg_perception.errors import SegPerceptionError
from seg_perception.labels import CAMVID, VOID

WHOLE = [[0, 0], [4, 0], [4, 4], [0, 4]]
HUGE, INFINITE = 10**400, float("inf")


def coco(root: Path, outline: Any, more: Any = None, category: Any = None) -> str:
    rows = content({"category_id": 1, "segmentation": outline}, names={1: "road"})
    rows["annotations"][0] |= more or {}
    rows["categories"][0] |= category or {}
    export(root, rows)
    photo(root / "images/a.jpg", 6, 8)
    return "coco_instances"


def brushed(root: Path, values: Any, kind: Any = "brushlabels") -> str:
    photo(root / "images/a.jpg", 4, 4)
    how = "rle" if isinstance(values, list) else "png"
    text(root / "tasks.json", [task("a.jpg", (kind, {"format": how, "rle": values, "brushlabels": ["car"]}))])
    return "label_studio"


def of_cvat(root: Path, shape: str) -> str:
    xml(root, shape)
    return "cvat"


def supervised(root: Path, origin: list[Any]) -> str:
    bitmap = {"data": base64.b64encode(zlib.compress(png([[0, 1]]))).decode(), "origin": origin}
    rows = [{"classTitle": "road", "geometryType": "bitmap", "bitmap": bitmap}]
    text(root / "meta.json", {"classes": [{"title": "road"}]})
    text(root / "ds0/ann/a.jpg.json", {"size": {"height": 4, "width": 4}, "objects": rows})
    photo(root / "ds0/img/a.jpg", 4, 4)
    return "supervisely"


def boxed(root: Path, x: Any) -> str:
    box = {"x": x, "y": 0, "width": 5, "height": 5, "rectanglelabels": ["car"]}
    photo(root / "images/a.jpg", 4, 4)
    text(root / "tasks.json", [task("a.jpg", ("rectanglelabels", box))])
    return "label_studio"


def of_a_png(root: Path, side: int) -> str:
    """A mask whose PNG says that it has so many rows and columns."""
    header = b"IHDR" + struct.pack(">II", side, side) + bytes([8, 0, 0, 0, 0])
    data = bytearray(png([[1]]))
    data[12:33] = header + struct.pack(">I", zlib.crc32(header))
    labelme(root, drawn("car", [[0, 0], [1, 1]], "mask", mask=base64.b64encode(data).decode()))
    return "labelme"


MASK = '<mask label="road" rle="{}" left="0" top="0" width="2" height="2"></mask>'


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda root: coco(root, {"size": [6, 8], "counts": "o" * 40 + "0"}), "RLE of annotation 1"),
        (lambda root: coco(root, {"size": [6, 8], "counts": [10**30, 5]}), "RLE of annotation 1"),
        (lambda root: coco(root, [[0, 0, HUGE, 0, 4, 4]]), "no list of x and y"),
        (lambda root: coco(root, {"size": [6, 8], "counts": [3, INFINITE]}), "RLE of annotation 1"),
        (lambda root: coco(root, [SQUARE], {"image_id": None}), "annotations of the image None"),
        (lambda root: coco(root, [SQUARE], {"image_id": {}}), "no instance JSON of COCO"),
        (lambda root: coco(root, [SQUARE], {}, {"id": INFINITE}), "no instance JSON of COCO"),
        *(
            ((lambda root, byte=byte: brushed(root, [byte, 1, 2, 3])), "region r0 of a.jpg .*a number that is no byte")
            for byte in (300, -1)
        ),
        (lambda root: brushed(root, [1.5, 1, 2, 3]), "region r0 of a.jpg"),
        (lambda root: supervised(root, [INFINITE, 0]), "a.jpg.json is no label of its tool"),
        (lambda root: boxed(root, HUGE), "region r0 of a.jpg"),
        (lambda root: of_a_png(root, 60_000), "the mask of shape 1 .*60000x60000"),
        (lambda root: brushed(root, [], 3.7), "no region with a label"),
        (lambda root: of_cvat(root, MASK.format(f"0, {10**30}")), "shape 1"),
        (lambda root: coco(root, [[0, 0, float("nan"), 0, 4, 4]]), "a corner that is no number"),
        (lambda root: brushed(root, {}), "a brush that is no RLE"),
        (lambda root: of_cvat(root, BOX.format(z=0, more=' rotation="inf"')), "shape 1"),
        (lambda root: of_cvat(root, BOX.format(z=0, more="").replace('xbr="2.0"', 'xbr="nan"')), "shape 1"),
    ],
)
def test_values_beyond_all_bounds_are_named(make: Callable[[Path], str], told: str, tmp_path: Path) -> None:
    with pytest.raises(SegPerceptionError, match=told):
        open_dataset(make(tmp_path), tmp_path, "", CAMVID)[0]


def test_a_corner_beyond_all_bounds_is_far_away(tmp_path: Path) -> None:
    coco(tmp_path, [[-1e308, -1e308, 1e308, -1e308, 0, 1e308]])
    sample = open_dataset("coco_instances", tmp_path, "", CAMVID).read(0)
    assert (sample.label != VOID).all() and "reach out of their image" in sample.remarks[0].kind


def yolo_text(root: Path, data: bytes) -> str:
    yolo(root, "train: images\nnames: [road]\n", "images/a.jpg", "labels/a.txt", "")
    (root / "labels/a.txt").write_bytes(data)
    return "yolo"


def voc_text(root: Path, data: bytes) -> str:
    cvat(root)
    (root / "labelmap.txt").write_bytes(data)
    return "voc"


@pytest.mark.parametrize(
    ("make", "good", "bad"),
    [
        (yolo_text, "0 0 0 1 0 1 1 0 1\n", b"0 0 0 1 0 1 1 0 1 \xff\n"),
        (voc_text, "# label\nroad:128,64,128::\ncar:0,0,142::\n", "straße:128,64,128::\n".encode("latin-1")),
    ],
)
def test_text_may_begin_with_a_byte_order_mark_and_must_be_utf_8(
    make: Callable[[Path, bytes], str], good: str, bad: bytes, tmp_path: Path
) -> None:
    name = make(tmp_path, b"\xef\xbb\xbf" + good.encode())
    assert picture(tmp_path, name)[0][0] == "r"
    make(tmp_path, bad)
    with pytest.raises(SegPerceptionError, match=r"(a|labelmap)\.txt .*UTF-8"):
        open_dataset(name, tmp_path, "", CAMVID)[0]


def test_more_categories_than_ids_are_named(tmp_path: Path) -> None:
    labelme(tmp_path, *(drawn(f"thing {number}", WHOLE) for number in range(255)))
    cvat(tmp_path / "voc")
    text(tmp_path / "voc/labelmap.txt", "".join(f"c{i}:{i % 256},{i // 256},7::\n" for i in range(300)))
    for name, root, count in (("labelme", tmp_path, 255), ("voc", tmp_path / "voc", 300)):
        with pytest.raises(SegPerceptionError, match=f"there are {count} categories, and 254 at most"):
            DATASETS[name](root, "")


def test_yolo_images_of_one_name_in_two_folders_are_named(tmp_path: Path) -> None:
    yolo(tmp_path, "train: train.txt\nnames: [road]\n", "images/a/1.jpg", "labels/a/1.txt", "0 0 0 1 0 1 1\n")
    photo(tmp_path / "images/b/1.jpg", 4, 4)
    text(tmp_path / "train.txt", "images/a/1.jpg\nimages/b/1.jpg\n")
    with pytest.raises(SegPerceptionError, match=r"a/1\.jpg and .*b/1\.jpg share the name '1'"):
        open_dataset("yolo", tmp_path, "train", CAMVID)


def test_a_project_of_cvat_has_a_folder_for_each_subset(tmp_path: Path) -> None:
    extra = f'<image id="0" name="b.png" subset="val" width="4" height="4">{BOX.format(z=0, more="")}</image>'
    xml(tmp_path, ROAD, more='subset="train"', extra=extra)
    (tmp_path / "images/train").mkdir()
    (tmp_path / "images/a.png").rename(tmp_path / "images/train/a.png")
    photo(tmp_path / "images/val/b.png", 4, 4)
    assert [len(open_dataset("cvat", tmp_path, split, CAMVID)) for split in ("", "train", "val")] == [2, 1, 1]
    assert picture(tmp_path, "cvat", index=1)[0] == "cc.."


def test_two_names_that_lead_to_one_file_are_named(tmp_path: Path) -> None:
    extra = f'<image id="1" name="x/a.png" width="4" height="4">{ROAD}</image>'
    xml(tmp_path, ROAD, extra=extra)
    with pytest.raises(SegPerceptionError, match=r"images 'a\.png' and 'x/a\.png'.*the one file .*images/a\.png"):
        open_dataset("cvat", tmp_path, "", CAMVID)


def test_a_name_that_no_file_can_have_is_named(tmp_path: Path) -> None:
    xml(tmp_path, ROAD)
    path = tmp_path / "annotations.xml"
    path.write_text(path.read_text().replace("a.png", "9" * 400 + ".png"))
    with pytest.raises(SegPerceptionError, match=r"the image '9{255}… \(404 letters\)', which is in none of"):
        open_dataset("cvat", tmp_path, "", CAMVID)


@pytest.mark.parametrize("color", ["256,0,0", "-1,0,0", "99999999999,0,0"])
def test_a_colour_beyond_8_bits_is_named(color: str, tmp_path: Path) -> None:
    cvat(tmp_path)
    text(tmp_path / "labelmap.txt", f"road:{color}::\n")
    with pytest.raises(SegPerceptionError, match=f"has the line 'road:{color}::'"):
        open_dataset("voc", tmp_path, "", CAMVID)


@pytest.mark.parametrize(("encoding", "why"), [("foo", "unknown encoding"), ("gbk", "multi-byte encodings")])
def test_an_encoding_of_xml_that_cannot_be_read_is_named(encoding: str, why: str, tmp_path: Path) -> None:
    text(tmp_path / "annotations.xml", f'<?xml version="1.0" encoding="{encoding}"?><annotations></annotations>')
    with pytest.raises(SegPerceptionError, match=f"no whole XML .*{why}"):
        open_dataset("cvat", tmp_path, "", CAMVID)


def test_coco_s_polygons_are_refused_on_an_image_of_another_size(tmp_path: Path) -> None:
    rows = content({"category_id": 1, "segmentation": [SQUARE]}, names={1: "road"})
    rows["images"][0] |= {"width": 8, "height": 6}
    export(tmp_path, rows)
    photo(tmp_path / "images/a.jpg", 12, 16)
    with pytest.raises(SegPerceptionError, match="was drawn on an image of 8x6, which is 16x12 now"):
        open_dataset("coco_instances", tmp_path, "", CAMVID)[0]
    rows["images"][0] |= {"width": 12, "height": 16}
    export(tmp_path, rows)
    with pytest.raises(SegPerceptionError, match="of 12x16, which is 16x12 now: draw on it as its EXIF turns it"):
        open_dataset("coco_instances", tmp_path, "", CAMVID)[0]
    rows["images"][0] |= {"width": 0, "height": 0}
    export(tmp_path, rows)
    assert open_dataset("coco_instances", tmp_path, "", CAMVID)[0].label[2, 2] != VOID, "some exporters do not know it"


def test_labelme_tells_labels_without_image_and_images_without_label(tmp_path: Path) -> None:
    labelme(tmp_path, drawn("road", WHOLE))
    lost = labelme(tmp_path, drawn("road", WHOLE), stem="b")
    (tmp_path / "b.jpg").unlink()
    photo(tmp_path / "c.jpg", 4, 4)
    adapter = DATASETS["labelme"](tmp_path, "")
    assert len(adapter) == 1 and list(adapter.spare) == [lost] and list(adapter.missing) == [tmp_path / "c.jpg"]


def supervisely(root: Path) -> dict[str, Any]:
    ring = {"exterior": WHOLE, "interior": []}
    one = {"classTitle": "road", "geometryType": "polygon", "points": ring}
    text(root / "meta.json", {"classes": [{"title": "road"}]})
    text(root / "ds/ann/a.jpg.json", rows := {"size": {"height": 4, "width": 4}, "objects": [one]})
    photo(root / "ds/img/a.jpg", 4, 4)
    return rows


def test_supervisely_s_data_sets_may_lie_in_each_other(tmp_path: Path) -> None:
    supervisely(tmp_path)
    shutil.copytree(tmp_path / "ds", tmp_path / "ds/datasets/inner")
    (tmp_path / "ds/datasets/inner/img/a.jpg").rename(tmp_path / "ds/datasets/inner/img/b.jpg")
    (tmp_path / "ds/datasets/inner/ann/a.jpg.json").rename(tmp_path / "ds/datasets/inner/ann/b.jpg.json")
    assert [len(DATASETS["supervisely"](tmp_path, split)) for split in ("", "ds", "ds/datasets/inner")] == [2, 2, 1]


def test_supervisely_s_faults_are_named(tmp_path: Path) -> None:
    rows = supervisely(tmp_path)
    text(tmp_path / "ds/ann/b.jpg.json", rows)
    text(tmp_path / "ds/img/Thumbs.db", "no image")
    adapter = DATASETS["supervisely"](tmp_path, "")
    assert list(adapter.spare) == [tmp_path / "ds/ann/b.jpg.json"] and not adapter.missing
    photo(tmp_path / "ds/img/c.jpg", 4, 4)
    assert DATASETS["supervisely"](tmp_path, "").missing == [tmp_path / "ds/img/c.jpg"]
    for meta in ([1], {"classes": ["road"]}):
        text(tmp_path / "meta.json", meta)
        with pytest.raises(SegPerceptionError, match=r"meta\.json is no .*of Supervisely"):
            DATASETS["supervisely"](tmp_path, "")
    (tmp_path / "ds/img").rename(tmp_path / "ds/pictures")
    with pytest.raises(SegPerceptionError, match="no image in"):
        DATASETS["supervisely"](tmp_path, "")


def test_label_studio_finds_the_image_in_an_address_with_a_signature(tmp_path: Path) -> None:
    region = ("polygonlabels", {"points": [[0, 0], [100, 0], [100, 100]], "polygonlabels": ["Road"]})
    photo(tmp_path / "images/a.jpg", 4, 4)
    text(tmp_path / "tasks.json", [task("https://bucket.example/b/a.jpg?X-Amz-Signature=0f", region)])
    assert picture(tmp_path, "label_studio")[0][-1] == "r"
    text(tmp_path / "tasks.json", [task("no image at all", region)])
    with pytest.raises(SegPerceptionError, match="task 1 names no image"):
        picture(tmp_path, "label_studio")


def test_label_studio_s_ellipse_has_an_area(tmp_path: Path) -> None:
    photo(tmp_path / "images/a.jpg", 4, 4)
    value = {"x": 50, "y": 50, "radiusX": 50, "radiusY": 25, "rotation": 90, "ellipselabels": ["Road"]}
    text(tmp_path / "tasks.json", [task("a.jpg", ("ellipselabels", value))])
    assert picture(tmp_path, "label_studio") == [".rr.", ".rr.", ".rr.", ".rr."]


@pytest.mark.parametrize(
    ("value", "picture_of"),
    [
        ({"points": [[0, 0], [50, 0], [50, 50], [0, 50]], "closed": True}, ["cc..", "cc..", "....", "...."]),
        ({"x": 50, "y": 50, "width": 50, "height": 50, "rotation": 0}, ["....", "....", "..cc", "..cc"]),
        ({"x": 50, "y": 50, "radiusX": 50, "radiusY": 25, "rotation": 90}, [".cc.", ".cc.", ".cc.", ".cc."]),
        ({"x": 50, "y": 50, "width": 1}, ["....", "....", "....", "...."]),
    ],
)
def test_label_studio_s_labels_may_stand_beside_the_tool(
    value: dict[str, Any], picture_of: list[str], tmp_path: Path
) -> None:
    """As of `<Labels>` and `<Polygon>`: a row of what is drawn, and the same with the label, both of one id."""
    photo(tmp_path / "images/a.jpg", 4, 4)
    one = task("a.jpg", ("polygon", value), ("labels", {**value, "labels": ["car"]}))
    for row in one["annotations"][0]["result"]:
        row["id"] = "r0"
    text(tmp_path / "tasks.json", [one])
    assert picture(tmp_path, "label_studio") == picture_of
    remarks = open_dataset("label_studio", tmp_path, "", CAMVID).read(0).remarks
    assert bool(remarks) == (picture_of == ["...."] * 4), "a point has no area"


def test_colours_of_16_bits_are_colours(tmp_path: Path) -> None:
    photo(tmp_path / "train/images/a.png", 1, 2)
    road = CAMVID.by_name("road").color
    for scale in (256, 257):
        write(tmp_path / "train/labels/a.png", [[tuple(scale * part for part in road), (0, 0, 0)]], np.uint16)
        assert picture(tmp_path, "folder", "train") == ["r."]


def test_a_deleted_object_of_cityscapes_needs_no_class(tmp_path: Path) -> None:
    photo(tmp_path / "leftImg8bit/train/x/a_leftImg8bit.png", 4, 4)
    rows = [{"label": "road", "polygon": WHOLE}, {"label": "slip of the pen", "polygon": WHOLE, "deleted": 1}]
    text(tmp_path / "gtFine/train/x/a_gtFine_polygons.json", {"imgHeight": 4, "imgWidth": 4, "objects": rows})
    assert picture(tmp_path, "cityscapes_polygons", "train")[0] == "rrrr"


FAR = st.tuples(st.integers(-900, 900), st.integers(-900, 900))
SIZE_HW = 40, 60


@settings(max_examples=100, deadline=None)
@given(st.lists(FAR, min_size=3, max_size=6))
def test_corners_far_outside_change_nothing_inside(points: list[tuple[int, int]]) -> None:
    """But for pixels whose middle is within half a pixel of an edge: edges are drawn on a grid of a fifth of a pixel."""
    ring = np.array(points, np.float64)
    label, _, remarks = painted([Shape(1, "it", (ring,))], SIZE_HW, smallest_in_front=False)
    if not any("outside" in remark.kind for remark in remarks):
        apart = (label == 1) != filled(ring, SIZE_HW)
        assert not (apart & (_from_edges(ring) > 0.5)).any()


def _from_edges(ring: np.ndarray) -> np.ndarray:
    """[H, W]: how far the middle of each pixel is from the nearest edge, px."""
    middles = np.stack(np.meshgrid(np.arange(SIZE_HW[1]), np.arange(SIZE_HW[0])), axis=-1) + 0.5
    apart = []
    for start, end in zip(ring, np.roll(ring, -1, axis=0), strict=True):
        along = end - start
        share = ((middles - start) @ along / max(along @ along, 1)).clip(0, 1)
        apart.append(np.linalg.norm(middles - start - share[..., None] * along, axis=-1))
    return np.min(apart, axis=0)


@pytest.mark.parametrize(
    ("key", "row", "told"),
    [
        ("images", {"id": 7, "file_name": "b.jpg"}, "two images of the id 7"),
        ("images", {"id": 8, "file_name": "a.jpg"}, "two images 'a.jpg'"),
        ("categories", {"id": 1, "name": "car"}, "two categories of the id 1"),
    ],
)
def test_what_coco_lists_twice_is_named(key: str, row: dict[str, Any], told: str, tmp_path: Path) -> None:
    """As in files merged by hand: labels would go to the wrong one of the two, or to none."""
    rows = content({"category_id": 1, "segmentation": [[0, 0, 4, 0, 4, 4]]}, names={1: "road"})
    rows["categories"] *= 2  # the same one again says nothing else
    export(tmp_path, rows)
    photo(tmp_path / "images/a.jpg", 6, 8)
    assert len(open_dataset("coco_instances", tmp_path, "", CAMVID)) == 1
    rows[key].append(row)
    export(tmp_path, rows)
    photo(tmp_path / "images/b.jpg", 6, 8)
    with pytest.raises(SegPerceptionError, match=told):
        open_dataset("coco_instances", tmp_path, "", CAMVID)


def test_a_list_of_yolo_may_name_an_image_twice(tmp_path: Path) -> None:
    yolo(tmp_path, "train: train.txt\nnames: [road]\n", "images/1.jpg", "labels/1.txt", "0 0 0 1 0 1 1\n")
    text(tmp_path / "train.txt", "images/1.jpg\nimages/1.jpg\n./images/1.jpg\n")
    assert len(open_dataset("yolo", tmp_path, "train", CAMVID)) == 1


@pytest.mark.parametrize("other", ["12.05.2024", "v1.100", "report.txt"])
def test_label_studio_s_image_is_not_another_text_with_a_dot(other: str, tmp_path: Path) -> None:
    photo(tmp_path / "images/a.jpg", 4, 4)
    one = task("a.jpg", ("polygonlabels", {"points": [[0, 0], [100, 0], [100, 100]], "polygonlabels": ["road"]}))
    text(tmp_path / "tasks.json", [{**one, "data": {"other": other, **one["data"]}}])
    assert len(open_dataset("label_studio", tmp_path, "", CAMVID)) == 1


def test_a_depth_that_is_no_number_is_the_plain_one(tmp_path: Path) -> None:
    xml(tmp_path, BOX.format(z="--1", more=""))
    assert picture(tmp_path, "cvat")[0] == "cc.."


def test_a_table_that_csv_cannot_read_is_named(tmp_path: Path) -> None:
    photo(tmp_path / "a.jpg", 4, 4)
    text(tmp_path / "_classes.csv", "Pixel Value, Class\n0, " + "a" * 140_000)
    write(tmp_path / "a_mask.png", np.zeros((4, 4), np.uint8))
    with pytest.raises(SegPerceptionError, match=r"_classes\.csv has no lines such as"):
        open_dataset("roboflow_masks", tmp_path, "", CAMVID)


def test_a_brush_whose_run_leaves_the_image_is_named(tmp_path: Path) -> None:
    """One run of 65 values of an image that has 64: 32 bits, 5, 4 x 4, then the run."""
    bits = f"{64:032b}{7:05b}{15:04b}{15:04b}{15:04b}{15:04b}" + f"1{0:02b}{64:016b}{255:08b}"
    bits += "0" * (-len(bits) % 8)
    values = [int(bits[i : i + 8], 2) for i in range(0, len(bits), 8)]
    with pytest.raises(SegPerceptionError, match=r"region r0 of a\.jpg"):
        open_dataset(brushed(tmp_path, values), tmp_path, "", CAMVID)[0]


def of_labelme(root: Path, damage: str) -> str:
    for stem in "abc":
        labelme(root, drawn("road", WHOLE), stem=stem)
    (root / "b.json").write_text(damage)
    return "labelme"


def of_supervisely(root: Path, damage: str) -> str:
    rows = supervisely(root)
    for stem in "bc":
        photo(root / f"ds/img/{stem}.jpg", 4, 4)
        text(root / f"ds/ann/{stem}.jpg.json", rows)
    (root / "ds/ann/b.jpg.json").write_text(damage)
    return "supervisely"


def of_cityscapes(root: Path, damage: str) -> str:
    for stem in "abc":
        photo(root / f"leftImg8bit/city/{stem}_leftImg8bit.png", 4, 4)
        rows = {"imgHeight": 4, "imgWidth": 4, "objects": [{"label": "road", "polygon": WHOLE}]}
        text(root / f"gtFine/city/{stem}_gtFine_polygons.json", rows)
    (root / "gtFine/city/b_gtFine_polygons.json").write_text(damage)
    return "cityscapes_polygons"


def of_yolo(root: Path, damage: str) -> str:
    for stem in "abc":
        yolo(root, "train: images\nnames: [road]\n", f"images/{stem}.jpg", f"labels/{stem}.txt", "0 0 0 1 0 1 1\n")
    (root / "labels/b.txt").write_bytes(damage.encode("latin-1"))
    return "yolo"


def of_coco_polygons(root: Path, damage: str) -> str:
    of_yolo(root, damage)
    for stem in "ac":
        text(root / f"labels/{stem}.txt", "2 0 0 1 0 1 1\n")
    return "coco_polygons"


@pytest.mark.parametrize(
    ("make", "damage", "told"),
    [
        (of_labelme, '{"shapes": [', r"b\.json is no whole JSON"),
        (of_labelme, '{"version": "5.4.1"}', r"b\.json is no label of labelme: it has no 'shapes'"),
        (of_labelme, '{"shapes": [{}], "imagePath": "b.jpg"}', r"b\.json is no label of its tool \(KeyError\('label'\)\)"),
        (of_labelme, '{"shapes": 7, "imagePath": "b.jpg"}', r"b\.json is no label of its tool"),
        (of_supervisely, "", r"b\.jpg\.json is no whole JSON"),
        (of_supervisely, "[]", r"b\.jpg\.json is no label of its tool"),
        (of_cityscapes, "{}", r"b_gtFine_polygons\.json is no label of its tool"),
        (of_yolo, "0 0 0 1 0 1 1 \xff\n", r"b\.txt is no text in UTF-8"),
        (of_yolo, "road\n", r"b\.txt, line 1 is no class index"),
        (of_coco_polygons, "road\n", r"b\.txt, line 1 is no class index"),
        (of_coco_polygons, "\xff", r"b\.txt is no text in UTF-8"),
    ],
)  # fmt: skip
def test_a_damaged_label_keeps_no_other_from_being_read(
    make: Callable[[Path, str], str], damage: str, told: str, tmp_path: Path
) -> None:
    """Of thousands one is; its image is none without a label, and may be left out by name."""
    name = make(tmp_path, damage)
    dataset = open_dataset(name, tmp_path, "", CAMVID, complete=False)
    assert len(dataset) == 3 and not dataset.missing and not dataset.spare
    assert all((dataset[index].label != VOID).any() for index in (0, 2))
    with pytest.raises(SegPerceptionError, match=told):
        dataset[1]
    assert len(open_dataset(name, tmp_path, "", CAMVID, leave_out=["b*"])) == 2


def test_a_damaged_label_whose_image_is_unknown_is_told_beside_the_others(tmp_path: Path) -> None:
    of_labelme(tmp_path, "{")
    (tmp_path / "b.json").rename(tmp_path / "notes.json")
    (tmp_path / "b.jpg").unlink()
    adapter = DATASETS["labelme"](tmp_path, "")
    assert len(adapter) == 2 and list(adapter.spare) == [tmp_path / "notes.json"]


def test_folders_are_looked_through_once_for_the_images_of_damaged_labels(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Thousands of another tool's labels took hours to be refused."""
    for stem in "abcdefgh":
        labelme(tmp_path, drawn("road", WHOLE), stem=stem)
        (tmp_path / f"{stem}.json").write_text('{"objects": []}')
    looked: list[Path] = []
    listed = reader.label_files
    monkeypatch.setattr(reader, "label_files", lambda folder: [looked.append(folder), *listed(folder)][1:])
    with pytest.raises(SegPerceptionError, match=r"a\.json is no label of labelme"):
        DATASETS["labelme"](tmp_path, "")
    assert len(looked) == 1


@pytest.mark.parametrize("make", [of_labelme, of_supervisely, of_cityscapes])
def test_where_all_labels_are_damaged_the_first_is_named(make: Callable[[Path, str], str], tmp_path: Path) -> None:
    name = make(tmp_path, "{")
    for path in tmp_path.rglob("*.json"):
        if path.name != "meta.json":
            path.write_text("{")
    with pytest.raises(SegPerceptionError, match=r"a\S*\.json is no whole JSON"):
        open_dataset(name, tmp_path, "", CAMVID)


@pytest.mark.parametrize(("turn", "is_taken"), [(0, True), (None, True), (360, True), (90, False), (-90, False)])
def test_a_region_of_label_studio_on_a_turned_image_is_refused(
    turn: int | None, is_taken: bool, tmp_path: Path
) -> None:
    """The file is as it was, so that the region would lie on something else."""
    boxed(tmp_path, 0)
    tasks = json.loads((tmp_path / "tasks.json").read_text())
    tasks[0]["annotations"][0]["result"][0]["image_rotation"] = turn
    text(tmp_path / "tasks.json", tasks)
    dataset = open_dataset("label_studio", tmp_path, "", CAMVID)
    if is_taken:
        assert len(dataset[0].label) == 4
        return
    with pytest.raises(SegPerceptionError, match=rf"region r0 of a\.jpg in .*turned by {turn} degrees.*turn it back"):
        dataset[0]


def test_a_region_of_label_studio_with_several_labels_is_told(tmp_path: Path) -> None:
    boxed(tmp_path, 0)
    tasks = json.loads((tmp_path / "tasks.json").read_text())
    value = {"width": 50, "height": 50, "rectanglelabels": ["car", "road"]}
    tasks[0]["annotations"][0]["result"][0]["value"] |= value
    text(tmp_path / "tasks.json", tasks)
    (remark,) = open_dataset("label_studio", tmp_path, "", CAMVID).read(0).remarks
    assert "several labels, of which the first counts" in remark.kind and "region r0 of a.jpg" in remark.where
    assert picture(tmp_path, "label_studio")[0] == "cc.."


@pytest.mark.parametrize("kind", ["rectanglelabels", "rectangle"])
def test_a_region_of_label_studio_without_a_label_is_told(kind: str, tmp_path: Path) -> None:
    """`rectangle` is a tool beside which the labels stand, as a row of their own with the same id."""
    boxed(tmp_path, 0)
    tasks = json.loads((tmp_path / "tasks.json").read_text())
    place = {"x": 0, "y": 0, "width": 50, "height": 50}
    rows = tasks[0]["annotations"][0]["result"]
    rows[0]["value"] |= place
    rows += [{"id": "with", "type": "rectangle", "value": place}, {"id": "bare", "type": kind, "value": place}]
    rows.append({"id": "with", "type": "labels", "value": {**place, "labels": ["car"]}})
    text(tmp_path / "tasks.json", tasks)
    (remark,) = open_dataset("label_studio", tmp_path, "", CAMVID).read(0).remarks
    assert "have no label" in remark.kind and "region bare of a.jpg" in remark.where


def test_shapes_that_cover_no_pixel_are_counted(tmp_path: Path) -> None:
    """Thinner than a pixel, between the middles of two, or a mask of nothing."""
    labelme(
        tmp_path,
        drawn("road", WHOLE),
        drawn("car", [[1.6, 0], [1.9, 0], [1.9, 4], [1.6, 4]]),
        drawn("car", [[1, 1], [1, 3], [1, 1]]),
        drawn("car", [[0, 0], [1, 1]], "mask", mask=base64.b64encode(png([[0, 0], [0, 0]])).decode()),
        drawn("car", [[0, 0]]),
    )
    remarks = open_dataset("labelme", tmp_path, "", CAMVID).read(0).remarks
    found = [remark.where.partition(" of ")[0] for remark in remarks if "cover no pixel" in remark.kind]
    assert found == ["shape 2 ('car')", "shape 3 ('car')", "shape 4 ('car')"]
    assert [remark.where for remark in remarks if "fewer than 3" in remark.kind] == [
        f"shape 5 ('car') of {tmp_path}/a.json"
    ]
