"""Engines in a cache that nobody needs any more: of a model file that has changed, or of a version of TensorRT that nobody has
used for a month (containers of several versions may share a cache).

They are removed once a new one is in place. An engine in use is locked by its process, and stays.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
import weakref
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from seg_perception.model_file import ModelInfo

_ENDINGS = (".json", ".kernels", ".lock", ".engine")
"""Of an engine's note, of its kernels that were compiled just in time, of what its builder locks, and of itself."""

UNUSED_S = 30 * 24 * 3600.0
"""An engine of another version that nothing held for so long is one that was left behind."""


@dataclass(frozen=True)
class Origin:
    """The model file that an engine was made of. sha256: of all its bytes, empty where they are not known; size: how many they
    are."""

    path: str
    sha256: str
    size: int

    @staticmethod
    def of(model: ModelInfo) -> Origin:
        """As a note holds it."""
        return Origin(str(model.path.resolve()), model.sha256, model.path.stat().st_size)


def remove(
    folder: Path, key: Mapping[str, Any], origin: Origin, note_of: Callable[[Path], Any], log: Callable[[str], None]
) -> None:
    """Remove engines that the new one of key, made of origin, stands in place of, and what was measured for builds long ago; log
    says which. note_of: what lies beside an engine, raising OSError or ValueError where that cannot be read. What cannot be
    removed stays."""
    for engine in sorted(folder.glob(f"*{_ENDINGS[-1]}")):
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError, RecursionError):
            unused_s = time.time() - engine.stat().st_mtime
            why = _why(note_of(engine), key, origin, unused_s)
            if why and _removed(engine):
                log(f"removed the old engine {engine.name}, {why}")
    for measured in sorted(folder.glob("timing-*.cache")):
        with contextlib.suppress(OSError):
            unused_s = time.time() - measured.stat().st_mtime
            if unused_s > UNUSED_S:  # one that a build has used was written by it
                measured.unlink()
                log(f"removed {measured.name}, which no build used for {unused_s / 86400:.0f} days")


def _why(note: Mapping[str, Any], key: Mapping[str, Any], origin: Origin, unused_s: float) -> str:
    """Why an engine with this note is of no use, empty where it may be. Raises KeyError or TypeError for no such note."""
    old = note["key"]
    if any(old[name] != key[name] for name in ("flavor", "gpu", "compute_capability")):
        return ""
    if old["model_name"] == key["model_name"] and old["version"] != key["version"] and unused_s > UNUSED_S:
        return f"which is of {old['flavor']} {old['version']} and was not used for {unused_s / 86400:.0f} days"
    made_of = Origin(**note["origin"])
    changed = origin.sha256 and made_of.path == origin.path and made_of.sha256 not in ("", origin.sha256)
    return f"whose model file {origin.path} has changed" if changed else ""


def _removed(engine: Path) -> bool:
    """Whether an engine is gone now, and what belongs to it; not while a process uses it. Raises OSError where that cannot be
    told."""
    with _locked(engine, fcntl.LOCK_EX) as unused:
        for ending in _ENDINGS if unused else ():
            engine.with_suffix(ending).unlink(missing_ok=True)
    return unused


def hold(user: object, engine: Path) -> Callable[[], object]:
    """Keep others from removing an engine until the result is called or its user is gone, and let it be used from now until
    then. Where nothing can be locked nothing is removed either."""
    held = contextlib.ExitStack()
    with contextlib.suppress(OSError):
        held.enter_context(_locked(engine, fcntl.LOCK_SH))
        _note_use(engine)
        held.callback(_note_use, engine)  # it may have run for months
    return weakref.finalize(user, held.close)


def _note_use(engine: Path) -> None:
    with contextlib.suppress(OSError):
        os.utime(engine)


@contextlib.contextmanager
def _locked(path: Path, how: int) -> Iterator[bool]:
    """Whether path could be locked, for as long as the block lasts. Raises OSError where it cannot be opened, or no lock can be
    had."""
    file = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        try:
            fcntl.flock(file, how | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True
    finally:
        os.close(file)
