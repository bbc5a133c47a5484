"""Where a vehicle is by its odometry, and whether that can be."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_LARGEST_CHANGE_M_S, _LARGEST_TURN_RAD_S = 15.0, 4.0
"""No vehicle changes its speed by more between two frames: its odometry jumped."""
FASTEST_M_S = 100.0
"""No vehicle is faster."""


@dataclass(frozen=True)
class PlanarPose:
    """The base frame in the odometry frame: x, y in m, yaw in rad (left positive)."""

    x: float
    y: float
    yaw: float


class Odometry:
    """Watches where the vehicle is said to be. noise_m, noise_rad: by how much that is off though nothing jumped."""

    def __init__(self, noise_m: float = 0.0, noise_rad: float = 0.0) -> None:
        self._noise_m, self._noise_rad = noise_m, noise_rad
        self._before: PlanarPose | None = None
        self._speed: tuple[NDArray[np.float64], float] | None = None

    def jumped(self, pose: PlanarPose | None, dt_s: float) -> bool:
        """Whether the pose cannot have been reached from the last one in dt_s; None: it is not known."""
        before, speed = self._before, self._speed
        self._before, self._speed = pose, None
        if pose is None or before is None or dt_s <= 0:
            return False
        moved = np.array((pose.x - before.x, pose.y - before.y)) / dt_s
        turned = math.remainder(pose.yaw - before.yaw, 2 * math.pi) / dt_s
        self._speed = moved, turned
        if speed is None:
            jump = math.hypot(*moved) > FASTEST_M_S + self._noise_m / dt_s
        else:
            change_m_s, turn_rad_s = math.hypot(*(moved - speed[0])), abs(turned - speed[1])
            jump = change_m_s > _LARGEST_CHANGE_M_S + self._noise_m / dt_s
            jump |= turn_rad_s > _LARGEST_TURN_RAD_S + self._noise_rad / dt_s
        if jump:
            self._speed = None
        return jump
