"""The real node as a process of its own, over real DDS, with a fake camera."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from diagnostic_msgs.msg import DiagnosticArray
from lifecycle_msgs.msg import Transition
from nav_msgs.msg import OccupancyGrid
from rcl_interfaces.srv import DescribeParameters
from ros_harness import (
    LATCHED,
    RELIABLE,
    SENSOR_DATA,
    FakeCamera,
    NodeProcess,
    Peer,
    change_state,
    connect,
    make_tiny_model,
    newest,
    set_parameters,
    stamp_ns,
    state,
    values_of,
)
from sensor_msgs.msg import CameraInfo, CompressedImage, Image, LaserScan, PointCloud2

from seg_perception import backends, model_file
from seg_perception.camera.messages import to_rgb
from seg_perception.labels import VOID
from seg_perception.pipeline import Pipeline
from seg_perception.results import Frame
from seg_perception.ros.fill_messages import jpeg
from seg_perception_msgs.msg import DrivableAreas, Segments

POSE = [0.0, 0.0, 1.2, 0.0, 0.2, 0.0]
TOPICS: dict[str, tuple[Any, Any]] = {
    "label_mask": (Image, RELIABLE),
    "instance_mask": (Image, RELIABLE),
    "confidence": (Image, RELIABLE),
    "segments": (Segments, RELIABLE),
    "drivable_areas": (DrivableAreas, RELIABLE),
    "drivable_grid": (OccupancyGrid, LATCHED),
    "free_space": (LaserScan, SENSOR_DATA),
    "points": (PointCloud2, SENSOR_DATA),
    "camera_info": (CameraInfo, SENSOR_DATA),
    "segmentation_mask": (Image, RELIABLE),
    "segmentation_mask/compressed": (CompressedImage, RELIABLE),
}
GROUND = ("drivable_grid", "free_space", "points")

StartNode = Callable[..., NodeProcess]


def listen_to_all(peer: Peer, prefix: str = "/segmentation/") -> dict[str, list[Any]]:
    return {name: peer.listen(kind, prefix + name, qos) for name, (kind, qos) in TOPICS.items()}


def pixels(message: Image) -> Any:
    """A mask message as an array, checked to be unpadded."""
    dtype = np.dtype("<u2") if message.encoding == "mono16" else np.dtype(np.uint8)
    channels = 3 if message.encoding == "rgb8" else 1
    assert message.step == message.width * channels * dtype.itemsize
    assert message.is_bigendian == 0
    shape = (message.height, message.width, 3)[: 3 if channels == 3 else 2]
    return np.frombuffer(message.data, dtype).reshape(shape)


def test_every_output_of_one_frame(start: StartNode, peer: Peer, model: Path) -> None:
    """Header, encoding, size and rows of every topic, and masks that equal the pipeline's, pixel by pixel."""
    process = start(camera_pose=POSE, camera_timeout=60.0)  # a stalled camera takes the latched grid back
    camera = FakeCamera(peer)
    received = listen_to_all(peer)
    connect(peer, camera, received["label_mask"])
    camera.send_info()
    peer.until(lambda: camera.send() and all(received.values()), f"all of {list(received)}")
    sent = camera.send()
    peer.until(lambda: all(newest(messages, sent) for messages in received.values()), f"all of {list(received)}")
    got = {name: newest(messages, sent) for name, messages in received.items()}

    width, height = camera.size_wh
    for name, message in got.items():
        assert message.header.stamp == sent.header.stamp, name
        assert message.header.frame_id == ("base_footprint" if name in GROUND else camera.frame_id), name
    encodings = {"label_mask": "mono8", "instance_mask": "mono16", "confidence": "mono8", "segmentation_mask": "rgb8"}
    for name, encoding in encodings.items():
        assert (got[name].encoding, got[name].width, got[name].height) == (encoding, width, height)
    assert got["drivable_areas"].ground_frame == "base_footprint"
    assert (got["segments"].width, got["segments"].height) == (width, height)

    info = model_file.load(model)
    pipeline = Pipeline(info, backends.choose(info, backend="onnxruntime", log=print))
    expected = pipeline.run(Frame(to_rgb(sent))).panoptic
    assert len(np.unique(expected.semantic)) > 2
    assert np.array_equal(pixels(got["label_mask"]), expected.semantic)
    assert np.array_equal(pixels(got["instance_mask"]), expected.instance)
    assert np.array_equal(pixels(got["confidence"]), expected.confidence)
    assert [s.area for s in got["segments"].segments] == [s.area for s in expected.segments]
    overlay = cv2.imdecode(np.frombuffer(got["segmentation_mask/compressed"].data, np.uint8), cv2.IMREAD_COLOR)
    assert overlay.shape == pixels(got["segmentation_mask"]).shape

    for name, (_, qos) in TOPICS.items():
        (offered,) = peer.node.get_publishers_info_by_topic(f"/segmentation/{name}")
        assert (offered.qos_profile.reliability, offered.qos_profile.durability) == (qos.reliability, qos.durability)

    late = Peer("late")
    try:
        grids = late.listen(OccupancyGrid, "/segmentation/drivable_grid", LATCHED)
        late.until(lambda: grids, "the grid for a late subscriber, without a new image")
        assert grids[0].header.stamp == sent.header.stamp
        assert len(grids[0].data) == grids[0].info.width * grids[0].info.height
    finally:
        late.close()
    assert process.stop() == 0, process.output


