"""inspect-data finds what was spoilt, names the file, and counts what is there."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from test_datasets import pair, photo, write

from seg_perception.cli import main
from seg_perception.errors import SegPerceptionError
from seg_perception.training.data import unusable

CONFIG = """
labels: own.yaml
data: [{name: folder, root: own, split: train}]
validation: {name: folder, root: own, split: val}
allow_absent: [robot]
"""
LABELS = """
- {name: lawn, color: [0, 255, 0], drivable_cost: 0}
- {name: person, color: [220, 20, 60], thing: true}
- {name: robot, color: [0, 0, 142], thing: true}
"""


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """Two training images and one for validation, without a fault."""
    (tmp_path / "own.yaml").write_text(LABELS)
    (tmp_path / "config.yaml").write_text(CONFIG)
    pair(tmp_path / "own", "train", "a", [[0, 0, 1, 1], [0, 255, 1, 0]])
    write(tmp_path / "own/train/instances/a.png", [[0, 0, 1, 2], [0, 0, 1, 0]], np.uint16)
    pair(tmp_path / "own", "train", "b", np.zeros((4, 6)), "jpg")
    pair(tmp_path / "own", "val", "c", [[0, 2]])
    return tmp_path


def inspect(root: Path, capsys: pytest.CaptureFixture[str]) -> tuple[int, str, dict]:
    words = ["--config", root / "config.yaml", "--data", root, "--json", root / "data.json"]
    code = main(["inspect-data", *map(str, words)])
    return code, capsys.readouterr().out, json.loads((root / "data.json").read_text())


def test_clean_data_are_counted(own: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """32 pixels: 24 + 4 of lawn, 3 of person, 1 void."""
    code, text, found = inspect(own, capsys)
    assert (code, found["problems"]) == (0, 0)
    train = found["sources"][0]
    assert (train["images"], train["sizes"]) == (2, {"4x2": 1, "6x4": 1})
    assert train["classes"] == [
        {"name": "lawn", "share": 28 / 32, "images": 2, "instances": 0},
        {"name": "person", "share": 3 / 32, "images": 1, "instances": 2},
        {"name": "void", "share": 1 / 32, "images": 1, "instances": 0},
    ]
    assert found["untaught_classes"] == ["robot"] and "robot" not in text.partition("validation")[0]
    assert "lawn" in text and "87.50%" in text and "2 instances" in text and "no problems" in text


def test_a_class_may_have_a_slash_in_its_name(own: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As reports join the names of several."""
    (own / "own.yaml").write_text(LABELS.replace("lawn", "lawn/verge"))
    code, text, found = inspect(own, capsys)
    assert (code, found["problems"]) == (0, 0), text


