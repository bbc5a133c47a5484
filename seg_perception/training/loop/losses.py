"""The losses of a panoptic network, each on one tensor, and their sum; all computed in float32 at least.

Where several processes share a batch, the average of their losses is the loss of the whole batch, but each chooses the
hardest of its own pixels, and the region losses (Dice, IoU, Tversky, Lovász) are those of its own images.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from seg_perception.errors import SegPerceptionError
from seg_perception.labels import VOID
from seg_perception.training.distributed import mean_over_processes
from seg_perception.training.loss_settings import LossSettings

LOVASZ_PIXELS = 1 << 15
"""Of more pixels than this, Lovász looks at every second, third, …: it sorts them once for each class."""

STEEPEST = 1e-6
"""What focal_tversky adds to an error before it takes a root."""

SURE_BOUNDARY = 0.8
"""Boundary probability from which a pixel counts for boundary_cross_entropy, as in the PIDNet paper."""

WHY_NO_BOUNDARY = (
    "boundary_cross_entropy needs a network that predicts boundaries, and this one does not: take it out of loss.semantic and "
    "loss.auxiliary, or train a PIDNet"
)


@dataclass(frozen=True)
class PixelTruth:
    """What every pixel is. codes: int64 [N, H, W] of PartialLabels, 255 void; bias: float [256, C], 0 for the classes
    that a code may stand for, very negative for the rest; weights: float [256], how much a code counts, 0 for void.
    boundary_logits: float [N, 1, H, W] that the network predicts, None when it predicts none."""

    codes: Tensor
    bias: Tensor
    weights: Tensor
    settings: LossSettings
    boundary_logits: Tensor | None = None


def semantic_loss(logits: Tensor, truth: PixelTruth, parts: Mapping[str, float]) -> Tensor:
    """Weighted sum of the named losses of SEMANTIC_LOSSES. logits: float [N, C, H, W].

    0, with a gradient, where nothing is labelled. Raises SegPerceptionError when a loss needs what the network lacks.
    """
    with torch.autocast(logits.device.type, enabled=False):
        logits = at_least_float32(logits)
        losses = [weight * SEMANTIC_LOSSES[name](logits, truth) for name, weight in parts.items()]
        return torch.stack(losses).sum() if losses else logits.sum() * 0


def at_least_float32(values: Tensor) -> Tensor:
    """Half precision becomes float32."""
    return values.to(torch.promote_types(values.dtype, torch.float32))


def cross_entropy(logits: Tensor, truth: PixelTruth) -> Tensor:
    """Mean of the pixels' cross entropies, weighted by class."""
    loss, _ = _pixel_losses(logits, truth)
    return _weighted_mean(loss, truth.weights[truth.codes])


def hard_cross_entropy(logits: Tensor, truth: PixelTruth) -> Tensor:
    """Cross entropy, half of all pixels, half of the hardest ones."""
    loss, _ = _pixel_losses(logits, truth)
    return mean_and_hardest(loss, truth.weights[truth.codes], truth.settings.hardest)


def ohem(logits: Tensor, truth: PixelTruth) -> Tensor:
    """Cross entropy of the pixels whose true class is less probable than ohem_threshold, and of the hardest share
    ohem_keep in any case: online hard example mining (Shrivastava et al., CVPR 2016, arXiv 1604.03540) as PIDNet (Xu
    et al., CVPR 2023, arXiv 2206.02066) and BiSeNetV2 (Yu et al., IJCV 2021, arXiv 2004.02147) train with."""
    return _mean_of_hard(logits, truth, None)


def boundary_cross_entropy(logits: Tensor, truth: PixelTruth) -> Tensor:
    """ohem where the network is sure of a boundary: the boundary-awareness loss of PIDNet (arXiv 2206.02066, eq. 2).

    The boundary head gets no gradient of it. Raises SegPerceptionError when the network has none.
    """
    if truth.boundary_logits is None:
        raise SegPerceptionError(WHY_NO_BOUNDARY)
    return _mean_of_hard(logits, truth, truth.boundary_logits[:, 0].sigmoid() > SURE_BOUNDARY)


def focal(logits: Tensor, truth: PixelTruth) -> Tensor:
    """Weighted mean of -(1 - p)^gamma log p, p the probability of what a pixel may be, gamma focal_gamma (Lin et al.,
    ICCV 2017, arXiv 1708.02002)."""
    loss = partial_cross_entropy(logits, truth.codes, truth.bias)
    # the power's slope must stay finite where p rounds to 1
    doubt = (-torch.expm1(-loss)).clamp(min=1e-6)
    return _weighted_mean(doubt**truth.settings.focal_gamma * loss, truth.weights[truth.codes])


def dice(logits: Tensor, truth: PixelTruth) -> Tensor:
    """Mean of 1 - soft Dice coefficient over the classes that occur (Milletari et al., 3DV 2016, arXiv 1606.04797, with
    plain sums for the squared ones): false alarms and misses count alike. Only pixels with a fine label count."""
    return _mean(1 - _tversky_indices(logits, truth, 0.5, 0.5), logits)


