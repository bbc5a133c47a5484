"""evaluate: the same numbers from a data set and from a bag of it, and the worst frames first."""

from __future__ import annotations

import argparse
import errno
import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from bag_fixtures import IMAGE, PERIOD_NS, START_NS, image, pictures, write
from eval_fixtures import SIZE_HW, label_mask, picture, truncate
from ros_harness import make_road_and_cars_model, make_tiny_model

from seg_perception import backends, cli, model_file
from seg_perception.camera_model import CameraModel, CameraPose
from seg_perception.errors import SegPerceptionError
from seg_perception.evaluation.evaluate import evaluate as evaluate_sources
from seg_perception.evaluation.evaluate import tell
from seg_perception.ground.geometry import GroundProjection
from seg_perception.labels import CAMVID, VOID
from seg_perception.metrics.scores import Scores
from seg_perception.pipeline import Pipeline
from seg_perception.recordings.dataset_source import Comparison
from seg_perception.recordings.sources import Source, SourceFrame
from seg_perception.reports import report
from seg_perception.results import Frame, Panoptic, Result, Truth
from seg_perception.tracking.tracker import Tracked, Tracker

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


def test_what_was_measured_is_told_though_the_disk_takes_no_report(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(path: Path, text: str) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(report, "write_text", full)
    told = report.Report("a", {"frames": 7, "iou": {"car": 0.5}, "problems": ["one"], "notes": []}, CAMVID)
    with pytest.raises(SegPerceptionError, match="No space left on device"):
        tell(argparse.Namespace(out=tmp_path, json=None), told, None, "more")
    said = capsys.readouterr()
    assert "car" in said.out and "0.500" in said.out and "more" in said.out and "one" in said.err


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
    assert set(numbers["stages_ms"]) == {"preprocess", "network", "decode", "drivable", "tracking"}
    words = ["make-bag", "--dataset", "camvid", "--root", camvid, "--out", tmp_path / "bag"]
    assert cli.main(list(map(str, words))) == 0
    code, from_bag = evaluate(model, tmp_path / "from_bag", "--bag", tmp_path / "bag")
    assert code == 0
    assert {key: from_bag[key] for key in expected} == expected
    assert from_bag["miou"] == pytest.approx(numbers["miou"], abs=1e-9)


def test_a_calibrated_bag_tells_of_false_patches_in_the_vehicles_way_and_its_tracks_know_the_ground(
    tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert cli.main(["make-bag", "--synthetic", "2", "--out", str(tmp_path / "bag")]) == 0
    known, update = [], Tracker.update

    def watched(self: Tracker, panoptic: Panoptic, stamp_ns: int, *ground: Any) -> Tracked:
        if ground and stamp_ns:  # not while it warms up
            known.append(ground[0] is not None)
        return update(self, panoptic, stamp_ns, *ground)

    monkeypatch.setattr(Tracker, "update", watched)
    _, numbers = evaluate(model, tmp_path / "out", "--bag", tmp_path / "bag")
    assert numbers["false_patch_of"] == 2 and known == [True, True]
    assert numbers["false_patch_frames"] in (0.0, 0.5, 1.0)
    assert 0 <= numbers["drivable_false_positives"] <= 1
    assert 0 <= numbers["ece"] <= 1
    assert "Is confidence earned?" in (tmp_path / "out" / "report.html").read_text()


def test_a_calibration_that_changes_is_followed_by_the_pipeline(pipeline: Pipeline) -> None:
    camera = CameraModel(SIZE_HW[1], SIZE_HW[0], ((50.0, 0, 32), (0, 50.0, 24), (0, 0, 1)))
    cameras = [camera, replace(camera, K=((80.0, 0, 32), (0, 80.0, 24), (0, 0, 1)))]

    class Zooming(Source):
        def _frames(self) -> Iterator[SourceFrame]:
            for self.camera in cameras:
                yield SourceFrame(Frame(picture(0)), "picture")

    class Camera:
        def write(self, number: int, result: Result, projection: GroundProjection | None) -> None:
            assert projection is not None
            written.append(projection.camera)

    class Recorder:
        def camera(self, topic: str, *, alone: bool) -> Camera:
            return Camera()

    written: list[CameraModel] = []
    source = Zooming("test", "zooming", 10.0, 2)
    source.pose = CameraPose(0, 0, 1.5, 0, 0.3)
    evaluate_sources(pipeline, source, recorders=[Recorder()])
    assert written == cameras


def test_the_curve_of_ground_tells_what_the_option_does(tmp_path: Path, camvid: Path) -> None:
    model, data = make_road_and_cars_model(tmp_path / "road.onnx"), ["--dataset", "camvid", "--root", camvid]
    label = np.full(SIZE_HW, CAMVID.by_name("road").id, np.uint8)
    label[:, 40:] = CAMVID.by_name("car").id
    for path in (camvid / "val" / "labels").iterdir():
        cv2.imwrite(str(path), label)
    _, plain = evaluate(model, tmp_path / "plain", *data)
    recall = plain["ground_curve"]["recall"]
    least = next(i for i, share in enumerate(recall) if share < 0.8 * recall[0])
    _, asked = evaluate(model, tmp_path / "asked", *data, "--min-ground-confidence", least / 32)
    assert plain["ground_curve"]["iou"][0] == plain["drivable_iou"]
    assert asked["drivable_iou"] < plain["drivable_iou"] and asked["unlabelled"] == plain["unlabelled"] == 0
    assert asked["drivable_iou"] == pytest.approx(plain["ground_curve"]["iou"][least], abs=0.01)
    assert "with at least this probability" in (tmp_path / "plain" / "report.html").read_text()


@pytest.mark.parametrize("value", ["1.5", "-0.1", "nan", "half"])
def test_a_probability_that_is_none_is_refused(value: str, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["evaluate", "--model", "m.onnx", "--bag", "b", "--out", "o", "--min-ground-confidence", value]
    assert cli.main(words) == 2
    assert f"--min-ground-confidence is {value}: give a number from 0 to 1" in capsys.readouterr().err


def without_times(numbers: dict) -> dict:
    rows = [{key: row[key] for key in row if key != "network_ms"} for row in numbers["per_frame"]]
    kept = {key: value for key, value in numbers.items() if key not in ("stages_ms", "machine", "topics")}
    topics = {name: {key: part[key] for key in part if key != "stages_ms"} for name, part in numbers["topics"].items()}
    return {**kept, "per_frame": rows, "topics": topics}


@pytest.fixture
def two_cameras(tmp_path: Path, pipeline: Pipeline) -> Path:
    """A bag of /front with labels, one of them with an id that there is not, and of /left without."""
    messages = []
    for number in range(4):
        time_ns = START_NS + number * PERIOD_NS
        semantic = pipeline.run(Frame(picture(number))).panoptic.semantic.copy()
        semantic[: 5 * number] = (semantic[: 5 * number] + 1) % len(CAMVID)
        if number == 2:
            semantic[0, 0] = 77
        messages.append(("/front/label", IMAGE, image(semantic, "mono8", time_ns), time_ns))
        messages.append(("/front/image", IMAGE, image(picture(number), "rgb8", time_ns), time_ns))
        messages.append(("/left/image", IMAGE, image(picture(number + 9), "rgb8", time_ns), time_ns))
    return write(tmp_path / "cameras", messages)


def test_several_cameras_are_told_together_and_apart_and_twice_the_same(
    tmp_path: Path, model: Path, two_cameras: Path
) -> None:
    both = ["--bag", two_cameras, "--topic", "all"]
    code, numbers = evaluate(model, tmp_path / "both", *both)
    assert (code, numbers["frames"], numbers["frames_labelled"], numbers["bad_labels"]) == (1, 8, 3, 1)
    front, left = numbers["topics"]["/front/image"], numbers["topics"]["/left/image"]
    assert (front["frames"], front["frames_labelled"], left["frames"], left["frames_labelled"]) == (4, 3, 4, 0)
    assert front["miou"] == numbers["miou"] and "miou" not in left
    assert len({row["name"] for row in numbers["per_frame"]}) == 8
    _, alone = evaluate(model, tmp_path / "front", "--bag", two_cameras, "--topic", "/front/image")
    assert alone["confusion"] == front["confusion"] and alone["topics"] == {}
    _, again = evaluate(model, tmp_path / "again", *both)
    assert without_times(again) == without_times(numbers)


def test_labels_of_a_value_that_no_class_has_are_named_and_the_frame_counts_as_unlabelled(
    tmp_path: Path, model: Path, two_cameras: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, numbers = evaluate(model, tmp_path / "out", "--bag", two_cameras, "--topic", "/front/image")
    assert (code, numbers["frames"], numbers["frames_labelled"], numbers["bad_labels"]) == (1, 4, 3, 1)
    assert numbers["per_frame"][2]["confusion"] == [] and numbers["per_frame"][2]["miou"] is None
    (problem,) = numbers["problems"]
    assert problem.startswith("frame 2 at ") and "value 77" in problem and "--void" in problem
    assert problem in capsys.readouterr().err
    words = ["--bag", two_cameras, "--topic", "/front/image", "--void", 77]
    code, numbers = evaluate(model, tmp_path / "void", *words)
    assert (code, numbers["frames_labelled"], numbers["bad_labels"]) == (0, 4, 0)


def test_labels_that_belong_to_no_image_are_told_in_terminal_and_page_and_by_the_exit_code(
    tmp_path: Path, model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    masks = [
        ("/front/label", IMAGE, image(label_mask(k), "mono8", START_NS + k * PERIOD_NS + off_ns), START_NS + k)
        for k, off_ns in enumerate((0, 1000, 10**12, 10**12))
    ]
    bag = write(tmp_path / "bag", [*pictures(4), *masks])
    code, numbers = evaluate(model, tmp_path / "out", "--bag", bag)
    assert (code, numbers["frames_labelled"]) == (1, 2)
    told = capsys.readouterr()
    assert "2 of its 4 masks belong to no image" in told.err and re.search(r"labelled +2 of 4", told.out)
    page = (tmp_path / "out" / "report.html").read_text()
    assert "2 of 4" in page and "2 of its 4 masks belong to no image" in page
    code, numbers = evaluate(model, tmp_path / "exact", "--bag", bag, "--label-tolerance", 0)
    assert (code, numbers["frames_labelled"]) == (1, 1) and "3 of its 4 masks" in numbers["problems"][0]
    code, numbers = evaluate(model, tmp_path / "loose", "--bag", bag, "--label-tolerance", 2000)
    assert (code, numbers["frames_labelled"]) == (1, 3), "both go to the last image, which takes one"


def test_labels_of_a_data_set_without_an_image_are_told(tmp_path: Path, model: Path, camvid: Path) -> None:
    (camvid / "val" / "images" / "003.png").unlink()
    code, numbers = evaluate(model, tmp_path / "out", "--dataset", "camvid", "--root", camvid)
    assert (code, numbers["frames"]) == (1, COUNT - 1)
    assert "1 of its labels belong to no image" in numbers["problems"][0] and "003.png" in numbers["problems"][0]


@pytest.mark.parametrize("tolerance", ["-1", "nan", "inf"])
def test_a_tolerance_that_is_none_is_refused(tmp_path: Path, model: Path, tolerance: str) -> None:
    bag = write(tmp_path / "bag", pictures(2))
    words = ["evaluate", "--model", str(model), "--out", str(tmp_path / "out"), "--bag", str(bag)]
    assert cli.main([*words, f"--label-tolerance={tolerance}"]) == 2
    assert not (tmp_path / "out").exists()


def test_what_is_wrong_with_every_label_is_one_sentence(tmp_path: Path, model: Path) -> None:
    masks = [
        ("/front/label", IMAGE, image(np.full(SIZE_HW, 77, np.uint8), "mono8", time_ns), time_ns)
        for time_ns in range(START_NS, START_NS + 4 * PERIOD_NS, PERIOD_NS)
    ]
    bag = write(tmp_path / "bag", [*pictures(4), *masks])
    code, numbers = evaluate(model, tmp_path / "out", "--bag", bag)
    assert (code, numbers["bad_labels"], numbers["frames_labelled"]) == (1, 4, 0)
    (problem,) = numbers["problems"]
    assert problem.startswith("frame 0 at ") and problem.endswith("(and 3 more like it)")


@pytest.mark.parametrize(("words", "frames"), [((), 0), (("--topic", "all"), 0), (("--topic", "/depth"), 3)])
def test_depth_is_a_grey_picture_where_its_topic_is_named_alone(
    tmp_path: Path, model: Path, words: tuple[str, ...], frames: int, capsys: pytest.CaptureFixture[str]
) -> None:
    times = [START_NS + number * PERIOD_NS for number in range(3)]
    deep = picture(1)[..., 0].astype(np.uint16) * 257
    bag = write(tmp_path / "bag", [("/depth", IMAGE, image(deep, "16UC1", time_ns), time_ns) for time_ns in times])
    line = ["evaluate", "--model", model, "--out", tmp_path / "out", "--bag", bag, *words]
    assert cli.main([*map(str, line)]) == (0 if frames else 2)
    assert bool(frames) != ("depth camera" in capsys.readouterr().err)


def test_an_excerpt_is_evaluated_and_labels_of_one_topic_are_not_shared(
    tmp_path: Path, model: Path, two_cameras: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--bag", two_cameras, "--topic", "/left/image", "--start", 0.1, "--end", 0.35, "--stride", 2]
    code, numbers = evaluate(model, tmp_path / "out", *words)
    assert code == 0
    assert [row["name"] for row in numbers["per_frame"]] == ["frame 1 at 1.100 s", "frame 3 at 1.300 s"]
    words = ["evaluate", "--model", model, "--out", tmp_path / "no", "--bag", two_cameras, "--topic", "all"]
    assert cli.main([*map(str, words), "--label-topic", "/front/label"]) == 2
    assert "/front/image, /left/image" in capsys.readouterr().err


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
    assert ('id="film"' in (tmp_path / "out" / "report.html").read_text()) == (numbers["tracks"] > 0)
    words = ["evaluate", "--model", model, "--dataset", "camvid", "--out", tmp_path / "other"]
    assert cli.main(list(map(str, words))) == 2
    assert "--root" in capsys.readouterr().err
    assert not (tmp_path / "other").exists()


def test_a_damaged_bag_is_evaluated_as_far_as_it_goes(tmp_path: Path, model: Path, camvid: Path) -> None:
    words = ["make-bag", "--dataset", "camvid", "--root", camvid, "--out", tmp_path / "bag"]
    assert cli.main(list(map(str, words))) == 0
    truncate(tmp_path / "bag" / "bag.mcap", 0.7)
    code, numbers = evaluate(model, tmp_path / "out", "--bag", tmp_path / "bag")
    assert code == 1
    assert COUNT / 2 < numbers["frames"] < COUNT and numbers["frames_labelled"] == numbers["frames"]
    lost = int(re.search(rf"of {2 * COUNT} messages (\d+) are lost", numbers["problems"][0])[1])
    # labels come before their image, so one more of them may be there
    assert 2 * COUNT - lost - 2 * numbers["frames"] in (0, 1)


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


def test_the_own_vehicle_is_not_measured_and_is_of_one_camera(
    tmp_path: Path, model: Path, camvid: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    image = np.zeros(SIZE_HW, np.uint8)
    image[SIZE_HW[0] // 2 :] = 255
    assert cv2.imwrite(str(tmp_path / "ego.png"), image)
    words = ("--dataset", "camvid", "--root", camvid)
    code, whole = evaluate(model, tmp_path / "whole", *words)
    assert code == 0
    code, masked = evaluate(model, tmp_path / "masked", *words, "--ego-mask", tmp_path / "ego.png")
    assert code == 0
    assert masked["frames_labelled"] == whole["frames_labelled"] and masked["miou"] != whole["miou"]
    assert cv2.imwrite(str(tmp_path / "other.png"), image[:, 1:40])
    words = ("evaluate", "--model", model, *words, "--out", tmp_path / "no", "--ego-mask", tmp_path / "other.png")
    assert cli.main(list(map(str, words))) == cli.EXIT_ERROR
    assert "another shape" in capsys.readouterr().err
