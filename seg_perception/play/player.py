"""Cameras and a planner in one: publishes frames as drivers do, receives the node's topics as a consumer does."""

from __future__ import annotations

import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import rclpy
from builtin_interfaces.msg import Time
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.context import Context
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.signals import SignalHandlerOptions
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import CameraInfo, Image
from std_msgs.msg import Header

from seg_perception.camera_info_fields import camera_info_fields
from seg_perception.camera_model import CameraModel
from seg_perception.errors import SegPerceptionError
from seg_perception.network import NODE, Network
from seg_perception.play.answers import NEEDED, ON_GROUND, WATCHED, answer
from seg_perception.results import Answer, Frame
from seg_perception.ros.fill_messages import ImageFiller
from seg_perception.ros.outputs import qos_profile
from seg_perception.ros.topics import DIAGNOSTICS, output

CLOCK_PERIOD_S = 0.01
"""Between two messages on /clock: how far behind a node's simulated clock may be."""

UNKNOWN, UNNAMED = "_NODE_NAME_UNKNOWN_", "a node whose name is not known"
"""What ROS says of a publisher whose node it has not heard of yet, and what is said of it here."""
DISCOVERY_S = 3.0
"""How long it may take to hear of everybody on a domain."""

OnAnswer = Callable[[str, int, float, Answer], None]
"""Takes the camera's name, the stamp (ns) of the frame, the age of its label mask at arrival (ms) and the answer."""

ClockNs = Callable[[], int]
"""Time in ns, of the clock that stamps are of."""


class Player:
    """Joins the network of ROS_DOMAIN_ID, with cameras of these names; the only one of a node has an empty name.

    on_answer is called in the receiving thread, and at last by close, in the order of each camera's answers. clock_ns tells ages;
    simulated: it is published on /clock too. watched: the node's topics to subscribe to, label_mask among them.
    node_name: of the segmentation node, whose topics and diagnostics alone are heard.
    """

    def __init__(
        self,
        on_answer: OnAnswer,
        cameras: Sequence[str] = ("",),
        clock_ns: ClockNs = time.time_ns,
        *,
        simulated: bool = False,
        watched: Collection[str] = tuple(WATCHED),
        node_name: str = NODE,
    ) -> None:
        self._node_name = node_name
        self._context = Context()
        # Ctrl-C is the program's: rclpy's handler would close the network under it.
        rclpy.init(context=self._context, signal_handler_options=SignalHandlerOptions.NO)
        self._node = Node(f"seg_perception_player_{os.getpid()}", context=self._context)
        self._changed = threading.Condition()
        self.channels = {
            name: Channel(
                self._node, f"{node_name}/{name}".rstrip("/"), name, on_answer, clock_ns, self._changed, watched
            )
            for name in cameras
        }
        self._statuses: dict[str, dict[str, str]] = {}
        self._diagnostics_count = 0
        qos = QoSProfile(depth=10, reliability=ReliabilityPolicy.RELIABLE)
        self._node.create_subscription(DiagnosticArray, DIAGNOSTICS.name, self._on_diagnostics, qos)
        self._clock_ns = clock_ns
        self._clock = self._node.create_publisher(Clock, "/clock", qos_profile("sensor data")) if simulated else None
        self._closed = threading.Event()
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self._node)
        self._threads = [threading.Thread(target=self._spin, name="planner", daemon=True)]
        if self._clock is not None:
            self._threads.append(threading.Thread(target=self._tick, name="clock", daemon=True))
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        """Leave the network."""
        self._closed.set()
        self._executor.shutdown()
        for thread in self._threads:
            thread.join()
        for channel in self.channels.values():
            channel.finish()
        self._node.destroy_node()
        rclpy.shutdown(context=self._context)

    def send(self, camera: str, frame: Frame, model: CameraModel | None, stamp_ns: int) -> None:
        """Publish a frame taken at that time, and its camera's calibration where it is known."""
        self._publish_clock()  # so that no node's clock is behind the stamp
        self.channels[camera].send(frame, model, stamp_ns)

    def wait_for_diagnostics(self, timeout_s: float) -> bool:
        """Wait for the next diagnostics."""
        with self._changed:
            count = self._diagnostics_count
            return self._changed.wait_for(lambda: self._diagnostics_count > count, timeout_s)

    def diagnostics(self, part: str) -> dict[str, str]:
        """Values of the newest status of that part of the node, `backend` or `camera` with its name, with its
        `message`; empty when there is none."""
        with self._changed:
            return dict(self._statuses.get(f"/{self._node_name}: {part}".rstrip(), {}))

    def others(self) -> list[str]:
        """Who else publishes what this cameras or the node do, one `node on topic` each: whoever hears them cannot tell
        them apart."""
        own = Counter({topic: 1 for channel in self.channels.values() for topic in channel.sent})
        own["/clock"] = int(self._clock is not None)
        own |= Counter({topic: 1 for channel in self.channels.values() for topic in channel.heard})
        return other_publishers(self._node, own, self._node_name)

    def _spin(self) -> None:
        try:
            self._executor.spin()
        except ExternalShutdownException:
            return

    def _tick(self) -> None:
        while not self._closed.wait(CLOCK_PERIOD_S):
            self._publish_clock()

    def _publish_clock(self) -> None:
        if self._clock is not None:
            self._clock.publish(Clock(clock=_time(self._clock_ns())))

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        with self._changed:
            for status in message.status:
                values = {value.key: value.value for value in status.values}
                self._statuses[status.name] = {**values, "message": status.message}
            self._diagnostics_count += 1
            self._changed.notify_all()


