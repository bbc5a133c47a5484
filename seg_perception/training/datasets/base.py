"""What a labelled data set offers, whatever its files look like."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from seg_perception.errors import SegPerceptionError
from seg_perception.labels import VOID, LabelSet


@dataclass(frozen=True)
class Sample:
    """One labelled image. rgb: uint8 [H, W, 3]; label: uint8 [H, W] in the data set's own ids, 255 void; instance:
    uint16 [H, W], 0 = none known, or None where the data set tells no objects apart."""

    name: str
    rgb: NDArray[np.uint8]
    label: NDArray[np.uint8]
    instance: NDArray[np.uint16] | None = None


class Dataset(Protocol):
    """Labelled images. meaning: for each of the data set's ids, the names of the classes that it may be in the label
    set that is trained: one name where labels are as fine, several where they are coarser."""

    name: str
    meaning: Mapping[int, tuple[str, ...]]

    def __len__(self) -> int:
        """Number of images."""

    def __getitem__(self, index: int) -> Sample:
        """Read one image and its labels."""


class PairedFiles:
    """Images and label PNGs with the same stem in two folders."""

    def __init__(self, name: str, images: Path, labels: Path, meaning: Mapping[int, tuple[str, ...]]) -> None:
        self.name = name
        self.meaning = meaning
        self._pairs = _pair(images, labels)

    def __len__(self) -> int:
        return len(self._pairs)

    def __getitem__(self, index: int) -> Sample:
        image, label = self._pairs[index]
        rgb, ids = read_rgb(image), read_png(label)
        if ids.shape != rgb.shape[:2] or ids.dtype != np.uint8:
            raise SegPerceptionError(
                f"{label} is {ids.dtype} {list(ids.shape)}, its image {list(rgb.shape)}: "
                "labels must be 8-bit and as large as the image"
            )
        unknown = [
            int(i)
            for i in np.flatnonzero(np.bincount(ids.ravel(), minlength=256))
            if i != VOID and i not in self.meaning
        ]
        if unknown:
            raise SegPerceptionError(
                f"{label} holds ids {unknown}, which {self.name} does not know: "
                f"allowed are {sorted(self.meaning)} and {VOID}"
            )
        return Sample(image.stem, rgb, ids)


def own_labels(labels: LabelSet) -> dict[int, tuple[str, ...]]:
    """The meaning of a data set that is labelled in exactly this label set."""
    return {label.id: (label.name,) for label in labels.classes}


def read_rgb(path: Path) -> NDArray[np.uint8]:
    """uint8 [H, W, 3]. Raises SegPerceptionError when the file is missing or broken."""
    return cv2.cvtColor(_read(path, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)  # type: ignore[return-value]


def read_png(path: Path) -> NDArray[Any]:
    """One channel with the file's own depth, [H, W] uint8 or uint16. Raises SegPerceptionError like read_rgb."""
    values = _read(path, cv2.IMREAD_UNCHANGED)
    if values.ndim != 2:
        raise SegPerceptionError(
            f"{path} has {values.shape[2]} channels: a label image has one, convert it to class ids"
        )
    return values


def _read(path: Path, flags: int) -> NDArray[Any]:
    values = cv2.imread(str(path), flags)
    if values is None:
        state = "cannot be decoded" if path.is_file() else "does not exist"
        raise SegPerceptionError(f"{path} {state}: restore the file or take it out of the data set")
    return values


def files_in(folder: Path, *endings: str) -> list[Path]:
    """Files with one of these endings, sorted. Raises SegPerceptionError when the folder is missing or has none."""
    if not folder.is_dir():
        raise SegPerceptionError(
            f"there is no folder {folder}: name the data set's root with --root, or `data_root` in the configuration"
        )
    found = sorted(path for path in folder.iterdir() if path.suffix.lower() in endings)
    if not found:
        raise SegPerceptionError(f"{folder} holds no {' or '.join(endings)} file")
    return found


def _pair(images: Path, labels: Path) -> list[tuple[Path, Path]]:
    pairs = [(image, labels / f"{image.stem}.png") for image in files_in(images, ".png", ".jpg", ".jpeg")]
    missing = [label for _, label in pairs if not label.is_file()]
    if missing:
        raise SegPerceptionError(
            f"{len(missing)} images have no label, the first is {missing[0]}: add them or take the images out"
        )
    return pairs
