"""Where the feet of things are on the ground, how sure that is, and how they move there."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from seg_perception.camera_model import Floats
from seg_perception.ground.geometry import GroundProjection
from seg_perception.ground.odometry import PlanarPose
from seg_perception.labels import NOT_GROUND, LabelSet
from seg_perception.panoptic.relabel import Told

_STEP_PX = 0.5
"""Over which the slope of the ground under a pixel is taken."""
_BELOW_PX = 6.0
"""Where a lens shows nothing so far below, as beyond a fisheye's circle, things are cut off."""
_FARTHEST_M = 150.0
"""Beyond, a pixel is tens of metres."""
_UPRIGHT = frozenset(
    (
        *("vegetation", "tree", "hedge", "building", "wall", "bridge", "tunnel"),
        *("fence", "guard rail", "barrier", "pole", "traffic cone"),
        *("street light", "traffic light", "traffic sign", "sign", "billboard"),
    )
)
_GROUND = frozenset(
    ("road", "marking", "bike lane", "parking", "rail track", "sidewalk", "curb", "terrain", "water", "mountain")
)
"""Classes by what they are called or cover: what hides the feet of who stands behind it, and what one may stand on."""

FASTEST_THING_M_S = 70.0
"""No thing on a road is faster."""
_FASTEST_OF_M_S = {
    **dict.fromkeys(("person", "pedestrian", "animal"), 13.0),
    **dict.fromkeys(("bicycle", "bicyclist"), 25.0),
}
"""What moves by its own strength, by what classes are called or cover; all else may be a vehicle, or ride one."""


def fastest_speeds(labels: LabelSet, told: Told | None = None) -> Floats:
    """float64 [256], m/s over the ground: nothing of a class, or of what it covers, is faster. labels, told: as hiding_classes has
    them."""
    fastest = np.full(256, FASTEST_THING_M_S)
    for label in labels.classes:
        fastest[label.id] = max(_FASTEST_OF_M_S.get(name, FASTEST_THING_M_S) for name in (label.name, *label.covers))
    if told is not None and told.table is not None:  # several under one name are as fast as the fastest of them
        np.maximum.at(fastest, told.table[: len(labels)], fastest[: len(labels)].copy())
    return fastest


def hiding_classes(labels: LabelSet, told: Told | None = None) -> NDArray[np.bool_]:
    """bool [256]: classes that are no ground, and stand upright: below a thing they hide its foot. One that is of both, as
    CamVid's tree is grass too, hides nothing. labels: the network's; told: as the masks tell them, None = as they are."""
    told = told or Told(labels)
    hides = np.zeros(256, np.bool_)
    for label in labels.classes:
        words = {label.name, *label.covers}
        hides[label.id] = bool(words & _UPRIGHT) and not words & _GROUND and not label.thing
    hides &= told.labels.drivable_costs == NOT_GROUND
    if told.table is not None:  # several under one name hide where each does
        np.logical_and.at(hides, told.table, hides.copy())
    return hides


def feet_on_ground(projection: GroundProjection, feet_px: Floats, sigma_px: Floats) -> tuple[Floats, Floats]:
    """Ground points [K, 2] in m of pixels [K, 2] (x, y), and their covariances [K, 2, 2] where the pixels have standard
    deviations [K, 2]; NaN where there is no ground, or it is too far away, or the lens' picture ends there."""
    count = len(feet_px)
    steps = ((0.0, 0.0), (-_STEP_PX, 0.0), (_STEP_PX, 0.0), (0.0, -_STEP_PX), (0.0, _STEP_PX), (0.0, _BELOW_PX))
    moved = feet_px[:, None] + np.array(steps)
    points = projection.pixels_to_ground(moved.reshape(-1, 2)).reshape(count, len(steps), 2)
    slopes = (points[:, (2, 4)] - points[:, (1, 3)]).transpose(0, 2, 1) / (2 * _STEP_PX)
    scaled = slopes * sigma_px[:, None, :]
    place, noise = points[:, 0], scaled @ scaled.transpose(0, 2, 1)
    with np.errstate(invalid="ignore"):
        usable = np.hypot(place[:, 0] - projection.position[0], place[:, 1] - projection.position[1]) < _FARTHEST_M
    usable &= np.isfinite(noise).all(axis=(1, 2)) & np.isfinite(points[:, 5]).all(axis=1)
    return np.where(usable[:, None], place, np.nan), np.where(usable[:, None, None], noise, np.nan)


def in_odometry(pose: PlanarPose, places: Floats, noise: Floats) -> tuple[Floats, Floats]:
    """Points [K, 2] of the base frame and their covariances [K, 2, 2] in the odometry frame."""
    turn = _turn(pose)
    return places @ turn.T + (pose.x, pose.y), turn @ noise @ turn.T


def from_odometry(pose: PlanarPose, places: Floats) -> Floats:
    """Points [K, 2] of the odometry frame in the base frame."""
    found: Floats = (places - (pose.x, pose.y)) @ _turn(pose)
    return found


def _turn(pose: PlanarPose) -> Floats:
    """From the base frame's axes to the odometry frame's, [2, 2]."""
    return np.array(((math.cos(pose.yaw), -math.sin(pose.yaw)), (math.sin(pose.yaw), math.cos(pose.yaw))))
