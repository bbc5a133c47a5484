"""A point for each pixel of the masks: where on the ground what it shows stands.

By depth where it is known. Else known is the place of ground that is seen, and of the foot of each obstacle; what rises
from a foot, what is behind one and what is above the horizon has none, since one camera cannot tell how far it is.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from seg_perception.ground.end_kernels import place_ground
from seg_perception.ground.ends import Ends
from seg_perception.ground.geometry import GroundProjection, pixel_slopes
from seg_perception.ground.mark_kernels import place_feet
from seg_perception.results import POINT

_NO_DEPTH = np.empty(0, np.float32)


class PointPlacer:
    """Fills the points of one camera's masks. Belongs to one thread."""

    def __init__(self, costs: NDArray[np.int8], is_obstacle: NDArray[np.bool_], range_max_m: float) -> None:
        """costs: int8 [256], by label value, -1 = no ground; is_obstacle: bool [256]; points farther than range_max_m from
        the camera's foot have no place."""
        self._costs, self._is_obstacle, self._range_max_m = costs, is_obstacle, range_max_m
        self._points = np.empty((0, 0), POINT)

    def place(
        self,
        masks: tuple[NDArray[np.uint8], NDArray[np.uint16], NDArray[np.uint8]],
        seen: NDArray[np.uint8],
        ends: Ends,
        projection: GroundProjection,
        depth: NDArray[np.float32] | None = None,
    ) -> NDArray[np.void]:
        """POINT [H, W]; a view of a buffer that the next call overwrites. masks: semantic, instance and confidence [H, W];
        seen: the semantic mask with UNSEEN_LABEL where nothing is seen; depth: [H, W] in m, else ground is flat."""
        if self._points.shape != projection.image_hw:
            self._points = np.zeros(projection.image_hw, POINT)
        depths = _NO_DEPTH if depth is None else depth.reshape(-1)
        raw = self._points.reshape(-1).view(np.float32).reshape(-1, 4)
        semantic, instance, confidence = masks
        place_ground(
            np.ravel(semantic), np.ravel(instance), np.ravel(confidence), seen.reshape(-1), self._costs, depths,
            pixel_slopes(projection.lens, projection.image_hw), projection.base_from_optical, projection.position,
            self._range_max_m, ends.nearest, raw, raw.view(np.uint32),
        )  # fmt: skip
        place_feet(
            ends.pixels, ends.points, ends.labels, ends.depths, self._is_obstacle, projection.position,
            self._range_max_m, self._points.shape[1], raw,
        )  # fmt: skip
        return self._points
