"""A video file as frames: decoded by FFmpeg through PyAV where it is installed, which tells what cannot be decoded and what
was painted over in its place, else through OpenCV, which tells neither. Both give the same pixels."""

from __future__ import annotations

import heapq
import importlib
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from seg_perception.errors import SegPerceptionError
from seg_perception.files import is_file
from seg_perception.image_limits import ImageLimits
from seg_perception.recordings.containers import is_broken, missing_bytes
from seg_perception.recordings.sources import Source, SourceFrame, check_size, known_rate_hz, open_capture
from seg_perception.results import Frame

FAILED_FRAMES = 300
"""So many that cannot be read, one after the other, are the end of a video."""
TURNS = {90: cv2.ROTATE_90_CLOCKWISE, 180: cv2.ROTATE_180, 270: cv2.ROTATE_90_COUNTERCLOCKWISE}
"""By the degrees that a container says its frames lie turned by, as OpenCV gives them."""


@dataclass
class Damage:
    """What a decoder met. broken: something amid the frames cannot be decoded; marked: the container says so of a part;
    painted: frames that the decoder completed itself where their data were damaged; first: the number of the first of those.
    """

    broken: bool = False
    marked: bool = False
    painted: int = 0
    first: int = 0


class VideoSource(Source):
    """A video file; stamps are those of the container, from 0. count is the container's word, which is a guess in many
    files."""

    def __init__(self, path: Path) -> None:
        if not is_file(path):
            raise SegPerceptionError(f"there is no file {path}: give a video, a folder of images, a rosbag or a device")
        self._path = path
        capture = open_capture(str(path))
        check_size(capture, str(path))
        readable, _ = capture.read() if capture.isOpened() else (False, None)
        rate, count = capture.get(cv2.CAP_PROP_FPS), int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
        self._turn = TURNS.get(round(capture.get(cv2.CAP_PROP_ORIENTATION_META)) % 360)
        capture.release()
        if not readable:
            raise SegPerceptionError(
                f"{path} cannot be read as a video: check that it is whole, or convert it to MP4 (H.264)"
            )
        super().__init__("video", str(path), known_rate_hz(rate), count if count > 0 else None)
        self.stamped = True

    def _frames(self) -> Iterator[SourceFrame]:
        damage = Damage()
        index, first_ns, before_ns = 0, 0, -1
        for time_s, rgb in _pictures(self._path, self._turn, damage):
            stamp_ns = round(time_s * 1e9)
            first_ns = first_ns if index else stamp_ns
            if stamp_ns - first_ns <= before_ns:  # a container without times
                stamp_ns = first_ns + before_ns + self._stamp_ns(1)
            before_ns = stamp_ns - first_ns
            yield SourceFrame(Frame(rgb, before_ns, "camera"), f"frame {index}")
            index += 1
        self._judge(index, damage)

    def _judge(self, frames: int, damage: Damage) -> None:
        """Tell what was lost. A file with fewer frames than it says may be whole, and is looked into."""
        if missing := missing_bytes(self._path):
            self.problems.append(
                f"{self._path} ends after {frames} frames, {missing} bytes before its end: the rest is lost, copy it again"
            )
            return
        fewer = frames < (self.count or 0)
        if damage.broken or (fewer and (damage.marked or is_broken(self._path) or _is_undecodable(self._path))):
            self.problems.append(
                f"{self._path} is damaged, part of it cannot be decoded: {frames} frames are left, copy it again"
            )
        elif damage.painted:
            self.problems.append(
                f"{self._path} is damaged: {damage.painted} of its {frames} frames could not be decoded whole, the first is "
                f"frame {damage.first}; the decoder painted over the rest of them, and those up to the next key frame are "
                "made of that: copy it again"
            )
        elif fewer:
            self.notes.append(f"{self._path} says that it has about {self.count} frames, it has {frames}")


def _pictures(path: Path, turn: int | None, damage: Damage) -> Iterator[tuple[float, NDArray[np.uint8]]]:
    """The frames of a video, RGB uint8 [H, W, 3], each with the container's time in s."""
    file = None
    with suppress(ImportError):
        av = importlib.import_module("av")
        file = _opened(av, path)
    if file is None:
        yield from _by_opencv(path, damage)
        return
    with file:
        stream = file.streams.video[0]
        stream.thread_type = "FRAME"  # where threads share a frame nothing tells that part of it was painted over
        stream.codec_context.options = {"max_pixels": str(ImageLimits().most_pixels)}
        time_s, fed = 0.0, list[int]()
        for index, frame in enumerate(_decoded(av, file, stream, damage, fed)):
            if frame.is_corrupt:
                damage.first = damage.first if damage.painted else index
                damage.painted += 1
            if (
                file.format.name == "avi" and fed
            ):  # it says when packets come, not when frames are shown: look-ahead mixes them
                time_s = float(heapq.heappop(fed) * stream.time_base)
            else:
                time_s = time_s if frame.time is None else float(frame.time)
            rgb = frame.reformat(format="rgb24", interpolation="BICUBIC").to_ndarray()
            yield time_s, rgb if turn is None else np.asarray(cv2.rotate(rgb, turn), np.uint8)


def _opened(av: Any, path: Path) -> Any:
    """A video as PyAV opens it, whose titles may be no UTF-8; None where it finds none in the file: its FFmpeg is another one
    than OpenCV's."""
    try:
        file = av.open(str(path), metadata_errors="replace")
    except av.FFmpegError:
        return None
    if file.streams.video:
        return file
    file.close()
    return None


def _decoded(av: Any, file: Any, stream: Any, damage: Damage, fed: list[int]) -> Iterator[Any]:
    """The frames of a stream of an open file, past what cannot be read or decoded. What comes before the first of them, such
    as in a recording that begins between key frames, is no damage. fed: gets the times of an AVI's packets, as a heap."""
    failed, begun, more = 0, False, True
    while more and failed < FAILED_FRAMES:
        frames: list[Any] = []
        try:
            packet = next(file.demux(stream))
            more = packet.size > 0
            damage.marked |= packet.is_corrupt
            frames = packet.decode()
            if file.format.name == "avi" and packet.size and packet.pts is not None:
                heapq.heappush(fed, packet.pts)
        except av.FFmpegError:
            failed += 1
            damage.broken |= begun
        if frames:
            failed, begun = 0, True
        yield from frames


def _is_undecodable(path: Path) -> bool:
    """Whether something of a video cannot be decoded, by decoding it all once more: threads of frames, which are faster, keep
    quiet of what is in the last ones. False where PyAV, which tells, is not installed."""
    try:
        av = importlib.import_module("av")
    except ImportError:
        return False
    file = _opened(av, path)
    if file is None:
        return False
    try:
        with file:
            stream = file.streams.video[0]
            if stream.codec_context.name == "hevc":  # which passes over what it cannot read, else
                stream.codec_context.options = {"err_detect": "explode"}
            for packet in file.demux(stream):
                packet.decode()
    except av.FFmpegError:
        return True
    return False


def _by_opencv(path: Path, damage: Damage) -> Iterator[tuple[float, NDArray[np.uint8]]]:
    capture = open_capture(str(path))
    failed = 0
    try:
        while failed < FAILED_FRAMES:
            readable, bgr = capture.read()
            if not readable:  # the end, or a frame that cannot be decoded
                failed += 1
                continue
            damage.broken, failed = damage.broken or failed > 0, 0
            yield capture.get(cv2.CAP_PROP_POS_MSEC) / 1e3, cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB)
    finally:
        capture.release()
