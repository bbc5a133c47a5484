"""Masks are read as ids whatever tool wrote them."""

from __future__ import annotations

import errno
import os
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from seg_perception.errors import SegPerceptionError
from seg_perception.files import (
    decode_mask,
    image_files,
    read_mask,
    read_rgb,
    results_folder,
    without_palette,
    write_image,
    write_text,
)


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def palette_png(indices: np.ndarray, colors: bytes, alpha: bytes) -> bytes:
    """As labelling tools write it: one byte a pixel, a colour for each value, the first ones transparent."""
    height, width = indices.shape
    rows = b"".join(b"\0" + row.tobytes() for row in indices)
    header = struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0)
    return b"".join(
        (
            b"\x89PNG\r\n\x1a\n",
            chunk(b"IHDR", header),
            chunk(b"PLTE", colors),
            chunk(b"tRNS", alpha),
            chunk(b"IDAT", zlib.compress(rows)),
            chunk(b"IEND", b""),
        )
    )


def test_a_palette_is_no_part_of_a_mask_but_of_an_image(tmp_path: Path) -> None:
    path = tmp_path / "labels.png"
    path.write_bytes(palette_png(np.array([[0, 1, 2], [2, 255, 0]], np.uint8), bytes(range(250)) + bytes(518), b"\0\1"))
    assert read_mask(path, np.uint8).tolist() == [[0, 1, 2], [2, 255, 0]]
    assert read_mask(path, np.uint16).tolist() == [[0, 1, 2], [2, 255, 0]]
    assert read_rgb(path)[0].tolist() == [[0, 1, 2], [3, 4, 5], [6, 7, 8]]


@settings(max_examples=30, deadline=None)
@given(
    arrays.arrays(np.uint8, arrays.array_shapes(min_dims=2, max_dims=2, max_side=9)),
    st.binary(min_size=768, max_size=768),
    st.binary(min_size=1, max_size=256),
)
def test_indices_are_read_whatever_the_palette(indices: np.ndarray, colors: bytes, alpha: bytes) -> None:
    plain = np.frombuffer(without_palette(palette_png(indices, colors, alpha)), np.uint8)
    np.testing.assert_array_equal(cv2.imdecode(plain, cv2.IMREAD_UNCHANGED), indices)


def test_a_damaged_palette_mask_is_named(tmp_path: Path) -> None:
    """The header, the picture and a length that points beyond the end."""
    path = tmp_path / "labels.png"
    whole = palette_png(np.zeros((20, 20), np.uint8), bytes(768), b"\0")
    for place in (18, whole.index(b"IDAT") + 8, whole.index(b"PLTE") - 3):
        damaged = bytearray(whole)
        damaged[place] ^= 0x55
        path.write_bytes(damaged)
        with pytest.raises(SegPerceptionError, match=r"labels\.png"):
            read_mask(path, np.uint8)


def test_grey_and_16_bit_masks_are_as_written(tmp_path: Path) -> None:
    path = tmp_path / "m.png"
    cv2.imwrite(str(path), np.array([[0, 40000]], np.uint16))
    assert read_mask(path, np.uint16).tolist() == [[0, 40000]]
    with pytest.raises(SegPerceptionError, match="is uint16"):
        read_mask(path, np.uint8)


def test_a_folder_is_one_runs_alone_and_an_empty_one_is_taken_away(tmp_path: Path) -> None:
    out = tmp_path / "a" / "out"
    with results_folder(out), pytest.raises(SegPerceptionError, match="another run writes into"), results_folder(out):
        pass
    assert list(tmp_path.iterdir()) == [], "nor are new folders around it left"
    (tmp_path / "a").mkdir()
    with results_folder(out):
        pass
    assert list(tmp_path.rglob("*")) == [tmp_path / "a"]
    with results_folder(out):
        (out / "report.json").write_text("{}")
    with results_folder(out):
        pass
    assert [path.name for path in out.iterdir()] == ["report.json"]


