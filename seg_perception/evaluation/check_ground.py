"""Hold drivable ground in metres against exact ground truth, with perfect labels and with those of a network.

Rendered drives with known camera, lens, pose and street go through the extractor twice, with their own labels and with
the network's. Printed are: the share of the grid's cells within 20 m that are right, also leaving out those of which
truth and answer say alike that nothing is known, and the share that is strictly right (what these mean stands in
seg_perception/metrics/ground_truth.py); the error of the free distance straight ahead, as a share
and in metres (95 % of the frames are better), and the share of frames in which it is at most 2 % or 5 cm, also for the free
distance over the vehicle's width; the error of the road's edges to both sides, where answer and truth have seen them; the
mean IoU of the road's outline on the ground and the exact one. Into the perfect labels posts of 3 to 20 cm, at least 2 px
wide, are drawn one at a time, and it is counted how many grid and scan tell; and it is told from where on the vehicle's
lane is in view: what is nearer is blind. The same as of the labels follows for a camera pose whose pitch is wrong by one
degree, half of the answers nose up and half nose down.

Example:
  seg_perception check-ground --frames 40 --json ground.json --out out/ground
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from seg_perception import machine
from seg_perception.camera_model import CameraPose
from seg_perception.ground.drivable import DrivableExtractor, DrivableSettings
from seg_perception.metrics import thin_posts
from seg_perception.metrics.ground_truth import GroundTruth, Judgement, judge, summary
from seg_perception.offline import add_model_arguments, check_model_arguments, opened_pipeline
from seg_perception.options import whole
from seg_perception.pipeline import Pipeline
from seg_perception.reports.ground_pictures import GroundPicture, write_picture
from seg_perception.results import Frame, Panoptic, Wants
from seg_perception.synthetic.drive import SyntheticDrive
from seg_perception.writing import check_folder, user_path, write_json

Scores = dict[str, list[Judgement]]

SIZE_WH = (1280, 720)
DEFAULT_FRAMES = 40
WRONG_PITCH_RAD = math.pi / 180
FRAMES_APART = 37
"""Frames of a drive that are judged: so far apart that street and traffic have changed."""
POST_CLASS = "pole"
POSTS = 12
"""Thin obstacles drawn into each frame."""
DRIVES: dict[str, dict[str, Any]] = {
    "straight": {},
    "left bend of 100 m": {"curvature": 0.01},
    "right bend of 50 m": {"curvature": -0.02},
    "plumb_bob lens": {"distortion": (-0.28, 0.07, 0.0005, -0.0003, 0.0)},
    "rational_polynomial lens": {
        "distortion_model": "rational_polynomial",
        "distortion": (0.4, 0.1, 0.0002, -0.0001, 0.01, 0.7, 0.2, 0.02),
        "curvature": -0.01,
    },
    "fisheye lens": {"distortion_model": "fisheye", "distortion": (-0.02, 0.004, -0.003, 0.0005), "curvature": 0.02},
    "camera at 1.2 m": {"pose": CameraPose(0.2, 0.1, 1.2, 0.0, 0.02, 0.0)},
    "camera at 2.2 m": {"pose": CameraPose(-0.5, -0.2, 2.2, 0.02, 0.15, 0.05), "curvature": 0.01},
    "nodding camera": {"nod_rad": 0.02},
}
"""Streets and cameras by their name in the report: arguments of SyntheticDrive."""
ROWS = {
    "grid_accuracy_20m": "grid cells right within 20 m",
    "grid_accuracy_20m_known": "  of those that are not simply unknown",
    "grid_accuracy_20m_strict": "grid cells strictly right",
    "free_distance_error": "free distance: error, p95",
    "free_distance_error_m": "free distance: error in m, p95",
    "free_distance_within": "free distance: frames within 2 % or 5 cm",
    "free_distance_width_within": "the same over the vehicle's width",
    "edge_error_m": "road's edges 5 to 20 m ahead: error, p95",
    "edges_seen": "  edges that were seen",
    "edges": "  of so many",
    "polygon_iou": "IoU of the road's polygon",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the verb."""
    add_model_arguments(parser, required=False)
    parser.add_argument(
        "--frames",
        type=whole("--frames", 1),
        default=DEFAULT_FRAMES,
        metavar="N",
        help=f"frames in all, of {len(DRIVES)} drives in turn (default: {DEFAULT_FRAMES})",
    )
    parser.add_argument("--json", type=user_path, metavar="FILE", help="write the numbers as JSON")
    parser.add_argument("--out", type=user_path, metavar="DIR", help="write a picture of the first frame of each drive")


