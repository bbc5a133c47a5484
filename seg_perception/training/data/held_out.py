"""Whether what judges a network was kept from its training."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from seg_perception.datasets import Dataset


def files_of(dataset: Dataset) -> set[Path]:
    """The images of a data set; none where they are rendered."""
    return {path for path in map(dataset.path, dataset.bounded) if path is not None}


def why_not_held_out(trained: Collection[Path], judged: Collection[Path]) -> str:
    """Cause and remedy, in one sentence; "" where no image is in both, wherever links of folders lead."""
    names = {path.name for path in judged} & {path.name for path in trained}  # to follow links asks the disk for each
    ours, theirs = ({path.resolve() for path in paths if path.name in names} for paths in (trained, judged))
    if not (both := ours & theirs):
        return ""
    return (
        f"{len(both)} of the {len(judged)} images of validation are trained on too, the first is {min(both)}, so that its numbers "
        "flatter: keep them out of training by `leave_out`, or name another split"
    )
