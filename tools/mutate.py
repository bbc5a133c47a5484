"""Do the tests notice a fault? Changes one place of a file at a time and runs the tests that cover it: `make mutate`.

A mutant is one change of one place, drawn at random: an operator, a comparison, a number, a condition, or a statement that
is left out. It is killed where a test that runs its function fails, or takes ten times as long as it did. Everything happens
in a copy of the checkout. Loops run as plain Python, which starts sooner; what lives through that is tried again with
`GROUP --again FILE --compiled`, where tests run that were too slow before.
"""

from __future__ import annotations

import argparse
import ast
import importlib
import json
import math
import os
import random
import resource
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import CodeType, FrameType
from typing import Any, NoReturn

CHECKOUT = Path(__file__).resolve().parents[1]
COPIED = ("seg_perception", "test")
GROUPS = {
    "panoptic": (
        ("panoptic/decoder.py", "panoptic/instance_kernels.py", "panoptic/mask_kernels.py"),
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
LONGEST_S = 900.0
"""Until a mutant that waits for ever is ended."""
OTHER: dict[type[ast.AST], type[ast.AST]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult,
    ast.Mod: ast.FloorDiv,
    ast.Pow: ast.Mult,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
    ast.LShift: ast.RShift,
    ast.RShift: ast.LShift,
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
    ast.And: ast.Or,
    ast.Or: ast.And,
}
LEFT_OUT = (ast.Assign, ast.AugAssign, ast.Expr, ast.Return, ast.Raise, ast.Continue, ast.Break)


@dataclass(frozen=True)
class Mutant:
    """Change `number` of a file, and what it is in words. function: in which it lies, as Watch.calls has it; '' for none."""

    file: str
    number: int
    function: str
    line: int
    what: str


def changes(tree: ast.Module) -> Iterator[tuple[ast.AST, Callable[[], ast.AST]]]:
    """Each place that can be changed, and what changes it within the tree and returns what then stands there."""
    spared = {id(part) for node in ast.walk(tree) for kept in _spared(node) for part in ast.walk(kept)}
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
    inner = {id(node) for outer in functions for node in ast.walk(outer) if node is not outer}
    for node in ast.walk(tree):
        if id(node) in spared:
            continue
        if isinstance(node, (ast.BinOp, ast.AugAssign, ast.BoolOp)) and type(node.op) in OTHER:
            yield node, _setter(node, "op", OTHER[type(node.op)]())
        if isinstance(node, ast.Compare):
            for i, operator in enumerate(node.ops):
                yield node, _setter(node, "ops", [*node.ops[:i], OTHER[type(operator)](), *node.ops[i + 1 :]])
        if isinstance(node, ast.Constant) and isinstance(node.value, (bool, int, float)):
            value = not node.value if isinstance(node.value, bool) else node.value + 1
            yield node, _setter(node, "value", value)
        if isinstance(node, (ast.If, ast.IfExp, ast.While)):
            yield node.test, _setter(node, "test", ast.UnaryOp(ast.Not(), node.test), "test")
        if isinstance(node, ast.FunctionDef) and id(node) not in inner:
            yield from _omissions(node)


def _spared(node: ast.AST) -> Iterator[ast.AST]:
    """What tests need not hold: types and what is imported; decorators; an assertion."""
    if isinstance(node, (ast.Import, ast.ImportFrom, ast.Assert)):
        yield node
    for name in ("annotation", "returns"):
        if isinstance(part := getattr(node, name, None), ast.AST):
            yield part
    yield from getattr(node, "decorator_list", ())


def _omissions(function: ast.FunctionDef) -> Iterator[tuple[ast.AST, Callable[[], ast.AST]]]:
    for node in ast.walk(function):
        for name in ("body", "orelse"):
            block: Any = getattr(node, name, None)
            for i, statement in enumerate(block if isinstance(block, list) else ()):
                docstring = isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)
                if isinstance(statement, LEFT_OUT) and not docstring:
                    yield statement, _replacer(block, i)


def _setter(node: ast.AST, name: str, value: Any, shown: str = "") -> Callable[[], ast.AST]:
    def change() -> ast.AST:
        setattr(node, name, value)
        found = getattr(node, shown) if shown else node
        assert isinstance(found, ast.AST)
        return found

    return change


def _replacer(block: list[ast.stmt], i: int) -> Callable[[], ast.AST]:
    def change() -> ast.AST:
        block[i] = ast.copy_location(ast.Pass(), block[i])
        return block[i]

    return change


def function_at(file: str, source: str, line: int) -> str:
    """The outermost function around a line, as Watch.calls has it; '' where there is none."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef) and node.lineno <= line <= (node.end_lineno or 0):
            return f"{file}:{min([node.lineno, *(mark.lineno for mark in node.decorator_list)])}"
    return ""


def mutated(source: str, number: int) -> tuple[str, int, str]:
    """The source with change `number`; its line, and the change in words."""
    tree = ast.parse(source)
    node, change = list(changes(tree))[number]
    before, line = _first_line(node), getattr(node, "lineno", 0)
    after = _first_line(change())
    return ast.unparse(tree) + "\n", line, f"{before} -> {after}"


def _first_line(node: ast.AST) -> str:
    return ast.unparse(ast.fix_missing_locations(node)).splitlines()[0][:90]


def draw(files: list[str], count: int, seed: int) -> list[Mutant]:
    """So many mutants, or all there are, each place as likely as any other."""
    sources = {file: (CHECKOUT / file).read_text(encoding="utf-8") for file in files}
    places = [(file, i) for file in files for i in range(len(list(changes(ast.parse(sources[file])))))]
    drawn = random.Random(seed).sample(places, min(count, len(places)))
    found = []
    for file, number in drawn:
        _, line, what = mutated(sources[file], number)
        found.append(Mutant(file, number, function_at(file, sources[file], line), line, what))
    return found


class TooSlow(BaseException):
    """A test that takes far longer than it should; nothing catches it."""


class Watch:
    """A plugin of pytest: the quickest tests first, each within its time. Of those that pass, `seconds` and, where no test is
    known yet, `calls`: the functions of the program that they ran, as file:line. A test that is too slow once is so for all of
    its parameters."""

    def __init__(self, known: dict[str, float], slowest_s: float, folder: Path) -> None:
        self.known, self.slowest_s, self.folder = known, slowest_s, str(folder / "seg_perception")
        self.seconds: dict[str, float] = {}
        self.calls: dict[str, list[str]] = {}
        self._began, self._seen = 0.0, set[CodeType]()
        self._slow = set[str]()

    def pytest_collection_modifyitems(self, items: list[Any]) -> None:
        """Leave out what did not pass before, and what does not run the function."""
        if self.known:
            items[:] = sorted((i for i in items if i.nodeid in self.known), key=lambda i: self.known[i.nodeid])

    def pytest_runtest_setup(self, item: Any) -> None:
        """Begin to count."""
        if not self.known:
            if item.nodeid.partition("[")[0] in self._slow:
                importlib.import_module("pytest").skip("too slow with other parameters")
            self._seen.clear()
            threading.setprofile(self._note)
            sys.setprofile(self._note)
        signal.setitimer(signal.ITIMER_PROF, max(3.0, 10 * self.known[item.nodeid]) if self.known else self.slowest_s)
        self._began = time.process_time()

    def pytest_runtest_logreport(self, report: Any) -> None:
        """End it."""
        if report.when == "call" and report.passed:
            self.seconds[report.nodeid] = time.process_time() - self._began
        if report.when == "call" and report.failed and time.process_time() - self._began >= self.slowest_s:
            self._slow.add(report.nodeid.partition("[")[0])
        if report.when == "teardown":
            signal.setitimer(signal.ITIMER_PROF, 0)
            sys.setprofile(None)
            own = [code for code in self._seen.copy() if code.co_filename.startswith(self.folder)]
            start = len(self.folder) - len("seg_perception")
            self.calls[report.nodeid] = [f"{code.co_filename[start:]}:{code.co_firstlineno}" for code in own]

    def _note(self, frame: FrameType, event: str, argument: Any) -> None:
        if event == "call":
            self._seen.add(frame.f_code)


def _end_test(number: int, frame: FrameType | None) -> None:
    raise TooSlow


class Bench:
    """A copy of the checkout in which tests run, each time in a process of its own that starts with everything imported."""

    def __init__(self, folder: Path, tests: tuple[str, ...], slowest_s: float) -> None:
        """slowest_s: of processor time, tests that take longer are left out."""
        self.folder, self.tests, self.slowest_s = folder, tests, slowest_s
        self.known: dict[str, float] = {}
        self.calls: dict[str, list[str]] = {}
        for entry in CHECKOUT.iterdir():
            if entry.name in COPIED:
                shutil.copytree(
                    entry, folder / entry.name, ignore=shutil.ignore_patterns("*.pyc", "out", ".hypothesis")
                )
            elif entry.name not in (".git", ".hypothesis", ".pytest_cache"):
                (folder / entry.name).symlink_to(entry)

    def measure(self) -> None:
        """Which tests pass as it is, how quickly, and what each runs."""
        self._run(self.tests, {})
        told = json.loads((self.folder / "told.json").read_text(encoding="utf-8"))
        self.known, self.calls = told["seconds"], told["calls"]
        if not self.known:
            raise SystemExit(f"no test of {' '.join(self.tests)} passes: mend them first")

    def kills(self, mutant: Mutant) -> bool:
        """Whether a test fails with it, of those that run its function; of all where it lies in none, or in a loop that is
        compiled."""
        known = {test: s for test, s in self.known.items() if mutant.function in self.calls[test]} or self.known
        path = self.folder / mutant.file
        times, source = path.stat(), path.read_text(encoding="utf-8")
        loops = {kept: kept.read_bytes() for kept in path.parent.glob(f"__pycache__/{path.stem}.*.nb?")}
        path.write_text(mutated(source, mutant.number)[0], encoding="utf-8")
        try:
            return self._run(sorted({test.partition("::")[0] for test in known}), known, LONGEST_S) != 0
        finally:
            path.write_text(source, encoding="utf-8")
            os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
            for kept, content in loops.items():
                kept.write_bytes(content)

    def _run(self, tests: Sequence[str], known: dict[str, float], longest_s: float = math.inf) -> int:
        """0 where they pass."""
        child = os.fork()
        if not child:
            self._test(tests, known)
        until = time.monotonic() + longest_s
        while (ended := os.waitpid(child, os.WNOHANG)) == (0, 0):
            if time.monotonic() > until:
                os.kill(child, signal.SIGKILL)
            time.sleep(0.05)
        return ended[1]

    def _test(self, tests: Sequence[str], known: dict[str, float]) -> NoReturn:
        code = 1
        try:
            os.setpgid(0, 0)
            os.chdir(self.folder)
            os.environ["PYTHONPATH"] = os.pathsep.join([str(self.folder), os.environ.get("PYTHONPATH", "")])
            sys.path[:0] = [str(self.folder)]
            sys.dont_write_bytecode = True
            signal.signal(signal.SIGPROF, _end_test)
            if known:
                limit = int(30 + 10 * sum(known.values()))
                resource.setrlimit(resource.RLIMIT_CPU, (limit, limit))
            with (self.folder / "last.log").open("w", encoding="utf-8") as log:
                os.dup2(log.fileno(), 1)
                os.dup2(log.fileno(), 2)
            watch = Watch(known, self.slowest_s, self.folder)
            options = ["-q", "-p", "no:xdist", "-p", "no:cacheprovider", "--hypothesis-seed=0", "--rootdir=."]
            options += ["-x"] if known else []
            code = int(importlib.import_module("pytest").main([*options, *tests], plugins=[watch]))
            if not known:
                told = {"seconds": watch.seconds, "calls": watch.calls}
                (self.folder / "told.json").write_text(json.dumps(told), encoding="utf-8")
        finally:
            os._exit(code)


def files_of(group: str) -> list[str]:
    """The files of a group, below the checkout."""
    found = [path for pattern in GROUPS[group][0] for path in sorted((CHECKOUT / "seg_perception").glob(pattern))]
    return [str(path.relative_to(CHECKOUT)) for path in found if path.name != "__init__.py"]


def try_all(mutants: list[Mutant], tests: tuple[str, ...], slowest_s: float) -> list[Mutant]:
    """Those that live."""
    for name in PRELOADED:
        importlib.import_module(name)
    with tempfile.TemporaryDirectory(prefix="mutants") as folder:
        bench = Bench(Path(folder), tests, slowest_s)
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
    living = try_all(mutants, GROUPS[arguments.group][1], slowest_s) if mutants else []
    killed = f", {1 - len(living) / len(mutants):.0%} killed" if mutants else ""
    print(f"{len(mutants)} mutants, {len(living)} live{killed}")
    if arguments.json:
        arguments.json.write_text(json.dumps([asdict(one) for one in living], indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
