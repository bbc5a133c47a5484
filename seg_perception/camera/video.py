"""Pictures out of compressed video, packet by packet, by FFmpeg (PyAV), which is imported where a stream is opened.

Packets are read as foxglove_msgs/CompressedVideo and ffmpeg_image_transport_msgs/FFMPEGPacket bring them: each holds one
frame, H.264 and H.265 in Annex B, AV1 in OBUs.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Collection, Iterator
from functools import partial
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np

from seg_perception.camera.h264 import KEY_SLICE, SEQUENCE, SLICE, FrameNumbers, units
from seg_perception.camera.messages import EMPTY, LIMITS, UNDECODABLE, WRONG_ENCODING, BadImageError, DecodedImage
from seg_perception.errors import SegPerceptionError, quoted
from seg_perception.image_limits import ImageLimits
from seg_perception.libraries import pip_install
from seg_perception.raw_image import Plane, RawImage, from_yuv, yuv_matrix

NO_KEY_FRAME = "no_key_frame"
"""Cause of packets that cannot be decoded since the frame which they change never came."""

CODECS: dict[str, tuple[str, ...]] = {
    "h264": ("h264",),
    "h265": ("hevc",),
    "av1": ("libdav1d", "libaom-av1", "av1"),
    "vp9": ("vp9",),
}
"""Streams that are read, and the decoders of FFmpeg that may be there for each."""

_PLANAR = ("yuv420p", "yuvj420p", "yuv422p", "yuvj422p", "yuv444p", "yuvj444p")
"""Decoded frames whose planes are taken as they are; others become the last but one of these."""
_FULL_RANGE, _BT709 = 2, 1
"""As FFmpeg numbers them (AVCOL_RANGE_JPEG, AVCOL_SPC_BT709)."""
_UNITS: dict[str, tuple[Callable[[int], int], int, range, Collection[int]]] = {
    "h264": (lambda head: head & 31, SEQUENCE, range(SLICE, KEY_SLICE + 1), (KEY_SLICE, SEQUENCE)),
    "h265": (lambda head: head >> 1 & 63, 33, range(32), range(16, 22)),
}
"""How a unit's first byte tells its type, the type of a sequence's header, those of pictures, and those that decoding may start
with."""
_LENGTH_BYTES = 8
"""Of a unit's length in AV1, at most (4.10.5)."""
MOST_HELD_BACK = 64
"""Frames that a decoder may hold back at most, whose packets are remembered."""


def is_video(message: Any) -> bool:
    """Whether a message is a packet of a stream."""
    return hasattr(message, "pts") or hasattr(message, "timestamp")


def header_of(message: Any) -> Any:
    """A message's header; foxglove's messages have the fields of one instead."""
    if hasattr(message, "timestamp"):
        return SimpleNamespace(stamp=message.timestamp, frame_id=message.frame_id)
    return message.header


def codec_of(message: Any) -> str:
    """Which of CODECS a packet is of; raises BadImageError. Names of encoders and of their hardware are known too."""
    words = str(message.encoding if hasattr(message, "pts") else message.format)
    name = words.partition(";")[0].strip().lower()
    for codec, marks in {
        "h264": ("264", "avc"),
        "h265": ("265", "hevc"),
        "av1": ("av1", "av01"),
        "vp9": ("vp9",),
    }.items():
        if any(mark in name for mark in marks):
            return codec
    raise BadImageError(
        WRONG_ENCODING, f"the video has the codec '{quoted(words)}', which is not read: {', '.join(CODECS)} are"
    )


