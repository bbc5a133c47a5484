"""Latency and jitter at a fixed rate by hand; and what moved between two results."""

from __future__ import annotations

import copy
import json
import math
import sys
from pathlib import Path
from typing import Any

import pytest
from places import CHECKOUT

from seg_perception.benchmark.fixed_rate import figures
from seg_perception.benchmark.moved import moved, tell_what_moved
from seg_perception.reports.benchmark_report import markdown


def test_latency_and_jitter_by_hand() -> None:
    # 10 Hz; received at 0.04, 0.16, -, 0.34 s: intervals of 120 and 180 ms, so 20 and 80 ms off the period
    seen = figures([0.0, 0.1, 0.2, 0.3], [40.0, 60.0, math.nan, 40.0], 10.0)
    assert (seen["sent"], seen["missed"]) == (4, 1)
    assert seen["latency_ms"] == {"p50": 40.0, "p90": 56.0, "p95": 58.0, "p99": 59.6, "max": 60.0}
    assert seen["jitter_ms"] == {"p50": 50.0, "p95": 77.0, "max": 80.0}
    assert seen["mean_frame_rate_hz"] == round(2 / 0.3, 2)


@pytest.mark.parametrize("ages", [[math.nan, math.nan], [math.nan, 7.0]])
def test_without_two_answers_there_is_no_rate_and_no_jitter(ages: list[float]) -> None:
    seen = figures([0.0, 0.1], ages, 10.0)
    assert seen["mean_frame_rate_hz"] is None and seen["jitter_ms"] == {}


def result(**changes: Any) -> dict[str, Any]:
    return {
        "machine": {"cpu": "one", "cores": "2", "python": "3.11"},
        "backend": {"device": "CPU"},
        "size": "1280x720",
        "input_sha256": "a",
        "stages_ms": {"network": {"p50": 10.0, "p95": 30.0}, "naive_decode": {"p50": 40.0}},
        "pipeline_fps": 50.0,
        "rss_growth_mb": 0.1,
        **changes,
    }


def test_what_moved_is_told_with_its_direction_the_largest_first() -> None:
    new = copy.deepcopy(result(pipeline_fps=25.0, rss_growth_mb=9.0))
    new["stages_ms"]["network"] = {"p50": 8.0, "p95": 90.0}
    new["stages_ms"]["naive_decode"]["p50"] = 400.0
    assert moved(result(), new) == [
        "pipeline_fps: 50 -> 25, worse",
        "stages_ms.network.p50: 10 -> 8, better",
    ]


def test_what_may_be_why_is_told_beside_what_moved() -> None:
    fixed = {"fixed_rates_hz": {"30": {"cpu_percent": 100.0, "memory_mb": 350.0, "missed": 1}}}
    now = {"fixed_rates_hz": {"30": {"cpu_percent": 140.0, "memory_mb": 351.0, "missed": 3}}}
    machine = {"cpu": "one", "cores": "2", "python": "3.12", "numba": "0.68"}
    assert moved(result(**fixed, load_average=0.1), result(**now, load_average=2.5, machine=machine)) == [
        "fixed_rates_hz.30.cpu_percent: 100 -> 140, worse",
        "what else is not as it was: python 3.11 -> 3.12, load_average 0.1 -> 2.5, numba None -> 0.68",
    ]
    assert moved(result(load_average=0.1), result(load_average=2.5)) == [], (
        "nothing moved, so nothing is to be explained"
    )


def test_a_rate_that_there_is_no_more_is_the_largest_change() -> None:
    fixed = {"fixed_rates_hz": {"30": {"mean_frame_rate_hz": 29.9}}}
    silent = {"fixed_rates_hz": {"30": {"mean_frame_rate_hz": None}}}
    assert moved(result(**fixed), result(**silent, pipeline_fps=5.0)) == [
        "fixed_rates_hz.30.mean_frame_rate_hz: 29.9 -> none, worse",
        "pipeline_fps: 50 -> 5, worse",
    ]
    assert moved(result(), result(pipeline_fps=0.0)) == ["pipeline_fps: 50 -> 0, worse"]
    assert moved(result(**silent), result(**silent)) == [] and moved(result(**silent), result(**fixed)) == []


def test_what_lies_within_the_noise_is_not_told() -> None:
    assert moved(result(), result(pipeline_fps=56.0)) == []


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"machine": {"cpu": "two", "cores": "2"}}, "machines"),
        ({"backend": {"device": "CUDA"}}, "machines"),
        ({"size": "640x480"}, "image sizes"),
        ({"input_sha256": "b"}, "images"),
    ],
)
def test_what_is_not_comparable_is_not_compared(changes: dict[str, Any], why: str) -> None:
    (sentence,) = moved(result(), result(**changes, pipeline_fps=1.0))
    assert f"other {why}" in sentence


@pytest.mark.parametrize("former", [None, "", "[]", '"a"', "{", "[" * 100_000])
def test_what_is_no_result_is_compared_with_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], former: str | None
) -> None:
    if former is not None:
        (tmp_path / "m.json").write_text(former)
    tell_what_moved(tmp_path / "m.json", result())
    assert capsys.readouterr().out == ""
    (tmp_path / "m.json").write_text(json.dumps(result()))
    tell_what_moved(tmp_path / "m.json", result())
    assert capsys.readouterr().out.splitlines()[1:] == ["  nothing moved by more than 15%"]


@pytest.mark.parametrize("changes", [{"machine": "desk"}, {"backend": 3}, {"pipeline_fps": 10**400}])
def test_what_is_no_sound_result_does_not_end_a_benchmark(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], changes: dict[str, Any]
) -> None:
    (tmp_path / "m.json").write_text(json.dumps({**result(), **changes}))
    tell_what_moved(tmp_path / "m.json", result())
    assert capsys.readouterr().out.splitlines()[1].startswith("  not compared with the former result")


def test_a_result_that_can_only_just_be_read_does_not_end_a_benchmark(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What reads nested JSON reaches deeper than what walks through it."""
    for depth in range(100, sys.getrecursionlimit(), 50):
        (tmp_path / "m.json").write_text(
            json.dumps(result())[:-1] + ', "a": ' + '{"a": ' * depth + "1" + "}" * depth + "}"
        )
        tell_what_moved(tmp_path / "m.json", result())
    assert "nothing moved" in capsys.readouterr().out


def test_the_committed_page_is_of_the_committed_results() -> None:
    folder = CHECKOUT / "benchmarks"
    results = {path.stem: json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))}
    assert (folder / "README.md").read_text() == markdown(results)
    assert all(list(numbers["fixed_rates_hz"]) == ["10", "30", "60"] for numbers in results.values())
