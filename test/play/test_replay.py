"""What is made after the play: the video is whole whatever happens, and answers survive their way through the disk."""

from __future__ import annotations

import math
import resource
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from eval_fixtures import label_mask, picture

from seg_perception.camera_model import CameraModel, CameraPose
from seg_perception.files import ScratchFile
from seg_perception.ground.drivable import DrivableSettings
from seg_perception.labels import CAMVID, VOID, LabelClass, LabelSet
from seg_perception.play.encoders import BY_PYAV
from seg_perception.play.replay import Replay, replay
from seg_perception.play.spool import Spool
from seg_perception.play.video import VideoWriter
from seg_perception.recordings.sources import Source, SourceFrame
from seg_perception.reports.panels import Panels, Placing, fitted
from seg_perception.results import (
    Answer,
    Drivable,
    DrivableArea,
    Frame,
    FreeSpace,
    Grid,
    LookAhead,
    Outline,
    Segment,
    Truth,
)

ROAD = CAMVID.by_name("road").id


class Pictures(Source):
    """Six labelled pictures; Ctrl-C comes before the frame of that number."""

    def __init__(self, interrupt_at: int | None = None) -> None:
        super().__init__("test", "pictures", 10.0, 6)
        self._interrupt_at = interrupt_at

    def _frames(self) -> Iterator[SourceFrame]:
        for number in range(6):
            if number == self._interrupt_at:
                raise KeyboardInterrupt
            yield SourceFrame(Frame(picture(number)), f"picture {number}", Truth(label_mask(number)), 10.0)


def answer(number: int, free_m: float = 9.0) -> Answer:
    outline = Outline(np.array([[0, 24], [63, 24], [63, 47]], np.float32))
    area = DrivableArea(ROAD, 0.5, 0.9, (outline,), free_distance_m=free_m, edges=(LookAhead(5.0, 2.0, math.inf),))
    grid = Grid(np.full((5, 7), -1, np.int8), 0.5, (0.0, -1.25))
    instance = np.full((48, 64), number, np.uint16)
    segment = Segment(1, ROAD, False, 0.9, 1000, (0, 24, 64, 24))
    free = FreeSpace(*np.full((2, 3), free_m, np.float32), -0.1, 0.1, 0.05, 40.0)
    return Answer(label_mask(number), instance, (segment,), Drivable((area,), grid, free))


def frames_of(path: Path) -> list[np.ndarray]:
    capture = cv2.VideoCapture(str(path))
    frames = []
    while (read := capture.read())[0]:
        frames.append(read[1][..., ::-1].astype(int))
    capture.release()
    return frames


def filled_spool(folder: Path, answered: tuple[int, ...]) -> Spool:
    spool = Spool(folder)
    for number in range(6):
        spool.sent(number / 10)
        if number in answered:
            spool.add_answer(number, 50.0 + number, answer(number))
    return spool


def test_answers_come_back_as_they_were_and_the_first_one_counts(tmp_path: Path) -> None:
    with filled_spool(tmp_path, (1, 4)) as spool:
        spool.add_answer(4, 1.0, answer(0))
        assert (len(spool), spool.answered, spool.answer(0)) == (2, [1, 4], None)
        assert spool.age_ms[4] == 54.0 and math.isnan(spool.age_ms[0])
        back, want = spool.answer(4), answer(4)
        assert back is not None and back.drivable.grid is not None and want.drivable.grid is not None
        np.testing.assert_array_equal(back.semantic, want.semantic)
        np.testing.assert_array_equal(back.instance, want.instance)
        np.testing.assert_array_equal(back.drivable.grid.cells, want.drivable.grid.cells)
        assert back.drivable.areas[0].free_distance_m == 9.0
        assert back.drivable.areas[0].edges == want.drivable.areas[0].edges
        assert back.drivable.free_space is not None and (back.drivable.free_space.ranges_m == 9.0).all()
    assert list(tmp_path.iterdir()) == []


def test_live_frames_are_kept(tmp_path: Path) -> None:
    with Spool(tmp_path) as spool:
        spool.add_frame(0, picture(3))
        assert np.abs(spool.frame(0).astype(int) - picture(3)).mean() < 5


