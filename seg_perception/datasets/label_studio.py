"""Label Studio's JSON export: a list of tasks in `<split>.json`, or the only JSON file of `root`, with the images in `images`,
`<split>` or beside it. Polygons, boxes and ellipses are in percent of the image, brushes in run lengths."""

from __future__ import annotations

import re
import urllib.parse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from seg_perception.datasets.base import Remark
from seg_perception.datasets.categories import numbered_words
from seg_perception.datasets.coco_instances import find_images
from seg_perception.datasets.json_stream import read_json
from seg_perception.datasets.parts import trimmed
from seg_perception.datasets.rle import brush_mask
from seg_perception.datasets.shapes import NO_AREA, Drawn, Shape, box_ring, ellipse_ring, ring_of, same_size, turned
from seg_perception.errors import SegPerceptionError
from seg_perception.files import IMAGE_ENDINGS, in_either_form, is_file, visible

_AREAS = ("polygonlabels", "brushlabels", "rectanglelabels", "ellipselabels")
_BY_KEY = {"rle": _AREAS[1], "points": _AREAS[0], "radiusX": _AREAS[3], "height": _AREAS[2]}
NO_LABEL = "regions have no label and are left out"
SEVERAL = "regions have several labels, of which the first counts"
_UPLOAD = re.compile(r"^[0-9a-f]{8}-")
"""What Label Studio puts before the name of a file that was uploaded."""


class LabelStudio(Drawn):
    """Of each task the last annotation that was not cancelled; tasks without one are missing. The last shape is in front."""

    def __init__(self, root: Path, split: str) -> None:
        self._file = _export(root, split)
        tasks = read_json(self._file)
        try:
            of = [_image_name(task, f"task {number}") for number, task in enumerate(tasks, start=1)]
            done = {name: rows for name, task in zip(of, tasks, strict=True) if (rows := _result(task)) is not None}
            missing = [name for name, task in zip(of, tasks, strict=True) if _result(task) is None]
            names = {name for rows in done.values() for row in rows for name in _names(row)}
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise SegPerceptionError(
                f"{self._file} is no JSON export of Label Studio ({error!r}): export as JSON, not as JSON-MIN"
            ) from error
        if not names:
            raise SegPerceptionError(f"{self._file} holds no region with a label: export a project that has some")
        if len(done) + len(missing) < len(tasks):
            raise SegPerceptionError(f"{self._file} has two tasks of one image: take one of them away")
        self._done = done
        self._ids = numbered_words(names)
        folders = [root / "images" / split, root / split, root / "images", root]
        known = {name: _on_disk(name, folders) for name in done}
        found, lost = find_images(known.values(), folders, self._file)
        images = {name: found[known[name]] for name in done if known[name] in found}
        super().__init__("label_studio", {number: name for name, number in self._ids.items()}, images, {})
        self.spare = lost
        self.missing = [Path(name) for name in missing]

    def shapes(self, key: str, size_hw: tuple[int, int]) -> tuple[list[Shape], list[Remark]]:
        """The regions of an image."""
        shapes: list[Shape] = []
        remarks: list[Remark] = []
        rows = self._done[key]
        labelled = [row.get("id") for row in rows if _names(row)]
        for number, row in enumerate(rows, start=1):
            where = f"region {row.get('id', number)} of {key} in {self._file}"
            names, kind = _names(row), str(row.get("type"))
            try:
                if not names:
                    is_area = kind in _AREAS or f"{kind}labels" in _AREAS  # of a tool beside which the labels stand
                    remarks += [Remark(NO_LABEL, where)] * (is_area and row.get("id") not in labelled)
                    continue
                if _kind(row) not in _AREAS:
                    remarks.append(Remark(NO_AREA, where))
                    continue
                _refuse_turned(row, where)
                same_size((row.get("original_height"), row.get("original_width")), size_hw, self._file)
                shapes.append(Shape(self._ids[names[0]], where, **_outline(row, size_hw, where)))
                remarks += [Remark(SEVERAL, where)] * (len(names) > 1)
            except (KeyError, TypeError, ValueError, OverflowError) as error:
                raise SegPerceptionError(f"{where} is damaged ({error}): export it again") from error
        return shapes, remarks


