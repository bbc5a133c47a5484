"""What `export --onnx` is told of another program's network."""

from __future__ import annotations

import argparse

from seg_perception.datasets.label_sets import open_labels
from seg_perception.errors import SegPerceptionError
from seg_perception.options import number
from seg_perception.training.export.foreign import WHITE
from seg_perception.training.export.foreign_run import Told

FOREIGN = ("labels", "mean", "std", "pixel_max", "bgr", "logits", "centers")
"""Options of --onnx."""


def add_foreign_arguments(parser: argparse.ArgumentParser) -> None:
    """These options, and no others."""
    group = parser.add_argument_group("of --onnx")
    group.add_argument(
        "--labels",
        metavar="L",
        help="its classes in the order of its logits: camvid, cityscapes, or a YAML file such as config/labels/own_classes.yaml",
    )
    group.add_argument(
        "--mean",
        type=number("--mean", least=0),
        nargs=3,
        metavar=("R", "G", "B"),
        help="what its training subtracted from the channels, in the order in which the network takes them",
    )
    group.add_argument(
        "--std", type=number("--std", above=0), nargs=3, metavar=("R", "G", "B"), help="what it divided them by, then"
    )
    group.add_argument(
        "--pixel-max", choices=WHITE, default=WHITE[0], help="a white pixel's value before that (default: 1)"
    )
    group.add_argument("--bgr", action="store_true", help="it takes blue, green, red (default: red, green, blue)")
    group.add_argument(
        "--logits", metavar="NAME", help="which of its tensors they are (default: the one of a channel per class)"
    )
    group.add_argument(
        "--centers",
        nargs=2,
        metavar=("HEATMAP", "OFFSETS"),
        help="its tensors that tell objects apart, of the logits' size: where centres are, 0 to 1, and (dy, dx) to them in px of "
        "its input (default: it tells none apart)",
    )


def told_of(arguments: argparse.Namespace) -> Told:
    """What --onnx does not say of itself."""
    if arguments.labels is None:
        raise SegPerceptionError(
            f"{arguments.onnx} does not say what its classes are: give --labels cityscapes, camvid or a YAML file"
        )
    if arguments.shares is not None:
        raise SegPerceptionError("--shares is of no use beside --onnx: leave it out")
    return Told(
        labels=open_labels(arguments.labels),
        logits=arguments.logits,
        mean=None if arguments.mean is None else tuple(arguments.mean),
        std=None if arguments.std is None else tuple(arguments.std),
        pixel_max=float(arguments.pixel_max),
        bgr=arguments.bgr,
        size_hw=(arguments.height, arguments.width),
        centers=None if arguments.centers is None else tuple(arguments.centers),
    )
