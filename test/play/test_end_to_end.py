"""benchmark's live part: the arithmetic of an overload by hand, and the real node between cameras and a planner."""

from __future__ import annotations

import argparse
import json
import math
from pathlib import Path
from typing import Any

import pytest

from seg_perception import cli
from seg_perception.benchmark import benchmark
from seg_perception.benchmark.fixed_rate import RATES_HZ
from seg_perception.benchmark.overload import Sent, summary
from seg_perception.errors import SegPerceptionError

NONE = math.nan


def test_shares_ages_and_recovery_by_hand() -> None:
    # 10 Hz each. The first camera is alone for 2 frames, 4 frames beside the other, alone for 3.
    first = Sent(
        "front",
        [0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8],
        [40.0, 60.0, 100.0, NONE, 140.0, 120.0, 110.0, 70.0, 50.0],
        alone=2,
    )
    second = Sent("left", [0.25, 0.35, 0.45, 0.55], [NONE, 90.0, NONE, NONE])
    seen = summary([first, second], 4)
    # 8 frames from 0.20 to 0.55 s, one every 0.05 s, so a span of 0.4 s; 4 of them answered
    assert (seen["fps"], seen["sent_hz"], seen["round_ms"]) == (10.0, 20.0, 200.0)
    assert seen["age_ms"] == {"p50": 110.0, "p95": 137.0, "max": 140.0}
    assert {name: (camera["fps"], camera["share"]) for name, camera in seen["cameras"].items()} == {
        "front": (7.5, 1.5),
        "left": (2.5, 0.5),
    }
    # without load 50 ms; the last loaded frame left at 0.5 s; at 0.7 s the first of at most 100 ms left, 70 ms old
    assert seen["recovery_s"] == 0.27


def test_a_camera_that_was_never_alone_or_stays_late_has_no_recovery() -> None:
    times = [0.0, 0.1, 0.2, 0.3]
    assert summary([Sent("c", times, [50.0] * 4)], 4)["recovery_s"] is None
    assert summary([Sent("c", times, [50.0, 110.0, 110.0, 110.0], alone=1)], 2)["recovery_s"] is None


def test_no_answer_is_said_rather_than_divided_by() -> None:
    with pytest.raises(SegPerceptionError, match="none of 2 images was answered"):
        summary([Sent("c", [0.0, 0.1], [NONE, NONE])], 2)


def benchmark_arguments(words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    benchmark.add_arguments(parser)
    return parser.parse_args(words.split())


def test_fixed_rates_are_of_one_camera_however_many_there_are_else(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("rclpy", reason="the node needs ROS 2")
    from seg_perception.play import end_to_end

    played: list[tuple[int, float]] = []

    def play(arguments: argparse.Namespace, size_wh: tuple[int, int], judge: object) -> dict[str, Any]:
        played.append((arguments.cameras, arguments.rate))
        return {}

    monkeypatch.setattr(end_to_end, "_played", play)
    arguments = benchmark_arguments("--all --cameras 4 --rate 7")
    assert list(end_to_end.measure(arguments, (320, 192))["fixed_rates_hz"]) == ["10", "30", "60"]
    assert played == [(4, 7.0), *((1, rate_hz) for rate_hz in RATES_HZ)]


def test_the_node_runs_the_network_as_the_pipeline_in_this_process_does() -> None:
    pytest.importorskip("rclpy", reason="the node needs ROS 2")
    from seg_perception.play.play import network_parameters

    words = "--model m.onnx --precision fp16 --network-size 640x384 --threads 2 --providers A"
    told = network_parameters(benchmark_arguments(words))
    assert told | {"model": ""} == {
        **{"model": "", "backend": "auto", "threads": 2, "providers": ["A"]},
        **{"precision": "fp16", "network_size": [640, 384]},
    }
    assert network_parameters(benchmark_arguments("--model m.onnx")).keys() == {"model", "backend"}


def test_the_node_is_measured_between_camera_and_planner(tmp_path: Path) -> None:
    pytest.importorskip("rclpy", reason="the node needs ROS 2")
    from ros_harness import make_tiny_model

    model = make_tiny_model(tmp_path / "tiny.onnx")
    words = f"benchmark --model {model} --size 320x192 --frames 10 --seconds 2 --rate 30 --json {tmp_path}/b.json"
    assert cli.main(words.split()) == 0
    numbers = json.loads((tmp_path / "b.json").read_text())
    live = numbers["end_to_end"]
    assert 0 < numbers["end_to_end_fps"] <= live["sent_hz"] * 1.05
    assert 0 < numbers["age_ms"]["p50"] <= numbers["age_ms"]["p95"] <= numbers["age_ms"]["max"]
    assert live["watched"] == ["label_mask", "drivable_areas"]
    assert {"convert", "preprocess", "network", "decode", "drivable", "publish"} <= live["stages_ms"].keys()
    without_network = [stage["p50"] for name, stage in live["stages_ms"].items() if name != "network"]
    assert live["overhead_ms"] == pytest.approx(sum(without_network), abs=0.01)
    # a node that answers all that it is sent is not what was measured, and the numbers say so
    camera_bound = numbers["end_to_end_fps"] > 0.95 * live["sent_hz"]
    assert len(live["problems"]) == camera_bound, live
    assert {"overhead_ms", "decode_ms", "rss_growth_mb", "stages_ms"} <= numbers.keys()
