"""How frames without labels teach. Every default of it is here and nowhere else."""

from __future__ import annotations

from dataclasses import dataclass

from seg_perception.errors import SegPerceptionError
from seg_perception.training.ranges import check_ranges

_RANGES = {
    "weight": (0.0, 100.0),
    "threshold": (0.0, 1.0),
    "light": (0.0, 3.0),
    "mix": (0.0, 1.0),
    "every_s": (0.0, 86400.0),
    "frames": (1, 1_000_000),
    "batch_size": (1, 4096),
    "ramp_steps": (0, 10_000_000),
}


@dataclass(frozen=True)
class UnlabelledSettings:
    """Frames to learn from by what the averaged network is sure of (FixMatch, UniMatch).

    sources: folders of images, videos and bags, below data_root or absolute; topic: of the images in bags, "" = the one
    with most; every_s: time between two frames of a recording; frames: most of each recording; batch_size: images a step besides
    the labelled ones, of all processes; weight: against the labels' 1, after ramp_steps in which it grows evenly from 0;
    threshold: confidence from which an answer counts; light: strength of the changes of light and colour that the network
    sees them through, as of augment; mix: share of them that get a rectangle of another one (CutMix).

    Raises SegPerceptionError naming the setting and its range when one is outside.
    """

    sources: tuple[str, ...]
    topic: str = ""
    every_s: float = 1.0
    frames: int = 500
    batch_size: int = 4
    weight: float = 1.0
    ramp_steps: int = 200
    threshold: float = 0.9
    light: float = 2.0
    mix: float = 0.5

    def __post_init__(self) -> None:
        if not self.sources:
            raise SegPerceptionError("unlabelled.sources names nothing: give folders of images, videos or bags")
        check_ranges(self, "unlabelled.", _RANGES)
