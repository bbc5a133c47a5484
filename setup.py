"""The ament_python package `seg_perception`; its interface package lies beside it, in seg_perception_msgs/."""

import os
import runpy
import subprocess
import sys
from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.install import install

NAME = "seg_perception"
DATA = (".css", ".cu", ".html", ".j2", ".js")
LIBRARIES = runpy.run_path(f"{NAME}/libraries.py")
VERBS = runpy.run_path(f"{NAME}/verbs.py")["VERBS"]

# `ros2 run` finds programs in a folder of the package's own, where setup.cfg puts them for colcon, which calls this file
# by these commands. pip builds a wheel, whose programs go to bin, and 'run' or 'export' must not stand there.
IN_WORKSPACE = bool({"install", "develop"} & set(sys.argv))
WORKSPACE_SCRIPTS = [
    f"segmentation = {NAME}.ros.node:program",
    *(f"{verb} = {NAME}.cli:verb_main" for verb in VERBS),
] * IN_WORKSPACE


class Install(install):
    """As usual, and then the loops are compiled for this processor, so that the node's first start need not."""

    def run(self) -> None:
        super().run()
        place = str(Path(self.install_lib).resolve())
        added = {"PYTHONPATH": place, "AMENT_PREFIX_PATH": str(Path(self.install_data).resolve())}
        environment = {**os.environ, **{name: f"{path}:{os.environ.get(name, '')}" for name, path in added.items()}}
        program = [sys.executable, "-m", NAME, "compile"]
        done = subprocess.run(program, cwd=place, env=environment, capture_output=True, text=True, check=False)
        if done.returncode:  # a library that is missing here may be there where it runs
            print(f"{NAME}: the first start will compile: {done.stderr.strip().splitlines()[-1:]}", file=sys.stderr)


def installed(folder: str, pattern: str, home: str = f"share/{NAME}") -> list[tuple[str, list[str]]]:
    """Files of a folder and their place below home, subfolders kept."""
    places: dict[str, list[str]] = {}
    for path in sorted(Path(folder).rglob(pattern)):
        if path.is_file():
            places.setdefault(f"{home}/{path.parent.as_posix()}", []).append(path.as_posix())
    return list(places.items())


setup(
    name=NAME,
    version="1.0.0",
    description="Camera images to panoptic masks and drivable ground, in real time",
    long_description=Path("README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    maintainer="seg_perception developers",
    maintainer_email="dev@example.com",
    packages=find_packages(include=[NAME, f"{NAME}.*"]),
    package_data={NAME: [path.relative_to(NAME).as_posix() for path in Path(NAME).rglob("*") if path.suffix in DATA]},
    data_files=[
        ("share/ament_index/resource_index/packages", [f"resource/{NAME}"]),
        (f"share/{NAME}", ["package.xml"]),
        *installed("launch", "*.py"),
        *installed("config", "*"),
        *installed("bringup", "*"),
        *installed("models", "*"),
        *([] if IN_WORKSPACE else installed(f"{NAME}_msgs/msg", "*.msg", "share")),  # its own package brings them there
    ],
    python_requires=">=3.10",
    install_requires=["setuptools", *LIBRARIES["NEEDED"].values()],
    extras_require={
        **{extra: list(wanted.values()) for extra, wanted in LIBRARIES["OPTIONAL"].items()},
        "test": ["pytest>=7"],  # by which `colcon test` knows that pytest runs the tests; else it looks for unittest's
    },
    zip_safe=False,
    cmdclass={"install": Install} if IN_WORKSPACE else {},
    entry_points={"console_scripts": [f"{NAME} = {NAME}.cli:main", *WORKSPACE_SCRIPTS]},
)
