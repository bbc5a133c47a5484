"""The run verb: the real node as a process, fed and heard over real DDS."""

from __future__ import annotations

import errno
import json
import signal
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from eval_fixtures import SIZE_HW, picture, truncate, write_images, write_labels, write_video
from ros_harness import make_tiny_model
from verb_process import Run

from seg_perception.errors import SegPerceptionError
from seg_perception.labels import CAMVID
from seg_perception.play.run import _named, _written_report
from seg_perception.recordings.make import write_bag
from seg_perception.recordings.sources import SyntheticSource
from seg_perception.reports import report

DESIGN_KEYS = {"frames_in", "frames_out", "dropped", "fps", "age_ms", "stages_ms", "backend", "model", "machine"}
LABELLED_KEYS = {
    "miou", "iou", "pixel_accuracy", "dice", "pq", "sq", "rq", "pq_things", "pq_stuff", "drivable_iou", "boundary_f1",
}  # fmt: skip


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_model(tmp_path_factory.mktemp("model") / "tiny.onnx")


def video_frames(path: Path) -> list[np.ndarray]:
    capture = cv2.VideoCapture(str(path))
    frames = []
    while (answer := capture.read())[0]:
        frames.append(answer[1][..., ::-1])
    capture.release()
    return frames


def test_a_synthetic_drive_is_answered_judged_and_shown(tmp_path: Path, model: Path) -> None:
    out = tmp_path / "out"
    run = Run("--model", model, "--out", out, "--frames", 12, "--rate", 4, "--json", tmp_path / "numbers.json")
    assert run.wait() == 0, run.text
    numbers = json.loads((out / "report.json").read_text())
    assert numbers.keys() >= DESIGN_KEYS | LABELLED_KEYS
    assert numbers["frames_in"] == 12
    assert numbers["frames_out"] + numbers["dropped"] == 12
    assert numbers["frames_out"] == numbers["frames_labelled"]
    assert (
        0 < numbers["age_ms"]["p50"] <= numbers["age_ms"]["p95"] <= numbers["age_ms"]["p99"] <= numbers["age_ms"]["max"]
    )
    assert {"preprocess", "network", "decode", "drivable"} <= numbers["stages_ms"].keys()
    assert numbers["frames_timed"] == numbers["frames_out"], "those that warm up are not counted"
    assert all(stage["p50"] <= stage["p95"] <= stage["max"] for stage in numbers["stages_ms"].values())
    assert all(count > 0 for count in numbers["messages"].values()), numbers["messages"]
    assert numbers["backend"]["backend"] and numbers["model"] == "tiny"
    assert 0 <= numbers["miou"] <= 1 and set(numbers["iou"]) >= {"road", "car"}
    assert json.loads((tmp_path / "numbers.json").read_text()) == numbers
    assert "mIoU" in run.text and "road" in run.text
    frames = video_frames(out / "overlay.mp4")
    assert len(frames) == 12
    page = (out / "report.html").read_text()
    assert page.count("data:image/") >= 6 and "frame 0" in page
    assert {path.name for path in out.iterdir()} == {"overlay.mp4", "report.json", "report.html", "node.log"}


def test_a_video_is_played_at_its_own_rate_and_its_drops_are_reported(tmp_path: Path) -> None:
    slow = make_tiny_model(tmp_path / "slow.onnx", (256, 384), busy=60)
    write_video(tmp_path / "drive.mp4", 40, rate_hz=40.0)
    run = Run("--input", tmp_path / "drive.mp4", "--model", slow, "--out", tmp_path / "out")
    assert run.wait() == 0, run.text
    numbers = json.loads((tmp_path / "out" / "report.json").read_text())
    assert numbers["frames_in"] == 40 and numbers["rate_hz"] == 40.0
    assert numbers["dropped"] == 40 - numbers["frames_out"] > 0, "the model is meant to be slower than the camera"
    assert numbers["sent_hz"] <= 40.0 * 39 / 38 + 0.01, (
        "the first frame may be late by a period, and the last be in time"
    )
    assert "miou" not in numbers
    assert 0 <= numbers["lost_before_node"] <= numbers["dropped"]
    assert f"{numbers['dropped']} dropped" in run.text
    assert len(video_frames(tmp_path / "out" / "overlay.mp4")) == 40


def test_a_folder_with_labels_and_a_truncated_image(tmp_path: Path, model: Path) -> None:
    paths = write_images(tmp_path / "data" / "images", 6)
    write_labels(tmp_path / "data" / "labels", 6, void=11)
    truncate(paths[3])
    run = Run("--input", tmp_path / "data", "--rate", 5, "--void", 11, "--model", model, "--out", tmp_path / "out")
    assert run.wait() == 1, run.text
    numbers = json.loads((tmp_path / "out" / "report.json").read_text())
    assert numbers["frames_in"] == numbers["frames_out"] == numbers["frames_labelled"] == 5
    assert numbers["pq"] is None and numbers["pq_stuff"] is not None
    assert [str(paths[3]) in problem for problem in numbers["problems"]] == [True]
    # what comes back is the pipeline's own answer
    from seg_perception import backends, model_file
    from seg_perception.metrics.scores import Scores
    from seg_perception.pipeline import Pipeline
    from seg_perception.recordings.open_source import open_source
    from seg_perception.results import Truth

    info = model_file.load(model)
    pipeline = Pipeline(info, backends.choose(info, backend="onnxruntime", log=print))
    scores = Scores(info.labels)
    for item in open_source(str(tmp_path / "data"), void=[11]):
        assert isinstance(item.truth, Truth)
        panoptic = pipeline.run(item.frame).panoptic
        scores.add(panoptic.semantic, panoptic.instance, item.truth)
    expected = scores.summary()
    assert {key: numbers[key] for key in expected} == expected


