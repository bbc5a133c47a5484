"""Set up what `make run` and `make test` need, in `.venv` and `.ros`: `python3 tools/setup_env.py run|test`.

Standard library only, on any Python 3.8 or newer: this file runs before anything is installed. Every step has a stamp,
written last, that holds a hash of all that the step depends on; a step whose stamp fits is skipped, so an interrupted
set-up goes on where it stopped. Nothing is to be sourced afterwards: `.venv/bin/seg_perception` and every Python of
`.venv` find their environment (`venv_environment.py`). `.ros/env.sh` is the same for a shell, sh or bash.
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
from dataclasses import asdict
from pathlib import Path

from setup_environment import GUARD, console_script, environment_script, settings_for
from setup_python import Interpreter, Ros, SetupError, choose_python

LOG_TAIL_LINES = 20
MESSAGE_PACKAGE = "seg_perception_msgs"


def check_place(root: Path) -> None:
    """The tools that are installed cannot live everywhere: PATH splits at colons, CMake at semicolons, and the programs
    that pip writes have the path in double quotes for a shell, where it runs what stands in it."""
    wrong = next((sign for sign in ':;$`"\\\n' if sign in str(root)), None)
    if wrong:
        raise SetupError(
            f"The checkout's path {str(root)!r} holds {wrong!r}, which PATH, pip or CMake misread: move it."
        )


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


def write_atomically(path: Path, text: str, executable: bool = False) -> None:
    """Write a file that is there in full or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    part.write_bytes(os.fsencode(text))
    if executable:
        part.chmod(0o755)
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


def has_listed_builds(torch_index: str) -> bool:
    """Whether `requirements/hashes/torch.txt` knows the files of an index: PyPI's, "", and the builds for a CPU. Whoever
    names another one, say of an older CUDA, trusts it."""
    return not torch_index or torch_index.rstrip("/").endswith("/cpu")


def with_local_includes(cmake: str, python_include: str, numpy_include: str) -> str:
    """A wheel's CMake file with its builder's include folders replaced by this machine's."""
    numpy = re.sub(r'/opt/[^;"\s]*/numpy/(?:_core|core)/include', lambda _: numpy_include, cmake)
    return re.sub(r'/opt/[^;"\s]*/include/python3\.\d+t?', lambda _: python_include, numpy)


def leftover_bytecode(root: Path) -> list[Path]:
    """Compiled files of Python and Numba whose source has moved away."""
    compiled = [
        path
        for folder in ("seg_perception", "test", "tools", "launch")
        for kind in ("*.pyc", "*.nbi", "*.nbc")
        for path in (root / folder).rglob(kind)
    ]
    homes = [path.parent.parent if path.parent.name == "__pycache__" else path.parent for path in compiled]
    return [path for path, home in zip(compiled, homes) if not (home / f"{path.name.split('.')[0]}.py").is_file()]


