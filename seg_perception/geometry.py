"""Camera model, its pose over the ground, and the way between pixels and the flat ground z = 0 of the base frame."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import astuple, dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from seg_perception.errors import SegPerceptionError, nearest_name

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
"""How far beyond the image's corners, in ray slope, a lens model is trusted: farther out polynomials fold back."""


@dataclass(frozen=True)
class CameraModel:
    """A calibrated camera. width, height: px of the calibrated image. K: 3x3, rows of numbers (fx 0 cx; 0 fy cy; 0 0 1)
    in px, pixel centres at whole numbers. distortion: coefficients of distortion_model in ROS's order, empty = none.

    Raises SegPerceptionError when the numbers cannot be those of a camera.
    """

    width: int
    height: int
    K: Sequence[Sequence[float]] | NDArray[Any]
    distortion_model: str = "plumb_bob"
    distortion: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        numbers = np.array(self.K, np.float64)
        if numbers.size != 9:
            raise SegPerceptionError(
                f"the camera matrix has {numbers.size} numbers: 9 are needed, calibrate the camera"
            )
        matrix = numbers.reshape(3, 3)
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
        if not np.isfinite(matrix).all() or not np.isfinite(values).all():
            raise SegPerceptionError("the camera's calibration holds numbers that are not finite: calibrate the camera")
        if matrix[0, 0] <= 0 or matrix[1, 1] <= 0:
            raise SegPerceptionError(
                f"the focal length is {matrix[0, 0]:g}, {matrix[1, 1]:g} px: the camera is not calibrated, calibrate it"
            )
        # Tuples, so that two models can be compared to tell whether maps must be made again.
        object.__setattr__(self, "K", tuple(tuple(row) for row in matrix.tolist()))
        object.__setattr__(self, "distortion_model", model)
        object.__setattr__(self, "distortion", values)

    @staticmethod
    def from_matrices(
        width: int,
        height: int,
        distortion_model: str,
        d: Sequence[float],
        k: Sequence[float],
        r: Sequence[float],
        p: Sequence[float],
    ) -> CameraModel:
        """From the plain values of a CameraInfo that describes a raw (unrectified) image: d, k [9], r [9], p [12].

        r and p describe the rectified image, which is not what the node sees, and are not used. Raises
        SegPerceptionError as the constructor does.
        """
        del r, p
        return CameraModel(int(width), int(height), np.array(k, np.float64), distortion_model, tuple(d))


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


