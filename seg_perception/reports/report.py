"""The report of a run: one self-contained HTML file of numbers, plots and pictures, and the numbers as JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seg_perception.errors import SegPerceptionError
from seg_perception.labels import LabelSet
from seg_perception.metrics.free_distance import FreeTimeline
from seg_perception.reports import page
from seg_perception.reports.film import Film
from seg_perception.reports.plots import Timeline as Timeline
from seg_perception.reports.plots import plots
from seg_perception.writing import write_json, write_text

TEMPLATE = Path(__file__).with_name("report.html.j2")
PICTURE_WIDTH_PX = 960
"""Pictures are shrunk to this, so that the file can be sent by mail."""
_QUALITY = 85

LABELLED = "frames_labelled"
HEADLINE = (
    ("frames", "frames", "{}"),
    (LABELLED, "labelled", "{}"),
    ("fps", "answers / s", "{:.1f}"),
    ("age_ms.p50", "age p50, ms", "{:.0f}"),
    ("age_ms.p95", "age p95, ms", "{:.0f}"),
    ("frames_in", "frames in", "{}"),
    ("frames_out", "frames out", "{}"),
    ("dropped", "dropped", "{}"),
    ("miou", "mIoU", "{:.3f}"),
    ("pixel_accuracy", "pixel accuracy", "{:.3f}"),
    ("dice", "Dice", "{:.3f}"),
    ("pq", "PQ", "{:.3f}"),
    ("sq", "SQ", "{:.3f}"),
    ("rq", "RQ", "{:.3f}"),
    ("pq_things", "PQ things", "{:.3f}"),
    ("pq_stuff", "PQ stuff", "{:.3f}"),
    ("ap", "AP", "{:.3f}"),
    ("drivable_iou", "drivable IoU", "{:.3f}"),
    ("drivable_false_positives", "false ground", "{:.2%}"),
    ("false_patch_frames", "frames with a false patch ahead", "{:.1%}"),
    ("ece", "calibration error", "{:.3f}"),
    ("boundary_f1", "boundary F1", "{:.3f}"),
    ("flicker", "flicker", "{:.2%}"),
    ("stq", "STQ", "{:.3f}"),
    ("aq", "AQ", "{:.3f}"),
    ("vpq", "VPQ", "{:.3f}"),
    ("hota", "HOTA of things", "{:.3f}"),
    ("id_switches_per_minute", "id switches / min", "{:.2f}"),
    ("obstacle_delay.mean", "obstacle delay, frames", "{:.2f}"),
    ("tracks", "tracks", "{}"),
    ("track_length_s", "track length, s", "{:.1f}"),
    ("number_changes_per_minute", "number changes / min", "{:.1f}"),
    ("unlabelled", "left unlabelled", "{:.2%}"),
)
"""Numbers at the top, where the report holds them: its key, what to call it, how to write it."""

_NOT_IN_TABLE = ("frames_in", "frames_out", "dropped", "fps", "age_ms.p50", "age_ms.p95")
"""What a play tells in words of its own."""

CLASS_COLUMNS = (
    ("iou", "IoU"),
    ("dice_class", "Dice"),
    ("boundary_f1_class", "boundary F1"),
    ("pq_class", "PQ"),
    ("ap_class", "AP"),
)


@dataclass(frozen=True)
class Picture:
    """Images shown side by side. images: caption and uint8 [H, W, 3] RGB."""

    title: str
    images: Sequence[tuple[str, NDArray[np.uint8]]]


@dataclass(frozen=True)
class Report:
    """All that is told. numbers: the content of report.json."""

    title: str
    numbers: Mapping[str, Any]
    labels: LabelSet
    pictures: Sequence[Picture] = ()
    pictures_title: str = "Sample frames"
    timeline: Timeline = field(default_factory=Timeline)
    free: FreeTimeline = field(default_factory=FreeTimeline)
    film: Film = field(default_factory=Film)


def write(report: Report, out: Path, written: list[Path] | None = None) -> None:
    """Write report.json and report.html into the folder out; written: gets each of them once it is there.

    Raises SegPerceptionError when one cannot be written.
    """
    for name in ("report.json", "report.html"):
        path = out / name
        try:
            if name == "report.json":
                write_json(path, report.numbers)
            else:
                write_text(path, render(report))
        except OSError as error:
            raise SegPerceptionError(
                f"{path} cannot be written ({error.strerror}): free space on the disk, or give another --out"
            ) from error
        if written is not None:
            written.append(path)


def render(report: Report) -> str:
    """The HTML page."""
    numbers = report.numbers
    return page.render(
        TEMPLATE,
        title=report.title,
        headline=_headline(numbers),
        facts=_facts(numbers),
        machine=numbers.get("machine", {}),
        problems=numbers.get("problems", []),
        notes=numbers.get("notes", []),
        parts=_part_rows(numbers),
        legend=report.labels.classes,
        class_columns=[name for _, name in CLASS_COLUMNS],
        classes=_class_rows(report),
        stages=numbers.get("stages_ms", {}),
        frames_timed=numbers.get("frames_timed", numbers.get("frames")),
        free_distance=free_distance(numbers),
        bands=_band_rows(numbers.get("free_distance_bands", [])),
        plots=plots(numbers, report.labels, report.timeline, report.free),
        film=report.film.uris(),
        film_step_ms=round(1e3 * report.film.step_s),
        pictures_title=report.pictures_title,
        pictures=[
            (picture.title, [(caption, _picture_uri(rgb, len(picture.images))) for caption, rgb in picture.images])
            for picture in report.pictures
        ],
    )


def table(numbers: Mapping[str, Any]) -> str:
    """The metrics as text for the terminal; empty where there are none."""
    classes = numbers.get("iou", {}).items()
    rows = [("class", "IoU")] if classes else []
    rows += [(name, "-" if iou is None else f"{iou:.3f}") for name, iou in classes]
    rows += [(name, text) for key, name, text in _told(numbers) if key not in _NOT_IN_TABLE]
    width = max((len(name) for name, _ in rows), default=0)
    return "\n".join(f"{name:<{width}} {text:>7}" for name, text in rows)


def _headline(numbers: Mapping[str, Any]) -> list[tuple[str, str]]:
    return [(name, text) for _, name, text in _told(numbers)]


def _told(numbers: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """Key, name and number of what HEADLINE names and the report holds."""
    found = []
    for key, name, form in HEADLINE:
        value: Any = numbers
        for part in key.split("."):
            value = value.get(part) if isinstance(value, Mapping) else None
        value = _labelled(numbers) if key == LABELLED else value
        if value is not None:
            found.append((key, name, form.format(value)))
    return found


def _labelled(numbers: Mapping[str, Any]) -> str | None:
    """How many frames the metrics of labels are of, None in reports that don't count them."""
    labelled, frames = numbers.get(LABELLED), numbers.get("frames", numbers.get("frames_in"))
    return None if labelled is None or frames is None else f"{labelled} of {frames}"


