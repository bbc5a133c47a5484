"""Compressed video in bags: read as frames with their own stamps, written by make-bag, copied and drawn on by annotate."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bag_fixtures import IMAGE, PERIOD_NS, START_NS, TYPES, TYPES1, Message, header, image, write, write_ros1
from places import CHECKOUT
from rosbags.highlevel import AnyReader
from rosbags.rosbag2 import StoragePlugin
from video_streams import HEIGHT, WIDTH, Packet, level, moving_picture, stream

from seg_perception import cli
from seg_perception.camera.video import CODECS
from seg_perception.errors import SegPerceptionError
from seg_perception.recordings.bag_file import Bag
from seg_perception.recordings.excerpt import Excerpt
from seg_perception.recordings.frames import BagSource
from seg_perception.recordings.sources import SourceFrame
from seg_perception.recordings.topics import image_topics
from seg_perception.recordings.video_encoder import ENCODERS, VideoEncoder
from seg_perception.recordings.video_types import FFMPEG, FOXGLOVE, video_definitions

for types in (TYPES, TYPES1):
    types.register(video_definitions())

MODEL = CHECKOUT / "models" / "driving_mobileseg.onnx"
VIDEO_TOPICS = {FOXGLOVE: "/front/image_raw/foxglove", FFMPEG: "/front/image_raw/ffmpeg"}


def stamp_of(number: int) -> int:
    return START_NS + number * PERIOD_NS


def message_of(packet: Packet, kind: str, codec: str, types: Any = TYPES) -> Any:
    found, data = header(stamp_of(packet.number), types=types), np.frombuffer(packet.data, np.uint8)
    if kind == FOXGLOVE:
        return types.types[FOXGLOVE](timestamp=found.stamp, frame_id=found.frame_id, data=data, format=codec)
    return types.types[FFMPEG](
        header=found, width=WIDTH, height=HEIGHT, encoding=f"{codec};yuv420p;bgr8;bgr8", pts=packet.number,
        flags=int(packet.is_key), is_bigendian=False, data=data,
    )  # fmt: skip


def recorded(packets: list[Packet], kind: str = FOXGLOVE, codec: str = "h264", types: Any = TYPES) -> list[Message]:
    """In the order in which they were sent, a period apart."""
    return [
        (VIDEO_TOPICS[kind], kind, message_of(packet, kind, codec, types), stamp_of(k))
        for k, packet in enumerate(packets)
    ]


def numbers(frames: list[SourceFrame]) -> list[int]:
    """Of the frames by their stamps, which their pictures must bear out."""
    found = [(item.frame.stamp_ns - START_NS) // PERIOD_NS for item in frames]
    for number, item in zip(found, frames):
        assert np.abs(item.frame.rgb[8:24, 8:24].astype(int) - level(number)).max() < 12, number
    return found


@pytest.mark.parametrize("kind", [FOXGLOVE, FFMPEG])
@pytest.mark.parametrize("codec", sorted(CODECS))
def test_both_messages_and_every_codec_are_read(tmp_path: Path, codec: str, kind: str) -> None:
    source = BagSource(write(tmp_path / "bag", recorded(stream(codec, 12), kind, codec)))
    frames = list(source)
    assert (source.topic, source.total, source.rate_hz) == (VIDEO_TOPICS[kind], 12, pytest.approx(10.0))
    assert numbers(frames) == [*range(12)] and source.problems == [] and source.notes == []
    assert {item.frame.frame_id for item in frames} == {"front_optical"}
    assert np.abs(frames[3].frame.rgb.astype(int) - moving_picture(3))[40:].mean() < 6


@pytest.mark.parametrize("kind", [FOXGLOVE, FFMPEG])
def test_ros_1_bags_and_sqlite3_without_definitions_are_read(tmp_path: Path, kind: str) -> None:
    packets = stream("h264", 8)
    ros1 = write_ros1(tmp_path / "drive.bag", recorded(packets, kind, types=TYPES1))
    assert numbers(list(BagSource(ros1))) == [*range(8)]
    with Bag(ros1) as bag:
        assert [entry.header_stamp_ns for entry in bag.entries([VIDEO_TOPICS[kind]])] == [stamp_of(k) for k in range(8)]
    lite = write(tmp_path / "bag", recorded(packets, kind), StoragePlugin.SQLITE3)
    with sqlite3.connect(lite / "bag.db3") as storage:
        storage.execute("DELETE FROM message_definitions")
    assert numbers(list(BagSource(lite))) == [*range(8)]


def test_a_damaged_bag_gives_the_frames_that_are_left(tmp_path: Path) -> None:
    path = write(tmp_path / "bag", recorded(stream("h264", 30, gop=10)))
    file = path / "bag.mcap"
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    source = BagSource(path)
    found = numbers(list(source))
    assert found == [*range(len(found))] and 0 < len(found) < 30 and source.problems


def test_frames_that_look_ahead_keep_their_own_stamps_and_labels(tmp_path: Path) -> None:
    masks = [
        ("/front/label", IMAGE, image(np.full((HEIGHT, WIDTH), k % 11, np.uint8), "mono8", stamp_of(k)), stamp_of(k))
        for k in range(12)
    ]
    packets = stream("h264", 12, gop=12, b_frames=2)
    assert [packet.number for packet in packets] != [*range(12)]
    source = BagSource(write(tmp_path / "bag", sorted([*masks, *recorded(packets)], key=lambda m: m[3])))
    frames = list(source)
    assert numbers(frames) == [*range(12)] and source.problems == []
    assert [int(item.truth.semantic[0, 0]) for item in frames if item.truth] == [k % 11 for k in range(12)]


def test_a_recording_that_begins_between_key_frames_tells_how_many_it_left_out(tmp_path: Path) -> None:
    source = BagSource(write(tmp_path / "bag", recorded(stream("h264", 20, gop=10)[4:])))
    assert numbers(list(source)) == [*range(10, 20)] and source.problems == []
    assert source.notes == ["/front/image_raw/foxglove: 6 packets before the first key frame are left out"]


@pytest.mark.parametrize(("lost", "found"), [(10, [*range(10), *range(20, 30)]), (13, [*range(13), *range(20, 30)])])
def test_a_missing_key_frame_is_a_problem_that_is_counted(tmp_path: Path, lost: int, found: list[int]) -> None:
    packets = stream("h264", 30, gop=10)
    source = BagSource(write(tmp_path / "bag", recorded(packets[:lost] + packets[lost + 1 :])))
    assert numbers(list(source)) == found
    (problem,) = source.problems
    assert "waits for the next key frame" in problem and f"and {29 - len(found) - 1} more like it" in problem


@pytest.mark.parametrize(("start_s", "stride"), [(0.0, 3), (1.3, 1), (1.3, 2), (1.0, 1)])
def test_an_excerpt_begins_with_a_whole_picture_wherever_it_begins(tmp_path: Path, start_s: float, stride: int) -> None:
    path = write(tmp_path / "bag", recorded(stream("h264", 30, gop=10)))
    source = BagSource(path, excerpt=Excerpt(start_s, 2.5, stride))
    assert numbers(list(source)) == [*range(round(start_s * 10), 25, stride)] and source.problems == []


@pytest.mark.parametrize(
    ("bad", "start_s", "stride", "found"),
    [
        (3, 1.2, 1, [*range(12, 20)]),  # before the key frame that the excerpt stands on
        (12, 1.5, 1, []),  # of that all that follows it
        (15, 1.2, 1, [12, 13, 14]),
        (15, 1.2, 2, [12, 14]),
    ],
)
def test_a_packet_that_makes_no_sense_is_a_problem_of_the_frames_that_stand_on_it_alone(
    tmp_path: Path, bad: int, start_s: float, stride: int, found: list[int]
) -> None:
    path = write(tmp_path / "bag", recorded(stream("vp9", 20, gop=10), codec="vp9"), StoragePlugin.SQLITE3)
    with sqlite3.connect(path / "bag.db3") as storage:
        storage.execute("UPDATE messages SET data = substr(data, 1, 20) WHERE timestamp = ?", (stamp_of(bad),))
    source = BagSource(path, excerpt=Excerpt(start_s=start_s, stride=stride))
    assert numbers(list(source)) == found
    assert bool(source.problems) == (bad == 15)
    assert ["before the first key frame" in note for note in source.notes] == [True] * (not found)


def test_one_form_of_a_camera_is_taken(tmp_path: Path) -> None:
    raw = [
        ("/front/image_raw", IMAGE, image(moving_picture(k), "rgb8", stamp_of(k)), stamp_of(k)) for k in range(12)
    ]  # fmt: skip
    same = write(tmp_path / "same", sorted([*raw, *recorded(stream("h264", 12))], key=lambda m: m[3]))
    assert image_topics(same) == image_topics(same, everything=True) == ["/front/image_raw"]
    more = write(tmp_path / "more", sorted([*raw, *recorded(stream("h264", 20))], key=lambda m: m[3]))
    assert image_topics(more, everything=True) == ["/front/image_raw/foxglove"]
    assert numbers(list(BagSource(same, "/front/image_raw/foxglove"))) == [*range(12)]
    with pytest.raises(SegPerceptionError, match="labels on /front/image_raw/foxglove are video"):
        BagSource(same, "/front/image_raw", label_topic="/front/image_raw/foxglove")


def test_a_codec_that_is_not_read_is_a_problem_of_each_packet(tmp_path: Path) -> None:
    source = BagSource(write(tmp_path / "bag", recorded(stream("h264", 3), codec="theora")))
    assert list(source) == [] and "codec 'theora'" in source.problems[0] and "2 more like it" in source.problems[0]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str]]:
    def run(*words: object) -> tuple[int, str]:
        code = cli.main([str(word) for word in words])
        captured = capsys.readouterr()
        return code, captured.out + captured.err

    return run


@pytest.mark.parametrize("codec", sorted(CODECS))
def test_make_bag_writes_video_that_is_read_back(
    tmp_path: Path, codec: str, run: Callable[..., tuple[int, str]]
) -> None:
    code, said = run("make-bag", "--synthetic", 5, "--video-codec", codec, "--out", tmp_path / "bag")
    assert code == 0 and "5 on /camera/image_raw/foxglove" in said
    raw_code, _ = run("make-bag", "--synthetic", 5, "--out", tmp_path / "raw")
    source, raw = BagSource(tmp_path / "bag"), BagSource(tmp_path / "raw")
    assert raw_code == 0 and source.has_labels and source.camera == raw.camera and source.pose == raw.pose
    frames, expected = list(source), list(raw)
    assert [item.frame.stamp_ns for item in frames] == [item.frame.stamp_ns for item in expected]
    for item, plain in zip(frames, expected):
        assert item.truth is not None and plain.truth is not None
        np.testing.assert_array_equal(item.truth.semantic, plain.truth.semantic)
        assert np.abs(item.frame.rgb.astype(int) - plain.frame.rgb).mean() < 6


def test_make_bag_refuses_odd_sides_for_video(tmp_path: Path, run: Callable[..., tuple[int, str]]) -> None:
    import cv2

    (tmp_path / "images").mkdir()
    cv2.imwrite(str(tmp_path / "images" / "a.png"), moving_picture(0, 63, 64))
    code, said = run(
        "make-bag", "--images", tmp_path / "images", "--video-codec", "h264", "--out", tmp_path / "bag"
    )  # fmt: skip
    assert code == 2 and "64x63, and video wants even sides" in said and not (tmp_path / "bag").exists()


def messages(path: Path, topic: str) -> list[Any]:
    with AnyReader([path]) as reader:
        wanted = [connection for connection in reader.connections if connection.topic == topic]
        return [reader.deserialize(data, connection.msgtype) for connection, _, data in reader.messages(wanted)]


@pytest.mark.parametrize("b_frames", [0, 2])
def test_annotated_video_keeps_its_packets_and_gets_an_overlay_as_video(
    tmp_path: Path, run: Callable[..., tuple[int, str]], b_frames: int
) -> None:
    packets = stream("h264", 20, gop=10, b_frames=b_frames)
    path = write(tmp_path / "bag", recorded(packets))
    code, said = run(
        "evaluate", "--model", MODEL, "--bag", path, "--start", 1.2, "--stride", 2, "--out", tmp_path / "out",
        "--annotate", tmp_path / "annotated.mcap", "--video-codec", "h264",
    )  # fmt: skip
    assert code == 0, said
    copied = [bytes(message.data) for message in messages(tmp_path / "annotated.mcap", VIDEO_TOPICS[FOXGLOVE])]
    start = 10 if not b_frames else next(k for k, packet in enumerate(packets) if packet.number == 10)
    assert copied[0] == packets[start].data and copied == [packet.data for packet in packets[start:]][: len(copied)]
    overlay = BagSource(tmp_path / "annotated.mcap", "/segmentation/segmentation_mask/foxglove")
    masks = messages(tmp_path / "annotated.mcap", "/segmentation/label_mask")
    stamps = [mask.header.stamp.sec * 10**9 + mask.header.stamp.nanosec for mask in masks]
    assert [item.frame.stamp_ns for item in overlay] == sorted(stamps) and len(stamps) >= 3
    assert numbers(list(BagSource(tmp_path / "annotated.mcap", VIDEO_TOPICS[FOXGLOVE])))


def test_the_codec_of_an_overlay_is_refused_without_one(tmp_path: Path, run: Callable[..., tuple[int, str]]) -> None:
    path = write(tmp_path / "bag", recorded(stream("h264", 2)))
    words = ("evaluate", "--model", MODEL, "--bag", path, "--out", tmp_path / "out")
    code, said = run(*words, "--video-codec", "h264")
    assert code == 2 and "--video-codec" in said and "--annotate" in said


@pytest.mark.parametrize("codec", sorted(ENCODERS))
def test_an_encoder_leaves_the_scheduling_of_the_process_as_it_was(codec: str) -> None:
    """SVT-AV1 gives everything real-time priority where it may, as root."""
    tasks = Path("/proc/self/task")
    before = {int(task.name) for task in tasks.iterdir()}
    encoder = VideoEncoder(codec, 10.0)
    packets = encoder.encode(np.zeros((64, 96, 3), np.uint8), 1)
    begun = {int(task.name) for task in tasks.iterdir()} - before
    assert {os.sched_getscheduler(task) for task in (0, *begun)} == {os.SCHED_OTHER}
    assert [tag for tag, _ in packets + encoder.rest()] == [1]


def test_a_time_lapse_is_encoded_too() -> None:
    """A frame an hour: a rate that no fraction of small numbers is near."""
    pytest.importorskip("av", reason="video is encoded by PyAV")
    encoder = VideoEncoder("h264", 1 / 3600)
    packets = [*encoder.encode(np.zeros((48, 64, 3), np.uint8), "first"), *encoder.rest()]
    assert [tag for tag, _ in packets] == ["first"]


@pytest.mark.parametrize("codec", ENCODERS)
def test_an_encoder_says_nothing_of_its_own(capfd: pytest.CaptureFixture[str], codec: str) -> None:
    pytest.importorskip("av")
    program = (
        "import numpy as np\n"
        "from seg_perception.recordings.video_encoder import VideoEncoder\n"
        f"encoder, packets = VideoEncoder({codec!r}, 10.0), []\n"
        "for number, width in enumerate((64, 64, 96)):\n"
        "    packets += encoder.encode(np.zeros((48, width, 3), np.uint8), number)\n"
        "print(*(tag for tag, _ in [*packets, *encoder.rest()]))\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
    assert capfd.readouterr() == ("0 1 2\n", "")
