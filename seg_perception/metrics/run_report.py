"""What a report.json holds, as far as two of them are compared."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seg_perception.errors import SegPerceptionError

Row = Mapping[str, Any]
_MOST = 1e300
"""Of what is measured; the difference of two such numbers is a number, too."""


class RunReport:
    """A report.json. name: what to call it; classes: those that it was measured in; frames: the rows of its per_frame,
    labelled: those of them with labels, keys: what tells these apart, triples: their confusions, quality: their PQ."""

    def __init__(self, name: str, numbers: Mapping[str, Any]) -> None:
        """Raises SegPerceptionError when the parts that are needed do not look as evaluate writes them."""
        self.name, self.numbers = name, numbers
        try:
            iou = numbers.get("iou") or {}
            self.classes: tuple[str, ...] = tuple(map(str, numbers.get("classes", iou)))
            self.frames: Sequence[Row] = tuple(numbers.get("per_frame", ()))
            self.labelled = [row for row in self.frames if row["confusion"]]
            self.keys = _keys(self.labelled)
            self.triples = _triples(self.labelled, len(self.classes))
            self.quality = _quality(self.labelled, self.classes)
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
            raise SegPerceptionError(
                f"the frames in {name} cannot be read ({error!r}): write the report again with evaluate"
            ) from error

    @staticmethod
    def load(path: Path) -> RunReport:
        """Raises SegPerceptionError when the file is no report."""
        try:
            numbers = json.loads(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise SegPerceptionError(
                f"{path} cannot be read ({error.strerror}): name the report.json that evaluate or run has written"
            ) from error
        except (ValueError, RecursionError) as error:
            raise SegPerceptionError(f"{path} is no JSON ({error}): write the report again with evaluate") from error
        if not isinstance(numbers, dict) or "model" not in numbers:
            raise SegPerceptionError(f"{path} is no report: name the report.json that evaluate or run has written")
        for key in ("model", "source"):
            if not isinstance(numbers.get(key, ""), str | None):
                raise SegPerceptionError(f"the {key} in {path} is no name: write the report again with evaluate")
        return RunReport(str(path), numbers)

    @cached_property
    def flat(self) -> dict[str, float | None]:
        """Every measured number by its path in the report, such as age_ms.p95; None where it is undefined."""
        found: dict[str, float | None] = {}
        _flatten({key: value for key, value in self.numbers.items() if key not in NOT_MEASURED}, "", found)
        return found

    def values(self, key: str) -> list[float]:
        """One number of every frame that has it. Raises SegPerceptionError where that is none."""
        found = [row[key] for row in self.frames if row.get(key) is not None]
        if not all(map(is_number, found)):
            raise SegPerceptionError(
                f"'{key}' of a frame in {self.name} is no number: write the report again with evaluate"
            )
        return found


NOT_MEASURED = ("machine", "backend", "node", "messages", "classes", "per_frame", "confusion")
"""Parts of a report that tell what was run or are no single numbers."""


def _flatten(value: Any, key: str, found: dict[str, float | None]) -> None:
    if isinstance(value, Mapping):
        for name, part in value.items():
            _flatten(part, f"{key}.{name}" if key else name, found)
    elif value is None or is_number(value):
        found[key] = value


def is_number(value: Any) -> bool:
    """Whether a report's value is a number; NaN and what is beyond all bounds is none."""
    return type(value) in (int, float) and abs(value) <= _MOST


def _keys(rows: Sequence[Row]) -> list[tuple[str, int]]:
    """What tells frames apart: their name and, as it may come again in a report of many bags, for the which time."""
    seen: Counter[str] = Counter()
    keys = []
    for row in rows:
        keys.append((str(row["name"]), seen[row["name"]]))
        seen[row["name"]] += 1
    return keys


def _triples(rows: Sequence[Row], classes: int) -> tuple[NDArray[np.int64], ...]:
    """Frame, true class, predicted class (their number: void) and pixels of all confusions, each [T]."""
    frame = np.repeat(np.arange(len(rows)), [len(row["confusion"]) for row in rows])
    joined = np.array([entry for row in rows for entry in row["confusion"]], np.int64).reshape(-1, 3)
    true, predicted, pixels = joined.T
    if len(joined) and (joined.min() < 0 or true.max() >= classes or predicted.max() > classes):
        raise ValueError(f"a confusion that is not of {classes} classes")
    return frame, true, predicted, pixels


def _quality(rows: Sequence[Row], classes: Sequence[str]) -> NDArray[np.float64]:
    """[F, 4, C] summed IoU, true positives, false positives and false negatives."""
    table = np.zeros((len(rows), 4, len(classes)))
    place = {name: number for number, name in enumerate(classes)}
    for frame, row in enumerate(rows):
        for name, values in row["pq"].items():
            table[frame, :, place[name]] = values
    return table
