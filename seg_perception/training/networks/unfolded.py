"""The weights of a model file as a network in training needs them.

A model file has its normalisations folded into the convolutions before them (w' = w * gamma / sigma), and what they had seen
of images is lost. `unfold` gives the folded weights, with which it answers as the file does; `spread` then
gives each folded normalisation statistics of its own from images, without changing any answer, so that it can learn on.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from seg_perception import model_file
from seg_perception.backends.graph.stored import widened
from seg_perception.errors import SegPerceptionError
from seg_perception.training.distributed import mean_over_processes
from seg_perception.training.networks.finite import check_finite
from seg_perception.training.networks.heads import PanopticNetwork

TRACED_PX = 64
"""Height and width of the image that tells which normalisation follows which convolution."""

LEAST_RMS = 1e-8
"""Of a filter's weights; one below it is dead, and is left as it is."""


class Unfolded(NamedTuple):
    """What a model file gives: tensors by the network's own names, and the pairs of modules whose normalisation was folded."""

    weights: dict[str, Tensor]
    folded: list[tuple[str, str]]


def unfold(info: model_file.ModelInfo, model: onnx.ModelProto, network: PanopticNetwork) -> Unfolded:
    """The weights of a model file, as model_file.read gives it, whose network this is, but for those that training alone needs.

    Raises SegPerceptionError when it is not float32, lacks a tensor, or has one that is not finite.
    """
    if info.precision != "fp32":
        raise SegPerceptionError(
            f"{info.path} computes in {info.precision}, whose weights are rounded: start from an fp32 file"
        )
    graph = widened(model).graph
    found = {tensor.name: torch.from_numpy(np.array(numpy_helper.to_array(tensor))) for tensor in graph.initializer}
    own, norms = network.state_dict(), _normalisations(network)
    weights: dict[str, Tensor] = {}
    folded: list[tuple[str, str]] = []
    for node in graph.node:
        layer = _module_of(node)
        # By what a node reads, not by names: of equal tensors the exporter keeps one.
        values = [found[key] for key in node.input[1:] if key in found]
        if node.op_type == "BatchNormalization":
            weights |= _named(layer, ("weight", "bias", "running_mean", "running_var"), values)
        elif node.op_type == "Conv" and (f"{layer}.bias" in own or len(values) == 1):
            weights |= _named(layer, ("weight", "bias"), values)
        elif node.op_type == "Conv" and layer in norms:
            weights |= _named(layer, ("weight",), values[:1]) | _identity(
                network.get_submodule(norms[layer]), norms[layer], values[1]
            )
            folded.append((layer, norms[layer]))
    lacking = [
        key for key in own if key not in weights and "loss_head" not in key and not key.endswith("num_batches_tracked")
    ]
    if lacking:
        raise SegPerceptionError(
            f"{info.path} lacks {lacking[0]} and {len(lacking) - 1} other tensors of {info.network}: start from a file that this "
            "version exports"
        )
    check_finite(weights, f"{info.path}: the")
    return Unfolded(weights, folded)


def _named(layer: str, names: tuple[str, ...], values: list[Tensor]) -> dict[str, Tensor]:
    return {f"{layer}.{name}": value for name, value in zip(names, values, strict=False)}


def _module_of(node: onnx.NodeProto) -> str:
    """'/backbone/stem/stem.0/stem.0.1/Conv' is backbone.stem.0.1: a part of a Sequential repeats its parent's name."""
    parts = node.name.strip("/").split("/")[:-1]
    path: list[str] = []
    for part in parts:
        if path and part.startswith(path[-1] + "."):
            path.pop()
        path.append(part)
    return ".".join(path)


def _normalisations(network: PanopticNetwork) -> dict[str, str]:
    """The name of the normalisation that reads what a convolution gives, by the convolution's name."""
    names = {module: name for name, module in network.named_modules()}
    made_by: dict[int, str] = {}
    kept: list[Tensor] = []  # an id is unique only while its tensor lives
    pairs: dict[str, str] = {}

    def made(module: nn.Module, _: tuple[Tensor, ...], output: Tensor) -> None:
        kept.append(output)
        made_by[id(output)] = names[module]

    def read(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        if id(inputs[0]) in made_by:
            pairs[made_by[id(inputs[0])]] = names[module]

    hooks = [module.register_forward_hook(made) for module in names if isinstance(module, nn.Conv2d)]
    hooks += [module.register_forward_pre_hook(read) for module in names if isinstance(module, _BatchNorm)]
    black = torch.zeros(1, TRACED_PX, TRACED_PX, 3, dtype=torch.uint8, device=network.mean.device)
    with _answering(network):
        network(black)
    for hook in hooks:
        hook.remove()
    return pairs


@contextmanager
def _answering(network: nn.Module) -> Iterator[None]:
    was_training = network.training
    network.eval()
    with torch.no_grad():
        yield
    network.train(was_training)


def _identity(norm: nn.Module, name: str, bias: Tensor) -> dict[str, Tensor]:
    """Numbers with which a normalisation adds the bias and does nothing else."""
    assert isinstance(norm, _BatchNorm)
    ones = torch.ones_like(bias)
    return {
        f"{name}.weight": ones,
        f"{name}.bias": bias,
        f"{name}.running_mean": torch.zeros_like(bias),
        f"{name}.running_var": ones - norm.eps,
    }


@torch.no_grad()
def spread(
    network: PanopticNetwork,
    folded: Iterable[tuple[str, str]],
    batches: Iterable[Tensor],
) -> None:
    """Give folded normalisations the mean and variance of what they see in batches of images uint8 [N, h, w, 3], and filters
    the size of fresh ones (He et al. 2015), so that a step of training is as large as it would be from the beginning.

    What the network answers outside training stays the same but for rounding. Each process may have batches of its own.
    """
    layers = [(network.get_submodule(layer), network.get_submodule(norm)) for layer, norm in folded]
    moments = {norm: _Moments() for _, norm in layers}
    hooks = [norm.register_forward_pre_hook(moments[norm].add) for _, norm in layers]
    with _answering(network):
        for images in batches:
            network(images)
    for hook in hooks:
        hook.remove()
    for layer, norm in layers:
        assert isinstance(layer, nn.Conv2d) and isinstance(norm, _BatchNorm)
        mean, square = mean_over_processes(torch.stack(moments[norm].told()))
        variance = (square - mean**2).clamp(min=0).float()
        mean = mean.float()  # not before: of a mean far from 0 the variance is a small difference
        rms = layer.weight.pow(2).mean(dim=(1, 2, 3)).sqrt()
        fresh = (2 / layer.weight[0].numel()) ** 0.5
        scale = torch.where(rms > LEAST_RMS, fresh / rms.clamp(min=LEAST_RMS), torch.ones_like(rms))
        layer.weight *= scale[:, None, None, None]
        norm.bias += norm.weight * mean
        norm.running_mean = mean * scale
        norm.running_var = variance * scale**2
        norm.weight *= (norm.running_var + norm.eps).sqrt() / scale


class _Moments:
    """Mean and mean square of a channel, over the pixels of some batches."""

    def __init__(self) -> None:
        self.count, self.sum, self.squares = 0, torch.zeros(()), torch.zeros(())

    def add(self, _: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        values = inputs[0].double()
        self.count += values[:, 0].numel()
        self.sum = self.sum + values.sum(dim=(0, 2, 3))
        self.squares = self.squares + values.pow(2).sum(dim=(0, 2, 3))

    def told(self) -> list[Tensor]:
        return [self.sum / self.count, self.squares / self.count]
