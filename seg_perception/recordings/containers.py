"""Whether a video file is whole, by what its container says of itself: decoders take the end of a file for the end of the
video, and some the first frame that they cannot decode."""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

MP4_BOXES = (b"ftyp", b"moov", b"mdat", b"free", b"wide", b"skip")
EBML, SEGMENT, CLUSTER = b"\x1a\x45\xdf\xa3", b"\x18\x53\x80\x67", b"\x1f\x43\xb6\x75"
TS_SYNC, TS_PACKETS = b"\x47", {0: 188, 4: 192}
"""Bytes of a packet by where the first one's sync byte is: plain, and with the time code of Blu-ray."""


def missing_bytes(path: Path) -> int:
    """How many bytes a video file lacks, 0 where it is whole or of a kind that does not tell."""
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(12)
        if head[:4] == b"RIFF":
            return max(0, 8 + int.from_bytes(head[4:8], "little") - size)
        if head[:4] == EBML:
            return _walk_matroska(file, size)[0]
        if head[4:8] in MP4_BOXES:
            return _missing_of_mp4(file, size)
        return _missing_of_ts(file, size)


def is_broken(path: Path) -> bool:
    """Whether the parts of a Matroska file do not follow each other: readers look for the next one and say nothing."""
    with path.open("rb") as file:
        return file.read(4) == EBML and _walk_matroska(file, path.stat().st_size, deep=True)[1]


def _missing_of_mp4(file: BinaryIO, size: int) -> int:
    """After ISO/IEC 14496-12 (MP4, MOV): the file is a row of boxes."""
    place = 0
    while place + 8 <= size:
        file.seek(place)
        head = file.read(16)
        length = int.from_bytes(head[:4], "big")
        if length == 1:
            length = int.from_bytes(head[8:16], "big")
        if length < 8:  # 0: to the end
            return 0
        place += length
    return max(0, place - size)


def _walk_matroska(file: BinaryIO, size: int, deep: bool = False) -> tuple[int, bool]:
    """How many bytes are missing, and whether there is something else amid the elements, looked at one by one if deep.
    After RFC 8794 (Matroska, WebM): a recorder that was killed, or that writes to a stream, leaves the lengths of the
    outer ones open; their parts tell."""
    place, end, last = 0, 0, size
    while place < min(size, last):
        file.seek(place)
        kind, length = _element(file)
        inside = kind in (SEGMENT, CLUSTER) and (deep or length is None)
        if kind == SEGMENT and length is not None:
            last = file.tell() + length  # some pad the file
        if length is None and not inside:
            return 0, True
        end = max(end, file.tell() + (length or 0))
        place = file.tell() + (0 if inside else length or 0)
    return max(0, end - size), False


def _element(file: BinaryIO) -> tuple[bytes, int | None]:
    """Its kind, and how long what follows is; None: that is open, or this is no head of an element."""
    first = file.read(1)
    if not first or not first[0]:
        return first, None
    kind = first + file.read(8 - first[0].bit_length())
    first = file.read(1)
    if not first or not first[0]:
        return kind, None
    more = 8 - first[0].bit_length()
    number = int.from_bytes(bytes([first[0] - (1 << (7 - more))]) + file.read(more), "big")
    return kind, None if number == (1 << 7 * (more + 1)) - 1 else number


def _missing_of_ts(file: BinaryIO, size: int) -> int:
    """After ISO/IEC 13818-1 (MPEG-TS): packets of one length. One that was cut off between two of them is a whole one."""
    file.seek(0)
    head = file.read(2 * max(TS_PACKETS.values()) + 8)
    for first, length in TS_PACKETS.items():
        if [head[place : place + 1] for place in (first, first + length, first + 2 * length)] == [TS_SYNC] * 3:
            return -size % length
    return 0
