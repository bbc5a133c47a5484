"""Where things were of late: a trail behind each, for pictures and for viewers."""

from __future__ import annotations

import colorsys
import math
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from seg_perception.pictures.drawing import Color
from seg_perception.results import Track

SECONDS = 2.0
"""A trail reaches so far back."""
STEP_S = 0.1
"""Between two points of a trail."""
_POINTS = math.ceil(SECONDS / STEP_S) + 1
_KEPT_FRAMES = 60
"""A trail is kept for so many frames in which its track is not told of."""
_GOLDEN = (math.sqrt(5) - 1) / 2

Place = tuple[float, float]


@dataclass
class _Trail:
    frame: int
    age_s: float = -math.inf
    points: deque[tuple[float, Place]] = field(default_factory=lambda: deque(maxlen=_POINTS))


class Trails:
    """The latest places of every track, bounded in time and number. Belongs to one thread."""

    def __init__(self, place: Callable[[Track], Place | None], fastest: float = math.inf) -> None:
        """place: where a track is now; None where that is not known; fastest: how far a place goes in a second at most: where one
        is farther off it is measured from elsewhere, as after odometry that jumped, and its trail begins anew."""
        self._place, self._fastest = place, fastest
        self._trails: dict[int, _Trail] = {}
        self._frame = 0

    def add(self, tracks: Iterable[Track]) -> None:
        """The tracks of one more frame. A number that is younger than it was is another thing: its trail begins anew."""
        self._frame += 1
        for track in tracks:
            trail = self._trails.get(track.id)
            if trail is None or track.age_s < trail.age_s:
                trail = self._trails[track.id] = _Trail(self._frame)
            trail.frame, trail.age_s = self._frame, track.age_s
            place = self._place(track)
            if place is not None and trail.points:
                age_s, before = trail.points[-1]
                if math.dist(place, before) > self._fastest * max(track.age_s - age_s, STEP_S):
                    trail.points.clear()
            if place is not None and (not trail.points or track.age_s - trail.points[-1][0] >= STEP_S - 1e-6):
                trail.points.append((track.age_s, place))
        oldest = self._frame - _KEPT_FRAMES
        if any(trail.frame < oldest for trail in self._trails.values()):
            self._trails = {number: trail for number, trail in self._trails.items() if trail.frame >= oldest}

    def clear(self) -> None:
        """Forget all, as where places are measured in something else from now on."""
        self._trails.clear()

    def of(self, track: Track) -> NDArray[np.float64]:
        """[K, 2], the places of a track that was added last, from the oldest to where it is now; [0, 2] where that is not
        known."""
        place, trail = self._place(track), self._trails.get(track.id)
        if place is None:
            return np.zeros((0, 2))
        before = [] if trail is None else [p for age_s, p in trail.points if 0 < track.age_s - age_s <= SECONDS + 1e-6]
        return np.array([*before, place], np.float64)


def foot_px(track: Track) -> Place:
    """The middle of the lower edge of a track's box, in px of the mask."""
    left, top, width, height = track.box
    return left + (width - 1) / 2, top + height - 0.5


def foot_m(track: Track) -> Place | None:
    """Where it stands on the ground, m."""
    return None if track.ground is None else track.ground.foot_m


def speed_text(track: Track) -> str:
    """How fast it goes: on the ground where that is known, else in the image; empty while it is new."""
    if track.state == "new":
        return ""
    if track.ground is not None:
        return f"{math.hypot(*track.ground.velocity_m_s):.1f} m/s"
    return f"{math.hypot(*track.velocity_px_s):.0f} px/s"


def track_color(number: int) -> Color:
    """A bright colour of a track, unlike that of the next numbers."""
    red, green, blue = colorsys.hsv_to_rgb(number * _GOLDEN % 1.0, 0.65, 1.0)
    return round(255 * red), round(255 * green), round(255 * blue)
