"""Camera images, labels and calibration out of rosbag2 (sqlite3, MCAP) and ROS 1 bags, without ROS installed."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Iterator
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from seg_perception.camera.encodings import encoding_note
from seg_perception.camera.messages import ImageReader
from seg_perception.camera.video import NO_KEY_FRAME
from seg_perception.errors import SegPerceptionError
from seg_perception.faults import Faults
from seg_perception.files import DEPTHS, LOOKED_AT, bits_in_use
from seg_perception.recordings.bag_file import INFO_TYPE, STILL_TYPES, TF_TYPE, Bag, Entry
from seg_perception.recordings.bag_labels import BagLabels, FolderLabels, NoLabels, TopicLabels, stems_by_number
from seg_perception.recordings.calibration import Calibration
from seg_perception.recordings.excerpt import Excerpt
from seg_perception.recordings.mounting import Mounting
from seg_perception.recordings.sources import LabelFolder, Source, SourceFrame, known_rate_hz
from seg_perception.recordings.topics import (
    INFO_TOPIC,
    INSTANCE_TOPIC,
    LABEL_TOPIC,
    TF_TOPIC,
    beside,
    most_images,
    transforms_topic,
)
from seg_perception.recordings.video_topics import Found, Place, video_images
from seg_perception.recordings.video_types import VIDEO_TYPES
from seg_perception.results import Frame, Truth

RATE_FRAMES = 100
"""Of a topic, which tell its rate."""
LATE_NS = 10**9
"""So long behind an excerpt's end the calibration of its last image is looked for."""


