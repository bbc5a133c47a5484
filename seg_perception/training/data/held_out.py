"""Whether what judges a network was kept from its training."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from seg_perception.datasets import Dataset


def files_of(dataset: Dataset) -> set[Path]:
    """The images of a data set, wherever links lead; none where they are rendered."""
    paths = map(dataset.path, dataset.bounded)
    return {path.resolve() for path in paths if path is not None}


def why_not_held_out(trained: Collection[Path], judged: Collection[Path]) -> str:
    """Cause and remedy, in one sentence; "" where no image is in both."""
    both = set(trained) & set(judged)
    if not both:
        return ""
    return (
        f"{len(both)} of the {len(judged)} images of validation are trained on too, the first is {min(both)}, so that its numbers "
        "flatter: keep them out of training by `leave_out`, or name another split"
    )
