"""predict: what it writes, and what it does with images that it cannot read."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from eval_fixtures import picture, truncate, write_images
from fakes import TWO_LABELS, tiny_model
from ros_harness import make_road_and_cars_model, make_tiny_model

from seg_perception import backends, cli, model_file
from seg_perception.labels import CAMVID, VOID
from seg_perception.pipeline import Pipeline
from seg_perception.results import Frame


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_model(tmp_path_factory.mktemp("model") / "tiny.onnx")


def test_masks_are_those_of_the_pipeline_at_the_images_size(tmp_path: Path, model: Path) -> None:
    paths = write_images(tmp_path / "images", 3)
    cv2.imwrite(str(paths[2]), picture(2, (40, 30))[..., ::-1])
    words = ["predict", "--model", model, "--images", tmp_path / "images", "--out", tmp_path / "out"]
    assert cli.main([*map(str, words), "--json", str(tmp_path / "found.json")]) == 0
    info = model_file.load(model)
    pipeline = Pipeline(info, backends.choose(info, backend="onnxruntime", log=print))
    found = json.loads((tmp_path / "found.json").read_text())
    for number, size_hw in enumerate([(48, 64), (48, 64), (40, 30)]):
        expected = pipeline.run(Frame(picture(number, size_hw))).panoptic
        stem = tmp_path / "out" / f"{number:03}"
        labels = cv2.imread(f"{stem}_labels.png", cv2.IMREAD_UNCHANGED)
        instances = cv2.imread(f"{stem}_instances.png", cv2.IMREAD_UNCHANGED)
        assert (labels.dtype, instances.dtype) == (np.uint8, np.uint16)
        np.testing.assert_array_equal(labels, expected.semantic)
        np.testing.assert_array_equal(instances, expected.instance)
        assert cv2.imread(f"{stem}_overlay.jpg").shape[1] == size_hw[1]
        told = found["images"][f"{number:03}.png"]
        assert [segment["area"] for segment in told["segments"]] == [s.area for s in expected.segments]
        seen = [name for label, name in enumerate(CAMVID.names) if (labels == label).any()]
        assert list(told["coverage"]) == seen
        assert sum(told["coverage"].values()) == pytest.approx(np.mean(labels != VOID))
    assert len(list((tmp_path / "out").iterdir())) == 9


def test_ground_that_is_not_sure_is_told_as_something_else_where_that_is_asked(tmp_path: Path) -> None:
    model = make_road_and_cars_model(tmp_path / "road.onnx")
    write_images(tmp_path / "images", 1)
    words = ["predict", "--model", model, "--images", tmp_path / "images", "--out", tmp_path / "out"]
    assert cli.main([*map(str, words), "--min-ground-confidence", "1"]) == 0
    info = model_file.load(model)
    pipeline = Pipeline(info, backends.choose(info, backend="onnxruntime", log=print))
    expected = pipeline.run(Frame(picture(0))).panoptic.semantic
    labels = cv2.imread(str(tmp_path / "out" / "000_labels.png"), cv2.IMREAD_UNCHANGED)
    ground = np.isin(expected, [label.id for label in CAMVID.drivable])
    assert ground.any() and np.array_equal(labels[~ground], expected[~ground])
    assert not np.isin(labels, [VOID, *(label.id for label in CAMVID.drivable)]).any()


def test_bad_images_are_named_and_the_others_done(
    tmp_path: Path, model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    paths = write_images(tmp_path / "images", 3, ".jpg")
    truncate(paths[0])
    paths[1].write_text("no image")
    words = ["predict", "--model", model, "--images", tmp_path / "images", "--out", tmp_path / "out"]
    assert cli.main([*map(str, words), "--json", str(tmp_path / "found.json")]) == 1
    error = capsys.readouterr().err
    assert str(paths[0]) in error and str(paths[1]) in error
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "002_instances.png",
        "002_labels.png",
        "002_overlay.jpg",
    ]
    assert list(json.loads((tmp_path / "found.json").read_text())["failed"]) == ["000.jpg", "001.jpg"]


def test_images_whose_outputs_would_collide_are_refused(
    tmp_path: Path, model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (path,) = write_images(tmp_path / "images", 1)
    path.with_suffix(".jpg").write_bytes(path.read_bytes())
    words = ["predict", "--model", model, "--images", tmp_path / "images", "--out", tmp_path / "out"]
    assert cli.main(list(map(str, words))) == 2
    assert "several images named '000'" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_precision_that_is_not_computed_in_is_told(
    tmp_path: Path, model: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else who compares precisions without a GPU finds them equal."""
    monkeypatch.setattr(backends, "resolve", lambda backend: ("onnxruntime", "no TensorRT: none"))
    write_images(tmp_path / "images", 1)
    words = ["predict", "--model", model, "--images", tmp_path / "images", "--out", tmp_path / "out", "--precision"]
    for precision, is_told in (("fp16", True), ("fp32", False)):
        assert cli.main([*map(str, words), precision]) == 0
        assert ("--precision fp16 is for TensorRT" in capsys.readouterr().err) == is_told


