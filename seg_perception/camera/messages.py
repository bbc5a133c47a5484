"""Camera messages to plain arrays. Reads fields only, so it needs no ROS; what goes out is in fill_messages.py.

Every raw encoding is converted by OpenCV here rather than by cv_bridge where that is installed: one path gives the same
pixels everywhere, and it minds padded rows, odd sizes and byte order, which the bridges do not all do.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

import cv2
import numpy as np
from numpy.typing import NDArray

from seg_perception.camera import encodings
from seg_perception.camera.encodings import DEPTH_OR_GREY, GREY, Layout, find_layout, why_not_read
from seg_perception.camera_model import CameraModel
from seg_perception.errors import BadImageError as BadImageError
from seg_perception.errors import quoted
from seg_perception.image_limits import UNDECODABLE as UNDECODABLE
from seg_perception.image_limits import ImageLimits, bare_png
from seg_perception.raw_image import Mix, RawImage, Recolor, from_bayer, from_yuv

WRONG_ENCODING = "wrong_encoding"
TRUNCATED = "truncated"
EMPTY = "empty"
NO_HOST_MEMORY = "no_host_memory"

JPEG_START, JPEG_END = b"\xff\xd8", b"\xff\xd9"
PNG_START, PNG_END, PNG_BITS_AT = b"\x89PNG", b"IEND", 24
RIFF, WEBP = b"RIFF", b"WEBP"
"""A WebP is a RIFF file: its length lies between the two, little-endian, and counts from the second."""
COMPRESSED_DEPTH = "compressedDepth"
"""In the format of what image_transport makes of depth: a PNG behind numbers of its own."""
COMPRESSED_TAIL_BYTES = 4096
"""How far from the end the mark that ends a picture may lie: cameras pad their JPEG to whole USB packets."""

RECTIFIED = "image_rect"
"""What names of topics begin with that image_proc writes rectified images to: image_rect, image_rect_color."""

LIMITS = ImageLimits()
"""Where nobody says others."""


@dataclass(frozen=True)
class DecodedImage:
    """A frame of a video in place of the message that brought it: header has that message's stamp and frame_id."""

    header: Any
    image: RawImage


def to_host_memory(message: Any, cause: str = NO_HOST_MEMORY) -> None:
    """Copy the message's data to where NumPy and OpenCV can read it, if it is not there: from Lyrical on rclpy may give a
    `rosidl_buffer.Buffer` of another device. Raises BadImageError, of this cause, where that cannot be.
    """
    try:
        memoryview(message.data)
    except TypeError:
        kind = getattr(message.data, "backend_type", type(message.data).__name__)
        try:
            message.data = message.data.to_array()
        except Exception as error:  # whoever made the buffer raises classes of its own, and in the executor's thread
            raise BadImageError(
                cause,
                f"the data lies in memory of '{kind}', which cannot be copied to the CPU's ({error}): let the publisher send "
                "what lies in the CPU's memory",
            ) from error


def check_image(message: Any, grey_16uc1: bool = False, limits: ImageLimits = LIMITS) -> Layout:
    """Whether an Image message can be read, from its fields alone: takes no time that depends on the image's size.

    grey_16uc1: whether 16UC1 is a grey picture rather than depth. Raises BadImageError naming what was expected and what came.
    """
    encoding = str(message.encoding)
    layout = GREY if grey_16uc1 and encoding == DEPTH_OR_GREY else find_layout(encoding)
    if layout is None:
        raise BadImageError(WRONG_ENCODING, why_not_read(encoding))
    height, width, step = message.height, message.width, message.step
    if not height or not width:
        raise BadImageError(EMPTY, f"the image is {width}x{height} pixels: check the camera driver")
    limits.check((height, width))
    row_bytes = width * layout.channels * np.dtype(layout.dtype).itemsize
    if step < row_bytes:
        raise BadImageError(
            TRUNCATED, f"step is {step}, but a row of {width} pixels of {layout.name} takes {row_bytes} bytes"
        )
    expected = step * (height - 1) + row_bytes
    if layout.chroma:
        rows, chroma_bytes, chroma_step = _chroma(height, width, step, layout)
        expected = step * height + chroma_step * (rows - 1) + chroma_bytes
    if len(message.data) < expected:
        raise BadImageError(
            TRUNCATED,
            f"the image holds {len(message.data)} bytes, but {width}x{height} {layout.name} with step {step} "
            f"takes {expected}",
        )
    return layout


