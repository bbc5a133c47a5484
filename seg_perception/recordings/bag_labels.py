"""The labels of a bag's images: masks in topics beside them, anywhere in the bag, or files of a folder."""

from __future__ import annotations

import zlib
from abc import ABC, abstractmethod
from collections import Counter, defaultdict, deque
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seg_perception.camera.messages import TRUNCATED, WRONG_ENCODING, BadImageError, check_compressed
from seg_perception.errors import SegPerceptionError
from seg_perception.faults import Faults
from seg_perception.files import decode_mask
from seg_perception.image_limits import UNDECODABLE, bare_png
from seg_perception.labels import VOID
from seg_perception.recordings.bag_file import Bag, Entry, Key
from seg_perception.recordings.excerpt import Excerpt
from seg_perception.recordings.label_matching import half_period_ns, nearest_labels
from seg_perception.recordings.sources import LabelFolder
from seg_perception.results import Truth

LATEST_NS = 2**63 - 1
"""Of a stamp."""


class Headers:
    """What the headers of a bag's images and masks tell: keys, by topic, in the order of recording; start_ns: of the bag;
    damage: of it; unset: how many stamps of a topic were never set."""

    def __init__(self, path: Path, topics: Collection[str]) -> None:
        self.keys: dict[str, list[Key]] = {topic: [] for topic in topics}
        self.unset: Counter[str] = Counter()
        with Bag(path) as bag:
            for entry in bag.entries(topics):
                self.keys[entry.topic].append(entry.key)
                self.unset[entry.topic] += not entry.header_stamp_ns
            self.start_ns, self.damage = bag.start_ns, list(bag.damage)

    def stamps(self, topic: str) -> NDArray[np.int64]:
        """Of a topic, in ns."""
        return np.array([stamp_ns for _, stamp_ns in self.keys[topic]], np.int64)


class BagLabels(ABC):
    """Labels of the images of one topic. damage: of the bag, as its headers were read; problems, notes: what is odd about
    which label belongs to which image; faults: labels that cannot be used."""

    def __init__(self, damage: Sequence[str] = ()) -> None:
        self.damage, self.problems, self.notes = list(damage), list[str](), list[str]()
        self.faults = Faults()

    @abstractmethod
    def take(self, key: Key) -> Truth | None:
        """Labels of the next image of that key, None where it has none that can be used."""


class NoLabels(BagLabels):
    """Of images that have none."""

    def take(self, key: Key) -> None:
        """None."""


