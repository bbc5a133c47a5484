"""Results go where they are told, whole or not at all: files and folders are made aside and renamed."""

from __future__ import annotations

import errno
import fcntl
import functools
import json
import os
import re
import shutil
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from seg_perception.errors import SegPerceptionError

_OPEN_FILES = ("/dev/stdout", "/dev/stderr")
_SYSTEMS = ("dev", "proc")
"""Folders whose links are the system's own, as those two are, and are never replaced."""
_LONGEST = 200
"""Bytes of a name that are kept aside; file systems take 255 with what is put around it."""
_ASIDE = re.compile(r"\..+\.\d+(\..*)?")
_held: set[int] = set()
"""Folders of results that this process holds, open."""


@contextmanager
def written_aside(path: Path, *, follow: bool = True, durable: bool = False) -> Iterator[Path]:
    """A path with the ending of `path` to write to: beside it, renamed to it at the end, removed when the block fails.

    Of a link the target is written, or with follow False the link itself replaced. durable: let the disk have all of it before
    it has its name, so that no power cut leaves half of it there. Threads may write the same file at once. A device or a pipe,
    which must not be replaced, gets the bytes at the end. What a killed process left behind of the same file is removed.
    Raises SegPerceptionError where path is a folder.
    """
    is_replaced = path.is_symlink() and not follow and path.absolute().parts[1] not in _SYSTEMS
    if path.is_dir() and not is_replaced:
        raise SegPerceptionError(f"{path} is a folder, and a file is to be written: give another name")
    if _is_stream(path) and not is_replaced:
        with tempfile.TemporaryDirectory(prefix="seg_perception.") as folder:
            aside = Path(folder) / path.name
            yield aside
            with aside.open("rb") as whole, path.open("wb") as stream:
                shutil.copyfileobj(whole, stream)
        return
    path = path.resolve() if follow and path.is_symlink() else path
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists():
        _asides.cache_clear()
    stem = _shortened(path.stem)
    _remove_left_over(path.parent, re.compile(rf"\.{re.escape(stem)}\.\d+{re.escape(path.suffix)}"))
    aside = path.with_name(f".{stem}.{threading.get_native_id()}{path.suffix}")
    if aside.is_symlink():
        aside.unlink()
    held = os.open(aside, os.O_CREAT | os.O_RDWR | os.O_NOFOLLOW, 0o666)
    try:
        _lock(held)
        yield aside
        if durable:
            os.fsync(held)
        aside.replace(path)
    finally:
        os.close(held)
        aside.unlink(missing_ok=True)


@contextmanager
def folder_aside(path: Path) -> Iterator[Path]:
    """A new folder beside `path`, to make in it what is renamed to `path` then; it is removed at the end, and so are what a
    killed process left behind and, where nothing came to `path`, new folders around it. Raises SegPerceptionError where path
    is a device or a pipe."""
    if path.exists() and not (path.is_dir() or path.is_file()):
        raise SegPerceptionError(
            f"{path} is no folder and no file, so it is not replaced by a folder: give another name"
        )
    check_folder(path.parent)
    made = _missing(path.parent)
    path.parent.mkdir(parents=True, exist_ok=True)
    name = _shortened(path.name)
    _remove_left_over(path.parent, re.compile(rf"\.{re.escape(name)}\.\d+\..+"))
    try:
        with tempfile.TemporaryDirectory(prefix=f".{name}.{os.getpid()}.", dir=path.parent) as folder:
            held = os.open(folder, os.O_RDONLY)
            try:
                _lock(held)
                yield Path(folder)
            finally:
                os.close(held)
    finally:
        _remove_empty(made)


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """A folder to fill, which is `path` at the end of the block and gone where that fails; check_new_folder goes before."""
    with folder_aside(path) as aside:
        folder = aside / "new"
        folder.mkdir()
        yield folder
        folder.rename(path)


def _let_go() -> None:
    """Close, in a process that was forked, what its parent holds: it would stay held while the parent is killed and this one, such
    as one that loads images, lives on."""
    for place in _held:
        os.close(place)
    _held.clear()


os.register_at_fork(after_in_child=_let_go)


