"""evaluate: the same numbers from a data set and from a bag of it, and the worst frames first."""

from __future__ import annotations

import json
import re
from pathlib import Path

import cv2
import numpy as np
import pytest
from eval_fixtures import picture, truncate
from ros_harness import make_tiny_model

from seg_perception import backends, cli, model_file
from seg_perception.errors import SegPerceptionError
from seg_perception.evaluation.dataset_source import Comparison
from seg_perception.evaluation.metrics import Scores, Truth
from seg_perception.labels import CAMVID, VOID
from seg_perception.pipeline import Pipeline
from seg_perception.results import Frame

CAMVID_VOID = 11
COUNT = 12


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_model(tmp_path_factory.mktemp("model") / "tiny.onnx")


@pytest.fixture(scope="module")
def pipeline(model: Path) -> Pipeline:
    info = model_file.load(model)
    return Pipeline(info, backends.choose(info, backend="onnxruntime", log=print))


@pytest.fixture
def camvid(tmp_path: Path, pipeline: Pipeline) -> Path:
    """A data set laid out as CamVid, whose labels are the model's own answers, more and more of them spoilt."""
    images, labels = tmp_path / "data" / "val" / "images", tmp_path / "data" / "val" / "labels"
    images.mkdir(parents=True)
    labels.mkdir()
    for number in range(COUNT):
        rgb = picture(number)
        semantic = pipeline.run(Frame(rgb)).panoptic.semantic.copy()
        semantic[: 3 * number] = (semantic[: 3 * number] + 1) % len(CAMVID)
        semantic[:, -1] = CAMVID_VOID
        cv2.imwrite(str(images / f"{number:03}.png"), rgb[..., ::-1])
        cv2.imwrite(str(labels / f"{number:03}.png"), semantic)
    return tmp_path / "data"


def evaluate(model: Path, out: Path, *words: object) -> tuple[int, dict]:
    code = cli.main(["evaluate", "--model", str(model), "--out", str(out), *map(str, words)])
    return code, json.loads((out / "report.json").read_text())


def test_data_set_and_bag_give_the_same_numbers(tmp_path: Path, model: Path, pipeline: Pipeline, camvid: Path) -> None:
    code, numbers = evaluate(model, tmp_path / "set", "--dataset", "camvid", "--root", camvid)
    assert (code, numbers["frames"]) == (0, COUNT)
    scores = Scores(CAMVID)
    for number in range(COUNT):
        label = cv2.imread(str(camvid / "val" / "labels" / f"{number:03}.png"), cv2.IMREAD_UNCHANGED)
        result = pipeline.run(Frame(picture(number)))
        truth = Truth(np.where(label == CAMVID_VOID, np.uint8(VOID), label))
        scores.add(result.panoptic.semantic, result.panoptic.instance, truth)
    expected = scores.summary()
    assert expected["miou"] < 0.9
    assert {key: numbers[key] for key in expected} == expected
    assert numbers["pq"] is None  # CamVid tells no objects apart
    assert set(numbers["stages_ms"]) == {"preprocess", "network", "decode", "drivable"}
    words = ["make-bag", "--images", camvid / "val" / "images", "--labels", camvid / "val" / "labels"]
    words += ["--void", CAMVID_VOID, "--out", tmp_path / "bag"]
    assert cli.main(list(map(str, words))) == 0
    code, from_bag = evaluate(model, tmp_path / "from_bag", "--bag", tmp_path / "bag")
    assert code == 0
    assert {key: from_bag[key] for key in expected} == expected


