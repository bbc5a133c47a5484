"""Choose the frames of recordings that are worth labelling.

Every frame (of videos and bags --rate a second) is looked at by the network at a small size. Frames are taken one by one,
each the best by four reasons: the network is unsure, it shows a class that is rare or not yet taken, it is unlike what is
taken, it is far from it in time. The same recordings give the same frames. One frame is in memory at a time. Frames that
are like one that is taken, and frames without contrast, are not taken: there may be fewer than --count.

OUT gets images/ (PNG), picked.json (where each is from and why) and index.html, a page to look at.

Example:
  seg_perception label pick --input drive.mcap tour.mp4 photos --count 100 --out out/job
"""

from __future__ import annotations

import argparse
import itertools
import sys
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from seg_perception import options
from seg_perception.errors import SegPerceptionError
from seg_perception.files import write_image
from seg_perception.labelling.choose import LEAST_SHARE, Choice, Frames, choose
from seg_perception.labelling.job import IMAGES, PICKED, Picked, file_words, recording_of, to_json
from seg_perception.labelling.look import Looker
from seg_perception.labelling.page import Card, Line, render
from seg_perception.labels import LabelSet
from seg_perception.offline import add_model_arguments, check_model_arguments, opened_backend
from seg_perception.options import rate, whole
from seg_perception.recordings.open_source import open_source
from seg_perception.recordings.sources import Source, SourceFrame
from seg_perception.writing import check_new_folder, new_folder, user_path, write_json, write_text

EXIT_SOME_LOST = 1
LEAST_CONTRAST = 4.0
"""Standard deviation of grey levels below which a frame shows nothing: a covered lens, the dark."""
_SAID = 0.5
"""What a reason must reach to be told."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the verb."""
    parser.add_argument(
        "--input", nargs="+", required=True, metavar="INPUT", help="bags, videos, folders of images, any number"
    )
    parser.add_argument("--out", type=user_path, required=True, metavar="JOB", help="folder to make")
    parser.add_argument("--count", type=whole("--count", 1, 100_000), default=100, help="frames to take (default: 100)")
    parser.add_argument("--topic", help="image topic of the bags (default: the one with most images)")
    parser.add_argument(
        "--rate",
        type=rate("--rate"),
        default=2.0,
        metavar="HZ",
        help="frames of a second that are looked at, of videos and bags (default: 2)",
    )
    parser.add_argument(
        "--beside", nargs="+", default=[], metavar="DIR", help="folders of images that are labelled already"
    )
    add_model_arguments(parser, required=False)
    parser.add_argument("--json", type=user_path, metavar="FILE", help="write what was picked and why here too")


def run(arguments: argparse.Namespace) -> int:
    """Pick; returns the exit code."""
    check_model_arguments(arguments)
    check_new_folder(arguments.out)
    recordings = open_recordings(arguments.input, arguments.topic, arguments.rate)
    known = open_recordings(arguments.beside, None, arguments.rate)
    if not any(recording.source.stamped for recording in (*recordings, *known)):
        options.refuse(options.given(arguments, add_arguments), ("rate",), "for videos and bags: leave it out")
    with opened_backend(arguments) as backend, new_folder(arguments.out) as folder:
        content = pick(recordings, Looker(backend), folder, arguments.count, known)
    if arguments.json:
        write_json(arguments.json, content)
    for line in content["problems"]:
        print(line, file=sys.stderr)
    print(_summary(content, arguments.count))
    print(f"look at {arguments.out / 'index.html'}")
    return EXIT_SOME_LOST if content["problems"] else 0


@dataclass(frozen=True)
class Recording:
    """A source, its name, which no other has, and which of its frames are looked at: every stride-th."""

    name: str
    source: Source
    stride: int

    def frames(self) -> Iterator[tuple[int, SourceFrame]]:
        """(number, frame) of those that are looked at."""
        for place, item in enumerate(self.source):
            if place % self.stride == 0:
                yield place, item

    def names(self, place: int, item: SourceFrame) -> tuple[str, str]:
        """The file that a frame becomes, and what it is from: images of a folder are from what their names begin with."""
        if self.source.kind != "folder":
            return f"{self.name}_{place:06d}.png", self.name
        return f"{self.name}_{file_words(Path(item.name).stem)}.png", f"{self.name}/{recording_of(item.name)}"


