"""What goes out: the publishers of one camera. Only what somebody watches is asked for, filled and sent."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from threading import Lock
from typing import Any

import cv2
import numpy as np
from diagnostic_msgs.msg import DiagnosticArray
from nav_msgs.msg import OccupancyGrid
from numpy.typing import NDArray
from rclpy.lifecycle import LifecycleNode
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CameraInfo, CompressedImage, Image, LaserScan, PointCloud2
from std_msgs.msg import Header
from visualization_msgs.msg import MarkerArray

from seg_perception.camera_model import CameraModel
from seg_perception.ground.geometry import GroundProjection
from seg_perception.panoptic.relabel import Told
from seg_perception.pictures.overlay import Overlay
from seg_perception.results import Grid, Result, Wants
from seg_perception.ros import fill_messages as fill
from seg_perception.ros.qos_events import publisher_events
from seg_perception.ros.settings import Settings
from seg_perception.ros.topics import OUTPUTS, Qos
from seg_perception.ros.track_markers import TrackMarkers
from seg_perception_msgs.msg import DrivableAreas, Segments

MESSAGE_TYPES = (
    Image,
    CameraInfo,
    CompressedImage,
    LaserScan,
    PointCloud2,
    OccupancyGrid,
    Segments,
    DrivableAreas,
    DiagnosticArray,
    MarkerArray,
)
SENDING_S = 0.1
"""How long a grid takes to be sent where nothing hangs, and more."""
OVERLAYS = ("segmentation_mask", "segmentation_mask/compressed")
SHARED_GRID = "drivable_grid of all cameras"
"""Among the watched outputs: the topic `drivable_grid` that belongs to no camera."""


@dataclass(frozen=True)
class Placed:
    """Where a frame's outputs on the ground are. frame: their frame_id, empty without geometry; projection: of the
    masks' pixels, None without geometry; grid: what to send as drivable_grid, in grid_frame; motion_frame: of the things'
    feet and speeds, empty without geometry; camera: of the image that was sent, None where it is not calibrated."""

    frame: str
    projection: GroundProjection | None
    grid: Grid | None
    grid_frame: str
    motion_frame: str = ""
    camera: CameraModel | None = None


def qos_profile(qos: Qos) -> QoSProfile:
    """The middleware's words for a topic's QoS, all of depth 1."""
    best_effort, latched = qos == "sensor data", "transient local" in qos
    return QoSProfile(
        depth=1,
        reliability=ReliabilityPolicy.BEST_EFFORT if best_effort else ReliabilityPolicy.RELIABLE,
        durability=DurabilityPolicy.TRANSIENT_LOCAL if latched else DurabilityPolicy.VOLATILE,
    )


class LatchedGrid:
    """A topic whose late subscribers get the newest grid, which must not be old. Any thread may call any method, and none waits
    for a middleware that does not come back from sending another's grid."""

    def __init__(self, node: LifecycleNode, publisher: Any) -> None:
        self._node, self._publisher = node, publisher
        self._held: tuple[Grid, str] | None = None
        self._lock = Lock()

    def publish(self, grid: Grid, header: Header) -> None:
        """Send a grid, and hold it for those who come late."""
        with self._lock:
            self._publisher.publish(fill.occupancy_grid(grid, header))
            self._held = grid, header.frame_id

    def retract(self) -> None:
        """Replace the grid that late subscribers would get, if there is one, by one that knows nothing: it is of a moment
        that has passed, and where they are now it would be wrong. One that is being sent is left for the next call."""
        if not self._lock.acquire(timeout=SENDING_S):
            return
        try:
            if self._held is not None:
                self._replace(*self._held)
        finally:
            self._lock.release()

    def _replace(self, grid: Grid, frame: str) -> None:
        self._held = None
        header = Header(stamp=self._node.get_clock().now().to_msg(), frame_id=frame)
        unknown = replace(grid, cells=np.full(grid.cells.shape, -1, np.int8))
        self._publisher.publish(fill.occupancy_grid(unknown, header))


