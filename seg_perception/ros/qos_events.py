"""What the middleware tells of two ends of a topic whose quality of service does not fit, in sentences."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rclpy.qos import qos_policy_name_from_kind

try:
    from rclpy.event_handler import PublisherEventCallbacks, SubscriptionEventCallbacks
except ImportError:  # up to Humble
    from rclpy.qos_event import PublisherEventCallbacks, SubscriptionEventCallbacks

MISMATCH = "qos_mismatch"
"""Cause of what cannot come or go since the two ends of a topic do not fit."""
RELIABILITY = "RELIABILITY"

OnMismatch = Callable[[str, str], None]
"""Takes the policy, as ROS names it, and a sentence."""


def subscription_events(topic: str, tell: OnMismatch) -> Any:
    """For the subscription of a topic, to say which publishers it gets nothing from."""

    def on_qos(info: Any) -> None:
        policy = qos_policy_name_from_kind(info.last_policy_kind)
        tell(
            policy,
            f"a publisher of {topic} offers less {policy} than this node asks for, so nothing of it comes: let it offer more",
        )

    return SubscriptionEventCallbacks(incompatible_qos=on_qos)


def publisher_events(topic: str, offered: str, tell: OnMismatch) -> Any:
    """For the publisher of a topic, to say which subscribers get nothing from it; offered: its QoS in words."""

    def on_qos(info: Any) -> None:
        policy = qos_policy_name_from_kind(info.last_policy_kind)
        tell(
            policy,
            f"somebody subscribes to {topic} and asks for another {policy} than it has ({offered}), so gets nothing: "
            "subscribe with that",
        )

    return PublisherEventCallbacks(incompatible_qos=on_qos)
