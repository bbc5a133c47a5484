"""Pyramids that gather context of several sizes from the deepest features, [N, channels_in, h, w] each.

Average pools of 5, 9 and 17 cells and of everything, in both; they differ in whether the scales wait for one another.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from seg_perception.training.networks.layers import bn_conv, resize

KERNELS_AND_STRIDES = ((5, 2), (9, 4), (17, 8))


class DeepAggregationPyramid(nn.Module):
    """Each scale is mixed with the next smaller one in turn (DAPPM; Hong, Pan, Sun, Jia 2021, arXiv 2101.06085)."""

    def __init__(self, channels_in: int, inner: int, channels_out: int) -> None:
        super().__init__()
        self.identity = bn_conv(channels_in, inner)
        self.pools = _pools(channels_in, inner)
        self.everything = _pool_of_everything(channels_in, inner)
        self.process = nn.ModuleList(bn_conv(inner, inner, 3) for _ in range(4))
        self.compress = bn_conv(5 * inner, channels_out)
        self.shortcut = bn_conv(channels_in, channels_out)

    def forward(self, x: Tensor) -> Tensor:
        """[N, channels_in, h, w] to [N, channels_out, h, w]."""
        scales = [self.identity(x)]
        for branch, process in zip((*self.pools, self.everything), self.process, strict=True):
            scales.append(process(resize(branch(x), x) + scales[-1]))
        context: Tensor = self.compress(torch.cat(scales, dim=1)) + self.shortcut(x)
        return context


class ParallelAggregationPyramid(nn.Module):
    """All scales are mixed side by side, in one grouped convolution (PAPPM, section 3.3 of arXiv 2206.02066)."""

    def __init__(self, channels_in: int, inner: int, channels_out: int) -> None:
        super().__init__()
        self.identity = bn_conv(channels_in, inner)
        self.pools = _pools(channels_in, inner)
        self.everything = _pool_of_everything(channels_in, inner)
        self.process = bn_conv(4 * inner, 4 * inner, 3, groups=4)
        self.compress = bn_conv(5 * inner, channels_out)
        self.shortcut = bn_conv(channels_in, channels_out)

    def forward(self, x: Tensor) -> Tensor:
        """[N, channels_in, h, w] to [N, channels_out, h, w]."""
        base = self.identity(x)
        scales = [resize(branch(x), x) + base for branch in (*self.pools, self.everything)]
        context = self.process(torch.cat(scales, dim=1))
        compressed: Tensor = self.compress(torch.cat([base, context], dim=1)) + self.shortcut(x)
        return compressed


def _pools(channels_in: int, inner: int) -> nn.ModuleList:
    return nn.ModuleList(
        nn.Sequential(nn.AvgPool2d(kernel, stride, kernel // 2), bn_conv(channels_in, inner))
        for kernel, stride in KERNELS_AND_STRIDES
    )


def _pool_of_everything(channels_in: int, inner: int) -> nn.Sequential:
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), bn_conv(channels_in, inner))
