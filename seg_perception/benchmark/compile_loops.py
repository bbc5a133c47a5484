"""Compile the loops of a frame's path now, for this processor, so that the node starts in seconds.

Numba keeps what it compiles beside the source, or in the user's cache folder where that cannot be written. `make setup` and
`colcon build` call this; after `pip install`, or on another processor than the one that built, call it once by hand.

Example:
  seg_perception compile --json compiled.json
"""

from __future__ import annotations

import argparse
import time
from dataclasses import fields

import numpy as np

from seg_perception import backends, compiled, model_file
from seg_perception.backends.shipped_models import find_model
from seg_perception.camera_model import CameraModel, CameraPose
from seg_perception.ground.fusion import GridFusion
from seg_perception.ground.odometry import PlanarPose
from seg_perception.pictures.overlay import Overlay
from seg_perception.pipeline import Pipeline
from seg_perception.results import Frame, Grid, Wants
from seg_perception.tracking.settings import TrackingSettings
from seg_perception.writing import user_path, write_json


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the verb."""
    parser.add_argument("--json", type=user_path, metavar="FILE", help="write what was done as JSON")


def run(arguments: argparse.Namespace) -> int:
    """Run every step once and leave a note for which processor that was."""
    began_s = time.monotonic()
    count = compile_all()
    compiled.note_kept()
    took_s = time.monotonic() - began_s
    if arguments.json:
        write_json(arguments.json, {"compiled": count, "seconds": took_s, "processor": compiled.processor()})
    print(f"{count} loops compiled for {compiled.processor()} in {took_s:.1f} s, the others were there")
    return 0


def compile_all() -> int:
    """Run all that the node runs at its start, on the CPU; returns how many loops were compiled for it."""
    info = model_file.load(find_model("auto", "onnxruntime"))
    backend = backends.choose(info, backend="onnxruntime", log=lambda line: None)
    try:
        with compiled.counted() as count:
            warm_up(Pipeline(backend.model, backend, tracking=TrackingSettings(enabled=True)))
        return count()
    finally:
        backend.close()


def warm_up(pipeline: Pipeline) -> None:
    """As the node's cameras do, and with every output."""
    pipeline.warm_up()
    height, width = pipeline.model.size_hw
    matrix = ((width, 0, width / 2), (0, width, height / 2), (0, 0, 1))
    pipeline.set_camera(CameraModel(width, height, matrix), CameraPose(0.0, 0.0, 1.0))
    wants = Wants(**{field.name: True for field in fields(Wants)})
    result = pipeline.run(Frame(np.zeros((height, width, 3), np.uint8)), wants)
    Overlay(pipeline.labels).draw(result.frame.rgb, result.panoptic, result.drivable, None, pipeline.projection)
    unknown = Grid(np.full((1, 1), -1, np.int8), 1.0, (0.0, 0.0))
    GridFusion(1.0).fuse(unknown, PlanarPose(0.0, 0.0, 0.0), 0)
