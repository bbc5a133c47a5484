"""Which Python, and which ROS 2, a checkout is set up with. Standard library only, on any Python 3.8 or newer."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from seg_perception.fast_dds import profile_variable

OLDEST_PYTHON = (3, 10)
NEWEST_PYTHON = (3, 13)
"""That PyPI has ROS 2's wheels for."""
NEWEST_WITH_ROS = (3, 14)
"""That all other libraries have wheels for: enough where a ROS 2 installation brings its own, as Lyrical's."""

# What has to be known of an interpreter before it is chosen; printed as one JSON line by the interpreter itself.
PROBE = """
import importlib.util, json, os, sys, sysconfig
header = os.path.join(sysconfig.get_paths()["include"], "Python.h")
print(json.dumps({
    "executable": os.path.realpath(sys.executable), "version": list(sys.version_info[:3]),
    "venv": all(importlib.util.find_spec(name) for name in ("venv", "ensurepip")),
    "headers": os.path.exists(header), "rclpy": importlib.util.find_spec("rclpy") is not None,
}))
"""


class SetupError(Exception):
    """Something is missing or failed; the message is one sentence that says what to do."""


@dataclass(frozen=True)
class Interpreter:
    """What a probe found out about one Python."""

    executable: str
    version: tuple[int, int, int]
    venv: bool
    headers: bool
    rclpy: bool

    @property
    def name(self) -> str:
        """Its minor version as in file names, such as `python3.11`."""
        return f"python{self.version[0]}.{self.version[1]}"


@dataclass(frozen=True)
class Ros:
    """Where ROS 2 comes from: `distro` names the sourced installation; None means the wheels from PyPI."""

    distro: str | None

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> Ros:
        """A sourced installation wins over the wheels."""
        return cls(environment.get("ROS_DISTRO") or None)

    def python_candidates(self, wanted: str, venv: Path = Path(".venv")) -> list[str]:
        """Interpreters to try, best first. An installation's rclpy is built for the system's Python; else an environment
        that is there keeps its own, so that another PATH does not mean another set-up."""
        if wanted:
            return [wanted]
        if self.distro:
            return ["/usr/bin/python3"]
        return [
            str(venv / "bin" / "python"),
            "python3",
            *(f"python3.{minor}" for minor in range(NEWEST_PYTHON[1], OLDEST_PYTHON[1] - 1, -1)),
        ]

    @property
    def fastdds_variable(self) -> str:
        """Names the profile file."""
        return profile_variable(self.distro)

    def venv_arguments(self) -> list[str]:
        """What `python -m venv` gets."""
        return ["--system-site-packages"] if self.distro else []


def complaint(python: Interpreter, ros: Ros) -> str:
    """Why an interpreter cannot be used, as one sentence; empty when it can."""
    version = ".".join(map(str, python.version))
    newest = NEWEST_WITH_ROS if ros.distro else NEWEST_PYTHON
    if not OLDEST_PYTHON <= python.version[:2] <= newest:
        return (
            f"Python {version} at {python.executable} is not supported: install Python 3.10 to 3.{newest[1]} "
            "and pass it, for example 'make run PYTHON=python3.12'."
        )
    if not python.venv:
        return (
            f"Python {version} at {python.executable} cannot make virtual environments: "
            f"install its venv module, for example 'apt install {python.name}-venv'."
        )
    if ros.distro and not python.rclpy:
        return (
            f"ROS_DISTRO is '{ros.distro}' but Python {version} at {python.executable} finds no rclpy: "
            "source that installation's setup.bash, install ros-<distro>-rclpy, or unset ROS_DISTRO to use the wheels."
        )
    if not python.headers:
        return (
            f"Python {version} at {python.executable} has no C headers, which the messages are compiled with: "
            f"install them, for example 'apt install {python.name}-dev'."
        )
    return ""


def probe(command: str) -> Interpreter | None:
    """Ask an interpreter about itself; None where there is none."""
    path = shutil.which(command)
    if path is None:
        return None
    environment = {key: value for key, value in os.environ.items() if key != "LD_LIBRARY_PATH"}
    # A sourced installation's rclpy is found through PYTHONPATH, hence no -I; -S would hide the system's packages.
    answer = subprocess.run([path, "-c", PROBE], capture_output=True, text=True, check=False, env=environment)
    if answer.returncode != 0:
        return None
    facts: dict[str, Any] = json.loads(answer.stdout.splitlines()[-1])
    return Interpreter(**{**facts, "version": tuple(facts["version"])})


def choose_python(ros: Ros, wanted: str, venv: Path = Path(".venv")) -> Interpreter:
    """The first candidate that can be used; else the first one's complaint."""
    complaints: list[str] = []
    for command in ros.python_candidates(wanted, venv):
        found = probe(command)
        if found is None:
            continue
        problem = complaint(found, ros)
        if not problem:
            return found
        complaints.append(problem)
    if complaints:
        raise SetupError(complaints[0])
    named = f"'{wanted}' is no Python that starts" if wanted else "No Python 3.10 to 3.13 was found"
    raise SetupError(f"{named}: install one, for example 'apt install python3 python3-venv python3-dev'.")
