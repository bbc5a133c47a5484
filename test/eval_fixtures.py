"""Small inputs for the tests of the evaluation: images, labels, videos."""

from __future__ import annotations

import struct
from pathlib import Path

import cv2
import numpy as np

from seg_perception.labels import CAMVID

SIZE_HW = (48, 64)


def picture(seed: int, size_hw: tuple[int, int] = SIZE_HW) -> np.ndarray:
    """uint8 [H, W, 3]: smooth, so that lossy codecs keep it, and different for every seed."""
    coarse = np.random.default_rng(seed).integers(0, 256, (3, 4, 3), dtype=np.uint8)
    return cv2.resize(coarse, size_hw[::-1], interpolation=cv2.INTER_CUBIC)


def write_images(folder: Path, count: int, ending: str = ".png") -> list[Path]:
    """Numbered images; returns their paths."""
    folder.mkdir(parents=True)
    paths = [folder / f"{number:03}{ending}" for number in range(count)]
    for number, path in enumerate(paths):
        cv2.imwrite(str(path), picture(number)[..., ::-1])
    return paths


def write_labels(folder: Path, count: int, void: int = 255) -> None:
    """Numbered label images: road below, sky above, one row of void."""
    folder.mkdir(parents=True)
    for number in range(count):
        cv2.imwrite(str(folder / f"{number:03}.png"), label_mask(number, void))


def label_mask(number: int, void: int = 255) -> np.ndarray:
    """uint8 [H, W] that differs with number."""
    mask = np.full(SIZE_HW, CAMVID.by_name("sky").id, np.uint8)
    mask[SIZE_HW[0] // 2 :] = CAMVID.by_name("road").id
    mask[number] = void
    return mask


def write_video(path: Path, count: int, rate_hz: float = 20.0) -> None:
    """A video of the pictures 0, 1, …"""
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"mp4v"), rate_hz, SIZE_HW[::-1])
    assert writer.isOpened()
    for number in range(count):
        writer.write(np.ascontiguousarray(picture(number)[..., ::-1]))
    writer.release()


def slow_down(path: Path, frames: int, times: int) -> None:
    """Let every frame of an MP4 of one rate, as OpenCV writes it, from that of that number on last so many times as long:
    a second entry in its time-to-sample box (ISO/IEC 14496-12, 8.6.1.2), and the boxes around it grow."""
    data = bytearray(path.read_bytes())
    place = data.rfind(b"stts") - 4
    entries, count, delta = struct.unpack(">III", data[place + 12 : place + 24])
    assert entries == 1 and data.rfind(b"mdat") < place
    table = struct.pack(">IIIII", 2, frames, delta, count - frames, times * delta)
    data[place + 12 : place + 24] = table
    for name in (b"moov", b"trak", b"mdia", b"minf", b"stbl", b"stts"):
        start = data.rfind(name, 0, place + 8) - 4
        data[start : start + 4] = struct.pack(">I", struct.unpack(">I", data[start : start + 4])[0] + 8)
    path.write_bytes(data.replace(b"edts", b"free"))  # the list of what to show, which would end too early


def truncate(path: Path, share: float = 0.6) -> None:
    """Cut a file off."""
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