def run(arguments: argparse.Namespace) -> int:
    """Check and print a table; 0."""
    check_model_arguments(arguments)
    if arguments.out:
        check_folder(arguments.out)
    with opened_pipeline(arguments) as pipeline:
        numbers = check_ground(pipeline, arguments.frames, arguments.out)
    if arguments.json:
        write_json(arguments.json, numbers)
    _print(numbers)
    return 0


def check_ground(pipeline: Pipeline, frames: int, pictures: Path | None = None) -> dict[str, Any]:
    """Judge so many frames of DRIVES; returns what --json writes. pictures: folder for one picture a drive."""
    check = _Check(pipeline)
    by_drive: dict[str, Any] = {}
    with tqdm(total=frames, unit="frame", desc="check-ground") as progress:
        for place, (name, arguments) in enumerate(DRIVES.items()):
            drive = SyntheticDrive(*SIZE_WH, seed=place + 1, **arguments)
            count = len(range(place, frames, len(DRIVES)))
            before, told_before = len(check.right["perfect"]), check.posts
            for number in range(count):
                answers = check.frame(drive, FRAMES_APART * number)
                if pictures is not None and number == 0:
                    write_picture(pictures / f"{name.replace(' ', '_')}.png", answers)
                progress.update()
            if count:
                by_drive[name] = {"frames": count, **_summary(check.right, before)}
                by_drive[name] |= _thin(np.subtract(check.posts, told_before)) | _blind(check.begins_m[before:])
    return {
        "model": pipeline.model.name,
        "machine": machine.describe(),
        "frames": frames,
        "size": "{}x{}".format(*SIZE_WH),
        **_summary(check.right),
        **_thin(check.posts),
        **_blind(check.begins_m),
        "pitch_error_1deg": _summary(check.wrong_pitch),
        "drives": by_drive,
    }


class _Check:
    """Judges frames. right, wrong_pitch: by kind of labels, for the true pose and for those that are tilted; posts: thin
    obstacles told and drawn; begins_m: from where on the lane of each frame is in view, NaN where none of it is."""

    def __init__(self, pipeline: Pipeline) -> None:
        self._pipeline, self._settings = pipeline, DrivableSettings()
        self._perfect = DrivableExtractor(SyntheticDrive.labels, self._settings)
        self._thin = DrivableExtractor(SyntheticDrive.labels, self._settings)
        self.labels = {"perfect": SyntheticDrive.labels, "network": pipeline.labels}
        self._tilted = {
            (kind, sign): DrivableExtractor(labels, self._settings)
            for kind, labels in self.labels.items()
            for sign in (-1, 1)
        }
        self.posts = (0, 0)
        self.begins_m: list[float] = []
        self.right: Scores = {kind: [] for kind in self.labels}
        self.wrong_pitch: Scores = {kind: [] for kind in self.labels}

    def frame(self, drive: SyntheticDrive, i: int) -> list[GroundPicture]:
        """Judge frame i of a drive; returns what there is to see, in views that the next frame overwrites."""
        frame, pose = drive.frame(i), drive.pose_at(i)
        truth = GroundTruth.of(drive, i, self._settings)
        self._pipeline.set_camera(drive.camera, pose)
        result = self._pipeline.run(Frame(frame.rgb))
        perfect = Panoptic(frame.semantic, frame.instance, np.full_like(frame.semantic, 255), ())
        masks = {"perfect": perfect, "network": result.panoptic}
        self._perfect.set_camera(drive.camera, pose, frame.semantic.shape)
        found = {"perfect": self._perfect.extract(perfect, Wants()), "network": result.drivable}
        self.begins_m.append(min((area.view_begins_m for area in found["perfect"].areas), default=math.nan))
        for kind, labels in self.labels.items():
            self.right[kind].append(judge(found[kind], labels, truth))
        for (kind, sign), extractor in self._tilted.items():
            tilted = replace(pose, pitch=pose.pitch + sign * WRONG_PITCH_RAD)
            extractor.set_camera(drive.camera, tilted, frame.semantic.shape)
            self.wrong_pitch[kind].append(judge(extractor.extract(masks[kind], Wants()), self.labels[kind], truth))
        self._draw_posts(drive, pose, perfect, truth)
        return [GroundPicture(kind, frame.rgb, masks[kind], found[kind], self.labels[kind], truth) for kind in found]

    def _draw_posts(self, drive: SyntheticDrive, pose: CameraPose, perfect: Panoptic, truth: GroundTruth) -> None:
        # An extractor of its own: the answers that are looked at are views of the others' buffers.
        self._thin.set_camera(drive.camera, pose, perfect.semantic.shape)
        self._thin.extract(perfect, Wants(areas=False))
        pole = drive.labels.by_name(POST_CLASS).id
        told = thin_posts.count_told(self._thin, perfect, truth, pole, POSTS, seed=len(self.begins_m))
        self.posts = self.posts[0] + told[0], self.posts[1] + told[1]


