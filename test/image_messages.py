"""Image messages of every encoding, made of a picture by the encodings' definitions."""

from __future__ import annotations

import array
from types import SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import NDArray

OPENCV_NAMES = {
    "8UC1": "mono8", "8UC3": "bgr8", "8UC4": "bgra8", "16UC1": "mono16", "16UC3": "bgr16", "16UC4": "bgra16"
}  # fmt: skip


def message(encoding: str, rows: NDArray[Any], hw: tuple[int, int], padding: int = 0, big: bool = False) -> Any:
    """An Image message whose rows, [R, bytes] of uint8 or items of uint16, are padded with 0xAA."""
    if rows.dtype == np.uint16:
        rows = rows.astype(">u2" if big else "<u2")
    raw = np.ascontiguousarray(rows).view(np.uint8).reshape(rows.shape[0], -1)
    padded = np.pad(raw, ((0, 0), (0, padding)), constant_values=0xAA)
    data = padded.tobytes()
    if encoding == "nv24":  # a row of chroma is twice as long as one of luma, and so is its padding
        chroma = np.pad(raw[hw[0] :].reshape(hw[0], -1), ((0, 0), (0, 2 * padding)), constant_values=0xAA)
        data = padded[: hw[0]].tobytes() + chroma.tobytes()
    return SimpleNamespace(
        encoding=encoding,
        height=hw[0],
        width=hw[1],
        step=padded.shape[1],
        is_bigendian=int(big),
        data=array.array("B", data),
    )


def picture(height: int, width: int) -> NDArray[np.uint8]:
    """A smooth colour picture, so that subsampled chroma loses little."""
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    channels = [40 + 6 * x + 3 * y, 200 - 5 * x, 60 + 9 * y]
    return np.clip(np.stack(channels, -1), 0, 255).astype(np.uint8)


def encode(encoding: str, rgb: NDArray[np.uint8]) -> NDArray[Any]:
    """The rows of rgb in an encoding, written from the encodings' definitions."""
    height, width, _ = rgb.shape
    encoding = OPENCV_NAMES.get(encoding, encoding)
    if encoding in ("rgb16", "bgr16", "rgba16", "bgra16"):
        return _deep(encode(f"{encoding[:-2]}8", rgb))
    if encoding in ("rgb8", "bgr8"):
        return rgb[..., :: 1 if encoding == "rgb8" else -1].reshape(height, -1)
    if encoding in ("rgba8", "bgra8"):
        colors = rgb if encoding == "rgba8" else rgb[..., ::-1]
        return np.dstack([colors, np.full((height, width), 77, np.uint8)]).reshape(height, -1)
    if encoding == "mono8":
        return rgb[..., 0]
    if encoding == "mono16":
        return _deep(rgb[..., 0])
    if encoding.startswith("bayer_"):
        mosaic = np.zeros((height, width), np.uint8)
        for k, color in enumerate(encoding[6:10]):
            mosaic[k // 2 :: 2, k % 2 :: 2] = rgb[k // 2 :: 2, k % 2 :: 2, "rgb".index(color)]
        return mosaic if encoding.endswith("8") else _deep(mosaic)
    return encode_yuv(encoding, rgb)


def _deep(grey: NDArray[np.uint8]) -> NDArray[np.uint16]:
    """16-bit values that are the grey ones when rounded, and whose two bytes differ, so that their order matters."""
    deep = grey.astype(np.int32) * 257
    return np.where(grey < 128, deep + 100, deep - 100).astype(np.uint16)


def encode_yuv(encoding: str, rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """BT.601 studio swing, chroma of the even columns (and rows)."""
    height, width, _ = rgb.shape
    r, g, b = (rgb[..., k].astype(np.float32) for k in range(3))
    luma = np.rint(16 + 0.257 * r + 0.504 * g + 0.098 * b).astype(np.uint8)
    u = np.rint(128 - 0.148 * r - 0.291 * g + 0.439 * b).astype(np.uint8)
    v = np.rint(128 + 0.439 * r - 0.368 * g - 0.071 * b).astype(np.uint8)
    if encoding == "nv24":
        return np.concatenate((luma, np.stack((u, v), -1).reshape(2 * height, width)))
    if encoding in ("nv12", "nv21"):
        pair = (u, v) if encoding == "nv12" else (v, u)
        chroma = np.stack([plane[::2, ::2] for plane in pair], -1).reshape((height + 1) // 2, -1)
        rows = np.zeros((height + len(chroma), chroma.shape[1]), np.uint8)
        rows[:height, :width], rows[height:] = luma, chroma
        return rows
    chroma = np.zeros((height, width), np.uint8)
    chroma[:, ::2], chroma[:, 1::2] = u[:, ::2], v[:, : width - 1 : 2]
    order = (luma, chroma) if encoding in ("yuv422_yuy2", "yuyv") else (chroma, luma)
    return np.stack(order, -1).reshape(height, -1)