def _facts(numbers: Mapping[str, Any]) -> list[tuple[str, str]]:
    found = []
    for key in ("source", "calibration", "model", "backend", "mode", "clock", "rate_factor", "rate_hz", "interrupted"):
        value = numbers.get(key)
        if isinstance(value, Mapping):
            value = ", ".join(f"{name} {part}" for name, part in value.items() if part not in ("", None))
        if value not in (None, "", False):
            found.append((key.replace("_", " "), str(value)))
    return found


def _class_rows(report: Report) -> list[tuple[Any, list[str]]]:
    numbers = report.numbers
    columns = [numbers.get(key) for key, _ in CLASS_COLUMNS]
    if columns[0] is None:
        return []

    return [
        (label, [shown((column or {}).get(label.name), "{:.3f}") for column in columns])
        for label in report.labels.classes
    ]


def _part_rows(numbers: Mapping[str, Any]) -> list[tuple[str, list[str]]]:
    """A row for each bag or each image topic, where there are several: frames, mIoU, PQ, and why it failed."""
    parts = [(bag["name"], bag) for bag in numbers.get("bags", ())] + list(numbers.get("topics", {}).items())
    rows = []
    for name, part in parts:
        frames = part.get("frames") or part.get("frames_in") or 0
        scores = ["–" if part.get(key) is None else f"{part[key]:.3f}" for key in ("miou", "pq")]
        rows.append((name, [str(frames), *scores, part.get("failure") or ""]))
    return rows


def shown(value: float | None, form: str) -> str:
    """A number in that form, a dash where there is none."""
    return "–" if value is None else form.format(value)


def free_distance(numbers: Mapping[str, Any]) -> str:
    """Errors of the free distance ahead and obstacles that were missed or made up, as a sentence with the number of frames
    of each; empty where nothing was compared."""
    error_m = numbers.get("free_distance_error_m")
    if not error_m:
        return ""

    def rate(name: str, what: str) -> str:
        told = numbers[f"free_distance_{name}"]
        return f"{what} in {round((told['share'] or 0.0) * told['of'])} of {told['of']} frames"

    return (
        f"free distance ahead is off by {error_m['p50']:.2f} m (p50), {error_m['p95']:.2f} m (p95) over "
        f"{error_m['frames']} frames; {rate('missed', 'an obstacle was missed')}, "
        f"{rate('false', 'one was seen where there is none')}, {rate('not_measured', 'nothing was measured')}"
    )


def _band_rows(bands: Sequence[Mapping[str, Any]]) -> list[tuple[str, list[str]]]:
    return [
        (
            f"{band['from_m']:g} to {band['to_m']:g} m" if band["to_m"] is not None else f"beyond {band['from_m']:g} m",
            [
                str(band["frames"]),
                str(band["not_measured"]),
                shown(band["error_m"].get("p50"), "{:.2f}"),
                shown(band["error_m"].get("p95"), "{:.2f}"),
                shown(band["within_tolerance"], "{:.0%}"),
            ],
        )
        for band in bands
    ]


def _picture_uri(rgb: NDArray[np.uint8], beside: int) -> str:
    width = PICTURE_WIDTH_PX // min(beside, 2)
    return page.jpeg_uri(page.thumbnail(rgb, width), _QUALITY)
