"""The grid of random masks, for cameras of every model in any mounting, held against a slow reference in plain NumPy: no cell is
free whose ground was not seen, or that something on its way to the camera hides."""

from __future__ import annotations

import math

import numpy as np
import pytest
from plain_ground import COSTS, are_hidden, camera_of, labels_around, mask_of, pixels_of, pose_of

from seg_perception.ground.drivable import DrivableExtractor, DrivableSettings
from seg_perception.labels import CAMVID
from seg_perception.results import Panoptic, Wants


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

    assert not are_hidden(mask, camera, pose, middles, limit).any(), "free behind what stands"