class CameraOutputs:
    """The publishers of one camera; name is empty where there is only one."""

    def __init__(self, node: LifecycleNode, name: str, told: Told) -> None:
        self._node, self._told = node, told
        self._vision, self.vision_problem = fill.vision_msgs()
        prefix = f"~/{name}/" if name else "~/"
        self._publishers: dict[str, Any] = {}
        self._mismatches: dict[str, str] = {}
        for topic in OUTPUTS:
            kind = self._message_type(topic.type)
            if kind is not None:
                resolved = node.resolve_topic_name(prefix + topic.name)
                events = publisher_events(resolved, topic.qos, partial(self._on_mismatch, topic.name))
                self._publishers[topic.name] = node.create_lifecycle_publisher(
                    kind, prefix + topic.name, qos_profile(topic.qos), event_callbacks=events
                )
        encodings = {
            "label_mask": "mono8",
            "instance_mask": "mono16",
            "confidence": "mono8",
            "segmentation_mask": "rgb8",
        }
        self._images = {topic: fill.ImageFiller(encoding) for topic, encoding in encodings.items()}
        self._points, self._cloud = fill.Points(), fill.CloudFiller()
        self._markers = TrackMarkers(told.labels)
        self._overlay = Overlay(told.labels, told.gone)
        self._overlay_rgb: NDArray[np.uint8] | None = None
        self._small_rgb: NDArray[np.uint8] | None = None
        self._announced_threshold = 0.0
        self._grid = LatchedGrid(node, self._publishers["drivable_grid"])
        self.retract_grid = self._grid.retract

    def _message_type(self, name: str) -> Any:
        package, _, kind = name.partition("/")
        if package == "vision_msgs":
            return getattr(self._vision, kind, None)
        return next(known for known in MESSAGE_TYPES if known.__name__ == kind)

    def _on_mismatch(self, topic: str, policy: str, sentence: str) -> None:
        self._mismatches[topic] = sentence
        self._node.get_logger().warning(sentence)

    def mismatches(self) -> list[str]:
        """What the middleware told of subscribers that do not fit, as long as there are some."""
        for topic in list(self._mismatches):
            publisher = self._publishers.get(topic)
            if (
                publisher is None
                or self._node.count_subscribers(publisher.topic_name) <= publisher.get_subscription_count()
            ):
                del self._mismatches[topic]
        return list(self._mismatches.values())

    def destroy(self) -> None:
        """Take the topics down."""
        for publisher in self._publishers.values():
            self._node.destroy_lifecycle_publisher(publisher)
        self._publishers.clear()

    def announce(self, settings: Settings) -> None:
        """Publish the label set, which late subscribers get too."""
        self._announced_threshold = threshold = settings.panoptic.min_confidence
        if "label_info" in self._publishers:
            header = Header(stamp=self._node.get_clock().now().to_msg())
            self._publishers["label_info"].publish(fill.label_info(self._vision, self._told, header, threshold))

    def tell(self, told: Told, settings: Settings) -> None:
        """Tell classes otherwise from the next frame on. The thread that publishes."""
        self._told = told
        self._markers, self._overlay = TrackMarkers(told.labels), Overlay(told.labels, told.gone)
        self.announce(settings)

    def watched(self, settings: Settings) -> frozenset[str]:
        """Names of the outputs to compute now."""
        return frozenset(
            name
            for name, publisher in self._publishers.items()
            if name in settings.node.always_publish or publisher.get_subscription_count()
        )

    def publish(
        self, result: Result, header: Header, placed: Placed, watched: frozenset[str], settings: Settings
    ) -> None:
        """Send every watched output of a frame. header: the camera image's."""
        if settings.panoptic.min_confidence != self._announced_threshold:
            self.announce(settings)
        ground = Header(stamp=header.stamp, frame_id=placed.frame)
        panoptic, drivable, labels = result.panoptic, result.drivable, self._told.labels
        follows = settings.tracking.enabled and result.frame.stamp_ns > 0
        ready: dict[str, Callable[[], Any]] = {
            "label_mask": lambda: self._images["label_mask"].fill(panoptic.semantic, header),
            "instance_mask": lambda: self._images["instance_mask"].fill(panoptic.instance, header),
            "confidence": lambda: self._images["confidence"].fill(panoptic.confidence, header),
            "segments": lambda: fill.segments(panoptic, labels, header, placed.motion_frame),
            "detections": lambda: fill.detections(self._vision, panoptic, labels, header, follows),
            "drivable_areas": lambda: fill.drivable_areas(drivable, labels, header, placed.frame, self._points),
        }
        motion = Header(stamp=header.stamp, frame_id=placed.motion_frame)
        ready["tracks"] = lambda: self._markers.fill(result.tracks, motion)
        grid, free_space, points = placed.grid, drivable.free_space, drivable.points
        if free_space is not None:
            ready["free_space"] = lambda: fill.laser_scan(free_space, ground)
        camera, (height, width) = placed.camera, panoptic.semantic.shape
        if camera is not None:
            ready["camera_info"] = lambda: fill.camera_info(camera, (height, width), header)
        if points is not None:
            ready["points"] = lambda: self._cloud.fill(points, ground)
        if "drivable_grid" in watched and grid is not None:
            self._grid.publish(grid, Header(stamp=header.stamp, frame_id=placed.grid_frame))
        else:
            self._grid.retract()
        for name, message in ready.items():
            if name in watched:
                self._publishers[name].publish(message())
        if watched.intersection(OVERLAYS):
            self._publish_overlay(result, header, watched, settings.node.jpeg_quality, placed.projection)

    def _publish_overlay(
        self,
        result: Result,
        header: Header,
        watched: frozenset[str],
        quality: int,
        projection: GroundProjection | None,
    ) -> None:
        rgb = result.frame.rgb
        height, width = result.panoptic.semantic.shape
        if rgb.shape[:2] != (height, width):
            rgb = self._small_rgb = cv2.resize(rgb, (width, height), dst=self._small_rgb, interpolation=cv2.INTER_AREA)  # type: ignore[assignment]
        over_ground = result.motion_frame == "odometry"
        self._overlay_rgb = self._overlay.draw(
            rgb, result.panoptic, result.drivable, self._overlay_rgb, projection, over_ground=over_ground
        )
        raw, compressed = OVERLAYS
        if raw in watched:
            self._publishers[raw].publish(self._images[raw].fill(self._overlay_rgb, header))
        if compressed in watched:
            self._publishers[compressed].publish(fill.jpeg(self._overlay_rgb, quality, header))


def wants(watched: frozenset[str]) -> Wants:
    """What the pipeline must compute for the watched outputs."""
    overlay, points = bool(watched.intersection(OVERLAYS)), "points" in watched
    return Wants(
        instances=overlay or points or bool(watched & {"instance_mask", "segments", "detections", "tracks"}),
        confidence=points or "confidence" in watched,
        areas=overlay or "drivable_areas" in watched,
        grid=bool(watched & {"drivable_grid", SHARED_GRID}),
        free_space=overlay or "free_space" in watched,
        points=points,
    )


def watches_ground(watched: frozenset[str]) -> bool:
    """Whether somebody waits for an output that needs the camera's calibration and pose."""
    return bool(watched & {"drivable_grid", SHARED_GRID, "free_space", "drivable_areas", "points", "tracks"})
