"""COCO images with instance polygons: `images/<stem>.jpg`, `labels/<stem>.txt`, one instance a line.

A line is the COCO-80 class index, then x y pairs normalised to [0, 1]. What no polygon covers is unlabelled.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from seg_perception.datasets.base import Remark, refuse_same_names
from seg_perception.datasets.shapes import Drawn, Shape
from seg_perception.datasets.yolo import polygons
from seg_perception.errors import SegPerceptionError
from seg_perception.files import image_files, in_either_form

MEANING = {
    0: ("person", "rider"),  # a COCO person may sit on a bicycle
    1: ("bicycle",),
    2: ("car",),
    3: ("motorcycle",),
    5: ("bus",),
    7: ("truck",),
    11: ("traffic sign",),
}


class CocoPolygons(Drawn):
    """Instances of street classes; images without any are left out."""

    smallest_in_front = True

    def __init__(self, root: Path, split: str = "") -> None:
        folder = root / split / "labels"
        files = image_files(root / split / "images")
        refuse_same_names(files)
        images = {image.stem: image for image in files}
        self._labels = {stem: in_either_form(folder / f"{stem}.txt") for stem in images}
        found = {stem: path for stem, path in images.items() if self._labels[stem].is_file() and self._is_of_use(stem)}
        super().__init__("coco_polygons", {}, found, MEANING)

    def _is_of_use(self, stem: str) -> bool:
        """Whether a label has a street class; one that is damaged counts, so that whoever reads it is told."""
        try:
            return bool(self._shapes(stem))
        except SegPerceptionError:
            return True

    def _shapes(self, stem: str) -> list[tuple[int, np.ndarray]]:
        return [(class_id, points) for class_id, points in polygons(self._labels[stem]) if class_id in MEANING]

    def shapes(self, key: str, size_hw: tuple[int, int]) -> tuple[list[Shape], list[Remark]]:
        """The lines of an image's label that are of a street class."""
        size = np.array(size_hw[::-1])
        return [Shape(i, f"a line of {self._labels[key]}", (points * size,)) for i, points in self._shapes(key)], []
