"""Follows the camera's pitch while the vehicle nods: straight, parallel road borders meet at the horizon."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
from numba import njit
from numpy.typing import NDArray

from seg_perception.geometry import Floats, GroundProjection, rotation
from seg_perception.labels import VOID, LabelSet

PITCH_CORRECTIONS = ("off", "vanishing_point")
"""What DrivableSettings.pitch_correction may be."""

TIME_CONSTANT_FRAMES = 2.0
"""Of the first-order filter: a nod takes about a second, so a slower one would come too late to help."""
RELAX_FRAMES = 30.0
"""Time constant of the way back to the calibrated pitch while no frame shows where the horizon is."""
LARGEST_RAD = math.radians(3.0)
"""A horizon farther off than a vehicle nods is taken for a wrong one."""
STEP_RAD = math.radians(0.05)
"""Maps are made again only for a change of at least this much, 1 % of the distance at 20 m from 1.5 m height."""

_ROWS = 64
_FEWEST_ROWS = 12
_TOP_FALL = 0.06
"""Rows begin this far below the calibrated horizon, as a ray's fall: lower than LARGEST_RAD can raise the ground."""
_TOLERANCE_PX = 3.0
_STRAIGHT_SHARE = 0.7
"""Share of a border's points that must lie within _TOLERANCE_PX of its line."""
_LEAST_OPENING = 0.5
"""How much the lines' directions differ at least: the road's width in camera heights."""


class PitchCorrection:
    """Estimates how far the pitch is off the calibrated one, from the masks of one camera."""

    def __init__(self, labels: LabelSet) -> None:
        costs = labels.drivable_costs
        cheapest = min((c.drivable_cost for c in labels.drivable), default=0)
        self._is_road = (costs >= 0) & (costs == cheapest)
        known = np.arange(256) < len(labels)
        # Beside a car or an unlabelled pixel the road goes on behind it: that is no border.
        self._is_beside = known & ~self._is_road & ~labels.is_thing
        assert not self._is_beside[VOID]
        self.pitch_rad = 0.0
        self._nominal: GroundProjection | None = None
        self._corrected: tuple[float, GroundProjection] | None = None
        self._rows = np.empty(0, np.int32)
        self._borders = np.empty((_ROWS, 2))

    def corrected(self, nominal: GroundProjection, mask: NDArray[np.uint8]) -> GroundProjection:
        """nominal with the pitch that this mask (uint8 [H, W]) and those before it show; the same object as before while
        that has moved by less than STEP_RAD."""
        if nominal is not self._nominal or self._corrected is None:
            self._nominal, self._corrected = nominal, (0.0, nominal)
            self._rows = _rows(nominal)
        seen = self._measure(nominal, mask)
        if seen is None:
            self.pitch_rad *= math.exp(-1 / RELAX_FRAMES)
        else:
            self.pitch_rad += (seen - self.pitch_rad) * (1 - math.exp(-1 / TIME_CONSTANT_FRAMES))
        if len(self._rows) and abs(self.pitch_rad - self._corrected[0]) >= STEP_RAD:
            pose = replace(nominal.pose, pitch=nominal.pose.pitch + self.pitch_rad)
            self._corrected = (self.pitch_rad, GroundProjection(nominal.camera, pose, nominal.image_hw))
        return self._corrected[1]

    def _measure(self, nominal: GroundProjection, mask: NDArray[np.uint8]) -> float | None:
        """How far the nose is lower than calibrated, rad; None where the borders do not tell."""
        borders = self._borders[: len(self._rows)]
        find_borders(mask, self._is_road, self._is_beside, self._rows, borders)
        lines = []
        for side in (0, 1):
            kept = np.isfinite(borders[:, side])
            rays = nominal.pixels_to_rays(np.column_stack((borders[kept, side], self._rows[kept])))
            rays = rays @ rotation(0.0, 0.0, nominal.pose.yaw)
            line = straight_line(
                rays[:, 2] / rays[:, 0], rays[:, 1] / rays[:, 0], _TOLERANCE_PX / nominal.lens.numbers.fx
            )
            if line is None:
                return None
            lines.append(line)
        (left, left_slope), (right, right_slope) = lines
        if right_slope - left_slope < _LEAST_OPENING:
            return None
        pitch = math.atan((left - right) / (right_slope - left_slope))
        return pitch if abs(pitch) <= LARGEST_RAD else None


def _rows(projection: GroundProjection) -> NDArray[np.int32]:
    """The rows to look at: from _TOP_FALL below the horizon, where the camera looks, to the image's last; may be none."""
    ray = rotation(0.0, 0.0, projection.pose.yaw) @ (1.0, 0.0, -_TOP_FALL) @ projection.base_from_optical
    if ray[2] <= 0:
        return np.empty(0, np.int32)
    top = float(projection.lens.to_pixels(ray[:2] / ray[2])[0, 1])
    bottom = projection.image_hw[0] - 1
    if not top <= bottom - _FEWEST_ROWS:
        return np.empty(0, np.int32)
    return np.unique(np.linspace(max(top, 0.0), bottom, _ROWS).astype(np.int32))


def straight_line(t: Floats, s: Floats, tolerance: float) -> tuple[float, float] | None:
    """(a, b) of s = a + b t through points t, s [K]; None where fewer than _FEWEST_ROWS points or less than
    _STRAIGHT_SHARE of them lie within tolerance of one.

    Repeated median (Siegel, Biometrika 1982), which up to half of the points may mislead, then least squares on the
    points near it.
    """
    count = len(t)
    if count < _FEWEST_ROWS:
        return None
    others = ~np.eye(count, dtype=np.bool_)
    rise, run = (np.subtract.outer(v, v)[others].reshape(count, count - 1) for v in (s, t))
    slope = float(np.median(np.median(rise / run, axis=1)))
    near = np.abs(s - slope * t - np.median(s - slope * t)) <= tolerance
    if near.mean() < _STRAIGHT_SHARE or near.sum() < _FEWEST_ROWS:
        return None
    t, s = t[near], s[near]
    middle = float(t.mean())
    slope = float(np.dot(t - middle, s) / np.dot(t - middle, t - middle))
    return float(s.mean()) - slope * middle, slope


@njit(cache=True, nogil=True)
def find_borders(
    mask: NDArray[np.uint8],
    is_road: NDArray[np.bool_],
    is_beside: NDArray[np.bool_],
    rows: NDArray[np.int32],
    out: NDArray[np.float64],
) -> None:
    """Where the outermost road of each row of mask [H, W] ends, px (left, right), into out [K, 2].

    is_road, is_beside: by class id. NaN where the row has no road, or where its end is the image's or has a neighbour
    that is not beside the road.
    """
    width = mask.shape[1]
    for i in range(rows.shape[0]):
        line = mask[rows[i]]
        out[i] = np.nan
        left = 0
        while left < width and not is_road[line[left]]:
            left += 1
        if left == width:
            continue
        right = width - 1
        while not is_road[line[right]]:
            right -= 1
        if left > 0 and is_beside[line[left - 1]]:
            out[i, 0] = left - 0.5
        if right < width - 1 and is_beside[line[right + 1]]:
            out[i, 1] = right + 0.5
