"""Which size a network sees a camera at, where its model file leaves that open.

An image is squeezed to the network's input without a border, so an input of another shape than the camera's stretches
everything that it shows: more is lost by that than by a smaller input.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from functools import lru_cache

from seg_perception.errors import SegPerceptionError, quoted

STEP = 32
"""Heights and widths are multiples of it."""
LONGEST_SIDE = 16384
"""Of any network's input, px."""
FEWEST_PIXELS = 0.7
"""Share of the pixel budget below which no size is taken."""
PIXELS_WEIGHT = 0.5
"""What leaving a share of the budget unused costs, against stretching the image by that share."""


@dataclass(frozen=True)
class SizeLimits:
    """Sizes that a model file takes, (height, width) in px, multiples of STEP.

    Raises SegPerceptionError when they are none, or the largest is smaller than the smallest.
    """

    smallest_hw: tuple[int, int]
    largest_hw: tuple[int, int]

    def __post_init__(self) -> None:
        for low, high in zip(self.smallest_hw, self.largest_hw):
            if not 0 < low <= high <= LONGEST_SIDE or low % STEP or high % STEP:
                raise SegPerceptionError(
                    f"a model of sizes {_words(self.smallest_hw)} to {_words(self.largest_hw)} cannot be: export it again "
                    f"with multiples of {STEP} up to {LONGEST_SIDE}, the smallest first"
                )

    def takes(self, size_hw: tuple[int, int]) -> bool:
        """Whether the network runs at this size."""
        bounds = zip(size_hw, self.smallest_hw, self.largest_hw)
        return all(low <= side <= high and side % STEP == 0 for side, low, high in bounds)

    def check(self, size_hw: tuple[int, int]) -> None:
        """Raises SegPerceptionError when the network does not run at this size."""
        if not self.takes(size_hw):
            raise SegPerceptionError(f"the network cannot run at {_words(size_hw)}: {self._remedy()}")

    def _remedy(self) -> str:
        if self.smallest_hw == self.largest_hw:
            return f"it is made for {_words(self.largest_hw)} alone, so give that, or export it for several sizes"
        return f"give multiples of {STEP} from {_words(self.smallest_hw)} to {_words(self.largest_hw)}"

    @lru_cache(maxsize=64)  # noqa: B019 - few of them are ever made
    def nearest(self, camera_hw: tuple[int, int], pixels: int) -> tuple[int, int]:
        """The size (height, width) for images of camera_hw, of at most `pixels` px where the limits allow that: the one
        that stretches the image least, weighed against the pixels that it leaves unused."""
        ratio = camera_hw[1] / camera_hw[0]
        sizes = [(h, w) for h in self._sides(0) for w in self._sides(1)]
        within = [size for size in sizes if FEWEST_PIXELS * pixels <= size[0] * size[1] <= pixels]

        def cost(size: tuple[int, int]) -> float:
            unused = abs(math.log(pixels / (size[0] * size[1])))
            return abs(math.log(size[1] / size[0] / ratio)) + PIXELS_WEIGHT * unused

        if not within:  # what is nearest to the budget
            return min(sizes, key=lambda size: abs(math.log(size[0] * size[1] / pixels)))
        return min(within, key=cost)

    def _sides(self, axis: int) -> range:
        return range(self.smallest_hw[axis], self.largest_hw[axis] + 1, STEP)


def size_hw_of(words: str) -> tuple[int, int]:
    """(height, width) of WIDTHxHEIGHT. Raises SegPerceptionError where the words are not such."""
    found = re.fullmatch(r"(\d{1,9})x(\d{1,9})", words)
    if not found:
        raise SegPerceptionError(f"'{quoted(words)}' is no size: write WIDTHxHEIGHT, for example 384x256")
    return int(found[2]), int(found[1])


def _words(size_hw: tuple[int, int]) -> str:
    return f"{size_hw[1]}x{size_hw[0]}"
