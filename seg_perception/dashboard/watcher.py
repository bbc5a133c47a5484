"""Listens to the nodes that pages look at, and to nothing while none does."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Collection
from types import TracebackType
from typing import Any

import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from nav_msgs.msg import OccupancyGrid
from rclpy.context import Context
from rclpy.exceptions import InvalidTopicNameException
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions
from rclpy.subscription import Subscription
from rclpy.time import Time
from rclpy.validate_full_topic_name import validate_full_topic_name
from sensor_msgs.msg import CompressedImage, LaserScan

from seg_perception.dashboard import packets
from seg_perception.errors import LONGEST_REASON, quoted
from seg_perception.ground.odometry import PlanarPose
from seg_perception.ros.extrinsics import TransformError, TransformSource
from seg_perception.ros.outputs import qos_profile
from seg_perception.ros.topics import DIAGNOSTICS, output
from seg_perception_msgs.msg import DrivableAreas, Segments

Post = Callable[[str, str, bytes], None]
"""Takes a source, a kind and a packet, in the executor's thread; an empty source is for all."""

LOOK_S = 1.0
MOST_TOLD = 8
"""Kinds of messages that cannot be shown, each told once."""
SEGMENTS, OVERLAY = "segments", "segmentation_mask/compressed"
"""Among the topics that are heard: what a source is known by, and the one of the longest name."""
_TF_TOLERANCE_S = 0.5
"""Pictures may be so much behind; nothing drives by them."""


class Watcher:
    """A node of its own context and thread; a `with` block ends both. A source is a node's name, or `<node>/<camera>`."""

    def __init__(self, post: Post) -> None:
        self._post = post
        self._context = Context()
        rclpy.init(args=[], context=self._context, signal_handler_options=SignalHandlerOptions.NO)
        self._node = Node(f"seg_perception_dashboard_{os.getpid()}", context=self._context)
        self._transforms = TransformSource(self._node)
        self._wanted: frozenset[str] = frozenset()
        self._sources: dict[str, Source] = {}
        self._told: set[str] = set()
        self._diagnostics: Subscription[Any] | None = None
        # Subscriptions are made and ended in the executor's own thread, which reads them.
        self._changed = self._node.create_guard_condition(self._change)
        self._timer = self._node.create_timer(LOOK_S, self._look)
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self._node)
        self._thread = threading.Thread(target=self._spin, name="dashboard", daemon=True)

    def __enter__(self) -> Watcher:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._context.shutdown()
        self._thread.join(LOOK_S)
        if not self._thread.is_alive():
            # What it leaves to the garbage collector may go in an order in which rclpy prints a traceback.
            self._executor.shutdown()

    def watch(self, sources: Collection[str]) -> None:
        """Any thread: listen to these sources, and to no other; what cannot be one is left out."""
        self._wanted = frozenset(filter(_may_be, sources))
        self._changed.trigger()

    def found(self) -> list[str]:
        """Any thread: the sources that publish now."""
        kind = output(SEGMENTS).type.replace("/", "/msg/")
        topics = self._node.get_topic_names_and_types()
        return sorted(name.removesuffix(f"/{SEGMENTS}") for name, kinds in topics if kind in kinds)

    def _spin(self) -> None:
        while self._context.ok():
            try:
                self._executor.spin_once()
            except ExternalShutdownException:
                return
            except Exception as error:  # the edge of the thread: what somebody sends must not end what others look at
                if self._context.ok():  # else it is the end, in the middle of beginning to listen
                    self._leave_out(error)

    def _leave_out(self, error: Exception) -> None:
        """Say once of what kind a message was that cannot be shown."""
        told = f"dashboard: a message is left out ({type(error).__name__}: {quoted(error, LONGEST_REASON)})"
        if told not in self._told and len(self._told) < MOST_TOLD:
            self._told.add(told)
            print(told, file=sys.stderr)

    def _change(self) -> None:
        wanted = self._wanted
        for name in self._sources.keys() - wanted:
            self._sources.pop(name).close()
        for name in wanted - self._sources.keys():
            self._sources[name] = Source(self._node, name, self._transforms, self._post)
        if wanted and self._diagnostics is None:
            self._transforms.listen()
            self._diagnostics = self._node.create_subscription(
                DiagnosticArray, DIAGNOSTICS.name, self._on_diagnostics, 10
            )
        elif not wanted and self._diagnostics is not None:
            self._node.destroy_subscription(self._diagnostics)
            self._diagnostics = None
            self._transforms.destroy()
            self._transforms = TransformSource(self._node)

    def _look(self) -> None:
        self._post("", "sources", packets.packet("sources", {"sources": self.found()}))

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        for name in self._sources:
            said = packets.diagnostics(message, name)
            if said is not None:
                self._post(name, "diagnostics", said)


def _may_be(source: str) -> bool:
    """Whether a source may have that name."""
    try:
        validate_full_topic_name(f"{source}/{OVERLAY}")
    except InvalidTopicNameException:
        return False
    return True


class Source:
    """The topics of one camera of one node."""

    def __init__(self, node: Node, name: str, transforms: TransformSource, post: Post) -> None:
        self._node, self._name, self._transforms, self._post = node, name, transforms, post
        self._ground_frame = ""
        heard = {
            OVERLAY: (CompressedImage, self._on_overlay),
            "drivable_grid": (OccupancyGrid, self._on_grid),
            "free_space": (LaserScan, self._on_free_space),
            "drivable_areas": (DrivableAreas, self._on_areas),
            SEGMENTS: (Segments, self._on_segments),
        }
        self._subscriptions = [
            node.create_subscription(kind, f"{name}/{topic}", heard_by, qos_profile(output(topic).qos))
            for topic, (kind, heard_by) in heard.items()
        ]

    def close(self) -> None:
        """Listen no more."""
        for subscription in self._subscriptions:
            self._node.destroy_subscription(subscription)

    def _on_overlay(self, message: CompressedImage) -> None:
        self._post(self._name, "overlay", packets.overlay(message))

    def _on_free_space(self, message: LaserScan) -> None:
        self._ground_frame = message.header.frame_id
        self._post(self._name, "free_space", packets.free_space(message))

    def _on_areas(self, message: DrivableAreas) -> None:
        self._post(self._name, "areas", packets.areas(message))

    def _on_grid(self, message: OccupancyGrid) -> None:
        vehicle = self._vehicle(message.header.frame_id, message.header.stamp)
        self._post(self._name, "grid", packets.grid(message, vehicle))

    def _on_segments(self, message: Segments) -> None:
        vehicle = self._vehicle(message.motion_frame, message.header.stamp)
        from_vehicle = message.motion_frame == self._ground_frame
        self._post(self._name, "things", packets.things(message, vehicle, from_vehicle=from_vehicle))

    def _vehicle(self, frame: str, stamp: Any) -> PlanarPose | None:
        if not frame or not self._ground_frame:
            return None
        if frame == self._ground_frame:
            return PlanarPose(0.0, 0.0, 0.0)
        try:
            return self._transforms.planar_pose(frame, self._ground_frame, Time.from_msg(stamp), _TF_TOLERANCE_S)
        except TransformError:  # diagnostics of the node itself say what is wrong with TF
            return None
