"""The panoptic heads that every network gets, the interface to its backbone, and the whole network around both.

Semantic logits, centre heatmap and centre offset of Panoptic-DeepLab (Cheng et al., CVPR 2020, arXiv 1911.10194).
Two light decoders bring the fused features at stride 8 together with the backbone's features at stride 4, where poles,
signs and the gaps between cars are still there.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seg_perception.training.networks.layers import bn_conv, conv_bn, initialise, resize, separable

IMAGENET_MEAN = (123.675, 116.28, 103.53)
IMAGENET_STD = (58.395, 57.12, 57.375)
OFFSET_SCALE = 32.0
"""Input pixels per unit of the offset layer's output: keeps that layer's numbers near one, as the others' are."""


class Features(NamedTuple):
    """What a backbone makes of an image, before any ReLU that a head applies itself.

    fused [N, fused_channels, H/8, W/8] and shallow [N, shallow_channels, H/4, W/4] are what the heads see; auxiliary:
    features that a training loss supervises through a semantic head of their own, at any stride; boundary: features that
    a boundary loss supervises, None where the network has none. A backbone need not compute the last two outside
    training.
    """

    fused: Tensor
    shallow: Tensor
    auxiliary: tuple[Tensor, ...] = ()
    boundary: Tensor | None = None


class Backbone(Protocol):
    """A network without heads: called with a normalised image [N, 3, H, W], H and W multiples of 32, gives Features.

    The image is normalised by input_mean and input_std, each of three channels in 0-255. light_heads: whether the heads
    are depthwise separable. A backbone with a part whose weights can be had pretrained names it `pretrained_part`.
    """

    fused_channels: int
    shallow_channels: int
    auxiliary_channels: tuple[int, ...]
    boundary_channels: int | None
    light_heads: bool
    input_mean: tuple[float, ...]
    input_std: tuple[float, ...]

    def __call__(self, x: Tensor) -> Features:
        """Run the network."""


class TrainingOutput(NamedTuple):
    """Everything the losses look at, float32.

    logits [N, C, H/4, W/4]; heatmap_logits [N, 1, H/4, W/4]; offset [N, 2, H/4, W/4] (dy, dx) in input px; fused: as in
    Features; auxiliary_logits: each [N, C, …] at its own stride; boundary_logits [N, 1, …] or None.
    """

    logits: Tensor
    heatmap_logits: Tensor
    offset: Tensor
    fused: Tensor
    auxiliary_logits: tuple[Tensor, ...] = ()
    boundary_logits: Tensor | None = None


def in_float32(output: TrainingOutput) -> TrainingOutput:
    """Losses are sums over many pixels, too fine for half precision."""
    return TrainingOutput(
        output.logits.float(),
        output.heatmap_logits.float(),
        output.offset.float(),
        output.fused.float(),
        tuple(logits.float() for logits in output.auxiliary_logits),
        None if output.boundary_logits is None else output.boundary_logits.float(),
    )


class Decoder(nn.Module):
    """Fused features, brought to stride 4 and joined with the shallow ones there."""

    def __init__(self, fused: int, shallow: int, channels: int) -> None:
        super().__init__()
        self.deep = bn_conv(fused, channels, 3)
        self.skip = bn_conv(shallow, channels, 1)
        self.join = nn.Sequential(bn_conv(channels, channels, 3), nn.BatchNorm2d(channels), nn.ReLU())

    def forward(self, features: Features) -> Tensor:
        """Returns [N, channels, H/4, W/4], not negative."""
        deep = resize(self.deep(features.fused), features.shallow)
        joined: Tensor = self.join(deep + self.skip(features.shallow))
        return joined


class LightDecoder(nn.Module):
    """The same by a depthwise 5x5, which sees as far as Decoder's two 3x3 at a tenth of their cost."""

    def __init__(self, fused: int, shallow: int, channels: int) -> None:
        super().__init__()
        self.deep = conv_bn(fused, channels, 1, relu=False)
        self.skip = conv_bn(shallow, channels, 1, relu=False)
        self.join = separable(channels, channels, 5)

    def forward(self, features: Features) -> Tensor:
        """Returns [N, channels, H/4, W/4], not negative."""
        deep = resize(self.deep(features.fused), features.shallow)
        joined: Tensor = self.join(F.relu(deep + self.skip(features.shallow)))
        return joined


def make_decoder(backbone: Backbone, channels: int) -> nn.Module:
    """As heavy as the backbone wants its heads."""
    kind = LightDecoder if backbone.light_heads else Decoder
    return kind(backbone.fused_channels, backbone.shallow_channels, channels)


