"""How a network learns to answer a moved image as it answers the image. Every default of it is here and nowhere else."""

from __future__ import annotations

from dataclasses import dataclass

from seg_perception.training.ranges import check_ranges

_RANGES = {
    "weight": (0.0, 100.0),
    "share": (0.0, 1.0),
    "shift_px": (0.0, 64.0),
    "scale": (0.0, 0.5),
    "noise": (0.0, 50.0),
    "light": (0.0, 0.5),
}


@dataclass(frozen=True)
class SteadySettings:
    """Images that are shown twice, the second time as the next frame of a video would show them.

    weight: against the labels' 1, 0 = not; share: of every batch's images, at least one; shift_px: furthest that they move
    to each side, fractions of a px too; scale: largest change of their size, a share; noise: standard deviation of what is
    added to every pixel, in grey levels, at most; light: largest change of brightness, a share.

    Raises SegPerceptionError naming the setting and its range when one is outside.
    """

    weight: float = 1.0
    share: float = 0.5
    shift_px: float = 8.0
    scale: float = 0.03
    noise: float = 6.0
    light: float = 0.05

    def __post_init__(self) -> None:
        check_ranges(self, "steady.", _RANGES)
