"""camera.launch.py under the real launch, where ROS has one: the node answers on the topic that was forwarded."""

# ruff: noqa: E402 - what comes with ROS alone is imported once it is known to be there
from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from launch_needs import skip_without

skip_without("launch_ros", "launch_pytest")

import launch_pytest
from launch.actions import IncludeLaunchDescription
from launch.launch_description_sources import PythonLaunchDescriptionSource
from ros_harness import CHECKOUT, FakeCamera, Peer, make_tiny_model, ros_domain
from sensor_msgs.msg import Image

from launch import LaunchDescription

TOPIC = "/front/image_raw"


@pytest.fixture(scope="module")
def domain() -> Iterator[None]:
    with ros_domain():
        yield


@launch_pytest.fixture(scope="module")
def launched(domain: None, tmp_path_factory: pytest.TempPathFactory) -> LaunchDescription:
    model = make_tiny_model(tmp_path_factory.mktemp("model") / "tiny.onnx")
    source = PythonLaunchDescriptionSource(str(CHECKOUT / "launch" / "camera.launch.py"))
    arguments = {
        "image_topic": TOPIC,
        "camera_info_topic": "/front/camera_info",
        "model": str(model),
        "namespace": "robot",
    }
    return LaunchDescription([IncludeLaunchDescription(source, launch_arguments=arguments.items())])


@pytest.mark.launch(fixture=launched)
def test_the_launched_node_segments_the_forwarded_topic(launched: Any) -> None:
    peer = Peer()
    try:
        camera = FakeCamera(peer, topic=TOPIC)
        masks = peer.listen(Image, "/robot/segmentation/label_mask")
        peer.until_heard(camera.images)
        peer.until_served(["/robot/segmentation/label_mask"])
        peer.until(lambda: camera.send() and masks, "a label mask")
        assert masks[0].encoding == "mono8" and masks[0].header.frame_id == camera.frame_id
    finally:
        peer.close()
