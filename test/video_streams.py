"""Streams of every codec that is read, made here by FFmpeg, as packets of both kinds of message."""

from __future__ import annotations

from fractions import Fraction
from types import SimpleNamespace
from typing import Any, NamedTuple

import cv2
import numpy as np
import pytest

from seg_perception.recordings.video_encoder import scheduled_as_before

av = pytest.importorskip("av", reason="PyAV is not installed: pip install 'av>=13.1'")

ENCODERS = {
    "h264": ("libx264", {"preset": "veryfast", "crf": "12", "x264-params": "scenecut=0:b-adapt=0:b-pyramid=none"}),
    "h265": (
        "libx265",
        {"preset": "ultrafast", "crf": "12", "x265-params": "log-level=none:pools=1:bframes=0:open-gop=0"},
    ),
    "av1": ("libsvtav1", {"preset": "12", "crf": "15", "svtav1-params": "pred-struct=1:lp=1"}),
    "vp9": ("libvpx-vp9", {"deadline": "realtime", "cpu-used": "8", "lag-in-frames": "0", "crf": "12", "b": "0"}),
}
HEIGHT, WIDTH = 96, 160


class Packet(NamedTuple):
    """number: of the frame that it is of, in the order to show them."""

    data: bytes
    number: int
    is_key: bool


def moving_picture(number: int, height: int = HEIGHT, width: int = WIDTH) -> np.ndarray:
    """Colours that drift to the right by 3 px a frame, and a grey field of a level of the frame's own."""
    coarse = np.random.default_rng(7).integers(60, 190, (5, 8, 3), dtype=np.uint8)
    rgb = np.roll(cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC), 3 * number, axis=1)
    rgb[:32, :32] = level(number)
    return rgb


def level(number: int) -> int:
    return 40 + 7 * (number % 25)


def stream(codec: str, count: int, gop: int = 10, b_frames: int = 0, **changes: Any) -> list[Packet]:
    """The moving picture, a key frame every gop frames, in the order of decoding."""
    name, options = ENCODERS[codec]
    try:
        encoder = av.CodecContext.create(name, "w")
    except av.codec.codec.UnknownCodecError:
        pytest.skip(f"this FFmpeg has no {name}")
    encoder.width, encoder.height, encoder.pix_fmt = (*changes.get("size", (WIDTH, HEIGHT)), "yuv420p")
    encoder.time_base, encoder.framerate = Fraction(1, 30), Fraction(30)
    encoder.gop_size, encoder.thread_count = gop, 1
    encoder.options, encoder.max_b_frames = options, b_frames
    with scheduled_as_before():
        encoder.open()
    packets = []
    for number in range(count):
        frame = av.VideoFrame.from_ndarray(moving_picture(number, encoder.height, encoder.width), format="rgb24")
        frame.pts = number
        packets += encoder.encode(frame)
    packets += encoder.encode(None)
    return [Packet(bytes(packet), packet.pts, packet.is_keyframe) for packet in packets]


def foxglove(packet: Packet, codec: str = "h264", stamp_ns: int = 0, frame_id: str = "front") -> Any:
    time = SimpleNamespace(sec=stamp_ns // 10**9, nanosec=stamp_ns % 10**9)
    return SimpleNamespace(timestamp=time, frame_id=frame_id, data=packet.data, format=codec)


def ffmpeg(packet: Packet, encoding: str = "h264;yuv420p;bgr8;bgr8", stamp_ns: int = 0) -> Any:
    time = SimpleNamespace(sec=stamp_ns // 10**9, nanosec=stamp_ns % 10**9)
    return SimpleNamespace(
        header=SimpleNamespace(stamp=time, frame_id="front"),
        width=WIDTH,
        height=HEIGHT,
        encoding=encoding,
        pts=packet.number,
        flags=int(packet.is_key),
        is_bigendian=False,
        data=packet.data,
    )
