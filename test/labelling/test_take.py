"""`label take`: the corrected job as a data set, or a sentence and nothing written."""

from __future__ import annotations

import json
import re
import shutil
import unicodedata
from pathlib import Path

import cv2
import numpy as np
import pytest
from street import CAR, ROAD, TREE, proposed, street, write_job

from seg_perception.cli import main
from seg_perception.datasets import open_dataset
from seg_perception.datasets.label_sets import open_labels
from seg_perception.errors import SegPerceptionError
from seg_perception.labelling.job import read_picked
from seg_perception.labels import CAMVID

NAMES = ["one_1", "one_2", "two_1", "two_2", "two_3", "two_4", "two_5", "two_6"]


@pytest.fixture
def job(tmp_path: Path) -> Path:
    return write_job(tmp_path / "job", NAMES)


def words(tmp_path: Path, *more: str, corrected: str = "export") -> list[str]:
    where = ["--corrected", str(tmp_path / corrected), "--out", str(tmp_path / "data")]
    return ["label", "take", *where, "--labels", "camvid", *more]


def exported(job: Path, tool: str = "cvat") -> Path:
    """What a tool would export had nobody changed a thing."""
    out = job.parent / "export"
    assert main(proposed(job, out, tool, "--tolerance", "0", "--least-area", "1")) == 0
    return out


def correct(export: Path, *stems: str) -> None:
    """Somebody corrects images: what was a tree is called a building."""
    text = (export / "annotations.xml").read_text()
    for stem in stems:
        image = re.search(rf'<image [^>]*name="{stem}\.png".*?</image>', text, re.DOTALL)
        assert image
        text = text.replace(image[0], image[0].replace('label="tree"', 'label="building"'))
    (export / "annotations.xml").write_text(text)


def nothing_written(tmp_path: Path) -> bool:
    return not (tmp_path / "data").exists() and not list(tmp_path.glob(".data*"))


@pytest.mark.parametrize("tool", ["cvat", "cvat-masks", "coco", "labelme"])
def test_images_whose_accents_came_back_written_otherwise_are_those_of_the_job(tool: str, tmp_path: Path) -> None:
    """As after a zip that a Mac made: ä is two characters where it was one, or one where it was two."""
    names = [unicodedata.normalize(form, f"fährt_{number}") for number, form in enumerate(("NFD", "NFC"))]
    job = write_job(tmp_path / "job", names)
    export = exported(job, tool)
    for image in [path for path in export.rglob("f*.png") if "Segmentation" not in path.parent.name]:
        form = "NFC" if unicodedata.is_normalized("NFD", image.name) else "NFD"
        image.rename(image.with_name(unicodedata.normalize(form, image.name)))
    assert main(words(tmp_path, "--job", str(job))) == 0
    found = [open_dataset("folder", tmp_path / "data", split, CAMVID) for split in ("train", "val")]
    assert sum(map(len, found)) == 2 and not any(dataset.missing or dataset.spare for dataset in found)


@pytest.mark.parametrize("tool", ["cvat", "cvat-masks", "coco", "labelme"])
def test_a_corrected_job_is_a_data_set_that_opens(tool: str, job: Path, tmp_path: Path) -> None:
    exported(job, tool)
    assert main(words(tmp_path, "--job", str(job))) == 0
    labels = open_labels(str(tmp_path / "data" / "labels.yaml"))
    assert labels == CAMVID
    seen = {}
    for split in ("train", "val"):
        dataset = open_dataset("folder", tmp_path / "data", split, labels)
        assert not dataset.missing and not dataset.spare
        for index in range(len(dataset)):
            sample = dataset[index]
            seen[sample.name] = split
            rgb, semantic, instance = street(NAMES.index(sample.name))
            assert (sample.rgb == rgb).all() and (sample.label == semantic).all()
            assert sample.instance is not None
            pairs = set(zip(instance[semantic == CAR].tolist(), sample.instance[semantic == CAR].tolist(), strict=True))
            assert len(pairs) == 2
    assert seen == {name: "val" if name.startswith("one") else "train" for name in NAMES}


def test_where_images_are_from_is_known_by_the_job(job: Path, tmp_path: Path) -> None:
    rows = [
        {
            "file": f"{name}.png",
            "recording": "ab"[place % 4 == 0],
            "number": place,
            "time_s": 0,
            "why": [],
            "numbers": {},
        }
        for place, name in enumerate(NAMES)
    ]
    (job / "picked.json").write_text(json.dumps({"version": 1, "frames": rows}))
    exported(job)
    assert main(words(tmp_path, "--job", str(job))) == 0
    assert {path.stem for path in (tmp_path / "data" / "val" / "images").iterdir()} == {"one_1", "two_3"}
    taken = json.loads((tmp_path / "data" / "taken.json").read_text())
    assert {row["recording"] for row in taken["frames"] if row["split"] == "val"} == {"b"}


