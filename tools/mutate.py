"""Do the tests notice a fault? Changes one place of a file at a time and runs the tests that cover it: `make mutate`.

A mutant is one change of one place, drawn at random: an operator, a comparison, a number, a condition, or a statement that
is left out. It is killed where a test that runs its function fails, or takes ten times as long as it did. Everything happens
in a copy of the checkout. Loops run as plain Python, whose functions can be changed where they are, so that tests are
collected once; what lives through that is tried again with `GROUP --again FILE --compiled`, where tests run that were too slow
before.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path

from mutants import CHECKOUT, Mutant, draw
from mutate_bench import Bench

GROUPS = {
    "panoptic": (
        (
            "panoptic/decoder.py",
            "panoptic/instance_kernels.py",
            "panoptic/mask_kernels.py",
            "panoptic/unsure_kernels.py",
        ),
        ("test/panoptic/test_decoder.py", "test/panoptic/test_finite.py"),
    ),
    "geometry": (
        ("ground/geometry.py", "ground/kernels.py", "camera_model.py", "distortion.py"),
        (
            "test/ground/test_geometry.py",
            "test/test_distortion.py",
            "test/ground/test_maps.py",
            "test/ground/test_points.py",
            "test/ground/test_depth.py",
            "test/ros/test_extrinsics.py",
        ),
    ),
    "ground": (("ground/*.py",), ("test/ground",)),
    "datasets": (("datasets/*.py",), ("test/datasets",)),
    "labelling": (("labelling/*.py", "auto/*.py"), ("test/labelling", "test/auto")),
    "metrics": (
        ("metrics/*.py",),
        (
            "test/metrics",
            "test/evaluation/test_compare.py",
            "test/evaluation/test_check_ground.py",
            "test/reports/test_report.py",
        ),
    ),
}
"""Files below seg_perception, and the tests that cover them."""
PRELOADED = ("cv2", "hypothesis", "numba", "numpy", "onnx", "onnxruntime", "pytest", "shapely", "yaml")
"""Imported once, so that no mutant waits for it."""
SLOW_S = 2.0
"""Of processor time: slower tests are left to compiled loops, where ten times as much is allowed."""


def files_of(group: str) -> list[str]:
    """The files of a group, below the checkout."""
    found = [path for pattern in GROUPS[group][0] for path in sorted((CHECKOUT / "seg_perception").glob(pattern))]
    return [str(path.relative_to(CHECKOUT)) for path in found if path.name != "__init__.py"]


def try_all(mutants: list[Mutant], tests: tuple[str, ...], slowest_s: float, in_place: bool) -> list[Mutant]:
    """Those that live."""
    for name in PRELOADED:
        importlib.import_module(name)
    with tempfile.TemporaryDirectory(prefix="mutants") as folder:
        bench = Bench(Path(folder), tests, slowest_s, in_place)
        bench.measure()
        print(f"{len(bench.known)} tests, {sum(bench.known.values()):.0f} s", flush=True)
        living = []
        for mutant in mutants:
            killed = bench.kills(mutant)
            living += [] if killed else [mutant]
            print(f"{'killed' if killed else 'LIVES '} {mutant.file}:{mutant.line} {mutant.what}", flush=True)
    return living


def main() -> int:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("group", choices=sorted(GROUPS))
    parser.add_argument("--count", type=int, default=60)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, help="where to write those that live")
    parser.add_argument("--compiled", action="store_true", help="run loops compiled, not as plain Python")
    parser.add_argument("--again", type=Path, help="try those of such a file, rather than new ones")
    arguments = parser.parse_args()
    if arguments.again:
        mutants = [Mutant(**fields) for fields in json.loads(arguments.again.read_text(encoding="utf-8"))]
    else:
        mutants = draw(files_of(arguments.group), arguments.count, arguments.seed)
    os.environ["NUMBA_DISABLE_JIT"] = "0" if arguments.compiled else "1"
    slowest_s = SLOW_S * (10 if arguments.compiled else 1)
    living = try_all(mutants, GROUPS[arguments.group][1], slowest_s, not arguments.compiled) if mutants else []
    killed = f", {1 - len(living) / len(mutants):.0%} killed" if mutants else ""
    print(f"{len(mutants)} mutants, {len(living)} live{killed}")
    if arguments.json:
        arguments.json.write_text(json.dumps([asdict(one) for one in living], indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
