"""Follow things through rendered drives, whose numbers and speeds are exact: with perfect masks, and with the network's.

Ten drives of ten seconds: cars that cross, overtake and stop, people who cross and turn, all hidden now and then; by day,
at night, in rain and fog, with a camera that shakes. The camera's pose and the odometry are known, as TF would say them.
It needs neither ROS nor a GPU.

Example:
  seg_perception check-tracks
  seg_perception check-tracks --perfect-only --json out/tracks.json
  seg_perception check-tracks --model models/driving_mobileseg.onnx --drives 2 --frames 150
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from seg_perception import machine, options
from seg_perception.errors import SegPerceptionError
from seg_perception.ground.geometry import GroundProjection
from seg_perception.ground.odometry import PlanarPose
from seg_perception.labels import CAMVID
from seg_perception.metrics.confusion import ConfusionMatrix, mean_known
from seg_perception.metrics.new_things import ObstacleDelay
from seg_perception.metrics.segment_pairs import pair_segments
from seg_perception.metrics.track_scores import TrackScores
from seg_perception.metrics.without_labels import Flicker
from seg_perception.offline import add_model_arguments, check_model_arguments, opened_pipeline
from seg_perception.options import number, whole
from seg_perception.panoptic.steadier import TemporalSettings
from seg_perception.pipeline import Pipeline
from seg_perception.results import Frame, Panoptic, Segment, Track, Wants
from seg_perception.synthetic.script import DRIVES
from seg_perception.synthetic.tracked_drive import FRAMES, TrackedDrive, TrackedFrame
from seg_perception.tracking.feet import fastest_speeds, hiding_classes
from seg_perception.tracking.numbers import track_mask
from seg_perception.tracking.settings import TrackingSettings
from seg_perception.tracking.tracker import Tracker
from seg_perception.writing import user_path, write_json

SIZE_WH = (1280, 720)
RATE_HZ = 30.0
NEAR_M = 20.0
"""Speeds are judged this far ahead."""
_START_NS = 10**9
_SAME = 0.5

ROWS = {
    "id_switches_per_minute": ("id switches a minute and thing", "{:.2f}"),
    "stq": ("STQ", "{:.3f}"),
    "aq": ("AQ", "{:.3f}"),
    "sq": ("SQ", "{:.3f}"),
    "vpq": ("VPQ, windows of 1 to 4", "{:.3f}"),
    "hota": ("HOTA of things", "{:.3f}"),
    "speed_error_m_s": ("speed on the ground within 20 m: error, p50", "{:.2f} m/s"),
    "flicker": ("flicker", "{:.2%}"),
    "obstacle_delay_frames": ("obstacle delay, mean", "{:.2f} frames"),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the verb."""
    add_model_arguments(parser, required=False)
    parser.add_argument(
        "--drives",
        type=whole("--drives", 1),
        default=DRIVES,
        metavar="N",
        help=f"the first so many of {DRIVES} (default: all)",
    )
    parser.add_argument(
        "--frames", type=whole("--frames", 2), default=FRAMES, metavar="N", help=f"of each drive (default: {FRAMES})"
    )
    parser.add_argument("--perfect-only", action="store_true", help="follow perfect masks only, without a network")
    parser.add_argument(
        "--strength",
        type=number("--strength", least=0),
        default=0.0,
        metavar="X",
        help="temporal.strength of the network's masks (default: 0, every frame alone)",
    )
    parser.add_argument("--json", type=user_path, metavar="FILE", help="write the numbers as JSON")


def run(arguments: argparse.Namespace) -> int:
    """Check and print a table; 0."""
    check_model_arguments(arguments)
    if arguments.drives > DRIVES:
        raise SegPerceptionError(f"--drives is {arguments.drives}: there are {DRIVES}")
    if arguments.frames > FRAMES:
        raise SegPerceptionError(f"--frames is {arguments.frames}: each drive has {FRAMES}")
    if arguments.perfect_only:
        given = options.given(arguments, add_arguments)
        names = (*options.given(arguments, add_model_arguments), "strength")
        options.refuse(given, names, "of the network's masks: leave it or --perfect-only out")
        numbers = check_tracks(None, range(arguments.drives), arguments.frames)
    else:
        follow = partial(Pipeline, tracking=TrackingSettings(), temporal=TemporalSettings(arguments.strength))
        with opened_pipeline(arguments, follow) as pipeline:
            numbers = check_tracks(pipeline, range(arguments.drives), arguments.frames)
    if arguments.json:
        write_json(arguments.json, numbers)
    _print(numbers)
    return 0


def check_tracks(pipeline: Pipeline | None, drives: Iterable[int], frames: int) -> dict[str, Any]:
    """Judge so many frames of each drive; returns what --json writes. pipeline: None = perfect masks only."""
    judges = {"perfect": Judge()}
    if pipeline is not None:
        if pipeline.labels.names != CAMVID.names:
            raise SegPerceptionError(
                f"the rendered drives have the classes of CamVid, {pipeline.model.name} has others: give another --model"
            )
        judges["network"] = Judge()
    numbers, classes = list(drives), (hiding_classes(CAMVID), fastest_speeds(CAMVID))
    with tqdm(total=len(numbers) * frames, unit="frame", desc="check-tracks") as progress:
        for place in numbers:
            drive, perfect = TrackedDrive(place, *SIZE_WH), Tracker(len(CAMVID), TrackingSettings(), *classes)
            if pipeline is not None and pipeline.tracker is not None:
                pipeline.tracker.forget()
            for i in range(frames):
                frame = drive.frame(i)
                answers = _answers(drive, frame, i, perfect, pipeline)
                for kind, (panoptic, frame_of_speeds) in answers.items():
                    judges[kind].add(frame, panoptic, frame_of_speeds, f"drive {place}", follows=i > 0)
                progress.update()
    return {
        "model": pipeline.model.name if pipeline is not None else None,
        "machine": machine.describe(),
        "drives": numbers,
        "frames_of_each": frames,
        "size": "{}x{}".format(*SIZE_WH),
        **{kind: judge.summary() for kind, judge in judges.items()},
    }


