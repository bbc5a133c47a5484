"""Let a large network of others label images: masks that `label propose` turns into labels to correct.

For each image NAME_labels.png (8-bit class ids, 255 = unlabelled) and NAME_instances.png (16-bit, 0 = none). Categories become
classes by their names, and what is like no class stays unlabelled. Weights are files that you have; nothing is downloaded.

Example:
  seg_perception teach --teacher mask2former --weights m2f --images out/job/images --labels cityscapes --out out/teacher
  seg_perception label propose --images out/job --masks out/teacher --labels cityscapes --tool cvat --out out/proposed
"""

from __future__ import annotations

import argparse
import sys

from tqdm import tqdm

from seg_perception.datasets.base import refuse_same_names, text_of
from seg_perception.datasets.label_sets import open_labels
from seg_perception.errors import SegPerceptionError
from seg_perception.files import image_files, read_rgb, refuse_written_over, write_image
from seg_perception.options import number, whole
from seg_perception.training.teachers.base import LabelTeacher, classes_of, painted
from seg_perception.writing import check_folder, user_path, write_json

TEACHERS = ("mask2former", "eomt", "mask_rcnn")
LONG_SIDE_PX = 1024
EXIT_SOME_FAILED = 1


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the verb."""
    parser.add_argument(
        "--teacher", choices=TEACHERS, required=True, help="mask2former and eomt: all classes; mask_rcnn: things alone"
    )
    parser.add_argument(
        "--weights",
        type=user_path,
        required=True,
        help="folder as transformers saved it; of mask_rcnn torchvision's file of maskrcnn_resnet50_fpn",
    )
    parser.add_argument("--images", type=user_path, required=True, metavar="DIR", help="folder of images")
    parser.add_argument("--labels", required=True, metavar="L", help="label set: a name or a YAML file")
    parser.add_argument("--out", type=user_path, required=True, metavar="DIR", help="folder for the masks")
    parser.add_argument(
        "--threshold", type=number("--threshold", least=0), default=0.5, help="least score of a region (default: 0.5)"
    )
    parser.add_argument(
        "--long-side",
        type=whole("--long-side", 0),
        default=LONG_SIDE_PX,
        metavar="PX",
        help=f"of the input, 0 = as the image or the network has it (default: {LONG_SIDE_PX})",
    )
    parser.add_argument(
        "--categories", type=user_path, metavar="FILE", help="names of mask_rcnn's, a line each from number 0 on"
    )
    parser.add_argument("--json", type=user_path, metavar="FILE", help="write which categories became which class")


def run(arguments: argparse.Namespace) -> int:
    """Label; returns the exit code."""
    check_folder(arguments.out)
    labels = open_labels(arguments.labels)
    files = image_files(arguments.images)
    refuse_same_names(files)
    refuse_written_over(files, arguments.out, ("_labels.png", "_instances.png"))
    teacher = _teacher(arguments)
    class_of = classes_of(teacher.categories, labels)
    failed: dict[str, str] = {}
    for path in tqdm(files, unit="image", desc="teach", mininterval=1):
        try:
            rgb = read_rgb(path)
        except SegPerceptionError as error:
            failed[path.name] = str(error)
            tqdm.write(str(error), file=sys.stderr)
            continue
        semantic, instance = painted(teacher(rgb), class_of, labels, (rgb.shape[0], rgb.shape[1]))
        write_image(arguments.out / f"{path.stem}_labels.png", semantic)
        write_image(arguments.out / f"{path.stem}_instances.png", instance)
    named = {teacher.categories[number]: labels.names[class_id] for number, class_id in class_of.items()}
    if arguments.json:
        write_json(arguments.json, {"images": len(files) - len(failed), "classes": named, "failed": failed})
    print(
        f"{len(files) - len(failed)} images labelled in {arguments.out}"
        + (f", {len(failed)} could not be read" if failed else "")
        + f"; {len(named)} of {len(teacher.categories)} categories are classes"
    )
    return EXIT_SOME_FAILED if failed else 0


def _teacher(arguments: argparse.Namespace) -> LabelTeacher:
    if not arguments.weights.exists():
        raise SegPerceptionError(f"there are no weights {arguments.weights}: correct --weights")
    if arguments.teacher == "mask_rcnn":
        from seg_perception.training.teachers.mask_rcnn import MaskRCNN

        names = text_of(arguments.categories).splitlines() if arguments.categories else ()
        return MaskRCNN(arguments.weights, arguments.threshold, names, arguments.long_side)
    if arguments.categories:
        raise SegPerceptionError("--categories are mask_rcnn's, the others know theirs: leave it out")
    from seg_perception.training.teachers.mask_transformer import MaskTransformer

    return MaskTransformer.load(arguments.weights, arguments.long_side, arguments.threshold)