def test_bad_frames_are_named_while_good_ones_flow(start: StartNode, peer: Peer) -> None:
    process = start()
    camera = FakeCamera(peer)
    masks = peer.listen(Image, "/segmentation/label_mask")
    diagnostics = peer.listen(DiagnosticArray, "/diagnostics")
    connect(peer, camera, masks)

    bad: list[tuple[dict[str, Any], str]] = [
        ({"encoding": "rgb9"}, "the image has the encoding 'rgb9', which is not read: did you mean 'rgb8'?"),
        ({"height": 1000}, "the image holds 73728 bytes, but 192x1000 rgb8 with step 576 takes 576000"),
        ({"width": 0}, "the image is 0x128 pixels"),
        ({"width": 60_000, "height": 50_000}, "the image is 60000x50000, 3000000000 pixels, and at most 40000000"),
        ({"width": 1, "height": 65_535}, "the image is 1x65535, a side more than 32 times the other"),
    ]
    for changes, sentence in bad:
        whole = camera.message()
        fields = {name: getattr(whole, name) for name in whole.get_fields_and_field_types()}
        camera.send(Image(**{**fields, **changes}))
        process.wait_for_line(f"/image: {sentence}")
        sent = camera.send()
        peer.until(lambda sent=sent: newest(masks, sent), "the mask of a good frame")  # type: ignore[misc]
    names = ("bad_wrong_encoding", "bad_truncated", "bad_empty", "bad_too_large", "bad_too_narrow")
    peer.until(lambda: all(values_of(diagnostics, "camera").get(name) == "1" for name in names), "five named causes")
    values = values_of(diagnostics, "camera")
    counts = {name: int(values[name]) for name in ("frames_in", "frames_out", "dropped")}
    assert values["bad_frames"] == "5"
    assert counts["frames_in"] == counts["frames_out"] + counts["dropped"] + 5


def test_parameters_change_while_frames_flow_or_are_refused_with_a_reason(start: StartNode, peer: Peer) -> None:
    start(camera_timeout=3600.0)  # what is said of a stalled camera would be added to "disabled"
    camera = FakeCamera(peer)
    masks = peer.listen(Image, "/segmentation/label_mask")
    diagnostics = peer.listen(DiagnosticArray, "/diagnostics")
    connect(peer, camera, masks)
    sent = camera.send()
    assert (pixels(peer.until(lambda: newest(masks, sent), "a mask")) != VOID).any()

    assert set_parameters(peer, panoptic__min_confidence=1.0).successful
    sent = camera.send()
    assert (pixels(peer.until(lambda: newest(masks, sent), "a mask")) == VOID).all(), "no pixel is certain"

    refused = set_parameters(peer, panoptic__min_confidence=0.0, panoptic__center_threshold=7.0)
    assert not refused.successful and "center_threshold" in refused.reason and "7" in refused.reason
    sent = camera.send()
    assert (pixels(peer.until(lambda: newest(masks, sent), "a mask")) == VOID).all(), "all or nothing"

    refused = set_parameters(peer, camera_timeout=5.0)
    assert not refused.successful and "camera_timeout" in refused.reason, "fixed while running"

    assert set_parameters(peer, enabled=False).successful
    camera.send()
    peer.until(lambda: values_of(diagnostics, "camera").get("message") == "disabled", "diagnostics saying so")
    assert set_parameters(peer, enabled=True, panoptic__min_confidence=0.0).successful
    sent = camera.send()
    assert (pixels(peer.until(lambda: newest(masks, sent), "a mask")) != VOID).any()
    assert len(masks) == 4, "the frame that came while disabled was not run"

    request = DescribeParameters.Request(names=["jpeg_quality", "model"])
    quality, path = peer.call(DescribeParameters, "/segmentation/describe_parameters", request).descriptors
    assert (quality.integer_range[0].from_value, quality.integer_range[0].to_value) == (1, 100)
    assert not quality.read_only and path.read_only


