"""What the commands of a checkout run with, and the files that say so: for a shell, for Python, and the one command.

Standard library only, on any Python 3.8 or newer.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from setup_python import Ros

FASTDDS_PROFILE = Path("config/fastdds_shm.xml")
GUARD = "SEG_PERCEPTION_ENVIRONMENT"
"""Names the checkout whose environment is set already."""


@dataclass(frozen=True)
class Settings:
    """The variables that commands run with: `fixed` ones, `defaults` that yield to the caller's own, and folders to be
    put in `front` of what a variable holds. `distro` is the ROS_DISTRO that must be sourced beside them, or empty."""

    root: str
    distro: str
    fixed: dict[str, str]
    defaults: dict[str, str]
    front: dict[str, list[str]]
    guard: str = GUARD


def settings_for(root: Path, ros: Ros, message_python: Path, library_folders: Sequence[Path]) -> Settings:
    """What a checkout needs, with its messages and shared libraries in these folders."""
    venv, install = root / ".venv", root / ".ros" / "install"
    fixed = {GUARD: str(root), "VIRTUAL_ENV": str(venv)}
    defaults = {ros.fastdds_variable: str(root / FASTDDS_PROFILE)}
    if ros.distro:
        defaults["RMW_IMPLEMENTATION"] = "rmw_fastrtps_cpp"
    else:
        # The wheels start Python a second time to set the library path; their guard says that it is set already.
        fixed.update(_ROS_WHEELS_BOOTSTRAP_COMPLETE="1", RMW_IMPLEMENTATION="rmw_fastrtps_cpp")
        defaults["ROS_LOG_DIR"] = str(root / ".ros" / "log")  # rclpy's own default needs a home folder
    front = {
        "PATH": [venv / "bin"],
        "AMENT_PREFIX_PATH": [install] if ros.distro else [install, venv],
        "LD_LIBRARY_PATH": library_folders,
        "PYTHONPATH": [root, message_python],
    }
    named = {name: [str(folder) for folder in folders] for name, folders in front.items()}
    return Settings(str(root), ros.distro or "", fixed, defaults, named)


def environment_script(settings: Settings) -> str:
    """The text of `.ros/env.sh`; it may be sourced under `set -eu`, and nothing that stands in a path is run."""
    if settings.distro:
        complaint = f"Set up for ROS 2 '{settings.distro}': source its setup.bash first, or run 'make setup' again."
    else:
        complaint = "Set up without an installed ROS 2: run 'make setup' again, or use a shell that has sourced none."
    lines = [
        "# Written by tools/setup_env.py. Use: . .ros/env.sh",
        f'if [ "${{ROS_DISTRO:-}}" != {shlex.quote(settings.distro)} ]; then',
        f"  echo {shlex.quote(complaint)} >&2",
        "  return 1",
        "fi",
    ]
    lines += [f"export {name}={shlex.quote(value)}" for name, value in settings.fixed.items()]
    for name, value in settings.defaults.items():
        lines.append(f'[ -n "${{{name}:-}}" ] || export {name}={shlex.quote(value)}')
    for name, folders in settings.front.items():
        lines.append(f'export {name}={shlex.quote(":".join(folders))}"${{{name}:+:${name}}}"')
    return "\n".join(lines) + "\n"


def console_script(python: Path) -> str:
    """The text of `.venv/bin/seg_perception`: for sh its second line is a command, for Python a string.

    The kernel splits what follows `#!` at spaces and cuts it, hence the way around it that pip takes, too.
    """
    command = f"'''exec' {shlex.quote(str(python))} \"$0\" \"$@\"\n' '''"
    return f"#!/bin/sh\n{command}\nimport sys\n\nfrom seg_perception.cli import main\n\nsys.exit(main())\n"
