"""Cityscapes' polygon files, as its own tools and converters write them: `leftImg8bit/<split>/<city>/…_leftImg8bit.png` and
`gtFine/<split>/<city>/…_gtFine_polygons.json`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from seg_perception.datasets.base import Remark, named_files
from seg_perception.datasets.labelme import FilesOfShapes, NamesInFiles
from seg_perception.datasets.shapes import Shape, ring_of, same_size
from seg_perception.errors import SegPerceptionError

_VOID = (
    "ego vehicle",
    "rectification border",
    "out of roi",
    "static",
    "dynamic",
    "ground",
    "license plate",
    "polegroup",
)
_GROUP = "group"
_END = "_gtFine_polygons.json"


class CityscapesPolygons(FilesOfShapes):
    """Categories by name, Cityscapes' own or others. A name such as cargroup is its class without a number: a crowd."""

    def __init__(self, root: Path, split: str) -> None:
        images = named_files((root / "leftImg8bit" / split).glob("*/*_leftImg8bit.png"), "_leftImg8bit.png")
        labels = named_files((root / "gtFine" / split).glob(f"*/*{_END}"), _END)
        if not images or not labels:
            raise SegPerceptionError(
                f"{root} holds no images in leftImg8bit/{split}/<city> with polygons in gtFine/{split}/<city>: unpack both "
                "there, or correct `root` and `split`"
            )
        files = {image: labels[stem] for stem, image in images.items() if stem in labels}
        names = NamesInFiles.of(files.values(), lambda content: {_name(row) for row in _drawn(content)})
        super().__init__("cityscapes_polygons", files, names)
        self.missing = [image for stem, image in images.items() if stem not in labels]
        self.spare = [path for stem, path in labels.items() if stem not in images]
        self.meaning = {number: () for number, name in self.categories.items() if name in _VOID}

    def read(self, content: Any, path: Path, size_hw: tuple[int, int]) -> tuple[list[Shape], list[Remark]]:
        """The objects of a file, the last one in front."""
        same_size((content.get("imgHeight"), content.get("imgWidth")), size_hw, path)
        shapes = []
        for number, row in enumerate(_drawn(content), start=1):
            where = f"object {number} ('{row['label']}') of {path}"
            crowd = str(row["label"]) != _name(row)
            shapes.append(Shape(self._ids[_name(row)], where, (ring_of(row["polygon"], where),), crowd=crowd))
        return shapes, []


def _drawn(content: Any) -> list[Any]:
    return [row for row in content["objects"] if not row.get("deleted")]


def _name(row: Any) -> str:
    name = str(row["label"])
    return name if name in _VOID else name.removesuffix(_GROUP)
