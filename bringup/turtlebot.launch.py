"""Starts the node and Nav2 on a TurtleBot-like robot: ros2 launch seg_perception turtlebot.launch.py
image_topic:=/camera/image_raw nav2_params_file:=my_robot.yaml

All arguments of nav2.launch.py, and so of camera.launch.py, hold too.
"""

from pathlib import Path

from launch.actions import DeclareLaunchArgument, IncludeLaunchDescription
from launch.launch_description_sources import PythonLaunchDescriptionSource

from launch import LaunchDescription

HERE = Path(__file__).resolve().parent
OURS = {
    "params_file": str(HERE / "turtlebot_node.yaml"),
    "nav2_overlay": str(HERE / "turtlebot_nav2.yaml"),
}


def generate_launch_description() -> LaunchDescription:
    """What ros2 launch asks for."""
    nav2 = PythonLaunchDescriptionSource(str(HERE.parent / "launch" / "nav2.launch.py"))
    declared = [DeclareLaunchArgument(name, default_value=path) for name, path in OURS.items()]
    return LaunchDescription([*declared, IncludeLaunchDescription(nav2)])
