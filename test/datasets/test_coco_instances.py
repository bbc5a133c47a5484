"""COCO's JSON with categories of one's own, in the places where tools put it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from test_datasets import meant, photo, write

from seg_perception.datasets import json_stream, open_dataset
from seg_perception.datasets.json_stream import elements
from seg_perception.datasets.rle import coco_counts, coco_part
from seg_perception.errors import SegPerceptionError
from seg_perception.labels import CAMVID, CITYSCAPES, VOID
from seg_perception.recordings.dataset_source import DatasetSource

SQUARE = [1, 1, 4, 1, 4, 4, 1, 4]


def content(*annotations: dict[str, Any], names: dict[int, str] | None = None) -> dict[str, Any]:
    """One image of 8 x 6 with these annotations."""
    return {
        "info": {"description": "[not] {a} list"},
        "licenses": [],
        "annotations": [{"id": i, "image_id": 7, "iscrowd": 0, **row} for i, row in enumerate(annotations, start=1)],
        "images": [{"id": 7, "file_name": "a.jpg", "width": 8, "height": 6}],
        "categories": [{"id": i, "name": name} for i, name in (names or {1: "Road", 2: "car", 3: "Bäume"}).items()],
    }


def export(root: Path, rows: dict[str, Any], place: str = "annotations/instances_default.json") -> Path:
    path = root / place
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(rows, ensure_ascii=False), encoding="utf-8")
    return path


def counts_of(mask: np.ndarray) -> list[int]:
    """Runs of a mask down its columns, the first of them off; the slow way."""
    runs, last = [0], False
    for value in mask.T.ravel().tolist():
        if value != last:
            runs.append(0)
            last = value
        runs[-1] += 1
    return runs


def of_runs(counts: list[int] | str, size_hw: tuple[int, int]) -> np.ndarray:
    """The whole mask behind COCO's runs; the part of it that is kept has no empty border."""
    whole = np.zeros(size_hw, np.bool_)
    place, part = coco_part(counts, size_hw)
    whole[place] = part
    assert all(part.any(axis=axis)[[0, -1]].all() for axis in (0, 1)) if part.size else not part.shape[0]
    return whole


def compressed(counts: list[int]) -> str:
    """After rleToString of maskApi.c."""
    text = ""
    for place, count in enumerate(counts):
        value = count - counts[place - 2] if place > 2 else count
        more = True
        while more:
            group = value & 31
            value >>= 5
            more = value != (-1 if group & 16 else 0)
            text += chr((group | (32 if more else 0)) + 48)
    return text


@settings(max_examples=60, deadline=None)
@given(arrays.arrays(np.bool_, (13, 17)))
def test_run_lengths_there_and_back(mask: np.ndarray) -> None:
    runs = counts_of(mask)
    assert coco_counts(compressed(runs)) == runs
    assert (of_runs(runs, (13, 17)) == mask).all() and (of_runs(compressed(runs), (13, 17)) == mask).all()


def test_run_lengths_are_those_of_pycocotools() -> None:
    tools = pytest.importorskip("pycocotools.mask", reason="pycocotools is not installed")
    mask = np.random.default_rng(1).random((40, 50)) < 0.02
    text = tools.encode(np.asfortranarray(mask.astype(np.uint8)))["counts"].decode()
    assert (of_runs(text, (40, 50)) == mask).all()


def test_cvat_polygons_rle_and_crowd(tmp_path: Path) -> None:
    mask = np.zeros((6, 8), bool)
    mask[5, 6:] = True
    small = {"category_id": 2, "segmentation": [[2, 2, 4, 2, 4, 4, 2, 4], [6, 0, 8, 0, 8, 1, 6, 1]]}
    rows = content(
        small,
        {"category_id": 1, "segmentation": [SQUARE]},
        {"category_id": 2, "segmentation": {"size": [6, 8], "counts": counts_of(mask)}, "iscrowd": 1},
        {"category_id": 2, "segmentation": {"size": [6, 8], "counts": compressed(counts_of(mask[:, ::-1]))}},
        names={1: "Road", 2: "CAR"},
    )
    export(tmp_path, rows)
    photo(tmp_path / "images/a.jpg", 6, 8)
    dataset = open_dataset("coco_instances", tmp_path, "", CAMVID)
    assert len(dataset) == 1 and not dataset.missing
    assert ["".join(word[:1] or "." for word in row) for row in meant(dataset, CAMVID)] == [
        "......cc",
        ".rrr....",
        ".rcc....",
        ".rcc....",
        "........",
        "cc....cc",
    ]
    instance = dataset[0].instance
    assert instance is not None and instance[2, 2] == instance[0, 7] > 0, "two parts are one object"
    assert instance[5, 0] not in (0, instance[2, 2]) and instance[5, 7] == 0, "a crowd has no number"
    assert instance[1, 1] == 0, "a road is no thing"


