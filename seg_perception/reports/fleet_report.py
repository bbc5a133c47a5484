"""The report of many bags: sums over all their frames, and a line for each bag."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from seg_perception.metrics.false_ground import FalseGround
from seg_perception.metrics.scores import Scores
from seg_perception.metrics.times import percentiles
from seg_perception.model_file import ModelInfo
from seg_perception.reports.report import Report

COUNTS = ("frames", "frames_labelled", "frames_with_objects", "bad_labels", "frames_in", "frames_out", "dropped")
"""Numbers of a report that add up."""
_OF_A_BAG = ("frames", "miou", "pixel_accuracy", "pq")
_ALIKE = ("backend", "machine")


class FleetReport:
    """Adds up the report.json of bags that one model was evaluated on.

    Metrics are those of all frames together, from the summed confusions and PQ counts; AP, calibration, flicker and tracks
    are told by bag only. Frames are named `<bag>: <frame>`.
    """

    def __init__(self, model: ModelInfo) -> None:
        self._model = model
        self._scores, self._false_ground = Scores(model.labels), FalseGround(model.labels)
        self._counts: dict[str, int] = {}
        self._frames: list[Mapping[str, Any]] = []
        self._problems: list[str] = []
        self._notes: list[str] = []
        self._alike: dict[str, Any] = {}
        self._bags: list[dict[str, Any]] = []

    def add(self, name: str, path: Path, numbers: Mapping[str, Any]) -> None:
        """A bag and the content of its report.json."""
        for key in COUNTS:
            if key in numbers:
                self._counts[key] = self._counts.get(key, 0) + numbers[key]
        if numbers.get("confusion"):
            self._scores.add_summary(numbers, numbers["frames_labelled"])
        self._false_ground.add_summary(numbers)
        rows = numbers["per_frame"]
        self._frames += [{**row, "name": f"{name}: {row['name']}"} for row in rows]
        self._problems += [f"{name}: {problem}" for problem in numbers["problems"]]
        self._notes += [f"{name}: {note}" for note in numbers.get("notes", ())]
        for key in _ALIKE:
            # of workers that differ, nothing is told in common
            self._alike[key] = numbers[key] if self._alike.get(key, numbers[key]) == numbers[key] else {}
        self._bags.append(
            {
                "name": name,
                "path": str(path),
                **{key: numbers.get(key) for key in _OF_A_BAG},
                "network_ms": percentiles(_known(rows, "network_ms"), 50).get("p50"),
                "age_ms": percentiles(_known(rows, "age_ms"), 95).get("p95"),
                "problems": len(numbers["problems"]),
                "failure": None,
            }
        )

    def add_failure(self, name: str, path: Path, failure: str) -> None:
        """A bag that could not be evaluated, and why."""
        self._problems.append(f"{name}: not evaluated: {failure}")
        blank = dict.fromkeys((*_OF_A_BAG, "network_ms", "age_ms"))
        self._bags.append({"name": name, "path": str(path), **blank, "problems": 1, "failure": failure})

    def report(self) -> Report:
        """All that has been added."""
        ages = percentiles(_known(self._frames, "age_ms"), 50, 95, 99, 100)
        network = percentiles(_known(self._frames, "network_ms"), 50, 95, 100)
        numbers: dict[str, Any] = {
            "source": f"{len(self._bags)} bags",
            "frames": 0,
            **self._counts,
            **({**self._scores.summary(), **self._false_ground.summary()} if self._scores.frames else {}),
            **({"age_ms": ages} if ages else {}),
            "stages_ms": {"network": network} if network else {},
            "model": self._model.name,
            **self._alike,
            "problems": self._problems,
            "notes": [*self._notes, *self._scores.notes],
            "classes": list(self._model.labels.names),
            "bags": self._bags,
            "per_frame": self._frames,
        }
        return Report(f"{self._model.name} on {len(self._bags)} bags", numbers, self._model.labels)


def table(bags: list[dict[str, Any]]) -> str:
    """The bags of a report as text for the terminal."""
    width = max(len(bag["name"]) for bag in bags)
    lines = [f"{'bag':<{width}} {'frames':>7} {'mIoU':>6} {'PQ':>6}"]
    for bag in bags:
        scores = " ".join(f"{'-' if bag[key] is None else format(bag[key], '.3f'):>6}" for key in ("miou", "pq"))
        ending = " failed" if bag["failure"] else f" {bag['problems']} problems" if bag["problems"] else ""
        lines.append(f"{bag['name']:<{width}} {bag['frames'] or 0:>7} {scores}{ending}")
    return "\n".join(lines)


def _known(rows: list[Mapping[str, Any]], key: str) -> list[float]:
    return [row[key] for row in rows if row[key] is not None]