class TopicLabels(BagLabels):
    """Masks of a topic, and of another one the objects' numbers.

    images: the image topic; instance: None without one; void: values that mean unlabelled, besides 255; tolerance_ns:
    between the stamps of an image and its mask, None = half the images' usual distance; excerpt: the images to take.
    """

    def __init__(
        self,
        path: Path,
        images: str,
        semantic: str,
        instance: str | None,
        *,
        void: Sequence[int],
        tolerance_ns: int | None,
        excerpt: Excerpt,
    ) -> None:
        topics = [topic for topic in (semantic, instance) if topic]
        headers = Headers(path, [images, *topics])
        super().__init__(headers.damage)
        self._path, self._void, self._semantic, self._instance = path, list(void), semantic, instance
        images_ns, keys = headers.stamps(images), headers.keys[images]
        tolerance_ns = half_period_ns(images_ns) if tolerance_ns is None else tolerance_ns
        places = {topic: nearest_labels(images_ns, headers.stamps(topic), tolerance_ns) for topic in topics}
        for topic in topics:
            window_ns = excerpt.window_ns(headers.start_ns)
            self._tell_match(headers, images, topic, places[topic], tolerance_ns, window_ns)
        chosen = np.flatnonzero(excerpt.choose([time_ns for time_ns, _ in keys], headers.start_ns))
        if instance:
            alone = [k for k in chosen if places[semantic][k] >= 0 and places[instance][k] < 0]
            self._tell_lost_instances([keys[k] for k in alone])
        self._wanted: dict[Key, deque[dict[str, Key]]] = {}
        for k in chosen:
            mine = {topic: headers.keys[topic][places[topic][k]] for topic in topics if places[topic][k] >= 0}
            self._wanted.setdefault(keys[k], deque()).append(mine)
        self._masks = _Masks(path, topics, (mine for all_of_key in self._wanted.values() for mine in all_of_key))

    def _tell_match(
        self,
        headers: Headers,
        images: str,
        topic: str,
        places: NDArray[np.int64],
        tolerance_ns: int,
        window_ns: tuple[float, float],
    ) -> None:
        """Say which masks of a topic belong to no image, and which are not of their image's very stamp."""
        keys, used = headers.keys[topic], set(places.tolist())
        lost = [key for k, key in enumerate(keys) if k not in used and window_ns[0] <= key[0] < window_ns[1]]
        if lost:
            self.problems.append(
                f"{self._path} {topic}: {len(lost)} of its {len(keys)} masks belong to no image, the first has the stamp "
                f"{lost[0][1]} ns: no stamp of {images} that is still free lies within {tolerance_ns / 1e6:g} ms; check "
                "the stamps, or give --label-tolerance"
            )
        matched = places >= 0
        off_ns = np.abs(headers.stamps(images)[matched] - headers.stamps(topic)[places[matched]])
        if headers.unset[images] or headers.unset[topic]:
            self.notes.append(
                f"{topic}: stamps of 0 were never set; such images and masks go by their time of recording"
            )
        elif off_ns.any():
            self.notes.append(
                f"{topic}: {np.count_nonzero(off_ns)} masks are not of their image's very stamp, they are off by up to "
                f"{off_ns.max() / 1e6:g} ms"
            )

    def _tell_lost_instances(self, alone: Sequence[Key]) -> None:
        if alone:
            self.problems.append(
                f"{self._path} {self._instance}: {len(alone)} labelled images have no mask there, the first has the stamp "
                f"{alone[0][1]} ns: they count for neither PQ nor AP"
            )

    def take(self, key: Key) -> Truth | None:
        """See BagLabels."""
        wanted = self._wanted.get(key)
        mine = wanted.popleft() if wanted else {}
        found = {topic: self._mask(topic, mask_key) for topic, mask_key in mine.items()}
        semantic = found.get(self._semantic)
        instance = found.get(self._instance) if self._instance else None
        if semantic is None:
            return None
        where = f"{self._path} {self._semantic} at {mine[self._semantic][1]} ns"
        if semantic.dtype != np.uint8:
            self.faults.add(where, "labels have 16 bits: class ids of 8 are needed")
            return None
        semantic[np.isin(semantic, self._void)] = VOID
        try:
            return Truth(semantic, instance.astype(np.uint16) if instance is not None else None)
        except ValueError as error:
            self.faults.add(where, f"{error}; so the objects count for neither PQ nor AP")
            return Truth(semantic)

    def _mask(self, topic: str, key: Key) -> NDArray[Any] | None:
        try:
            return self._masks.take(topic, key)
        except SegPerceptionError as error:
            self.faults.add(f"{self._path} {topic} at {key[0]} ns", str(error))
            return None


class _Masks:
    """Reads masks on its own way through the bag, ahead of the images or behind; those that are wanted later wait packed,
    which is a fiftieth of their size. wanted: of each image its keys by topic."""

    def __init__(self, path: Path, topics: Sequence[str], wanted: Iterable[Mapping[str, Key]]) -> None:
        self._wanted = Counter(pair for mine in wanted for pair in mine.items())
        self._waiting: defaultdict[tuple[str, Key], deque[_Packed | SegPerceptionError]] = defaultdict(deque)
        self._entries = _entries(path, topics)

    def take(self, topic: str, key: Key) -> NDArray[Any]:
        """The next mask of that key; raises SegPerceptionError when it cannot be read."""
        while not self._waiting[topic, key]:
            entry = next(self._entries, None)
            if entry is None:
                raise SegPerceptionError(
                    "a mask that was seen at first could not be read again: leave the bag as it is"
                )
            found = entry.topic, entry.key
            if self._wanted[found]:
                self._wanted[found] -= 1
                self._waiting[found].append(_packed(entry))
        packed = self._waiting[topic, key].popleft()
        if not self._waiting[topic, key]:
            del self._waiting[topic, key]
        if isinstance(packed, SegPerceptionError):
            raise packed
        shape, dtype, data = packed
        return np.frombuffer(bytearray(zlib.decompress(data)), dtype).reshape(shape)


_Packed = tuple[tuple[int, ...], "np.dtype[Any]", bytes]
"""Shape, type and packed bytes of a mask."""


def _entries(path: Path, topics: Sequence[str]) -> Iterator[Entry]:
    with Bag(path) as bag:
        yield from bag.entries(topics)