def test_of_a_single_recording_its_end_validates_also_where_numbers_have_no_zeros(tmp_path: Path) -> None:
    exported(write_job(tmp_path / "job", [f"drive_{number}" for number in range(8, 13)]))
    shutil.rmtree(tmp_path / "job")
    assert main(words(tmp_path, "--val-share", "0.4")) == 0
    assert sorted(path.stem for path in (tmp_path / "data/val/images").iterdir()) == ["drive_11", "drive_12"]


def test_a_half_corrected_job_is_named(job: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copytree(exported(job), tmp_path / "proposed")
    correct(tmp_path / "export", *NAMES[:5])
    more = ["--proposed", str(tmp_path / "proposed")]
    assert main(words(tmp_path, *more)) == 2
    assert "3 of 8 images are as they were proposed: two_4.png, two_5.png, two_6.png" in capsys.readouterr().err
    assert nothing_written(tmp_path)
    assert main(words(tmp_path, *more, "--allow-untouched")) == 0
    assert json.loads((tmp_path / "data" / "taken.json").read_text())["untouched"] == [f"{n}.png" for n in NAMES[5:]]


FRAME = '{"version": 1, "frames": [{"file": "a.png", "recording": "a", "number": 0, "time_s": 0, "why": []}]}'


@pytest.mark.parametrize(
    "content",
    [
        *(b"\x89PNG" + bytes(9999), b"[" * 99999, b"[]", b'{"version": 1}'),
        *(FRAME.replace(*change).encode() for change in (('"a.png"', "5"), ('"a"', "null"), (": 0, ", ': "0", '))),
    ],
)
def test_a_file_that_is_no_list_of_picked_frames_is_told_in_a_sentence(content: bytes, tmp_path: Path) -> None:
    """The words of a wrong letter are followed by all that stands in the file, where nobody cuts them."""
    (tmp_path / "picked.json").write_bytes(content)
    with pytest.raises(SegPerceptionError, match=r"picked\.json is damaged") as caught:
        read_picked(tmp_path)
    assert len(str(caught.value)) < 500


def test_another_layout_than_is_said_is_told_by_options(
    job: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    exported(job)
    assert main(words(tmp_path, "--tool", "yolo")) == 2
    told = capsys.readouterr().err
    assert "check the folder" in told and "it is `--tool cvat`" in told and "`root`" not in told


def test_what_nobody_proposed_cannot_be_untouched(
    job: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    exported(job)
    assert main(words(tmp_path, "--allow-untouched")) == 2
    assert "give --proposed too" in capsys.readouterr().err and nothing_written(tmp_path)


def test_a_proposal_of_other_names_is_compared_by_what_they_mean(
    job: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = (exported(job) / "annotations.xml").read_text().replace('label="road"', 'label="Strasse"')
    (tmp_path / "export" / "annotations.xml").write_text(text)
    shutil.copytree(tmp_path / "export", tmp_path / "proposed")
    dog = text.replace('label="tree"', 'label="dog"', 1)
    (tmp_path / "export" / "annotations.xml").write_text(dog)
    more = ["--proposed", str(tmp_path / "proposed"), "--classes", "Strasse=road", "dog="]
    assert main(words(tmp_path, *more)) == 2
    assert "7 of 8 images are as they were proposed" in capsys.readouterr().err


def test_images_without_a_label_are_named(job: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    export = exported(job)
    text = (export / "annotations.xml").read_text()
    text = re.sub(r'(<image [^>]*name="two_6\.png"[^>]*>).*?</image>', r"\1</image>", text, flags=re.DOTALL)
    (export / "annotations.xml").write_text(text)
    for more in ([], ["--job", str(job)]):
        assert main(words(tmp_path, *more)) == 2
        assert "1 of 8 images have no label: two_6.png" in capsys.readouterr().err and nothing_written(tmp_path)
    assert main(words(tmp_path, "--job", str(job), "--allow-missing")) == 1
    assert "left out: two_6.png" in capsys.readouterr().err
    assert len(list((tmp_path / "data").glob("*/images/*"))) == 7


@pytest.mark.parametrize("tool", ["cvat", "coco"])
def test_labels_whose_image_is_not_in_the_export_are_told(
    tool: str, job: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (exported(job, tool) / "images" / "two_6.png").unlink()
    assert main(words(tmp_path)) == 1
    assert "1 labels have no image and are left out: two_6.png" in capsys.readouterr().err
    assert len(list((tmp_path / "data").glob("*/images/*"))) == 7


def test_another_job_is_not_taken_for_this_one(job: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    exported(job)
    other = write_job(tmp_path / "other", ["x_1"])
    assert main(words(tmp_path, "--job", str(other))) == 2
    assert "no image of" in capsys.readouterr().err and nothing_written(tmp_path)


@pytest.mark.parametrize(
    ("old", "new", "more", "told"),
    [
        ('label="road"', 'label="ROAD "', [], ""),  # case and spaces
        ('label="road"', 'label="Strasse"', [], "did you mean 'road'?.*--classes Strasse=road"),
        ('label="road"', 'label="Strasse"', ["--classes", "Strasse=road"], ""),
        ('label="road"', 'label="Bike Path"', [], "give `--classes 'Bike Path=NAME'` with one of"),
        ('label="road"', 'label="raod"', [], "did you mean 'road'"),
        ('label="tree"', 'label="vehicle"', ["--classes", "vehicle="], ""),
        ('label="road"', 'label="road"', ["--classes", "rood=road"], "no category 'rood'.*did you mean 'road'"),
        ('label="road"', 'label="road"', ["--classes", "road"], "write NAME=CLASS"),
        ('label="road"', 'label="road"', ["--classes", "road=rood"], "no class 'rood'"),
    ],
)
def test_names_of_categories(
    old: str, new: str, more: list[str], told: str, job: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = exported(job) / "annotations.xml"
    path.write_text(path.read_text().replace(old, new))
    assert main(words(tmp_path, *more)) == (2 if told else 0)
    error = capsys.readouterr().err.splitlines()[-1] if told else ""
    assert re.search(told, error), error
    assert nothing_written(tmp_path) == bool(told)
    if not told:
        mask = cv2.imread(str(tmp_path / "data" / "train" / "labels" / "two_1.png"), cv2.IMREAD_UNCHANGED)
        assert (mask == ROAD).any() and (mask == TREE).any() == ("vehicle=" not in more)


@pytest.mark.parametrize(
    ("points", "told"),
    [
        ("5.0,5.0;20.0,20.0", "fewer than 3 points"),
        ("500.0,500.0;520.0,500.0;520.0,520.0", "lie outside their image"),
        ("100.0,50.0;500.0,50.0;120.0,80.0", "reach out of their image"),
        ("5.0,5.0;25.0,25.0;25.0,5.0;5.0,25.0", "cross themselves"),
    ],
)
def test_polygons_that_are_odd_are_told_and_the_rest_is_taken(
    points: str, told: str, job: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = exported(job) / "annotations.xml"
    polygon = f'<polygon label="car" points="{points}" z_order="99"></polygon></image>'
    path.write_text(path.read_text().replace("</image>", polygon, 1))
    assert main(words(tmp_path)) == 1
    error = capsys.readouterr().err
    assert re.search(rf"1 \w+.*{told}.*; the first: shape \d+ \('car'\) of one_1\.png", error)
    assert len(list((tmp_path / "data").glob("*/images/*"))) == len(NAMES)


def test_all_broken_labels_are_told_at_once(job: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """And not one after the other, each with another try."""
    export = exported(job, "labelme")
    for stem in NAMES[3:]:
        (export / f"{stem}.json").write_text('{"shapes": [')
    for more in ([], ["--proposed", str(export), "--allow-untouched"]):
        assert main(words(tmp_path, "--job", str(job), *more)) == 2
        said = capsys.readouterr().err
        assert "5 of 8 labelled images are broken: " in said and said.count("is no whole JSON") == 3
        assert nothing_written(tmp_path)


@pytest.mark.parametrize("fault", ["empty", "rle", "cut", "twice", "no tool", "no folder", "there"])
def test_what_cannot_be_taken_leaves_nothing_behind(
    fault: str, job: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    export = exported(job, "coco")
    path = export / "annotations" / "instances_default.json"
    content = json.loads(path.read_text())
    told = ""
    if fault == "empty":
        content["annotations"], told = [], "holds no annotation"
    elif fault == "rle":
        content["annotations"][-1]["segmentation"] = {"size": [7, 9], "counts": [63]}
        told = r"the RLE of annotation \d+ of two_6.png .* is 9x7, its image 144x96"
    elif fault == "twice":
        (export / "images" / "sub").mkdir()
        shutil.copy(export / "images" / "one_1.png", export / "images" / "sub" / "one_1.png")
        content["images"][1]["file_name"], told = "sub/one_1.png", "share the name 'one_1'"
    path.write_text(json.dumps(content))
    if fault == "cut":
        path.write_text(path.read_text()[:5000])
        told = "instances_default.json"
    elif fault == "no tool":
        shutil.rmtree(export)
        shutil.copytree(job / "images", export)
        told = "has the layout of no tool"
    elif fault == "no folder":
        shutil.rmtree(export)
        told = "there is no folder"
    elif fault == "there":
        (tmp_path / "data").mkdir()
        told = "is there already"
    assert main(words(tmp_path)) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert re.search(told, error), error
    if fault == "there":
        (tmp_path / "data").rmdir()
    assert nothing_written(tmp_path)


def test_an_image_that_nobody_finished_drawing_is_told(
    job: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mask = job / "masks" / "two_2_labels.png"
    cv2.imwrite(str(mask), np.where(np.arange(96)[:, None] < 60, 255, street(3)[1]).astype(np.uint8))
    exported(job)
    assert main(words(tmp_path)) == 0
    assert "1 images are unlabelled on more than half of their pixels: two_2.png" in capsys.readouterr().err
