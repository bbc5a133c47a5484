"""The newest frame of every camera, and its calibration."""

from __future__ import annotations

import threading
import time
from array import array
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from rclpy.qos import DurabilityPolicy
from rclpy.time import Time
from sensor_msgs.msg import CameraInfo, Image, RegionOfInterest

from seg_perception.ros import inputs
from seg_perception.ros.inputs import MOST_NOTES, Calibration, CameraInput, SequenceGaps
from seg_perception.ros.parameters import NodeSettings


def test_images_that_never_came_are_counted_by_the_gaps_in_their_publishers_numbers() -> None:
    gaps = SequenceGaps()

    def lost(number: int | None, publisher: str = "camera") -> int | None:
        return gaps.before({"publication_sequence_number": number, "publisher_gid": publisher})

    assert lost(7) == 0, "those before the first were sent before the node listened"
    assert [lost(number) for number in (8, 10, 11, 15)] == [0, 1, 0, 3]
    assert lost(15) == 0 and lost(3) == 0, "a number that went back is a publisher that began again"
    assert lost(5) == 1
    assert lost(100, "another") == 0 and lost(102, "another") == 1
    assert lost(6) == 0 and lost(103, "another") == 0 and lost(8) == 1, "two that take turns are told apart"


def test_where_the_publisher_is_not_told_no_image_is_called_lost() -> None:
    """Iron and Jazzy number the images and do not say whose number it is."""
    gaps = SequenceGaps()
    assert [gaps.before({"publication_sequence_number": number}) for number in (5, 20000, 6, 20001)] == [None] * 4
    assert gaps.before({}) is None


class Subscribing:
    """A node that hands the subscribers' callbacks over, by topic."""

    def __init__(self) -> None:
        self.hear: dict[str, Callable[[Any], None]] = {}
        self.told: list[str] = []

    def resolve_topic_name(self, topic: str) -> str:
        return f"/{topic}"

    def create_subscription(
        self, kind: Any, topic: str, callback: Callable[[Any], None], qos: Any, event_callbacks: Any = None
    ) -> Any:
        self.hear[topic] = callback
        return SimpleNamespace(topic_name=f"/{topic}")

    def get_clock(self) -> Any:
        return SimpleNamespace(now=Time)

    def get_logger(self) -> Any:
        return SimpleNamespace(warning=print, info=self.told.append)


def calibration(**changes: Any) -> CameraInfo:
    """A camera of 640x480 px whose rectified image has another focal length than the raw one."""
    info = CameraInfo(width=640, height=480, distortion_model="plumb_bob", d=[-0.2, 0.05, 0.0, 0.0, 0.0])
    info.k = [500.0, 0.0, 320.0, 0.0, 500.0, 240.0, 0.0, 0.0, 1.0]
    info.r = [1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0]
    info.p = [450.0, 0.0, 320.0, 0.0, 0.0, 450.0, 240.0, 0.0, 0.0, 0.0, 1.0, 0.0]
    for name, value in changes.items():
        setattr(info, name, value)
    return info


def opened(node: Any, *given: Any) -> CameraInput:
    """An input that is subscribed."""
    camera_input = CameraInput(node, *given)
    camera_input.open()
    return camera_input


def listening(**parameters: Any) -> tuple[CameraInput, Callable[[Any], None]]:
    """A camera's input and what its camera_info goes to."""
    node: Any = Subscribing()
    camera_input = opened(node, "front", NodeSettings(**parameters), lambda arrival: False, Calibration())
    return camera_input, node.hear["front/camera_info"]


