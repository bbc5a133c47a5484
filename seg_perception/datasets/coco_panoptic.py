"""COCO panoptic (Kirillov et al., CVPR 2019), as unpacked: `<split>/*.jpg`, `annotations/panoptic_<split>.json` and
`annotations/panoptic_<split>/*.png`, where split is `train2017` or `val2017`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seg_perception.datasets.base import PairedFiles, named_files, numbered, require_once
from seg_perception.datasets.categories import numbered_categories
from seg_perception.datasets.json_stream import elements
from seg_perception.errors import SegPerceptionError
from seg_perception.files import image_files, in_either_form, one_form, read_colors
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
        names = self._open(
            "coco_panoptic", root / "annotations" / f"panoptic_{split}.json", lambda: image_files(root / split)
        )
        self.meaning = {number: CONCEPTS_BY_CATEGORY.get(name, ()) for number, name in names.items()}

    def _open(self, name: str, path: Path, images: Callable[[], Sequence[Path]]) -> dict[int, str]:
        """Read the JSON, whose PNGs lie in the folder of its name; returns the names of the categories."""
        categories, self._segments = _read(path)
        self._is_thing = np.zeros(256, np.bool_)
        self._is_thing[[number for number, (_, thing) in categories.items() if thing]] = True
        labels = {stem: in_either_form(path.with_suffix("") / f"{stem}.png") for stem in self._segments}
        super().__init__(name, {}, named_files(images()), labels)
        return {number: name for number, (name, _) in categories.items()}

    def masks(self, label: Path, instance: Path | None) -> tuple[NDArray[np.uint8], NDArray[np.uint16] | None]:
        """Ids and objects of one image."""
        segment = read_colors(label).astype(np.int32) @ np.array([1, 256, 65536], np.int32)
        known = self._segments[one_form(label.stem)]
        place = np.searchsorted(known["id"], segment).clip(max=len(known) - 1)
        unknown = np.unique(segment[(known["id"][place] != segment)])
        if unknown.size:
            raise SegPerceptionError(
                f"{label} holds the segments {unknown.tolist()[:5]}, of which the JSON says nothing: unpack both again"
            )
        category = known["category"][place].astype(np.uint8)
        return category, numbered(segment, self._is_thing[category] & ~known["crowd"][place], label)


_SEGMENT = np.dtype([("id", np.int32), ("category", np.int32), ("crowd", np.bool_)])
_NOTHING = np.array([(0, VOID, True)], _SEGMENT)


def _read(path: Path) -> tuple[dict[int, tuple[str, bool]], dict[str, NDArray[Any]]]:
    """Name and thing of each category; by file stem, the segments of each image in the order of their ids."""
    categories: dict[int, tuple[str, bool]] = {}
    segments: dict[str, NDArray[Any]] = {}
    try:
        for item in elements(path):
            row = item.value
            if item.key == "categories":
                number, category = int(row["id"]), (str(row["name"]), bool(row["isthing"]))
                require_once(
                    categories.setdefault(number, category) != category, f"categories of the id {number}", path
                )
            elif item.key == "annotations":
                stem = one_form(Path(row["file_name"]).stem)
                require_once(stem in segments, f"annotations of {stem}.png", path)
                parts: dict[int, tuple[int, int]] = {}
                for part in row["segments_info"]:
                    told = part["category_id"], part.get("iscrowd", 0)
                    require_once(
                        parts.setdefault(part["id"], told) != told,
                        f"segments of the id {part['id']} in {stem}.png",
                        path,
                    )
                segments[stem] = np.array([(number, *parts[number]) for number in sorted(parts)], _SEGMENT)
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
        raise SegPerceptionError(f"{path} is no panoptic JSON of COCO ({error!r}): unpack it again") from error
    if not segments:
        raise SegPerceptionError(f"{path} holds no annotation: export a job that has some")
    numbers = numbered_categories({number: name for number, (name, _) in categories.items()})
    for stem, rows in segments.items():
        segments[stem] = np.concatenate([_NOTHING, _renumbered(rows, numbers, f"{stem} in {path}")])
    return {numbers[number]: category for number, category in categories.items()}, segments


def _renumbered(rows: NDArray[Any], numbers: Mapping[int, int], where: str) -> NDArray[Any]:
    unknown = [number for number in rows["category"].tolist() if number not in numbers]
    if unknown:
        raise SegPerceptionError(
            f"{where} has a segment of the category {unknown[0]}, which is not listed: export it again"
        )
    rows["category"] = [numbers[number] for number in rows["category"].tolist()]
    return rows
