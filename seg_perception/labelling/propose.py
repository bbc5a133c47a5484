"""Write labels to correct: the model's answer, or masks of whatever made them, as a labelling tool reads it.

Polygons have few corners, share the borders of their neighbours, leave out slivers and keep things apart. OUT gets the
labels and the images in the tool's own layout (docs/your-data.md). With --sam the boxes and points of labelme files in
--prompts become masks, in front of what --model or --masks say.

Example:
  seg_perception label propose --images out/job --tool cvat --out out/proposed
  seg_perception label propose --images out/job --masks teacher --labels cityscapes --tool coco --out out/proposed
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from seg_perception import options
from seg_perception.datasets.base import refuse_same_names
from seg_perception.datasets.label_sets import open_labels
from seg_perception.errors import SegPerceptionError
from seg_perception.files import read_rgb
from seg_perception.labelling.job import job_images
from seg_perception.labelling.outlines import LEAST_PX, TOLERANCE_PX, outlined
from seg_perception.labelling.regions import regions_of
from seg_perception.labelling.sam import SegmentAnything, read_prompts
from seg_perception.labelling.tools import TOOLS, Proposal
from seg_perception.labels import VOID, LabelSet
from seg_perception.offline import add_model_arguments, check_model_arguments, opened_pipeline
from seg_perception.options import number, whole
from seg_perception.pipeline import Pipeline
from seg_perception.recordings.sources import LabelFolder
from seg_perception.results import Frame
from seg_perception.writing import check_new_folder, new_folder, user_path, write_json

EXIT_SOME_LOST = 1

Masks = tuple[NDArray[np.uint8], NDArray[np.uint16]]
"""Classes and things of an image, both [H, W]."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the verb."""
    parser.add_argument("--images", type=user_path, required=True, metavar="DIR", help="a job, or a folder of images")
    parser.add_argument("--tool", choices=TOOLS, required=True, help="who is to read it")
    parser.add_argument("--out", type=user_path, required=True, metavar="DIR", help="folder to make")
    parser.add_argument(
        "--masks",
        type=user_path,
        metavar="DIR",
        help="masks in place of the model's answer: NAME.png or NAME_labels.png and NAME_instances.png, as predict writes",
    )
    parser.add_argument("--labels", metavar="L", help="label set of --masks, or of --sam alone: a name or a YAML file")
    parser.add_argument(
        "--sam", type=user_path, nargs=2, metavar=("ENCODER", "DECODER"), help="ONNX files of the Segment Anything kind"
    )
    parser.add_argument(
        "--prompts", type=user_path, metavar="DIR", help="labelme files with the boxes and points for --sam"
    )
    parser.add_argument(
        "--tolerance",
        type=number("--tolerance", least=0),
        default=TOLERANCE_PX,
        metavar="PX",
        help=f"how far a polygon may leave the border that it follows (default: {TOLERANCE_PX:g})",
    )
    parser.add_argument(
        "--least-area",
        type=whole("--least-area", 0),
        default=LEAST_PX,
        metavar="PX",
        help=f"smaller regions become part of what is nearest (default: {LEAST_PX})",
    )
    add_model_arguments(parser, required=False)
    parser.add_argument(
        "--json", type=user_path, metavar="FILE", help="write how many polygons and corners each image has"
    )


@dataclass
class Done:
    """What was written, and what could not be. rows: by image."""

    rows: dict[str, dict[str, int]] = field(default_factory=dict)
    failed: list[str] = field(default_factory=list)


def run(arguments: argparse.Namespace) -> int:
    """Propose; returns the exit code."""
    _check(arguments)
    images = job_images(arguments.images)
    refuse_same_names(images)
    done = Done()
    with ExitStack() as stack:
        labels, answer = _answers(arguments, stack)
        if arguments.sam:
            answer = _with_sam(
                SegmentAnything(arguments.sam[0], arguments.sam[1], arguments.threads),
                arguments.prompts,
                labels,
                answer,
            )
        folder = stack.enter_context(new_folder(arguments.out))
        TOOLS[arguments.tool](_proposals(images, labels, answer, arguments, done), labels, folder)
        if not done.rows:
            raise SegPerceptionError(f"no image of {arguments.images} could be labelled; the first: {done.failed[0]}")
    if arguments.json:
        write_json(arguments.json, {"images": done.rows, "failed": done.failed})
    for sentence in done.failed:
        print(sentence, file=sys.stderr)
    polygons, corners = (sum(row[name] for row in done.rows.values()) for name in ("polygons", "corners"))
    print(f"{len(done.rows)} images with {polygons} polygons of {corners} corners written to {arguments.out}")
    return EXIT_SOME_LOST if done.failed else 0


