"""Camera messages as no camera should send them, one for each seed: for the tests, and for the long run of fuzz.py."""

from __future__ import annotations

import array
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
from image_messages import encode, message

from seg_perception.camera.encodings import ENCODINGS
from seg_perception.image_limits import encoded_size

SIDES = (0, 1, 2, 3, 7, 8, 9, 31, 32, 33, 64, 127, 640, 1080, 4096, 8192, 65_535, 2**31 - 1, 2**32 - 1)
NAMES = (*sorted(ENCODINGS), "", "RGB8", "rgb9", "16UC1", "32FC1", "8UC2", "jpeg", "\0", "nv12\n", "€" * 40, "x" * 5000)
_MEGABYTES = zlib.compress(bytes(2_000_000))
KINDS = (".jpg", ".png", ".webp")

Rng = np.random.Generator


@dataclass(frozen=True)
class Bad:
    """kind: what was done to it. family: raw, or the ending of what it is compressed as. pixels: that its header says,
    or that its bytes would be without compression, whichever is more."""

    kind: str
    family: str
    message: Any
    pixels: int


def bad_message(seed: int) -> Bad:
    """The message of a seed."""
    rng = np.random.default_rng(seed)
    kind = str(rng.choice(sorted(_MAKERS)))
    return _MAKERS[kind](rng, kind)


def _picture(rng: Rng, height: int, width: int) -> Any:
    coarse = rng.integers(0, 256, (5, 5, 3), dtype=np.uint8)
    return cv2.resize(coarse, (width, height), interpolation=cv2.INTER_LINEAR)


def _size(rng: Rng) -> tuple[int, int]:
    """Mostly small, sometimes long and thin, now and then large."""
    kind = rng.random()
    if kind < 0.75:
        return int(rng.integers(1, 97)), int(rng.integers(1, 97))
    if kind < 0.97:
        long, short = int(rng.integers(100, 3000)), int(rng.integers(1, 5))
        return (long, short) if rng.random() < 0.5 else (short, long)
    return int(rng.integers(200, 800)), int(rng.integers(200, 800))


def _raw(kind: str, sent: Any) -> Bad:
    height, width = sent.height, sent.width
    return Bad(kind, "raw", sent, max(1, min(height * width, len(sent.data))))


def _good_raw(rng: Rng) -> Any:
    encoding = str(rng.choice(sorted(ENCODINGS)))
    height, width = _size(rng)
    rows = encode(encoding, _picture(rng, height, width))
    return message(encoding, rows, (height, width), int(rng.integers(0, 9)), bool(rng.integers(2)))


def _any_fields(rng: Rng, kind: str) -> Bad:
    """Nothing fits anything."""
    data = rng.integers(0, 256, int(rng.integers(0, 20_000)), dtype=np.uint8)
    holders: tuple[Callable[[Any], Any], ...] = (lambda d: array.array("B", d.tobytes()), bytes, lambda d: d)
    sent = SimpleNamespace(
        encoding=str(rng.choice(NAMES)),
        height=int(rng.choice(SIDES)),
        width=int(rng.choice(SIDES)),
        step=int(rng.choice(SIDES)),
        is_bigendian=int(rng.integers(0, 256)),
        data=holders[int(rng.integers(3))](data),
    )
    return _raw(kind, sent)


def _one_field(rng: Rng, kind: str) -> Bad:
    """A good message with one thing changed."""
    sent = _good_raw(rng)
    what = str(rng.choice(["encoding", "height", "width", "step", "is_bigendian", "data"]))
    if what == "data":
        del sent.data[int(rng.integers(0, len(sent.data) + 1)) :]
    elif what == "encoding":
        sent.encoding = str(rng.choice(NAMES))
    else:
        near = getattr(sent, what) + int(rng.integers(-3, 4))
        setattr(sent, what, int(rng.choice(SIDES)) if rng.random() < 0.5 else max(0, near))
    return _raw(kind, sent)


def _odd_shape(rng: Rng, kind: str) -> Bad:
    """Good but for its shape."""
    return _raw(kind, _good_raw(rng))


def _encoded(rng: Rng) -> tuple[str, bytearray]:
    family = str(rng.choice(KINDS))
    rgb = _picture(rng, *_size(rng))
    options: list[int] = []
    if family == ".jpg":
        sampling = (cv2.IMWRITE_JPEG_SAMPLING_FACTOR_420, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444)
        options = [
            cv2.IMWRITE_JPEG_PROGRESSIVE,
            int(rng.integers(2)),
            cv2.IMWRITE_JPEG_RST_INTERVAL,
            int(rng.integers(3)),
        ]
        options += [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(1, 101))]
        options += [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, int(rng.choice(sampling))]
    if family == ".png" and rng.random() < 0.5:
        rgb = rgb.astype(np.uint16) * 257 if rng.random() < 0.5 else np.dstack([rgb, rgb[..., :1]])
    if family == ".webp":
        options = [cv2.IMWRITE_WEBP_QUALITY, int(rng.integers(1, 102))]
    if rng.random() < 0.2:
        rgb = rgb[..., 0]
    _, data = cv2.imencode(family, rgb, options)
    return family, bytearray(data.tobytes())


