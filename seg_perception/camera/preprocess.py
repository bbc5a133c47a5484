"""Camera image to network input. The whole image is squeezed to the network's size, without a border, so that the way
back to camera pixels is a pure scale. Normalisation happens inside the model."""

from __future__ import annotations

import math
from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray

from seg_perception.errors import SegPerceptionError
from seg_perception.raw_image import Mix, Plane
from seg_perception.results import Frame

Size = tuple[int, int]
"""(height, width) in px."""


class Preprocessor:
    """Resizes frames within buffers that are made once per camera size. size_hw: the network's input (height, width), or
    what tells it by the image's.

    A bilinear sample reads 2x2 pixels, so shrinking more than twofold would skip some and alias. Then a side goes
    bilinearly to 2, 4, … times the network's and is halved from there: as smooth as cv2.INTER_AREA (0.7 grey
    levels rms apart from 1280x720 to 480x352) in less than half its time. A side that grows does so at the end, so that
    no step has more pixels than the image, and the time is linear in those whatever its shape.

    What the camera sent is resized as it is and converted to RGB at the network's size, unless that is the larger one.
    Where the picture is smooth, this is at most 4 grey levels (rms: less than 1) from resizing RGB, because chroma in 8
    bit counts twice; single pixels that stand out may differ more, as conversion at full size gives neighbours one
    chroma, invents two of three colours of a Bayer pixel and cuts off what lies beyond 0 and 255.
    """

    def __init__(self, size_hw: Size | Callable[[Size], Size]) -> None:
        self._size_for = size_hw if callable(size_hw) else lambda image_hw: size_hw
        self._image_hw = self._size_hw = (0, 0)
        self._images = self._scratch = np.zeros((0, 0, 0, 3), np.uint8)
        self._shapes: list[tuple[int, ...]] = []
        self._steps: list[list[Plane]] = []

    def __call__(self, frame: Frame) -> NDArray[np.uint8]:
        """uint8 [1, h, w, 3] RGB at the network's size: a buffer that the next call overwrites.

        Raises SegPerceptionError when the frame has no pixels.
        """
        if frame.size_hw != self._image_hw:
            self._fit(frame.size_hw)
        planes, mix = self._source(frame)
        shapes = [plane.shape for plane in planes]
        if shapes != self._shapes:
            self._steps = [self._buffers(shape) for shape in shapes]
            self._shapes = shapes
        rgb = self._images[0]
        if mix is None:
            _resize(planes[0], [*self._steps[0][:-1], rgb])
        else:
            mix([_resize(plane, steps) for plane, steps in zip(planes, self._steps)], self._scratch, rgb)
        return self._images

    def _fit(self, image_hw: Size) -> None:
        """Make ready for images of another size."""
        if 0 in image_hw:
            raise no_pixels(image_hw)
        size_hw = self._size_for(image_hw)
        if size_hw != self._size_hw:
            self._size_hw, self._shapes = size_hw, []
            self._images = np.zeros((1, *size_hw, 3), np.uint8)
            self._scratch = np.zeros((2, *size_hw, 3), np.uint8)
        self._image_hw = image_hw

    def _source(self, frame: Frame) -> tuple[tuple[Plane, ...], Mix | None]:
        """What to resize, and how to make RGB of it; None where it is RGB."""
        image = frame.pixels
        if isinstance(image, np.ndarray):
            return (image,), None
        height, width = image.planes[0].shape[:2]
        if height < self._size_hw[0] or width < self._size_hw[1]:
            return (frame.rgb,), None
        return image.planes, image.mix

    def _buffers(self, shape: tuple[int, ...]) -> list[Plane]:
        """What a plane becomes, step by step."""
        plane_hw = (shape[0], shape[1])
        if 0 in plane_hw:
            raise no_pixels(plane_hw)
        return [np.zeros((*step, *shape[2:]), np.uint8) for step in _steps(plane_hw, self._size_hw)]


def no_pixels(image_hw: tuple[int, int]) -> SegPerceptionError:
    """The error of an image of which a side is 0."""
    return SegPerceptionError(
        f"the image is {image_hw[1]}x{image_hw[0]}: check the camera's driver, it sends no pixels"
    )


def halvings(source: int, target: int) -> int:
    """How often a side is halved after the bilinear resize, so that this shrinks at most twofold."""
    return max(0, math.ceil(math.log2(source / target)) - 1)


def _steps(source_hw: Size, target_hw: Size) -> list[Size]:
    """The sizes that an image goes through, the last is target_hw."""
    sides = list(zip(source_hw, target_hw))
    counts = [halvings(*side) for side in sides]
    steps = [
        tuple(min(source, target << min(i, count)) for (source, target), count in zip(sides, counts))
        for i in range(max(counts), 0, -1)
    ]
    return [*((height, width) for height, width in steps), target_hw]


def _resize(source: Plane, steps: list[Plane]) -> Plane:
    """The last of steps, each a resize of the one before; halving bilinearly is the mean of 2x2."""
    for target in steps:
        cv2.resize(source, (target.shape[1], target.shape[0]), dst=target, interpolation=cv2.INTER_LINEAR)
        source = target
    return source
