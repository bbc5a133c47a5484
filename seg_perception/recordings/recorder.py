"""What evaluation writes its frames to: an annotated bag, a file of Rerun's."""

from __future__ import annotations

from typing import Protocol

from seg_perception.ground.geometry import GroundProjection
from seg_perception.results import Result


class CameraRecorder(Protocol):
    """Takes the frames of one camera in their order."""

    def write(self, number: int, result: Result, projection: GroundProjection | None) -> None:
        """A frame and all that was found in it. number: see SourceFrame; projection: of the masks' pixels, None without
        geometry."""
        ...


class Recorder(Protocol):
    """Takes recordings of cameras, one after the other."""

    def camera(self, topic: str, *, alone: bool) -> CameraRecorder:
        """What takes the frames of one image topic. alone: whether it is the only one."""
        ...