def open_recordings(words: Sequence[str], topic: str | None, rate_hz: float) -> list[Recording]:
    """Each input as a recording. Raises SegPerceptionError where one cannot be read, is a camera or comes twice."""
    found: list[Recording] = []
    names: set[str] = set()
    places = [str(user_path(text).resolve()) for text in words]
    twice = [text for text, place in zip(words, places, strict=True) if places.count(place) > 1]
    if twice:
        raise SegPerceptionError(f"the input {twice[0]} is given twice: give it once")
    for text in words:
        source = open_source(text)
        if topic is not None and source.kind == "bag":
            source = open_source(text, topic=topic)
        if source.live:
            raise SegPerceptionError(f"{text} is a camera, whose frames come once: record it first")
        names.add(name := _unlike(file_words(Path(text).resolve().stem), "", names))
        stride = max(1, round(source.rate_hz / rate_hz)) if source.stamped else 1
        found.append(Recording(name, source, stride))
    if topic is not None and all(recording.source.kind != "bag" for recording in found):
        raise SegPerceptionError("--topic is for bags, and there is none among the inputs: leave it out")
    return found


def pick(
    recordings: Sequence[Recording], looker: Looker, out: Path, count: int, known: Sequence[Recording] = ()
) -> dict[str, Any]:
    """Choose among all frames, write the job into the new folder out; returns the content of picked.json.

    The recordings are read twice: to look at every frame, and to write those that were chosen. Raises SegPerceptionError
    where there is nothing to choose from.
    """
    seen = _Seen()
    for number_of, recording in enumerate(recordings):
        seen.add(number_of, recording, looker)
    beside = _Seen()
    for recording in known:
        beside.add(0, recording, looker)
    # now, since frames are read again no farther than the last that is chosen
    problems = [problem for recording in (*recordings, *known) for problem in recording.source.problems]
    frames = seen.frames()
    choices = choose(frames, count, beside=list(beside.descriptors))
    if not choices:
        why = f"{seen.flat} frames have no contrast" if seen.flat else "there is no frame in them"
        raise SegPerceptionError(f"nothing of the recordings is worth labelling ({why}): give others")
    picked, cards = _write(recordings, looker, out, seen, frames, choices)
    facts = {
        "looked_at": len(frames) + seen.flat,
        "without_contrast": seen.flat,
        "beside": len(beside.descriptors),
        "recordings": {recording.name: recording.source.name for recording in recordings},
        "problems": list(dict.fromkeys(problems)),
    }
    content = to_json(picked, facts)
    write_json(out / PICKED, content)
    lines = [_line(recording.name, frames, choices, i) for i, recording in enumerate(recordings)]
    write_text(out / "index.html", render(cards, lines, _summary(content, count), content["problems"]))
    return content


