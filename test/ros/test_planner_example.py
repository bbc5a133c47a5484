"""The planner that the pages show, fed with the node's own messages."""

from __future__ import annotations

import math
import runpy
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import rclpy
from builtin_interfaces.msg import Time as Stamp
from places import CHECKOUT
from rclpy.duration import Duration
from std_msgs.msg import Header

from seg_perception.labels import CAMVID
from seg_perception.results import Drivable, DrivableArea, GroundMotion, Panoptic, Segment, Track
from seg_perception.ros import fill_messages as fill

EXAMPLE = runpy.run_path(str(CHECKOUT / "docs" / "planner_example.py"))
ROAD, PAVEMENT, CAR = (CAMVID.by_name(name).id for name in ("road", "pavement", "car"))
FRONT_M, FASTEST_M_S = EXAMPLE["FRONT_M"], EXAMPLE["FASTEST_M_S"]


def areas(free_m: float, class_id: int = ROAD, frame: str = "base_footprint", header: Header | None = None) -> Any:
    area = DrivableArea(class_id, 0.5, 0.9, (), free_distance_m=math.inf, free_distance_width_m=free_m)
    return fill.drivable_areas(Drivable((area,)), CAMVID, header or Header(), frame)


@pytest.mark.parametrize(
    ("message", "free_m"),
    [
        (areas(10.0), 10.0 - FRONT_M),
        (areas(math.inf), math.inf),
        (areas(FRONT_M / 2), 0.0),
        (areas(math.nan), 0.0),
        (areas(10.0, PAVEMENT), 0.0),
        (areas(10.0, frame=""), 0.0),
    ],
)
def test_what_is_not_known_is_no_way_to_go(message: Any, free_m: float) -> None:
    assert EXAMPLE["free_ahead_m"](message) == pytest.approx(free_m)


def test_it_can_stop_within_what_is_free() -> None:
    limit, reaction_s, slows = (EXAMPLE[name] for name in ("speed_limit_m_s", "REACTION_S", "DECELERATION_M_S2"))
    assert limit(0.0) == 0.0 and limit(math.inf) == FASTEST_M_S
    for free_m in (0.1, 0.5, 2.0):
        assert reaction_s * limit(free_m) + limit(free_m) ** 2 / (2 * slows) == pytest.approx(free_m)


@pytest.fixture
def planner(domain: None) -> Iterator[Any]:
    rclpy.init()
    made = EXAMPLE["Planner"]()
    yield made
    made.destroy_node()
    rclpy.shutdown()


def test_it_stops_for_what_is_old_or_never_came(planner: Any) -> None:
    assert planner.limit_m_s() == 0.0 and planner.around() == []
    now = planner.get_clock().now()
    for age_s, moves in ((0.0, True), (EXAMPLE["OLDEST_S"] + 0.1, False), (-60.0, False)):
        header = Header(stamp=(now - Duration(seconds=age_s)).to_msg())
        planner._on_areas(areas(50.0, header=header))
        assert (planner.limit_m_s() > 0) == moves
    planner._on_areas(areas(50.0, header=Header(stamp=Stamp(sec=-1))))
    assert planner.limit_m_s() == 0.0, "a stamp that is no time ended the planner"


def test_who_moves_is_confirmed_and_stands_on_known_ground(planner: Any) -> None:
    mask = Panoptic(*(np.zeros((4, 4), kind) for kind in (np.uint8, np.uint16, np.uint8)), ())
    ground = GroundMotion((8.0, 0.5), (1.0, 0.0), tuple(map(tuple, np.eye(4).tolist())))
    track = Track(7, CAR, "confirmed", 1.0, 30, 0.0, (0.0, 0.0, 2.0, 2.0), (0.0, 0.0), (1.0, 1.0), ground)
    tracks = [track, track._replace(id=8, state="new"), track._replace(id=9, ground=None), None]
    things = [Segment(i, CAR, True, 0.9, 4, (0, 0, 2, 2), one) for i, one in enumerate(tracks, start=1)]
    header = Header(stamp=planner.get_clock().now().to_msg())
    planner._on_segments(fill.segments(replace(mask, segments=tuple(things)), CAMVID, header, "odom"))
    assert [one.track_id for one in planner.around()] == [7]
    planner._plan()
