"""What differs between two reports, how sure that is, and whether limits are kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seg_perception.errors import SegPerceptionError
from seg_perception.metrics import bootstrap
from seg_perception.metrics.frame_scores import FrameScores
from seg_perception.metrics.limits import Limit
from seg_perception.metrics.run_report import RunReport

OF_ANY_CLASSES = (
    *("frames", "frames_labelled", "frames_in", "frames_out", "frames_timed"),
    *("dropped", "fps", "age_ms", "stages_ms"),
)
"""Numbers whose meaning does not depend on the classes."""
TIMES = {"age_ms": "age_ms", "stages_ms.network": "network_ms"}
"""Percentiles in a report, and the number of each frame that they are of."""
SHARES = (50, 95, 99)


@dataclass(frozen=True)
class Difference:
    """One number of both runs. low, high: the interval of b - a, None where there is none; too_few_frames: why there is
    none."""

    a: float
    b: float
    low: float | None = None
    high: float | None = None
    too_few_frames: bool = False

    @property
    def change(self) -> float:
        """What it grew by."""
        return self.b - self.a

    @property
    def is_clear(self) -> bool:
        """Whether the interval leaves 0 out."""
        return self.low is not None and self.high is not None and (self.low > 0 or self.high < 0)


@dataclass(frozen=True)
class Verdict:
    """What a limit was held against, and whether it is broken."""

    limit: Limit
    number: float
    broken: bool


@dataclass(frozen=True)
class Result:
    """All that is told. differences: by key; notes: what the reader must know, a sentence each; block: neighbouring
    frames that were drawn together; lost: labelled frames of a that b has not measured, lost_objects: those of them both
    whose objects a has measured and b has not."""

    a: RunReport
    b: RunReport
    differences: Mapping[str, Difference]
    verdicts: Sequence[Verdict]
    notes: Sequence[str]
    block: int
    lost: int = 0
    lost_objects: int = 0

    @property
    def broken(self) -> list[str]:
        """Why a build must stop: what the limits were never held against. Empty without limits."""
        lost = (
            (self.lost, "labelled frames of {} are not measured in {}"),
            (self.lost_objects, "frames whose objects count in {} have lost them in {}"),
        )
        told = [f"{count} {words.format(self.a.name, self.b.name)}" for count, words in lost if count]
        return told if self.verdicts else []

    def to_json(self) -> dict[str, Any]:
        """The content of compare.json."""
        runs = {
            side: {"report": run.name, "model": run.numbers["model"], "source": run.numbers.get("source")}
            for side, run in (("a", self.a), ("b", self.b))
        }
        return {
            **runs,
            "differences": {key: {**asdict(row), "difference": row.change} for key, row in self.differences.items()},
            "confidence": bootstrap.CONFIDENCE,
            "resamples": bootstrap.RESAMPLES,
            "block": self.block,
            "limits": [{"limit": v.limit.text, "number": v.number, "broken": v.broken} for v in self.verdicts],
            "notes": list(self.notes),
            "lost_frames": self.lost,
            "lost_objects": self.lost_objects,
        }


def compare(a: RunReport, b: RunReport, limits: Sequence[Limit] = (), *, block: int = 1, force: bool = False) -> Result:
    """The differences b - a of all numbers that both hold.

    Metrics made of confusions and PQ are those of the frames and the classes that both hold. With force reports of other
    data are compared too, each over all its frames.

    Raises SegPerceptionError when the data differ, block is less than 1 or a limit names what there is not.
    """
    shared = _share(a, b, force)
    labelled = _labelled(a, b, shared, block)
    differences = {}
    for key, value in a.flat.items():
        other = b.flat.get(key)
        if key in labelled:
            differences[key] = labelled[key]
        elif value is not None and other is not None and (shared.all_classes or key.split(".")[0] in OF_ANY_CLASSES):
            differences[key] = Difference(value, other)
    for key, (low, high) in _time_intervals(a, b, block).items():
        few = low is None
        differences[key] = Difference(differences[key].a, differences[key].b, low, high, too_few_frames=few)
    if not differences:
        raise SegPerceptionError(f"{a.name} and {b.name} hold no number in common: name reports of the same kind")
    verdicts = [_judge(limit, b, differences) for limit in limits]
    without = shared.paired and shared.has_objects(a, 0) & ~shared.has_objects(b, 1)
    return Result(a, b, differences, verdicts, shared.notes, block, shared.lost, int(np.count_nonzero(without)))


def _judge(limit: Limit, b: RunReport, differences: Mapping[str, Difference]) -> Verdict:
    if limit.of_difference:
        limit.check_key({key: row.change for key, row in differences.items()}, "the comparison")
        number = differences[limit.key].change
    else:
        limit.check_key(b.flat, b.name)
        number = b.flat[limit.key] or 0.0
    return Verdict(limit, number, limit.is_broken(number))


@dataclass(frozen=True)
class _Shared:
    """What two runs share. places: the labelled frames of each to compare, frame k of both the same one when paired;
    lost: frames of the first that the second should have, but has not."""

    classes: Sequence[str]
    all_classes: bool
    places: tuple[NDArray[np.intp], NDArray[np.intp]]
    paired: bool
    notes: Sequence[str]
    lost: int = 0

    def has_objects(self, run: RunReport, side: int) -> NDArray[np.bool_]:
        """bool [F]: which of a run's frames to compare tell objects apart."""
        return np.array([bool(run.labelled[place]["pq"]) for place in self.places[side]], np.bool_)


