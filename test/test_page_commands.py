"""Every command that a page shows is run as it is written, in a folder that holds small things under the names that the
pages use; what another test runs is credited to it by name, and the rest is marked in the page by what it needs."""

from __future__ import annotations

import ast
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import bag_fixtures
import cv2
import numpy as np
import pytest
import yaml
from eval_fixtures import write_images, write_video
from fakes import tiny_model
from foreign_networks import foreign_network
from own_vehicle_fixtures import drive
from pages import COMMANDS, Command
from places import CHECKOUT, TESTS

from seg_perception import cli

LIVE = "play/test_live.py::test_every_answer_is_that_of_the_offline_mode"
ELSEWHERE = {
    "make run": "play/test_run.py::test_a_synthetic_drive_is_answered_judged_and_shown",
    "make run INPUT=video.mp4 OUT=out/mine": (
        "play/test_run.py::test_a_video_is_played_at_its_own_rate_and_its_drops_are_reported"
    ),
    'make run INPUT=video.mp4 CAMERA="hfov=55 height=1.25 pitch=-2 yaw=-1.1"': (
        "play/test_run.py::test_every_answered_frame_is_drawn_beside_the_ground_by_an_assumed_camera"
    ),
    "seg_perception run --input drive.mp4 --out out/drive": (
        "play/test_run.py::test_a_video_is_played_at_its_own_rate_and_its_drops_are_reported"
    ),
    "seg_perception evaluate --model M.onnx --bag drive --mode live --out out/live": LIVE,
    "seg_perception evaluate --model M.onnx --bag drive --mode live --rate 0.5 --out out/live": LIVE,
    "seg_perception evaluate --model M.onnx --bag recordings --jobs 4 --out out/all": (
        "evaluation/test_many.py::test_every_bag_counts_once_whatever_dies"
    ),
    "seg_perception benchmark --model models/mine.onnx --cameras 4 --rate 30 --seconds 600": (
        "benchmark/test_overload.py::test_four_cameras_share_a_node_that_is_too_slow_for_them"
    ),
    "seg_perception build-engine --model models/mine.onnx --flavor rtx --compute-capability 8.6": (
        "training/export/test_engines.py::test_every_network_compiles_in_every_precision"
    ),
    "seg_perception label take --corrected export --job out/job --proposed out/proposed --labels camvid --out data/mine": (
        "labelling/test_take.py::test_a_corrected_job_is_a_data_set_that_opens"
    ),
    "seg_perception label take --corrected out/export --job out/job --proposed out/proposed --labels camvid --out data/mine": (
        "labelling/test_take.py::test_a_corrected_job_is_a_data_set_that_opens"
    ),
    "make run MODEL=out/mine/model.onnx INPUT=out/drive_bag": (
        "play/test_run.py::test_a_bag_brings_labels_calibration_and_mounting_along"
    ),
    "seg_perception label agree --first ann --second ben --labels camvid --out out/agree": (
        "labelling/test_agree.py::test_the_worst_image_is_first_and_the_classes_are_named"
    ),
    "seg_perception train --auto data/mine --out out/mine": (
        "auto/test_auto.py::test_from_labels_to_a_model_that_was_measured"
    ),
    "make run MODEL=out/mine/model.onnx INPUT=drive.mp4": (
        "play/test_run.py::test_a_video_is_played_at_its_own_rate_and_its_drops_are_reported"
    ),
    "seg_perception teach --teacher mask2former --weights DIR --images photos --labels cityscapes --out out/teacher": (
        "training/teachers/test_teachers.py::test_mask2former_with_random_weights_labels_a_folder"
    ),
    "seg_perception dashboard": (
        "dashboard/test_dashboard.py::test_a_browser_shows_the_node_while_it_looks_and_says_when_it_is_blind"
    ),
    "seg_perception compile": "test_compiled.py::test_after_compiling_ahead_nothing_is_left_to_compile",
    "make gpu-check": "gpu_check/test_gpu_check.py::test_make_gpu_check_runs_by_the_given_python_and_sets_nothing_up",
    "python3 -m seg_perception gpu-check": "gpu_check/test_gpu_check.py::test_a_bare_python_will_do",
    "seg_perception gpu-check --images photos --json gpu_check.json": (
        "gpu_check/test_gpu_check.py::test_on_a_gpu_that_works_every_section_runs_and_nothing_is_wrong"
    ),
}
"""A command, and the test that runs the same."""
SMALL = {
    "check-ground": ["--frames", "2"],
    "check-tracks": ["--drives", "1", "--frames", "2"],
    "benchmark --model": ["--frames", "5", "--mode", "offline"],
}
"""Words that a command gets besides, by how it begins, so that it ends soon."""
MAY_BREAK_A_LIMIT = {"--fail-if iou.car<0.5": {3}, "--precision int8": {0, 3}}
"""Exit codes by part of a command: no network of here knows a car, and int8 harms what has learnt nothing."""


RUN = list({c.text: c for c in COMMANDS if not c.needs and c.text not in ELSEWHERE}.values())
"""In the order of the pages, each once."""


