"""COCO's panoptic format with categories of one's own: `panoptic_<split>.json`, in `annotations` or not, and beside it the
folder of PNGs of that name; images in `images`, `images/<split>` or `<split>`."""

from __future__ import annotations

from pathlib import Path

from seg_perception.datasets.base import label_files
from seg_perception.datasets.coco_instances import find_json, image_places
from seg_perception.datasets.coco_panoptic import CocoPanoptic
from seg_perception.errors import SegPerceptionError


class Panoptic(CocoPanoptic):
    """Categories by name; their ids are 1 to 254."""

    def __init__(self, root: Path, split: str) -> None:
        path = find_json(root, split, "panoptic")
        folders = [folder for folder in image_places(root, split, path) if folder.is_dir()]
        images = next((found for folder in folders if (found := label_files(folder))), None)
        if images is None:
            raise SegPerceptionError(f"there is no image for {path}: put them into {root / 'images'}")
        self.categories = self._open("panoptic", path, lambda: images)
