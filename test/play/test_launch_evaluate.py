"""evaluate.launch.py under the real launch, where ROS has one: the bag is played to the node, by the bag's time."""

# ruff: noqa: E402 - what comes with ROS alone is imported once it is known to be there
from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from launch_needs import skip_without

skip_without("launch_ros")

from eval_fixtures import write_images
from launch.actions import IncludeLaunchDescription
from launch.launch_description_sources import PythonLaunchDescriptionSource
from ros_harness import CHECKOUT, FakeCamera, Peer, make_tiny_model, ros_domain

from launch import LaunchDescription, LaunchService
from seg_perception.recordings.make import write_bag
from seg_perception.recordings.sources import FolderSource
from seg_perception.recordings.topics import IMAGE_TOPIC

PLAYER = """#!{python}
import json, os, sys
sys.path[:0] = {path}
from rcl_interfaces.srv import GetParameters
from ros_harness import FakeCamera, Peer
from sensor_msgs.msg import Image

peer = Peer("player")
camera = FakeCamera(peer, topic={topic!r})
masks = peer.listen(Image, "/segmentation/label_mask")
peer.until_heard(camera.images)
calibrated = camera.infos.get_subscription_count()
peer.until(lambda: camera.send() and masks, "a label mask")
request = GetParameters.Request(names=["use_sim_time"])
answer = peer.call(GetParameters, "/segmentation/get_parameters", request)
told = dict(
    words=sys.argv[1:],
    calibrated=calibrated,
    simulated=answer.values[0].bool_value,
    profile=os.environ.get("FASTDDS_DEFAULT_PROFILES_FILE") or os.environ.get("FASTRTPS_DEFAULT_PROFILES_FILE"),
    domain=os.environ["ROS_DOMAIN_ID"],
)
with open({told!r}, "w") as file:
    json.dump(told, file)
peer.close()
"""


@pytest.fixture(scope="module", autouse=True)
def domain() -> Iterator[None]:
    with ros_domain():
        yield


@pytest.mark.parametrize(
    ("given", "options", "simulated"),
    [
        ({}, ["--rate", "1.0", "--delay", "5.0", "--clock"], True),
        ({"clock": "false", "rate": "0.5", "delay": "1", "domain": ""}, ["--rate", "0.5", "--delay", "1"], False),
    ],
)
def test_the_bag_is_played_to_the_node_and_all_ends_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: dict[str, str], options: list[str], simulated: bool
) -> None:
    """In place of `ros2`, whose `bag` no wheel brings: a player that sends images until one is answered. All of it is
    alone, away from the domain of the environment, unless that is named."""
    robots = os.environ["ROS_DOMAIN_ID"]
    given = {name: value if name != "domain" else robots for name, value in given.items()}
    told = tmp_path / "told.json"
    ros2 = tmp_path / "ros2"
    ros2.write_text(
        PLAYER.format(
            python=sys.executable, path=[str(CHECKOUT), str(CHECKOUT / "test")], told=str(told), topic=IMAGE_TOPIC
        )
    )
    ros2.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    for variable in ("FASTDDS_DEFAULT_PROFILES_FILE", "FASTRTPS_DEFAULT_PROFILES_FILE"):
        monkeypatch.delenv(variable, raising=False)
    bag = recorded(tmp_path)
    code = launched(bag=bag, model=str(make_tiny_model(tmp_path / "tiny.onnx")), **given)
    assert code == 0 and os.environ["ROS_DOMAIN_ID"] == robots
    heard: dict[str, Any] = json.loads(told.read_text())
    assert heard["words"] == ["bag", "play", bag, *options]
    assert (heard["calibrated"], heard["simulated"]) == (1, simulated)
    alone = "domain" not in given
    assert (heard["domain"] != robots) == alone
    assert heard["profile"] == str(CHECKOUT / "config" / ("fastdds_loopback.xml" if alone else "fastdds_shm.xml"))


def test_a_robot_whose_topics_the_bag_has_is_not_played_to(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    log = logging.getLogger("launch")
    log.addHandler(caplog.handler)  # it hands nothing on
    robot = Peer("front_driver")
    try:
        camera = FakeCamera(robot, topic=IMAGE_TOPIC)
        assert launched(bag=recorded(tmp_path), domain=os.environ["ROS_DOMAIN_ID"]) == 1
        assert camera.images.get_subscription_count() == 0
    finally:
        robot.close()
        log.removeHandler(caplog.handler)
    assert f"/front_driver on {IMAGE_TOPIC}" in caplog.text


def recorded(folder: Path) -> str:
    write_bag(FolderSource(write_images(folder / "images", 2)[0].parent), folder / "drive", "mcap")
    return str(folder / "drive")


def launched(**given: str) -> int:
    """The exit code of the launch with these arguments."""
    source = PythonLaunchDescriptionSource(str(CHECKOUT / "launch" / "evaluate.launch.py"))
    arguments = {"image_topic": IMAGE_TOPIC, **given}
    service = LaunchService(argv=[])
    service.include_launch_description(
        LaunchDescription([IncludeLaunchDescription(source, launch_arguments=arguments.items())])
    )
    return int(service.run())