@pytest.mark.parametrize(
    ("parameters", "sentence"),
    [
        ({"camera_timout": 1.0}, "there is no parameter 'camera_timout': did you mean 'camera_timeout'?"),
        ({"jpeg_quality": 500}, "parameter 'jpeg_quality' is 500: allowed is 1 to 100"),
        ({"model": "no.onnx"}, "parameter 'model' is 'no.onnx', and there is no such file"),
        ({"model": "config/camera.yaml"}, "camera.yaml is not a readable ONNX file"),
        ({"cpu_affinity": [0, 4000]}, "this process may not run on core 4000"),
    ],
)
def test_a_bad_parameter_stops_the_start_with_one_sentence(
    start: StartNode, parameters: dict[str, Any], sentence: str
) -> None:
    process = start(**parameters)
    assert process.wait() == 2
    assert sentence in process.output
    assert "Traceback" not in process.output


def settled(peer: Peer, diagnostics: list[DiagnosticArray]) -> dict[str, str]:
    """The camera's diagnostics once two in a row, made a second apart, count the same."""

    def same() -> dict[str, str]:
        newest, before = (values_of(diagnostics[: len(diagnostics) - back], "camera") for back in (0, 1))
        keys = ("frames_in", "frames_out")
        return newest if newest and all(newest[key] == before.get(key) for key in keys) else {}

    diagnostics.clear()
    counts: dict[str, str] = peer.until(same, "counts that settle")
    return counts


def test_newest_frame_wins_over_a_faster_camera(start: StartNode, peer: Peer, tmp_path: Path) -> None:
    """Every frame is published, replaced or still inside; the age of an output is at most two network periods."""
    slow = make_tiny_model(tmp_path / "slow.onnx", size_hw=(256, 352), busy=10)
    start(model=str(slow), threads=1)
    camera = FakeCamera(peer)
    masks = peer.listen(Image, "/segmentation/label_mask")
    diagnostics = peer.listen(DiagnosticArray, "/diagnostics")
    connect(peer, camera, masks)
    before = settled(peer, diagnostics)
    earlier, sent = int(before["frames_out"]), []
    timer = peer.node.create_timer(0.01, lambda: sent.append(stamp_ns(camera.send())))
    peer.until(lambda: len(masks) >= 40, "40 masks")
    peer.node.destroy_timer(timer)
    values = settled(peer, diagnostics)
    came, lost = (int(values[name]) - int(before[name]) for name in ("frames_in", "lost"))
    assert came + lost == len(sent), "what was overwritten before the node could receive it is counted, too"
    counts = {name: int(values[name]) for name in ("frames_in", "frames_out", "dropped", "bad_frames")}
    assert counts["dropped"] > 0
    assert counts["frames_in"] == counts["frames_out"] + counts["dropped"] + counts["bad_frames"]
    # A depth of one, reliable or not, lets a listener that is busy miss masks; none may come twice or from nowhere.
    assert len(masks) <= counts["frames_out"] - earlier
    stamps = [stamp_ns(message) for message in masks]
    assert stamps == sorted(set(stamps)), "never an older frame after a newer one"
    period_ms = sum(
        float(values[f"{stage}_ms_p95"]) for stage in ("convert", "preprocess", "network", "decode", "publish")
    )
    assert float(values["age_ms_p95"]) <= 2 * period_ms


def test_frames_that_overlap_come_out_in_order_and_each_with_its_own_masks(
    start: StartNode, peer: Peer, model: Path
) -> None:
    """Two frames are under way at once: neither may write to what the other has yet to publish."""
    start(overlap="always", always_publish=["instance_mask"])
    camera = FakeCamera(peer)
    masks, overlays = (peer.listen(Image, f"/segmentation/{name}") for name in ("label_mask", "segmentation_mask"))
    connect(peer, camera, masks)
    info = model_file.load(model)
    pipeline = Pipeline(info, backends.choose(info, backend="onnxruntime", log=print))
    expected = [pipeline.run(Frame(camera.picture(seed))).panoptic.semantic.copy() for seed in range(5)]
    sent: dict[int, int] = {}

    def send() -> None:
        seed = len(sent) % len(expected)
        sent[stamp_ns(camera.send(camera.message(seed)))] = seed

    timer = peer.node.create_timer(0.003, send)
    peer.until(lambda: len(masks) >= 40 and len(overlays) >= 40, "40 masks")
    peer.node.destroy_timer(timer)
    stamps = [stamp_ns(message) for message in masks]
    assert stamps == sorted(set(stamps))
    for message, stamp in zip(masks, stamps):
        assert np.array_equal(pixels(message), expected[sent[stamp]])