def test_no_image_is_written_over(tmp_path: Path, model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Masks that somebody drew have the names of those that are made; and what was made would be looked at the next time."""
    folder, link = tmp_path / "images", tmp_path / "link"
    write_images(folder, 2)
    link.symlink_to(folder)
    drawn = folder / "001_labels.png"
    drawn.write_bytes((folder / "000.png").read_bytes())
    before = drawn.read_bytes()
    assert cli.main(list(map(str, ["predict", "--model", model, "--images", folder, "--out", link]))) == 2
    assert "001_labels.png is one of the images" in capsys.readouterr().err
    assert drawn.read_bytes() == before and len(list(folder.iterdir())) == 3


def test_an_empty_folder_and_a_missing_model_are_one_sentence(
    tmp_path: Path, model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty").mkdir()
    write_images(tmp_path / "images", 1)
    for chosen, images in ((model, "empty"), (tmp_path / "none.onnx", "images")):
        words = ["predict", "--model", chosen, "--images", tmp_path / images, "--out", tmp_path / "out"]
        assert cli.main(list(map(str, words))) == 2
        assert len(capsys.readouterr().err.strip().splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_an_assumed_camera_gives_the_ground_in_metres(tmp_path: Path, model: Path) -> None:
    write_images(tmp_path / "images", 1)
    words = ["predict", "--model", model, "--images", tmp_path / "images", "--out", tmp_path / "out"]
    words += ["--json", tmp_path / "found.json", "--assume-camera", "hfov=60 height=1.4 pitch=10"]
    assert cli.main(list(map(str, words))) == 0
    found = json.loads((tmp_path / "found.json").read_text())
    assert found["calibration"] == "assumed: hfov 60 deg, height 1.4 m, pitch 10 deg"
    (image,) = found["images"].values()
    drivable = {label.name for label in CAMVID.drivable}
    assert set(image["ground"]) == set(image["coverage"]) & drivable
    assert all(values["area_m2"] >= 0 for values in image["ground"].values())
    assert cv2.imread(str(tmp_path / "out" / "000_ground.jpg")).shape == (480, 320, 3)


def test_the_own_vehicle_is_no_ground_and_an_image_of_another_shape_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = tiny_model(tmp_path / "tiny.onnx", labels=TWO_LABELS, seed=3).path
    paths = write_images(tmp_path / "images", 6)
    cv2.imwrite(str(paths[5]), picture(5, (48, 100)))
    ego = np.zeros((48, 64), np.uint8)
    ego[24:] = 255
    assert cv2.imwrite(str(tmp_path / "ego.png"), ego)
    words = ["predict", "--model", model, "--images", tmp_path / "images"]
    words += ["--assume-camera", "hfov=60 height=1.4 pitch=2"]
    for name, more in (("bare", []), ("masked", ["--ego-mask", tmp_path / "ego.png"])):
        code = cli.main([*map(str, [*words, "--out", tmp_path / name, "--json", tmp_path / f"{name}.json", *more])])
        assert code == bool(more)
    assert "64x48 px and the camera's images 100x48 px, another shape" in capsys.readouterr().err
    bare, masked = (json.loads((tmp_path / f"{name}.json").read_text()) for name in ("bare", "masked"))
    seen = [
        sum(area["area_m2"] for path in paths[:5] for area in told["images"][path.name]["ground"].values())
        for told in (bare, masked)
    ]
    assert seen[0] > 0 and seen[1] == 0, "below the horizon all is masked out"
    assert list(masked["failed"]) == ["005.png"]
    words += ["--out", tmp_path / "no", "--ego-mask", tmp_path / "none.png"]
    assert cli.main([*map(str, words)]) == cli.EXIT_ERROR
