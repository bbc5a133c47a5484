"""What an image may cost, judged from its header before anything is allocated or decoded.

A compressed image says its size in its first bytes and may be a thousand times larger than they are; an image of one
column may be as long as a file allows. Neither comes from a camera.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from seg_perception.errors import BadImageError

TOO_LARGE = "too_large"
TOO_NARROW = "too_narrow"
TOO_MANY_SCANS = "too_many_scans"
UNDECODABLE = "undecodable"

MOST_SCANS = 32
"""Of a JPEG: each costs a pass over the whole image. Encoders of progressive files write about 10."""

Size = tuple[int, int]
"""(height, width) in px."""

MOST_SEGMENTS = 1024
"""Of a JPEG before its frame header: a colour profile has at most 255."""

MOST_CHUNKS = 100_000
"""Of a PNG: encoders write 8 kB of pixels a chunk, or more."""

_PNG_START = b"\x89PNG\r\n\x1a\n"
_PNG_PIXELS = (b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND")
_JPEG_START = b"\xff\xd8"
_JPEG_MARKER, _JPEG_SCAN = re.compile(rb"\xff[^\x00\xff]"), re.compile(rb"\xff\xda")
_JPEG_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
"""Markers of a frame header, which says the size: SOF0 to SOF15 without DHT, JPG and DAC."""
_JPEG_SEQUENTIAL = (0xC0, 0xC1, 0xC9)
_JPEG_ALONE = frozenset((0x01, *range(0xD0, 0xD8)))
"""Markers that no length follows: TEM and RST0 to RST7."""
_JPEG_ENDS = (0xD8, 0xD9, 0xDA)
"""Markers after which no frame header comes: SOI, EOI and SOS."""
_TIFF_WIDTH, _TIFF_HEIGHT = 256, 257
_PNM_SIZE = re.compile(rb"P[1-6](?:\s|#[^\n]*\n)+(\d{1,9})(?:\s|#[^\n]*\n)+(\d{1,9})[\s#]")


@dataclass(frozen=True)
class ImageLimits:
    """most_pixels: of an image, 8K (7680x4320) passes; most_aspect: its longer side may be so many times its shorter."""

    most_pixels: int = 40_000_000
    most_aspect: float = 32.0

    def check(self, size_hw: Size, what: str = "the image") -> None:
        """Raises BadImageError where an image of this size costs too much. what: begins the sentence."""
        height, width = size_hw
        if height * width > self.most_pixels:
            raise BadImageError(
                TOO_LARGE,
                f"{what} is {width}x{height}, {height * width} pixels, and at most {self.most_pixels} are taken: "
                "make it smaller, or allow more by image_max_pixels where the node reads it",
            )
        if max(size_hw) > self.most_aspect * min(size_hw):
            raise BadImageError(
                TOO_NARROW,
                f"{what} is {width}x{height}, a side more than {self.most_aspect:g} times the other: "
                "check what sends it, or allow more by image_max_aspect where the node reads it",
            )

    def check_encoded(self, data: Any, what: str = "the image") -> None:
        """check of the size that a JPEG, PNG, WebP, BMP, TIFF or PNM file says in its header. data: all its bytes.

        Raises BadImageError also where a JPEG has too many scans, where a PNG's chunks are longer than it, and where data
        says no size or is of another format.
        """
        view = memoryview(data)
        size_hw = encoded_size(view)
        if size_hw is None or 0 in size_hw:
            raise BadImageError(
                UNDECODABLE, f"{what} is not an image that OpenCV can decode: its header says no size, so replace it"
            )
        self.check(size_hw, what)
        if bytes(view[:8]) == _PNG_START and png_chunks(view) is None:
            raise BadImageError(UNDECODABLE, f"{what} is a PNG whose chunks are not as long as they say: it is damaged")
        if (scans := _jpeg_scans(view)) > MOST_SCANS:
            raise BadImageError(
                TOO_MANY_SCANS, f"{what} is a JPEG of {scans} scans and at most {MOST_SCANS} are taken: encode it again"
            )


def encoded_size(data: memoryview) -> Size | None:
    """(height, width) as the header of an encoded image says; None where it is of another format than JPEG, PNG, WebP,
    BMP, TIFF or PNM, or damaged."""
    start = bytes(data[:12])
    for mark, place, read in _FORMATS:
        if start.startswith(mark, place):
            try:
                return read(data)
            except (struct.error, IndexError, ValueError):  # it ends within its header
                return None
    return None


def _jpeg(data: memoryview) -> Size | None:
    """ITU-T T.81, B.2.2: the frame header."""
    frame = _jpeg_frame(data)
    if frame is None:
        return None
    height, width = _unpack(">HH", data, frame + 5)
    return height, width


def _jpeg_frame(data: memoryview) -> int | None:
    """Where the marker of the frame header stands, None where a scan or the end comes before it."""
    place = len(_JPEG_START)
    for _ in range(MOST_SEGMENTS):
        found = _JPEG_MARKER.search(data, place)  # as libjpeg, which skips what is no marker
        if found is None:
            return None
        place, marker = found.start(), data[found.start() + 1]
        if marker in _JPEG_FRAMES:
            return place
        if marker in _JPEG_ENDS:
            return None
        place += 2 if marker in _JPEG_ALONE else 2 + _unpack(">H", data, place + 2)[0]
    return None


def _jpeg_scans(data: memoryview) -> int:
    """How many scans a decoder reads of a JPEG; 0 of another format."""
    if bytes(data[:2]) != _JPEG_START or (frame := _jpeg_frame(data)) is None:
        return 0
    scans = [found.start() for found in _JPEG_SCAN.finditer(data, frame)]
    # A sequential one whose first scan has all components ends with it.
    is_whole = bool(scans) and data[scans[0] + 4 : scans[0] + 5] == data[frame + 9 : frame + 10]
    return 1 if is_whole and data[frame + 1] in _JPEG_SEQUENTIAL else len(scans)


def _png(data: memoryview) -> Size | None:
    """ISO/IEC 15948: IHDR is the first chunk."""
    if bytes(data[12:16]) != b"IHDR":
        return None
    width, height = _unpack(">II", data, 16)
    return height, width


def png_chunks(data: memoryview) -> list[tuple[bytes, int, int]] | None:
    """Kind, start and end of each chunk of a PNG, up to IEND; None where one does not lie in data, for whose length a
    decoder might allocate, and of a PNG in more pieces than any encoder makes of it."""
    chunks: list[tuple[bytes, int, int]] = []
    place = len(_PNG_START)
    while place + 12 <= len(data) and len(chunks) < MOST_CHUNKS:
        end = place + 12 + _unpack(">I", data, place)[0]
        if end > len(data):
            return None
        chunks.append((bytes(data[place + 4 : place + 8]), place, end))
        if chunks[-1][0] == b"IEND":
            return chunks
        place = end
    return None


def bare_png(data: Any) -> Any:
    """A PNG without what does not make its pixels, such as texts and profiles, which may unpack to gigabytes, and further
    pictures; anything else, and one that is bare, as it is. data: all its bytes."""
    view = memoryview(data)
    if bytes(view[: len(_PNG_START)]) != _PNG_START:
        return data
    chunks = png_chunks(view) or []
    if all(kind in _PNG_PIXELS for kind, _, _ in chunks):
        return data
    kept = [view[start:end] for kind, start, end in chunks if kind in _PNG_PIXELS]
    return b"".join([_PNG_START, *kept])


def _webp(data: memoryview) -> Size | None:
    """RFC 9649: a lossy, a lossless or an extended file."""
    kind = bytes(data[12:16])
    if kind == b"VP8 ":
        width, height = _unpack("<HH", data, 26)
        return height & 0x3FFF, width & 0x3FFF
    if kind == b"VP8L":
        (bits,) = _unpack("<I", data, 21)
        return (bits >> 14 & 0x3FFF) + 1, (bits & 0x3FFF) + 1
    if kind == b"VP8X":
        width, height = (int.from_bytes(bytes(data[place : place + 3]), "little") + 1 for place in (24, 27))
        return height, width
    return None


def _bmp(data: memoryview) -> Size | None:
    if _unpack("<I", data, 14)[0] == 12:  # OS/2's header
        width, height = _unpack("<HH", data, 18)
    else:
        width, height = _unpack("<ii", data, 18)
    return abs(height), abs(width)


def _tiff(data: memoryview) -> Size | None:
    """TIFF 6.0, section 2: the first directory's entries of 12 bytes."""
    order = "<" if bytes(data[:2]) == b"II" else ">"
    (directory,) = _unpack(f"{order}I", data, 4)
    (count,) = _unpack(f"{order}H", data, directory)
    sides = {}
    for entry in range(directory + 2, directory + 2 + 12 * count, 12):
        tag, kind = _unpack(f"{order}HH", data, entry)
        if tag in (_TIFF_WIDTH, _TIFF_HEIGHT):
            (sides[tag],) = _unpack(f"{order}{'H' if kind == 3 else 'I'}", data, entry + 8)
    return (sides[_TIFF_HEIGHT], sides[_TIFF_WIDTH]) if len(sides) == 2 else None


def _pnm(data: memoryview) -> Size | None:
    """Netpbm: width and height are the second and the third word, after lines of comment."""
    found = _PNM_SIZE.match(data)
    return (int(found[2]), int(found[1])) if found else None


def _unpack(form: str, data: memoryview, place: int) -> tuple[int, ...]:
    return struct.unpack_from(form, data, place)


_FORMATS: tuple[tuple[bytes, int, Callable[[memoryview], Size | None]], ...] = (
    (_JPEG_START, 0, _jpeg),
    (_PNG_START, 0, _png),
    (b"WEBP", 8, _webp),
    (b"BM", 0, _bmp),
    (b"II*\0", 0, _tiff),
    (b"MM\0*", 0, _tiff),
    *((b"P%d" % kind, 0, _pnm) for kind in range(1, 7)),
)
"""What a file of a format begins with, at which byte, and who reads its size."""