class BagSource(Source):
    """Images of one topic of a bag, with their labels: of the label and instance topics, matched by stamp, or of a
    folder, where a file's name is the image's stamp in ns or its number among the topic's images, from 0.

    topic: None takes the one with most images; is_wanted: whether a person named it, and so wants 16UC1 as a grey picture, which
    is depth else. label_topic, instance_topic: None takes those beside the image topic where they are. void: label values
    that mean unlabelled, besides 255 (a folder has its own). tolerance_s: between the stamps of an image and its label, None =
    half the images' usual distance. Labels may lie anywhere in the bag: stamps are read first. Where several images have one
    stamp, labels go to them in their order. Memory holds an image or two, and packed the masks that come before their images.
    camera and pose are those of the latest frame: of one recording they may change.
    """

    def __init__(
        self,
        path: Path,
        topic: str | None = None,
        *,
        label_topic: str | None = None,
        instance_topic: str | None = None,
        labels: LabelFolder | None = None,
        void: Collection[int] = (),
        excerpt: Excerpt = Excerpt(),  # noqa: B008 - frozen
        tolerance_s: float | None = None,
        is_wanted: bool = True,
    ) -> None:
        if tolerance_s is not None and not 0 <= tolerance_s < math.inf:
            raise SegPerceptionError(f"--label-tolerance is {tolerance_s:g} s: give 0 (the very stamp) or more")
        self._path, self._void, self._excerpt, self._folder = path, list(void), excerpt, labels
        self._tolerance_ns = None if tolerance_s is None else round(tolerance_s * 1e9)
        if labels is not None:
            stems_by_number(labels)
        self._opening_notes: list[str] = []
        self._grey_16uc1 = topic is not None and is_wanted  # who names a topic wants its pictures
        with Bag(path) as bag:
            self._storage = bag.storage  # so that a bag that is compressed as a whole is unpacked once
            self.topic = bag.require_image(topic) if topic else most_images(bag)
            self._label = self._truth_topic(bag, label_topic, beside(self.topic, LABEL_TOPIC))
            self._instance = self._truth_topic(bag, instance_topic, beside(self.topic, INSTANCE_TOPIC))
            info = self._if_of(bag, beside(self.topic, INFO_TOPIC), INFO_TYPE)
            count = bag.counts[self.topic]
            rate = self._rate_hz(bag)
            self._bits = self._bits_in_use(bag)
            whole = excerpt.start_s == 0 and excerpt.end_s == math.inf
            total = math.ceil(count / excerpt.stride) if whole else None
            super().__init__("bag", f"{path} {self.topic}", rate / excerpt.stride, total)
            self.part, self.stamped = self.topic, True
            self.has_labels = self._folder is not None or self._label is not None
            self._refuse_of_no_labels(instance_topic)
            self._calibration = Calibration(bag, self.topic, info)
            tf = transforms_topic(bag, self.topic) or self._if_of(bag, TF_TOPIC, TF_TYPE)
            self._mounting = Mounting(bag, self.topic, tf)
        self.camera, self.pose = self._calibration.first, self._mounting.first
        if self.camera is not None and not self._mounting.is_told:
            self._opening_notes.append(
                f"{path} has a calibration of {self.topic} but no static transforms (in {TF_TOPIC}), so where the camera is "
                "on the vehicle is not known and nothing is told in metres"
            )

    def _refuse_of_no_labels(self, instance_topic: str | None) -> None:
        """Raise SegPerceptionError where options are given that only labels have."""
        options = {"--void": self._void, "--label-tolerance": self._tolerance_ns is not None}
        options["--instance-topic"] = instance_topic is not None
        found = [name for name, is_given in options.items() if is_given]
        if found and not self.has_labels:
            raise SegPerceptionError(
                f"{found[0]} is for labels, but {self._path} has none beside {self.topic}: give --label-topic or --labels, or "
                "leave it out"
            )

    def _rate_hz(self, bag: Bag) -> float:
        """By the usual time between two of the topic's first images: it need not last as long as the bag."""
        times_ns = [entry.time_ns for entry in islice(bag.entries([self.topic]), RATE_FRAMES)]
        period_ns = float(np.median(np.diff(times_ns))) if len(times_ns) > 1 else 0.0
        return known_rate_hz(1e9 / period_ns if period_ns > 0 else 0.0)

    def _bits_in_use(self, bag: Bag) -> int:
        """Of the topic's images of 16 bits, by some of the first; full where they have 8."""
        if bag.types[self.topic] in VIDEO_TYPES:
            return DEPTHS[-1]
        brightest: list[int] = []
        reader = ImageReader(grey_16uc1=self._grey_16uc1)
        count = min(bag.counts[self.topic], RATE_FRAMES)
        for entry in islice(bag.entries([self.topic]), 0, count, math.ceil(count / LOOKED_AT)):
            with suppress(SegPerceptionError):  # it is told when it is read
                reader.read(entry.read())
                if reader.brightest is None:
                    break
                brightest.append(reader.brightest)
        return bits_in_use(max(brightest)) if brightest else DEPTHS[-1]

    def _truth_topic(self, bag: Bag, wanted: str | None, usual: str) -> str | None:
        if wanted is not None:
            if bag.types.get(wanted) in VIDEO_TYPES:
                raise SegPerceptionError(
                    f"the labels on {wanted} are video, which loses some: record them as mono8 images or PNG"
                )
            return bag.require_image(wanted)
        if self._folder is not None:
            return None
        return self._if_of(bag, usual, *STILL_TYPES) or self._if_of(bag, f"{usual}/compressed", *STILL_TYPES)

    def _if_of(self, bag: Bag, topic: str, *kinds: str) -> str | None:
        """The topic, None where the bag has none of that name or type; the latter is told."""
        if not bag.counts.get(topic):
            return None
        if bag.types[topic] in kinds:
            return topic
        self._opening_notes.append(f"{topic} of {self._path} is a {bag.types[topic]}, no {kinds[0]}: it is left out")
        return None

    def _open_labels(self) -> BagLabels:
        """The labels of this iteration's images."""
        path, tolerance_ns, excerpt = self._path, self._tolerance_ns, self._excerpt
        if self._folder is not None:
            return FolderLabels(path, self.topic, self._folder, tolerance_ns=tolerance_ns, excerpt=excerpt)
        if self._label is None:
            return NoLabels()
        topics = self.topic, self._label, self._instance
        return TopicLabels(path, *topics, void=self._void, tolerance_ns=tolerance_ns, excerpt=excerpt)

    def _frames(self) -> Iterator[SourceFrame]:
        self.problems += self._calibration.problems
        self.notes += self._opening_notes
        faults, oddities, labels = Faults(), _Oddities(self.topic), self._open_labels()
        cameras, poses = self._calibration.account(), self._mounting.account()
        with Bag(self._path) as bag:
            try:
                for place, frame, truth in self._read(bag, labels, faults, oddities):
                    if self._calibration.first is not None:  # else somebody may assume one
                        self.camera = cameras.take(place.heard) or self._calibration.first
                    if self._mounting.first is not None:
                        self.pose = poses.take(self._mounting.at(place.key[0], frame.frame_id))
                    name = f"frame {place.number} at {frame.stamp_ns / 1e9:.3f} s"
                    yield SourceFrame(frame, name, truth, number=place.number)
            finally:
                self.problems += [*self._mounting.problems, *(labels.damage or bag.damage), *labels.problems]
                self.problems += [*faults.sentences(), *labels.faults.sentences(), *cameras.problems, *poses.problems]
                self.notes += [*self._calibration.notes, *cameras.notes, *self._mounting.notes, *poses.notes]
                self.notes += [*labels.notes, *oddities.sentences()]

    def _read(
        self, bag: Bag, labels: BagLabels, faults: Faults, oddities: _Oddities
    ) -> Iterator[tuple[Place, Frame, Truth | None]]:
        """The frames that can be read; the rest is noted."""
        has_some, bits = False, self._bits
        for place, image in self._images(bag):
            has_some = True
            truth = labels.take(place.key)
            try:
                if isinstance(image, SegPerceptionError):
                    raise image
                message = image
                reader = ImageReader(bits, self._grey_16uc1)
                pixels = reader.read(message)
                if reader.brightest is not None and reader.brightest >> bits:  # first images were dark
                    bits = bits_in_use(reader.brightest)
                    pixels = ImageReader(bits, self._grey_16uc1).read(message)
                oddities.bits = bits
                frame = Frame(pixels, place.key[1], str(message.header.frame_id))
            except SegPerceptionError as error:
                if getattr(error, "cause", "") == NO_KEY_FRAME and not oddities.has_seen:
                    oddities.before_key_frame += 1
                else:
                    faults.add(f"{self._path} {self.topic} at {place.key[0]} ns", str(error))
                continue
            oddities.see(frame, message.header.stamp, encoding_note(getattr(message, "encoding", "")))
            yield place, frame, truth
        if not has_some and not bag.damage:
            faults.add(
                f"{self._path} {self.topic}",
                f"none of its {bag.counts[self.topic]} images is in the excerpt, the bag is {bag.duration_s:.1f} s long: "
                "give another --start or --end",
            )

    def _images(self, bag: Bag) -> Iterator[Found]:
        """The images of the excerpt, each a message or the error that stands for it."""
        if bag.types[self.topic] in VIDEO_TYPES:
            yield from video_images((place, entry.read) for place, entry in self._places(bag))
            return
        for place, entry in self._places(bag):
            if place.chosen:
                try:
                    message = entry.read()
                except SegPerceptionError as error:
                    yield place, error
                else:
                    yield place, message

    def _places(self, bag: Bag) -> Iterator[tuple[Place, Entry]]:
        """All messages of the topic up to the excerpt's end."""
        first, end = self._excerpt.window_ns(bag.start_ns)
        entries = bag.entries(self._calibration.topics, None if math.isinf(end) else int(end) + LATE_NS)
        inside = 0
        for number, (entry, heard) in enumerate(self._calibration.followed(entries)):
            if entry.time_ns >= end:
                continue
            is_inside = entry.time_ns >= first
            is_chosen = is_inside and inside % self._excerpt.stride == 0
            inside += is_inside
            yield Place(number, entry.key, heard, is_inside, is_chosen), entry


