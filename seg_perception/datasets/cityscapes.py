"""Cityscapes with fine annotations (Cordts et al., CVPR 2016), as unpacked: `leftImg8bit/<split>/<city>/…` and
`gtFine/<split>/<city>/…_gtFine_labelIds.png`, `…_gtFine_instanceIds.png`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from seg_perception.datasets.base import PairedFiles, named_files, numbered
from seg_perception.errors import SegPerceptionError

MEANING: dict[int, tuple[str, ...]] = {
    **dict.fromkeys(range(7), ()),  # unlabelled, the own car, borders, static, dynamic, ground
    **{7: ("road",), 8: ("sidewalk",), 9: ("parking",), 10: ("rail track",)},
    **{11: ("building",), 12: ("wall",), 13: ("fence",), 14: ("guard rail",), 15: ("bridge",), 16: ("tunnel",)},
    **{17: ("pole",), 18: (), 19: ("traffic light",), 20: ("traffic sign",)},  # 18 is a group of poles
    **{21: ("vegetation",), 22: ("terrain",), 23: ("sky",), 24: ("person",), 25: ("rider",)},
    **{26: ("car",), 27: ("truck",), 28: ("bus",), 29: ("caravan",), 30: ("trailer",), 31: ("train",)},
    **{32: ("motorcycle",), 33: ("bicycle",)},
}
"""Of the full ids; those that Cityscapes does not evaluate are void in the label set `cityscapes`, by concept."""

_OBJECTS_FROM = 1000
"""Instance files hold id * 1000 + number for an object, the id alone for a group or stuff."""


class Cityscapes(PairedFiles):
    """Fine labels and instances; groups of things have their class but no number: crowds."""

    def __init__(self, root: Path, split: str) -> None:
        photos, truth = root / "leftImg8bit" / split, root / "gtFine" / split
        images = named_files(photos.glob("*/*_leftImg8bit.png"), "_leftImg8bit.png")
        if not images:
            raise SegPerceptionError(
                f"there is no image in {photos}/<city>: unpack leftImg8bit and gtFine in {root}, or correct `root`"
            )
        labels = named_files(truth.glob("*/*_gtFine_labelIds.png"), "_gtFine_labelIds.png")
        objects = named_files(truth.glob("*/*_gtFine_instanceIds.png"), "_gtFine_instanceIds.png")
        super().__init__("cityscapes", MEANING, images, labels, objects)

    def objects(self, ids: NDArray[np.uint8], values: NDArray[np.uint16], path: Path) -> NDArray[np.uint16]:
        """Every value from _OBJECTS_FROM on is an object of its own."""
        return numbered(values, values >= _OBJECTS_FROM, path)
