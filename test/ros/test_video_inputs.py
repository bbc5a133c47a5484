"""The thread that decodes a camera's video: every packet in order, only the newest frame to run, and what breaks a stream."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from patience import WAIT_S
from video_streams import Packet, foxglove, stream

from seg_perception.camera.messages import DecodedImage
from seg_perception.camera.video import NO_KEY_FRAME, VideoReader
from seg_perception.errors import SegPerceptionError
from seg_perception.image_limits import ImageLimits
from seg_perception.ros import video
from seg_perception.ros.video import MOST_WAITING, VideoThread, video_message


class Played:
    """A thread with what it gave: numbers of frames by the stamp of their packet, and causes."""

    def __init__(self, limits: ImageLimits | None = None) -> None:
        self.numbers: list[int] = []
        self.causes: list[str] = []
        self._changed = threading.Condition()
        self.thread = VideoThread(self._deliver, self._reject, limits or ImageLimits())

    def _deliver(self, image: DecodedImage, arrived_s: float) -> None:
        with self._changed:
            self.numbers.append(image.header.stamp.sec)
            assert arrived_s == image.header.stamp.sec
            self._changed.notify()

    def _reject(self, cause: str, sentence: str, details: str = "") -> None:
        with self._changed:
            self.causes.append(cause)
            self._changed.notify()

    def put(self, packet: Packet, codec: str = "h264", lost: bool = False) -> int:
        return self.thread.put(foxglove(packet, codec, packet.number * 10**9), float(packet.number), lost)

    def wait(self, count: int) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.numbers) + len(self.causes) >= count, WAIT_S)


@pytest.fixture
def played() -> Iterator[Played]:
    made = Played()
    yield made
    made.thread.close()


def test_every_packet_is_decoded_and_keeps_its_stamp_and_arrival(played: Played) -> None:
    for packet in stream("h264", 12):
        assert played.put(packet) == 0
    played.wait(12)
    assert (played.numbers, played.causes) == ([*range(12)], [])


def test_after_a_gap_it_waits_for_a_key_frame(played: Played) -> None:
    packets = stream("vp9", 25, gop=10)
    for packet in packets[:5] + packets[7:]:
        played.put(packet, "vp9", lost=packet.number == 7)
    played.wait(23)
    assert (played.numbers, played.causes) == ([*range(5), *range(10, 25)], [NO_KEY_FRAME] * 3)


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> tuple[threading.Event, threading.Event]:
    """Decoding has begun, and may go on."""
    begun, go_on = threading.Event(), threading.Event()
    read = VideoReader.read

    def held(self: VideoReader, message: Any, tag: Any = None) -> Any:
        begun.set()
        assert go_on.wait(WAIT_S)
        return read(self, message, tag)

    monkeypatch.setattr(VideoReader, "read", held)
    return begun, go_on


def test_a_decoder_that_cannot_keep_up_goes_on_at_the_newest_key_frame(
    slow: tuple[threading.Event, threading.Event], played: Played
) -> None:
    begun, go_on = slow
    packets = stream("h264", MOST_WAITING + 20, gop=10)
    played.put(packets[0])
    assert begun.wait(WAIT_S)
    dropped = sum(played.put(packet) for packet in packets[1:])
    go_on.set()
    played.wait(1 + len(packets) - 1 - dropped)
    kept = [number for number in played.numbers if number]
    assert dropped >= MOST_WAITING - 10 and kept == [*range(1 + dropped, len(packets))] and kept[0] % 10 == 0


def test_without_a_key_frame_nothing_that_waits_is_of_use(
    slow: tuple[threading.Event, threading.Event], played: Played
) -> None:
    """So many packets that stand on one of which the frame is long gone, one of them of a codec that is not read."""
    begun, go_on = slow
    packets = stream("h264", MOST_WAITING + 12, gop=MOST_WAITING + 10)
    played.put(packets[0])
    assert begun.wait(WAIT_S)
    dropped = sum(played.put(packet) for packet in packets[1:MOST_WAITING])
    assert not dropped
    dropped = played.put(packets[MOST_WAITING], "theora") + played.put(packets[MOST_WAITING + 1])
    assert dropped == MOST_WAITING + 1
    for packet in packets[MOST_WAITING + 2 :]:
        assert played.put(packet) == 0
    go_on.set()
    played.wait(len(packets) - dropped)
    assert played.numbers == [0, MOST_WAITING + 10, MOST_WAITING + 11]
    assert played.causes == [NO_KEY_FRAME] * (len(packets) - dropped - 3)


def test_each_packet_says_that_there_is_no_decoder(played: Played, monkeypatch: pytest.MonkeyPatch) -> None:
    def none(*_: Any) -> Any:
        raise SegPerceptionError("this FFmpeg has no decoder for h264")

    monkeypatch.setattr(VideoReader, "read", none)
    for packet in stream("h264", 2):
        played.put(packet)
    played.wait(2)
    assert (played.numbers, played.causes) == ([], ["no_decoder"] * 2)


def test_a_packet_without_bytes_is_refused(played: Played) -> None:
    played.put(stream("h264", 1)[0]._replace(data=b""))
    played.wait(1)
    assert (played.numbers, played.causes) == ([], ["empty"])


@pytest.mark.parametrize("codec", ["h264", "h265", "av1", "vp9"])
def test_packets_without_bytes_that_wait_end_nothing(codec: str) -> None:
    """While one packet takes long to decode, the others are looked through in the executor's thread."""
    stamp = SimpleNamespace(sec=0, nanosec=0)
    empty = SimpleNamespace(format=codec, timestamp=stamp, frame_id="", data=b"")
    busy, goes_on = threading.Event(), threading.Event()

    def wait(*rejected: str) -> None:
        busy.set()
        goes_on.wait()

    thread = VideoThread(lambda image, arrived_s: None, wait, ImageLimits())
    thread.put(empty, 0.0)
    busy.wait()
    assert sum(thread.put(empty, 0.0) for _ in range(MOST_WAITING + 1)) == MOST_WAITING + 1
    goes_on.set()
    thread.close()


