"""Where mutants are tried: a copy of the checkout, whose tests are collected once and run in a fork for each mutant."""

from __future__ import annotations

import ast
import gc
import importlib
import json
import math
import os
import resource
import shutil
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import CodeType, FrameType, FunctionType
from typing import Any, NoReturn

from mutants import CHECKOUT, Mutant, changed, mutated

COPIED = ("seg_perception", "test")
LONGEST_S = 900.0
"""Until a mutant that waits for ever is ended."""
LIVES, KILLED, NOT_IN_PLACE = 0, 1, 3
"""How a fork that tries a mutant ends."""


class TooSlow(BaseException):
    """A test that takes far longer than it should; nothing catches it."""


class Watch:
    """A plugin of pytest: the quickest tests first, each within its time. Of those that pass, `seconds` and `calls`: the
    functions of the program that they ran, as file:line; `at_import`: those that ran before any test did. A test that is too
    slow once is so for all of its parameters."""

    def __init__(self, known: dict[str, float], slowest_s: float, folder: Path) -> None:
        """known: seconds of the tests to run; without any all are run, and what they call is noted."""
        self.known, self.slowest_s, self.folder = known, slowest_s, str(folder / "seg_perception")
        self.seconds: dict[str, float] = {}
        self.calls: dict[str, list[str]] = {}
        self.at_import: list[str] = []
        self._began, self._seen, self._slow = 0.0, set[CodeType](), set[str]()

    def note_calls(self, on: bool) -> None:
        """Begin to note which functions run, or end."""
        note = self._note if on else None
        threading.setprofile(note)  # type: ignore[arg-type]
        sys.setprofile(note)

    def noted(self) -> list[str]:
        """The program's functions that ran since the last time, as file:line."""
        own = [code for code in self._seen.copy() if code.co_filename.startswith(self.folder)]
        self._seen.clear()
        start = len(self.folder) - len("seg_perception")
        return [f"{code.co_filename[start:]}:{code.co_firstlineno}" for code in own]

    def pytest_collection_finish(self, session: Any) -> None:
        """What was imported is so for all."""
        self.note_calls(False)
        self.at_import = self.noted()

    def pytest_runtest_setup(self, item: Any) -> None:
        """Begin to count."""
        if not self.known:
            if item.nodeid.partition("[")[0] in self._slow:
                importlib.import_module("pytest").skip("too slow with other parameters")
            self._seen.clear()
            self.note_calls(True)
        signal.setitimer(signal.ITIMER_PROF, max(3.0, 10 * self.known[item.nodeid]) if self.known else self.slowest_s)
        self._began = time.process_time()

    def pytest_runtest_logreport(self, report: Any) -> None:
        """End it."""
        took_s = time.process_time() - self._began
        if report.when == "call" and report.passed:
            self.seconds[report.nodeid] = took_s
        if report.when == "call" and report.failed and took_s >= self.slowest_s:
            self._slow.add(report.nodeid.partition("[")[0])
        if report.when == "teardown":
            signal.setitimer(signal.ITIMER_PROF, 0)
            self.note_calls(False)
            self.calls[report.nodeid] = self.noted()

    def run(self, session: Any, tests: dict[str, float]) -> bool:
        """Run these of the collected tests, in this order, until one fails; all where none is given. Whether they pass."""
        by_name = {item.nodeid: item for item in session.items}
        items = [by_name[name] for name in tests] if tests else session.items
        self.known = tests
        for item, following in zip(items, [*items[1:], None]):
            item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
            if tests and session.testsfailed:
                return False
        return True

    def _note(self, frame: FrameType, event: str, argument: Any) -> None:
        if event == "call":
            self._seen.add(frame.f_code)