def _share(a: RunReport, b: RunReport, force: bool) -> _Shared:
    classes = [name for name in a.classes if name in b.classes]
    apart = [f"'{name}' ({run.name})" for run in (a, b) for name in run.classes if name not in classes]
    notes = []
    if apart:
        notes.append(
            "the label sets differ: compared are the classes that both name, as if all else were unlabelled; left out: "
            + ", ".join(apart)
        )
    at = {key: place for place, key in enumerate(b.keys)}
    pairs = [(place, at[key]) for place, key in enumerate(a.keys) if key in at]
    paired = np.array(pairs, np.intp).reshape(-1, 2).T
    problem = _other_data(a, b) or ("" if apart else _other_labels(a, b, paired, classes))
    if problem and not force:
        raise SegPerceptionError(f"{problem}: evaluate both on the same data, or use compare --force")
    alone = [len(run.keys) - len(pairs) for run in (a, b)]
    if problem or not pairs:
        if problem or (a.keys and b.keys):
            notes.append(f"{problem or 'no labelled frame is in both'}: nothing is paired, each has its own frames")
        places = np.arange(len(a.keys)), np.arange(len(b.keys))
        return _Shared(classes, not apart, places, False, notes, 0 if problem else alone[0])
    if any(alone):
        notes.append(
            f"metrics made of confusions and PQ are those of the {len(pairs)} labelled frames that both hold, all others "
            f"of each report's own frames; left out: {alone[0]} of {a.name}, {alone[1]} of {b.name}"
        )
    return _Shared(classes, not apart, (paired[0], paired[1]), True, notes, alone[0])


def _other_data(a: RunReport, b: RunReport) -> str:
    """Why the runs are not of the same data; empty when they are, as far as names tell."""
    if a.frames and b.frames:
        if {row["name"] for row in a.frames}.isdisjoint(row["name"] for row in b.frames):
            return f"{a.name} and {b.name} have no frame in common"
    elif a.numbers.get("source") != b.numbers.get("source"):
        return f"{a.name} is of {a.numbers.get('source')} and {b.name} of {b.numbers.get('source')}"
    return ""


def _other_labels(a: RunReport, b: RunReport, paired: NDArray[np.intp], classes: Sequence[str]) -> str:
    """The same by the labels: frames of one name, but of another recording, hold other shares of the classes."""
    truth = [FrameScores(run, places, classes).truth for run, places in zip((a, b), paired)]
    differ = np.flatnonzero((truth[0] != truth[1]).any(axis=1))
    if not len(differ):
        return ""
    name = a.labelled[paired[0][differ[0]]]["name"]
    return f"{len(differ)} frames, '{name}' the first, have other labels in {a.name} than in {b.name}"


def _labelled(a: RunReport, b: RunReport, shared: _Shared, block: int) -> dict[str, Difference]:
    """What the frames' confusions and PQ give."""
    frames = len(shared.places[0]), len(shared.places[1])
    if not shared.classes or not min(frames):
        return {}
    panoptic = [shared.has_objects(run, side) for side, run in enumerate((a, b))]
    if shared.paired:
        panoptic = [panoptic[0] & panoptic[1]] * 2
    known = shared.all_classes and all(
        run.numbers.get("pq") is not None and frames.any() for run, frames in zip((a, b), panoptic)
    )
    scores = [
        FrameScores(
            run,
            places,
            shared.classes,
            things=_agreed(a, b, "thing_classes", shared.classes),
            drivable=_agreed(a, b, "drivable_classes", shared.classes),
            panoptic=panoptic[side] if known else False,
        )
        for side, (run, places) in enumerate(zip((a, b), shared.places))
    ]
    ours, others = (score(np.ones((1, count))) for score, count in zip(scores, frames))
    bounds = bootstrap.intervals(scores[0], scores[1], frames, paired=shared.paired, block=block)
    found = {}
    for key in ours:
        value, other = float(ours[key][0]), float(others[key][0])
        if not np.isnan(value) and not np.isnan(other):
            found[key] = Difference(value, other, *bounds.get(key, (None, None)))
    return found


def _agreed(a: RunReport, b: RunReport, key: str, classes: Sequence[str]) -> Sequence[str] | None:
    """The classes that both reports list there; None where they do not agree."""
    lists: list[Any] = [run.numbers.get(key) for run in (a, b)]
    if not all(isinstance(names, list) and all(isinstance(name, str) for name in names) for names in lists):
        return None
    if set(lists[0]) != set(lists[1]) or not set(lists[0]) <= set(classes):
        return None
    return lists[0]


def _time_intervals(a: RunReport, b: RunReport, block: int) -> dict[str, tuple[float | None, float | None]]:
    """Intervals of percentiles of times, of None where frames are too few; they are drawn apart, as a run's times are its
    own."""
    found: dict[str, tuple[float | None, float | None]] = {}
    for prefix, name in TIMES.items():
        shares = {f"{prefix}.p{share}": share for share in SHARES}
        known = {key: share for key, share in shares.items() if None not in (a.flat.get(key), b.flat.get(key))}
        values = a.values(name), b.values(name)
        frames = min(map(len, values))
        few = {key for key, share in known.items() if not bootstrap.is_enough_for(share, frames, max(1, block))}
        found.update(dict.fromkeys(few, (None, None)))
        known = {key: share for key, share in known.items() if key not in few}
        if known:
            first, second = (bootstrap.percentiles_statistic(each, known) for each in values)
            found.update(
                bootstrap.intervals(first, second, (len(values[0]), len(values[1])), paired=False, block=block)
            )
    return found
