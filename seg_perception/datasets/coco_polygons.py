"""COCO images with instance polygons: `images/<stem>.jpg`, `labels/<stem>.txt`, one instance a line.

A line is the COCO-80 class index, then x y pairs normalised to [0, 1]. What no polygon covers is unlabelled.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from seg_perception.datasets.base import Sample
from seg_perception.datasets.polygons import filled
from seg_perception.errors import SegPerceptionError
from seg_perception.files import image_files, read_rgb
from seg_perception.labels import VOID

MEANING = {
    0: ("person", "rider"),  # a COCO person may sit on a bicycle
    1: ("bicycle",),
    2: ("car",),
    3: ("motorcycle",),
    5: ("bus",),
    7: ("truck",),
    11: ("traffic sign",),
}


class CocoPolygons:
    """Instances of street classes; images without any are left out."""

    name = "coco_polygons"
    meaning = MEANING
    categories: Mapping[int, str] = {}
    missing: tuple[Path, ...] = ()
    spare: tuple[Path, ...] = ()

    def __init__(self, root: Path, split: str = "") -> None:
        images = image_files(root / split / "images")
        self._items = [(image, root / split / "labels" / f"{image.stem}.txt") for image in images]
        self._items = [(image, text) for image, text in self._items if text.is_file() and _polygons(text)]

    def __len__(self) -> int:
        return len(self._items)

    def path(self, index: int) -> Path:
        """The image's file."""
        return self._items[index][0]

    def __getitem__(self, index: int) -> Sample:
        image, text = self._items[index]
        rgb = read_rgb(image)
        size = np.array(rgb.shape[1::-1])
        label = np.full(rgb.shape[:2], VOID, np.uint8)
        instance = np.zeros(rgb.shape[:2], np.uint16)
        shapes = [(class_id, filled(points * size, rgb.shape[:2])) for class_id, points in _polygons(text)]
        shapes.sort(key=lambda shape: -np.count_nonzero(shape[1]))  # small ones in front, as they mostly are
        for number, (class_id, inside) in enumerate(shapes, start=1):
            label[inside] = class_id
            instance[inside] = number
        return Sample(image.stem, rgb, label, instance)


def _polygons(path: Path) -> list[tuple[int, np.ndarray]]:
    """(class index, float64 [K, 2] points in [0, 1]) of the street classes in one file."""
    found = []
    for number, line in enumerate(path.read_text().splitlines(), start=1):
        try:
            class_id, *values = line.split()
            points = np.array(values, np.float64).reshape(-1, 2)
            if int(class_id) in MEANING and len(points) >= 3:
                found.append((int(class_id), points))
        except ValueError as error:
            raise SegPerceptionError(
                f"{path}, line {number} is no class index with x y pairs ({error}): mend the line"
            ) from error
    return found
