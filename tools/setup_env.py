"""Set up what `make run` and `make test` need, in `.venv` and `.ros`: `python3 tools/setup_env.py run|test`.

Standard library only, on any Python 3.8 or newer: this file runs before anything is installed. Every step has a stamp,
written last, that holds a hash of all that the step depends on; a step whose stamp fits is skipped, so an interrupted
set-up goes on where it stopped. `.ros/env.sh`, sourced by sh or bash, is the environment to run commands in.
"""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import json
import os
import platform
import re
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from seg_perception.fast_dds import profile_variable

OLDEST_PYTHON = (3, 10)
NEWEST_PYTHON = (3, 13)
LOG_TAIL_LINES = 20
MESSAGE_PACKAGE = "seg_perception_msgs"
FASTDDS_PROFILE = Path("config/fastdds_shm.xml")

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

    def python_candidates(self, wanted: str) -> list[str]:
        """Interpreters to try, best first. An installation's rclpy is built for the system's Python."""
        if wanted:
            return [wanted]
        if self.distro:
            return ["/usr/bin/python3"]
        return ["python3", *(f"python3.{minor}" for minor in range(NEWEST_PYTHON[1], OLDEST_PYTHON[1] - 1, -1))]

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
    if not OLDEST_PYTHON <= python.version[:2] <= NEWEST_PYTHON:
        return (
            f"Python {version} at {python.executable} is not supported: install Python 3.10, 3.11, 3.12 or 3.13 "
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


def choose_python(ros: Ros, wanted: str) -> Interpreter:
    """The first candidate that can be used; else the first one's complaint."""
    complaints: list[str] = []
    for command in ros.python_candidates(wanted):
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


def check_machine(ros: Ros, machine: str, system: str) -> None:
    """The wheels exist for one kind of machine only."""
    if ros.distro is None and (system, machine) != ("Linux", "x86_64"):
        raise SetupError(
            f"ROS 2's wheels exist for x86-64 Linux, not for {machine} {system}: "
            "install ROS 2 and source its setup.bash first, then run this again."
        )


def check_compiler(environment: Mapping[str, str]) -> None:
    """The messages are compiled on this machine."""
    names = [environment.get("CXX", ""), "c++", "g++", "clang++"]
    if not any(shutil.which(name, path=environment.get("PATH")) for name in names if name):
        raise SetupError(
            "No C++ compiler was found: install one, for example 'apt install g++' (Debian, Ubuntu) "
            "or 'dnf install gcc-c++' (Fedora), and run this again."
        )


def hash_of(*parts: object, files: Iterable[Path] = ()) -> str:
    """A short hash of values and of files' names and bytes."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(repr(part).encode() + b"\0")
    for file in files:
        digest.update(file.name.encode() + b"\0" + file.read_bytes() + b"\0")
    return digest.hexdigest()[:20]


def write_atomically(path: Path, text: str) -> None:
    """Write a file that is there in full or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    part.write_text(text)
    part.replace(path)


def requirements_beside_ros(pinned: str, system_numpy: str, system_has_opencv: bool) -> str:
    """The packages of run.txt for a virtual environment on top of a ROS 2 installation.

    The installation's compiled messages work with its own NumPy only, so NumPy stays at that version and pip looks
    for the versions of the others that go with it; packages that the system has are kept as they are.
    """
    names: list[str] = []
    for line in pinned.splitlines():
        name = re.split(r"[=<>!~;\s]", line.partition("#")[0].strip())[0].lower()
        if name and name not in names:
            names.append(name)
    names.remove("numpy")
    if system_has_opencv:
        names.remove("opencv-python-headless")
    return "\n".join([f"numpy=={system_numpy}", *names]) + "\n"


def with_local_includes(cmake: str, python_include: str, numpy_include: str) -> str:
    """A wheel's CMake file with its builder's include folders replaced by this machine's."""
    numpy = re.sub(r'/opt/[^;"\s]*/numpy/(?:_core|core)/include', lambda _: numpy_include, cmake)
    return re.sub(r'/opt/[^;"\s]*/include/python3\.\d+t?', lambda _: python_include, numpy)


def environment_script(root: Path, ros: Ros, message_python: Path, library_folders: Sequence[Path]) -> str:
    """The text of `.ros/env.sh`; it may be sourced under `set -eu`."""
    venv, install = root / ".venv", root / ".ros" / "install"
    lines = ["# Written by tools/setup_env.py. Use: . .ros/env.sh"]
    if ros.distro:
        lines += [
            f'if [ "${{ROS_DISTRO:-}}" != {shlex.quote(ros.distro)} ]; then',
            f"  echo \"Set up for ROS 2 '{ros.distro}': source its setup.bash first, or run 'make setup' again.\" >&2",
            "  return 1",
            "fi",
            'export RMW_IMPLEMENTATION="${RMW_IMPLEMENTATION:-rmw_fastrtps_cpp}"',
        ]
    else:
        # The wheels start Python a second time to set the library path; the guard says that it is set already.
        lines += [
            "export _ROS_WHEELS_BOOTSTRAP_COMPLETE=1",
            "export RMW_IMPLEMENTATION=rmw_fastrtps_cpp",
            f'export ROS_LOG_DIR="${{ROS_LOG_DIR:-{root}/.ros/log}}"',  # rclpy's own default needs a home folder
        ]
    prefixes = [install] if ros.distro else [install, venv]
    lines += [
        f"export VIRTUAL_ENV={shlex.quote(str(venv))}",
        _prepend("PATH", [venv / "bin"]),
        _prepend("AMENT_PREFIX_PATH", prefixes),
        _prepend("LD_LIBRARY_PATH", library_folders),
        _prepend("PYTHONPATH", [root, message_python]),
        f'export {ros.fastdds_variable}="${{{ros.fastdds_variable}:-{root / FASTDDS_PROFILE}}}"',
    ]
    return "\n".join(lines) + "\n"


def _prepend(variable: str, folders: Sequence[Path]) -> str:
    front = shlex.quote(":".join(map(str, folders)))
    return f'export {variable}={front}"${{{variable}:+:${variable}}}"'


class Setup:
    """The steps for one checkout. Each asks its stamp first."""

    def __init__(self, root: Path, ros: Ros, python: Interpreter, torch_index: str = "") -> None:
        self.root = root
        self.ros = ros
        self.python = python
        self.torch_index = torch_index
        self.venv = root / ".venv"
        self.work = root / ".ros"
        self.log = self.work / "setup.log"
        self.began = time.monotonic()

    @property
    def venv_python(self) -> Path:
        """The interpreter that everything is installed for."""
        return self.venv / "bin" / "python"

    def keys(self) -> dict[str, str]:
        """Each step's hash: of its own inputs and of the steps that it stands on."""
        requirements = self.root / "requirements"
        messages = self.root / MESSAGE_PACKAGE
        sources = sorted(path for path in messages.rglob("*") if path.is_file())
        venv = hash_of("venv 1", self.ros, self.python.executable, self.python.version, str(self.root))
        run = hash_of(venv, files=[requirements / "run.txt", requirements / "ros.txt"])
        return {
            "venv": venv,
            "run": run,
            "messages": hash_of(run, files=sources),
            "test": hash_of(run, self.torch_index, files=[requirements / "test.txt", requirements / "torch.txt"]),
        }

    def stamp(self, step: str) -> Path:
        """Inside `.venv`, or `.ros` for what is built there, so that it goes when the thing itself is deleted."""
        return (self.work / "install" if step == "messages" else self.venv) / f".{step}.stamp"

    def is_done(self, step: str, key: str) -> bool:
        """Whether the step was finished with these very inputs."""
        stamp = self.stamp(step)
        return stamp.is_file() and stamp.read_text() == key

    def run(self, goal: str) -> bool:
        """Do what is missing for `run` or `test`; returns whether anything was."""
        steps = ["venv", "run", "messages"] + (["test"] if goal == "test" else [])
        keys = self.keys()
        missing = [step for step in steps if not self.is_done(step, keys[step])]
        if "messages" in missing:
            check_compiler(os.environ)
        self.work.mkdir(exist_ok=True)
        if missing:
            self.log.write_text("")
        for step in missing:
            self.stamp(step).unlink(missing_ok=True)
            getattr(self, f"_make_{step}")()
            write_atomically(self.stamp(step), keys[step])
        environment, script = self.work / "env.sh", self._environment_script()
        if not environment.is_file() or environment.read_text() != script:
            write_atomically(environment, script)
        return bool(missing)

    def _make_venv(self) -> None:
        version = ".".join(map(str, self.python.version))
        command = [self.python.executable, "-m", "venv", "--clear", *self.ros.venv_arguments(), str(self.venv)]
        self._step(f"making .venv with Python {version}", command)

    def _make_run(self) -> None:
        requirements = self.root / "requirements"
        if self.ros.distro:
            wanted = self.work / "run_beside_ros.txt"
            facts = self._ask("import importlib.util, numpy; print(numpy.__version__, importlib.util.find_spec('cv2'))")
            numpy, _, opencv = facts.partition(" ")
            write_atomically(
                wanted, requirements_beside_ros((requirements / "run.txt").read_text(), numpy, opencv != "None")
            )
            self._pip("installing libraries beside ROS 2", "-r", str(wanted))
            return
        files = [part for name in ("run.txt", "ros.txt") for part in ("-r", str(requirements / name))]
        self._pip("installing ROS 2 Kilted and libraries", *files)
        include, numpy_include = self._ask(
            "import sysconfig, numpy; print(sysconfig.get_paths()['include']); print(numpy.get_include())"
        ).splitlines()
        for path in (self.venv / "share").glob("*/cmake/*.cmake"):
            text = path.read_text()
            repaired = with_local_includes(text, include, numpy_include)
            if repaired != text:
                write_atomically(path, repaired)

    def _make_messages(self) -> None:
        build, install = self.work / "build", self.work / "install"
        for folder in (build, install):
            shutil.rmtree(folder, ignore_errors=True)
        environment = {**os.environ, "COLCON_HOME": str(self.work / "colcon")}
        python = self.python.executable
        colcon = [shutil.which("colcon") or str(self.venv / "bin" / "colcon")]
        if not self.ros.distro:
            python = str(self.venv_python)
            colcon = [python, str(self.venv / "bin" / "colcon")]
            for name in ("PYTHONPATH", "PYTHONHOME", "COLCON_DEFAULTS_FILE", "CMAKE_GENERATOR"):
                environment.pop(name, None)
            environment.update(
                PATH=f"{self.venv / 'bin'}{os.pathsep}{os.environ.get('PATH', os.defpath)}",
                VIRTUAL_ENV=str(self.venv),
                AMENT_PREFIX_PATH=str(self.venv),
                CMAKE_PREFIX_PATH=str(self.venv),
                LD_LIBRARY_PATH=str(self.venv / "lib"),
            )
        elif shutil.which("colcon") is None:
            self._pip("installing colcon", *self._colcon_pins())
        command = [
            *colcon, "--log-base", str(self.work / "log"), "build", "--merge-install",
            "--base-paths", str(self.root / MESSAGE_PACKAGE),
            "--build-base", str(build), "--install-base", str(install),
            "--cmake-args", "-DCMAKE_BUILD_TYPE=Release", "-DBUILD_TESTING=OFF", f"-DPython3_EXECUTABLE={python}",
        ]  # fmt: skip
        self._step(f"building {MESSAGE_PACKAGE}", command, environment)

    def _make_test(self) -> None:
        requirements = self.root / "requirements"
        pins = [] if self.ros.distro else ["-c", str(requirements / "run.txt"), "-c", str(requirements / "ros.txt")]
        index = ["--extra-index-url", self.torch_index] if self.torch_index else []
        self._pip("installing torch", *pins, *index, "-r", str(requirements / "torch.txt"))
        self._pip("installing the tests' tools", *pins, "-r", str(requirements / "test.txt"))

    def _colcon_pins(self) -> list[str]:
        lines = (self.root / "requirements" / "ros.txt").read_text().splitlines()
        return [line for line in lines if line.startswith(("colcon-", "catkin-pkg", "empy", "cmake"))]

    def _pip(self, title: str, *arguments: str) -> None:
        command = [str(self.venv_python), "-m", "pip", "install", "--disable-pip-version-check", "--no-input"]
        self._step(title, [*command, *arguments])

    def _ask(self, program: str) -> str:
        answer = subprocess.run([str(self.venv_python), "-c", program], capture_output=True, text=True, check=False)
        if answer.returncode != 0:
            raise SetupError(f"A question to {self.venv_python} failed: {answer.stderr.strip().splitlines()[-1]}")
        return answer.stdout.strip()

    def _environment_script(self) -> str:
        found = sorted((self.work / "install").glob(f"**/{MESSAGE_PACKAGE}/__init__.py"))
        if not found:
            raise SetupError(f"No Python module of {MESSAGE_PACKAGE} was built: delete .ros and run this again.")
        libraries = [self.work / "install" / "lib"]
        if not self.ros.distro:
            site_packages = self.venv / "lib" / self.python.name / "site-packages"
            libraries += [self.venv / "lib", *sorted(site_packages.glob("ros_*.libs"))]
        return environment_script(self.root, self.ros, found[0].parent.parent, libraries)

    def _step(self, title: str, command: Sequence[str], environment: Mapping[str, str] | None = None) -> None:
        """Run one command into the log, with a line that says what goes on and how long it took."""
        began = time.monotonic()
        print(f"set-up: {title} ...", end="", flush=True)
        with self.log.open("a") as log:
            log.write(f"$ {shlex.join(command)}\n")
            log.flush()
            with subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, env=environment, cwd=self.work
            ) as process:
                code = self._wait(process, title, began)
        now = time.monotonic()
        state = "" if code == 0 else "FAILED, "
        start = "\r" if sys.stdout.isatty() else " "
        label = f"set-up: {title} ... " if sys.stdout.isatty() else ""
        print(f"{start}{label}{state}{now - began:.1f} s ({now - self.began:.1f} s in all)", flush=True)
        if code != 0:
            tail = self.log.read_text(errors="replace").splitlines()[-LOG_TAIL_LINES:]
            print("\n".join(tail), file=sys.stderr)
            raise SetupError(f"Set-up stopped while {title}; the last lines are above, all of it in {self.log}.")

    @staticmethod
    def _wait(process: subprocess.Popen[bytes], title: str, began: float) -> int:
        while True:
            try:
                return process.wait(timeout=1.0 if sys.stdout.isatty() else None)
            except subprocess.TimeoutExpired:
                print(f"\rset-up: {title} ... {time.monotonic() - began:.0f} s", end="", flush=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point; 0 when everything is in place."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("goal", choices=("run", "test"), help="what to set up for")
    parser.add_argument("--python", default="", help="interpreter to use; default: the first suitable one")
    parser.add_argument("--torch-index", default="", help="further package index to take torch from")
    options = parser.parse_args(arguments)
    root = Path(__file__).resolve().parent.parent
    try:
        ros = Ros.of(os.environ)
        check_machine(ros, platform.machine(), platform.system())
        setup = Setup(root, ros, choose_python(ros, options.python), options.torch_index)
        setup.work.mkdir(exist_ok=True)
        with (setup.work / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # a second set-up of this checkout waits, then finds everything done
            if setup.run(options.goal):
                print(f"set-up: ready after {time.monotonic() - setup.began:.1f} s", flush=True)
    except SetupError as error:
        print(error, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\nSet-up interrupted: run it again to go on.", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
