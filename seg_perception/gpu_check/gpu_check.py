"""Check on this machine's NVIDIA GPU what only a GPU can show, in 3 minutes, and say what could not be checked.

Needs NumPy, OpenCV, Numba, PyTorch with its CUDA, and a driver; no ROS, no network, no TensorRT. Preprocessing and decode
are compared with the CPU's, their graphs captured and replayed, whole frames timed with a PyTorch network in TensorRT's
place, training steps taken; with TensorRT installed, an engine is built, run and compared too. Every section runs in a
process of its own.

Exit code: 0 all that could be checked is right, 3 something is not, 2 there is no GPU.

Example:
  seg_perception gpu-check --images my_camera_frames --json gpu_check.json
"""

from __future__ import annotations

import argparse
import time
from dataclasses import asdict, replace
from typing import Any

from seg_perception import files, machine
from seg_perception.errors import EXIT_ERROR, SegPerceptionError, nearest_name
from seg_perception.gpu_check import scenes
from seg_perception.gpu_check.runner import Outcome, Section, run_sections
from seg_perception.gpu_check.sections import SECTIONS
from seg_perception.gpu_check.verdicts import BAD, LEFT_OUT, OK
from seg_perception.libraries import LIBRARIES, missing
from seg_perception.options import number
from seg_perception.writing import user_path

SECONDS = 170.0
EXIT_WRONG = 3
"""As of other verbs that judge: done, and what was judged is not good enough."""
NEEDED = ("numpy", "cv2", "numba")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the verb."""
    parser.add_argument(
        "--images", type=user_path, metavar="DIR", help="camera images to check with, beside rendered ones"
    )
    parser.add_argument(
        "--seconds",
        type=number("--seconds", above=0),
        default=SECONDS,
        help="of all sections together (default: %(default)s); with more, each may take as many times longer",
    )
    names = ", ".join(section.name for section in SECTIONS)
    parser.add_argument("--only", metavar="NAMES", help=f"sections, with commas between: {names}")
    parser.add_argument("--json", type=user_path, metavar="FILE", help="write rows and numbers here")
    # For tests: 'module:function' that gives the Libraries of a fake GPU, and by how much limits of time are stretched.
    parser.add_argument("--libraries", help=argparse.SUPPRESS)
    parser.add_argument("--patience", type=number("--patience", above=0), default=1.0, help=argparse.SUPPRESS)


def run(arguments: argparse.Namespace) -> int:
    """See the module."""
    if absent := missing(NEEDED):
        wanted = " ".join(f"'{LIBRARIES[name]}'" for name in absent)
        raise SegPerceptionError(f"gpu-check needs {', '.join(absent)}, which this Python lacks: pip install {wanted}")
    if arguments.images is not None and not files.image_files(arguments.images):
        raise SegPerceptionError(f"{arguments.images} holds no images: give --images a folder of PNG or JPEG files")
    scenes.pictures(arguments.images)  # a damaged one is no fault of the GPU
    options = ["--images", str(arguments.images.resolve())] if arguments.images else []
    if arguments.libraries:
        options += ["--libraries", arguments.libraries]
    began = time.monotonic()
    patience = arguments.patience
    patient = patience * max(1.0, arguments.seconds / SECONDS)
    sections = [replace(one, limit_s=patient * one.limit_s) for one in _chosen(arguments.only)]
    outcomes = run_sections(sections, patience * arguments.seconds, options, _print)
    report = _report(outcomes, time.monotonic() - began)
    if arguments.json is not None:
        files.write_json(arguments.json, report)
    print(_summary(report))
    if "gpu" in outcomes[0].data.get("missing", {}):
        return EXIT_ERROR
    return EXIT_WRONG if report["wrong"] else 0


def _chosen(only: str | None) -> list[Section]:
    if only is None:
        return list(SECTIONS)
    known = {section.name: section for section in SECTIONS}
    names = [name.strip() for name in only.split(",")]
    for name in names:
        if name not in known:
            raise SegPerceptionError(f"gpu-check has no section '{name}': {nearest_name(name, known)}")
    return [section for section in SECTIONS if section.name in names or section is SECTIONS[0]]


def _print(outcome: Outcome) -> None:
    for check, value, verdict in outcome.rows:
        print(f"{outcome.name:<10} {check:<50} {value:<60} {verdict}".rstrip(), flush=True)


def _report(outcomes: list[Outcome], seconds: float) -> dict[str, Any]:
    rows = [(outcome.name, *row) for outcome in outcomes for row in outcome.rows]
    return {
        "gpu": outcomes[0].data.get("gpu"),
        "machine": machine.describe(),
        "seconds": round(seconds, 1),
        "right": sum(verdict == OK for *_, verdict in rows),
        "wrong": [row for row in rows if row[-1] in BAD],
        "left_out": [row[:-1] for row in rows if row[-1] == LEFT_OUT],
        "missing": outcomes[0].data.get("missing", {}),
        "sections": {outcome.name: asdict(outcome) for outcome in outcomes},
    }


def _summary(report: dict[str, Any]) -> str:
    gpu = report["gpu"] or "no GPU"
    lines = [f"\n{gpu}: {report['right']} checks right, {len(report['wrong'])} wrong, in {report['seconds']:.0f} s"]
    lines += [f"  wrong: {section}: {check}: {value}" for section, check, value, _ in report["wrong"]]
    lines += [f"  left out: {section}: {check}: {value}" for section, check, value in report["left_out"]]
    if "gpu" in report["missing"]:
        lines.append(
            f"There is no GPU to check here ({report['missing']['gpu']}); the rows above are what goes without one."
        )
    return "\n".join(lines)