def test_a_folder_is_free_when_its_run_was_killed_though_a_process_of_it_lives_on(tmp_path: Path) -> None:
    """As those that load images of a training do for some seconds."""
    killed = (
        "import os, sys\n"
        "from pathlib import Path\n"
        "from seg_perception.writing import results_folder\n"
        "with results_folder(Path(sys.argv[1])):\n"
        "    if os.fork() == 0:\n"
        "        print('forked', flush=True)\n"
        "        sys.stdin.read()\n"
        "        os._exit(0)\n"
        "    sys.stdin.read()\n"
    )
    run = subprocess.Popen(
        [sys.executable, "-c", killed, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with run:
        assert run.stdout is not None and run.stdout.readline() == "forked\n"
        run.kill()
        run.wait()
        with results_folder(tmp_path):
            pass


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOTSUP])
def test_a_folder_of_a_disk_without_locks_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def without_locks(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("fcntl.flock", without_locks)
    with results_folder(tmp_path):
        pass


def test_a_folder_that_is_a_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("")
    with pytest.raises(SegPerceptionError, match="cannot be made"), results_folder(tmp_path / "out"):
        pass


def packed_png(values: np.ndarray, depth: int, palette: bool) -> bytes:
    """Numbers of less than 8 bits, most significant first, each row padded to whole bytes; after ISO/IEC 15948."""
    height, width = values.shape
    bits = (values[:, :, None] >> np.arange(depth - 1, -1, -1)) & 1
    rows = np.packbits(bits.reshape(height, -1).astype(np.uint8), axis=1)
    header = struct.pack(">IIBBBBB", width, height, depth, 3 if palette else 0, 0, 0, 0)
    chunks = [chunk(b"IHDR", header), chunk(b"gAMA", struct.pack(">I", 45455))]
    chunks += [chunk(b"PLTE", bytes(range(200, 200 + 3 * (1 << depth))))] if palette else []
    chunks += [chunk(b"IDAT", zlib.compress(b"".join(b"\0" + row.tobytes() for row in rows))), chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


@settings(max_examples=40, deadline=None)
@given(st.data(), st.sampled_from([1, 2, 4]), st.booleans())
def test_masks_of_few_bits_are_read_as_the_numbers_in_them(data: st.DataObject, depth: int, palette: bool) -> None:
    shape = data.draw(arrays.array_shapes(min_dims=2, max_dims=2, max_side=21))
    values = data.draw(arrays.arrays(np.uint8, shape, elements=st.integers(0, (1 << depth) - 1)))
    np.testing.assert_array_equal(decode_mask(packed_png(values, depth, palette)), values)


@pytest.mark.parametrize("mode", ["1", "P", "L"])
@pytest.mark.parametrize("colors", [2, 4, 16])
def test_masks_that_pillow_writes_are_read_as_their_numbers(tmp_path: Path, mode: str, colors: int) -> None:
    image = pytest.importorskip("PIL.Image", reason="Pillow is not installed")
    if mode == "1" and colors > 2:
        pytest.skip("two values are all that there are")
    values = np.random.default_rng(colors).integers(0, colors, (13, 17), np.uint8)
    if mode == "1":
        picture = image.fromarray(values.astype(bool))
    else:
        picture = image.fromarray(values, mode)
        if mode == "P":
            picture.putpalette(bytes(range(3 * colors)))
    path = tmp_path / "labels.png"
    picture.save(path, **({"bits": {2: 1, 4: 2, 16: 4}[colors]} if mode == "P" else {}))
    np.testing.assert_array_equal(read_mask(path, np.uint8), values)
    np.testing.assert_array_equal(read_mask(path, np.uint16), values)


def test_an_interlaced_mask_of_few_bits_is_read_too() -> None:
    """One pixel is all of Adam7's first pass."""
    data = packed_png(np.array([[1]], np.uint8), 1, False)
    header = bytearray(data[12:29])
    header[-1] = 1
    interlaced = data[:12] + bytes(header) + struct.pack(">I", zlib.crc32(header)) + data[33:]
    assert decode_mask(interlaced).tolist() == [[1]]


def test_names_that_are_no_utf8_are_told_and_no_folder_of_such_a_name_ends_the_process(tmp_path: Path) -> None:
    """As an old disk has them."""
    folder = tmp_path / os.fsdecode(b"stra\xdfe")
    try:
        folder.mkdir()
    except OSError:
        pytest.skip("this file system takes UTF-8 alone")
    image = np.arange(12, dtype=np.uint8).reshape(3, 4)
    write_image(folder / "a.png", image)
    assert (read_mask(folder / "a.png", np.uint8) == image).all() and len(image_files(folder)) == 1
    write_text(folder / "page.html", f"of {folder}")
    assert "stra\\udcdfe" in (folder / "page.html").read_text(encoding="utf-8")
    write_image(folder / os.fsdecode(b"bild_\xe4.png"), image)
    with pytest.raises(SegPerceptionError, match=r"bild_\\udce4.png is not written in UTF-8"):
        image_files(folder)


def test_an_image_that_its_format_cannot_hold_is_refused_and_leaves_no_empty_file(tmp_path: Path) -> None:
    path = tmp_path / "wide.jpg"
    with pytest.raises(SegPerceptionError, match=r"OpenCV makes no \.jpg of \[1, 70000\]"):
        write_image(path, np.zeros((1, 70000), np.uint8))
    assert not list(tmp_path.iterdir())
