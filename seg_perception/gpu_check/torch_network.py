"""PIDNet-S by PyTorch in TensorRT's place: the work of a real network between the project's own steps."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.utils import fuse_conv_bn_eval

from seg_perception.backends.base import tensor_shapes
from seg_perception.gpu_check.libraries import Libraries
from seg_perception.gpu_check.stand_in import StandIn
from seg_perception.model_file import INPUT, OUTPUTS
from seg_perception.training.networks import make_network


class TorchNetwork:
    """Fresh weights in float16, channels last, batch norm folded in where it follows a convolution. Its outputs mean
    nothing, so the given ones are copied over them. state: whether PyTorch's own graph replays it."""

    def __init__(self, libraries: Libraries, stand_in: StandIn) -> None:
        self._libraries, self._stand_in = libraries, stand_in
        torch.manual_seed(0)
        network = make_network("pidnet_s", len(stand_in.model.labels)).eval()
        _fold_batch_norms(network)
        device = libraries.torch_device
        self._kind = torch.float16 if device == "cuda" else torch.float32
        self._network = network.to(device, self._kind).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        shapes = tensor_shapes(stand_in.model, 1)
        self._tensors: dict[str, Tensor] = {
            name: libraries.tensor(memory.address, *shapes[name]) for name, memory in stand_in.tensors.items()
        }
        self._replay = self._compute
        self.state = self._captured()

    def run(self) -> None:
        """Queue the network, and the copy of the given output over its own."""
        self._queue(self._replay)
        self._stand_in.copy_given()

    def _queue(self, work: Callable[[], object]) -> None:
        self._libraries.queue(int(self._stand_in.stream.handle), work)

    def _captured(self) -> str:
        for _ in range(3):
            self._queue(self._compute)
            self._stand_in.stream.synchronize()
        try:
            self._replay = self._libraries.torch_graph(self._compute)
        except RuntimeError as error:
            return f"call by call: {' '.join(str(error).split())[:120]}"
        return "as PyTorch's graph"

    @torch.no_grad()
    def _compute(self) -> None:
        image = self._network.normalise(self._tensors[INPUT]).to(self._kind, memory_format=torch.channels_last)
        features = self._network.backbone(image)
        heatmap, offset = self._network.instance(features)
        values = (self._network.semantic(features), torch.sigmoid(heatmap.float()), offset)
        for name, value in zip(OUTPUTS, values):
            self._tensors[name].copy_(value)


def _fold_batch_norms(network: nn.Module) -> None:
    for module in network.modules():
        if not isinstance(module, nn.Sequential):
            continue
        for i in range(len(module) - 1):
            if isinstance(module[i], nn.Conv2d) and isinstance(module[i + 1], nn.BatchNorm2d):
                module[i] = fuse_conv_bn_eval(module[i], module[i + 1])
                module[i + 1] = nn.Identity()
