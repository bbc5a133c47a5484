"""Loops as machine code, wherever the program lies."""

from __future__ import annotations

import contextlib
import hashlib
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import llvmlite.binding
import numba
from numba.core import event

_Loop = TypeVar("_Loop", bound=Callable[..., Any])


def compiled(loop: _Loop) -> _Loop:
    """loop as machine code, made at its first call and kept on disk where a folder for it can be written; in a read-only
    installation of a user without a home, or on a full disk, each process makes its own."""
    options = {"nogil": True, "error_model": "numpy"}
    try:
        faster: Any = numba.njit(cache=True, **options)(loop)
    except RuntimeError:  # no place to keep it
        faster = numba.njit(**options)(loop)
    cache = getattr(faster, "_cache", None)  # none where compiling is turned off
    if cache is not None:
        keep = cache.save_overload

        def keep_if_there_is_room(*what: Any) -> None:
            with contextlib.suppress(OSError):  # the loop is compiled all the same, only not kept
                keep(*what)

        cache.save_overload = keep_if_there_is_room
    found: _Loop = faster
    return found


_PACKAGE = Path(__file__).parent
NOTE = _PACKAGE / "__pycache__" / "loops.json"
"""What the loops of this installation were compiled for, and of which source."""


def processor() -> str:
    """This machine's processor, as the compiler calls it."""
    return str(llvmlite.binding.get_host_cpu_name())


@contextlib.contextmanager
def counted() -> Iterator[Callable[[], int]]:
    """Gives what tells how many loops were compiled since, rather than taken from disk."""
    with event.install_recorder("numba:compile") as recorder:
        yield lambda: sum(happened.is_start for _, happened in recorder.buffer)


def note_kept() -> None:
    """Leave a note that the loops are compiled; nothing where the installation cannot be written."""
    with contextlib.suppress(OSError):
        NOTE.parent.mkdir(exist_ok=True)
        NOTE.write_text(json.dumps(_made_for()), encoding="utf-8")


def why_compiling() -> str:
    """Why the first use compiles, in a few words; '' where the loops were compiled for this machine before."""
    try:
        noted = json.loads(NOTE.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return "the loops are not compiled yet"
    now = _made_for()
    if noted == now:
        return ""
    if isinstance(noted, dict) and noted.get("processor") != now["processor"]:
        return f"the loops were compiled for another processor ({noted.get('processor')}, and this is {processor()})"
    return "the loops were compiled of another source, or by other versions"


def _made_for() -> dict[str, str]:
    """All that makes a compiled loop another one."""
    features = llvmlite.binding.get_host_cpu_features().flatten()
    digest = hashlib.sha256(f"{features} {numba.__version__} {sys.version}".encode())
    for path in sorted(_PACKAGE.rglob("*.py")):
        if "import compiled" in path.read_text(encoding="utf-8"):
            digest.update(path.read_bytes())
    return {"processor": processor(), "of": digest.hexdigest()}
