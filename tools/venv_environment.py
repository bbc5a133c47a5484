"""Gives every Python of `.venv` the environment of `.ros/env.sh`, so that there is nothing to source.

`setup_env.py` copies this file into the site-packages of `.venv`, beside a `.json` of the settings and a `.pth` that
imports it whenever Python starts. The dynamic linker reads LD_LIBRARY_PATH only at the start of a program, hence Python
starts once more, with the same arguments, as ROS 2's wheels do by themselves. Standard library only.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

SETTINGS = Path(__file__).with_suffix(".json")


def completed(environment: Mapping[str, str], settings: Mapping[str, Any]) -> dict[str, str] | None:
    """The environment with the settings; None where it has them, or where another ROS 2 than theirs is sourced."""
    if (
        environment.get(settings["guard"]) == settings["root"]
        or environment.get("ROS_DISTRO", "") != settings["distro"]
    ):
        return None
    result = dict(environment)
    result.update({name: value for name, value in settings["defaults"].items() if not environment.get(name)})
    result.update(settings["fixed"])
    for name, folders in settings["front"].items():
        result[name] = os.pathsep.join([*folders, *filter(None, [environment.get(name)])])
    return result


def adopt(settings: Mapping[str, Any]) -> None:
    """Start this Python again with the environment that the settings ask for, where it lacks it."""
    venv = Path(settings["root"], ".venv")
    if not venv.exists() or not venv.samefile(sys.prefix):
        print(f"{sys.prefix} was set up as {venv}: run 'make setup' where it lies now.", file=sys.stderr)
        return
    environment = completed(os.environ, settings)
    if environment is not None:
        os.execve(sys.executable, sys.orig_argv, environment)
    if settings["root"] not in sys.path:  # where its ROS 2 is not sourced: all that needs none works from any folder
        sys.path.append(settings["root"])


if SETTINGS.is_file():
    adopt(json.loads(SETTINGS.read_text(encoding="utf-8")))
