"""A camera as it is calibrated, and where it is mounted."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seg_perception.distortion import known_distortion
from seg_perception.errors import SegPerceptionError

Floats = NDArray[np.float64]

OPTICAL_FROM_BODY: Floats = np.array(((0.0, -1, 0), (0, 0, -1), (1, 0, 0)))
"""Rotation from body axes (x forward, y left, z up) to optical axes (x right, y down, z forward)."""

NORM_TOLERANCE = 0.01
"""How far a quaternion's norm may be from 1, as tf2 itself has it."""
_VERTICAL = 1e-7
"""Of a view up or down, how far the way ahead may lie beside the vertical for its direction to be rounding only."""
_STRAIGHT = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0))
_LEAST_FOCAL, _MOST_SIDES = 1 / 50, 1000.0
"""A focal length below that share of the image's shorter side would be a view of 178 degrees, so it is in mm; neither it nor the
way to the principal point is so many times the longer side."""
_MOST_SKEW = 0.01
"""Share of the focal length; it is not modelled."""
_ROUNDING = 1e-6
"""By how much a computed matrix may be off where it is 0 or 1."""


@dataclass(frozen=True)
class CameraModel:
    """A calibrated camera. width, height: px of the calibrated image. K: 3x3, rows of numbers (fx 0 cx; 0 fy cy; 0 0 1)
    in px, pixel centres at whole numbers. distortion: coefficients of distortion_model in ROS's order, empty = none.
    rectification: 3x3 rotation from the camera's optical axes to those of the image (ROS's R of a rectified image).
    note: what was odd about the calibration, though it could be read; '' = nothing.

    Any name in distortion.py stands for its model: those of ROS come out.

    Raises SegPerceptionError when the numbers cannot be those of a camera.
    """

    width: int
    height: int
    K: Sequence[Sequence[float]] | NDArray[Any]
    distortion_model: str = "plumb_bob"
    distortion: tuple[float, ...] = ()
    rectification: Sequence[Sequence[float]] | NDArray[Any] = _STRAIGHT
    note: str = field(default="", compare=False)

    def __post_init__(self) -> None:
        matrix = _three_by_three("camera matrix", self.K)
        turn = _three_by_three("rectification matrix", self.rectification)
        if self.width < 1 or self.height < 1:
            raise SegPerceptionError(f"the calibrated image is {self.width}x{self.height} px: calibrate the camera")
        if not all(np.isfinite(numbers).all() for numbers in (matrix, turn)):
            raise SegPerceptionError("the camera's calibration holds numbers that are not finite: calibrate the camera")
        if matrix[0, 0] <= 0 or matrix[1, 1] <= 0:
            raise SegPerceptionError(
                f"the focal length is {matrix[0, 0]:g}, {matrix[1, 1]:g} px: the camera is not calibrated, calibrate it"
            )
        _check_matrix(matrix, (self.width, self.height))
        if np.abs(turn @ turn.T - np.eye(3)).max() > 1e-3 or np.linalg.det(turn) < 0:
            raise SegPerceptionError("the rectification matrix R is no rotation: calibrate the camera")
        model, values = known_distortion(self.distortion_model, self.distortion, matrix, (self.width, self.height))
        # Tuples, so that two models can be compared to tell whether maps must be made again.
        object.__setattr__(self, "K", tuple(tuple(row) for row in matrix.tolist()))
        object.__setattr__(self, "distortion_model", model)
        object.__setattr__(self, "distortion", values)
        object.__setattr__(self, "rectification", tuple(tuple(row) for row in turn.tolist()))

    @property
    def is_fisheye(self) -> bool:
        """Whether the lens is OpenCV's fisheye, else it is its polynomial."""
        return self.distortion_model in ("fisheye", "equidistant")

    def misfit(self, image_hw: tuple[int, int]) -> str | None:
        """Why an image of (height, width) px cannot be this camera's, in one sentence; None where it is one of its size,
        or scaled as a whole but for the rounding of its sides."""
        height, width = image_hw
        if is_scaled(image_hw, (self.width, self.height)):
            return None
        return (
            f"the image is {width}x{height} px and its camera_info is of {self.width}x{self.height} px, another shape: "
            "publish the calibration of this image, with its binning and region of interest where it has such"
        )

    @staticmethod
    def from_matrices(
        width: int,
        height: int,
        distortion_model: str,
        d: Sequence[float],
        k: Sequence[float],
        r: Sequence[float],
        p: Sequence[float],
        *,
        binning: tuple[int, int] = (0, 0),
        roi: tuple[int, int, int, int] = (0, 0, 0, 0),
        rectified: bool = False,
    ) -> CameraModel:
        """From the plain values of a CameraInfo: d, k [9], r [9], p [12], as sensor_msgs/CameraInfo defines them.

        binning: (x, y), 0 = 1. roi: (x_offset, y_offset, width, height) in px of the full image before binning, all 0 =
        the full image; a rectified image is cut at the same place. rectified: whether the image is the rectified one,
        which p and r describe, rather than the raw one of k and d; where k is all zeros it is taken to be, which the note
        says. p's fourth column is where another camera is and is not used. The model that comes out is that of the image
        as it is sent. Raises SegPerceptionError as the constructor does, and when the region does not lie in the image.
        """
        note = ""
        if not rectified and len(k) == 9 and not np.any(k) and len(p) == 12 and p[0] > 0 and p[5] > 0:
            rectified = True
            note = (
                "camera_info has no K but a P: the image is taken to be the rectified one that P describes; set "
                "image_rectified to say so"
            )
        if rectified and (len(p) != 12 or not np.any(p)):
            raise SegPerceptionError(
                "camera_info has no P, which describes rectified images: calibrate the camera, or let image_rectified "
                "be false"
            )
        whole_wh = int(width), int(height)
        whole = np.array(p, np.float64).reshape(3, 4)[:, :3] if rectified else _three_by_three("camera matrix", k)
        size, matrix = _as_sent(*whole_wh, whole, binning, roi)
        if rectified:
            # A driver that knows of no stereo partner leaves R zero.
            turn = np.array(r, np.float64) if np.any(r) else _STRAIGHT
            camera = CameraModel(*size, matrix, rectification=turn, note=note)
        else:
            camera = CameraModel(*size, matrix, distortion_model, tuple(d))
        if not np.any(whole[:2, 2]) and max(whole_wh) > 1:  # was never set; of a part, it may be the part's corner
            raise SegPerceptionError(_no_middle(0, 0, whole_wh))
        return camera


