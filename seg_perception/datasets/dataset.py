"""A data set as training and evaluation see it: its ids in classes of the label set in use, and nothing unchecked."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from seg_perception.datasets.base import Adapter, Remark, Sample
from seg_perception.datasets.categories import Classes, ids_of, match_categories
from seg_perception.datasets.label_sets import Meaning, classes_in
from seg_perception.errors import SegPerceptionError
from seg_perception.labels import UNSEEN_LABEL, VOID, LabelSet
from seg_perception.results import at_middles

RENDERED_SCENES = 100
"""Of rendered sets, of some of which there is no end, at most so many are judged or looked at, from all over them."""


class Dataset:
    """Labelled images. meaning: for each of the data set's ids, the names of the classes of `labels` that it may be.

    classes replaces the meaning of the ids that it names. An id without meaning is given as void, 255; an instance
    number only where the pixel may be a thing of `labels`. may_be_thing: bool [256], by own id. Where classes says what
    255 is, those pixels get an id that nothing else has. resize_labels: labels of another size than their image get its
    size, each pixel the value at its middle. unlike: a sentence for each category that is void because nothing is like it.
    """

    def __init__(self, adapter: Adapter, labels: LabelSet, classes: Classes, *, resize_labels: bool = False) -> None:
        self._adapter = adapter
        self.name = adapter.name
        for name in {name for names in classes.values() for name in names}:
            labels.by_name(name)
        said = {
            i: tuple(dict.fromkeys(names)) for i, names in ids_of(classes, adapter.categories, adapter.name).items()
        }
        open_names = {i: name for i, name in adapter.categories.items() if i not in said and i not in adapter.meaning}
        named, self.unlike = match_categories(open_names, labels)
        meaning = {**classes_in(labels, adapter.meaning), **named, **said}
        self._void_as = VOID
        if of_void := meaning.pop(VOID, ()):
            self._void_as = max(set(range(UNSEEN_LABEL)) - set(meaning), default=VOID)
            if self._void_as == VOID:
                raise SegPerceptionError(
                    f"{adapter.name} has all ids from 0 to {UNSEEN_LABEL - 1}, so that `classes` can say nothing of {VOID}: leave "
                    "it out, or ids that no label has"
                )
            meaning[self._void_as] = of_void
        self.meaning: Meaning = meaning
        self._resize_labels = resize_labels
        self._is_known = np.zeros(256, np.bool_)
        self._is_known[[VOID, *self.meaning]] = True
        self._ids = np.full(256, VOID, np.uint8)
        self.may_be_thing = np.zeros(256, np.bool_)
        for own_id, names in self.meaning.items():
            if names:
                self._ids[own_id] = own_id
                self.may_be_thing[own_id] = any(labels.by_name(name).thing for name in names)

    @property
    def missing(self) -> Sequence[Path]:
        """Images without a label."""
        return self._adapter.missing

    @property
    def spare(self) -> Sequence[Path]:
        """Labels without an image."""
        return self._adapter.spare

    def __len__(self) -> int:
        return len(self._adapter)

    def path(self, index: int) -> Path | None:
        """The image's file; None where images are not read from files."""
        return self._adapter.path(index)

    @property
    def bounded(self) -> range:
        """Indices of all images, or of RENDERED_SCENES from all over a set that is rendered."""
        count = len(self)
        is_rendered = count > 0 and self.path(0) is None
        return range(0, count, math.ceil(count / RENDERED_SCENES) if is_rendered else 1)

    def __getitem__(self, index: int) -> Sample:
        """One image; raises SegPerceptionError naming it when a file is broken, sizes differ or an id is unknown."""
        sample = self.read(index)
        instance = sample.instance
        if instance is not None:
            instance = np.where(self.may_be_thing[sample.label], instance, np.uint16(0))
        return replace(sample, label=self._ids[sample.label], instance=instance)

    def read(self, index: int) -> Sample:
        """As the files have it, ids without meaning and numbers on stuff included; raises like []."""
        sample = self._adapter[index]
        if self._resize_labels:
            self._check_turn(index, sample)
            sample = _as_large_as_image(sample)
        if self._void_as != VOID:
            sample = replace(sample, label=np.where(sample.label == VOID, np.uint8(self._void_as), sample.label))
        if sample.lossy:
            sample = self._without_strange(sample, self.path(index) or Path(sample.name))
        self._check(index, sample)
        return sample

    def _without_strange(self, sample: Sample, where: Path) -> Sample:
        """The values of a lossy label that are no ids made void, and told."""
        strange = ~self._is_known[sample.label]
        share = f"{strange.sum()} of {strange.size} pixels of the label of {where}"
        remark = Remark(
            "labels are JPEGs, which change ids; values that are no id are taken as void and the others may be wrong: export "
            "PNGs instead",
            f"the first has them in {share}",
        )
        label = np.where(strange, np.uint8(VOID), sample.label)
        return replace(sample, label=label, remarks=(*sample.remarks, remark))

    def _check_turn(self, index: int, sample: Sample) -> None:
        """Raises SegPerceptionError where one of image and label is upright and the other lies: a camera held upright says by
        EXIF how its image is to be turned, and some tools draw on what is stored."""
        (height, width), (rows, columns) = sample.rgb.shape[:2], sample.label.shape
        if (height - width) * (rows - columns) < 0:
            raise SegPerceptionError(
                f"{self.path(index) or sample.name} is {width}x{height}, its label {columns}x{rows}, turned by a quarter: turn the "
                "label as the image's EXIF says, or take that out of the image"
            )

    def _check(self, index: int, sample: Sample) -> None:
        where = self.path(index) or sample.name
        self._check_turn(index, sample)
        for kind, mask in (("label", sample.label), ("instance mask", sample.instance)):
            if mask is not None and mask.shape != sample.rgb.shape[:2]:
                height, width = sample.rgb.shape[:2]
                raise SegPerceptionError(
                    f"{where} is {width}x{height}, its {kind} {mask.shape[1]}x{mask.shape[0]}: "
                    "labels must be as large as the image, or the source say `resize_labels: true`"
                )
        if self._is_known[sample.label].all():
            return
        counts = np.bincount(sample.label.ravel(), minlength=256)
        unknown = np.flatnonzero((counts > 0) & ~self._is_known)
        y, x = np.argwhere(sample.label == unknown[0])[0]
        told = ", ".join(f"{i} ({counts[i]} pixels)" for i in unknown)
        raise SegPerceptionError(
            f"the label of {where} holds the unknown ids {told}, the first at x {x}, y {y}: "
            f"allowed are {_ranges(sorted(self.meaning))} and {VOID}; mend the label or name the ids in `classes`"
        )


def _as_large_as_image(sample: Sample) -> Sample:
    """Labels in the image's size, each pixel the value at its middle."""
    size_hw = sample.rgb.shape[:2]
    instance = None if sample.instance is None else at_middles(sample.instance, size_hw)
    return replace(sample, label=at_middles(sample.label, size_hw), instance=instance)


def _ranges(ids: Sequence[int]) -> str:
    """'0-11, 14' for the ids 0, 1, …, 11 and 14."""
    runs: list[list[int]] = []
    for i in ids:
        if runs and runs[-1][1] == i - 1:
            runs[-1][1] = i
        else:
            runs.append([i, i])
    return ", ".join(str(first) if first == last else f"{first}-{last}" for first, last in runs)