def shows_picture(message: Any) -> bool:
    """Whether an Image or CompressedImage message is a picture as far as its encoding tells, rather than depth."""
    if hasattr(message, "encoding"):
        return encodings.shows_picture(str(message.encoding))
    encoding, _, how = str(message.format).partition(";")
    return COMPRESSED_DEPTH not in how and encodings.shows_picture(encoding.strip())


def check_compressed(message: Any, limits: ImageLimits = LIMITS) -> None:
    """Whether a CompressedImage message starts and ends like a JPEG, PNG or WebP of a size within the limits; raises
    BadImageError otherwise."""
    data = memoryview(message.data)
    if not len(data):
        raise BadImageError(EMPTY, f"{_compressed(message)} holds no bytes: check the camera driver")
    start, tail = bytes(data[:12]), bytes(data[-COMPRESSED_TAIL_BYTES:])
    if start.startswith(JPEG_START):
        whole = JPEG_END in tail
    elif start.startswith(PNG_START):
        whole = PNG_END in tail
    elif start[:4] == RIFF and start[8:] == WEBP:
        whole = len(data) >= 8 + int.from_bytes(start[4:8], "little")
    else:
        is_depth = COMPRESSED_DEPTH in message.format
        why = "is depth: give the topic of a colour or grey image" if is_depth else "is no JPEG, PNG or WebP"
        raise BadImageError(WRONG_ENCODING, f"{_compressed(message)} {why}")
    if not whole:
        raise BadImageError(TRUNCATED, f"{_compressed(message)} of {len(data)} bytes ends too early")
    limits.check_encoded(data, _compressed(message))


def _compressed(message: Any) -> str:
    """What errors call it."""
    return f"the compressed image '{quoted(message.format)}'"


