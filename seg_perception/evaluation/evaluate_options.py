"""Options of `evaluate`, and which of them do not go together."""

from __future__ import annotations

import argparse
import math

from seg_perception import options
from seg_perception.errors import SegPerceptionError
from seg_perception.evaluation import many
from seg_perception.evaluation.compare import add_baseline_arguments
from seg_perception.labels import VOID
from seg_perception.network import add_domain_argument
from seg_perception.offline import add_model_arguments, add_panoptic_arguments, check_model_arguments
from seg_perception.options import number, rate, whole
from seg_perception.recordings import own_vehicle
from seg_perception.recordings.video_encoder import ENCODERS
from seg_perception.writing import check_folder, user_path

ALL_TOPICS = "all"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the verb."""
    add_model_arguments(parser)
    add_panoptic_arguments(parser)
    data = parser.add_mutually_exclusive_group(required=True)
    data.add_argument("--dataset", metavar="NAME", help="labelled data set, such as camvid, or synthetic_drive")
    data.add_argument(
        "--bag",
        type=user_path,
        nargs="+",
        metavar="BAG",
        help="rosbag2 (MCAP, sqlite3) or ROS 1 bag; several, or folders of them",
    )
    parser.add_argument("--root", type=user_path, metavar="DIR", help="the data set's folder; rendered ones have none")
    parser.add_argument("--split", default="val", help="part of the data set (default: val)")
    own_vehicle.add_option(parser, "it is not measured, and no ground")
    _add_bag_arguments(parser)
    _add_live_arguments(parser)
    many.add_fleet_arguments(parser)
    parser.add_argument("--tta", choices=("flip",), help="look at every image mirrored too")
    parser.add_argument(
        "--scales", default="1.0", metavar="S,S", help="look at every image enlarged so many times (default: 1.0)"
    )
    parser.add_argument("--out", type=user_path, required=True, metavar="DIR", help="folder to write the report to")
    parser.add_argument("--json", type=user_path, metavar="FILE", help="write the numbers here too")
    add_baseline_arguments(parser)


def _add_bag_arguments(parser: argparse.ArgumentParser) -> None:
    bag = parser.add_argument_group("bags")
    bag.add_argument(
        "--topic",
        action="append",
        metavar="T",
        help=f"image topic; may be given again, '{ALL_TOPICS}' takes every one (default: the one with most images)",
    )
    bag.add_argument("--label-topic", metavar="T", help="label masks (default: 'label' beside the image topic)")
    bag.add_argument(
        "--instance-topic", metavar="T", help="instance masks (default: 'instance' beside the image topic)"
    )
    bag.add_argument("--labels", type=user_path, metavar="DIR", help="folder of label images instead of a label topic")
    bag.add_argument(
        "--instances", type=user_path, metavar="DIR", help="folder of 16-bit instance images, for --labels"
    )
    bag.add_argument(
        "--tracked-labels",
        action="store_true",
        help="things keep their number from one instance mask to the next: judge the tracks by them (STQ, VPQ, HOTA, id switches)",
    )
    bag.add_argument(
        "--void",
        type=whole("--void", 0, VOID),
        action="append",
        default=[],
        metavar="ID",
        help="label value that means unlabelled",
    )
    bag.add_argument(
        "--label-tolerance",
        type=number("--label-tolerance", least=0),
        metavar="S",
        help="s between the stamps of an image and its label (default: half the images' usual distance; 0: the very stamp)",
    )
    _add_excerpt_arguments(bag)
    bag.add_argument(
        "--annotate",
        type=user_path,
        metavar="BAG",
        help="write a bag of the images with the outputs beside them: a rosbag2 folder, or a file where it ends in .mcap",
    )
    bag.add_argument(
        "--rerun",
        type=user_path,
        metavar="FILE.rrd",
        help="write a recording for Rerun's viewer: images, classes, things and the ground (pip install rerun-sdk)",
    )
    bag.add_argument(
        "--video-codec",
        choices=sorted(ENCODERS),
        help="write the overlay of --annotate as video, foxglove_msgs/CompressedVideo (default: each picture as JPEG)",
    )


def _add_excerpt_arguments(bag: argparse._ArgumentGroup) -> None:
    bag.add_argument(
        "--start",
        type=number("--start", least=0),
        default=0.0,
        metavar="S",
        help="leave out what comes before, s from the start",
    )
    bag.add_argument(
        "--end",
        type=number("--end", above=0, infinite=True),
        default=math.inf,
        metavar="S",
        help="leave out what comes after, s from the start",
    )
    bag.add_argument(
        "--stride", type=whole("--stride", 1), default=1, metavar="N", help="take every Nth image (default: 1)"
    )


def _add_live_arguments(parser: argparse.ArgumentParser) -> None:
    live = parser.add_argument_group("live")
    live.add_argument(
        "--mode",
        choices=("offline", "live"),
        default="offline",
        help="live: the bag is played to the real node over DDS, as from its cameras (needs ROS 2; default: offline)",
    )
    live.add_argument(
        "--rate",
        type=rate("--rate"),
        metavar="F",
        help="play so many times as fast as recorded (default: 1)",
    )
    live.add_argument("--clock", action="store_true", help="simulated time: recorded stamps, and /clock beside them")
    add_domain_argument(live)


_OF_LIVE = ("rate", "clock", "domain")
_OF_A_DATASET = ("root", "split")
_OF_FLEETS = ("jobs", "runner", "address")
_OF_BAGS = (
    *("topic", "label_topic", "instance_topic", "label_tolerance", "labels", "instances", "tracked_labels", "void"),
    *("start", "end", "stride"),
)
"""Options that fit one kind of data only."""


def check(arguments: argparse.Namespace) -> None:
    """Raises SegPerceptionError naming options that would do nothing beside the others, before anything is opened."""
    given = options.given(arguments, add_arguments)
    if arguments.mode == "offline":
        options.refuse(given, _OF_LIVE, "for playing a bag: give --mode live too")
    if not arguments.bag:
        options.refuse(given, ("annotate", "rerun"), "for one bag: give one --bag, which make-bag makes of other data")
        options.refuse(given, _OF_BAGS, "for bags: give a --bag, which make-bag makes of other data, or leave it out")
        options.refuse(given, _OF_FLEETS, "for many bags: leave it out")
    else:
        options.refuse(given, _OF_A_DATASET, "for a data set: give --dataset instead of --bag, or leave it out")
        many.check(arguments, given)
    if arguments.labels:
        options.refuse(
            given,
            ("label_topic", "instance_topic"),
            "for labels in topics, but --labels is a folder: leave one of them out",
        )
    elif arguments.instances:
        raise SegPerceptionError("--instances belong to labels: give --labels too")
    if not arguments.annotate:
        options.refuse(given, ("video_codec",), "for an annotated bag: give --annotate too")
    check_model_arguments(arguments)
    own_vehicle.of_option(arguments)
    check_folder(arguments.out)
