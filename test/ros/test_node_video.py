"""The real node over DDS: cameras that send video, two publishers on one topic, and ends of a topic that do not fit."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from ros_harness import RELIABLE, SENSOR_DATA, FakeCamera, NodeProcess, Peer, connect, values_of
from sensor_msgs.msg import CompressedImage, Image, LaserScan
from video_streams import HEIGHT, WIDTH, Packet, stream

StartNode = Callable[..., NodeProcess]
BEST_EFFORT = QoSProfile(depth=100, reliability=ReliabilityPolicy.BEST_EFFORT)
EVERY = QoSProfile(depth=100, reliability=ReliabilityPolicy.RELIABLE)


class VideoCamera:
    """Sends packets as image_transport's plugins do."""

    def __init__(self, peer: Peer, transport: str, qos: QoSProfile = EVERY) -> None:
        package, name = {
            "foxglove": ("foxglove_msgs", "CompressedVideo"),
            "ffmpeg": ("ffmpeg_image_transport_msgs", "FFMPEGPacket"),
        }[transport]
        module = pytest.importorskip(
            f"{package}.msg", reason=f"{package} is not installed: it comes with ROS, not from PyPI"
        )
        self._kind, self._peer = getattr(module, name), peer
        self.publisher = peer.node.create_publisher(self._kind, f"image/{transport}", qos)

    def send(self, packet: Packet, codec: str = "h264") -> Any:
        """Publish a packet, stamped now; returns the stamp."""
        stamp = self._peer.node.get_clock().now().to_msg()
        if hasattr(self._kind, "timestamp"):
            message = self._kind(timestamp=stamp, frame_id="front", format=codec)
        else:
            message = self._kind(
                width=WIDTH, height=HEIGHT, encoding=codec, pts=packet.number, flags=int(packet.is_key)
            )
            message.header.stamp, message.header.frame_id = stamp, "front"
        message.data = packet.data
        self.publisher.publish(message)
        return stamp


def camera_of(arrays: list[Any]) -> dict[str, str]:
    return values_of(arrays, "camera")


@pytest.mark.parametrize(
    ("transport", "qos"), [("foxglove", EVERY), ("ffmpeg", EVERY), ("foxglove", BEST_EFFORT)], ids=str
)
def test_video_gives_masks_under_the_stamps_of_its_packets(
    start: StartNode, peer: Peer, transport: str, qos: QoSProfile
) -> None:
    camera = VideoCamera(peer, transport, qos)
    node = start(image_transport=transport)
    masks, diagnostics = peer.listen(Image, "/segmentation/label_mask", RELIABLE), peer.diagnostics()
    packets = stream("h264", 40, gop=10)[3:]
    sent = []
    node.wait_for_line("ready")
    peer.until_heard(camera.publisher)
    for packet in packets:
        sent.append(camera.send(packet))
        # A mask of each: the node takes the newest only.
        peer.until(lambda: packet.number < 10 or len(masks) or len(sent) < 8, "a mask")  # noqa: B023
        time.sleep(0)
    peer.until(lambda: masks and masks[-1].header.stamp == sent[-1], "the mask of the last packet")
    assert (masks[-1].width, masks[-1].height, masks[-1].header.frame_id) == (WIDTH, HEIGHT, "front")
    assert all(mask.header.stamp in sent[7:] for mask in masks)
    peer.until(lambda: camera_of(diagnostics).get("bad_no_key_frame") == "7", "what was skipped to be counted")


