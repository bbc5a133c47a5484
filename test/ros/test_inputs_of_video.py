"""A camera whose topic is video, from its packets to the frames that are run, with messages and a node that stand in: the
messages come with ROS, not from PyPI. test_node_video.py plays the same to the real node where they are installed."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from builtin_interfaces.msg import Time as Stamp
from patience import WAIT_S
from rclpy.qos import DurabilityPolicy, QoSPolicyKind, QoSProfile, ReliabilityPolicy
from rclpy.time import Time
from sensor_msgs.msg import CameraInfo
from std_msgs.msg import Header
from video_streams import HEIGHT, WIDTH, Packet, stream

from seg_perception.camera.video import NO_KEY_FRAME, VideoReader
from seg_perception.ros import inputs
from seg_perception.ros.diagnostics import ERROR
from seg_perception.ros.inputs import Arrival, Calibration, CameraInput
from seg_perception.ros.parameters import NodeSettings
from seg_perception.ros.video import MOST_WAITING, VIDEO_MESSAGES


def message_type(package: str, name: str) -> Any:
    """A class that stands where the messages' package has its own."""
    return type(name, (SimpleNamespace,), {"__module__": f"{package}.msg._{name.lower()}"})


TYPES = {transport: message_type(*names) for transport, names in VIDEO_MESSAGES.items()}


class Publisher(SimpleNamespace):
    """What a node is told of a topic's publisher."""

    def __init__(
        self, name: str = "camera", kind: str = "foxglove_msgs/msg/CompressedVideo", latched: bool = False
    ) -> None:
        durability = DurabilityPolicy.TRANSIENT_LOCAL if latched else DurabilityPolicy.VOLATILE
        super().__init__(
            node_namespace="/", node_name=name, topic_type=kind, qos_profile=QoSProfile(depth=1, durability=durability)
        )


class Hearing:
    """A node that keeps what is subscribed to, and whom it would hear."""

    def __init__(self) -> None:
        self.subscribed: list[SimpleNamespace] = []
        self.publishers: dict[str, list[Publisher]] = {}
        self.told: list[str] = []
        self.warned: list[str] = []

    def resolve_topic_name(self, topic: str) -> str:
        return f"/{topic}"

    def create_subscription(
        self, kind: Any, topic: str, callback: Callable[..., None], qos: QoSProfile, event_callbacks: Any = None
    ) -> Any:
        name = f"/{topic}" if topic[0] != "/" else topic
        self.subscribed.append(
            SimpleNamespace(kind=kind, topic_name=name, hear=callback, qos=qos, events=event_callbacks)
        )
        return self.subscribed[-1]

    def destroy_subscription(self, subscription: Any) -> None:
        self.subscribed.remove(subscription)

    def get_publishers_info_by_topic(self, topic: str) -> list[Publisher]:
        return self.publishers.get(topic, [])

    def get_clock(self) -> Any:
        return SimpleNamespace(now=Time)

    def get_logger(self) -> Any:
        return SimpleNamespace(warning=self.warned.append, info=self.told.append)

    def mismatch(self, topic: str, policy: QoSPolicyKind) -> None:
        """As the middleware tells that a publisher of the topic offers less than was asked for."""
        self.on(topic).events.incompatible_qos(SimpleNamespace(last_policy_kind=policy))

    def on(self, topic: str) -> SimpleNamespace:
        (found,) = [one for one in self.subscribed if one.topic_name == topic]
        return found


