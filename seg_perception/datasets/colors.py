"""Label images that show classes by their colours."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from seg_perception.errors import SegPerceptionError
from seg_perception.labels import UNSEEN_LABEL, VOID

Color = tuple[int, int, int]
"""RGB, 0-255."""

STRANGE = UNSEEN_LABEL
"""Id of a pixel whose colour a lossy file has changed beyond recognition; no data set has it."""

_LOSSY_OFF = 24
"""JPEG keeps a flat colour to a few shades; farther off lie the mixtures at edges."""


def is_lossy(path: Path) -> bool:
    """Whether a file's format changes values."""
    return path.suffix.lower() in (".jpg", ".jpeg")


def ids_by_color(rgb: NDArray[np.uint8], colors: Mapping[int, Color], path: Path) -> NDArray[np.uint8]:
    """uint8 [H, W]: for each pixel of rgb [H, W, 3] the id whose colour it has; black is void unless an id has it.

    Of a lossy file the nearest colour counts, STRANGE where none is near. Raises SegPerceptionError naming path for a
    colour that no id has, and for one that two have.
    """
    known = _by_color(colors, path)
    codes, place = np.unique(rgb.astype(np.uint32) @ np.array([1 << 16, 1 << 8, 1], np.uint32), return_inverse=True)
    shades = np.stack([codes >> 16, codes >> 8 & 255, codes & 255], axis=-1).astype(np.int16)
    off = np.abs(shades[:, None] - np.array(list(known), np.int16)[None]).max(axis=-1)  # [colours here, known]
    nearest = off.argmin(axis=1)
    ids = np.array(list(known.values()), np.uint8)[nearest]
    far = off.min(axis=1) > (_LOSSY_OFF if is_lossy(path) else 0)
    if is_lossy(path):
        ids[far] = STRANGE
    elif far.any():
        worst = int(np.flatnonzero(far)[0])
        color, near = (tuple(map(int, values)) for values in (shades[worst], list(known)[nearest[worst]]))
        raise SegPerceptionError(
            f"{path} holds the colour {list(color)} ({int((place == worst).sum())} pixels), which no class has, the nearest is "
            f"{list(near)}: correct it, or name it in `colors: {{NAME: {list(color)}}}`"
        )
    return ids[place].reshape(rgb.shape[:2])


def _by_color(colors: Mapping[int, Color], path: Path) -> dict[Color, int]:
    known: dict[Color, int] = {}
    for number, color in colors.items():
        if known.setdefault(color, number) != number:
            raise SegPerceptionError(
                f"{path} is a label in colours, and {list(color)} is the colour of the ids {known[color]} and {number}: "
                "give each class a colour of its own"
            )
    return {(0, 0, 0): VOID, **known}