def test_answers_are_held_until_the_next_and_only_fresh_ones_are_judged(tmp_path: Path) -> None:
    with filled_spool(tmp_path, (1, 2, 4)) as spool:
        result = replay(Pictures(), spool, CAMVID, tmp_path / "overlay.mp4")
    assert (result.finished, result.frames, result.numbers["frames_labelled"]) == (True, 6, 3)
    assert result.numbers["miou"] == 1.0
    assert result.numbers["free_distance_error_m"] == {"p50": 1.0, "p95": 1.0, "frames": 3}
    assert [shown.title for shown in result.pictures] == ["picture 1", "picture 2", "picture 4"]
    assert result.free.ahead_m == [9.0] * 3 and result.free.exact_m == [10.0] * 3
    assert result.free.sent_s == [0.1, 0.2, 0.4]
    for number, frame in enumerate(frames_of(tmp_path / "overlay.mp4")):
        plain = np.abs(frame[:48, :64] - picture(number)).mean() < 12
        assert plain == (number == 0)


def other_labels(left_out: str = "") -> LabelSet:
    """CamVid's classes in the opposite order, without one."""
    kept = [label for label in CAMVID.classes[::-1] if label.name != left_out]
    return LabelSet(tuple(replace(label, id=number) for number, label in enumerate(kept)))


def answered_in(labels: LabelSet, folder: Path) -> Replay:
    """A replay of pictures that are labelled in CamVid's classes, all answered rightly by a model of others."""
    own = np.full(256, VOID, np.uint8)
    for label in CAMVID.classes:
        if label.name in labels.names:
            own[label.id] = labels.by_name(label.name).id
    pictures = Pictures()
    pictures.labels = CAMVID
    with filled_spool(folder, ()) as spool:
        for number in range(6):
            spool.add_answer(
                number, 50.0, replace(answer(number), semantic=own[label_mask(number)], drivable=Drivable(()))
            )
        return replay(pictures, spool, labels)


def test_labels_of_other_classes_than_the_models_are_read_by_their_names(tmp_path: Path) -> None:
    """A model of one's own classes on the synthetic drive: ids that mean something else are not compared."""
    result = answered_in(other_labels(), tmp_path)
    assert (result.numbers["miou"], result.numbers["miou_all"]) == (1.0, 1.0) and result.notes == []
    seen = [CAMVID.names[number] for number in np.unique(label_mask(0)) if number != VOID]
    lacking = answered_in(other_labels(left_out=seen[0]), tmp_path)
    assert lacking.numbers["miou"] == 1.0 and seen[0] not in lacking.numbers["iou"]
    (note,) = lacking.notes
    assert seen[0] in note and "unlabelled" in note


def test_labels_of_which_a_model_has_no_class_are_not_judged(tmp_path: Path) -> None:
    result = answered_in(LabelSet((LabelClass(0, "grass", (0, 255, 0)),)), tmp_path)
    assert "miou" not in result.numbers and "miou_all" not in result.numbers


def test_the_ground_stands_beside_the_camera_in_every_frame_whatever_is_known(tmp_path: Path) -> None:
    """No answer, an answer without a grid, an answer with one: the video's size and the camera's part stay."""
    camera = CameraModel(64, 48, ((50.0, 0, 31.5), (0, 50.0, 23.5), (0, 0, 1)))
    placing = Placing(DrivableSettings(), CameraPose(0, 0, 1.5, 0, 0.3), "calibration assumed: x", "no pose")
    with Spool(tmp_path) as spool:
        for number in range(6):
            spool.sent(number / 10)
            whole = answer(number)
            bare = Answer(whole.semantic, whole.instance, whole.segments, Drivable(()))
            if number:
                spool.add_answer(number, 50.0, whole if number > 2 else bare)
        calibrated = Pictures()
        calibrated.camera = camera
        with_panel = replay(calibrated, spool, CAMVID, tmp_path / "with.mp4", placing)
        without = replay(Pictures(), spool, CAMVID, tmp_path / "without.mp4")
    wide, narrow = frames_of(tmp_path / "with.mp4"), frames_of(tmp_path / "without.mp4")
    assert {frame.shape for frame in wide} == {(480, 64 + 320, 3)} and {frame.shape for frame in narrow} == {
        (48, 64, 3)
    }
    assert all(np.abs(w[:48, :64] - n).mean() < 20 for w, n in zip(wide, narrow))
    panel = [frame[60:420, 70:] for frame in wide]
    assert np.abs(panel[0] - panel[1]).max() > 100, "another cause"
    assert np.abs(panel[1] - panel[2]).max() < 50 > np.abs(panel[4] - panel[5]).max()
    assert np.abs(panel[2] - panel[3]).max() > 100, "ground at last"
    assert [len(shown.images) for shown in with_panel.pictures] == [3] * 5
    assert [len(shown.images) for shown in without.pictures] == [2] * 5