class _Seen:
    """What was seen of every frame, some hundred numbers each."""

    def __init__(self) -> None:
        self.uncertainty: list[float] = []
        self.shares: list[NDArray[np.float32]] = []
        self.descriptors: list[NDArray[np.float32]] = []
        self.recording: list[int] = []
        self.time_s: list[float] = []
        self.places: list[int] = []
        self.flat = 0

    def add(self, number_of: int, recording: Recording, looker: Looker) -> None:
        """Look at the frames of a recording."""
        total = None if recording.source.total is None else -(-recording.source.total // recording.stride)
        first_ns: int | None = None
        for place, item in tqdm(recording.frames(), total=total, unit="frame", desc=recording.name, mininterval=1):
            first_ns = item.frame.stamp_ns if first_ns is None else first_ns
            look = looker(item.frame)
            if look.contrast < LEAST_CONTRAST:
                self.flat += 1
                continue
            self.uncertainty.append(look.uncertainty)
            self.shares.append(look.shares)
            self.descriptors.append(look.descriptor)
            self.recording.append(number_of)
            self.time_s.append((item.frame.stamp_ns - first_ns) / 1e9)
            self.places.append(place)

    def frames(self) -> Frames:
        """All of it as arrays."""
        return Frames(
            np.array(self.uncertainty),
            np.array(self.shares, np.float32),
            np.array(self.descriptors, np.float32),
            np.array(self.recording, np.int64),
            np.array(self.time_s),
        )


def _write(
    recordings: Sequence[Recording],
    looker: Looker,
    out: Path,
    seen: _Seen,
    frames: Frames,
    choices: Sequence[Choice],
) -> tuple[list[Picked], list[Card]]:
    """The chosen frames as files and as parts of the page, in the order of the choice."""
    often = (frames.shares >= LEAST_SHARE).mean(axis=0)
    wanted = {(seen.recording[choice.index], seen.places[choice.index]): choice for choice in choices}
    found: dict[int, tuple[Picked, Card]] = {}
    files: set[str] = set()
    for number_of, recording in enumerate(recordings):
        last = max((place for owner, place in wanted if owner == number_of), default=-1)
        for place, item in recording.frames():
            if place > last:
                break
            if (choice := wanted.get((number_of, place))) is None:
                continue
            file, origin = recording.names(place, item)
            files.add(file := _unlike(Path(file).stem, Path(file).suffix, files))
            picked = Picked(
                file,
                origin,
                place,
                round(seen.time_s[choice.index], 3),
                tuple(reasons(choice, looker.labels, often)),
                {name: round(getattr(choice, name), 4) for name in ("uncertain", "rare", "unlike", "apart")},
            )
            write_image(out / IMAGES / picked.file, item.frame.rgb)
            found[choice.index] = picked, Card.of(picked, item.frame.rgb, looker(item.frame).answer, looker.labels)
    rows = [found[choice.index] for choice in choices]
    return [picked for picked, _ in rows], [card for _, card in rows]


def _unlike(stem: str, ending: str, taken: Collection[str]) -> str:
    """A name, with a number where another has it."""
    names = (f"{stem}-{number}{ending}" for number in itertools.count(2))
    return next(name for name in itertools.chain([f"{stem}{ending}"], names) if name not in taken)


def _line(name: str, frames: Frames, choices: Sequence[Choice], recording: int) -> Line:
    """Where in a recording frames were taken."""
    times = frames.time_s[frames.recording == recording]
    length_s = float(times.max(initial=0.0))
    own = [choice.index for choice in choices if frames.recording[choice.index] == recording]
    return Line(name, length_s, tuple(100 * float(frames.time_s[i]) / max(length_s, 1e-9) for i in own))


def reasons(choice: Choice, labels: LabelSet, often: NDArray[np.floating[Any]]) -> list[str]:
    """Why a frame was taken, in words; often: [C], the share of the frames that show a class."""
    found = []
    if choice.uncertain >= _SAID:
        found.append(f"the network is less sure than of {choice.uncertain:.0%} of the frames")
    if choice.shows >= 0 and choice.rare >= _SAID / 2:
        found.append(f"shows {labels.names[choice.shows]}, as {often[choice.shows]:.1%} of the frames do")
    if choice.unlike >= _SAID:
        found.append("unlike all that was taken before")
    if choice.apart >= _SAID:
        found.append("no frame near in time was taken before")
    return found or ["the best of what was left"]


def _summary(content: dict[str, Any], count: int) -> str:
    taken = len(content["frames"])
    words = f"{taken} frames picked of {content['looked_at']} that were looked at"
    if content["without_contrast"]:
        words += f", {content['without_contrast']} of them without contrast"
    if taken == count:
        return words
    left = content["looked_at"] - content["without_contrast"] - taken
    return f"{words}; {count} were asked for, " + (
        "the others are like one of these" if left else "there are no others"
    )
