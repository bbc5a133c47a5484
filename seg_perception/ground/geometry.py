"""Camera model, its pose over the ground, and the way between pixels and the flat ground z = 0 of the base frame."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import astuple, dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seg_perception.errors import SegPerceptionError, nearest_name
from seg_perception.ground.kernels import FISHEYE, PINHOLE, POLYNOMIAL, LensNumbers, bend, project, unbend

Floats = NDArray[np.float64]

OPTICAL_FROM_BODY: Floats = np.array(((0.0, -1, 0), (0, 0, -1), (1, 0, 0)))
"""Rotation from body axes (x forward, y left, z up) to optical axes (x right, y down, z forward)."""

_COEFFICIENTS = {
    "plumb_bob": (0, 4, 5),
    "rational_polynomial": (0, 8, 12, 14),
    "fisheye": (0, 4),
    "equidistant": (0, 4),
}
_HORIZON = 1e-4
"""A ray that falls by less than this share of its length is taken to miss the ground (10 km at 1 m height)."""
_LENS_SLACK = 1.02
"""How far beyond the image's corners, in ray slope, a lens model is trusted: there it was not calibrated."""
_STEEPEST = 20.0
"""Slope of the rays, 87 degrees off the axis, up to which it is looked whether a lens model folds back."""
_STRAIGHT = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0))


