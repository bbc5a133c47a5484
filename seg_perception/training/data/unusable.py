"""Images that training cannot use. Before the first step those that are found are told together, with the line that leaves them
out; of what is met later, hours on, each is told, and the next image taken."""

from __future__ import annotations

import glob
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TypeVar

from tqdm import tqdm

from seg_perception.datasets import Dataset
from seg_perception.errors import SegPerceptionError
from seg_perception.faults import each_readable
from seg_perception.spread import spread

LARGEST_SHARE = 0.01
"""Of a data set's images that may be passed over while training runs, if they are more than MOST_SOUGHT."""
MOST_READ_AHEAD = 2000
"""Images of one data set that are read before the first step; more would not move what is counted in them."""
MOST_TOLD = 3
MOST_SOUGHT = 20
"""After so many no more are looked for: it is not single files that are wrong then."""

T = TypeVar("T")


def usable(dataset: Dataset, indices: Iterable[int], read: Callable[[int], T]) -> Iterator[tuple[int, T]]:
    """What read makes of each image. Raises SegPerceptionError behind the last one where it raised some of any, with how many
    they are and the first of them."""
    return each_readable(indices, read, lambda faults, count: _told(dataset, faults, count), MOST_SOUGHT)


class PassedOver:
    """What cannot be read of a series of images while training runs. whose: how a sentence on it begins."""

    def __init__(self, whose: str, count: int) -> None:
        self._whose, self._count = whose, count
        self._told: set[int] = set()

    def read(self, index: int, read: Callable[[int], T]) -> T:
        """What read makes of an image, or of the next that can be read. Raises SegPerceptionError where none can, and where more
        were passed over than single files that are damaged."""
        for number in (place % self._count for place in range(index, index + min(self._count, MOST_SOUGHT))):
            try:
                return read(number)
            except SegPerceptionError as error:
                fault = error
                self._tell(number, error)
        raise fault

    def _tell(self, number: int, error: SegPerceptionError) -> None:
        if number in self._told:
            return
        self._told.add(number)
        if len(self._told) > max(MOST_SOUGHT, LARGEST_SHARE * self._count):
            raise error
        tqdm.write(f"{self._whose}: {error}; the next image is taken in its place", file=sys.stderr)


def look_through(dataset: Dataset) -> None:
    """Read images from all over a data set; of a rendered one, where nothing can be damaged, none. Raises SegPerceptionError as
    usable."""
    if len(dataset) == 0 or dataset.path(0) is None:
        return
    indices = tqdm(spread(len(dataset), MOST_READ_AHEAD), unit="image", desc="reading", mininterval=1, leave=False)
    for _ in usable(dataset, indices, dataset.__getitem__):
        pass


def _told(dataset: Dataset, faults: Mapping[int, SegPerceptionError], count: int) -> str:
    first = "; ".join(map(str, list(faults.values())[:MOST_TOLD]))
    more = f"; and {len(faults) - MOST_TOLD} more" if len(faults) > MOST_TOLD else ""
    paths = [path for path in map(dataset.path, faults) if path is not None]
    line = ", ".join(f'"{glob.escape(path.stem)}"' for path in paths)
    return (
        f"{dataset.name}: of {count} images that were read {len(faults)} cannot be used: {first}{more}; what cannot be mended take "
        f"out, or let the source say `leave_out: [{line}]`"
    )
