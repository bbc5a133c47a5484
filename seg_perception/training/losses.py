"""The losses of a panoptic network, each on one tensor, and their sum."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from seg_perception.labels import VOID


def partial_cross_entropy(logits: Tensor, codes: Tensor, bias: Tensor) -> Tensor:
    """Minus the log of the summed probability of the classes that a pixel may be; cross entropy where that is one.

    logits: float [N, C, H, W]; codes: int64 [N, H, W]; bias: float [256, C] of PartialLabels. Returns [N, H, W],
    0 where the code is void. Codes below C are classes; only the other pixels pay for the sum.
    """
    log_probability = F.log_softmax(logits, dim=1)
    fine = codes < logits.shape[1]
    loss = -log_probability.gather(1, torch.where(fine, codes, 0)[:, None])[:, 0] * fine
    coarse = torch.nonzero(~fine & (codes != VOID), as_tuple=True)
    if coarse[0].numel():
        n, y, x = coarse
        possible = log_probability[n, :, y, x] + bias[codes[coarse]]
        loss = loss.index_put(coarse, -torch.logsumexp(possible, dim=1))
    return loss


def mean_and_hardest(loss: Tensor, weight: Tensor, hardest: float) -> Tensor:
    """Half the weighted mean, half the mean of the hardest share of the labelled pixels (online hard example mining).

    loss and weight [N, H, W]; weight 0 takes a pixel out.
    """
    weighted = (loss * weight)[weight > 0]
    if weighted.numel() == 0:
        return loss.sum() * 0
    count = max(1, int(hardest * weighted.numel()))
    total = weighted.sum() / weight.sum()
    return 0.5 * total + 0.5 * weighted.topk(count, sorted=False).values.mean()


def balanced_boundary_loss(logits: Tensor, edge: Tensor) -> Tensor:
    """Binary cross entropy with edges and the rest weighted by each other's share.

    logits [N, 1, H, W]; edge: uint8 [N, H, W], 1 edge, 0 none, 255 unknown.
    """
    positive, negative = edge == 1, edge == 0
    known = (positive | negative).sum().clamp(min=1)
    weight = positive * (negative.sum() / known) + negative * (positive.sum() / known)
    loss = F.binary_cross_entropy_with_logits(logits[:, 0], positive.float(), reduction="none")
    return (loss * weight).sum() / known


def center_loss(heatmap_logits: Tensor, heatmap: Tensor, known: Tensor) -> Tensor:
    """Mean squared error of the centre heatmap where it is known. logits [N, 1, h, w], the rest [N, h, w]."""
    error = (torch.sigmoid(heatmap_logits[:, 0]) - heatmap).square() * known
    return error.sum() / known.sum().clamp(min=1)


def offset_loss(offset: Tensor, target: Tensor, known: Tensor) -> Tensor:
    """Mean absolute error in px on things. offset and target [N, 2, h, w], known [N, h, w]."""
    error = (offset - target).abs().sum(dim=1) * known
    return error.sum() / known.sum().clamp(min=1)
