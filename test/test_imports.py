"""Who may import whom: the tables of rooms in ARCHITECTURE.md are the source, and what the code does is held to them."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from graphlib import TopologicalSorter
from pathlib import Path

import pytest
from places import CHECKOUT

PACKAGE = CHECKOUT / "seg_perception"
NAME = "seg_perception"
ROS_LIBRARIES = {"rclpy", "launch", "launch_ros", "tf2_ros", "cv_bridge"}
ROW = re.compile(r"^\| (\d+) \| `([^`]+)` \| [^|]+ \|([^|]*)\|$", re.MULTILINE)


@dataclass(frozen=True)
class Room:
    """A row of a table: its floor, and the rooms that its files import."""

    floor: int
    imports: frozenset[str]


def _table(heading: str) -> dict[str, Room]:
    """The rooms under a heading of ARCHITECTURE.md, by name."""
    page = (CHECKOUT / "ARCHITECTURE.md").read_text(encoding="utf-8")
    part = page[page.index(f"## {heading}\n") :]
    part = part[: part.index("\n## ", 1)]
    return {
        room: Room(int(floor), frozenset(re.findall(r"`([^`]+)`", names))) for floor, room, names in ROW.findall(part)
    }


ROOMS, TRAINING = _table("Rooms"), _table("Rooms of training")


def _imports(path: Path) -> Iterator[str]:
    """Absolute names of all modules that a file imports anywhere, also inside functions."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"), str(path))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield str(node.module)
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _file(module: str) -> Path | None:
    """The file of a module of the package; None for what is none, such as a class."""
    place = CHECKOUT / module.replace(".", "/")
    for path in (place.with_suffix(".py"), place / "__init__.py"):
        if path.is_file():
            return path
    return None


FILES = sorted(PACKAGE.rglob("*.py"))


def _own_imports(path: Path) -> set[Path]:
    """Files of the package that a file imports. A package's own file counts only where something in it is meant."""
    names = {name for name in _imports(path) if name.startswith(f"{NAME}.")}
    deeper = {name.rpartition(".")[0] for name in names if _file(name)}
    return {file for name in names - deeper if (file := _file(name)) and file != path}


ARROWS: Mapping[Path, set[Path]] = {path: _own_imports(path) for path in FILES}


def _room(path: Path, rooms: Mapping[str, Room], home: Path, others: str) -> str:
    """The room of a file below home: a folder or a file that the table names, else others, the files of home itself."""
    first = path.relative_to(home).parts[0]
    return first if first in rooms else others


def _between(rooms: Mapping[str, Room], home: Path, others: str) -> dict[str, set[str]]:
    """Rooms below home that each room's files import."""
    found: dict[str, set[str]] = {name: set() for name in rooms}
    for path, imported in ARROWS.items():
        if home in path.parents:
            room = _room(path, rooms, home, others)
            found[room] |= {_room(file, rooms, home, others) for file in imported if home in file.parents}
    return {room: names - {room} for room, names in found.items()}


def _loaded(modules: str, watched: set[str]) -> list[str]:
    """Which of the watched packages a fresh Python has loaded after importing modules."""
    code = f"import sys, {modules}\nprint(*sorted(set({sorted(watched)}) & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=CHECKOUT, check=True)
    return done.stdout.split()


def test_every_folder_is_a_room_and_every_room_is_there() -> None:
    folders = {path.name for path in PACKAGE.iterdir() if (path / "__init__.py").is_file()}
    assert folders == {room for room in ROOMS if (PACKAGE / room).is_dir()}
    assert all((PACKAGE / room).exists() for room in ROOMS if room != "root")
    inside = {path.name for path in (PACKAGE / "training").iterdir() if (path / "__init__.py").is_file()}
    assert inside == set(TRAINING) - {"settings"}


@pytest.mark.parametrize(("rooms", "home", "others"), [(ROOMS, "", "root"), (TRAINING, "training", "settings")])
def test_rooms_import_what_the_table_says_and_only_from_floors_below(
    rooms: Mapping[str, Room], home: str, others: str
) -> None:
    arrows = _between(rooms, PACKAGE / home, others)
    assert arrows == {name: set(room.imports) for name, room in rooms.items()}
    upward = {(name, other) for name in arrows for other in arrows[name] if rooms[other].floor >= rooms[name].floor}
    assert not upward


def test_no_files_import_each_other_in_a_circle() -> None:
    TopologicalSorter(ARROWS).prepare()  # raises CycleError, which names the circle


def test_a_circle_and_an_upward_arrow_would_be_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    writing, pipeline = PACKAGE / "writing.py", PACKAGE / "pipeline.py"
    monkeypatch.setitem(ARROWS, writing, {*ARROWS[writing], pipeline})  # type: ignore[arg-type]
    arrows = _between(ROOMS, PACKAGE, "root")
    assert "pipeline.py" in arrows["root"]
    with pytest.raises(ValueError, match="cycle"):
        TopologicalSorter(ARROWS).prepare()


def _outside(room: str, culprit: set[str] | None = None, ending: str = "") -> dict[str, list[str]]:
    """Files that do not lie in the room and import one of these libraries, or one of that ending."""
    found = {}
    for path in FILES:
        names = [
            name
            for name in _imports(path)
            if (top := name.split(".")[0]) in (culprit or ()) or (ending and top.endswith(ending))
        ]
        if names and path.relative_to(PACKAGE).parts[0] not in room.split():
            found[str(path)] = names
    return found


def test_only_the_node_and_what_plays_to_it_import_ros_libraries_and_messages() -> None:
    assert not _outside("ros play dashboard", ROS_LIBRARIES, "_msgs")


def test_only_training_and_the_check_of_a_gpu_import_torch() -> None:
    assert not _outside("training gpu_check", {"torch", "torchvision"})


def test_only_backends_and_export_import_onnx_runtime() -> None:
    assert set(_outside("backends", {"onnxruntime"})) <= {str(PACKAGE / "training/export/quantize.py")}


def test_reading_camera_messages_loads_no_ros_library() -> None:
    """Bags hold the messages that topics carry, so they are read by the same lines, without ROS."""
    assert _loaded("seg_perception.camera.messages", ROS_LIBRARIES | {"sensor_msgs", "std_msgs"}) == []


def test_the_pipeline_loads_no_ros_no_torch_and_no_vendor_library() -> None:
    heavy = {"rclpy", "torch", "tensorrt", "tensorrt_rtx", "tensorrt_rtx_bindings", "cuda", "onnxruntime"}
    assert _loaded("seg_perception.pipeline, seg_perception.backends, seg_perception.pictures.overlay", heavy) == []


@pytest.mark.parametrize(
    "verb", ["predict", "evaluate", "make-bag", "train", "export", "build-engine", "benchmark", "check-ground"]
)
def test_every_verb_has_help(verb: str) -> None:
    command = [sys.executable, "-m", NAME, verb, "--help"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=CHECKOUT, check=False)
    assert done.returncode == 0, done.stderr
    assert f"seg_perception {verb}" in done.stdout
