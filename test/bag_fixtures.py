"""Small bags in every form that recorders leave behind."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import yaml
from eval_fixtures import picture
from rosbags.rosbag1 import Writer as Writer1
from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore

TYPES = get_typestore(Stores.ROS2_HUMBLE)
TYPES1 = get_typestore(Stores.ROS1_NOETIC)
IMAGE, COMPRESSED, TEXT = "sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage", "std_msgs/msg/String"
START_NS, PERIOD_NS = 10**9, 10**8

Message = tuple[str, str, Any, int]
"""Topic, type, message, time of recording in ns."""


def header(stamp_ns: int, frame_id: str = "front_optical", types: Any = TYPES) -> Any:
    time = types.types["builtin_interfaces/msg/Time"](sec=stamp_ns // 10**9, nanosec=stamp_ns % 10**9)
    more = {"seq": 0} if types is TYPES1 else {}
    return types.types["std_msgs/msg/Header"](stamp=time, frame_id=frame_id, **more)


def image(pixels: np.ndarray, encoding: str, stamp_ns: int, pad: int = 0, types: Any = TYPES) -> Any:
    rows = pixels.reshape(pixels.shape[0], -1).view(np.uint8)
    padded = np.pad(rows, ((0, 0), (0, pad)))
    return types.types[IMAGE](
        header=header(stamp_ns, types=types), height=pixels.shape[0], width=pixels.shape[1], encoding=encoding,
        is_bigendian=0, step=padded.shape[1], data=padded.ravel(),
    )  # fmt: skip


def compressed(pixels: np.ndarray, stamp_ns: int, share: float = 1.0) -> Any:
    data = cv2.imencode(".png", pixels)[1].ravel()
    return TYPES.types[COMPRESSED](header=header(stamp_ns), format="bgr8; png", data=data[: int(len(data) * share)])


def pictures(count: int, topic: str = "/front/image_raw", types: Any = TYPES, first: int = 0) -> list[Message]:
    """The pictures first, first + 1, … every PERIOD_NS, recorded when they were taken."""
    times = [START_NS + number * PERIOD_NS for number in range(first, first + count)]
    return [
        (topic, IMAGE, image(picture(number), "rgb8", time_ns, types=types), time_ns)
        for number, time_ns in enumerate(times, first)
    ]


def write(
    path: Path,
    messages: Sequence[Message],
    storage: StoragePlugin = StoragePlugin.MCAP,
    compression: CompressionMode | None = None,
) -> Path:
    writer = Writer(path, version=8, storage_plugin=storage)
    if compression is not None:
        writer.set_compression(compression, CompressionFormat.ZSTD)
    with writer as bag:
        connections = {
            topic: bag.add_connection(topic, kind, typestore=TYPES)
            for topic, kind in dict.fromkeys((topic, kind) for topic, kind, _, _ in messages)
        }
        for topic, kind, message, time_ns in messages:
            bag.write(connections[topic], time_ns, TYPES.serialize_cdr(message, kind))
    return path


def write_split(path: Path, parts: Sequence[Sequence[Message]]) -> Path:
    """As `ros2 bag record --max-bag-size` leaves it: one folder, a file a part, one metadata.yaml."""
    path.mkdir()
    told: list[dict[str, Any]] = []
    for number, messages in enumerate(parts):
        part = write(path / f"{path.name}_{number}", messages)
        told.append(yaml.safe_load((part / "metadata.yaml").read_text())["rosbag2_bagfile_information"])
        (part / f"{part.name}.mcap").rename(path / f"{part.name}.mcap")
        (part / "metadata.yaml").unlink()
        part.rmdir()
    whole = told[0]
    whole["relative_file_paths"] = [f"{path.name}_{number}.mcap" for number in range(len(parts))]
    whole["message_count"] = sum(part["message_count"] for part in told)
    whole["duration"]["nanoseconds"] = sum(part["duration"]["nanoseconds"] for part in told)
    for topic in whole["topics_with_message_count"]:
        topic["message_count"] = whole["message_count"]
    (path / "metadata.yaml").write_text(yaml.safe_dump({"rosbag2_bagfile_information": whole}))
    return path


def write_ros1(path: Path, messages: Sequence[Message], compression: Writer1.CompressionFormat | None = None) -> Path:
    writer = Writer1(path)
    if compression is not None:
        writer.set_compression(compression)
    with writer as bag:
        connections = {
            topic: bag.add_connection(topic, kind, typestore=TYPES1)
            for topic, kind in dict.fromkeys((topic, kind) for topic, kind, _, _ in messages)
        }
        for topic, kind, message, time_ns in messages:
            bag.write(connections[topic], time_ns, TYPES1.serialize_ros1(message, kind))
    return path
