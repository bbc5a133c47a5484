"""India Driving Dataset Lite: 7 coarse classes at 320x227, `<split>/images`, `<split>/labels`."""

from __future__ import annotations

from pathlib import Path

from seg_perception.datasets.base import PairedFiles, two_folders

MEANING = {
    0: ("road",),
    1: ("sidewalk", "terrain"),
    2: ("person", "rider"),
    3: ("car", "truck", "bus", "caravan", "trailer", "motorcycle", "bicycle"),
    4: ("pole", "traffic sign", "traffic light", "billboard", "fence", "guard rail", "wall", "curb"),
    5: ("building", "bridge", "tunnel", "vegetation"),
    6: ("sky",),
}


class IddLite(PairedFiles):
    """Coarse labels, no instances."""

    def __init__(self, root: Path, split: str) -> None:
        images, labels = two_folders(root / split / "images", root / split / "labels")
        super().__init__("idd_lite", MEANING, images, labels)
