"""Compiled engines on disk: found by all that they depend on, checked before they are used, written by one at a time."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from seg_perception.backends.tensorrt import out_of_date
from seg_perception.backends.tensorrt.out_of_date import Origin
from seg_perception.errors import SegPerceptionError
from seg_perception.writing import written_aside

LONGEST_NAME = 64
"""Letters of a model's name in a file's."""
LARGEST_NOTE = 1 << 20
"""Bytes of the note beside an engine; it has about a thousand."""
_DIGEST_BYTES = hashlib.sha256().digest_size


@dataclass(frozen=True)
class EngineKey:
    """Everything that an engine depends on. model_sha256: of the graph that the builder is given. compute_capability: as
    '8.6'. options: of the builder."""

    model_name: str
    model_sha256: str
    flavor: str
    version: str
    gpu: str
    compute_capability: str
    precision: str
    batch: int
    options: Mapping[str, str]

    @property
    def fingerprint(self) -> str:
        """16 hexadecimal digits that change with any of the fields."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()[:16]


class EngineCache:
    """A folder of engines. Beside each `<model>-<fingerprint>.engine`, as the vendor's tools read it, lies a `.json`
    with its key and checksum. No link in the folder is followed: what is one is no engine, and is replaced. folder: None
    = seg_perception/engines in the user's cache folder."""

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder or _users_caches() / "seg_perception" / "engines"
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise SegPerceptionError(
                f"{self.folder} cannot be made ({error.strerror}): name another engine cache"
            ) from error

    def path(self, key: EngineKey) -> Path:
        """Where the engine of key is, or will be."""
        return self.folder / f"{file_name(key.model_name)}-{key.fingerprint}.engine"

    def get(
        self, key: EngineKey, build: Callable[[], bytes], log: Callable[[str], None], origin: Origin | None = None
    ) -> bytes:
        """The engine of key: from disk when it is whole, else as by put, unless another process has built it meanwhile."""
        path = self.path(key)
        engine = read_engine(path, key, log)
        if engine is None:
            with _lock(path, log):
                engine = read_engine(path, key, log)
                if engine is None:
                    engine = self._built(key, build, log, origin)
        return engine

    def put(
        self, key: EngineKey, build: Callable[[], bytes], log: Callable[[str], None], origin: Origin | None = None
    ) -> bytes:
        """The engine of key, built now and kept. Waits while another process builds it. origin: the model file, whose engines that
        are out of date are removed afterwards, unless a process uses them. Raises SegPerceptionError, before anything is built,
        where there is not even room for as much as the model file takes."""
        with _lock(self.path(key), log):
            return self._built(key, build, log, origin)

    def _built(
        self, key: EngineKey, build: Callable[[], bytes], log: Callable[[str], None], origin: Origin | None
    ) -> bytes:
        path = self.path(key)
        for kept in (path, _note(path)):
            _check_replaceable(kept)
        if origin is not None:
            self._check_room(origin.size)
        engine = build()
        write_engine(path, key, engine, origin)
        if origin is not None:
            out_of_date.remove(self.folder, asdict(key), origin, _read_note, log)
        return engine

    def _check_room(self, least: int) -> None:
        free = shutil.disk_usage(self.folder).free
        if free < least:
            raise SegPerceptionError(
                f"{self.folder} has {free / 1e6:.0f} MB free, and an engine takes {least / 1e6:.0f} MB or more: free space or "
                "name another engine cache"
            )

    def discard(self, key: EngineKey) -> None:
        """Forget an engine that turned out not to load. Raises SegPerceptionError where the cache cannot be changed."""
        try:
            self.path(key).unlink(missing_ok=True)
        except OSError as error:
            raise SegPerceptionError(
                f"{self.path(key)} does not load and cannot be removed ({error.strerror}): name another engine cache"
            ) from error

    def beside(self, name: str) -> Path:
        """Path of another file that the builder or the runtime keeps here, such as a timing cache."""
        return self.folder / name


def file_name(name: str) -> str:
    """A name that came from elsewhere as part of a file's name: one that stays in its folder, is not hidden and is not
    too long for any file system. What becomes equal is told apart by the fingerprint."""
    return re.sub(r"[^A-Za-z0-9._-]", "_", name)[:LONGEST_NAME].lstrip(".") or "model"


def _users_caches() -> Path:
    caches = os.environ.get("XDG_CACHE_HOME")
    try:
        return Path(caches) if caches else Path.home() / ".cache"
    except RuntimeError as error:
        raise SegPerceptionError("this user has no home for compiled engines: name an engine cache") from error


