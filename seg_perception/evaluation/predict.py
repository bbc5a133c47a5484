"""Write label masks, instance masks and overlays of a folder of images.

For each image: <stem>_labels.png (8-bit class ids, 255 = unlabelled), <stem>_instances.png (16-bit, 0 = none) and
<stem>_overlay.jpg, all at the image's size; with --assume-camera also <stem>_ground.jpg, the ground from above. Images
that cannot be read are named and left out, and the exit code is 1.

Example:
  seg_perception predict --model models/camvid_pidnet_s.onnx --images photos --out out/photos
"""

from __future__ import annotations

import argparse
import math
import sys
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from seg_perception.errors import SegPerceptionError
from seg_perception.files import image_files, read_rgb, refuse_written_over, write_image
from seg_perception.ground.drivable import DrivableSettings
from seg_perception.ground.ego_mask import EgoMask
from seg_perception.metrics.times import StageTimes
from seg_perception.offline import (
    add_model_arguments,
    add_panoptic_arguments,
    check_model_arguments,
    opened_pipeline,
    panoptic_settings,
)
from seg_perception.pictures.birds_eye import BirdsEye
from seg_perception.pictures.overlay import Overlay
from seg_perception.pipeline import Pipeline
from seg_perception.recordings import own_vehicle
from seg_perception.recordings.assumed_camera import AssumedCamera, add_argument
from seg_perception.reports.panels import panel_size
from seg_perception.results import Frame, Result, Wants
from seg_perception.writing import check_folder, user_path, write_json

EXIT_SOME_FAILED = 1


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the verb."""
    add_model_arguments(parser)
    add_panoptic_arguments(parser)
    parser.add_argument("--images", type=user_path, required=True, metavar="DIR", help="folder of images")
    parser.add_argument("--out", type=user_path, required=True, metavar="DIR", help="folder to write to")
    add_argument(parser)
    own_vehicle.add_option(parser, "nothing of it counts as drivable ground")
    parser.add_argument("--json", type=user_path, metavar="FILE", help="write what was found in each image as JSON")


def run(arguments: argparse.Namespace) -> int:
    """Predict every image; 0 when all were read, 1 when some were not."""
    check_model_arguments(arguments)
    check_folder(arguments.out)
    files = image_files(arguments.images)
    twice = [stem for stem, count in Counter(path.stem for path in files).items() if count > 1]
    if twice:
        raise SegPerceptionError(
            f"{arguments.images} has several images named '{twice[0]}', whose outputs would overwrite each other: rename them"
        )
    refuse_written_over(files, arguments.out, ("_labels.png", "_instances.png", "_overlay.jpg", "_ground.jpg"))
    assumed = AssumedCamera.parse(arguments.assume_camera) if arguments.assume_camera else None
    ego = own_vehicle.of_option(arguments)
    with opened_pipeline(arguments, partial(Pipeline, panoptic=panoptic_settings(arguments))) as pipeline:
        report = predict(pipeline, files, arguments.out, assumed, ego)
    if arguments.json:
        write_json(arguments.json, report)
    done, failed = len(report["images"]), len(report["failed"])
    print(f"{done} images written to {arguments.out}" + (f", {failed} could not be read" if failed else ""))
    return EXIT_SOME_FAILED if failed else 0


def predict(
    pipeline: Pipeline,
    files: list[Path],
    out: Path,
    assumed: AssumedCamera | None = None,
    ego: EgoMask | None = None,
) -> dict[str, Any]:
    """Write the masks and overlay of each file into out; returns the report that --json writes.

    assumed: the camera that took all images, whatever their size; ego: where they show the own vehicle. `images`:
    segments, coverage and, with a camera, the ground by image name; `failed`: reason by image name; `stages_ms`.
    """
    overlay = Overlay(pipeline.labels)
    images: dict[str, Any] = {}
    failed: dict[str, str] = {}
    times = StageTimes()
    wants = Wants(grid=assumed is not None, free_space=assumed is not None)
    for path in tqdm(files, unit="image", desc="predict"):
        try:
            rgb = _read(path, ego)
        except SegPerceptionError as error:
            failed[path.name] = str(error)
            tqdm.write(str(error), file=sys.stderr)
            continue
        camera = assumed.model(rgb.shape[1], rgb.shape[0]) if assumed is not None else None
        pipeline.set_camera(camera, assumed.pose() if assumed is not None else None, ego)
        result = pipeline.run(Frame(rgb), wants)
        times.add(result.stages_ms)
        write_image(out / f"{path.stem}_labels.png", result.panoptic.semantic)
        write_image(out / f"{path.stem}_instances.png", result.panoptic.instance)
        drawn = overlay.draw(rgb, result.panoptic, result.drivable, projection=pipeline.projection)
        write_image(out / f"{path.stem}_overlay.jpg", drawn)
        images[path.name] = _found(result, pipeline)
        if assumed is not None:
            images[path.name]["ground"] = _ground(result, pipeline)
            write_image(out / f"{path.stem}_ground.jpg", _from_above(result, pipeline, assumed))
    calibration = {} if assumed is None else {"calibration": f"assumed: {assumed}"}
    stages_ms = times.summary()
    return {"model": pipeline.model.name, **calibration, "images": images, "failed": failed, "stages_ms": stages_ms}


def _read(path: Path, ego: EgoMask | None) -> NDArray[np.uint8]:
    """An image as RGB; raises SegPerceptionError where it cannot be read, or the ego mask is of another shape."""
    rgb = read_rgb(path)
    misfit = ego.misfit((rgb.shape[1], rgb.shape[0])) if ego is not None else None
    if misfit:
        raise SegPerceptionError(f"{path}: {misfit}")
    return rgb


def _from_above(result: Result, pipeline: Pipeline, assumed: AssumedCamera) -> NDArray[np.uint8]:
    size_wh = panel_size(result.frame.rgb.shape[0])
    birds_eye = BirdsEye(pipeline.labels, DrivableSettings(), size_wh, f"assumed calibration: {assumed}")
    problem = pipeline.ground_problem or ""
    return birds_eye.draw(result.drivable, problem=problem, rgb=result.frame.rgb, projection=pipeline.projection)


def _ground(result: Result, pipeline: Pipeline) -> dict[str, Any]:
    """Plain values of the ground in metres by class; what is not known or beyond the range is None."""

    def metres(value: float) -> float | None:
        return round(value, 3) if math.isfinite(value) else None

    return {
        pipeline.labels.names[area.class_id]: {
            "area_m2": metres(area.area_m2),
            "free_distance_m": metres(area.free_distance_m),
            "free_distance_width_m": metres(area.free_distance_width_m),
        }
        for area in result.drivable.areas
    }


def _found(result: Result, pipeline: Pipeline) -> dict[str, Any]:
    """Plain values of what one image holds."""
    counts = np.bincount(result.panoptic.semantic.ravel(), minlength=256)
    pixels = result.panoptic.semantic.size
    names = pipeline.labels.names
    return {
        "coverage": {name: int(count) / pixels for name, count in zip(names, counts, strict=False) if count},
        "segments": [
            {
                "id": int(segment.id),
                "class": names[segment.class_id],
                "thing": bool(segment.is_thing),
                "score": round(float(segment.score), 4),
                "area": int(segment.area),
                "box": [int(value) for value in segment.box],
            }
            for segment in result.panoptic.segments
        ],
    }
