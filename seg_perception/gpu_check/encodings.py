"""A picture as cameras send it."""

from __future__ import annotations

from types import SimpleNamespace

import cv2
import numpy as np
from numpy.typing import NDArray

from seg_perception.camera.messages import ImageReader
from seg_perception.results import Frame

PADDING = 13
"""Bytes behind every row."""

ENCODED = ("rgb8", "bgr8", "rgba8", "bgra8", "mono8", "yuyv", "nv12")
"""Every kind of way: packed pixels, which the GPU takes as they are, and two that the CPU converts first."""


def encoded(rgb: NDArray[np.uint8], encoding: str) -> Frame:
    """rgb, uint8 [H, W, 3], read from an Image message of this encoding, its rows padded; sides are cut to even ones."""
    rgb = np.ascontiguousarray(rgb[: rgb.shape[0] // 2 * 2, : rgb.shape[1] // 2 * 2])
    height, width = rgb.shape[:2]
    rows = [np.pad(plane.reshape(len(plane), -1), ((0, 0), (0, PADDING))) for plane in _planes(rgb, encoding)]
    return Frame(
        ImageReader().read(
            SimpleNamespace(
                encoding=encoding,
                height=height,
                width=width,
                step=rows[0].shape[1],
                is_bigendian=0,
                data=b"".join(plane.tobytes() for plane in rows),
            )
        )
    )


def _planes(rgb: NDArray[np.uint8], encoding: str) -> list[NDArray[np.uint8]]:
    gray = cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY)
    if encoding == "mono8":
        return [gray]
    if encoding == "yuyv":
        return [np.dstack([gray, 255 - rgb[..., 0]])]
    if encoding == "nv12":
        return [gray, np.ascontiguousarray(rgb[::2, :, 2])]
    pixels = rgb[..., ::-1] if encoding.startswith("bgr") else rgb
    return [np.dstack([pixels, np.full(gray.shape, 77, np.uint8)]) if "a" in encoding else pixels]
