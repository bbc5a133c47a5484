"""Bags: what make-bag writes is read again, whole or damaged."""

from __future__ import annotations

import resource
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from eval_fixtures import label_mask, picture, truncate, write_images, write_labels, write_video
from rosbags.rosbag2 import Reader, StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore

from seg_perception import cli
from seg_perception.camera_model import CameraModel, CameraPose, rotation
from seg_perception.errors import SegPerceptionError
from seg_perception.recordings.bag_file import Bag
from seg_perception.recordings.frames import BagSource
from seg_perception.recordings.make import START_NS, BagWriter, write_bag
from seg_perception.recordings.mounting import optical_quaternion
from seg_perception.recordings.open_source import open_source
from seg_perception.recordings.sources import SourceFrame
from seg_perception.results import Frame

TYPES = get_typestore(Stores.ROS2_HUMBLE)
IMAGE, COMPRESSED, TEXT = "sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage", "std_msgs/msg/String"


def header(stamp_ns: int, frame_id: str = "front_optical") -> Any:
    time = TYPES.types["builtin_interfaces/msg/Time"](sec=stamp_ns // 10**9, nanosec=stamp_ns % 10**9)
    return TYPES.types["std_msgs/msg/Header"](stamp=time, frame_id=frame_id)


def image(pixels: np.ndarray, encoding: str, stamp_ns: int, pad: int = 0) -> Any:
    rows = pixels.reshape(pixels.shape[0], -1).view(np.uint8)
    padded = np.pad(rows, ((0, 0), (0, pad)))
    return TYPES.types[IMAGE](
        header=header(stamp_ns), height=pixels.shape[0], width=pixels.shape[1], encoding=encoding, is_bigendian=0,
        step=padded.shape[1], data=padded.ravel(),
    )  # fmt: skip


def compressed(bgr: np.ndarray, stamp_ns: int, share: float = 1.0) -> Any:
    data = cv2.imencode(".png", bgr)[1].ravel()
    return TYPES.types[COMPRESSED](header=header(stamp_ns), format="bgr8; png", data=data[: int(len(data) * share)])


def write(path: Path, messages: list[tuple[str, str, Any, int]], storage: StoragePlugin = StoragePlugin.MCAP) -> Path:
    """A bag of (topic, type, message, time of recording in ns)."""
    with Writer(path, version=8, storage_plugin=storage) as bag:
        connections = {
            topic: bag.add_connection(topic, kind, typestore=TYPES)
            for topic, kind in dict.fromkeys((topic, kind) for topic, kind, _, _ in messages)
        }
        for topic, kind, message, time_ns in messages:
            bag.write(connections[topic], time_ns, TYPES.serialize_cdr(message, kind))
    return path


@pytest.mark.parametrize("storage", ["mcap", "sqlite3"])
@pytest.mark.parametrize("as_file", [False, True])
def test_a_made_bag_gives_the_same_frames_and_labels(tmp_path: Path, storage: str, as_file: bool) -> None:
    write_images(tmp_path / "images", 3)
    write_labels(tmp_path / "labels", 3, void=11)
    shutil.copytree(tmp_path / "labels", tmp_path / "instances")  # any numbers serve
    words = ["make-bag", "--images", tmp_path / "images", "--labels", tmp_path / "labels", "--void", 11]
    words += ["--instances", tmp_path / "instances", "--out", tmp_path / "bag", "--storage", storage, "--rate", 5]
    assert cli.main([str(word) for word in words]) == 0
    path = next((tmp_path / "bag").glob("bag.*")) if as_file else tmp_path / "bag"
    source = open_source(str(path))
    frames = list(source)
    assert (source.kind, source.total, source.problems) == ("bag", 3, [])
    assert source.rate_hz == pytest.approx(5.0, rel=1e-6)
    for number, item in enumerate(frames):
        assert item.frame.stamp_ns == START_NS + number * 200_000_000
        np.testing.assert_array_equal(item.frame.rgb, picture(number))
        assert item.truth is not None and item.truth.instance is not None
        np.testing.assert_array_equal(item.truth.semantic, label_mask(number))
        assert item.truth.instance.dtype == np.uint16
        np.testing.assert_array_equal(item.truth.instance, label_mask(number, void=11))


def test_the_synthetic_drive_as_a_bag_carries_calibration_and_mounting(tmp_path: Path) -> None:
    assert cli.main(["make-bag", "--synthetic", "2", "--out", str(tmp_path / "bag")]) == 0
    drive = open_source(None, frames=2)
    source = BagSource(tmp_path / "bag")
    assert source.camera == drive.camera
    for have, want in zip(source, drive, strict=True):
        np.testing.assert_array_equal(have.frame.rgb, want.frame.rgb)
        assert have.truth is not None and want.truth is not None
        np.testing.assert_array_equal(have.truth.instance, want.truth.instance)
    with Bag(tmp_path / "bag") as bag:
        ((_, _, message),) = bag.messages(["/tf_static"])
    (transform,) = message.transforms
    assert (transform.header.frame_id, transform.child_frame_id) == ("base_footprint", "camera_optical")
    assert drive.pose is not None
    assert transform.transform.translation.z == drive.pose.z
    assert source.pose is not None
    for name in ("x", "y", "z", "roll", "pitch", "yaw"):
        assert getattr(source.pose, name) == pytest.approx(getattr(drive.pose, name), abs=1e-9)


@pytest.mark.parametrize(
    ("lens", "name"),
    [
        ({"rectification": rotation(0.0, 0.02, -0.01)}, "plumb_bob"),
        ({"distortion": (-0.3, 0.1, 0.0, 0.0, 0.0)}, "plumb_bob"),
        ({"distortion_model": "fisheye", "distortion": (0.1, 0.0, 0.0, 0.0)}, "equidistant"),
        ({"distortion_model": "equidistant"}, "equidistant"),
    ],
)
def test_any_cameras_calibration_comes_back_and_is_one_that_ros_takes(
    tmp_path: Path, lens: dict[str, Any], name: str
) -> None:
    camera = CameraModel(64, 48, ((50.0, 0, 30), (0, 50, 25), (0, 0, 1)), **lens)
    with BagWriter(tmp_path / "bag", "mcap") as bag:
        bag.write_frame(SourceFrame(Frame(picture(0)), "picture"), START_NS, camera)
    with Bag(tmp_path / "bag") as written:
        ((_, _, info),) = written.messages(["/camera/camera_info"])
    assert info.distortion_model == name and (len(info.d) == 4 or name == "plumb_bob")
    found = BagSource(tmp_path / "bag").camera
    assert found == replace(camera, distortion_model=name, distortion=camera.distortion or tuple(info.d))


@pytest.mark.parametrize("angles", [(0, 0, 0), (0.1, 0, 0), (0, 0.2, 0), (0, 0, 0.3), (0.1, -0.2, 0.3), (-1, 0.5, 2)])
def test_the_mounting_is_the_rotation_of_the_optical_axes(angles: tuple[float, float, float]) -> None:
    pose = CameraPose(0.0, 0.0, 1.0, *map(float, angles))
    x, y, z, w = optical_quaternion(pose)
    rotation = np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
            [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
            [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
        ]
    )
    np.testing.assert_allclose(rotation, pose.base_from_optical(), atol=1e-12)


def test_a_video_becomes_a_bag_of_its_rate(tmp_path: Path) -> None:
    write_video(tmp_path / "drive.mp4", 4, rate_hz=20.0)
    out = tmp_path / "bag"
    assert cli.main(["make-bag", "--video", str(tmp_path / "drive.mp4"), "--out", str(out)]) == 0
    with Reader(out) as bag:
        assert {name: info.msgcount for name, info in bag.topics.items()} == {"/camera/image_raw": 4}
        assert bag.duration == pytest.approx(150_000_000, abs=10)


def test_an_existing_bag_is_replaced_only_when_asked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_images(tmp_path / "images", 1)
    words = ["make-bag", "--images", str(tmp_path / "images"), "--out", str(tmp_path / "bag")]
    assert cli.main(words) == 0
    before = next((tmp_path / "bag").glob("*.mcap")).stat().st_mtime_ns
    assert cli.main(words) == 2
    assert "--overwrite" in capsys.readouterr().err
    assert next((tmp_path / "bag").glob("*.mcap")).stat().st_mtime_ns == before
    assert cli.main([*words, "--overwrite"]) == 0
    assert next((tmp_path / "bag").glob("*.mcap")).stat().st_mtime_ns != before


def test_a_name_that_ends_in_mcap_is_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As of `evaluate --annotate`; it was a folder of that name."""
    write_images(tmp_path / "images", 2)
    out = tmp_path / "out" / "drive.mcap"
    words = ["make-bag", "--images", str(tmp_path / "images"), "--out", str(out)]
    assert cli.main(words) == 0
    assert list(out.parent.iterdir()) == [out] and out.is_file()
    assert len(list(BagSource(out))) == 2
    assert cli.main(words) == 2 and cli.main([*words, "--overwrite"]) == 0 and out.is_file()
    assert list(out.parent.iterdir()) == [out]
    capsys.readouterr()
    assert cli.main([*words, "--overwrite", "--storage", "sqlite3"]) == 2
    assert "--storage" in capsys.readouterr().err and len(list(BagSource(out))) == 2


def test_a_bag_that_cannot_be_replaced_in_the_end_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C in the last moment: the former bag had been removed before."""
    write_images(tmp_path / "images", 2)
    before = write_bag(open_source(str(tmp_path / "images")), tmp_path / "bag", "mcap")
    write_images(tmp_path / "images" / "images", 3)
    rename = Path.rename

    def interrupted(self: Path, target: Path) -> Path:
        if target == tmp_path / "bag" and self.name == "bag":
            raise KeyboardInterrupt
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_bag(open_source(str(tmp_path / "images")), tmp_path / "bag", "mcap")
    assert len(list(BagSource(tmp_path / "bag"))) == 2 == before["/camera/image_raw"]
    assert [path.name for path in tmp_path.iterdir() if path.name != "images"] == ["bag"]


def test_what_is_no_bag_is_not_replaced(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`--out recordings`, or the images themselves: all that lay there was lost."""
    write_images(tmp_path / "images", 1)
    (tmp_path / "recordings").mkdir()
    (tmp_path / "recordings" / "monday.mcap").write_bytes(b"mine")
    (tmp_path / "notes.txt").write_text("mine")
    before = sorted(path for path in tmp_path.rglob("*") if path.is_file())
    for place in ("images", "recordings", "notes.txt"):
        words = ["make-bag", "--images", str(tmp_path / "images"), "--out", str(tmp_path / place), "--overwrite"]
        assert cli.main(words) == 2
        assert "is no bag" in capsys.readouterr().err
    assert sorted(path for path in tmp_path.rglob("*") if path.is_file()) == before


def test_nothing_is_left_of_a_bag_that_fails(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (path,) = write_images(tmp_path / "images", 1)
    truncate(path)
    assert cli.main(["make-bag", "--images", str(tmp_path / "images"), "--out", str(tmp_path / "out" / "bag")]) == 2
    assert "truncated" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["images"]


@pytest.mark.parametrize("storage", ["mcap", "sqlite3"])
def test_a_full_disk_is_one_sentence_in_either_storage(
    tmp_path: Path, storage: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """SQLite's own error was a traceback. A file that may not grow stands for the disk."""
    write_images(tmp_path / "images", 8)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    words = ["make-bag", "--images", str(tmp_path / "images"), "--out", str(tmp_path / "bag"), "--storage", storage]
    resource.setrlimit(resource.RLIMIT_FSIZE, (30_000, before[1]))
    try:
        code = cli.main(words)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert code == 2
    assert "free the disk" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["images"]


def test_topics_of_any_encoding_and_labels_that_come_later_are_matched_by_stamp(tmp_path: Path) -> None:
    messages = []
    for number in range(40):
        stamp_ns = 10**9 + number * 10**8
        bgr = np.ascontiguousarray(picture(number)[..., ::-1])
        messages.append(("/front/image_raw", IMAGE, image(bgr, "bgr8", stamp_ns, pad=5), stamp_ns + 10**6))
        if number % 2:
            late_ns = stamp_ns + 25 * 10**7
            messages.append(("/front/label", IMAGE, image(label_mask(number), "mono8", stamp_ns, pad=3), late_ns))
    messages.sort(key=lambda entry: entry[3])
    source = BagSource(write(tmp_path / "bag", messages))
    frames = list(source)
    assert [item.frame.frame_id for item in frames] == ["front_optical"] * 40
    assert [item.truth is not None for item in frames] == [bool(number % 2) for number in range(40)]
    for number, item in enumerate(frames):
        np.testing.assert_array_equal(item.frame.rgb, picture(number))
        if item.truth is not None:
            np.testing.assert_array_equal(item.truth.semantic, label_mask(number))


def test_compressed_images_are_read_and_a_truncated_one_is_named(tmp_path: Path) -> None:
    topic = "/front/image_raw/compressed"
    messages = [
        (
            topic,
            COMPRESSED,
            compressed(picture(number)[..., ::-1], 10**9 + number, 0.5 if number == 1 else 1.0),
            10**9 + number,
        )
        for number in range(3)
    ]
    source = BagSource(write(tmp_path / "bag", messages))
    assert [item.frame.stamp_ns for item in source] == [10**9, 10**9 + 2]
    (problem,) = source.problems
    assert topic in problem


def test_a_bag_without_images_lists_its_topics(tmp_path: Path) -> None:
    write(tmp_path / "bag", [("/chatter", TEXT, TYPES.types[TEXT](data="hello"), 1)])
    with pytest.raises(SegPerceptionError, match=r"holds no images: its topics are /chatter \(std_msgs/msg/String\)"):
        open_source(str(tmp_path / "bag"))


def test_a_wrong_topic_is_answered_with_the_nearest_or_its_type(tmp_path: Path) -> None:
    messages = [
        ("/front/image", IMAGE, image(picture(0), "rgb8", 1), 1),
        ("/chatter", TEXT, TYPES.types[TEXT](data="hello"), 1),
    ]
    write(tmp_path / "bag", messages)
    with pytest.raises(SegPerceptionError, match="did you mean '/front/image'"):
        open_source(str(tmp_path / "bag"), topic="/front/imag")
    with pytest.raises(SegPerceptionError, match="no image"):
        open_source(str(tmp_path / "bag"), topic="/chatter")


def test_a_truncated_bag_is_one_sentence(tmp_path: Path) -> None:
    messages = [
        ("/image", IMAGE, image(picture(number), "rgb8", 10**9 + number), 10**9 + number) for number in range(20)
    ]
    for storage, ending in ((StoragePlugin.MCAP, "mcap"), (StoragePlugin.SQLITE3, "db3")):
        path = write(tmp_path / ending, messages, storage)
        truncate(path / f"{ending}.{ending}")
        try:
            source = open_source(str(path))
            frames = list(source)
        except SegPerceptionError as error:
            assert "\n" not in str(error) and str(path) in str(error)
        else:
            assert len(frames) < 20 and source.problems


def test_frames_of_equal_stamps_are_both_given_and_unset_stamps_take_the_time_of_recording(tmp_path: Path) -> None:
    times = [(10**9, 1), (10**9, 2), (0, 7)]
    messages = [("/image", IMAGE, image(picture(n), "rgb8", stamp), time) for n, (stamp, time) in enumerate(times)]
    source = BagSource(write(tmp_path / "bag", messages))
    assert [item.frame.stamp_ns for item in source] == [10**9, 10**9, 7]
