"""Learning from frames without labels: strongly changed ones should be answered as the averaged network answers the plain
ones, where that is sure (FixMatch: Sohn et al., NeurIPS 2020, arXiv 2001.07685; for masks, with CutMix, UniMatch: Yang et
al., CVPR 2023, arXiv 2208.09910)."""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from seg_perception.training.loop.losses import batch_count
from seg_perception.training.networks.heads import PanopticNetwork, TrainingOutput
from seg_perception.training.unlabelled_settings import UnlabelledSettings


def mixed_images(frames: Mapping[str, Tensor]) -> Tensor:
    """uint8 [N, h, w, 3]: the strong images, where `mixed` says so the pixels of the one before."""
    return torch.where(frames["mixed"][..., None], frames["strong"].roll(1, 0), frames["strong"])


@torch.no_grad()
def pseudo_labels(
    average: PanopticNetwork, frames: Mapping[str, Tensor], threshold: float
) -> tuple[Tensor, Tensor, Tensor]:
    """On the grid of the logits, mixed as mixed_images: the classes int64 [N, h, w], whether they are as sure as the
    threshold bool [N, h, w], and whether an image is there at all bool [N, h, w]."""
    confidence, classes = average.training_outputs(frames["weak"]).logits.softmax(dim=1).max(dim=1)
    mixed, inside = (_on_grid(frames[name], classes) for name in ("mixed", "inside"))

    def mix(layer: Tensor) -> Tensor:
        return torch.where(mixed, layer.roll(1, 0), layer)

    return mix(classes), mix((confidence >= threshold) & inside), mix(inside)


def _on_grid(mask: Tensor, grid: Tensor) -> Tensor:
    """bool [N, H, W] at the middles of a grid's cells."""
    step = mask.shape[-1] // grid.shape[-1]
    return mask[:, step // 2 :: step, step // 2 :: step]


def consistency_loss(logits: Tensor, classes: Tensor, sure: Tensor, inside: Tensor) -> Tensor:
    """Cross entropy of the sure cells with their classes, over all cells inside, so that it counts the more the more is
    sure. logits: float32 [N, C, h, w]; the rest [N, h, w]."""
    loss = F.cross_entropy(logits, classes, reduction="none") * sure
    return loss.sum() / batch_count(inside.sum().to(loss.dtype))


def ramped_weight(settings: UnlabelledSettings, step: int) -> float:
    """How much frames without labels count at this step, from 0 on."""
    return settings.weight * min(1.0, step / settings.ramp_steps if settings.ramp_steps else 1.0)


def split(output: TrainingOutput, *counts: int) -> list[TrainingOutput]:
    """The outputs of so many images each, one behind the other."""
    parts, first = [], 0
    for count in counts:
        some = slice(first, first + count)
        plain = (layers[some] for layers in output[:4])
        boundary = None if output.boundary_logits is None else output.boundary_logits[some]
        parts.append(TrainingOutput(*plain, tuple(logits[some] for logits in output.auxiliary_logits), boundary))
        first += count
    return parts
