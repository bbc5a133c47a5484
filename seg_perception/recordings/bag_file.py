"""An open bag, whole or damaged: its topics and its messages in order of time."""

from __future__ import annotations

import struct
from array import array
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

from rosbags.highlevel import AnyReader
from rosbags.typesys import Stores, get_types_from_idl, get_types_from_msg, get_typestore

from seg_perception.errors import SegPerceptionError, nearest_name
from seg_perception.recordings import salvage
from seg_perception.recordings.salvage import RawMessage
from seg_perception.recordings.storage import Storage
from seg_perception.recordings.video_types import FOXGLOVE, VIDEO_TYPES, video_definitions

STILL_TYPES = ("sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage")
IMAGE_TYPES = (*STILL_TYPES, *VIDEO_TYPES)
INFO_TYPE, TF_TYPE = "sensor_msgs/msg/CameraInfo", "tf2_msgs/msg/TFMessage"
_STAMP_AT, _STAMP_BYTES = 4, 8
"""Where a header's stamp lies in a message: behind CDR's encapsulation, or behind ROS 1's sequence number."""


_WORD = 2**64 - 1
Key = tuple[int, int]
"""Time of recording and stamp of a message in ns: what tells it from the others of its topic."""


class Entry(NamedTuple):
    """A recorded message. time_ns: of recording; read: gives the message, or raises DamagedBagError where its bytes make no
    sense; data: its bytes; ros1: whether ROS 1 packed them; stamp_at: where its stamp begins."""

    topic: str
    time_ns: int
    read: Callable[[], Any]
    data: bytes
    ros1: bool
    stamp_at: int = _STAMP_AT

    @property
    def header_stamp_ns(self) -> int:
        """The stamp in ns of a message that begins with one, by its first bytes alone; 0 where it was never set."""
        if len(self.data) < self.stamp_at + _STAMP_BYTES:
            return 0  # read tells what is wrong
        big = not self.ros1 and not self.data[1] & 1  # the second byte of CDR's encapsulation: 1 is little-endian
        seconds, nanoseconds = struct.unpack_from(">iI" if big else "<iI", self.data, self.stamp_at)
        return int(seconds) * 10**9 + int(nanoseconds)

    @property
    def key(self) -> Key:
        """Of a message that begins with a stamp; where its driver never set it, the time of recording stands for it."""
        return self.time_ns, self.header_stamp_ns or self.time_ns

    @property
    def behind_stamp(self) -> bytes:
        """All that a message that begins with a stamp says beside it, packed."""
        return bytes(self.data[self.stamp_at + _STAMP_BYTES :])


class DamagedBagError(SegPerceptionError):
    """A bag, or a message of one, that cannot be read."""