def _packed(entry: Entry) -> _Packed | SegPerceptionError:
    try:
        mask = read_mask_message(entry.read())
    except SegPerceptionError as error:
        return error
    return mask.shape, mask.dtype, zlib.compress(mask.tobytes(), 1)


class FolderLabels(BagLabels):
    """A folder of labels whose names are stamps in ns or numbers of frames, from 0.

    Each goes to the image of its stamp, else of its number, else of the nearest stamp within the tolerance.
    """

    def __init__(
        self, path: Path, images: str, folder: LabelFolder, *, tolerance_ns: int | None, excerpt: Excerpt
    ) -> None:
        headers = Headers(path, [images])
        super().__init__(headers.damage)
        self._folder = folder
        stems = stems_by_number(folder)
        images_ns = headers.stamps(images)
        exact = set(images_ns.tolist())
        found = {number: stem for number, stem in stems.items() if number not in exact and number < len(images_ns)}
        stamps = np.array([number for number in stems if number not in found], np.int64)
        tolerance_ns = half_period_ns(images_ns) if tolerance_ns is None else tolerance_ns
        places = nearest_labels(images_ns, stamps, tolerance_ns)
        found.update({int(image): stems[int(stamps[places[image]])] for image in np.flatnonzero(places >= 0)})
        lost = sorted(set(stems.values()) - set(found.values()))
        if lost:
            self.problems.append(
                f"{folder.labels}: {len(lost)} of its {len(stems)} masks belong to no image of {path} {images}, the first is "
                f"{lost[0]}.png: it is none of its {len(images_ns)} numbers and none of its stamps within "
                f"{tolerance_ns / 1e6:g} ms; rename them, or give --label-tolerance"
            )
        self._stems: dict[Key, deque[str | None]] = {}
        chosen = excerpt.choose([time_ns for time_ns, _ in headers.keys[images]], headers.start_ns)
        for k in np.flatnonzero(chosen):
            self._stems.setdefault(headers.keys[images][k], deque()).append(found.get(int(k)))

    def take(self, key: Key) -> Truth | None:
        """See BagLabels."""
        stems = self._stems.get(key)
        stem = stems.popleft() if stems else None
        try:
            return None if stem is None else self._folder.truth(Path(f"{stem}.png"))
        except SegPerceptionError as error:
            self.faults.add(f"the labels of the image at {key[1]} ns", str(error))
            return None


def stems_by_number(folder: LabelFolder) -> dict[int, str]:
    """The names of a folder's label images by the number in them; raises SegPerceptionError where there is none."""
    stems: dict[int, str] = {}
    for file in folder.files(folder.labels):
        if folder.instances == folder.labels and file.stem.endswith("_instances"):
            continue
        stem = file.stem.removesuffix("_labels")
        if not stem.isdecimal() or int(stem) > LATEST_NS or int(stem) in stems:
            raise SegPerceptionError(
                f"{file} cannot be told which image it labels: name label images by the image's stamp in ns or by its "
                "number in the bag from 0, one for each"
            )
        stems[int(stem)] = stem
    return stems


def read_mask_message(message: Any) -> NDArray[Any]:
    """A mono8 or mono16 image, or a PNG of one, as it is, [H, W]; raises BadImageError."""
    if hasattr(message, "format"):
        return _png_mask(message)
    depth = {"mono8": "u1", "8UC1": "u1", "mono16": "u2", "16UC1": "u2"}.get(message.encoding)
    if depth is None:
        raise BadImageError(WRONG_ENCODING, f"labels have the encoding '{message.encoding}': mono8 or mono16 is needed")
    dtype = np.dtype((">" if message.is_bigendian else "<") + depth)
    row_bytes = message.width * dtype.itemsize
    if message.step < row_bytes or len(message.data) < message.step * (message.height - 1) + row_bytes:
        raise BadImageError(
            TRUNCATED, f"labels of {message.width}x{message.height} hold {len(message.data)} bytes only"
        )
    pixels: NDArray[Any] = np.ndarray(
        (message.height, message.width), dtype, message.data, 0, (message.step, dtype.itemsize)
    )
    return pixels.astype(dtype.newbyteorder("="))


def _png_mask(message: Any) -> NDArray[Any]:
    check_compressed(message)
    mask = decode_mask(bytes(bare_png(message.data)))
    if mask is None or mask.ndim != 2:
        raise BadImageError(
            UNDECODABLE, f"the labels '{message.format}' are no image of one channel: mono8 or mono16 is needed"
        )
    return mask
