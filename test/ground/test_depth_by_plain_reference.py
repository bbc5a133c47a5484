"""Ground that slopes any way, with depth that has holes or is in millimetres, before cameras of every model in any mounting, held
against the models' definitions in plain NumPy."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray
from plain_ground import camera_of, pixels_of, pose_of

from seg_perception.ground.drivable import DrivableExtractor, DrivableSettings
from seg_perception.ground.geometry import GroundProjection
from seg_perception.ground.metric_outlines import FlatImage
from seg_perception.labels import CAMVID
from seg_perception.results import Depth, Panoptic, Wants

ROAD, SKY = (CAMVID.by_name(name).id for name in ("road", "sky"))
RANGE_M = 8.0
FARTHEST_M = 60.0


Floats = NDArray[np.float64]


def slope_before(projection: GroundProjection, climb: tuple[float, float]) -> tuple[NDArray[np.uint8], Floats, Floats]:
    """Mask, depth in m, and how far from under the camera in m, of ground that rises by climb (m a m, along x and y) from the base
    frame's origin on."""
    rows, columns = np.mgrid[: projection.image_hw[0], : projection.image_hw[1]]
    rays = projection.pixels_to_rays(np.column_stack((columns.ravel(), rows.ravel())))
    up = np.array((-climb[0], -climb[1], 1.0))
    with np.errstate(divide="ignore", invalid="ignore"):
        times = -(up @ projection.position) / (rays @ up)
        away = times * np.hypot(rays[:, 0], rays[:, 1])
        times[~((times > 0) & (away < FARTHEST_M))] = np.nan
    depth = (times * (rays @ projection.base_from_optical[:, 2])).reshape(projection.image_hw)
    return np.where(np.isfinite(depth), ROAD, SKY).astype(np.uint8), depth, away.reshape(projection.image_hw)


def as_sent(rng: np.random.Generator, depth: NDArray[np.float64]) -> Depth:
    """In mm, or in m with holes of any kind."""
    if rng.random() < 0.4:
        return Depth((np.nan_to_num(depth).clip(0, 65) * 1000).astype(np.uint16))
    holes = rng.random(depth.shape) < rng.choice((0.0, 0.2))
    return Depth(np.where(holes, rng.choice((math.nan, 0.0, math.inf, -math.inf, -1.0)), depth).astype(np.float32))


@pytest.mark.parametrize("seed", range(40))
def test_sloping_ground_is_where_depth_has_it(seed: int) -> None:
    rng = np.random.default_rng(seed)
    camera, pose = camera_of(rng), pose_of(rng)
    hw = (camera.height, camera.width)
    settings = DrivableSettings(
        grid_length_m=9, grid_width_m=9, grid_near_m=-4.5, resolution_m=0.2, range_max_m=RANGE_M
    )
    extractor = DrivableExtractor(CAMVID, settings)
    extractor.set_camera(camera, pose, hw)
    if extractor.projection is None:
        return
    climb = float(rng.uniform(-0.12, 0.12)), float(rng.uniform(-0.12, 0.12))
    mask, exact, away = slope_before(extractor.projection, climb)
    depth = as_sent(rng, exact)
    panoptic = Panoptic(mask, np.zeros(hw, np.uint16), np.full(hw, 200, np.uint8), ())
    found = extractor.extract(panoptic, Wants(points=True), depth)
    if extractor.depth_problem is not None:
        assert (mask == ROAD).mean() < 0.02, extractor.depth_problem
        return
    assert found.points is not None and found.grid is not None and found.free_space is not None

    told = np.stack([found.points[axis] for axis in "xyz"], axis=-1).astype(np.float64)
    known = FlatImage.of(extractor.projection.lens, hw).known
    measured = np.isfinite(depth.values) & (depth.values > 0) & (mask == ROAD)
    measured &= np.ones(hw, np.bool_) if known is None else known > 0
    places = told[measured & np.isfinite(told[..., 0])]
    off_m = places[:, 2] - places[:, 0] * climb[0] - places[:, 1] * climb[1]
    assert np.abs(off_m).max(initial=0) < 0.02  # a mm along the optical axis, of rays far from it
    limit = math.sqrt(extractor.projection.lens.numbers.slope_limit_squared) * 1.001
    rows, columns = np.nonzero(measured & np.isfinite(told[..., 0]))
    seen_at = pixels_of(camera, pose, places, limit)
    assert np.abs(seen_at - np.column_stack((columns, rows))).max(initial=0) < 0.05
    assert np.isfinite(told[measured & (away < RANGE_M - 0.1)]).all(), "what is within the range has a place"

    assert not (found.grid.cells == 100).any(), "nothing stands there"
    assert all(np.isfinite(ring.points).all() for area in found.areas for ring in area.outlines_ground)
