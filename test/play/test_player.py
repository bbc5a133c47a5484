"""What a consumer of the node's topics takes for an answer."""

from __future__ import annotations

import array
import threading
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("rclpy", reason="the consumer is a node")
from builtin_interfaces.msg import Time
from sensor_msgs.msg import Image, LaserScan
from std_msgs.msg import Header

from seg_perception.play.player import Channel
from seg_perception.results import Answer
from seg_perception_msgs.msg import DrivableAreas, Segments


class Consumer:
    """A channel without a network: messages are handed to it as the executor would. answered: stamps in s, as handed on."""

    def __init__(self) -> None:
        self._receive: dict[str, Any] = {}
        self.answered: list[int] = []
        node = SimpleNamespace(
            create_publisher=lambda *_: None,
            create_subscription=lambda kind, topic, receive, qos: self._receive.update({topic: receive}),
        )
        watched = ("label_mask", "segments", "drivable_areas", "free_space")
        self.channel = Channel(
            node,  # type: ignore[arg-type]
            "segmentation",
            "",
            self._on_answer,
            lambda: 0,
            threading.Condition(),
            watched,
        )

    def _on_answer(self, camera: str, stamp_ns: int, age_ms: float, answer: Answer) -> None:
        self.answered.append(stamp_ns // 10**9)

    def hear(self, stamp_s: int, *kinds: Any) -> None:
        header = Header(stamp=Time(sec=stamp_s))
        messages = {
            Image: ("label_mask", Image(height=1, width=1, step=1, encoding="mono8", data=array.array("B", [0]))),
            Segments: ("segments", Segments()),
            DrivableAreas: ("drivable_areas", DrivableAreas()),
            LaserScan: ("free_space", LaserScan()),
        }
        for kind in kinds:
            topic, message = messages[kind]
            message.header = header
            self._receive[f"segmentation/{topic}"](message)


def test_every_frame_that_is_handed_on_is_an_answer() -> None:
    """Of the second and third frame the free space, which is sent as best effort, was lost."""
    consumer = Consumer()
    whole = (Image, Segments, DrivableAreas, LaserScan)
    consumer.hear(1, *whole)
    consumer.hear(2, *whole[:3])
    consumer.hear(3, *whole[:3])
    assert consumer.answered == [1] and consumer.channel.answers == 1
    consumer.hear(4, *whole)
    assert consumer.answered == [1, 2, 3, 4] and consumer.channel.answers == 4


def test_what_comes_late_or_without_a_mask_is_no_answer() -> None:
    consumer = Consumer()
    consumer.hear(1, Image, Segments, DrivableAreas)
    consumer.hear(1, LaserScan)
    consumer.hear(2, LaserScan)
    consumer.hear(3, Image, Segments, DrivableAreas, LaserScan)
    assert consumer.answered == [1, 3] and consumer.channel.answers == 2


def test_the_last_frame_is_answered_though_a_part_of_it_was_lost() -> None:
    consumer = Consumer()
    consumer.hear(1, Image, Segments, DrivableAreas, LaserScan)
    consumer.hear(2, Image, Segments, DrivableAreas)
    consumer.hear(3, Image, Segments)
    assert consumer.channel.wait_for_answer(2 * 10**9, 0.0)
    assert not consumer.channel.wait_for_answer(3 * 10**9, 0.0)
    consumer.channel.finish()
    assert consumer.answered == [1, 2] and consumer.channel.answers == 2
