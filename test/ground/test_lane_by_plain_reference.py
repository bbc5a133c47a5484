"""How far random masks are free ahead and to both sides, for cameras of every model in any mounting, above the lane and beside it,
held against a slow reference in plain NumPy: nothing is told to be of a class that is not seen to be, or that something on its
way to the camera hides."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from plain_ground import Floats, are_hidden, camera_of, labels_around, mask_of, pixels_of, pose_of

from seg_perception.ground.drivable import DrivableExtractor, DrivableSettings
from seg_perception.ground.metric_outlines import FlatImage
from seg_perception.labels import CAMVID, UNSEEN_LABEL
from seg_perception.results import DrivableArea, Panoptic, Wants

RANGE_M = 8.0
SLACK_M = 0.06
"""More than what samples along the ways are apart."""
TOLD_WRONG_ONCE = (92, 105, 179, 195, 210, 264, 297, 299)


def told_places(area: DrivableArea, width_m: float) -> Floats:
    """Places [P, 2] that are told to be of the area's class: along the lane, and to both sides."""
    places = [np.empty((0, 2))]
    across = np.linspace(-width_m / 2, width_m / 2, 9)
    for reach, lines in ((area.free_distance_m, np.zeros(1)), (area.free_distance_width_m, across)):
        if reach > 0:
            x = np.arange(area.view_begins_m + SLACK_M, min(reach, RANGE_M) - SLACK_M, 0.07)
            places.append(np.stack(np.meshgrid(x, lines), axis=-1).reshape(-1, 2))
    for edge in area.edges:
        for side, reach in ((1, edge.left_m), (-1, edge.right_m)):
            if reach > 0:  # where nothing ends it, it is told to be of the class where it begins
                y = side * np.append(0.0, np.arange(0.05, reach - SLACK_M if reach < math.inf else 0, 0.05))
                places.append(np.column_stack((np.full(len(y), edge.ahead_m), y)))
    return np.concatenate(places)


@pytest.mark.parametrize("seed", [*range(30), *TOLD_WRONG_ONCE])
def test_nothing_is_told_of_the_lane_that_was_not_seen_or_is_hidden(seed: int) -> None:
    rng = np.random.default_rng(seed)
    camera, pose = camera_of(rng), pose_of(rng)
    x, y, yaw = (
        rng.choice((0.0, 0.0, 2.0, -1.0)),
        rng.choice((0.0, 0.0, 1.5, -2.0, 0.3)),
        rng.choice((0.0, 0.0, 0.3, 1.0)),
    )
    pose = replace(pose, x=pose.x + x, y=pose.y + y, yaw=pose.yaw * yaw)
    hw, mask = (camera.height, camera.width), mask_of(rng, (camera.height, camera.width))
    width_m = float(rng.choice((0.6, 1.8, 3.0)))
    settings = DrivableSettings(range_max_m=RANGE_M, vehicle_width_m=width_m, look_ahead_m=(1.0, 2.0, 4.0))
    extractor = DrivableExtractor(CAMVID, settings)
    extractor.set_camera(camera, pose, hw)
    if extractor.projection is None:
        return
    panoptic = Panoptic(mask, np.zeros(hw, np.uint16), np.full(hw, 200, np.uint8), ())
    areas = extractor.extract(panoptic, Wants(grid=False, free_space=False)).areas
    limit = math.sqrt(extractor.projection.lens.numbers.slope_limit_squared)
    known = FlatImage.of(extractor.projection.lens, hw).known
    mask = mask if known is None else np.where(known > 0, mask, np.uint8(UNSEEN_LABEL))
    for area in areas:
        places = told_places(area, width_m)
        around = labels_around(mask, pixels_of(camera, pose, places, limit))
        assert (around == area.class_id).any(axis=1).all(), "told to be of a class, and not seen to be"
        assert not are_hidden(mask, camera, pose, places, limit).any(), "told, and behind what stands"