def soft_iou(logits: Tensor, truth: PixelTruth) -> Tensor:
    """Mean of 1 - soft IoU over the classes that occur (Rahman and Wang, ISVC 2016). Only pixels with a fine label count."""
    return _mean(1 - _tversky_indices(logits, truth, 1.0, 1.0), logits)


def tversky(logits: Tensor, truth: PixelTruth) -> Tensor:
    """Mean of 1 - soft Tversky index over the classes that occur (Salehi et al., MLMI 2017, arXiv 1706.05721), where
    misses may count more than false alarms. Only pixels with a fine label count."""
    return _mean(1 - _tversky_of_settings(logits, truth), logits)


def focal_tversky(logits: Tensor, truth: PixelTruth) -> Tensor:
    """Mean of (1 - soft Tversky index)^(1 / gamma) over the classes that occur, gamma focal_tversky_gamma (Abraham and
    Khan, ISBI 2019, arXiv 1810.07842): above 1 the slope is steepest where a class is nearly right."""
    power = 1 / truth.settings.focal_tversky_gamma
    error = (1 - _tversky_of_settings(logits, truth)).clamp(min=0) + STEEPEST  # the slope must stay finite at 0
    return _mean(error**power - STEEPEST**power, logits)


def _tversky_of_settings(logits: Tensor, truth: PixelTruth) -> Tensor:
    false_alarms = truth.settings.tversky_false_alarms
    return _tversky_indices(logits, truth, false_alarms, 1 - false_alarms)


def _tversky_indices(logits: Tensor, truth: PixelTruth, false_alarm_weight: float, miss_weight: float) -> Tensor:
    """[K]: hits / (hits + weighted false alarms + weighted misses) of each class that occurs, in probabilities."""
    fine = truth.codes < logits.shape[1]
    probability = logits.softmax(dim=1)
    found = (probability * fine[:, None]).sum(dim=(0, 2, 3))
    of_own_class = probability.gather(1, torch.where(fine, truth.codes, 0)[:, None])[:, 0]
    indices = []
    for i in torch.unique(truth.codes[fine]).tolist():
        positive = truth.codes == i
        hits = (of_own_class * positive).sum()
        misses, false_alarms = positive.sum() - hits, found[i] - hits
        indices.append(hits / (hits + false_alarm_weight * false_alarms + miss_weight * misses))
    return torch.stack(indices) if indices else logits.new_zeros(0)


def _mean(losses: Tensor, logits: Tensor) -> Tensor:
    """Of losses [K]; 0, with a gradient, of none."""
    return losses.mean() if losses.numel() else logits.sum() * 0


def lovasz_softmax(logits: Tensor, truth: PixelTruth) -> Tensor:
    """Lovász extension of the mean of 1 - IoU over the classes that occur (Berman et al., CVPR 2018, arXiv 1705.08790).

    Only pixels with a fine label count, all images of the batch together.
    """
    step = max(1, round((truth.codes.numel() / LOVASZ_PIXELS) ** 0.5))
    probability, label = _fine_pixels(logits[:, :, ::step, ::step], truth.codes[:, ::step, ::step])
    losses = []
    for i in torch.unique(label).tolist():
        positive = (label == i).to(probability.dtype)
        errors, order = (positive - probability[:, i]).abs().sort(descending=True)
        losses.append(errors @ _lovasz_gradient(positive[order]))
    return torch.stack(losses).mean() if losses else logits.sum() * 0


def _lovasz_gradient(positive: Tensor) -> Tensor:
    """Growth of 1 - IoU as pixels turn wrong one after the other. positive: float [P], 1 where the class is."""
    total = positive.sum()
    jaccard = 1 - (total - positive.cumsum(0)) / (total + (1 - positive).cumsum(0))
    return torch.cat([jaccard[:1], jaccard[1:] - jaccard[:-1]])


def _fine_pixels(logits: Tensor, codes: Tensor) -> tuple[Tensor, Tensor]:
    """Probabilities [P, C] and classes int64 [P] of the pixels that are labelled with one class."""
    fine = codes < logits.shape[1]
    return logits.permute(0, 2, 3, 1)[fine].softmax(dim=1), codes[fine]


def partial_cross_entropy(logits: Tensor, codes: Tensor, bias: Tensor) -> Tensor:
    """Minus the log of the summed probability of the classes that a pixel may be; cross entropy where that is one.

    logits: float [N, C, H, W]; codes: int64 [N, H, W]; bias: float [256, C] of PartialLabels. Returns [N, H, W],
    0 where the code is void. Codes below C are classes; only the other pixels pay for the sum.
    """
    return _partial_cross_entropy(F.log_softmax(logits, dim=1), codes, bias)


def _partial_cross_entropy(log_probability: Tensor, codes: Tensor, bias: Tensor) -> Tensor:
    fine = codes < log_probability.shape[1]
    loss = -log_probability.gather(1, torch.where(fine, codes, 0)[:, None])[:, 0] * fine
    coarse = torch.nonzero(~fine & (codes != VOID), as_tuple=True)
    if coarse[0].numel():
        n, y, x = coarse
        possible = log_probability[n, :, y, x] + bias[codes[coarse]]
        loss = loss.index_put(coarse, -torch.logsumexp(possible, dim=1))
    return loss


