"""Plays a bag to the segmentation node, to be watched: ros2 launch seg_perception evaluate.launch.py bag:=drive
image_topic:=/front/image_raw rviz:=true

All arguments of camera.launch.py hold too. Without RViz it ends with the bag. `evaluate --bag` measures. A recording is an
order to drive for a robot that hears it: so all of it stays on this machine, on a domain that nobody else is on, unless
domain names one.
"""

import runpy
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from launch.actions import (
    DeclareLaunchArgument,
    ExecuteProcess,
    IncludeLaunchDescription,
    LogInfo,
    OpaqueFunction,
    RegisterEventHandler,
    Shutdown,
)
from launch.conditions import IfCondition, UnlessCondition
from launch.event_handlers import OnShutdown
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import SetParameter

from launch import LaunchContext, LaunchDescription
from seg_perception.errors import SegPerceptionError
from seg_perception.network import MOST_DOMAIN, joined
from seg_perception.options import whole
from seg_perception.play.answers import WATCHED
from seg_perception.play.player import refuse_publishers
from seg_perception.recordings.bag_file import Bag
from seg_perception.ros.camera_sources import find_source
from seg_perception.ros.topics import named_form, recorded_transport
from seg_perception.writing import user_path

CAMERA = Path(__file__).resolve().with_name("camera.launch.py")

REQUIRED = {"bag": "bag to play: a folder, or an .mcap or .db3 file"}
OPTIONAL = {
    "image_topic": (
        "",
        "its camera images; at <image_topic>, or /compressed, /ffmpeg or /foxglove behind it where it has but those; empty: those "
        "of source",
    ),
    "rate": ("1.0", "how many times as fast as recorded it is played"),
    "delay": ("5.0", "s until it is played, which the node takes to start"),
    "clock": ("true", "true: all go by the bag's time, from /clock; false: by the machine's"),
    "domain": (
        "",
        "ROS domain to play on for others to watch; empty: one that nobody else is on, on this machine alone",
    ),
}


def _recorded(context: LaunchContext) -> list[Any]:
    """Take images in the form that the bag has them in, where nobody says which; raises SegPerceptionError where it has none."""
    given = context.launch_configurations
    topic = given["image_topic"]
    if not topic:
        if not given.get("source"):
            raise SegPerceptionError("image_topic:= is not given: name the bag's camera images, or their source:=")
        topic, _ = find_source(given["source"]).topics(given.get("camera", ""), given.get("camera_names", ""))
    with Bag(user_path(given["bag"])) as bag:
        transport = recorded_transport(topic, bag.types)
    given["image_transport"] = given.get("image_transport") or named_form(topic)[1] or transport
    return []


def _alone(context: LaunchContext) -> list[Any]:
    """Give everything that is launched the network of a play; raises SegPerceptionError where others on a domain that was
    named publish the same."""
    named = context.launch_configurations["domain"]
    left = ExitStack()
    network = left.enter_context(joined(whole("domain", 0, MOST_DOMAIN)(named) if named else None))
    if network.shared:
        refuse_publishers(network, _played(context), "leave domain:= out")
    where = "" if network.shared else ", on this machine alone; domain:=N plays on another for others to watch"
    return [
        LogInfo(msg=f"plays on ROS domain {network.domain}{where}"),
        RegisterEventHandler(OnShutdown(on_shutdown=lambda event, context: left.close())),
    ]


def _played(context: LaunchContext) -> list[str]:
    """The topics of the bag and of the node, and the clock."""
    given = context.launch_configurations
    with Bag(user_path(given["bag"])) as bag:
        recorded = list(bag.types)
    node = f"/{given.get('namespace', '')}/segmentation/".replace("//", "/")
    return [*recorded, *(node + name for name in WATCHED), *(["/clock"] if _by_clock(context) else [])]


def _by_clock(context: LaunchContext) -> bool:
    return bool(IfCondition(LaunchConfiguration("clock")).evaluate(context))


def _player(context: LaunchContext) -> list[Any]:
    bag, rate, delay = (LaunchConfiguration(name).perform(context) for name in ("bag", "rate", "delay"))
    bag = str(user_path(bag))
    clock = ["--clock"] if _by_clock(context) else []
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
            OpaqueFunction(function=_recorded),
            OpaqueFunction(function=_alone),
            SetParameter("use_sim_time", True, condition=IfCondition(LaunchConfiguration("clock"))),
            IncludeLaunchDescription(PythonLaunchDescriptionSource(str(CAMERA))),
            OpaqueFunction(function=_player),
        ]
    )