class VideoCamera:
    """A camera's input, the node that it is of and the frames that it accepted."""

    def __init__(self, transport: str = "foxglove") -> None:
        self.node, self.frames = Hearing(), list[Arrival]()
        self._changed = threading.Condition()
        node: Any = self.node
        self.input = CameraInput(node, "front", NodeSettings(image_transport=transport), self._accept, Calibration())
        self.input.open()
        self._topic, self._kind = f"/front/image/{transport}", TYPES[transport]
        self._numbers = dict[str | None, int]()
        refuse = self.input.reject

        def reject(*words: str) -> None:
            with self._changed:
                refuse(*words)
                self._changed.notify()

        assert self.input._video is not None
        self.input._video._reject = reject

    def _accept(self, arrival: Arrival) -> bool:
        with self._changed:
            self.frames.append(arrival)
            self._changed.notify()
        return False

    def send(self, packet: Packet, publisher: str | None = "a", lost: int = 0, codec: str = "h264") -> None:
        """As rclpy calls back; lost: packets before it that never came."""
        self._numbers[publisher] = self._numbers.get(publisher, 0) + 1 + lost
        stamp = Stamp(sec=packet.number + 1)
        if self._kind is TYPES["ffmpeg"]:
            message = self._kind(
                header=Header(stamp=stamp, frame_id="lens"), width=WIDTH, height=HEIGHT, encoding=codec, pts=packet.number,
                flags=int(packet.is_key), data=packet.data,
            )  # fmt: skip
        else:
            message = self._kind(timestamp=stamp, frame_id="lens", format=codec, data=packet.data)
        told = {"publication_sequence_number": self._numbers[publisher], "publisher_gid": publisher}
        self.node.on(self._topic).hear(message, told)

    def wait(self, frames: int) -> list[int]:
        """Until so many frames were accepted; their numbers."""
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.frames) >= frames, WAIT_S)
        return [frame.stamp_ns // 10**9 - 1 for frame in self.frames]

    def values(self) -> dict[str, str]:
        return dict(self.input.monitor.status(0.0).values)

    def until(self, name: str, value: str) -> None:
        """Until the diagnostics say so: the thread that decodes refuses what it cannot."""
        with self._changed:
            assert self._changed.wait_for(lambda: self.values().get(name) == value, WAIT_S), self.values()


@pytest.fixture
def camera(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., VideoCamera]]:
    """Make cameras where both packages of messages are installed."""
    for transport, (package, name) in VIDEO_MESSAGES.items():
        monkeypatch.setitem(sys.modules, package, SimpleNamespace())
        monkeypatch.setitem(sys.modules, f"{package}.msg", SimpleNamespace(**{name: TYPES[transport]}))
    made: list[VideoCamera] = []

    def make(transport: str = "foxglove") -> VideoCamera:
        made.append(VideoCamera(transport))
        return made[-1]

    yield make
    for one in made:
        one.input.destroy()


@pytest.mark.parametrize("transport", sorted(VIDEO_MESSAGES))
def test_each_packet_becomes_a_frame_under_its_own_stamp(camera: Callable[..., VideoCamera], transport: str) -> None:
    one = camera(transport)
    subscribed = one.node.on(f"/front/image/{transport}")
    assert subscribed.kind is TYPES[transport]
    assert (subscribed.qos.depth, subscribed.qos.reliability) == (MOST_WAITING, ReliabilityPolicy.RELIABLE)
    for packet in stream("h264", 8):
        one.send(packet)
    assert one.wait(8) == [*range(8)]
    header = one.frames[3].message.header
    assert isinstance(header, Header) and (header.stamp.sec, header.frame_id) == (4, "lens")
    arrivals = [frame.arrived_s for frame in one.frames]
    assert arrivals == sorted(arrivals)
    values = one.values()
    assert (values["frames_in"], values["lost"], values["dropped"]) == ("8", "0", "0")


def test_after_lost_packets_it_waits_for_a_key_frame(camera: Callable[..., VideoCamera]) -> None:
    one, packets = camera(), stream("vp9", 15, gop=10)
    for packet in packets[:3] + packets[5:]:
        one.send(packet, lost=2 if packet.number == 5 else 0, codec="vp9")
    assert one.wait(8) == [0, 1, 2, *range(10, 15)]
    one.until(f"bad_{NO_KEY_FRAME}", "5")
    assert one.values()["lost"] == "2"


