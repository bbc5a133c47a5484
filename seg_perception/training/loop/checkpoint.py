"""Checkpoints: written aside, then renamed, and refused when they belong to something else."""

from __future__ import annotations

import json
import math
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from seg_perception.errors import SegPerceptionError, quoted
from seg_perception.labels import LabelSet
from seg_perception.model_facts import is_count
from seg_perception.network_size import LONGEST_SIDE
from seg_perception.training.loop.room import OF_A_WORKER
from seg_perception.training.networks import make_network
from seg_perception.training.networks.finite import check_finite
from seg_perception.training.networks.heads import PanopticNetwork
from seg_perception.writing import written_aside

_KINDS: dict[str, type | tuple[type, ...]] = {
    "network": str,
    "labels": (list, tuple),
    "size_hw": (list, tuple),
    "data": (list, tuple),
    "average": dict,
    "pretrained": str,
    "config": dict,
    "metrics": dict,
    "scaler": dict,
    "step": int,
    "validated": int,
    "best": (int, float),
    "trained_s": (int, float),
    "weights": dict,
    "optimiser": dict,
}
_NEEDED = ("network", "labels", "size_hw", "data", "average")
_NEEDED_TO_RESUME = (*_NEEDED, "step", "best", "weights", "optimiser")


def save(path: Path, content: Mapping[str, Any]) -> None:
    """Replace the checkpoint at path; the old one stays whole when this fails (a full disk, a power cut).

    Raises SegPerceptionError when it cannot be written.
    """
    try:
        with written_aside(path, durable=True) as aside:
            torch.save(dict(content), aside)
    except (OSError, RuntimeError) as error:  # torch wraps a full disk in a RuntimeError
        if str(error).startswith(OF_A_WORKER):
            raise
        raise SegPerceptionError(
            f"the checkpoint {path} cannot be written ({error}): the previous one is whole, free the disk and resume"
        ) from error


def load(path: Path, network: str | None = None, *, to_resume: bool = False) -> dict[str, Any]:
    """Read a checkpoint to the CPU; tensors and plain values only, no code is run. to_resume: with all that training goes on
    from.

    Raises SegPerceptionError when it is missing, broken, not whole, when its weights are not finite or, with `network` given,
    when it is of another network.
    """
    check_there(path)
    try:
        _check_sums(path)
        content: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        found = content["network"]
    except SegPerceptionError:
        raise
    except Exception as error:  # torch raises many kinds for one cause: this is no checkpoint
        raise SegPerceptionError(
            f"{path} is not a readable checkpoint ({type(error).__name__}): use another or train again"
        ) from error
    if network is not None:
        check_network(path, found, network)
    if fault := _fault(content, _NEEDED_TO_RESUME if to_resume else _NEEDED):
        raise SegPerceptionError(f"{path} is no whole checkpoint ({fault}): use another or train again")
    for name in ("average", "weights"):
        check_finite(content.get(name, {}), f"{path}: the")
    return content


def check_there(path: Path) -> None:
    """Raises SegPerceptionError where there is no file."""
    if not path.is_file():
        raise SegPerceptionError(f"there is no checkpoint {path}: train first, or correct the path")


def _check_sums(path: Path) -> None:
    """Raises SegPerceptionError where a bit has changed since the file was saved: torch writes a CRC for each tensor, and looks at
    none. Raises what zipfile does for less than a whole file."""
    if not zipfile.is_zipfile(path):
        return
    with zipfile.ZipFile(path) as archive:
        damaged = archive.testzip()
    if damaged:
        raise SegPerceptionError(
            f"{path} has changed since it was saved ({damaged} does not fit its checksum): copy it again, or use another"
        )


def _fault(content: Mapping[str, Any], needed: Sequence[str]) -> str:
    """What a checkpoint lacks, or holds of another kind than save wrote; "" for nothing."""
    if lacking := [key for key in needed if key not in content]:
        return f"it lacks {', '.join(lacking)}"
    for key, kind in _KINDS.items():
        if key in content and not isinstance(content[key], kind):
            return f"its {key} is a {type(content[key]).__name__}"
    size_hw, data = content["size_hw"], content["data"]
    if len(size_hw) != 2 or not all(is_count(length) and 0 < length <= LONGEST_SIDE for length in size_hw):
        return f"its size_hw is {quoted(size_hw)}"
    for key in ("step", "best", "trained_s"):
        if not math.isfinite(content.get(key, 0)):
            return f"its {key} is {content[key]}"
    if content.get("step", 0) < 0:
        return f"its step is {content['step']}"
    if not all(isinstance(name, str) for name in data):
        return f"its data is {quoted(data)}"
    for key in ("config", "metrics"):
        try:
            json.dumps(content.get(key, {}), allow_nan=False)
        except (TypeError, ValueError, RecursionError) as error:
            return f"its {key} holds more than plain values: {quoted(error)}"
    for weights in ("average", "weights"):
        for name, value in content.get(weights, {}).items():
            if not isinstance(name, str) or not isinstance(value, Tensor) or not _is_plain(value):
                return f"its {weights} holds more than tensors of numbers by name: {quoted(name)}"
    try:
        LabelSet.from_json(content["labels"])
    except SegPerceptionError as error:
        return str(error)
    return ""


def _is_plain(value: Tensor) -> bool:
    """Whether a tensor holds each of its numbers: none that is sparse, quantised, complex or without a place in memory does."""
    return value.layout == torch.strided and not (value.is_quantized or value.is_complex() or value.is_meta)


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
    Raises SegPerceptionError when they are of different networks, versions of one or classes, or the shares do not suit.
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
        if other := _unlike(first["average"], content["average"]):
            raise SegPerceptionError(
                f"the checkpoints are of different versions of {first['network']} ({other} is not alike in all): only weights "
                "that began with the same ones can be mixed"
            )
    average = {
        name: sum(share / sum(shares) * content["average"][name] for content, share in zip(contents, shares))
        if weight.is_floating_point()
        else weight
        for name, weight in first["average"].items()
    }
    return {**first, "average": average}


def _unlike(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> str:
    """Name of a tensor that only one has, or that has two shapes; "" where there is none."""
    names = (name for name in {**one, **other} if name not in one or name not in other)
    shapes = (name for name in one if name in other and one[name].shape != other[name].shape)
    return next(names, "") or next(shapes, "")


def put_weights(network: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Give a network all its weights; raises SegPerceptionError when there are others, fewer or more."""
    try:
        network.load_state_dict(weights)
    except RuntimeError as error:
        raise SegPerceptionError(
            f"the checkpoint's weights are those of another version of the network ({' '.join(str(error).split())[:200]}…): "
            "train again with --start-from, which takes what fits"
        ) from error
