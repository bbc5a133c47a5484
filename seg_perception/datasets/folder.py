"""Your own images: `<split>/images`, `<split>/labels` and, if you have them, `<split>/instances` (PNG, 8 or 16 bits: 0 none,
each object a number of its own within its class), all with the same stems."""

from __future__ import annotations

import math
from collections.abc import Mapping
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seg_perception.datasets.base import (
    PairedFiles,
    label_files,
    named_files,
    refuse_lossy_objects,
    require_same_size,
    two_folders,
)
from seg_perception.datasets.colors import Color, ids_by_color
from seg_perception.errors import SegPerceptionError
from seg_perception.files import of_8_bits, read_mask, read_stored
from seg_perception.labels import VOID, LabelSet

_VOID_OF_16_BITS = 65535
_LOOKED_AT = 20
"""Labels that tell whether those of a folder are in colours."""


class Folder(PairedFiles):
    """A label holds ids, which mean what the label set or the configuration's `classes` says, 255 is void; or the colours
    of the label set, or those that `colors` gives by name.

    Ids are one channel of 8 or 16 bits, a palette's numbers, or three equal channels where no label of the folder shows a colour.
    """

    def __init__(self, root: Path, split: str) -> None:
        images, labels = two_folders(root / split / "images", root / split / "labels", label_files)
        objects = root / split / "instances"
        instances = named_files(label_files(objects)) if objects.is_dir() else {}
        super().__init__("folder", {}, images, labels, instances)
        self._colors: Mapping[int, Color] = {}
        self._all_in_color = False

    def paint(self, labels: LabelSet, colors: Mapping[str, Color]) -> None:
        """Say what colours mean: those of labels, or, of every label, these by the names of categories."""
        self._all_in_color = bool(colors)
        self.categories = dict(enumerate(colors))
        self._colors = dict(enumerate(colors.values())) if colors else {c.id: c.color for c in labels.classes}

    def masks(self, label: Path, instance: Path | None) -> tuple[NDArray[np.uint8], NDArray[np.uint16] | None]:
        """Ids and objects of one image, from a file each."""
        ids = self._ids(label)
        if instance is None:
            return ids, None
        refuse_lossy_objects(instance)
        values = read_mask(instance, np.uint16)
        require_same_size(label, ids, instance, values)
        return ids, self.objects(ids, values, instance)

    def _ids(self, path: Path) -> NDArray[np.uint8]:
        values = _whole_numbers(read_stored(path, palette_colors=self._all_in_color), path)
        if self._all_in_color and values.ndim == 2:
            values = np.dstack([values] * 3)
        if values.ndim == 3 and (self._all_in_color or _shows_color(values) or self._some_show_color):
            return ids_by_color(of_8_bits(values[..., :3]), self._colors, path)
        if values.ndim == 3:
            values = values[..., 0]
        if values.dtype != np.uint8:
            values = np.where(values == _VOID_OF_16_BITS, VOID, values)
        strange = values[(values < 0) | (values > VOID)]
        if strange.size:
            raise SegPerceptionError(f"{path} holds the id {strange[0]}: ids are 0 to {VOID}, number the classes so")
        return values.astype(np.uint8)

    @cached_property
    def _some_show_color(self) -> bool:
        """Whether the folder's labels are pictures in colours, by some from all over it: then a black one, of an image of which
        nothing is labelled, is none of zeros."""
        files = list(self._labels.values())
        for path in files[:: math.ceil(len(files) / _LOOKED_AT) or 1]:
            with suppress(SegPerceptionError):  # who reads that one is told
                if _shows_color(read_stored(path)):
                    return True
        return False


def _shows_color(values: NDArray[Any]) -> bool:
    """Whether the channels of a label [H, W, C] differ somewhere."""
    return values.ndim == 3 and bool(np.ptp(values[..., :3], axis=2).any())


def _whole_numbers(values: NDArray[Any], path: Path) -> NDArray[Any]:
    """What a file stores as fractions, such as a TIFF of float32, as whole numbers. Raises SegPerceptionError for others."""
    if values.dtype.kind != "f":
        return values
    strange = values[values != np.rint(values)]  # NaN is unlike itself
    if strange.size or np.abs(values).max() > _VOID_OF_16_BITS:
        told = strange[0] if strange.size else np.abs(values).max()
        raise SegPerceptionError(f"{path} holds {told:g}: a label holds whole numbers, ids or colours, export it so")
    return values.astype(np.int32)