@dataclass(frozen=True)
class CameraModel:
    """A calibrated camera. width, height: px of the calibrated image. K: 3x3, rows of numbers (fx 0 cx; 0 fy cy; 0 0 1)
    in px, pixel centres at whole numbers. distortion: coefficients of distortion_model in ROS's order, empty = none.
    rectification: 3x3 rotation from the camera's optical axes to those of the image (ROS's R of a rectified image).

    Raises SegPerceptionError when the numbers cannot be those of a camera.
    """

    width: int
    height: int
    K: Sequence[Sequence[float]] | NDArray[Any]
    distortion_model: str = "plumb_bob"
    distortion: tuple[float, ...] = ()
    rectification: Sequence[Sequence[float]] | NDArray[Any] = _STRAIGHT

    def __post_init__(self) -> None:
        matrix = _three_by_three("camera matrix", self.K)
        turn = _three_by_three("rectification matrix", self.rectification)
        model = self.distortion_model or "plumb_bob"
        if model not in _COEFFICIENTS:
            raise SegPerceptionError(f"there is no distortion model '{model}': {nearest_name(model, _COEFFICIENTS)}")
        values = tuple(float(value) for value in self.distortion)
        if len(values) not in _COEFFICIENTS[model]:
            allowed = " or ".join(map(str, _COEFFICIENTS[model]))
            raise SegPerceptionError(
                f"distortion model {model} came with {len(values)} coefficients: {allowed} are needed"
            )
        if self.width < 1 or self.height < 1:
            raise SegPerceptionError(f"the calibrated image is {self.width}x{self.height} px: calibrate the camera")
        if not all(np.isfinite(numbers).all() for numbers in (matrix, turn, values)):
            raise SegPerceptionError("the camera's calibration holds numbers that are not finite: calibrate the camera")
        if matrix[0, 0] <= 0 or matrix[1, 1] <= 0:
            raise SegPerceptionError(
                f"the focal length is {matrix[0, 0]:g}, {matrix[1, 1]:g} px: the camera is not calibrated, calibrate it"
            )
        if np.abs(turn @ turn.T - np.eye(3)).max() > 1e-3:
            raise SegPerceptionError("the rectification matrix R is no rotation: calibrate the camera")
        # Tuples, so that two models can be compared to tell whether maps must be made again.
        object.__setattr__(self, "K", tuple(tuple(row) for row in matrix.tolist()))
        object.__setattr__(self, "distortion_model", model)
        object.__setattr__(self, "distortion", values)
        object.__setattr__(self, "rectification", tuple(tuple(row) for row in turn.tolist()))

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
        which p and r describe, rather than the raw one of k and d. p's fourth column is where another camera is and is
        not used. The model that comes out is that of the image as it is sent. Raises SegPerceptionError as the
        constructor does, and when the region does not lie in the image.
        """
        if not rectified:
            size, matrix = _as_sent(int(width), int(height), _three_by_three("camera matrix", k), binning, roi)
            return CameraModel(*size, matrix, distortion_model, tuple(d))
        if len(p) != 12 or not np.any(p):
            raise SegPerceptionError(
                "camera_info has no P, which describes rectified images: calibrate the camera, or let image_rectified "
                "be false"
            )
        left = np.array(p, np.float64).reshape(3, 4)[:, :3]
        size, matrix = _as_sent(int(width), int(height), left, binning, roi)
        # A driver that knows of no stereo partner leaves R zero.
        return CameraModel(*size, matrix, rectification=np.array(r, np.float64) if np.any(r) else _STRAIGHT)


def _three_by_three(name: str, values: Sequence[Sequence[float]] | Sequence[float] | NDArray[Any]) -> Floats:
    numbers = np.array(values, np.float64)
    if numbers.size != 9:
        raise SegPerceptionError(f"the {name} has {numbers.size} numbers: 9 are needed, calibrate the camera")
    return numbers.reshape(3, 3)


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
    return (columns // bins[0], rows // bins[1]), _scaled(cut, 1 / bins[0], 1 / bins[1])


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

    def base_from_optical(self) -> Floats:
        """Rotation [3, 3] from optical axes to those of the base frame."""
        return rotation(self.roll, self.pitch, self.yaw) @ OPTICAL_FROM_BODY.T


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


class Lens:
    """Between pixels of an image of image_hw = (height, width) and rays of a camera; other sizes are taken as scaled.

    numbers: the same for kernels. border_slopes: of the rays along the image's outer edges, float64 [K, 2], NaN where
    there is none. Lenses of equal arguments can be shared: `of` keeps the latest ones.
    """

    def __init__(self, camera: CameraModel, image_hw: tuple[int, int]) -> None:
        k = _scaled(np.array(camera.K), image_hw[1] / camera.width, image_hw[0] / camera.height)
        values = np.zeros(14)
        values[: len(camera.distortion)] = camera.distortion
        model = FISHEYE if camera.distortion_model in ("fisheye", "equidistant") else POLYNOMIAL
        if model == POLYNOMIAL and not values.any():
            model = PINHOLE
        self.is_distorted = model != PINHOLE
        fx, fy, cx, cy = map(float, (k[0, 0], k[1, 1], k[0, 2], k[1, 2]))
        self.numbers = LensNumbers(model, fx, fy, cx, cy, tuple(values.tolist()), _tilt(*values[12:]), math.inf)
        if self.is_distorted:
            self.numbers = self.numbers._replace(slope_limit_squared=self._fold() ** 2)
        self.border_slopes = self.to_slopes(_border(image_hw))
        squares = (self.border_slopes**2).sum(axis=1)
        if self.is_distorted and np.isfinite(squares).any():
            limit = min(self.numbers.slope_limit_squared, float(np.nanmax(squares)) * _LENS_SLACK**2)
            self.numbers = self.numbers._replace(slope_limit_squared=limit)

    def _fold(self) -> float:
        """The least slope along the image's axes at which a steeper ray meets the image no farther out; else inf."""
        slopes = np.linspace(0.0, _STEEPEST, 4001)
        folds = [math.inf]
        for way in ((1, 0), (-1, 0), (0, 1), (0, -1)):
            back = np.flatnonzero(np.diff(self.to_pixels(np.outer(slopes, way)) @ way) <= 0)
            folds += [float(slopes[back[0]])] if len(back) else []
        return min(folds)

    @staticmethod
    @lru_cache(maxsize=16)
    def of(camera: CameraModel, image_hw: tuple[int, int]) -> Lens:
        """The lens of a camera; the same object while it is asked for again."""
        return Lens(camera, image_hw)

    def to_slopes(self, pixels: NDArray[Any]) -> Floats:
        """Slopes (x / z, y / z) of the rays in the image's optical axes, float64 [K, 2], of pixels [K, 2] (x, y); NaN
        where the lens has no ray."""
        points = np.ascontiguousarray(pixels, np.float64).reshape(-1, 2)
        slopes = np.empty_like(points)
        unbend(points, self.numbers, slopes)
        return slopes

    def to_pixels(self, slopes: NDArray[Any]) -> Floats:
        """Pixels (x, y), float64 [K, 2], of rays by their slopes [K, 2]; far outside the image they may be wrong."""
        points = np.ascontiguousarray(slopes, np.float64).reshape(-1, 2)
        pixels = np.empty_like(points)
        bend(points, self.numbers, pixels)
        return pixels


