"""Write a rosbag2 from a video, images with or without labels, a labelled data set or the synthetic drive. Needs no ROS.

Images go to /camera/image_raw (rgb8), labels as PNG to /camera/label/compressed (mono8, 255 = unlabelled), instances to
/camera/instance/compressed (mono16, 0 = none), all with the image's stamp and as image_transport's `compressed` carries
them, without loss; calibration goes to /camera/camera_info and the camera's mounting to /tf_static where they are known.
With --video-codec images go to /camera/image_raw/foxglove instead, as compressed video (foxglove_msgs/CompressedVideo, a
key frame a second), which loses a little and takes a hundredth of the space. A data set's ids become those of
--label-set; what may be several of its classes becomes unlabelled.

Example:
  seg_perception make-bag --video drive.mp4 --out out/drive_bag
  seg_perception make-bag --video drive.mp4 --video-codec h264 --out out/small_bag
  seg_perception make-bag --dataset camvid --root data/camvid --split val --out out/camvid_val
"""

from __future__ import annotations

import argparse
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

import cv2
from numpy.typing import NDArray
from rosbags.interfaces import Qos
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore
from tqdm import tqdm

from seg_perception import options
from seg_perception.camera_info_fields import camera_info_fields
from seg_perception.camera_model import CameraModel, CameraPose
from seg_perception.errors import SegPerceptionError
from seg_perception.labels import VOID
from seg_perception.options import rate, whole
from seg_perception.recordings.dataset_source import LabelledSource
from seg_perception.recordings.messages import (
    CAMERA_INFO,
    COMPRESSED,
    IMAGE,
    LATCHED,
    TF,
    image_message,
    video_message,
)
from seg_perception.recordings.mounting import BASE_FRAME, optical_quaternion
from seg_perception.recordings.sources import (
    FolderSource,
    LabelFolder,
    Source,
    SourceFrame,
    SyntheticSource,
)
from seg_perception.recordings.storage import as_asked, is_one_file
from seg_perception.recordings.topics import IMAGE_TOPIC, INFO_TOPIC, INSTANCE_TOPIC, LABEL_TOPIC, TF_TOPIC
from seg_perception.recordings.video_encoder import ENCODERS, VideoEncoder
from seg_perception.recordings.video_file import VideoSource
from seg_perception.recordings.video_types import FOXGLOVE, video_definitions
from seg_perception.writing import folder_aside, user_path, write_json

