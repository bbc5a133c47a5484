"""What differs between two results of `benchmark` on machines of one class, and by how much."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from seg_perception.benchmark.naive import LEAN_PREFIX, PREFIX

TOLERANCE = 0.15
"""Share by which medians of two runs on one idle machine have differed here; what moved by less is not told."""
CLASS = ("cpu", "cores", "board")
"""Facts of a machine that must be equal for its times to be comparable."""
HIGHER_IS_BETTER = ("fps", "speedup", "rate_hz")
COSTS = ("p50", "cpu_ms", "cpu_percent", "memory_mb")


def tell_what_moved(former: Path, numbers: Mapping[str, Any]) -> None:
    """Compare with the result that is about to be replaced, if it is one."""
    try:
        old = json.loads(former.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return
    if not isinstance(old, dict):
        return
    try:
        sentences = moved(old, numbers) or [f"nothing moved by more than {TOLERANCE:.0%}"]
    except (
        AttributeError,
        KeyError,
        TypeError,
        ValueError,
        OverflowError,
        RecursionError,
    ):  # another program's, or damaged
        sentences = [f"not compared with the former result: {former} is none of a benchmark"]
    print(f"{former.stem}, against the former result:")
    for sentence in sentences:
        print(f"  {sentence}")


def machine_class(numbers: Mapping[str, Any]) -> tuple[str, ...]:
    """Of a result; the backend's device belongs to it."""
    machine = numbers.get("machine", {})
    return (*(str(machine.get(fact, "")) for fact in CLASS), str(numbers.get("backend", {}).get("device", "")))


def moved(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """Sentences, the largest change first; a result of another machine class, image size or images is one sentence."""
    for what, key in (("machines", machine_class), ("image sizes", _size), ("images", _images)):
        if key(old) != key(new):
            return [f"not compared with the former result: other {what} ({key(old)}, now {key(new)})"]
    before, changes = dict(_medians(old)), []
    for name, value in _medians(new):
        was = before.get(name)
        if was and math.isfinite(was) and math.isnan(value):
            changes.append((math.inf, f"{name}: {was:g} -> none, worse"))
        elif was and abs(value / was - 1) > TOLERANCE:
            better = (value > was) == name.endswith(HIGHER_IS_BETTER)
            by = max(value / was, was / value) if value else math.inf
            changes.append((by, f"{name}: {was:g} -> {value:g}, {'better' if better else 'worse'}"))
    sentences = [sentence for _, sentence in sorted(changes, reverse=True)]
    others = _differences(_facts(old), _facts(new))
    return [*sentences, f"what else is not as it was: {', '.join(others)}"] if sentences and others else sentences


def _facts(numbers: Mapping[str, Any]) -> dict[str, Any]:
    """What may be why: libraries, threads, precision, and what else ran."""
    load = {"load_average": numbers["load_average"]} if "load_average" in numbers else {}
    return {**numbers.get("machine", {}), **numbers.get("backend", {}), **load}


def _differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    names = dict.fromkeys([*old, *new])
    return [f"{name} {old.get(name)} -> {new.get(name)}" for name in names if old.get(name) != new.get(name)]


def _size(numbers: Mapping[str, Any]) -> object:
    return numbers.get("size")


def _images(numbers: Mapping[str, Any]) -> object:
    return numbers.get("input_sha256")


def _medians(numbers: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, float]]:
    """Medians of times, rates and what was used, by their place in the result. Other paths are compared by their ratio to
    ours, which is in the result too; what a run took in all and its growth hang on chance. NaN: there was none."""
    for name, value in numbers.items():
        if name.startswith((PREFIX, LEAN_PREFIX)) and not name.endswith("speedup"):
            continue
        if isinstance(value, Mapping):
            yield from _medians(value, f"{prefix}{name}.")
        elif (name in COSTS or name.endswith(HIGHER_IS_BETTER)) and isinstance(value, (int, float, type(None))):
            yield f"{prefix}{name}", math.nan if value is None else float(value)
