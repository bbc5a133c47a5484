"""Plays a bag to the segmentation node, to be watched: ros2 launch seg_perception evaluate.launch.py bag:=drive
image_topic:=/front/image_raw rviz:=true

All arguments of camera.launch.py hold too. Without RViz it ends with the bag. `evaluate --bag` measures.
"""

import runpy
from pathlib import Path
from typing import Any

from launch.actions import DeclareLaunchArgument, ExecuteProcess, IncludeLaunchDescription, OpaqueFunction, Shutdown
from launch.conditions import IfCondition, UnlessCondition
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import SetParameter

from launch import LaunchContext, LaunchDescription

CAMERA = Path(__file__).resolve().with_name("camera.launch.py")

REQUIRED = {
    "bag": "bag to play: a folder, or an .mcap or .db3 file",
    "image_topic": "its camera images; compressed ones lie at <image_topic>/compressed, see image_transport",
}
OPTIONAL = {
    "camera_info_topic": ("", "calibration of that camera; empty: camera_info beside image_topic"),
    "rate": ("1.0", "how many times as fast as recorded it is played"),
    "delay": ("5.0", "s until it is played, which the node takes to start"),
    "clock": ("true", "true: all go by the bag's time, from /clock; false: by the machine's"),
}


def _calibration(context: LaunchContext) -> list[Any]:
    given = context.launch_configurations
    given["camera_info_topic"] = given["camera_info_topic"] or "/".join(
        (*given["image_topic"].split("/")[:-1], "camera_info")
    )
    return []


def _player(context: LaunchContext) -> list[Any]:
    bag, rate, delay = (LaunchConfiguration(name).perform(context) for name in ("bag", "rate", "delay"))
    clock = ["--clock"] if IfCondition(LaunchConfiguration("clock")).evaluate(context) else []
    return [
        ExecuteProcess(
            cmd=["ros2", "bag", "play", bag, "--rate", rate, "--delay", delay, *clock],
            additional_env=runpy.run_path(str(CAMERA))["fast_dds_profile"](),
            output="screen",
            on_exit=[Shutdown(reason="the bag has ended", condition=UnlessCondition(LaunchConfiguration("rviz")))],
        )
    ]


def generate_launch_description() -> LaunchDescription:
    """What ros2 launch asks for."""
    return LaunchDescription(
        [
            *(DeclareLaunchArgument(name, description=words) for name, words in REQUIRED.items()),
            *(
                DeclareLaunchArgument(name, default_value=default, description=words)
                for name, (default, words) in OPTIONAL.items()
            ),
            SetParameter("use_sim_time", True, condition=IfCondition(LaunchConfiguration("clock"))),
            OpaqueFunction(function=_calibration),
            IncludeLaunchDescription(PythonLaunchDescriptionSource(str(CAMERA))),
            OpaqueFunction(function=_player),
        ]
    )