_UNSET = (
    "stamps were never set, so the images go by their time of recording; of such ones the node tells nothing in metres"
)


class _Oddities:
    """What is odd about the images of a topic, though each can be read. before_key_frame: packets of video that could not
    be, since the stream began between two key frames; bits: in use of 16."""

    def __init__(self, topic: str) -> None:
        self._topic = topic
        self._latest: tuple[int, tuple[int, ...]] | None = None
        self._seen: Counter[str] = Counter()
        self._notes: dict[str, None] = {}
        self.before_key_frame, self.bits = 0, DEPTHS[-1]

    @property
    def has_seen(self) -> bool:
        """Whether there was an image."""
        return self._latest is not None

    def see(self, frame: Frame, stamp: Any, note: str = "") -> None:
        """The next image; stamp: as its header has it; note: on its encoding."""
        self._notes[note] = None
        self._seen[_UNSET] += not (stamp.sec or stamp.nanosec)
        stamp_ns, size = frame.stamp_ns, frame.size_hw
        if self._latest is not None:
            self._seen["stamps jump back"] += stamp_ns < self._latest[0]
            self._seen["stamps repeat the one before"] += stamp_ns == self._latest[0]
            self._seen["images differ in size from the one before"] += size != self._latest[1]
        self._latest = stamp_ns, size

    def sentences(self) -> list[str]:
        """One a kind."""
        counted = [f"{self._topic}: {count} {kind}" for kind, count in self._seen.items() if count]
        if self.before_key_frame:
            counted.append(f"{self._topic}: {self.before_key_frame} packets before the first key frame are left out")
        if self.bits < DEPTHS[-1]:
            counted.append(
                f"{self._topic}: its images of 16 bits use {self.bits} and are read so; the node needs image_bit_depth: {self.bits}"
            )
        return [*counted, *(f"{self._topic}: {note}" for note in self._notes if note)]