@pytest.mark.parametrize(
    ("place", "image", "split"),
    [
        ("train/_annotations.coco.json", "train/a.jpg", "train"),
        ("annotations/instances_train2017.json", "train2017/a.jpg", "train2017"),
        ("annotations/instances_train.json", "images/train/a.jpg", "train"),
        ("result.json", "images/a.jpg", ""),
        ("annotations.json", "a.jpg", ""),
        ("labels_my-project.json", "images/a.jpg", ""),
        ("annotations/mine.json", "a.jpg", ""),
    ],
)
def test_where_tools_put_it(tmp_path: Path, place: str, image: str, split: str) -> None:
    export(tmp_path, content({"category_id": 1, "segmentation": [SQUARE]}, names={1: "road"}), place)
    photo(tmp_path / image, 6, 8)
    assert open_dataset("coco_instances", tmp_path, split, CAMVID)[0].label[2, 2] == 1


def test_coco_itself_says_what_its_categories_may_be(tmp_path: Path) -> None:
    names = {1: "person", 3: "car", 15: "bench", 90: "toothbrush"}
    rows = content(*({"category_id": i, "segmentation": [SQUARE]} for i in (1, 15)), names=names)
    export(tmp_path, rows, "annotations/instances_val2017.json")
    photo(tmp_path / "val2017/a.jpg", 6, 8)
    dataset = open_dataset("coco_instances", tmp_path, "val2017", CITYSCAPES)
    assert dataset.meaning[1] == ("person", "rider") and dataset.meaning[15] == ()


def test_the_project_that_roboflow_lists_is_no_category(tmp_path: Path) -> None:
    rows = content({"category_id": 1, "segmentation": [SQUARE]}, names={0: "street-x1yz", 1: "road"})
    for row, above in zip(rows["categories"], ("none", "street-x1yz"), strict=True):
        row["supercategory"] = above
    export(tmp_path, rows)
    photo(tmp_path / "images/a.jpg", 6, 8)
    assert open_dataset("coco_instances", tmp_path, "", CAMVID)[0].label[2, 2] == 1
    open_dataset("coco_instances", tmp_path, "", CAMVID, {"street-x1yz": ()})
    rows["annotations"][0]["category_id"] = 0
    export(tmp_path, rows)
    with pytest.raises(SegPerceptionError, match="the category 'street-x1yz' is no class"):
        open_dataset("coco_instances", tmp_path, "", CAMVID)


def test_categories_that_match_nothing_are_told_with_the_line(tmp_path: Path) -> None:
    export(tmp_path, content({"category_id": 3, "segmentation": [SQUARE]}))
    photo(tmp_path / "images/a.jpg", 6, 8)
    with pytest.raises(SegPerceptionError, match=r"'Bäume' is no class.*`classes: \{Bäume: \["):
        open_dataset("coco_instances", tmp_path, "", CAMVID)
    dataset = open_dataset("coco_instances", tmp_path, "", CAMVID, {"bäume": ("tree",)})
    assert meant(dataset, CAMVID)[2][2] == "tree"
    with pytest.raises(
        SegPerceptionError, match="no category 'Baume', of which `classes` speaks: did you mean 'Bäume'"
    ):
        open_dataset("coco_instances", tmp_path, "", CAMVID, {"Baume": ("tree",)})


@pytest.mark.parametrize(
    ("outline", "told"),
    [
        ([[1, 1, 2, 2]], "fewer than 3 points"),
        ([[20, 1, 30, 1, 30, 4]], "lie outside their image"),
        ([[1, 1, 1e12, 1, 1, 4]], "reach out of their image"),
        ([[0, 0, 5, 5, 5, 0, 0, 5]], "cross themselves"),
        ([], "have a box and no outline"),
    ],
)
def test_odd_polygons_are_named_and_the_rest_is_used(tmp_path: Path, outline: list[Any], told: str) -> None:
    rows = content(
        {"category_id": 2, "segmentation": outline}, {"category_id": 1, "segmentation": [[6, 4, 8, 4, 8, 6]]}
    )
    export(tmp_path, rows)
    photo(tmp_path / "images/a.jpg", 6, 8)
    sample = open_dataset("coco_instances", tmp_path, "", CAMVID, {"Bäume": ()}).read(0)
    (remark,) = sample.remarks
    assert told in remark.kind and "annotation 1 of a.jpg" in remark.where
    assert (sample.label == 1).any()


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"segmentation": {"size": [8, 6], "counts": [48]}}, "RLE of annotation 1 of a.jpg .* is 6x8, its image 8x6"),
        ({"segmentation": {"size": [6, 8], "counts": [47]}}, "is damaged .*47 pixels"),
        ({"segmentation": {"size": [6, 8], "counts": "00~"}}, "is damaged"),
        ({"segmentation": [[1, 1, 2]]}, "no list of x and y"),
        ({"segmentation": [SQUARE], "category_id": 9}, "of the category 9, which is not listed"),
    ],
)
def test_broken_annotations_are_named(tmp_path: Path, change: dict[str, Any], told: str) -> None:
    export(tmp_path, content({"category_id": 1, **change}, names={1: "road"}))
    photo(tmp_path / "images/a.jpg", 6, 8)
    with pytest.raises(SegPerceptionError, match=told):
        open_dataset("coco_instances", tmp_path, "", CAMVID)[0]


