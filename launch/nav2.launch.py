"""Starts the segmentation node and Nav2, which drives by it: ros2 launch seg_perception nav2.launch.py
image_topic:=/camera/image_raw nav2_params_file:=my_robot.yaml

All arguments of camera.launch.py hold too. config/nav2.yaml is laid over Nav2's parameters: the local costmap reads
drivable_grid, the collision monitor free_space, both within the node's namespace. Up to Iron Nav2's navigation starts no
collision monitor, which is said at the start: see config/collision_monitor_humble.yaml.
"""

import tempfile
from pathlib import Path
from typing import Any

import yaml
from launch.actions import (
    DeclareLaunchArgument,
    IncludeLaunchDescription,
    LogInfo,
    OpaqueFunction,
    RegisterEventHandler,
)
from launch.conditions import IfCondition
from launch.event_handlers import OnShutdown
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import SetParameter

from launch import LaunchContext, LaunchDescription
from seg_perception.ros.camera_sources import find_source
from seg_perception.writing import shared_path, user_path
from seg_perception.yaml_fields import laid_over, read_yaml

HERE = Path(__file__).resolve()
CAMERA = HERE.with_name("camera.launch.py")
OURS = HERE.parents[1] / "config" / "nav2.yaml"

ARGUMENTS = {
    "nav2_params_file": ("", "your robot's parameters of Nav2; empty: those that come with nav2_bringup"),
    "nav2_overlay": (str(OURS), "what is laid over them"),
    "use_sim_time": ("", "true: by /clock; empty: as source has it, so with gazebo, else false"),
}


def _time(context: LaunchContext) -> list[Any]:
    """Let all go by one time, the source's where nobody says: a node and a Nav2 of two times find no transform of each other's."""
    given = context.launch_configurations
    if not given["use_sim_time"]:
        source = given.get("source", "")
        by_clock = bool(source) and bool(find_source(source).parameters.get("use_sim_time"))
        given["use_sim_time"] = str(by_clock).lower()
    return []


def _within(namespace: str, value: Any) -> Any:
    """Parameters for Nav2 whose topics of the node are called as they are in a namespace."""
    if isinstance(value, dict):
        return {key: _within(namespace, one) for key, one in value.items()}
    if isinstance(value, str) and value.startswith("/segmentation/") and namespace.strip("/"):
        return f"/{namespace.strip('/')}{value}"
    return value


def _unguarded(navigation: Path) -> list[Any]:
    """What to say where Nav2's own launch file starts no collision monitor, as up to Iron."""
    if not navigation.is_file() or "collision_monitor" in navigation.read_text(encoding="utf-8"):
        return []
    return [
        LogInfo(
            msg="WARNING: this Nav2 starts no collision monitor, so nothing stops the robot for what ends free_space: start "
            f"one with {OURS.with_name('collision_monitor_humble.yaml')}"
        )
    ]


def _nav2(context: LaunchContext) -> list[Any]:
    # A dependency of this file alone, so asked for where it is launched.
    from ament_index_python.packages import get_package_share_directory

    bringup = Path(get_package_share_directory("nav2_bringup"))
    given = context.launch_configurations
    named = given["nav2_params_file"]
    theirs = user_path(named) if named else bringup / "params" / "nav2_params.yaml"
    ours = _within(given.get("namespace", ""), read_yaml(shared_path(given["nav2_overlay"], OURS.parents[1])))
    merged = laid_over(read_yaml(theirs), ours)
    with tempfile.NamedTemporaryFile("w", prefix="nav2_", suffix=".yaml", delete=False) as file:
        yaml.safe_dump(merged, file)
    navigation = bringup / "launch" / "navigation_launch.py"
    source = PythonLaunchDescriptionSource(str(navigation))
    arguments = {"params_file": file.name, "use_sim_time": given["use_sim_time"]}
    return [
        IncludeLaunchDescription(source, launch_arguments=arguments.items()),
        RegisterEventHandler(OnShutdown(on_shutdown=lambda event, context: Path(file.name).unlink(missing_ok=True))),
        *_unguarded(navigation),
    ]


def generate_launch_description() -> LaunchDescription:
    """What ros2 launch asks for."""
    declared = [
        DeclareLaunchArgument(name, default_value=default, description=description)
        for name, (default, description) in ARGUMENTS.items()
    ]
    camera = IncludeLaunchDescription(PythonLaunchDescriptionSource(str(CAMERA)))
    by_clock = SetParameter("use_sim_time", True, condition=IfCondition(LaunchConfiguration("use_sim_time")))
    return LaunchDescription(
        [*declared, OpaqueFunction(function=_time), by_clock, camera, OpaqueFunction(function=_nav2)]
    )
