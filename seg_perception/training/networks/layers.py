"""Building blocks that several networks share."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn


def conv_bn(
    channels_in: int, channels_out: int, kernel: int = 3, stride: int = 1, groups: int = 1, relu: bool = True
) -> nn.Sequential:
    """Convolution that keeps the size (divided by stride), batch normalisation, and ReLU unless told not to."""
    layers: list[nn.Module] = [
        nn.Conv2d(channels_in, channels_out, kernel, stride, kernel // 2, groups=groups, bias=False),
        nn.BatchNorm2d(channels_out),
    ]
    return nn.Sequential(*layers, nn.ReLU(inplace=True)) if relu else nn.Sequential(*layers)


def bn_conv(channels_in: int, channels_out: int, kernel: int = 1, groups: int = 1) -> nn.Sequential:
    """Batch normalisation, ReLU, then the convolution (the order of pre-activation)."""
    return nn.Sequential(
        nn.BatchNorm2d(channels_in),
        nn.ReLU(),
        nn.Conv2d(channels_in, channels_out, kernel, padding=kernel // 2, groups=groups, bias=False),
    )


def separable(channels_in: int, channels_out: int, kernel: int = 3, relu: bool = True) -> nn.Sequential:
    """Depthwise convolution, then 1x1, each with batch normalisation and ReLU; the last ReLU may be left out."""
    depthwise = conv_bn(channels_in, channels_in, kernel, groups=channels_in)
    return nn.Sequential(depthwise, conv_bn(channels_in, channels_out, 1, relu=relu))


class BasicBlock(nn.Module):
    """Two 3x3 convolutions around a shortcut (He et al. 2016); the last ReLU may be left to the caller."""

    def __init__(self, channels_in: int, channels_out: int, stride: int = 1, relu: bool = True) -> None:
        super().__init__()
        self.first = conv_bn(channels_in, channels_out, 3, stride)
        self.second = conv_bn(channels_out, channels_out, 3, relu=False)
        self.shortcut = _shortcut(channels_in, channels_out, stride)
        self.relu = relu

    def forward(self, x: Tensor) -> Tensor:
        """[N, channels_in, h, w] to [N, channels_out, h / stride, w / stride]."""
        y = self.second(self.first(x)) + self.shortcut(x)
        return F.relu(y) if self.relu else y


class Bottleneck(nn.Module):
    """1x1, 3x3, 1x1 to twice the inner channels; no ReLU at the end, for what follows adds or normalises."""

    def __init__(self, channels_in: int, channels_inner: int, stride: int = 1, relu: bool = False) -> None:
        super().__init__()
        channels_out = 2 * channels_inner
        self.layers = nn.Sequential(
            conv_bn(channels_in, channels_inner, 1),
            conv_bn(channels_inner, channels_inner, 3, stride),
            conv_bn(channels_inner, channels_out, 1, relu=False),
        )
        self.shortcut = _shortcut(channels_in, channels_out, stride)
        self.relu = relu

    def forward(self, x: Tensor) -> Tensor:
        """[N, channels_in, h, w] to [N, 2 * channels_inner, h / stride, w / stride]."""
        y = self.layers(x) + self.shortcut(x)
        return F.relu(y) if self.relu else y


def stage(channels_in: int, channels_out: int, blocks: int, stride: int = 1) -> nn.Sequential:
    """Basic blocks in a row; the first changes size and channels, the last leaves its ReLU to the caller."""
    return nn.Sequential(
        *(
            BasicBlock(channels_out if i else channels_in, channels_out, 1 if i else stride, relu=i < blocks - 1)
            for i in range(blocks)
        )
    )


def resize(x: Tensor, like: Tensor) -> Tensor:
    """Bilinear, half-pixel centres, to the height and width of `like`."""
    return F.interpolate(x, size=like.shape[-2:], mode="bilinear", align_corners=False)


def _shortcut(channels_in: int, channels_out: int, stride: int) -> nn.Module:
    if channels_in == channels_out and stride == 1:
        return nn.Identity()
    return conv_bn(channels_in, channels_out, 1, stride, relu=False)


def initialise(module: nn.Module) -> None:
    """He initialisation of every convolution; normalisation layers start as the identity."""
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
        elif isinstance(layer, nn.BatchNorm2d):
            nn.init.ones_(layer.weight)
            nn.init.zeros_(layer.bias)
