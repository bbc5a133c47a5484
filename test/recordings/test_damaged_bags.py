"""Bags that were cut off, spoilt or never indexed: what can be read is read, the rest is counted."""

from __future__ import annotations

import errno
import os
import re
import sqlite3
import struct
import tempfile
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest
import yaml
from bag_fixtures import IMAGE, PERIOD_NS, START_NS, TYPES1, pictures, write, write_ros1, write_split
from eval_fixtures import label_mask, picture, truncate
from rosbags.highlevel import AnyReader
from rosbags.rosbag1 import Writer as Writer1
from rosbags.rosbag2 import CompressionMode, StoragePlugin

from seg_perception.errors import SegPerceptionError
from seg_perception.recordings import salvage, storage
from seg_perception.recordings.excerpt import Excerpt
from seg_perception.recordings.frames import BagSource
from seg_perception.recordings.open_source import is_bag, open_source
from seg_perception.recordings.salvage import ZSTD_START, unpack_file, zstd
from seg_perception.recordings.sources import LabelFolder

COUNT = 20
PICTURE_BYTES = picture(0).nbytes


def numbers(source: BagSource) -> list[int]:
    """Which pictures came, by their stamps; each is held against what was written."""
    found = []
    for item in source:
        number = (item.frame.stamp_ns - START_NS) // PERIOD_NS
        np.testing.assert_array_equal(item.frame.rgb, picture(number))
        found.append(number)
    return found


@pytest.mark.parametrize("share", [0.3, 0.62, 0.97])
@pytest.mark.parametrize(
    ("storage", "compression"),
    [(StoragePlugin.MCAP, None), (StoragePlugin.MCAP, CompressionMode.MESSAGE), (StoragePlugin.SQLITE3, None)],
)
def test_of_a_bag_that_was_cut_off_the_beginning_is_read_and_the_loss_is_counted(
    tmp_path: Path, storage: StoragePlugin, compression: CompressionMode | None, share: float
) -> None:
    path = write(tmp_path / "bag", pictures(COUNT), storage, compression)
    (file,) = (file for file in path.iterdir() if file.suffix != ".yaml")
    truncate(file, share)
    source = BagSource(path)
    found = numbers(source)
    assert found == list(range(len(found)))
    # a message more or less is due to what else is in the file
    assert abs(len(found) - COUNT * share) < 4
    assert f"of {COUNT} messages {COUNT - len(found)} are lost" in source.problems[0]


def test_of_a_packed_chunk_that_was_cut_off_the_beginning_is_read(tmp_path: Path) -> None:
    path = write(tmp_path / "bag", pictures(COUNT), compression=CompressionMode.STORAGE)
    truncate(path / "bag.mcap", 0.97)
    source = BagSource(path)
    found = numbers(source)
    assert found == list(range(len(found))) and COUNT / 2 < len(found) < COUNT
    assert f"of {COUNT} messages {COUNT - len(found)} are lost" in source.problems[0]


