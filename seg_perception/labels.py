"""A label set: what each value of a label mask means. It travels inside the model file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seg_perception.errors import SegPerceptionError, nearest_name

VOID = 255
"""Label mask value of an unlabelled pixel."""

UNSEEN_LABEL = 254
"""Value, in masks that look for ground, of a pixel that shows nothing of it, such as the vehicle's own bonnet."""

NOT_GROUND = -1
"""Drivable cost of a class that is no ground."""


@dataclass(frozen=True)
class LabelClass:
    """One class of a label set.

    color is RGB, 0-255. thing says whether single objects are told apart (else it is stuff).
    drivable_cost is 0 (free) to 100 (never drive there) for ground, or -1 for what is no ground. covers: what else data
    sets of other classes call it or count apart from it, in the words of seg_perception.datasets.label_sets.CONCEPTS; it
    decides what is learnt from them, not what the class is, so two classes may be equal without it.
    """

    id: int
    name: str
    color: tuple[int, int, int]
    thing: bool = False
    drivable_cost: int = NOT_GROUND
    covers: tuple[str, ...] = field(default=(), compare=False)

    def __post_init__(self) -> None:
        if not 0 <= self.id < UNSEEN_LABEL:
            raise SegPerceptionError(
                f"class '{self.name}' has id {self.id}: ids are 0 to {UNSEEN_LABEL - 1}, {VOID} is void"
            )
        if not self.name.strip():
            raise SegPerceptionError(f"class {self.id} has no name: give it one")
        if len(self.color) != 3 or not all(0 <= channel <= 255 for channel in self.color):
            raise SegPerceptionError(
                f"class '{self.name}' has colour {self.color}: three values of 0 to 255 are needed"
            )
        if not NOT_GROUND <= self.drivable_cost <= 100:
            raise SegPerceptionError(
                f"class '{self.name}' has drivable_cost {self.drivable_cost}: 0 to 100, or -1 for what is no ground"
            )


