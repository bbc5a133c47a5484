"""The ground from above: everything where its metres say, the size kept whatever is known."""

import math

import numpy as np
import pytest

from seg_perception.camera_model import CameraModel, CameraPose
from seg_perception.ground.drivable import DrivableSettings
from seg_perception.ground.geometry import GroundProjection
from seg_perception.labels import CAMVID
from seg_perception.pictures.birds_eye import OBSTACLE_COLOR, RING_COLOR, UNKNOWN_COLOR, BirdsEye
from seg_perception.pictures.drawing import DARK, FREE_COLOR, GROUND_COLORS
from seg_perception.results import Drivable, DrivableArea, FreeSpace, Grid, LookAhead, Outline

ROAD = CAMVID.by_name("road").id
SETTINGS = DrivableSettings(grid_length_m=12.0, grid_width_m=12.0, resolution_m=0.5)
SIZE_WH = (240, 420)


class Panel(BirdsEye):
    """A panel that can be asked what colour a place on the ground has."""

    def at(self, image, x_m, y_m):
        """Colour of the point x_m ahead and y_m to the left."""
        column, row = np.rint(self._pixels(np.array([[x_m, y_m]]))[0]).astype(int)
        return tuple(int(channel) for channel in image[row + self._top, column])


def panel():
    return Panel(CAMVID, SETTINGS, SIZE_WH)


def empty():
    return np.full((24, 24), -1, np.int8)


def drivable(cells=None, area=None, ranges=()):
    told = np.array(ranges, np.float32)
    scan = FreeSpace(told, np.fmin(np.nan_to_num(told, posinf=40), 40), -0.2, 0.1, 0.05, 40.0) if ranges else None
    grid = Grid(empty() if cells is None else cells, 0.5, (0.0, -6.0))
    return Drivable(() if area is None else (area,), grid, scan)


def test_ahead_is_up_and_left_is_left():
    """Free 3 m ahead and 4 m to the left (row 20, column 6), an obstacle 8.25 m ahead and 3.75 m to the right (row 4,
    column 16)."""
    cells = empty()
    cells[20, 6], cells[4, 16] = 0, 100
    made = panel()
    image = made.draw(drivable(cells))
    free = made.at(image, 3.25, 4.25)
    assert free not in (UNKNOWN_COLOR, OBSTACLE_COLOR) and free[2] > free[0] + 50
    assert made.at(image, 8.25, -3.75) == OBSTACLE_COLOR
    assert made.at(image, 3.25, -4.25) == made.at(image, 8.25, 3.75) == UNKNOWN_COLOR
    rows, columns = (np.flatnonzero((image == OBSTACLE_COLOR).all(2)[: 420 - 60].any(axis)) for axis in (1, 0))
    assert columns.min() > 120 and len(columns) <= 12 and len(rows) <= 12


def test_cost_has_its_colour_and_the_scale_is_that_of_the_width():
    cells = empty()
    cells[:, 10] = 0
    cells[:, 14] = 60
    made = panel()
    image = made.draw(drivable(cells))
    cheap, dear = made.at(image, 5.25, 2.3), made.at(image, 7.25, 2.3)
    assert cheap[2] > cheap[0] + 50 and dear[0] > dear[2] + 50
    # 12 m across 240 px: a cell is 10 px high
    column = image[:, 200]
    assert (column == cheap).all(1).sum() == 10


def test_outline_and_ticks_lie_where_their_metres_say():
    square = Outline(np.array([[4, 3], [9, 3], [9, -3], [4, -3]], np.float32))
    area = DrivableArea(ROAD, 0.2, 0.9, (), (square,), edges=(LookAhead(6.0, 3.0, math.inf),))
    made = panel()
    image = made.draw(drivable(area=area))
    assert np.abs(np.subtract(made.at(image, 9.0, 2.0), GROUND_COLORS[0])).sum() < 160
    assert made.at(image, 6.0, 3.0) == GROUND_COLORS[0] == made.at(image, 6.0, 3.15)
    assert made.at(image, 6.0, 2.0) == UNKNOWN_COLOR


def test_the_edge_of_free_space_is_drawn_and_what_is_free_glows():
    made = panel()
    image = made.draw(drivable(ranges=(8.0, 8.0, 8.0, 8.0, 8.0)))
    assert made.at(image, 8.0, 0.0) == FREE_COLOR
    assert min(made.at(image, 6.0, 0.3)) > max(UNKNOWN_COLOR) and made.at(image, 6.0, 4.0) == UNKNOWN_COLOR
    image = made.draw(drivable(ranges=(8.0, 8.0, math.inf, math.nan, math.nan)))
    assert made.at(image, 8.0, 0.0) != FREE_COLOR
    assert made.at(image, 7.0, 0.0) != UNKNOWN_COLOR and made.at(image, 6.0, 1.0) == UNKNOWN_COLOR


