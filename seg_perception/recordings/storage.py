"""The files of a bag, unpacked where they are compressed as a whole, and what a bag that is written is called."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path, PurePath
from typing import Any
from weakref import WeakValueDictionary, finalize

import yaml

from seg_perception.errors import SegPerceptionError
from seg_perception.recordings.salvage import unpack_file
from seg_perception.recordings.sources import is_storage_file

METADATA = "metadata.yaml"
_PACKED = ".zstd"


class Storage:
    """What there is of a bag. As long as one is kept, all of that bag share what it has unpacked. Raises SegPerceptionError where
    the bag is not there, or its files cannot be unpacked."""

    def __init__(self, path: Path) -> None:
        if not path.exists():
            raise SegPerceptionError(f"there is no bag {path}: check the path")
        self._path = path
        self._copy = _copy_of(path)

    @property
    def parts(self) -> list[Path]:
        """The paths that rosbags reads: a folder with metadata, or the storage files of one without."""
        if self._copy is not None and self._copy.has_metadata:
            return [self._copy.folder]
        return [self._path] if self._path.is_file() or (self._path / METADATA).is_file() else storage_files(self._path)

    @property
    def files(self) -> list[Path]:
        """The storage files, in their order; of compressed ones what can be unpacked."""
        return storage_files(self._path) if self._copy is None else self._copy.files

    @property
    def told_messages(self) -> int | None:
        """How many messages the bag's metadata tells of, None where there is none that says so."""
        try:
            return int(_metadata(self._path)["message_count"])
        except (KeyError, TypeError, ValueError):
            return None


class _Copy:
    """The files of a bag in a folder of its own, unpacked, which is removed with the last who holds it. has_metadata: whether
    rosbags may read that folder as it would the bag."""

    def __init__(self, path: Path, files: Sequence[Path]) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="seg_perception."))
        finalize(self, shutil.rmtree, self.folder, ignore_errors=True)
        try:
            self.files = [self._put(file.resolve()) for file in files]
        except OSError as error:
            raise SegPerceptionError(
                f"the bag {path} is compressed and cannot be unpacked to {self.folder.parent} ({error.strerror or error}): free "
                "the disk, or name another folder by the environment's TMPDIR"
            ) from error
        self.has_metadata = self._write_metadata(path)

    def _put(self, file: Path) -> Path:
        plain = self.folder / file.name.removesuffix(_PACKED)
        if file.suffix == _PACKED:
            unpack_file(file, plain)
        else:
            plain.symlink_to(file)
        return plain

    def _write_metadata(self, path: Path) -> bool:
        told = _metadata(path)
        is_packed = str(told.get("compression_mode")).lower() == "file" and told.get("compression_format") == "zstd"
        names = told.get("relative_file_paths")
        if not is_packed or not isinstance(names, list):
            return False
        names = [PurePath(str(name)).name.removesuffix(_PACKED) for name in names]
        if not all((self.folder / name).is_file() for name in names):
            return False
        plain = {**told, "relative_file_paths": names, "compression_mode": "", "compression_format": ""}
        (self.folder / METADATA).write_text(yaml.safe_dump({"rosbag2_bagfile_information": plain}), encoding="utf-8")
        return True


_copies: WeakValueDictionary[object, _Copy] = WeakValueDictionary()
"""By what they are of: a bag is opened several times, one after the other and together."""


def _copy_of(path: Path) -> _Copy | None:
    """Of a bag that has compressed files, None of others."""
    found = [path] if path.is_file() else [file for file in path.iterdir() if is_storage_file(file)]
    if not any(file.suffix == _PACKED for file in found):
        return None
    files = storage_files(path)
    states = [file.stat() for file in (*files, path / METADATA) if file.exists()]
    seen = path.resolve(), *((state.st_ino, state.st_size, state.st_mtime_ns) for state in states)
    copy = _copies.get(seen)
    if copy is None:
        copy = _copies[seen] = _Copy(path, files)
    return copy


def storage_files(path: Path) -> list[Path]:
    """In the order of their numbers, which rosbag2 puts at the end of their names; of one that lies beside its compressed form
    that alone. Raises SegPerceptionError where there is none."""
    if path.is_file():
        return [path]
    found = {file.name: file for file in path.iterdir() if is_storage_file(file)}
    if not found:
        raise SegPerceptionError(
            f"the folder {path} holds no bag: files are looked for that end in .mcap, .db3 or .bag"
        )
    names = [name for name in found if not name.endswith(_PACKED) or name.removesuffix(_PACKED) not in found]
    return [found[name] for name in sorted(names, key=lambda name: (len(name), name))]


def _metadata(path: Path) -> dict[str, Any]:
    """What the metadata of a folder tells of the bag; empty where there is none that can be read."""
    try:
        told = yaml.safe_load((path / METADATA).read_text(encoding="utf-8"))["rosbag2_bagfile_information"]
    except (OSError, UnicodeDecodeError, yaml.YAMLError, KeyError, TypeError):
        return {}
    return told if isinstance(told, dict) else {}


def is_one_file(path: Path) -> bool:
    """Whether a bag that is written there is a file alone, by its name, and no folder."""
    return path.suffix == ".mcap"


def as_asked(written: Path, path: Path) -> Path:
    """Of the folder of a written bag what is to be at path: its one storage file, or all."""
    return written / f"{written.name}.mcap" if is_one_file(path) else written
