"""Where the bags of a fleet are evaluated: in processes of this machine, or on a Ray cluster; each failure retried once.

A worker has nothing but a scratch folder of its own to write to. What it wrote comes back whole or not at all, to the
one process that keeps results: so a worker that dies loses no other bag and leaves no half result.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import pickle
import signal
import subprocess
import sys
import tempfile
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from pathlib import Path

from seg_perception.errors import SegPerceptionError

TRIES = 2
RUNNERS = ("local", "ray")

Work = Callable[[argparse.Namespace], object]
"""Does a task by its arguments and writes into their `out`; a function that a worker process can import."""


@dataclass(frozen=True)
class Task:
    """One bag to evaluate. arguments: of evaluate, with this bag alone; out is the runner's to choose."""

    name: str
    arguments: argparse.Namespace


@dataclass(frozen=True)
class Outcome:
    """What came of a task. files: the content of all that was written, by name; failure: why there are none, empty
    where all went well."""

    task: Task
    files: Mapping[str, bytes] = field(default_factory=dict)
    failure: str = ""


class Runner(ABC):
    """Evaluates tasks, several at a time."""

    @abstractmethod
    def run(self, tasks: Sequence[Task]) -> Iterator[Outcome]:
        """One outcome a task, as they come; of a task that failed, that of its last try. Stops all work when closed."""


class LocalRunner(Runner):
    """Processes of this machine. jobs: how many at a time."""

    def __init__(self, work: Work, jobs: int) -> None:
        self._work = work
        self._jobs = jobs
        self._running: set[subprocess.Popen[bytes]] = set()
        self._stopped = threading.Event()

    def run(self, tasks: Sequence[Task]) -> Iterator[Outcome]:
        """See Runner."""
        pool = ThreadPoolExecutor(self._jobs)
        try:
            for future in as_completed([pool.submit(self._try, task) for task in tasks]):
                yield future.result()
        finally:
            self._stopped.set()
            for process in tuple(self._running):
                process.terminate()
            pool.shutdown(cancel_futures=True)

    def _try(self, task: Task) -> Outcome:
        outcome = Outcome(task, failure="it was stopped")
        for _ in range(TRIES):
            if outcome.failure and not self._stopped.is_set():
                outcome = self._once(task)
        return outcome

    def _once(self, task: Task) -> Outcome:
        with tempfile.TemporaryDirectory(prefix="bag.") as scratch, tempfile.TemporaryFile() as log:
            process = subprocess.Popen(
                [sys.executable, "-m", __name__],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, "TQDM_DISABLE": "1"},
            )
            self._running.add(process)
            if self._stopped.is_set():
                process.terminate()
            assert process.stdin is not None
            # the pipe stays open as long as this process lives, which is how the worker knows
            with contextlib.suppress(BrokenPipeError), process.stdin:
                pickle.dump((self._work, _with_out(task.arguments, Path(scratch))), process.stdin)
                process.stdin.flush()
                process.wait()
            code = process.wait()
            self._running.discard(process)
            if code == 0:
                return Outcome(task, _content(Path(scratch)))
            log.seek(0)
            return Outcome(task, failure=_why(code, log.read().decode(errors="replace")))


class RayRunner(Runner):
    """An existing Ray cluster, whose machines find this package, the model and the bags at the same paths as this one.

    address: of the cluster, `auto` = the one of this machine; cpus, gpus: what a bag asks the cluster for.
    """

    def __init__(self, work: Work, address: str, cpus: int, gpus: int) -> None:
        self._work = work
        self._address, self._cpus, self._gpus = address, cpus, gpus

    def run(self, tasks: Sequence[Task]) -> Iterator[Outcome]:
        """See Runner. Raises SegPerceptionError where Ray is missing or no cluster answers."""
        try:
            import ray
        except ImportError as error:
            raise SegPerceptionError("--runner ray needs Ray: 'pip install ray', or leave --runner out") from error
        try:
            ray.init(
                address=self._address, log_to_driver=False, runtime_env={"env_vars": {"PYTHONPATH": _search_path()}}
            )
        except (ConnectionError, RuntimeError, ValueError) as error:
            cause = str(error).splitlines()[0]
            raise SegPerceptionError(
                f"no Ray cluster answers at '{self._address}' ({cause}): start one with 'ray start --head', or give "
                "another --address"
            ) from error
        # its own retries would not tell of them, and would not cover errors that are no crash
        remote = ray.remote(num_cpus=self._cpus, num_gpus=self._gpus, max_retries=0)(results_of)
        try:
            pending = {remote.remote(self._work, task.arguments): (task, 1) for task in tasks}
            while pending:
                (done,), _ = ray.wait(list(pending), num_returns=1)
                task, tries = pending.pop(done)
                try:
                    yield Outcome(task, ray.get(done))
                except ray.exceptions.RayError as error:
                    if tries < TRIES:
                        pending[remote.remote(self._work, task.arguments)] = (task, tries + 1)
                    else:
                        yield Outcome(task, failure=_last_line(str(error)))
        finally:
            ray.shutdown()


def results_of(work: Work, arguments: argparse.Namespace) -> dict[str, bytes]:
    """Do the work; returns the content of all that it writes, by name. Raises as it does."""
    with tempfile.TemporaryDirectory(prefix="bag.") as scratch:
        work(_with_out(arguments, Path(scratch)))
        return _content(Path(scratch))


def _search_path() -> str:
    """This process' PYTHONPATH, and where its package lies: a checkout may be found by its working folder alone."""
    places = (str(Path(__file__).resolve().parents[2]), os.environ.get("PYTHONPATH", ""))
    return os.pathsep.join(place for place in places if place)


def _with_out(arguments: argparse.Namespace, out: Path) -> argparse.Namespace:
    return argparse.Namespace(**{**vars(arguments), "out": out})


def _content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def _why(code: int, log: str) -> str:
    if code < 0:
        return f"its process was killed by {signal.Signals(-code).name}"
    return _last_line(log) or f"its process ended with exit code {code}"


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else ""


def _work() -> int:
    """A worker process of LocalRunner: what to do comes through stdin, which ends when the parent does."""
    work, arguments = pickle.load(sys.stdin.buffer)  # our own parent's

    def end_with_parent() -> None:
        while os.read(0, 1):  # not through sys.stdin, whose lock would be missed when the interpreter ends
            pass
        os._exit(1)

    threading.Thread(target=end_with_parent, daemon=True).start()
    try:
        work(arguments)
    except SegPerceptionError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(_work())
