"""The differences of two runs as text for the terminal and as one self-contained HTML page."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from seg_perception.metrics.bootstrap import CONFIDENCE, RESAMPLES
from seg_perception.metrics.differences import Difference, Result, Verdict
from seg_perception.reports import page
from seg_perception.reports.plots import as_written, figure_of, png_uri

TEMPLATE = Path(__file__).with_name("compare.html.j2")
IN_PAGE_ONLY = ("dice_class", "pq_class", "ap_class", "boundary_f1_class", "topics")
IOU = "iou."
BETTER, WORSE, UNSURE = "#2a7f3f", "#b3261e", "#777777"


def table(result: Result) -> str:
    """The numbers for the terminal; * marks differences whose interval leaves 0 out."""
    rows = [row for row in _rows(result) if row[1].split(".")[0] not in IN_PAGE_ONLY]
    width = max(len(key) for _, key, _ in rows)
    head = ("A", "B", "B - A", f"{CONFIDENCE:.0%} interval")
    lines = [f"{'':<{width}}" + "".join(f"{word:>{size}}" for word, size in zip(head, (11, 11, 11, 24)))]
    for clear, key, cells in rows:
        columns = "".join(f"{cell:>{size}}" for cell, size in zip(cells, (11, 11, 11, 24)))
        lines.append(f"{key:<{width}}{columns}{' *' if clear else ''}".rstrip())
    return "\n".join(lines)


def sentence(verdict: Verdict) -> str:
    """What a limit says and what the number is."""
    what = "the difference" if verdict.limit.of_difference else "B's"
    return f"{'broken' if verdict.broken else 'kept'}: {verdict.limit.text} ({what} is {verdict.number:.5g})"


def render(result: Result) -> str:
    """The HTML page."""
    drawn_in = f"blocks of {result.block} neighbouring frames" if result.block > 1 else "frames"
    return page.render(
        TEMPLATE,
        title=f"{result.b.numbers['model']} against {result.a.numbers['model']}",
        runs=(("A", result.a), ("B", result.b)),
        notes=result.notes,
        verdicts=[
            *((f"broken: {words}", True) for words in result.broken),
            *((sentence(verdict), verdict.broken) for verdict in result.verdicts),
        ],
        plot=_plot({k.removeprefix(IOU): row for k, row in result.differences.items() if k.startswith(IOU)}),
        caption="B - A with its interval: green is better, red worse, grey may be chance",
        rows=_rows(result),
        percent=round(100 * CONFIDENCE),
        explanation=f"Bootstrap percentile intervals of {RESAMPLES} resamples of {drawn_in}; bold: the interval "
        "leaves 0 out. Each stands for itself: of twenty, one leaves 0 out by chance. Numbers without an interval "
        "are not sums over frames, or of too few of them, as rare percentiles need many.",
    )


def _rows(result: Result) -> list[tuple[bool, str, Sequence[str]]]:
    return [(row.is_clear, key, _cells(row)) for key, row in result.differences.items()]


def _cells(row: Difference) -> Sequence[str]:
    broken = ".4f" if max(abs(row.a), abs(row.b)) <= 1 else ".2f"
    form = "d" if isinstance(row.a, int) and isinstance(row.b, int) else broken
    none = "too few frames" if row.too_few_frames else ""
    interval = none if row.low is None else f"[{row.low:+{broken}}, {row.high:+{broken}}]"
    return f"{row.a:{form}}", f"{row.b:{form}}", f"{row.change:+{form}}", interval


def _plot(classes: dict[str, Difference]) -> str:
    """Differences in IoU by class, as the data URI of a PNG; empty without any."""
    if not classes:
        return ""
    figure, axes = figure_of(9, 1 + 0.32 * len(classes))
    for place, row in enumerate(classes.values()):
        color = UNSURE if not row.is_clear else BETTER if row.change > 0 else WORSE
        if row.low is not None and row.high is not None:
            axes.plot((row.low, row.high), (place, place), "-", color=color, linewidth=2.5, solid_capstyle="butt")
        axes.plot(row.change, place, "o" if row.low is not None else "x", color=color, markersize=6)
    axes.axvline(0, color="k", linewidth=0.8)
    axes.set_yticks(np.arange(len(classes)), list(map(as_written, classes)))
    axes.invert_yaxis()
    axes.grid(axis="x", alpha=0.3)
    axes.set_xlabel("IoU, B - A")
    return png_uri(figure)
