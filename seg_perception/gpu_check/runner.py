"""Runs sections one by one, each in a process of its own and within one budget of time."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from seg_perception.gpu_check.verdicts import DIED, LEFT_OUT

GPU, NO_GPU = "gpu", "no GPU"
OUTPUT_KEPT = 4000
KILL_S = 5.0
"""How long a killed process may take to go: one that waits for a broken driver never does."""


@dataclass(frozen=True)
class Section:
    """target: 'module:function', which takes a Lab. limit_s: after which it is ended; least_s: without so much time it is
    not begun; needs: names of Libraries.missing."""

    name: str
    target: str
    limit_s: float
    least_s: float
    needs: tuple[str, ...] = ()


@dataclass
class Outcome:
    """What a section found. rows: [check, value, verdict]; output: the end of what its process printed, where it died."""

    name: str
    rows: list[list[str]] = field(default_factory=list)
    data: dict[str, Any] = field(default_factory=dict)
    tracebacks: list[str] = field(default_factory=list)
    seconds: float = 0.0
    output: str = ""


def run_sections(
    sections: Iterable[Section], seconds: float, options: Iterable[str], told: Callable[[Outcome], None]
) -> list[Outcome]:
    """Run them in order within seconds. The first finds out what is missing (`missing` in its data) for the others.

    options: of the child beside its own. told: is given each outcome as it comes.
    """
    deadline, outcomes = time.monotonic() + seconds, list[Outcome]()
    missing: dict[str, str] = {}
    for section in sections:
        left = deadline - time.monotonic()
        reasons = [NO_GPU if need == GPU else missing[need] for need in section.needs if need in missing]
        if reasons:
            outcome = _left_out(section, reasons[0])
        elif left < section.least_s:
            outcome = _left_out(
                section, f"{max(0.0, left):.0f} s of the {seconds:.0f} are left, it needs {section.least_s:.0f}"
            )
        else:
            outcome = run_section(section, min(section.limit_s, left), options)
        if not outcomes:
            missing = outcome.data.get("missing", {GPU: f"'{section.name}' did not find out"})
        outcomes.append(outcome)
        told(outcome)
    return outcomes


def run_section(section: Section, seconds: float, options: Iterable[str]) -> Outcome:
    """Run one in a process that is ended after seconds."""
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder, (Path(folder) / "output").open("w+b") as output:
        log = Path(folder) / "log"
        log.touch()
        words = [section.target, "--log", str(log), "--seconds", f"{seconds:.1f}", *options]
        cause = _watch([sys.executable, "-m", "seg_perception.gpu_check.child", *words], seconds, output)
        outcome = _read(section.name, log.read_text(encoding="utf-8", errors="replace"))
        if cause:
            outcome.rows.append(["process", cause, DIED])
            output.seek(0)
            outcome.output = output.read().decode(errors="replace")[-OUTPUT_KEPT:]
    outcome.seconds = round(time.monotonic() - began, 1)
    return outcome


def _watch(command: list[str], seconds: float, output: Any) -> str:
    """Run a command; why it did not end by itself and well, else ''."""
    child = subprocess.Popen(
        command, stdout=output, stderr=subprocess.STDOUT, env=_environment(), start_new_session=True
    )
    try:
        code = child.wait(seconds)
    except subprocess.TimeoutExpired:
        return f"took more than {seconds:.0f} s and was ended: it hangs, or this machine needs more --seconds"
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(KILL_S)
    if code < 0:
        return f"ended by {signal.Signals(-code).name}"
    return f"ended with {code}" if code else ""


def _environment() -> Mapping[str, str]:
    """This package for the child, wherever it is started; and, where Numba cannot keep what it compiles beside it, a
    place that all children share."""
    package = Path(__file__).resolve().parents[1]
    paths = [str(package.parent), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    if not os.access(package, os.W_OK):
        environment.setdefault(
            "NUMBA_CACHE_DIR", str(Path(tempfile.gettempdir()) / f"seg_perception-numba-{os.getuid()}")
        )
    return environment


def _left_out(section: Section, why: str) -> Outcome:
    return Outcome(section.name, [["section", why, LEFT_OUT]])


def _read(name: str, log: str) -> Outcome:
    outcome = Outcome(name)
    for line in log.splitlines():
        try:
            entry = json.loads(line)
        except ValueError:  # half a line: its process died over it
            continue
        if "row" in entry:
            outcome.rows.append(entry["row"])
        outcome.data.update(entry.get("data", {}))
        outcome.tracebacks += [entry["traceback"]] if "traceback" in entry else []
    return outcome
