"""The numbers of `benchmark` as tables: one model on the terminal, all of them as the page of a results folder."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

SHARES = ("p50", "p95", "p99", "max")
AGAINST = {"lean_": "the lean way", "naive_": "the textbook's"}
"""What else was measured, by the prefix of its numbers."""


def print_table(numbers: Mapping[str, Any]) -> None:
    """All numbers of one model."""
    print(f"{numbers['model']}, {numbers['size']}, {numbers['frames']} frames, {numbers['backend']}")
    print(f"{numbers['load_average']} processes wanted a processor in the minute before")
    print(f"{'stage, ms':<18}" + "".join(f"{name:>9}" for name in SHARES))
    for stage, values in {**numbers["stages_ms"], "total": numbers["total_ms"]}.items():
        print(f"{stage:<18}" + "".join(f"{values[name]:9.2f}" for name in SHARES))
    for name, values in numbers["drivable_ms"].items():
        place = "maps, at a new pose" if name == "maps" else f"  drivable: {name}"
        print(f"{place:<26}p50 {values['p50']:.2f} ms, p95 {values['p95']:.2f} ms")
    overhead = numbers["overhead_ms"]
    print(f"all but the network: p50 {overhead['p50']:.2f} ms, p95 {overhead['p95']:.2f} ms")
    print(f"{numbers['pipeline_fps']} frames a second, one after the other")
    print(f"memory grew by {numbers['rss_growth_mb']} MB over {numbers['frames']} frames")
    for prefix, name in AGAINST.items():
        if f"{prefix}decode_speedup" in numbers:
            print(
                f"against {name}: decode {numbers[f'{prefix}decode_speedup']}x, all but the network "
                f"{numbers[f'{prefix}overhead_speedup']}x, whole path {numbers[f'{prefix}pipeline_speedup']}x as fast"
            )
    if "end_to_end" in numbers:
        _print_live(numbers)


def _print_live(numbers: Mapping[str, Any]) -> None:
    live, age = numbers["end_to_end"], numbers["age_ms"]
    cameras = f"{len(live['cameras'])} cameras" if len(live["cameras"]) > 1 else "a camera"
    print(
        f"the node, {cameras} at {live['sent_hz']} Hz in all, answers {numbers['end_to_end_fps']} "
        f"frames a second, age p50 {age['p50']:.1f} ms, p95 {age['p95']:.1f} ms, max {age['max']:.1f} ms; "
        f"its memory grew by {live['rss_growth_mb']} MB"
    )
    if len(live["cameras"]) > 1:
        for name, camera in live["cameras"].items():
            ages = camera["age_ms"]
            print(
                f"  {name}: {camera['fps']} frames a second, {camera['share']} of a fair share, age p95 {ages['p95']} ms"
            )
        print(f"  one round of all cameras: {live['round_ms']} ms; recovered {live['recovery_s']} s after the load")
    for problem in live["problems"]:
        print(problem)


def markdown(results: Mapping[str, Mapping[str, Any]]) -> str:
    """The page of a results folder; results by the model's name."""
    columns: dict[str, Callable[[str, Mapping[str, Any]], str]] = {
        "model": lambda name, n: f"[`{name}`]({name}.json)",
        "network ms": lambda name, n: _pair(n["stages_ms"]["network"]),
        "decode ms": lambda name, n: _pair(n["decode_ms"]),
        "all but the network ms": lambda name, n: _pair(n["overhead_ms"]),
        "the same in the node, messages too": lambda name, n: (
            f"{n['end_to_end']['overhead_ms']:.1f}" if _live(n) else "–"
        ),
        "frames/s, pipeline": lambda name, n: f"{n['pipeline_fps']}",
        "frames/s, end to end": lambda name, n: f"{n['end_to_end_fps']}" if _live(n) else "–",
        "age ms p50 / p95 / max": lambda name, n: _ages(n["age_ms"]) if _live(n) else "–",
        "decode, whole path against the lean way": lambda name, n: _speedups(n, "lean_"),
        "against the textbook's": lambda name, n: _speedups(n, "naive_"),
        "memory growth MB": lambda name, n: f"{n['rss_growth_mb']}",
    }
    first = next(iter(results.values()))
    facts = ", ".join(f"{name} {value}" for name, value in first["machine"].items())
    return "\n".join(
        [
            "# Results of `benchmark`",
            "",
            f"Camera images of {first['size']}, {first['frames']} frames; times are p50 / p95. End to end is the real "
            "node between a camera that is faster than it and a planner, over DDS.",
            "",
            f"Machine: {facts}; {first['load_average']} processes wanted a processor before it began.",
            "",
            "Renewed by `make benchmark`. [roofline.md](roofline.md) is computed, not measured.",
            "",
            f"| {' | '.join(columns)} |",
            f"|{' --- |' * len(columns)}",
            *(f"| {' | '.join(cell(name, n) for cell in columns.values())} |" for name, n in results.items()),
            "",
            *_fixed_rates(results),
        ]
    )


def _fixed_rates(results: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Lines about cameras of a fixed rate; none where they were not measured."""
    rows = [
        f"| `{name}` | {rate} Hz | {one['missed']} of {one['sent']} | {_all(one['latency_ms'])} | {_all(one['jitter_ms'])} "
        f"| {one['cpu_percent']:.0f} % | {one['memory_mb']:.0f} |"
        for name, numbers in results.items()
        for rate, one in numbers.get("fixed_rates_hz", {}).items()
    ]
    heads = (
        "model",
        "camera",
        "missed",
        "latency ms p50 / p90 / p95 / p99 / max",
        "jitter ms p50 / p95 / max",
        "of one core",
        "memory MB",
    )
    words = "One camera of a fixed rate, each for ten seconds. Latency is from sending an image to receiving its mask."
    return [words, "", f"| {' | '.join(heads)} |", f"|{' --- |' * len(heads)}", *rows, ""] if rows else []


def _all(values: Mapping[str, float]) -> str:
    return " / ".join(f"{value:.1f}" for value in values.values())


def _speedups(numbers: Mapping[str, Any], prefix: str) -> str:
    return f"{numbers[f'{prefix}decode_speedup']}x, {numbers[f'{prefix}pipeline_speedup']}x"


def _pair(values: Mapping[str, float]) -> str:
    return f"{values['p50']:.1f} / {values['p95']:.1f}"


def _ages(values: Mapping[str, float]) -> str:
    return " / ".join(f"{values[name]:.0f}" for name in ("p50", "p95", "max"))


def _live(numbers: Mapping[str, Any]) -> bool:
    """Whether the node was measured."""
    return "end_to_end" in numbers