class Server:
    """A plugin of pytest that runs no test itself: once all are collected it forks, first to measure, then for each mutant that
    it is told by the other end of a socket, a line of JSON each."""

    def __init__(self, watch: Watch, ear: socket.socket, folder: Path) -> None:
        self._watch, self._ear, self._folder = watch, ear, folder

    def pytest_runtestloop(self, session: Any) -> bool:
        """Serve until nobody asks any more."""
        if session.testsfailed:  # some could not be collected
            return True
        with self._ear.makefile("rw", encoding="utf-8") as told:
            _in_fork(lambda: self._measure(session), math.inf)
            told.write((self._folder / "told.json").read_text(encoding="utf-8") + "\n")
            told.flush()
            for line in told:
                asked = json.loads(line)
                told.write(f"{_in_fork(lambda: self._try(session, **asked))}\n")  # noqa: B023
                told.flush()
        return True

    def _measure(self, session: Any) -> int:
        watch = self._watch
        watch.run(session, {})
        found = {"seconds": watch.seconds, "calls": watch.calls, "at_import": watch.at_import}
        (self._folder / "told.json").write_text(json.dumps(found), encoding="utf-8")
        return 0

    def _try(self, session: Any, mutant: dict[str, Any], tests: dict[str, float]) -> int:
        if not put_in_place(Mutant(**mutant), self._folder):
            return NOT_IN_PLACE
        _limit(tests)
        return LIVES if self._watch.run(session, tests) else KILLED


def put_in_place(mutant: Mutant, folder: Path) -> bool:
    """Give the function that a mutant lies in its changed code, for all who have imported it; False where what is changed is
    not its code alone: a default, or what it takes from the function around it."""
    path, line = folder / mutant.file, int(mutant.function.rpartition(":")[2])
    tree, _, _ = changed(path.read_text(encoding="utf-8"), mutant.number)
    whole = compile(ast.fix_missing_locations(tree), str(path), "exec", dont_inherit=True)
    new = [code for code in _codes(whole) if _is_at(code, path, line)]
    # By its type alone: isinstance asks a weak reference whose object has gone for its class, which it has no more.
    old = [one for one in gc.get_objects() if type(one) is FunctionType and _is_at(one.__code__, path, line)]
    if len(new) != 1 or len(old) != 1 or new[0] == old[0].__code__:
        return False
    try:
        old[0].__code__ = new[0]
    except ValueError:  # another number of variables of the function around it
        return False
    return True


def _is_at(code: CodeType, path: Path, line: int) -> bool:
    return code.co_firstlineno == line and code.co_filename == str(path) and not code.co_name.startswith("<")


def _codes(code: CodeType) -> Iterator[CodeType]:
    for part in code.co_consts:
        if isinstance(part, CodeType):
            yield part
            yield from _codes(part)


def _in_fork(work: Callable[[], int], longest_s: float = LONGEST_S) -> int:
    """What work returns in a process of its own; KILLED where that ends by a signal, an exception or after longest_s."""
    child = os.fork()
    if not child:
        code = KILLED
        try:
            code = work()
        finally:
            os._exit(code)
    until = time.monotonic() + longest_s
    while (ended := os.waitpid(child, os.WNOHANG)) == (0, 0):
        if time.monotonic() > until:
            os.kill(child, signal.SIGKILL)
        time.sleep(0.01)
    return os.waitstatus_to_exitcode(ended[1]) if os.WIFEXITED(ended[1]) else KILLED


def _limit(tests: dict[str, float]) -> None:
    limit = int(30 + 10 * sum(tests.values()))
    resource.setrlimit(resource.RLIMIT_CPU, (limit, limit))


def _end_test(number: int, frame: FrameType | None) -> None:
    raise TooSlow


