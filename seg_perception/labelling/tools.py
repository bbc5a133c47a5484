"""Labels as labelling tools read them: CVAT (XML of images, segmentation masks), COCO's instance JSON, labelme."""

from __future__ import annotations

import itertools
import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.sax.saxutils import quoteattr

import numpy as np
from numpy.typing import NDArray

from seg_perception.datasets.voc import BORDER, voc_color
from seg_perception.errors import SegPerceptionError
from seg_perception.files import write_image
from seg_perception.labelling.outlines import Outlined
from seg_perception.labels import VOID, LabelSet
from seg_perception.writing import write_text

_DIGITS = 1
"""Of coordinates behind the point: corners lie on whole pixels, what is drawn by hand between them."""


@dataclass(frozen=True)
class Proposal:
    """Labels of one image. outlines: the largest first, each in front of those before; semantic: uint8 [H, W], 255 = none;
    instance: uint16 [H, W], 0 = none."""

    image: Path
    outlines: Sequence[Outlined]
    semantic: NDArray[np.uint8]
    instance: NDArray[np.uint16]

    @property
    def size_hw(self) -> tuple[int, int]:
        """Of the image, px."""
        return self.semantic.shape[0], self.semantic.shape[1]


def write_cvat(proposals: Iterator[Proposal], labels: LabelSet, out: Path) -> None:
    """ "CVAT for images 1.1": annotations.xml, images/, and labels.json for the "Raw" tab of a new task."""
    lines = ['<?xml version="1.0" encoding="utf-8"?>', "<annotations>", "  <version>1.1</version>"]
    for number, one in enumerate(proposals):
        _copy(one.image, out / "images")
        height, width = one.size_hw
        lines.append(f'  <image id="{number}" name={quoteattr(one.image.name)} width="{width}" height="{height}">')
        lines += list(_cvat_rows(one, labels))
        lines.append("  </image>")
    write_text(out / "annotations.xml", "\n".join([*lines, "</annotations>", ""]))
    write_text(out / "labels.json", json.dumps(cvat_labels(labels), indent=1) + "\n")


def _cvat_rows(one: Proposal, labels: LabelSet) -> Iterator[str]:
    groups = itertools.count(1)
    for place, outline in enumerate(one.outlines):
        group = f' group_id="{next(groups)}"' if len(outline.rings) > 1 else ""
        for ring in outline.rings:
            points = ";".join(f"{x:.{_DIGITS}f},{y:.{_DIGITS}f}" for x, y in ring.tolist())
            name = quoteattr(labels.names[outline.class_id])
            yield (
                f'    <polygon label={name} source="auto" occluded="0" points="{points}" z_order="{place}"{group}>'
                "</polygon>"
            )


def cvat_labels(labels: LabelSet) -> list[dict[str, Any]]:
    """The labels of a CVAT task, as its "Raw" tab takes them."""
    rows = ((label.name, "#{:02x}{:02x}{:02x}".format(*label.color)) for label in labels.classes)
    return [{"name": name, "color": color, "attributes": []} for name, color in rows]


def write_cvat_masks(proposals: Iterator[Proposal], labels: LabelSet, out: Path) -> None:
    """CVAT's "Segmentation mask 1.1", which is Pascal VOC's layout. Raises SegPerceptionError for a class that is black, as
    what is not labelled is, and for two of one colour."""
    colors = [label.color for label in labels.classes]
    if (0, 0, 0) in colors or len(set(colors)) < len(colors):
        raise SegPerceptionError(
            "masks tell classes by colour, and of the label set one is black or two are alike: give each a colour of its own"
        )
    stems = []
    for one in proposals:
        _copy(one.image, out / "JPEGImages")
        stems.append(one.image.stem)
        write_image(out / "SegmentationClass" / f"{one.image.stem}.png", labels.colors[one.semantic])
        write_image(out / "SegmentationObject" / f"{one.image.stem}.png", _object_colors(one))
    rows = (f"{label.name}:{','.join(map(str, label.color))}::" for label in labels.classes)
    write_text(out / "labelmap.txt", "\n".join(["# label:color_rgb:parts:actions", "background:0,0,0::", *rows, ""]))
    write_text(out / "ImageSets" / "Segmentation" / "default.txt", "\n".join([*stems, ""]))
    write_text(out / "labels.json", json.dumps(cvat_labels(labels), indent=1) + "\n")


