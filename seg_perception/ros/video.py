"""A camera's topic as compressed video: its message, and a thread that decodes every packet while only the newest frame is
run."""

from __future__ import annotations

import importlib
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable
from typing import Any, NamedTuple

from seg_perception.camera.messages import BadImageError, DecodedImage
from seg_perception.camera.video import VideoReader, codec_of, is_key_frame
from seg_perception.errors import LONGEST_REASON, SegPerceptionError, quoted
from seg_perception.image_limits import ImageLimits
from seg_perception.libraries import missing, pip_install
from seg_perception.ros.diagnostics import FAILED

VIDEO_MESSAGES = {
    "ffmpeg": ("ffmpeg_image_transport_msgs", "FFMPEGPacket"),
    "foxglove": ("foxglove_msgs", "CompressedVideo"),
}
"""Package and message of each image_transport that is video."""

MOST_WAITING = 60
"""Packets that wait to be decoded; what is more is left out up to the next key frame."""


def video_message(transport: str) -> Any:
    """The message type of a video transport; raises SegPerceptionError where it or PyAV is not installed."""
    package, name = VIDEO_MESSAGES[transport]
    if missing(["av"]):
        raise SegPerceptionError(
            f"image_transport '{transport}' is decoded by PyAV, which is missing: {pip_install('av')}"
        )
    try:
        return getattr(importlib.import_module(f"{package}.msg"), name)
    except ImportError as error:
        raise SegPerceptionError(
            f"image_transport '{transport}' needs the messages of {package}, which are not found ({error}): install "
            f"ros-<distro>-{package.replace('_', '-')}, or source the workspace that holds them"
        ) from error


class Waiting(NamedTuple):
    """A packet and when it came, seconds of the steady clock; message None: packets were lost here."""

    message: Any
    arrived_s: float


class VideoThread:
    """Decodes one stream in a thread of its own. deliver gets each frame, with when its packet came; reject each packet
    that cannot be decoded, by cause and sentence, and where it was no fault of the packet with a traceback."""

    def __init__(
        self,
        deliver: Callable[[DecodedImage, float], None],
        reject: Callable[..., None],
        limits: ImageLimits,
    ) -> None:
        self._deliver, self._reject, self._limits = deliver, reject, limits
        self._queue: deque[Waiting] = deque()
        self._filled = threading.Condition()
        self._open = True
        self.decoding_s: float | None = None
        """Since when, of the steady clock, the packet of now is being decoded; None between two."""
        self._thread = threading.Thread(target=self._work, name="video", daemon=True)
        self._thread.start()

    def put(self, message: Any, arrived_s: float, lost_before: bool = False) -> int:
        """Take a packet, before which some may have been lost; returns how many that wait were left out for it."""
        with self._filled:
            if lost_before:
                self._queue.append(Waiting(None, arrived_s))
            self._queue.append(Waiting(message, arrived_s))
            dropped = self._shorten() if len(self._queue) > MOST_WAITING else 0
            self._filled.notify()
        return dropped

    def close(self) -> None:
        """Stop, after the packet that is being decoded."""
        with self._filled:
            self._open = False
            self._filled.notify()
        self._thread.join()

    def _shorten(self) -> int:
        """Go on at the latest key frame that waits; without one nothing that waits is of use."""
        before, kept = _packets(self._queue), deque[Waiting]()
        while self._queue:
            kept.appendleft(self._queue.pop())
            if _begins_anew(kept[0].message):
                break
        else:
            kept.clear()
        self._queue = kept
        self._queue.appendleft(Waiting(None, 0.0))
        return before - _packets(kept)

    def _take(self) -> Waiting | None:
        with self._filled:
            self._filled.wait_for(lambda: self._queue or not self._open)
            return self._queue.popleft() if self._open else None

    def _work(self) -> None:
        reader = VideoReader(self._limits)
        while (waiting := self._take()) is not None:
            if waiting.message is None:
                reader.lose()
                continue
            self.decoding_s = time.monotonic()
            try:
                for arrived_s, image in reader.read(waiting.message, waiting.arrived_s):
                    self._deliver(image, arrived_s)
            except BadImageError as error:
                self._reject(error.cause, str(error))
            except SegPerceptionError as error:  # no decoder: each packet says so
                self._reject("no_decoder", str(error))
            except Exception as error:  # the edge of the thread: one packet that fails must not end the camera
                self._reject(FAILED, f"{type(error).__name__}: {quoted(error, LONGEST_REASON)}", traceback.format_exc())
                reader = VideoReader(self._limits)
            self.decoding_s = None


def _packets(queue: deque[Waiting]) -> int:
    return sum(one.message is not None for one in queue)


def _begins_anew(message: Any) -> bool:
    try:
        return message is not None and is_key_frame(codec_of(message), bytes(message.data))
    except BadImageError:
        return False
