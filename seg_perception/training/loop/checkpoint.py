"""Checkpoints: written aside, then renamed, and refused when they belong to something else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from seg_perception.errors import SegPerceptionError
from seg_perception.training.networks import make_network
from seg_perception.training.networks.heads import PanopticNetwork
from seg_perception.writing import written_aside


def save(path: Path, content: Mapping[str, Any]) -> None:
    """Replace the checkpoint at path; the old one stays whole when this fails (a full disk, say).

    Raises SegPerceptionError when it cannot be written.
    """
    try:
        with written_aside(path) as aside:
            torch.save(dict(content), aside)
    except (OSError, RuntimeError) as error:  # torch wraps a full disk in a RuntimeError
        raise SegPerceptionError(
            f"the checkpoint {path} cannot be written ({error}): the previous one is whole, free the disk and resume"
        ) from error


def load(path: Path, network: str | None = None) -> dict[str, Any]:
    """Read a checkpoint to the CPU; tensors and plain values only, no code is run.

    Raises SegPerceptionError when it is missing, broken or, with `network` given, of another network.
    """
    if not path.is_file():
        raise SegPerceptionError(f"there is no checkpoint {path}: train first, or correct the path")
    try:
        content: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        found = content["network"]
    except Exception as error:  # torch raises many kinds for one cause: this is no checkpoint
        raise SegPerceptionError(
            f"{path} is not a readable checkpoint ({type(error).__name__}): use another or train again"
        ) from error
    if network is not None:
        check_network(path, found, network)
    return content


def check_network(path: Path, found: str, asked: str) -> None:
    """Raises SegPerceptionError when a file is of another network than the configuration asks for."""
    if found != asked:
        raise SegPerceptionError(
            f"{path} is of the network '{found}', the configuration asks for '{asked}': use one or the other"
        )


def averaged_network(content: Mapping[str, Any]) -> PanopticNetwork:
    """The network of a checkpoint with its averaged weights, ready for inference. Raises as put_weights."""
    network = make_network(content["network"], len(content["labels"]))
    put_weights(network, content["average"])
    return network.eval()


def mixed(contents: Sequence[Mapping[str, Any]], shares: Sequence[float]) -> dict[str, Any]:
    """The first checkpoint with the mean of all averaged weights, each by its share; shares are scaled to sum up to 1.

    Checkpoints of one run, or of runs that began with the same weights, lie in one basin of the loss, whose middle often
    generalises better than its rim (Izmailov et al. 2018, Wortsman et al. 2022).
    Raises SegPerceptionError when they are of different networks or classes, or the shares do not suit.
    """
    first = contents[0]
    if len(shares) != len(contents) or min(shares) < 0 or sum(shares) <= 0:
        raise SegPerceptionError(
            f"{len(contents)} checkpoints have the shares {list(shares)}: give each a share of at least 0, one above it"
        )
    for content in contents[1:]:
        for key in ("network", "labels"):
            if content[key] != first[key]:
                raise SegPerceptionError(
                    f"the checkpoints' {key} differ: only weights that began with the same ones can be mixed"
                )
    average = {
        name: sum(share / sum(shares) * content["average"][name] for content, share in zip(contents, shares))
        if weight.is_floating_point()
        else weight
        for name, weight in first["average"].items()
    }
    return {**first, "average": average}


def put_weights(network: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Give a network all its weights; raises SegPerceptionError when there are others, fewer or more."""
    try:
        network.load_state_dict(weights)
    except RuntimeError as error:
        raise SegPerceptionError(
            f"the checkpoint's weights are those of another version of the network ({' '.join(str(error).split())[:200]}…): "
            "train again with --start-from, which takes what fits"
        ) from error
