"""check-tracks: perfect masks are followed perfectly, the table and the file hold the same, and evaluate judges tracks."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from bag_fixtures import IMAGE, PERIOD_NS, START_NS, image, write
from fakes import tiny_model
from moving_things import Thing, draw

from seg_perception import cli
from seg_perception.evaluation import check_tracks as check
from seg_perception.evaluation.check_tracks import Judge, perfect_masks
from seg_perception.results import GroundMotion, Panoptic, Track
from seg_perception.synthetic.tracked_drive import SeenObject, TrackedFrame


def test_perfect_masks_are_those_of_the_labels():
    panoptic, _ = draw([Thing(k, (lambda x: lambda t: (x, 90))(60 * k), (40 - 4 * k, 20)) for k in (1, 2, 3)], 0)
    found = perfect_masks(panoptic.semantic, panoptic.instance)
    expected = tuple(replace(s, score=1.0) for s in panoptic.segments if s.is_thing)
    assert found.segments == expected


def test_a_few_frames_of_a_drive(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    file = tmp_path / "tracks.json"
    words = ["check-tracks", "--perfect-only", "--drives", "1", "--frames", "4", "--json", str(file)]
    assert cli.main(words) == 0
    numbers = json.loads(file.read_text())
    perfect = numbers["perfect"]
    assert perfect["sq"] == 1.0 and perfect["id_switches"] == 0 and perfect["stq"] > 0.9
    assert perfect["obstacle_delay_frames"] == 0.0 and "network" not in numbers
    printed = capsys.readouterr().out
    assert all(words in printed for words, _ in check.ROWS.values())


@pytest.mark.parametrize(
    "words", [["--model", "M.onnx"], ["--strength", "1"], ["--threads", "2", "--network-size", "64x64"]]
)
def test_options_of_the_network_do_not_go_with_perfect_masks_alone(
    words: list[str], capsys: pytest.CaptureFixture[str]
):
    assert cli.main(["check-tracks", "--perfect-only", *words]) == cli.EXIT_ERROR
    told = capsys.readouterr().err
    assert all(word in told for word in words if word.startswith("--")) and "--perfect-only" in told


def test_more_drives_or_frames_than_there_are_are_refused(capsys: pytest.CaptureFixture[str]):
    for option, value, told in (("--drives", 11, "there are 10"), ("--frames", 301, "each drive has 300")):
        assert cli.main(["check-tracks", "--perfect-only", option, str(value)]) == cli.EXIT_ERROR
        assert f"{option} is {value}: {told}" in capsys.readouterr().err


def test_speeds_are_judged_near_ahead_and_once_confirmed():
    panoptic, _ = draw([Thing(1, lambda t: (100, 90), (60, 40))], 0)
    car = panoptic.segments[0]

    def error(state: str, position: tuple[float, float]) -> float | None:
        ground = GroundMotion((10.0, 0.0), (3.0, 0.0), ())
        track = Track(7, 8, state, 0.0, 1, 0.0, (0.0, 0.0, 1.0, 1.0), (0.0, 0.0), (1.0, 1.0), ground)
        thing = SeenObject(1, 8, position, (3.0, 4.0), 0.0, (4.0, 2.0), 1.0, car.area)
        rgb = np.zeros((180, 320, 3), np.uint8)
        frame = TrackedFrame(rgb, panoptic.semantic, panoptic.instance, 0, (thing,), (0.0, 0.0, 0.0), 0.0)
        segments = (replace(car, track=track), *panoptic.segments[1:])
        judge = Judge()
        answer = Panoptic(panoptic.semantic, panoptic.instance, panoptic.confidence, segments)
        judge.add(frame, answer, "odometry", "a", follows=False)
        value: float | None = judge.summary()["speed_error_m_s"]
        return value

    assert error("confirmed", (12.0, 0.0)) == 4.0
    assert error("new", (12.0, 0.0)) is None and error("confirmed", (25.0, 0.0)) is None


def bag_of_a_car(folder: Path, values: tuple[int, ...] = ()) -> list[str]:
    """A bag of a car that moves, with labels and instances, in the first frame of which the labels hold these values too;
    returns the words that evaluate it."""
    tiny_model(folder / "tiny.onnx")
    messages = []
    things = [Thing(1, lambda t: (60 + 40 * t, 90), (40, 30))]
    for i in range(4):
        time_ns = START_NS + i * PERIOD_NS
        panoptic, _ = draw(things, i / 10)
        rgb = np.repeat(panoptic.semantic[..., None] * 20, 3, axis=2)
        if i == 0:
            panoptic.semantic[0, : len(values)] = values
        masks = (("label", panoptic.semantic, "mono8"), ("instance", panoptic.instance, "mono16"))
        messages += [(f"/camera/{name}", IMAGE, image(mask, code, time_ns), time_ns) for name, mask, code in masks]
        messages.append(("/camera/image", IMAGE, image(rgb, "rgb8", time_ns), time_ns))
    write(folder / "bag", messages)
    return [
        "evaluate",
        "--model",
        str(folder / "tiny.onnx"),
        "--bag",
        str(folder / "bag"),
        "--out",
        str(folder / "out"),
    ]


@pytest.mark.parametrize("steady", [True, False])
def test_evaluate_judges_tracks_of_a_bag_where_labels_keep_their_numbers(tmp_path: Path, steady: bool):
    words = bag_of_a_car(tmp_path)
    assert cli.main(words + ["--tracked-labels"] * steady) == 0
    numbers = json.loads((tmp_path / "out" / "report.json").read_text())
    assert numbers["frames_with_objects"] == 4
    assert {"tracks", "track_length_s", "number_changes_per_minute"} <= numbers.keys()
    assert ("stq" in numbers) == ("id_switches_per_minute" in numbers) == ("obstacle_delay" in numbers) == steady


def test_tracks_are_not_judged_by_labels_of_a_value_that_no_class_has(tmp_path: Path):
    words = bag_of_a_car(tmp_path, values=(77,))
    assert cli.main([*words, "--tracked-labels"]) == 1
    numbers = json.loads((tmp_path / "out" / "report.json").read_text())
    assert (numbers["frames"], numbers["bad_labels"]) == (4, 1) and "value 77" in numbers["problems"][0]
    assert numbers["thing_seconds"] == pytest.approx(2 * PERIOD_NS / 1e9)