def test_beside_the_ground_too_frames_of_changing_size_are_unsquashed() -> None:
    panels = Panels(CAMVID, Placing(DrivableSettings(), None))
    panels.draw(picture(0), None)
    board = panels.draw(np.full((96, 64, 3), 200, np.uint8), None)
    assert board.shape == (480, 64 + 320, 3)
    # the upright one keeps its shape, 32 of 64 columns in the middle
    assert board[:48, :16].max() == board[:48, 48:64].max() == 0 and board[:48, 16:48].min() == 200


def test_a_calibration_that_changes_moves_the_cameras_picture_on_the_ground(tmp_path: Path) -> None:
    cameras = [CameraModel(64, 48, ((fx, 0, 31.5), (0, fx, 23.5), (0, 0, 1))) for fx in (50.0, 50.0, 80.0, 80.0)]

    class Zooming(Source):
        def __init__(self) -> None:
            super().__init__("test", "pictures", 10.0, len(cameras))

        def _frames(self) -> Iterator[SourceFrame]:
            for self.camera in cameras:
                yield SourceFrame(Frame(picture(0)), "picture", None)

    seen = answer(0).drivable
    ground = replace(seen, grid=Grid(np.zeros((160, 160), np.int8), 0.25, (0.0, -20.0)))
    with Spool(tmp_path) as spool:
        for number in range(len(cameras)):
            spool.sent(number / 10)
            spool.add_answer(number, 50.0, replace(answer(0), drivable=ground))
        replay(Zooming(), spool, CAMVID, tmp_path / "a.mp4", Placing(DrivableSettings(), CameraPose(0, 0, 1.5, 0, 0.3)))
    panel = [frame[60:420, 70:] for frame in frames_of(tmp_path / "a.mp4")]
    assert np.abs(panel[0] - panel[1]).mean() < 2 > np.abs(panel[2] - panel[3]).mean()
    assert np.abs(panel[1] - panel[2]).mean() > 3


def test_ctrl_c_ends_with_a_whole_video_of_what_was_done(tmp_path: Path) -> None:
    with filled_spool(tmp_path, (0, 4)) as spool:
        result = replay(Pictures(interrupt_at=3), spool, CAMVID, tmp_path / "overlay.mp4")
    assert (result.finished, result.frames, result.numbers["frames_labelled"]) == (False, 3, 1)
    assert len(frames_of(tmp_path / "overlay.mp4")) == 3
    assert [path.name for path in tmp_path.iterdir()] == ["overlay.mp4"]


def test_frames_of_odd_and_changing_size_fit_one_video_unsquashed(tmp_path: Path) -> None:
    with VideoWriter(tmp_path / "a.mp4", 10.0) as writer:
        for number, size_hw in enumerate([(47, 63), (47, 63), (96, 64)]):
            writer.write(np.full((*size_hw, 3), 200, np.uint8) if number == 2 else picture(number, size_hw))
    frames = frames_of(tmp_path / "a.mp4")
    assert [frame.shape for frame in frames] == [(48, 64, 3)] * 3 and writer.written
    # the upright one keeps its shape, 32 of 64 columns in the middle
    assert frames[2][:, :12].max() < 40 and frames[2][:, -12:].max() < 40 and frames[2][4:-4, 20:44].min() > 150


@pytest.mark.parametrize(
    ("size_hw", "inner"), [((48, 64), 48 * 64), ((47, 63), 48 * 64), ((24, 64), 24 * 64), ((96, 64), 48 * 32)]
)
def test_an_image_is_fitted_as_large_as_its_shape_allows(size_hw: tuple[int, int], inner: int) -> None:
    image = fitted(np.full((*size_hw, 3), 255, np.uint8), (64, 48))
    assert image.shape == (48, 64, 3) and (image[..., 0] == 255).sum() == inner