class Channel:
    """One camera's topics, both ways, by name in sent and heard. received: messages by topic; answers: how many frames
    were answered."""

    def __init__(
        self,
        node: Node,
        outputs: str,
        name: str,
        on_answer: OnAnswer,
        clock_ns: ClockNs,
        changed: threading.Condition,
        watched: Collection[str],
    ) -> None:
        """outputs: the namespace of the node's topics; changed: notified of every answer."""
        self._name, self._on_answer, self._clock_ns, self._changed = name, on_answer, clock_ns, changed
        image, info = self.sent = camera_topics(name)
        self.heard = tuple(f"/{outputs}/{topic}" for topic in watched)
        self._images = node.create_publisher(Image, image, qos_profile("sensor data"))
        self._infos = node.create_publisher(CameraInfo, info, qos_profile("sensor data"))
        self._filler = ImageFiller("rgb8")
        self._parts: dict[int, dict[str, Any]] = {}
        self._ages_ms: dict[int, float] = {}
        self.received = dict.fromkeys(watched, 0)
        self._needed = NEEDED.intersection(watched)
        self._on_ground = tuple(topic for topic in ON_GROUND if topic in watched)
        self.answers = 0
        self._last_stamp_ns = -1
        # deep enough that this program's own pauses do not count as the node's
        reliable = QoSProfile(depth=10, reliability=ReliabilityPolicy.RELIABLE)
        sensor_data = QoSProfile(depth=10, reliability=ReliabilityPolicy.BEST_EFFORT)
        for topic in watched:
            offered = sensor_data if output(topic).qos == "sensor data" else reliable
            node.create_subscription(WATCHED[topic], f"{outputs}/{topic}", self._receiver(topic), offered)

    def send(self, frame: Frame, model: CameraModel | None, stamp_ns: int) -> None:
        """Publish a frame and, where it is known, its camera's calibration."""
        header = Header(frame_id=frame.frame_id, stamp=_time(stamp_ns))
        if model is not None:
            self._infos.publish(_camera_info(model, header))
        self._images.publish(self._filler.fill(frame.rgb, header))

    def wait_for_answer(self, stamp_ns: int, timeout_s: float) -> bool:
        """Wait until a frame of that stamp or a later one is answered; False when the time is over and what is
        sent reliably of it has not come either."""
        with self._changed:
            answered = self._changed.wait_for(lambda: self._last_stamp_ns >= stamp_ns, timeout_s)
        return answered or self._has(stamp_ns, self._needed)

    def wait_for_answers(self, count: int, timeout_s: float) -> None:
        """Wait until so many frames are answered, or the time is over."""
        with self._changed:
            self._changed.wait_for(lambda: self.answers >= count, timeout_s)

    def _receiver(self, topic: str) -> Callable[[Any], None]:
        def receive(message: Any) -> None:
            arrived_ns = self._clock_ns()
            stamp_ns = message.header.stamp.sec * 10**9 + message.header.stamp.nanosec
            self.received[topic] += 1
            if topic == "label_mask":
                self._ages_ms[stamp_ns] = (arrived_ns - stamp_ns) / 1e6
            self._parts.setdefault(stamp_ns, {})[topic] = message
            self._pass_on(stamp_ns)

        return receive

    def _pass_on(self, stamp_ns: int) -> None:
        """Hand on the answer of that stamp once it is complete, and before it the older ones that lost a part."""
        if self._has(stamp_ns, self._needed.union(t for t in self._on_ground if self.received[t])):
            self._hand_on(stamp_ns)

    def finish(self) -> None:
        """Nothing is received any more: hand on the answers that lost no more than free space, which is not sent again, and that
        no complete one came after."""
        waiting = [stamp_ns for stamp_ns in self._parts if self._has(stamp_ns, self._needed)]
        if waiting:
            self._hand_on(max(waiting))

    def _has(self, stamp_ns: int, topics: Collection[str]) -> bool:
        return self._parts.get(stamp_ns, {}).keys() >= set(topics)

    def _hand_on(self, stamp_ns: int) -> None:
        handed_on = 0
        for ready_ns in sorted(stamp for stamp in self._parts if stamp <= stamp_ns):
            parts = self._parts.pop(ready_ns)
            if "label_mask" in parts:
                self._on_answer(self._name, ready_ns, self._ages_ms.pop(ready_ns), answer(parts))
                handed_on += 1
        with self._changed:
            self.answers += handed_on
            self._last_stamp_ns = max(self._last_stamp_ns, stamp_ns)
            self._changed.notify_all()


