"""The plots of a report, as PNG data URIs that stand in the page itself."""

from __future__ import annotations

import base64
import io
import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seg_perception.labels import LabelSet
from seg_perception.metrics.drivable_curve import at_best
from seg_perception.metrics.free_distance import FreeTimeline

BLUE, GREEN, ORANGE, RED = "#4c78a8", "#54a24b", "#e69f00", "#e45756"
_LONGEST_NAME = 30
"""Letters of a name in a plot."""
_CELL_IN, _WIDEST_IN, _LEAST_WRITTEN_IN = 0.42, 24.0, 0.2
"""Of the confusion: a class's cell, all of them, and the smallest cell that has room for a number."""


@dataclass(frozen=True)
class Timeline:
    """When each frame was sent, in s from the start, and the age of its answer in ms, NaN where none came."""

    sent_s: Sequence[float] = ()
    age_ms: Sequence[float] = ()


def plots(
    numbers: Mapping[str, Any], labels: LabelSet, timeline: Timeline, free: FreeTimeline
) -> list[tuple[str, str]]:
    """(caption, PNG as a data URI) of every plot that the numbers allow. numbers: the content of report.json."""
    found = []
    rows = numbers.get("per_frame", ())
    network_ms = [math.nan if row.get("network_ms") is None else row["network_ms"] for row in rows]
    if np.isfinite(np.asarray(timeline.age_ms, np.float64)).any():
        plot = _times(timeline.sent_s, timeline.age_ms, "age, ms", "sent after, s")
        found.append(("Age of the answer: from the camera's stamp to its arrival at the planner", plot))
    elif np.isfinite(network_ms).any():
        found.append(("Time of the network", _times(range(len(rows)), network_ms, "network, ms", "frame")))
    if numbers.get("stages_ms"):
        found.append(("Time of each stage", _stages(numbers["stages_ms"])))
    if len(free.sent_s):
        found.append(("Free distance straight ahead, and the shortest over the vehicle's width", _free(free)))
    frames = [row.get("miou") for row in rows]
    if sum(miou is not None for miou in frames) > 1:
        found.append(("mIoU of each frame, over the classes that occur in it", _mious(frames, numbers.get("miou"))))
    if numbers.get("drivable_curve"):
        caption = "Drivable ground where only pixels of at least this confidence count as found"
        found.append((caption, _curve(numbers["drivable_curve"])))
    if numbers.get("ground_curve"):
        caption = "Drivable ground where only pixels count as found that are ground with at least this probability"
        found.append((caption, _curve(numbers["ground_curve"])))
    if numbers.get("reliability"):
        caption = f"Is confidence earned? Expected calibration error {numbers['ece']:.3f}"
        found.append((caption, _reliability(numbers["reliability"])))
    if any(numbers.get("confidence_histogram") or ()):
        found.append(("Confidence: share of all pixels", _confidence(numbers["confidence_histogram"])))
    if numbers.get("confusion"):
        counts = np.asarray(numbers["confusion"], np.float64)
        found.append(("Confusion: share of each true class (row) by prediction (column)", _confusion(counts, labels)))
    return found


def figure_of(width_in: float, height_in: float, columns: int = 1) -> tuple[Any, Any]:
    """A figure, and its axes; several columns of them as an array."""
    from matplotlib.figure import Figure  # half a second to import, so only where something is drawn

    figure = Figure(figsize=(width_in, height_in), dpi=120, layout="constrained")
    return figure, figure.subplots(1, columns)


def as_written(name: str) -> str:
    """A name from outside, such as a class's, as Matplotlib's text: between two $ it would read a formula, and a long one
    would leave no room for what is drawn."""
    return (name if len(name) <= _LONGEST_NAME else f"{name[: _LONGEST_NAME - 1]}…").replace("$", r"\$")


def png_uri(figure: Any) -> str:
    """The figure as the data URI of a PNG."""
    data = io.BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from", UserWarning)  # an emoji becomes a box
        figure.savefig(data, format="png")
    return "data:image/png;base64," + base64.b64encode(data.getvalue()).decode()


def _times(at: Sequence[float], times_ms: Sequence[float], name: str, along: str) -> str:
    """How times spread, and how they went; NaN: the frame was dropped."""
    places, times = np.asarray(at, np.float64), np.asarray(times_ms, np.float64)
    known = np.isfinite(times)
    figure, (left, right) = figure_of(10, 3, 2)
    left.hist(times[known], bins=min(60, max(10, int(math.sqrt(known.sum())))), color=BLUE)
    for share, color in ((50, GREEN), (95, RED)):
        value = np.percentile(times[known], share)
        left.axvline(value, color=color, label=f"p{share} = {value:.0f} ms")
    left.legend()
    left.set(xlabel=name, ylabel="frames")
    right.plot(places[known], times[known], ".", markersize=3, color=BLUE, label="answered")
    if not known.all():
        lost = places[~known]
        right.plot(lost, np.zeros(len(lost)), "|", markersize=9, color=RED, label=f"dropped ({len(lost)})")
        right.legend()
    right.set(xlabel=along, ylabel=name, ylim=(min(0, -0.05 * times[known].max()), None))
    return png_uri(figure)