class GroundProjection:
    """Between pixels of an image of image_hw = (height, width) and the ground, for one camera and pose.

    An image of another size than the calibrated one is taken as scaled. base_from_optical: rotation [3, 3] from the
    image's optical axes to the base frame; position: the camera in the base frame, m [3]; to_optical [3, 3]: takes
    (x, y, 1) on the ground to the point in optical axes, m. Raises SegPerceptionError when the camera is not above the
    ground or sees none of it.
    """

    def __init__(self, camera: CameraModel, pose: CameraPose, image_hw: tuple[int, int]) -> None:
        if not np.isfinite(astuple(pose)).all():
            raise SegPerceptionError("the camera's pose holds numbers that are not finite: give x y z roll pitch yaw")
        if pose.z <= 0:
            raise SegPerceptionError(
                f"the camera's pose is {pose.z:g} m above the ground: its height must be positive, mend camera_pose or TF"
            )
        self.camera, self.pose, self.image_hw = camera, pose, image_hw
        self.lens = Lens.of(camera, image_hw)
        self.is_distorted = self.lens.is_distorted
        self.position: Floats = np.array((pose.x, pose.y, pose.z))
        self.base_from_optical: Floats = pose.base_from_optical() @ np.array(camera.rectification).T
        optical_from_base = self.base_from_optical.T
        self.to_optical: Floats = np.column_stack((optical_from_base[:, :2], -optical_from_base @ self.position))
        if not np.isfinite(self._to_ground(self._turned(self.lens.border_slopes))).any():
            raise SegPerceptionError(
                "the camera sees no ground, only what is above the horizon: mend its pitch or roll"
            )

    def pixels_to_rays(self, points: NDArray[Any]) -> Floats:
        """Directions in the base frame, float64 [K, 3] (not of unit length), of pixels [K, 2] (x, y); NaN where the
        lens model has no ray for a pixel."""
        return self._turned(self.lens.to_slopes(points))

    def pixels_to_ground(self, points: NDArray[Any]) -> Floats:
        """Where pixels [K, 2] (x, y) meet the ground, float64 [K, 2] in m; NaN at and above the horizon."""
        return self._to_ground(self.pixels_to_rays(points))

    def ground_to_pixels(self, points: NDArray[Any]) -> Floats:
        """Pixels, float64 [K, 2] (x, y), of ground points [K, 2] in m; they may lie outside the image. NaN behind the
        camera and where the lens model does not reach."""
        ground = np.ascontiguousarray(points, np.float64).reshape(-1, 2)
        pixels = np.empty_like(ground)
        project(ground, self.to_optical, self.lens.numbers, pixels)
        return pixels

    def _turned(self, slopes: Floats) -> Floats:
        return slopes @ self.base_from_optical[:, :2].T + self.base_from_optical[:, 2]

    def _to_ground(self, rays: Floats) -> Floats:
        fall = -rays[:, 2]
        falls = fall > _HORIZON * np.linalg.norm(rays, axis=1)
        scale = np.where(falls, self.position[2] / np.where(falls, fall, 1.0), np.nan)
        result: Floats = self.position[:2] + rays[:, :2] * scale[:, None]
        return result


def _tilt(tau_x: float, tau_y: float) -> tuple[float, ...]:
    """What a sensor tilted by these angles (rad) does to distorted slopes, 3 x 3 row by row (OpenCV's calib3d, Louhichi
    et al. 2007)."""
    cx, sx, cy, sy = math.cos(tau_x), math.sin(tau_x), math.cos(tau_y), math.sin(tau_y)
    turn = np.array(((cy, sx * sy, -cx * sy), (0.0, cx, sx), (sy, -sx * cy, cx * cy)))
    onto = np.array(((turn[2, 2], 0.0, -turn[0, 2]), (0.0, turn[2, 2], -turn[1, 2]), (0.0, 0.0, 1.0)))
    return tuple((onto @ turn).ravel().tolist())


def _scaled(matrix: Floats, x: float, y: float) -> Floats:
    """A camera matrix for an image scaled by x, y: pixel centres lie at whole numbers, so it is the corner that stays."""
    scaled = matrix.copy()
    scaled[0, 0] *= x
    scaled[1, 1] *= y
    scaled[:2, 2] = (matrix[:2, 2] + 0.5) * (x, y) - 0.5
    return scaled


def _border(image_hw: tuple[int, int], steps: int = 64) -> Floats:
    """Points around an image, on the outer edges of its pixels, [4 * steps, 2]."""
    height, width = image_hw
    x, y = np.linspace(-0.5, width - 0.5, steps), np.linspace(-0.5, height - 0.5, steps)
    left, right, top, bottom = (np.full(steps, v) for v in (-0.5, width - 0.5, -0.5, height - 0.5))
    return np.vstack([np.column_stack(pair) for pair in ((x, top), (x, bottom), (left, y), (right, y))])
