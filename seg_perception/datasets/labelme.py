"""labelme's JSON files, one beside each image, in `<split>` and folders below it."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from seg_perception.datasets.base import Remark, label_files
from seg_perception.datasets.categories import numbered_words
from seg_perception.datasets.json_stream import read_json
from seg_perception.datasets.shapes import (
    NO_AREA,
    Drawn,
    Shape,
    at_place,
    box_ring,
    ellipse_ring,
    find_image,
    from_base64,
    png_mask,
    ring_of,
    same_size,
)
from seg_perception.errors import SegPerceptionError
from seg_perception.files import one_form, visible

T = TypeVar("T")

_AREAS = ("polygon", "rectangle", "circle", "mask", "rotation")
"""The last one is X-AnyLabeling's for a turned box, of which it has the four corners."""


class FilesOfShapes(Drawn):
    """Adapters of one JSON file an image, whose categories are the names that are met in the files. A damaged file keeps none
    of the others from being opened: whoever reads its image is told.

    files: the JSON by image; names: those in all of them.
    """

    def __init__(self, name: str, files: dict[Path, Path], names: NamesInFiles) -> None:
        self._files = {str(image): path for image, path in files.items()}
        if not names.found:
            if names.faults:
                raise names.faults[0]
            told = "hold no shape" if files else "are not there"
            raise SegPerceptionError(f"the labels of {name} {told}: label some, or correct `root` and `split`")
        self._ids = numbered_words(names.found)
        images = {str(image): image for image in files}
        super().__init__(name, {number: word for word, number in self._ids.items()}, images, {})

    def shapes(self, key: str, size_hw: tuple[int, int]) -> tuple[list[Shape], list[Remark]]:
        """What is drawn on an image."""
        path = self._files[key]
        return guarded(path, lambda: self.read(read_json(path), path, size_hw))

    def read(self, content: Any, path: Path, size_hw: tuple[int, int]) -> tuple[list[Shape], list[Remark]]:
        """The shapes in the content of a file; may raise what reading a wrong content raises."""
        raise NotImplementedError


def guarded(path: Path, read: Callable[[], T]) -> T:
    """What read makes of a file's content. Raises SegPerceptionError naming the file where that is not as it should be."""
    try:
        return read()
    except (KeyError, TypeError, ValueError, AttributeError, IndexError, OverflowError) as error:
        raise SegPerceptionError(f"{path} is no label of its tool ({error!r}): export it again") from error


class NamesInFiles:
    """The names in the content of many files. found: in all that could be read; faults: of the others."""

    def __init__(self) -> None:
        self.found: set[str] = set()
        self.faults: list[SegPerceptionError] = []

    def add(self, path: Path, read: Callable[[], set[str]]) -> None:
        """Those of one more file, which read finds in it."""
        try:
            self.found |= guarded(path, read)
        except SegPerceptionError as error:
            self.faults.append(error)

    @classmethod
    def of(cls, files: Iterable[Path], names_in: Callable[[Any], set[str]]) -> NamesInFiles:
        """Those of all files; names_in: of the content of one."""
        names = cls()
        for path in files:
            names.add(path, lambda: names_in(read_json(path)))  # noqa: B023
        return names


class Labelme(FilesOfShapes):
    """Polygons, boxes, circles and masks; the last one is in front. Shapes of one group are one object."""

    def __init__(self, root: Path, split: str) -> None:
        folder = root / split
        files: dict[Path, Path] = {}
        lost: dict[Path, SegPerceptionError] = {}
        names = NamesInFiles()
        names_by_stem = functools.cache(_names_by_stem)
        for path in sorted(folder.rglob("*.json")):
            if any(part.startswith(".") for part in path.relative_to(folder).parts):  # what Macs and notebooks leave
                continue
            places = [path.parent, path.parent.parent / "images"]
            try:
                content = _checked(read_json(path), path)  # once, since most hold their image too
                name = str(content.get("imagePath") or "")
            except SegPerceptionError as error:
                names.faults.append(error)
                if not (name := _name_of_stem(path, map(names_by_stem, places))):
                    lost[path] = error
                    continue
                content = {"shapes": []}
            try:
                image = find_image(name, places, str(path))
            except SegPerceptionError as error:
                lost[path] = error
                continue
            if files.setdefault(image, path) is not path:
                raise SegPerceptionError(f"{files[image]} and {path} are of one image: take one of them away")
            names.add(path, lambda: {str(shape["label"]) for shape in content["shapes"]})  # noqa: B023
        if lost and not files:
            raise next(iter(lost.values()))
        super().__init__("labelme", files, names)
        self.spare = list(lost)
        folders = {image.parent for image in files}
        beside = {path for own in folders for path in visible(label_files(own))}
        self.missing = sorted(beside - files.keys())

    def read(self, content: Any, path: Path, size_hw: tuple[int, int]) -> tuple[list[Shape], list[Remark]]:
        """The shapes of a file."""
        content = _checked(content, path)
        same_size((content.get("imageHeight"), content.get("imageWidth")), size_hw, path)
        shapes: list[Shape] = []
        remarks: list[Remark] = []
        for number, row in enumerate(content["shapes"], start=1):
            where = f"shape {number} ('{row['label']}') of {path}"
            kind = row.get("shape_type") or "polygon"
            if kind not in _AREAS:
                remarks.append(Remark(NO_AREA, where))
                continue
            group = row.get("group_id")
            outline = _outline(kind, row, size_hw, where)
            shapes.append(
                Shape(self._ids[str(row["label"])], where, group=None if group is None else str(group), **outline)
            )
        return shapes, remarks


def _checked(content: Any, path: Path) -> dict[str, Any]:
    if not isinstance(content, dict) or "shapes" not in content:
        raise SegPerceptionError(f"{path} is no label of labelme: it has no 'shapes'; take it away, or correct `root`")
    return content


def _name_of_stem(path: Path, folders: Iterable[Mapping[str, str]]) -> str:
    """The name of the image that a damaged label is of, as both have one stem; "" for none. folders: as of _names_by_stem."""
    stem = one_form(path.stem)
    return next((names[stem] for names in folders if stem in names), "")


def _names_by_stem(folder: Path) -> dict[str, str]:
    """Of the images in a folder, the stems in one form; the first in order where several have one."""
    images = visible(label_files(folder)) if folder.is_dir() else []
    return {one_form(image.stem): image.name for image in reversed(images)}


def _outline(kind: str, row: Any, size_hw: tuple[int, int], where: str) -> dict[str, Any]:
    points = ring_of(row["points"], where)
    if kind == "mask":
        x, y = np.floor(points.min(axis=0)).astype(int).tolist()
        return {"mask": at_place(png_mask(from_base64(row["mask"], where), where), x, y, size_hw, where)}
    if kind == "rectangle":
        return {"rings": (box_ring(*points.min(axis=0), *np.ptp(points, axis=0)),)}
    if kind == "circle":
        return {"rings": (ellipse_ring(points[0], np.full(2, np.linalg.norm(points[1] - points[0]))),)}
    return {"rings": (points,)}
