"""Learning to answer steadily: an image that is moved by a little, and is a little noisier, should be answered as the
image is, moved as well.

A video is such images, so a network flickers less that has learnt it, without any video (the temporal loss of Liu et al.,
Efficient Semantic Video Segmentation with Per-frame Inference, ECCV 2020, arXiv 2002.11433, with known motion in place of
optical flow)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from seg_perception.training.loop.losses import batch_count, center_loss, offset_loss
from seg_perception.training.loss_settings import LossSettings
from seg_perception.training.networks.heads import TrainingOutput
from seg_perception.training.steady_settings import SteadySettings

GRAIN_PX = (1, 2, 4)
"""Sizes of the noise's grains: a sensor's is fine, that of compressed video is coarse."""


def moves(settings: SteadySettings, count: int, size_hw: tuple[int, int], device: torch.device) -> Tensor:
    """float32 [N, 2, 3], drawn from torch's generator: where each image's pixels come from, as F.affine_grid takes it."""
    scale = 1 + settings.scale * _symmetric(count, device)
    shift = settings.shift_px * 2 * _symmetric((count, 2), device) / torch.tensor(size_hw[::-1], device=device)
    theta = torch.zeros(count, 2, 3, device=device)
    theta[:, 0, 0] = theta[:, 1, 1] = scale
    theta[:, :, 2] = shift
    return theta


def moved(layers: Tensor, theta: Tensor) -> Tensor:
    """float32 [N, C, h, w], bilinear; what comes from outside is the border's. For images and for grids of any stride."""
    grid = F.affine_grid(theta, list(layers.shape), align_corners=False)
    return F.grid_sample(layers, grid, mode="bilinear", padding_mode="border", align_corners=False)


def next_frames(images: Tensor, theta: Tensor, settings: SteadySettings) -> Tensor:
    """uint8 [N, h, w, 3]: the images moved, in slightly other light, and with noise of torch's generator."""
    pixels = moved(images.permute(0, 3, 1, 2).float(), theta)
    count, _, height, width = pixels.shape
    pixels = pixels * (1 + settings.light * _symmetric((count, 1, 1, 1), pixels.device))
    for grain in GRAIN_PX:
        size = (count, 3, -(-height // grain), -(-width // grain))
        noise = torch.randn(size, device=pixels.device).repeat_interleave(grain, 2).repeat_interleave(grain, 3)
        strength = settings.noise / len(GRAIN_PX) ** 0.5 * torch.rand((count, 1, 1, 1), device=pixels.device)
        pixels = pixels + strength * noise[:, :, :height, :width]
    return pixels.round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1).contiguous()


def steady_losses(
    first: TrainingOutput, second: TrainingOutput, theta: Tensor, is_thing: Tensor, weights: LossSettings
) -> dict[str, Tensor]:
    """How far what is said of the moved images is from what is said of the images, moved; means over the cells that both show.

    Classes: class_divergence. Centres and offsets as their labels' losses have them, with the same weights; offsets, which
    are lengths, count where there is a thing. is_thing: bool [C].
    """
    shown = _shown(first.logits, theta)
    logits, heatmap = moved(first.logits, theta), moved(torch.sigmoid(first.heatmap_logits), theta)
    offset = moved(first.offset, theta) / theta[:, 0, 0].view(-1, 1, 1, 1)
    things = shown * is_thing[logits.argmax(dim=1)]
    return {
        "steady": (class_divergence(logits, second.logits) * shown).sum() / batch_count(shown.sum()),
        "steady_center": weights.center * center_loss(second.heatmap_logits, heatmap[:, 0], shown),
        "steady_offset": weights.offset * offset_loss(second.offset, offset, things),
    }


def class_divergence(one: Tensor, other: Tensor) -> Tensor:
    """Half of the Kullback-Leibler divergences both ways, float32 [N, h, w], of logits [N, C, h, w]."""
    one, other = F.log_softmax(one, dim=1), F.log_softmax(other, dim=1)
    return ((one.exp() - other.exp()) * (one - other)).sum(dim=1) / 2


def _shown(grid: Tensor, theta: Tensor) -> Tensor:
    """float32 [N, h, w]: 1 where a cell's middle comes from within the image."""
    source = F.affine_grid(theta, list(grid.shape), align_corners=False)
    return (source.abs() <= 1).all(dim=-1).to(grid.dtype)


def _symmetric(size: int | tuple[int, ...], device: torch.device) -> Tensor:
    """Uniform from -1 to 1."""
    return 2 * torch.rand(size, device=device) - 1
