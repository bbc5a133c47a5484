"""Results to messages. With camera/messages.py, the only place that knows both; it knows no node."""

from __future__ import annotations

import array
from collections.abc import Mapping, Sequence
from functools import lru_cache
from types import ModuleType
from typing import Any

import cv2
import numpy as np
from builtin_interfaces.msg import Time
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from geometry_msgs.msg import Point32
from nav_msgs.msg import OccupancyGrid
from numpy.typing import NDArray
from sensor_msgs.msg import CameraInfo, CompressedImage, Image, LaserScan, PointCloud2, PointField
from std_msgs.msg import Header

from seg_perception.camera_info_fields import camera_info_fields
from seg_perception.camera_model import CameraModel
from seg_perception.labels import LabelSet
from seg_perception.panoptic.relabel import Told
from seg_perception.results import POINT, Drivable, FreeSpace, Grid, Outline, Panoptic
from seg_perception.ros.diagnostics import Status
from seg_perception.segment_fields import segment_fields
from seg_perception_msgs.msg import DrivableArea, DrivableAreas, LookAhead, Segment, Segments
from seg_perception_msgs.msg import Outline as OutlineMessage

MASK_DTYPES: dict[str, np.dtype[Any]] = {
    "mono8": np.dtype(np.uint8),
    "mono16": np.dtype("<u2"),
    "rgb8": np.dtype(np.uint8),
}


class ImageFiller:
    """Fills one reused Image message: little-endian, rows unpadded, as Nav2's semantic layers index it.

    encoding: mono8 or rgb8 for uint8, mono16 for uint16.
    """

    def __init__(self, encoding: str) -> None:
        self._dtype = MASK_DTYPES[encoding]
        self._message = Image(encoding=encoding, is_bigendian=0)
        self._pixels: NDArray[Any] = np.zeros(0, self._dtype)

    def fill(self, pixels: NDArray[Any], header: Header) -> Image:
        """pixels, [H, W] or [H, W, 3], as a message that holds until the next call."""
        if pixels.shape != self._pixels.shape:
            self._resize(pixels.shape)
        np.copyto(self._pixels, pixels, casting="equiv")
        self._message.header = header
        return self._message

    def _resize(self, shape: tuple[int, ...]) -> None:
        size = int(np.prod(shape)) * self._dtype.itemsize
        self._message.height, self._message.width = shape[:2]
        self._message.step = size // shape[0]
        self._message.data = array.array("B", [0]) * size
        # Whether the message keeps the array it is given or a copy of it depends on the distribution: ask it.
        self._pixels = np.frombuffer(self._message.data, self._dtype).reshape(shape)


_FIELD_TYPES = {"<f4": PointField.FLOAT32, "|u1": PointField.UINT8, "<u2": PointField.UINT16}


class CloudFiller:
    """Fills one reused PointCloud2, organised as the masks are."""

    def __init__(self) -> None:
        fields = (POINT.fields or {}).items()
        self._message = PointCloud2(
            fields=[
                PointField(name=name, offset=offset, datatype=_FIELD_TYPES[kind.str], count=1)
                for name, (kind, offset, *_) in fields
            ],
            is_bigendian=False,
            is_dense=False,
            point_step=POINT.itemsize,
        )
        self._bytes: NDArray[np.uint8] = np.zeros(0, np.uint8)

    def fill(self, points: NDArray[np.void], header: Header) -> PointCloud2:
        """points, POINT [H, W], as a message that holds until the next call."""
        message, size = self._message, points.nbytes
        message.height, message.width = points.shape
        message.row_step = size // max(points.shape[0], 1)
        if len(self._bytes) != size:
            message.data = array.array("B", [0]) * size
            self._bytes = np.frombuffer(message.data, np.uint8)
        np.copyto(self._bytes, points.reshape(-1).view(np.uint8))
        message.header = header
        return message


def jpeg(rgb: NDArray[np.uint8], quality: int, header: Header) -> CompressedImage:
    """rgb, uint8 [H, W, 3], as a JPEG of quality 1 to 100."""
    _, encoded = cv2.imencode(".jpg", cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, quality])
    return CompressedImage(header=header, format="rgb8; jpeg compressed bgr8", data=_buffer("B", encoded))


def segments(panoptic: Panoptic, labels: LabelSet, header: Header, motion_frame: str = "") -> Segments:
    """All segments of a frame, things first; motion_frame: of their feet and speeds."""
    height, width = panoptic.semantic.shape
    rows = [Segment(**segment_fields(segment, labels.names)) for segment in panoptic.segments]
    return Segments(header=header, width=width, height=height, motion_frame=motion_frame, segments=rows)


class Points:
    """Point messages that frames reuse, since to make one takes four times as long as to fill it."""

    def __init__(self) -> None:
        self._made: list[Point32] = []
        self._used = 0

    def rewind(self) -> None:
        """Take them from the first one again."""
        self._used = 0

    def fill(self, points: NDArray[np.float32]) -> list[Point32]:
        """points, float32 [N, 2] = (x, y), as messages that hold until they are used again."""
        begin, self._used = self._used, self._used + len(points)
        self._made += [Point32() for _ in range(self._used - len(self._made))]
        filled = self._made[begin : self._used]
        for message, (x, y) in zip(filled, points.tolist()):
            message.x, message.y = x, y
        return filled


