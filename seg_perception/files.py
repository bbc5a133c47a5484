"""Images and masks read so that a broken file is noticed, and written so that no half of one is ever found."""

from __future__ import annotations

import functools
import itertools
import math
import os
import re
import struct
import sysconfig
import tempfile
import unicodedata
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from seg_perception.errors import SegPerceptionError
from seg_perception.image_limits import ImageLimits, bare_png
from seg_perception.writing import check_name
from seg_perception.writing import is_file as is_file
from seg_perception.writing import results_folder as results_folder
from seg_perception.writing import write_json as write_json
from seg_perception.writing import write_text as write_text
from seg_perception.writing import written_aside as written_aside

IMAGE_ENDINGS = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp", ".ppm")
DEPTHS = (10, 12, 14, 16)
"""Bits that a camera may put into 16."""
LOOKED_AT = 8
"""Images of a folder, or of a bag's topic, that tell how many it does."""
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


def write_image(path: Path, image: NDArray[Any]) -> None:
    """Write uint8 or uint16 [H, W], or uint8 [H, W, 3] RGB, in the format that the ending names."""
    if image.ndim == 3:
        image = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    made, data = cv2.imencode(path.suffix, image)  # OpenCV itself would end the process at a path that is no UTF-8
    if not made:
        raise SegPerceptionError(f"{path} cannot be written: OpenCV makes no {path.suffix} of {list(image.shape)}")
    with written_aside(path) as aside:
        try:
            aside.write_bytes(data.tobytes())
        except OSError as error:
            raise SegPerceptionError(
                f"{path} cannot be written ({error.strerror}): check the folder and the space on the disk"
            ) from error


class ScratchFile:
    """Bytes kept on disk, in a file of folder that nobody else sees and that ends with this object. For one thread at a
    time."""

    def __init__(self, folder: Path) -> None:
        # without a buffer: what a full disk did not take must not come again with the next call
        self._file = tempfile.TemporaryFile(prefix=".scratch.", dir=folder, buffering=0)  # noqa: SIM115
        self._end = 0

    def append(self, *parts: bytes | memoryview) -> tuple[int, int]:
        """Add the parts, one after the other; returns the place to read them from. Raises OSError when the disk is full;
        what was added before stays."""
        start = end = self._end
        for part in parts:
            left = memoryview(part).cast("B")
            while len(left):
                written = os.pwrite(self._file.fileno(), left, end)
                left, end = left[written:], end + written
        self._end = end
        return start, end - start

    def read(self, place: tuple[int, int]) -> bytes:
        """What was added there."""
        return os.pread(self._file.fileno(), place[1], place[0])

    def close(self) -> None:
        """Give the space back."""
        self._file.close()


def image_files(folder: Path) -> list[Path]:
    """The images of a folder by name, numbers in it by their value (a2 before a10). Raises SegPerceptionError when there
    is no folder or none in it, and for names that are no UTF-8."""
    if not folder.is_dir():
        raise SegPerceptionError(f"there is no folder {folder}: name one with images")
    found = [path for path in folder.iterdir() if path.suffix.lower() in IMAGE_ENDINGS and path.name[0] != "."]
    if not found:
        endings = ", ".join(IMAGE_ENDINGS)
        raise SegPerceptionError(f"the folder {folder} holds no images: files are looked for that end in {endings}")
    for path in found:
        check_name(path.name)
    return sorted(found, key=lambda path: in_order(path.name))


def visible(files: Iterable[Path]) -> list[Path]:
    """Files in order, without hidden ones, such as archives from a Mac bring beside each."""
    return sorted(path for path in files if path.name[0] != ".")


def one_form(name: str) -> str:
    """A name to compare by: letters with accents are one character or two (Unicode's NFC and NFD), which Macs and archives
    change."""
    return unicodedata.normalize("NFC", name)


def in_either_form(path: Path) -> Path:
    """The file at path, or that with its name in the other form; path itself where there is none."""
    if path.name.isascii() or is_file(path):
        return path
    others = (path.with_name(unicodedata.normalize(form, path.name)) for form in ("NFC", "NFD"))
    return next((other for other in others if is_file(other)), path)


def refuse_written_over(images: Sequence[Path], out: Path, endings: Sequence[str]) -> None:
    """Raises SegPerceptionError where what is made of one image, <stem><ending> in out, would take the place of another."""
    known = {path.resolve() for path in images}
    for path, ending in itertools.product(images, endings):
        if (written := out / f"{path.stem}{ending}").resolve() in known:
            raise SegPerceptionError(
                f"{written} is one of the images, and what is made of {path.name} would be written over it: give another --out"
            )


def in_order(name: str) -> tuple[list[str | int], str]:
    """To sort by: text and numbers take turns. The name itself tells 01 from 1."""
    parts = re.split(r"([0-9]+)", name)
    return [int(part) if place % 2 else part for place, part in enumerate(parts)], name


def read_rgb(path: Path) -> NDArray[np.uint8]:
    """An image file as RGB, uint8 [H, W, 3]; of 16 bits those that are in use, scaled to 8 as ImageReader does it, since
    cameras of 12 bits fill files of 16. What is in use, the folder's images tell together: a dark one is as dark as it was.
    Raises SegPerceptionError when it is missing, truncated or broken."""
    image = _read(path, _decode_color)
    if image.dtype == np.uint16:
        bits = max(bits_in_use(int(image.max())), _bits_of(path.absolute().parent, path.suffix))
        image = cv2.convertScaleAbs(image, alpha=255 / ((1 << bits) - 1))
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), np.uint8)


def bits_in_use(brightest: int) -> int:
    """The fewest of DEPTHS that hold the brightest value of images of 16 bits."""
    return next(bits for bits in DEPTHS if brightest < 1 << bits)


