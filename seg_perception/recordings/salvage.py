"""The messages of damaged or unindexed storage files: read from the front, without an index, over what makes no sense.

After the MCAP specification (version 0), the rosbag format 2.0 of ROS 1 and the tables of rosbag2's sqlite3 storage.
"""

from __future__ import annotations

import bz2
import shutil
import sqlite3
import struct
import sys
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, suppress
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import lz4.frame  # type: ignore[import-untyped]

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

ZSTD_START = b"\x28\xb5\x2f\xfd"
_MCAP_START, _ROS1_START, _SQLITE_START = b"\x89MCAP0\r\n", b"#ROSBAG V2.0\n", b"SQLite format 3\0"
_SCHEMA, _CHANNEL, _MESSAGE, _CHUNK, _DATA_END, _LAST_OPCODE = 3, 4, 5, 6, 15, 15
_ROS1_MESSAGE, _ROS1_CHUNK, _ROS1_CONNECTION = 2, 5, 7
_LONGEST_HEADER = 1 << 20
"""Header of a ROS 1 record in bytes; no more than the definition of a large message."""
MOST_SKIPPED = 10_000
"""Rows of an sqlite3 file in turn that are tried one by one: a page holds hundreds, and the number of the last may be spoilt."""


class RawMessage(NamedTuple):
    """A message as it is stored. kind: its type as rosbags names it; definition: (`msg` or `idl`, text), empty text where
    the file tells none; time_ns: of recording; ros1: how data is serialised."""

    topic: str
    kind: str
    definition: tuple[str, str]
    time_ns: int
    data: bytes
    ros1: bool = False


def unpack_file(packed: Path, plain: Path) -> None:
    """Decompress a Zstandard file; of one that was cut off or is damaged what comes before that."""
    with packed.open("rb") as source, zstd.open(source, "rb") as content, plain.open("wb") as out:
        try:
            shutil.copyfileobj(content, out)
        except (EOFError, zstd.ZstdError):
            return  # the storage file inside tells what it lacks


def unpacked_message(data: bytes) -> bytes:
    """A message of ROS 2, decompressed where it is Zstandard: bags whose messages are say so in their metadata alone, and
    nothing else starts so. Nothing of one that is damaged, for whose reader that makes no sense."""
    if data[:4] != ZSTD_START:
        return data
    try:
        return zstd.decompress(data)
    except zstd.ZstdError:
        return b""


def scan(path: Path, loss: list[str]) -> Iterator[RawMessage]:
    """What can be read of one storage file, in the order in which it lies there; loss takes a sentence for each part that cannot,
    with its size. Its first bytes say what it is, and its name where they are spoilt."""
    for message in _scanner(path)(path, loss):
        yield message if message.ros1 else message._replace(data=unpacked_message(message.data))


def _scanner(path: Path) -> Callable[[Path, list[str]], Iterator[RawMessage]]:
    with path.open("rb") as file:
        head = file.read(16)
    for start, scanner in {_MCAP_START: _scan_mcap, _SQLITE_START: _scan_sqlite, _ROS1_START: _scan_ros1}.items():
        if head.startswith(start):
            return scanner
    return {".db3": _scan_sqlite, ".bag": _scan_ros1, ".active": _scan_ros1}.get(path.suffix, _scan_mcap)


def _scan_mcap(path: Path, loss: list[str]) -> Iterator[RawMessage]:
    with path.open("rb") as file:
        size = file.seek(0, 2)
        file.seek(0)
        if file.read(len(_MCAP_START)) != _MCAP_START:
            loss.append(f"{path} is no MCAP file: all its {size} bytes are lost")
            return
        schemas: dict[int, tuple[str, tuple[str, str]]] = {}
        channels: dict[int, tuple[str, str, tuple[str, str]]] = {}
        while (start := file.tell()) < size:
            opcode, length = struct.unpack("<BQ", file.read(9).ljust(9, b"\0"))
            if opcode == _DATA_END:
                return
            left = size - start - 9
            if left < 0 or not 0 < opcode <= _LAST_OPCODE or (length > left and opcode != _CHUNK):
                loss.append(f"{path} cannot be read from byte {start} on: {size - start} of {size} bytes are lost")
                return
            body = file.read(min(length, left))
            if length > left:
                loss.append(f"{path} ends within a chunk: up to {length - left} bytes are missing")
            if opcode == _CHUNK:
                data, lost = _chunk(body, path, loss), list[str]()
                yield from sorted(_records(data, schemas, channels, path, lost), key=lambda message: message.time_ns)
                loss += lost if length <= left else []  # that it was cut off is told
            else:
                yield from _record(opcode, body, schemas, channels)