def test_every_fault_is_named(own: Path, capsys: pytest.CaptureFixture[str]) -> None:
    train = own / "own/train"
    photo(train / "images/no_label.png", 2, 2)
    write(train / "labels/no_image.png", [[0]])
    pair(own / "own", "train", "size", [[0, 0]])
    write(train / "labels/size.png", [[0], [0]])
    pair(own / "own", "train", "ids", [[0, 7, 7]])
    pair(own / "own", "train", "wide", [[0]])
    write(train / "labels/wide.png", [[300]], np.uint16)
    pair(own / "own", "train", "colour", [[0]])
    write(train / "labels/colour.png", [[(0, 254, 0)]])
    pair(own / "own", "train", "flipped", np.arange(900).reshape(30, 30) % 3)
    damaged = bytearray((train / "labels/flipped.png").read_bytes())
    damaged[len(damaged) // 2] ^= 0x55
    (train / "labels/flipped.png").write_bytes(damaged)
    pair(own / "own", "train", "cut", np.zeros((30, 30)), "jpg")
    (train / "images/cut.jpg").write_bytes((train / "images/cut.jpg").read_bytes()[:-20])
    pair(own / "own", "train", "stray", [[0, 1]])
    write(train / "instances/stray.png", [[3, 3]])
    pair(own / "own", "train", "small", [[1, 1]])
    write(train / "instances/small.png", [[3]])
    code, text, found = inspect(own, capsys)
    assert code == 3
    expected = {
        "images/no_label.png has no label",
        "labels/no_image.png has no image",
        "images/size.png is 2x1, its label 1x2",
        "images/ids.png holds the unknown ids 7 (2 pixels), the first at x 1, y 0",
        "labels/wide.png holds the id 300: ids are 0 to 255",
        "labels/colour.png holds the colour [0, 254, 0] (1 pixels), which no class has, the nearest is [0, 255, 0]",
        "labels/flipped.png is not an image that OpenCV can decode",
        "images/cut.jpg is truncated",
        "images/stray.png numbers 1 pixels of the ids [0], which are no things",
        "instances/small.png is 1x1",
    }
    problems = found["sources"][0]["problems"]
    assert found["problems"] == len(problems) == len(expected)
    for wanted in expected:
        assert sum(wanted in problem for problem in problems) == 1, wanted
        assert wanted in text


def test_a_missing_source_does_not_hide_the_others(own: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (own / "config.yaml").write_text(CONFIG.replace("split: train", "split: trian"))
    code, text, found = inspect(own, capsys)
    assert code == 3
    assert "allow_absent" not in text, "it may hold any class"
    assert "there is no folder" in found["sources"][0]["problems"][0]
    assert found["sources"][1]["classes"]


def test_a_rendered_source_is_looked_at_in_part(
    own: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("seg_perception.datasets.dataset.RENDERED_SCENES", 2)
    source = "{name: synthetic, root: '', split: train}"
    (own / "config.yaml").write_text(f"data: [{source}]\nvalidation: {source}\n")
    code, text, found = inspect(own, capsys)
    assert code == 0 and "(2 of 20000 scenes)" in text
    assert found["sources"][0]["images"] == 2


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        ("train id", "b.jpg holds the unknown ids 7 (24 pixels)"),
        ("train label", "1 images have no label, the first is"),
        ("train image", "b.jpg is truncated"),
        ("val label", "1 images have no label, the first is"),
        ("val image", "of 1 images that were read 1 cannot be used: "),
    ],
)
def test_training_refuses_the_same_in_one_sentence(
    own: Path, capsys: pytest.CaptureFixture[str], fault: str, told: str
) -> None:
    pytest.importorskip("torch", reason="training needs torch")
    train = own / "own/train"
    if fault == "train id":
        write(train / "labels/b.png", np.full((4, 6), 7))
    elif fault == "train label":
        (train / "labels/b.png").unlink()
    elif fault == "val label":
        photo(own / "own/val/images/d.png", 2, 2)
    elif fault == "val image":
        write(own / "own/val/labels/c.png", [[7, 7]])
    else:
        (train / "images/b.jpg").write_bytes((train / "images/b.jpg").read_bytes()[:-20])
    words = ["--config", own / "config.yaml", "--data", own, "--out", own / "out"]
    assert main(["train", *map(str, words)]) == 2
    said = capsys.readouterr().err
    assert told in said and "Traceback" not in said
    assert not (own / "out").exists()


def test_training_tells_all_damaged_labels_at_once_with_the_line_that_leaves_them_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Before hours are spent, and not one after the other; inspect-data names each."""
    pytest.importorskip("torch", reason="training needs torch")
    from training_fixtures import train_words

    whole = {
        "shapes": [
            {"label": name, "points": [[0, row], [8, row], [8, row + 4], [0, row + 4]]}
            for name, row in (("road", 0), ("sky", 4))
        ]
    }
    stems = [f"drive {i} [b]" for i in range(9)]
    for stem in stems:
        photo(tmp_path / f"train/{stem}.jpg", 8, 8)
        photo(tmp_path / f"val/v{stem}.jpg", 8, 8)
        for place in (f"train/{stem}", f"val/v{stem}"):
            (tmp_path / f"{place}.json").write_text(json.dumps({**whole, "imagePath": f"{Path(place).name}.jpg"}))
    for stem in stems[2:7]:
        (tmp_path / f"train/{stem}.json").write_text("{")
    (tmp_path / "own.yaml").write_text("- {name: road, color: [0, 0, 1]}\n- {name: sky, color: [0, 0, 2]}\n")
    config = "labels: own.yaml\nnetwork: mobileseg\nbatch_size: 2\ndata: [{name: labelme, split: train}]\n"
    config += "validation: {name: labelme, split: val}\nsize_hw: [32, 32]\ncrop_hw: [32, 32]\nworkers: 0\nsteps: 1\n"
    (tmp_path / "config.yaml").write_text(config)
    code, text, _ = inspect(tmp_path, capsys)
    assert code == 3 and text.count("is no whole JSON") == 5
    words = train_words(tmp_path)
    assert main(words) == 2
    said = capsys.readouterr().err
    assert "labelme: of 9 images that were read 5 cannot be used: " in said and said.count("is no whole JSON") == 3
    assert "; and 2 more; what cannot be mended take out, or let the source say `leave_out: [" in said
    line = said.partition("`")[2].partition("`")[0]
    (tmp_path / "config.yaml").write_text(config.replace("split: train}", f"split: train, {line}}}"))
    assert main(words) == 0
    (tmp_path / f"val/v{stems[1]}.json").write_text("{")
    assert main([*words[:-1], str(tmp_path / "again")]) == 2
    assert "labelme: of 9 images that were read 1 cannot be used: " in capsys.readouterr().err
    assert not (tmp_path / "again").exists()


@pytest.mark.parametrize(("count", "read"), [(9, [0, 4, 8]), (3, [0, 1, 2]), (0, [])])
def test_validation_is_looked_through_from_end_to_end_and_of_a_large_one_a_part(
    count: int, read: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Hours would go by before the first step."""

    class Images:
        def __len__(self) -> int:
            return count

        def path(self, index: int) -> Path:
            return Path(f"{index}.png")

        def __getitem__(self, index: int) -> int:
            seen.append(index)
            return index

    seen: list[int] = []
    monkeypatch.setattr(unusable, "MOST_READ_AHEAD", 3)
    unusable.look_through(Images())  # type: ignore[arg-type]
    assert seen == read


def test_a_class_that_no_training_label_has_is_a_problem_and_training_refuses_it(
    own: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A validation label has it, which teaches nothing."""
    (own / "config.yaml").write_text(CONFIG.replace("allow_absent: [robot]", ""))
    code, text, found = inspect(own, capsys)
    assert (code, found["problems"], found["untaught_classes"]) == (3, 1, ["robot"])
    sentence = "no training label has the class robot, so it is never learnt"
    assert f"problem: {sentence}" in text and "allow_absent: [robot]" in text
    pytest.importorskip("torch", reason="training needs torch")
    words = ["--config", own / "config.yaml", "--data", own, "--out", own / "out"]
    assert main(["train", *map(str, words)]) == 2
    assert sentence in capsys.readouterr().err and not (own / "out").exists()


def test_masks_of_0_and_255_are_no_data_of_two_classes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """255 is void, so every labelled pixel is of the first class."""
    (tmp_path / "own.yaml").write_text(
        "- {name: background, color: [0, 0, 0]}\n- {name: road, color: [9, 9, 9], drivable_cost: 0}\n"
    )
    (tmp_path / "config.yaml").write_text(CONFIG.replace("allow_absent: [robot]", ""))
    for split in ("train", "val"):
        pair(tmp_path / "own", split, "a", [[0, 255], [255, 255]])
    code, text, found = inspect(tmp_path, capsys)
    assert (code, found["untaught_classes"]) == (3, ["road"]) and "allow_absent: [road]" in text


def test_only_classes_may_be_absent(own: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (own / "config.yaml").write_text(CONFIG.replace("[robot]", "[robots]"))
    assert main(["inspect-data", "--config", str(own / "config.yaml"), "--data", str(own)]) == 2
    assert "did you mean 'robot'?" in capsys.readouterr().err


def test_a_rare_class_is_looked_for_in_images_that_are_not_counted(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("torch", reason="training needs torch")
    from seg_perception.training.config import load_config
    from seg_perception.training.data import stream

    monkeypatch.setattr(stream, "MOST_READ_AHEAD", 1)
    config = load_config(own / "config.yaml", data_root=str(own))
    label = own / "own/train/labels"
    write(label / "a.png", np.zeros((2, 4)))
    (own / "own/train/instances/a.png").unlink()
    with pytest.raises(SegPerceptionError, match="class person, so it is"):
        stream.TrainingStream(config, config.open_labels(), 8).class_weights()
    write(label / "b.png", np.ones((4, 6)))
    stream.TrainingStream(config, config.open_labels(), 8).class_weights()


def test_black_and_white_masks_are_asked_about_and_then_understood(
    own: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (own / "own.yaml").write_text(
        "- {name: ground, color: [0, 0, 0]}\n- {name: road, color: [9, 9, 9], drivable_cost: 0}\n"
    )
    (own / "config.yaml").write_text(CONFIG.replace("allow_absent: [robot]", ""))
    for split, stem in (("train", "a"), ("train", "b"), ("val", "c")):
        pair(own / "own", split, stem, [[0, 255], [255, 255]])
    (own / "own/train/images/b.jpg").unlink()
    (own / "own/train/instances/a.png").unlink()
    code, text, _ = inspect(own, capsys)
    assert code == 3 and "255 is in every mask and no pixel is road: does 255 mean road?" in text
    assert "write `classes: {255: [road]}`" in text
    told = (own / "config.yaml").read_text().replace("}", ", classes: {255: [road]}}")
    (own / "config.yaml").write_text(told)
    code, text, found = inspect(own, capsys)
    assert code == 0, text
    assert [row["name"] for row in found["sources"][0]["classes"]] == ["road", "ground"]


def test_jpeg_labels_are_counted(own: Path, capsys: pytest.CaptureFixture[str]) -> None:
    label = np.zeros((40, 40), np.uint8)
    label[10:20, 10:20] = 255
    (own / "own/train/labels/b.png").unlink()
    (own / "own/train/images/b.jpg").unlink()
    photo(own / "own/train/images/b.png", 40, 40)
    write(own / "own/train/labels/b.jpg", label)
    code, text, found = inspect(own, capsys)
    assert code == 3 and found["problems"] == 1
    assert "1 labels are JPEGs" in text and "of 1600 pixels of the label of" in text and "export PNG" in text


def test_a_cvat_export_as_it_is(own: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Its categories are asked for, with the line to write, which then does."""
    for name in ("cvat_train", "cvat_val"):
        photo(own / name / "JPEGImages/a.jpg", 1, 3)
        write(own / name / "SegmentationClass/a.png", [[(1, 2, 3), (4, 5, 6), (0, 0, 0)]])
        (own / name / "labelmap.txt").write_text("# label:color_rgb:parts:actions\nRasen:1,2,3::\nPerson:4,5,6::\n")
    source = "{name: NAME, root: ROOT}"
    config = (
        f"labels: own.yaml\ndata: [{source}]\nvalidation: {source.replace('ROOT', 'cvat_val')}\nallow_absent: [robot]\n"
    )
    (own / "config.yaml").write_text(config.replace("NAME", "folder").replace("ROOT", "cvat_train"))
    code, text, _ = inspect(own, capsys)
    assert code == 3 and text.count("by its files it is `name: voc`") == 2
    config = config.replace("NAME", "voc").replace("ROOT", "cvat_train")
    (own / "config.yaml").write_text(config)
    code, text, _ = inspect(own, capsys)
    assert code == 3 and "the category 'Rasen' is no class" in text and "write `classes: {Rasen: [" in text
    (own / "config.yaml").write_text(config.replace("}", ", classes: {Rasen: [lawn]}}"))
    code, text, found = inspect(own, capsys)
    assert code == 0, text
    assert {row["name"] for row in found["sources"][0]["classes"]} == {"lawn", "person", "void"}


def test_boxes_need_numbers_of_objects(own: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = CONFIG.replace("split: train}", "split: train, weak: boxes}") + "loss: {weak: {box_projection: 1.0}}\n"
    (own / "config.yaml").write_text(text)
    assert inspect(own, capsys)[0] == 0, "b shows no thing and has no instance mask"
    (own / "own/train/instances/a.png").unlink()
    code, text, _ = inspect(own, capsys)
    assert code == 3 and "a.png has things and no numbers of objects" in text


def test_labels_of_one_class_alone_teach_nothing(own: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A network that knows the lawn alone says lawn of every wall, and all its scores are perfect."""
    write(own / "own/train/labels/a.png", [[0, 0, 255, 255], [0, 255, 255, 0]])
    (own / "own/train/instances/a.png").unlink()
    (own / "config.yaml").write_text(CONFIG.replace("[robot]", "[robot, person]"))
    code, text, found = inspect(own, capsys)
    assert (code, found["problems"]) == (3, 1) and "the labels teach lawn alone" in text
    (own / "own.yaml").write_text(LABELS + "- {name: rest, color: [1, 1, 1]}\n")
    (own / "config.yaml").write_text(
        CONFIG.replace("[robot]", "[robot, person]").replace("split: train", "split: train, classes: {255: [rest]}")
    )
    code, text, found = inspect(own, capsys)
    assert (code, found["problems"]) == (0, 0), text


def test_images_that_judge_and_are_trained_on_too_are_told(own: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A split's name that was copied, or a whole folder where patterns were meant; through a link too."""
    (own / "again").symlink_to(own / "own")
    pair(own / "own", "train", "d", np.zeros((4, 6)))
    other = CONFIG.replace("split: val", "split: train").replace(
        "validation: {name: folder, root: own", "validation: {name: folder, root: again"
    )
    (own / "config.yaml").write_text(other)
    code, text, found = inspect(own, capsys)
    assert (code, found["problems"]) == (3, 1)
    assert f"3 of the 3 images of validation are trained on too, the first is {own / 'own/train/images/a.png'}" in text
    held = other.replace("split: train}]", "split: train, leave_out: [b]}]").replace(
        "split: train}", "split: train, only: [b]}"
    )
    (own / "config.yaml").write_text(held)
    code, text, _ = inspect(own, capsys)
    assert code == 0, text
