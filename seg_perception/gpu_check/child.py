"""The process of one section: it alone touches the GPU, and may crash, hang or ruin its CUDA context."""

from __future__ import annotations

import argparse
import faulthandler
import importlib
import os
import sys
import time
from pathlib import Path
from typing import Any

from seg_perception.gpu_check.lab import Lab
from seg_perception.gpu_check.libraries import Libraries


def main() -> None:
    """Run the section; does not return."""
    parser = argparse.ArgumentParser()
    parser.add_argument("target")
    parser.add_argument("--log", type=Path, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--images", type=Path)
    parser.add_argument("--libraries")
    arguments = parser.parse_args()
    faulthandler.enable()
    deadline = time.monotonic() + arguments.seconds
    libraries = resolve(arguments.libraries)() if arguments.libraries else Libraries()
    with arguments.log.open("a", encoding="utf-8") as log:
        lab = Lab(libraries, log, deadline, arguments.images)
        with lab.part("section"):
            resolve(arguments.target)(lab)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)  # what a failed check left behind, threads or a broken context, shall not hold up the end


def resolve(target: str) -> Any:
    """The object that 'module:name' names."""
    module, _, name = target.partition(":")
    return getattr(importlib.import_module(module), name)


if __name__ == "__main__":
    main()
