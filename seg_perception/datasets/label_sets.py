"""Which classes a run learns, and what the ids of any data set mean in them.

Every data set states its ids in CONCEPTS, finer than most; every class of a label set has its name and what it covers.
An id may be each class that has or covers one of its concepts; where there is none, it is void. So a set with finer
classes teaches one with coarser ones and, by partial supervision, the other way round.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from seg_perception.errors import SegPerceptionError, nearest_name
from seg_perception.labels import BUILT_IN, NOT_GROUND, LabelClass, LabelSet
from seg_perception.writing import is_file, user_path
from seg_perception.yaml_fields import build, read_yaml

Meaning = Mapping[int, tuple[str, ...]]
"""For each id of a data set what it may be: one name where it is as fine as the names, several where it is coarser,
none where it is void."""

CONCEPTS = (
    *("road", "marking", "bike lane", "parking", "rail track", "sidewalk", "curb", "terrain", "water", "mountain"),
    *("sky", "vegetation", "building", "wall", "bridge", "tunnel", "fence", "guard rail", "pole", "street light"),
    *("traffic light", "traffic sign", "billboard", "traffic cone", "person", "rider", "animal", "car", "truck", "bus"),
    *("train", "caravan", "trailer", "motorcycle", "bicycle", "boat"),
)
"""The words in which data sets say what their ids are, and classes what they cover."""


@dataclass(frozen=True)
class _ClassRow:
    """One entry of a label set's file."""

    name: str
    color: tuple[int, int, int]
    thing: bool = False
    drivable_cost: int = NOT_GROUND
    covers: tuple[str, ...] = ()


LABELS_FILE = "labels.yaml"
"""Where a data set or a training run says its classes."""


def open_labels(name: str) -> LabelSet:
    """A built-in label set by name, or the one in a YAML file: a list of classes in the order of their ids, each with
    the fields of LabelClass but for the id.

    Raises SegPerceptionError when there is neither, or when the file does not hold a label set.
    """
    if name in BUILT_IN:
        return BUILT_IN[name]
    path = user_path(name)
    if not is_file(path):
        raise SegPerceptionError(
            f"there is no label set or file '{path.name if path.suffix == '' else path}': "
            f"{nearest_name(path.name, BUILT_IN)}; or give a YAML file with your classes"
        )
    try:
        rows = build(tuple[_ClassRow, ...], read_yaml(path), "classes.")
        return LabelSet(tuple(_class(number, row) for number, row in enumerate(rows)))
    except SegPerceptionError as error:
        raise SegPerceptionError(f"{path}: {str(error).removeprefix(f'{path} ')}") from error


def yaml_of(labels: LabelSet) -> str:
    """The content of a file that open_labels reads."""
    import yaml  # here, because training on a GPU is checked by a Python that has no more than it needs

    names = ("name", "color", "thing", "drivable_cost", "covers")
    rows = [{name: getattr(label, name) for name in names} for label in labels.classes]
    rows = [{**row, "color": list(row["color"]), "covers": list(row["covers"])} for row in rows]
    return str(yaml.safe_dump(rows, sort_keys=False, default_flow_style=None, allow_unicode=True))


def _class(number: int, row: _ClassRow) -> LabelClass:
    for concept in row.covers:
        if concept not in CONCEPTS:
            raise SegPerceptionError(
                f"class '{row.name}' covers '{concept}', which no data set knows: {nearest_name(concept, CONCEPTS)}"
            )
    return LabelClass(number, row.name, row.color, row.thing, row.drivable_cost, row.covers)


def classes_in(labels: LabelSet, concepts: Meaning) -> dict[int, tuple[str, ...]]:
    """What ids stated in concepts may be in a label set; a class name stands for itself."""
    holders = {
        name: [c.name for c in labels.classes if name == c.name or name in c.covers] for name in _names(concepts)
    }
    found = {}
    for own_id, names in concepts.items():
        possible = {holder for name in names for holder in holders[name]}
        found[own_id] = tuple(name for name in labels.names if name in possible)
    return found


def _names(concepts: Meaning) -> set[str]:
    return {name for names in concepts.values() for name in names}


def concepts_of(labels: LabelSet) -> dict[int, tuple[str, ...]]:
    """What the ids of data that is labelled in this set mean to others; what two classes cover tells nothing."""
    covered = Counter(name for label in labels.classes for name in set(label.covers))
    return {label.id: (label.name, *(n for n in label.covers if covered[n] == 1)) for label in labels.classes}
