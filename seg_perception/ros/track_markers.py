"""Tracks as markers, as RViz and Foxglove show them on the ground: a trail, an arrow of the velocity and the number of each."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from builtin_interfaces.msg import Duration
from geometry_msgs.msg import Point
from std_msgs.msg import ColorRGBA, Header
from visualization_msgs.msg import Marker, MarkerArray

from seg_perception.camera_model import Floats
from seg_perception.labels import LabelSet
from seg_perception.pictures.trails import Trails, foot_m, speed_text, track_color
from seg_perception.results import Track
from seg_perception.tracking.feet import FASTEST_THING_M_S

KINDS = ("trail", "velocity", "number")
"""Namespaces of the markers, whose ids are the tracks'."""
ARROW_S = 1.0
"""An arrow reaches to where the thing would be so much later."""
LIFETIME_S = 2
"""Markers that nobody renews vanish then, as when the node ends."""
_HEIGHT_M, _TEXT_HEIGHT_M = 0.1, 2.0
_LINE_M, _ARROW_M, _HEAD_M, _TEXT_M = 0.12, 0.18, 0.4, 0.7
_LOST_ALPHA = 0.35


class TrackMarkers:
    """Fills MarkerArrays of one camera; its markers and points are reused, since to make them takes longer than to fill
    them. Belongs to one thread."""

    def __init__(self, labels: LabelSet) -> None:
        self._names = labels.names
        self._trails = Trails(foot_m, FASTEST_THING_M_S)
        self._frame = ""
        self._spare: list[dict[str, Marker]] = []
        self._markers: dict[int, dict[str, Marker]] = {}  # of what is shown

    def fill(self, tracks: Iterable[Track], header: Header) -> MarkerArray:
        """Of all tracks that stand on the ground and are not new; lost ones are paler. header: with the frame that their
        ground motion is in, empty without geometry. What was shown in the array before and is not any more is deleted.
        The message holds until the next call."""
        if header.frame_id != self._frame:
            self._frame = header.frame_id
            self._trails.clear()
        known = [track for track in tracks if track.ground is not None and track.state != "new"]
        self._trails.add(known)
        gone = self._markers.keys() - {track.id for track in known}
        array = MarkerArray()
        for number in sorted(gone):
            self._spare.append(self._markers.pop(number))
            array.markers += [Marker(ns=kind, id=number, action=Marker.DELETE) for kind in KINDS]
        for track in known:
            array.markers += self._filled(track, header)
        return array

    def _filled(self, track: Track, header: Header) -> list[Marker]:
        if track.id not in self._markers:
            self._markers[track.id] = self._spare.pop() if self._spare else {kind: _marker(kind) for kind in KINDS}
        markers = self._markers[track.id]
        red, green, blue = (value / 255 for value in track_color(track.id))
        alpha = _LOST_ALPHA if track.state == "lost" else 1.0
        for marker in markers.values():
            marker.header, marker.id = header, track.id
            marker.color.r, marker.color.g, marker.color.b, marker.color.a = red, green, blue, alpha
        assert track.ground is not None
        foot, velocity = np.array(track.ground.foot_m), np.array(track.ground.velocity_m_s)
        trail = self._trails.of(track)
        _set_points(markers["trail"], trail if len(trail) > 1 else np.repeat(trail, 2, axis=0))  # a line has two ends
        _set_points(markers["velocity"], np.array((foot, foot + ARROW_S * velocity)))
        text = markers["number"]
        text.pose.position.x, text.pose.position.y = foot.tolist()
        text.text = f"{self._names[track.class_id]} {track.id}\n{speed_text(track)}"
        return list(markers.values())


def _marker(kind: str) -> Marker:
    shapes = {"trail": Marker.LINE_STRIP, "velocity": Marker.ARROW, "number": Marker.TEXT_VIEW_FACING}
    sizes = {"trail": (_LINE_M, 0.0, 0.0), "velocity": (_ARROW_M, _HEAD_M, _HEAD_M), "number": (0.0, 0.0, _TEXT_M)}
    marker = Marker(ns=kind, type=shapes[kind], action=Marker.ADD, lifetime=Duration(sec=LIFETIME_S), color=ColorRGBA())
    marker.scale.x, marker.scale.y, marker.scale.z = sizes[kind]
    marker.pose.orientation.w = 1.0
    marker.pose.position.z = _TEXT_HEIGHT_M if kind == "number" else 0.0
    return marker


def _set_points(marker: Marker, places: Floats) -> None:
    """Set the points of a line or an arrow to places [K, 2] in m, just above the ground."""
    points = marker.points
    points += [Point(z=_HEIGHT_M) for _ in range(len(places) - len(points))]
    del points[len(places) :]
    for point, (x, y) in zip(points, places.tolist(), strict=True):
        point.x, point.y = x, y