def is_scaled(image_hw: tuple[int, int], size_wh: tuple[int, int]) -> bool:
    """Whether an image of (height, width) px is one of (width, height) px scaled as a whole, but for the rounding of its
    sides."""
    height, width = image_hw
    low = max((width - 1) / size_wh[0], (height - 1) / size_wh[1])
    high = min((width + 1) / size_wh[0], (height + 1) / size_wh[1])
    return low < high


def _three_by_three(name: str, values: Sequence[Sequence[float]] | Sequence[float] | NDArray[Any]) -> Floats:
    numbers = np.array(values, np.float64)
    if numbers.size != 9:
        raise SegPerceptionError(f"the {name} has {numbers.size} numbers: 9 are needed, calibrate the camera")
    return numbers.reshape(3, 3)


def _check_matrix(matrix: Floats, size_wh: tuple[int, int]) -> None:
    """Raise SegPerceptionError where a matrix of finite numbers and positive focal lengths is none of an image of (width, height)
    px: what cannot be is told here, since metres on the ground would be wrong by it without a word."""
    (fx, skew, cx), (_, fy, cy) = matrix[:2].tolist()
    off = max(abs(matrix[1, 0]), np.abs(matrix[2] - (0, 0, 1)).max())
    if off > _ROUNDING or abs(skew) > _MOST_SKEW * fx:
        rows = "; ".join(" ".join(f"{number:g}" for number in row) for row in matrix.tolist())
        raise SegPerceptionError(
            f"the camera matrix is {rows}, where fx 0 cx; 0 fy cy; 0 0 1 is due: calibrate the camera"
        )
    longest = _MOST_SIDES * max(size_wh)
    if not _LEAST_FOCAL * min(size_wh) <= min(fx, fy) <= max(fx, fy) <= longest:
        raise SegPerceptionError(
            f"the focal length is {fx:g}, {fy:g} px for an image of {size_wh[0]}x{size_wh[1]} px, which no lens has: give it in "
            "px, not in mm, or calibrate the camera"
        )
    if max(abs(cx), abs(cy)) > longest:
        raise SegPerceptionError(_no_middle(cx, cy, size_wh))