@pytest.mark.parametrize(
    ("times_s", "turns_back"),
    [((0.0, 0.1, 0.2, 0.3), 2), ((0.0, 9.0, 9.1, 99.0), 1), ((0.0, 9.0, 90.0, 99.0), 0), ((0.0, 0.1), 0)],
)
def test_a_calibration_that_changes_to_and_fro_is_counted_and_told(
    times_s: tuple[float, ...], turns_back: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As that of two who publish it; who turns the zoom back after a while is one."""
    clock = [0.0]
    monkeypatch.setattr(inputs.time, "monotonic", lambda: clock[0])
    camera_input, hear = listening()
    for place, clock[0] in enumerate(times_s):
        hear(calibration(width=640 if place % 2 else 320))
        hear(calibration(width=640 if place % 2 else 320))
    assert camera_input.monitor.status(clock[0]).values.get("two_calibrations", "0") == str(turns_back)
    assert capsys.readouterr().out.count("fro between 640x480 of fx 500 px and 320x480") == min(turns_back, 1)


def test_a_message_may_come_before_subscribing_returns(monkeypatch: pytest.MonkeyPatch) -> None:
    """The executor's thread runs while another one subscribes."""
    monkeypatch.setattr(inputs, "NUMBERED", False)

    class Hasty(Subscribing):
        def create_subscription(
            self, kind: Any, topic: str, callback: Callable[[Any], None], *more: Any, **events: Any
        ) -> Any:
            subscribed = super().create_subscription(kind, topic, callback, *more, **events)
            callback(
                calibration() if kind is CameraInfo else Image(encoding="mono8", width=1, height=1, step=1, data=[1])
            )
            return subscribed

    node: Any = Hasty()
    accepted: list[Any] = []
    camera_input = opened(node, "", NodeSettings(), lambda arrival: bool(accepted.append(arrival)), Calibration())
    assert len(accepted) == 1 and camera_input.monitor.status(0.0).values["frames_in"] == "1"
    assert camera_input.calibration.camera is not None and not camera_input.calibration.problem


@pytest.mark.parametrize("numbered", [False, True])
def test_images_are_heard_where_rclpy_tells_their_numbers_and_where_not(
    numbered: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Humble's rclpy calls with the message alone."""
    monkeypatch.setattr(inputs, "NUMBERED", numbered)
    node: Any = Subscribing()
    accepted: list[Any] = []
    camera_input = opened(
        node, "", NodeSettings(), lambda arrival: bool(accepted.append(arrival.message)), Calibration()
    )
    sent = [Image(encoding="mono8", width=1, height=1, step=1, data=[value]) for value in (1, 2)]
    for message, number in zip(sent, (4, 7)):
        node.hear["image"](
            message, *([{"publication_sequence_number": number, "publisher_gid": "a"}] if numbered else [])
        )
    assert accepted == sent
    values = camera_input.monitor.status(0.0).values
    assert (values["frames_in"], values["lost"]) == ("2", "2" if numbered else "unknown")


class DeviceBuffer:
    """What rclpy gives from Lyrical on where a publisher's data lie on another device: no buffer for NumPy."""

    backend_type = "cuda"

    def __init__(self, values: bytes, fault: str, kind: type[Exception]) -> None:
        self._values, self._fault, self._kind = values, fault, kind

    def __len__(self) -> int:
        return len(self._values)

    def to_array(self) -> array[int]:
        if self._fault:
            raise self._kind(self._fault)
        return array("B", self._values)


@pytest.mark.parametrize(
    ("fault", "kind"), [("", RuntimeError), ("the device is lost", RuntimeError), ("its process is gone", OSError)]
)
def test_data_of_another_device_are_copied_or_the_image_is_refused(fault: str, kind: type[Exception]) -> None:
    node: Any = Subscribing()
    accepted: list[Any] = []
    camera_input = opened(node, "", NodeSettings(), lambda arrival: bool(accepted.append(arrival)), Calibration())
    image = SimpleNamespace(header=Image().header, encoding="mono8", width=2, height=1, step=2, is_bigendian=0)
    image.data = DeviceBuffer(bytes((7, 9)), fault, kind)
    camera_input._on_image(image)
    values = camera_input.monitor.status(0.0).values
    if fault:
        assert not accepted and values["bad_no_host_memory"] == "1"
        assert f"memory of 'cuda', which cannot be copied to the CPU's ({fault})" in values["last_problem"]
    else:
        assert accepted[0].message.data == array("B", (7, 9))


@pytest.mark.parametrize(
    ("encoding", "words"), [("YUYV", "read as yuyv"), ("8UC3", "read as bgr8"), ("BGR8", "read as bgr8"), ("bgr8", "")]
)
def test_an_odd_name_of_an_encoding_is_told_once(encoding: str, words: str) -> None:
    node: Any = Subscribing()
    accepted: list[Any] = []
    opened(node, "", NodeSettings(), lambda arrival: bool(accepted.append(arrival)), Calibration())
    for _ in range(3):
        node.hear["image"](Image(encoding=encoding, width=2, height=1, step=8, data=[1] * 8), {})
    assert len(accepted) == 3 and len(node.told) == bool(words)
    assert all(line.startswith("/image: ") and words in line for line in node.told)


def test_nothing_is_subscribed_to_once_it_has_stopped_listening() -> None:
    """The executor looks around while another thread deactivates."""
    alive: list[Any] = []
    stopping = threading.Thread(target=lambda: camera_input.destroy())

    class Graph(Subscribing):
        def create_subscription(self, *rest: Any, **named: Any) -> Any:
            alive.append(super().create_subscription(*rest, **named))
            return alive[-1]

        def destroy_subscription(self, subscription: Any) -> None:
            alive.remove(subscription)

        def get_publishers_info_by_topic(self, topic: str) -> list[Any]:
            if not stopping.ident:
                stopping.start()
                stopping.join(0.2)  # unless it waits for this
            latched = SimpleNamespace(durability=DurabilityPolicy.TRANSIENT_LOCAL)
            return [SimpleNamespace(qos_profile=latched, node_name="", node_namespace="/", topic_type="")]

    node: Any = Graph()
    camera_input = opened(node, "", NodeSettings(), lambda arrival: False, Calibration())
    camera_input.look_around()
    stopping.join()
    camera_input.look_around()
    assert alive == []


def test_odd_names_without_end_are_not_all_told_and_kept() -> None:
    node: Any = Subscribing()
    opened(node, "", NodeSettings(), lambda arrival: False, Calibration())
    for spaces in range(1000):
        node.hear["image"](Image(encoding="rgb8" + " " * spaces, width=1, height=1, step=3, data=[1] * 3), {})
    assert 1 < len(node.told) <= MOST_NOTES


@pytest.mark.parametrize("is_grey", [False, True])
def test_16uc1_is_taken_where_it_is_said_to_be_grey(is_grey: bool) -> None:
    node: Any = Subscribing()
    accepted: list[Any] = []
    settings = NodeSettings(image_16uc1_is_grey=is_grey)
    camera_input = opened(node, "", settings, lambda arrival: bool(accepted.append(arrival)), Calibration())
    node.hear["image"](Image(encoding="16UC1", width=1, height=1, step=2, data=[1, 2]), {})
    assert len(accepted) == is_grey
    assert ("image_16uc1_is_grey" in camera_input.monitor.status(0.0).message) != is_grey


def test_a_calibration_without_k_beside_a_p_is_rectified_and_told_once() -> None:
    camera_input, hear = listening()
    node: Any = camera_input._node
    hear(calibration(k=[0.0] * 9))
    hear(calibration(k=[0.0] * 9, d=[0.0] * 5))
    assert camera_input.calibration.camera is not None
    assert (camera_input.calibration.camera.K[0][0], camera_input.calibration.camera.distortion) == (450.0, ())
    (line,) = node.told
    assert line.startswith("/front/image: ") and "image_rectified" in line


@pytest.mark.parametrize(
    ("name", "parameters", "changes", "told"),
    [
        ("image_rect_color", {}, {}, True),
        ("left/image_rect/compressed", {"image_transport": "compressed"}, {}, True),
        ("image_rect", {"image_rectified": True}, {}, False),
        ("image_raw", {}, {}, False),
        ("image_rect", {}, {"d": [], "p": [500.0, 0, 320, 0, 0, 500, 240, 0, 0, 0, 1, 0]}, False),  # the two are alike
        ("image_rect", {}, {"p": [0.0] * 12}, False),
        ("image_rect", {}, {"k": [0.0] * 9}, False),  # taken for rectified anyhow
    ],
)
def test_images_that_are_called_rectified_and_taken_for_raw_ones_are_told(
    name: str, parameters: dict[str, Any], changes: dict[str, Any], told: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The lens's distortion was undone twice, and the ground off at the sides, without a word."""
    node: Any = Subscribing()
    node.resolve_topic_name = lambda topic: "/camera_info" if "info" in topic else f"/{name}"
    node.get_publishers_info_by_topic = lambda topic: []
    camera_input = opened(node, "front", NodeSettings(**parameters), lambda arrival: False, Calibration())
    for _ in range(2):
        node.hear["front/camera_info"](calibration(**changes))
        camera_input.look_around()
    status = camera_input.monitor.status(time.monotonic())
    assert status.values.get("named_rectified", "0") == ("2" if told else "0")
    assert ("set image_rectified" in status.message) == told


def test_the_calibration_is_of_the_raw_image_unless_said_otherwise() -> None:
    raw, hear_raw = listening()
    rectified, hear_rectified = listening(image_rectified=True)
    assert raw.calibration.camera is None and raw.calibration.problem == "no camera_info on /front/camera_info"
    hear_raw(calibration())
    hear_rectified(calibration())
    assert raw.calibration.camera is not None and rectified.calibration.camera is not None
    assert (raw.calibration.camera.K[0][0], raw.calibration.camera.distortion) == (500.0, (-0.2, 0.05, 0.0, 0.0, 0.0))
    assert (rectified.calibration.camera.K[0][0], rectified.calibration.camera.distortion) == (450.0, ())


def test_a_calibration_that_is_refused_is_not_called_missing_after_listening_anew() -> None:
    kept, node = Calibration(), Subscribing()
    refused = ""
    for _ in range(2):
        opened(node, "front", NodeSettings(), lambda arrival: False, kept)  # type: ignore[arg-type]
        assert kept.problem == (refused or "no camera_info on /front/camera_info")
        node.hear["front/camera_info"](calibration(k=[0.0] * 9, p=[0.0] * 12))
        refused = kept.problem
        assert "the focal length is 0, 0 px" in refused


def test_a_calibration_that_changes_is_taken_whatever_changed_and_the_same_one_is_not_made_again() -> None:
    camera_input, hear = listening()
    hear(calibration())
    first = camera_input.calibration.camera
    hear(calibration())
    assert camera_input.calibration.camera is first
    hear(calibration(binning_x=2, binning_y=2))
    binned = camera_input.calibration.camera
    assert binned is not None and (binned.width, binned.height) == (320, 240)
    hear(calibration(roi=RegionOfInterest(x_offset=100, y_offset=50, width=400, height=300)))
    cut = camera_input.calibration.camera
    assert cut is not None and (cut.width, cut.height, cut.K[0][2]) == (400, 300, 220.0)
    hear(calibration(k=[0.0] * 9, p=[0.0] * 12))
    assert camera_input.calibration.camera is None and "the focal length is 0, 0 px" in camera_input.calibration.problem
    hear(calibration())
    assert camera_input.calibration.camera == first and not camera_input.calibration.problem
