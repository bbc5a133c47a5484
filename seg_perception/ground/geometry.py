"""The way between pixels, rays and the flat ground z = 0 of the base frame."""

from __future__ import annotations

import math
from dataclasses import astuple
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seg_perception.camera_model import CameraModel, CameraPose, Floats, scaled_matrix
from seg_perception.errors import SegPerceptionError
from seg_perception.ground.kernels import FISHEYE, PINHOLE, POLYNOMIAL, LensNumbers, bend, project, unbend

_HORIZON = 1e-4
"""A ray that falls by less than this share of its length is taken to miss the ground (10 km at 1 m height)."""
_LENS_SLACK = 1.02
"""How far beyond the image's corners, in ray slope, a lens model is trusted: there it was not calibrated."""
_STEEPEST = 20.0
"""Slope of the rays, 87 degrees off the axis, up to which it is looked whether a lens model folds back."""


class Lens:
    """Between pixels of an image of image_hw = (height, width) and rays of a camera; other sizes are taken as scaled.

    numbers: the same for kernels. view_slopes: of rays at points all over the image, to its outer edges (a lens' picture
    may be a circle within it), float64 [K, 2], NaN where there is none. Lenses of equal arguments can be shared: `of`
    keeps the latest ones.
    """

    def __init__(self, camera: CameraModel, image_hw: tuple[int, int]) -> None:
        k = scaled_matrix(np.array(camera.K), image_hw[1] / camera.width, image_hw[0] / camera.height)
        values = np.zeros(14)
        values[: len(camera.distortion)] = camera.distortion
        model = FISHEYE if camera.is_fisheye else POLYNOMIAL
        if model == POLYNOMIAL and not values.any():
            model = PINHOLE
        self.is_distorted = model != PINHOLE
        fx, fy, cx, cy = map(float, (k[0, 0], k[1, 1], k[0, 2], k[1, 2]))
        self.numbers = LensNumbers(model, fx, fy, cx, cy, tuple(values.tolist()), _tilt(*values[12:]), math.inf)
        if self.is_distorted:
            self.numbers = self.numbers._replace(slope_limit_squared=self._fold() ** 2)
        self.view_slopes = self.to_slopes(_view(image_hw))
        squares = (self.view_slopes**2).sum(axis=1)
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
    ground or sees none of it, or its lens has no ray for any part of the image.
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
        if not np.isfinite(self.lens.view_slopes).any():
            raise SegPerceptionError(
                "the whole image lies beyond the field of the camera's lens, as its distortion coefficients have it: "
                "calibrate the camera"
            )
        if not np.isfinite(self._to_ground(self._turned(self.lens.view_slopes))).any():
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


@lru_cache(maxsize=8)
def pixel_slopes(lens: Lens, image_hw: tuple[int, int]) -> NDArray[np.float32]:
    """Slopes of the rays of all pixels of an image of (height, width), float32 [H * W, 2]; NaN where the lens has none. The
    same array while it is asked for again: not to be written."""
    height, width = image_hw
    at = np.stack(np.meshgrid(np.arange(width), np.arange(height)), axis=-1)
    return lens.to_slopes(at).astype(np.float32)


def _tilt(tau_x: float, tau_y: float) -> tuple[float, ...]:
    """What a sensor tilted by these angles (rad) does to distorted slopes, 3 x 3 row by row (OpenCV's calib3d, Louhichi
    et al. 2007)."""
    cx, sx, cy, sy = math.cos(tau_x), math.sin(tau_x), math.cos(tau_y), math.sin(tau_y)
    turn = np.array(((cy, sx * sy, -cx * sy), (0.0, cx, sx), (sy, -sx * cy, cx * cy)))
    onto = np.array(((turn[2, 2], 0.0, -turn[0, 2]), (0.0, turn[2, 2], -turn[1, 2]), (0.0, 0.0, 1.0)))
    return tuple((onto @ turn).ravel().tolist())


def _view(image_hw: tuple[int, int], steps: int = 64) -> Floats:
    """Points of an image, [steps**2, 2], from the outer edges of its pixels on one side to those on the other."""
    height, width = image_hw
    x, y = np.linspace(-0.5, width - 0.5, steps), np.linspace(-0.5, height - 0.5, steps)
    return np.stack(np.meshgrid(x, y), axis=-1).reshape(-1, 2)