def test_a_ros_1_bag_without_an_index_is_read_from_the_front(tmp_path: Path) -> None:
    for compression in (None, Writer1.CompressionFormat.LZ4):
        path = write_ros1(tmp_path / f"{compression}.bag", pictures(COUNT, types=TYPES1), compression)
        assert numbers(BagSource(path)) == list(range(COUNT))
        data = bytearray(path.read_bytes())
        place = data.index(b"index_pos=") + len(b"index_pos=")
        data[place : place + 8] = bytes(8)  # as while it is being recorded
        path.write_bytes(data)
        source = BagSource(path)
        assert numbers(source) == list(range(COUNT))
        assert f"{COUNT} messages are left" in source.problems[0] and "index" in source.problems[0]
    plain = tmp_path / "None.bag"
    plain.write_bytes(plain.read_bytes()[: plain.stat().st_size // 2])
    found = numbers(BagSource(plain))
    assert found == list(range(len(found))) and COUNT / 3 < len(found) < COUNT


@pytest.mark.parametrize("name", ["drive.bag.active", "drive.mcap", "drive.db3"])
def test_what_a_file_is_stands_in_it(tmp_path: Path, name: str) -> None:
    """ROS 1 calls it `active` while it records, and it stays so where the recorder was killed."""
    path = write_ros1(tmp_path / "drive.bag", pictures(COUNT, types=TYPES1)).rename(tmp_path / name)
    truncate(path, 0.7)
    source = open_source(str(path))
    assert isinstance(source, BagSource)
    found = numbers(source)
    assert found == list(range(len(found))) and COUNT / 2 < len(found) < COUNT
    mcap = (write(tmp_path / "bag", pictures(3)) / "bag.mcap").rename(tmp_path / "other.bag")
    assert numbers(BagSource(mcap)) == [0, 1, 2]


def test_files_that_were_never_indexed_are_whole(tmp_path: Path) -> None:
    mcap = write(tmp_path / "mcap", pictures(COUNT)) / "mcap.mcap"
    data = mcap.read_bytes()
    (summary,) = struct.unpack_from("<Q", data, len(data) - 28)
    footer = b"\x02" + struct.pack("<QQQI", 20, 0, 0, 0) + data[-8:]
    mcap.write_bytes(data[:summary] + footer)
    base = write(tmp_path / "db3", pictures(COUNT), StoragePlugin.SQLITE3) / "db3.db3"
    with sqlite3.connect(base) as connection:
        connection.execute("DROP INDEX timestamp_idx")
    connection.close()
    for file in (mcap, base):
        source = BagSource(file.parent)
        assert numbers(source) == list(range(COUNT))
        assert source.problems == []


def _records(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Of a part of an MCAP file: the type and the whole of each."""
    place = 0
    while place < len(data):
        opcode, length = struct.unpack_from("<BQ", data, place)
        yield opcode, data[place : place + 9 + length]
        place += 9 + length


@pytest.mark.parametrize("excerpt", [Excerpt(), Excerpt(end_s=0.45)])
@pytest.mark.parametrize("in_chunk", [False, True])
@pytest.mark.parametrize("swapped", [False, True])
def test_a_file_without_an_index_is_whole_in_whatever_order_it_was_written(
    tmp_path: Path, swapped: bool, in_chunk: bool, excerpt: Excerpt
) -> None:
    """As rosbag2 writes it with its preset fastwrite: as messages come, while they are recorded as they were received."""
    path = write(tmp_path / "bag", pictures(8)) / "bag.mcap"
    data, records = path.read_bytes(), []
    for opcode, record in _records(data[8:-8]):
        if opcode == 6:
            records += [inner for _, inner in _records(record[9 + 40 :])]
    messages = [record for record in records if record[0] == 5]
    if swapped:
        messages[2], messages[4] = messages[4], messages[2]
    body = b"".join([record for record in records if record[0] != 5] + messages)
    if in_chunk:
        head = struct.pack("<QQQIIQ", START_NS, START_NS + 7 * PERIOD_NS, len(body), 0, 0, len(body))
        body = struct.pack("<BQ", 6, len(head) + len(body)) + head + body
    (start,) = [record for opcode, record in _records(data[8:-8]) if opcode == 1]
    end = struct.pack("<BQI", 15, 4, 0) + struct.pack("<BQQQI", 2, 20, 0, 0, 0)
    file = tmp_path / "fast.mcap"
    file.write_bytes(data[:8] + start + body + end + data[:8])
    source = BagSource(file, excerpt=excerpt)
    found = numbers(source)
    expected = [0, 1, 4, 3, 2, 5, 6, 7] if swapped else [*range(8)]
    assert sorted(found) == [number for number in range(8) if number < excerpt.end_s * 10]
    assert in_chunk or found == [number for number in expected if number in found]
    assert source.problems == []


def test_a_spoilt_chunk_costs_its_own_messages_only(tmp_path: Path) -> None:
    count = 2 * (1 << 20) // PICTURE_BYTES + 30  # more than two chunks
    path = write(tmp_path / "bag", pictures(count), compression=CompressionMode.STORAGE)
    file = path / "bag.mcap"
    data = bytearray(file.read_bytes())
    second = data.index(ZSTD_START, data.index(ZSTD_START) + 1)
    data[second : second + 4] = b"\xff" * 4
    file.write_bytes(data)
    source = BagSource(path)
    found = numbers(source)
    assert found[0] == 0 and found[-1] == count - 1
    lost = count - len(found)
    assert 0 < lost <= (1 << 20) // PICTURE_BYTES + 2
    assert f"{lost} messages are lost" in source.problems[0]
    assert "damaged chunk" in source.problems[1]


@pytest.mark.parametrize("has_index", [True, False])
def test_a_spoilt_page_of_sqlite_costs_the_messages_in_it_only(tmp_path: Path, has_index: bool) -> None:
    path = write(tmp_path / "bag", pictures(COUNT), StoragePlugin.SQLITE3)
    file, page = path / "bag.db3", 4096
    data = bytearray(file.read_bytes())
    starts = range(page, len(data), page)
    leaves = [at for at in starts if data[at] == 0x0D and b"front_optical" in data[at : at + page]]
    assert len(leaves) > 2
    data[leaves[1]] = 0xFF
    file.write_bytes(data)
    if not has_index:
        (path / "metadata.yaml").unlink()
    source = BagSource(path)
    found = numbers(source)
    assert {0, 1, COUNT - 2, COUNT - 1} <= set(found) and COUNT / 2 < len(found) < COUNT
    lost = COUNT - len(found)
    assert any(f"of {COUNT} messages {lost} are lost" in problem for problem in source.problems) == has_index
    assert any(f"bag.db3: {lost} messages cannot be read" in problem for problem in source.problems)


def test_an_sqlite_file_that_lies_of_its_rows_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each that it might have was tried: where the number of the last is spoilt, they are as many as there are numbers."""

    class Spoilt:
        def execute(self, query: str, _: tuple[int, ...] = ()) -> Any:
            if "max(rowid)" not in query:
                raise sqlite3.DatabaseError("malformed")
            return SimpleNamespace(fetchone=lambda: (2**50,))

    monkeypatch.setattr(salvage, "MOST_SKIPPED", 50)
    with pytest.raises(sqlite3.DatabaseError, match="malformed"):
        list(salvage._sqlite_rows(Spoilt(), Path("a.db3"), []))  # type: ignore[arg-type]


def test_a_split_bag_whose_recorder_died_is_read_file_by_file(tmp_path: Path) -> None:
    path = write_split(tmp_path / "drive", [pictures(COUNT), pictures(COUNT, first=COUNT)])
    whole = BagSource(path)
    assert (whole.total, numbers(whole), whole.problems) == (2 * COUNT, list(range(2 * COUNT)), [])
    (path / "metadata.yaml").unlink()  # it is written when the recorder ends
    assert numbers(BagSource(path)) == list(range(2 * COUNT))
    truncate(path / "drive_1.mcap", 0.5)
    source = BagSource(path)
    found = numbers(source)
    assert found == list(range(len(found))) and 1.3 * COUNT < len(found) < 1.7 * COUNT
    assert f"{len(found)} messages are left" in source.problems[0]


def test_of_a_compressed_file_that_was_cut_off_the_beginning_is_read(tmp_path: Path) -> None:
    count = 4 * (1 << 20) // PICTURE_BYTES
    path = write(tmp_path / "bag", pictures(count), compression=CompressionMode.FILE)
    (file,) = path.glob("*.zstd")
    assert numbers(BagSource(path)) == list(range(count))
    truncate(file, 0.8)
    source = BagSource(path)
    found = numbers(source)
    assert found == list(range(len(found))) and count / 2 < len(found) < count
    assert f"of {count} messages {count - len(found)} are lost" in source.problems[0]


def test_a_compressed_bag_is_unpacked_once_as_long_as_somebody_keeps_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its images, labels and calibration are read each on their way; it was unpacked up to six times, and lay there thrice."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    unpacked: list[Path] = []
    monkeypatch.setattr(
        storage, "unpack_file", lambda packed, plain: (unpacked.append(plain), unpack_file(packed, plain))
    )
    path = write(tmp_path / "bag", pictures(3), compression=CompressionMode.FILE)
    (tmp_path / "labels").mkdir()
    cv2.imwrite(str(tmp_path / "labels" / "0.png"), label_mask(0))
    source = BagSource(path, labels=LabelFolder(tmp_path / "labels"))
    for _ in range(2):
        assert numbers(source) == [0, 1, 2] and source.problems == []
    (plain,) = unpacked
    assert plain.is_file()
    del source
    assert not plain.parent.exists()
    assert numbers(BagSource(path)) == [0, 1, 2] and len(unpacked) == 2
    source = BagSource(path)
    other = write(tmp_path / "other", pictures(2), compression=CompressionMode.FILE)
    (other / "other.mcap.zstd").replace(path / "bag.mcap.zstd")
    assert numbers(BagSource(path)) == [0, 1] and numbers(source) == [0, 1] and len(unpacked) == 4


def test_a_disk_that_takes_no_unpacked_bag_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(packed: Path, plain: Path) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(storage, "unpack_file", full)
    path = write(tmp_path / "bag", pictures(3), compression=CompressionMode.FILE)
    with pytest.raises(SegPerceptionError, match=r"cannot be unpacked to .* \(No space left on device\): .*TMPDIR"):
        BagSource(path)
    assert not list(tmp_path.glob("seg_perception.*"))


def test_what_was_unpacked_by_hand_beside_its_compressed_file_comes_once(tmp_path: Path) -> None:
    path = write(tmp_path / "bag", pictures(3), compression=CompressionMode.FILE)
    (file,) = path.glob("*.zstd")
    unpack_file(file, path / "bag.mcap")
    assert numbers(BagSource(path)) == [0, 1, 2]
    (path / "metadata.yaml").unlink()
    source = BagSource(path)
    assert numbers(source) == [0, 1, 2] and source.problems == []


def test_a_split_bag_whose_last_file_was_not_compressed_any_more_is_whole(tmp_path: Path) -> None:
    path = write_split(tmp_path / "drive", [pictures(COUNT), pictures(COUNT, first=COUNT)])
    (path / "drive_0.mcap.zstd").write_bytes(zstd.compress((path / "drive_0.mcap").read_bytes()))
    (path / "drive_0.mcap").unlink()
    told = yaml.safe_load((path / "metadata.yaml").read_text())["rosbag2_bagfile_information"]
    told |= {"compression_mode": "FILE", "compression_format": "zstd"}
    told["relative_file_paths"][0] += ".zstd"
    (path / "metadata.yaml").write_text(yaml.safe_dump({"rosbag2_bagfile_information": told}))
    source = BagSource(path)
    assert numbers(source) == [*range(2 * COUNT)] and source.problems == []


def test_a_compressed_file_is_a_bag_without_metadata_too_and_what_a_mac_brings_beside_it_is_none(
    tmp_path: Path,
) -> None:
    path = write(tmp_path / "bag", pictures(3), compression=CompressionMode.FILE)
    (path / "metadata.yaml").unlink()
    (file,) = path.glob("*.zstd")
    (path / "._bag.mcap").write_bytes(b"\0\5\x16\7")
    (tmp_path / "mac").mkdir()
    (tmp_path / "mac" / "._bag.mcap").write_bytes(b"\0\5\x16\7")
    for one in (path, file):
        source = open_source(str(one))
        assert isinstance(source, BagSource) and numbers(source) == [0, 1, 2]
        (problem,) = source.problems
        assert problem.endswith("3 messages are left")
    assert not is_bag(tmp_path / "mac") and not is_bag(tmp_path / "pictures.zstd")


@pytest.mark.parametrize("storage", [StoragePlugin.MCAP, StoragePlugin.SQLITE3])
@pytest.mark.parametrize("is_cut", [False, True])
def test_compressed_messages_are_read_without_the_metadata_that_says_so(
    tmp_path: Path, storage: StoragePlugin, is_cut: bool
) -> None:
    """As a recorder that was killed leaves them; one of them is spoilt besides, which costs that one."""
    path = write(tmp_path / "bag", pictures(COUNT), storage, CompressionMode.MESSAGE)
    (path / "metadata.yaml").unlink()
    (file,) = path.iterdir()
    data = bytearray(file.read_bytes())
    third = [found.start() for found in re.finditer(re.escape(ZSTD_START), data)][3]
    data[third + 4 : third + 8] = b"\xff" * 4
    file.write_bytes(data[: len(data) * 3 // 4] if is_cut else data)
    source = BagSource(path)
    found = numbers(source)
    assert found == [number for number in range(found[-1] + 1) if number != 3]
    assert len(found) > COUNT / 2 if is_cut else len(found) == COUNT - 1
    assert "at 1300000000 ns: the message is no sensor_msgs/msg/Image" in source.problems[-1]


@pytest.mark.parametrize("ending", ["mcap", "bag"])
def test_what_is_spoilt_within_a_chunk_is_told_where_nothing_else_tells_it(tmp_path: Path, ending: str) -> None:
    """The file has no index besides, and so no number of messages."""
    if ending == "bag":
        file = write_ros1(tmp_path / "drive.bag", pictures(COUNT, types=TYPES1))
        data = bytearray(file.read_bytes())
        place = data.index(b"index_pos=") + len(b"index_pos=")
        data[place : place + 8] = bytes(8)
    else:
        file = write(tmp_path / "bag", pictures(COUNT)) / "bag.mcap"
        data = bytearray(file.read_bytes()[:-40])
    middle = file.stat().st_size // 3
    data[middle : middle + 2 * PICTURE_BYTES] = b"\xff" * 2 * PICTURE_BYTES
    file.write_bytes(data)
    source = BagSource(file)
    assert 0 < len(list(source)) < COUNT / 2
    assert any(re.search("has a damaged chunk: .* bytes are lost", problem) for problem in source.problems)


def test_an_excerpt_of_a_spoilt_bag_has_not_lost_what_comes_after_it(tmp_path: Path) -> None:
    path = write(tmp_path / "bag", pictures(COUNT))
    data = bytearray((path / "bag.mcap").read_bytes())
    middle = len(data) // 3
    data[middle : middle + 3000] = bytes(byte ^ 0xFF for byte in data[middle : middle + 3000])
    (path / "bag.mcap").write_bytes(data)
    for excerpt, lost in ((Excerpt(), r"\d+"), (Excerpt(end_s=COUNT / 2 * PERIOD_NS / 1e9), "some")):
        source = BagSource(path, excerpt=excerpt)
        assert 0 < len(list(source)) < COUNT / 2
        assert re.search(f": {lost} messages are lost", source.problems[0])


def test_a_message_that_makes_no_sense_is_left_out(tmp_path: Path) -> None:
    base = write(tmp_path / "bag", pictures(5), StoragePlugin.SQLITE3) / "bag.db3"
    with sqlite3.connect(base) as connection:
        connection.execute("UPDATE messages SET data = x'00010000ffff' WHERE id IN (2, 3)")
    connection.close()
    source = BagSource(base.parent)
    assert numbers(source) == [0, 3, 4]
    (problem,) = source.problems
    assert re.search(rf"/front/image_raw at {START_NS + PERIOD_NS} ns: .*no {IMAGE}.*and 1 more like it", problem)


@pytest.mark.parametrize("ending", ["mcap", "db3", "bag"])
@pytest.mark.parametrize("data", [b"", b"nothing that a recorder writes" * 50])
def test_where_nothing_can_be_read_it_is_one_sentence(tmp_path: Path, ending: str, data: bytes) -> None:
    path = tmp_path / f"drive.{ending}"
    path.write_bytes(data)
    with pytest.raises(SegPerceptionError) as caught:
        BagSource(path)
    assert "\n" not in str(caught.value) and str(path) in str(caught.value)


@pytest.mark.parametrize("column", ["data = 1.5", "data = 'text'", "timestamp = 'never'", "timestamp = x'00'"])
def test_a_message_of_sqlite_without_time_or_bytes_is_lost_alone(tmp_path: Path, column: str) -> None:
    path = write(tmp_path / "bag", pictures(5), StoragePlugin.SQLITE3)
    with sqlite3.connect(path / "bag.db3") as base:
        base.execute(f"UPDATE messages SET {column} WHERE rowid = 3")
    source = BagSource(path)
    assert set(numbers(source)) <= {0, 1, 3, 4} and source.problems


def test_nothing_comes_twice_where_a_bag_breaks_off_at_such_a_message(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path / "bag", pictures(5))
    whole = AnyReader.messages

    def broken(reader: AnyReader, *given: Any, **named: Any) -> Iterator[Any]:
        first, second, third = islice(whole(reader, *given, **named), 3)
        yield from (first, second, (third[0], third[1], 1.5))
        raise ValueError("a page is damaged")

    monkeypatch.setattr(AnyReader, "messages", broken)
    source = BagSource(path)
    assert numbers(source) == [*range(5)]


def _spoilt(file: Path, *changes: tuple[bytes, int, bytes]) -> Path:
    """A storage file without its last 40 bytes, so that rosbags refuses it, and with the bytes at an offset from where others
    are found first put in place."""
    data = bytearray(file.read_bytes()[:-40])
    for known, offset, put in changes:
        place = data.index(known) + offset
        data[place : place + len(put)] = put
    file.write_bytes(data)
    return file


def test_a_record_of_mcap_that_leads_beyond_its_end_is_no_record(tmp_path: Path) -> None:
    path = write(tmp_path / "bag", pictures(5))
    _spoilt(path / "bag.mcap", (IMAGE.encode(), -4, b"\xff\xff\xff\x7f"))
    with pytest.raises(SegPerceptionError, match=re.escape(str(path))):
        BagSource(path)


def test_a_bags_own_definition_of_what_every_store_knows_is_not_taken(tmp_path: Path) -> None:
    path = write(tmp_path / "bag", pictures(5))
    _spoilt(path / "bag.mcap", (b"int32 sec\nuint32 nanosec", 0, b"int16 sec\nuint32 nanosec"))
    assert numbers(BagSource(path)) == [*range(5)]


@pytest.mark.parametrize(
    ("known", "offset", "put"), [(b"time=", 0, b"tome="), (b"type=", 5, b"\xe4\xff"), (b"conn=", 0, b"cann=")]
)
def test_a_record_of_ros_1_that_lacks_something_is_no_record(
    tmp_path: Path, known: bytes, offset: int, put: bytes
) -> None:
    file = write_ros1(tmp_path / "drive.bag", pictures(5, types=TYPES1))
    _spoilt(file, (known, offset, put))
    try:
        assert set(numbers(BagSource(file))) <= {*range(5)}
    except SegPerceptionError as error:
        assert str(file) in str(error)


@pytest.mark.parametrize("ending", ["mcap", "db3", "bag"])
def test_whatever_byte_is_spoilt_nothing_but_the_own_error_comes_out(tmp_path: Path, ending: str) -> None:
    if ending == "bag":
        file = write_ros1(tmp_path / "drive.bag", pictures(3, types=TYPES1))
    else:
        storage = StoragePlugin.MCAP if ending == "mcap" else StoragePlugin.SQLITE3
        file = write(tmp_path / "drive", pictures(3), storage) / f"drive.{ending}"
    data = file.read_bytes()
    # a definition that is spoilt and still makes sense would be another message
    defined = data.index(b"std_msgs/Header header")
    generator = np.random.default_rng(0)
    for _ in range(25):
        spoilt = bytearray(data[: generator.integers(1, len(data))] if generator.random() < 0.5 else data)
        for place in generator.integers(0, len(spoilt), 4):
            if not defined - 100 < place < defined + 3000:
                spoilt[place] = generator.integers(0, 256)
        file.write_bytes(spoilt)
        try:
            found = list(BagSource(file))
        except SegPerceptionError as error:
            assert "\n" not in str(error)
        else:
            assert len(found) <= 3
