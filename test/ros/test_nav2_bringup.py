"""What is laid over Nav2's parameters says what Nav2 asks for: its own parameters' names and types, and topics that the node
has.

The tables are read from the declarations in Nav2's sources (navigation2, main of August 2026): costmap_2d_ros.cpp,
static_layer.cpp, inflation_layer.cpp, and collision monitor's collision_monitor_node.cpp, polygon.cpp, source.cpp; and in
semantic_segmentation_layer.cpp of kiwicampus/semantic_segmentation_layer (August 2026).
"""

from __future__ import annotations

import ast
import runpy
import sys
import tempfile
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from places import CHECKOUT

from seg_perception import model_file
from seg_perception.backends.shipped_models import find_model
from seg_perception.errors import SegPerceptionError
from seg_perception.labels import NOT_GROUND
from seg_perception.ros.camera_sources import SOURCES, find_source
from seg_perception.ros.parameters import NodeSettings
from seg_perception.ros.settings import Settings
from seg_perception.ros.topics import output, remappings
from seg_perception.yaml_fields import laid_over, read_yaml

COSTMAP = {
    **{"global_frame": str, "rolling_window": bool, "width": int, "height": int, "track_unknown_space": bool},
    **{"trinary_costmap": bool, "transform_tolerance": float, "plugins": list},
    **{"robot_base_frame": str, "resolution": float},
}
INFLATION_LAYER = {"plugin": str, "cost_scaling_factor": float, "inflation_radius": float}
SEMANTIC_LAYER = {
    **{"plugin": str, "enabled": bool, "combination_method": int, "observation_sources": str},
    **{"publish_debug_topics": bool, "use_approximate_time_sync": bool},
}
SEMANTIC_SOURCE = {
    **{"segmentation_topic": str, "confidence_topic": str, "labels_topic": str, "pointcloud_topic": str},
    **{"observation_persistence": float, "expected_update_rate": float, "class_types": list},
    **{"max_obstacle_distance": float, "min_obstacle_distance": float, "tile_map_decay_time": float},
    **{"visualize_tile_map": bool, "use_cost_selection": bool},
}
SEMANTIC_CLASSES = {
    **{"classes": list, "base_cost": int, "max_cost": int, "mark_confidence": int, "samples_to_max_cost": int},
    "dominant_priority": bool,
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
HUMBLE_POLYGON = {
    **{"type": str, "points": list, "action_type": str, "max_points": int, "visualize": bool, "enabled": bool},
    "polygon_pub_topic": str,
}
"""Of branch humble, June 2026: points are numbers, and it stops where there are more than max_points."""


OVERLAYS = ("config/nav2.yaml", "bringup/turtlebot_nav2.yaml")


@pytest.fixture(scope="module", params=OVERLAYS)
def ours(request: pytest.FixtureRequest) -> Any:
    return read_yaml(CHECKOUT / request.param)


def check(values: dict[str, Any], known: dict[str, type], *nested: str) -> None:
    for name, value in values.items():
        if name not in nested:
            assert type(value) is known[name], name


def test_the_costmap_reads_the_grid(ours: Any) -> None:
    costmap = ours["local_costmap"]["local_costmap"]["ros__parameters"]
    check(costmap, COSTMAP, "ground_layer", "semantic_layer", "inflation_layer")
    check(costmap.get("inflation_layer", {}), INFLATION_LAYER)
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


def test_humbles_collision_monitor_stops_where_later_ones_do() -> None:
    """It is another release's form of the same polygon: `points` as text ends the configuration of Humble's."""
    monitor = read_yaml(CHECKOUT / "config" / "collision_monitor_humble.yaml")["collision_monitor"]["ros__parameters"]
    later = read_yaml(CHECKOUT / "config" / "nav2.yaml")["collision_monitor"]["ros__parameters"]
    speeds = {"cmd_vel_in_topic": str, "cmd_vel_out_topic": str}
    check(monitor, MONITOR | speeds, *monitor["polygons"], *monitor["observation_sources"])
    assert monitor["polygons"] == ["StopAhead"] and monitor["cmd_vel_in_topic"] != monitor["cmd_vel_out_topic"]
    polygon = monitor["StopAhead"]
    check(polygon, HUMBLE_POLYGON)
    corners = polygon["points"]
    assert all(type(number) is float for number in corners), "a list of doubles takes no whole numbers"
    assert [*zip(corners[::2], corners[1::2])] == [*map(tuple, ast.literal_eval(later["StopAhead"]["points"]))]
    assert polygon["max_points"] + 1 == later["StopAhead"]["min_points"]
    for name in ("base_frame_id", "odom_frame_id", "source_timeout", "observation_sources", "free_space"):
        assert monitor[name] == later[name]


@pytest.mark.parametrize(
    ("text", "warns"),
    [("lifecycle_nodes = ['velocity_smoother']", True), ("['collision_monitor']", False), (None, False)],
)
def test_a_nav2_without_a_collision_monitor_is_told_at_the_start(text: str | None, warns: bool, tmp_path: Path) -> None:
    """Up to Iron: nothing then stops for free_space, and all else looks as if something did."""
    pytest.importorskip("launch_ros.actions", reason="launch comes with ROS, not from PyPI")
    unguarded = runpy.run_path(str(CHECKOUT / "launch" / "nav2.launch.py"))["_unguarded"]
    navigation = tmp_path / "navigation_launch.py"
    if text is not None:
        navigation.write_text(text)
    said = ["".join(part.text for part in one.msg) for one in unguarded(navigation)]
    assert bool(said) == warns
    assert all("no collision monitor" in one and "collision_monitor_humble.yaml" in one for one in said)


def test_the_overlay_leaves_alone_what_it_does_not_name(ours: Any) -> None:
    theirs = {
        "local_costmap": {"local_costmap": {"ros__parameters": {"resolution": 0.05, "plugins": ["voxel_layer"]}}},
        "controller_server": {"ros__parameters": {"controller_frequency": 20.0}},
    }
    merged = laid_over(theirs, ours)
    costmap = merged["local_costmap"]["local_costmap"]["ros__parameters"]
    own = ours["local_costmap"]["local_costmap"]["ros__parameters"]
    assert costmap["resolution"] == 0.05 and costmap["plugins"] == own["plugins"]
    assert merged["controller_server"] == theirs["controller_server"]
    assert merged["collision_monitor"] == ours["collision_monitor"]


def test_the_semantic_layer_gets_the_nodes_topics_and_the_models_classes() -> None:
    ours = read_yaml(CHECKOUT / "bringup" / "turtlebot_nav2.yaml")
    costmap = ours["local_costmap"]["local_costmap"]["ros__parameters"]
    layer = costmap["semantic_layer"]
    check(layer, SEMANTIC_LAYER, layer["observation_sources"])
    source = layer[layer["observation_sources"]]
    check(source, SEMANTIC_SOURCE, *source["class_types"])
    asked = {"segmentation": "label_mask", "confidence": "confidence", "labels": "label_info", "pointcloud": "points"}
    for what, topic in asked.items():
        assert source[f"{what}_topic"] == f"/segmentation/{output(topic).name}"
    listed: list[str] = []
    for kind in source["class_types"]:
        check(source[kind], SEMANTIC_CLASSES)
        listed += source[kind]["classes"]
    labels = model_file.load(find_model("auto", "onnxruntime")).labels
    assert sorted(listed) == sorted(set(labels.names) - {"sky"}), "each class once; the sky has no place"
    free = {name for name in listed if labels.by_name(name).drivable_cost != NOT_GROUND}
    assert free == {*source["free"]["classes"], *source["dear"]["classes"]}


def test_the_nodes_own_file_holds_parameters_that_there_are() -> None:
    values = read_yaml(CHECKOUT / "bringup" / "turtlebot_node.yaml")["/**"]["ros__parameters"]
    settings = Settings.from_values(values)
    costmap = read_yaml(CHECKOUT / "bringup" / "turtlebot_nav2.yaml")["local_costmap"]["local_costmap"]
    assert settings.drivable.grid_length_m >= costmap["ros__parameters"]["width"] / 2
    assert settings.drivable.resolution_m == costmap["ros__parameters"]["resolution"]
    assert settings.node.base_frame == costmap["ros__parameters"]["robot_base_frame"]


@pytest.mark.parametrize("given", [{}, {"params_file": "mine.yaml"}])
def test_the_robots_launch_file_obeys_whoever_names_other_files(given: dict[str, str]) -> None:
    pytest.importorskip("launch.actions", reason="launch comes with ROS, not from PyPI")
    from launch.actions import SetLaunchConfiguration

    from launch import LaunchContext

    description = runpy.run_path(str(CHECKOUT / "bringup" / "turtlebot.launch.py"))["generate_launch_description"]()
    context = LaunchContext()
    context.launch_configurations.update(given)
    *arguments, nav2 = description.entities
    for argument in arguments:
        argument.execute(context)
    for action in nav2.execute(context):
        if isinstance(action, SetLaunchConfiguration):
            action.execute(context)
    used = context.launch_configurations
    assert used["params_file"] == given.get("params_file", str(CHECKOUT / "bringup" / "turtlebot_node.yaml"))
    assert used["nav2_overlay"] == str(CHECKOUT / "bringup" / "turtlebot_nav2.yaml")


@pytest.mark.parametrize(("given", "wanted"), [("true", [("use_sim_time", True)]), ("false", [])])
def test_simulated_time_is_the_nodes_as_it_is_nav2s(given: str, wanted: list[tuple[str, bool]]) -> None:
    """One by the machine's time and one by /clock find no transform of the other's."""
    pytest.importorskip("launch_ros.actions", reason="launch comes with ROS, not from PyPI")
    from launch.actions import IncludeLaunchDescription
    from launch_ros.actions import SetParameter

    from launch import LaunchContext

    entities = runpy.run_path(str(CHECKOUT / "launch" / "nav2.launch.py"))["generate_launch_description"]().entities
    kinds = [type(entity) for entity in entities]
    assert kinds.index(SetParameter) < kinds.index(IncludeLaunchDescription)
    context = LaunchContext()
    context.launch_configurations["use_sim_time"] = given
    entities[kinds.index(SetParameter)].visit(context)
    assert context.launch_configurations.get("global_params", []) == wanted


@pytest.mark.parametrize(
    ("topics", "image", "info"),
    [
        ({}, "left/image", "left/camera_info"),
        ({"image_topic": "/{name}/image_raw"}, "/left/image_raw", "/left/camera_info"),
    ],
)
@pytest.mark.parametrize("in_file", [False, True])
def test_cameras_that_are_launched_by_name_alone_have_topics_of_their_own(
    topics: dict[str, str], image: str, info: str, in_file: bool, tmp_path: Path
) -> None:
    pytest.importorskip("launch_ros.actions", reason="launch comes with ROS, not from PyPI")
    from launch.actions import DeclareLaunchArgument

    from launch import LaunchContext

    launched = runpy.run_path(str(CHECKOUT / "launch" / "camera.launch.py"))
    context = LaunchContext()
    file = tmp_path / "robot.yaml"
    file.write_text("segmentation: {ros__parameters: {camera_names: [front, left]}}")
    context.launch_configurations.update({"params_file": str(file)} if in_file else {"camera_names": "front, left"})
    context.launch_configurations.update(topics)
    for entity in launched["generate_launch_description"]().entities:
        if isinstance(entity, DeclareLaunchArgument):
            entity.visit(context)
    node = launched["_nodes"](context)[0]
    node._perform_substitutions(context)
    assert {("left/image", image), ("left/camera_info", info)} < {*node.expanded_remapping_rules}
    assert all(not name.startswith(" ") for name, _ in node.expanded_remapping_rules)


@pytest.mark.parametrize("namespace", ["robot1", "/fleet/robot1/"])
def test_nav2_reads_what_a_node_in_a_namespace_publishes(ours: Any, namespace: str) -> None:
    pytest.importorskip("launch_ros.actions", reason="launch comes with ROS, not from PyPI")
    within = runpy.run_path(str(CHECKOUT / "launch" / "nav2.launch.py"))["_within"]
    own = f"/{namespace.strip('/')}"
    costmap = within(namespace, ours)["local_costmap"]["local_costmap"]["ros__parameters"]
    monitor = within(namespace, ours)["collision_monitor"]["ros__parameters"]
    assert costmap["ground_layer"]["map_topic"] == f"{own}/segmentation/drivable_grid"
    assert monitor["free_space"]["topic"] == f"{own}/segmentation/free_space"
    assert costmap["plugins"][0] == "ground_layer" and costmap["global_frame"] == "odom"
    assert within("", ours) == ours


def test_autowares_and_gazebos_cameras_are_called_as_they_call_them() -> None:
    autoware, gazebo = SOURCES["autoware"], SOURCES["gazebo"]
    assert autoware.topics("", []) == (
        "/sensing/camera/camera0/image_rect_color",
        "/sensing/camera/camera0/camera_info",
    )
    several = remappings(*autoware.topics("", ["camera1", "camera4"]), ["camera1", "camera4"])
    assert ("camera4/image", "/sensing/camera/camera4/image_rect_color") in several
    assert gazebo.topics("rgbd_camera", []) == ("/rgbd_camera/image", "/rgbd_camera/camera_info")
    for source in SOURCES.values():
        own = {name: value for name, value in source.parameters.items() if name != "use_sim_time"}
        assert Settings.from_values(own)
    with pytest.raises(SegPerceptionError, match="did you mean 'gazebo'"):
        find_source("gazbo")


def test_what_is_written_for_nav2_is_gone_with_the_launch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its launch file reads the merged parameters when it is included, and passes on a file of its own."""
    pytest.importorskip("launch_ros.actions", reason="launch comes with ROS, not from PyPI")
    from launch.events import Shutdown

    from launch import LaunchContext

    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    bringup = ModuleType("ament_index_python.packages")
    bringup.get_package_share_directory = lambda name: "/opt/nav2"  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, bringup.__name__, bringup)
    theirs = tmp_path / "theirs.yaml"
    theirs.write_text("controller_server: {ros__parameters: {controller_frequency: 20.0}}\n")
    context = LaunchContext()
    overlay = str(CHECKOUT / "config" / "nav2.yaml")
    context.launch_configurations.update(nav2_params_file=str(theirs), nav2_overlay=overlay, use_sim_time="false")
    includes, ends, *_ = runpy.run_path(str(CHECKOUT / "launch" / "nav2.launch.py"))["_nav2"](context)
    merged = Path(dict(includes.launch_arguments)["params_file"])
    assert merged.parent == tmp_path
    assert read_yaml(merged)["controller_server"] == read_yaml(theirs)["controller_server"]
    ends.execute(context)
    (handler,) = context._event_handlers
    event = Shutdown(reason="Ctrl-C")
    assert handler.matches(event)
    handler.handle(event, context)
    assert [*tmp_path.iterdir()] == [theirs]
