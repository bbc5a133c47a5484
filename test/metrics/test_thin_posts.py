"""Posts drawn into a mask and looked for in what is told, by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from seg_perception.camera_model import CameraModel, CameraPose
from seg_perception.ground.drivable import DrivableExtractor, DrivableSettings
from seg_perception.ground.geometry import GroundProjection
from seg_perception.labels import CAMVID
from seg_perception.metrics.ground_truth import GroundTruth
from seg_perception.metrics.thin_posts import Post, count_told, drawn, is_told, places
from seg_perception.results import Drivable, FreeSpace, Grid, Panoptic

ROAD, POLE, SKY = (CAMVID.by_name(name).id for name in ("road", "pole", "sky"))
HW = (200, 300)
CAMERA = CameraModel(300, 200, ((200.0, 0, 149.5), (0, 250.0, 59.5), (0, 0, 1)))
LEVEL = GroundProjection(CAMERA, CameraPose(1.0, 0.0, 1.5), HW)
"""Stands 1 m ahead of the base frame's origin."""


@pytest.mark.parametrize("y", [0.0, 1.0, -1.0])
def test_a_post_covers_what_the_camera_sees_of_it(y: float) -> None:
    """5 m ahead of the camera, 1 m high and 0.4 m wide: 200 * 0.4 / 5 = 16 columns, and rows from 250 * 0.5 / 5 to 250 * 1.5 / 5
    below the horizon. Beside the axis it is turned to the camera, so a little narrower across the picture."""
    image = drawn(np.zeros(HW, np.uint8), Post(6.0, y, 0.4), LEVEL, 7)
    rows, columns = np.nonzero(image == 7)
    assert (image[image > 0] == 7).all()
    assert rows.min() == pytest.approx(59.5 + 25, abs=1.1) and rows.max() == pytest.approx(59.5 + 75, abs=1.1)
    middle = 149.5 - 200 * y / 5
    narrower = math.cos(math.atan2(abs(y), 5.0))
    assert columns.min() == pytest.approx(middle - 8 * narrower, abs=1.5)
    assert columns.max() == pytest.approx(middle + 8 * narrower, abs=1.5)


def test_a_post_behind_the_camera_is_not_drawn_and_the_mask_stays_as_it_is() -> None:
    mask = np.full(HW, 3, np.uint8)
    assert (drawn(mask, Post(0.5, 0.0, 0.4), LEVEL, 7) == 3).all()
    assert (drawn(mask, Post(6.0, 0.0, 0.4), LEVEL, 7) == 7).any() and (mask == 3).all()


def answer(mark: tuple[float, float] | None, range_m: float, sector: int = 10) -> Drivable:
    """A grid of 0.1 m with one mark, and a scan of 21 bearings 0.1 rad apart, all free but for one."""
    cells = np.zeros((200, 200), np.int8)
    if mark is not None:
        cells[round((mark[1] + 10.0) / 0.1), round(mark[0] / 0.1)] = 100
    ranges = np.full(21, math.inf, np.float32)
    ranges[sector] = range_m
    return Drivable((), Grid(cells, 0.1, (0.0, -10.0)), FreeSpace(ranges, ranges, -1.0, 0.1, 0.01, 40.0))


@pytest.mark.parametrize(
    ("mark", "range_m", "told"),
    [
        ((6.0, 0.0), 6.0, True),
        # A cell, half the post and two pixels of (5 * 5 + 1.5 * 1.5) / (250 * 1.5) m are 0.345 m, 0.488 m across.
        ((6.4, 0.0), 6.0, True),
        ((6.6, 0.0), 6.0, False),
        ((6.0, -0.6), 6.0, False),
        (None, 6.0, False),
        ((6.0, 0.0), 6.3, True),
        ((6.0, 0.0), 6.4, False),
        ((6.0, 0.0), 0.5, True),
        ((6.0, 0.0), math.inf, False),
        ((6.0, 0.0), math.nan, False),
    ],
)
def test_a_post_is_told_where_grid_and_scan_have_it(
    mark: tuple[float, float] | None, range_m: float, told: bool
) -> None:
    assert is_told(answer(mark, range_m), Post(6.0, 0.0, 0.2), LEVEL) is told


