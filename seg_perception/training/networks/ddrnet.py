"""DDRNet: two branches that exchange features at every stage (Hong, Pan, Sun, Jia 2021, arXiv 2101.06085).

Written from the paper's figures and tables. Every tensor is [N, channels, h, w]; a comment names its stride.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from seg_perception.training.networks.heads import IMAGENET_MEAN, IMAGENET_STD, Features
from seg_perception.training.networks.layers import Bottleneck, conv_bn, resize, stage
from seg_perception.training.networks.pyramids import DeepAggregationPyramid


class DDRNet(nn.Module):
    """DDRNet-23 without its head, of width c; its auxiliary features are those of the detail branch at stage 3."""

    boundary_channels = None
    light_heads = False
    input_mean, input_std = IMAGENET_MEAN, IMAGENET_STD

    def __init__(self, c: int, pyramid: int = 128) -> None:
        super().__init__()
        self.fused_channels, self.shallow_channels, self.auxiliary_channels = 4 * c, c, (2 * c,)
        self.stem = nn.Sequential(conv_bn(3, c, 3, 2), conv_bn(c, c, 3, 2))
        self.stage1 = stage(c, c, 2)
        self.stage2 = stage(c, 2 * c, 2, stride=2)
        self.context3 = stage(2 * c, 4 * c, 2, stride=2)
        self.context4 = stage(4 * c, 8 * c, 2, stride=2)
        self.context5 = Bottleneck(8 * c, 8 * c, 2)
        self.pyramid = DeepAggregationPyramid(16 * c, pyramid, 4 * c)

        self.detail3 = stage(2 * c, 2 * c, 2)
        self.detail4 = stage(2 * c, 2 * c, 2)
        self.detail5 = Bottleneck(2 * c, 2 * c)
        self.up3 = conv_bn(4 * c, 2 * c, 1, relu=False)
        self.up4 = conv_bn(8 * c, 2 * c, 1, relu=False)
        self.down3 = conv_bn(2 * c, 4 * c, 3, 2, relu=False)
        self.down4 = nn.Sequential(conv_bn(2 * c, 4 * c, 3, 2), conv_bn(4 * c, 8 * c, 3, 2, relu=False))

    def forward(self, x: Tensor) -> Features:
        """Normalised image [N, 3, H, W]; all features but the shallow ones are at stride 8."""
        shallow = self.stage1(self.stem(x))  # 1/4
        x = F.relu(self.stage2(F.relu(shallow)))  # 1/8
        detail = self.detail3(x)

        context = self.context3(x)  # 1/16
        detail, context = (
            detail + resize(self.up3(F.relu(context)), detail),
            F.relu(context + self.down3(F.relu(detail))),
        )
        detail_for_loss = detail

        detail, context = self.detail4(F.relu(detail)), self.context4(context)  # 1/32
        detail, context = (
            detail + resize(self.up4(F.relu(context)), detail),
            F.relu(context + self.down4(F.relu(detail))),
        )
        detail = self.detail5(F.relu(detail))
        fused = detail + resize(self.pyramid(self.context5(context)), detail)  # 1/64 to 1/8
        return Features(fused, shallow, (detail_for_loss,))


def ddrnet_23_slim() -> DDRNet:
    """DDRNet-23-slim."""
    return DDRNet(32)
