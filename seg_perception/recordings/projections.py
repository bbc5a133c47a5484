"""Where a source's pixels lie on the ground, for the size of its labels."""

from __future__ import annotations

from seg_perception.camera_model import CameraModel, CameraPose
from seg_perception.errors import SegPerceptionError
from seg_perception.ground.geometry import GroundProjection
from seg_perception.recordings.sources import Source
from seg_perception.results import Truth


class Projections:
    """Keeps the latest projection, as camera, mounting and size seldom change from one frame to the next."""

    def __init__(self) -> None:
        self._of: tuple[CameraModel, CameraPose, tuple[int, int]] | None = None
        self._projection: GroundProjection | None = None

    def of(self, source: Source, truth: Truth | None) -> GroundProjection | None:
        """For images of the truth's size; None without truth, without calibration, and where the camera sees no ground."""
        if truth is None or source.camera is None or source.pose is None:
            return None
        height, width = truth.semantic.shape
        key = source.camera, source.pose, (height, width)
        if key != self._of:
            self._of = key
            try:
                self._projection = GroundProjection(*key)
            except SegPerceptionError:  # the camera looks at the sky: there is no ground to be wrong about
                self._projection = None
        return self._projection
