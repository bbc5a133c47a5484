"""Filters of constant velocity of points on the ground, for many tracks at once.

Velocities change by white noise of spectral density q, which in dt adds q [[dt^3/3, dt^2/2], [dt^2/2, dt]] to the covariance
of position and velocity (Bar-Shalom, Li & Kirubarajan, "Estimation with Applications to Tracking and Navigation", 2001,
section 6.2.2). So nothing depends on the frame rate, and frames may be missing.
"""

from __future__ import annotations

import numpy as np

from seg_perception.camera_model import Floats

_WANDER = np.stack(
    [np.kron(part, np.eye(2)) for part in (((1, 0), (0, 0)), ((0, 1), (1, 0)), ((0, 0), (0, 1)))], axis=-1
)
"""Where a point's covariance has the noise of position, of both and of velocity, [4, 4, 3]."""


def predict_ground(state: Floats, covariance: Floats, dt_s: float, q: float) -> tuple[Floats, Floats]:
    """States [N, 4] = x, y, vx, vy in m and m/s, and covariances [N, 4, 4], dt_s later; q: m^2/s^3 per axis."""
    step = np.eye(4)
    step[0, 2] = step[1, 3] = dt_s
    noise = _WANDER @ (q * dt_s**3 / 3, q * dt_s**2 / 2, q * dt_s)
    return state @ step.T, step @ covariance @ step.T + noise


def update_ground(state: Floats, covariance: Floats, measured: Floats, noise: Floats) -> tuple[Floats, Floats, Floats]:
    """States and covariances after measuring positions [N, 2] with covariances [N, 2, 2]; and how far off each was, as the
    squared distance in standard deviations [N] (Mahalanobis), which is chi-square distributed of two degrees."""
    innovation = covariance[:, :2, :2] + noise
    inverse = _inverse(innovation)
    off = measured - state[:, :2]
    gain = covariance[:, :, :2] @ inverse
    distance = ((inverse @ off[:, :, None])[:, :, 0] * off).sum(axis=1)
    updated = covariance - gain @ covariance[:, :2, :]
    updated = (updated + updated.transpose(0, 2, 1)) / 2
    return state + (gain @ off[:, :, None])[:, :, 0], updated, distance


def _inverse(matrices: Floats) -> Floats:
    """Of symmetric matrices [N, 2, 2]: for so few numbers LAPACK is called for longer than it works."""
    a, b, d = matrices[:, 0, 0], matrices[:, 0, 1], matrices[:, 1, 1]
    inverse: Floats = np.stack((d, -b, -b, a), axis=-1).reshape(-1, 2, 2)
    return inverse / (a * d - b * b)[:, None, None]
