"""From recordings to labels and back: choose frames, propose labels, take the corrected ones, compare two annotators.

Example:
  seg_perception label --help
  seg_perception label pick --input drive.mcap --count 100 --out out/job

Each step has --help and --json FILE of its own.
"""

from __future__ import annotations

import argparse

from seg_perception.labelling import agree, pick, propose, take

STEPS = {
    "pick": (pick, "choose the frames of bags, videos and folders that are worth labelling"),
    "propose": (propose, "write labels to correct, as CVAT, COCO or labelme read them"),
    "take": (take, "read the corrected labels into a data set to train on"),
    "agree": (agree, "compare what two people labelled on the same images"),
}
"""In the order in which they are used."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the steps."""
    steps = parser.add_subparsers(dest="step", required=True, metavar="STEP")
    for name, (module, summary) in STEPS.items():
        step = steps.add_parser(
            name, help=summary, description=module.__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
        )
        module.add_arguments(step)


def run(arguments: argparse.Namespace) -> int:
    """Do a step; returns its exit code."""
    return STEPS[arguments.step][0].run(arguments)