def _stages(stages: Mapping[str, Mapping[str, float]]) -> str:
    names = list(stages)[::-1]
    figure, axes = figure_of(10, 0.6 + 0.35 * len(names))
    for share, color, height in (("p95", "#f3b4b4", 0.8), ("p50", BLUE, 0.5)):
        values = [stages[name].get(share, math.nan) for name in names]
        axes.barh(names, values, height=height, color=color, label=share)
    axes.set_xlabel("ms")
    axes.legend()
    return png_uri(figure)


def _free(free: FreeTimeline) -> str:
    sent = np.asarray(free.sent_s, np.float64)
    figure, axes = figure_of(10, 3)
    lines = (("ahead", free.ahead_m, "#0072b2", 1.8), ("over the vehicle's width", free.width_m, ORANGE, 1.2))
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
    return png_uri(figure)


def _confidence(histogram: Sequence[int]) -> str:
    pixels = np.asarray(histogram, np.float64)
    figure, axes = figure_of(10, 2.6)
    axes.bar((np.arange(len(pixels)) + 0.5) / len(pixels), pixels / pixels.sum(), 0.9 / len(pixels), color=BLUE)
    axes.set(xlabel="confidence", ylabel="share of pixels", xlim=(0, 1))
    return png_uri(figure)


def _confusion(counts: NDArray[np.float64], labels: LabelSet) -> str:
    share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    cell_in = min(_CELL_IN, _WIDEST_IN / len(labels))
    size = 1.6 + cell_in * len(labels)
    figure, axes = figure_of(size + 0.8, size)
    axes.imshow(share, cmap="Blues", vmin=0, vmax=1)
    axes.set_xticks(range(len(labels) + 1), [*map(as_written, labels.names), "void"], rotation=60, ha="right")
    axes.set_yticks(range(len(labels)), list(map(as_written, labels.names)))
    axes.tick_params(labelsize=min(10.0, 60 * cell_in))
    for row, column in np.argwhere(share >= 0.005) if cell_in >= _LEAST_WRITTEN_IN else ():
        value, shade = f"{100 * share[row, column]:.0f}", "w" if share[row, column] > 0.5 else "k"
        text = axes.text(column, row, value, ha="center", va="center", fontsize=7, color=shade)
        text.set_in_layout(False)  # it lies within the axes: to look at each takes as long as to draw it
    return png_uri(figure)


def _mious(frames: Sequence[float | None], whole: float | None) -> str:
    values = np.array(frames, np.float64)
    figure, axes = figure_of(10, 3)
    axes.plot(np.arange(len(values)), values, ".-", color=BLUE, linewidth=0.8, markersize=3)
    if whole is not None:
        axes.axhline(whole, color=GREEN, label=f"all frames together = {whole:.3f}")
        axes.legend()
    axes.set(xlabel="frame", ylabel="mIoU", ylim=(0, 1))
    return png_uri(figure)


def _reliability(reliability: Mapping[str, Sequence[float | None]]) -> str:
    """Share of right answers over confidence; below the diagonal the network is too sure. Dots by their bin's pixels."""
    confidence, accuracy, share = (
        np.array(reliability[name], np.float64) for name in ("confidence", "accuracy", "share")
    )
    figure, axes = figure_of(5, 4)
    axes.plot((0, 1), (0, 1), "--", color="grey", linewidth=0.8, label="as it should be")
    axes.plot(confidence, accuracy, "-", color=BLUE)
    axes.scatter(confidence, accuracy, s=6 + 300 * share, color=BLUE, label="this run")
    axes.set(xlabel="confidence", ylabel="share of right answers", xlim=(0, 1), ylim=(0, 1.02))
    axes.legend()
    return png_uri(figure)


def _curve(curve: Mapping[str, Sequence[float | None]]) -> str:
    figure, (left, right) = figure_of(10, 3.4, 2)
    names = (("precision", BLUE), ("recall", ORANGE), ("iou", GREEN))
    values = {name: np.array(curve[name], np.float64) for name, _ in names}
    threshold, iou = at_best(curve)
    for name, color in names:
        left.plot(
            curve["threshold"], values[name], ".-", color=color, markersize=3, label="IoU" if name == "iou" else name
        )
    left.axvline(threshold, color="grey", linewidth=0.8, label=f"highest IoU {iou:.3f} at {threshold:.2f}")
    left.set(xlabel="least confidence", ylim=(0, 1.02))
    left.legend()
    right.plot(values["recall"], values["precision"], ".-", color=BLUE, markersize=3)
    lowest = np.nanmin(values["precision"], initial=1.0)
    right.set(xlabel="recall", ylabel="precision", xlim=(0, 1.02), ylim=(math.floor(20 * lowest) / 20 - 0.01, 1.005))
    return png_uri(figure)
