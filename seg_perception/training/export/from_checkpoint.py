"""The network of a checkpoint as ONNX."""

from __future__ import annotations

import copy
import io
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from torch.utils.flop_counter import FlopCounterMode

from seg_perception import model_file
from seg_perception.backends.graph.edits import name_constants
from seg_perception.errors import SegPerceptionError
from seg_perception.labels import LabelSet
from seg_perception.network_size import LONGEST_SIDE, STEP
from seg_perception.results import NetworkOutput
from seg_perception.training.export.sources import Source
from seg_perception.training.loop import checkpoint
from seg_perception.training.networks.heads import PanopticNetwork

OPSET = 17
"""Old enough for the parser of TensorRT 10.3 (JetPack 6), new enough for every operator here."""

DEFAULT_LICENSE_NOTE = "trained on data for research and evaluation only"


def from_checkpoints(
    paths: Sequence[Path], shares: Sequence[float] | None, height: int | None, width: int | None
) -> Source:
    """The weights of a checkpoint, or the mean of several by their shares (None: equal). height, width: of the
    network's input (None: as trained). Raises SegPerceptionError for files, shares and sizes that do not fit."""
    contents = [checkpoint.load(path) for path in paths]
    shares = shares or [1.0] * len(contents)
    content = checkpoint.mixed(contents, shares)
    used = [one for one, share in zip(contents, shares, strict=True) if share > 0]
    size_hw = (
        content["size_hw"][0] if height is None else height,
        content["size_hw"][1] if width is None else width,
    )
    if any(length <= 0 or length % STEP or length > LONGEST_SIDE for length in size_hw):
        raise SegPerceptionError(
            f"a size of {size_hw[1]}x{size_hw[0]} cannot be exported: give --height and --width as multiples of {STEP} up to "
            f"{LONGEST_SIDE}"
        )
    network = checkpoint.averaged_network(content)
    facts = {
        "network": content["network"],
        "training_data": ", ".join(dict.fromkeys(name for one in used for name in one["data"])),
        "pretrained": "; ".join(dict.fromkeys(filter(None, (one.get("pretrained", "") for one in used)))),
        "license_note": DEFAULT_LICENSE_NOTE,
        "mirror": _mirror_of_all([_mirror(one.get("config", {}).get("augment")) for one in used]),
        "parameters": deployed_parameters(network),
        "macs": multiply_accumulates(network, size_hw),
    }
    labels = LabelSet.from_json(content["labels"])
    return Source(lambda: to_onnx(network, size_hw), "fp32", labels, size_hw, facts, TorchBackend(network))


def _mirror(augment: Any) -> dict[str, Any]:
    """What training's configuration says of mirrors, as ModelInfo holds it; nothing where a checkpoint does not."""
    if not isinstance(augment, Mapping) or "mirror" not in augment:
        return {}
    return {"seen": augment["mirror"], "swapped": augment.get("swapped_by_mirror", [])}


def _mirror_of_all(told: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Of a mean of checkpoints: what all of them say; nothing where one says nothing. Where they differ, no mirror was seen as
    all saw it."""
    if all(one == told[0] for one in told):
        return told[0]
    return {"seen": False, "swapped": []} if all(told) else {}


class TorchBackend:
    """The network in torch behind the interface of a backend: the reference."""

    def __init__(self, network: PanopticNetwork) -> None:
        self._network = network

    @torch.no_grad()
    def infer(self, images: NDArray[np.uint8]) -> NetworkOutput:
        """See Backend."""
        return NetworkOutput(*(output.numpy() for output in self._network(torch.from_numpy(images))))

    def warm_up(self) -> None:
        """See Backend: torch needs none."""

    def describe(self) -> Mapping[str, str]:
        """See Backend."""
        return {"backend": f"torch {torch.__version__}", "device": "CPU", "model": "checkpoint", "precision": "fp32"}

    def close(self) -> None:
        """See Backend: nothing is held."""


def to_onnx(network: PanopticNetwork, size_hw: tuple[int, int]) -> onnx.ModelProto:
    """The network as ONNX with fixed height and width and any batch, checked by onnx."""
    example = torch.zeros(1, *size_hw, 3, dtype=torch.uint8)
    buffer = io.BytesIO()
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore", DeprecationWarning)  # the tracing exporter gives the plainer graph
        torch.onnx.export(
            network,
            (example,),
            buffer,
            input_names=[model_file.INPUT],
            output_names=list(model_file.OUTPUTS),
            dynamic_axes={name: {0: "N"} for name in (model_file.INPUT, *model_file.OUTPUTS)},
            opset_version=OPSET,
            dynamo=False,
        )
    model = onnx.load_from_string(buffer.getvalue())
    name_constants(model)
    _state_output_sizes(model, network, example)
    onnx.checker.check_model(model, full_check=True)
    return model


def _state_output_sizes(model: onnx.ModelProto, network: PanopticNetwork, example: torch.Tensor) -> None:
    """Write the outputs' fixed dimensions, which tracing with a dynamic batch leaves open."""
    with torch.no_grad():
        shapes = [tuple(output.shape) for output in network(example)]
    for value, shape in zip(model.graph.output, shapes, strict=True):
        for dim, length in list(zip(value.type.tensor_type.shape.dim, shape, strict=True))[1:]:
            dim.dim_value = length


def deployed_parameters(network: PanopticNetwork) -> int:
    """Number of weights that the model file runs; the heads of training alone are left out."""
    return sum(p.numel() for name, p in network.named_parameters() if "loss_head" not in name)


def multiply_accumulates(network: PanopticNetwork, size_hw: tuple[int, int]) -> int:
    """Of one image."""
    shapes_only = copy.deepcopy(network).to("meta")
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        shapes_only(torch.zeros(1, *size_hw, 3, dtype=torch.uint8, device="meta"))
    return int(counter.get_total_flops()) // 2