def test_the_scan_is_asked_for_its_bearing_from_the_base_frames_origin() -> None:
    # At 6 m ahead and 3.28 m to the left the bearing is 0.5 rad, the sector 15.
    post = Post(6.0, 6.0 * math.tan(0.5), 0.2)
    mark = (6.0, round(post.y, 1))
    for sector, told in ((15, True), (14, False), (16, False)):
        assert is_told(answer(mark, 6.8, sector), post, LEVEL) is told
    # Between two sectors each may have it.
    post = Post(6.0, 6.0 * math.tan(0.55), 0.2)
    mark = (6.0, round(post.y, 1))
    for sector, told in ((15, True), (16, True), (14, False), (17, False)):
        assert is_told(answer(mark, 7.0, sector), post, LEVEL) is told
    # Beyond the scan's bearings the grid alone can say it.
    for bearing, told in ((1.04, False), (1.06, True), (-1.04, False), (-1.06, True)):
        aside = Post(3.0, 3.0 * math.tan(bearing), 0.2)
        assert is_told(answer((3.0, round(aside.y, 1)), math.inf), aside, LEVEL) is told


def test_posts_stand_on_free_ground_that_counts_and_are_two_pixels_wide() -> None:
    settings = DrivableSettings(grid_length_m=20.0, grid_width_m=2.0, resolution_m=1.0)
    points = np.zeros((2, 20, 25), np.int8)
    feet, counted = np.zeros((2, 20), np.bool_), np.ones((2, 20), np.bool_)
    points[0, :, 12], feet[1, 5], counted[1, 10:] = -1, True, False
    truth = GroundTruth(points, feet, counted, np.ones((10, 100), np.bool_), 8.0, 8.0, (), settings)
    posts = places(truth, LEVEL, 100, 0)
    assert sorted((post.x, post.y) for post in posts) == [(k + 0.5, 0.5) for k in range(10) if k != 5]
    for post in posts:
        away_m = math.sqrt((post.x - 1.0) ** 2 + 0.5**2 + 1.5**2)
        least_m = 2.0 * away_m / 200
        assert max(least_m, 0.03) <= post.width_m <= max(least_m, 0.2)
    assert any(post.width_m > 2.0 * 12 / 200 for post in posts)
    few = places(truth, LEVEL, 4, 0)
    assert len(few) == 4 and len(set(few)) == 4 and few == places(truth, LEVEL, 4, 0) != places(truth, LEVEL, 4, 1)


def test_posts_are_drawn_one_at_a_time_and_those_that_are_told_are_counted() -> None:
    """Poles are told, what looks like road is not; without a camera there is no place for one."""
    settings = DrivableSettings(grid_length_m=10.0, grid_width_m=2.0, resolution_m=1.0)
    counted = np.zeros((2, 10), np.bool_)
    counted[:, 5:] = True
    truth = GroundTruth(
        np.zeros((2, 10, 25), np.int8),
        np.zeros((2, 10), np.bool_),
        counted,
        np.ones((10, 50), np.bool_),
        8.0,
        8.0,
        (),
        settings,
    )
    mask = np.full(HW, ROAD, np.uint8)
    mask[:60] = SKY
    panoptic = Panoptic(mask, np.zeros(HW, np.uint16), np.full(HW, 255, np.uint8), ())
    extractor = DrivableExtractor(CAMVID, settings)
    assert count_told(extractor, panoptic, truth, POLE, 3, 0) == (0, 0)
    extractor.set_camera(CAMERA, LEVEL.pose, HW)
    assert count_told(extractor, panoptic, truth, POLE, 3, 0) == (3, 3)
    assert count_told(extractor, panoptic, truth, ROAD, 3, 0) == (0, 3)
    assert (panoptic.semantic[60:] == ROAD).all()
