"""What writes the frames of an MP4: PyAV where it is installed, else what OpenCV was built with."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from seg_perception.files import quiet_opencv

BY_PYAV: Mapping[str, tuple[str, Mapping[str, str]]] = {
    "H.264": ("libx264", {"preset": "ultrafast", "crf": "23"}),
    "VP9": ("libvpx-vp9", {"deadline": "realtime", "cpu-used": "8", "row-mt": "1", "crf": "31", "b": "0"}),
}
"""FFmpeg's encoder and its options, by codec in the order of preference. Of 1280x720 they take about as long as OpenCV
needs for MPEG-4 (7.5 ms on one core) and three times that, where OpenCV, which cannot pass options on, took 467 ms."""
BY_OPENCV = {"H.264": "avc1", "MPEG-4 Part 2": "mp4v"}
"""Four-character codes. OpenCV from PyPI cannot write the first."""
PLAYED_BY_BROWSERS = ("H.264", "VP9")
COLOURS_OF_HD = 1
"""ITU-R BT.709 in the numbers of ITU-T H.273, where primaries, transfer and matrix are all 1; FFmpeg's limited range is too."""


class Encoder(Protocol):
    """codec: what it writes."""

    codec: str

    def write(self, rgb: NDArray[np.uint8]) -> None:
        """Add a frame, uint8 [H, W, 3]."""

    def release(self) -> None:
        """Finish the file. Nothing tells whether it is whole."""


def open_encoder(path: Path, rate_hz: float, size_wh: tuple[int, int]) -> Encoder | None:
    """The best that there is for frames of an even (width, height); None where none can write the file."""
    return _by_pyav(path, rate_hz, size_wh) or _by_opencv(path, rate_hz, size_wh)


class _PyAv:
    def __init__(self, av: Any, path: Path, rate_hz: float, size_wh: tuple[int, int], codec: str) -> None:
        """Raises ValueError where FFmpeg was built without it, OSError where the file cannot be written."""
        self.codec, self._av, self._failed = codec, av, False
        encoder, options = BY_PYAV[codec]
        av.codec.Codec(encoder, "w")
        self._file = av.open(str(path), "w", format="mp4")
        self._stream = self._file.add_stream(encoder, Fraction(rate_hz).limit_denominator(1000), options=dict(options))
        self._stream.width, self._stream.height = size_wh
        self._stream.pix_fmt = "yuv420p"
        context = self._stream.codec_context
        context.color_primaries = context.color_trc = context.colorspace = context.color_range = COLOURS_OF_HD

    def write(self, rgb: NDArray[np.uint8]) -> None:
        frame = self._av.VideoFrame.from_ndarray(np.ascontiguousarray(rgb), format="rgb24")
        self._add(frame.reformat(format="yuv420p", dst_colorspace=COLOURS_OF_HD))

    def release(self) -> None:
        self._add(None)
        try:
            self._file.close()
        except self._av.FFmpegError:  # a full disk: whoever looks at the file sees it
            return

    def _add(self, frame: Any) -> None:
        if self._failed:
            return
        try:
            self._file.mux(self._stream.encode(frame))
        except self._av.FFmpegError:
            self._failed = True


class _OpenCv:
    def __init__(self, writer: Any, codec: str) -> None:
        self.codec, self._writer = codec, writer

    def write(self, rgb: NDArray[np.uint8]) -> None:
        self._writer.write(cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR))

    def release(self) -> None:
        self._writer.release()


def _by_pyav(path: Path, rate_hz: float, size_wh: tuple[int, int]) -> Encoder | None:
    try:
        av = importlib.import_module("av")
    except ImportError:
        return None
    for codec in BY_PYAV:
        try:
            return _PyAv(av, path, rate_hz, size_wh, codec)
        except ValueError:  # this build of FFmpeg has it not
            continue
        except OSError:
            return None
    return None


def _by_opencv(path: Path, rate_hz: float, size_wh: tuple[int, int]) -> Encoder | None:
    for codec, code in BY_OPENCV.items():
        with quiet_opencv():
            writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*code), rate_hz, size_wh)
        if writer.isOpened():
            return _OpenCv(writer, codec)
        writer.release()
    return None
