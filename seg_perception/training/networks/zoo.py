"""Known networks as baselines and teachers, from segmentation-models-pytorch and torchvision, under the panoptic heads.

FCN (Long et al., CVPR 2015, arXiv 1411.4038), U-Net (Ronneberger et al., MICCAI 2015, arXiv 1505.04597), U-Net++ (Zhou et
al., DLMIA 2018, arXiv 1807.10165), DeepLab v3+ (Chen et al., ECCV 2018, arXiv 1802.02611), PSPNet (Zhao et al., CVPR 2017,
arXiv 1612.01105), FPN (Kirillov et al., CVPR 2019, arXiv 1901.02446), SegFormer (Xie et al., NeurIPS 2021, arXiv 2105.15203)
and UPerNet (Xiao et al., ECCV 2018, arXiv 1807.10221). Every tensor is [N, channels, h, w].
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seg_perception.errors import SegPerceptionError, cause_of, nearest_name
from seg_perception.training.networks.heads import IMAGENET_MEAN, IMAGENET_STD, Features
from seg_perception.training.networks.others import imported

HEADS_STRIDE = 4


class Known(NamedTuple):
    """A network of the zoo. model: its class in segmentation-models-pytorch, "" = torchvision's FCN; encoder: where none is
    named; stride: input pixels per pixel of its decoder's answer; levels: of the encoder that it uses, each half as large."""

    model: str
    encoder: str
    stride: int
    levels: int = 5


ZOO = {
    "fcn": Known("", "resnet50", 8),
    "unet": Known("Unet", "resnet18", 1),
    "unetplusplus": Known("UnetPlusPlus", "resnet18", 1),
    "deeplabv3plus": Known("DeepLabV3Plus", "resnet18", 4),
    "pspnet": Known("PSPNet", "resnet18", 8, 3),
    "fpn": Known("FPN", "resnet18", 4),
    "segformer": Known("Segformer", "mit_b0", 4),
    "upernet": Known("UPerNet", "resnet18", 4),
}
"""By name; `unet:mobilenet_v2` is one with another encoder."""


def make_known(name: str) -> nn.Module:
    """The network of the zoo without heads. Raises SegPerceptionError where there is no such encoder, ModuleNotFoundError
    where its library is not installed."""
    kind, _, encoder = name.partition(":")
    known = ZOO[kind]
    return (KnownNetwork if known.model else FCN)(known, encoder or known.encoder)


