"""The encodings of raw images that are read: those of sensor_msgs/image_encodings that show a picture, and other names
for them."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

import cv2
import numpy as np

from seg_perception.errors import LONGEST_QUOTE, nearest_name, quoted


@dataclass(frozen=True)
class Layout:
    """How an encoding lies in memory: item type, items a pixel, and OpenCV's conversion to RGB (None: it is RGB).

    name: the encoding's. chroma: order of the second plane where there is one, "uv" or "vu"; full_chroma: whether that
    has a pair for every pixel, not for 2x2 of them, and is converted here rather than by OpenCV.
    """

    dtype: type[np.generic]
    channels: int
    to_rgb: int | None
    name: str = ""
    chroma: str = ""
    full_chroma: bool = False


# OpenCV names a Bayer pattern by the second row's second and third pixel, ROS by the first row's first two.
_BAYER = {
    "rggb": cv2.COLOR_BAYER_BG2RGB,
    "bggr": cv2.COLOR_BAYER_RG2RGB,
    "gbrg": cv2.COLOR_BAYER_GR2RGB,
    "grbg": cv2.COLOR_BAYER_GB2RGB,
}

_LAYOUTS: dict[str, Layout] = {
    "rgb8": Layout(np.uint8, 3, None),
    "bgr8": Layout(np.uint8, 3, cv2.COLOR_BGR2RGB),
    "rgba8": Layout(np.uint8, 4, cv2.COLOR_RGBA2RGB),
    "bgra8": Layout(np.uint8, 4, cv2.COLOR_BGRA2RGB),
    "rgb16": Layout(np.uint16, 3, None),
    "bgr16": Layout(np.uint16, 3, cv2.COLOR_BGR2RGB),
    "rgba16": Layout(np.uint16, 4, cv2.COLOR_RGBA2RGB),
    "bgra16": Layout(np.uint16, 4, cv2.COLOR_BGRA2RGB),
    "mono8": Layout(np.uint8, 1, cv2.COLOR_GRAY2RGB),
    "mono16": Layout(np.uint16, 1, cv2.COLOR_GRAY2RGB),
    "uyvy": Layout(np.uint8, 2, cv2.COLOR_YUV2RGB_UYVY),
    "yuyv": Layout(np.uint8, 2, cv2.COLOR_YUV2RGB_YUY2),
    "nv12": Layout(np.uint8, 1, cv2.COLOR_YUV2RGB_NV12, chroma="uv"),
    "nv21": Layout(np.uint8, 1, cv2.COLOR_YUV2RGB_NV21, chroma="vu"),
    "nv24": Layout(np.uint8, 1, None, chroma="uv", full_chroma=True),
    **{f"bayer_{name}8": Layout(np.uint8, 1, code) for name, code in _BAYER.items()},
    **{f"bayer_{name}16": Layout(np.uint16, 1, code) for name, code in _BAYER.items()},
}

# What OpenCV's own names leave open is the order of colours, which is BGR for OpenCV, cv_bridge and RViz.
_NO_ORDER = {"8UC3": "bgr8", "8UC4": "bgra8", "16UC3": "bgr16", "16UC4": "bgra16"}
_SAME = {"yuv422": "uyvy", "yuv422_yuy2": "yuyv", "8UC1": "mono8", **_NO_ORDER}

ENCODINGS: dict[str, Layout] = {
    **{name: replace(layout, name=name) for name, layout in _LAYOUTS.items()},
    **{name: replace(_LAYOUTS[same], name=same) for name, same in _SAME.items()},
}
"""Every raw encoding that is read."""

DEPTH_OR_GREY = "16UC1"
"""mono16 to OpenCV, but to every depth camera millimetres: it is read where that is asked for."""
GREY: Layout = ENCODINGS["mono16"]

# Four letters of Video4Linux, and how else pixels are called; all in small letters.
_V4L2 = {
    "rgb3": "rgb8", "bgr3": "bgr8", "rgb24": "rgb8", "bgr24": "bgr8", "ab24": "rgba8", "ar24": "bgra8",
    "yuy2": "yuyv", "yuv422_yuyv": "yuyv", "yuv422_uyvy": "uyvy", "grey": "mono8", "gray": "mono8", "y800": "mono8",
    "y8": "mono8", "y16": "mono16", "ba81": "bayer_bggr8", "gbrg": "bayer_gbrg8", "grbg": "bayer_grbg8",
    "rggb": "bayer_rggb8", "byr2": "bayer_bggr16", "gb16": "bayer_gbrg16", "gr16": "bayer_grbg16", "rg16": "bayer_rggb16",
}  # fmt: skip
_OTHER_NAMES = {**{name.lower(): name for name in ENCODINGS}, **_V4L2}


def find_layout(encoding: str) -> Layout | None:
    """The layout of an encoding by its name in sensor_msgs, in any case, or by that of Video4Linux; None: unknown."""
    layout = ENCODINGS.get(encoding)
    return layout or ENCODINGS.get(_OTHER_NAMES.get(encoding.strip().lower().removeprefix("cv_"), ""))


def encoding_note(encoding: str) -> str:
    """What is odd about an encoding that is read; '' = nothing."""
    if encoding in _NO_ORDER:
        return f"the encoding '{encoding}' leaves the order of colours open: it is read as {_NO_ORDER[encoding]}"
    layout = None if encoding in ENCODINGS else find_layout(encoding)
    if layout is None:
        return ""
    return f"the encoding '{quoted(encoding)}' is no name of sensor_msgs: it is read as {layout.name}"


def shows_picture(encoding: str) -> bool:
    """Whether it is that of a picture as far as its name tells, rather than of depth or other numbers."""
    return encoding in ENCODINGS or not re.fullmatch(r"\d+[SFU]C\d+", encoding)


def why_not_read(encoding: str) -> str:
    """What to say of an encoding that is not read."""
    start = f"the image has the encoding '{quoted(encoding)}', which is not read: "
    if encoding == DEPTH_OR_GREY:
        return (
            f"{start}it is a depth camera's as a rule; if it is a grey picture, set image_16uc1_is_grey, or name the topic "
            "where it is a bag's"
        )
    if not shows_picture(encoding):
        return f"{start}it holds numbers and shows no picture, so give the topic of a colour or grey image"
    return start + nearest_name(encoding[:LONGEST_QUOTE], ENCODINGS)
