"""How far two decodes of one output are apart."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from seg_perception.results import Panoptic


@dataclass(frozen=True)
class Difference:
    """labels: pixels of another class; regions, segments: whether things or facts differ; confidence: largest, of 255."""

    labels: int = 0
    regions: int = 0
    segments: int = 0
    confidence: int = 0

    @property
    def none(self) -> bool:
        """As near as the GPU's decode promises to be."""
        return not (self.labels or self.regions or self.segments) and self.confidence <= 1

    def worse(self, other: Difference) -> Difference:
        """The larger of each."""
        pairs = zip(dataclasses.astuple(self), dataclasses.astuple(other))
        return Difference(*(max(pair) for pair in pairs))

    def __str__(self) -> str:
        if self.none:
            return f"equal, confidence off by {self.confidence} of 255 at most"
        return (
            f"{self.labels} px of another class, things {'differ' if self.regions else 'equal'}, segments "
            f"{'differ' if self.segments else 'equal'}, confidence off by {self.confidence} of 255"
        )


def difference(seen: Panoptic, expected: Panoptic) -> Difference:
    """Ids may be given in another order: things of nearly equal score change places with the last bit of it."""
    return Difference(
        labels=int((seen.semantic != expected.semantic).sum()),
        regions=int(not same_regions(seen.instance, expected.instance)),
        segments=int(_facts(seen) != _facts(expected)),
        confidence=int(np.abs(seen.confidence.astype(int) - expected.confidence).max(initial=0)),
    )


def same_regions(a: NDArray[np.uint16], b: NDArray[np.uint16]) -> bool:
    """Whether two instance masks show the same things, whatever their ids."""
    if not np.array_equal(a == 0, b == 0):
        return False
    pairs = np.unique(a.astype(np.int64) << 16 | b)
    return len(np.unique(pairs >> 16)) == len(np.unique(pairs & 0xFFFF)) == len(pairs)


def equal(a: Panoptic, b: Panoptic) -> bool:
    """Bit by bit."""
    masks = all(np.array_equal(getattr(a, name), getattr(b, name)) for name in ("semantic", "instance", "confidence"))
    return masks and a.segments == b.segments


def copied(panoptic: Panoptic) -> Panoptic:
    """One that the next frame does not overwrite."""
    masks = {name: getattr(panoptic, name).copy() for name in ("semantic", "instance", "confidence")}
    return dataclasses.replace(panoptic, **masks)


def _facts(panoptic: Panoptic) -> list[tuple[object, ...]]:
    return sorted((s.class_id, s.is_thing, s.area, s.box) for s in panoptic.segments)