def _chunk(body: bytes, path: Path, loss: list[str]) -> bytes:
    """The records of a chunk, as many as can be unpacked."""
    try:
        _, _, size, checksum, name_length = struct.unpack_from("<QQQII", body)
        compression = body[32 : 32 + name_length].decode()
        data = body[40 + name_length :]
        unpacked = _unpack(compression, data)
    except (struct.error, ValueError, EOFError, OSError, RuntimeError, zstd.ZstdError) as error:
        loss.append(f"{path} has a damaged chunk ({error or type(error).__name__}): its {len(body)} bytes are lost")
        return b""
    if len(unpacked) == size and checksum and zlib.crc32(unpacked) != checksum:
        loss.append(f"{path} has a chunk with a wrong checksum: its {len(body)} bytes are lost")
        return b""
    return unpacked


def _unpack(compression: str, data: bytes) -> bytes:
    """Of data that was cut off what comes before the cut; raises what the decompressors raise."""
    if compression in ("", "none"):
        return data
    if compression == "zstd":
        return bytes(zstd.ZstdDecompressor().decompress(data))
    if compression == "lz4":
        return bytes(lz4.frame.LZ4FrameDecompressor().decompress(data))
    if compression == "bz2":
        return bz2.BZ2Decompressor().decompress(data)
    raise ValueError(f"compression '{compression}' is unknown")


def _records(
    data: bytes,
    schemas: dict[int, tuple[str, tuple[str, str]]],
    channels: dict[int, tuple[str, str, tuple[str, str]]],
    path: Path,
    loss: list[str],
) -> Iterator[RawMessage]:
    """Of a chunk."""
    start = 0
    while start + 9 <= len(data):
        opcode, length = struct.unpack_from("<BQ", data, start)
        start += 9
        if start + length > len(data):
            loss.append(f"{path} has a damaged chunk: {len(data) - start} of its {len(data)} bytes are lost")
            return
        yield from _record(opcode, data[start : start + length], schemas, channels)
        start += length


def _record(
    opcode: int,
    body: bytes,
    schemas: dict[int, tuple[str, tuple[str, str]]],
    channels: dict[int, tuple[str, str, tuple[str, str]]],
) -> Iterator[RawMessage]:
    """Note a record, or give its message; nothing of one whose lengths lead beyond its end: the messages of a channel that is not
    known are counted as lost."""
    with suppress(struct.error, IndexError):
        if opcode == _SCHEMA:
            name, encoding, text = _strings(body, 2, 3)
            schemas[body[0] | body[1] << 8] = name, ("idl" if "idl" in encoding else "msg", text)
        elif opcode == _CHANNEL:
            number, schema = struct.unpack_from("<HH", body)
            if schema in schemas:
                channels[number] = (_strings(body, 4, 1)[0], *schemas[schema])
        elif opcode == _MESSAGE and len(body) >= 22:
            number, _, time_ns = struct.unpack_from("<HIQ", body)
            if number in channels:
                topic, kind, definition = channels[number]
                yield RawMessage(topic, kind, definition, time_ns, body[22:])


def _strings(body: bytes, start: int, count: int) -> list[str]:
    found = []
    for _ in range(count):
        (length,) = struct.unpack_from("<I", body, start)
        found.append(body[start + 4 : start + 4 + length].decode(errors="replace"))
        start += 4 + length
    return found


def _scan_sqlite(path: Path, loss: list[str]) -> Iterator[RawMessage]:
    with path.open("rb") as file:
        head = file.read(100)
    size = path.stat().st_size
    if head.startswith(_SQLITE_START) and len(head) == 100:
        page, pages = int.from_bytes(head[16:18], "big"), int.from_bytes(head[28:32], "big")
        whole = (65536 if page == 1 else page) * pages
        if whole > size:
            loss.append(f"{path} ends after {size} of {whole} bytes")
    try:
        with closing(sqlite3.connect(f"{path.resolve().as_uri()}?immutable=1", uri=True)) as base:
            base.text_factory = lambda data: data.decode(errors="replace")
            # else SQLite refuses a file that is shorter than its header says
            base.execute("PRAGMA writable_schema = ON")
            topics = {
                number: (str(name), str(kind))
                for number, name, kind in base.execute("SELECT id, name, type FROM topics")
            }
            texts = _definitions(base)
            for number, time_ns, data in _sqlite_rows(base, path, loss):
                if number in topics and isinstance(data, bytes) and isinstance(time_ns, int):
                    name, kind = topics[number]
                    yield RawMessage(name, kind, texts.get(kind, ("msg", "")), time_ns, data)
    except sqlite3.Error as error:
        loss.append(f"{path} cannot be read to its end ({error})")


