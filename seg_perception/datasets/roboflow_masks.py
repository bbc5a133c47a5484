"""Roboflow's "Semantic Segmentation Masks": `<split>/NAME.jpg`, `<split>/NAME_mask.png` of ids, `<split>/_classes.csv`."""

from __future__ import annotations

import csv
from pathlib import Path

from seg_perception.datasets.base import PairedFiles, label_files, named_files, text_of
from seg_perception.errors import SegPerceptionError

_END = "_mask.png"


class RoboflowMasks(PairedFiles):
    """Categories by name; no instances."""

    def __init__(self, root: Path, split: str) -> None:
        names = _classes(root / split / "_classes.csv")
        files = label_files(root / split)
        labels = named_files((path for path in files if path.name.endswith(_END)), _END)
        images = named_files(path for path in files if not path.name.endswith(_END))
        super().__init__("roboflow_masks", {}, images, labels)
        self.categories = names


def _classes(path: Path) -> dict[int, str]:
    try:
        rows = [row for row in csv.reader(text_of(path).splitlines(), skipinitialspace=True) if row]
        if rows and not rows[0][0].strip().lstrip("-").isdecimal():  # what the columns are called
            del rows[0]
        names = {int(row[0]): row[1].strip() for row in rows}
    except (ValueError, IndexError, csv.Error) as error:
        raise SegPerceptionError(f"{path} has no lines such as `1, road` ({error}): export it again") from error
    if not names or not all(0 <= number <= 254 for number in names):
        raise SegPerceptionError(f"{path} names no class of an id from 0 to 254: export it again")
    if len(names) < len(rows):
        raise SegPerceptionError(f"{path} names an id twice: rename one, or export it again")
    return names
