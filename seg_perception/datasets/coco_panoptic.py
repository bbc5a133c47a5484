"""COCO panoptic (Kirillov et al., CVPR 2019), as unpacked: `<split>/*.jpg`, `annotations/panoptic_<split>.json` and
`annotations/panoptic_<split>/*.png`, where split is `train2017` or `val2017`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seg_perception.datasets.base import PairedFiles, named_files, numbered
from seg_perception.errors import SegPerceptionError
from seg_perception.files import image_files, read_rgb
from seg_perception.labels import VOID

CONCEPTS_BY_CATEGORY: dict[str, tuple[str, ...]] = {
    "person": ("person", "rider"),
    "bicycle": ("bicycle",),
    "car": ("car", "caravan"),
    "motorcycle": ("motorcycle",),
    "bus": ("bus",),
    "train": ("train",),
    "truck": ("truck", "trailer"),
    "boat": ("boat",),
    "traffic light": ("traffic light",),
    "stop sign": ("traffic sign",),
    **dict.fromkeys(
        ("bird", "cat", "dog", "horse", "sheep", "cow", "elephant", "bear", "zebra", "giraffe"), ("animal",)
    ),
    "bridge": ("bridge",),
    "house": ("building",),
    "building-other-merged": ("building", "tunnel"),
    "road": ("road", "marking", "bike lane", "parking"),
    "railroad": ("rail track",),
    "pavement-merged": ("sidewalk", "curb"),
    "fence-merged": ("fence", "guard rail"),
    "wall-brick": ("wall", "building"),
    "wall-stone": ("wall", "building"),
    "sky-other-merged": ("sky",),
    "tree-merged": ("vegetation",),
    **dict.fromkeys(("grass-merged", "dirt-merged", "sand", "gravel"), ("terrain",)),
    "mountain-merged": ("mountain",),
    **dict.fromkeys(("river", "sea", "water-other"), ("water",)),
}
"""What is not here, most of it indoors, is void."""


class CocoPanoptic(PairedFiles):
    """Fine labels and instances; ids are COCO's category ids. Crowds have their class but no number.

    The PNGs hold a segment's id as R + 256 G + 65536 B, 0 is void; the JSON says what each segment is.
    """

    def __init__(self, root: Path, split: str) -> None:
        path = root / "annotations" / f"panoptic_{split}.json"
        categories, self._segments = _read(path)
        meaning = {number: CONCEPTS_BY_CATEGORY.get(name, ()) for number, (name, _) in categories.items()}
        self._is_thing = np.zeros(256, np.bool_)
        self._is_thing[[number for number, (_, thing) in categories.items() if thing]] = True
        labels = {stem: path.with_suffix("") / f"{stem}.png" for stem in self._segments}
        super().__init__("coco_panoptic", meaning, named_files(image_files(root / split)), labels)

    def masks(self, label: Path, instance: Path | None) -> tuple[NDArray[np.uint8], NDArray[np.uint16] | None]:
        """Ids and objects of one image."""
        red, green, blue = (read_rgb(label)[..., i].astype(np.int32) for i in range(3))
        segment = red + 256 * green + 65536 * blue
        known = self._segments[label.stem]
        place = np.searchsorted(known["id"], segment).clip(max=len(known) - 1)
        unknown = np.unique(segment[(known["id"][place] != segment)])
        if unknown.size:
            raise SegPerceptionError(
                f"{label} holds the segments {unknown.tolist()[:5]}, of which the JSON says nothing: unpack both again"
            )
        category = known["category"][place]
        return category, numbered(segment, self._is_thing[category] & ~known["crowd"][place])


_SEGMENT = np.dtype([("id", np.int32), ("category", np.uint8), ("crowd", np.bool_)])
_NOTHING = (0, VOID, True)


def _read(path: Path) -> tuple[dict[int, tuple[str, bool]], dict[str, NDArray[Any]]]:
    """Name and thing of each category; by file stem, the segments of each image in the order of their ids."""
    try:
        content = json.loads(path.read_text())
        categories = {int(row["id"]): (str(row["name"]), bool(row["isthing"])) for row in content["categories"]}
        segments = {}
        for image in content["annotations"]:
            rows = [(row["id"], row["category_id"], row["iscrowd"]) for row in image["segments_info"]]
            segments[Path(image["file_name"]).stem] = np.array(sorted([_NOTHING, *rows]), _SEGMENT)
    except OSError as error:
        raise SegPerceptionError(f"{path} cannot be read ({error.strerror}): check `root` and `split`") from error
    except (ValueError, KeyError, TypeError, OverflowError) as error:
        raise SegPerceptionError(f"{path} is no panoptic JSON of COCO ({error!r}): unpack it again") from error
    return categories, segments