def test_what_the_decoder_was_never_meant_to_raise_costs_one_packet_and_no_camera(
    monkeypatch: pytest.MonkeyPatch, played: Played
) -> None:
    read = VideoReader.read

    def failing(self: VideoReader, message: Any, tag: Any = None) -> Any:
        if tag == 3:
            raise OverflowError("too many digits in integer")
        return read(self, message, tag)

    monkeypatch.setattr(VideoReader, "read", failing)
    packets = stream("h264", 20, gop=10)
    for packet in packets:
        played.put(packet)
    played.wait(len(packets))
    assert played.numbers == [*range(3), *range(10, 20)]
    assert played.causes == ["failed", *[NO_KEY_FRAME] * 6]


def test_an_image_beyond_the_limits_is_not_decoded() -> None:
    played = Played(ImageLimits(most_pixels=1000))
    played.put(stream("h264", 1)[0])
    played.wait(1)
    played.thread.close()
    assert played.numbers == [] and played.causes


@pytest.mark.parametrize(
    ("transport", "package", "message"),
    [("ffmpeg", "ffmpeg_image_transport_msgs", "FFMPEGPacket"), ("foxglove", "foxglove_msgs", "CompressedVideo")],
)
def test_messages_that_are_not_installed_are_named(
    monkeypatch: pytest.MonkeyPatch, transport: str, package: str, message: str
) -> None:
    monkeypatch.setitem(sys.modules, f"{package}.msg", None)
    with pytest.raises(
        SegPerceptionError, match=rf"'{transport}' needs .*{package}.*install ros-<distro>-{package.replace('_', '-')}"
    ):
        video_message(transport)
    monkeypatch.setattr(video, "missing", lambda modules: modules)
    with pytest.raises(
        SegPerceptionError, match=rf"'{transport}' is decoded by PyAV, which is missing: pip install 'av"
    ):
        video_message(transport)
    monkeypatch.undo()
    monkeypatch.setitem(sys.modules, package, SimpleNamespace())
    monkeypatch.setitem(sys.modules, f"{package}.msg", SimpleNamespace(**{message: int}))
    assert video_message(transport) is int
