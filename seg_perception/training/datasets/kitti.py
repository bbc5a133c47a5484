"""KITTI's pixel-level semantic and instance benchmark (Alhaija et al., IJCV 2018; 200 labelled frames), with Cityscapes
ids: `<split>/image_2`, `<split>/semantic`, `<split>/instance`, where split is `training`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from seg_perception.errors import SegPerceptionError
from seg_perception.files import read_mask
from seg_perception.training.datasets.base import PairedFiles, named_files, numbered, require_same_size, two_folders
from seg_perception.training.datasets.cityscapes import MEANING


class Kitti(PairedFiles):
    """Fine labels and instances. Instance files are 16-bit, id * 256 + number of the object, 0 for groups and stuff."""

    def __init__(self, root: Path, split: str) -> None:
        folder = root / split
        images, labels = two_folders(folder / "image_2", folder / "semantic")
        super().__init__("kitti", MEANING, images, labels, named_files((folder / "instance").glob("*.png")))

    def masks(self, label: Path, instance: Path | None) -> tuple[NDArray[np.uint8], NDArray[np.uint16] | None]:
        """Ids and objects of one image; raises when the two files disagree about the classes."""
        ids = read_mask(label, np.uint8)
        if instance is None:
            return ids, None
        values = read_mask(instance, np.uint16)
        require_same_size(label, ids, instance, values)
        if (values >> 8 != ids)[values % 256 > 0].any():
            raise SegPerceptionError(
                f"{instance} holds objects of other ids than {label}: it must be 16-bit, id * 256 + number"
            )
        return ids, numbered(values, values % 256 > 0)