def sweep(root: Path) -> None:
    """Delete leftover bytecode and the folders that held nothing else: Python would take those for packages."""
    for path in leftover_bytecode(root):
        path.unlink()
        for folder in path.parents:
            try:
                folder.rmdir()
            except OSError:  # it holds something
                break


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
        messages = self.root / MESSAGE_PACKAGE
        sources = sorted(path for path in messages.rglob("*") if path.is_file())
        venv = hash_of("venv 1", self.ros, self.python.executable, self.python.version, str(self.root))
        run = hash_of(venv, files=self._requirements("run", "ros"))
        return {
            "venv": venv,
            "run": run,
            "messages": hash_of(run, files=sources),
            "test": hash_of(run, self.torch_index, files=self._requirements("test", "torch")),
        }

    def _requirements(self, *names: str) -> list[Path]:
        """What is wanted, and the hashes of all that it takes."""
        folder = self.root / "requirements"
        return [place / f"{name}.txt" for name in names for place in (folder, folder / "hashes")]

    def stamp(self, step: str) -> Path:
        """Inside `.venv`, or `.ros` for what is built there, so that it goes when the thing itself is deleted."""
        return (self.work / "install" if step == "messages" else self.venv) / f".{step}.stamp"

    def is_done(self, step: str, key: str) -> bool:
        """Whether the step was finished with these very inputs, and what it made is still there."""
        stamp = self.stamp(step)
        if not stamp.is_file() or stamp.read_text() != key:
            return False
        return self._message_folder() is not None if step == "messages" else os.access(self.venv_python, os.X_OK)

    def missing(self, goal: str) -> dict[str, str]:
        """The steps that `run` or `test` still needs, in order, and their hashes."""
        steps = ["venv", "run", "messages"] + (["test"] if goal == "test" else [])
        keys = self.keys()
        return {step: keys[step] for step in steps if not self.is_done(step, keys[step])}

    def is_ready(self, goal: str) -> bool:
        """Whether there is nothing to do: then a checkout that nobody may write to can be used, too."""
        return not self.missing(goal) and not self._outdated() and not leftover_bytecode(self.root)

    def run(self, goal: str) -> bool:
        """Do what is missing for `run` or `test`; returns whether anything was."""
        missing = self.missing(goal)
        if "messages" in missing:
            check_compiler(os.environ)
        self.work.mkdir(exist_ok=True)
        if missing:
            self.log.write_text("")
        for step, key in missing.items():
            self.stamp(step).unlink(missing_ok=True)
            getattr(self, f"_make_{step}")()
            write_atomically(self.stamp(step), key)
        for path, text in self._outdated().items():
            write_atomically(path, text, executable=path.parent.name == "bin")
        sweep(self.root)
        return bool(missing)

    def compile_loops(self) -> None:
        """Compile what the node would at its first start."""
        environment = {**os.environ, "PYTHONPATH": str(self.root)}
        self._step("compiling loops", [str(self.venv_python), "-m", "seg_perception", "compile"], environment)

    def _outdated(self) -> dict[Path, str]:
        """The files of the environment that are not yet as they should be; where they lie, and their text."""
        files = self._environment_files()
        return {
            path: text for path, text in files.items() if not path.is_file() or path.read_bytes() != os.fsencode(text)
        }

    def _environment_files(self) -> dict[Path, str]:
        messages = self._message_folder()
        if messages is None:
            raise SetupError(f"No Python module of {MESSAGE_PACKAGE} was built: delete .ros and run this again.")
        site_packages = self.venv / "lib" / self.python.name / "site-packages"
        libraries = [self.work / "install" / "lib"]
        if not self.ros.distro:
            libraries += [self.venv / "lib", *sorted(site_packages.glob("ros_*.libs"))]
        settings = settings_for(self.root, self.ros, messages, libraries)
        module = site_packages / "_seg_perception_environment.py"
        return {
            module: (Path(__file__).parent / "venv_environment.py").read_text(),
            module.with_suffix(".json"): json.dumps(asdict(settings), indent=1),
            # Read in the order of their names: before the wheels' own, which would start Python a time more.
            site_packages / "_seg_perception.pth": f"import {module.stem}\n",
            self.venv / "bin" / "seg_perception": console_script(self.venv_python),
            self.work / "env.sh": environment_script(settings),
        }

    def _message_folder(self) -> Path | None:
        """What PYTHONPATH needs for the messages; None where they are not built."""
        found = sorted((self.work / "install").glob(f"**/{MESSAGE_PACKAGE}/__init__.py"))
        return found[0].parent.parent if found else None

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
        # empy has no wheel, and what pip builds with by itself has no hash
        self._pip_hashed("installing setuptools", "build")
        self._pip_hashed("installing ROS 2 Kilted and libraries", "run", "ros", options=["--no-build-isolation"])
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
        index = ["--extra-index-url", self.torch_index] if self.torch_index else []
        if self.ros.distro:
            self._pip("installing torch", *index, "-r", str(requirements / "torch.txt"))
            self._pip("installing the tests' tools", "-r", str(requirements / "test.txt"))
            return
        self._pip_hashed("installing the tests' tools", "test")
        if not has_listed_builds(self.torch_index):
            pins = [part for name in ("run.txt", "ros.txt") for part in ("-c", str(requirements / name))]
            self._pip("installing torch", *pins, *index, "-r", str(requirements / "torch.txt"))
            return
        if self.torch_index or self._offers("torch_cpu"):
            self._pip_hashed("installing torch for a CPU", "torch_cpu", options=index)
        else:
            self._pip_hashed("installing torch and CUDA's libraries", "torch")

    def _pip_hashed(self, title: str, *names: str, options: Sequence[str] = ()) -> None:
        """Install what `requirements/hashes` lists: complete, so nothing is looked for, and no file of another hash."""
        self._pip(title, *self._hashed(*names), *options)

    def _hashed(self, *names: str) -> list[str]:
        folder = self.root / "requirements" / "hashes"
        return [
            "--require-hashes",
            "--no-deps",
            *(part for name in names for part in ("-r", str(folder / f"{name}.txt"))),
        ]

    def _offers(self, name: str) -> bool:
        """Whether pip finds files of that list where it looks on this machine."""
        command = [str(self.venv_python), "-m", "pip", "install", "--dry-run", "--no-input", *self._hashed(name)]
        return subprocess.run(command, capture_output=True, cwd=self.work, check=False).returncode == 0

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
    os.environ[GUARD] = str(root)  # what runs here makes the environment and must not wait for it
    try:
        set_up(root, options)
    except SetupError as error:
        print(error, file=sys.stderr)
        return 2
    except OSError as error:
        print(f"The set-up needs to write in {root}, and cannot: {error}.", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\nSet-up interrupted: run it again to go on.", file=sys.stderr)
        return 130
    return 0


def set_up(root: Path, options: argparse.Namespace) -> None:
    """Set a checkout up, one process at a time: a second one waits, then finds everything done."""
    check_place(root)
    ros = Ros.of(os.environ)
    check_machine(ros, platform.machine(), platform.system())
    setup = Setup(root, ros, choose_python(ros, options.python, root / ".venv"), options.torch_index)
    if setup.is_ready(options.goal):
        return
    setup.work.mkdir(exist_ok=True)
    with (setup.work / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if setup.run(options.goal):
            setup.compile_loops()
            print(f"set-up: ready after {time.monotonic() - setup.began:.1f} s", flush=True)


if __name__ == "__main__":
    sys.exit(main())
