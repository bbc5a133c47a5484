"""CVAT's own XML, "CVAT for images 1.1": `annotations.xml`, images in `images`, in folders of it, or beside it. A split is a
subset of the task."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element

import numpy as np
from numpy.typing import NDArray

from seg_perception.datasets.base import Remark
from seg_perception.datasets.categories import numbered_words
from seg_perception.datasets.coco_instances import find_images
from seg_perception.datasets.rle import in_turn
from seg_perception.datasets.shapes import (
    NO_AREA,
    Drawn,
    Shape,
    at_place,
    box_ring,
    ellipse_ring,
    require_inside,
    ring_of,
    same_size,
    turned,
)
from seg_perception.errors import SegPerceptionError

_AREAS = ("polygon", "box", "mask", "ellipse")
_OTHERS = ("polyline", "points", "cuboid", "skeleton")
FILE = "annotations.xml"


class Cvat(Drawn):
    """Polygons, boxes, ellipses and masks, of which those of the highest z_order are in front, then the later ones. Shapes of
    one group are one object. Images without a shape are missing."""

    def __init__(self, root: Path, split: str) -> None:
        self._file = root / FILE
        self._rows: dict[str, list[dict[str, str]]] = {}
        sizes: dict[str, tuple[int, int]] = {}
        subsets: set[str] = set()
        for image in _images(self._file):
            subsets.add(image.get("subset", ""))
            if split and image.get("subset", "") != split:
                continue
            name = image.get("name", "")
            if name in self._rows:
                raise SegPerceptionError(f"{self._file} has two images '{name}': rename one, or export them again")
            self._rows[name] = [{**shape.attrib, "kind": shape.tag} for shape in image if shape.tag in _AREAS + _OTHERS]
            sizes[name] = _number(image, "height", self._file), _number(image, "width", self._file)
        if not any(self._rows.values()):
            known = ", ".join(sorted(subsets - {""})) or "none"
            told = f"of the subset '{split}' (there are: {known})" if split else "in any image"
            raise SegPerceptionError(f"{self._file} holds no shape {told}: export a job that has some")
        self._sizes = sizes
        self._ids = numbered_words(row["label"] for rows in self._rows.values() for row in rows if "label" in row)
        own = [split] if split else sorted(subsets - {""})
        folders = [root / "images" / name for name in (*own, "", "default")] + [root / split, root]
        used = [name for name, rows in self._rows.items() if rows]
        found, lost = find_images(used, folders, self._file)
        super().__init__("cvat", {number: word for word, number in self._ids.items()}, found, {})
        self.spare = lost
        self.missing = [Path(name) for name, rows in self._rows.items() if not rows]

    def shapes(self, key: str, size_hw: tuple[int, int]) -> tuple[list[Shape], list[Remark]]:
        """What the XML draws on an image."""
        same_size(self._sizes[key], size_hw, self._file)
        shapes: list[Shape] = []
        remarks: list[Remark] = []
        for number, row in sorted(enumerate(self._rows[key], start=1), key=lambda pair: _z_order(pair[1])):
            where = f"shape {number} ('{row.get('label', '?')}') of {key} in {self._file}"
            if row["kind"] not in _AREAS:
                remarks.append(Remark(NO_AREA, where))
                continue
            group = row.get("group_id", "0")
            try:
                outline = _outline(row, size_hw, where)
                shapes.append(Shape(self._ids[row["label"]], where, group=None if group == "0" else group, **outline))
            except (KeyError, ValueError) as error:
                raise SegPerceptionError(f"{where} is damaged ({error!r}): export it again") from error
        return shapes, remarks


def _images(path: Path) -> Iterator[Element]:
    """The image elements one by one, so that the size of the file does not matter."""
    try:
        with path.open("rb") as file:
            for _, element in ElementTree.iterparse(file):
                if element.tag == "image":
                    yield element
                    element.clear()
                elif element.tag == "track":
                    raise SegPerceptionError(f"{path} is of a video: export it as 'CVAT for images 1.1'")
    except OSError as error:
        raise SegPerceptionError(f"{path} cannot be read ({error.strerror}): check `root`") from error
    except (ElementTree.ParseError, LookupError, ValueError) as error:  # the last two: of an encoding it cannot read
        raise SegPerceptionError(f"{path} is no whole XML ({error}): export it again") from error


def _number(element: Element, name: str, path: Path) -> int:
    try:
        return int(element.get(name, ""))
    except ValueError as error:
        raise SegPerceptionError(
            f"{path}: an image has no number as its {name}: export it again as 'CVAT for images 1.1'"
        ) from error


def _z_order(row: dict[str, str]) -> int:
    text = row.get("z_order", "0")
    return int(text) if re.fullmatch(r"-?[0-9]{1,9}", text) else 0


def _outline(row: dict[str, str], size_hw: tuple[int, int], where: str) -> dict[str, Any]:
    if row["kind"] == "mask":
        mask_hw, (x, y) = (int(row["height"]), int(row["width"])), (int(row["left"]), int(row["top"]))
        require_inside(mask_hw, x, y, size_hw, where)
        return {"mask": at_place(in_turn(row["rle"].split(","), mask_hw), x, y, size_hw, where)}
    if row["kind"] == "polygon":
        return {"rings": (ring_of([pair.split(",") for pair in row["points"].split(";")], where),)}
    if row["kind"] == "ellipse":
        ring = ellipse_ring(_pair(row, "cx", "cy"), _pair(row, "rx", "ry"))
    else:
        (left, top), (right, bottom) = _pair(row, "xtl", "ytl").tolist(), _pair(row, "xbr", "ybr").tolist()
        ring = box_ring(left, top, right - left, bottom - top)
    middle = (ring.min(axis=0) + ring.max(axis=0)) / 2
    return {"rings": (turned(ring, float(row.get("rotation", 0)), middle),)}


def _pair(row: dict[str, str], first: str, second: str) -> NDArray[np.float64]:
    return np.array([float(row[first]), float(row[second])])
