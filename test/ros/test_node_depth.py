"""Depth beside the images, with the real node over real DDS: what it changes, and every way in which it can be of no use."""

from __future__ import annotations

import array
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fakes import TWO_LABELS, tiny_model
from ros_harness import EVERY_MESSAGE, SENSOR_DATA, FakeCamera, NodeProcess, Peer, connect, newest, values_of
from sensor_msgs.msg import Image, LaserScan, PointCloud2

from seg_perception.results import POINT

AWAY_M = 3.0
SIZE_WH = (192, 128)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One that finds road, and cars on it, in the fake camera's pictures."""
    return tiny_model(tmp_path_factory.mktemp("models") / "tiny.onnx", labels=TWO_LABELS, seed=3).path


def depth_of(image: Image, values: Any, encoding: str, later_s: float = 0.0, frame_id: str | None = None) -> Image:
    """A depth message beside an image."""
    pixels = np.ascontiguousarray(values)
    message = Image(encoding=encoding, height=pixels.shape[0], width=pixels.shape[1], step=pixels.strides[0])
    message.data = array.array("B", pixels.tobytes())
    at_ns = image.header.stamp.sec * 10**9 + image.header.stamp.nanosec + round(later_s * 1e9)
    message.header.stamp.sec, message.header.stamp.nanosec = divmod(at_ns, 10**9)
    message.header.frame_id = image.header.frame_id if frame_id is None else frame_id
    return message


METRES = np.full(SIZE_WH[::-1], AWAY_M, np.float32)
MILLIMETRES = np.full(SIZE_WH[::-1], AWAY_M * 1000, np.uint16)
BAD: list[tuple[str, str, Any, str, dict[str, Any]]] = [
    ("depth_units", "times as far away", METRES * 1000, "32FC1", {}),
    ("depth_empty", "0.0% of the image", METRES * np.nan, "32FC1", {}),
    ("depth_empty", "0.0% of the image", MILLIMETRES * 0, "16UC1", {}),
    ("depth_size", "depth is 96x64 px and the image 192x128", METRES[::2, ::2], "32FC1", {}),
    ("depth_frame", "of the frame 'depth_optical'", METRES, "32FC1", {"frame_id": "depth_optical"}),
    ("depth_encoding", "has the encoding 'rgb8'", np.zeros((128, 192 * 3), np.uint8), "rgb8", {}),
    ("depth_unpaired", "more than depth_tolerance (0.05 s)", METRES, "32FC1", {"later_s": -0.3}),
    ("depth_clock", "let one clock stamp both", METRES, "32FC1", {"later_s": 3600.0}),
]


def test_depth_places_what_is_seen_and_every_trouble_with_it_is_told(
    start: Callable[..., NodeProcess], peer: Peer
) -> None:
    camera = FakeCamera(peer, size_wh=SIZE_WH)
    sender = peer.node.create_publisher(Image, "depth", EVERY_MESSAGE)
    masks = peer.listen(Image, "/segmentation/label_mask")
    clouds = peer.listen(PointCloud2, "/segmentation/points", SENSOR_DATA)
    scans = peer.listen(LaserScan, "/segmentation/free_space", SENSOR_DATA)
    diagnostics = peer.diagnostics()
    process = start(depth_topic="depth", camera_pose=[0.0, 0.0, 1.2, 0.0, 0.2, 0.0])
    connect(peer, camera, masks)
    peer.until_heard(sender)
    camera.send_info()

    def places(cloud: Any) -> Any:
        return np.frombuffer(bytes(cloud.data), POINT).reshape(cloud.height, cloud.width)

    def answered(values: Any, encoding: str, **how: Any) -> Any:
        image = camera.message()
        sender.publish(depth_of(image, values, encoding, **how))
        camera.send(image)
        return places(peer.until(lambda: newest(scans, image) and newest(clouds, image), "points"))

    def said(cause: str) -> dict[str, str]:
        values = values_of(diagnostics, "camera")
        return values if cause in values else {}

    peer.until(lambda: (camera.send(), said("depth_missing"))[1], "depth that never came")
    peer.until(lambda: camera.send() and clouds, "points without depth")
    flat = places(clouds[-1])
    assert np.isnan(flat["x"]).any()
    for values, encoding in ((METRES, "32FC1"), (MILLIMETRES, "16UC1")):
        found = answered(values, encoding)
        while np.isnan(found["x"]).any():  # depth that came after its image was run
            found = answered(values, encoding)
        # The optical axis points 0.2 rad down, and along it all is equally far.
        ahead = found["x"] * np.cos(0.2) - (found["z"] - 1.2) * np.sin(0.2)
        np.testing.assert_allclose(ahead, AWAY_M, atol=1e-3)

    for cause, words, values, encoding, how in BAD:
        before = int(said(cause).get(cause, "0"))

        def told(cause: str = cause, words: str = words, before: int = before) -> bool:
            answered(values, encoding, **how)  # noqa: B023 - called within the loop's turn
            found = said(cause)
            return bool(found) and int(found[cause]) > before and words in found["message"] and found["level"] == "1"

        peer.until(told, f"{cause}: {words}")
        process.wait_for_line(words)
    flat_again = answered(METRES * np.nan, "32FC1")
    np.testing.assert_array_equal(np.isnan(flat_again["x"]), np.isnan(flat["x"]))
