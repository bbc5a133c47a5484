"""A labelled data set as a source of frames, and its ids made comparable with a model's classes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seg_perception.errors import SegPerceptionError
from seg_perception.labels import NOT_GROUND, VOID, LabelClass, LabelSet
from seg_perception.recordings.sources import Source, SourceFrame
from seg_perception.results import Frame, Truth, at_middles


class DatasetSource(Source):
    """One split of a labelled data set, or a part of it; meaning: the names of the model's classes, labels, behind each of its
    ids; classes, reading: as open_dataset takes them."""

    def __init__(
        self,
        name: str,
        root: Path | None,
        split: str,
        labels: LabelSet,
        classes: Mapping[int | str, tuple[str, ...]] | None = None,
        **reading: Any,
    ) -> None:
        from seg_perception.datasets import RENDERED, open_dataset

        if root is not None and name in RENDERED:
            raise SegPerceptionError(f"{name} is rendered and lies in no folder: leave --root out")
        self._data = open_dataset(name, root, split, labels, classes, unlike_is_void=True, **reading)
        self.meaning: Mapping[int, tuple[str, ...]] = self._data.meaning
        self._places = self._data.bounded
        super().__init__("dataset", f"{name} {split}", 1.0, len(self._places))

    def _frames(self) -> Iterator[SourceFrame]:
        from seg_perception.datasets.base import Remarks

        if unlike := self._data.unlike:
            why = f"{len(unlike)} of its categories are like no class of the model and count as unlabelled"
            self.problems.append(f"{self.name}: {why}; the first: {unlike[0].partition(':')[0]}")
        spare = self._data.spare
        if spare:
            self.problems.append(
                f"{self.name}: {len(spare)} of its labels belong to no image, the first is {spare[0]}: add the images, or take "
                "the labels away"
            )
        told, remarks = [0, 0], Remarks()
        if len(self._places) < len(self._data):
            self.notes.append(
                f"{self.name}: {len(self._places)} of its {len(self._data)} scenes are rendered, from all over it"
            )
        for index in self._places:
            try:
                sample = self._data[index]
            except SegPerceptionError as error:
                self.problems.append(str(error))
                continue
            told[sample.instance is not None] += 1
            remarks.add(sample.remarks)
            self.camera, self.pose = sample.view or (None, None)
            yield SourceFrame(Frame(sample.rgb, index), sample.name, Truth(sample.label, sample.instance))
        self.notes += [f"{self.name}: {sentence}" for sentence in remarks.sentences()]
        if all(told):
            self.problems.append(
                f"{self.name}: {told[0]} of {sum(told)} labels have no instance mask: they count for neither PQ nor AP; add them"
            )


class LabelledSource(DatasetSource):
    """The same with the ids of labels; pixels that may be several of its classes are void, which `notes` tells."""

    def __init__(self, name: str, root: Path | None, split: str, labels: LabelSet) -> None:
        super().__init__(name, root, split, labels)
        self.labels = labels

    def _frames(self) -> Iterator[SourceFrame]:
        assert self.labels is not None
        table = np.full(256, VOID, np.uint8)
        for number, names in sorted(self.meaning.items()):
            if len(names) == 1:
                table[number] = self.labels.by_name(names[0]).id
            elif names:
                self.notes.append(f"{self.name}: id {number} may be {' or '.join(names)}, so it becomes unlabelled")
        for item in super()._frames():
            assert item.truth is not None
            yield replace(item, truth=Truth(table[item.truth.semantic], item.truth.instance))


class Comparison:
    """How the model's classes and the labels' ids are made comparable. labels: the set that both are measured in: the
    model's where every id is one of its classes, else one class for each choice of them that an id may be, `road/pavement`;
    notes: which those are. An answer among what the label may be is right."""

    def __init__(self, model: LabelSet, meaning: Mapping[int, tuple[str, ...]] | None) -> None:
        self._truth_table, self._table = np.arange(256, dtype=np.uint8), np.arange(256, dtype=np.uint8)
        self._may_be: NDArray[np.bool_] | None = None
        self.labels = model
        self.notes: list[str] = []
        if meaning is None:
            return
        groups: dict[tuple[str, ...], list[int]] = {}
        for number, names in sorted(meaning.items()):
            if names:
                groups.setdefault(names, []).append(number)
        self._truth_table[:] = VOID
        if all(len(names) == 1 for names in groups):
            for (name,), numbers in groups.items():
                self._truth_table[numbers] = model.by_name(name).id
            return
        self._join(model, groups)

    @classmethod
    def of_labels(cls, model: LabelSet, spoken: LabelSet | None) -> Comparison:
        """With labels whose ids are those of another set, by the names of both and what they cover; None: of the model's."""
        if spoken is None or spoken == model:
            return cls(model, None)
        from seg_perception.datasets.label_sets import classes_in, concepts_of

        meaning = classes_in(model, concepts_of(spoken))
        found = cls(model, meaning)
        if lost := [label.name for label in spoken.classes if not meaning[label.id]]:
            found.notes.append(
                f"the model has no class for what is labelled {', '.join(lost)}: it counts as unlabelled"
            )
        return found

    def _join(self, model: LabelSet, groups: Mapping[tuple[str, ...], list[int]]) -> None:
        self._table[:] = VOID
        self._may_be = np.zeros((256, 256), np.bool_)
        classes = []
        for place, (names, numbers) in enumerate(groups.items()):
            members = [model.by_name(name) for name in names]
            self._truth_table[numbers] = place
            for member in members:
                self._may_be[place, member.id] = True
                # where no label says otherwise, a class that may be under several ids counts for the first
                if self._table[member.id] == VOID:
                    self._table[member.id] = place
            cost = max(member.drivable_cost for member in members)
            cost = cost if all(member.drivable_cost != NOT_GROUND for member in members) else NOT_GROUND
            thing = all(member.thing for member in members)
            classes.append(LabelClass(place, "/".join(names), members[0].color, thing, cost))
        self.labels = LabelSet(tuple(classes))
        joined = ", ".join(label.name for label, names in zip(classes, groups, strict=True) if len(names) > 1)
        self.notes.append(
            f"some labels may be several of the model's classes ({joined}): they count as classes of their own, in which any "
            "of these answers is right"
        )

    def prediction(self, semantic: NDArray[np.uint8], truth: NDArray[np.uint8] | None = None) -> NDArray[np.uint8]:
        """The model's mask in the common set; truth: the labels' ids [H, W], whose size it gets. Without labels an answer
        counts for the first of the classes that it may be."""
        if truth is None or self._may_be is None:
            return self._table[semantic]
        semantic, known = at_middles(semantic, truth.shape), self._truth_table[truth]
        return np.where(self._may_be[known, semantic], known, self._table[semantic])

    def truth(self, truth: Truth) -> Truth:
        """The labels in the common set."""
        return Truth(self._truth_table[truth.semantic], truth.instance)
