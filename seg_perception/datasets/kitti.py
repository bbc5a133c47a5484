"""KITTI's pixel-level semantic and instance benchmark (Alhaija et al., IJCV 2018; 200 labelled frames), with Cityscapes
ids: `<split>/image_2`, `<split>/semantic`, `<split>/instance`, where split is `training`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from seg_perception.datasets.base import PairedFiles, named_files, numbered, two_folders
from seg_perception.datasets.cityscapes import MEANING
from seg_perception.errors import SegPerceptionError


class Kitti(PairedFiles):
    """Fine labels and instances. Instance files are 16-bit, id * 256 + number of the object, 0 for groups and stuff."""

    def __init__(self, root: Path, split: str) -> None:
        folder = root / split
        images, labels = two_folders(folder / "image_2", folder / "semantic")
        super().__init__("kitti", MEANING, images, labels, named_files((folder / "instance").glob("*.png")))

    def objects(self, ids: NDArray[np.uint8], values: NDArray[np.uint16], path: Path) -> NDArray[np.uint16]:
        """Raises SegPerceptionError when the two files disagree about the classes."""
        if (values >> 8 != ids)[values % 256 > 0].any():
            raise SegPerceptionError(
                f"{path} holds objects of other ids than its label: it must be 16-bit, id * 256 + number"
            )
        return numbered(values, values % 256 > 0, path)