def test_what_ends_no_ground_that_is_seen_has_no_edge():
    """A sector may know what ends it where along its bearing no ground is seen: that has no place to be drawn at, and was a
    line out of the picture."""
    ranges = np.full(5, 8.0, np.float32)
    seen = np.array([8, 8, 0, 8, 8], np.float32)
    pictures = []
    for middle in (8.0, math.nan):
        ranges[2] = middle
        scan = FreeSpace(ranges.copy(), seen, -0.2, 0.1, 0.05, 40.0)
        with np.errstate(invalid="raise"):
            pictures.append(panel().draw(Drivable((), Grid(empty(), 0.5, (0.0, -6.0)), scan)).copy())
    assert (pictures[0] == pictures[1]).all()


@pytest.mark.parametrize("scale", [1, 2])
def test_the_image_shines_through_where_ground_is_seen_and_nowhere_else(scale):
    """A camera that looks level from 2 m: what lies d m ahead is in row 119.5 + 400 / d. White from 5 m to 8 m; the grid
    knows the ground up to 7 m. Two images of one mask: the larger one is looked up at its own pixels."""
    matrix = ((200.0, 0, 159.5), (0, 200.0, 119.5), (0, 0, 1))
    projection = GroundProjection(CameraModel(320, 240, matrix), CameraPose(0, 0, 2.0), (240, 320))
    rgb = np.zeros((240 * scale, 320 * scale, 3), np.uint8)
    rgb[round((119.5 + 400 / 8) * scale) : round((119.5 + 400 / 5) * scale)] = 255
    cells = empty()
    cells[:, :14] = 0
    made = panel()
    image = made.draw(drivable(cells), rgb=rgb, projection=projection)
    dark, light = np.array(made.at(image, 4.5, 0.2)), np.array(made.at(image, 6.0, 0.2))
    assert (light - dark > 80).all()
    assert made.at(image, 7.5, 0.2) == UNKNOWN_COLOR
    assert made.at(image, 4.7, 0.2) == tuple(dark) and made.at(image, 5.3, 0.2) == tuple(light)


def test_rings_and_the_vehicle_have_the_size_that_is_said():
    made = panel()
    image = made.draw(drivable())
    for bearing in (0.3, -0.3, -0.9):
        near = made.at(image, 5 * math.cos(bearing), 5 * math.sin(bearing))
        assert np.abs(np.subtract(near, RING_COLOR)).max() < 40
    inside = made.at(image, -0.5, 0.5)
    assert min(made.at(image, -0.5, 0.9)) > 200 > max(inside) and inside != UNKNOWN_COLOR
    assert made.at(image, -0.5, 1.2) == UNKNOWN_COLOR


def test_the_way_is_dashed_as_far_as_it_is_free_over_the_width():
    area = DrivableArea(ROAD, 0.2, 0.9, (), free_distance_m=9.0, free_distance_width_m=4.6)
    made = panel()
    image = made.draw(drivable(area=area))
    assert min(made.at(image, 4.25, 0.9)) > 200 and made.at(image, 6.25, 0.9) == UNKNOWN_COLOR


@pytest.mark.parametrize("known", [None, Drivable(())])
def test_without_ground_the_cause_stands_in_a_picture_of_the_same_size(known):
    made = panel()
    with_ground = made.draw(drivable())
    without, other = (made.draw(known, problem=cause) for cause in ("no camera_info", "the pose is unknown"))
    assert without.shape == with_ground.shape == (420, 240, 3)
    view = without[made._top : made._top + made._view_hw[0]]
    assert view.min(axis=2).max() > 150 and (without != other).any()


def test_a_note_stands_in_every_picture_and_buffers_are_used_again():
    plain, noted = panel(), Panel(CAMVID, SETTINGS, SIZE_WH, "calibration assumed: hfov 60 deg, height 1.4 m")
    assert noted._top > plain._top
    out = np.zeros((420, 240, 3), np.uint8)
    assert noted.draw(drivable(), out) is out and out.any()
    above = noted.draw(None)[: noted._top]
    assert (above != DARK).any()


@pytest.mark.parametrize("size_wh", [(20, 30), (8, 200), (640, 120)])
def test_a_picture_too_small_for_anything_is_still_drawn(size_wh):
    assert BirdsEye(CAMVID, SETTINGS, size_wh, "a note").draw(drivable(ranges=(3.0, 3.0))).shape[1::-1] == size_wh
