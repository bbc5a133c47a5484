"""Labelled data sets by name; none of them imports torch."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from seg_perception.errors import SegPerceptionError, nearest_name
from seg_perception.training.datasets.base import Dataset, Sample
from seg_perception.training.datasets.camvid import CamVid
from seg_perception.training.datasets.coco_polygons import CocoPolygons
from seg_perception.training.datasets.idd_lite import IddLite
from seg_perception.training.datasets.synthetic_scenes import SyntheticScenes

DATASETS: dict[str, Callable[[Path, str], Dataset]] = {
    "camvid": CamVid,
    "idd_lite": IddLite,
    "coco_polygons": CocoPolygons,
    "synthetic": SyntheticScenes,
}

__all__ = ["DATASETS", "Dataset", "Sample", "open_dataset"]


def open_dataset(name: str, root: Path | str, split: str) -> Dataset:
    """The named data set below root.

    Raises SegPerceptionError for an unknown name, a missing folder, or images without labels.
    """
    if name not in DATASETS:
        raise SegPerceptionError(f"there is no data set '{name}': {nearest_name(name, DATASETS)}")
    return DATASETS[name](Path(root), split)
