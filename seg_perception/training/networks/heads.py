"""The panoptic heads that every network gets, and the whole network around them.

Semantic logits, centre heatmap and centre offset of Panoptic-DeepLab (Cheng et al., CVPR 2020, arXiv 1911.10194),
here straight on the network's fused features at stride 8, so that the heads cost little.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from seg_perception.training.networks.layers import bn_conv, conv_bn, initialise

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
OFFSET_SCALE = 32.0
"""Input pixels per unit of the offset layer's output: keeps that layer's numbers near one, as the others' are."""


class TrainingOutput(NamedTuple):
    """Everything the losses look at, float32, at the grid's stride.

    logits [N, C, h, w]; heatmap_logits [N, 1, h, w]; offset [N, 2, h, w] (dy, dx) in input px; detail_logits
    [N, C, h, w] from the detail branch; boundary_logits [N, 1, h, w].
    """

    logits: Tensor
    heatmap_logits: Tensor
    offset: Tensor
    detail_logits: Tensor
    boundary_logits: Tensor


class InstanceHead(nn.Module):
    """Centre heatmap (as logits) and centre offset from the fused features."""

    def __init__(self, channels: int, inner: int = 64) -> None:
        super().__init__()
        self.shared = nn.Sequential(bn_conv(channels, inner, 3), nn.BatchNorm2d(inner), nn.ReLU())
        self.center = nn.Sequential(conv_bn(inner, inner // 2), nn.Conv2d(inner // 2, 1, 1))
        self.offset = nn.Sequential(conv_bn(inner, inner // 2, 5), nn.Conv2d(inner // 2, 2, 1))

    def forward(self, fused: Tensor) -> tuple[Tensor, Tensor]:
        """[N, channels, h, w] to heatmap logits [N, 1, h, w] and offset [N, 2, h, w] in input px."""
        shared = self.shared(fused)
        return self.center(shared), OFFSET_SCALE * self.offset(shared)


def semantic_head(channels: int, inner: int, classes: int) -> nn.Sequential:
    """3x3 to inner channels, then 1x1 to classes, both pre-activated."""
    return nn.Sequential(bn_conv(channels, inner, 3), nn.BatchNorm2d(inner), nn.ReLU(), nn.Conv2d(inner, classes, 1))


class PanopticNetwork(nn.Module):
    """A backbone with the panoptic heads; its image is uint8 [N, h, w, 3] RGB, and normalised inside."""

    mean: Tensor
    std: Tensor

    def __init__(self, backbone: nn.Module, classes: int) -> None:
        super().__init__()
        self.backbone = backbone
        fused, detail, boundary = (
            int(getattr(backbone, f"{name}_channels")) for name in ("fused", "detail", "boundary")
        )
        self.semantic = semantic_head(fused, 128, classes)
        self.instance = InstanceHead(fused)
        self.detail_loss_head = semantic_head(detail, 128, classes)
        self.boundary_loss_head = semantic_head(boundary, 32, 1)
        initialise(self)
        for head in (self.semantic, self.instance.center, self.instance.offset, self.detail_loss_head):
            nn.init.normal_(head[-1].weight, std=0.01)  # undecided at first, so that no loss starts huge
        nn.init.constant_(self.instance.center[-1].bias, -4.0)  # nearly every cell is no centre
        self.register_buffer("mean", 255 * torch.tensor(IMAGENET_MEAN), persistent=False)
        self.register_buffer("std", 255 * torch.tensor(IMAGENET_STD), persistent=False)

    def normalise(self, image: Tensor) -> Tensor:
        """uint8 [N, h, w, 3] to float32 [N, 3, h, w]; the cast comes first since TensorRT moves no uint8 axes."""
        return ((image.float() - self.mean) / self.std).permute(0, 3, 1, 2)

    def training_outputs(self, image: Tensor) -> TrainingOutput:
        """Everything the losses need of images uint8 [N, h, w, 3]."""
        fused, detail, boundary = self.backbone(self.normalise(image))
        heatmap, offset = self.instance(fused)
        return TrainingOutput(
            self.semantic(fused), heatmap, offset, self.detail_loss_head(detail), self.boundary_loss_head(boundary)
        )

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """What the model file gives: semantic_logits, center_heatmap in [0, 1], center_offset in input px."""
        fused, _, _ = self.backbone(self.normalise(image))
        heatmap, offset = self.instance(fused)
        return self.semantic(fused), torch.sigmoid(heatmap), offset
