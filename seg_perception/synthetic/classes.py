"""Ids of what rendered scenes tell apart beyond CamVid's classes, in the words of `datasets.label_sets.CONCEPTS`."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from seg_perception.labels import CAMVID

FINER = {11: "terrain", 12: "wall", 13: "guard rail", 14: "truck", 15: "bus"}
"""Ids that follow CAMVID's. Crash barriers of concrete count as guard rails, as Cityscapes has it; noise barriers as
walls."""

TERRAIN, WALL, RAIL, TRUCK, BUS = FINER


def _as_camvid() -> NDArray[np.uint8]:
    table = np.arange(256, dtype=np.uint8)
    for own_id, name in FINER.items():
        table[own_id] = next(label.id for label in CAMVID.classes if name in label.covers)
    return table


AS_CAMVID: NDArray[np.uint8] = _as_camvid()
"""uint8 [256]: the CAMVID id of each id of a rendered scene: terrain is tree, a wall building, a rail fence."""
