"""A file for Rerun's viewer: what is logged, by a stand-in that keeps it; and with the real library where it is there."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from seg_perception.errors import SegPerceptionError
from seg_perception.ground.drivable import DrivableExtractor, DrivableSettings
from seg_perception.ground.geometry import GroundProjection
from seg_perception.labels import CAMVID
from seg_perception.recordings.rerun_file import rerun_file
from seg_perception.results import Frame, GroundMotion, Panoptic, Result, Segment, Track, Wants
from seg_perception.synthetic.drive import SyntheticDrive

SIZE_WH = (320, 180)


class Kept:
    """An archetype of the stand-in: its name and what it was given."""

    def __init__(self, name: str, *values: Any, **named: Any) -> None:
        self.name, self.values, self.named = name, values, named

    def compress(self, jpeg_quality: int) -> Kept:
        return self


class StandIn(ModuleType):
    """As much of rerun as is used; entries: (time, entity, archetype)."""

    class Box2DFormat:
        XYWH = "xywh"

    def __init__(self) -> None:
        super().__init__("rerun")
        self.entries: list[tuple[Any, str, Kept]] = []
        self.time: Any = None

    def __getattr__(self, name: str) -> Any:
        return lambda *values, **named: Kept(name, *values, **named)

    def RecordingStream(self, name: str) -> StandIn:  # noqa: N802 - rerun's name
        return self

    def save(self, path: str) -> None:
        Path(path).write_bytes(b"RRF2")

    def set_time(self, timeline: str, *, timestamp: Any) -> None:
        self.time = timestamp

    def log(self, entity: str, what: Kept, static: bool = False) -> None:
        self.entries.append((None if static else self.time, entity, what))

    def disconnect(self) -> None:
        pass


def found() -> tuple[Result, GroundProjection]:
    """A frame of the drive with one car that moves, and its ground."""
    drive = SyntheticDrive(*SIZE_WH)
    frame = drive.frame(3)
    hw = SIZE_WH[::-1]
    motion = GroundMotion((8.0, -1.0), (3.0, 0.5), ((0.0,) * 4,) * 4)
    track = Track(7, 8, "confirmed", 1.0, 30, 0.0, (10, 20, 30, 40), (0.0, 0.0), (1.0, 1.0), motion)
    segment = Segment(1, 8, True, 0.9, 100, (10, 20, 30, 40), track)
    panoptic = Panoptic(frame.semantic, np.zeros(hw, np.uint16), np.full(hw, 200, np.uint8), (segment,))
    extractor = DrivableExtractor(CAMVID, DrivableSettings())
    extractor.set_camera(drive.camera, drive.pose, hw)
    drivable = extractor.extract(panoptic, Wants())
    projection = GroundProjection(drive.camera, drive.pose, hw)
    return Result(Frame(frame.rgb, 1_500_000_000, "camera"), panoptic, drivable, motion_frame="base"), projection


def test_everything_of_a_frame_is_logged_under_its_stamp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rerun = StandIn()
    monkeypatch.setitem(sys.modules, "rerun", rerun)
    result, projection = found()
    with rerun_file(tmp_path / "drive.rrd", CAMVID) as file:
        file.camera("/front/image_raw", alone=True).write(0, result, projection)
    logged = {entity: what for _, entity, what in rerun.entries}
    assert {time for time, _, _ in rerun.entries} == {None, np.datetime64(1_500_000_000, "ns")}
    assert logged["camera"].values[0][3] == (3, "road", CAMVID.by_name("road").color)
    assert logged["camera/image/classes"].values[0] is result.panoptic.semantic
    boxes = logged["camera/image/things"].named
    assert boxes["labels"] == ["car 7"] and boxes["array"].tolist() == [[10, 20, 30, 40]] and boxes["class_ids"] == [8]
    arrows = logged["camera/ground/things"].named
    assert arrows["origins"].tolist() == [[8.0, -1.0, 0.0]] and arrows["vectors"].tolist() == [[3.0, 0.5, 0.0]]
    lines = logged["camera/ground/drivable"]
    assert len(lines.values[0]) == len(lines.named["class_ids"]) > 0
    assert all(np.array_equal(line[0], line[-1]) and line.shape[1] == 3 for line in lines.values[0])
    ends = logged["camera/ground/free_space"].values[0]
    assert len(ends) > 10 and np.isfinite(ends).all()
    assert (tmp_path / "drive.rrd").read_bytes() == b"RRF2"


def test_without_geometry_there_is_no_ground(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rerun = StandIn()
    monkeypatch.setitem(sys.modules, "rerun", rerun)
    result, _ = found()
    with rerun_file(tmp_path / "drive.rrd", CAMVID) as file:
        file.camera("/front/image_raw", alone=False).write(0, result, None)
    entities = [entity for _, entity, _ in rerun.entries]
    assert entities == ["front/image_raw", *(f"front/image_raw/image{part}" for part in ("", "/classes", "/things"))]


def test_what_a_frame_has_no_more_is_cleared_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The viewer shows the latest of each entity, and so old ground beside a new image."""
    rerun = StandIn()
    monkeypatch.setitem(sys.modules, "rerun", rerun)
    result, projection = found()
    with rerun_file(tmp_path / "drive.rrd", CAMVID) as file:
        camera = file.camera("/image", alone=True)
        camera.write(0, result, projection)
        for number in range(2):
            rerun.entries.clear()
            camera.write(number, replace(result, motion_frame=""), None)
            cleared = {entity for _, entity, what in rerun.entries if what.name == "Clear"}
            ground = {
                f"camera/{name}" for name in ("ground/drivable", "ground/free_space", "ground/things", "free_ahead_m")
            }
            assert cleared == (set() if number else ground)
        camera.write(2, result, projection)
        rerun.entries.clear()
        camera.write(3, replace(result, motion_frame=""), projection)
        assert [entity for _, entity, what in rerun.entries if what.name == "Clear"] == ["camera/ground/things"]


def test_what_fails_leaves_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "rerun", StandIn())
    with pytest.raises(KeyboardInterrupt), rerun_file(tmp_path / "drive.rrd", CAMVID):
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []


def test_with_the_real_library(tmp_path: Path) -> None:
    pytest.importorskip("rerun", reason="rerun-sdk is not installed")
    result, projection = found()
    with rerun_file(tmp_path / "drive.rrd", CAMVID) as file:
        file.camera("/image", alone=True).write(0, result, projection)
    assert (tmp_path / "drive.rrd").stat().st_size > 10_000


def test_a_folder_in_its_place_is_told_before_anything_is_evaluated(tmp_path: Path) -> None:
    with pytest.raises(SegPerceptionError, match="is a folder"), rerun_file(tmp_path, CAMVID):
        raise AssertionError("it was opened")
