"""Images that training cannot use: those that are found are told together, with the line that leaves them out."""

from __future__ import annotations

import glob
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from tqdm import tqdm

from seg_perception.datasets import Dataset
from seg_perception.errors import SegPerceptionError

MOST_TOLD = 3
MOST_SOUGHT = 20
"""After so many no more are looked for: it is not single files that are wrong then."""

T = TypeVar("T")


def usable(dataset: Dataset, indices: Iterable[int], read: Callable[[int], T]) -> Iterator[T]:
    """What read makes of each image. Raises SegPerceptionError behind the last one where it raised some of any, with how many
    they are and the first of them."""
    faults: dict[int, SegPerceptionError] = {}
    count = 0
    for index in indices:
        count += 1
        try:
            found = read(index)
        except SegPerceptionError as error:
            faults[index] = error
            if len(faults) == MOST_SOUGHT:
                break
        else:
            yield found
    if faults:
        raise SegPerceptionError(_told(dataset, faults, count)) from next(iter(faults.values()))


def look_through(dataset: Dataset) -> None:
    """Read all images of a data set; of a rendered one, where nothing can be damaged, none. Raises SegPerceptionError as usable."""
    if len(dataset) == 0 or dataset.path(0) is None:
        return
    indices = tqdm(range(len(dataset)), unit="image", desc="reading", mininterval=1, leave=False)
    for _ in usable(dataset, indices, dataset.__getitem__):
        pass


def _told(dataset: Dataset, faults: dict[int, SegPerceptionError], count: int) -> str:
    first = "; ".join(map(str, list(faults.values())[:MOST_TOLD]))
    more = f"; and {len(faults) - MOST_TOLD} more" if len(faults) > MOST_TOLD else ""
    paths = [path for path in map(dataset.path, faults) if path is not None]
    line = ", ".join(f'"{glob.escape(path.stem)}"' for path in paths)
    return (
        f"{dataset.name}: of {count} images that were read {len(faults)} cannot be used: {first}{more}; what cannot be mended take "
        f"out, or let the source say `leave_out: [{line}]`"
    )