class GroundProjection:
    """Between pixels of an image of image_hw = (height, width) and the ground, for one camera and pose.

    An image of another size than the calibrated one is taken as scaled. Raises SegPerceptionError when the camera is
    not above the ground or sees none of it.
    """

    def __init__(self, camera: CameraModel, pose: CameraPose, image_hw: tuple[int, int]) -> None:
        if not np.isfinite(astuple(pose)).all():
            raise SegPerceptionError("the camera's pose holds numbers that are not finite: give x y z roll pitch yaw")
        if pose.z <= 0:
            raise SegPerceptionError(
                f"the camera's pose is {pose.z:g} m above the ground: its height must be positive, mend camera_pose or TF"
            )
        self.camera, self.pose, self.image_hw = camera, pose, image_hw
        self.position: Floats = np.array((pose.x, pose.y, pose.z))
        self.base_from_optical = pose.base_from_optical()
        self._matrix = _scaled_matrix(camera, image_hw)
        self._distortion: Floats = np.array(camera.distortion or (0.0,) * 4)
        self._fisheye = camera.distortion_model in ("fisheye", "equidistant")
        self.is_distorted = self._fisheye or bool(np.any(self._distortion))
        self._slope_limit = math.inf
        border = _border(image_hw)
        slopes = self._undistort(border)
        if self.is_distorted and np.isfinite(slopes).any():
            self._slope_limit = float(np.nanmax(np.hypot(slopes[:, 0], slopes[:, 1]))) * _LENS_SLACK
        if not np.isfinite(self.pixels_to_ground(border)).any():
            raise SegPerceptionError(
                "the camera sees no ground, only what is above the horizon: mend its pitch or roll"
            )

    def pixels_to_rays(self, points: NDArray[Any]) -> Floats:
        """Directions in the base frame, float64 [K, 3] (not of unit length), of pixels [K, 2] (x, y); NaN where the
        lens model has no ray for a pixel."""
        slopes = self._undistort(np.asarray(points, np.float64).reshape(-1, 2))
        return np.column_stack((slopes, np.ones(len(slopes)))) @ self.base_from_optical.T

    def pixels_to_ground(self, points: NDArray[Any]) -> Floats:
        """Where pixels [K, 2] (x, y) meet the ground, float64 [K, 2] in m; NaN at and above the horizon."""
        rays = self.pixels_to_rays(points)
        fall = -rays[:, 2]
        falls = fall > _HORIZON * np.linalg.norm(rays, axis=1)
        scale = np.where(falls, self.position[2] / np.where(falls, fall, 1.0), np.nan)
        result: Floats = self.position[:2] + rays[:, :2] * scale[:, None]
        return result

    def ground_to_pixels(self, points: NDArray[Any]) -> Floats:
        """Pixels, float64 [K, 2] (x, y), of ground points [K, 2] in m; they may lie outside the image. NaN behind the
        camera and where the lens model does not reach."""
        ground = np.asarray(points, np.float64).reshape(-1, 2)
        seen = (np.column_stack((ground, np.zeros(len(ground)))) - self.position) @ self.base_from_optical
        ahead = seen[:, 2] > 1e-6
        slopes = seen[:, :2] / np.where(ahead, seen[:, 2], 1.0)[:, None]
        ahead &= np.hypot(slopes[:, 0], slopes[:, 1]) <= self._slope_limit
        pixels = np.full((len(ground), 2), np.nan)
        if ahead.any():
            pixels[ahead] = self._distort(slopes[ahead])
        return pixels

    def _distort(self, slopes: Floats) -> Floats:
        if not self.is_distorted:
            k = self._matrix
            return slopes * (k[0, 0], k[1, 1]) + (k[0, 2], k[1, 2]) + slopes[:, 1:] * (k[0, 1], 0.0)
        objects = np.column_stack((slopes, np.ones(len(slopes)))).reshape(-1, 1, 3)
        project = cv2.fisheye.projectPoints if self._fisheye else cv2.projectPoints
        pixels, _ = project(objects, np.zeros(3), np.zeros(3), self._matrix, self._distortion)
        return np.asarray(pixels, np.float64).reshape(-1, 2)

    def _undistort(self, pixels: Floats) -> Floats:
        """Slopes (x/z, y/z) of the rays, [K, 2]; NaN where the inverse of the lens model was not found."""
        k = self._matrix
        if not self.is_distorted:
            y = (pixels[:, 1] - k[1, 2]) / k[1, 1]
            return np.column_stack(((pixels[:, 0] - k[0, 2] - k[0, 1] * y) / k[0, 0], y))
        if not len(pixels):
            return pixels
        points = np.ascontiguousarray(pixels).reshape(-1, 1, 2)
        if self._fisheye:
            slopes = cv2.fisheye.undistortPoints(points, k, self._distortion)
        else:
            enough = (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, 60, 1e-9)
            # OpenCV 5 dropped the name of the call with a criterion and gave its argument to the other.
            if hasattr(cv2, "undistortPointsIter"):
                slopes = cv2.undistortPointsIter(points, k, self._distortion, np.eye(3), np.eye(3), enough)
            else:
                slopes = cv2.undistortPoints(points, k, self._distortion, criteria=enough)
        slopes = np.asarray(slopes, np.float64).reshape(-1, 2)
        # Both solvers return something even where they did not converge, so hold the way back against the way there.
        astray = ~(np.abs(self._distort(slopes) - pixels).max(axis=1) < 0.1)
        slopes[astray] = np.nan
        return slopes


def _scaled_matrix(camera: CameraModel, image_hw: tuple[int, int]) -> Floats:
    """K for an image of another size: pixel centres lie at whole numbers, so it is the corner that stays fixed."""
    scale = np.array((image_hw[1] / camera.width, image_hw[0] / camera.height))
    matrix = np.array(camera.K, np.float64)
    matrix[0, :2] *= scale[0]
    matrix[1, 1] *= scale[1]
    matrix[:2, 2] = (matrix[:2, 2] + 0.5) * scale - 0.5
    return matrix


def _border(image_hw: tuple[int, int], steps: int = 64) -> Floats:
    """Points around an image, on the outer edges of its pixels, [4 * steps, 2]."""
    height, width = image_hw
    x, y = np.linspace(-0.5, width - 0.5, steps), np.linspace(-0.5, height - 0.5, steps)
    left, right, top, bottom = (np.full(steps, v) for v in (-0.5, width - 0.5, -0.5, height - 0.5))
    return np.vstack([np.column_stack(pair) for pair in ((x, top), (x, bottom), (left, y), (right, y))])