def test_broken_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(SegPerceptionError, match=r"annotations/instances_default\.json"):
        open_dataset("coco_instances", tmp_path, "", CAMVID)
    path = export(tmp_path, content(names={1: "road"}))
    with pytest.raises(SegPerceptionError, match="holds no annotation"):
        open_dataset("coco_instances", tmp_path, "", CAMVID)
    export(tmp_path, content({"category_id": 1, "bbox": [1, 1, 2, 2]}))
    with pytest.raises(SegPerceptionError, match="boxes and no outlines"):
        open_dataset("coco_instances", tmp_path, "", CAMVID)
    rows = content({"category_id": 1, "segmentation": [SQUARE]}, names={1: "road"})
    export(tmp_path, rows)
    with pytest.raises(SegPerceptionError, match=r"the image 'a\.jpg', which is in none of"):
        open_dataset("coco_instances", tmp_path, "", CAMVID)
    photo(tmp_path / "images/a.jpg", 6, 8)
    photo(tmp_path / "images/b/a.jpg", 6, 8)
    twice = {**rows, "images": [*rows["images"], {"id": 8, "file_name": "b/a.jpg"}]}
    twice["annotations"] = [*rows["annotations"], {**rows["annotations"][0], "image_id": 8}]
    export(tmp_path, twice)
    with pytest.raises(SegPerceptionError, match="share the name 'a': rename one"):
        open_dataset("coco_instances", tmp_path, "", CAMVID)
    path.write_text(json.dumps(rows)[:-40])
    with pytest.raises(SegPerceptionError, match="is no whole JSON"):
        open_dataset("coco_instances", tmp_path, "", CAMVID)
    path.write_text(json.dumps(rows) + "{}")
    with pytest.raises(SegPerceptionError, match=f"text after its end at byte {len(json.dumps(rows))}"):
        open_dataset("coco_instances", tmp_path, "", CAMVID)
    path.write_text(json.dumps(rows), encoding="utf-16")
    with pytest.raises(SegPerceptionError, match="is in UTF-16, not in UTF-8"):
        open_dataset("coco_instances", tmp_path, "", CAMVID)
    path.write_text("[]")
    with pytest.raises(SegPerceptionError, match="is no whole JSON"):
        open_dataset("coco_instances", tmp_path, "", CAMVID)


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text() | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=60, deadline=None)
@given(st.dictionaries(st.text(max_size=4), PLAIN, max_size=4), st.booleans(), st.integers(1, 9))
def test_streamed_is_what_json_reads(
    tmp_path_factory: pytest.TempPathFactory, rows: Any, ascii_only: bool, chunk: int
) -> None:
    path = tmp_path_factory.mktemp("json") / "a.json"
    path.write_text(json.dumps(rows, ensure_ascii=ascii_only, indent=chunk % 2 or None), encoding="utf-8")
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(json_stream, "_CHUNK", chunk)
        found = list(elements(path))
    expected = [(k, v) for k, values in rows.items() for v in (values if isinstance(values, list) else [values])]
    assert [(item.key, item.value) for item in found] == expected
    data = path.read_bytes()
    assert [json.loads(data[item.offset : item.offset + item.length]) for item in found] == [v for _, v in expected]


def test_panoptic_with_categories_of_ones_own(tmp_path: Path) -> None:
    write(tmp_path / "annotations/panoptic_default/a.png", [[(1, 0, 0), (2, 1, 0), (3, 0, 0), (0, 0, 0)]])
    photo(tmp_path / "images/a.jpg", 1, 4)
    segments = [
        {"id": 1, "category_id": 900},
        {"id": 258, "category_id": 901},
        {"id": 3, "category_id": 901, "iscrowd": 1},
    ]
    rows = {
        "categories": [{"id": 900, "name": "ROAD", "isthing": 0}, {"id": 901, "name": "Car", "isthing": 1}],
        "annotations": [{"file_name": "a.png", "segments_info": segments}],
    }
    export(tmp_path, rows, "annotations/panoptic_default.json")
    dataset = open_dataset("panoptic", tmp_path, "", CAMVID)
    assert meant(dataset, CAMVID) == [["road", "car", "car", ""]]
    assert dataset[0].instance is not None and dataset[0].instance.tolist() == [[0, 1, 0, 0]]
    assert (dataset[0].label == VOID).sum() == 1
    export(tmp_path, {**rows, "annotations": []}, "annotations/panoptic_default.json")
    with pytest.raises(SegPerceptionError, match="holds no annotation"):
        open_dataset("panoptic", tmp_path, "", CAMVID)


def test_evaluation_tells_what_it_leaves_unlabelled(tmp_path: Path) -> None:
    export(tmp_path, content({"category_id": 1, "segmentation": [SQUARE]}))
    photo(tmp_path / "images/a.jpg", 6, 8)
    source = DatasetSource("coco_instances", tmp_path, "", CAMVID)
    assert len(list(source._frames())) == 1
    assert "1 of its categories are like no class of the model" in source.problems[0]
