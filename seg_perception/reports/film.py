"""The first seconds of a recording in which things are followed, as small pictures that the report plays."""

from __future__ import annotations

import base64
import math
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
    """Takes drawn frames of one recording until it is full: some 2 MB. pictures: JPEG, in their order."""

    def __init__(self) -> None:
        self.pictures: list[bytes] = []
        self._latest_s = -math.inf

    def follows(self, segments: Iterable[Segment]) -> bool:
        """Whether to draw a frame in which these were found: there is room, and one of them is followed."""
        return len(self.pictures) < _MOST and any(segment.track is not None for segment in segments)

    def add(self, drawn: NDArray[np.uint8], time_s: float) -> None:
        """A frame with what was found in it, uint8 [H, W, 3] RGB; left out where it is full or one a moment before is in it."""
        if len(self.pictures) == _MOST or time_s - self._latest_s < STEP_S - 1e-3:
            return
        self._latest_s = time_s
        bgr = cv2.cvtColor(thumbnail(drawn, _WIDTH_PX), cv2.COLOR_RGB2BGR)
        self.pictures.append(cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])[1].tobytes())

    def uris(self) -> list[str]:
        """The pictures, as a page holds them."""
        return ["data:image/jpeg;base64," + base64.b64encode(picture).decode() for picture in self.pictures]
