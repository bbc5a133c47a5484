"""The program starts and computes where nothing can be written: a read-only installation, a user without a home."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from pathlib import Path

import numba
import numpy as np
import pytest
from places import CHECKOUT

from seg_perception import compiled as kept
from seg_perception.compiled import compiled

KERNELS = sorted(
    str(path.relative_to(CHECKOUT).with_suffix("")).replace("/", ".")
    for path in (CHECKOUT / "seg_perception").rglob("*.py")
    if "import compiled" in path.read_text()
)


def test_nothing_else_asks_numba_to_keep_anything() -> None:
    own = CHECKOUT / "seg_perception" / "compiled.py"
    others = [path for path in (CHECKOUT / "seg_perception").rglob("*.py") if path != own]
    assert [path for path in others if "import numba" in path.read_text() or "from numba" in path.read_text()] == []
    assert len(KERNELS) > 10


def test_no_loop_calls_a_loop_of_another_file() -> None:
    """Numba's cache of a loop does not see that one of another file, which was compiled into it, has changed."""
    trees = {name: ast.parse((CHECKOUT / f"{name.replace('.', '/')}.py").read_text()) for name in KERNELS}
    loops = {name: _loops(tree) for name, tree in trees.items()}
    assert len(loops["seg_perception.ground.end_kernels"]) > 5
    across = [
        f"{name}.{loop.name} calls {imported.module}.{alias.name}"
        for name, tree in trees.items()
        for imported in ast.walk(tree)
        if isinstance(imported, ast.ImportFrom)
        for alias in imported.names
        if alias.name in {other.name for other in loops.get(str(imported.module), ())}
        for loop in loops[name]
        if (alias.asname or alias.name) in {word.id for word in ast.walk(loop) if isinstance(word, ast.Name)}
    ]
    assert across == []


def _loops(tree: ast.Module) -> list[ast.FunctionDef]:
    functions = [node for node in tree.body if isinstance(node, ast.FunctionDef)]
    return [one for one in functions if any(ast.unparse(mark) == "compiled" for mark in one.decorator_list)]


def test_everything_loads_where_there_is_no_place_to_keep_compiled_loops() -> None:
    """What Numba finds in a read-only installation of a user without a home: no folder to write to."""
    program = (
        "import numba.core.caching as caching\n"
        "caching.CacheImpl._locator_classes = []\n"
        "import importlib\n"
        f"for name in {KERNELS}: importlib.import_module(name)\n"
        "import numpy as np\n"
        "from seg_perception.metrics.boundary import boundary_f1\n"
        "mask = np.eye(4, dtype=np.uint8)\n"
        "print(boundary_f1(mask, mask, 2).tolist())\n"
    )
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=CHECKOUT)
    assert (found.returncode, found.stdout.strip()) == (0, "[1.0, 1.0]"), found.stderr


@pytest.mark.machine_code
def test_a_full_disk_costs_the_copy_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    caching = pytest.importorskip("numba.core.caching", reason="Numba's own cache")
    tried = []

    def full(*_: object) -> None:
        tried.append(True)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(caching.IndexDataCacheFile, "save", full)

    @compiled
    def double(values: np.ndarray) -> float:
        return 2.0 * values.sum()

    assert double(np.ones(3)) == 6.0 and tried


def test_without_numba_the_answers_are_the_same() -> None:
    """Decode, ground and metrics in plain Python, where an integer that overflows is an error: as compiled."""
    program, found = str(CHECKOUT / "test" / "without_numba.py"), []
    for disabled in ("1", "0"):
        environment = {**os.environ, "NUMBA_DISABLE_JIT": disabled, "OMP_NUM_THREADS": "1"}
        environment["PYTHONPATH"] = os.pathsep.join([str(CHECKOUT), os.environ.get("PYTHONPATH", "")])
        done = subprocess.run([sys.executable, program], capture_output=True, text=True, env=environment)
        assert done.returncode == 0, done.stderr[-3000:]
        found.append(json.loads(done.stdout))
    for name, value in found[1].items():
        assert found[0][name] == value, name
    assert found[0]["scores"]["miou"] > 0 and found[0]["drivable 0"]["areas"] and found[0]["panoptic 0"]["segments"]


def test_after_compiling_ahead_nothing_is_left_to_compile(tmp_path: Path) -> None:
    """What the suite has compiled already need not be again; the second time there is nothing."""
    found = []
    for name in ("first.json", "second.json"):
        words = [sys.executable, "-m", "seg_perception", "compile", "--json", str(tmp_path / name)]
        done = subprocess.run(words, capture_output=True, text=True, cwd=CHECKOUT)
        assert done.returncode == 0, done.stderr[-3000:]
        found.append(json.loads((tmp_path / name).read_text()))
    assert found[1]["compiled"] == 0 and found[1]["processor"] == kept.processor()
    assert kept.why_compiling() == ""


@pytest.mark.machine_code
def test_compiling_is_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path))  # or a run before has kept it

    @compiled
    def triple(values: np.ndarray) -> float:
        return 3.0 * values.sum()

    with kept.counted() as count:
        assert count() == 0
        triple(np.ones(3, np.float32))
        first = count()
        triple(np.ones(3, np.float32))
    assert first > 0 and count() == first


def test_another_processor_or_source_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept, "NOTE", tmp_path / "__pycache__" / "loops.json")
    assert kept.why_compiling() == "the loops are not compiled yet"
    kept.note_kept()
    assert kept.why_compiling() == ""
    noted = json.loads(kept.NOTE.read_text())
    kept.NOTE.write_text(json.dumps({**noted, "of": "other"}))
    assert "another source" in kept.why_compiling()
    kept.NOTE.write_text(json.dumps({**noted, "processor": "cortex-a78", "of": "other"}))
    assert "another processor (cortex-a78, and this is" in kept.why_compiling()
    kept.NOTE.write_text("[")
    assert kept.why_compiling() == "the loops are not compiled yet"


def test_an_installation_that_cannot_be_written_has_no_note(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setattr(kept, "NOTE", tmp_path / "file" / "loops.json")
    kept.note_kept()
    assert kept.why_compiling()