class SemanticHead(nn.Module):
    """Logits of the classes."""

    def __init__(self, backbone: Backbone, classes: int, channels: int = 64) -> None:
        super().__init__()
        self.decoder = make_decoder(backbone, channels)
        self.classify = nn.Conv2d(channels, classes, 1)

    def forward(self, features: Features) -> Tensor:
        """Returns [N, classes, H/4, W/4]."""
        logits: Tensor = self.classify(self.decoder(features))
        return logits


class InstanceHead(nn.Module):
    """Centre heatmap (as logits) and centre offset."""

    def __init__(self, backbone: Backbone, channels: int = 64) -> None:
        super().__init__()
        self.decoder = make_decoder(backbone, channels)
        mix = separable if backbone.light_heads else conv_bn
        self.center = nn.Sequential(mix(channels, channels // 2), nn.Conv2d(channels // 2, 1, 1))
        self.offset = nn.Sequential(mix(channels, channels // 2), nn.Conv2d(channels // 2, 2, 1))

    def forward(self, features: Features) -> tuple[Tensor, Tensor]:
        """Returns heatmap logits [N, 1, H/4, W/4] and offset [N, 2, H/4, W/4] in input px."""
        shared = self.decoder(features)
        return self.center(shared), OFFSET_SCALE * self.offset(shared)


def paper_head(channels: int, inner: int, classes: int) -> nn.Sequential:
    """3x3 to inner channels, then 1x1 to classes, both pre-activated: the papers' own, here for auxiliary losses."""
    return nn.Sequential(bn_conv(channels, inner, 3), nn.BatchNorm2d(inner), nn.ReLU(), nn.Conv2d(inner, classes, 1))


class PanopticNetwork(nn.Module):
    """A backbone with the panoptic heads; its image is uint8 [N, h, w, 3] RGB, and normalised inside.

    What only training needs lies in modules named `*loss_head*`.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, backbone: Backbone, classes: int) -> None:
        super().__init__()
        self.backbone = backbone
        self.semantic = SemanticHead(backbone, classes)
        self.instance = InstanceHead(backbone)
        self.auxiliary_loss_heads = nn.ModuleList(
            paper_head(channels, 64, classes) for channels in backbone.auxiliary_channels
        )
        edges = backbone.boundary_channels
        self.boundary_loss_head = None if edges is None else paper_head(edges, 32, 1)
        initialise(self)
        last_layers = [self.semantic.classify, self.instance.center[-1], self.instance.offset[-1]]
        for layer in last_layers + [head[-1] for head in self.auxiliary_loss_heads]:
            nn.init.normal_(layer.weight, std=0.01)  # undecided at first, so that no loss starts huge
        nn.init.constant_(self.instance.center[-1].bias, -4.0)  # nearly every cell is no centre
        self.register_buffer("mean", torch.tensor(backbone.input_mean).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(backbone.input_std).view(3, 1, 1), persistent=False)

    @property
    def class_layers(self) -> tuple[str, ...]:
        """How the names of those weights begin that have a row for each class."""
        last = (f"auxiliary_loss_heads.{i}.{len(head) - 1}." for i, head in enumerate(self.auxiliary_loss_heads))
        return ("semantic.classify.", *last)

    def normalise(self, image: Tensor) -> Tensor:
        """uint8 [N, h, w, 3] to float32 [N, 3, h, w].

        The cast comes first since TensorRT moves no uint8 axes; numbers of a channel for planes, not for every third
        value, are a tenth of a light network's time less on a CPU.
        """
        return (image.float().permute(0, 3, 1, 2) - self.mean) / self.std

    def training_outputs(self, image: Tensor) -> TrainingOutput:
        """Everything the losses need of images uint8 [N, h, w, 3]; outside training, of a teacher, no loss heads'."""
        features = self.backbone(self.normalise(image))
        heatmap, offset = self.instance(features)
        output = TrainingOutput(self.semantic(features), heatmap, offset, features.fused)
        if not self.training:
            return output
        auxiliary = tuple(head(part) for head, part in zip(self.auxiliary_loss_heads, features.auxiliary, strict=True))
        boundary = None if self.boundary_loss_head is None else self.boundary_loss_head(features.boundary)
        return output._replace(auxiliary_logits=auxiliary, boundary_logits=boundary)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """What the model file gives: semantic_logits, center_heatmap in [0, 1], center_offset in input px."""
        features = self.backbone(self.normalise(image))
        heatmap, offset = self.instance(features)
        return self.semantic(features), torch.sigmoid(heatmap), offset
