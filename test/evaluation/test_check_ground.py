"""Drivable ground against exact truth: the limits that perfect labels keep, what counts as right, and the verb."""

from __future__ import annotations

import json
import math
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
from seg_perception.metrics.ground_truth import GroundTruth, judge, polygon_iou, summary
from seg_perception.results import Drivable, DrivableArea, Grid, LookAhead, Outline, Panoptic, Wants
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


def _truth(points: np.ndarray, feet: list[tuple[int, int]], free_m: float = 10.0) -> GroundTruth:
    """A truth of 3 x 3 cells with these values at all points of a cell, except that those of cell (1, 1) differ."""
    rows, columns = points.shape[:2]
    marks = np.zeros((rows, columns), np.bool_)
    marks[tuple(np.array(feet).reshape(-1, 2).T)] = True
    settings = DrivableSettings(grid_length_m=columns / 10, grid_width_m=rows / 10)
    road = np.zeros((rows * 5, columns * 5), np.bool_)
    road[:5, :10] = True
    edges = (LookAhead(5.0, 3.0, 2.0), LookAhead(10.0, math.inf, 2.0), LookAhead(15.0, math.nan, math.nan))
    return GroundTruth(points, marks, np.ones((rows, columns), np.bool_), road, free_m, 8.0, edges, settings)


def _row(*cells: int) -> np.ndarray:
    """One row of cells, each of one truth."""
    return np.repeat(np.array(cells, np.int8)[None, :, None], 25, axis=2)


# Ahead: road, road, the foot of a car in a cell whose near half is road, then nothing known.
POINTS = _row(0, 0, 0, -1, -1)
POINTS[0, 2, 12:] = -1


@pytest.mark.parametrize(
    ("cells", "right"),
    [
        ([0, 0, 100, -1, -1], [1, 1, 1, 1, 1]),
        ([0, 100, -1, -1, -1], [1, 1, 1, 1, 1]),  # the foot a cell too near: its own cell may be unknown
        ([0, 0, 0, 100, -1], [1, 1, 1, 1, 1]),  # or a cell too far
        ([100, -1, -1, -1, -1], [0, 0, 0, 1, 1]),  # two cells too near
        ([0, 0, 0, -1, -1], [1, 1, 0, 1, 1]),  # not marked at all
        ([0, 60, 100, -1, 0], [1, 0, 1, 1, 0]),  # another class; ground that cannot be seen
        ([-1, 0, 100, 100, -1], [0, 1, 1, 1, 1]),  # road that is not told
    ],
)
def test_what_is_right(cells: list[int], right: list[int]) -> None:
    truth = _truth(POINTS, [(0, 2)])
    assert truth.right(np.array([cells], np.int8)).astype(int).tolist() == [right]
    assert truth.grid.cells.tolist() == [[0, 0, 100, -1, -1]]


def _answer(cells: list[int], free_m: float, outlines: tuple[Outline, ...]) -> Drivable:
    edges = (LookAhead(5.0, 3.1, 2.0), LookAhead(10.0, math.inf, math.nan), LookAhead(15.0, math.nan, math.nan))
    area = DrivableArea(ROAD, 0.5, 1.0, (), outlines, 9.0, free_m, 8.1, edges)
    return Drivable((area,), Grid(np.array([cells], np.int8), 0.1, (0.0, -0.05)))


def _box(x0: float, x1: float, y0: float = -0.05, y1: float = 0.05, hole: bool = False) -> Outline:
    return Outline(np.array(((x0, y0), (x1, y0), (x1, y1), (x0, y1)), np.float32), hole)


def test_figures_of_answers() -> None:
    truth = _truth(POINTS, [(0, 2)])
    good = judge(_answer([0, 0, 100, -1, -1], 10.1, (_box(0.0, 0.2),)), CAMVID, truth)
    near = judge(_answer([0, 100, -1, -1, -1], 9.0, (_box(0.0, 0.1),)), CAMVID, truth)
    none = judge(Drivable(()), CAMVID, truth)
    numbers = summary([good, near, none])
    # Right: 5, 5 and the last two of five; strictly: 5, 3 and 2. Known are the first three, in all of them.
    assert numbers["grid_accuracy_20m"] == pytest.approx(12 / 15, abs=1e-4)
    assert numbers["grid_accuracy_20m_strict"] == pytest.approx(10 / 15, abs=1e-4)
    assert numbers["grid_accuracy_20m_known"] == pytest.approx(6 / 9, abs=1e-4)
    assert numbers["free_distance_within"] == pytest.approx(1 / 3, abs=1e-4)  # 1 %, 10 % and nothing
    assert numbers["free_distance_error_worst"] == 1 and numbers["free_distance_error"] == pytest.approx(0.91)
    assert numbers["free_distance_error_m"] == pytest.approx(9.1)
    # Twice 0.1 m of 8 m, which is 1.25 %, and all of it without an answer.
    assert numbers["free_distance_width_within"] == pytest.approx(2 / 3, abs=1e-4)
    assert numbers["free_distance_width_error"] == pytest.approx(0.0125 + 0.9 * (1 - 0.0125))
    # Of three edges that are to be seen the answers have two, wrong by 0.1 m and right.
    assert good.edge_errors_m == (pytest.approx(0.1), 0.0) and none.edge_errors_m == ()
    assert numbers["edge_error_m"] == pytest.approx(0.1)
    assert (numbers["edges_seen"], numbers["edges"]) == (4, 3 * good.edges) and good.edges >= 2
    # No edge seen is no perfect one.
    unseen = summary([none])
    assert unseen["edge_error_m"] is None and unseen["edges_seen"] == 0
    # OpenCV's polygons hold the points on their edges too: up to half a point on each side.
    assert [good.iou, near.iou, none.iou] == [pytest.approx(1, abs=0.3), pytest.approx(0.5, abs=0.15), 0]


def test_iou_leaves_holes_out_and_islands_in() -> None:
    settings = DrivableSettings(grid_length_m=10, grid_width_m=10)
    truth = np.zeros((500, 500), np.bool_)
    truth[100:400, 100:400] = True
    truth[200:300, 200:300] = False
    truth[225:275, 225:275] = True
    outlines = (_box(2, 8, -3, 3), _box(4, 6, -1, 1, hole=True), _box(4.5, 5.5, -0.5, 0.5))
    assert polygon_iou(outlines, truth, settings) > 0.98
    assert polygon_iou(outlines[:1], truth, settings) == pytest.approx(82500 / 90000, abs=0.01)
    assert polygon_iou((), np.zeros_like(truth), settings) == 1


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