def test_ctrl_c_leaves_whole_files_of_what_was_done(tmp_path: Path, model: Path) -> None:
    write_images(tmp_path / "images", 500)
    out = tmp_path / "out"
    run = Run("--input", tmp_path / "images", "--rate", 20, "--model", model, "--out", out)
    run.until(b"answers=3")
    run.process.send_signal(signal.SIGINT)
    assert run.wait() == 130, run.text
    assert "Traceback" not in run.text
    numbers = json.loads((out / "report.json").read_text())
    assert numbers["interrupted"] and 3 <= numbers["frames_out"] <= numbers["frames_in"] < 500
    assert len(video_frames(out / "overlay.mp4")) == numbers["frames_in"]
    assert {path.name for path in out.iterdir()} == {"overlay.mp4", "report.json", "report.html", "node.log"}


def test_a_node_that_does_not_start_is_named_with_its_last_words(tmp_path: Path, model: Path) -> None:
    write_images(tmp_path / "images", 2)
    run = Run("--input", tmp_path / "images", "--model", model, "--out", tmp_path / "out", "--param", "threads:=-7")
    assert run.wait() == 2
    assert "'threads'" in run.text and "node.log" in run.text and "Traceback" not in run.text
    assert not (tmp_path / "out" / "report.json").exists()


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (["--input", "missing.mp4"], "missing.mp4"),
        (["--model", "missing.onnx"], "missing.onnx"),
        (["--rate", "0"], "--rate"),
        (["--param", "threads=1"], "NAME:=VALUE"),
    ],
)
def test_what_cannot_be_played_is_told_before_the_node_starts(
    tmp_path: Path, model: Path, words: list[str], part: str
) -> None:
    images = write_images(tmp_path / "images", 1)[0].parent
    run = Run("--input", images, "--model", model, "--out", tmp_path / "out", *words)
    assert run.wait() == 2
    (line,) = run.text.strip().splitlines()
    assert part in line
    assert not (tmp_path / "out").exists()


def test_of_a_report_that_the_disk_takes_in_part_that_part_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, text: str) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    numbers: dict[str, Any] = {"fps": 1.0, "problems": []}
    told = report.Report("a", numbers, CAMVID)
    assert _written_report(told, tmp_path) == [tmp_path / "report.json", tmp_path / "report.html"]
    monkeypatch.setattr(report, "write_text", full)
    assert _written_report(told, tmp_path) == [tmp_path / "report.json"]
    (problem,) = numbers["problems"]
    assert "No space left on device" in problem and str(tmp_path / "report.html") in problem


def test_parameters_are_read_as_a_parameter_file_has_them() -> None:
    words = ["threads:=2", "thing_score:=0.5", "camera_pose:=[0.0, 0, 1.4, 0, 0, 0]", "backend:=onnxruntime"]
    assert _named(words) == {
        "threads": 2, "thing_score": 0.5, "camera_pose": [0.0, 0, 1.4, 0, 0, 0], "backend": "onnxruntime"
    }  # fmt: skip


@pytest.mark.parametrize(
    "word",
    [
        "a:=[1,",
        "a:=@x",
        "a:=b: c: d",
        "a:=",
        "a:={b: 1}",
        "a:=[[1]]",
        "a:=2020-01-01",
        "a:=2026-02-30",
        pytest.param("a:=" + "9" * 5000, id="digits"),
    ],
)
def test_a_value_that_no_parameter_has_is_named(word: str) -> None:
    with pytest.raises(SegPerceptionError, match="--param") as caught:
        _named([word])
    assert word in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["model", "camera_names", "image_transport"])
def test_what_the_play_itself_decides_is_no_parameter_to_name(name: str) -> None:
    with pytest.raises(SegPerceptionError, match=f"--param names '{name}'"):
        _named([f"{name}:=x"])


def test_every_answered_frame_is_drawn_beside_the_ground_by_an_assumed_camera(tmp_path: Path, model: Path) -> None:
    write_images(tmp_path / "images", 3)
    words = ("--rate", 5, "--assume-camera", "hfov=60 height=1.4 pitch=20")
    run = Run("--input", tmp_path / "images", *words, "--model", model, "--out", tmp_path / "out")
    assert run.wait() == 0, run.text
    numbers = json.loads((tmp_path / "out" / "report.json").read_text())
    assert numbers["node"]["ground_problem"] == "" and numbers["messages"]["free_space"] > 0
    assert numbers["calibration"] == "assumed: hfov 60 deg, height 1.4 m, pitch 20 deg" and "assumed: hfov" in run.text
    for number, frame in enumerate(video_frames(tmp_path / "out" / "overlay.mp4")):
        assert frame.shape == (480, SIZE_HW[1] + 320, 3)
        difference = np.abs(frame[: SIZE_HW[0], : SIZE_HW[1]].astype(int) - picture(number)).mean()
        assert difference > 12


def test_a_bag_brings_labels_calibration_and_mounting_along(tmp_path: Path, model: Path) -> None:
    bag = tmp_path / "bag"
    write_bag(SyntheticSource(6), bag, "mcap")
    run = Run("--input", bag, "--rate", 4, "--model", model, "--out", tmp_path / "out")
    assert run.wait() == 0, run.text
    numbers = json.loads((tmp_path / "out" / "report.json").read_text())
    assert numbers["frames_in"] == 6 and numbers["frames_labelled"] == numbers["frames_out"] > 0
    assert numbers["pq_things"] is not None
    assert numbers["messages"]["drivable_grid"] > 0 and numbers["node"]["ground_problem"] == ""