@functools.lru_cache(maxsize=4096)
def _bits_of(folder: Path, ending: str) -> int:
    """The bits in use of a folder's images of 16 bits, by some from all over it, as they are when they are first asked for."""
    files: list[Path] = []
    with suppress(OSError):  # a folder whose files may be read and not listed
        files = sorted(
            path for path in folder.iterdir() if path.suffix == ending and path.name[0] != "." and path.is_file()
        )
    brightest = 0
    for path in files[:: math.ceil(len(files) / LOOKED_AT) or 1]:
        with suppress(SegPerceptionError):  # who reads that one is told
            image = _read(path, _decode_color)
            brightest = max(brightest, int(image.max()) if image.dtype == np.uint16 else 0)
    return bits_in_use(brightest)


def read_mask(path: Path, dtype: type[np.generic]) -> NDArray[Any]:
    """A mask file, [H, W] of dtype (uint8 or uint16; 8-bit files serve for both); of a PNG with a palette the indices,
    as tools for labelling write them. Raises as read_rgb, and when it has several channels or too many bits."""
    values = _read(path, decode_mask)
    if values.ndim != 2 or values.dtype not in (np.uint8, dtype):
        raise SegPerceptionError(
            f"{path} is {values.dtype} {list(values.shape)}, but a mask is {np.dtype(dtype).name} with one channel: "
            "write ids, not colours"
        )
    return values.astype(dtype, copy=False)


def read_stored(path: Path, *, palette_colors: bool = False) -> NDArray[Any]:
    """A label file as it is stored, [H, W], or [H, W, C] in the order RGB; of a palette the indices, or its colours. Raises as
    read_rgb."""
    if palette_colors:
        return read_colors(path)
    values = _read(path, decode_mask)
    if values.ndim == 3 and values.shape[2] >= 3:
        values = np.dstack([values[..., 2::-1], values[..., 3:]])
    return values if values.ndim == 2 or values.shape[2] >= 3 else values[..., 0]


def read_colors(path: Path) -> NDArray[np.uint8]:
    """A label file's colours, uint8 [H, W, 3] RGB, none of which is rounded. Raises as read_rgb."""
    return of_8_bits(cv2.cvtColor(_read(path, _decode_color), cv2.COLOR_BGR2RGB))


def of_8_bits(colors: NDArray[Any]) -> NDArray[np.uint8]:
    """Of 16 bits the upper 8, which are the colour where a tool wrote it with more; all where none has more than 8."""
    return (colors >> 8 if colors.max() > 255 else colors).astype(np.uint8)


def read_painted(path: Path) -> NDArray[np.bool_]:
    """Where an image file is painted, bool [H, W]: neither black nor transparent. Raises as read_rgb."""
    values = _read(path, lambda data: cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED))
    painted = np.asarray(np.atleast_3d(values)[..., :3].any(axis=2))
    if values.ndim == 3 and values.shape[2] == 4:
        painted &= values[..., 3] > 0
    return painted


def decode_mask(data: bytes) -> NDArray[Any] | None:
    """The ids in the bytes of a mask file, [H, W] or as it is where that is no mask; None where OpenCV cannot decode it. Of a
    PNG of less than 8 bits and of one with a palette the stored numbers, where OpenCV alone would give shades and colours."""
    if data.startswith(_PNG_START) and data[24:25] in (b"\1", b"\2", b"\4") and data[25] in (_PNG_GREY, _PNG_PALETTE):
        shades: NDArray[Any] | None = cv2.imdecode(np.frombuffer(_with_ramp(data), np.uint8), cv2.IMREAD_COLOR)
        return None if shades is None else np.ascontiguousarray(shades[:, :, 0])
    mask: NDArray[Any] | None = cv2.imdecode(np.frombuffer(without_palette(data), np.uint8), cv2.IMREAD_UNCHANGED)
    return mask


def _decode_color(data: bytes) -> NDArray[Any] | None:
    image: NDArray[Any] | None = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH)
    if image is None or image.dtype == np.uint8:
        return image
    return (
        image if image.dtype == np.uint16 else np.asarray(cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR))
    )


def _read(path: Path, decode: Callable[[bytes], NDArray[Any] | None]) -> NDArray[Any]:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise SegPerceptionError(
            f"{path} cannot be read ({error.strerror}): check the path and its permissions"
        ) from error
    if not is_whole(data):
        raise SegPerceptionError(f"{path} is truncated after {len(data)} bytes: copy it again")
    if data:
        ImageLimits().check_encoded(data, str(path))
    try:
        image = decode(bytes(bare_png(data))) if data else None
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
    return _repainted(data, _PNG_GREY, b"")


def _with_ramp(data: bytes) -> bytes:
    """A PNG of 1, 2 or 4 bits whose palette is each number's own shade: so the decoder unpacks it, interlaced or not."""
    ramp = b"PLTE" + bytes(shade for number in range(1 << data[24]) for shade in (number,) * 3)
    return _repainted(data, _PNG_PALETTE, struct.pack(">I", len(ramp) - 4) + ramp + struct.pack(">I", zlib.crc32(ramp)))


def _repainted(data: bytes, kind: int, palette: bytes) -> bytes:
    """A PNG with another type of colour and another palette chunk, without what else decides how its numbers look."""
    header = data[12:25] + bytes([kind]) + data[26:29]
    parts = [data[:12], header, struct.pack(">I", zlib.crc32(header)), palette]
    start = 33
    while start + 12 <= len(data):
        end = start + 12 + struct.unpack(">I", data[start : start + 4])[0]
        if data[start + 4 : start + 8] in (b"IDAT", b"IEND"):
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
