"""Masks in the layout of Pascal VOC 2012 (Everingham et al., IJCV 2015), as CVAT ("Segmentation mask 1.1"), labelme and others
export them: `JPEGImages`, `SegmentationClass` and, where objects are told apart, `SegmentationObject`; the names of a split
in `ImageSets/Segmentation/<split>.txt`; colours in `labelmap.txt`, else those of VOC in the order of `class_names.txt`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from seg_perception.datasets.base import (
    PairedFiles,
    label_files,
    named_files,
    numbered,
    refuse_lossy_objects,
    require_same_size,
    text_of,
)
from seg_perception.datasets.categories import require_few
from seg_perception.datasets.colors import Color, ids_by_color
from seg_perception.errors import SegPerceptionError
from seg_perception.files import one_form, read_colors
from seg_perception.labels import VOID

VOC_NAMES = (
    *("background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow"),
    *("diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor"),
)
MEANING: dict[int, tuple[str, ...]] = {
    **dict.fromkeys(range(len(VOC_NAMES)), ()),
    **{2: ("bicycle",), 4: ("boat",), 6: ("bus",), 7: ("car", "caravan"), 14: ("motorcycle",)},
    **{15: ("person", "rider"), 19: ("train",), **dict.fromkeys((3, 8, 10, 12, 13, 17), ("animal",))},
}
"""Of VOC's own 20 classes; its background is everything else, which is void."""

BORDER: Color = (224, 224, 192)
"""What VOC paints around objects: void."""


def voc_color(number: int) -> Color:
    """The colour of an id in VOC's palette: its bits are dealt to the three channels, the highest first."""
    color = [0, 0, 0]
    for bit in range(8):
        for channel in range(3):
            color[channel] |= (number >> (3 * bit + channel) & 1) << (7 - bit)
    return color[0], color[1], color[2]


class Voc(PairedFiles):
    """Ids are places in the list of names. The colours count, with a palette or without."""

    def __init__(self, root: Path, split: str) -> None:
        names, self._colors = _classes(root)
        images = _listed(named_files(label_files(_folder(root, "JPEGImages"))), root, split)
        labels = named_files(label_files(_folder(root, "SegmentationClass", "SegmentationClassPNG")))
        objects = root / "SegmentationObject"
        instances = named_files(label_files(objects)) if objects.is_dir() else {}
        super().__init__("voc", {} if names else MEANING, images, labels, instances)
        self.categories = names or dict(enumerate(VOC_NAMES))
        if split or not labels:
            self.spare = []  # VOC has many images without masks, and the masks of all splits in one folder
        if not names and (root / "ImageSets").is_dir():
            self.missing = []

    def masks(self, label: Path, instance: Path | None) -> tuple[NDArray[np.uint8], NDArray[np.uint16] | None]:
        """Ids and objects of one image."""
        ids = ids_by_color(read_colors(label), self._colors, label)
        if instance is None:
            return ids, None
        refuse_lossy_objects(instance)
        rgb = read_colors(instance).astype(np.uint32)
        require_same_size(label, ids, instance, rgb)
        code = rgb[..., 0] << 16 | rgb[..., 1] << 8 | rgb[..., 2]
        border = BORDER[0] << 16 | BORDER[1] << 8 | BORDER[2]
        return ids, numbered(code, (code != 0) & (code != border), instance)


def _folder(root: Path, *names: str) -> Path:
    for name in names:
        if (root / name).is_dir():
            return root / name
    hint = ": CVAT leaves images out unless 'Save images' is set" if names == ("JPEGImages",) else ""
    raise SegPerceptionError(f"there is no folder {root / names[0]}{hint or ': check `root`'}")


def _listed(images: dict[str, Path], root: Path, split: str) -> dict[str, Path]:
    """Those that the split's list names; all without a split."""
    if not split:
        return images
    path = root / "ImageSets" / "Segmentation" / f"{split}.txt"
    if not path.is_file():
        known = ", ".join(sorted(found.stem for found in path.parent.glob("*.txt"))) or "none"
        raise SegPerceptionError(f"there is no {path}: the splits there are {known}")
    stems = [one_form(Path(line.strip()).name) for line in text_of(path).splitlines() if line.strip()]
    lost = [stem for stem in stems if stem not in images]
    if lost:
        raise SegPerceptionError(
            f"{path} names {len(lost)} images that are not in JPEGImages, the first is {lost[0]}: add them"
        )
    return {stem: images[stem] for stem in stems}


def _classes(root: Path) -> tuple[dict[int, str], dict[int, Color]]:
    """Names, none where they are VOC's own, and colours by id."""
    if (path := root / "labelmap.txt").is_file():
        rows = [_row(line, path) for line in text_of(path).splitlines() if line.strip(" #") and line[0] != "#"]
        if not rows:
            raise SegPerceptionError(f"{path} names no class: lines such as `road:128,64,128::` are expected")
        require_few(len(rows))
        return dict(enumerate(name for name, _ in rows)), dict(enumerate(color for _, color in rows))
    names: dict[int, str] = {}
    if (path := root / "class_names.txt").is_file():
        names = dict(enumerate(line.strip() for line in text_of(path).splitlines() if line.strip()))
        require_few(len(names))
    colors = {number: voc_color(number) for number in names or range(len(VOC_NAMES))}
    return names, colors if BORDER in colors.values() else {**colors, VOID: BORDER}


def _row(line: str, path: Path) -> tuple[str, Color]:
    """`name:red,green,blue:parts:actions`."""
    try:
        name, color, *_ = line.split(":")
        red, green, blue = map(int, color.split(","))
        if not all(0 <= part <= 255 for part in (red, green, blue)):
            raise ValueError("no colour of 8 bits")
    except ValueError as error:
        raise SegPerceptionError(f"{path} has the line '{line}', expected one such as `road:128,64,128::`") from error
    return name.strip(), (red, green, blue)