def _pixel_losses(logits: Tensor, truth: PixelTruth) -> tuple[Tensor, Tensor]:
    """The smoothed and the plain partial cross entropy, both [N, H, W].

    A smoothed label gives every class its part of label_smoothing and the true one the rest (Szegedy et al., CVPR 2016,
    arXiv 1512.00567); labels that leave several classes open stay as they are.
    """
    log_probability = F.log_softmax(logits, dim=1)
    plain = _partial_cross_entropy(log_probability, truth.codes, truth.bias)
    smoothing = truth.settings.label_smoothing
    if not smoothing:
        return plain, plain
    fine = truth.codes < logits.shape[1]
    return torch.where(fine, (1 - smoothing) * plain - smoothing * log_probability.mean(dim=1), plain), plain


def _mean_of_hard(logits: Tensor, truth: PixelTruth, where: Tensor | None) -> Tensor:
    """ohem among the pixels of where, bool [N, H, W], None = all; the share to keep is one of all labelled pixels."""
    loss, plain = _pixel_losses(logits, truth)
    weight = truth.weights[truth.codes]
    least = int(truth.settings.ohem_keep * int((weight > 0).sum()))
    if where is not None:
        weight = weight * where
    hardness = plain.detach()
    candidates = hardness[weight > 0]
    cut = -math.log(truth.settings.ohem_threshold)
    if least and candidates.numel():
        hardest = candidates.topk(min(least, candidates.numel()), sorted=False).values
        cut = min(cut, hardest.min().item())
    return _weighted_mean(loss, weight * (hardness >= cut))


def _weighted_mean(loss: Tensor, weight: Tensor) -> Tensor:
    """0, with a gradient, where all weights are."""
    return (loss * weight).sum() / batch_count(weight.sum())


def batch_count(count: Tensor) -> Tensor:
    """What to divide a sum over this process' pixels by, never 0; not so near it that a scaled gradient overflows."""
    return mean_over_processes(at_least_float32(count)).clamp(min=1e-6)


def mean_and_hardest(loss: Tensor, weight: Tensor, hardest: float) -> Tensor:
    """Half the weighted mean, half the mean of the hardest share of the labelled pixels (online hard example mining); of no
    share the weighted mean.

    loss and weight [N, H, W]; weight 0 takes a pixel out.
    """
    if not hardest:
        return _weighted_mean(loss, weight)
    weighted = (loss * weight)[weight > 0]
    labelled = weighted.numel()
    hard = weighted.topk(min(labelled, max(1, int(hardest * labelled))), sorted=False).values
    counts = batch_count(torch.stack([weight.sum(), weight.new_tensor(hard.numel())]))
    return 0.5 * weighted.sum() / counts[0] + 0.5 * hard.sum() / counts[1]


def balanced_boundary_loss(logits: Tensor, edge: Tensor) -> Tensor:
    """Binary cross entropy with edges and the rest weighted by each other's share (HED: Xie and Tu, ICCV 2015, arXiv
    1504.06375; PIDNet's l1).

    logits [N, 1, H, W]; edge: uint8 [N, H, W], 1 edge, 0 none, 255 unknown.
    """
    logits = at_least_float32(logits[:, 0])
    positive, negative = (edge == 1).to(logits), (edge == 0).to(logits)
    edges, others = batch_count(torch.stack([positive.sum(), negative.sum()]))
    known = edges + others
    weight = positive * (others / known) + negative * (edges / known)
    loss = F.binary_cross_entropy_with_logits(logits, positive, reduction="none")
    return (loss * weight).sum() / known


def center_loss(heatmap_logits: Tensor, heatmap: Tensor, known: Tensor) -> Tensor:
    """Mean squared error of the centre heatmap where it is known (Panoptic-DeepLab, arXiv 1911.10194).

    logits [N, 1, h, w], the rest [N, h, w].
    """
    error = (torch.sigmoid(at_least_float32(heatmap_logits[:, 0])) - heatmap).square() * known
    return error.sum() / batch_count(known.sum())


def offset_loss(offset: Tensor, target: Tensor, known: Tensor) -> Tensor:
    """Mean of |dy| + |dx| in px on things (Panoptic-DeepLab). offset and target [N, 2, h, w], known [N, h, w]."""
    error = (at_least_float32(offset) - target).abs().sum(dim=1) * known
    return error.sum() / batch_count(known.sum())


SEMANTIC_LOSSES: dict[str, Callable[[Tensor, PixelTruth], Tensor]] = {
    "boundary_cross_entropy": boundary_cross_entropy,
    "cross_entropy": cross_entropy,
    "dice": dice,
    "focal": focal,
    "focal_tversky": focal_tversky,
    "hard_cross_entropy": hard_cross_entropy,
    "lovasz_softmax": lovasz_softmax,
    "ohem": ohem,
    "soft_iou": soft_iou,
    "tversky": tversky,
}
"""What `loss.semantic` and `loss.auxiliary` of a configuration may name."""
