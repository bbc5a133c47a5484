"""Images read so that a broken file is noticed, and files written so that no half of one is ever found."""

from __future__ import annotations

import fcntl
import json
import os
import struct
import sysconfig
import tempfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from seg_perception.errors import SegPerceptionError

IMAGE_ENDINGS = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp", ".ppm")
_PNG_START, _PNG_END = b"\x89PNG", b"IEND\xaeB`\x82"
_PNG_GREY, _PNG_PALETTE = 0, 3
_JPEG_START, _JPEG_END, _JPEG_SCAN = b"\xff\xd8", b"\xff\xd9", b"\xff\xda"


@contextmanager
def quiet_opencv() -> Iterator[None]:
    """Silences OpenCV and FFmpeg while a file or a codec is tried: our own sentence says more."""
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
    logging = getattr(cv2.utils, "logging", None)  # not in the oldest OpenCV
    if logging is None:
        yield
        return
    level = logging.setLogLevel(logging.LOG_LEVEL_SILENT)
    try:
        yield
    finally:
        logging.setLogLevel(level)


@contextmanager
def written_aside(path: Path) -> Iterator[Path]:
    """A path beside `path`, with its ending, to write to; renamed to it at the end, removed when the block fails."""
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.stem}.{os.getpid()}{path.suffix}")
    try:
        yield aside
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)


