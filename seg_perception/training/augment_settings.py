"""How strongly training images are changed."""

from __future__ import annotations

import math
from dataclasses import dataclass

from seg_perception.errors import SegPerceptionError
from seg_perception.training.ranges import check_ranges

_RANGES = {
    "rotate_deg": (0, 90),
    "elastic_px": (0, 12),  # more would fold the image where neighbouring points move towards each other
    "largest_class_share": (0.01, 1),
    "light": (0, 3),
    "motion_blur_px": (0, 64),
    "dry_season": (0, 1),
    "paste": (0, 100),
}


@dataclass(frozen=True)
class AugmentSettings:
    """How strongly training images are changed.

    scale: range of the zoom against the network's full width; aspect: range of the stretch of x against that of y,
    since the node squeezes any camera's image to one shape, and most are wider than it; rotate_deg: largest tilt;
    elastic_px: largest displacement of a smooth random deformation (Simard et al., ICDAR 2003), 0 = none;
    largest_class_share: a crop of whose labelled pixels one class has more is placed anew, a few times, 1 = any will do;
    light: strength of all changes of light and colour, 0 = none, 1 = as in the recipe; motion_blur_px: longest smear of
    a moving camera, 0 = none; dry_season: share of images in which all that is green is withered, so that a bank of dry grass
    is not taken for a dusty road; paste: largest number of objects pasted on an image; mirror: whether every second image, and
    every second pasted object, is seen in a mirror; swapped_by_mirror: pairs of classes that are each other's mirror image,
    as [[left lane, right lane]], which then change places.

    Raises SegPerceptionError naming the setting and its range when one is outside.
    """

    scale: tuple[float, float] = (0.6, 1.8)
    aspect: tuple[float, float] = (0.5, 1.3)
    rotate_deg: float = 3.0
    elastic_px: float = 0.0
    largest_class_share: float = 1.0
    light: float = 1.0
    motion_blur_px: float = 0.0
    dry_season: float = 0.0
    paste: int = 4
    mirror: bool = True
    swapped_by_mirror: tuple[tuple[str, str], ...] = ()

    def __post_init__(self) -> None:
        for name in ("scale", "aspect"):
            low, high = getattr(self, name)
            if not 0 < low <= high < math.inf:
                raise SegPerceptionError(
                    f"augment.{name} is [{low}, {high}]: give two numbers greater than 0, the smaller one first"
                )
        names = [name for pair in self.swapped_by_mirror for name in pair]
        if len(set(names)) != len(names):
            raise SegPerceptionError(
                f"augment.swapped_by_mirror names a class twice in {names}: each has one mirror image"
            )
        if names and not self.mirror:
            raise SegPerceptionError(
                "augment.swapped_by_mirror is of no use while augment.mirror is false: leave one out"
            )
        check_ranges(self, "augment.", _RANGES)
