"""Depth that is believed and depth that is not, at the very limits, in small pictures."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from seg_perception.camera_model import CameraModel, CameraPose
from seg_perception.ground.depth import EMPTY, UNITS, DepthProblem, DepthReader
from seg_perception.ground.geometry import GroundProjection
from seg_perception.labels import CAMVID
from seg_perception.results import Depth

ROAD, SKY = (CAMVID.by_name(name).id for name in ("road", "sky"))
HW = (400, 400)
CAMERA = CameraModel(400, 400, ((200.0, 0, 199.5), (0, 200.0, 199.5), (0, 0, 1)))
LOOKED = np.s_[::8, ::8]
"""2,500 of the pixels are looked at."""


def looking(height_m: float = 1.5) -> GroundProjection:
    return GroundProjection(CAMERA, CameraPose(0.0, 0.0, height_m, pitch=0.6), HW)


def flat_depth(height_m: float = 1.5) -> NDArray[np.float64]:
    """How far ahead flat ground is; 1 m where none is seen."""
    rows, columns = np.mgrid[: HW[0], : HW[1]]
    ups = looking().pixels_to_rays(np.column_stack((columns.ravel(), rows.ravel())))[:, 2].reshape(HW)
    return np.where(ups < -1e-3, height_m / np.maximum(-ups, 1e-9), 1.0)


def cause(metres: NDArray[np.floating], mask: NDArray[np.uint8], height_m: float = 1.5) -> str | None:
    found = DepthReader(CAMVID.drivable_costs).read(Depth(metres.astype(np.float32)), mask, looking(height_m))
    if isinstance(found, DepthProblem):
        return found.cause
    np.testing.assert_array_equal(found, metres.astype(np.float32))
    return None


def full(label: int) -> NDArray[np.uint8]:
    return np.full(HW, label, np.uint8)


@pytest.mark.parametrize(("known", "found"), [(24, EMPTY), (25, None), (26, None)])
def test_a_hundredth_of_what_is_looked_at_must_be_known(known: int, found: str | None) -> None:
    for nothing in (math.nan, 0.0, -1.0, math.inf):
        metres = np.full(HW, nothing)
        looked = metres[LOOKED].ravel()
        looked[:known] = 5.0
        metres[LOOKED] = looked.reshape(50, 50)
        assert cause(metres, full(SKY)) == found


def test_only_every_eighth_row_and_column_is_looked_at() -> None:
    metres = np.full(HW, 5.0)
    metres[LOOKED] = math.nan
    assert cause(metres, full(SKY)) == EMPTY


@pytest.mark.parametrize(
    ("times", "found"), [(1.0, None), (2.95, None), (3.05, UNITS), (1 / 2.95, None), (1 / 3.05, UNITS)]
)
def test_ground_is_three_times_as_far_away_at_most(times: float, found: str | None) -> None:
    assert cause(flat_depth() * times, full(ROAD)) == found


@pytest.mark.parametrize(
    ("metres", "found"), [(0.04, UNITS), (0.06, None), (0.9, None), (1.1, None), (199.0, None), (201.0, UNITS)]
)
def test_without_ground_half_of_it_must_be_where_a_camera_sees(metres: float, found: str | None) -> None:
    assert cause(np.full(HW, metres), full(SKY)) == found


@pytest.mark.parametrize(("pixels", "found"), [(19, None), (20, UNITS)])
def test_a_few_pixels_of_ground_tell_nothing(pixels: int, found: str | None) -> None:
    mask = full(SKY)
    looked = mask[LOOKED].ravel()
    looked[-pixels:] = ROAD
    mask[LOOKED] = looked.reshape(50, 50)
    assert cause(flat_depth() * 4, mask) == found


@pytest.mark.parametrize(("away_m", "found"), [(14.9, UNITS), (15.1, None)])
def test_only_ground_that_is_near_tells(away_m: float, found: str | None) -> None:
    """One row of road, as far away as a camera of such a height has it."""
    height_m = away_m / flat_depth(1.0)[200, 0]
    mask = full(SKY)
    mask[200] = ROAD
    assert cause(flat_depth(height_m) * 4, mask, height_m) == found


def test_what_is_above_the_horizon_tells_nothing() -> None:
    """Wrong labels up there, where the depth is 40 times as large as on the ground: only that counts which can be ground."""
    falls = flat_depth() != 1.0
    mask = full(ROAD)
    assert 0.05 < (~falls).mean() < 0.5
    assert cause(np.where(falls, flat_depth(), 40.0), mask) is None
    assert cause(np.where(falls, np.nan, 5.0), mask) is None, "without any ground"


def test_masks_of_another_size_follow_one_another() -> None:
    reader = DepthReader(CAMVID.drivable_costs)
    for side in (400, 200, 400):
        projection = GroundProjection(CAMERA, CameraPose(0.0, 0.0, 1.5, pitch=1.0), (side, side))
        found = reader.read(Depth(np.full(HW, 5.0, np.float32)), np.full((side, side), SKY, np.uint8), projection)
        assert not isinstance(found, DepthProblem) and found.shape == (side, side)