def _compressed(kind: str, family: str, data: bytes | bytearray) -> Bad:
    size = encoded_size(memoryview(data)) or (1, 1)
    sent = SimpleNamespace(format=f"rgb8; {family[1:]} compressed bgr8", data=array.array("B", bytes(data)))
    return Bad(kind, family, sent, max(1, size[0] * size[1], len(data) // 3))


def _flipped(rng: Rng, kind: str) -> Bad:
    """Bits flipped, a few or many, some of them in the header."""
    family, data = _encoded(rng)
    end = len(data) if rng.random() < 0.7 else min(len(data), 64)
    for place in rng.integers(0, end, int(rng.choice([1, 2, 5, 50]))):
        data[place] ^= 1 << int(rng.integers(8))
    return _compressed(kind, family, data)


def _spliced(rng: Rng, kind: str) -> Bad:
    """Parts of a file taken out, doubled, or put in from another; the end mark stays."""
    family, data = _encoded(rng)
    tail = data[-12:]
    a, b = sorted(rng.integers(2, len(data), 2))
    other = _encoded(rng)[1]
    parts = {
        "cut": data[:a] + data[b:],
        "doubled": data[:b] + data[a:],
        "mixed": data[:a] + other[int(rng.integers(0, len(other))) :],
        "noise": data[:a] + bytes(rng.integers(0, 256, b - a, dtype=np.uint8)) + data[b:],
        "zeros": data[:a] + bytes(b - a) + data[b:],
        "short": data[:a],
    }
    made = parts[str(rng.choice(sorted(parts)))]
    return _compressed(kind, family, made + tail if rng.random() < 0.7 else made)


def _other_size(rng: Rng, kind: str) -> Bad:
    """A header that says another size than the data have."""
    family, data = _encoded(rng)
    height, width = (int(rng.choice([*SIDES[:16], 65_535])) for _ in range(2))
    if family == ".jpg":
        place = max(data.find(b"\xff\xc0"), data.find(b"\xff\xc2")) + 5
        data[place : place + 4] = struct.pack(">HH", min(height, 65_535), min(width, 65_535))
    elif family == ".png":
        data[16:24] = struct.pack(">II", width, height)
        data[29:33] = struct.pack(">I", zlib.crc32(data[12:29]))
    elif data[12:16] == b"VP8 ":
        data[26:30] = struct.pack("<HH", width & 0x3FFF, height & 0x3FFF)
    return _compressed(kind, family, data)


def _png_chunks(rng: Rng, kind: str) -> Bad:
    """Chunks with right checksums and wrong meaning: depths, colours, animations, texts that unpack to megabytes."""
    data = bytes(cv2.imencode(".png", _picture(rng, *_size(rng)))[1])
    header = bytearray(data[16:29])
    header[8] = int(rng.choice([1, 2, 4, 8, 16, 3]))
    header[9] = int(rng.choice([0, 2, 3, 4, 6, 1]))
    header[12] = int(rng.integers(0, 3))
    if rng.random() < 0.5:
        header = bytearray(data[16:29])
    extra = {
        "zTXt": b"k\0\0" + _MEGABYTES,
        "iCCP": b"k\0\0" + _MEGABYTES,
        "PLTE": bytes(rng.integers(0, 256, 3 * int(rng.integers(0, 300)), dtype=np.uint8)),
        "tRNS": bytes(rng.integers(0, 256, int(rng.integers(0, 300)), dtype=np.uint8)),
        "acTL": struct.pack(">II", int(rng.choice([0, 1, 100, 2**31 - 1])), 0),
        "fcTL": struct.pack(">IIIIIHHBB", 0, *(int(side) for side in rng.choice(SIDES[:16], 2)), 0, 0, 1, 1, 0, 0),
        "IHDR": bytes(header),
    }
    chosen = [(name, extra[name]) for name in rng.choice(sorted(extra), int(rng.integers(0, 4)))]
    parts = [data[:8], _chunk("IHDR", bytes(header)), *(_chunk(name, content) for name, content in chosen), data[33:]]
    return _compressed(kind, ".png", b"".join(parts))


def _chunk(name: str, content: bytes) -> bytes:
    body = name.encode() + content
    return struct.pack(">I", len(content)) + body + struct.pack(">I", zlib.crc32(body))


def _jpeg_scans(rng: Rng, kind: str) -> Bad:
    """Scans of a progressive file, again and again."""
    height, width = (512, 512) if rng.random() < 0.1 else _size(rng)
    _, encoded = cv2.imencode(".jpg", _picture(rng, height, width), [cv2.IMWRITE_JPEG_PROGRESSIVE, 1])
    data = encoded.tobytes()
    scans = [place for place in range(len(data) - 1) if data[place : place + 2] == b"\xff\xda"]
    start = int(rng.choice(scans))
    many = data[:start] + data[start:-2] * int(rng.integers(1, 40)) + data[-2:]
    return _compressed(kind, ".jpg", many)


def _noise(rng: Rng, kind: str) -> Bad:
    """The beginning and the end of a format, noise between."""
    starts = (b"\xff\xd8", b"\x89PNG\r\n\x1a\n", b"RIFF\x20\0\0\0WEBP", b"", b"GIF89a", b"BM")
    ends = (b"\xff\xd9", b"IEND\xaeB`\x82", b"")
    middle = bytes(rng.integers(0, 256, int(rng.integers(0, 3000)), dtype=np.uint8))
    return _compressed(kind, str(rng.choice(KINDS)), starts[int(rng.integers(6))] + middle + ends[int(rng.integers(3))])


_MAKERS: dict[str, Callable[[Rng, str], Bad]] = {
    "any fields": _any_fields,
    "one field": _one_field,
    "odd shape": _odd_shape,
    "flipped bits": _flipped,
    "spliced": _spliced,
    "other size": _other_size,
    "PNG chunks": _png_chunks,
    "JPEG scans": _jpeg_scans,
    "noise": _noise,
}
