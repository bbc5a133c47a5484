"""The verb ego-mask: what never moves in a recording is proposed, and nothing where nothing can be told."""

from __future__ import annotations

import json
from pathlib import Path

import bag_fixtures
import cv2
import numpy as np
import pytest
from eval_fixtures import write_video
from numpy.typing import NDArray
from own_vehicle_fixtures import COUNT, HW, bonnet, drive

from seg_perception import cli
from seg_perception.files import write_image
from seg_perception.recordings.own_vehicle import LEAST_FRAMES, MARGIN, _spread
from seg_perception.recordings.sources import FolderSource


def recorded(folder: Path, images: list[NDArray[np.uint8]]) -> Path:
    folder.mkdir()
    for number, image in enumerate(images):
        write_image(folder / f"{number:03}.png", image)
    return folder


def propose(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str]:
    code = cli.main(["ego-mask", *map(str, words)])
    captured = capsys.readouterr()
    return code, captured.err + captured.out


def near_the_bonnet(mask: NDArray[np.uint8]) -> None:
    truth = bonnet()
    margin = round(MARGIN * HW[0])
    wide = cv2.dilate(truth.astype(np.uint8), np.ones((2 * margin + 7,) * 2, np.uint8)) > 0
    assert set(np.unique(mask)) == {0, 255} and mask.shape == HW
    assert not (mask[~wide] > 0).any(), "nothing but it"
    assert (mask[truth] > 0).mean() > 0.99, "all of it"


def test_a_folder_of_images_gives_mask_and_picture(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    images, out = drive(), tmp_path / "out" / "ego.png"
    words = ["--images", recorded(tmp_path / "images", images), "--out", out, "--json", tmp_path / "ego.json"]
    code, said = propose(capsys, *words)
    assert code == 0, said
    near_the_bonnet(cv2.imread(str(out), cv2.IMREAD_UNCHANGED))
    picture = cv2.imread(str(tmp_path / "out" / "ego_overlay.jpg"))
    assert picture.shape == images[0].shape
    numbers = json.loads((tmp_path / "ego.json").read_text())
    assert numbers["frames"] == COUNT and numbers["share"] == pytest.approx(bonnet().mean(), abs=0.04)
    assert str(out) in said and "look at" in said


def test_a_bag_gives_the_same_by_its_topic(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    messages = [
        message
        for topic, own in (("/front/image_raw", True), ("/rear/image_raw", False))
        for number, image in enumerate(drive(own=own))
        for time_ns in [bag_fixtures.START_NS + number * bag_fixtures.PERIOD_NS]
        for message in [(topic, bag_fixtures.IMAGE, bag_fixtures.image(image, "rgb8", time_ns), time_ns)]
    ]
    bag = bag_fixtures.write(tmp_path / "bag", sorted(messages, key=lambda message: message[3]))
    out = tmp_path / "ego.png"
    code, said = propose(capsys, "--bag", bag, "--topic", "/front/image_raw", "--out", out)
    assert code == 0, said
    near_the_bonnet(cv2.imread(str(out), cv2.IMREAD_UNCHANGED))
    code, said = propose(capsys, "--bag", bag, "--topic", "/rear/image_raw", "--out", tmp_path / "rear.png")
    assert code == cli.EXIT_ERROR and "shows no own vehicle at the lower edge" in said
    assert not (tmp_path / "rear.png").exists()


@pytest.mark.parametrize(
    ("images", "words"),
    [
        (drive(moves=False), "stands still, so nothing tells the own vehicle from the rest"),
        (drive(LEAST_FRAMES - 1), f"gave {LEAST_FRAMES - 1} images, {LEAST_FRAMES} are needed"),
        ([np.full((*HW, 3), 80, np.uint8)] * COUNT, "stands still"),
        ([*drive(), np.zeros((90, 160, 3), np.uint8)], "the images change from 320x180 to 160x90 px"),
    ],
    ids=["standing", "short", "grey", "sizes"],
)
def test_where_nothing_can_be_told_it_says_why(
    images: list[NDArray[np.uint8]], words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, said = propose(capsys, "--images", recorded(tmp_path / "images", images), "--out", tmp_path / "ego.png")
    assert code == cli.EXIT_ERROR and words in said
    assert not (tmp_path / "ego.png").exists()


def test_what_cannot_be_asked_for_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    images = recorded(tmp_path / "images", drive(2))
    for words, sentence in (
        (("--images", images, "--out", "ego.jpg"), "a mask is a PNG"),
        (("--images", images, "--out", "ego.png", "--topic", "/front"), "--topic is for bags"),
        (("--images", images, "--out", "ego.png", "--frames", 3), "--frames is 3: give a whole number, at least 10"),
        (("--video", tmp_path / "missing.mp4", "--out", "ego.png"), "there is no file"),
    ):
        code, said = propose(capsys, *words)
        assert code == cli.EXIT_ERROR and sentence in said


def test_a_video_without_an_own_vehicle_has_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_video(tmp_path / "drive.mp4", 30)
    code, said = propose(capsys, "--video", tmp_path / "drive.mp4", "--out", tmp_path / "ego.png", "--frames", 12)
    assert code == cli.EXIT_ERROR and "shows no own vehicle" in said


@pytest.mark.parametrize(("images", "wanted"), [(19, 10), (11, 10), (10, 10), (7, 10), (30, 10)])
def test_as_many_frames_are_looked_at_as_are_asked_for_spread_evenly(tmp_path: Path, images: int, wanted: int) -> None:
    shades = [np.full((8, 8, 3), number, np.uint8) for number in range(images)]
    seen = [int(rgb[0, 0, 0]) for rgb in _spread(FolderSource(recorded(tmp_path / "images", shades)), wanted)]
    assert len(seen) == min(images, wanted)
    steps = np.diff(seen)
    assert steps.max() - steps.min() <= 1
