"""Classes as the outputs tell them, where that is not as the network has them: other costs, several under one name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from seg_perception.errors import SegPerceptionError, nearest_name
from seg_perception.labels import NOT_GROUND, LabelClass, LabelSet
from seg_perception.panoptic.decoder import Decoder
from seg_perception.results import Panoptic, Segment, Wants


@dataclass(frozen=True, eq=False)
class Told:
    """A label set as the outputs tell it. labels: by the network's ids, with their costs and names as told; table: uint8
    [256], which id is told for each of the network's, None where all stay; gone: ids that are never told."""

    labels: LabelSet
    table: NDArray[np.uint8] | None = None
    gone: frozenset[int] = frozenset()

    @property
    def classes(self) -> tuple[LabelClass, ...]:
        """Those that are told."""
        return tuple(label for label in self.labels.classes if label.id not in self.gone)


def parameter_name(class_name: str) -> str:
    """A class's name as part of a parameter's."""
    return class_name.replace(" ", "_")


def told(labels: LabelSet, costs: Mapping[str, int], merges: Sequence[str]) -> Told:
    """labels with other costs, by parameter_name, and with classes merged: each of merges is `name: class, class, …`, and the
    merged class has id, colour, cost and kind of the first.

    Raises SegPerceptionError naming what there is not, or cannot be merged.
    """
    known = {parameter_name(label.name): label for label in labels.classes}
    for name in costs:
        if name not in known:
            raise SegPerceptionError(
                f"parameter 'label_cost.{name}' is of a class that the model does not have: {nearest_name(name, known)}"
            )
    classes = [
        replace(label, drivable_cost=costs.get(parameter_name(label.name), label.drivable_cost))
        for label in labels.classes
    ]
    if not merges:
        return Told(LabelSet(tuple(classes)) if costs else labels)
    table = np.arange(256, dtype=np.uint8)
    gone: set[int] = set()
    used: set[int] = set()
    for merge in merges:
        name, members = _members(merge, classes, known)
        ids = {label.id for label in members}
        if used & ids:
            raise SegPerceptionError(f"parameter 'label_merge' merges a class of '{merge}' twice: name it once")
        used |= ids
        first, *others = members
        gone.update(label.id for label in others)
        table[[label.id for label in others]] = first.id
        classes[first.id] = replace(first, name=name)
    told_names = [label.name for label in classes if label.id not in gone]
    twice = next((name for name in told_names if told_names.count(name) > 1), None)
    if twice is not None:
        raise SegPerceptionError(
            f"parameter 'label_merge' leaves two classes of the name '{twice}': give another name, or merge that class too"
        )
    # What is never told keeps a name of its own, since those of a label set differ.
    named = [replace(one, name=f"{one.name} (merged)") if one.id in gone else one for one in classes]
    return Told(LabelSet(tuple(named)), table, frozenset(gone))


def _members(
    merge: str, classes: Sequence[LabelClass], known: Mapping[str, LabelClass]
) -> tuple[str, list[LabelClass]]:
    """Name and classes of one merge, as they are by now."""
    name, colon, listed = merge.partition(":")
    names = [parameter_name(one.strip()) for one in listed.split(",") if one.strip()]
    if not colon or not name.strip() or len(names) < 2 or len(set(names)) < len(names):
        raise SegPerceptionError(
            f"parameter 'label_merge' holds '{merge}': give a name, a colon and two classes or more, each once, as in "
            "'vehicle: car, truck'"
        )
    for one in names:
        if one not in known:
            raise SegPerceptionError(f"parameter 'label_merge': there is no class '{one}': {nearest_name(one, known)}")
    members = [classes[known[one].id] for one in names]
    first = members[0]
    for other in members[1:]:
        if other.thing != first.thing:
            raise SegPerceptionError(
                f"parameter 'label_merge' holds '{merge}': '{first.name}' and '{other.name}' are not both things, or not both "
                "stuff"
            )
        if (other.drivable_cost == NOT_GROUND) != (first.drivable_cost == NOT_GROUND):
            raise SegPerceptionError(
                f"parameter 'label_merge' holds '{merge}': of '{first.name}' and '{other.name}' only one is ground, so what is "
                "no ground would pass for it, or the other way round: give them label_cost first"
            )
    return name.strip(), members


class MergingDecoder:
    """A decoder whose masks and segments have the ids that are told. table: as Told has it; min_stuff_area: smaller stuff, as a
    share of the mask's pixels, is no segment, by what merged classes have together: the decoder itself leaves none out."""

    def __init__(self, decoder: Decoder, table: NDArray[np.uint8], min_stuff_area: float) -> None:
        self._decoder, self._table, self._least = decoder, table, min_stuff_area
        self._semantic: Any = None

    def decode(self, output: Any, index: int, mask_hw: tuple[int, int], stride: int, wants: Wants) -> Panoptic:
        """See PanopticDecoder.decode."""
        found = self._decoder.decode(output, index, mask_hw, stride, wants)
        self._semantic = cv2.LUT(found.semantic, self._table, dst=self._semantic)
        least = self._least * found.semantic.size
        segments = [s for s in _merged(found.segments, self._table) if s.is_thing or s.area >= least]
        return replace(found, semantic=self._semantic, segments=tuple(segments))


def _merged(segments: Sequence[Segment], table: NDArray[np.uint8]) -> tuple[Segment, ...]:
    """Segments with the ids that are told: stuff of one class is one segment."""
    rows: list[Segment] = []
    of_stuff: dict[int, int] = {}
    for segment in segments:
        segment = replace(segment, class_id=int(table[segment.class_id]))
        if segment.is_thing:
            rows.append(segment)
        elif segment.class_id in of_stuff:
            at = of_stuff[segment.class_id]
            rows[at] = _joined(rows[at], segment)
        else:
            of_stuff[segment.class_id] = len(rows)
            rows.append(segment)
    return tuple(rows)


def _joined(one: Segment, other: Segment) -> Segment:
    area = one.area + other.area
    (ax, ay, aw, ah), (bx, by, bw, bh) = one.box, other.box
    x, y = min(ax, bx), min(ay, by)
    box = (x, y, max(ax + aw, bx + bw) - x, max(ay + ah, by + bh) - y)
    score = (one.score * one.area + other.score * other.area) / max(area, 1)
    return replace(one, score=score, area=area, box=box)
