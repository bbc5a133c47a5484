"""The first seconds of a recording in which things are followed, as small pictures that the report plays."""

from __future__ import annotations

import base64
from collections.abc import Iterable

import cv2
import numpy as np
from numpy.typing import NDArray

from seg_perception.reports.page import thumbnail
from seg_perception.results import Segment

STEP_S = 0.1
"""Between two pictures, at least; also how fast they are played."""
_MOST = 80
_WIDTH_PX, _QUALITY = 640, 70


class Film:
    """Takes drawn frames until it is full: some 2 MB, whatever the recording. pictures: JPEG, in their order."""

    def __init__(self) -> None:
        self.pictures: list[bytes] = []
        self._latest_s = -np.inf

    def wants(self, time_s: float) -> bool:
        """Whether it takes a frame of that time; of several recordings only the first is told."""
        return len(self.pictures) < _MOST and time_s - self._latest_s >= STEP_S - 1e-3

    @property
    def is_full(self) -> bool:
        """Whether it takes no frame any more."""
        return len(self.pictures) == _MOST

    def add(self, drawn: NDArray[np.uint8], time_s: float) -> None:
        """A frame with what was found in it, uint8 [H, W, 3] RGB, where it wants one."""
        if not self.wants(time_s):
            return
        self._latest_s = time_s
        bgr = cv2.cvtColor(thumbnail(drawn, _WIDTH_PX), cv2.COLOR_RGB2BGR)
        self.pictures.append(cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])[1].tobytes())

    def uris(self) -> list[str]:
        """The pictures, as a page holds them."""
        return ["data:image/jpeg;base64," + base64.b64encode(picture).decode() for picture in self.pictures]


def follows(segments: Iterable[Segment]) -> bool:
    """Whether some of them are followed."""
    return any(segment.track is not None for segment in segments)
