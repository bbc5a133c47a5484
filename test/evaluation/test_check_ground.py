"""Drivable ground against exact truth: the limits that perfect labels keep, what counts as right, and the verb."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from ros_harness import make_tiny_model

from seg_perception import cli
from seg_perception.evaluation.check_ground import DRIVES, POSTS, ROWS
from seg_perception.ground.drivable import DrivableExtractor, DrivableSettings
from seg_perception.labels import CAMVID
from seg_perception.metrics import thin_posts
from seg_perception.metrics.ground_truth import GroundTruth, judge, summary
from seg_perception.results import Panoptic, Wants
from seg_perception.synthetic.drive import SyntheticDrive

ROAD = CAMVID.by_name("road").id
SETTINGS = DrivableSettings()


def _perfect(drive: SyntheticDrive, i: int) -> Panoptic:
    frame = drive.frame(i)
    return Panoptic(frame.semantic, frame.instance, np.full_like(frame.semantic, 255), ())


@pytest.mark.parametrize("name", DRIVES)
def test_perfect_labels_give_the_ground_in_metres(name: str) -> None:
    """The limits of the design: 99 % of the cells within 20 m, free distance within 2 % or 5 cm, polygon IoU 0.97."""
    drive = SyntheticDrive(1280, 720, seed=21, **DRIVES[name])
    extractor = DrivableExtractor(CAMVID, SETTINGS)
    found = []
    for i in (20, 111):
        extractor.set_camera(drive.camera, drive.pose_at(i), (720, 1280))
        answer = extractor.extract(_perfect(drive, i), Wants())
        found.append(judge(answer, CAMVID, GroundTruth.of(drive, i, SETTINGS)))
    numbers = summary(found)
    print(name, numbers)
    assert numbers["grid_accuracy_20m"] >= 0.99 and numbers["grid_accuracy_20m_strict"] >= 0.98
    assert numbers["free_distance_within"] == 1 and numbers["polygon_iou_worst"] >= 0.97
    assert numbers["free_distance_width_within"] == 1 and numbers["edges_seen"] >= 4


@pytest.mark.parametrize(
    ("fault", "name", "limit"),
    [
        ({"pitch": 0.06 + 0.0018}, "free_distance_within", 1.0),  # a tenth of a degree
        ({"y": 0.05}, "polygon_iou_worst", 0.97),
        ({"yaw": 0.005}, "grid_accuracy_20m", 0.99),
    ],
    ids=["pitch", "y", "yaw"],
)
def test_the_limits_notice_small_faults(fault: dict[str, float], name: str, limit: float) -> None:
    drive = SyntheticDrive(seed=21)
    extractor = DrivableExtractor(CAMVID, SETTINGS)
    extractor.set_camera(drive.camera, replace(drive.pose, **fault), (720, 1280))
    answer = extractor.extract(_perfect(drive, 111), Wants())
    assert summary([judge(answer, CAMVID, GroundTruth.of(drive, 111, SETTINGS))])[name] < limit


@pytest.mark.parametrize("name", DRIVES)
def test_a_post_that_is_not_told_is_noticed(name: str) -> None:
    """A drawn post is told; the answer to the mask without it is none."""
    drive = SyntheticDrive(1280, 720, seed=21, **DRIVES[name])
    extractor = DrivableExtractor(CAMVID, SETTINGS)
    extractor.set_camera(drive.camera, drive.pose_at(20), (720, 1280))
    perfect, truth = _perfect(drive, 20), GroundTruth.of(drive, 20, SETTINGS)
    extractor.extract(perfect, Wants())
    pole = CAMVID.by_name("pole").id
    assert thin_posts.count_told(extractor, perfect, truth, pole, 6, seed=1) == (6, 6)
    projection = extractor.projection
    assert projection is not None
    posts = thin_posts.places(truth, projection, 20, seed=2)
    bare = extractor.extract(perfect, Wants(areas=False))
    assert sum(thin_posts.is_told(bare, post, projection) for post in posts) <= 4, "beside other things"
    for post in posts:
        changed = thin_posts.drawn(perfect.semantic, post, projection, pole) != perfect.semantic
        (u, v) = projection.ground_to_pixels(np.array(((post.x, post.y),)))[0]
        rows, columns = np.nonzero(changed)
        assert abs(rows.max() - v) <= 4 and columns.min() - 1.5 <= u <= columns.max() + 1.5


def test_the_verb_prints_and_writes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model, file = make_tiny_model(tmp_path / "tiny.onnx"), tmp_path / "ground.json"
    words = ["check-ground", "--model", model, "--frames", 2, "--json", file, "--out", tmp_path / "pictures"]
    assert cli.main(list(map(str, words))) == 0
    numbers = json.loads(file.read_text())
    for part in (numbers, numbers["pitch_error_1deg"]):
        for name in ROWS:
            assert set(part[name]) == {"perfect", "network"}
    # An untrained network knows nothing of the ground, and a wrong pitch spoils perfect labels.
    assert numbers["grid_accuracy_20m"]["perfect"] > 0.99 > numbers["grid_accuracy_20m"]["network"]
    assert numbers["pitch_error_1deg"]["free_distance_error"]["perfect"] > 0.05
    assert list(numbers["drives"]) == list(DRIVES)[:2] and numbers["frames"] == 2
    assert 0 < numbers["thin_obstacles_found"] == numbers["thin_obstacles"], "drawn into perfect labels"
    assert sum(part["thin_obstacles"] for part in numbers["drives"].values()) == numbers["thin_obstacles"] == 2 * POSTS
    assert 1.0 < numbers["view_begins_m"] < 6.0
    printed = capsys.readouterr().out
    assert f"of posts drawn into perfect labels: {2 * POSTS} of {2 * POSTS}" in printed and "blind: " in printed
    assert all(words in printed for words in (*ROWS.values(), *numbers["drives"]))
    pictures = sorted((tmp_path / "pictures").iterdir())
    assert len(pictures) == 2 and cv2.imread(str(pictures[0])).shape[1] > 1280


def test_no_frames_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["check-ground", "--frames", "0"]) == cli.EXIT_ERROR
    assert "--frames" in capsys.readouterr().err
