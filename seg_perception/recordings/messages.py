"""Results to the messages that the node sends, as rosbags writes them: for bags that are made without ROS."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from rosbags.interfaces import Qos, QosDurability, QosHistory, QosLiveliness, QosReliability, QosTime
from rosbags.typesys import Stores, get_types_from_msg, get_typestore
from rosbags.typesys.store import Typestore

from seg_perception.errors import SegPerceptionError
from seg_perception.files import share_folders
from seg_perception.labels import LabelSet
from seg_perception.recordings.video_types import FOXGLOVE, video_definitions
from seg_perception.results import Drivable, Grid, Outline, Panoptic
from seg_perception.segment_fields import segment_fields

IMAGE, COMPRESSED, CAMERA_INFO, TF = (
    "sensor_msgs/msg/Image",
    "sensor_msgs/msg/CompressedImage",
    "sensor_msgs/msg/CameraInfo",
    "tf2_msgs/msg/TFMessage",
)
GRID, SEGMENTS, DRIVABLE_AREAS = (
    "nav_msgs/msg/OccupancyGrid",
    "seg_perception_msgs/msg/Segments",
    "seg_perception_msgs/msg/DrivableAreas",
)
ENCODINGS = {(np.dtype(np.uint8), 2): "mono8", (np.dtype(np.uint16), 2): "mono16", (np.dtype(np.uint8), 3): "rgb8"}
"""Of an image, by type and number of axes."""

_UNLIMITED = QosTime(0, 0)
LATCHED = Qos(
    QosHistory.KEEP_LAST, 1, QosReliability.RELIABLE, QosDurability.TRANSIENT_LOCAL,
    _UNLIMITED, _UNLIMITED, QosLiveliness.AUTOMATIC, _UNLIMITED, False,
)  # fmt: skip
"""Reliable and transient local, for what is sent once."""

_INTERFACES = "seg_perception_msgs"


class BagMessages:
    """Builds and serialises messages as Humble defines them, which every later release reads. labels: of the masks.

    Headers are std_msgs/Header messages or what has their fields.
    """

    def __init__(self, labels: LabelSet) -> None:
        """Raises SegPerceptionError when the definitions of seg_perception_msgs are not found."""
        self._labels = labels
        self.types = get_typestore(Stores.ROS2_HUMBLE)
        self.types.register({**_definitions(), **video_definitions()})

    def serialize(self, message: Any, kind: str) -> memoryview:
        """CDR bytes of a message that has the fields of this type, and maybe more."""
        return memoryview(self.types.serialize_cdr(message, kind))

    def header(self, like: Any, frame_id: str | None = None) -> Any:
        """A header of the same stamp; frame_id: None = the same too."""
        stamp = self._make("builtin_interfaces/msg/Time", sec=like.stamp.sec, nanosec=like.stamp.nanosec)
        return self._make("std_msgs/msg/Header", stamp=stamp, frame_id=like.frame_id if frame_id is None else frame_id)

    def image(self, pixels: NDArray[Any], header: Any) -> Any:
        """pixels of one of ENCODINGS, as an Image."""
        return image_message(self.types, pixels, header)

    def jpeg(self, rgb: NDArray[np.uint8], quality: int, header: Any) -> Any:
        """rgb, uint8 [H, W, 3], as a CompressedImage: JPEG of quality 1 to 100."""
        bgr = cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR)
        _, encoded = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, quality])
        return self._make(COMPRESSED, header=header, format="rgb8; jpeg compressed bgr8", data=encoded.reshape(-1))

    def segments(self, panoptic: Panoptic, header: Any, motion_frame: str = "") -> Any:
        """All segments of a frame, things first; motion_frame: of their feet and speeds."""
        height, width = panoptic.semantic.shape
        kind, names = "seg_perception_msgs/msg/Segment", self._labels.names
        rows = [self._make(kind, **segment_fields(segment, names)) for segment in panoptic.segments]
        return self._make(SEGMENTS, header=header, width=width, height=height, motion_frame=motion_frame, segments=rows)

    def drivable_areas(self, drivable: Drivable, header: Any, ground_frame: str) -> Any:
        """All drivable areas of a frame; ground_frame is empty where the geometry is unknown."""
        areas = []
        for area in drivable.areas:
            label = self._labels.classes[area.class_id]
            named = {"class_id": label.id, "class_name": label.name, "cost": label.drivable_cost}
            own = {**vars(area), **named}
            own["outlines_px"] = self._outlines(area.outlines_px)
            own["outlines_ground"] = self._outlines(area.outlines_ground)
            own["edges"] = [self._make("seg_perception_msgs/msg/LookAhead", **vars(edge)) for edge in area.edges]
            areas.append(self._make("seg_perception_msgs/msg/DrivableArea", **own))
        return self._make(DRIVABLE_AREAS, header=header, ground_frame=ground_frame, areas=areas)

    def grid(self, grid: Grid, header: Any) -> Any:
        """grid in the frame that header names."""
        rows, columns = grid.cells.shape
        x, y = map(float, grid.origin_m)
        origin = self._make(
            "geometry_msgs/msg/Pose",
            position=self._make("geometry_msgs/msg/Point", x=x, y=y, z=0.0),
            orientation=self._make("geometry_msgs/msg/Quaternion", x=0.0, y=0.0, z=0.0, w=1.0),
        )
        info = self._make(
            "nav_msgs/msg/MapMetaData",
            map_load_time=header.stamp,
            resolution=grid.resolution_m,
            width=columns,
            height=rows,
            origin=origin,
        )
        return self._make(GRID, header=header, info=info, data=np.ascontiguousarray(grid.cells).reshape(-1))

    def _outlines(self, outlines: Sequence[Outline]) -> list[Any]:
        point = self.types.types["geometry_msgs/msg/Point32"]
        return [
            self._make(
                "seg_perception_msgs/msg/Outline",
                hole=outline.hole,
                points=[point(x=x, y=y, z=0.0) for x, y in outline.points.tolist()],
            )
            for outline in outlines
        ]

    def _make(self, kind: str, **fields: Any) -> Any:
        return self.types.types[kind](**fields)


def image_message(types: Typestore, pixels: NDArray[Any], header: Any) -> Any:
    """pixels of one of ENCODINGS, as an Image of these types: little-endian, rows unpadded."""
    height, width = pixels.shape[:2]
    data = np.ascontiguousarray(pixels, pixels.dtype.newbyteorder("<")).view(np.uint8).reshape(-1)
    return types.types[IMAGE](
        header=header,
        height=height,
        width=width,
        encoding=ENCODINGS[pixels.dtype, pixels.ndim],
        is_bigendian=0,
        step=data.size // height,
        data=data,
    )


def video_message(types: Typestore, codec: str, data: bytes, header: Any) -> Any:
    """A packet of one frame, as a CompressedVideo of these types."""
    return types.types[FOXGLOVE](
        timestamp=header.stamp, frame_id=header.frame_id, data=np.frombuffer(data, np.uint8), format=codec
    )


def _definitions() -> dict[str, Any]:
    """The message types of seg_perception_msgs, from the checkout or from where its package is installed."""
    folders = [Path(__file__).resolve().parents[2] / _INTERFACES / "msg"]
    folders += [folder / "msg" for folder in share_folders(_INTERFACES)]
    for folder in folders:
        files = sorted(folder.glob("*.msg"))
        if files:
            found: dict[str, Any] = {}
            for file in files:
                found.update(get_types_from_msg(file.read_text(encoding="utf-8"), f"{_INTERFACES}/msg/{file.stem}"))
            return found
    raise SegPerceptionError(
        f"the message definitions of {_INTERFACES} are not found: source the workspace it is built in"
    )