def drivable_areas(
    drivable: Drivable, labels: LabelSet, header: Header, ground_frame: str, points: Points | None = None
) -> DrivableAreas:
    """All drivable areas of a frame; ground_frame is empty where the geometry is unknown.

    points: to reuse; the message then holds until the next call with them.
    """
    points = points or Points()
    points.rewind()
    areas = []
    for area in drivable.areas:
        label = labels.classes[area.class_id]
        areas.append(
            DrivableArea(
                class_id=label.id,
                class_name=label.name,
                cost=label.drivable_cost,
                coverage=area.coverage,
                confidence=area.confidence,
                outlines_px=_outlines(area.outlines_px, points),
                outlines_ground=_outlines(area.outlines_ground, points),
                area_m2=area.area_m2,
                free_distance_m=area.free_distance_m,
                free_distance_width_m=area.free_distance_width_m,
                view_begins_m=area.view_begins_m,
                edges=[LookAhead(**vars(edge)) for edge in area.edges],
            )
        )
    return DrivableAreas(header=header, ground_frame=ground_frame, areas=areas)


def camera_info(camera: CameraModel, mask_hw: tuple[int, int], header: Header) -> CameraInfo:
    """The calibration of masks of (height, width): that of the image that was sent, scaled."""
    fields = camera_info_fields(camera, mask_hw)
    return CameraInfo(header=header, **{**fields, "d": fields["d"].tolist() or [0.0] * 5})


def occupancy_grid(grid: Grid, header: Header) -> OccupancyGrid:
    """grid in the frame that header names."""
    message = OccupancyGrid(header=header, data=_buffer("b", grid.cells))
    message.info.map_load_time = header.stamp
    message.info.resolution = grid.resolution_m
    message.info.height, message.info.width = grid.cells.shape
    message.info.origin.position.x, message.info.origin.position.y = map(float, grid.origin_m)
    return message


def laser_scan(free: FreeSpace, header: Header) -> LaserScan:
    """free in the frame that header names; inf = free up to range_max, NaN = unknown (REP 117). Who reads ranges alone
    clears only what was seen and meets only what stands there; intensities: how far free ground is seen, m."""
    return LaserScan(
        header=header,
        angle_min=free.angle_min_rad,
        angle_max=free.angle_min_rad + (len(free.ranges_m) - 1) * free.angle_step_rad,
        angle_increment=free.angle_step_rad,
        range_min=free.range_min_m,
        range_max=free.range_max_m,
        ranges=_buffer("f", free.ranges_m),
        intensities=_buffer("f", free.seen_m),
    )


@lru_cache(maxsize=1)
def vision_msgs() -> tuple[ModuleType | None, str]:
    """The message module of vision_msgs, or None and why there is none."""
    try:
        from vision_msgs import msg
    except ImportError as error:
        return None, f"vision_msgs is not installed ({error})"
    if not hasattr(msg, "LabelInfo"):
        return None, "vision_msgs is too old: it has no LabelInfo"
    return msg, ""


def label_info(types: Any, told: Told, header: Header, threshold: float) -> Any:
    """vision_msgs/LabelInfo of the classes that are told. types: vision_msgs.msg. threshold: least confidence of a
    pixel, 0 to 1."""
    classes = [types.VisionClass(class_id=label.id, class_name=label.name) for label in told.classes]
    return types.LabelInfo(header=header, class_map=classes, threshold=threshold)


def detections(types: Any, panoptic: Panoptic, labels: LabelSet, header: Header, follows: bool = False) -> Any:
    """vision_msgs/Detection2DArray of the things; id is the track's, of what is none the segment's, or nothing where
    things are followed, as in a frame that comes late; class_id the number that LabelInfo names."""
    rows = []
    for segment in panoptic.segments:
        if not segment.is_thing:
            continue
        hypothesis = types.ObjectHypothesisWithPose()
        hypothesis.hypothesis.class_id = str(segment.class_id)
        hypothesis.hypothesis.score = float(segment.score)
        own = "" if follows else str(segment.id)
        number = own if segment.track is None else str(segment.track.id)
        detection = types.Detection2D(header=header, id=number, results=[hypothesis])
        x, y, width, height = segment.box
        detection.bbox.center.position.x = x + (width - 1) / 2
        detection.bbox.center.position.y = y + (height - 1) / 2
        detection.bbox.size_x, detection.bbox.size_y = float(width), float(height)
        rows.append(detection)
    return types.Detection2DArray(header=header, detections=rows)


def _outlines(outlines: Sequence[Outline], points: Points) -> list[OutlineMessage]:
    return [OutlineMessage(hole=outline.hole, points=points.fill(outline.points)) for outline in outlines]


def _buffer(typecode: str, values: NDArray[Any]) -> array.array[Any]:
    """A copy as the array type that messages take without checking every item."""
    buffer: array.array[Any] = array.array(typecode)
    buffer.frombytes(values.tobytes())
    return buffer


def diagnostics(node: str, statuses: Mapping[str, Status], stamp: Time) -> DiagnosticArray:
    """The statuses of a node's parts by their names; node: its full name."""
    return DiagnosticArray(
        header=Header(stamp=stamp),
        status=[status_message(f"{node}: {part}", node, one) for part, one in statuses.items()],
    )


def status_message(name: str, hardware_id: str, status: Status) -> DiagnosticStatus:
    """One status; hardware_id: what it is of."""
    values = [KeyValue(key=key, value=value) for key, value in status.values.items()]
    # rclpy wants the level as one byte.
    return DiagnosticStatus(
        level=bytes([status.level]), name=name, message=status.message, hardware_id=hardware_id, values=values
    )
