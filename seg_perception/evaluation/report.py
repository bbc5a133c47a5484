"""The report of a run: one self-contained HTML file of numbers, plots and pictures, and the numbers as JSON."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import jinja2
import numpy as np
from numpy.typing import NDArray

from seg_perception.errors import SegPerceptionError
from seg_perception.files import write_json, write_text
from seg_perception.labels import LabelSet

TEMPLATE = Path(__file__).with_name("report.html.j2")
PICTURE_WIDTH_PX = 960
"""Pictures are shrunk to this, so that the file can be sent by mail."""

HEADLINE = (
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
    ("drivable_iou", "drivable IoU", "{:.3f}"),
    ("boundary_f1", "boundary F1", "{:.3f}"),
)
"""Numbers at the top, where the report holds them: its key, what to call it, how to write it."""


@dataclass(frozen=True)
class Picture:
    """Images shown side by side. images: caption and uint8 [H, W, 3] RGB."""

    title: str
    images: Sequence[tuple[str, NDArray[np.uint8]]]


@dataclass(frozen=True)
class Timeline:
    """When each frame was sent, in s from the start, and the age of its answer in ms, NaN where none came."""

    sent_s: Sequence[float] = ()
    age_ms: Sequence[float] = ()


@dataclass(frozen=True)
class FreeTimeline:
    """Free distance in m of the answered frames, by when they were sent, s from the start: straight ahead, over the
    vehicle's width, and the exact one ahead. NaN where unknown, inf beyond the range."""

    sent_s: Sequence[float] = ()
    ahead_m: Sequence[float] = ()
    width_m: Sequence[float] = ()
    exact_m: Sequence[float] = ()


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


def write(report: Report, out: Path) -> None:
    """Write report.json and report.html into the folder out.

    Raises SegPerceptionError when the folder cannot be written to.
    """
    try:
        write_json(out / "report.json", report.numbers)
        write_text(out / "report.html", render(report))
    except OSError as error:
        raise SegPerceptionError(
            f"the report cannot be written to {out} ({error.strerror}): give another --out"
        ) from error


def render(report: Report) -> str:
    """The HTML page."""
    numbers = report.numbers
    return (
        jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined)
        .from_string(TEMPLATE.read_text(encoding="utf-8"))
        .render(
            title=report.title,
            headline=_headline(numbers),
            facts=_facts(numbers),
            machine=numbers.get("machine", {}),
            problems=numbers.get("problems", []),
            legend=report.labels.classes,
            classes=_class_rows(report),
            stages=numbers.get("stages_ms", {}),
            bands=_band_rows(numbers.get("free_distance_bands", [])),
            plots=_plots(report),
            pictures_title=report.pictures_title,
            pictures=[
                (picture.title, [(caption, _picture_uri(rgb, len(picture.images))) for caption, rgb in picture.images])
                for picture in report.pictures
            ],
        )
    )


def table(numbers: Mapping[str, Any]) -> str:
    """The labelled metrics as text for the terminal; empty without labels."""
    rows = [(name, iou) for name, iou in numbers.get("iou", {}).items()]
    if not rows:
        return ""
    lines = [f"{'class':<14} {'IoU':>7}"]
    lines += [f"{name:<14} {'-' if iou is None else format(iou, '7.3f'):>7}" for name, iou in rows]
    for key, name, form in HEADLINE:
        value = numbers.get(key)
        if key not in ("frames_in", "frames_out", "dropped", "fps") and "." not in key and value is not None:
            lines.append(f"{name:<14} {form.format(value):>7}")
    return "\n".join(lines)


def _headline(numbers: Mapping[str, Any]) -> list[tuple[str, str]]:
    found = []
    for key, name, form in HEADLINE:
        value: Any = numbers
        for part in key.split("."):
            value = value.get(part) if isinstance(value, Mapping) else None
        if value is not None:
            found.append((name, form.format(value)))
    return found


def _facts(numbers: Mapping[str, Any]) -> list[tuple[str, str]]:
    found = []
    for key in ("source", "calibration", "model", "backend", "rate_hz", "interrupted"):
        value = numbers.get(key)
        if isinstance(value, Mapping):
            value = ", ".join(f"{name} {part}" for name, part in value.items() if part not in ("", None))
        if value not in (None, "", False):
            found.append((key.replace("_", " "), str(value)))
    return found


def _class_rows(report: Report) -> list[tuple[Any, list[str]]]:
    numbers = report.numbers
    columns = [numbers.get(key) for key in ("iou", "boundary_f1_class", "pq_class")]
    if columns[0] is None:
        return []

    def shown(column: Mapping[str, float | None] | None, name: str) -> str:
        value = (column or {}).get(name)
        return "–" if value is None else f"{value:.3f}"

    return [(label, [shown(column, label.name) for column in columns]) for label in report.labels.classes]


