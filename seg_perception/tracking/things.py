"""The things of a frame, as tracks are compared with them."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from seg_perception.camera_model import Floats
from seg_perception.results import Panoptic
from seg_perception.tracking.kernels import find_feet_behind, find_hidden

_NO_VEHICLE = np.zeros((0, 0), np.uint8)


@dataclass(frozen=True)
class Things:
    """The things of a frame. ids [K] in the mask; boxes int64 [K, 4] = left, top, right, bottom; areas, classes [K];
    scores [K]; hidden bool [K, 4], by side; cut bool [K, 4], cut off by the image's border; partly bool [K], any of both."""

    ids: NDArray[np.int64]
    boxes: NDArray[np.int64]
    areas: NDArray[np.int64]
    classes: NDArray[np.int64]
    scores: Floats
    hidden: NDArray[np.bool_]
    cut: NDArray[np.bool_]
    partly: NDArray[np.bool_]

    @staticmethod
    def of(panoptic: Panoptic) -> Things:
        """Those of its segments that are things."""
        things = [s for s in panoptic.segments if s.is_thing]
        rows = np.array([(s.id, s.class_id, s.area, *s.box) for s in things], np.int64).reshape(-1, 7)
        boxes = np.ascontiguousarray(rows[:, 3:])
        boxes[:, 2:] += boxes[:, :2]
        ids = np.ascontiguousarray(rows[:, 0])
        hidden = np.zeros((len(rows), 4), np.bool_)
        if len(rows):
            bottoms = np.zeros(int(ids.max()) + 1, np.int64)
            bottoms[ids] = boxes[:, 3]
            find_hidden(panoptic.instance, ids, boxes, bottoms, hidden)
        height, width = panoptic.instance.shape
        cut = (boxes <= 0) | (boxes >= np.array((width, height, width, height)))
        partly = np.asarray((hidden | cut).any(axis=1))
        return Things(ids, boxes, rows[:, 2], rows[:, 1], np.array([s.score for s in things]), hidden, cut, partly)

    def feet_behind(
        self, panoptic: Panoptic, hides: NDArray[np.bool_], own_vehicle: NDArray[np.uint8] | None
    ) -> NDArray[np.bool_]:
        """[K, 2] whether the foot of each is hidden by what is no thing: a class that `hides`, bool [256]; or own_vehicle, uint8
        [H, W], not 0 where that is seen."""
        behind, own = np.zeros((len(self), 2), np.bool_), _NO_VEHICLE if own_vehicle is None else own_vehicle
        find_feet_behind((panoptic.instance, panoptic.semantic, own), hides, self.ids, self.boxes, behind)
        return behind

    def only(self, rows: NDArray[np.int64]) -> Things:
        """Those of them."""
        return Things(*(getattr(self, part.name)[rows] for part in fields(self)))

    def __len__(self) -> int:
        return len(self.ids)
