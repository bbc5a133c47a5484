"""The overlay as a video file that can be opened, or a sentence that says why there is none."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from types import TracebackType

import cv2
import numpy as np
from numpy.typing import NDArray

from seg_perception.files import quiet_opencv
from seg_perception.libraries import pip_install
from seg_perception.play.encoders import PLAYED_BY_BROWSERS, Encoder, open_encoder
from seg_perception.reports.panels import fitted
from seg_perception.writing import written_aside


class VideoWriter:
    """An MP4 of RGB frames, written aside and renamed in the end; without a frame there is no file.

    Frames of another shape than the first stand in its middle, as large as they fit. written: the file is there and can
    be opened to its last frame; problems: why not, one sentence; notes: who cannot play it.
    """

    def __init__(self, path: Path, rate_hz: float) -> None:
        self._path, self._rate_hz, self._stack = path, rate_hz, ExitStack()
        self._aside = path
        self._encoder: Encoder | None = None
        self._size_wh = (0, 0)
        self._frames = 0
        self.written = False
        self.problems: list[str] = []
        self.notes: list[str] = []

    def __enter__(self) -> VideoWriter:
        return self

    def write(self, rgb: NDArray[np.uint8]) -> None:
        """Add a frame, uint8 [H, W, 3]."""
        if self._frames == 0:
            # encoders want even sizes
            self._size_wh = rgb.shape[1] + rgb.shape[1] % 2, rgb.shape[0] + rgb.shape[0] % 2
            self._open()
        self._frames += 1
        if self._encoder is not None:
            self._encoder.write(fitted(rgb, self._size_wh))

    def _open(self) -> None:
        try:
            self._aside = self._stack.enter_context(written_aside(self._path))
        except OSError as error:
            self.problems.append(f"{self._path} cannot be written ({error.strerror}): check the folder and the disk")
            return
        self._encoder = open_encoder(self._aside, self._rate_hz, self._size_wh)
        if self._encoder is None:
            self.problems.append(
                f"{self._path} cannot be written: check the folder and the space on the disk, and that OpenCV has FFmpeg"
            )

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._encoder is not None:
            self._encoder.release()
            if error is None:
                self._look(self._encoder.codec)
        # without the file, as if the block had failed, so that what is there of it is removed
        failure = error if self.written or error is not None else _NotWrittenError()
        self._stack.__exit__(None if failure is None else type(failure), failure, trace)

    def _look(self, codec: str) -> None:
        """Whether the file is whole: encoders say nothing when the disk is full."""
        self.written = is_whole(self._aside, self._frames)
        if not self.written:
            self.problems.append(f"{self._path} cannot be written whole: free space on the disk and play again")
        elif codec not in PLAYED_BY_BROWSERS:
            self.notes.append(
                f"{self._path.name} is {codec}, which players such as VLC and mpv show and browsers do not, for this OpenCV "
                f"cannot write H.264: {pip_install('av')}, or 'ffmpeg -i {self._path.name} h264.mp4' converts it"
            )


class _NotWrittenError(Exception):
    """There is no file to keep."""


def is_whole(path: Path, frames: int) -> bool:
    """Whether a video can be opened and its last frame be read."""
    with quiet_opencv():
        capture = cv2.VideoCapture(str(path))
        try:
            capture.set(cv2.CAP_PROP_POS_FRAMES, frames - 1)
            return bool(capture.isOpened() and capture.read()[0])
        finally:
            capture.release()