class ImageReader:
    """Reads the messages of one camera; its buffers are reused, so a result holds until the next call.

    bit_depth: of images of 16 bit a pixel, whose white is 2 ** bit_depth - 1. grey_16uc1: whether 16UC1 is a grey picture
    rather than depth. limits: of what is read at all.
    """

    def __init__(self, bit_depth: int = 16, grey_16uc1: bool = False, limits: ImageLimits = LIMITS) -> None:
        self._white, self._grey_16uc1, self._limits = 2**bit_depth - 1, grey_16uc1, limits
        self.brightest: int | None = None
        """Value of the latest image of 16 bit a pixel, of every eighth row; None where it has fewer bits."""
        self._rgb: NDArray[np.uint8] | None = None
        self._rgb16: NDArray[np.uint16] | None = None
        self._scratch: NDArray[np.uint8] | None = None

    def read(self, message: Any) -> NDArray[np.uint8] | RawImage:
        """What a Frame is made of: RGB as from to_rgb, or better what was sent, since the network needs few pixels of it.

        Raises BadImageError.
        """
        self.brightest = None
        if isinstance(message, DecodedImage):
            self._limits.check(message.image.size_hw)
            return message.image
        if hasattr(message, "format"):
            bgr, code = self._decode(message), cv2.COLOR_BGR2RGB
            if bgr.dtype == np.uint16:
                return self._scaled(bgr, code)
            return RawImage(bgr.shape[:2], (bgr,), Recolor(code), partial(self._convert, bgr, code))
        raw = _raw(message, check_image(message, self._grey_16uc1, self._limits), partial(self.to_rgb, message))
        return self.to_rgb(message) if raw is None else raw

    def to_rgb(self, message: Any) -> NDArray[np.uint8]:
        """An Image (ENCODINGS) or CompressedImage (JPEG, PNG, WebP) message as RGB, uint8 [H, W, 3].

        rgb8 is a view of the message's data; all else is written to a buffer of this reader. 16 bit are scaled to 8 by
        255/65535, or by their bit_depth, rounded. Raises BadImageError.
        """
        if isinstance(message, DecodedImage):
            return message.image.to_rgb()
        if hasattr(message, "format"):
            bgr = self._decode(message)
            return (self._scaled if bgr.dtype == np.uint16 else self._convert)(bgr, cv2.COLOR_BGR2RGB)
        layout = check_image(message, self._grey_16uc1, self._limits)
        if layout.full_chroma:
            return self._mixed(_two_planes(message, layout), from_yuv(0, 1, 2))
        if layout.chroma:
            return self._two_planes(message, layout)
        pixels = _pixels(message, layout)
        if layout.dtype is np.uint16:
            return self._scaled(pixels, layout.to_rgb)
        if layout.to_rgb is None:
            return cast("NDArray[np.uint8]", pixels)
        if layout.channels == 2 and message.width % 2:
            return self._odd_yuv422(pixels, layout.to_rgb)
        return self._convert(pixels, layout.to_rgb)

    def _scaled(self, pixels: NDArray[Any], code: int | None) -> NDArray[np.uint8]:
        """RGB of 16-bit pixels; a fourth channel is opacity."""
        self.brightest = int(pixels[::8, :, :3].max() if pixels.ndim == 3 else pixels[::8].max())
        if code is not None:
            pixels = self._rgb16 = cast("NDArray[np.uint16]", cv2.cvtColor(pixels, code, dst=self._rgb16))
        self._rgb = cast("NDArray[np.uint8]", cv2.convertScaleAbs(pixels, dst=self._rgb, alpha=255 / self._white))
        return self._rgb

    def _mixed(self, planes: tuple[NDArray[np.uint8], ...], mix: Mix) -> NDArray[np.uint8]:
        """RGB of planes that are all of the image's size."""
        shape = (*planes[0].shape[:2], 3)
        if self._scratch is None or self._scratch.shape[1:] != shape:
            self._scratch = np.empty((2, *shape), np.uint8)
        if self._rgb is None or self._rgb.shape != shape:
            self._rgb = np.empty(shape, np.uint8)
        mix(planes, self._scratch, self._rgb)
        return self._rgb

    def _convert(self, pixels: NDArray[Any], code: int) -> NDArray[np.uint8]:
        self._rgb = cast("NDArray[np.uint8]", cv2.cvtColor(pixels, code, dst=self._rgb))
        return self._rgb

    def _decode(self, message: Any) -> NDArray[Any]:
        """BGR of 8 bits, or of 16 where a PNG has so many."""
        check_compressed(message, self._limits)
        start = bytes(message.data[: PNG_BITS_AT + 1])
        flags = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
        if start.startswith(PNG_START) and start[PNG_BITS_AT] == 16:
            flags |= cv2.IMREAD_ANYDEPTH
            if not self._grey_16uc1 and message.format.partition(";")[0].strip() == DEPTH_OR_GREY:
                raise BadImageError(WRONG_ENCODING, why_not_read(DEPTH_OR_GREY))
        try:
            bgr = cv2.imdecode(np.frombuffer(bare_png(message.data), np.uint8), flags)
        except cv2.error as error:
            raise BadImageError(UNDECODABLE, f"{_compressed(message)} is damaged ({error.err})") from error
        if bgr is None:
            raise BadImageError(UNDECODABLE, f"{_compressed(message)} is damaged: OpenCV cannot decode it")
        return bgr

    def _odd_yuv422(self, pixels: NDArray[Any], code: int) -> NDArray[np.uint8]:
        """Rows of 4:2:2 come in pairs of pixels: complete the last pair with the chroma of the pair before it."""
        height, width, _ = pixels.shape
        paired = np.full((height, width + 1, 2), 128, np.uint8)
        paired[:, :width] = pixels
        if width > 1:
            paired[:, width] = pixels[:, width - 2]
        return self._convert(paired, code)[:, :width]

    def _two_planes(self, message: Any, layout: Layout) -> NDArray[np.uint8]:
        height, width, code = message.height, message.width, cast(int, layout.to_rgb)
        luma, chroma = _two_planes(message, layout)
        if height % 2 or width % 2:
            luma = np.pad(luma, ((0, height % 2), (0, width % 2)), mode="edge")
        self._rgb = cast("NDArray[np.uint8]", cv2.cvtColorTwoPlane(luma, chroma, code, dst=self._rgb))
        return self._rgb[:height, :width]


