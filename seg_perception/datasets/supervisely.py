"""Supervisely's export: `meta.json`, and in each data set's folder `img/NAME.jpg` with `ann/NAME.jpg.json`."""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import Any

from seg_perception.datasets.base import Remark, label_files
from seg_perception.datasets.json_stream import read_json
from seg_perception.datasets.labelme import FilesOfShapes, NamesInFiles
from seg_perception.datasets.shapes import NO_AREA, Shape, at_place, box_ring, from_base64, png_mask, ring_of, same_size
from seg_perception.errors import SegPerceptionError
from seg_perception.files import in_either_form, visible


class Supervisely(FilesOfShapes):
    """Polygons with holes, bitmaps and boxes; the last one is in front. split: a data set's folder, with those nested in it,
    "" = all."""

    def __init__(self, root: Path, split: str) -> None:
        if not (root / "meta.json").is_file():
            raise SegPerceptionError(
                f"there is no {root / 'meta.json'}: check `root`, or export annotations and images again"
            )
        whole = root / split
        folders = [path.parent for path in sorted(whole.rglob("ann")) if path.is_dir() and path.parent != root]
        images = [
            path for folder in folders if (folder / "img").is_dir() for path in visible(label_files(folder / "img"))
        ]
        if not images:
            raise SegPerceptionError(
                f"there is no image in {root}/{split or '*'}/img: check `split`, or export images too"
            )
        pairs = {image: in_either_form(image.parent.parent / "ann" / f"{image.name}.json") for image in images}
        classes = _titles(root / "meta.json")
        files = {image: path for image, path in pairs.items() if path.is_file()}
        names = NamesInFiles.of(files.values(), lambda content: {str(row["classTitle"]) for row in content["objects"]})
        super().__init__("supervisely", files, names)
        self.missing = [image for image, path in pairs.items() if not path.is_file()]
        drawn = [path for folder in folders for path in visible((folder / "ann").glob("*.json"))]
        self.spare = sorted({*drawn} - {*pairs.values()})
        unknown = sorted(set(self._ids) - classes)
        if unknown:
            raise SegPerceptionError(
                f"{root / 'meta.json'} has no class '{unknown[0]}', which is drawn: export both again"
            )

    def read(self, content: Any, path: Path, size_hw: tuple[int, int]) -> tuple[list[Shape], list[Remark]]:
        """The objects of a file."""
        same_size((content["size"]["height"], content["size"]["width"]), size_hw, path)
        shapes: list[Shape] = []
        remarks: list[Remark] = []
        for number, row in enumerate(content["objects"], start=1):
            where = f"object {number} ('{row['classTitle']}') of {path}"
            outline = _outline(row, size_hw, where)
            if outline is None:
                remarks.append(Remark(NO_AREA, where))
            else:
                shapes.append(Shape(self._ids[str(row["classTitle"])], where, **outline))
        return shapes, remarks


def _titles(path: Path) -> set[str]:
    """Names of the classes that meta.json lists."""
    try:
        return {str(row["title"]) for row in read_json(path)["classes"]}
    except (KeyError, TypeError) as error:
        raise SegPerceptionError(f"{path} is no meta.json of Supervisely ({error!r}): export it again") from error


def _outline(row: Any, size_hw: tuple[int, int], where: str) -> dict[str, Any] | None:
    kind = row["geometryType"]
    if kind == "bitmap":
        packed = from_base64(row["bitmap"]["data"], where)
        try:
            data = zlib.decompressobj().decompress(packed, 1 << 28)
        except zlib.error as error:
            raise SegPerceptionError(f"the mask of {where} cannot be unpacked ({error}): export it again") from error
        x, y = row["bitmap"]["origin"]
        return {"mask": at_place(png_mask(data, where), int(x), int(y), size_hw, where)}
    if kind not in ("polygon", "rectangle"):
        return None
    outer = ring_of(row["points"]["exterior"], where)
    if kind == "rectangle":
        low, high = outer.min(axis=0), outer.max(axis=0)
        return {"rings": (box_ring(*low, *(high - low)),)}
    holes = tuple(ring_of(ring, f"a hole of {where}") for ring in row["points"].get("interior", []))
    return {"rings": (outer,), "holes": tuple(hole for hole in holes if len(hole) >= 3)}
