"""The first seconds of a recording in which things are followed, as small pictures that the report plays."""

from __future__ import annotations

import base64
import math
from collections.abc import Iterable
from itertools import pairwise
from statistics import median

import cv2
import numpy as np
from numpy.typing import NDArray

from seg_perception.reports.page import thumbnail
from seg_perception.results import Segment

STEP_S = 0.1
"""Between two pictures, at least."""
_LONGEST_S = 1.0
"""For so long a picture is shown at most. A clock that goes back by more is another time, and not a frame that comes late."""
_MOST = 80
_WIDTH_PX, _QUALITY = 640, 70


class Film:
    """Takes drawn frames of one recording until it is full: some 2 MB. pictures: JPEG, in their order."""

    def __init__(self) -> None:
        self.pictures: list[bytes] = []
        self._times_s: list[float] = []

    def follows(self, segments: Iterable[Segment]) -> bool:
        """Whether to draw a frame in which these were found: there is room, and one of them is followed."""
        return len(self.pictures) < _MOST and any(segment.track is not None for segment in segments)

    def add(self, drawn: NDArray[np.uint8], time_s: float) -> None:
        """A frame with what was found in it, uint8 [H, W, 3] RGB; left out where it is full or one a moment before is in it."""
        since_s = time_s - self._times_s[-1] if self._times_s else math.inf
        if len(self.pictures) == _MOST or -_LONGEST_S < since_s < STEP_S - 1e-3:
            return
        self._times_s.append(time_s)
        bgr = cv2.cvtColor(thumbnail(drawn, _WIDTH_PX), cv2.COLOR_RGB2BGR)
        self.pictures.append(cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])[1].tobytes())

    @property
    def step_s(self) -> float:
        """For how long each picture is shown, so that they pass as fast as they were taken."""
        steps = [later - sooner for sooner, later in pairwise(self._times_s) if later > sooner]
        return min(max(STEP_S, median(steps)), _LONGEST_S) if steps else STEP_S

    def uris(self) -> list[str]:
        """The pictures, as a page holds them."""
        return ["data:image/jpeg;base64," + base64.b64encode(picture).decode() for picture in self.pictures]