class Bag:
    """A rosbag2 (a folder, or a storage file of one) or a ROS 1 bag. Its files are read by rosbags; those that it refuses
    are read from the front, as far as they make sense.

    storage: its files; types, counts: type and number of messages by topic; start_ns, end_ns: of recording; damage: what
    cannot be read, one sentence each, more of which may come while messages are read. Raises DamagedBagError where there is no
    message.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.damage: list[str] = []
        self._stack = ExitStack()
        self._reader: AnyReader | None = None
        self._salvage: _Salvage | None = None
        self.storage = Storage(path)
        try:
            types = get_typestore(Stores.LATEST)
            types.register(video_definitions())
            self._reader = AnyReader(self.storage.parts, default_typestore=types)
            self._reader.open()
            self._stack.callback(self._reader.close)
            topics = self._reader.topics
            self.types = {name: str(info.msgtype) for name, info in topics.items()}
            self.counts = {name: int(info.msgcount) for name, info in topics.items()}
            self.start_ns, self.end_ns = int(self._reader.start_time), int(self._reader.end_time)
        except Exception as error:  # whatever rosbags' parsers meet in damaged bytes
            self._open_damaged(_reason(error))

    def _open_damaged(self, reason: str) -> None:
        self._stack.close()
        self._reader, self._salvage = None, _Salvage(self.storage.files)
        self.types, self.counts = self._salvage.types, dict(self._salvage.counts)
        self.start_ns, self.end_ns = self._salvage.start_ns, self._salvage.end_ns
        read, loss = sum(self.counts.values()), self._salvage.loss
        if not read:
            raise DamagedBagError(
                f"the bag {self.path} cannot be read ({reason}) and no message of it either: record or copy it again"
            )
        known = self.storage.told_messages
        lost = f"of {known} messages {known - read} are lost" if known is not None else f"{read} messages are left"
        self.damage += [f"the bag {self.path} is damaged or has no index ({reason}): {lost}", *loss]

    def __enter__(self) -> Bag:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    @property
    def duration_s(self) -> float:
        """Time from the first to the last message in s."""
        return (self.end_ns - self.start_ns) / 1e9

    @property
    def listed(self) -> str:
        """Its topics, for messages."""
        said = {name: kind if self.counts[name] else f"{kind}, no message" for name, kind in self.types.items()}
        return ", ".join(f"{name} ({kind})" for name, kind in sorted(said.items())) or "none at all"

    def require_image(self, topic: str) -> str:
        """The topic; raises SegPerceptionError listing what there is unless images were recorded on it."""
        if topic not in self.types:
            hint = nearest_name(topic, self.types)
            raise SegPerceptionError(f"the bag {self.path} has no topic {topic}, its topics are {self.listed}: {hint}")
        if self.types[topic] not in IMAGE_TYPES:
            raise SegPerceptionError(
                f"the topic {topic} of {self.path} is a {self.types[topic]}, no image: topics are {self.listed}"
            )
        if not self.counts[topic]:
            raise SegPerceptionError(
                f"the topic {topic} of {self.path} has no message, nothing was sent on it: topics are {self.listed}"
            )
        return topic

    def messages(self, topics: Collection[str]) -> Iterator[tuple[str, int, Any]]:
        """(topic, time of recording in ns, message) of these topics, in order of recording; those whose bytes make no
        sense are left out, which `damage` tells."""
        for entry in self.entries(topics):
            try:
                yield entry.topic, entry.time_ns, entry.read()
            except DamagedBagError as error:
                self.damage.append(f"{self.path} {entry.topic} at {entry.time_ns} ns: {error}")

    def entries(self, topics: Collection[str], stop_ns: int | None = None) -> Iterator[Entry]:
        """As messages, up to those recorded at stop_ns, but each is read only when that is asked for."""
        if self._salvage is not None:
            yield from self._salvage.entries(topics, stop_ns)
            return
        assert self._reader is not None
        given, senseless = _Given(), 0
        wanted = [c for c in self._reader.connections if c.topic in topics]
        found = iter(self._reader.messages(wanted, stop=stop_ns)) if wanted else iter(())
        while True:
            try:
                message = next(found, None)
            except Exception as error:  # as above
                reason = _reason(error)
                break
            if message is None:
                return
            connection, time_ns, data = message
            # SQLite keeps what a page says, of whatever kind.
            if not isinstance(time_ns, int) or not isinstance(data, (bytes, memoryview)):
                self.damage.append(f"{self.path} {connection.topic}: a message has no time or no bytes")
                senseless += 1
                continue
            given.add(connection.topic, time_ns)
            if self._reader.is2:
                data = salvage.unpacked_message(data)  # type: ignore[arg-type]  # or a view of them
            parse = self._reader.deserialize
            yield _entry(connection.topic, connection.msgtype, time_ns, data, not self._reader.is2, parse)
        yield from self._rest(topics, stop_ns, given, senseless, reason)

    def _rest(
        self, topics: Collection[str], stop_ns: int | None, given: _Given, senseless: int, reason: str
    ) -> Iterator[Entry]:
        """What rosbags has not given of these topics when it broke off for that reason, as it lies in the files. That it breaks off
        where a file without an index is not in order of time is no damage."""
        assert self._reader is not None
        loss: list[str] = []
        read = len(given) + senseless
        for message in given.others(_scan(self.storage.files, loss)):
            if message.topic in topics and (stop_ns is None or message.time_ns < stop_ns):
                read += 1
                parse = self._reader.deserialize
                yield _entry(message.topic, message.kind, message.time_ns, message.data, message.ros1, parse)
        lost = max(sum(self.counts.get(topic, 0) for topic in topics) - read, 0) if stop_ns is None else 0
        if loss or lost:
            how_many = "some" if stop_ns is not None else lost
            self.damage += [f"the bag {self.path} is damaged ({reason}): {how_many} messages are lost", *loss]


class _Given:
    """Which messages have come on a way through a bag, by topic and time of recording."""

    def __init__(self) -> None:
        self._times_ns: defaultdict[str, array[int]] = defaultdict(lambda: array("Q"))

    def add(self, topic: str, time_ns: int) -> None:
        """One more."""
        self._times_ns[topic].append(time_ns & _WORD)

    def __len__(self) -> int:
        return sum(map(len, self._times_ns.values()))

    def others(self, messages: Iterable[RawMessage]) -> Iterator[RawMessage]:
        """All messages but these."""
        left = Counter((topic, time_ns) for topic, times_ns in self._times_ns.items() for time_ns in times_ns)
        for message in messages:
            key = message.topic, message.time_ns & _WORD
            if left[key]:
                left[key] -= 1
            else:
                yield message


class _Salvage:
    """What can be read of a bag's storage files without rosbags' help; loss: what cannot."""

    def __init__(self, files: Sequence[Path]) -> None:
        self._files = files
        self._types = get_typestore(Stores.EMPTY)
        self.loss: list[str] = []
        self.types: dict[str, str] = {}
        self.counts: Counter[str] = Counter()
        definitions: dict[str, tuple[str, str]] = {}
        self.start_ns, self.end_ns, ros1 = 2**63 - 1, 0, False
        for message in _scan(self._files, self.loss):
            self.types[message.topic] = message.kind
            self.counts[message.topic] += 1
            definitions[message.kind] = message.definition
            ros1 = message.ros1
            self.start_ns, self.end_ns = min(self.start_ns, message.time_ns), max(self.end_ns, message.time_ns)
        self._register(definitions, ros1)

    def _register(self, definitions: dict[str, tuple[str, str]], ros1: bool) -> None:
        """Take the bag's own definitions of its messages; of those that it lacks or that are spoilt, the common ones."""
        own: dict[str, Any] = {}
        whole = all(text for _, text in definitions.values())
        for kind, (form, text) in definitions.items():
            try:
                own.update(get_types_from_idl(text) if form == "idl" else get_types_from_msg(text, kind))
            except Exception:  # as in Bag
                whole = False
        common = {} if whole else get_typestore(Stores.ROS1_NOETIC if ros1 else Stores.LATEST).fielddefs
        found = {**video_definitions(), **own, **common}
        # Every store knows a few from the beginning, and refuses others under their names.
        self._types.register({kind: fields for kind, fields in found.items() if kind not in self._types.fielddefs})

    def entries(self, topics: Collection[str], stop_ns: int | None) -> Iterator[Entry]:
        """As Bag.entries."""
        for message in _scan(self._files, []):
            if message.topic in topics and (stop_ns is None or message.time_ns < stop_ns):
                parse = self._types.deserialize_ros1 if message.ros1 else self._types.deserialize_cdr
                yield _entry(message.topic, message.kind, message.time_ns, message.data, message.ros1, parse)


def _scan(files: Iterable[Path], loss: list[str]) -> Iterator[RawMessage]:
    for file in files:
        yield from salvage.scan(file, loss)


def _entry(topic: str, kind: str, time_ns: int, data: bytes, ros1: bool, parse: Callable[[bytes, str], Any]) -> Entry:
    return Entry(topic, time_ns, _later(parse, data, kind), data, ros1, _stamp_at(kind, ros1))


def _stamp_at(kind: str, ros1: bool) -> int:
    """Foxglove's video begins with a stamp, before which ROS 1 puts nothing."""
    return 0 if ros1 and kind == FOXGLOVE else _STAMP_AT


def _later(parse: Callable[[bytes, str], Any], data: bytes, kind: str) -> Callable[[], Any]:
    def read() -> Any:
        try:
            return parse(data, kind)
        except Exception as error:  # whatever rosbags' parsers meet in damaged bytes
            raise DamagedBagError(f"the message is no {kind} ({_reason(error)})") from error

    return read


def _reason(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__