def _object_colors(one: Proposal) -> NDArray[np.uint8]:
    """uint8 [H, W, 3]: each thing, and each class of stuff, in a colour of its own."""
    keys = one.semantic.astype(np.int64) << 16 | one.instance
    known, place = np.unique(keys, return_inverse=True)
    numbers = (number for number in itertools.count(1) if voc_color(number) != BORDER)  # which is nothing's
    table = np.array([voc_color(number) for number in itertools.islice(numbers, len(known))], np.uint8)
    table[known >> 16 == VOID] = 0
    return table[place.reshape(keys.shape)]


def write_coco(proposals: Iterator[Proposal], labels: LabelSet, out: Path) -> None:
    """COCO's instance JSON, annotations/instances_default.json, and images/."""
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for number, one in enumerate(proposals, start=1):
        _copy(one.image, out / "images")
        height, width = one.size_hw
        images.append({"id": number, "file_name": one.image.name, "width": width, "height": height})
        for outline in one.outlines:
            annotations.append({"id": len(annotations) + 1, "image_id": number, **_coco_row(outline)})
    categories = [{"id": label.id + 1, "name": label.name} for label in labels.classes]
    content = {"images": images, "categories": categories, "annotations": annotations}
    write_text(out / "annotations" / "instances_default.json", json.dumps(content) + "\n")


def _coco_row(outline: Outlined) -> dict[str, Any]:
    corners = np.concatenate(outline.rings)
    (left, top), (right, bottom) = corners.min(axis=0).tolist(), corners.max(axis=0).tolist()
    return {
        "category_id": outline.class_id + 1,
        "segmentation": [np.round(ring, _DIGITS).ravel().tolist() for ring in outline.rings],
        "bbox": [left, top, right - left, bottom - top],
        "area": outline.area,
        "iscrowd": 0,
    }


def write_labelme(proposals: Iterator[Proposal], labels: LabelSet, out: Path) -> None:
    """One JSON beside each image, and labels.txt for `labelme --labels`."""
    for one in proposals:
        _copy(one.image, out)
        groups = itertools.count(1)
        shapes = []
        for outline in one.outlines:
            group = next(groups) if len(outline.rings) > 1 else None
            shapes += [_labelme_row(labels.names[outline.class_id], ring, group) for ring in outline.rings]
        height, width = one.size_hw
        content: dict[str, Any] = {
            "version": "5.5.0",
            "flags": {},
            "shapes": shapes,
            "imagePath": one.image.name,
            "imageData": None,
        }
        content |= {"imageHeight": height, "imageWidth": width}
        write_text(out / f"{one.image.stem}.json", json.dumps(content, indent=1) + "\n")
    write_text(out / "labels.txt", "\n".join(["__ignore__", *labels.names, ""]))


def _labelme_row(name: str, ring: NDArray[np.float64], group: int | None) -> dict[str, Any]:
    points = np.round(ring, _DIGITS).tolist()
    return {"label": name, "points": points, "group_id": group, "shape_type": "polygon", "flags": {}}


def _copy(image: Path, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(image, folder / image.name)


Writer = Callable[[Iterator[Proposal], LabelSet, Path], None]

TOOLS: dict[str, Writer] = {
    "cvat": write_cvat,
    "cvat-masks": write_cvat_masks,
    "coco": write_coco,
    "labelme": write_labelme,
}

ADAPTERS = {"cvat": "cvat", "cvat-masks": "voc", "coco": "coco_instances", "labelme": "labelme"}
"""Which data set each is read as."""
