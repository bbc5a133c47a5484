"""`label pick`: recordings in, a job out."""

from __future__ import annotations

import json
import re
import weakref
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from fakes import tiny_model

from seg_perception.backends.onnx_runtime import OnnxRuntimeBackend
from seg_perception.cli import main
from seg_perception.labelling.job import NUMBERED, recording_of
from seg_perception.labelling.look import Looker
from seg_perception.labelling.pick import Recording, open_recordings, pick
from seg_perception.recordings.sources import Source, SourceFrame
from seg_perception.results import Frame


def photos(folder: Path, count: int, seed: int = 0, prefix: str = "drive") -> Path:
    folder.mkdir(parents=True)
    rng = np.random.default_rng(seed)
    for number in range(count):
        coarse = rng.integers(0, 256, (4, 6, 3), np.uint8)
        image = cv2.resize(coarse, (120, 80), interpolation=cv2.INTER_NEAREST)
        cv2.imwrite(str(folder / f"{prefix}_{number:03d}.png"), image)
    return folder


def words(folder: Path, *inputs: Path, count: int = 5) -> list[str]:
    model = folder / "tiny.onnx"
    if not model.is_file():
        tiny_model(model)
    return ["label", "pick", "--model", str(model), "--count", str(count), "--input", *map(str, inputs)]


def test_a_job_holds_the_frames_says_why_and_is_the_same_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    inputs = [photos(tmp_path / "a", 12), photos(tmp_path / "b" / "a", 12, seed=1)]
    for out in ("first", "second"):
        assert main([*words(tmp_path, *inputs), "--out", str(tmp_path / out)]) == 0
    assert "5 frames picked of 24" in capsys.readouterr().out
    first, second = ((tmp_path / out / "picked.json").read_bytes() for out in ("first", "second"))
    assert first == second
    rows = json.loads(first)["frames"]
    assert {row["file"] for row in rows} == {path.name for path in (tmp_path / "first" / "images").iterdir()}
    assert len(rows) == 5 and all(row["why"] for row in rows)
    # two folders of one name, with files of the same names, get names of their own
    assert {row["recording"] for row in rows} == {"a/drive", "a-2/drive"}
    row = rows[0]
    source = inputs[row["recording"] == "a-2/drive"] / f"drive_{row['number']:03d}.png"
    assert (cv2.imread(str(source)) == cv2.imread(str(tmp_path / "first" / "images" / row["file"]))).all()
    page = (tmp_path / "first" / "index.html").read_text()
    assert page.count("data:image/jpeg;base64,") == 10 and not re.search(r"(src|href)=\"(?!data:)", page)
    assert all(row["file"] in page and row["why"][0] in page for row in rows)


def test_no_frame_takes_the_file_of_another(tmp_path: Path) -> None:
    """Names that differ in their ending alone, or in what a file's name cannot have."""
    folder = photos(tmp_path / "a", 4)
    for old, new in (("drive_001", "drive_000.bmp"), ("drive_002", "a b.png"), ("drive_003", "a_b.png")):
        image = cv2.imread(str(folder / f"{old}.png"))
        (folder / f"{old}.png").unlink()
        cv2.imwrite(str(folder / new), image)
    assert main([*words(tmp_path, folder), "--out", str(tmp_path / "job"), "--json", str(tmp_path / "j.json")]) == 0
    rows = json.loads((tmp_path / "j.json").read_text())["frames"]
    assert len(rows) == len({row["file"] for row in rows}) == 4 == len(list((tmp_path / "job" / "images").iterdir()))


def test_no_recording_takes_the_name_of_another(tmp_path: Path) -> None:
    """Else both would be one recording, and train and validate together."""
    inputs = [photos(tmp_path / name, 1) for name in ("x/a", "y/a", "z/a-2", "w/a")]
    found = open_recordings(list(map(str, inputs)), None, 2.0)
    assert [recording.name for recording in found] == ["a", "a-2", "a-2-2", "a-3"]


def test_frames_that_show_nothing_are_left_out_and_counted(tmp_path: Path) -> None:
    folder = photos(tmp_path / "a", 3)
    cv2.imwrite(str(folder / "dark.png"), np.full((80, 120, 3), 7, np.uint8))
    assert main([*words(tmp_path, folder), "--out", str(tmp_path / "job"), "--json", str(tmp_path / "j.json")]) == 0
    content = json.loads((tmp_path / "j.json").read_text())
    assert content["without_contrast"] == 1 and len(content["frames"]) == 3