def _raw(message: Any, layout: Layout, to_rgb: Callable[[], NDArray[np.uint8]]) -> RawImage | None:
    """The planes of a message, views of its data; None where it is RGB, has 16 bit, or an odd size that cuts a pair of pixels."""
    size_hw, is_bayer = (message.height, message.width), layout.name.startswith("bayer_")
    in_pairs = is_bayer or layout.channels == 2 or bool(layout.chroma and not layout.full_chroma)
    is_rgb = layout.to_rgb is None and not layout.chroma
    if is_rgb or layout.dtype is not np.uint8 or (in_pairs and (size_hw[0] % 2 or size_hw[1] % 2)):
        return None
    if layout.chroma:
        mix = from_yuv(0, 1, 2) if layout.chroma == "uv" else from_yuv(0, 2, 1)
        return RawImage(size_hw, _two_planes(message, layout), mix, to_rgb)
    if not in_pairs:
        return RawImage(size_hw, (_pixels(message, layout),), Recolor(cast(int, layout.to_rgb)), to_rgb)
    if is_bayer:
        return RawImage(size_hw, _pairs(message, 2), from_bayer(layout.name[6:10]), to_rgb)
    # Beside luma lies the chroma of pairs of columns; every second row of it is plenty.
    planes = _pixels(message, layout), _pairs(message, 4)[0]
    mix = from_yuv(0, 3, 5) if layout.to_rgb == cv2.COLOR_YUV2RGB_YUY2 else from_yuv(1, 2, 4)
    return RawImage(size_hw, planes, mix, to_rgb)


def to_rgb(message: Any) -> NDArray[np.uint8]:
    """ImageReader.to_rgb for a single message, with buffers of its own."""
    return ImageReader().to_rgb(message)


def _pixels(message: Any, layout: Layout) -> NDArray[Any]:
    """The message's data without a copy, [H, W] or [H, W, channels], in this machine's byte order."""
    dtype = np.dtype(layout.dtype)
    size, channels = dtype.itemsize, layout.channels
    foreign = size > 1 and bool(message.is_bigendian) != (sys.byteorder == "big")
    shape: tuple[int, ...] = (message.height, message.width, channels)
    strides: tuple[int, ...] = (message.step, size * channels, size)
    if channels == 1:
        shape, strides = shape[:2], strides[:2]
    pixels: NDArray[Any] = np.ndarray(shape, dtype, message.data, 0, strides)
    if message.step % size:
        # OpenCV's Bayer conversion walks rows by whole items.
        pixels = np.ascontiguousarray(pixels)
    return pixels.byteswap() if foreign else pixels


def _two_planes(message: Any, layout: Layout) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Luma [H, W] and chroma [rows, pairs, 2] of nv12, nv21 and nv24 without a copy."""
    height, width, step = message.height, message.width, message.step
    rows, chroma_bytes, chroma_step = _chroma(height, width, step, layout)
    luma: NDArray[np.uint8] = np.ndarray((height, width), np.uint8, message.data, 0, (step, 1))
    shape, strides = (rows, chroma_bytes // 2, 2), (chroma_step, 2, 1)
    return luma, np.ndarray(shape, np.uint8, message.data, step * height, strides)


def _pairs(message: Any, channels: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """The even and the odd rows without a copy, both [H / 2, W / 2, channels], two pixels together."""
    shape, strides = (message.height // 2, message.width // 2, channels), (2 * message.step, channels, 1)
    even: NDArray[np.uint8] = np.ndarray(shape, np.uint8, message.data, 0, strides)
    return even, np.ndarray(shape, np.uint8, message.data, message.step, strides)


def _chroma(height: int, width: int, step: int, layout: Layout) -> tuple[int, int, int]:
    """Rows, bytes a row and step of the second plane; an odd last column or row of nv12 and nv21 has chroma too."""
    if layout.full_chroma:
        return height, 2 * width, 2 * step
    row_bytes = width + width % 2
    return (height + 1) // 2, row_bytes, max(step, row_bytes)


def to_camera_model(message: Any, rectified: bool = False) -> CameraModel:
    """A CameraInfo message as the model of the image as it is sent. rectified: whether that image is the rectified one.

    Raises SegPerceptionError where it is not calibrated.
    """
    roi = message.roi
    return CameraModel.from_matrices(
        message.width,
        message.height,
        message.distortion_model,
        list(message.d),
        list(message.k),
        list(message.r),
        list(message.p),
        binning=(message.binning_x, message.binning_y),
        roi=(roi.x_offset, roi.y_offset, roi.width, roi.height),
        rectified=rectified,
    )
