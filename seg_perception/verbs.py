"""The verbs of the one command. Standard library only: setup.py runs this file, and in a workspace makes a program of each."""

from __future__ import annotations

from typing import NamedTuple


class Verb(NamedTuple):
    """module: what has its add_arguments and run; summary: its line in the command's help."""

    module: str
    summary: str


VERBS = {
    "run": Verb(
        "seg_perception.play.run_options",
        "play a video, folder, bag or camera to the real node and report what comes out",
    ),
    "predict": Verb(
        "seg_perception.evaluation.predict", "write label masks, instance masks and overlays of a folder of images"
    ),
    "evaluate": Verb("seg_perception.evaluation.evaluate", "measure a model on labelled data"),
    "compare": Verb(
        "seg_perception.evaluation.compare", "tell what differs between two reports, and whether limits are kept"
    ),
    "make-bag": Verb("seg_perception.recordings.make", "write a rosbag2 from a video, images or the synthetic drive"),
    "ego-mask": Verb(
        "seg_perception.recordings.own_vehicle", "propose from a recording which pixels show the own vehicle"
    ),
    "label": Verb(
        "seg_perception.labelling.label",
        "choose frames to label, propose labels, take the corrected ones, compare annotators",
    ),
    "inspect-data": Verb(
        "seg_perception.training.data.inspect_data", "look for faults in training data, and at its classes' shares"
    ),
    "teach": Verb(
        "seg_perception.training.teachers.teach", "let a large network of others label images, to be corrected"
    ),
    "train": Verb("seg_perception.training.loop.train", "train a panoptic network"),
    "export": Verb("seg_perception.training.export.export", "turn a checkpoint into a model file"),
    "build-engine": Verb("seg_perception.backends.tensorrt.build", "compile a model file with TensorRT"),
    "benchmark": Verb("seg_perception.benchmark.benchmark", "time each step of a frame's path"),
    "check-ground": Verb(
        "seg_perception.evaluation.check_ground", "hold drivable ground in metres against exact ground truth"
    ),
    "check-tracks": Verb(
        "seg_perception.evaluation.check_tracks", "hold the numbers and speeds of things against exact ones"
    ),
    "compile": Verb(
        "seg_perception.benchmark.compile_loops",
        "compile the node's loops for this processor, so that it starts in seconds",
    ),
    "gpu-check": Verb("seg_perception.gpu_check.gpu_check", "check on a GPU what only a GPU can show"),
    "dashboard": Verb("seg_perception.dashboard.dashboard", "show in a browser what a running node sees and says"),
}

MODES = {
    ("run", ""): "seg_perception.play.run",
    ("train", "auto"): "seg_perception.auto.auto",
    ("evaluate", "live"): "seg_perception.play.live",
    ("benchmark", "live"): "seg_perception.play.end_to_end",
}
"""What runs a verb, or its --mode, where that needs more than its module, which answers --help."""
