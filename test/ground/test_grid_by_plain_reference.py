"""The grid of random masks, for cameras of every model in any mounting, held against a slow reference in plain NumPy: no cell is
free whose ground was not seen, or that something on its way to the camera hides."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from seg_perception.camera_model import CameraModel, CameraPose
from seg_perception.ground.drivable import DrivableExtractor, DrivableSettings
from seg_perception.labels import CAMVID, UNSEEN_LABEL, VOID
from seg_perception.results import Panoptic, Wants

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
    """Where places on the ground [..., 2] are seen, by the models' definitions; NaN where they are not."""
    points = np.concatenate((places, np.zeros((*places.shape[:-1], 1))), axis=-1) - (pose.x, pose.y, pose.z)
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


@pytest.mark.parametrize("seed", range(40))
def test_no_cell_is_free_that_was_not_seen_or_is_hidden(seed: int) -> None:
    rng = np.random.default_rng(seed)
    camera, pose = camera_of(rng), pose_of(rng)
    hw = (camera.height, camera.width)
    mask = mask_of(rng, hw)
    settings = DrivableSettings(
        grid_length_m=9, grid_width_m=9, grid_near_m=-4.5, resolution_m=0.2, range_max_m=8.0, look_ahead_m=()
    )
    extractor = DrivableExtractor(CAMVID, settings)
    extractor.set_camera(camera, pose, hw)
    if extractor.ground_problem:
        assert "no ground" in extractor.ground_problem or "lens" in extractor.ground_problem
        return
    panoptic = Panoptic(mask, np.zeros(hw, np.uint16), np.full(hw, 200, np.uint8), ())
    grid = extractor.extract(panoptic, Wants(areas=False)).grid
    assert grid is not None and extractor.projection is not None
    row, column = np.nonzero((grid.cells >= 0) & (grid.cells < 100))
    middles = (np.column_stack((column, row)) + 0.5) * grid.resolution_m + grid.origin_m
    limit = math.sqrt(extractor.projection.lens.numbers.slope_limit_squared)

    seen = labels_around(mask, pixels_of(camera, pose, middles, limit))
    assert (COSTS[seen] == grid.cells[row, column][:, None]).any(axis=1).all(), "free, and not seen to be"

    foot, share = np.array((pose.x, pose.y)), np.linspace(0, 1, SAMPLES)[:, None]
    ways = foot + (middles - foot)[:, None] * share
    pixels = pixels_of(camera, pose, ways, limit)
    around = labels_around(mask, pixels)
    stands = ((COSTS[around] < 0) & (around != UNSEEN_LABEL)).all(axis=-1)
    # What hides is surely before a cell that is some pixels farther out.
    with np.errstate(invalid="ignore"):
        is_before = np.hypot(*np.moveaxis(pixels - pixels[:, -1:], -1, 0)) > 4
    is_before &= np.hypot(*(middles - foot).T)[:, None] * (1 - share[:, 0]) > 0.1
    assert not (stands & is_before).any(), "free behind what stands"
