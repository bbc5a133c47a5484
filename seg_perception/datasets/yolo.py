"""YOLO segmentation as Ultralytics and Roboflow export it: `data.yaml` with the names and the folder of each split, images
in a folder `images`, and beside it `labels/<stem>.txt`: one object a line, its class and x y pairs of 0 to 1."""

from __future__ import annotations

import reprlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seg_perception.datasets.base import Remark, label_files, refuse_same_names, text_of
from seg_perception.datasets.categories import numbered_categories
from seg_perception.datasets.shapes import Drawn, Shape
from seg_perception.errors import SegPerceptionError, nearest_name
from seg_perception.files import image_files, in_either_form, is_file, visible
from seg_perception.yaml_fields import read_yaml

_SAME_SPLIT = {"val": "valid", "valid": "val"}
_BOX = 4
_FAR = 1.5
"""From the image's middle, in its sizes: what lies farther off was never meant as a share of it."""


class Yolo(Drawn):
    """Categories by name; images without a label file, or with an empty one, show nothing of them and are left out."""

    smallest_in_front = True

    def __init__(self, root: Path, split: str) -> None:
        names, images = _data(root, split or "train")
        self._numbers = numbered_categories(names)
        refuse_same_names(images)
        self._labels = {image.name: _label_of(image) for image in images}
        found = {image.name: image for image in images if _has_text(self._labels[image.name])}
        if not found:
            raise SegPerceptionError(
                f"no image in {images[0].parent} has a label: {_label_of(images[0])} and such were looked for; export again"
            )
        super().__init__("yolo", {self._numbers[i]: name for i, name in names.items()}, found, {})

    def shapes(self, key: str, size_hw: tuple[int, int]) -> tuple[list[Shape], list[Remark]]:
        """The lines of an image's label."""
        path = self._labels[key]
        size = np.array(size_hw[::-1])
        shapes = []
        for number, (class_id, points) in enumerate(polygons(path), start=1):
            if class_id not in self._numbers:
                raise SegPerceptionError(
                    f"{path}, line {number} is of the class {class_id}, which data.yaml does not name: export both again"
                )
            shapes.append(Shape(self._numbers[class_id], f"line {number} of {path}", (points * size,)))
        return shapes, []


def polygons(path: Path) -> list[tuple[int, NDArray[np.float64]]]:
    """(class index, float64 [K, 2] points in [0, 1]) of the lines of a label file.

    Raises SegPerceptionError naming the line that is none.
    """
    found = []
    for number, line in enumerate(text_of(path).splitlines(), start=1):
        if not line.strip():
            continue
        try:
            class_id, *values = line.split()
            points = np.array(values, np.float64).reshape(-1, 2)
            if not np.isfinite(points).all():
                raise ValueError("a coordinate is no number")
            if (np.abs(points - 0.5) > _FAR).any():
                raise ValueError("x and y are shares of the image, from 0 to 1, and no pixels")
            found.append((int(class_id), points))
        except ValueError as error:
            raise SegPerceptionError(
                f"{path}, line {number} is no class index with x y pairs ({error}): mend the line"
            ) from error
        if len(values) == _BOX:
            raise SegPerceptionError(f"{path}, line {number} is a box and no outline: export segmentation")
    return found


def _has_text(path: Path) -> bool:
    """Whether a label says anything; so does one that is damaged, to whoever reads it."""
    try:
        return path.is_file() and bool(text_of(path).strip())
    except SegPerceptionError:
        return True


def _label_of(image: Path) -> Path:
    """As Ultralytics finds it: the last folder `images` in the path becomes `labels`."""
    parts = list(image.parts)
    places = [place for place, part in enumerate(parts[:-1]) if part == "images"]
    if places:
        parts[places[-1]] = "labels"
    return in_either_form(Path(*parts).with_suffix(".txt"))


