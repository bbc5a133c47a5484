"""What an image may cost is known from its header."""

from __future__ import annotations

import array
import struct
import zlib
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seg_perception import image_limits
from seg_perception.camera.encodings import ENCODINGS
from seg_perception.camera.messages import BadImageError, ImageReader
from seg_perception.errors import SegPerceptionError
from seg_perception.files import read_rgb
from seg_perception.image_limits import ImageLimits, encoded_size
from seg_perception.recordings.video_file import VideoSource

LIMITS = ImageLimits(most_pixels=3000, most_aspect=8)


def encoded(ending: str, height: int, width: int, *options: int) -> bytes:
    rng = np.random.default_rng(0)
    image = cv2.resize(rng.integers(0, 256, (4, 4, 3), dtype=np.uint8), (width, height))
    whole, data = cv2.imencode(ending, image, list(options))
    assert whole
    return data.tobytes()


def says(data: bytes, height: int, width: int) -> bytes:
    """A JPEG or PNG with another size in its header."""
    if data.startswith(b"\x89PNG"):
        header = b"IHDR" + struct.pack(">II", width, height) + data[24:29]
        return data[:12] + header + struct.pack(">I", zlib.crc32(header)) + data[33:]
    place = max(data.find(b"\xff\xc0"), data.find(b"\xff\xc2")) + 5
    return data[:place] + struct.pack(">HH", height, width) + data[place + 4 :]


def refused(limits: ImageLimits, data: bytes) -> str:
    with pytest.raises(BadImageError) as caught:
        limits.check_encoded(data)
    return caught.value.cause


def message(data: bytes) -> Any:
    return SimpleNamespace(format="jpeg", data=array.array("B", data))


FORMATS = (
    (".jpg",),
    (".jpg", cv2.IMWRITE_JPEG_PROGRESSIVE, 1),
    (".png",),
    (".bmp",),
    (".tif",),
    (".tiff",),
    (".webp", cv2.IMWRITE_WEBP_QUALITY, 80),
    (".webp", cv2.IMWRITE_WEBP_QUALITY, 101),
    (".ppm",),
)


@pytest.mark.parametrize("kind", FORMATS, ids=str)
@pytest.mark.parametrize("size", [(1, 1), (37, 51), (300, 20)])
def test_the_size_in_the_header_is_that_of_the_image(kind: Any, size: tuple[int, int]) -> None:
    assert encoded_size(memoryview(encoded(kind[0], *size, *kind[1:]))) == size


def test_an_extended_webp_says_its_canvas() -> None:
    data = b"RIFF\0\0\0\0WEBPVP8X\x0a\0\0\0" + bytes(4) + (1919).to_bytes(3, "little") + (1079).to_bytes(3, "little")
    assert encoded_size(memoryview(data)) == (1080, 1920)


@pytest.mark.parametrize("kind", FORMATS, ids=str)
def test_too_many_pixels_and_too_long_a_side_are_refused(kind: Any) -> None:
    LIMITS.check_encoded(encoded(kind[0], 50, 60, *kind[1:]))
    LIMITS.check_encoded(encoded(kind[0], 8, 64, *kind[1:]))
    assert refused(LIMITS, encoded(kind[0], 50, 61, *kind[1:])) == image_limits.TOO_LARGE
    assert refused(LIMITS, encoded(kind[0], 65, 8, *kind[1:])) == image_limits.TOO_NARROW


@pytest.mark.parametrize("kind", FORMATS, ids=str)
def test_a_header_that_is_cut_off_anywhere_says_no_size_or_the_right_one(kind: Any) -> None:
    whole = encoded(kind[0], 37, 51, *kind[1:])
    assert {encoded_size(memoryview(whole[:end])) for end in range(len(whole))} <= {None, (37, 51)}


@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from([b"\xff\xd8", b"\x89PNG\r\n\x1a\n", b"RIFF....WEBP", b"BM", b"II*\0", b"MM\0*", b"P6 "]),
    st.binary(),
)
def test_no_bytes_are_too_strange(start: bytes, rest: bytes) -> None:
    size = encoded_size(memoryview(start + rest))
    assert size is None or all(isinstance(side, int) and side >= 0 for side in size)


def test_what_no_decoder_of_ours_knows_is_refused() -> None:
    for data in (b"", b"GIF89a" + bytes(90), b"\0\0\0\x0cjP  \r\n" + bytes(90), b"v/1\1" + bytes(90)):
        assert refused(ImageLimits(), data) == image_limits.UNDECODABLE
    assert refused(ImageLimits(), says(encoded(".png", 8, 8), 0, 8)) == image_limits.UNDECODABLE