class KnownNetwork(nn.Module):
    """Encoder and decoder. The decoder's answer is brought to the strides of the heads by averaging; where it is coarser
    than 4, the encoder's features there stand beside it, as they do for the networks of this project."""

    auxiliary_channels = ()
    boundary_channels = None
    light_heads = False

    def __init__(self, known: Known, encoder: str) -> None:
        smp = imported("segmentation_models_pytorch")
        super().__init__()
        names = smp.encoders.get_encoder_names()
        if encoder not in names and not encoder.startswith("tu-"):
            raise SegPerceptionError(f"there is no encoder '{encoder}': {nearest_name(encoder, names)}")
        depth = {} if known.levels == 5 else {"encoder_depth": known.levels}
        try:
            model: Any = getattr(smp, known.model)(encoder_name=encoder, encoder_weights=None, **depth)
        except (ValueError, NotImplementedError, RuntimeError) as error:  # as smp and timm refuse what does not fit
            told = cause_of(error)
            raise SegPerceptionError(f"{known.model} cannot stand on the encoder '{encoder}' ({told})") from error
        self.encoder_name = encoder
        self.stride = known.stride
        self.pretrained_part = model.encoder
        self.decoder = exportable(model.decoder)
        self.input_mean, self.input_std = _normalisation(encoder)
        with torch.no_grad():
            decoded, shallow = self._decoded(torch.zeros(2, 3, 64, 64))
        self.fused_channels, self.shallow_channels = decoded.shape[1], shallow.shape[1]
        _drop_unused(self)

    def _decoded(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The decoder's answer at its stride, 4 if it is finer, and what lies at stride 4."""
        features = list(self.pretrained_part(x))
        decoded = self.decoder(features)
        if self.stride > HEADS_STRIDE:
            return decoded, features[2]
        if self.stride < HEADS_STRIDE:
            decoded = F.avg_pool2d(decoded, HEADS_STRIDE // self.stride)
        return decoded, decoded

    def forward(self, x: Tensor) -> Features:
        """Normalised image [N, 3, H, W], H and W multiples of 32."""
        decoded, shallow = self._decoded(x)
        return Features(decoded if self.stride > HEADS_STRIDE else F.avg_pool2d(decoded, 2), shallow)


class FCN(nn.Module):
    """Torchvision's: a ResNet whose last two stages are dilated, so that they stay at stride 8, and a 3x3 convolution."""

    auxiliary_channels = ()
    boundary_channels = None
    light_heads = False
    input_mean, input_std = IMAGENET_MEAN, IMAGENET_STD

    def __init__(self, known: Known, encoder: str) -> None:
        segmentation = imported("torchvision.models.segmentation")
        super().__init__()
        makers = {"resnet50": segmentation.fcn_resnet50, "resnet101": segmentation.fcn_resnet101}
        if encoder not in makers:
            raise SegPerceptionError(f"fcn has no encoder '{encoder}': {nearest_name(encoder, makers)}")
        model = makers[encoder](weights=None, weights_backbone=None, aux_loss=False)
        self.encoder_name = encoder
        self.pretrained_part = nn.Sequential(model.backbone)[0]
        self.head = nn.Sequential(*list(model.classifier)[:3])
        self.fused_channels, self.shallow_channels = 512, 256

    def forward(self, x: Tensor) -> Features:
        """Normalised image [N, 3, H, W], H and W multiples of 32."""
        shallow: Tensor | None = None
        for name, layer in self.pretrained_part.items():
            x = layer(x)
            if name == "layer1":
                shallow = x
        assert shallow is not None
        return Features(self.head(x), shallow)


class BinMeans(nn.Module):
    """Means over bins x bins parts of an image, as nn.AdaptiveAvgPool2d takes them, by two products with matrices: exporters
    know that layer only where the bins divide the image."""

    def __init__(self, bins: int) -> None:
        super().__init__()
        self.bins = bins

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, h, w] to [N, C, bins, bins]."""
        rows, columns = (self._shares(int(length)).to(x) for length in x.shape[-2:])
        return rows @ x @ columns.T

    def _shares(self, length: int) -> Tensor:
        """[bins, length]: what each pixel counts in each bin; bins overlap where they do not divide the length."""
        edges = torch.arange(self.bins, dtype=torch.float64) * length / self.bins
        begins, ends = edges.floor(), (edges + length / self.bins - 1e-9).ceil()
        pixels = torch.arange(length)
        inside = (pixels >= begins[:, None]) & (pixels < ends[:, None])
        return inside / (ends - begins)[:, None]


class PyramidLevel(nn.Module):
    """One level of PSPNet's pyramid."""

    def __init__(self, pool: nn.Module) -> None:
        super().__init__()
        self.pool = pool

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, h, w] to [N, C', h, w]."""
        return F.interpolate(self.pool(x), size=x.shape[-2:], mode="bilinear", align_corners=True)


def exportable(decoder: nn.Module) -> nn.Module:
    """The decoder with its pooling pyramids, if it has any, in layers that exporters know."""
    for parent in list(decoder.modules()):
        for name, child in parent.named_children():
            if isinstance(child, nn.AdaptiveAvgPool2d) and child.output_size not in (1, (1, 1)):
                size = child.output_size
                setattr(parent, name, BinMeans(int(size[0] if isinstance(size, tuple) else size)))
            elif type(child).__name__ == "PSPBlock":
                setattr(parent, name, PyramidLevel(child.pool))
    return decoder


def _normalisation(encoder: str) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation, 0-255, that the encoder's public weights want: timm's where it is one of timm's."""
    timm = imported("timm")  # which is there wherever segmentation-models-pytorch is
    told = timm.models.get_pretrained_cfg(encoder.removeprefix("tu-").removeprefix("timm-"), allow_unregistered=True)
    if told is None or not encoder.startswith(("tu-", "timm-")):
        return IMAGENET_MEAN, IMAGENET_STD
    return tuple(255 * value for value in told.mean), tuple(255 * value for value in told.std)


def _drop_unused(network: nn.Module) -> None:
    """Take out layers that a shallower encoder keeps and never runs: they would be counted, averaged and stored."""
    used: set[int] = set()
    hooks = [
        module.register_forward_pre_hook(lambda module, _: used.add(id(module)))  # type: ignore[func-returns-value]
        for module in network.modules()
    ]
    with torch.no_grad():
        network(torch.zeros(2, 3, 64, 64))
    for hook in hooks:
        hook.remove()
    for parent in list(network.modules()):
        if id(parent) not in used:
            continue
        for name, child in list(parent.named_children()):
            if not any(id(module) in used for module in child.modules()):
                setattr(parent, name, nn.Identity())
