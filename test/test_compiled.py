"""The program starts and computes where nothing can be written: a read-only installation, a user without a home."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import numpy as np
import pytest
from places import CHECKOUT

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