def camera_topics(name: str) -> tuple[str, str]:
    """Where a camera of that name sends its images and its calibration."""
    return f"/{name}/image".replace("//", "/"), f"/{name}/camera_info".replace("//", "/")


def refuse_others(network: Network, cameras: Sequence[str], *, simulated: bool = False) -> None:
    """refuse_publishers of what a play to cameras of these names has."""
    topics = [topic for name in cameras for topic in camera_topics(name)]
    topics += [f"/{network.node_name}/{name}/{topic}".replace("//", "/") for name in cameras for topic in WATCHED]
    if simulated:
        topics.append("/clock")
    refuse_publishers(network, topics, "leave --domain out")


def refuse_publishers(network: Network, topics: Sequence[str], remedy: str) -> None:
    """Listen whether anybody on a domain that the user named publishes one of these, and raise SegPerceptionError that
    names them: a robot must never take a recording for what it sees now. remedy: for a domain that nobody else is on."""
    if not network.shared:
        return
    context = Context()
    rclpy.init(context=context, signal_handler_options=SignalHandlerOptions.NO)
    node = Node(f"seg_perception_look_{os.getpid()}", context=context)
    try:
        found = _listen(node, topics)
    finally:
        node.destroy_node()
        rclpy.shutdown(context=context)
    if found:
        raise SegPerceptionError(
            f"others on domain {network.domain} publish what this would: {', '.join(found)}; end them, or {remedy} "
            "for a domain that nobody else is on"
        )


def _listen(node: Node, topics: Sequence[str]) -> list[str]:
    """Publishers of the topics, as soon as they are known by name or DISCOVERY_S are over."""
    end_s = time.monotonic() + DISCOVERY_S
    while True:
        found = other_publishers(node, dict.fromkeys(topics, 0))
        if time.monotonic() > end_s or (found and not any(name.startswith(UNNAMED) for name in found)):
            return found
        time.sleep(0.1)


def other_publishers(node: Node, own: Mapping[str, int], own_name: str = "") -> list[str]:
    """Publishers of topics that are more than one's own there, `node on topic` each. own: how many, by topic, of this
    node or that of own_name."""
    found = []
    for topic, count in own.items():
        publishers = node.get_publishers_info_by_topic(topic)
        names = [f"{info.node_namespace.rstrip('/')}/{info.node_name}" for info in publishers]
        names.sort(key=lambda name: name not in (node.get_fully_qualified_name(), f"/{own_name}"))
        found += [f"{UNNAMED if UNKNOWN in name else name} on {topic}" for name in names[count:]]
    return found


def _time(time_ns: int) -> Time:
    sec, nanosec = divmod(time_ns, 10**9)
    return Time(sec=sec, nanosec=nanosec)


def _camera_info(camera: CameraModel, header: Header) -> CameraInfo:
    fields = camera_info_fields(camera)
    return CameraInfo(header=header, **{**fields, "d": fields["d"].tolist()})