def _thin(posts: Sequence[int] | NDArray[np.int64]) -> dict[str, int]:
    return {"thin_obstacles_found": int(posts[0]), "thin_obstacles": int(posts[1])}


def _blind(begins_m: Sequence[float]) -> dict[str, float | None]:
    """The farthest that the lane begins to be in view, None where it never was."""
    known = [value for value in begins_m if not math.isnan(value)]
    return {"view_begins_m": round(max(known), 3) if known else None}


def _summary(scores: Scores, start: int = 0) -> dict[str, dict[str, float | None]]:
    """The numbers by name, then by kind of labels, of the judgements from start on."""
    by_kind = {kind: summary(judgements[start:]) for kind, judgements in scores.items()}
    return {name: {kind: by_kind[kind][name] for kind in by_kind} for name in by_kind["perfect"]}


def _print(numbers: Mapping[str, Any]) -> None:
    kinds = ("perfect", "network")
    print(
        f"{numbers['frames']} frames of {len(numbers['drives'])} drives, {numbers['size']}; network: {numbers['model']}"
    )
    for title, part in (("labels", numbers), ("labels, pitch wrong by 1 degree", numbers["pitch_error_1deg"])):
        print(f"\n{title:<44}" + "".join(f"{kind:>10}" for kind in kinds))
        for name, words in ROWS.items():
            print(f"{words:<44}" + "".join(f"{_shown(name, part[name][kind]):>10}" for kind in kinds))
    print(
        f"\nthin obstacles told, of posts drawn into perfect labels: {numbers['thin_obstacles_found']} of "
        f"{numbers['thin_obstacles']}"
    )
    print(f"blind: the vehicle's lane is in view from {_shown('view_begins_m', numbers['view_begins_m'])} on, at worst")
    columns = ("grid_accuracy_20m", "free_distance_error", "polygon_iou")
    titles = ("cells", "distance", "IoU", "posts", "in view")
    print(f"\n{'drive':<28}{'labels':<10}" + "".join(f"{word:>10}" for word in titles))
    for drive, part in numbers["drives"].items():
        posts = f"{part['thin_obstacles_found']}/{part['thin_obstacles']}"
        more = {"perfect": (posts, _shown("view_begins_m", part["view_begins_m"]))}
        for kind in kinds:
            cells = (*(_shown(name, part[name][kind]) for name in columns), *more.get(kind, ()))
            print(f"{drive:<28}{kind:<10}" + "".join(f"{cell:>10}" for cell in cells))


def _shown(name: str, value: float | None) -> str:
    if value is None:
        return "-"
    if name.startswith("edges"):
        return f"{value:.0f}"
    return f"{value:.2f} m" if name.endswith("_m") else f"{100 * value:.2f} %"
