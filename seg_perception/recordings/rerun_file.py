"""A recording for Rerun's viewer (rerun.io): images, classes, things with their numbers, and the ground in metres, on one
timeline by the images' stamps. `rerun FILE.rrd` opens it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from seg_perception.ground.geometry import GroundProjection
from seg_perception.labels import LabelSet
from seg_perception.pictures.drawing import free_ahead_m, free_ends_m
from seg_perception.results import Result, Segment
from seg_perception.writing import check_file, folder_aside

JPEG_QUALITY = 80


@contextmanager
def rerun_file(path: Path, labels: LabelSet) -> Iterator[RerunFile]:
    """A new file of what is found in the frames of recordings; written aside, so that a whole one is there or none. Raises
    SegPerceptionError where path cannot be written, or is a folder."""
    check_file(path)
    path = path.resolve()
    with folder_aside(path) as folder:
        recording = RerunFile(folder / path.name, labels)
        yield recording
        recording.close()
        (folder / path.name).replace(path)


class RerunFile:
    """The open file. labels: the model's."""

    def __init__(self, path: Path, labels: LabelSet) -> None:
        import rerun  # an optional library, and a large one

        self.rerun: Any = rerun
        self.labels = labels
        self.stream = rerun.RecordingStream("seg_perception")
        self.stream.save(str(path))

    def camera(self, topic: str, *, alone: bool) -> RerunCamera:
        """What takes the frames of one image topic. alone: whether it is the only one."""
        return RerunCamera(self, "camera" if alone else topic.strip("/"))

    def close(self) -> None:
        """Write what is held back."""
        self.stream.disconnect()


class RerunCamera:
    """The entities of one camera, below its name."""

    def __init__(self, file: RerunFile, name: str) -> None:
        self._file, self._name = file, name
        self._shown: set[str] = set()
        self._logged: set[str] = set()
        classes = [(label.id, label.name, label.color) for label in file.labels.classes]
        file.stream.log(name, file.rerun.AnnotationContext(classes), static=True)

    def write(self, number: int, result: Result, projection: GroundProjection | None) -> None:
        """See CameraRecorder."""
        rerun, panoptic = self._file.rerun, result.panoptic
        self._file.stream.set_time("stamp", timestamp=np.datetime64(result.frame.stamp_ns, "ns"))
        height, width = panoptic.semantic.shape
        things = [segment for segment in panoptic.segments if segment.is_thing]
        scale = np.array([result.frame.rgb.shape[1] / width, result.frame.rgb.shape[0] / height] * 2)
        boxes = np.array([segment.box for segment in things], np.float64).reshape(-1, 4) * scale
        self._log("image", rerun.Image(result.frame.rgb).compress(jpeg_quality=JPEG_QUALITY))
        self._log("image/classes", rerun.SegmentationImage(panoptic.semantic))
        self._log(
            "image/things",
            rerun.Boxes2D(
                array=boxes,
                array_format=rerun.Box2DFormat.XYWH,
                labels=[self._called(thing) for thing in things],
                class_ids=[thing.class_id for thing in things],
            ),
        )
        if projection is not None:
            self._write_ground(result, things)
        self._clear_rest()

    def _clear_rest(self) -> None:
        """Clear what the frame before had and this one has not: the viewer shows the latest of each entity."""
        for entity in sorted(self._shown - self._logged):
            self._file.stream.log(f"{self._name}/{entity}", self._file.rerun.Clear(recursive=False))
        self._shown, self._logged = self._logged, set()

    def _write_ground(self, result: Result, things: list[Segment]) -> None:
        rerun, drivable = self._file.rerun, result.drivable
        lines, ids = [], []
        for area in drivable.areas:
            for outline in area.outlines_ground:
                lines.append(_closed(outline.points))
                ids.append(area.class_id)
        self._log("ground/drivable", rerun.LineStrips3D(lines, class_ids=ids))
        if drivable.free_space is not None:
            ends = free_ends_m(drivable.free_space)
            self._log("ground/free_space", rerun.Points3D(_flat(ends[np.isfinite(ends).all(axis=1)])))
        if result.motion_frame == "base":
            self._write_speeds(things)
        ahead_m = free_ahead_m(drivable, self._file.labels)
        if math.isfinite(ahead_m):
            self._log("free_ahead_m", rerun.Scalars(ahead_m))

    def _write_speeds(self, things: list[Segment]) -> None:
        moving = [(thing, thing.track.ground) for thing in things if thing.track and thing.track.ground]
        self._log(
            "ground/things",
            self._file.rerun.Arrows3D(
                origins=_flat(np.array([motion.foot_m for _, motion in moving])),
                vectors=_flat(np.array([motion.velocity_m_s for _, motion in moving])),
                labels=[self._called(thing) for thing, _ in moving],
                class_ids=[thing.class_id for thing, _ in moving],
            ),
        )

    def _log(self, entity: str, what: Any) -> None:
        self._logged.add(entity)
        self._file.stream.log(f"{self._name}/{entity}", what)

    def _called(self, thing: Segment) -> str:
        name = self._file.labels.names[thing.class_id]
        return name if thing.track is None else f"{name} {thing.track.id}"


def _flat(points: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """[K, 2] on the ground as [K, 3]."""
    return np.column_stack((points.reshape(-1, 2), np.zeros(points.size // 2)))


def _closed(points: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    return _flat(np.concatenate((points, points[:1])))
