"""Compare what two people labelled on the same images: IoU and boundary distance by class, PQ, Cohen's kappa, worst images.

Neither is the truth: every number is the same the other way round. Pixels that one of them left unlabelled are left out
and told as a share. OUT gets agreement.json and index.html, a page with the numbers and the images of least agreement.

Example:
  seg_perception label agree --first ann --second ben --labels camvid --out out/agree
"""

from __future__ import annotations

import argparse
import math
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from seg_perception.datasets.label_sets import open_labels
from seg_perception.errors import SegPerceptionError
from seg_perception.labelling.corrected import Corrected, Labelled, add_export_arguments, classes_of
from seg_perception.labelling.page import jpeg_uri, thumbnail
from seg_perception.labels import VOID, LabelSet
from seg_perception.metrics.agreement import Agreement, FrameAgreement
from seg_perception.options import whole
from seg_perception.reports.page import render
from seg_perception.writing import check_new_folder, new_folder, user_path, write_json, write_text

EXIT_SOME_LOST = 1
TEMPLATE = Path(__file__).with_name("agree.html.j2")
WORST = 12
_UNLIKE = (255, 0, 255)
"""Colour of pixels on which they do not agree; no road is of it."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the verb."""
    parser.add_argument("--first", type=user_path, required=True, metavar="DIR", help="an export")
    parser.add_argument("--second", type=user_path, required=True, metavar="DIR", help="another's, of the same images")
    parser.add_argument("--out", type=user_path, required=True, metavar="DIR", help="folder to make")
    add_export_arguments(parser)
    parser.add_argument(
        "--worst", type=whole("--worst", 0), default=WORST, metavar="N", help=f"images to picture (default: {WORST})"
    )
    parser.add_argument("--json", type=user_path, metavar="FILE", help="write the numbers here too")


@dataclass(frozen=True)
class Pictures:
    """An image of little agreement: the image with what differs, and what each of the two says; JPEGs as data URIs."""

    name: str
    same: float
    unlike: str
    first: str
    second: str


def run(arguments: argparse.Namespace) -> int:
    """Compare; returns the exit code."""
    check_new_folder(arguments.out)
    labels, classes = open_labels(arguments.labels), classes_of(arguments.classes)
    both = [
        Corrected(root, arguments.tool or "", arguments.split, labels, classes)
        for root in (arguments.first, arguments.second)
    ]
    agreement, problems = compare(both[0], both[1], labels)
    problems += [told for corrected in both for told in corrected.told()]
    content = numbers(agreement, problems)
    worst = _worst_first(agreement)[: arguments.worst]
    pictures = [
        Pictures(frame.name, frame.same, *_pictures(both[0][frame.name], both[1][frame.name], labels))
        for frame in worst
        if frame.same < 1
    ]
    with new_folder(arguments.out) as folder:
        write_json(folder / "agreement.json", content)
        roots = arguments.first, arguments.second
        page = render(TEMPLATE, content=content, pictures=pictures, roots=roots, text=_text)
        write_text(folder / "index.html", page)
    if arguments.json:
        write_json(arguments.json, content)
    for problem in problems:
        print(problem, file=sys.stderr)
    print(_table(content))
    return EXIT_SOME_LOST if problems else 0


def compare(first: Corrected, second: Corrected, labels: LabelSet) -> tuple[Agreement, list[str]]:
    """All images that both labelled, and sentences on what could not be compared. Raises SegPerceptionError where there is no
    image of both."""
    stems = sorted(set(first.paths) & set(second.paths))
    if not stems:
        raise SegPerceptionError(
            f"the two have no image in common: the first has {_some(first)}, the second {_some(second)}; give two exports of "
            "one job"
        )
    problems = [
        f"{len(lone)} images were labelled by the {word} alone, the first is {lone[0]}"
        for word, lone in (
            ("first", sorted(set(first.paths) - set(second.paths))),
            ("second", sorted(set(second.paths) - set(first.paths))),
        )
        if lone
    ]
    agreement = Agreement(labels)
    for stem, a in first.each(tqdm(stems, unit="image", desc="agree", mininterval=1)):
        b = second[stem]
        if a.label.shape != b.label.shape:
            sizes = [f"{one.label.shape[1]}x{one.label.shape[0]}" for one in (a, b)]
            problems.append(f"{stem} is {sizes[0]} in the first and {sizes[1]} in the second, and is left out")
            continue
        agreement.add(stem, (a.label, a.instance), (b.label, b.instance))
    return agreement, problems