def test_the_worst_frames_are_shown_first(tmp_path: Path, model: Path, pipeline: Pipeline, camvid: Path) -> None:
    evaluate(model, tmp_path / "out", "--dataset", "camvid", "--root", camvid)
    page = (tmp_path / "out" / "report.html").read_text()
    shown = [(name, float(miou)) for name, miou in re.findall(r"<h3>(\d+): mIoU ([\d.]+)</h3>", page)]
    each = {}
    for number in range(COUNT):
        label = cv2.imread(str(camvid / "val" / "labels" / f"{number:03}.png"), cv2.IMREAD_UNCHANGED)
        panoptic = pipeline.run(Frame(picture(number))).panoptic
        truth = Truth(np.where(label == CAMVID_VOID, np.uint8(VOID), label))
        each[f"{number:03}"] = round(Scores(CAMVID).add(panoptic.semantic, panoptic.instance, truth), 3)
    assert shown == sorted(each.items(), key=lambda entry: entry[1])[:8]


def test_an_image_that_cannot_be_read_is_told(
    tmp_path: Path, model: Path, camvid: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = camvid / "val" / "images" / "003.png"
    broken.write_text("no image")
    code, numbers = evaluate(model, tmp_path / "out", "--dataset", "camvid", "--root", camvid)
    assert (code, numbers["frames"]) == (1, COUNT - 1)
    assert str(broken) in numbers["problems"][0]
    assert str(broken) in capsys.readouterr().err


def test_a_recording_without_labels_is_run_and_tells_no_metric_of_labels(
    tmp_path: Path, model: Path, camvid: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["make-bag", "--images", camvid / "val" / "images", "--out", tmp_path / "bag"]
    assert cli.main(list(map(str, words))) == 0
    code, numbers = evaluate(model, tmp_path / "out", "--bag", tmp_path / "bag")
    assert (code, numbers["frames"], numbers["frames_labelled"]) == (0, COUNT, 0)
    assert "miou" not in numbers and len(numbers["per_frame"]) == COUNT
    assert all(row["miou"] is None and row["network_ms"] > 0 for row in numbers["per_frame"])
    words = ["evaluate", "--model", model, "--dataset", "camvid", "--out", tmp_path / "other"]
    assert cli.main(list(map(str, words))) == 2
    assert "--root" in capsys.readouterr().err
    assert not (tmp_path / "other").exists()


def test_a_damaged_bag_is_evaluated_as_far_as_it_goes(tmp_path: Path, model: Path, camvid: Path) -> None:
    words = ["make-bag", "--images", camvid / "val" / "images", "--labels", camvid / "val" / "labels"]
    words += ["--void", CAMVID_VOID, "--out", tmp_path / "bag", "--storage", "sqlite3"]
    assert cli.main(list(map(str, words))) == 0
    path = tmp_path / "bag" / "bag.db3"
    data = path.read_bytes()
    truncate(path, 0.7)
    code = cli.main(["evaluate", "--model", str(model), "--bag", str(tmp_path / "bag"), "--out", str(tmp_path / "out")])
    if code == 1:
        numbers = json.loads((tmp_path / "out" / "report.json").read_text())
        assert 0 < numbers["frames"] < COUNT and numbers["problems"]
    else:
        assert code == 2
    path.write_bytes(data)


def test_coarser_labels_are_compared_in_their_own_classes() -> None:
    ids = {name: CAMVID.by_name(name).id for name in CAMVID.names}
    coarse = Comparison(CAMVID, {0: ("road",), 1: ("car", "bicyclist"), 5: ("building", "tree"), 9: ()})
    assert coarse.labels.names == ("road", "car/bicyclist", "building/tree")
    assert [c.thing for c in coarse.labels.classes] == [False, True, False]
    predicted = np.array([[ids["road"], ids["bicyclist"], ids["tree"], ids["sky"], VOID]], np.uint8)
    np.testing.assert_array_equal(coarse.prediction(predicted), [[0, 1, 2, VOID, VOID]])
    truth = Truth(np.array([[0, 1, 5, 9, VOID]], np.uint8))
    np.testing.assert_array_equal(coarse.truth(truth).semantic, [[0, 1, 2, VOID, VOID]])


def test_a_data_set_of_classes_that_the_model_lacks_is_refused() -> None:
    with pytest.raises(SegPerceptionError, match="no class 'tractor'"):
        Comparison(CAMVID, {0: ("road",), 1: ("tractor",)})
