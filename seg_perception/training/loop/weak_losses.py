"""Losses of labels that are less than masks: points, boxes, and what lies between scribbles.

A mark says less than a pixel's label: that some pixel of a bag has a class. Its probability is that of what the mark's
code may stand for, so coarse classes have marks too. Marks of all images of a batch count alike but for their class's weight.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from seg_perception.training.loop.losses import at_least_float32, batch_count, partial_cross_entropy
from seg_perception.training.loss_settings import LossSettings


@dataclass(frozen=True)
class WeakTruth:
    """marks: int64 [N, H, W], 0 none, the number of a point, or minus that of a box, within its image; codes: int64
    [N, H, W], the code of each pixel's mark, 255 without one; image: uint8 [N, H, W, 3]; bias and weights: as of PixelTruth."""

    marks: Tensor
    codes: Tensor
    image: Tensor
    bias: Tensor
    weights: Tensor
    settings: LossSettings


def weak_loss(logits: Tensor, truth: WeakTruth, parts: Mapping[str, float]) -> Tensor:
    """Weighted sum of the named losses of WEAK_LOSSES. logits: float [N, C, H, W]; 0, with a gradient, without marks."""
    with torch.autocast(logits.device.type, enabled=False):
        logits = at_least_float32(logits)
        return torch.stack([weight * WEAK_LOSSES[name](logits, truth) for name, weight in parts.items()]).sum()


def noisy_or(logits: Tensor, truth: WeakTruth) -> Tensor:
    """Mean over the points of -log(1 - Π (1 - p)), p the probability of the point's class at each pixel of its mark: that
    at least one of them has it, were they independent (Viola, Platt and Zhang, NIPS 2005). One sure pixel is enough."""
    bags = _marked(logits, truth, truth.marks)
    impossible = torch.log1p(-bags.log_probability.exp().clamp(max=1 - 1e-6))
    none = bags.sums(impossible)
    return bags.mean(-torch.log(-torch.expm1(none.clamp(max=-1e-30))))


def summed_bag(logits: Tensor, truth: WeakTruth) -> Tensor:
    """Mean over the points of -log of the mean probability of its class in its mark: up to a constant minus the log of the
    summed probability, a bound of noisy_or that needs no product, and asks all pixels instead of one."""
    bags = _marked(logits, truth, truth.marks)
    return bags.mean(torch.log(bags.sizes) - bags.log_sums())


def box_projection(logits: Tensor, truth: WeakTruth) -> Tensor:
    """Mean over the boxes of 1 - Dice coefficient between ones and the largest probability of the box's class in each of
    its rows, and in each of its columns: BoxInst's projection (Tian et al., CVPR 2021, arXiv 2012.02310, eq. 2), where what
    lies outside is told by the labels there. Its gradient falls with the probability, so it holds what is learnt and teaches
    little of a class that other pixels have made unlikely: box_tightness does."""
    return _mean_of_lines(logits, truth, _one_minus_dice)


def box_tightness(logits: Tensor, truth: WeakTruth) -> Tensor:
    """Mean over the boxes of -log of the largest probability of the box's class, a mean over its rows, and one over its columns:
    each line across a tight box holds a pixel of what is in it (Hsu et al., NeurIPS 2019, eq. 2, their positive bags)."""
    return _mean_of_lines(logits, truth, _minus_log)


