"""What training minimises: the losses of all heads on one batch, by name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from seg_perception.errors import SegPerceptionError
from seg_perception.labels import VOID
from seg_perception.training.loop.losses import (
    WHY_NO_BOUNDARY,
    PixelTruth,
    balanced_boundary_loss,
    center_loss,
    offset_loss,
    semantic_loss,
)
from seg_perception.training.loop.weak_losses import WeakTruth, weak_loss
from seg_perception.training.loss_settings import LossSettings
from seg_perception.training.networks.heads import PanopticNetwork, TrainingOutput


def at_label_pixels(grid: Tensor, size_hw: Sequence[int], stride: int) -> Tensor:
    """A grid [N, C, h, w] as the decoder reads it (bilinear, half-pixel centres) at every stride-th label pixel.

    Enlarging straight to the size of labels[::stride] would read between the labels' pixels, (stride - 1) / 2 pixels
    off, and the network learns to draw everything that far aside.
    """
    return F.interpolate(grid, size=tuple(size_hw), mode="bilinear", align_corners=False)[..., ::stride, ::stride]


def refuse_missing_heads(network: PanopticNetwork, settings: LossSettings) -> None:
    """Raises SegPerceptionError where a loss looks at boundaries that a network does not predict."""
    named = {*settings.semantic, *(settings.auxiliary if len(network.auxiliary_loss_heads) else ())}
    if "boundary_cross_entropy" in named and network.boundary_loss_head is None:
        raise SegPerceptionError(WHY_NO_BOUNDARY)


class Objective:
    """Weighs the losses as the settings say. bias and weights are those of PixelTruth."""

    def __init__(self, settings: LossSettings, bias: Tensor, weights: Tensor) -> None:
        self._settings = settings
        self._bias, self._weights = bias, weights

    def __call__(self, output: TrainingOutput, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Scalars that add up to the loss. output: float32; batch: what TrainingStream gives, stacked."""
        settings = self._settings
        size_hw = batch["codes"].shape[-2:]
        codes = batch["codes"][:, :: settings.stride, :: settings.stride].long()

        def full(grid: Tensor) -> Tensor:
            return at_label_pixels(grid, size_hw, settings.stride)

        logits = full(output.logits)
        boundary = None if output.boundary_logits is None else full(output.boundary_logits)
        truth = PixelTruth(codes, self._bias, self._weights, settings, boundary)
        losses = {
            "semantic": semantic_loss(logits, truth, settings.semantic),
            "center": settings.center * center_loss(output.heatmap_logits, batch["heatmap"], batch["heatmap_known"]),
            "offset": settings.offset * offset_loss(output.offset, batch["offset"], batch["offset_known"]),
        }
        if settings.weak:
            losses["weak"] = weak_loss(logits, self._weak_truth(batch), settings.weak)
        for i, auxiliary in enumerate(output.auxiliary_logits):
            losses[f"auxiliary{i}"] = semantic_loss(full(auxiliary), truth, settings.auxiliary)
        if boundary is not None:
            edge = batch["edge"][:, :: settings.stride, :: settings.stride]
            losses["boundary"] = settings.boundary * balanced_boundary_loss(boundary, edge)
        return losses

    def _weak_truth(self, batch: Mapping[str, Tensor]) -> WeakTruth:
        step = self._settings.stride
        codes = batch["codes"][:, ::step, ::step].long()
        marks, mark_codes = torch.zeros_like(codes), torch.full_like(codes, VOID)
        if "marks" in batch:
            marks, mark_codes = (batch[name][:, ::step, ::step].long() for name in ("marks", "mark_codes"))
        image = batch["image"][:, ::step, ::step]
        return WeakTruth(marks, mark_codes, image, self._bias, self._weights, self._settings)