def _no_middle(cx: float, cy: float, size_wh: tuple[int, int]) -> str:
    return (
        f"the camera's principal point is {cx:g}, {cy:g} px in an image of {size_wh[0]}x{size_wh[1]} px, where its middle is "
        "due: calibrate the camera"
    )


def _as_sent(
    width: int, height: int, matrix: Floats, binning: tuple[int, int], roi: tuple[int, int, int, int]
) -> tuple[tuple[int, int], Floats]:
    """Size (width, height) and camera matrix of the image that binning and region of interest leave."""
    x, y, columns, rows = roi if any(roi) else (0, 0, width, height)
    if x + columns > width or y + rows > height or (any(roi) and not (columns and rows)):
        raise SegPerceptionError(
            f"camera_info's region of interest, {columns}x{rows} px at {x}, {y}, does not lie in the calibrated image of "
            f"{width}x{height} px: mend the camera driver"
        )
    cut = matrix.copy()
    cut[:2, 2] -= x, y
    bins = max(binning[0], 1), max(binning[1], 1)
    return (columns // bins[0], rows // bins[1]), scaled_matrix(cut, 1 / bins[0], 1 / bins[1])


def scaled_matrix(matrix: Floats, x: float, y: float) -> Floats:
    """A camera matrix for an image scaled by x, y: pixel centres lie at whole numbers, so it is the corner that stays."""
    scaled = matrix.copy()
    scaled[0, 0] *= x
    scaled[1, 1] *= y
    scaled[:2, 2] = (matrix[:2, 2] + 0.5) * (x, y) - 0.5
    return scaled


@dataclass(frozen=True)
class CameraPose:
    """Where the camera's body (x forward, y left, z up) is in the base frame: x, y, z in m; roll, pitch (nose down
    positive), yaw (left positive) in rad, applied in this order about fixed axes."""

    x: float
    y: float
    z: float
    roll: float = 0.0
    pitch: float = 0.0
    yaw: float = 0.0

    @staticmethod
    def of_optical(position_m: Sequence[float] | Floats, base_from_optical: Floats) -> CameraPose:
        """The pose of a camera whose optical centre is at position_m, (x, y, z), and whose axes the rotation [3, 3] turns
        into the base frame's. Its angles give back that rotation wherever it looks, straight down and up included."""
        right, down, ahead = base_from_optical.T.tolist()
        level = math.hypot(ahead[0], ahead[1])
        roll, pitch, yaw = math.atan2(-right[2], -down[2]), math.atan2(-ahead[2], level), math.atan2(ahead[1], ahead[0])
        if level < _VERTICAL:
            # It looks straight down or up, where turns about x and z are the same: all is a turn about z.
            roll, yaw = 0.0, math.atan2(right[0], -right[1])
        x, y, z = map(float, position_m)
        return CameraPose(x, y, z, roll, pitch, yaw)

    def base_from_optical(self) -> Floats:
        """Rotation [3, 3] from optical axes to those of the base frame."""
        return rotation(self.roll, self.pitch, self.yaw) @ OPTICAL_FROM_BODY.T


def turned(quaternion_xyzw: Sequence[float] | Floats) -> Floats:
    """Rotation [3, 3] of a quaternion of length 1: its columns are the axes of the turned frame."""
    x, y, z, w = map(float, quaternion_xyzw)
    return np.array(
        (
            (1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)),
            (2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)),
            (2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)),
        )
    )


def rotation(roll: float, pitch: float, yaw: float) -> Floats:
    """Rotation [3, 3] by roll about x, then pitch about y, then yaw about z (fixed axes), rad."""
    cr, sr, cp, sp, cy, sy = (f(a) for a in (roll, pitch, yaw) for f in (math.cos, math.sin))
    return np.array(
        (
            (cy * cp, cy * sp * sr - sy * cr, cy * sp * cr + sy * sr),
            (sy * cp, sy * sp * sr + cy * cr, sy * sp * cr - cy * sr),
            (-sp, cp * sr, cp * cr),
        )
    )
