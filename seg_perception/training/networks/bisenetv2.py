"""BiSeNetV2: a wide shallow branch for detail beside a thin deep one for meaning (Yu, Gao, Wang, Yu, Shen, Sang, IJCV
2021, arXiv 2004.02147).

Written from the paper's figures and tables. Every tensor is [N, channels, h, w]; a comment names its stride.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seg_perception.training.networks.heads import IMAGENET_MEAN, IMAGENET_STD, Features
from seg_perception.training.networks.layers import conv_bn, resize

EXPANSION = 6


class Stem(nn.Module):
    """Two ways down to stride 4, by convolution and by pooling, joined (figure 4a)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = conv_bn(3, channels, 3, 2)
        self.convolve = nn.Sequential(conv_bn(channels, channels // 2, 1), conv_bn(channels // 2, channels, 3, 2))
        self.pool = nn.MaxPool2d(3, 2, 1)
        self.join = conv_bn(2 * channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        """[N, 3, H, W] to [N, channels, H / 4, W / 4]."""
        x = self.first(x)
        joined: Tensor = self.join(torch.cat([self.convolve(x), self.pool(x)], dim=1))
        return joined


class GatherExpand(nn.Module):
    """3x3 convolution, depthwise convolution, 1x1 back, around a shortcut (figure 5); stride 2 has two depthwise ones.

    The paper's text has the first convolution expand the channels (dense), and only so do the multiply-accumulates of
    its tables come about. Public reproductions, whose 3.4 M parameters are known as BiSeNetV2, leave the expansion to the
    depthwise convolution.
    """

    def __init__(self, channels_in: int, channels_out: int, stride: int = 1, dense: bool = False) -> None:
        super().__init__()
        inner = EXPANSION * channels_in
        gathered = inner if dense else channels_in
        self.gather = conv_bn(channels_in, gathered)
        self.expand = conv_bn(gathered, inner, 3, stride, groups=gathered, relu=False)
        self.widen = conv_bn(inner, inner, 3, groups=inner, relu=False) if stride > 1 else nn.Identity()
        self.project = conv_bn(inner, channels_out, 1, relu=False)
        self.shortcut = nn.Identity() if stride == 1 else depthwise_separable(channels_in, channels_out, stride)

    def forward(self, x: Tensor) -> Tensor:
        """[N, channels_in, h, w] to [N, channels_out, h / stride, w / stride]."""
        return F.relu(self.project(self.widen(self.expand(self.gather(x)))) + self.shortcut(x))


class ContextEmbedding(nn.Module):
    """Adds what is in the whole image to every cell (figure 4b)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.everything = nn.Sequential(
            nn.AdaptiveAvgPool2d(1), nn.BatchNorm2d(channels), conv_bn(channels, channels, 1)
        )
        self.mix = conv_bn(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        """[N, channels, h, w] to the same."""
        mixed: Tensor = self.mix(x + self.everything(x))
        return mixed


class BilateralAggregation(nn.Module):
    """Each branch gates the other at its own scale, then both are summed (figure 6); no ReLU at the end."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.detail_keep = depthwise_separable(channels, channels, last_bn=False)
        self.detail_down = nn.Sequential(conv_bn(channels, channels, 3, 2, relu=False), nn.AvgPool2d(3, 2, 1))
        self.context_keep = depthwise_separable(channels, channels, last_bn=False)
        self.context_up = conv_bn(channels, channels, relu=False)
        self.mix = conv_bn(channels, channels, relu=False)

    def forward(self, detail: Tensor, context: Tensor) -> Tensor:
        """detail [N, c, h, w], context [N, c, h / 4, w / 4]; returns [N, c, h, w]."""
        fine = self.detail_keep(detail) * torch.sigmoid(resize(self.context_up(context), detail))
        coarse = self.detail_down(detail) * torch.sigmoid(self.context_keep(context))
        mixed: Tensor = self.mix(fine + resize(coarse, fine))
        return mixed


class BiSeNetV2(nn.Module):
    """BiSeNetV2 without its head. Its auxiliary features are those of the semantic branch at strides 4, 8, 16 and 32.

    width (α in section 5.2) multiplies every channel count of table 1, depth (d) the gather-and-expand blocks of a stage,
    dense chooses their kind.
    """

    boundary_channels = None
    light_heads = False
    input_mean, input_std = IMAGENET_MEAN, IMAGENET_STD

    def __init__(self, width: int = 1, depth: int = 1, dense: bool = False) -> None:
        super().__init__()
        c = 16 * width
        self.fused_channels, self.shallow_channels = 8 * c, 4 * c
        self.auxiliary_channels = (c, 2 * c, 4 * c, 8 * c)
        self.detail1 = nn.Sequential(conv_bn(3, 4 * c, 3, 2), conv_bn(4 * c, 4 * c))
        self.detail2 = nn.Sequential(conv_bn(4 * c, 4 * c, 3, 2), conv_bn(4 * c, 4 * c), conv_bn(4 * c, 4 * c))
        self.detail3 = nn.Sequential(conv_bn(4 * c, 8 * c, 3, 2), conv_bn(8 * c, 8 * c), conv_bn(8 * c, 8 * c))
        self.stem = Stem(c)
        self.stage3 = gather_expand_stage(c, 2 * c, 2 * depth, dense)
        self.stage4 = gather_expand_stage(2 * c, 4 * c, 2 * depth, dense)
        self.stage5 = gather_expand_stage(4 * c, 8 * c, 4 * depth, dense)
        self.context = ContextEmbedding(8 * c)
        self.aggregation = BilateralAggregation(8 * c)

    def forward(self, x: Tensor) -> Features:
        """Normalised image [N, 3, H, W], H and W multiples of 32."""
        shallow = self.detail2(self.detail1(x))  # 1/4
        detail = self.detail3(shallow)  # 1/8
        stem = self.stem(x)  # 1/4
        stage3 = self.stage3(stem)  # 1/8
        stage4 = self.stage4(stage3)  # 1/16
        stage5 = self.stage5(stage4)  # 1/32
        fused = self.aggregation(detail, self.context(stage5))
        return Features(fused, shallow, (stem, stage3, stage4, stage5))


def gather_expand_stage(channels_in: int, channels_out: int, blocks: int, dense: bool) -> nn.Sequential:
    """Blocks in a row; the first halves the size and changes the channels."""
    rest = (GatherExpand(channels_out, channels_out, dense=dense) for _ in range(blocks - 1))
    return nn.Sequential(GatherExpand(channels_in, channels_out, 2, dense), *rest)


def depthwise_separable(channels_in: int, channels_out: int, stride: int = 1, last_bn: bool = True) -> nn.Sequential:
    """Depthwise 3x3, then 1x1, without a ReLU anywhere; the last normalisation may be left out."""
    depthwise = conv_bn(channels_in, channels_in, 3, stride, groups=channels_in, relu=False)
    if last_bn:
        return nn.Sequential(depthwise, conv_bn(channels_in, channels_out, 1, relu=False))
    return nn.Sequential(depthwise, nn.Conv2d(channels_in, channels_out, 1, bias=False))


def bisenetv2_l() -> BiSeNetV2:
    """BiSeNetV2-Large: α = 2, d = 3, and the paper's dense blocks, of which its 118.51 GMAC speak."""
    return BiSeNetV2(width=2, depth=3, dense=True)