def test_packets_of_a_second_publisher_are_left_out_until_the_first_is_silent(
    camera: Callable[..., VideoCamera], monkeypatch: pytest.MonkeyPatch
) -> None:
    one, packets = camera(), stream("vp9", 25, gop=10)
    for packet in packets[:5]:
        one.send(packet, "a", codec="vp9")
        one.send(packet, "b", codec="vp9")
    assert one.wait(5) == [*range(5)]
    assert one.values()["bad_two_publishers"] == "5" and "come from two publishers" in one.values()["last_problem"]
    monkeypatch.setattr(inputs, "SOURCE_GONE_S", 0.0)
    for packet in packets[5:]:  # in the middle of its stream, of which nothing is known
        one.send(packet, "b", codec="vp9")
    assert one.wait(20) == [*range(5), *range(10, 25)]
    one.until(f"bad_{NO_KEY_FRAME}", "5")


def test_where_publishers_are_not_told_apart_all_packets_are_one_stream(camera: Callable[..., VideoCamera]) -> None:
    one = camera()
    for packet in stream("h264", 5):
        one.send(packet, None)
    assert one.wait(5) == [*range(5)] and "bad_two_publishers" not in one.values()


def test_what_cannot_be_decoded_is_refused_by_its_cause(camera: Callable[..., VideoCamera]) -> None:
    one = camera()
    one.send(stream("h264", 1)[0], codec="theora")
    one.until("bad_wrong_encoding", "1")
    assert not one.frames