def numbers(agreement: Agreement, problems: list[str]) -> dict[str, Any]:
    """The content of agreement.json; None for what is not known."""
    columns = agreement.iou(), agreement.pq(), agreement.distance_px()
    pixels = agreement.counts.sum(axis=0) + agreement.counts.sum(axis=1)
    rows = [
        {"name": name, "iou": _known(iou), "pq": _known(pq), "boundary_distance_px": _known(apart)}
        for name, iou, pq, apart, count in zip(agreement.labels.names, *columns, pixels, strict=True)
        if count
    ]
    return {
        **{name: _known(value) for name, value in agreement.summary().items()},
        "images": len(agreement.frames),
        "images_with_things_told_apart": agreement.with_things,
        "classes": rows,
        "confused": _confused(agreement),
        "frames": [
            {"name": frame.name, "agreed": _known(frame.same), "labelled_by_both": frame.both}
            for frame in _worst_first(agreement)
        ],
        "problems": problems,
    }


def _worst_first(agreement: Agreement) -> list[FrameAgreement]:
    """Images of which nothing is known, because no pixel is of both, last."""
    return sorted(agreement.frames, key=lambda frame: (math.isnan(frame.same), frame.same, frame.name))


def _confused(agreement: Agreement, most: int = 5) -> list[dict[str, Any]]:
    """The pairs of classes that are taken for each other most, with their share of the pixels that both labelled."""
    counts = agreement.counts + agreement.counts.T
    names = agreement.labels.names
    pairs = [(int(counts[i, j]), names[i], names[j]) for i in range(len(names)) for j in range(i) if counts[i, j]]
    total = max(1, int(agreement.counts.sum()))
    return [{"classes": [a, b], "share": count / total} for count, a, b in sorted(pairs, reverse=True)[:most]]


def _known(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def _some(corrected: Corrected) -> str:
    return ", ".join(sorted(corrected.paths)[:2]) or "none"


def _pictures(first: Labelled, second: Labelled, labels: LabelSet) -> tuple[str, str, str]:
    colors = [_painted(one, labels) for one in (first, second)]
    known = (first.label != VOID) & (second.label != VOID)
    unlike = first.rgb // 2
    unlike[known & (first.label != second.label)] = _UNLIKE
    return jpeg_uri(thumbnail(unlike)), jpeg_uri(thumbnail(colors[0])), jpeg_uri(thumbnail(colors[1]))


def _painted(one: Labelled, labels: LabelSet) -> NDArray[np.uint8]:
    """An image under the colours of its classes."""
    return np.asarray((one.rgb.astype(np.uint16) + labels.colors[one.label]) // 2, np.uint8)


def _text(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _table(content: dict[str, Any]) -> str:
    """The numbers for the terminal."""
    width = max(len(row["name"]) for row in content["classes"]) if content["classes"] else 0
    lines = [f"{'':<{width}} {'IoU':>7} {'PQ':>7} {'px apart':>9}"]
    for row in content["classes"]:
        cells = (_text(row[name]) for name in ("iou", "pq", "boundary_distance_px"))
        lines.append(f"{row['name']:<{width}} {next(cells):>7} {next(cells):>7} {next(cells):>9}")
    lines.append(
        f"{content['images']} images: mIoU {_text(content['miou'])}, PQ {_text(content['pq'])}, kappa {_text(content['kappa'])}, "
        f"boundaries {_text(content['boundary_distance_px'])} px apart"
    )
    return "\n".join(lines)
