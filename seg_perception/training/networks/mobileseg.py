"""MobileSeg: a light pretrained backbone, a pyramid of context, and a light way back up, for CPUs and small Jetsons.

The way back up is that of feature pyramids (Lin et al., CVPR 2017, arXiv 1612.03144) with depthwise separable
convolutions (Howard et al. 2017, arXiv 1704.04861). Every tensor is [N, channels, h, w]; a comment names its stride.
"""

from __future__ import annotations

from torch import Tensor, nn

from seg_perception.training.networks.efficientnet_lite import efficientnet_lite
from seg_perception.training.networks.heads import Features
from seg_perception.training.networks.layers import conv_bn, resize, separable
from seg_perception.training.networks.pyramids import DeepAggregationPyramid

CHANNELS = 96


class MobileSeg(nn.Module):
    """EfficientNet-Lite with a decoder of `channels`, without its heads. version: 0, 1 or 2."""

    boundary_channels = None
    auxiliary_channels = ()
    light_heads = True
    input_mean, input_std = (127.0,) * 3, (128.0,) * 3

    def __init__(self, version: int = 0, channels: int = CHANNELS) -> None:
        super().__init__()
        self.pretrained_part = efficientnet_lite(version)
        at4, at8, at16, at32 = self.pretrained_part.channels
        self.fused_channels, self.shallow_channels = channels, at4
        self.pyramid = DeepAggregationPyramid(at32, channels, channels)
        self.lateral16 = conv_bn(at16, channels, 1, relu=False)
        self.lateral8 = conv_bn(at8, channels, 1, relu=False)
        self.mix16 = separable(channels, channels)
        self.mix8 = separable(channels, channels, relu=False)

    def forward(self, x: Tensor) -> Features:
        """Normalised image [N, 3, H, W], H and W multiples of 32."""
        at4, at8, at16, at32 = self.pretrained_part(x)
        context = self.pyramid(at32)  # 1/32
        up = self.lateral16(at16)  # 1/16
        up = self.mix16(up + resize(context, up))
        down = self.lateral8(at8)  # 1/8
        fused = self.mix8(down + resize(up, down))
        return Features(fused, at4)


def mobileseg_lite2() -> MobileSeg:
    """On EfficientNet-Lite 2."""
    return MobileSeg(version=2)