def codec_of(path: Path) -> str:
    """The four-character code of what the file holds."""
    capture = cv2.VideoCapture(str(path))
    return int(capture.get(cv2.CAP_PROP_FOURCC)).to_bytes(4, "little").decode()


@pytest.mark.parametrize(("encoders", "code"), [(("H.264", "VP9"), "h264"), (("VP9",), "VP90")])
def test_the_video_is_one_that_browsers_play(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, encoders: tuple[str, ...], code: str
) -> None:
    """With PyAV, whose builds may lack an encoder: every frame is there, in its place and of its colours."""
    pytest.importorskip("av", reason="PyAV is not installed: pip install av")
    known = {"VP9": BY_PYAV["VP9"], **({} if "H.264" in encoders else {"H.264": ("no_such_encoder", {})})}
    monkeypatch.setattr("seg_perception.play.encoders.BY_PYAV", {**BY_PYAV, **known})
    shown = [(200, 60, 20), (20, 200, 60), (60, 20, 200), (128, 128, 128)]
    with VideoWriter(tmp_path / "a.mp4", 9.83) as writer:
        for color in shown:
            writer.write(np.full((47, 63, 3), color, np.uint8))
    assert writer.written and not writer.notes and not writer.problems
    assert codec_of(tmp_path / "a.mp4") == code
    seen = [tuple(np.median(frame.reshape(-1, 3), axis=0)) for frame in frames_of(tmp_path / "a.mp4")]
    assert np.abs(np.subtract(seen, shown)).max() <= 4
    capture = cv2.VideoCapture(str(tmp_path / "a.mp4"))
    assert capture.get(cv2.CAP_PROP_FPS) == pytest.approx(9.83)


def test_where_nothing_writes_what_browsers_play_it_is_said_how(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    monkeypatch.setattr("seg_perception.play.encoders.BY_OPENCV", {"MPEG-4 Part 2": "mp4v"})
    with VideoWriter(tmp_path / "a.mp4", 10.0) as writer:
        writer.write(picture(0))
    assert writer.written and codec_of(tmp_path / "a.mp4") == "FMP4"
    assert "browsers do not" in writer.notes[0] and "pip install 'av>=" in writer.notes[0]


@pytest.mark.parametrize("without", [None, "av"])
def test_a_video_that_the_disk_cut_off_is_told_and_not_left_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, without: str | None
) -> None:
    """The limit of a file's size stands in for a full disk: OpenCV is as silent about the one as about the other."""
    if without:
        monkeypatch.setitem(sys.modules, without, None)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    noise = np.random.default_rng(0).integers(0, 256, (240, 320, 3), np.uint8)
    try:
        with VideoWriter(tmp_path / "a.mp4", 10.0) as writer:
            writer.write(noise)
            resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, hard))
            for _ in range(20):
                writer.write(noise)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert not writer.written and "free space" in writer.problems[0] and list(tmp_path.iterdir()) == []


def test_what_the_disk_did_not_take_does_not_spoil_what_it_took(tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    file = ScratchFile(tmp_path)
    place = file.append(b"kept", b" whole")
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (20, hard))
        with pytest.raises(OSError):
            file.append(b"x" * 30)
        assert file.read(place) == b"kept whole"
        assert file.read(file.append(b"fits")) == b"fits"
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        file.close()


def test_the_video_takes_as_long_as_the_play_did(tmp_path: Path) -> None:
    """Pictures are said to come at 10 Hz and came at 4."""
    with Spool(tmp_path) as spool:
        for number in range(6):
            spool.sent(3.0 + number / 4)
        assert spool.rate_hz == 4.0
        assert replay(Pictures(), spool, CAMVID, tmp_path / "overlay.mp4").video
    capture = cv2.VideoCapture(str(tmp_path / "overlay.mp4"))
    assert capture.get(cv2.CAP_PROP_FPS) == pytest.approx(4.0)


def test_a_video_that_fails_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), VideoWriter(tmp_path / "a.mp4", 10.0) as writer:
        writer.write(picture(0))
        raise RuntimeError
    with VideoWriter(tmp_path / "b.mp4", 10.0):
        pass
    assert list(tmp_path.iterdir()) == []
