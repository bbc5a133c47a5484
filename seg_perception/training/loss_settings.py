"""Which losses train a network, and how much each counts. Every default of the losses is here and nowhere else."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class LossSettings:
    """Weights of the losses, which add up.

    semantic: names of seg_perception.training.losses.SEMANTIC_LOSSES with their weights; auxiliary: the
    same for the auxiliary heads; stride: semantic losses look at every such pixel of the labels; hardest: share of the
    pixels that hard_cross_entropy counts twice; class_balance: exponent of a class's rarity in its weight, 0 = none.
    """

    semantic: dict[str, float] = field(default_factory=lambda: {"hard_cross_entropy": 1.0})
    auxiliary: dict[str, float] = field(default_factory=lambda: {"hard_cross_entropy": 0.4})
    stride: int = 2
    hardest: float = 0.3
    class_balance: float = 0.4
    largest_class_weight: float = 3.0
    boundary: float = 2.0
    center: float = 100.0
    offset: float = 0.01
    center_sigma_px: float = 8.0
