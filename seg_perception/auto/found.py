"""What a folder of labels holds: whose layout it has, its splits, and what its images show."""

from __future__ import annotations

import glob
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from seg_perception.datasets import DATASETS, Dataset, open_dataset
from seg_perception.datasets.base import Adapter, fits
from seg_perception.datasets.categories import Classes, meant_by
from seg_perception.datasets.guess import fitting_adapters, looks_like
from seg_perception.errors import SegPerceptionError
from seg_perception.files import in_order
from seg_perception.labelling.job import recording_of
from seg_perception.labelling.split import VAL_SHARE, Row, validation_stems
from seg_perception.labels import VOID, LabelSet
from seg_perception.spread import spread
from seg_perception.training.data.unusable import usable

TRAIN_WORDS = ("train", "training", "train2017")
VAL_WORDS = ("val", "valid", "validation", "val2017", "test")
"""As data sets call what judges, the first that is there counts."""
_LOOKED_AT = 200
"""Images whose labels are read before training, spread over all."""


@dataclass(frozen=True)
class Layout:
    """name: of the adapter; root: where its files are; train, val: its splits, both the same where it has none that judges:
    then whole recordings are held out."""

    name: str
    root: Path
    train: str
    val: str

    @property
    def is_split(self) -> bool:
        """Whether the data set itself says what judges."""
        return self.train != self.val


@dataclass(frozen=True)
class Seen:
    """What the labels of images show. images: how many there are; size_hw: of most of them; classes: ids by image that was read;
    whether a label tells things apart; unlike, unlike_judging: categories that are like no class, of what trains and judges."""

    images: int
    size_hw: tuple[int, int]
    classes: Mapping[str, frozenset[int]]
    things_apart: bool
    unlike: tuple[str, ...] = ()
    unlike_judging: tuple[str, ...] = ()

    @property
    def shown(self) -> frozenset[int]:
        """Ids that an image that was read shows."""
        return frozenset().union(*self.classes.values())


def layout_of(root: Path) -> Layout:
    """Whose layout a folder has. Raises SegPerceptionError where it is that of none, or cannot be read as what it looks like."""
    if not root.is_dir():
        raise SegPerceptionError(f"there is no folder {root}: --auto names the one that holds the labelled images")
    names = fitting_adapters(root)
    if not names:
        told = looks_like(root, "") or ": make one by `label take`, or write a configuration as docs/training.md says"
        raise SegPerceptionError(f"{root} has the layout of no data set that is known{told}")
    name = names[0]
    train = _first_split(name, root, TRAIN_WORDS)
    val = _first_split(name, root, VAL_WORDS)
    if train is None or val is None:
        whole = train if train is not None else ""
        DATASETS[name](root, whole)  # raises where it cannot be read at all
        return Layout(name, root, whole, whole)
    return Layout(name, root, train, val)


def _first_split(name: str, root: Path, words: Sequence[str]) -> str | None:
    """The first of these splits that is there and has an image. Raises SegPerceptionError where none is, and of one there is a
    folder that cannot be read as that: `test` alone may lack labels."""
    fault: SegPerceptionError | None = None
    for word in (form for plain in words for form in (plain, plain.capitalize())):  # CVAT offers Train and Validation
        try:
            if len(DATASETS[name](root, word)):
                return word
        except SegPerceptionError as error:
            if word.lower() != "test" and (root / word).is_dir():
                fault = fault or error
    if fault is not None:
        raise fault
    return None


def adapter_of(layout: Layout) -> Adapter:
    """What training is to learn from."""
    return DATASETS[layout.name](layout.root, layout.train)


def look_at(layout: Layout, labels: LabelSet, said: Classes | None = None) -> Seen:
    """Read some of the training images. said: of with_rest. Raises SegPerceptionError for what training would refuse."""
    dataset = open_dataset(layout.name, layout.root, layout.train, labels, said, unlike_is_void=True)
    sizes: Counter[tuple[int, int]] = Counter()
    classes: dict[str, frozenset[int]] = {}
    apart = False
    places = tqdm(spread(len(dataset), _LOOKED_AT), unit="image", desc="look", mininterval=1)
    for index, sample in usable(dataset, places, dataset.__getitem__):
        sizes[sample.rgb.shape[0], sample.rgb.shape[1]] += 1
        names = (dataset.meaning.get(own_id, ()) for own_id in np.unique(sample.label).tolist() if own_id != VOID)
        classes[_stem(dataset, index)] = frozenset(labels.by_name(name).id for some in names for name in some)
        apart |= sample.instance is not None and bool(sample.instance.any())
    unlike = [_unlike(adapter_of(layout), labels)]
    unlike.append(_unlike(DATASETS[layout.name](layout.root, layout.val), labels) if layout.is_split else unlike[0])
    return Seen(len(dataset), max(sizes, key=lambda size: (sizes[size], size)), classes, apart, *unlike)


def _unlike(adapter: Adapter, labels: LabelSet) -> tuple[str, ...]:
    open_names = {name for own_id, name in adapter.categories.items() if own_id not in adapter.meaning}
    return tuple(sorted(name for name in open_names if meant_by(name, labels) is None))


def held_out(layout: Layout, labels: LabelSet, seen: Seen) -> tuple[list[str], str]:
    """Patterns of the names of the images that judge, whole recordings, where the data set has no split for it, and a sentence
    on what is wrong with that, "" for nothing."""
    if layout.is_split:
        return [], ""
    dataset = open_dataset(layout.name, layout.root, layout.train, labels, unlike_is_void=True)
    stems = sorted((_stem(dataset, index) for index in range(len(dataset))), key=in_order)
    rows = [
        Row(stem, recording_of(stem), place, seen.classes.get(stem, frozenset())) for place, stem in enumerate(stems)
    ]
    held, told = validation_stems(rows, VAL_SHARE)
    if not held:
        raise SegPerceptionError(f"{layout.root} has one image: label more, at least two are needed")
    recordings = sorted({row.recording for row in rows if row.stem in held})
    patterns = [f"{glob.escape(recording)}*" for recording in recordings]
    if {stem for stem in stems if fits(stem, patterns)} != held:
        patterns = [glob.escape(stem) for stem in sorted(held)]
    return patterns, told


def _stem(dataset: Dataset, index: int) -> str:
    path = dataset.path(index)
    if path is None:
        raise SegPerceptionError(f"{dataset.name} is rendered and lies in no folder: write a configuration instead")
    return path.stem
