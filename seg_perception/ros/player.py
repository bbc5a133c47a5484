"""A camera and a planner in one: publishes frames as a driver does, receives the node's topics as a consumer does."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from nav_msgs.msg import OccupancyGrid
from numpy.typing import NDArray
from rclpy.context import Context
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.signals import SignalHandlerOptions
from sensor_msgs.msg import CameraInfo, Image, LaserScan
from std_msgs.msg import Header

from seg_perception.evaluation.spool import Answer
from seg_perception.geometry import CameraModel
from seg_perception.results import Drivable, DrivableArea, Frame, FreeSpace, Grid, LookAhead, Outline, Segment
from seg_perception.ros.fill_messages import ImageFiller
from seg_perception.ros.outputs import qos_profile
from seg_perception.ros.topics import DIAGNOSTICS, output
from seg_perception_msgs.msg import DrivableAreas, Segments

WATCHED: dict[str, Any] = {
    "label_mask": Image,
    "instance_mask": Image,
    "confidence": Image,
    "segments": Segments,
    "drivable_areas": DrivableAreas,
    "drivable_grid": OccupancyGrid,
    "free_space": LaserScan,
}
NEEDED = frozenset({"label_mask", "instance_mask", "segments", "drivable_areas"})
"""An answer is complete with these; they all carry the camera image's stamp."""
ON_GROUND = ("drivable_grid", "free_space")
"""And with these, which come only where the node knows the camera's calibration and mounting."""

OnAnswer = Callable[[int, float, Answer], None]
"""Takes the stamp (ns) of the frame, the age of its label mask at arrival (ms) and the answer."""