@contextmanager
def results_folder(path: Path) -> Iterator[None]:
    """Make a folder for the results of one run, which is nobody else's until the block or this process ends; where nothing came
    into a new one, it is taken away again, and so are new ones around it. On a disk without locks nobody keeps others out.

    Raises SegPerceptionError when it is a file, when it cannot be made, or when another run writes into it now.
    """
    try:
        made = _missing(path)
        path.mkdir(parents=True, exist_ok=True)
        place = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        raise SegPerceptionError(
            f"the folder {path} cannot be made ({error.strerror}): name another by --out"
        ) from error
    _held.add(place)
    try:
        try:
            fcntl.flock(place, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise SegPerceptionError(
                f"another run writes into {path} now: wait for its end, or name another folder by --out"
            ) from error
        except OSError:  # a disk without locks
            pass
        yield
    finally:
        _held.discard(place)
        os.close(place)
        _remove_empty(made)


def _missing(path: Path) -> list[Path]:
    """Of a folder and those around it what there is not, the innermost first."""
    return [folder for folder in (path, *path.parents) if not folder.exists()]


def _remove_empty(folders: Sequence[Path]) -> None:
    """Remove folders, each of which lies in the next, up to one in which there is something else."""
    with suppress(OSError):
        for folder in folders:
            folder.rmdir()


def user_path(text: str) -> Path:
    """A path as a person writes it: no shell looks at the ~ in `--out=~/results`, nor at any within quotes. Raises
    SegPerceptionError for the home of a user that there is not."""
    try:
        return Path(text).expanduser()
    except RuntimeError as error:
        raise SegPerceptionError(f"{text}: there is no such user, or none with a home: write the path out") from error


def shared_path(text: str, share: Path) -> Path:
    """A file as a person writes it who follows a page: in the working folder, else in a package's share folder. Raises as
    user_path."""
    path = user_path(text)
    return share / path if is_file(share / path) and not is_file(path) else path


def is_file(path: Path) -> bool:
    """Whether there is a file at path; a name that is too long for one is none."""
    try:
        return path.is_file()
    except OSError as error:
        if error.errno != errno.ENAMETOOLONG:
            raise
        return False


def check_file(path: Path) -> None:
    """Raises SegPerceptionError where a file could not be written at path, before there is anything to write."""
    if path.is_dir():
        raise SegPerceptionError(f"{path} is a folder, and a file is to be written: give another name")
    if path.exists() and not os.access(path, os.W_OK):
        raise SegPerceptionError(f"{path} cannot be written to (no permission): give another name")
    if not _is_stream(path):  # what replaces it is written beside it, or beside what a link leads to
        check_folder(path.resolve().parent)


def check_folder(path: Path) -> None:
    """Raises SegPerceptionError where no file could be written into the folder path, which need not be there yet."""
    there = next((place for place in (path, *path.absolute().parents) if place.exists() or place.is_symlink()), path)
    if not there.is_dir():
        raise SegPerceptionError(f"{there} is no folder, and results are to be written into one: give another name")
    if not os.access(there, os.W_OK | os.X_OK):
        raise SegPerceptionError(f"the folder {there} cannot be written to (no permission): give another one")


def check_name(name: str) -> None:
    """Raises SegPerceptionError for the name of a file that is no UTF-8: no page, no JSON and no XML holds it, and OpenCV ends
    the process where it is given one."""
    try:
        name.encode()
    except UnicodeEncodeError as error:
        shown = name.encode(errors="backslashreplace").decode()
        raise SegPerceptionError(
            f"the name {shown} is not written in UTF-8, as on a disk of another system: rename it ('convmv' does many at once)"
        ) from error


def check_new_folder(path: Path) -> None:
    """Raises SegPerceptionError where no new folder could be made at path, before there is anything to put into it."""
    if path.exists():
        raise SegPerceptionError(f"{path} is there already: give another --out, or take it away")
    check_folder(path.parent)


def _shortened(name: str) -> str:
    """A name, or as much of it as leaves room for what is put around it while it is written aside."""
    whole = os.fsencode(name)
    return name if len(whole) <= _LONGEST else whole[:_LONGEST].decode(errors="ignore")


def _is_stream(path: Path) -> bool:
    """Whether path is a device, a pipe, or a name of an open file."""
    return path.exists() and (not path.is_file() or path.absolute().parts[1] == "proc" or str(path) in _OPEN_FILES)


@functools.lru_cache(maxsize=64)
def _asides(folder: Path, inode: int) -> Sequence[str]:
    """What has the name of something written aside in a folder, as this process saw it when it last replaced a file, or
    first wrote there: to look again for each new file would take the square of their number. inode: of the folder, which
    may be another by now."""
    del inode
    return [path.name for path in folder.iterdir() if _ASIDE.fullmatch(path.name)]


def _remove_left_over(folder: Path, name: re.Pattern[str]) -> None:
    """Remove what carries such a name and nobody holds any more, of what was there when this process first wrote there."""
    for left in _asides(folder, folder.stat().st_ino):
        path = folder / left
        if not name.fullmatch(left):
            continue
        with suppress(OSError):  # taken away by another, or not ours: then it is no matter of this process
            held = os.open(path, os.O_RDONLY | os.O_NONBLOCK)  # a pipe would be waited for
            try:
                if _lock(held):
                    shutil.rmtree(path) if path.is_dir() else path.unlink()
            finally:
                os.close(held)


def _lock(held: int) -> bool:
    """Hold an open file or folder until it is closed or this process ends; False where another does, or none can."""
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def write_text(path: Path, text: str) -> None:
    """Write a text file aside, then rename."""
    with written_aside(path) as aside:
        aside.write_text(text, encoding="utf-8", errors="backslashreplace")  # a path of a folder may be no UTF-8


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write a JSON file aside, then rename; NaN and infinity are refused, since they are no JSON."""
    write_text(path, json.dumps(content, indent=1, allow_nan=False) + "\n")