STORAGES = {"mcap": StoragePlugin.MCAP, "sqlite3": StoragePlugin.SQLITE3}
VIDEO_TOPIC = f"{IMAGE_TOPIC}/foxglove"
CAMERA_FRAME = "camera_optical"
START_NS = 10**18
"""Stamp of the first frame: fixed, so that the same input gives the same bag; a stamp of 0 would mean 'not set'."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the verb."""
    origin = parser.add_mutually_exclusive_group(required=True)
    origin.add_argument("--video", type=user_path, help="video file")
    origin.add_argument("--images", type=user_path, metavar="DIR", help="folder of images")
    origin.add_argument("--dataset", metavar="NAME", help="labelled data set, such as camvid")
    origin.add_argument(
        "--synthetic", type=whole("--synthetic", 1), metavar="N", help="N frames of the synthetic drive"
    )
    parser.add_argument("--root", type=user_path, metavar="DIR", help="the data set's folder")
    parser.add_argument("--split", default="val", help="part of the data set (default: val)")
    parser.add_argument(
        "--label-set",
        default="camvid",
        metavar="L",
        help="classes whose ids a data set's labels get: a name, or a YAML file (default: camvid)",
    )
    parser.add_argument(
        "--labels", type=user_path, metavar="DIR", help="folder of label images, <stem>.png, for --images"
    )
    parser.add_argument(
        "--instances", type=user_path, metavar="DIR", help="folder of 16-bit instance images, for --labels"
    )
    parser.add_argument(
        "--void", type=whole("--void", 0, VOID), action="append", default=[], help="label value that means unlabelled"
    )
    parser.add_argument(
        "--out",
        type=user_path,
        required=True,
        metavar="BAG",
        help="write the bag here: a rosbag2 folder, or a file where it ends in .mcap",
    )
    parser.add_argument("--storage", choices=sorted(STORAGES), default="mcap", help="of a folder (default: mcap)")
    parser.add_argument("--rate", type=rate("--rate"), metavar="HZ", help="frames a second (default: the source's own)")
    parser.add_argument(
        "--video-codec", choices=sorted(ENCODERS), help="write the images as compressed video (default: raw images)"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace an existing bag")
    parser.add_argument("--json", type=user_path, metavar="FILE", help="write what was done as JSON")


def run(arguments: argparse.Namespace) -> int:
    """Write the bag; 0 when every frame went in, 1 when some could not be read."""
    _check(arguments)
    if arguments.out.exists() and not arguments.overwrite:
        raise SegPerceptionError(f"{arguments.out} exists already: give --overwrite to replace it, or another --out")
    _check_replaced(arguments.out)
    source = _source(arguments)
    if arguments.rate is not None:
        source.rate_hz, source.stamped = arguments.rate, False
    written = write_bag(source, arguments.out, arguments.storage, arguments.video_codec)
    for line in (*source.problems, *source.notes):
        print(line, file=sys.stderr)
    if arguments.json:
        write_json(arguments.json, {"bag": str(arguments.out), "messages": written, "problems": source.problems})
    listed = ", ".join(f"{count} on {topic}" for topic, count in written.items())
    print(f"{arguments.out}: {listed}")
    return 1 if source.problems else 0


def _check(arguments: argparse.Namespace) -> None:
    """Raises SegPerceptionError naming options that would do nothing beside the others."""
    given = options.given(arguments, add_arguments)
    if not arguments.dataset:
        options.refuse(given, ("root", "split", "label_set"), "for a data set: give --dataset, or leave them out")
    if not arguments.images:
        options.refuse(given, ("labels", "instances", "void"), "for images of a folder: give --images too")
    if not arguments.labels:
        options.refuse(given, ("instances",), "for labels: give --labels too")
    if is_one_file(arguments.out):
        options.refuse(given, ("storage",), "for a folder: give an --out that does not end in .mcap, or leave it out")


def _check_replaced(path: Path) -> None:
    """Raises SegPerceptionError where what is to be replaced is no rosbag2: whatever lies in a folder is lost then."""
    is_bag = is_one_file(path) if path.is_file() else (path / "metadata.yaml").is_file()
    if (path.is_file() or (path.is_dir() and any(path.iterdir()))) and not is_bag:
        raise SegPerceptionError(
            f"{path} is no bag, so --overwrite does not replace it: give another --out, or take it away"
        )


def _source(arguments: argparse.Namespace) -> Source:
    if arguments.dataset:
        from seg_perception.datasets.label_sets import open_labels

        return LabelledSource(arguments.dataset, arguments.root, arguments.split, open_labels(arguments.label_set))
    if arguments.video:
        return VideoSource(arguments.video)
    if arguments.images:
        folder = LabelFolder(arguments.labels, arguments.instances, arguments.void) if arguments.labels else None
        return FolderSource(arguments.images, folder, arguments.void)
    return SyntheticSource(arguments.synthetic)


def write_bag(source: Source, path: Path, storage: str, codec: str | None = None) -> dict[str, int]:
    """Write all frames of source as a bag at path, in place of what is there: a file where path ends with .mcap, else a
    folder. Returns the messages by topic. codec: of ENCODERS, to write images as video; None: as raw images.

    The bag is written aside and renamed when it is whole. Raises SegPerceptionError when there is no frame at all.
    """
    path = path.resolve()  # of a link the target is written
    with folder_aside(path) as folder:
        aside = folder / (path.stem if is_one_file(path) else path.name)  # the storage file is named after its folder
        encoder = VideoEncoder(codec, source.rate_hz) if codec else None
        with (
            _told_of(path),
            BagWriter(aside, storage, encoder) as bag,
            tqdm(total=source.total, unit="frame", desc=path.name) as progress,
        ):
            if source.pose is not None:
                bag.write_pose(source.pose)
            for index, item in enumerate(source):
                offset_ns = item.frame.stamp_ns if source.stamped else round(index * 1e9 / source.rate_hz)
                bag.write_frame(item, START_NS + offset_ns, source.camera)
                progress.update()
            bag.finish()
        if not bag.images:
            raise SegPerceptionError(f"{source.name} gave no frame: {(source.problems or ['it is empty'])[0]}")
        former = folder / f"{path.name}.former"  # whole until the new one is there
        if path.exists():
            path.rename(former)
        try:
            as_asked(aside, path).rename(path)
        except BaseException:  # Ctrl-C, too
            if former.exists() and not path.exists():
                former.rename(path)
            raise
    return {topic: count for topic, count in bag.counts.items() if count}


@contextmanager
def _told_of(path: Path) -> Iterator[None]:
    """Tells what SQLite could not write, which is no OSError: a full disk above all."""
    try:
        yield
    except sqlite3.Error as error:
        raise SegPerceptionError(f"{path} cannot be written ({error}): free the disk, or give another --out") from error


class BagWriter:
    """A new bag; counts: messages written by topic; images: taken; encoder: makes video of them."""

    def __init__(self, path: Path, storage: str, encoder: VideoEncoder | None = None) -> None:
        # Humble's message definitions and metadata, which every later release reads.
        self._types = get_typestore(Stores.ROS2_HUMBLE)
        self._types.register(video_definitions())
        self._writer = Writer(path, version=8, storage_plugin=STORAGES[storage])
        self._connections: dict[str, Any] = {}
        self._encoder = encoder
        self.counts: dict[str, int] = {IMAGE_TOPIC: 0}
        self.images = 0

    def __enter__(self) -> BagWriter:
        self._writer.open()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._writer.close()

    def write_frame(self, frame: SourceFrame, stamp_ns: int, camera: CameraModel | None) -> None:
        """One image, and what is known about it, all with the same stamp (ns); labels before the image, so that a
        reader has them when it comes."""
        truth = frame.truth
        if truth is not None:
            self._write_png(f"{LABEL_TOPIC}/compressed", truth.semantic, "mono8", stamp_ns)
            if truth.instance is not None:
                self._write_png(f"{INSTANCE_TOPIC}/compressed", truth.instance, "mono16", stamp_ns)
        if camera is not None:
            self._write(INFO_TOPIC, CAMERA_INFO, self._info(camera, stamp_ns), stamp_ns)
        self.images += 1
        if self._encoder is not None:
            self._write_video(self._encoder.codec, self._encoder.encode(frame.frame.rgb, stamp_ns))
            return
        image = image_message(self._types, frame.frame.rgb, self._header(stamp_ns, CAMERA_FRAME))
        self._write(IMAGE_TOPIC, IMAGE, image, stamp_ns)

    def finish(self) -> None:
        """Write what an encoder has held back."""
        if self._encoder is not None:
            self._write_video(self._encoder.codec, self._encoder.rest())

    def _write_video(self, codec: str, packets: list[tuple[int, bytes]]) -> None:
        for stamp_ns, data in packets:
            message = video_message(self._types, codec, data, self._header(stamp_ns, CAMERA_FRAME))
            self._write(VIDEO_TOPIC, FOXGLOVE, message, stamp_ns)

    def write_pose(self, pose: CameraPose) -> None:
        """The camera's mounting, as the static transform of its optical frame in the base frame."""
        kinds = self._types.types
        x, y, z, w = optical_quaternion(pose)
        transform = kinds["geometry_msgs/msg/TransformStamped"](
            header=self._header(START_NS, BASE_FRAME),
            child_frame_id=CAMERA_FRAME,
            transform=kinds["geometry_msgs/msg/Transform"](
                translation=kinds["geometry_msgs/msg/Vector3"](x=pose.x, y=pose.y, z=pose.z),
                rotation=kinds["geometry_msgs/msg/Quaternion"](x=x, y=y, z=z, w=w),
            ),
        )
        self._write(TF_TOPIC, TF, kinds[TF](transforms=[transform]), START_NS, (LATCHED,))

    def _write_png(self, topic: str, mask: NDArray[Any], encoding: str, stamp_ns: int) -> None:
        _, png = cv2.imencode(".png", mask)
        message = self._types.types[COMPRESSED](
            header=self._header(stamp_ns, CAMERA_FRAME),
            format=f"{encoding}; png compressed ",  # as image_transport writes it
            data=png.reshape(-1),
        )
        self._write(topic, COMPRESSED, message, stamp_ns)

    def _write(self, topic: str, kind: str, message: Any, time_ns: int, qos: tuple[Qos, ...] = ()) -> None:
        if topic not in self._connections:
            self._connections[topic] = self._writer.add_connection(
                topic, kind, typestore=self._types, offered_qos_profiles=qos
            )
        self._writer.write(self._connections[topic], time_ns, self._types.serialize_cdr(message, kind))
        self.counts[topic] = self.counts.get(topic, 0) + 1

    def _header(self, stamp_ns: int, frame_id: str) -> Any:
        time = self._types.types["builtin_interfaces/msg/Time"](sec=stamp_ns // 10**9, nanosec=stamp_ns % 10**9)
        return self._types.types["std_msgs/msg/Header"](stamp=time, frame_id=frame_id)

    def _info(self, camera: CameraModel, stamp_ns: int) -> Any:
        region = self._types.types["sensor_msgs/msg/RegionOfInterest"]
        return self._types.types[CAMERA_INFO](
            header=self._header(stamp_ns, CAMERA_FRAME),
            binning_x=0,
            binning_y=0,
            roi=region(x_offset=0, y_offset=0, height=0, width=0, do_rectify=False),
            **camera_info_fields(camera),
        )
