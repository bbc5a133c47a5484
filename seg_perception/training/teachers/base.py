"""What a teacher is: anything that names the regions of an image in categories of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from seg_perception.datasets.categories import match_categories
from seg_perception.datasets.label_sets import Meaning
from seg_perception.errors import SegPerceptionError
from seg_perception.labels import VOID, LabelSet


@dataclass(frozen=True)
class Region:
    """One thing, or one kind of stuff. mask: bool [H, W]; category: its number; score: how sure, 0 to 1."""

    mask: NDArray[np.bool_]
    category: int
    score: float


class LabelTeacher(Protocol):
    """categories: names by number."""

    categories: Mapping[int, str]

    def __call__(self, rgb: NDArray[np.uint8]) -> Sequence[Region]:
        """Regions of uint8 [H, W, 3] at its size, in any order; they may overlap."""


def classes_of(categories: Mapping[int, str], labels: LabelSet) -> dict[int, int]:
    """The class of each category whose name means just one. Raises SegPerceptionError where none does."""
    meaning: Meaning
    meaning, _ = match_categories(categories, labels)
    found = {number: labels.by_name(names[0]).id for number, names in meaning.items() if len(names) == 1}
    if not found:
        told = ", ".join(list(categories.values())[:5])
        raise SegPerceptionError(
            f"no category of the teacher ({told}, …) is like one class: let `covers` of the label set name them"
        )
    return found


def painted(
    regions: Sequence[Region], class_of: Mapping[int, int], labels: LabelSet, size_hw: tuple[int, int]
) -> tuple[NDArray[np.uint8], NDArray[np.uint16]]:
    """Classes uint8 [H, W], VOID where nothing is said, and things uint16 [H, W]: the surer region is in front."""
    semantic, instance = np.full(size_hw, VOID, np.uint8), np.zeros(size_hw, np.uint16)
    number = 0
    for region in sorted(regions, key=lambda region: region.score):
        if region.category not in class_of:
            continue
        class_id = class_of[region.category]
        semantic[region.mask] = class_id
        number += int(labels.classes[class_id].thing)
        instance[region.mask] = number if labels.classes[class_id].thing else 0
    return semantic, instance
