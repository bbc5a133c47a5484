"""Follows the camera's pitch while the vehicle nods: straight, parallel road borders meet at the horizon."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from seg_perception.camera_model import Floats, rotation
from seg_perception.compiled import compiled
from seg_perception.ground.geometry import GroundProjection
from seg_perception.ground.metric_outlines import FlatImage
from seg_perception.labels import UNSEEN_LABEL, LabelSet

PITCH_CORRECTIONS = ("off", "vanishing_point")
"""What DrivableSettings.pitch_correction may be."""

TIME_CONSTANT_FRAMES = 1.0
"""Of the first-order filter: a nod takes about a second, so a much slower one would come too late to help."""
RELAX_FRAMES = 30.0
"""Time constant of the way back to the calibrated pitch while no frame shows where the horizon is."""
LARGEST_RAD = math.radians(3.0)
"""A horizon farther off than a vehicle nods is taken for a wrong one."""
STEP_RAD = math.radians(0.05)
"""Maps are made again only for a change of at least this much, 1 % of the distance at 20 m from 1.5 m height."""

_ROWS = 96
_FEWEST_POINTS = 8
_TOP_FALL = 0.06
"""Rows begin this far below the calibrated horizon, as a ray's fall: lower than LARGEST_RAD can raise the ground."""
_TOLERANCE = 0.007
_STRAIGHT_SHARE = 0.7
"""Share of a border's points that must lie within _TOLERANCE, a ray's slope, of a straight line: what a network's masks
stray at most."""
_NOISE = 0.001
"""A border is never known better than this, as a ray's slope: a pixel of 1280 that see 70 degrees."""
_SURE_RAD = math.radians(0.1)
"""Standard deviation of the pitch beyond which a frame says nothing: borders too short, too rough or nearly parallel."""
_LARGEST_CURVATURE = 1 / 250
"""Of a road, 1/m; the horizon of one that bends more is refused."""


class PitchCorrection:
    """Estimates how far the pitch is off the calibrated one, from the masks of one camera."""

    def __init__(self, labels: LabelSet) -> None:
        costs = labels.drivable_costs
        cheapest = min((c.drivable_cost for c in labels.drivable), default=0)
        self._is_road = (costs >= 0) & (costs == cheapest)
        known = np.arange(256) < len(labels)
        # Beside a car or an unlabelled pixel the road goes on behind it: that is no border.
        self._is_beside = known & ~self._is_road & ~labels.is_thing
        self.pitch_rad = 0.0
        self._nominal: GroundProjection | None = None
        self._corrected: tuple[float, GroundProjection] | None = None
        self._rows = np.empty(0, np.int32)
        self._known: NDArray[np.uint8] | None = None
        self._borders = np.empty((_ROWS, 2))

    def corrected(self, nominal: GroundProjection, mask: NDArray[np.uint8]) -> GroundProjection:
        """nominal with the pitch that this mask (uint8 [H, W]) and those before it show; the same object as before while
        that has moved by less than STEP_RAD."""
        if nominal is not self._nominal or self._corrected is None:
            self._nominal, self._corrected = nominal, (0.0, nominal)
            self._rows = _rows(nominal)
            self._known = FlatImage.of(nominal.lens, nominal.image_hw).known
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
        if self._known is not None:  # the rim of a lens' field is no border
            mask = np.where(self._known > 0, mask, np.uint8(UNSEEN_LABEL))
        borders = self._borders[: len(self._rows)]
        find_borders(mask, self._is_road, self._is_beside, self._rows, borders)
        sides = []
        for side in (0, 1):
            kept = np.isfinite(borders[:, side])
            rays = nominal.pixels_to_rays(np.column_stack((borders[kept, side], self._rows[kept])))
            rays = rays @ rotation(0.0, 0.0, nominal.pose.yaw)
            falls, across = rays[:, 2] / rays[:, 0], rays[:, 1] / rays[:, 0]
            near = near_a_line(falls, across, _TOLERANCE) & (falls < 0)
            if near.sum() < max(_FEWEST_POINTS, _STRAIGHT_SHARE * len(near)):
                return None
            sides.append((falls[near], across[near]))
        pitch, deviation, curvature = meeting_point(sides[0], sides[1], nominal.position[2], _NOISE)
        sure = deviation <= _SURE_RAD and abs(curvature) <= _LARGEST_CURVATURE and abs(pitch) <= LARGEST_RAD
        return pitch if sure else None


def _rows(projection: GroundProjection) -> NDArray[np.int32]:
    """The rows to look at: from _TOP_FALL below the horizon, where the camera looks, to the image's last; may be none."""
    ray = rotation(0.0, 0.0, projection.pose.yaw) @ (1.0, 0.0, -_TOP_FALL) @ projection.base_from_optical
    if ray[2] <= 0:
        return np.empty(0, np.int32)
    top = float(projection.lens.to_pixels(ray[:2] / ray[2])[0, 1])
    bottom = projection.image_hw[0] - 1
    if not top <= bottom - _FEWEST_POINTS:
        return np.empty(0, np.int32)
    return np.unique(np.linspace(max(top, 0.0), bottom, _ROWS).astype(np.int32))


def near_a_line(t: Floats, s: Floats, tolerance: float) -> NDArray[np.bool_]:
    """Which of the points t, s [K] lie within tolerance of the line s = a + b t that most of them show.

    Repeated median (Siegel, Biometrika 1982), which fewer than half of the points cannot mislead.
    """
    count = len(t)
    if count < 2:
        return np.zeros(count, np.bool_)
    others = ~np.eye(count, dtype=np.bool_)
    rise, run = (np.subtract.outer(v, v)[others].reshape(count, count - 1) for v in (s, t))
    off = s - float(np.median(np.median(rise / run, axis=1))) * t
    return np.abs(off - np.median(off)) <= tolerance


def meeting_point(
    left: tuple[Floats, Floats], right: tuple[Floats, Floats], height_m: float, noise: float
) -> tuple[float, float, float]:
    """Where the two borders of a road meet, from points on them as slopes (fall, across) of rays ahead, [K] each.

    Returns the angle over the horizon (rad), its standard deviation for points known to noise at best, and the road's
    curvature (1/m). Borders that do not meet ahead give a boundless deviation. A border at
    y = y0 + heading x + curvature x^2 / 2, seen from height h, is at
    across = heading - (y0 / h) fall - (curvature h / 2) / fall; least squares, heading apart for each side.
    """
    count = len(left[0])
    fall, across = (np.concatenate(pair) for pair in zip(left, right))
    matrix = np.zeros((len(fall), 5))
    for first, part in ((0, slice(None, count)), (2, slice(count, None))):
        matrix[part, first], matrix[part, first + 1] = 1.0, fall[part]
    matrix[:, 4] = 1 / fall
    inverse = np.linalg.pinv(matrix.T @ matrix)
    found = inverse @ (matrix.T @ across)
    spread = max(noise, float(np.sqrt(np.mean((across - matrix @ found) ** 2))))
    opening = min(found[1] - found[3], -1e-9)
    meet = (found[2] - found[0]) / opening
    way = np.array((-1.0, -meet, 1.0, meet, 0.0)) / opening
    return math.atan(meet), spread * math.sqrt(float(way @ inverse @ way)), -2 * float(found[4]) / height_m


@compiled
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
