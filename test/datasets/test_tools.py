"""Exports of labelling tools, each as a tiny tree in the tool's own layout."""

from __future__ import annotations

import base64
import itertools
import json
import zlib
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from test_datasets import meant, photo, write
from test_own_folder import palette_png

from seg_perception.datasets import labelme as labelme_files
from seg_perception.datasets import open_dataset
from seg_perception.datasets.rle import brush_mask
from seg_perception.datasets.shapes import crosses_itself
from seg_perception.datasets.voc import voc_color
from seg_perception.errors import SegPerceptionError
from seg_perception.labels import CAMVID, CITYSCAPES


def picture(root: Path, name: str, split: str = "", index: int = 0, **how: Any) -> list[str]:
    """The first letters of what each pixel is, a dot where it is void."""
    rows = meant(open_dataset(name, root, split, CAMVID, **how), CAMVID, index)
    return ["".join(word[:1] or "." for word in row) for row in rows]


def numbers(root: Path, name: str, split: str = "") -> list[list[int]]:
    instance = open_dataset(name, root, split, CAMVID)[0].instance
    assert instance is not None
    return instance.tolist()


def text(path: Path, content: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def png(mask: list[list[int]]) -> bytes:
    return cv2.imencode(".png", np.array(mask, np.uint8) * 255)[1].tobytes()


# YOLO


def yolo(root: Path, data: str, image: str, label: str, lines: str) -> None:
    text(root / "data.yaml", data)
    photo(root / image, 4, 4)
    text(root / label, lines)


ROAD_AND_CAR = "0 0 0.5 1 0.5 1 1 0 1\n\n1 0 0 0.5 0 0.5 0.75 0 0.75\n"


@pytest.mark.parametrize(
    ("data", "image", "split"),
    [
        (
            "train: ../train/images\nval: ../valid/images\nnc: 2\nnames: ['Road', 'car']\n",
            "train/images/a.jpg",
            "train",
        ),
        (
            "train: ../train/images\nval: ../valid/images\nnc: 2\nnames: ['Road', 'car']\n",
            "valid/images/a.jpg",
            "valid",
        ),
        (
            "path: ../datasets/mine\ntrain: images/train\nval: images/val\nnames:\n  0: road\n  1: CAR\n",
            "images/val/a.jpg",
            "val",
        ),
        ("path: .\ntrain: images\nval: images\nnames: {0: road, 1: car}\n", "images/a.jpg", ""),
        ("train: train.txt\nnames: {0: road, 1: car}\n", "images/train/a.jpg", "train"),
    ],
)
def test_yolo(tmp_path: Path, data: str, image: str, split: str) -> None:
    text(tmp_path / "train.txt", f"./{image}\n")
    yolo(tmp_path, data, image, image.replace("images", "labels").replace(".jpg", ".txt"), ROAD_AND_CAR)
    assert picture(tmp_path, "yolo", split) == ["cc..", "cc..", "ccrr", "rrrr"]
    assert numbers(tmp_path, "yolo", split)[0] == [2, 2, 0, 0]


def test_yolo_s_images_may_lie_in_folders_of_folders_and_in_several(tmp_path: Path) -> None:
    data = "train: [images/one, images/two]\nval: images\nnames: [road, car]\n"
    for image in ("one/a", "two/b"):
        yolo(tmp_path, data, f"images/{image}.jpg", f"labels/{image}.txt", ROAD_AND_CAR)
    for split in ("train", "val"):
        assert len(open_dataset("yolo", tmp_path, split, CAMVID)) == 2
    for entry in ("[images/one, 3]", "&a [*a]", "[]", "''"):
        text(tmp_path / "data.yaml", f"train: {entry}\nnames: [road, car]\n")
        with pytest.raises(SegPerceptionError, match=r"a split is .*, expected a folder of images, or several"):
            open_dataset("yolo", tmp_path, "train", CAMVID)


@pytest.mark.parametrize(
    "line",
    [
        "data/images/train/a.jpg",
        "/content/mine/images/train/a.jpg",
        "../x/images/train/a.jpg",
        "C:\\mine\\images\\train\\a.jpg",
    ],
)
def test_yolo_s_paths_may_be_of_another_place(line: str, tmp_path: Path) -> None:
    """CVAT puts `data` before them, notebooks the whole path of their machine."""
    yolo(tmp_path, "train: train.txt\nnames: [road, car]\n", "images/train/a.jpg", "labels/train/a.txt", ROAD_AND_CAR)
    text(tmp_path / "train.txt", f"{line}\n")
    assert picture(tmp_path, "yolo", "train") == ["cc..", "cc..", "ccrr", "rrrr"]
    text(tmp_path / "data.yaml", f"train: {line.removesuffix('a.jpg')}\nnames: [road, car]\n")
    assert picture(tmp_path, "yolo", "train") == ["cc..", "cc..", "ccrr", "rrrr"]
    text(tmp_path / "data.yaml", "train: there/is/none\nnames: [road, car]\n")
    (tmp_path / "none").mkdir()
    with pytest.raises(
        SegPerceptionError, match=r"are in 'there/is/none', and there is no .*/there/is/none: correct it"
    ):
        picture(tmp_path, "yolo", "train")


def test_yolo_faults_are_named(tmp_path: Path) -> None:
    with pytest.raises(SegPerceptionError, match=r"no data\.yaml"):
        open_dataset("yolo", tmp_path, "train", CAMVID)
    data = "train: images\nnames: [road]\n"
    yolo(tmp_path, data, "images/a.jpg", "labels/a.txt", "0 0.5 0.5 1 1\n")
    for line, told in (
        ("0 0.5 0.5 1 1", "line 1 is a box and no outline"),
        ("1 0 0 1 0 1 1", "is of the class 1, which data.yaml does not name"),
        ("0 0 0 1 0 1", "no class index with x y pairs"),
        ("0 0 nan 1 0 1 1", "no class index with x y pairs"),
    ):
        text(tmp_path / "labels/a.txt", line)
        with pytest.raises(SegPerceptionError, match=told):
            open_dataset("yolo", tmp_path, "train", CAMVID)[0]
    text(tmp_path / "labels/a.txt", "")
    with pytest.raises(SegPerceptionError, match=r"no image in .* has a label"):
        open_dataset("yolo", tmp_path, "train", CAMVID)
    with pytest.raises(SegPerceptionError, match="has no split 'tarin': did you mean 'train'"):
        open_dataset("yolo", tmp_path, "tarin", CAMVID)
    text(tmp_path / "data.yaml", "names: [road]\n")
    with pytest.raises(
        SegPerceptionError, match="has no split 'train': write where its images are, as in `train: images`"
    ):
        open_dataset("yolo", tmp_path, "train", CAMVID)
    bomb = "".join(f"- &a{i} [{', '.join([f'*a{i - 1}'] * 9) if i else 'road'}]\n" for i in range(30))
    for names in ("[road, [car]]", "[road, null]", f"\n{bomb}"):
        text(tmp_path / "data.yaml", f"train: images\nnames: {names}")
        with pytest.raises(SegPerceptionError, match="each of `names` must be one name"):
            open_dataset("yolo", tmp_path, "train", CAMVID)
    for more in ("", "names: road\n", "names: []\n"):
        text(tmp_path / "data.yaml", f"train: images\n{more}")
        with pytest.raises(SegPerceptionError, match="names no classes"):
            open_dataset("yolo", tmp_path, "train", CAMVID)


# Roboflow's masks


def test_roboflow_masks(tmp_path: Path) -> None:
    text(tmp_path / "train/_classes.csv", "Pixel Value, Class\n0, background\n1, Road\n2, car\n")
    photo(tmp_path / "train/a_png.rf.1234.jpg", 1, 3)
    write(tmp_path / "train/a_png.rf.1234_mask.png", [[0, 1, 2]])
    assert picture(tmp_path, "roboflow_masks", "train") == [".rc"]
    write(tmp_path / "train/a_png.rf.1234_mask.png", [[0, 1, 3]])
    with pytest.raises(SegPerceptionError, match="holds the unknown ids 3"):
        picture(tmp_path, "roboflow_masks", "train")
    for told, lines in (
        ("names an id twice", "0, background\n1, road\n1, car\n"),
        ("unknown ids 3", "0,\n1, road\n2, car\n"),
    ):
        text(tmp_path / "train/_classes.csv", lines)
        with pytest.raises(SegPerceptionError, match=told):
            picture(tmp_path, "roboflow_masks", "train")
    text(tmp_path / "train/_classes.csv", "Pixel Value, Class\nzero, background\n")
    with pytest.raises(SegPerceptionError, match="has no lines such as"):
        picture(tmp_path, "roboflow_masks", "train")


# Pascal VOC and CVAT's segmentation masks


def cvat(root: Path) -> None:
    """Road, a car, a second car, nothing."""
    rows = "# label:color_rgb:parts:actions\nbackground:0,0,0::\nRoad:128,64,128::\ncar:0,0,142::\n"
    text(root / "labelmap.txt", rows)
    text(root / "ImageSets/Segmentation/default.txt", "a\n")
    photo(root / "JPEGImages/a.jpg", 1, 4)
    write(root / "SegmentationClass/a.png", [[(128, 64, 128), (0, 0, 142), (0, 0, 142), (0, 0, 0)]])
    write(root / "SegmentationObject/a.png", [[voc_color(1), voc_color(2), voc_color(3), (0, 0, 0)]])


def test_cvat_segmentation_mask(tmp_path: Path) -> None:
    cvat(tmp_path)
    assert picture(tmp_path, "voc", "default") == picture(tmp_path, "voc") == ["rcc."]
    first, car, other, nothing = numbers(tmp_path, "voc")[0]
    assert first == nothing == 0 != car and other not in (0, car)
    palette_png(tmp_path / "SegmentationClass/a.png", [[7, 8, 8, 0]], {7: (128, 64, 128), 8: (0, 0, 142)})
    assert picture(tmp_path, "voc") == ["rcc."]
    with pytest.raises(SegPerceptionError, match="the splits there are default"):
        picture(tmp_path, "voc", "train")
    write(tmp_path / "SegmentationClass/a.png", [[(1, 64, 128)] * 4])
    with pytest.raises(SegPerceptionError, match=r"colour \[1, 64, 128\] \(4 pixels\)"):
        picture(tmp_path, "voc")
    text(tmp_path / "labelmap.txt", "road 128 64 128\n")
    with pytest.raises(SegPerceptionError, match="has the line 'road 128 64 128'"):
        picture(tmp_path, "voc")


def test_pascal_voc_2012(tmp_path: Path) -> None:
    """The first colours of its palette as published: aeroplane, bicycle, ..., car, person; 255 is the border."""
    assert [voc_color(i) for i in (1, 2, 7, 15)] == [(128, 0, 0), (0, 128, 0), (128, 128, 128), (192, 128, 128)]
    colors = {i: voc_color(i) for i in range(256)}
    for stem in ("2007_000032", "2007_000033"):
        photo(tmp_path / f"JPEGImages/{stem}.jpg", 1, 4)
    text(tmp_path / "ImageSets/Segmentation/val.txt", "2007_000032\n")
    palette_png(tmp_path / "SegmentationClass/2007_000032.png", [[7, 15, 255, 0]], colors)
    palette_png(tmp_path / "SegmentationObject/2007_000032.png", [[1, 2, 255, 0]], colors)
    dataset = open_dataset("voc", tmp_path, "val", CITYSCAPES)
    assert len(dataset) == 1 and meant(dataset, CITYSCAPES) == [["car", "person/rider", "", ""]]
    assert dataset[0].instance is not None and (dataset[0].instance[0] > 0).tolist() == [True, True, False, False]
    assert len(open_dataset("voc", tmp_path, "", CITYSCAPES)) == 1, "most of VOC's images have no mask"


def test_voc_with_names_of_ones_own(tmp_path: Path) -> None:
    text(tmp_path / "class_names.txt", "_background_\nroad\ncar\n")
    photo(tmp_path / "JPEGImages/a.jpg", 1, 3)
    palette_png(tmp_path / "SegmentationClassPNG/a.png", [[0, 1, 2]], {i: voc_color(i) for i in range(3)})
    assert picture(tmp_path, "voc") == [".rc"]


@pytest.mark.parametrize("factor", [1, 256, 257])
def test_colours_of_16_bits_are_not_rounded(tmp_path: Path, factor: int) -> None:
    """As an image they are scaled; a label's colour is exact or another class."""
    text(tmp_path / "labelmap.txt", "road:200,100,50::\ncar:1,2,3::\n")
    photo(tmp_path / "JPEGImages/a.jpg", 1, 2)
    (tmp_path / "SegmentationClass").mkdir()
    colors = np.array([[(200, 100, 50), (1, 2, 3)]], np.uint16) * factor
    cv2.imwrite(str(tmp_path / "SegmentationClass/a.png"), colors[..., ::-1])
    assert picture(tmp_path, "voc") == ["rc"]


# labelme


def labelme(root: Path, *shapes: dict[str, Any], stem: str = "a") -> Path:
    photo(root / f"{stem}.jpg", 4, 4)
    content = {"version": "5.4.1", "flags": {}, "shapes": list(shapes), "imagePath": f"{Path(stem).name}.jpg"}
    return text(root / f"{stem}.json", {**content, "imageData": None, "imageHeight": 4, "imageWidth": 4})


def drawn(label: str, points: list[list[float]], kind: str = "polygon", **more: Any) -> dict[str, Any]:
    return {"label": label, "points": points, "shape_type": kind, "group_id": None, "flags": {}, **more}


def test_labelme(tmp_path: Path) -> None:
    labelme(
        tmp_path,
        drawn("Road", [[0, 0], [4, 0], [4, 4], [0, 4]]),
        drawn("car", [[2, 2], [0, 0]], "rectangle", group_id=3),
        drawn("car", [[3, 0], [4, 0], [4, 1], [3, 1]], group_id=3),
        drawn("car", [[2, 3], [4, 4]], "mask", mask=base64.b64encode(png([[1, 0]])).decode()),
        drawn("car", [[1, 1]], "point"),
    )
    assert picture(tmp_path, "labelme") == ["ccrc", "ccrr", "rrrr", "rrcr"]
    found = numbers(tmp_path, "labelme")
    assert found[0][0] == found[0][3] != found[3][2] and 0 not in (found[0][0], found[3][2])
    (remark,) = open_dataset("labelme", tmp_path, "", CAMVID).read(0).remarks
    assert "have no area" in remark.kind and "shape 5 ('car')" in remark.where
    assert open_dataset("labelme", tmp_path.parent, tmp_path.name, CAMVID)[0].label.shape == (4, 4)


def test_a_turned_box_of_x_anylabeling_is_its_corners(tmp_path: Path) -> None:
    labelme(tmp_path, drawn("car", [[2, 0], [4, 2], [2, 4], [0, 2]], "rotation", direction=0.785))
    assert picture(tmp_path, "labelme") == [".cc.", "cccc", ".cc.", "...."]


def test_labelme_circle(tmp_path: Path) -> None:
    labelme(tmp_path, drawn("car", [[2, 2], [2, 4]], "circle"))
    assert picture(tmp_path, "labelme") == [".cc.", "cccc", "cccc", ".cc."]


def test_labelme_faults_are_named(tmp_path: Path) -> None:
    with pytest.raises(SegPerceptionError, match="labels of labelme are not there"):
        picture(tmp_path, "labelme")
    path = labelme(tmp_path)
    with pytest.raises(SegPerceptionError, match="labels of labelme hold no shape"):
        picture(tmp_path, "labelme")
    labelme(tmp_path, drawn("road", [[0, 0], [4, 0], [4, 4]]), stem="b/a")
    with pytest.raises(SegPerceptionError, match="share the name 'a': rename one"):
        picture(tmp_path, "labelme")
    photo(tmp_path / "b/a.jpg", 5, 4)
    with pytest.raises(SegPerceptionError, match="was drawn on an image of 4x4, which is 4x5 now"):
        picture(tmp_path, "labelme", "b")
    (tmp_path / "b/a.jpg").unlink()
    with pytest.raises(SegPerceptionError, match=r"the image 'a\.jpg', which is in none of"):
        picture(tmp_path, "labelme", "b")
    path.write_text('{"shapes": [')
    with pytest.raises(SegPerceptionError, match=r"a\.json is no whole JSON"):
        picture(tmp_path, "labelme")
    path.write_text('{"images": []}')
    with pytest.raises(SegPerceptionError, match="it has no 'shapes'"):
        picture(tmp_path, "labelme")
    labelme(tmp_path, drawn("road", [[0, 0], [4, 0], [4, 4]]), stem="z")
    with pytest.raises(SegPerceptionError, match=r"a\.json is no label of labelme: it has no 'shapes'; take it away"):
        picture(tmp_path, "labelme")


def test_a_file_of_labelme_is_read_once_to_open_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Most hold their image too: of a thousand that is gigabytes."""
    labelme(tmp_path, drawn("road", [[0, 0], [4, 0], [4, 4]]))
    read = []
    monkeypatch.setattr(labelme_files, "read_json", lambda path: read.append(path) or json.loads(path.read_bytes()))
    assert len(open_dataset("labelme", tmp_path, "", CAMVID)) == len(read) == 1


# Cityscapes' polygons


def test_cityscapes_polygons(tmp_path: Path) -> None:
    stem = "aachen/aachen_000000_000019"
    photo(tmp_path / f"leftImg8bit/train/{stem}_leftImg8bit.png", 2, 4)
    left, right = [[0, 0], [2, 0], [2, 2], [0, 2]], [[2, 0], [4, 0], [4, 2], [2, 2]]
    objects = [
        ("road", left),
        ("cargroup", right),
        ("car", [[2, 0], [3, 0], [3, 2], [2, 2]]),
        ("out of roi", [[0, 1], [4, 1], [4, 2], [0, 2]]),
    ]
    rows = [{"label": name, "polygon": points} for name, points in objects]
    rows.append({"label": "sky", "polygon": left, "deleted": 1})
    path = tmp_path / f"gtFine/train/{stem}_gtFine_polygons.json"
    text(path, {"imgHeight": 2, "imgWidth": 4, "objects": rows})
    assert picture(tmp_path, "cityscapes_polygons", "train") == ["rrcc", "...."]
    assert numbers(tmp_path, "cityscapes_polygons", "train")[0] == [0, 0, 2, 0]
    text(path, {"imgHeight": 2, "imgWidth": 4, "objects": [{"label": "road"}]})
    with pytest.raises(SegPerceptionError, match="is no label of its tool"):
        picture(tmp_path, "cityscapes_polygons", "train")


# Supervisely


def test_supervisely(tmp_path: Path) -> None:
    ring = {"exterior": [[0, 0], [4, 0], [4, 4], [0, 4]], "interior": [[[0, 0], [1, 0], [1, 1], [0, 1]]]}
    bitmap = {"data": base64.b64encode(zlib.compress(png([[0, 1]]))).decode(), "origin": [2, 3]}
    objects = [
        {"classTitle": "Road", "geometryType": "polygon", "points": ring},
        {"classTitle": "car", "geometryType": "bitmap", "bitmap": bitmap},
        {"classTitle": "car", "geometryType": "rectangle", "points": {"exterior": [[1, 1], [2, 2]], "interior": []}},
        {"classTitle": "car", "geometryType": "line", "points": {"exterior": [[1, 1], [2, 2]], "interior": []}},
    ]
    text(tmp_path / "meta.json", {"classes": [{"title": "Road"}, {"title": "car"}]})
    path = tmp_path / "ds0/ann/a.jpg.json"
    content = {"size": {"height": 4, "width": 4}, "objects": objects}
    text(path, content)
    photo(tmp_path / "ds0/img/a.jpg", 4, 4)
    for split in ("", "ds0"):
        assert picture(tmp_path, "supervisely", split) == [".rrr", "rcrr", "rrrr", "rrrc"]
    assert len(open_dataset("supervisely", tmp_path, "", CAMVID).read(0).remarks) == 1
    objects[1]["bitmap"] = {**bitmap, "origin": [3, 3]}
    text(path, content)
    with pytest.raises(SegPerceptionError, match="is 2x1 at x 3, y 3, which is not inside the image of 4x4"):
        picture(tmp_path, "supervisely")
    objects[1]["bitmap"] = {**bitmap, "data": "AAAA"}
    text(path, content)
    with pytest.raises(SegPerceptionError, match="cannot be unpacked"):
        picture(tmp_path, "supervisely")
    with pytest.raises(SegPerceptionError, match="no image in"):
        picture(tmp_path, "supervisely", "ds1")
    (tmp_path / "meta.json").unlink()
    with pytest.raises(SegPerceptionError, match=r"no .*meta\.json"):
        picture(tmp_path, "supervisely")


# Label Studio


def brush(mask: np.ndarray) -> list[int]:
    """RLE of four equal channels, as @thi.ng/rle-pack writes it: runs of 3 values or more as such, others as they are."""
    values = np.repeat((mask * 255).ravel(), 4)
    bits = f"{values.size:032b}" + f"{7:05b}" + "".join(f"{size - 1:04b}" for size in (3, 4, 8, 16))
    borders = [0, *(np.flatnonzero(np.diff(values)) + 1).tolist(), values.size]
    for start, end in itertools.pairwise(borders):
        while start < end:
            length = min(end - start, 1 << 16)
            which = next(place for place, size in enumerate((3, 4, 8, 16)) if length <= 1 << size)
            head = f"{which:02b}" + format(length - 1, f"0{(3, 4, 8, 16)[which]}b")
            as_run = length >= 3
            bits += str(int(as_run)) + head + f"{values[start]:08b}" * (1 if as_run else length)
            start += length
    bits += "0" * (-len(bits) % 8)
    return [int(bits[place : place + 8], 2) for place in range(0, len(bits), 8)]


@settings(max_examples=30, deadline=None)
@given(arrays.arrays(np.bool_, (7, 9)), st.data())
def test_a_brush_there_and_back(mask: np.ndarray, data: st.DataObject) -> None:
    packed = brush(mask)
    assert (brush_mask(packed, (7, 9)) == mask).all()
    with pytest.raises(ValueError, match="not 4 x 9 x 9"):
        brush_mask(packed, (9, 9))
    with pytest.raises(ValueError, match="ends early"):
        brush_mask(packed[: data.draw(st.integers(0, len(packed) - 1))], (7, 9))


def test_a_brush_of_single_values() -> None:
    """2 pixels: 8 values of which the last of each four counts, one block of them as they are."""
    bits = (
        f"{8:032b}{7:05b}"
        + f"{2:04b}{3:04b}{7:04b}{15:04b}"
        + "0"
        + "00"
        + "111"
        + "".join(f"{value:08b}" for value in (9, 9, 9, 0, 0, 0, 0, 255))
    )
    bits += "0" * (-len(bits) % 8)
    packed = [int(bits[place : place + 8], 2) for place in range(0, len(bits), 8)]
    assert brush_mask(packed, (1, 2)).tolist() == [[False, True]]


def task(image: str, *regions: tuple[str, dict[str, Any]], cancelled: bool = False) -> dict[str, Any]:
    rows = [
        {"id": f"r{i}", "type": kind, "original_width": 4, "original_height": 4, "value": value}
        for i, (kind, value) in enumerate(regions)
    ]
    return {"id": 1, "data": {"image": image}, "annotations": [{"result": rows, "was_cancelled": cancelled}]}


def test_label_studio(tmp_path: Path) -> None:
    mask = np.zeros((4, 4), bool)
    mask[0, 3] = True
    half = {"points": [[0, 50], [100, 50], [100, 100], [0, 100]], "closed": True, "polygonlabels": ["Road"]}
    tasks = [
        task(
            "/data/upload/3/0a1b2c3d-a.jpg",
            ("polygonlabels", half),
            ("brushlabels", {"format": "rle", "rle": brush(mask), "brushlabels": ["car"]}),
            ("rectanglelabels", {"x": 0, "y": 0, "width": 25, "height": 50, "rotation": 0, "rectanglelabels": ["car"]}),
            ("keypointlabels", {"x": 0, "y": 0, "keypointlabels": ["car"]}),
            ("choices", {"choices": ["sunny"]}),
        ),
        task("/data/local-files/?d=drive/b.jpg", ("polygonlabels", half)),
        task("s3://bucket/c.jpg", cancelled=True),
    ]
    text(tmp_path / "project-1.json", tasks)
    for name in ("a.jpg", "drive/b.jpg"):
        photo(tmp_path / "images" / name, 4, 4)
    with pytest.raises(SegPerceptionError, match=r"1 images have no label, the first is c\.jpg"):
        picture(tmp_path, "label_studio")
    text(tmp_path / "project-1.json", tasks[:2])
    assert picture(tmp_path, "label_studio") == ["c..c", "c...", "rrrr", "rrrr"]
    assert picture(tmp_path, "label_studio", index=1)[2] == "rrrr"
    assert len(open_dataset("label_studio", tmp_path, "", CAMVID).read(0).remarks) == 1
    text(
        tmp_path / "project-1.json",
        [task("a.jpg", ("brushlabels", {"format": "rle", "rle": [0, 1], "brushlabels": ["car"]}))],
    )
    with pytest.raises(SegPerceptionError, match=r"region r0 of a\.jpg .*ends early"):
        picture(tmp_path, "label_studio")
    text(tmp_path / "project-1.json", [])
    with pytest.raises(SegPerceptionError, match="no region with a label"):
        picture(tmp_path, "label_studio")
    text(tmp_path / "project-2.json", [])
    with pytest.raises(SegPerceptionError, match="holds 2 JSON files"):
        picture(tmp_path, "label_studio")


def test_crossings() -> None:
    assert crosses_itself(np.array([[0, 0], [4, 4], [4, 0], [0, 4]], float))
    assert not crosses_itself(np.array([[0, 0], [4, 0], [4, 4], [0, 4]], float))
    assert not crosses_itself(np.array([[0, 0], [4, 0], [4, 4], [2, 0]], float)), "touching is no crossing"
