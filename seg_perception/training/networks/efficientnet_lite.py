"""EfficientNet-Lite: EfficientNet (Tan and Le, ICML 2019, arXiv 1905.11946) as Google simplified it for small devices.

ReLU6 in place of swish, no squeeze-and-excite, stem and last stage of one width at every size. The published weights are
TensorFlow's: its padding "SAME" and its epsilon of batch normalisation are part of them. Every tensor is
[N, channels, h, w]; a comment names its stride.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

EPSILON = 1e-3
STEM_CHANNELS = 32


class Stage(NamedTuple):
    """One row of table 1 in the paper, at width and depth 1."""

    kernel: int
    stride: int
    expansion: int
    channels: int
    blocks: int


STAGES = (
    Stage(3, 1, 1, 16, 1),
    Stage(3, 2, 6, 24, 2),
    Stage(5, 2, 6, 40, 2),
    Stage(3, 2, 6, 80, 3),
    Stage(5, 1, 6, 112, 3),
    Stage(5, 2, 6, 192, 4),
    Stage(3, 1, 6, 320, 1),
)


class SameConv(nn.Conv2d):
    """Convolution with TensorFlow's padding "SAME" on inputs of even size: at stride 2 the right and bottom get one
    zero more than the left and top, where PyTorch's symmetric padding would look one pixel aside."""

    def __init__(self, channels_in: int, channels_out: int, kernel: int, stride: int = 1, groups: int = 1) -> None:
        even = stride == 1
        padding = kernel // 2 if even else 0
        super().__init__(channels_in, channels_out, kernel, stride, padding, groups=groups, bias=False)
        before = (kernel - 2) // 2
        self.before_after = None if even else (before, kernel - 2 - before)

    def forward(self, x: Tensor) -> Tensor:
        """[N, channels_in, h, w] to [N, channels_out, h / stride, w / stride]."""
        if self.before_after is None:
            return super().forward(x)
        if torch.onnx.is_in_onnx_export():
            y: Tensor = _UnevenConv.apply(x, self.weight, self.stride, self.before_after, self.groups)
            return y
        return super().forward(F.pad(x, self.before_after * 2))


class _UnevenConv(torch.autograd.Function):
    """The same as one node of ONNX, whose convolution pads each side as it likes; torch would write a Pad and a dozen
    nodes that work out how much."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, stride: tuple[int, int], before_after: tuple[int, int], groups: int
    ) -> Tensor:
        return F.conv2d(F.pad(x, before_after * 2), weight, stride=stride, groups=groups)

    @staticmethod
    def symbolic(
        g: Any, x: Any, weight: Any, stride: tuple[int, int], before_after: tuple[int, int], groups: int
    ) -> Any:
        before, after = before_after
        pads = [before, before, after, after]
        kernel = weight.type().sizes()[2:]
        return g.op("Conv", x, weight, kernel_shape_i=kernel, strides_i=list(stride), pads_i=pads, group_i=groups)


def same_conv_bn(
    channels_in: int, channels_out: int, kernel: int = 1, stride: int = 1, groups: int = 1, relu: bool = True
) -> nn.Sequential:
    """SameConv, batch normalisation, and ReLU6 unless told not to."""
    layers: list[nn.Module] = [
        SameConv(channels_in, channels_out, kernel, stride, groups),
        nn.BatchNorm2d(channels_out, eps=EPSILON),
    ]
    return nn.Sequential(*layers, nn.ReLU6(inplace=True)) if relu else nn.Sequential(*layers)


class InvertedResidual(nn.Module):
    """1x1 to more channels, depthwise, 1x1 back without ReLU, and a shortcut where the shape stays (MobileNetV2; Sandler
    et al., CVPR 2018, arXiv 1801.04381)."""

    def __init__(self, channels_in: int, channels_out: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        inner = expansion * channels_in
        self.expand = same_conv_bn(channels_in, inner) if expansion > 1 else None
        self.depthwise = same_conv_bn(inner, inner, kernel, stride, groups=inner)
        self.project = same_conv_bn(inner, channels_out, relu=False)
        self.has_shortcut = stride == 1 and channels_in == channels_out

    def forward(self, x: Tensor) -> Tensor:
        """[N, channels_in, h, w] to [N, channels_out, h / stride, w / stride]."""
        wide = x if self.expand is None else self.expand(x)
        y: Tensor = self.project(self.depthwise(wide))
        return x + y if self.has_shortcut else y


class EfficientNetLite(nn.Module):
    """The backbone without its classifier. channels: of its outputs at strides 4, 8, 16 and 32.

    Its image is normalised as (x - 127) / 128, since its weights were trained so; see `input_mean`, `input_std` of
    networks.heads.Backbone.
    """

    def __init__(self, version: int, width: float, depth: float) -> None:
        super().__init__()
        self.version = version
        self.stem = same_conv_bn(3, STEM_CHANNELS, 3, 2)
        blocks: list[nn.Module] = []
        channels = STEM_CHANNELS
        ends, stride = {}, 2
        first_or_last = (0, len(STAGES) - 1)
        self.repeats = [s.blocks if i in first_or_last else math.ceil(s.blocks * depth) for i, s in enumerate(STAGES)]
        for stage, repeats in zip(STAGES, self.repeats, strict=True):
            wide = rounded_channels(stage.channels * width)
            for k in range(repeats):
                step = stage.stride if k == 0 else 1
                blocks.append(InvertedResidual(channels, wide, stage.kernel, step, stage.expansion))
                channels, stride = wide, stride * step
            ends[stride] = (len(blocks), channels)
        self.blocks = nn.ModuleList(blocks)
        self._ends = tuple(ends[s][0] for s in (4, 8, 16, 32))
        self.channels = tuple(ends[s][1] for s in (4, 8, 16, 32))

    def forward(self, x: Tensor) -> list[Tensor]:
        """[N, 3, H, W], H and W multiples of 32, to the last features at strides 4, 8, 16 and 32."""
        x = self.stem(x)  # 1/2
        found = []
        for i, block in enumerate(self.blocks, start=1):
            x = block(x)
            if i in self._ends:
                found.append(x)
        return found


def rounded_channels(channels: float) -> int:
    """The nearest multiple of 8 that is not more than 10 % below."""
    nearest = max(8, int(channels + 4) // 8 * 8)
    return nearest + 8 if nearest < 0.9 * channels else nearest


def efficientnet_lite(version: int) -> EfficientNetLite:
    """Lite 0, 1 or 2."""
    width, depth = ((1.0, 1.0), (1.0, 1.1), (1.1, 1.2))[version]
    return EfficientNetLite(version, width, depth)