def _export(root: Path, split: str) -> Path:
    if split and (root / f"{split}.json").is_file():
        return root / f"{split}.json"
    found = visible(root.glob("*.json"))
    if len(found) != 1 or (split and not (root / split).is_dir() and not (root / "images" / split).is_dir()):
        raise SegPerceptionError(
            f"{root} holds {len(found)} JSON files: take the others away, or name one by `split`, which is its name without .json"
        )
    return found[0]


def _image_name(task: Any, where: str) -> str:
    """The path of a task's image: of an upload, a local file or an address, with what signs it or without. Raises ValueError
    where it has none."""
    texts = (_path_in(value) for value in task["data"].values() if isinstance(value, str))
    paths = [text for text in texts if re.search(r"\.\w{3,4}$", text)]
    if not paths:
        raise ValueError(f"{where} names no image")
    return next((path for path in paths if Path(path).suffix.lower() in IMAGE_ENDINGS), paths[0])


def _path_in(address: str) -> str:
    parsed = urllib.parse.urlsplit(address)
    query = urllib.parse.parse_qs(parsed.query)
    return query["d"][0] if "d" in query else urllib.parse.unquote(parsed.path).lstrip("/")


def _on_disk(name: str, folders: list[Path]) -> str:
    """The name that the image may have in a folder: without what an upload puts before it."""
    bare = Path(name).name
    shorter = _UPLOAD.sub("", bare)
    if shorter != bare and not any(is_file(in_either_form(folder / bare)) for folder in folders):
        return shorter
    return name


def _result(task: Any) -> list[Any] | None:
    done = [row for row in task["annotations"] if not row.get("was_cancelled")]
    return list(done[-1]["result"]) if done else None


def _names(row: Any) -> list[str]:
    return list(_labels(row))


def _labels(row: Any) -> Iterator[str]:
    kind = str(row.get("type", ""))
    if kind.endswith("labels"):
        yield from map(str, row["value"].get(kind, []))


def _kind(row: Any) -> str:
    """What is drawn: of `Labels` that stand beside a tool without labels, by what the value holds."""
    kind = str(row["type"])
    found = (shape for key, shape in _BY_KEY.items() if key in row["value"])
    return next(found, kind) if kind == "labels" else kind


def _refuse_turned(row: Any, where: str) -> None:
    """Raises SegPerceptionError where a region was drawn while the tool showed its image turned: not all of its versions give
    the region's place in the same one of the two."""
    turn = float(row.get("image_rotation") or 0)
    if turn % 360:
        raise SegPerceptionError(
            f"{where} was drawn on the image turned by {turn:g} degrees, and the file is not turned: turn it back in Label "
            "Studio, see that its regions lie right, and export again"
        )


def _outline(row: Any, size_hw: tuple[int, int], where: str) -> dict[str, Any]:
    kind, value, scale = _kind(row), row["value"], np.array(size_hw[::-1]) / 100
    if kind == "brushlabels":
        if value.get("format") != "rle":
            raise ValueError("a brush that is no RLE")
        return {"mask": trimmed(brush_mask(value["rle"], size_hw))}
    if kind == "polygonlabels":
        return {"rings": (ring_of(value["points"], where) * scale,)}
    turn = float(value.get("rotation", 0))
    if kind == "ellipselabels":
        middle = np.array([value["x"], value["y"]], np.float64) * scale
        radii = np.array([value["radiusX"], value["radiusY"]], np.float64) * scale
        return {"rings": (turned(ellipse_ring(middle, radii), turn, middle),)}
    ring = box_ring(value["x"], value["y"], value["width"], value["height"]) * scale
    return {"rings": (turned(ring, turn, ring[0]),)}
