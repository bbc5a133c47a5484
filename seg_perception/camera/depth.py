"""Depth messages to plain arrays. Reads fields only, so it needs no ROS."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seg_perception.camera.messages import to_host_memory
from seg_perception.errors import BadImageError, quoted
from seg_perception.results import Depth

ENCODING, TRUNCATED, SIZE, FRAME = "depth_encoding", "depth_truncated", "depth_size", "depth_frame"
_DTYPES: dict[str, type[np.generic]] = {"16UC1": np.uint16, "mono16": np.uint16, "32FC1": np.float32}
"""Millimetres and metres, as REP 118 has it; some drivers call the first mono16."""


def read_depth(message: Any, image_hw: tuple[int, int], frame_id: str) -> Depth:
    """A depth message that is aligned to an image of (height, width) with this frame_id: a view of its data.

    Raises BadImageError where it cannot be that, naming what was expected and what came.
    """
    dtype = _DTYPES.get(message.encoding)
    if dtype is None:
        raise BadImageError(
            ENCODING, f"depth has the encoding '{quoted(message.encoding)}': 16UC1 in mm or 32FC1 in m is read"
        )
    height, width, step, size = message.height, message.width, message.step, np.dtype(dtype).itemsize
    if (height, width) != image_hw:
        raise BadImageError(
            SIZE,
            f"depth is {width}x{height} px and the image {image_hw[1]}x{image_hw[0]}: give depth that is aligned to the image, "
            "pixel by pixel",
        )
    if message.header.frame_id.lstrip("/") != frame_id.lstrip("/"):
        raise BadImageError(
            FRAME,
            f"depth is of the frame '{quoted(message.header.frame_id)}' and the image of '{quoted(frame_id)}': give depth that "
            "is aligned to the image, and so seen from its frame",
        )
    to_host_memory(message, "depth_no_host_memory")
    expected = step * (height - 1) + width * size
    if step < width * size or len(message.data) < expected:
        raise BadImageError(
            TRUNCATED, f"depth holds {len(message.data)} bytes with step {step}, but {width}x{height} takes {expected}"
        )
    values: NDArray[Any] = np.ndarray((height, width), dtype, message.data, 0, (step, size))
    if bool(message.is_bigendian) != (sys.byteorder == "big"):
        values = values.byteswap()
    return Depth(values)
