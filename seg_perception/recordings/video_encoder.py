"""Pictures to compressed video, a packet a frame, as foxglove_msgs/CompressedVideo wants them; by FFmpeg (PyAV)."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seg_perception.errors import SegPerceptionError
from seg_perception.libraries import pip_install

ENCODERS: dict[str, tuple[str, dict[str, str]]] = {
    "h264": ("libx264", {"preset": "veryfast", "tune": "zerolatency", "crf": "18"}),
    "h265": ("libx265", {"preset": "ultrafast", "tune": "zerolatency", "crf": "20", "x265-params": "log-level=none"}),
    "av1": ("libsvtav1", {"preset": "10", "crf": "25", "svtav1-params": "pred-struct=1"}),
    "vp9": ("libvpx-vp9", {"deadline": "realtime", "cpu-used": "8", "lag-in-frames": "0", "crf": "20", "b": "0"}),
}
"""FFmpeg's encoder of each codec and its settings: near lossless to the eye, no frame waits for a later one."""
KEY_FRAME_S = 1.0
"""Between two key frames: how long one who comes later waits for a picture."""


class VideoEncoder:
    """Encodes one stream of frames; a size that changes begins it anew. codec: one of ENCODERS; rate_hz: of the frames.

    Raises SegPerceptionError without PyAV or an encoder of that codec.
    """

    def __init__(self, codec: str, rate_hz: float) -> None:
        try:
            import av
        except ImportError as error:
            raise SegPerceptionError(f"video is encoded by PyAV, which is missing: {pip_install('av')}") from error
        self._av, self.codec, self._rate = av, codec, Fraction(max(rate_hz, 1e-3)).limit_denominator(1001)
        self._encoder: Any = None
        self._tags: dict[int, Any] = {}
        self._count = 0
        name = ENCODERS[codec][0]
        try:
            av.codec.Codec(name, "w")
        except av.codec.codec.UnknownCodecError as error:
            raise SegPerceptionError(
                f"FFmpeg on this machine has no {name}, which encodes {codec}: take another codec, or {pip_install('av')}"
            ) from error

    def encode(self, rgb: NDArray[np.uint8], tag: Any) -> list[tuple[Any, bytes]]:
        """Take a frame, uint8 [H, W, 3]; returns the packets that are ready, each with its frame's tag."""
        height, width = rgb.shape[:2]
        if height % 2 or width % 2:
            raise SegPerceptionError(
                f"the images are {width}x{height}, and video wants even sides: cut them, or leave the codec out"
            )
        found: list[tuple[Any, bytes]] = []
        if self._encoder is None or (self._encoder.width, self._encoder.height) != (width, height):
            found = self.rest()
            self._open(width, height)
        frame = self._av.VideoFrame.from_ndarray(np.ascontiguousarray(rgb), format="rgb24").reformat(format="yuv420p")
        frame.pts, frame.time_base = self._count, self._encoder.time_base
        self._tags[self._count] = tag
        self._count += 1
        return [*found, *self._named(self._encoder.encode(frame))]

    def rest(self) -> list[tuple[Any, bytes]]:
        """The packets that are still to come, at the end."""
        return self._named(self._encoder.encode(None)) if self._tags else []

    def _named(self, packets: list[Any]) -> list[tuple[Any, bytes]]:
        return [(self._tags.pop(packet.pts), bytes(packet)) for packet in packets]

    def _open(self, width: int, height: int) -> None:
        name, settings = ENCODERS[self.codec]
        encoder = self._av.CodecContext.create(name, "w")
        encoder.width, encoder.height, encoder.pix_fmt = width, height, "yuv420p"
        encoder.time_base, encoder.framerate = 1 / self._rate, self._rate
        encoder.gop_size, encoder.max_b_frames = max(1, round(KEY_FRAME_S * float(self._rate))), 0
        encoder.options = settings
        # else SVT-AV1 prints forty lines, and calls the end of each stream an error
        os.environ.setdefault("SVT_LOG", "0")
        with scheduled_as_before():
            encoder.open()
        self._encoder = encoder


@contextmanager
def scheduled_as_before() -> Iterator[None]:
    """Give the caller, and the threads that begin meanwhile, the scheduling that the caller had: as root SVT-AV1 makes all of
    them SCHED_FIFO, before which nothing else on the machine runs."""
    policy, parameter, tasks = os.sched_getscheduler(0), os.sched_getparam(0), Path("/proc/self/task")
    before = {task.name for task in tasks.iterdir()}
    try:
        yield
    finally:
        for task in (0, *(int(task.name) for task in tasks.iterdir() if task.name not in before)):
            with suppress(ProcessLookupError):  # it has ended
                os.sched_setscheduler(task, policy, parameter)
