"""The report: self-contained, honest about what is not known, whole or not there."""

from __future__ import annotations

import base64
import json
import math
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from eval_fixtures import label_mask, picture

from seg_perception import machine
from seg_perception.errors import SegPerceptionError
from seg_perception.labels import CAMVID, LabelClass, LabelSet
from seg_perception.metrics.differences import compare
from seg_perception.metrics.free_distance import FreeDistance, FreeTimeline
from seg_perception.metrics.run_report import RunReport
from seg_perception.metrics.scores import Scores
from seg_perception.reports import compare_page, report
from seg_perception.reports.film import Film
from seg_perception.reports.plots import plots
from seg_perception.results import Drivable, DrivableArea, Segment, Track, Truth


class Page(HTMLParser):
    """What a page shows and what it asks for."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.words: list[str] = []
        self.sources: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.sources += [value or "" for name, value in attrs if name in ("src", "href")]

    def handle_data(self, data: str) -> None:
        self.words += data.split("\n")


def numbers(**more: Any) -> dict[str, Any]:
    scores = Scores(CAMVID)
    none = np.zeros((48, 64), np.uint16)
    scores.add(label_mask(1), none, Truth(label_mask(2), none))
    return {
        "source": "drive <1>.mp4",
        "frames_in": 4,
        "frames_out": 3,
        "dropped": 1,
        "fps": 12.5,
        "age_ms": {"p50": 61.0, "p95": 88.0},
        "stages_ms": {"network": {"p50": 50.0, "p95": 60.0}, "decode": {"p50": 3.0, "p95": 4.0}},
        "backend": {"backend": "onnxruntime", "device": "CPU"},
        "model": "tiny",
        "machine": machine.describe(),
        "problems": ["frame 3 is <truncated>"],
        **scores.summary(),
        **more,
    }


def a_report(**more: Any) -> report.Report:
    timeline = report.Timeline([0.0, 0.1, 0.2, 0.3], [60.0, math.nan, 61.0, 88.0])
    pictures = [report.Picture("frame 0", [("answer", picture(0)), ("truth", picture(1))])]
    return report.Report("tiny on a drive", numbers(**more), CAMVID, pictures, timeline=timeline)


def test_the_page_holds_all_it_shows(tmp_path: Path) -> None:
    report.write(a_report(), tmp_path)
    page = Page((tmp_path / "report.html").read_text())
    assert page.sources and all(source.startswith("data:image/") for source in page.sources)
    assert len(page.sources) == 3 + 2  # ages, stages, confusion, and two pictures
    text = "\n".join(page.words)
    for part in (
        *CAMVID.names,
        "12.5",
        "drive <1>.mp4",
        "frame 3 is <truncated>",
        "onnxruntime",
        "network",
        f"{numbers()['miou']:.3f}",
    ):
        assert part in text, part


def test_the_json_has_the_same_numbers_and_null_for_what_is_unknown(tmp_path: Path) -> None:
    report.write(a_report(), tmp_path)
    have = json.loads((tmp_path / "report.json").read_text())
    assert have["miou"] == numbers()["miou"]
    assert have["iou"]["car"] is None and have["pq_things"] is None
    assert sorted(path.name for path in tmp_path.iterdir()) == ["report.html", "report.json"]


def test_the_ground_is_plotted_and_its_errors_are_a_table() -> None:
    band = {"from_m": 10.0, "to_m": 20.0, "frames": 17, "not_measured": 2, "within_tolerance": 0.8,
            "error_m": {"p50": 0.123, "p95": 0.456}}  # fmt: skip
    empty = {**band, "from_m": 20.0, "to_m": 40.0, "error_m": {}, "within_tolerance": None}
    free = FreeTimeline([0.0, 0.1, 0.2], [9.0, math.inf, math.nan], [math.nan] * 3, [9.1, math.nan, math.nan])
    beyond = {**band, "from_m": 40.0, "to_m": None}
    rates = {f"free_distance_{name}": {"share": 0.25, "of": 8} for name in ("missed", "false", "not_measured")}
    error_m = {"p50": 0.1, "p95": 8.0, "frames": 20}
    numbers = {
        "free_distance_bands": [band, empty, beyond],
        "free_distance_error_m": error_m,
        **rates,
        "calibration": "assumed: hfov 60 deg",
    }
    page = Page(report.render(report.Report("ground", numbers, CAMVID, free=free)))
    assert len(page.sources) == 1 and page.sources[0].startswith("data:image/png")
    row = page.words[page.words.index("10 to 20 m") :]
    assert [word for word in row if word.strip()][:6] == ["10 to 20 m", "17", "2", "0.12", "0.46", "80%"]
    assert any("8.00 m (p95) over 20 frames; an obstacle was missed in 2 of 8 frames" in word for word in page.words)
    assert "20 to 40 m" in page.words and "beyond 40 m" in page.words and "assumed: hfov 60 deg" in page.words
    assert len(Page(report.render(report.Report("none", {}, CAMVID))).sources) == 0


def test_one_missed_obstacle_of_a_long_drive_is_told() -> None:
    """Its share of the frames was rounded to none."""
    lost = FreeDistance(CAMVID, 40.0)
    for number in range(30_001):
        lost.add(
            number / 30,
            Drivable((DrivableArea(3, 1.0, 1.0, (), free_distance_m=math.inf if number == 7 else 9.0),)),
            9.0,
        )
    assert "an obstacle was missed in 1 of 30001 frames" in report.free_distance(lost.summary())


NEW = Segment(1, 8, True, 0.9, 10, (0, 0, 5, 5))
FOLLOWED = replace(NEW, track=Track(7, 8, "confirmed", 1.0, 30, 0.0, (0, 0, 5, 5), (0.0, 0.0), (1.0, 1.0)))


def test_what_is_followed_is_played_in_small_pictures_of_the_first_seconds() -> None:
    film, seen = Film(), np.zeros((90, 1600, 3), np.uint8)
    for i in range(600):
        seen[:] = i % 250
        film.add(seen, i / 30)
    assert len(film.pictures) == 80 and not film.follows([FOLLOWED])
    assert Film().follows([NEW, FOLLOWED]) and not Film().follows([NEW])
    levels = [cv2.imdecode(np.frombuffer(picture, np.uint8), cv2.IMREAD_COLOR) for picture in film.pictures[:4]]
    assert levels[0].shape == (36, 640, 3) and [level.mean() for level in levels] == pytest.approx([0, 3, 6, 9], abs=1)
    page = report.render(report.Report("tracks", {}, CAMVID, film=film))
    assert Page(page).sources == film.uris()[:1] and all(uri in page.replace("\\u002b", "+") for uri in film.uris())
    assert "<script" not in report.render(report.Report("none", {}, CAMVID))


@pytest.mark.parametrize(("period_s", "shown_ms"), [(1 / 30, 100), (0.25, 250), (20.0, 1000)])
def test_it_is_played_as_fast_as_it_was_taken_and_a_clock_that_goes_back_does_not_stop_it(
    period_s: float, shown_ms: int
) -> None:
    film = Film()
    for i in [*range(40), *range(40)]:
        film.add(np.zeros((9, 16, 3), np.uint8), 100 + i * period_s)
    assert len(film.pictures) == (28 if period_s < 0.1 else 80)
    page = report.render(report.Report("tracks", {}, CAMVID, film=film))
    assert f"}}, {shown_ms});" in page


def test_what_is_told_without_labels_of_many_parts_and_of_odd_recordings() -> None:
    bags = [
        {"name": "north", "frames": 7, "miou": 0.25, "pq": None, "failure": None},
        {"name": "south", "frames": None, "miou": None, "pq": None, "failure": "its <process> was killed"},
    ]
    rows = [{"miou": None, "network_ms": 20.0}, {"miou": None, "network_ms": 22.0}]
    told = {"frames": 7, "flicker": 0.0125, "unlabelled": 0.5, "confidence_histogram": [0, 1, 3], "bags": bags}
    told |= {"notes": ["/front: 2 stamps jump back"], "per_frame": rows, "mode": "live", "clock": "simulated"}
    page = Page(report.render(report.Report("plain", told, CAMVID)))
    assert len(page.sources) == 2  # the network's times, and the confidence
    words = [word.strip() for word in page.words if word.strip()]
    for part in ("1.25%", "50.00%", "/front: 2 stamps jump back", "its <process> was killed", "simulated"):
        assert part in words, part
    row = words.index("north")
    assert words[row + 1 : row + 4] == ["7", "0.250", "–"]
    assert report.table(told).split() == ["frames", "7", "flicker", "1.25%", "left", "unlabelled", "50.00%"]


def test_without_labels_no_metric_is_shown() -> None:
    plain = {k: v for k, v in numbers().items() if k in ("source", "frames_in", "fps", "machine", "model")}
    page = report.render(report.Report("plain", plain, CAMVID))
    assert "mIoU" not in page and "boundary" not in page and "data:image" not in page
    assert report.table(plain) == ""


def test_the_table_names_every_class_and_metric() -> None:
    text = report.table(numbers(obstacle_delay={"mean": 0.25, "max": 1, "of": 8, "never": 0}))
    rows = {line.rsplit(None, 1)[0].strip(): line.rsplit(None, 1)[1] for line in text.splitlines()}
    assert rows["car"] == "-" and float(rows["road"]) == pytest.approx(1.0)
    assert float(rows["mIoU"]) == pytest.approx(numbers()["miou"], abs=5e-4)
    assert rows["obstacle delay, frames"] == "0.25" and not any("age" in name for name in rows)


def test_a_folder_that_cannot_be_written_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SegPerceptionError, match="cannot be written"):
        report.write(a_report(), tmp_path / "file" / "out")


def test_the_machine_is_described() -> None:
    facts = machine.describe()
    assert {"cpu", "cores", "system", "python", "numpy"} <= facts.keys() and all(facts.values())


STRANGE = ("$x^2$", "a $ b", r"$\frac$", "_hidden", "<b>bold</b>", "Auto \U0001f697", "{{ 7 * 7 }}", "100 %")


@pytest.mark.filterwarnings("error")
def test_names_of_classes_are_shown_as_they_are_written() -> None:
    """Formulas, markup, templates and pictures are names like any other."""
    labels = LabelSet(tuple(LabelClass(k, name, (k, k, k)) for k, name in enumerate(STRANGE)))
    iou = dict.fromkeys(STRANGE, 0.5)
    content = {"source": "<script>", "frames": 1, "iou": iou, "confusion": np.eye(8, 9, dtype=int).tolist()}
    page = report.render(report.Report("a <title>", content, labels))
    assert "<b>bold" not in page and "&lt;b&gt;bold" in page and "<script>" not in page
    assert "{{ 7 * 7 }}" in page and "$x^2$" in page
    assert all(name in report.table(content) for name in STRANGE)
    page = compare_page.render(
        compare(*(RunReport(side, {"model": "$m$", "iou": iou, "miou": 0.5}) for side in ("A", "B")))
    )
    assert "<b>bold" not in page and "data:image/png" in page


@pytest.mark.filterwarnings("error")
def test_long_names_leave_room_for_the_plots_and_many_classes_do_not_make_them_endless() -> None:
    """Labels that may be several classes have all of their names."""
    names = ["/".join(CAMVID.names) * 2, *(f"class {number}" for number in range(150))]
    labels = LabelSet(tuple(LabelClass(k, name, (k, k, k)) for k, name in enumerate(names)))
    content = {"confusion": np.eye(len(names), len(names) + 1, dtype=int).tolist()}
    ((_, uri),) = plots(content, labels, report.Timeline(), FreeTimeline())
    image = cv2.imdecode(np.frombuffer(base64.b64decode(uri.partition(",")[2]), np.uint8), cv2.IMREAD_COLOR)
    assert image is not None and max(image.shape) < 3500
    blue = (image[..., 0] > image[..., 2].astype(int) + 50).any(axis=0)
    assert np.ptp(np.flatnonzero(blue)) > 0.8 * image.shape[1], "the diagonal"


def test_the_terminals_table_is_one_of_columns_whatever_names_are_in_it() -> None:
    lines = report.table({"iou": {"a": 0.25, "a class of a long name": None, "b": 1.0}, "miou": 0.5}).splitlines()
    assert len({len(line) for line in lines}) == 1 and lines[-1].startswith("mIoU") and lines[-1].endswith("0.500")


@pytest.mark.parametrize("page", ["report.html.j2", "compare.html.j2"])
def test_a_page_is_no_wider_than_a_phone(page: str) -> None:
    """Its width is the screen's; pictures shrink, and what cannot, a table, is moved within itself."""
    text = (Path(report.__file__).parent / page).read_text()
    style = re.search(r"<style>(.*?)</style>", text, re.DOTALL)
    assert style is not None and '<meta name="viewport" content="width=device-width' in text
    rules = dict(re.findall(r"([^{}]+?)\s*\{([^}]*)\}", style[1].replace("\n", " ")))
    rules = {name.strip(): rule for name, rule in rules.items()}
    assert "max-width: 100%" in rules["table"] and "overflow-x: auto" in rules["table"] and "block" in rules["table"]
    assert "max-width: 100%" in rules["img"] and "break-word" in rules["body, td"]
    assert not re.findall(r"(?<!-)width: *\d+(?:px|rem)", style[1])
