"""Play a video, a folder of images, a rosbag, a camera or the synthetic drive to the real node, and report its answers.

The node runs as a process of its own and gets the frames over DDS at their own rate, as from a camera. What comes back
is received as a planner would, and drawn and judged when the play is over. Writes overlay.mp4, report.json, report.html
and node.log. Exit codes: 0 done, 1 done but some frames could not be read or the node died, 2 nothing came back,
130 ended by Ctrl-C with the files of what was done.

Example:
  seg_perception run --input drive.mp4 --out out/drive
"""

from __future__ import annotations

import argparse
from pathlib import Path

from seg_perception.labels import VOID
from seg_perception.network import add_domain_argument
from seg_perception.options import number, rate, whole
from seg_perception.recordings import own_vehicle
from seg_perception.recordings.assumed_camera import add_argument
from seg_perception.ros.parameters import NodeSettings
from seg_perception.writing import user_path

START_TIMEOUT_S = 900.0
"""How long the node may take to start: it may build an engine first."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the verb."""
    parser.add_argument(
        "--input", metavar="INPUT", help="video, folder, bag or /dev/video0 (default: the synthetic drive)"
    )
    parser.add_argument(
        "--out", type=user_path, default=Path("out/run"), metavar="DIR", help="folder to write to (default: out/run)"
    )
    parser.add_argument(
        "--model",
        default=NodeSettings().model,
        metavar="M",
        help="model file (default: auto, the one that ships for the backend)",
    )
    parser.add_argument("--backend", default=NodeSettings().backend, choices=("auto", "onnxruntime", "tensorrt"))
    parser.add_argument(
        "--labels", type=user_path, metavar="DIR", help="label images <stem>.png for a folder of images"
    )
    parser.add_argument("--instances", type=user_path, metavar="DIR", help="16-bit instance images for --labels")
    parser.add_argument(
        "--void", type=whole("--void", 0, VOID), action="append", default=[], help="label value that means unlabelled"
    )
    parser.add_argument("--topic", metavar="T", help="image topic of a bag (default: the one with most images)")
    add_argument(parser)
    own_vehicle.add_option(parser, "no ground, and not measured")
    parser.add_argument("--rate", type=rate("--rate"), metavar="HZ", help="frames a second (default: the source's own)")
    parser.add_argument("--frames", type=whole("--frames", 1), metavar="N", help="play at most so many frames")
    parser.add_argument("--param", action="append", default=[], metavar="NAME:=VALUE", help="parameter of the node")
    add_domain_argument(parser)
    parser.add_argument(
        "--start-timeout",
        type=number("--start-timeout", above=0),
        default=START_TIMEOUT_S,
        metavar="S",
        help="how long the node may take to start",
    )
    parser.add_argument("--json", type=user_path, metavar="FILE", help="write the numbers here too")
