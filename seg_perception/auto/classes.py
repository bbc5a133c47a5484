"""Which classes a folder of labels is to teach: those that it says, a built-in set that fits, or its categories."""

from __future__ import annotations

from pathlib import Path

from seg_perception.datasets.base import Adapter
from seg_perception.datasets.categories import HINTS, VOID_WORDS, Classes, match_categories, meant_by, plain
from seg_perception.datasets.label_sets import CONCEPTS, LABELS_FILE, classes_in, open_labels
from seg_perception.datasets.voc import voc_color
from seg_perception.errors import SegPerceptionError
from seg_perception.labels import BUILT_IN, NOT_GROUND, VOID, LabelClass, LabelSet

_THINGS = (
    "person",
    "rider",
    "animal",
    "car",
    "truck",
    "bus",
    "train",
    "caravan",
    "trailer",
    "motorcycle",
    "bicycle",
    "boat",
)
_COSTS = {"road": 0, "marking": 0, "bike lane": 0, "parking": 0, "sidewalk": 60, "curb": 60, "terrain": 80}
"""What a vehicle pays to drive there, as the built-in sets have it."""
REST = "background"
"""The class of what is unlabelled."""


def label_set_of(adapter: Adapter, root: Path, named: str | None) -> tuple[LabelSet, str]:
    """The classes to learn and why these. named: by the user; else root's labels.yaml, a built-in set, or one of the
    categories' names. Raises SegPerceptionError where nothing says what the ids are."""
    if named:
        return open_labels(named), f"as --labels says, {named}"
    if (root / LABELS_FILE).is_file():
        return open_labels(str(root / LABELS_FILE)), f"as {root / LABELS_FILE} says"
    if adapter.categories:
        for name, labels in BUILT_IN.items():
            if _fits_whole(adapter, labels):
                return labels, f"the built-in set '{name}', whose every class is a category"
        return _own(adapter), "the categories' names"
    if adapter.meaning:
        name = max(BUILT_IN, key=lambda one: (len(_taught(adapter, BUILT_IN[one])), one))
        return BUILT_IN[name], f"the built-in set '{name}', which fits {adapter.name} best"
    raise SegPerceptionError(
        f"nothing in {root} says what the ids of its labels are: put your classes into {root / LABELS_FILE}, as "
        "config/labels/own_classes.yaml shows, or name a label set by --labels"
    )


def with_rest(adapter: Adapter, labels: LabelSet) -> tuple[LabelSet, Classes]:
    """A label set of one class with another for what is unlabelled, without which a network could say nothing else, and what a
    source says of it, as DataSource has it; larger sets as they are."""
    if len(labels) > 1 or plain(labels.names[0]) == REST:
        return labels, {}
    both = LabelSet((*labels.classes, LabelClass(1, REST, (0, 0, 0))))
    is_named = any(plain(name) == REST for name in _open(adapter).values())
    return both, {} if is_named else {VOID: (REST,)}


def _fits_whole(adapter: Adapter, labels: LabelSet) -> bool:
    """Whether each category is one class, or void, and each class a category."""
    meaning, unlike = match_categories(_open(adapter), labels)
    taught = [names[0] for names in meaning.values() if len(names) == 1]
    return not unlike and max(map(len, meaning.values()), default=0) == 1 and set(taught) == set(labels.names)


def _open(adapter: Adapter) -> dict[int, str]:
    """The categories but for those of which the adapter knows that they are void."""
    return {number: name for number, name in adapter.categories.items() if adapter.meaning.get(number) != ()}


def _taught(adapter: Adapter, labels: LabelSet) -> set[str]:
    return {names[0] for names in classes_in(labels, adapter.meaning).values() if len(names) == 1}


def _own(adapter: Adapter) -> LabelSet:
    """One class a category, in the order of the ids, those that differ in case alone together; things, ground and colours by
    what a name is like."""
    words: dict[str, str] = {}
    for name in _open(adapter).values():
        words.setdefault(plain(name), name.strip())
    names = [name for word, name in words.items() if word not in VOID_WORDS]
    colors: set[tuple[int, int, int]] = set()
    rows = []
    for number, name in enumerate(names):
        concept = _concept(name)
        color = _color(concept, number + 1, colors)
        colors.add(color)
        rows.append(LabelClass(number, name, color, concept in _THINGS, _COSTS.get(concept, NOT_GROUND)))
    if not rows:
        raise SegPerceptionError(f"the categories of {adapter.name} are all void: label something else")
    return LabelSet(tuple(rows))


def _concept(name: str) -> str:
    """The word that data sets share which a name means, or "" where none is known."""
    if plain(name) in HINTS:
        return HINTS[plain(name)]
    return next((known for known in CONCEPTS if plain(known) == plain(name)), "")


def _color(concept: str, number: int, taken: set[tuple[int, int, int]]) -> tuple[int, int, int]:
    """That of a built-in class of the concept, else one of VOC's, that nobody has."""
    for labels in reversed(BUILT_IN.values()):
        found = classes_in(labels, {0: meant_by(concept, labels) or ()})[0] if concept else ()
        if len(found) == 1 and (color := labels.by_name(found[0]).color) not in taken:
            return color
    while voc_color(number) in taken:
        number += 1
    return voc_color(number)
