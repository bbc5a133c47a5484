"""What people labelled, as the adapters of data sets read it, in ids of a label set."""

from __future__ import annotations

import argparse
import re
import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from seg_perception.datasets import DATASETS, RENDERED, Dataset, open_dataset
from seg_perception.datasets.base import Remarks
from seg_perception.datasets.categories import Classes, plain
from seg_perception.datasets.guess import fitting_adapters, looks_like
from seg_perception.errors import SegPerceptionError
from seg_perception.faults import each_readable
from seg_perception.files import one_form
from seg_perception.labelling.tools import ADAPTERS
from seg_perception.labels import VOID, LabelSet

TOOLS = (*ADAPTERS, *(name for name in DATASETS if name not in (*ADAPTERS, *RENDERED)))
"""What a corrected job may be read as: a tool's name, or a data set's."""
_NAMED = 3


@dataclass(frozen=True)
class Labelled:
    """One image that somebody labelled. path: the image's file; label: uint8 [H, W], a class, 255 = none; instance: uint16
    [H, W], 0 = none, or None where nobody told things apart."""

    path: Path
    rgb: NDArray[np.uint8]
    label: NDArray[np.uint8]
    instance: NDArray[np.uint16] | None

    def is_same(self, other: Labelled) -> bool:
        """Whether both say the same of every pixel, but for how things are numbered."""
        if self.label.shape != other.label.shape or (self.label != other.label).any():
            return False
        if self.instance is None or other.instance is None:
            return True
        pairs = np.unique(self.instance.astype(np.uint32) << 16 | other.instance)
        return all(np.unique(part).size == pairs.size for part in (pairs >> 16, pairs & 0xFFFF))


def named(names: Sequence[str]) -> str:
    """The first few of several names."""
    return ", ".join(names[:_NAMED]) + (", …" if len(names) > _NAMED else "")


class Corrected:
    """The labelled images of an export by the stems of their files. remarks: what is odd in those that were read, by kind."""

    def __init__(self, root: Path, tool: str, split: str, labels: LabelSet, classes: Classes) -> None:
        """tool: one of TOOLS, "" = what fits. Raises SegPerceptionError where it cannot be read, or a category is like no class
        or like several."""
        name = ADAPTERS.get(tool, tool) or _guess(root)
        try:
            self._dataset = open_dataset(name, root, split, labels, classes, complete=False)
        except SegPerceptionError as error:
            raise SegPerceptionError(_as_options(str(error))) from error
        if self._dataset.unlike:
            raise SegPerceptionError(f"{root}: {_as_options('; '.join(self._dataset.unlike))}")
        self._table = _table(self._dataset, labels, root)
        self.name = name
        self.missing = [path.name for path in self._dataset.missing]
        self.spare = [str(path) for path in self._dataset.spare]
        paths = [self._dataset.path(index) for index in range(len(self._dataset))]
        self.paths = {one_form(path.stem): path for path in paths if path is not None}
        self._places = {one_form(path.stem): index for index, path in enumerate(paths) if path is not None}
        self.remarks = Remarks()

    def __getitem__(self, stem: str) -> Labelled:
        """One image. Raises SegPerceptionError naming what is broken."""
        index = self._places[stem]
        raw = self._dataset.read(index)
        self.remarks.add(raw.remarks)
        label = self._table[raw.label]
        instance = raw.instance
        if instance is not None:
            instance = np.where(self._dataset.may_be_thing[raw.label], instance, np.uint16(0))
        return Labelled(self.paths[stem], raw.rgb, label, instance)

    def each(self, stems: Iterable[str]) -> Iterator[tuple[str, Labelled]]:
        """These images, one after the other, with their stems. Raises SegPerceptionError behind the last where any are broken,
        with how many and what the first are."""
        return each_readable(stems, self.__getitem__, self._told_broken)

    def _told_broken(self, faults: Mapping[str, SegPerceptionError], count: int) -> str:
        first = "; ".join(map(str, list(faults.values())[:_NAMED]))
        return first if len(faults) == 1 else f"{len(faults)} of {count} labelled images are broken: {first}"

    def told(self) -> Iterator[str]:
        """A sentence for what was left out of it, and one for each kind of remark."""
        if self.spare:
            yield f"{len(self.spare)} labels have no image and are left out: {named(self.spare)}"
        yield from self.remarks.sentences()


def add_export_arguments(parser: argparse.ArgumentParser) -> None:
    """How exports are read."""
    parser.add_argument(
        "--tool", choices=TOOLS, metavar="TOOL", help="whose layout it has (default: the one that fits)"
    )
    parser.add_argument("--split", default="", metavar="S", help="which of its splits (default: all)")
    parser.add_argument(
        "--labels", required=True, metavar="L", help="label set: a name, or a YAML file with your classes"
    )
    parser.add_argument(
        "--classes",
        nargs="+",
        default=[],
        metavar="NAME=CLASS",
        help="what a category means that is named otherwise: Strasse=road, or dog= to leave it out",
    )


def classes_of(words: Sequence[str]) -> Classes:
    """What --classes says. Raises SegPerceptionError for a word without =."""
    found: dict[int | str, tuple[str, ...]] = {}
    for word in words:
        name, equals, meant = word.rpartition("=")
        if not equals or not name:
            raise SegPerceptionError(f"--classes is {word}: write NAME=CLASS, or NAME= to leave a category out")
        found[int(name) if name.isdecimal() else name] = (meant,) if meant else ()
    return found


def opened_by(root: Path, labels: LabelSet, classes: Classes) -> Corrected:
    """What was proposed for a job whose categories mean these classes; those that it has not are nothing to it."""
    name = _guess(root)
    known = {plain(category) for category in DATASETS[name](root, "").categories.values()}
    return Corrected(root, name, "", labels, {key: value for key, value in classes.items() if plain(str(key)) in known})


def _guess(root: Path) -> str:
    if not root.is_dir():
        raise SegPerceptionError(f"there is no folder {root}: unpack the export and name its folder")
    found = fitting_adapters(root)
    if not found:
        told = _as_options(looks_like(root, "")) or f": name it by --tool ({', '.join(TOOLS)})"
        raise SegPerceptionError(f"{root} has the layout of no tool{told}")
    return found[0]


def _as_options(told: str) -> str:
    """Sentences that name lines of a configuration, naming options instead."""

    def option(found: re.Match[str]) -> str:
        key, names = found[1], found[2].partition(",")[0]
        if key.startswith("'"):  # as yaml_quoted has it
            key = key[1:-1].replace("''", "'")
        return f"give `--classes {shlex.quote(f'{key}={names}')}`"

    told = re.sub(r"`name: (\w+)`", r"`--tool \1`", told)
    told = told.replace("`root`", "the folder").replace("`split`", "--split").replace("`classes`", "--classes")
    return re.sub(r"write `classes: \{(.*?): \[(.*?)\]\}`", option, told).replace("or `[]`", "or nothing after the `=`")


def _table(dataset: Dataset, labels: LabelSet, root: Path) -> NDArray[np.uint8]:
    """uint8 [256]: the class of each own id."""
    table = np.full(256, VOID, np.uint8)
    for own_id, names in dataset.meaning.items():
        if len(names) > 1:
            raise SegPerceptionError(
                f"{root}: the id {own_id} may be {' or '.join(names)}: say which by --classes {own_id}={names[0]}"
            )
        if names:
            table[own_id] = labels.by_name(names[0]).id
    return table
