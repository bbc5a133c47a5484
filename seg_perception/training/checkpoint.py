"""Checkpoints: written aside, then renamed, and refused when they belong to something else."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from seg_perception.errors import SegPerceptionError
from seg_perception.files import written_aside


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
    if network is not None and found != network:
        raise SegPerceptionError(
            f"{path} is of the network '{found}', the configuration asks for '{network}': use one or the other"
        )
    return content
