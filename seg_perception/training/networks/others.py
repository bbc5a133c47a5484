"""Libraries of others, imported where something of theirs is asked for."""

from __future__ import annotations

import importlib
from typing import Any

import torch

from seg_perception.errors import SegPerceptionError


def imported(module: str) -> Any:
    """A module of torchvision, or of a library that imports it. Raises SegPerceptionError where it does not fit torch, which
    torchvision notices late, and ImportError where it is missing."""
    try:
        return importlib.import_module(module)
    except (RuntimeError, OSError) as error:
        why = (str(error) or repr(error)).splitlines()[0]
        raise SegPerceptionError(
            f"{module} cannot be imported beside torch {torch.__version__} ({why}): torchvision must be "
            "the one that belongs to torch; take both from one index, such as pip install torch torchvision --index-url "
            "https://download.pytorch.org/whl/cpu"
        ) from error