def test_two_encoders_on_one_topic_make_no_stream_and_are_named(start: StartNode, peer: Peer) -> None:
    one, other = VideoCamera(peer, "foxglove"), VideoCamera(peer, "foxglove")
    start(image_transport="foxglove")
    masks, diagnostics = peer.listen(Image, "/segmentation/label_mask", RELIABLE), peer.diagnostics()
    peer.until_heard(one.publisher)
    peer.until_heard(other.publisher)
    packets = stream("h264", 12, gop=12)
    for packet in packets:
        last = one.send(packet)
        other.send(packet)
    peer.until(lambda: masks and masks[-1].header.stamp == last, "the first encoder's last frame")
    named = lambda: any("2 publishers send images" in camera_of([one]).get("message", "") for one in diagnostics)  # noqa: E731
    peer.until(named, "both to be named")
    found = peer.until(
        lambda: camera_of(diagnostics).get("bad_two_publishers") == "12" and camera_of(diagnostics), "12"
    )
    assert "bad_no_key_frame" not in found


def test_two_cameras_on_one_topic_are_named_and_run(start: StartNode, peer: Peer) -> None:
    camera, other = FakeCamera(peer), peer.node.create_publisher(Image, "image", EVERY)
    start()
    masks, diagnostics = peer.listen(Image, "/segmentation/label_mask", RELIABLE), peer.diagnostics()
    connect(peer, camera, masks)
    message = peer.until(
        lambda: camera.send() and "publishers" in (m := camera_of(diagnostics).get("message", "")) and m, "a warning"
    )
    assert "2 publishers send images on this topic (/peer)" in message
    peer.node.destroy_publisher(other)
    peer.until(lambda: camera.send() and camera_of(diagnostics).get("message") == "running", "all to be well")


@pytest.mark.parametrize(
    ("topic", "kind", "qos", "policy"),
    [
        ("/segmentation/free_space", LaserScan, RELIABLE, "RELIABILITY"),
        ("/segmentation/label_mask", Image, QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL), "DURABILITY"),
    ],
)  # fmt: skip
def test_a_subscriber_that_asks_for_another_qos_is_named(
    start: StartNode, peer: Peer, topic: str, kind: Any, qos: QoSProfile, policy: str
) -> None:
    camera = FakeCamera(peer)
    node = start()
    masks, diagnostics = peer.listen(Image, "/segmentation/label_mask", SENSOR_DATA), peer.diagnostics()
    connect(peer, camera, masks)
    began_s = time.monotonic()
    subscription = peer.node.create_subscription(kind, topic, lambda message: None, qos)
    node.wait_for_line(f"somebody subscribes to {topic} and asks for another {policy}")
    message = peer.until(
        lambda: camera.send() and topic in (m := camera_of(diagnostics).get("message", "")) and m, "a warning"
    )
    print(f"named after {time.monotonic() - began_s:.2f} s")
    assert policy in message
    peer.node.destroy_subscription(subscription)
    peer.until(lambda: camera.send() and camera_of(diagnostics).get("message") == "running", "all to be well")


def test_images_of_another_type_than_the_transport_are_named(start: StartNode, peer: Peer) -> None:
    publisher = peer.node.create_publisher(CompressedImage, "image", EVERY)
    start()
    diagnostics = peer.diagnostics()
    publisher.publish(CompressedImage(format="jpeg", data=np.zeros(4, np.uint8).tobytes()))
    peer.until(
        lambda: (
            "sends sensor_msgs/msg/CompressedImage on this topic, and sensor_msgs/msg/Image is taken"
            in camera_of(diagnostics).get("message", "")
        ),
        "a warning",
    )


@pytest.mark.parametrize(
    ("transport", "package"), [("foxglove", "foxglove_msgs"), ("ffmpeg", "ffmpeg_image_transport_msgs")]
)
def test_video_without_its_messages_is_refused_with_what_to_install(
    start: StartNode, peer: Peer, transport: str, package: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    broken = tmp_path / package
    broken.mkdir()
    (broken / "__init__.py").write_text(f"raise ImportError('No module named {package}')\n")
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:{os.environ.get('PYTHONPATH', '')}")
    node = start(image_transport=transport)
    node.wait_for_line(f"needs the messages of {package}")
    assert node.wait() != 0 and "install ros-<distro>-" in node.output