def test_a_decoder_that_hangs_is_an_error_in_diagnostics(
    camera: Callable[..., VideoCamera], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a network that does: packets come, and nothing goes out."""
    begun, go_on, read = threading.Event(), threading.Event(), VideoReader.read

    def hang(self: VideoReader, message: Any, tag: Any = None) -> Any:
        begun.set()
        assert go_on.wait(WAIT_S)
        return read(self, message, tag)

    one, packet = camera(), stream("h264", 1)[0]
    one.input.look_around()
    assert one.values()["hangs"] == "false"
    monkeypatch.setattr(VideoReader, "read", hang)
    one.send(packet)
    assert begun.wait(WAIT_S)
    one.input.look_around()
    late_s = time.monotonic() + 3.0
    one.input.monitor.received(late_s)
    status = one.input.monitor.status(late_s)
    assert (status.level, status.values["hangs"]) == (ERROR, "true")
    assert status.message.startswith("images come on /front/image/foxglove, nothing goes out since 3.")
    go_on.set()
    one.wait(1)
    one.input.monitor.answered(one.frames[0].arrived_s)
    assert one.input._video is not None
    one.input._video.close()  # once the packet is decoded
    one.input.look_around()
    assert one.input.monitor.status(late_s).values["hangs"] == "false"


@pytest.mark.parametrize(("more", "lost"), [(12, 0), (3 * MOST_WAITING, 0), (12, 1)])
def test_packets_that_are_left_out_since_decoding_is_slow_count_as_replaced(
    camera: Callable[..., VideoCamera], monkeypatch: pytest.MonkeyPatch, more: int, lost: int
) -> None:
    """lost: packets that never came before every tenth one; what stands for them in the queue is no packet."""
    begun, go_on, read = threading.Event(), threading.Event(), VideoReader.read

    def slow(self: VideoReader, message: Any, tag: Any = None) -> Any:
        begun.set()
        assert go_on.wait(WAIT_S)
        return read(self, message, tag)

    monkeypatch.setattr(VideoReader, "read", slow)
    one, packets = camera(), stream("h264", MOST_WAITING + more, gop=10)
    one.send(packets[0])
    assert begun.wait(WAIT_S)
    for packet in packets[1:]:
        one.send(packet, lost=0 if packet.number % 10 else lost)
    dropped = int(one.values()["dropped"])
    go_on.set()
    assert dropped > 0 and one.wait(len(packets) - dropped) == [0, *range(1 + dropped, len(packets))]


def test_a_publisher_that_sends_nothing_again_is_listened_to_all_the_same(camera: Callable[..., VideoCamera]) -> None:
    """The middleware tells that it offers less than was asked for: said once, and no trouble."""
    one = camera()
    first = one.node.on("/front/image/foxglove")
    one.node.mismatch("/front/image/foxglove", QoSPolicyKind.RELIABILITY)
    assert not one.node.warned
    one.input.look_around()
    again = one.node.on("/front/image/foxglove")
    assert again is not first and again.qos.reliability == ReliabilityPolicy.BEST_EFFORT
    assert again.qos.depth == MOST_WAITING and again.kind is first.kind
    (told,) = one.node.told
    assert "published as best effort" in told
    one.input.look_around()
    assert one.node.on("/front/image/foxglove") is again
    for packet in stream("h264", 3):
        one.send(packet)
    assert one.wait(3) == [0, 1, 2]


def test_another_mismatch_is_told_again_while_nothing_comes(camera: Callable[..., VideoCamera]) -> None:
    one = camera()
    one.node.publishers["/front/image/foxglove"] = [Publisher()]
    one.node.mismatch("/front/image/foxglove", QoSPolicyKind.DURABILITY)
    (warned,) = one.node.warned
    assert warned.startswith("a publisher of /front/image/foxglove offers less DURABILITY than this node asks for")
    assert one.values()["qos_mismatch"] == "1"
    one.input.look_around()
    assert one.values()["qos_mismatch"] == "2"
    one.send(stream("h264", 1)[0])
    one.input.look_around()
    assert one.values()["qos_mismatch"] == "2"


def test_two_publishers_and_what_is_of_another_type_are_named(camera: Callable[..., VideoCamera]) -> None:
    one = camera()
    one.input.look_around()
    assert "two_publishers" not in one.values()
    one.node.publishers["/front/image/foxglove"] = [Publisher("left"), Publisher("right", "sensor_msgs/msg/Image")]
    one.input.look_around()
    assert one.values()["two_publishers"] == one.values()["wrong_type"] == "1"
    words = "\n".join(one.node.warned)
    assert "2 publishers send images on this topic (/left, /right)" in words
    assert (
        "/left, /right sends sensor_msgs/msg/Image on this topic, and foxglove_msgs/msg/CompressedVideo is taken"
        in words
    )


def test_a_calibration_that_is_published_once_is_heard_by_who_comes_later(camera: Callable[..., VideoCamera]) -> None:
    one, topic = camera(), "/front/camera_info"
    one.node.publishers[topic] = [Publisher("info", "sensor_msgs/msg/CameraInfo")]
    one.input.look_around()
    assert one.node.on(topic).qos.reliability == ReliabilityPolicy.BEST_EFFORT
    one.node.publishers[topic].append(Publisher("info", "sensor_msgs/msg/CameraInfo", latched=True))
    one.input.look_around()
    one.input.look_around()
    _, latched = [subscribed for subscribed in one.node.subscribed if subscribed.topic_name == topic]
    assert latched.qos.durability == DurabilityPolicy.TRANSIENT_LOCAL
    info = CameraInfo(width=640, height=480, distortion_model="plumb_bob")
    info.k = [500.0, 0.0, 320.0, 0.0, 500.0, 240.0, 0.0, 0.0, 1.0]
    latched.hear(info)
    assert one.input.calibration.camera is not None and not one.input.calibration.problem


def test_what_ends_leaves_no_thread_and_no_subscription(camera: Callable[..., VideoCamera]) -> None:
    one = camera()
    one.node.publishers["/front/camera_info"] = [Publisher("info", latched=True)]
    one.input.look_around()
    threads = [thread for thread in threading.enumerate() if thread.name == "video"]
    assert len(threads) == 1 and len(one.node.subscribed) == 3
    one.input.destroy()
    assert not threads[0].is_alive() and one.node.subscribed == []
    one.input = SimpleNamespace(destroy=lambda: None)  # type: ignore[assignment]
