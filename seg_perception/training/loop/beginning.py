"""What a run may begin with, or learn from: the averaged weights of another run, or those of a model file."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from torch import Tensor

from seg_perception import model_file
from seg_perception.labels import LabelSet
from seg_perception.training.loop import checkpoint
from seg_perception.training.networks import make_network
from seg_perception.training.networks.heads import PanopticNetwork
from seg_perception.training.networks.unfolded import unfold


class Beginning(NamedTuple):
    """weights by the network's names; of these labels; origin: whose pretrained weights they began with; data: the data sets
    that they learned from, whose licences bind what goes on; folded: see Unfolded."""

    weights: dict[str, Tensor]
    labels: LabelSet
    origin: str
    data: list[str]
    folded: list[tuple[str, str]]


def network_of(path: Path) -> str:
    """The network's name of a checkpoint or, by its ending .onnx, a model file. Raises SegPerceptionError as their loading."""
    if path.suffix == ".onnx":
        return model_file.load(path).network
    return str(checkpoint.load(path)["network"])


class Trained(NamedTuple):
    """A network ready for inference, its classes, and the data sets that it learned from."""

    network: PanopticNetwork
    labels: LabelSet
    data: list[str]


def trained_network(path: Path) -> Trained:
    """That of a checkpoint, with its averaged weights, or of a model file. Raises SegPerceptionError as read_beginning."""
    if path.suffix != ".onnx":
        content = checkpoint.load(path)
        return Trained(checkpoint.averaged_network(content), LabelSet.from_json(content["labels"]), content["data"])
    info, model = model_file.read(path)
    network = make_network(info.network, len(info.labels))
    network.load_state_dict(unfold(info, model, network).weights, strict=False)
    return Trained(network.eval(), info.labels, _data_of(info))


def read_beginning(path: Path, network: PanopticNetwork, name: str) -> Beginning:
    """Of a checkpoint or, by its ending .onnx, a model file of the network `name`. Raises SegPerceptionError as
    checkpoint.load and unfold, and where it is of another network."""
    if path.suffix != ".onnx":
        content = checkpoint.load(path, name)
        labels = LabelSet.from_json(content["labels"])
        return Beginning(content["average"], labels, content.get("pretrained", ""), content["data"], [])
    info, model = model_file.read(path)
    checkpoint.check_network(path, info.network, name)
    weights, folded = unfold(info, model, network)
    return Beginning(weights, info.labels, info.pretrained, _data_of(info), folded)


def _data_of(info: model_file.ModelInfo) -> list[str]:
    return info.training_data.split(", ")