def _answers(
    drive: TrackedDrive, frame: TrackedFrame, i: int, perfect: Tracker, pipeline: Pipeline | None
) -> dict[str, tuple[Panoptic, str]]:
    """Masks with tracks, and what their speeds are measured in, by kind."""
    pose, odometry, stamp_ns = drive.pose_at(i), PlanarPose(*frame.base_in_world), _START_NS + frame.stamp_ns
    truth = perfect_masks(frame.semantic, frame.instance)
    projection = GroundProjection(drive.camera, pose, truth.semantic.shape)
    tracked = perfect.update(truth, stamp_ns, projection, odometry)
    found = {"perfect": (replace(truth, segments=tracked.segments), tracked.frame)}
    if pipeline is not None:
        pipeline.set_camera(drive.camera, pose, odometry=odometry)
        wants = Wants(areas=False, grid=False, free_space=False)
        result = pipeline.run(Frame(frame.rgb, stamp_ns), wants)
        found["network"] = (result.panoptic, result.motion_frame)
    return found


def perfect_masks(semantic: NDArray[np.uint8], instance: NDArray[np.uint16]) -> Panoptic:
    """Labels as a network would answer them that is always right."""
    segments = []
    areas = np.bincount(instance.ravel())
    for thing in np.flatnonzero(areas[1:]) + 1:
        inside = instance == thing
        x, y, width, height = cv2.boundingRect(inside.view(np.uint8))
        class_id = int(semantic[inside][0])
        segments.append(Segment(int(thing), class_id, True, 1.0, int(areas[thing]), (x, y, width, height)))
    return Panoptic(semantic, instance, np.full_like(semantic, 255), tuple(segments))


class Judge:
    """What is right and wrong with the tracks of one kind of masks."""

    def __init__(self) -> None:
        self._scores, self._delay = TrackScores(CAMVID), ObstacleDelay(CAMVID)
        self._confusion, self._flicker = ConfusionMatrix(CAMVID), Flicker()
        self._speed_errors: list[float] = []

    def add(self, frame: TrackedFrame, panoptic: Panoptic, speeds_in: str, sequence: str, *, follows: bool) -> None:
        """One frame's answer. speeds_in: see Result.motion_frame; follows: whether it is not the first of its sequence."""
        found = track_mask(panoptic)
        pairs = pair_segments(panoptic.semantic, found, frame.semantic, frame.instance, CAMVID.is_thing)
        self._scores.add(pairs, sequence, 1 / RATE_HZ)
        self._delay.add(panoptic.semantic, frame.truth, sequence)
        self._confusion.update(panoptic.semantic, frame.semantic)
        self._flicker.add(frame.rgb, panoptic.semantic, follows=follows)
        if speeds_in == "odometry":
            self._judge_speeds(frame, panoptic, pairs.pixels, pairs.area)

    def _judge_speeds(
        self, frame: TrackedFrame, panoptic: Panoptic, both: Mapping[tuple[int, int], int], area: Mapping[int, int]
    ) -> None:
        tracks = {s.track.id: s.track for s in panoptic.segments if s.track is not None}
        things = {thing.id: thing for thing in frame.objects}
        for (true_key, key), pixels in both.items():
            track, thing = tracks.get(key & 0xFFFF), things.get(true_key & 0xFFFF)
            if track is None or thing is None or not CAMVID.is_thing[true_key >> 16] or 0 in (true_key & 0xFFFF, key):
                continue
            near = math.hypot(*thing.position_m) <= NEAR_M
            if near and pixels > _SAME * (area[key] + thing.area_px - pixels):
                self._speed_errors += _speed_error(track, thing.velocity_m_s)

    def summary(self) -> dict[str, Any]:
        """The numbers of ROWS, and more of them."""
        sq = mean_known(self._confusion.iou())
        delay = self._delay.summary()["obstacle_delay"] or {}
        errors = self._speed_errors
        return {
            **self._scores.summary(sq),
            "sq": sq,
            "speed_error_m_s": float(np.median(errors)) if errors else None,
            "speed_error_p90_m_s": float(np.percentile(errors, 90)) if errors else None,
            "speeds": len(errors),
            "flicker": self._flicker.share,
            "obstacle_delay_frames": delay.get("mean"),
            "obstacle_delay": delay,
        }


def _speed_error(track: Track, velocity_m_s: tuple[float, float]) -> list[float]:
    """How far a confirmed track's speed is off, as a vector; nothing where none is told."""
    if track.ground is None or track.state == "new":
        return []
    return [math.dist(track.ground.velocity_m_s, velocity_m_s)]


def _print(numbers: Mapping[str, Any]) -> None:
    kinds = [kind for kind in ("perfect", "network") if kind in numbers]
    print(f"{numbers['frames_of_each']} frames of each of {len(numbers['drives'])} drives; network: {numbers['model']}")
    print(f"{'masks':<46}" + "".join(f"{kind:>14}" for kind in kinds))
    for name, (words, form) in ROWS.items():
        values = [numbers[kind][name] for kind in kinds]
        print(f"{words:<46}" + "".join(f"{'-' if v is None else form.format(v):>14}" for v in values))