def _check(arguments: argparse.Namespace) -> None:
    check_model_arguments(arguments)
    check_new_folder(arguments.out)
    if bool(arguments.sam) != bool(arguments.prompts):
        raise SegPerceptionError("--sam and --prompts belong together: give both, or none")
    if arguments.masks and arguments.model:
        raise SegPerceptionError("--masks stand in the place of --model's answer: give one of them")
    without_model = bool(arguments.masks or (arguments.sam and not arguments.model))
    if without_model:
        given = options.given(arguments, add_model_arguments)
        names = [name for name in given if name != "threads" or not arguments.sam]
        options.refuse(given, names, "for a model, in whose place --masks or --sam stand: leave it out")
    if without_model and not arguments.labels:
        raise SegPerceptionError(
            "--masks, and --sam without --model, say nothing of classes: name the label set by --labels"
        )
    if arguments.labels and not without_model:
        raise SegPerceptionError(
            "--labels is for --masks and for --sam without --model, a model has its own: leave it out"
        )


def _answers(
    arguments: argparse.Namespace, stack: ExitStack
) -> tuple[LabelSet, Callable[[Path, NDArray[np.uint8]], Masks]]:
    """The classes, and what gives the masks of an image."""
    if arguments.masks:
        folder = LabelFolder(arguments.masks, arguments.masks)
        return open_labels(arguments.labels), lambda path, rgb: _of_folder(folder, path, rgb)
    if arguments.sam and not arguments.model:
        return open_labels(arguments.labels), lambda path, rgb: _nothing(rgb)
    pipeline = stack.enter_context(opened_pipeline(arguments))
    return pipeline.labels, lambda path, rgb: _of_model(pipeline, rgb)


def _of_model(pipeline: Pipeline, rgb: NDArray[np.uint8]) -> Masks:
    panoptic = pipeline.run(Frame(rgb)).panoptic
    return panoptic.semantic, panoptic.instance


def _of_folder(folder: LabelFolder, path: Path, rgb: NDArray[np.uint8]) -> Masks:
    truth = folder.truth(path)
    if truth is None:
        raise SegPerceptionError(f"{path.name} has no mask in {folder.labels}: add {path.stem}.png, or take it out")
    if truth.semantic.shape != rgb.shape[:2]:
        height, width = truth.semantic.shape
        raise SegPerceptionError(
            f"the mask of {path} is {width}x{height}, the image {rgb.shape[1]}x{rgb.shape[0]}: make both alike"
        )
    is_own = truth.instance is not None and truth.instance.shape == truth.semantic.shape
    return truth.semantic, truth.instance if is_own and truth.instance is not None else _nothing(rgb)[1]


def _nothing(rgb: NDArray[np.uint8]) -> Masks:
    return np.full(rgb.shape[:2], VOID, np.uint8), np.zeros(rgb.shape[:2], np.uint16)


def _with_sam(
    sam: SegmentAnything, folder: Path, labels: LabelSet, behind: Callable[[Path, NDArray[np.uint8]], Masks]
) -> Callable[[Path, NDArray[np.uint8]], Masks]:
    """Masks of the prompts of an image in front of others, the larger ones behind."""
    if not folder.is_dir():
        raise SegPerceptionError(f"there is no folder {folder}: --prompts is one with labelme files")

    def answer(path: Path, rgb: NDArray[np.uint8]) -> Masks:
        file = folder / f"{path.stem}.json"
        prompts = read_prompts(file) if file.is_file() else []
        ids = [labels.by_name(prompt.name).id for prompt in prompts]
        semantic, instance = (mask.copy() for mask in behind(path, rgb))
        masks = sorted(zip(ids, sam.masks(rgb, prompts), strict=True), key=lambda pair: -np.count_nonzero(pair[1]))
        for count, (class_id, mask) in enumerate(masks, start=int(instance.max()) + 1):
            semantic[mask], instance[mask] = class_id, count
        return semantic, instance

    return answer


def _proposals(
    images: Sequence[Path],
    labels: LabelSet,
    answer: Callable[[Path, NDArray[np.uint8]], Masks],
    arguments: argparse.Namespace,
    done: Done,
) -> Iterator[Proposal]:
    """One image after the other; what cannot be read is left out and told."""
    for path in tqdm(images, unit="image", desc="propose", mininterval=1):
        try:
            semantic, instance = answer(path, read_rgb(path))
            unknown = np.setdiff1d(semantic, [*range(len(labels)), VOID])
            if unknown.size:
                raise SegPerceptionError(
                    f"the mask of {path} holds the id {unknown[0]}, the label set has 0 to {len(labels) - 1}: give the right "
                    "--labels"
                )
        except SegPerceptionError as error:
            done.failed.append(str(error))
            continue
        regions = regions_of(semantic, instance, labels.is_thing, arguments.least_area)
        outlines = outlined(regions, arguments.tolerance)
        keys = np.array(regions.keys)[regions.number]
        rings = [ring for outline in outlines for ring in outline.rings]
        done.rows[path.name] = {"polygons": len(rings), "corners": sum(map(len, rings))}
        yield Proposal(path, outlines, (keys & 255).astype(np.uint8), (keys >> 8).astype(np.uint16))