class VideoReader:
    """Decodes one stream; what comes out belongs to the message that brought it, in whatever order they come.

    limits: of what is decoded. skipped: packets so far that could not be decoded for want of a key frame, or that the
    decoder left out for it.
    """

    def __init__(self, limits: ImageLimits = LIMITS) -> None:
        self._limits, self._codec = limits, ""
        self._decoder: Any = None
        self._numbers, self._sequence = FrameNumbers(), b""
        self._waits, self._met_damage = True, False
        self._messages: OrderedDict[int, Any] = OrderedDict()
        self._count = self.skipped = 0

    def lose(self) -> None:
        """Say that packets were lost: what follows waits for a key frame."""
        self._waits = True

    def read(self, message: Any, tag: Any = None) -> list[tuple[Any, DecodedImage]]:
        """Take the next packet; returns the frames that are ready, in the order to show them, each with its tag.

        Raises BadImageError where the packet cannot be decoded, and SegPerceptionError without PyAV.
        """
        codec, data = codec_of(message), bytes(message.data)
        if not data:
            raise BadImageError(EMPTY, "the packet of video holds no bytes: check the encoder")
        before = self._change(codec) if codec != self._codec else []
        if not self._waits and codec == "h264" and self._numbers.is_gap(data):
            self._waits = True
        sequence, is_key = sequence_of(codec, data), is_key_frame(codec, data)
        self._sequence = sequence or self._sequence
        if self._waits and not is_key:
            self.skipped += 1
            raise BadImageError(
                NO_KEY_FRAME,
                "the packet of video changes a frame that never came: what follows waits for the next key frame; let the "
                "encoder send one every second (gop_size)",
            )
        if self._waits:
            before += self._start(data)
            if not sequence:  # some encoders send it once
                data = self._sequence + data
        return [*before, *self._decode(data, message, tag)]

    def rest(self) -> list[tuple[Any, DecodedImage]]:
        """The frames that are held back, at the end of a stream; what comes then is another stream."""
        frames = self._drained()
        self._codec, self._decoder = "", None
        return frames

    def _change(self, codec: str) -> list[tuple[Any, DecodedImage]]:
        before = self._drained()
        self._codec, self._decoder, self._waits = codec, open_decoder(codec, self._limits), True
        self._numbers, self._sequence = FrameNumbers(), b""
        return before

    def _start(self, data: bytes) -> list[tuple[Any, DecodedImage]]:
        """Begin anew at a key frame; returns what was held back before."""
        before = self._drained()
        if self._met_damage:  # of which flushing does not rid every decoder
            self._decoder, self._met_damage = open_decoder(self._codec, self._limits), False
        else:
            self._decoder.flush_buffers()
        self._numbers.is_gap(data)  # so that they go on from this one's
        self._waits = False
        return before

    def _drained(self) -> list[tuple[Any, DecodedImage]]:
        if not self._messages:
            return []
        import av

        try:
            frames = list(self._named(self._decoder.decode(None)))
        except av.FFmpegError:  # it was told of the packet that is damaged
            frames, self._met_damage = [], True
        self.skipped += len(self._messages)
        self._messages.clear()
        return frames

    def _decode(self, data: bytes, message: Any, tag: Any) -> list[tuple[Any, DecodedImage]]:
        import av

        packet = av.Packet(data)
        packet.pts = packet.dts = self._count
        self._messages[self._count] = header_of(message), tag
        self._count += 1
        if len(self._messages) > MOST_HELD_BACK:
            self._messages.popitem(last=False)
        try:
            frames = self._decoder.decode(packet)
        except av.FFmpegError as error:
            self._waits = self._met_damage = True
            raise BadImageError(
                UNDECODABLE, f"the packet of {self._codec} video is damaged ({error.strerror}): check the encoder"
            ) from error
        if any(frame.is_corrupt for frame in frames):
            # painted over, as are those that are held back; what is lost beside it cannot be told from them
            self._waits = True
            self.skipped += len(self._messages) - 1
            self._messages.clear()
            raise BadImageError(
                UNDECODABLE,
                f"a frame of {self._codec} video could not be decoded whole, and the decoder painted over the rest: what "
                "follows waits for the next key frame; check the encoder and the connection",
            )
        return list(self._named(frames))

    def _named(self, frames: list[Any]) -> Iterator[tuple[Any, DecodedImage]]:
        for frame in frames:
            found = self._messages.pop(frame.pts, None)
            if found is not None and not frame.is_corrupt:
                yield found[1], DecodedImage(found[0], raw_image_of(frame))


