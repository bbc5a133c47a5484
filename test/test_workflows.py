"""What the workflows and images rest upon, as far as it can be had without them."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from places import CHECKOUT

BUILT_BY = ["README.md", *(str(path.relative_to(CHECKOUT)) for path in (CHECKOUT / "docker").iterdir())]
BUILT_BY += [str(path.relative_to(CHECKOUT)) for path in (CHECKOUT / ".github" / "workflows").iterdir()]
COMMAND = re.compile(r'(?:\bcolcon(?:"?\)?")? (?:build|test)|rosdep install) [^\n\\]*(?:\\\n[^\n\\]*)*')


@pytest.mark.parametrize("file", BUILT_BY)
def test_every_build_names_both_packages(file: str) -> None:
    """colcon and rosdep look for no package inside a package."""
    text = (CHECKOUT / file).read_text(encoding="utf-8")
    for found in COMMAND.finditer(text):
        command = found[0].replace("$PACKAGES", "seg_perception seg_perception_msgs")
        assert re.search(r"--(?:base|from)-paths [^&#]*seg_perception_msgs", command), found[0]


def test_the_builds_are_seen() -> None:
    found = [len(COMMAND.findall((CHECKOUT / file).read_text(encoding="utf-8"))) for file in BUILT_BY]
    assert sum(found) >= 7, "README: colcon and rosdep; docker: colcon twice, rosdep; the workflow: build and test"


def test_colcon_has_pytest_run_the_tests() -> None:
    """It asks an extra of this name; without one it runs unittest, which finds nothing."""
    program = "import setuptools; setuptools.setup = lambda **all: print(all['extras_require']['test'])"
    program += "; exec(open('setup.py').read())"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=CHECKOUT)
    assert done.stdout == "['pytest>=7']\n"


def test_pytest_starts_beside_the_plugins_of_an_installed_ros(tmp_path: Path) -> None:
    """launch_testing of Humble and Jazzy has a hook whose argument newer versions of pytest do not know."""
    (tmp_path / "hooks.py").write_text("def pytest_pycollect_makemodule(path, parent):\n    return None\n")
    for plugin in ("launch_testing", "launch_ros"):
        home = tmp_path / f"{plugin}-1.0.7.dist-info"
        home.mkdir()
        (home / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {plugin}\nVersion: 1.0.7\n")
        (home / "entry_points.txt").write_text(f"[pytest11]\n{plugin} = hooks\n")
    shutil.copy(CHECKOUT / "pyproject.toml", tmp_path)
    (tmp_path / "test").mkdir()
    (tmp_path / "test" / "test_it.py").write_text("def test_it():\n    pass\n")
    done = subprocess.run([sys.executable, "-m", "pytest", "-q"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
