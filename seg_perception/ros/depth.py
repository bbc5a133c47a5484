"""Depth that comes beside a camera's images: the latest messages, and which of them belongs to an image."""

from __future__ import annotations

import threading
import time
from collections import deque
from typing import Any

from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import Image

from seg_perception.camera.depth import read_depth
from seg_perception.errors import BadImageError
from seg_perception.results import Depth
from seg_perception.ros.qos_events import subscription_events

MISSING, UNPAIRED, CLOCK = "depth_missing", "depth_unpaired", "depth_clock"
MOST_KEPT = 8
"""Depth messages that wait for their image; some drivers send depth before it, most after."""
_RECENT_S = 1.0
"""Depth that came within so long and is of a stamp farther off than that is of another clock."""


class NewestDepth:
    """The latest depth messages of one camera, by stamp. Any thread may call any method."""

    def __init__(self, topic: str, tolerance_s: float) -> None:
        self.topic, self._tolerance_s = topic, tolerance_s
        self._kept: deque[tuple[int, float, Any]] = deque(maxlen=MOST_KEPT)
        self._lock = threading.Lock()

    def put(self, message: Any, now_s: float) -> None:
        """Keep a message. now_s: of the steady clock."""
        stamp = message.header.stamp
        with self._lock:
            self._kept.append((stamp.sec * 10**9 + stamp.nanosec, now_s, message))

    def of(self, stamp_ns: int, image_hw: tuple[int, int], frame_id: str, now_s: float) -> Depth:
        """The depth of an image of (height, width) with this stamp; raises BadImageError where there is none, or it cannot
        be read. Nothing is waited for."""
        with self._lock:
            kept = tuple(self._kept)
        if not kept:
            raise BadImageError(
                MISSING, f"no depth on {self.topic}, so ground is taken to be flat: see whether it is sent"
            )
        found_ns, _, message = min(kept, key=lambda one: abs(one[0] - stamp_ns))
        off_s = (found_ns - stamp_ns) * 1e-9
        if abs(off_s) <= self._tolerance_s:
            return read_depth(message, image_hw, frame_id)
        way = "ahead of" if off_s > 0 else "behind"
        if abs(off_s) > _RECENT_S and now_s - kept[-1][1] < _RECENT_S:
            raise BadImageError(
                CLOCK,
                f"the stamps of depth on {self.topic} are {abs(off_s):.3g} s {way} the image's though both come now: let one "
                "clock stamp both",
            )
        raise BadImageError(
            UNPAIRED,
            f"the nearest depth on {self.topic} is {abs(off_s):.3g} s {way} the image, more than depth_tolerance "
            f"({self._tolerance_s:g} s), so ground is taken to be flat: let depth be sent for each image",
        )


class DepthInput:
    """The subscription of one camera's depth."""

    def __init__(self, node: Node, topic: str, tolerance_s: float) -> None:
        self._node = node
        name = node.resolve_topic_name(topic)
        self.newest = NewestDepth(name, tolerance_s)
        qos = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
        events = subscription_events(name, lambda _, sentence: node.get_logger().warning(sentence))
        self._subscription = node.create_subscription(Image, topic, self._on_depth, qos, event_callbacks=events)

    def _on_depth(self, message: Image) -> None:
        self.newest.put(message, time.monotonic())

    def destroy(self) -> None:
        """Stop listening."""
        self._node.destroy_subscription(self._subscription)
