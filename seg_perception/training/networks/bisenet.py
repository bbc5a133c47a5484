"""BiSeNet: a shallow spatial path beside a pretrained context path (Yu et al., ECCV 2018, arXiv 1808.00897).

Written from the paper's figures. Every tensor is [N, channels, h, w]; a comment names its stride.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from seg_perception.training.networks.efficientnet_lite import efficientnet_lite
from seg_perception.training.networks.heads import Features
from seg_perception.training.networks.layers import conv_bn, resize

CHANNELS = 128


class AttentionRefinement(nn.Module):
    """Weighs each channel by what is in the whole image (figure 2b)."""

    def __init__(self, channels_in: int, channels: int) -> None:
        super().__init__()
        self.reduce = conv_bn(channels_in, channels)
        self.weigh = nn.Sequential(nn.AdaptiveAvgPool2d(1), conv_bn(channels, channels, 1, relu=False), nn.Sigmoid())

    def forward(self, x: Tensor) -> Tensor:
        """[N, channels_in, h, w] to [N, channels, h, w]."""
        x = self.reduce(x)
        return x * self.weigh(x)


class FeatureFusion(nn.Module):
    """Joins both paths, then lets the whole image choose among the channels (figure 2c)."""

    def __init__(self, channels_in: int, channels: int) -> None:
        super().__init__()
        self.join = conv_bn(channels_in, channels, 1)
        self.weigh = nn.Sequential(
            nn.AdaptiveAvgPool2d(1),
            nn.Conv2d(channels, channels // 4, 1),
            nn.ReLU(inplace=True),
            nn.Conv2d(channels // 4, channels, 1),
            nn.Sigmoid(),
        )

    def forward(self, detail: Tensor, context: Tensor) -> Tensor:
        """Both [N, …, h, w]; returns [N, channels, h, w]."""
        x = self.join(torch.cat([detail, context], dim=1))
        return x + x * self.weigh(x)


class BiSeNet(nn.Module):
    """BiSeNet without its heads; its auxiliary features are those of the context path at strides 8 and 16, which the
    paper supervises (section 3.3). version: of the EfficientNet-Lite that is the context path."""

    boundary_channels = None
    light_heads = False
    input_mean, input_std = (127.0,) * 3, (128.0,) * 3

    def __init__(self, version: int = 0, channels: int = CHANNELS) -> None:
        super().__init__()
        self.pretrained_part = efficientnet_lite(version)
        _, _, at16, at32 = self.pretrained_part.channels
        self.fused_channels, self.shallow_channels = 2 * channels, 64
        self.auxiliary_channels = (channels, channels)
        self.spatial4 = nn.Sequential(conv_bn(3, 64, 7, 2), conv_bn(64, 64, 3, 2))
        self.spatial8 = nn.Sequential(conv_bn(64, 64, 3, 2), conv_bn(64, channels, 1))
        self.everything = nn.Sequential(nn.AdaptiveAvgPool2d(1), conv_bn(at32, channels, 1))
        self.refine32 = AttentionRefinement(at32, channels)
        self.refine16 = AttentionRefinement(at16, channels)
        self.smooth32 = conv_bn(channels, channels)
        self.smooth16 = conv_bn(channels, channels)
        self.fusion = FeatureFusion(2 * channels, 2 * channels)

    def forward(self, x: Tensor) -> Features:
        """Normalised image [N, 3, H, W], H and W multiples of 32."""
        shallow = self.spatial4(x)  # 1/4
        detail = self.spatial8(shallow)  # 1/8
        _, _, at16, at32 = self.pretrained_part(x)
        deep = self.refine32(at32) + self.everything(at32)  # 1/32
        deep = self.smooth32(resize(deep, at16))  # 1/16
        context = self.smooth16(resize(self.refine16(at16) + deep, detail))  # 1/8
        return Features(self.fusion(detail, context), shallow, (context, deep))
