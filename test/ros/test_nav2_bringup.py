"""config/nav2.yaml says to Nav2 what Nav2 asks for: its own parameters' names and types, and topics that the node has.

The table is read from the declarations in Nav2's sources (navigation2, main of August 2026): costmap_2d_ros.cpp,
static_layer.cpp, and collision monitor's collision_monitor_node.cpp, polygon.cpp, source.cpp.
"""

from __future__ import annotations

import ast
from typing import Any

import pytest
from places import CHECKOUT

from seg_perception.ros.parameters import NodeSettings
from seg_perception.ros.topics import output
from seg_perception.yaml_fields import laid_over, read_yaml

COSTMAP = {
    **{"global_frame": str, "rolling_window": bool, "width": int, "height": int, "track_unknown_space": bool},
    **{"trinary_costmap": bool, "transform_tolerance": float, "plugins": list},
}
STATIC_LAYER = {
    **{"plugin": str, "enabled": bool, "map_topic": str, "map_subscribe_transient_local": bool},
    **{"subscribe_to_updates": bool, "footprint_clearing_enabled": bool, "restore_cleared_footprint": bool},
}
MONITOR = {
    **{"base_frame_id": str, "odom_frame_id": str, "source_timeout": float, "polygons": list},
    "observation_sources": list,
}
POLYGON = {
    **{"type": str, "points": str, "action_type": str, "min_points": int, "visualize": bool, "enabled": bool},
    **{"polygon_pub_topic": str, "footprint_topic": str, "time_before_collision": float},
    "simulation_time_step": float,
}
SOURCE = {"type": str, "topic": str, "enabled": bool}


@pytest.fixture(scope="module")
def ours() -> Any:
    return read_yaml(CHECKOUT / "config" / "nav2.yaml")


def check(values: dict[str, Any], known: dict[str, type], *nested: str) -> None:
    for name, value in values.items():
        if name not in nested:
            assert type(value) is known[name], name


def test_the_costmap_reads_the_grid(ours: Any) -> None:
    costmap = ours["local_costmap"]["local_costmap"]["ros__parameters"]
    check(costmap, COSTMAP, "ground_layer")
    layer = costmap["ground_layer"]
    check(layer, STATIC_LAYER)
    assert layer["map_topic"] == f"/segmentation/{output('drivable_grid').name}"
    assert layer["map_subscribe_transient_local"] == ("transient local" in output("drivable_grid").qos)
    assert costmap["plugins"][0] == "ground_layer" and costmap["plugins"][-1] == "inflation_layer"
    assert costmap["track_unknown_space"] and not costmap["trinary_costmap"], "else most of the grid is thrown away"


def test_the_collision_monitor_stops_for_what_ends_free_space(ours: Any) -> None:
    monitor = ours["collision_monitor"]["ros__parameters"]
    check(monitor, MONITOR, *monitor["polygons"], *monitor["observation_sources"])
    for name in monitor["polygons"]:
        check(monitor[name], POLYGON)
        assert monitor[name]["type"] == "polygon" and monitor[name]["action_type"] in ("stop", "approach")
        assert monitor[name]["min_points"] == 1, "a post is one bearing of the scan"
    for name in monitor["observation_sources"]:
        check(monitor[name], SOURCE)
        assert (
            monitor[name]["topic"] == f"/segmentation/{output('free_space').name}" and monitor[name]["type"] == "scan"
        )
    corners = ast.literal_eval(monitor["StopAhead"]["points"])
    assert len(corners) >= 3 and all(len(corner) == 2 for corner in corners)
    assert (
        monitor["base_frame_id"] == NodeSettings().base_frame and monitor["odom_frame_id"] == NodeSettings().odom_frame
    )


def test_the_overlay_leaves_alone_what_it_does_not_name(ours: Any) -> None:
    theirs = {
        "local_costmap": {"local_costmap": {"ros__parameters": {"resolution": 0.05, "plugins": ["voxel_layer"]}}},
        "controller_server": {"ros__parameters": {"controller_frequency": 20.0}},
    }
    merged = laid_over(theirs, ours)
    costmap = merged["local_costmap"]["local_costmap"]["ros__parameters"]
    assert costmap["resolution"] == 0.05 and costmap["plugins"] == ["ground_layer", "inflation_layer"]
    assert merged["controller_server"] == theirs["controller_server"]
    assert merged["collision_monitor"] == ours["collision_monitor"]