@contextmanager
def results_folder(path: Path) -> Iterator[None]:
    """Make a folder for the results of one run, which is nobody else's until the block ends; where nothing came into a
    new one, it is taken away again.

    Raises SegPerceptionError when it is a file, when it cannot be made, or when another run writes into it now.
    """
    is_new = not path.exists()
    try:
        path.mkdir(parents=True, exist_ok=True)
        place = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        raise SegPerceptionError(
            f"the folder {path} cannot be made ({error.strerror}): name another by --out"
        ) from error
    try:
        try:
            fcntl.flock(place, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise SegPerceptionError(
                f"another run writes into {path} now: wait for its end, or name another folder by --out"
            ) from error
        yield
    finally:
        os.close(place)
        if is_new:
            with suppress(OSError):  # not empty
                path.rmdir()


def write_text(path: Path, text: str) -> None:
    """Write a text file aside, then rename."""
    with written_aside(path) as aside:
        aside.write_text(text, encoding="utf-8")


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write a JSON file aside, then rename; NaN and infinity are refused, since they are no JSON."""
    write_text(path, json.dumps(content, indent=1, allow_nan=False) + "\n")


def write_image(path: Path, image: NDArray[Any]) -> None:
    """Write uint8 or uint16 [H, W], or uint8 [H, W, 3] RGB, in the format that the ending names."""
    if image.ndim == 3:
        image = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    with written_aside(path) as aside:
        if not cv2.imwrite(str(aside), image):
            raise SegPerceptionError(f"{path} cannot be written: check the folder and the space on the disk")


class ScratchFile:
    """Bytes kept on disk, in a file of folder that nobody else sees and that ends with this object. For one thread at a
    time."""

    def __init__(self, folder: Path) -> None:
        self._file = tempfile.TemporaryFile(prefix=".scratch.", dir=folder)  # noqa: SIM115 - lives as long as this

    def append(self, *parts: bytes | memoryview) -> tuple[int, int]:
        """Add the parts, one after the other; returns the place to read them from."""
        start = self._file.seek(0, os.SEEK_END)
        for part in parts:
            self._file.write(part)
        return start, self._file.tell() - start

    def read(self, place: tuple[int, int]) -> bytes:
        """What was added there."""
        self._file.seek(place[0])
        return self._file.read(place[1])

    def close(self) -> None:
        """Give the space back."""
        self._file.close()


def image_files(folder: Path) -> list[Path]:
    """The images of a folder by name; raises SegPerceptionError when there is no folder or none in it."""
    if not folder.is_dir():
        raise SegPerceptionError(f"there is no folder {folder}: name one with images")
    found = sorted(path for path in folder.iterdir() if path.suffix.lower() in IMAGE_ENDINGS and path.name[0] != ".")
    if not found:
        endings = ", ".join(IMAGE_ENDINGS)
        raise SegPerceptionError(f"the folder {folder} holds no images: files are looked for that end in {endings}")
    return found


def read_rgb(path: Path) -> NDArray[np.uint8]:
    """An image file as RGB, uint8 [H, W, 3]. Raises SegPerceptionError when it is missing, truncated or broken."""
    return cv2.cvtColor(_read(path, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)


def read_mask(path: Path, dtype: type[np.generic]) -> NDArray[Any]:
    """A mask file, [H, W] of dtype (uint8 or uint16; 8-bit files serve for both); of a PNG with a palette the indices,
    as tools for labelling write them. Raises as read_rgb, and when it has several channels or too many bits."""
    values = _read(path, cv2.IMREAD_UNCHANGED, without_palette)
    if values.ndim != 2 or values.dtype not in (np.uint8, dtype):
        raise SegPerceptionError(
            f"{path} is {values.dtype} {list(values.shape)}, but a mask is {np.dtype(dtype).name} with one channel: "
            "write ids, not colours"
        )
    return values.astype(dtype, copy=False)


def _read(path: Path, flags: int, prepare: Callable[[bytes], bytes] = bytes) -> NDArray[Any]:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise SegPerceptionError(
            f"{path} cannot be read ({error.strerror}): check the path and its permissions"
        ) from error
    if not is_whole(data):
        raise SegPerceptionError(f"{path} is truncated after {len(data)} bytes: copy it again")
    try:
        image = cv2.imdecode(np.frombuffer(prepare(data), np.uint8), flags) if data else None
    except cv2.error as error:
        raise SegPerceptionError(f"{path} cannot be decoded ({error.err}): replace it") from error
    if image is None:
        raise SegPerceptionError(f"{path} is not an image that OpenCV can decode: replace it or take it away")
    return image


def is_whole(data: bytes) -> bool:
    """Whether a PNG or JPEG has its end: decoders fill what is missing with grey and say nothing. Others pass."""
    if data.startswith(_PNG_START):
        return _PNG_END in data[-4096:]
    if data.startswith(_JPEG_START):
        # a thumbnail before the scan has an end mark of its own
        scan = data.rfind(_JPEG_SCAN)
        return scan > 0 and data.find(_JPEG_END, scan) > 0
    return True


def without_palette(data: bytes) -> bytes:
    """A PNG of 8-bit palette indices as one of grey values, since OpenCV would give the palette's colours; anything else
    as it is. After the PNG specification (ISO/IEC 15948), chunks IHDR, PLTE and tRNS."""
    if not data.startswith(_PNG_START) or data[24:26] != bytes([8, _PNG_PALETTE]):
        return data
    header = data[12:25] + bytes([_PNG_GREY]) + data[26:29]
    parts = [data[:12], header, struct.pack(">I", zlib.crc32(header))]
    start = 33
    while start + 12 <= len(data):
        end = start + 12 + struct.unpack(">I", data[start : start + 4])[0]
        if data[start + 4 : start + 8] not in (b"PLTE", b"tRNS"):
            parts.append(data[start:end])
        start = end
    return b"".join(parts)


def share_folders(package: str) -> list[Path]:
    """Where a package's shared files may lie: where ament has them, and where pip puts them."""
    return [*_ament_folders(package), Path(sysconfig.get_path("data")) / "share" / package]


def _ament_folders(package: str) -> list[Path]:
    try:
        from ament_index_python.packages import PackageNotFoundError, get_package_share_directory
    except ImportError:
        return []
    try:
        return [Path(get_package_share_directory(package))]
    except (PackageNotFoundError, OSError):  # OSError: no workspace is sourced
        return []