def _sqlite_rows(base: sqlite3.Connection, path: Path, loss: list[str]) -> Iterator[tuple[Any, Any, Any]]:
    """Topic, time and data of each message, in the order of writing: the index by time may be among what is lost. A row that
    cannot be read costs no other; raises sqlite3.Error where the last one cannot, as in a file that was cut off, and behind
    MOST_SKIPPED in turn."""
    query = "SELECT rowid, topic_id, timestamp, data FROM messages NOT INDEXED WHERE rowid > ?"
    row, read, lost, why = 0, 0, 0, ""
    while True:
        try:
            for found in base.execute(query, (row,)):
                row = read = found[0]
                yield found[1:]
            break
        except sqlite3.Error as error:
            (last,) = base.execute("SELECT max(rowid) FROM messages NOT INDEXED").fetchone()
            if row >= last:
                break
            if row - read >= MOST_SKIPPED:
                raise
            row, lost, why = row + 1, lost + 1, str(error)
    if lost:
        loss.append(f"{path}: {lost} messages cannot be read ({why})")


def _definitions(base: sqlite3.Connection) -> dict[str, tuple[str, str]]:
    """Of message types by name; older bags have none."""
    if not base.execute("SELECT name FROM sqlite_master WHERE name = 'message_definitions'").fetchone():
        return {}
    rows = base.execute("SELECT topic_type, encoding, encoded_message_definition FROM message_definitions")
    return {kind: ("idl" if "idl" in str(encoding) else "msg", str(text)) for kind, encoding, text in rows}


def _scan_ros1(path: Path, loss: list[str]) -> Iterator[RawMessage]:
    connections: dict[bytes, tuple[str, str, tuple[str, str]]] = {}
    with path.open("rb") as file:
        size = file.seek(0, 2)
        file.seek(0)
        if file.read(len(_ROS1_START)) != _ROS1_START:
            loss.append(f"{path} is no ROS 1 bag: all its {size} bytes are lost")
            return
        while (start := file.tell()) < size:
            fields, length = _ros1_head(file)
            left = size - file.tell()
            if left < 0 or not fields or (length > left and fields.get("op") != bytes([_ROS1_CHUNK])):
                loss.append(f"{path} cannot be read from byte {start} on: {size - start} of {size} bytes are lost")
                return
            data = file.read(min(length, left))
            if length > left:
                loss.append(f"{path} ends within a chunk: {length - left} bytes are missing")
            if fields["op"] != bytes([_ROS1_CHUNK]):
                yield from _ros1_record(fields, data, connections)
                continue
            try:
                data = _unpack(fields["compression"].decode(), data)
            except (KeyError, ValueError, EOFError, OSError, RuntimeError) as error:
                loss.append(f"{path} has a damaged chunk ({error}): its {len(data)} bytes are lost")
                continue
            lost: list[str] = []
            yield from _ros1_records(data, connections, path, lost)
            loss += lost if length <= left else []  # that it was cut off is told


def _ros1_records(
    data: bytes, connections: dict[bytes, tuple[str, str, tuple[str, str]]], path: Path, loss: list[str]
) -> Iterator[RawMessage]:
    """Of a chunk."""
    file = BytesIO(data)
    while (start := file.tell()) < len(data):
        fields, length = _ros1_head(file)
        if not fields or file.tell() + length > len(data):
            loss.append(f"{path} has a damaged chunk: {len(data) - start} of its {len(data)} bytes are lost")
            return
        yield from _ros1_record(fields, file.read(length), connections)


def _ros1_head(file: BinaryIO) -> tuple[Mapping[str, bytes], int]:
    """Fields of the next record's header and the length of its data; no fields where they make no sense."""
    length = int.from_bytes(file.read(4), "little")
    header = file.read(min(length, _LONGEST_HEADER))
    fields = _ros1_fields(header)
    return (fields if len(header) == length and "op" in fields else {}), int.from_bytes(file.read(4), "little")


def _ros1_fields(header: bytes) -> dict[str, bytes]:
    fields, start = {}, 0
    while start + 4 <= len(header):
        length = int.from_bytes(header[start : start + 4], "little")
        name, _, value = header[start + 4 : start + 4 + length].partition(b"=")
        fields[name.decode(errors="replace")] = value
        start += 4 + length
    return fields


def _ros1_record(
    fields: Mapping[str, bytes], data: bytes, connections: dict[bytes, tuple[str, str, tuple[str, str]]]
) -> Iterator[RawMessage]:
    if fields["op"] == bytes([_ROS1_CONNECTION]) and {"conn", "topic"} <= fields.keys():
        told: dict[str, Any] = _ros1_fields(data)
        if {"type", "message_definition"} <= told.keys():
            package, _, name = told["type"].decode(errors="replace").partition("/")
            text = told["message_definition"].decode(errors="replace")
            topic = fields["topic"].decode(errors="replace")
            connections[fields["conn"]] = topic, f"{package}/msg/{name}", ("msg", text)
    elif (
        fields["op"] == bytes([_ROS1_MESSAGE])
        and fields.get("conn") in connections
        and len(fields.get("time", b"")) == 8
    ):
        seconds, nanoseconds = struct.unpack("<II", fields["time"])
        topic, kind, definition = connections[fields["conn"]]
        yield RawMessage(topic, kind, definition, seconds * 10**9 + nanoseconds, data, True)