@dataclass(frozen=True)
class LabelSet:
    """Classes in the order of their ids, which are 0, 1, 2, … without a gap (the logits' channel order)."""

    classes: tuple[LabelClass, ...]

    def __post_init__(self) -> None:
        if [c.id for c in self.classes] != list(range(len(self.classes))):
            raise SegPerceptionError(f"label ids are {[c.id for c in self.classes]}: they must be 0, 1, 2, … in order")
        if not self.classes or len({c.name for c in self.classes}) != len(self.classes):
            raise SegPerceptionError("a label set needs at least one class, and names that differ")

    def __len__(self) -> int:
        return len(self.classes)

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Class names by id."""
        return tuple(c.name for c in self.classes)

    @cached_property
    def is_thing(self) -> NDArray[np.bool_]:
        """bool [256]: whether a label mask value is a thing class; void and unused values are not."""
        table = np.zeros(256, np.bool_)
        table[[c.id for c in self.classes if c.thing]] = True
        return table

    @cached_property
    def colors(self) -> NDArray[np.uint8]:
        """uint8 [256, 3] RGB: colour of each label mask value; void is black."""
        table = np.zeros((256, 3), np.uint8)
        table[: len(self.classes)] = [c.color for c in self.classes]
        return table

    @cached_property
    def drivable_costs(self) -> NDArray[np.int8]:
        """int8 [256]: drivable cost of each label mask value, -1 where it is no ground (void too)."""
        table = np.full(256, NOT_GROUND, np.int8)
        table[: len(self.classes)] = [c.drivable_cost for c in self.classes]
        return table

    @cached_property
    def drivable(self) -> tuple[LabelClass, ...]:
        """The classes that are ground."""
        return tuple(c for c in self.classes if c.drivable_cost != NOT_GROUND)

    def by_name(self, name: str) -> LabelClass:
        """The class of that name.

        Raises SegPerceptionError naming the nearest known class.
        """
        for label in self.classes:
            if label.name == name:
                return label
        raise SegPerceptionError(f"there is no class '{name}': {nearest_name(name, self.names)}")

    def to_json(self) -> list[dict[str, Any]]:
        """Plain lists and dicts, as the model file carries them."""
        return [
            {"id": c.id, "name": c.name, "color": list(c.color), "thing": c.thing, "drivable_cost": c.drivable_cost}
            | ({"covers": list(c.covers)} if c.covers else {})
            for c in self.classes
        ]

    @staticmethod
    def from_json(rows: Sequence[Mapping[str, Any]]) -> LabelSet:
        """Inverse of to_json; raises SegPerceptionError when a class is not whole, or a field of another kind."""
        try:
            found = LabelSet(tuple(map(_class_of, rows)))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise SegPerceptionError(
                f"the label set cannot be read ({error!r}): each class needs id, name, color, thing, drivable_cost"
            ) from error
        # model files from before classes said what they cover
        return next((known for known in BUILT_IN.values() if known == found), found)


def _class_of(row: Mapping[str, Any]) -> LabelClass:
    """One class of to_json. Raises what reading a wrong row raises, TypeError among it for a value of another kind:
    "false" is true for Python, and 2.9 would become 2."""

    def value(key: str, kind: type, found: Any) -> Any:
        if type(found) is not kind:
            raise TypeError(f"{key} is {found!r}, which is no {kind.__name__}")
        return found

    red, green, blue = (value("color", int, channel) for channel in row["color"])
    return LabelClass(
        id=value("id", int, row["id"]),
        name=value("name", str, row["name"]),
        color=(red, green, blue),
        thing=value("thing", bool, row["thing"]),
        drivable_cost=value("drivable_cost", int, row["drivable_cost"]),
        covers=tuple(value("covers", str, name) for name in value("covers", list, row.get("covers", []))),
    )


CAMVID = LabelSet(
    (
        LabelClass(0, "sky", (70, 130, 180)),
        LabelClass(1, "building", (70, 70, 70), covers=("wall", "bridge", "tunnel")),
        LabelClass(2, "pole", (153, 153, 153), covers=("street light", "traffic cone")),
        LabelClass(3, "road", (128, 64, 128), drivable_cost=0, covers=("marking", "bike lane", "parking")),
        LabelClass(4, "pavement", (244, 35, 232), drivable_cost=60, covers=("sidewalk", "curb", "parking")),
        LabelClass(5, "tree", (107, 142, 35), covers=("vegetation", "terrain")),
        LabelClass(6, "sign", (220, 220, 0), covers=("traffic sign", "traffic light", "billboard")),
        LabelClass(7, "fence", (190, 153, 153), covers=("guard rail",)),
        LabelClass(8, "car", (0, 0, 142), thing=True, covers=("truck", "bus", "train", "caravan", "trailer")),
        LabelClass(9, "pedestrian", (220, 20, 60), thing=True, covers=("person", "animal")),
        LabelClass(10, "bicyclist", (119, 11, 32), thing=True, covers=("rider", "bicycle", "motorcycle")),
    )
)
"""The 11 classes of CamVid's SegNet split (what each covers after Brostow et al., 2009), Cityscapes colours; also the
label set of the synthetic drive."""

CITYSCAPES = LabelSet(
    (
        LabelClass(0, "road", (128, 64, 128), drivable_cost=0, covers=("marking", "bike lane")),
        LabelClass(1, "sidewalk", (244, 35, 232), drivable_cost=60, covers=("curb",)),
        LabelClass(2, "building", (70, 70, 70)),
        LabelClass(3, "wall", (102, 102, 156)),
        LabelClass(4, "fence", (190, 153, 153)),
        LabelClass(5, "pole", (153, 153, 153)),
        LabelClass(6, "traffic light", (250, 170, 30)),
        LabelClass(7, "traffic sign", (220, 220, 0)),
        LabelClass(8, "vegetation", (107, 142, 35)),
        LabelClass(9, "terrain", (152, 251, 152), drivable_cost=80),
        LabelClass(10, "sky", (70, 130, 180)),
        LabelClass(11, "person", (220, 20, 60), thing=True),
        LabelClass(12, "rider", (255, 0, 0), thing=True),
        LabelClass(13, "car", (0, 0, 142), thing=True),
        LabelClass(14, "truck", (0, 0, 70), thing=True),
        LabelClass(15, "bus", (0, 60, 100), thing=True),
        LabelClass(16, "train", (0, 80, 100), thing=True),
        LabelClass(17, "motorcycle", (0, 0, 230), thing=True),
        LabelClass(18, "bicycle", (119, 11, 32), thing=True),
    )
)
"""The 19 classes that Cityscapes evaluates (Cordts et al., CVPR 2016), by train id."""

BUILT_IN = {"camvid": CAMVID, "cityscapes": CITYSCAPES}
"""Label sets that a configuration may name."""
