"""COCO's instance JSON with categories of one's own, as CVAT, Roboflow, labelme, Label Studio and others export it.

The JSON is looked for as `annotations/instances_<split>.json` and in the other places that tools use, or is the only one where
there are no splits; images beside it, in `images`, in `<split>`. Polygons, RLE (compressed or not) and crowds; of what overlaps
the smallest is in front.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from seg_perception.datasets.base import Remark, require_once
from seg_perception.datasets.categories import numbered_categories
from seg_perception.datasets.coco_panoptic import CONCEPTS_BY_CATEGORY
from seg_perception.datasets.json_stream import elements
from seg_perception.datasets.parts import Part
from seg_perception.datasets.rle import coco_part
from seg_perception.datasets.shapes import Drawn, Shape, find_image, ring_of, same_size
from seg_perception.errors import SegPerceptionError
from seg_perception.files import visible

BOX_ONLY = "annotations have a box and no outline, and are left out"

_COCO_ITSELF = {1: "person", 3: "car", 90: "toothbrush"}


def json_places(root: Path, split: str, kind: str) -> list[Path]:
    """Where tools put a JSON of COCO; kind: `instances` or `panoptic`."""
    name = split or "default"
    places = [
        *(f"annotations/{kind}_{name}.json", f"{split}/_annotations.coco.json", f"annotations/{name}.json"),
        *(f"{kind}_{name}.json", f"{name}.json", f"{split}/annotations.json", f"{split}/result.json"),
        *("annotations.json", "result.json") * (not split),
    ]
    return [root / place.lstrip("/") for place in places]


def image_places(root: Path, split: str, annotations: Path) -> list[Path]:
    """Folders in which the images of a JSON may lie."""
    folders = [root / "images" / split, root / split, root / split / "images", root / "images" / "default"]
    return list(dict.fromkeys([*folders, annotations.parent, root / "images", root]))


def find_json(root: Path, split: str, kind: str) -> Path:
    """The JSON of a split. Raises SegPerceptionError where there is none."""
    places = json_places(root, split, kind)
    found = next((place for place in places if place.is_file()), None)
    if found is not None:
        return found
    others = [path for folder in (root / "annotations", root) for path in visible(folder.glob("*.json"))]
    if len(others) == 1 and kind == "instances" and not split:
        return others[0]
    there = f", there are {', '.join(path.name for path in others[:3])}" if others else ""
    raise SegPerceptionError(
        f"{root} holds no JSON of COCO: {', '.join(str(place.relative_to(root)) for place in places[:3])} were looked "
        f"for{there}; check `root` and `split`"
    )


def find_images(names: Iterable[str], folders: list[Path], where: Path) -> tuple[dict[str, Path], list[Path]]:
    """The files of images by the names that the JSON gives them, and the names of those that lie nowhere.

    Raises SegPerceptionError where there are none, a name comes twice, or two names lead to one file.
    """
    found: dict[str, Path] = {}
    owners: dict[Path, str] = {}
    lost: list[Path] = []
    why: SegPerceptionError | None = None
    for name in names:
        if name in found:
            raise SegPerceptionError(f"{where} has two images '{name}': rename one, or export them again")
        try:
            found[name] = path = find_image(name, folders, str(where))
        except SegPerceptionError as error:
            why = why or error
            lost.append(Path(name))
            continue
        if (owner := owners.setdefault(path, name)) != name:
            raise SegPerceptionError(
                f"{where} has the images '{owner}' and '{name}', and of both there is the one file {path}: put each into "
                "its own folder"
            )
    if why is not None and not found:
        raise why
    return found, lost


class CocoInstances(Drawn):
    """Of the JSON only the places of the annotations are kept, so that its size does not matter."""

    smallest_in_front = True

    def __init__(self, root: Path, split: str) -> None:
        self._file = find_json(root, split, "instances")
        names: dict[int, str] = {}
        files: dict[Any, str] = {}
        self._sizes: dict[str, tuple[Any, Any]] = {}
        owners: list[Any] = []
        places: list[tuple[int, int]] = []
        outlines = 0
        drawn: set[Any] = set()
        above: dict[int, str] = {}
        try:
            for key, offset, length, row in elements(self._file):
                if key == "categories":
                    number, name = int(row["id"]), str(row["name"])
                    require_once(names.get(number, name) != name, f"categories of the id {number}", self._file)
                    names[number] = name
                    above[number] = str(row.get("supercategory"))
                elif key == "images":
                    name = str(row["file_name"])
                    require_once(row["id"] in files, f"images of the id {row['id']}", self._file)
                    require_once(name in self._sizes, f"images '{name}'", self._file)
                    files[row["id"]] = name
                    self._sizes[name] = row.get("height"), row.get("width")
                elif key == "annotations":
                    hash(row["image_id"])  # raises TypeError where it can be no key
                    owners.append(row["image_id"])
                    places.append((offset, length))
                    outlines += bool(row.get("segmentation"))
                    drawn.add(row.get("category_id"))
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
            raise SegPerceptionError(
                f"{self._file} is no instance JSON of COCO ({error!r}): export it again"
            ) from error
        if not outlines:
            told = (
                "boxes and no outlines: export segmentation" if owners else "no annotation: export a job that has some"
            )
            raise SegPerceptionError(f"{self._file} holds {told}")
        self._keep(owners, places, files)
        with_labels = set(owners)
        used = [name for owner, name in files.items() if owner in with_labels]
        images, lost = find_images(used, image_places(root, split, self._file), self._file)
        self._numbers = numbered_categories(names)
        is_coco = all(names.get(number) == name for number, name in _COCO_ITSELF.items())
        meaning = {self._numbers[i]: CONCEPTS_BY_CATEGORY.get(name, ()) for i, name in names.items()} if is_coco else {}
        if above.get(0) == "none" and 0 not in drawn and names[0] in above.values():
            meaning[self._numbers[0]] = ()  # the project, which Roboflow lists as what its categories are of
        super().__init__("coco_instances", {self._numbers[i]: name for i, name in names.items()}, images, meaning)
        self.spare = lost

    def _keep(self, owners: list[Any], places: list[tuple[int, int]], files: dict[Any, str]) -> None:
        """The places of each image's annotations, by the image's name, in arrays that workers share."""
        numbers = {owner: number for number, owner in enumerate(files)}
        lost = [owner for owner in owners if owner not in numbers]
        if lost:
            raise SegPerceptionError(
                f"{self._file} has annotations of the image {lost[0]!r}, which it does not list: export it again"
            )
        images = np.array([numbers[owner] for owner in owners], np.int64)
        order = np.argsort(images, kind="stable")
        self._places = np.array(places, np.int64)[order]
        ends = np.cumsum(np.bincount(images, minlength=len(files)))
        self._ends = {name: int(end) for name, end in zip(files.values(), ends, strict=True)}
        self._starts = {name: int(end) for name, end in zip(files.values(), np.append(0, ends[:-1]), strict=True)}

    def shapes(self, key: str, size_hw: tuple[int, int]) -> tuple[list[Shape], list[Remark]]:
        """What the JSON draws on an image."""
        same_size(self._sizes[key], size_hw, f"{key} in {self._file}")
        shapes: list[Shape] = []
        remarks: list[Remark] = []
        try:
            with self._file.open("rb") as file:
                for offset, length in self._places[self._starts[key] : self._ends[key]].tolist():
                    file.seek(offset)
                    row = json.loads(file.read(length))
                    where = f"annotation {row.get('id', '?')} of {key} in {self._file}"
                    shape = self._shape(row, where, size_hw)
                    if shape is None:
                        remarks.append(Remark(BOX_ONLY, where))
                    else:
                        shapes.append(shape)
        except OSError as error:
            raise SegPerceptionError(f"{self._file} cannot be read ({error.strerror}): check it") from error
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
            raise SegPerceptionError(
                f"{self._file} changed or is damaged at {key} ({error!r}): export it again"
            ) from error
        return shapes, remarks

    def _shape(self, row: dict[str, Any], where: str, size_hw: tuple[int, int]) -> Shape | None:
        outline, crowd = row.get("segmentation"), bool(row.get("iscrowd"))
        if row["category_id"] not in self._numbers:
            raise SegPerceptionError(
                f"{where} is of the category {row['category_id']}, which is not listed: export it again"
            )
        own_id = self._numbers[row["category_id"]]
        if not outline:
            return None
        if isinstance(outline, dict):
            return Shape(own_id, where, mask=_mask(outline, where, size_hw), crowd=crowd)
        parts = outline if isinstance(outline[0], list) else [outline]
        # parts of one object may overlap, which is why they are filled one by one
        rings = [ring_of(part, f"a polygon of {where}") for part in parts]
        return Shape(own_id, where, rings=tuple(rings), crowd=crowd)


def _mask(outline: dict[str, Any], where: str, size_hw: tuple[int, int]) -> Part:
    if list(outline["size"]) != list(size_hw):
        told = "x".join(map(str, outline["size"][::-1]))
        raise SegPerceptionError(
            f"the RLE of {where} is {told}, its image {size_hw[1]}x{size_hw[0]}: export both at one size"
        )
    try:
        return coco_part(outline["counts"], size_hw)
    except ValueError as error:
        raise SegPerceptionError(f"the RLE of {where} is damaged ({error}): export it again") from error