def _mean_of_lines(logits: Tensor, truth: WeakTruth, cost: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    """Mean of cost over boxes, of their rows and of their columns; see _one_minus_dice. A side that the crop cuts off may hide
    what reaches it: where a box touches left or right border, rows say nothing, and columns where it touches top or bottom."""
    boxes = _marked(logits, truth, -truth.marks)
    height, width = truth.marks.shape[-2:]
    y, x, count = boxes.y, boxes.x, len(boxes.weights)
    total, weight = logits.sum() * 0, boxes.weights.new_zeros(())
    for line, across, lines, end in ((y, x, height, width - 1), (x, y, width, height - 1)):
        whole = _largest((across == 0) | (across == end), boxes.bag, count) == 0
        key = boxes.bag * lines + line
        largest = boxes.log_probability.new_zeros(count * lines)
        largest = largest.scatter_reduce(0, key, boxes.log_probability, "amax", include_self=False).view(count, lines)
        seen = torch.zeros_like(largest).view(-1).index_fill(0, torch.unique(key), 1).view(count, lines)
        total = total + (cost(largest, seen) * boxes.weights * whole).sum()
        weight = weight + (boxes.weights * whole).sum()
    return total / batch_count(weight)


def _one_minus_dice(log_largest: Tensor, seen: Tensor) -> Tensor:
    """[count] of the boxes' lines [count, lines]: log of the largest probability in each, and 1 where the box has that line."""
    largest = log_largest.exp() * seen
    return 1 - 2 * largest.sum(dim=1) / (largest.square().sum(dim=1) + seen.sum(dim=1)).clamp(min=1e-6)


def _minus_log(log_largest: Tensor, seen: Tensor) -> Tensor:
    """The same as the mean of -log."""
    return -(log_largest * seen).sum(dim=1) / seen.sum(dim=1).clamp(min=1)


def smoothness(logits: Tensor, truth: WeakTruth) -> Tensor:
    """Mean of -log Σ p p' of pairs of neighbours, the log of the probability that both have one class, weighted by how
    alike their colours are: BoxInst's pairwise term (arXiv 2012.02310, eq. 4 to 6) for several classes, with a Gaussian of
    the colours' distance, as of dense CRFs, for a threshold. Pairs lie affinity_px apart, in rows, columns and diagonals."""
    log_probability = F.log_softmax(logits, dim=1)
    colors = truth.image.permute(0, 3, 1, 2).to(logits.dtype)
    apart = truth.settings.affinity_px
    total, weight = logits.sum() * 0, logits.new_zeros(())
    for dy, dx in ((0, apart), (apart, 0), (apart, apart), (apart, -apart)):
        one, other = _shifted(log_probability, dy, dx)
        together = torch.logsumexp(one + other, dim=1)
        a, b = _shifted(colors, dy, dx)
        affinity = torch.exp((a - b).square().sum(dim=1) / (-2 * truth.settings.affinity_colors**2))
        total = total - (affinity * together).sum()
        weight = weight + affinity.sum()
    return total / batch_count(weight)


def _shifted(layer: Tensor, dy: int, dx: int) -> tuple[Tensor, Tensor]:
    """The pixels [N, C, h, w] of a layer that have a neighbour at (dy, dx), dy not negative, and these neighbours."""
    height, width = layer.shape[-2:]
    left, right = max(0, -dx), min(width, width - dx)
    here = layer[..., : max(0, height - dy), left : max(left, right)]
    there = layer[..., dy:, left + dx : max(left, right) + dx]
    return here, there


@dataclass(frozen=True)
class _Bags:
    """Points or boxes of a batch. log_probability: [P] of the pixels; y, x: int64 [P], where they are; bag: int64 [P], whose each
    is; weights and sizes: [B]."""

    log_probability: Tensor
    y: Tensor
    x: Tensor
    bag: Tensor
    weights: Tensor
    sizes: Tensor

    def sums(self, values: Tensor) -> Tensor:
        """[B]: of the values [P] of each bag."""
        return torch.zeros_like(self.sizes).index_add(0, self.bag, values)

    def log_sums(self) -> Tensor:
        """[B]: log of the sums of probabilities, also where these are too small for numbers."""
        top = torch.full_like(self.sizes, -torch.inf)
        top = top.scatter_reduce(0, self.bag, self.log_probability.detach(), "amax")
        return top + torch.log(self.sums((self.log_probability - top[self.bag]).exp()))

    def mean(self, losses: Tensor) -> Tensor:
        """Weighted mean of losses [B]; 0, with a gradient, of none."""
        return (losses * self.weights).sum() / batch_count(self.weights.sum())


def _marked(logits: Tensor, truth: WeakTruth, numbers: Tensor) -> _Bags:
    """What has a number above 0, of numbers int64 [N, H, W]."""
    n, y, x = torch.nonzero(numbers > 0, as_tuple=True)
    log_probability = -partial_cross_entropy(logits, truth.codes, truth.bias)[n, y, x]
    own = numbers[n, y, x]
    bags, bag, sizes = torch.unique(
        n * (int(own.max()) + 1 if len(own) else 1) + own, return_inverse=True, return_counts=True
    )
    weights = _of_first(truth.weights[truth.codes[n, y, x]], bag, len(bags))
    return _Bags(log_probability, y, x, bag, weights.to(logits.dtype), sizes.to(logits.dtype))


def _of_first(values: Tensor, group: Tensor, count: int) -> Tensor:
    """[count]: the one value that all [P] of each group have."""
    return values.new_zeros(count).scatter(0, group, values)


def _largest(is_so: Tensor, group: Tensor, count: int) -> Tensor:
    """int64 [count]: 1 where any of the group is so. is_so: bool [P]."""
    return group.new_zeros(count).scatter_reduce(0, group, is_so.to(group.dtype), "amax")


WEAK_LOSSES: dict[str, Callable[[Tensor, WeakTruth], Tensor]] = {
    "box_projection": box_projection,
    "box_tightness": box_tightness,
    "noisy_or": noisy_or,
    "smoothness": smoothness,
    "summed_bag": summed_bag,
}
"""What `loss.weak` of a configuration may name."""
