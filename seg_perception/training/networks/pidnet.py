"""PIDNet: three branches for detail, context and boundaries (Xu, Xiong, Bhattacharyya, CVPR 2023, arXiv 2206.02066).

Written from the paper's figures and tables. Every tensor is [N, channels, h, w]; a comment names its stride.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seg_perception.training.networks.heads import Features
from seg_perception.training.networks.layers import BasicBlock, Bottleneck, bn_conv, conv_bn, resize, stage


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


class ParallelAggregationPyramid(nn.Module):
    """Context of several sizes, all branches computed side by side (PAPPM, section 3.3 of the paper)."""

    def __init__(self, channels_in: int, inner: int, channels_out: int) -> None:
        super().__init__()
        self.identity = bn_conv(channels_in, inner)
        self.pools = nn.ModuleList(
            nn.Sequential(nn.AvgPool2d(kernel, stride, kernel // 2), bn_conv(channels_in, inner))
            for kernel, stride in ((5, 2), (9, 4), (17, 8))
        )
        self.everything = nn.Sequential(nn.AdaptiveAvgPool2d(1), bn_conv(channels_in, inner))
        self.process = bn_conv(4 * inner, 4 * inner, 3, groups=4)
        self.compress = bn_conv(5 * inner, channels_out)
        self.shortcut = bn_conv(channels_in, channels_out)

    def forward(self, x: Tensor) -> Tensor:
        """[N, channels_in, h, w] to [N, channels_out, h, w]."""
        base = self.identity(x)
        scales = [resize(branch(x), x) + base for branch in (*self.pools, self.everything)]
        context = self.process(torch.cat(scales, dim=1))
        return self.compress(torch.cat([base, context], dim=1)) + self.shortcut(x)


class BoundaryGuidedFusion(nn.Module):
    """Detail where the boundary features are strong, context elsewhere (Light-Bag, section 3.4)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.detail = conv_bn(channels, channels, 1, relu=False)
        self.context = conv_bn(channels, channels, 1, relu=False)

    def forward(self, detail: Tensor, context: Tensor, boundary: Tensor) -> Tensor:
        """All [N, channels, h, w]."""
        edge = torch.sigmoid(boundary)
        return self.detail((1 - edge) * context + detail) + self.context(context + edge * detail)


class PIDNetSmall(nn.Module):
    """PIDNet-S without its heads: C = 32. Its auxiliary features are those of the detail branch."""

    fused_channels = 128
    shallow_channels = 32
    auxiliary_channels = (64,)
    boundary_channels = 64

    def __init__(self, c: int = 32, pyramid: int = 96) -> None:
        super().__init__()
        self.stem = nn.Sequential(conv_bn(3, c, 3, 2), conv_bn(c, c, 3, 2))
        self.stage1 = stage(c, c, 2)
        self.stage2 = stage(c, 2 * c, 2, stride=2)
        self.context3 = stage(2 * c, 4 * c, 3, stride=2)
        self.context4 = stage(4 * c, 8 * c, 3, stride=2)
        self.context5 = nn.Sequential(Bottleneck(8 * c, 8 * c, 2, relu=True), Bottleneck(16 * c, 8 * c))
        self.pyramid = ParallelAggregationPyramid(16 * c, pyramid, 4 * c)

        self.detail3 = stage(2 * c, 2 * c, 2)
        self.detail4 = stage(2 * c, 2 * c, 2)
        self.detail5 = Bottleneck(2 * c, 2 * c)
        self.compress3 = conv_bn(4 * c, 2 * c, 1, relu=False)
        self.compress4 = conv_bn(8 * c, 2 * c, 1, relu=False)
        self.attention3 = PixelAttentionFusion(2 * c, c)
        self.attention4 = PixelAttentionFusion(2 * c, c)

        self.boundary3 = BasicBlock(2 * c, c, relu=False)
        self.boundary4 = Bottleneck(c, c)
        self.boundary5 = Bottleneck(2 * c, 2 * c)
        self.difference3 = conv_bn(4 * c, c, 3, relu=False)
        self.difference4 = conv_bn(8 * c, 2 * c, 3, relu=False)
        self.fusion = BoundaryGuidedFusion(4 * c)

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
