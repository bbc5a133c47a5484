"""Random cameras of every model in any mounting and random masks, and what such a camera sees of the ground: the slow way, in plain
NumPy, by the models' definitions."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from seg_perception.camera_model import CameraModel, CameraPose
from seg_perception.labels import CAMVID, UNSEEN_LABEL, VOID

COSTS = CAMVID.drivable_costs.astype(int)
GROUND = [label.id for label in CAMVID.drivable]
OTHERS = [CAMVID.by_name(name).id for name in ("car", "pole", "building", "sky")]
SAMPLES = 120
Floats = NDArray[np.float64]


def camera_of(rng: np.random.Generator) -> CameraModel:
    """Of any model, any size and a centre that is anywhere near the image's."""
    width, height = (
        16 * int(n) if rng.random() < 0.3 else int(16 * n + rng.integers(16)) for n in rng.integers(2, 10, 2)
    )
    focal = float(rng.uniform(0.25, 1.0)) * min(width, height)
    x, y = ((width - 1) / 2, (height - 1) / 2) + rng.normal(size=2) * rng.choice((0, 5))
    model, values = (
        ("plumb_bob", ()),
        ("plumb_bob", (-0.2 * rng.random(), 0.04, 0.002, -0.001, 0.0)),
        ("rational_polynomial", tuple(rng.normal(size=8) * 0.04)),
        ("equidistant", tuple(rng.normal(size=4) * 0.01)),
    )[rng.integers(4)]
    return CameraModel(width, height, ((focal, 0, x), (0, focal, y), (0, 0, 1)), model, values)


def pose_of(rng: np.random.Generator) -> CameraPose:
    """Upright, tilted and rolled, upside down, straight down, or looking up."""
    roll, pitch = (
        (0.0, rng.uniform(0, 0.6)),
        (rng.normal() * 0.2, rng.uniform(-0.2, 1.2)),
        (rng.uniform(-3.1, 3.1), rng.uniform(-1.5, 1.5)),
        (0.0, math.pi / 2),
        (0.0, rng.uniform(-1.4, 0)),
    )[rng.integers(5)]
    x, y = rng.normal(size=2) * rng.choice((0, 0.5))
    return CameraPose(x, y, float(rng.uniform(0.4, 3)), float(roll), float(pitch), float(rng.uniform(-3, 3)))


def mask_of(rng: np.random.Generator, hw: tuple[int, int]) -> NDArray[np.uint8]:
    """Chequered in any scale, or ground with a few patches."""
    side = int(rng.choice((4, 8, 16, 40)))
    labels = np.array(GROUND * 2 + OTHERS + [VOID], np.uint8)
    mask = np.kron(rng.choice(labels, (-(-hw[0] // side), -(-hw[1] // side))), np.ones((side, side), np.uint8))
    mask = np.ascontiguousarray(mask[: hw[0], : hw[1]])
    if rng.random() < 0.7:
        mask[:] = GROUND[0]
        for _ in range(rng.integers(1, 8)):
            v, u, tall, wide = rng.integers(0, (*hw, 30, 30))
            mask[v : v + tall + 1, u : u + wide + 1] = rng.choice(labels)
    return mask


def pixels_of(camera: CameraModel, pose: CameraPose, places: Floats, slope_limit: float) -> Floats:
    """Where places on the ground [..., 2], or anywhere [..., 3], are seen, by the models' definitions; NaN where they are not."""
    heights = np.zeros((*places.shape[:-1], 3 - places.shape[-1]))
    points = np.concatenate((places, heights), axis=-1) - (pose.x, pose.y, pose.z)
    right, down, ahead = np.moveaxis(points @ pose.base_from_optical(), -1, 0)
    k = np.zeros(14)
    k[: len(camera.distortion)] = camera.distortion
    with np.errstate(all="ignore"):
        x, y = right / ahead, down / ahead
        r2 = x * x + y * y
        if camera.distortion_model == "equidistant":
            angle = np.arctan(np.sqrt(r2))
            a2 = angle**2
            bent = angle * (1 + a2 * (k[0] + a2 * (k[1] + a2 * (k[2] + a2 * k[3]))))
            share = np.where(r2 > 0, bent / np.sqrt(r2), 1.0)
            u, v = x * share, y * share
        else:
            share = (1 + k[0] * r2 + k[1] * r2**2 + k[4] * r2**3) / (1 + k[5] * r2 + k[6] * r2**2 + k[7] * r2**3)
            u = x * share + 2 * k[2] * x * y + k[3] * (r2 + 2 * x * x)
            v = y * share + k[2] * (r2 + 2 * y * y) + 2 * k[3] * x * y
        (fx, _, cx), (_, fy, cy), _ = camera.K
        found = np.stack((fx * u + cx, fy * v + cy), axis=-1)
        found[~((ahead > 1e-6) & (np.sqrt(r2) <= slope_limit))] = np.nan
    return found


def labels_around(mask: NDArray[np.uint8], pixels: Floats) -> NDArray[np.uint8]:
    """Of the 3x3 pixels around each place in the image, [..., 9]; UNSEEN_LABEL beside it."""
    framed = np.pad(mask, 2, constant_values=UNSEEN_LABEL)
    limits = np.array(mask.shape[::-1]) + 1
    at = np.where(
        np.isfinite(pixels), np.clip(np.rint(np.nan_to_num(pixels, posinf=-9, neginf=-9)), -1, limits - 1), -1
    )
    at = np.where((at < 0).any(axis=-1, keepdims=True), -1, at).astype(int) + 2
    return np.stack([framed[at[..., 1] + y, at[..., 0] + x] for y in (-1, 0, 1) for x in (-1, 0, 1)], axis=-1)


def are_hidden(
    mask: NDArray[np.uint8], camera: CameraModel, pose: CameraPose, places: Floats, slope_limit: float
) -> NDArray[np.bool_]:
    """Which of the places on the ground [P, 2] surely have something between them and the camera, some pixels before them."""
    foot, share = np.array((pose.x, pose.y)), np.linspace(0, 1, SAMPLES)[:, None]
    pixels = pixels_of(camera, pose, foot + (places - foot)[:, None] * share, slope_limit)
    around = labels_around(mask, pixels)
    stands = ((COSTS[around] < 0) & (around != UNSEEN_LABEL)).all(axis=-1)
    with np.errstate(invalid="ignore"):
        is_before = np.hypot(*np.moveaxis(pixels - pixels[:, -1:], -1, 0)) > 4
    is_before &= np.hypot(*(places - foot).T)[:, None] * (1 - share[:, 0]) > 0.1
    hidden: NDArray[np.bool_] = (stands & is_before).any(axis=1)
    return hidden
