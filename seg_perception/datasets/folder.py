"""Your own images: `<split>/images`, `<split>/labels` (8-bit PNG of class ids) and, if you have them, `<split>/instances`
(PNG, 8 or 16 bits: 0 none, each object a number of its own within its class), all with the same stems."""

from __future__ import annotations

from pathlib import Path

from seg_perception.datasets.base import PairedFiles, named_files, two_folders


class Folder(PairedFiles):
    """The ids mean what the label set or the configuration's `classes` says; 255 is void."""

    def __init__(self, root: Path, split: str) -> None:
        images, labels = two_folders(root / split / "images", root / split / "labels")
        super().__init__("folder", {}, images, labels, named_files((root / split / "instances").glob("*.png")))
