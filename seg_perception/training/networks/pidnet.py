"""PIDNet: three branches for detail, context and boundaries (Xu, Xiong, Bhattacharyya, CVPR 2023, arXiv 2206.02066).

Written from the paper's figures and tables. Every tensor is [N, channels, h, w]; a comment names its stride.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seg_perception.training.networks.heads import IMAGENET_MEAN, IMAGENET_STD, Features
from seg_perception.training.networks.layers import BasicBlock, Bottleneck, bn_conv, conv_bn, resize, stage
from seg_perception.training.networks.pyramids import DeepAggregationPyramid, ParallelAggregationPyramid


class PixelAttentionFusion(nn.Module):
    """Takes context into the detail branch where both agree: weight = sigmoid of the channel-wise dot product."""

    def __init__(self, channels: int, inner: int) -> None:
        super().__init__()
        self.detail_key = conv_bn(channels, inner, 1, relu=False)
        self.context_key = conv_bn(channels, inner, 1, relu=False)

    def forward(self, detail: Tensor, context: Tensor) -> Tensor:
        """detail [N, c, h, w], context [N, c, h / k, w / k]; returns [N, c, h, w]."""
        keys = self.detail_key(detail) * resize(self.context_key(context), detail)
        weight = torch.sigmoid(keys.sum(dim=1, keepdim=True))
        return detail + weight * (resize(context, detail) - detail)


class LightBoundaryFusion(nn.Module):
    """Detail where the boundary features are strong, context elsewhere, by 1x1 convolutions (Light-Bag, section 3.4)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.detail = conv_bn(channels, channels, 1, relu=False)
        self.context = conv_bn(channels, channels, 1, relu=False)

    def forward(self, detail: Tensor, context: Tensor, boundary: Tensor) -> Tensor:
        """All [N, channels, h, w]."""
        edge = torch.sigmoid(boundary)
        return self.detail((1 - edge) * context + detail) + self.context(context + edge * detail)


class BoundaryFusion(nn.Module):
    """Detail where the boundary features are strong, context elsewhere, by a 3x3 convolution (Bag, section 3.4)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.mix = bn_conv(channels, channels, 3)

    def forward(self, detail: Tensor, context: Tensor, boundary: Tensor) -> Tensor:
        """All [N, channels, h, w]."""
        edge = torch.sigmoid(boundary)
        mixed: Tensor = self.mix(edge * detail + (1 - edge) * context)
        return mixed


class PIDNet(nn.Module):
    """PIDNet without its heads, of width c; its auxiliary features are those of the detail branch.

    m and n are the blocks of a stage as in figure 4 of the paper: m at strides 4 and 8, n at 16 and 32. large swaps in
    the sequential pyramid, 3x3 fusion and the wide boundary branch of PIDNet-L.
    """

    light_heads = False
    input_mean, input_std = IMAGENET_MEAN, IMAGENET_STD

    def __init__(self, c: int, m: int = 2, n: int = 3, pyramid: int = 96, large: bool = False) -> None:
        super().__init__()
        self.fused_channels, self.shallow_channels = 4 * c, c
        self.auxiliary_channels, self.boundary_channels = (2 * c,), 2 * c
        self.stem = nn.Sequential(conv_bn(3, c, 3, 2), conv_bn(c, c, 3, 2))
        self.stage1 = stage(c, c, m)
        self.stage2 = stage(c, 2 * c, m, stride=2)
        self.context3 = stage(2 * c, 4 * c, n, stride=2)
        self.context4 = stage(4 * c, 8 * c, n, stride=2)
        self.context5 = nn.Sequential(Bottleneck(8 * c, 8 * c, 2, relu=True), Bottleneck(16 * c, 8 * c))
        self.pyramid = (DeepAggregationPyramid if large else ParallelAggregationPyramid)(16 * c, pyramid, 4 * c)

        self.detail3 = stage(2 * c, 2 * c, m)
        self.detail4 = stage(2 * c, 2 * c, m)
        self.detail5 = Bottleneck(2 * c, 2 * c)
        self.compress3 = conv_bn(4 * c, 2 * c, 1, relu=False)
        self.compress4 = conv_bn(8 * c, 2 * c, 1, relu=False)
        self.attention3 = PixelAttentionFusion(2 * c, c)
        self.attention4 = PixelAttentionFusion(2 * c, c)

        edges = 2 * c if large else c
        self.boundary3 = BasicBlock(2 * c, edges, relu=False)
        self.boundary4 = BasicBlock(edges, 2 * c, relu=False) if large else Bottleneck(edges, c)
        self.boundary5 = Bottleneck(2 * c, 2 * c)
        self.difference3 = conv_bn(4 * c, edges, 3, relu=False)
        self.difference4 = conv_bn(8 * c, 2 * c, 3, relu=False)
        self.fusion = (BoundaryFusion if large else LightBoundaryFusion)(4 * c)

    def forward(self, x: Tensor) -> Features:
        """Normalised image [N, 3, H, W]; all features but the shallow ones are at stride 8."""
        shallow = self.stage1(self.stem(x))  # 1/4
        x = F.relu(self.stage2(F.relu(shallow)))  # 1/8
        detail, boundary = self.detail3(x), self.boundary3(x)

        x = F.relu(self.context3(x))  # 1/16
        detail = self.attention3(detail, self.compress3(x))
        boundary = boundary + resize(self.difference3(x), boundary)
        detail_for_loss = detail

        x = F.relu(self.context4(x))  # 1/32
        detail = self.attention4(self.detail4(F.relu(detail)), self.compress4(x))
        boundary = self.boundary4(F.relu(boundary))
        boundary = boundary + resize(self.difference4(x), boundary)
        boundary_for_loss = boundary

        context = resize(self.pyramid(self.context5(x)), detail)  # 1/64 to 1/8
        fused = self.fusion(self.detail5(F.relu(detail)), context, self.boundary5(F.relu(boundary)))
        return Features(fused, shallow, (detail_for_loss,), boundary_for_loss)


def pidnet_s() -> PIDNet:
    """PIDNet-S."""
    return PIDNet(32)


def pidnet_s_light() -> PIDNet:
    """PIDNet-S with light heads, which at small sizes cost as much as the backbone otherwise."""
    backbone = PIDNet(32)
    backbone.light_heads = True
    return backbone


def pidnet_m() -> PIDNet:
    """PIDNet-M with the 34.4 M parameters that the paper states: they need n = 4, where its README names n = 3 (28.5 M)."""
    return PIDNet(64, n=4)


def pidnet_l() -> PIDNet:
    """PIDNet-L."""
    return PIDNet(64, m=3, n=4, pyramid=112, large=True)
