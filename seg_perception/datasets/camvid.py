"""CamVid in the SegNet split: 11 classes and void at 480x360, `<split>/images`, `<split>/labels`."""

from __future__ import annotations

from pathlib import Path

from seg_perception.datasets.base import PairedFiles, two_folders
from seg_perception.datasets.label_sets import concepts_of
from seg_perception.labels import CAMVID

_UNLABELLED = 11


class CamVid(PairedFiles):
    """Fine labels, no instances."""

    def __init__(self, root: Path, split: str) -> None:
        images, labels = two_folders(root / split / "images", root / split / "labels")
        super().__init__("camvid", concepts_of(CAMVID) | {_UNLABELLED: ()}, images, labels)
