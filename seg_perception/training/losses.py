"""The losses of a panoptic network, each on one tensor, and their sum."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from seg_perception.labels import VOID

LOVASZ_PIXELS = 1 << 15
"""Of more pixels than this, Lovász looks at every second, third, …: it sorts them once for each class."""


@dataclass(frozen=True)
class PixelTruth:
    """What every pixel is. codes: int64 [N, H, W] of PartialLabels, 255 void; bias: float [256, C], 0 for the classes
    that a code may stand for, very negative for the rest; weights: float [256], how much a code counts, 0 for void.
    hardest: share of the pixels that online hard example mining counts twice."""

    codes: Tensor
    bias: Tensor
    weights: Tensor
    hardest: float = 0.3


def semantic_loss(logits: Tensor, truth: PixelTruth, parts: Mapping[str, float]) -> Tensor:
    """Weighted sum of the named losses of SEMANTIC_LOSSES. logits: float [N, C, H, W]."""
    return torch.stack([weight * SEMANTIC_LOSSES[name](logits, truth) for name, weight in parts.items()]).sum()


def hard_cross_entropy(logits: Tensor, truth: PixelTruth) -> Tensor:
    """Cross entropy, half of all pixels, half of the hardest ones."""
    loss = partial_cross_entropy(logits, truth.codes, truth.bias)
    return mean_and_hardest(loss, truth.weights[truth.codes], truth.hardest)


def lovasz_softmax(logits: Tensor, truth: PixelTruth) -> Tensor:
    """Lovász extension of the mean of 1 - IoU over the classes that occur (Berman et al., CVPR 2018, arXiv 1705.08790).

    Only pixels with a fine label count, all images of the batch together.
    """
    classes = logits.shape[1]
    step = max(1, round((truth.codes.numel() / LOVASZ_PIXELS) ** 0.5))
    codes = truth.codes[:, ::step, ::step]
    fine = codes < classes
    probability = logits[:, :, ::step, ::step].permute(0, 2, 3, 1)[fine].softmax(dim=1)
    label = codes[fine]
    losses = []
    for i in torch.unique(label).tolist():
        positive = (label == i).float()
        errors, order = (positive - probability[:, i]).abs().sort(descending=True)
        losses.append(errors @ _lovasz_gradient(positive[order]))
    return torch.stack(losses).mean() if losses else logits.sum() * 0


def _lovasz_gradient(positive: Tensor) -> Tensor:
    """Growth of 1 - IoU as pixels turn wrong one after the other. positive: float [P], 1 where the class is."""
    total = positive.sum()
    jaccard = 1 - (total - positive.cumsum(0)) / (total + (1 - positive).cumsum(0))
    return torch.cat([jaccard[:1], jaccard[1:] - jaccard[:-1]])


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


SEMANTIC_LOSSES: dict[str, Callable[[Tensor, PixelTruth], Tensor]] = {
    "hard_cross_entropy": hard_cross_entropy,
    "lovasz_softmax": lovasz_softmax,
}
"""What `loss.semantic` of a configuration may name."""