def open_decoder(codec: str, limits: ImageLimits = LIMITS) -> Any:
    """A decoder of FFmpeg in the calling thread alone; raises SegPerceptionError where this machine has none."""
    try:
        import av
    except ImportError as error:
        raise SegPerceptionError(
            f"compressed video is decoded by PyAV, which is missing: {pip_install('av')}"
        ) from error
    for name in CODECS[codec]:
        try:
            decoder = av.CodecContext.create(name, "r")
        except av.codec.codec.UnknownCodecError:
            continue
        decoder.thread_count = 1
        decoder.options = {"max_pixels": str(limits.most_pixels)}
        return decoder
    raise SegPerceptionError(
        f"FFmpeg on this machine has no decoder of {codec}: install a PyAV that brings one ({pip_install('av')}), or let "
        "the camera send another codec"
    )


def is_key_frame(codec: str, data: bytes) -> bool:
    """Whether decoding may start with a packet."""
    if codec in _UNITS:
        kind_of, _, _, keys = _UNITS[codec]
        return any(unit and kind_of(unit[0]) in keys for unit in units(data))
    if codec == "vp9":
        # frame_marker 2, then the profile, show_existing_frame and frame_type 0
        head = data[0] if data else 0
        bit = 3 if head & 48 == 48 else 4  # profile 3 has a reserved bit more
        return head >> 6 == 2 and not head >> (bit - 1) & 1 and not head >> (bit - 2) & 1
    return any(kind == 1 for kind in _obu_kinds(data))


def sequence_of(codec: str, data: bytes) -> bytes:
    """What a packet holds before its picture, where that tells the decoder of the sequence; else nothing."""
    if codec not in _UNITS:
        return b""  # there every key frame tells it
    kind_of, sequence, pictures, _ = _UNITS[codec]
    has_sequence = False
    for unit in units(data):
        kind = kind_of(unit[0]) if unit else -1
        if kind in pictures:
            return data[: len(data) - len(unit) - 3] if has_sequence else b""
        has_sequence |= kind == sequence
    return data if has_sequence else b""


def _obu_kinds(data: bytes) -> Iterator[int]:
    """Types of the units of a packet of AV1 (its specification, 5.3); 1 is a sequence header, which key frames bring."""
    at = 0
    while at < len(data):
        head, at = data[at], at + 1 + (data[at] >> 2 & 1)
        yield head >> 3 & 15
        if not head & 2:
            return
        length = 0
        for place, byte in enumerate(data[at : at + _LENGTH_BYTES]):
            length |= (byte & 127) << 7 * place
            at += 1
            if not byte & 128:
                break
        at += length


def raw_image_of(frame: Any) -> RawImage:
    """A decoded frame as its planes lie in FFmpeg's memory, which it keeps alive."""
    if frame.format.name not in _PLANAR:
        frame = frame.reformat(format="yuv444p")
    size_hw = (frame.height, frame.width)
    planes = tuple(
        np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)[: plane.height, : plane.width]
        for plane in frame.planes
    )
    is_full = frame.format.name.startswith("yuvj") or int(frame.color_range) == _FULL_RANGE
    mix = from_yuv(0, 1, 2, yuv_matrix(is_full, int(frame.colorspace) == _BT709))
    return RawImage(size_hw, planes, mix, partial(_whole, size_hw, planes, mix))


def _whole(size_hw: tuple[int, int], planes: tuple[Plane, ...], mix: Callable[..., object]) -> Plane:
    """RGB at full size, with the chroma as smooth as it can be."""
    size = (size_hw[1], size_hw[0])
    full = [plane if plane.shape == size_hw else cv2.resize(plane, size) for plane in planes]
    scratch, rgb = np.empty((2, *size_hw, 3), np.uint8), np.empty((*size_hw, 3), np.uint8)
    mix(full, scratch, rgb)
    return rgb
