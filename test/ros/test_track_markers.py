"""Tracks as markers: what viewers are told, by hand-made tracks and the message definitions."""

from __future__ import annotations

from typing import Any

import pytest
from rclpy.serialization import deserialize_message, serialize_message
from std_msgs.msg import Header
from visualization_msgs.msg import Marker, MarkerArray

from seg_perception.labels import CAMVID
from seg_perception.results import GroundMotion, Track
from seg_perception.ros.track_markers import KINDS, TrackMarkers

COVARIANCE = ((0.1, 0.0, 0.0, 0.0),) * 4


def track(number: int, age_s: float, foot: tuple[float, float] | None, state: str = "confirmed") -> Track:
    ground = None if foot is None else GroundMotion(foot, (3.0, 4.0), COVARIANCE)
    return Track(number, 8, state, age_s, 9, 0.0, (1.0, 2.0, 3.0, 4.0), (0.0, 0.0), (1.0, 1.0), ground)


def shown(markers: TrackMarkers, *tracks: Track, frame: str = "odom") -> dict[tuple[str, int], Any]:
    """What a viewer receives, by kind and number."""
    header = Header(frame_id=frame)
    header.stamp.sec = 12
    array = deserialize_message(serialize_message(markers.fill(tracks, header)), MarkerArray)
    assert all(m.header == header for m in array.markers if m.action == Marker.ADD)
    found = {(marker.ns, marker.id): marker for marker in array.markers}
    assert len(found) == len(array.markers), "no marker twice"
    return found


def places(marker: Any) -> list[tuple[float, float]]:
    return [(point.x, point.y) for point in marker.points]


def test_a_track_has_a_trail_an_arrow_and_its_number() -> None:
    markers = TrackMarkers(CAMVID)
    for i in range(31):
        got = shown(markers, track(7, i / 10, (float(i), 2.0)))
    assert set(got) == {(kind, 7) for kind in KINDS}
    assert places(got["trail", 7]) == [(float(i), 2.0) for i in range(10, 31)], "of the latest two seconds"
    assert places(got["velocity", 7]) == [(30.0, 2.0), (33.0, 6.0)], "to where it will be in a second"
    text = got["number", 7]
    assert text.text == "car 7\n5.0 m/s" and (text.pose.position.x, text.pose.position.y) == (30.0, 2.0)
    kinds = {kind: got[kind, 7].type for kind in KINDS}
    assert kinds == {"trail": Marker.LINE_STRIP, "velocity": Marker.ARROW, "number": Marker.TEXT_VIEW_FACING}
    for marker in got.values():
        assert marker.pose.orientation.w == 1.0 and marker.color.a == 1.0 and marker.lifetime.sec > 0


def test_a_trail_has_two_ends_from_the_first_on() -> None:
    got = shown(TrackMarkers(CAMVID), track(7, 0.2, (5.0, 1.0)))
    assert places(got["trail", 7]) == [(5.0, 1.0)] * 2


@pytest.mark.parametrize("gone", [None, track(1, 0.3, None), track(1, 0.0, (4.0, 0.0), "new")])
def test_what_is_not_shown_any_more_is_deleted_once(gone: Track | None) -> None:
    markers, stays = TrackMarkers(CAMVID), track(2, 0.1, (8.0, 0.0))
    shown(markers, track(1, 0.2, (4.0, 0.0)), stays)
    left = shown(markers, *([gone] if gone else []), stays)
    assert {key: marker.action for key, marker in left.items() if key[1] == 1} == dict.fromkeys(
        [(kind, 1) for kind in KINDS], Marker.DELETE
    )
    assert set(shown(markers, stays)) == {(kind, 2) for kind in KINDS}
    fresh = shown(markers, stays, track(3, 0.0, (1.0, 1.0)))
    assert places(fresh["trail", 3]) == [(1.0, 1.0)] * 2, (
        "made of the markers of a deleted one, but with its own points"
    )


def test_lost_tracks_are_paler_and_another_frame_begins_trails_anew() -> None:
    markers = TrackMarkers(CAMVID)
    for i in range(5):
        shown(markers, track(1, i / 10, (float(i), 0.0)))
    lost = shown(markers, track(1, 0.5, (5.0, 0.0), "lost"))
    assert all(0 < marker.color.a < 0.5 for marker in lost.values()) and len(places(lost["trail", 1])) == 6
    assert places(shown(markers, track(1, 0.6, (2.0, 0.0)), frame="base_footprint")["trail", 1]) == [(2.0, 0.0)] * 2


def test_a_trail_does_not_jump_with_the_odometry() -> None:
    markers = TrackMarkers(CAMVID)
    for i in range(6):
        got = shown(markers, track(1, i / 10, (3.0 * i, 0.0)))
    assert len(places(got["trail", 1])) == 6
    assert places(shown(markers, track(1, 0.6, (68.0, 9.0)))["trail", 1]) == [(68.0, 9.0)] * 2
    assert places(shown(markers, track(1, 0.7, (71.0, 9.0)))["trail", 1]) == [(68.0, 9.0), (71.0, 9.0)]


def test_without_geometry_there_is_nothing_to_show() -> None:
    assert shown(TrackMarkers(CAMVID), track(1, 0.5, None), frame="") == {}