def test_a_jpeg_of_many_scans_is_refused_whichever_kind_it_is() -> None:
    """Each scan is a pass over all pixels: 30 kB of scans keep a decoder busy for a minute."""
    progressive = encoded(".jpg", 64, 64, cv2.IMWRITE_JPEG_PROGRESSIVE, 1)
    ImageLimits().check_encoded(progressive)
    scan = progressive.rindex(b"\xff\xda")
    bomb = progressive[:scan] + progressive[scan:-2] * 40 + b"\xff\xd9"
    assert refused(ImageLimits(), bomb) == image_limits.TOO_MANY_SCANS
    with pytest.raises(BadImageError) as caught:
        ImageReader().read(message(bomb))
    assert caught.value.cause == image_limits.TOO_MANY_SCANS

    sequential = encoded(".jpg", 64, 64)
    scan = sequential.index(b"\xff\xda")
    ImageLimits().check_encoded(sequential[:scan] + sequential[scan:-2] * 40 + b"\xff\xd9")  # the first is all it reads
    of_one = bytearray(sequential[:scan] + sequential[scan:-2] * 40 + b"\xff\xd9")
    of_one[scan + 4] = 1
    assert refused(ImageLimits(), bytes(of_one)) == image_limits.TOO_MANY_SCANS


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def test_a_png_without_its_texts_has_the_same_pixels() -> None:
    """A text of 2 kB unpacks to 2 MB, and there may be any number of them."""
    plain = encoded(".png", 20, 30)
    text = chunk(b"zTXt", b"k\0\0" + zlib.compress(bytes(2_000_000)))
    animation = chunk(b"acTL", struct.pack(">II", 1, 0))
    full = plain[:33] + animation + text * 20 + plain[33:-12] + text + plain[-12:]
    assert bytes(image_limits.bare_png(full)) == plain and image_limits.bare_png(plain) is plain
    assert np.array_equal(ImageReader().to_rgb(message(full)), ImageReader().to_rgb(message(plain)))
    jpeg = encoded(".jpg", 20, 30)
    assert image_limits.bare_png(jpeg) is jpeg


def test_a_png_whose_chunk_is_longer_than_the_file_is_refused() -> None:
    """OpenCV makes room for what the chunk says: one flipped bit cost 2 GB and 6 s."""
    plain = bytearray(encoded(".png", 20, 30))
    plain[33] ^= 0x80
    assert refused(ImageLimits(), bytes(plain)) == image_limits.UNDECODABLE
    whole = encoded(".png", 20, 30)
    assert refused(ImageLimits(), whole[:33] + chunk(b"IDAT", b"") * 100_001 + whole[33:]) == image_limits.UNDECODABLE


def test_a_jpeg_whose_frame_header_is_behind_too_much_says_no_size() -> None:
    whole = encoded(".jpg", 64, 64)
    ImageLimits().check_encoded(whole[:2] + b"\xff\xfe\0\2" * 1000 + whole[2:])
    assert refused(ImageLimits(), whole[:2] + b"\xff\xfe\0\2" * 100_000 + whole[2:]) == image_limits.UNDECODABLE
    ImageLimits().check_encoded(whole[:2] + b"\xff" * 9 + b"\0\1" + whole[2:])  # what is no marker is skipped


@pytest.mark.parametrize("ending", [".jpg", ".png"])
@pytest.mark.parametrize(
    ("size", "cause"),
    [((30_000, 30_000), "too_large"), ((65_000, 80), "too_narrow"), ((80, 65_000), "too_narrow")],
)
def test_a_small_message_of_a_large_image_is_refused_before_it_is_decoded(
    ending: str, size: tuple[int, int], cause: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cv2, "imdecode", None)
    with pytest.raises(BadImageError) as caught:
        ImageReader().read(message(says(encoded(ending, 8, 8), *size)))
    assert caught.value.cause == cause
    assert f"{size[1]}x{size[0]}" in str(caught.value)


@pytest.mark.parametrize("encoding", sorted(ENCODINGS))
@pytest.mark.parametrize("size", [(1, 65_535), (65_535, 1), (2**32 - 1, 2**32 - 1)])
def test_a_raw_image_is_judged_before_its_bytes_are(encoding: str, size: tuple[int, int]) -> None:
    sent = SimpleNamespace(encoding=encoding, height=size[0], width=size[1], step=size[1] * 8, is_bigendian=0, data=b"")
    with pytest.raises(BadImageError) as caught:
        ImageReader().read(sent)
    assert caught.value.cause == ("too_large" if size[0] == size[1] else "too_narrow")


@pytest.mark.parametrize("size", [(2160, 3840), (4320, 7680), (6000, 6000), (600, 16_000)])
def test_real_cameras_pass(size: tuple[int, int]) -> None:
    ImageLimits().check(size)


def test_files_and_videos_are_judged_too(tmp_path: Path) -> None:
    for ending in (".jpg", ".png"):
        path = tmp_path / f"large{ending}"
        path.write_bytes(says(encoded(ending, 8, 8), 20_000, 20_000))
        with pytest.raises(SegPerceptionError, match=f"large{ending} is 20000x20000"):
            read_rgb(path)
    video = tmp_path / "long.avi"
    writer = cv2.VideoWriter(str(video), cv2.VideoWriter_fourcc(*"MJPG"), 10, (2048, 16))
    writer.write(np.zeros((16, 2048, 3), np.uint8))
    writer.release()
    with pytest.raises(SegPerceptionError, match=r"long.avi is 2048x16, a side more than 32 times the other"):
        VideoSource(video)
