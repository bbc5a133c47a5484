"""Which losses train a network, and how much each counts. Every default of the losses is here and nowhere else."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from seg_perception.errors import SegPerceptionError, nearest_name
from seg_perception.training.ranges import check_ranges

SEMANTIC_LOSS_NAMES = (
    "boundary_cross_entropy",
    "cross_entropy",
    "dice",
    "focal",
    "focal_tversky",
    "hard_cross_entropy",
    "lovasz_softmax",
    "ohem",
    "soft_iou",
    "tversky",
)
"""What `semantic` and `auxiliary` may name; the functions are in seg_perception.training.loop.losses."""

WEAK_LOSS_NAMES = ("box_projection", "box_tightness", "noisy_or", "smoothness", "summed_bag")
"""What `weak` may name; the functions are in seg_perception.training.loop.weak_losses."""

_RANGES = {
    "stride": (1, 64),
    "hardest": (0.0, 1.0),
    "label_smoothing": (0.0, 0.9),
    "ohem_threshold": (1e-6, 1.0),
    "ohem_keep": (0.0, 1.0),
    "focal_gamma": (0.0, 10.0),
    "tversky_false_alarms": (0.0, 0.99),
    "focal_tversky_gamma": (1.0, 3.0),
    "affinity_colors": (0.1, 255.0),
    "affinity_px": (1, 64),
    "class_balance": (0.0, 2.0),
    "largest_class_weight": (0.01, 1000.0),
    "boundary": (0.0, 1e6),
    "center": (0.0, 1e6),
    "offset": (0.0, 1e6),
    "center_sigma_px": (0.1, 1000.0),
}


@dataclass(frozen=True)
class LossSettings:
    """Weights of the losses, which add up.

    semantic: names of SEMANTIC_LOSS_NAMES with their weights; auxiliary: the same for the auxiliary heads, may be empty;
    weak: names of WEAK_LOSS_NAMES with their weights, for sources of points and boxes and for smoothness; stride: semantic
    losses look at every such pixel of the labels; hardest: share of the pixels that hard_cross_entropy counts twice;
    label_smoothing: share of a label that all classes divide, in the cross entropies; ohem_threshold: ohem leaves out
    pixels whose true class has this probability or more, but keeps the hardest ohem_keep (a share) always; focal_gamma:
    how little easy pixels count; tversky_false_alarms: weight of a false alarm, of a miss it is the rest to 1;
    focal_tversky_gamma: how much more classes count that are found nearly as they are; affinity_colors: by so much (0-255,
    root of the channels' sum of squares) neighbours differ that are 0.6 alike to smoothness; affinity_px: how far these
    lie from each other, in pixels of the labels at `stride`; class_balance: exponent of a class's rarity in its weight,
    0 = none; largest_class_weight: limit of that. boundary, center, offset: weights of the other heads' losses;
    center_sigma_px: of a centre's Gaussian, in px.
    """

    semantic: dict[str, float] = field(default_factory=lambda: {"hard_cross_entropy": 1.0})
    auxiliary: dict[str, float] = field(default_factory=lambda: {"hard_cross_entropy": 0.4})
    weak: dict[str, float] = field(default_factory=dict)
    stride: int = 2
    hardest: float = 0.3
    label_smoothing: float = 0.0
    ohem_threshold: float = 0.9
    ohem_keep: float = 0.0625
    focal_gamma: float = 2.0
    tversky_false_alarms: float = 0.3
    focal_tversky_gamma: float = 4 / 3
    affinity_colors: float = 12.0
    affinity_px: int = 1
    class_balance: float = 0.4
    largest_class_weight: float = 3.0
    boundary: float = 2.0
    center: float = 100.0
    offset: float = 0.01
    center_sigma_px: float = 8.0

    def __post_init__(self) -> None:
        check_ranges(self, "loss.", _RANGES)
        _check_parts("semantic", self.semantic, SEMANTIC_LOSS_NAMES)
        _check_parts("auxiliary", self.auxiliary, SEMANTIC_LOSS_NAMES)
        _check_parts("weak", self.weak, WEAK_LOSS_NAMES)
        if not any(self.semantic.values()):
            raise SegPerceptionError(
                "loss.semantic gives no loss a weight: name one, such as 'semantic: {cross_entropy: 1.0}'"
            )


def _check_parts(where: str, parts: Mapping[str, float], known: Collection[str]) -> None:
    for name, weight in parts.items():
        if name not in known:
            raise SegPerceptionError(f"loss.{where} names no known loss '{name}': {nearest_name(name, known)}")
        if not 0 <= weight < float("inf"):
            raise SegPerceptionError(f"loss.{where} gives {name} the weight {weight}: 0 or more is allowed")
