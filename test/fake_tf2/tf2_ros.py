"""A stand-in for tf2_ros, which PyPI does not have: as much of its interface and behaviour as this package relies on.

Transforms come one a message on /fake_tf, since tf2_msgs is not on PyPI either; a stamp of zero makes one static. A
frame is found from another only where it is its child.
"""

from __future__ import annotations

import threading
from typing import Any

from geometry_msgs.msg import TransformStamped
from rclpy.node import Node
from rclpy.time import Time

CACHE_NS = 2000 * 10**9
"""How far back the buffer goes; what is older than that is refused. tf2's own is 10 s, too short for slow tests."""


class TransformException(Exception):  # noqa: N818 - the name is tf2's
    """As in tf2: the base of all below."""


class LookupException(TransformException):
    """A frame is not known."""


class ConnectivityException(TransformException):
    """Two known frames are not connected."""


class ExtrapolationException(TransformException):
    """The time asked for lies outside what is kept."""


class InvalidArgumentException(TransformException):
    """A frame's name is empty, or begins with "/"."""


class Buffer:
    """Keeps transforms by child frame; a later one of the same stamp replaces the one before."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._history: dict[str, dict[int, TransformStamped]] = {}

    def set_transform(self, transform: TransformStamped, authority: str) -> None:
        """Add a transform."""
        with self._lock:
            transform.header.frame_id = transform.header.frame_id.lstrip("/")
            transform.child_frame_id = transform.child_frame_id.lstrip("/")
            stamp_ns = transform.header.stamp.sec * 10**9 + transform.header.stamp.nanosec
            newest_ns = max(self._history.get(transform.child_frame_id, {0: None}))
            if 0 < stamp_ns < newest_ns - CACHE_NS:
                return  # TF_OLD_DATA
            self._history.setdefault(transform.child_frame_id, {})[stamp_ns] = transform

    def clear(self) -> None:
        """Forget all but what is static."""
        with self._lock:
            self._history = {child: {0: history[0]} for child, history in self._history.items() if 0 in history}

    def lookup_transform(self, target_frame: str, source_frame: str, time: Time) -> Any:
        """The transform of source in target at time, zero: the newest."""
        with self._lock:
            if not target_frame or not source_frame:
                raise InvalidArgumentException("frame_id cannot be empty")
            if "/" in (target_frame[0], source_frame[0]):
                raise InvalidArgumentException("frame_ids cannot start with '/'")
            parents = {one.header.frame_id for history in self._history.values() for one in history.values()}
            for frame in (target_frame, source_frame):
                if frame not in parents | set(self._history):
                    raise LookupException(f'"{frame}" passed to lookupTransform does not exist')
            history = self._history.get(source_frame, {})
            ours = sorted(stamp for stamp, one in history.items() if one.header.frame_id == target_frame)
            if not ours:
                raise ConnectivityException(f"'{target_frame}' and '{source_frame}' are not part of the same tree")
            if not time.nanoseconds or not ours[0]:
                return history[ours[-1]]
            if not ours[0] <= time.nanoseconds <= ours[-1]:
                raise ExtrapolationException("Lookup would require extrapolation")
            return history[max(stamp for stamp in ours if stamp <= time.nanoseconds)]


class TransformListener:
    """Fills a buffer from /fake_tf."""

    def __init__(self, buffer: Buffer, node: Node) -> None:
        self._node = node
        self._subscription = node.create_subscription(
            TransformStamped, "/fake_tf", lambda message: buffer.set_transform(message, "fake"), 100
        )

    def unregister(self) -> None:
        """Stop listening."""
        self._node.destroy_subscription(self._subscription)
