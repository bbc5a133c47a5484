"""Starts the segmentation node on one camera: ros2 launch seg_perception camera.launch.py image_topic:=/front/image_raw
or on several: ros2 launch seg_perception camera.launch.py camera_names:=front,left,right,rear \\
    image_topic:=/{name}/image_raw camera_info_topic:=/{name}/camera_info params_file:=config/four_cameras.yaml

Forwards its arguments and nothing else: defaults stand in the node's parameters, overrides in the parameter file.
"""

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from launch.actions import DeclareLaunchArgument, ExecuteProcess, OpaqueFunction
from launch.conditions import IfCondition
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node

from launch import LaunchContext, LaunchDescription
from seg_perception.errors import SegPerceptionError
from seg_perception.fast_dds import profile_environment
from seg_perception.ros.camera_sources import find_source
from seg_perception.ros.settings import camera_names_of
from seg_perception.ros.topics import info_beside, named_form, remappings
from seg_perception.writing import shared_path
from seg_perception.yaml_fields import read_yaml

CONFIG = Path(__file__).resolve().parents[1] / "config"

ARGUMENTS = {
    "source": ("", "autoware or gazebo: frames as those call them, and topics where image_topic is not given"),
    "camera": ("", "which camera of source; empty: camera0 of Autoware, camera of Gazebo"),
    "image_topic": (
        "",
        "camera image, empty: image, of camera_names <name>/image; its other forms are looked for at <image_topic>/compressed, "
        "/ffmpeg and /foxglove",
    ),
    "camera_info_topic": (
        "",
        "calibration of that camera; empty: camera_info beside image_topic, without one camera_info, of camera_names "
        "<name>/camera_info, which it is too where beside image_topic there is one for all",
    ),
    "camera_names": (
        "",
        "several cameras, with commas between; the two topics above then hold {name}, and each has outputs ~/<name>/…; empty: as "
        "in params_file",
    ),
    "image_transport": ("", "raw, compressed, ffmpeg or foxglove; empty: as in params_file"),
    "params_file": (
        str(CONFIG / "camera.yaml"),
        "parameters of the node; a relative path is looked up in the working folder, then beside this package",
    ),
    "model": ("", "model file; empty: as in params_file"),
    "namespace": ("", "namespace of the node and its relative topics"),
    "log_level": ("info", "debug, info, warn, error or fatal"),
    "dashboard": ("false", "true: a page too, at http://127.0.0.1:8650, with what the node sees and says"),
    "rviz": ("false", "true: RViz too, with config/seg_perception.rviz"),
}


def fast_dds_profile() -> dict[str, str]:
    """The environment that gives whole images room between processes; nothing where it has a profile already."""
    return profile_environment(os.environ, CONFIG / "fastdds_shm.xml")


def _refuse_contradictions(given: dict[str, str], names: Sequence[str]) -> None:
    """Raise SegPerceptionError for arguments of which one would be left out without a word."""
    if given["camera"] and not given["source"]:
        raise SegPerceptionError(
            f"camera:={given['camera']} is one of source:=, which is not given: give it, or image_topic"
        )
    if given["camera"] and names:
        raise SegPerceptionError(
            f"camera:={given['camera']} is one camera while there are camera_names ({', '.join(names)}): leave one of them out"
        )
    if given["camera"] and given["image_topic"]:
        raise SegPerceptionError(
            f"camera:={given['camera']} is a camera of {given['source']} while image_topic:={given['image_topic']} names the "
            "images: leave one of them out"
        )
    if given["source"] and given["camera_info_topic"] and not given["image_topic"]:
        raise SegPerceptionError(
            f"source:={given['source']} would take images of its own with the calibration {given['camera_info_topic']}, maybe of "
            "another camera: give image_topic too"
        )


def _take_form(given: dict[str, str]) -> None:
    """Take a topic of images in another form, as `ros2 topic list` shows it, for the images' and that form. Raises
    SegPerceptionError where image_transport is another one."""
    topic, form = named_form(given["image_topic"])
    if form and given["image_transport"] not in ("", form):
        raise SegPerceptionError(
            f"image_topic:={given['image_topic']} is of {form} images and image_transport:={given['image_transport']}: leave one "
            "of them out"
        )
    given["image_topic"], given["image_transport"] = topic, given["image_transport"] or form


def _clock(context: LaunchContext) -> str:
    """What the launch file around this one says of simulated time: that of a source is then as it says; empty: nothing."""
    given = context.launch_configurations
    return str(given.get("use_sim_time") or given.get("clock") or "")


def _nodes(context: LaunchContext) -> list[Any]:
    given = {name: LaunchConfiguration(name).perform(context) for name in ARGUMENTS}
    _take_form(given)
    given["params_file"] = str(shared_path(given["params_file"], CONFIG.parent))
    named = [name.strip() for name in given["camera_names"].split(",") if name.strip()]
    names = named or camera_names_of(read_yaml(Path(given["params_file"])))
    forwarded: dict[str, Any] = {name: given[name] for name in ("model", "image_transport") if given[name]}
    if named:
        forwarded["camera_names"] = named
    _refuse_contradictions(given, names)
    prefix = "{name}/" if names else ""
    image_topic, camera_info_topic = f"{prefix}image", f"{prefix}camera_info"
    if given["source"]:
        source = find_source(given["source"])
        image_topic, camera_info_topic = source.topics(given["camera"], names)
        forwarded.update(source.parameters)
        if "use_sim_time" in forwarded and _clock(context):
            forwarded["use_sim_time"] = bool(IfCondition(_clock(context)).evaluate(context))
    if given["image_topic"]:
        image_topic, camera_info_topic = given["image_topic"], info_beside(given["image_topic"])
    profile = fast_dds_profile()
    perception = Node(
        package="seg_perception",
        executable="segmentation",
        name="segmentation",
        namespace=given["namespace"],
        parameters=[given["params_file"], *([forwarded] if forwarded else [])],
        remappings=remappings(image_topic, given["camera_info_topic"] or camera_info_topic, names),
        arguments=["--ros-args", "--log-level", given["log_level"]],
        additional_env=profile,
        output="screen",
    )
    viewer = Node(
        package="rviz2",
        executable="rviz2",
        name="rviz2",
        namespace=given["namespace"],
        arguments=["-d", str(CONFIG / "seg_perception.rviz")],
        parameters=[{"use_sim_time": forwarded["use_sim_time"]}] if "use_sim_time" in forwarded else [],
        additional_env=profile,
        condition=IfCondition(LaunchConfiguration("rviz")),
    )
    page = ExecuteProcess(
        cmd=[sys.executable, "-m", "seg_perception", "dashboard"],
        additional_env=profile,
        output="screen",
        condition=IfCondition(LaunchConfiguration("dashboard")),
    )
    return [perception, viewer, page]


def generate_launch_description() -> LaunchDescription:
    """What ros2 launch asks for."""
    declared = [
        DeclareLaunchArgument(name, default_value=default, description=description)
        for name, (default, description) in ARGUMENTS.items()
    ]
    return LaunchDescription([*declared, OpaqueFunction(function=_nodes)])