def test_what_is_run_elsewhere_is_still_shown_and_its_test_there() -> None:
    assert ELSEWHERE.keys() <= {command.text for command in COMMANDS if not command.needs}
    for command, test in ELSEWHERE.items():
        file, _, name = test.partition("::")
        text = (TESTS / file).read_text()
        functions = {node.name for node in ast.walk(ast.parse(text)) if isinstance(node, ast.FunctionDef)}
        assert name in functions, test
        assert [word for word in command.split() if word.startswith("--") and word not in text] == [], command


def test_what_a_robot_is_needed_for_says_so_in_the_page() -> None:
    for command in COMMANDS:
        ours = bool(command.words) or command.text.startswith("make ")
        assert command.needs or ours, f"{command.page} shows '{command.text}' and does not say what it needs"
    assert {command.needs for command in COMMANDS} == {"", "a robot", "a GPU", "a Ray cluster"}


def shrink(config: Path, folder: Path) -> None:
    """Write a training configuration as it is but for the network's size and the number of steps."""
    told = yaml.safe_load(config.read_text())
    told |= {"network": "tiny", "size_hw": [64, 96], "crop_hw": [64, 64], "batch_size": 2, "steps": 2}
    told |= {"workers": 0, "threads": 1, "validate_every": 2}
    told["data"] = [{**source, "share": 1.0} for source in told["data"] if source["name"] in ("camvid", "folder")]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / config.name).write_text(yaml.safe_dump(told))


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with what the pages name, and a network of the name `tiny` that can be trained."""
    pytest.importorskip("torch", reason="training needs torch")
    from training_fixtures import TEST_NETWORKS, write_camvid

    from seg_perception.training.networks import NETWORKS

    at = tmp_path_factory.mktemp("desk")
    (at / "models").mkdir()
    for name in ("M", "old", "models/driving_mobileseg", "models/camvid_pidnet_s"):
        tiny_model(at / f"{name}.onnx")
    foreign_network(at / "theirs.onnx")
    for name in ("drive", "video", "your_video", "tour"):
        write_video(at / f"{name}.mp4", 20)
    write_images(at / "photos", 2)
    write_images(at / "frames", 4)
    write_camvid(at / "data")
    for split in ("train", "val"):
        write_images(at / "data" / "mine" / split / "images", 2)
        (at / "data" / "mine" / split / "labels").mkdir()
        for image in (at / "data" / "mine" / split / "images").iterdir():
            classes = np.repeat(np.arange(48, dtype=np.uint8)[:, None] // 10, 64, axis=1)
            cv2.imwrite(str(at / "data" / "mine" / split / "labels" / image.name), classes)
    messages = []
    for number, image in enumerate(drive(12)):
        time_ns = bag_fixtures.START_NS + number * bag_fixtures.PERIOD_NS
        classes = np.repeat(np.arange(180, dtype=np.uint8)[:, None] // 17, 320, axis=1)
        for topic, pixels, encoding in (("image_raw", image, "rgb8"), ("label", classes, "mono8")):
            message = bag_fixtures.image(pixels, encoding, time_ns)
            messages.append((f"/front/{topic}", bag_fixtures.IMAGE, message, time_ns))
    bag_fixtures.write(at / "drive", messages)
    shutil.copy(at / "drive" / "drive.mcap", at)
    shutil.copytree(CHECKOUT / "config" / "labels", at / "config" / "labels")
    for name in ("own_images", "camvid_pidnet_s"):
        shrink(CHECKOUT / "config" / "train" / f"{name}.yaml", at / "config" / "train")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(at)
        for name, network in TEST_NETWORKS.items():
            patch.setitem(NETWORKS, name, network)
        for name in ("old", "new"):
            assert cli.main(["evaluate", "--model", "M.onnx", "--bag", "drive", "--out", name]) == 0
        yield at


@pytest.mark.parametrize("command", RUN, ids=lambda command: f"{command.page}: {command.text}")
def test_a_command_does_what_the_page_shows(command: Command, desk: Path) -> None:
    """In the order of the pages, all of them, since a command may take what another has written: -k leaves it alone."""
    if command.text.startswith("make "):
        done = subprocess.run(by_make(command.text), cwd=desk, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return
    text = " ".join(command.words)
    if "--out" in command.words:  # pages write to the same places, each as if it were the only one
        shutil.rmtree(desk / command.words[command.words.index("--out") + 1], ignore_errors=True)
    more = next((words for begins, words in SMALL.items() if text.startswith(begins)), [])
    expected = next((codes for part, codes in MAY_BREAK_A_LIMIT.items() if part in text), {0})
    assert cli.main([*command.words, *more]) in expected


def by_make(text: str) -> list[str]:
    """What make calls once it is set up, which `test_setup.py` looks at."""
    dry = subprocess.run(
        [*shlex.split(text), "--dry-run", "--no-print-directory"],
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        check=True,
    )
    (line,) = re.findall(r"^\.venv/bin/python (-m seg_perception .*)$", dry.stdout, re.MULTILINE)
    return [sys.executable, *shlex.split(line)]