def read_engine(path: Path, key: EngineKey, log: Callable[[str], None]) -> bytes | None:
    """The engine at path, None when there is none or it is not that of key, whole and unchanged; log says which. Raises
    SegPerceptionError where nobody may look into its folder."""
    try:
        if path.is_symlink() or not path.is_file():
            return None
    except OSError as error:
        raise SegPerceptionError(f"{path} cannot be looked at ({error.strerror}): name another engine cache") from error
    try:
        note = _read_note(path)
        # Judged before it is read: a file of another length is not that engine.
        fits = note["key"] == asdict(key) and note["bytes"] == path.stat().st_size
        engine = _read(path, note["bytes"]) if fits else b""
        fits = fits and note["sha256"] == hashlib.sha256(engine).hexdigest()
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        log(f"engine {path} has no readable {_note(path).name} ({type(error).__name__}), so it is built again")
        return None
    if not fits:
        log(f"engine {path} is truncated or was built from something else, so it is built again")
        return None
    return engine


def write_engine(path: Path, key: EngineKey, engine: bytes, origin: Origin | None = None) -> None:
    """Write an engine and its note; if that stops between the two, they do not match and read_engine refuses them."""
    note = {"key": asdict(key), "sha256": hashlib.sha256(engine).hexdigest(), "bytes": len(engine)}
    if origin is not None:
        note["origin"] = asdict(origin)
    write_aside(path, engine)
    write_aside(_note(path), json.dumps(note, indent=1).encode())


def check_place(engine: Path, other: Path | None) -> None:
    """Raises SegPerceptionError where an engine's note would take the place of another file: one of somebody else's, the
    engine itself, or other, which is written too."""
    note = _note(engine)
    written = {path.resolve() for path in (engine, other) if path is not None}
    if note.resolve() in written or (note.exists() and not _is_note(engine)):
        raise SegPerceptionError(
            f"beside {engine.name} its note is written as {note.name}, in place of another file of that name: give --out "
            "another name"
        )


def _is_note(engine: Path) -> bool:
    try:
        content = _read_note(engine)
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(content, dict) and {"key", "sha256", "bytes"} <= set(content)


def read_kept(path: Path, largest: int = 1 << 28) -> bytes | None:
    """What write_kept wrote; None where there is nothing, or not just that."""
    try:
        content = _read(path, largest)
    except (OSError, ValueError):
        return None
    kept, digest = content[:-_DIGEST_BYTES], content[-_DIGEST_BYTES:]
    return kept if hashlib.sha256(kept).digest() == digest else None


def write_kept(path: Path, content: bytes) -> None:
    """Write what a library takes as it is, with a checksum behind it. Raises as write_aside."""
    _check_replaceable(path)
    write_aside(path, content + hashlib.sha256(content).digest())


def write_aside(path: Path, content: bytes) -> None:
    """Write beside path, to the disk itself, then rename. Raises SegPerceptionError when that fails."""
    try:
        with written_aside(path, follow=False) as aside, aside.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise SegPerceptionError(
            f"{path} cannot be written ({error.strerror}): free space or name another folder"
        ) from error


def _check_replaceable(path: Path) -> None:
    """Raises SegPerceptionError where a pipe, which would be waited for, or a folder lies at path."""
    if path.exists() and not path.is_file() and not path.is_symlink():
        raise SegPerceptionError(f"{path} is no file: take it away, or name another engine cache")


def _read(path: Path, largest: int) -> bytes:
    """All of a file that is no link. Raises ValueError where it is larger, OSError where it is a link."""
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as file:
        content = file.read(largest + 1)
    if len(content) > largest:
        raise ValueError(f"{path} is larger than {largest} bytes")
    return content


def _note(engine: Path) -> Path:
    return engine.with_suffix(".json")


def _read_note(engine: Path) -> Any:
    """What lies beside an engine as its note. Raises OSError, ValueError or RecursionError where it is none."""
    return json.loads(_read(_note(engine), LARGEST_NOTE))


@contextmanager
def _lock(path: Path, log: Callable[[str], None]) -> Iterator[None]:
    """Hold the lock of path; the system frees it when its holder dies. Raises SegPerceptionError where it cannot be had,
    so before anything is built that could not be kept."""
    try:
        lock = os.open(path.with_suffix(".lock"), os.O_CREAT | os.O_RDWR | os.O_NOFOLLOW, 0o666)
    except OSError as error:
        raise SegPerceptionError(
            f"{path} is not there and cannot be written ({error.strerror}): name another engine cache"
        ) from error
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            log(f"another process is building {path.name}: waiting for it")
            fcntl.flock(lock, fcntl.LOCK_EX)
        except (
            OSError
        ) as error:  # some shared folders lock nothing; what two write there at once is noticed when it is read
            log(
                f"{path.parent} cannot be locked ({error.strerror}), so another process may build {path.name} at the same time"
            )
        yield
    finally:
        os.close(lock)