def test_life_cycle(start: StartNode, peer: Peer) -> None:
    process = start(autostart=False)
    camera = FakeCamera(peer)
    masks = peer.listen(Image, "/segmentation/label_mask")
    assert state(peer) == "unconfigured"
    for _ in range(2):
        assert change_state(peer, Transition.TRANSITION_CONFIGURE)
        assert state(peer) == "inactive"
        assert change_state(peer, Transition.TRANSITION_ACTIVATE)
        connect(peer, camera, masks)
        assert change_state(peer, Transition.TRANSITION_DEACTIVATE)
        peer.until(lambda: not camera.images.get_subscription_count(), "no image subscription while inactive")
        assert change_state(peer, Transition.TRANSITION_CLEANUP)
        peer.until(lambda: not peer.node.count_publishers("/segmentation/label_mask"), "no outputs after clean-up")
    assert change_state(peer, Transition.TRANSITION_UNCONFIGURED_SHUTDOWN)
    assert process.stop(signal.SIGTERM) == 0, process.output


def test_a_bad_value_keeps_a_managed_node_unconfigured(start: StartNode, peer: Peer) -> None:
    process = start(autostart=False, jpeg_quality=500)
    diagnostics = peer.listen(DiagnosticArray, "/diagnostics")
    assert not change_state(peer, Transition.TRANSITION_CONFIGURE)
    assert state(peer) == "unconfigured"
    sentence = "parameter 'jpeg_quality' is 500: allowed is 1 to 100"
    peer.until(lambda: values_of(diagnostics, "backend").get("message") == sentence, "diagnostics saying so")
    assert values_of(diagnostics, "backend")["level"] == "2"
    assert set_parameters(peer, jpeg_quality=50).successful
    assert change_state(peer, Transition.TRANSITION_CONFIGURE), "mended"
    assert process.stop() == 0, process.output


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_node_while_frames_flow(start: StartNode, peer: Peer, number: int) -> None:
    process = start()
    camera = FakeCamera(peer)
    masks = peer.listen(Image, "/segmentation/label_mask")
    connect(peer, camera, masks)
    peer.node.create_timer(0.01, camera.send)
    peer.until(lambda: len(masks) > 5, "masks")
    assert process.stop(number) == 0, process.output
    assert "Traceback" not in process.output


def test_compressed_input_and_smaller_masks(start: StartNode, peer: Peer) -> None:
    start(image_transport="compressed", mask_size=[96, 64])
    camera = FakeCamera(peer)
    publisher = peer.node.create_publisher(CompressedImage, "image/compressed", RELIABLE)
    masks = peer.listen(Image, "/segmentation/label_mask")
    peer.until_heard(publisher)

    def send() -> bool:
        publisher.publish(jpeg(camera.picture(), 90, camera.message().header))
        return bool(masks)

    peer.until(send, "a mask")
    assert (masks[0].width, masks[0].height) == (96, 64)


def test_a_busy_camera_does_not_starve_another(start: StartNode, peer: Peer, tmp_path: Path) -> None:
    slow = make_tiny_model(tmp_path / "slow.onnx", size_hw=(256, 352), busy=4)
    start(model=str(slow), camera_names=["front", "left"], front__camera_pose=POSE)
    front, left = FakeCamera(peer, "front/image"), FakeCamera(peer, "left/image")
    masks = {name: peer.listen(Image, f"/segmentation/{name}/label_mask") for name in ("front", "left")}
    for name, camera in (("front", front), ("left", left)):
        connect(peer, camera, masks[name])
    peer.node.create_timer(0.005, front.send)
    peer.until(lambda: masks["front"], "a mask of the busy camera")
    for _ in range(5):
        sent = left.send()
        before = len(masks["front"])
        peer.until(lambda sent=sent: newest(masks["left"], sent), "a mask of the quiet camera")  # type: ignore[misc]
        assert len(masks["front"]) - before <= 3, "the quiet camera waits for a frame or two of the busy one"
    assert {message.header.frame_id for message in masks["left"]} == {"left_optical"}
    assert {message.header.frame_id for message in masks["front"]} == {"front_optical"}


def test_a_stalled_camera_and_missing_geometry_are_said(start: StartNode, peer: Peer) -> None:
    start(camera_timeout=0.2)
    camera = FakeCamera(peer)
    grids = peer.listen(OccupancyGrid, "/segmentation/drivable_grid", LATCHED)
    areas = peer.listen(DrivableAreas, "/segmentation/drivable_areas")
    diagnostics = peer.listen(DiagnosticArray, "/diagnostics")
    masks = peer.listen(Image, "/segmentation/label_mask")
    peer.until_served(["/segmentation/drivable_grid"])
    connect(peer, camera, masks)
    peer.until(lambda: values_of(diagnostics, "camera").get("camera_stalled") == "true", "the stall")
    message = values_of(diagnostics, "camera")["message"]
    assert "camera stalled: no image on /image for" in message
    assert "no ground outputs: no camera_info on /camera_info" in message
    assert not grids
    assert areas and all(area.ground_frame == "" for area in areas)
    assert "onnxruntime" in values_of(diagnostics, "backend")["backend"]
