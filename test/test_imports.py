import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "seg_perception"
EDGES = ("ros", "evaluation", "training")
ROS_LIBRARIES = {"rclpy", "launch", "launch_ros", "tf2_ros", "cv_bridge"}
ENTRANCES = ("cli.py", "__main__.py")


def _imports(path):
    """Absolute names of all modules that a file imports anywhere, also inside functions."""
    for node in ast.walk(ast.parse(path.read_text(), str(path))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield str(node.module)
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _edge(path):
    folder = path.relative_to(PACKAGE).parts[0]
    return folder if folder in EDGES else ""


def _edges_imported(path):
    names = {name.split(".")[1] for name in _imports(path) if name.startswith("seg_perception.")}
    return names & set(EDGES)


def _loaded(modules, watched):
    """Which of the watched packages a fresh Python has loaded after importing modules."""
    code = f"import sys, {modules}\nprint(*sorted(set({sorted(watched)}) & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=PACKAGE.parent, check=True)
    return done.stdout.split()


FILES = sorted(PACKAGE.rglob("*.py"))


def test_the_files_are_found():
    assert PACKAGE / "pipeline.py" in FILES and {_edge(path) for path in FILES} == {"", *EDGES}


@pytest.mark.parametrize("path", [p for p in FILES if not _edge(p) and p.name not in ENTRANCES], ids=lambda p: p.name)
def test_the_root_imports_no_edge(path):
    assert not _edges_imported(path)


def test_nothing_imports_ros_but_the_command_line():
    culprits = {
        str(path): found
        for path in FILES
        if _edge(path) != "ros" and (found := [n for n in _imports(path) if f"{n}.".startswith("seg_perception.ros.")])
    }
    assert not culprits


def test_reading_camera_messages_loads_no_ros_library():
    """Bags hold the messages that topics carry, so they are read by the same lines, without ROS."""
    assert _loaded("seg_perception.camera.messages", ROS_LIBRARIES | {"sensor_msgs", "std_msgs"}) == []


def test_only_ros_imports_ros_libraries_and_messages():
    culprits = {
        str(path): found
        for path in FILES
        if _edge(path) != "ros"
        and (found := [n for n in _imports(path) if (top := n.split(".")[0]) in ROS_LIBRARIES or top.endswith("_msgs")])
    }
    assert not culprits


def test_only_training_imports_torch_and_its_datasets_do_not():
    culprits = [
        str(path)
        for path in FILES
        if (_edge(path) != "training" or "datasets" in path.parts)
        and any(name.split(".")[0] in ("torch", "torchvision") for name in _imports(path))
    ]
    assert not culprits


def test_the_pipeline_loads_no_ros_no_torch_and_no_vendor_library():
    heavy = {"rclpy", "torch", "tensorrt", "tensorrt_rtx", "tensorrt_rtx_bindings", "cuda", "onnxruntime"}
    assert _loaded("seg_perception.pipeline, seg_perception.backends, seg_perception.pictures.overlay", heavy) == []


@pytest.mark.parametrize(
    "verb", ["predict", "evaluate", "make-bag", "train", "export", "build-engine", "benchmark", "check-ground"]
)
def test_every_verb_has_help(verb):
    command = [sys.executable, "-m", "seg_perception", verb, "--help"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=PACKAGE.parent, check=False)
    assert done.returncode == 0, done.stderr
    assert f"python -m seg_perception {verb}" in done.stdout