def test_what_cannot_be_read_is_told_and_the_rest_is_picked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = photos(tmp_path / "a", 3)
    (folder / "drive_001.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    assert main([*words(tmp_path, folder), "--out", str(tmp_path / "job")]) == 1
    assert "drive_001.png" in capsys.readouterr().err
    assert len(list((tmp_path / "job" / "images").iterdir())) == 2


@pytest.mark.parametrize("fault", ["twice", "there", "dark", "topic", "rate"])
def test_nothing_is_written_where_there_is_nothing_to_pick(
    fault: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, out = photos(tmp_path / "a", 2), tmp_path / "job"
    inputs, more = [folder], []
    if fault == "twice":
        inputs = [folder, tmp_path / "a" / ".." / "a"]
    elif fault == "there":
        out.mkdir()
    elif fault == "topic":
        more = ["--topic", "/image"]
    elif fault == "rate":
        more = ["--rate", "5"]
    else:
        for path in folder.iterdir():
            cv2.imwrite(str(path), np.zeros((8, 8, 3), np.uint8))
    assert main([*words(tmp_path, *inputs), "--out", str(out), *more]) == 2
    told = {"twice": "given twice", "there": "is there already", "dark": "no contrast", "topic": "--topic is for bags"}
    told["rate"] = "--rate is for videos and bags"
    assert told[fault] in capsys.readouterr().err
    assert not (out / "picked.json").exists() and not list(tmp_path.glob(".job*"))


class Watched(Source):
    """A recording that knows how many of its frames somebody holds."""

    def __init__(self, count: int) -> None:
        super().__init__("video", "watched", 2.0, count)
        self.stamped = True
        self.alive: weakref.WeakSet[Frame] = weakref.WeakSet()
        self.most = 0

    def _frames(self) -> Iterator[SourceFrame]:
        rng = np.random.default_rng(0)
        for number in range(self.count or 0):
            coarse = rng.integers(0, 256, (4, 6, 3), np.uint8)
            frame = _Hashed(cv2.resize(coarse, (48, 32)), round(number * 5e8))
            self.alive.add(frame)
            self.most = max(self.most, len(self.alive))
            yield SourceFrame(frame, f"frame {number}")


class _Hashed(Frame):
    """A frame that a weak set takes."""

    __hash__ = object.__hash__
    __eq__ = object.__eq__


def test_a_few_frames_are_in_memory_however_many_there_are(tmp_path: Path) -> None:
    source = Watched(400)
    backend = OnnxRuntimeBackend(tiny_model(tmp_path / "tiny.onnx"))
    content = pick([Recording("watched", source, 1)], Looker(backend), tmp_path / "job", 50)
    assert len(content["frames"]) == 50 and content["looked_at"] == 400
    assert source.most <= 3


def test_what_cannot_be_read_behind_the_last_frame_taken_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Frames are written by reading again, no farther than the last that was chosen."""
    folder = photos(tmp_path / "photos", 2)
    (folder / "drive_002.png").write_bytes(b"no image")
    out = tmp_path / "job"
    assert main([*words(tmp_path, folder, count=1), "--out", str(out)]) == 1
    assert "drive_002.png" in capsys.readouterr().err
    (problem,) = json.loads((out / "picked.json").read_text())["problems"]
    assert "drive_002.png" in problem and "drive_002.png" in (out / "index.html").read_text()


def test_a_video_is_looked_at_as_often_as_asked(tmp_path: Path) -> None:
    writer = cv2.VideoWriter(str(tmp_path / "v.avi"), cv2.VideoWriter.fourcc(*"MJPG"), 20, (64, 48))
    for number in range(40):
        writer.write(np.full((48, 64, 3), 6 * number, np.uint8))
    writer.release()
    (recording,) = open_recordings([str(tmp_path / "v.avi")], None, 4.0)
    assert [place for place, _ in recording.frames()] == list(range(0, 40, 5))


def test_an_image_is_of_what_its_name_begins_with() -> None:
    assert [recording_of(name) for name in ("0016E5_08001.png", "tour-12.jpg", "lonely.png", "007.png")] == [
        "0016E5",
        "tour",
        "lonely",
        NUMBERED,
    ]


@pytest.mark.parametrize(
    ("name", "recording"),
    [
        ("aachen_000000_000019_leftImg8bit.png", "aachen_000000"),
        ("frame_000123_left.png", "frame"),
        ("000123_rgb", NUMBERED),
        ("drive1_cam0_0042", "drive1_cam0"),
        ("cam0_left.png", "cam0_left"),
        ("tour_000123_jpg.rf.0a1b2c3d4e5f.jpg", "tour"),
        ("000123_png.rf.9", NUMBERED),
        ("1665489200.123456789.png", NUMBERED),
        ("1665489200.123456789", NUMBERED),
        ("1665489200_5", NUMBERED),
        ("image_1665489200_123456789.png", "image"),
        ("20230501120000_0001.png", "20230501120000"),
        ("2023-05-01-12-00-00_0001.png", "2023-05-01-12-00-00"),
        ("IMG_20230501_120000.jpg", "IMG_20230501"),
        ("run.2_0007", "run.2"),
    ],
)
def test_neighbours_are_of_one_recording_however_their_names_end(name: str, recording: str) -> None:
    """Else each is a recording of its own, and of two neighbours one trains and one judges, unsaid."""
    assert recording_of(name) == recording