def _band_rows(bands: Sequence[Mapping[str, Any]]) -> list[tuple[str, list[str]]]:
    def shown(value: float | None, form: str) -> str:
        return "–" if value is None else form.format(value)

    return [
        (
            f"{band['from_m']:g} to {band['to_m']:g} m",
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
    if rgb.shape[1] > width:
        height = max(1, round(rgb.shape[0] * width / rgb.shape[1]))
        rgb = cv2.resize(rgb, (width, height), interpolation=cv2.INTER_AREA)
    _, encoded = cv2.imencode(".jpg", cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 85])
    return "data:image/jpeg;base64," + base64.b64encode(encoded.tobytes()).decode()


def _plots(report: Report) -> list[tuple[str, str]]:
    """(caption, PNG as a data URI) of every plot that the numbers allow."""
    plots = []
    ages = np.asarray(report.timeline.age_ms, np.float64)
    if np.isfinite(ages).any():
        plots.append(
            ("Age of the answer: from the camera's stamp to its arrival at the planner", _age_plot(report.timeline))
        )
    stages = report.numbers.get("stages_ms")
    if stages:
        plots.append(("Time of each stage inside the node", _stage_plot(stages)))
    if len(report.free.sent_s):
        plots.append(
            ("Free distance straight ahead, and the shortest over the vehicle's width", _free_plot(report.free))
        )
    if report.numbers.get("confusion"):
        counts = np.asarray(report.numbers["confusion"], np.float64)
        plots.append(
            ("Confusion: share of each true class (row) by prediction (column)", _confusion_plot(counts, report.labels))
        )
    return plots


def _figure(width_in: float, height_in: float, columns: int = 1) -> tuple[Any, Any]:
    from matplotlib.figure import Figure  # half a second to import, so only where something is drawn

    figure = Figure(figsize=(width_in, height_in), dpi=120, layout="constrained")
    return figure, figure.subplots(1, columns)


def _png_uri(figure: Any) -> str:
    data = io.BytesIO()
    figure.savefig(data, format="png")
    return "data:image/png;base64," + base64.b64encode(data.getvalue()).decode()


def _age_plot(timeline: Timeline) -> str:
    sent, age = np.asarray(timeline.sent_s, np.float64), np.asarray(timeline.age_ms, np.float64)
    answered = np.isfinite(age)
    figure, (left, right) = _figure(10, 3, 2)
    left.hist(age[answered], bins=min(60, max(10, int(math.sqrt(answered.sum())))), color="#4c78a8")
    for share, color in ((50, "#54a24b"), (95, "#e45756")):
        value = np.percentile(age[answered], share)
        left.axvline(value, color=color, label=f"p{share} = {value:.0f} ms")
    left.legend()
    left.set(xlabel="age, ms", ylabel="frames")
    right.plot(sent[answered], age[answered], ".", markersize=3, color="#4c78a8", label="answered")
    if not answered.all():
        lost = sent[~answered]
        right.plot(lost, np.zeros(len(lost)), "|", markersize=9, color="#e45756", label=f"dropped ({len(lost)})")
    right.legend()
    right.set(xlabel="sent after, s", ylabel="age, ms", ylim=(min(0, -0.05 * age[answered].max()), None))
    return _png_uri(figure)


def _stage_plot(stages: Mapping[str, Mapping[str, float]]) -> str:
    names = list(stages)[::-1]
    figure, axes = _figure(10, 0.6 + 0.35 * len(names))
    for share, color, height in (("p95", "#f3b4b4", 0.8), ("p50", "#4c78a8", 0.5)):
        values = [stages[name].get(share, math.nan) for name in names]
        axes.barh(names, values, height=height, color=color, label=share)
    axes.set_xlabel("ms")
    axes.legend()
    return _png_uri(figure)


def _free_plot(free: FreeTimeline) -> str:
    sent = np.asarray(free.sent_s, np.float64)
    figure, axes = _figure(10, 3)
    lines = (("ahead", free.ahead_m, "#0072b2", 1.8), ("over the vehicle's width", free.width_m, "#e69f00", 1.2))
    for name, values, color, width in lines:
        metres = np.array(values, np.float64)
        if not np.isnan(metres).all():
            metres[np.isinf(metres)] = np.nan
            axes.plot(sent, metres, ".-", color=color, linewidth=width, markersize=3, label=name)
    exact = np.asarray(free.exact_m, np.float64)
    known = np.isfinite(exact)
    if known.any():
        axes.plot(sent[known], exact[known], "x", color="black", markersize=5, label="exact, ahead")
    top = axes.get_xaxis_transform()
    for name, values, color, height in (("", free.ahead_m, "#0072b2", 0.97), ("exact ", free.exact_m, "black", 0.91)):
        beyond = np.isinf(np.asarray(values, np.float64))
        if beyond.any():
            heights = np.full(np.count_nonzero(beyond), height)
            label = f"{name}beyond the range"
            axes.plot(sent[beyond], heights, "^", color=color, markersize=4, transform=top, label=label)
    axes.set(xlabel="sent after, s", ylabel="m", ylim=(0, None))
    axes.legend(loc="center left", bbox_to_anchor=(1, 0.5))
    return _png_uri(figure)


def _confusion_plot(counts: NDArray[np.float64], labels: LabelSet) -> str:
    share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    size = 1.6 + 0.42 * len(labels)
    figure, axes = _figure(size + 0.8, size)
    axes.imshow(share, cmap="Blues", vmin=0, vmax=1)
    axes.set_xticks(range(len(labels) + 1), [*labels.names, "void"], rotation=60, ha="right")
    axes.set_yticks(range(len(labels)), labels.names)
    for row, column in np.argwhere(share >= 0.005):
        value = share[row, column]
        axes.text(
            column, row, f"{100 * value:.0f}", ha="center", va="center", fontsize=7, color="w" if value > 0.5 else "k"
        )
    return _png_uri(figure)