class Bench:
    """A copy of the checkout in which tests run. Where a mutant changes the code of one function that ran for no import, it is
    tried in a fork of a process that has collected all tests; else in one that starts anew with the file changed."""

    def __init__(self, folder: Path, tests: tuple[str, ...], slowest_s: float, in_place: bool) -> None:
        """slowest_s: of processor time, tests that take longer are left out; in_place: whether functions may be changed
        where they are, which compiled ones cannot."""
        self.folder, self.tests, self.slowest_s, self.in_place = folder, tests, slowest_s, in_place
        self.known: dict[str, float] = {}
        self.calls: dict[str, list[str]] = {}
        self._at_import: set[str] = set()
        for entry in CHECKOUT.iterdir():
            if entry.name in COPIED:
                shutil.copytree(
                    entry, folder / entry.name, ignore=shutil.ignore_patterns("*.pyc", "out", ".hypothesis")
                )
            elif entry.name not in (".git", ".hypothesis", ".pytest_cache"):
                (folder / entry.name).symlink_to(entry)

    def measure(self) -> None:
        """Collect the tests; which pass as it is, how quickly, and what each runs."""
        mouth, ear = socket.socketpair()
        if not os.fork():
            mouth.close()
            self._test(self.tests, {}, ear)
        ear.close()
        self._server = mouth.makefile("rw", encoding="utf-8")
        line = self._server.readline()
        if not line:
            raise SystemExit(f"{' '.join(self.tests)} cannot be collected:\n{self._log()}")
        told = json.loads(line)
        self.known, self.calls, self._at_import = told["seconds"], told["calls"], set(told["at_import"])
        if not self.known:
            raise SystemExit(f"no test of {' '.join(self.tests)} passes: mend them first")

    def kills(self, mutant: Mutant) -> bool:
        """Whether a test fails with it, of those that run its function; of all where it lies in none, or in a loop that is
        compiled, first of those that run anything of its file."""
        chosen = [test for test in self.known if mutant.function in self.calls[test]] or list(self.known)
        beside = f"{mutant.file}:"
        of_file = {test for test in chosen if any(call.startswith(beside) for call in self.calls[test])}
        tests = {test: self.known[test] for test in sorted(chosen, key=lambda t: (t not in of_file, self.known[t]))}
        if self.in_place and mutant.function and mutant.function not in self._at_import:
            self._server.write(json.dumps({"mutant": vars(mutant), "tests": tests}) + "\n")
            self._server.flush()
            code = int(self._server.readline())
            if code != NOT_IN_PLACE:
                return code != LIVES
        return self._kills_anew(mutant, tests)

    def _kills_anew(self, mutant: Mutant, tests: dict[str, float]) -> bool:
        path = self.folder / mutant.file
        times, source = path.stat(), path.read_text(encoding="utf-8")
        loops = {kept: kept.read_bytes() for kept in path.parent.glob(f"__pycache__/{path.stem}.*.nb?")}
        path.write_text(mutated(source, mutant.number)[0], encoding="utf-8")
        files = sorted({test.partition("::")[0] for test in tests})
        try:
            return _in_fork(lambda: self._test(files, tests)) != LIVES
        finally:
            path.write_text(source, encoding="utf-8")
            os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
            for kept, content in loops.items():
                kept.write_bytes(content)

    def _log(self) -> str:
        return (self.folder / "last.log").read_text(encoding="utf-8")[-2000:]

    def _test(self, files: Sequence[str], tests: dict[str, float], ear: socket.socket | None = None) -> NoReturn:
        """Run pytest and end: some tests of these files, or a server. Bytecode is kept of what is as it was alone."""
        code = KILLED
        try:
            os.setpgid(0, 0)
            os.chdir(self.folder)
            os.environ["PYTHONPATH"] = os.pathsep.join([str(self.folder), os.environ.get("PYTHONPATH", "")])
            sys.path[:0] = [str(self.folder)]
            sys.dont_write_bytecode = ear is None
            signal.signal(signal.SIGPROF, _end_test)
            with (self.folder / "last.log").open("w", encoding="utf-8") as log:
                os.dup2(log.fileno(), 1)
                os.dup2(log.fileno(), 2)
            watch = Watch(tests, self.slowest_s, self.folder)
            plugins: list[Any] = [watch]
            if ear is not None:
                plugins.append(Server(watch, ear, self.folder))
                watch.note_calls(True)
            else:
                _limit(tests)
                plugins.append(_Chosen(watch, tests))
            options = ["-q", "-p", "no:xdist", "-p", "no:cacheprovider", "--hypothesis-seed=0", "--rootdir=."]
            code = int(importlib.import_module("pytest").main([*options, *files], plugins=plugins))
        finally:
            os._exit(code)


class _Chosen:
    """A plugin of pytest that runs some of the collected tests."""

    def __init__(self, watch: Watch, tests: dict[str, float]) -> None:
        self._watch, self._tests = watch, tests

    def pytest_runtestloop(self, session: Any) -> bool:
        """Until one fails."""
        os._exit(LIVES if self._watch.run(session, self._tests) else KILLED)
