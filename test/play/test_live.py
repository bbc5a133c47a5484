"""evaluate --mode live: a bag played to the real node as from its cameras, and held against the offline mode."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bag_fixtures import IMAGE, PERIOD_NS, START_NS, Message, image, pictures, write
from eval_fixtures import label_mask
from ros_harness import make_tiny_model
from std_msgs.msg import Header
from verb_process import Run

from seg_perception import cli
from seg_perception.camera.messages import to_camera_model
from seg_perception.camera_model import CameraModel, rotation
from seg_perception.play.live import camera_names
from seg_perception.play.pace import LONGEST_GAP_NS, Pace
from seg_perception.play.player import _camera_info
from seg_perception.recordings.sources import Source, SourceFrame
from seg_perception.results import Frame
from seg_perception.ros import settings

COUNT = 6


def camera(name: str, count: int, first: int) -> list[Message]:
    """Pictures of one camera, with labels right before each."""
    times = [START_NS + number * PERIOD_NS for number in range(first, first + count)]
    labels = [
        (f"/{name}/label", IMAGE, image(label_mask(number), "mono8", time_ns), time_ns - 1)
        for number, time_ns in enumerate(times, first)
    ]
    return labels + pictures(count, f"/{name}/image_raw", first=first)


def test_every_answer_is_that_of_the_offline_mode(tmp_path: Path) -> None:
    model = make_tiny_model(tmp_path / "tiny.onnx")
    messages = sorted([*camera("front", COUNT, 0), *camera("left", COUNT - 1, 1)], key=lambda message: message[3])
    bag = write(tmp_path / "bag", messages)
    words = ["evaluate", "--model", model, "--bag", bag, "--topic", "all", "--threads", 1, "--out"]
    live = Run(*words[1:], tmp_path / "live", "--mode", "live", "--clock", "--rate", 0.5, verb=words[0])
    assert live.wait() == 0, live.text
    assert cli.main([*map(str, words), str(tmp_path / "offline")]) == 0
    told, offline = (json.loads((tmp_path / mode / "report.json").read_text()) for mode in ("live", "offline"))
    assert (told["mode"], told["clock"], told["rate_factor"]) == ("live", "simulated", 0.5)
    assert told["frames_in"] == 2 * COUNT - 1 == told["frames_out"] + told["dropped"] and told["frames_out"] > 0
    parts: dict[str, Any] = told["topics"]
    assert {name: (part["camera"], part["frames_in"]) for name, part in parts.items()} == {
        "/front/image_raw": ("front", COUNT), "/left/image_raw": ("left", COUNT - 1)
    }  # fmt: skip
    known = {row["name"]: row["confusion"] for row in offline["per_frame"]}
    answered = [row for row in told["per_frame"] if row["age_ms"] is not None]
    assert len(answered) == told["frames_out"] and all(row["age_ms"] > 0 for row in answered)
    assert all(row["confusion"] == known[row["name"]] for row in answered)
    dropped = [row["confusion"] for row in told["per_frame"] if row["age_ms"] is None]
    assert not any(dropped)


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (["--dataset", "synthetic_drive"], "give a --bag"),
        (["--bag", "a", "b"], "one bag at a time"),
        (["--bag", "a", "--rate", "0"], "--rate is 0"),
        (["--bag", "a", "--tta", "flip"], "--tta"),
        (["--bag", "a", "--annotate", "c"], "--annotate is for --mode offline"),
        (["--bag", "a", "--rerun", "c", "--tracked-labels"], "--rerun and --tracked-labels are for --mode offline"),
    ],
)
def test_what_cannot_be_played_is_told_before_anything_starts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], part: str
) -> None:
    code = cli.main(["evaluate", "--model", "none.onnx", "--mode", "live", "--out", str(tmp_path / "out"), *words])
    assert code == 2 and part in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("topics", "names"),
    [
        (["/front/image_raw", "/left/image_raw/compressed"], ["front", "left"]),
        (["/robot/cam_0/image_rect", "/robot/1/image"], ["robot_cam_0", "robot_1"]),
        (["/0/image", "/1/image"], ["camera_0", "camera_1"]),
        # what is left tells them not apart, or nothing is left
        (["/front/image_raw", "/front/image_rect"], ["front_image_raw", "front_image_rect"]),
        (["/image", "/left/image"], ["image", "left_image"]),
        # two topics that are alike once they are names, and names that the node refuses
        (["/front/left/image", "/front_left/image"], ["front_left_image", "front_left_image_2"]),
        (["/_left/image", "/label_cost/image"], ["camera__left", "camera_label_cost"]),
        (["/qos_overrides/image", "/vüe/image"], ["camera_qos_overrides", "v_e"]),
    ],
)
def test_cameras_are_named_after_what_tells_their_topics_apart(topics: list[str], names: list[str]) -> None:
    assert camera_names(topics) == names
    assert settings.camera_names({"camera_names": tuple(names)}) == tuple(names), "the node takes them"


class Stamps(Source):
    """Frames of these stamps, ns, at 10 Hz."""

    def __init__(self, stamps_ns: Sequence[int]) -> None:
        super().__init__("bag", "stamps", 10.0, len(stamps_ns))
        self._stamps_ns = stamps_ns

    def _frames(self) -> Iterator[SourceFrame]:
        for stamp_ns in self._stamps_ns:
            yield SourceFrame(Frame(np.zeros((2, 2, 3), np.uint8), stamp_ns), "frame")


@pytest.mark.parametrize(
    "lens",
    [
        {"rectification": rotation(0.0, 0.02, -0.01)},
        {"distortion": (-0.3, 0.1, 0.0, 0.0, 0.0)},
        {"distortion_model": "equidistant", "distortion": (0.1, 0.0, 0.0, 0.0)},
    ],
)
def test_the_node_gets_the_camera_that_the_recording_has(lens: dict[str, Any]) -> None:
    """The turn of a rectified image was lost on the way."""
    camera = CameraModel(64, 48, ((50.0, 0, 30), (0, 50, 25), (0, 0, 1)), **lens)
    assert to_camera_model(_camera_info(camera, Header())) == camera


def test_frames_are_due_as_recorded_and_clocks_that_jump_move_the_rest() -> None:
    after = START_NS + LONGEST_GAP_NS
    source = Stamps([START_NS, START_NS + 30, START_NS + 30, START_NS - 5, START_NS + 5, after, after + 7])
    pace = Pace(recorded=True)
    # a stamp that repeats or lies before is due one period later, and so is what follows a gap too long to wait for
    period = 10**8
    expected = [0, 30, 30 + period, 30 + 2 * period, 40 + 2 * period]
    due = [due_ns - START_NS for due_ns, _ in pace.due(source)]
    assert due[:5] == expected
    gap = after - (START_NS + 5)
    assert gap <= LONGEST_GAP_NS and due[5:] == [expected[4] + gap, expected[4] + gap + 7]
    assert pace.jumps == {"stamps": 2}
    far = Stamps([START_NS, START_NS + LONGEST_GAP_NS + 1, START_NS + LONGEST_GAP_NS + 9])
    assert [due_ns - START_NS for due_ns, _ in pace.due(far)] == [0, period, period + 8]
    assert [due_ns for due_ns, _ in Pace().due(far)] == [0, period, 2 * period]


def test_a_picture_an_hour_is_not_waited_for() -> None:
    """The usual gap stands for one that nobody waits for, but here that is as long."""
    hour_ns = 3600 * 10**9
    lapse = Stamps([START_NS + number * hour_ns for number in range(3)])
    lapse.rate_hz = 1e9 / hour_ns
    assert np.diff([due_ns for due_ns, _ in Pace(recorded=True).due(lapse)]).tolist() == [LONGEST_GAP_NS] * 2
    asked = Pace()
    assert np.diff([due_ns for due_ns, _ in asked.due(lapse)]).tolist() == [hour_ns] * 2, "the rate was asked for"
    assert asked.jumps == {"stamps": 0}
