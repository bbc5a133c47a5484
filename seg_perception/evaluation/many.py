"""Many bags as one evaluation: found, evaluated by workers, kept one by one so that nothing is done twice, summed up.

What came of a bag lies in OUT/<name of the bag>/, its report.json last and with a fingerprint of everything that its
numbers depend on. A bag whose fingerprint is found there is not evaluated again. The whole is summed up from these files
alone, each bag once.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from seg_perception import backends, model_file
from seg_perception.errors import SegPerceptionError
from seg_perception.evaluation.runners import RUNNERS, LocalRunner, Outcome, RayRunner, Runner, Task, Work
from seg_perception.options import refuse, whole
from seg_perception.recordings.sources import BAG_ENDINGS, LabelFolder, is_storage_file
from seg_perception.reports import report
from seg_perception.reports.fleet_report import FleetReport
from seg_perception.writing import write_json, written_aside

RESULT = "report.json"
_MOST_FRAMES = 10**7
"""No bag has so many; a stamp in ns is more."""
_PACKAGE = Path(__file__).resolve().parents[1]
_NOT_OF_ONE_BAG = ("bag", "out", "json", "jobs", "runner", "address", "threads", "baseline", "fail_if")
"""Arguments that change no number of a single bag."""
_OF_THE_FLEET: Mapping[str, Any] = {"jobs": None, "runner": "local", "address": "auto"}
"""Arguments of add_fleet_arguments as a single bag has them."""


@dataclass(frozen=True)
class NamedBag:
    """A bag and the name of its folder in OUT, which no other has."""

    path: Path
    name: str


def add_fleet_arguments(parser: argparse.ArgumentParser) -> None:
    """--jobs, --runner and --address."""
    fleet = parser.add_argument_group("many bags")
    fleet.add_argument(
        "--jobs", type=whole("--jobs", 1), metavar="N", help="bags at a time (default: one a core, or one on a GPU)"
    )
    fleet.add_argument(
        "--runner",
        choices=RUNNERS,
        default="local",
        help="processes of this machine, or a Ray cluster whose machines find model and bags at the same paths; a bag "
        "takes --threads cores there and, with --backend tensorrt, a GPU (default: local)",
    )
    fleet.add_argument("--address", default="auto", metavar="A", help="Ray cluster (default: the one of this machine)")


def check(arguments: argparse.Namespace, given: Mapping[str, str]) -> None:
    """Raises SegPerceptionError where options of one bag are given for many, or the other way round; given: which are."""
    if is_fleet(arguments.bag):
        refuse(given, ("annotate", "rerun"), "for one bag: give one --bag")
        _check_labels(arguments)
        if arguments.runner == "ray":
            refuse(given, ("jobs",), "for this machine, but a cluster decides by itself: leave it or --runner ray out")
        else:
            refuse(given, ("address",), "for a Ray cluster: give --runner ray too")
    else:
        refuse(given, ("jobs", "runner", "address"), "for many bags: give several, or a folder of them")


def _check_labels(arguments: argparse.Namespace) -> None:
    """Raises SegPerceptionError where label images are of frame 0, 1, … of whatever bag it is."""
    if arguments.labels is None:
        return
    from seg_perception.recordings.bag_labels import stems_by_number  # rosbags is needed for bags only

    if min(stems_by_number(LabelFolder(arguments.labels, arguments.instances)), default=_MOST_FRAMES) < _MOST_FRAMES:
        raise SegPerceptionError(
            f"{arguments.labels} names label images by the numbers of frames, which every bag has: give one --bag, or name them "
            "by stamps"
        )


def is_fleet(paths: Sequence[Path]) -> bool:
    """Whether the paths mean many bags: a list, or a folder that is no bag itself."""
    return len(paths) > 1 or (paths[0].is_dir() and not _is_bag(paths[0]))


def evaluate(arguments: argparse.Namespace, work: Work) -> report.Report:
    """Evaluate the bags that arguments.bag means, each into its folder in arguments.out; returns the sum of all.

    work: evaluates one bag, into the folder `out` of its arguments.

    Bags that failed twice are named under `problems`. Raises SegPerceptionError for what stops all of them: no bag, no
    model, no room to write, no cluster.
    """
    out: Path = arguments.out
    bags = find_bags(arguments.bag, out)
    model = model_file.load(arguments.model)
    common = _common_fingerprint(arguments)
    prints = {bag.name: _digest(common, _files(bag.path)) for bag in bags}
    todo = [bag for bag in bags if _finished(out / bag.name, prints[bag.name]) is None]
    failures: dict[str, str] = {}
    if todo:
        runner, threads = _runner(arguments, len(todo), work)
        own: dict[str, Any] = {"json": None, "baseline": None, "fail_if": [], **_OF_THE_FLEET}
        own["threads"] = None if arguments.backend == "tensorrt" else threads
        # workers of a cluster have other working folders
        given = {key: value.resolve() if isinstance(value, Path) else value for key, value in vars(arguments).items()}
        tasks = [Task(bag.name, argparse.Namespace(**{**given, **own, "bag": [bag.path], "out": None})) for bag in todo]
        with tqdm(total=len(bags), initial=len(bags) - len(todo), unit="bag", desc="evaluate") as progress:
            for outcome in runner.run(tasks):
                if outcome.failure:
                    failures[outcome.task.name] = outcome.failure
                else:
                    _keep(outcome, out / outcome.task.name, prints[outcome.task.name])
                progress.update()
    whole = FleetReport(model)
    for bag in bags:
        numbers = None if bag.name in failures else _finished(out / bag.name, prints[bag.name])
        if numbers is None:
            whole.add_failure(bag.name, bag.path, failures.get(bag.name, f"its {RESULT} in {out} was taken away"))
        else:
            whole.add(bag.name, bag.path, numbers)
    return whole.report()


def find_bags(paths: Sequence[Path], out: Path) -> list[NamedBag]:
    """The bags among the paths and in the folders among them, each once; out: a folder not to look into.

    A bag is named by its file or folder, with a hash of its path where several have the same name. Raises
    SegPerceptionError when a path does not exist or is a folder without a bag.
    """
    found: dict[Path, None] = {}
    for path in paths:
        if not path.exists():
            raise SegPerceptionError(f"there is no bag {path}: check the path")
        inside = _bags_in(path, out.resolve()) if path.is_dir() and not _is_bag(path) else [path]
        if not inside:
            endings = ", ".join(BAG_ENDINGS)
            raise SegPerceptionError(
                f"the folder {path} holds no bags: folders with a metadata.yaml and files that end in {endings} are looked for"
            )
        found.update(dict.fromkeys(bag.resolve() for bag in inside))
    names = Counter(bag.name for bag in found)
    return [NamedBag(bag, bag.name if names[bag.name] == 1 else f"{bag.name}-{_digest(str(bag))[:8]}") for bag in found]


def _is_bag(path: Path) -> bool:
    """A storage file; or a folder with metadata or, as a recorder leaves it that was killed, with the files of one bag."""
    if path.is_file():
        return is_storage_file(path)
    if (path / "metadata.yaml").is_file():
        return True
    inside = list(path.iterdir())
    files = [file.name for file in inside if file.is_file() and is_storage_file(file)]
    parts = re.compile(rf"{re.escape(path.name)}_\d+\..+")
    one = len(files) == 1 or (bool(files) and all(parts.fullmatch(name) for name in files))
    return one and not any(_is_bag(folder) for folder in inside if folder.is_dir() and not folder.is_symlink())


def _bags_in(folder: Path, out: Path) -> list[Path]:
    found: list[Path] = []
    for path in sorted(folder.iterdir()):
        if path.name.startswith(".") or path.resolve() == out:
            continue
        if _is_bag(path):
            found.append(path)
        elif path.is_dir() and not path.is_symlink():  # a link may lead back up
            found += _bags_in(path, out)
    return found


def _runner(arguments: argparse.Namespace, bags: int, work: Work) -> tuple[Runner, int]:
    """Who evaluates them, and the threads of each worker's network."""
    if arguments.runner == "ray":
        threads = arguments.threads or 1
        return RayRunner(work, arguments.address, threads, int(arguments.backend == "tensorrt")), threads
    from seg_perception.backends.onnx_runtime import physical_cores  # ONNX Runtime takes long to load

    cores = physical_cores()
    on_gpu = backends.resolve(arguments.backend)[0] == "tensorrt"
    jobs = min(bags, arguments.jobs or (1 if on_gpu else max(1, cores // (arguments.threads or 1))))
    return LocalRunner(work, jobs), arguments.threads or max(1, cores // jobs)


def _common_fingerprint(arguments: argparse.Namespace) -> str:
    """Of what the numbers of every bag depend on: the model's bytes, this package's code and the arguments."""
    others = {key: value for key, value in vars(arguments).items() if key not in (*_NOT_OF_ONE_BAG, "model")}
    inputs = {key: _files(value) for key, value in others.items() if isinstance(value, Path)}
    code = [path.read_bytes() for path in sorted(_PACKAGE.rglob("*.py"))]
    return _digest(Path(arguments.model).read_bytes(), *code, {**others, **inputs})


def _files(path: Path) -> list[tuple[str, int, int]]:
    """Path, size in bytes and time of change in ns of a file, or of all files in a folder."""
    path = path.resolve()
    files = sorted(file for file in path.rglob("*") if file.is_file()) if path.is_dir() else [path]
    return [(str(file), (known := file.stat()).st_size, known.st_mtime_ns) for file in files if file.exists()]


def _digest(*parts: Any) -> str:
    digest = hashlib.sha256()
    for part in parts:
        data = part if isinstance(part, bytes) else json.dumps(part, sort_keys=True).encode()
        digest.update(len(data).to_bytes(8, "little") + data)
    return digest.hexdigest()


def _finished(folder: Path, fingerprint: str) -> Mapping[str, Any] | None:
    """The numbers of a bag that has been evaluated; None when it has not, or was otherwise."""
    try:
        numbers: dict[str, Any] = json.loads((folder / RESULT).read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):  # what cannot be parsed is nothing to rely on, so it is done anew
        return None
    return numbers if isinstance(numbers, dict) and numbers.get("fingerprint") == fingerprint else None


def _keep(outcome: Outcome, folder: Path, fingerprint: str) -> None:
    """Write what a worker brought; report.json is the last, since it says that the bag is finished."""
    numbers = {**json.loads(outcome.files[RESULT]), "fingerprint": fingerprint}
    try:
        for name, content in outcome.files.items():
            if name != RESULT:
                with written_aside(folder / name) as aside:
                    aside.write_bytes(content)
        write_json(folder / RESULT, numbers)
    except OSError as error:
        raise SegPerceptionError(
            f"results cannot be written to {folder} ({error.strerror}): give another --out"
        ) from error