class Player:
    """Joins the network of ROS_DOMAIN_ID. on_answer is called in the receiving thread, in the order of the answers.

    received: messages by topic; answers: how many frames were answered; last_stamp_ns: of the newest answer.
    """

    def __init__(self, on_answer: OnAnswer, node_name: str = "segmentation") -> None:
        self._on_answer = on_answer
        self._context = Context()
        # Ctrl-C is the program's: rclpy's handler would close the network under it.
        rclpy.init(context=self._context, signal_handler_options=SignalHandlerOptions.NO)
        self._node = Node("seg_perception_player", context=self._context)
        self._images = self._node.create_publisher(Image, "image", qos_profile("sensor data"))
        self._infos = self._node.create_publisher(CameraInfo, "camera_info", qos_profile("sensor data"))
        self._filler = ImageFiller("rgb8")
        self._changed = threading.Condition()
        self._parts: dict[int, dict[str, Any]] = {}
        self._ages_ms: dict[int, float] = {}
        self._statuses: dict[str, dict[str, str]] = {}
        self._diagnostics_count = 0
        self.received = dict.fromkeys(WATCHED, 0)
        self.answers = 0
        self.last_stamp_ns = 0
        # deep enough that this program's own pauses do not count as the node's
        qos = QoSProfile(depth=10, reliability=ReliabilityPolicy.RELIABLE)
        sensor_data = QoSProfile(depth=10, reliability=ReliabilityPolicy.BEST_EFFORT)
        for name, kind in WATCHED.items():
            offered = sensor_data if output(name).qos == "sensor data" else qos
            self._node.create_subscription(kind, f"{node_name}/{name}", self._receiver(name), offered)
        self._node.create_subscription(DiagnosticArray, DIAGNOSTICS.name, self._on_diagnostics, qos)
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self._node)
        self._thread = threading.Thread(target=self._spin, name="planner", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Leave the network."""
        self._executor.shutdown()
        self._thread.join()
        self._node.destroy_node()
        rclpy.shutdown(context=self._context)

    def send(self, frame: Frame, camera: CameraModel | None) -> int:
        """Publish a frame taken now, and the camera's calibration where it is known; returns the stamp in ns."""
        stamp_ns = time.time_ns()
        header = Header(frame_id=frame.frame_id)
        header.stamp.sec, header.stamp.nanosec = divmod(stamp_ns, 10**9)
        if camera is not None:
            self._infos.publish(_camera_info(camera, header))
        self._images.publish(self._filler.fill(frame.rgb, header))
        return stamp_ns

    def wait_for_answer(self, stamp_ns: int, timeout_s: float) -> bool:
        """Wait until a frame of that stamp or a later one is answered; False when the time is over."""
        with self._changed:
            return self._changed.wait_for(lambda: self.last_stamp_ns >= stamp_ns, timeout_s)

    def wait_for_answers(self, count: int, timeout_s: float) -> None:
        """Wait until so many frames are answered, or the time is over."""
        with self._changed:
            self._changed.wait_for(lambda: self.answers >= count, timeout_s)

    def wait_for_diagnostics(self, timeout_s: float) -> bool:
        """Wait for the next diagnostics."""
        with self._changed:
            count = self._diagnostics_count
            return self._changed.wait_for(lambda: self._diagnostics_count > count, timeout_s)

    def diagnostics(self, part: str) -> dict[str, str]:
        """Values of the newest status whose name contains part, with its `message`; empty when there is none."""
        with self._changed:
            return next((dict(values) for name, values in self._statuses.items() if part in name), {})

    def _spin(self) -> None:
        try:
            self._executor.spin()
        except ExternalShutdownException:
            return

    def _receiver(self, name: str) -> Callable[[Any], None]:
        def receive(message: Any) -> None:
            arrived_ns = time.time_ns()
            stamp_ns = message.header.stamp.sec * 10**9 + message.header.stamp.nanosec
            self.received[name] += 1
            if name == "label_mask":
                self._ages_ms[stamp_ns] = (arrived_ns - stamp_ns) / 1e6
            self._parts.setdefault(stamp_ns, {})[name] = message
            self._pass_on(stamp_ns)

        return receive

    def _pass_on(self, stamp_ns: int) -> None:
        """Hand on the answer of that stamp once it is complete, and before it the older ones that lost a part."""
        if not self._parts[stamp_ns].keys() >= NEEDED.union(name for name in ON_GROUND if self.received[name]):
            return
        for ready_ns in sorted(stamp for stamp in self._parts if stamp <= stamp_ns):
            parts = self._parts.pop(ready_ns)
            if "label_mask" in parts:
                self._on_answer(ready_ns, self._ages_ms.pop(ready_ns), self._answer(parts))
        with self._changed:
            self.answers += 1
            self.last_stamp_ns = max(self.last_stamp_ns, stamp_ns)
            self._changed.notify_all()

    def _answer(self, parts: dict[str, Any]) -> Answer:
        semantic = _mask(parts["label_mask"], np.dtype(np.uint8))
        instances = parts.get("instance_mask")
        instance = np.zeros(semantic.shape, np.uint16) if instances is None else _mask(instances, np.dtype("<u2"))
        segments, areas = parts.get("segments"), parts.get("drivable_areas")
        grid, scan = (parts.get(name) for name in ON_GROUND)
        drivable = Drivable(
            () if areas is None else tuple(_area(area) for area in areas.areas),
            None if grid is None else _grid(grid),
            None if scan is None else _free_space(scan),
        )
        return Answer(semantic, instance, () if segments is None else tuple(map(_segment, segments.segments)), drivable)

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        with self._changed:
            for status in message.status:
                values = {value.key: value.value for value in status.values}
                self._statuses[status.name] = {**values, "message": status.message}
            self._diagnostics_count += 1
            self._changed.notify_all()


def _mask(message: Image, dtype: np.dtype[Any]) -> NDArray[Any]:
    return np.frombuffer(message.data, dtype).reshape(message.height, message.width)


def _segment(message: Any) -> Segment:
    box = message.x, message.y, message.width, message.height
    return Segment(message.id, message.class_id, message.is_thing, message.score, message.area, box)


def _area(message: Any) -> DrivableArea:
    def outlines(parts: Any) -> tuple[Outline, ...]:
        return tuple(
            Outline(np.array([(p.x, p.y) for p in part.points], np.float32).reshape(-1, 2), part.hole) for part in parts
        )

    return DrivableArea(
        message.class_id,
        message.coverage,
        message.confidence,
        outlines(message.outlines_px),
        outlines(message.outlines_ground),
        message.area_m2,
        message.free_distance_m,
        message.free_distance_width_m,
        tuple(LookAhead(edge.ahead_m, edge.left_m, edge.right_m) for edge in message.edges),
    )


def _grid(message: OccupancyGrid) -> Grid:
    cells = np.array(message.data, np.int8).reshape(message.info.height, message.info.width)
    origin = message.info.origin.position
    return Grid(cells, message.info.resolution, (origin.x, origin.y))


def _free_space(message: LaserScan) -> FreeSpace:
    ranges = np.array(message.ranges, np.float32)
    return FreeSpace(ranges, message.angle_min, message.angle_increment, message.range_min, message.range_max)


def _camera_info(camera: CameraModel, header: Header) -> CameraInfo:
    k = np.asarray(camera.K, np.float64).reshape(3, 3)
    return CameraInfo(
        header=header,
        width=camera.width,
        height=camera.height,
        distortion_model=camera.distortion_model,
        d=[float(value) for value in camera.distortion],
        k=k.ravel(),
        r=np.eye(3).ravel(),
        p=np.column_stack((k, np.zeros(3))).ravel(),
    )
