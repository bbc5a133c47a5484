"""`label propose`: masks as labelling tools read them, and back by the adapters that read what those tools export."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree

import cv2
import numpy as np
import pytest
from fakes import tiny_model
from street import CAR, ROAD, proposed, street, write_job

from seg_perception.cli import main
from seg_perception.datasets import open_dataset
from seg_perception.datasets.guess import fitting_adapters
from seg_perception.files import write_image
from seg_perception.labelling.outlines import TOLERANCE_PX
from seg_perception.labelling.tools import ADAPTERS, TOOLS, Proposal, write_cvat_masks
from seg_perception.labels import CAMVID, VOID


@pytest.mark.parametrize("tool", TOOLS)
def test_a_tool_gives_back_what_it_was_given(tool: str, tmp_path: Path) -> None:
    job = write_job(tmp_path / "job", ["a_1", "a_2"])
    assert main(proposed(job, tmp_path / "out", tool)) == 0
    assert fitting_adapters(tmp_path / "out")[0] == ADAPTERS[tool]
    dataset = open_dataset(ADAPTERS[tool], tmp_path / "out", "", CAMVID)
    assert len(dataset) == 2 and not dataset.missing and not dataset.unlike
    kernel = np.ones((2 * int(TOLERANCE_PX + 1) + 1,) * 2, np.uint8)
    for index in range(2):
        sample = dataset.read(index)
        assert not sample.remarks
        rgb, semantic, instance = street(index)
        assert (sample.rgb == rgb).all()
        got = np.full(semantic.shape, VOID)
        for own_id, names in dataset.meaning.items():
            if names:
                got[sample.label == own_id] = CAMVID.by_name(names[0]).id
        key = semantic.astype(np.float32) + 300 * instance
        far = cv2.dilate(key, kernel) == cv2.erode(key, kernel)
        assert (got == semantic)[far if tool != "cvat-masks" else ...].all()
        assert sample.instance is not None
        numbers = [set(np.unique(sample.instance[(instance == number) & far]).tolist()) for number in (1, 2)]
        assert all(len(found) == 1 for found in numbers) and numbers[0] != numbers[1]


def test_no_thing_has_the_colour_of_voc_s_borders(tmp_path: Path) -> None:
    """The 255th of an image was none: it had the colour of what lies between objects."""
    write_image(tmp_path / "a.png", np.zeros((15, 20, 3), np.uint8))
    things = np.arange(1, 301, dtype=np.uint16).reshape(15, 20)
    one = Proposal(tmp_path / "a.png", (), np.full((15, 20), CAR, np.uint8), things)
    write_cvat_masks(iter([one]), CAMVID, tmp_path / "out")
    instance = open_dataset("voc", tmp_path / "out", "", CAMVID)[0].instance
    assert instance is not None and len(np.unique(instance[instance > 0])) == 300


def test_cvat_gets_its_labels_and_the_order_in_which_things_lie(tmp_path: Path) -> None:
    job = write_job(tmp_path / "job", ["a & b"])
    assert main(proposed(job, tmp_path / "out", "cvat")) == 0
    labels = json.loads((tmp_path / "out" / "labels.json").read_text())
    assert {"name": "road", "color": "#804080", "attributes": []} in labels and len(labels) == len(CAMVID)
    (image,) = ElementTree.parse(tmp_path / "out" / "annotations.xml").getroot().findall("image")
    assert image.attrib == {"id": "0", "name": "a & b.png", "width": "144", "height": "96"}
    order = [int(shape.attrib["z_order"]) for shape in image]
    assert order == sorted(order)
    assert [shape.attrib["label"] for shape in image][-2:] == ["car", "car"]


def test_a_model_proposes_where_there_are_no_masks(tmp_path: Path) -> None:
    job = write_job(tmp_path / "job", ["a"])
    model = tiny_model(tmp_path / "tiny.onnx")
    words = ["label", "propose", "--images", str(job), "--tool", "labelme", "--out", str(tmp_path / "out")]
    assert main([*words, "--model", str(model.path), "--json", str(tmp_path / "j.json")]) == 0
    row = json.loads((tmp_path / "j.json").read_text())["images"]["a.png"]
    assert row["polygons"] == len(json.loads((tmp_path / "out" / "a.json").read_text())["shapes"])


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        ("labels", "name the label set by --labels"),
        ("prompts", "belong together"),
        ("network", "--network-size and --threads are for a model"),
        ("there", "is there already"),
        ("size", "is 144x90, the image 144x96"),
        ("id", "holds the id 77"),
        ("twice", "share the name"),
    ],
)
def test_faults_are_named_and_nothing_is_written(
    fault: str, told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    job = write_job(tmp_path / "job", ["a"])
    words = proposed(job, tmp_path / "out", "coco")
    mask = job / "masks" / "a_labels.png"
    if fault == "labels":
        words = [word for word in words if word not in ("--labels", "camvid")]
    elif fault == "prompts":
        words += ["--prompts", str(job)]
    elif fault == "network":
        words += ["--network-size", "64x64", "--threads", "2"]
    elif fault == "there":
        (tmp_path / "out").mkdir()
    elif fault == "size":
        for path in (mask, job / "masks" / "a_instances.png"):
            cv2.imwrite(str(path), cv2.imread(str(path), cv2.IMREAD_UNCHANGED)[:90])
    elif fault == "id":
        cv2.imwrite(str(mask), np.full((96, 144), 77, np.uint8))
    else:
        cv2.imwrite(str(job / "images" / "a.jpg"), np.zeros((96, 144, 3), np.uint8))
    assert main(words) == 2
    assert told in capsys.readouterr().err
    assert not list((tmp_path / "out").glob("*")) and not list(tmp_path.glob(".out*"))


def test_an_image_without_a_mask_is_named_and_the_others_are_proposed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    job = write_job(tmp_path / "job", ["a", "b"])
    (job / "masks" / "b_labels.png").unlink()
    assert main(proposed(job, tmp_path / "out", "coco")) == 1
    assert "b.png has no mask" in capsys.readouterr().err
    content = json.loads((tmp_path / "out" / "annotations" / "instances_default.json").read_text())
    assert [image["file_name"] for image in content["images"]] == ["a.png"]
    assert {row["category_id"] for row in content["annotations"]} >= {ROAD + 1, CAR + 1}