def _data(root: Path, split: str) -> tuple[dict[int, str], list[Path]]:
    """Names by class index, and the images of a split."""
    files = [path for pattern in ("data.y*ml", "*.yaml", "*.yml") for path in visible(root.glob(pattern))]
    if not files:
        raise SegPerceptionError(f"there is no data.yaml in {root}: check `root`, or export again with it")
    content = read_yaml(files[0])
    if isinstance(content, dict) and content.get("kpt_shape"):
        raise SegPerceptionError(f"{files[0]} is of key points (kpt_shape), which have no outline: export segmentation")
    names = content.get("names") if isinstance(content, dict) else None
    if not isinstance(names, (list, dict)) or not names:
        raise SegPerceptionError(f"{files[0]} names no classes: it needs `names`, a list or numbers with names")
    rows = dict(enumerate(names)) if isinstance(names, list) else names
    if not all(isinstance(name, (str, int, float)) for name in rows.values()):
        raise SegPerceptionError(f"{files[0]}: each of `names` must be one name, as in `0: road`")
    found = {i: str(name) for i, name in rows.items()}
    if not all(isinstance(number, int) for number in found):
        raise SegPerceptionError(f"{files[0]}: the keys of `names` must be numbers, as in `0: road`")
    key = split if split in content else _SAME_SPLIT.get(split, split)
    if key not in content:
        splits = [word for word in ("train", "val", "valid", "test") if word in content]
        told = nearest_name(split, splits) if splits else f"write where its images are, as in `{split}: images`"
        raise SegPerceptionError(f"{files[0]} has no split '{split}': {told}")
    return found, _images(root, content, content[key], files[0])


def _images(root: Path, content: dict[str, Any], entry: Any, data: Path) -> list[Path]:
    """The images of a folder, or of a text file with one path a line. Roboflow writes ../train/images for train/images."""
    if isinstance(entry, list) and entry and all(isinstance(one, str) for one in entry):
        return list(dict.fromkeys(image for one in entry for image in _images(root, content, one, data)))
    if not isinstance(entry, str) or not entry.strip():
        raise SegPerceptionError(f"{data}: a split is {reprlib.repr(entry)}, expected a folder of images, or several")
    places = [root / str(content.get("path", "")), root]
    exact = _places(entry, places)
    near = (path for path in _places(entry, [root], shortened=True) if is_file(path) or _has_images(path))
    found = next((path for path in exact if path.exists()), None) or next(near, None)
    if found is None:
        raise SegPerceptionError(f"{data} says that images are in '{entry}', and there is no {exact[-1]}: correct it")
    if found.is_dir():
        return image_files(found) if _has_images(found) else _below(found)
    lines = [line.strip() for line in text_of(found).splitlines() if line.strip()]
    images = [_listed(line, found.parent, root) for line in lines]
    if not images:
        raise SegPerceptionError(f"{found} names no images: one path a line is expected")
    return list(dict.fromkeys(images))  # some name an image twice, so that it is seen more often


def _below(folder: Path) -> list[Path]:
    """The images in the folders of a folder that has none itself."""
    folders = (path for path in visible(folder.rglob("*")) if _has_images(path))
    return [image for path in folders for image in image_files(path)] or image_files(folder)


def _has_images(folder: Path) -> bool:
    return folder.is_dir() and bool(visible(label_files(folder)))


def _listed(line: str, beside: Path, root: Path) -> Path:
    """The image that a line of a list names: the first that is there, else where it should be."""
    places = [*_places(line, [beside, root]), *_places(line, [root], shortened=True)]
    return next((path for path in map(in_either_form, places) if is_file(path)), in_either_form(root / line))


def _places(name: str, folders: Sequence[Path], *, shortened: bool = False) -> list[Path]:
    """Where a path may lie that was written for these folders: as it is, and without what leads out of them; shortened: without
    one, two, … of its first folders, as of another machine, or of the `data` that CVAT puts before it."""
    name = name.replace("\\", "/")  # of Windows
    parts = [part for part in Path(name).parts if part not in ("..", ".", "/")]
    ends = [Path(*parts[first:]) for first in range(1, len(parts))] if shortened else [Path(name), Path(*parts)]
    return [folder / end for folder in folders for end in ends]
