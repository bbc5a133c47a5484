"""India Driving Dataset Lite: 7 coarse classes at 320x227, `<split>/images`, `<split>/labels`."""

from __future__ import annotations

from pathlib import Path

from seg_perception.training.datasets.base import PairedFiles

MEANING = {
    0: ("road",),
    1: ("pavement", "tree"),  # non-drivable ground: pavements, and grass, which CamVid counts as vegetation
    2: ("pedestrian", "bicyclist"),
    3: ("car", "bicyclist"),  # vehicles, two-wheelers with them
    4: ("pole", "sign", "fence", "building", "pavement"),  # roadside objects: walls and kerbs are among them
    5: ("building", "tree"),  # far objects: buildings, bridges, vegetation
    6: ("sky",),
}


class IddLite(PairedFiles):
    """Coarse labels, no instances."""

    def __init__(self, root: Path, split: str) -> None:
        super().__init__("idd_lite", root / split / "images", root / split / "labels", MEANING)
