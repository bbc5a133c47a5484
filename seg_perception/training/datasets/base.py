"""What a labelled data set offers, whatever its files look like."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from seg_perception.errors import SegPerceptionError
from seg_perception.files import image_files, read_mask, read_rgb
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

    @property
    def name(self) -> str:
        """As in the registry."""

    @property
    def meaning(self) -> Mapping[int, tuple[str, ...]]:
        """Class names behind each id."""

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
        rgb, ids = read_rgb(image), read_mask(label, np.uint8)
        if ids.shape != rgb.shape[:2]:
            raise SegPerceptionError(
                f"{label} is {list(ids.shape)}, its image {list(rgb.shape)}: labels must be as large as the image"
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


def _pair(images: Path, labels: Path) -> list[tuple[Path, Path]]:
    pairs = [(image, labels / f"{image.stem}.png") for image in image_files(images)]
    missing = [label for _, label in pairs if not label.is_file()]
    if missing:
        raise SegPerceptionError(
            f"{len(missing)} images have no label, the first is {missing[0]}: add them or take the images out"
        )
    return pairs
