"""Weights that are numbers, asked of every file that they come from."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from seg_perception.errors import SegPerceptionError


def check_finite(weights: Mapping[str, Tensor], whose: str) -> None:
    """Raises SegPerceptionError where one is no number; whose: how the sentence begins, before "weights"."""
    strange = [name for name, value in weights.items() if not torch.isfinite(value).all()]
    if strange:
        raise SegPerceptionError(
            f"{whose} weights are not finite ({strange[0]}, {len(strange)} of {len(weights)} tensors): training had diverged or "
            "the file was damaged, use another"
        )
