"""What the settings of the ground may be, and the grid and bearings that they make."""

import math

import numpy as np
import pytest

from seg_perception.ground.drivable import DrivableSettings

LIMITS = {
    "grid_length_m": (0.1, 1000.0),
    "grid_width_m": (0.1, 1000.0),
    "grid_near_m": (-1000.0, 1000.0),
    "grid_center_y_m": (-1000.0, 1000.0),
    "resolution_m": (0.01, 10.0),
    "outline_tolerance_px": (0.0, 100.0),
    "min_outline_area": (0.0, 1.0),
    "scan_angle_min_rad": (-math.pi, math.pi),
    "scan_angle_max_rad": (-math.pi, math.pi),
    "scan_angle_step_rad": (0.001, 1.0),
    "range_max_m": (1.0, 1000.0),
    "free_max_cost": (0, 100),
    "vehicle_width_m": (0.1, 20.0),
    "look_ahead_m": (0.1, 1000.0),
}


@pytest.mark.parametrize("field", LIMITS)
def test_settings_may_be_anything_up_to_their_limits(field):
    # A coarse grid of a few cells, whatever its size, and a scan all around.
    coarse = {"resolution_m": 10.0, "scan_angle_min_rad": -math.pi, "scan_angle_max_rad": math.pi}
    small = {"grid_length_m": 10.0, "grid_width_m": 10.0}
    low, high = LIMITS[field]
    for value, beyond in ((low, math.nextafter(low, -math.inf)), (high, math.nextafter(high, math.inf))):
        rest = {**coarse, **(small if field == "resolution_m" else {})}
        other = {"scan_angle_min_rad": "scan_angle_max_rad", "scan_angle_max_rad": "scan_angle_min_rad"}.get(field)
        if other is not None:  # the least may not be as much as the greatest
            rest[other] = value + 0.5 if field == "scan_angle_min_rad" else value - 0.5
            if abs(rest[other]) > math.pi:
                continue
        as_given = (lambda number: (number,)) if field == "look_ahead_m" else float
        assert DrivableSettings(**{**rest, field: as_given(value)})
        with pytest.raises(ValueError, match=f"{field} is .*: allowed is {low:g} to {high:g}"):
            DrivableSettings(**{**rest, field: as_given(beyond)})


def test_there_is_an_end_to_the_distances_that_are_looked_at():
    """20,000 walks of a kilometre took the memory of a robot."""
    assert len(DrivableSettings(look_ahead_m=(1.0,) * 100).look_ahead_m) == 100
    with pytest.raises(ValueError, match="look_ahead_m has 10000 distances: allowed are at most 100"):
        DrivableSettings(look_ahead_m=(1.0,) * 10_000)


def test_a_scan_needs_an_angle():
    with pytest.raises(ValueError, match="must be below scan_angle_max_rad"):
        DrivableSettings(scan_angle_min_rad=0.5, scan_angle_max_rad=0.5)


@pytest.mark.parametrize(
    ("length_m", "width_m", "words"),
    [
        (20.0, 20.0, None),
        (400.0, 100.0, None),  # 4,000 x 1,000 cells
        (400.1, 100.0, "it makes 4001000 cells, at most 4000000"),
        (0.1, 1000.0, None),
    ],
)
def test_the_grid_has_four_million_cells_at_most(length_m, width_m, words):
    if words is None:
        DrivableSettings(grid_length_m=length_m, grid_width_m=width_m)
        return
    with pytest.raises(ValueError, match=words):
        DrivableSettings(grid_length_m=length_m, grid_width_m=width_m)


@pytest.mark.parametrize(("side_m", "refused"), [(327.67, False), (327.68, True)])
def test_a_side_of_the_grid_has_32767_cells_at_most(side_m, refused):
    for length_m, width_m in ((side_m, 0.1), (0.1, side_m)):
        if not refused:
            DrivableSettings(resolution_m=0.01, grid_length_m=length_m, grid_width_m=width_m)
            continue
        with pytest.raises(ValueError, match="it makes 32768 cells a side, at most 32767"):
            DrivableSettings(resolution_m=0.01, grid_length_m=length_m, grid_width_m=width_m)


def test_the_grid_and_the_bearings_of_settings():
    made = DrivableSettings(
        grid_length_m=3.0, grid_width_m=2.0, grid_near_m=-1.0, grid_center_y_m=0.25, resolution_m=0.5
    )
    assert made.grid_shape == (4, 6) and made.grid_origin_m == (-1.0, -0.75)
    assert DrivableSettings(grid_length_m=0.1, grid_width_m=0.1, resolution_m=10.0).grid_shape == (1, 1)
    scan = DrivableSettings(scan_angle_min_rad=-0.3, scan_angle_max_rad=0.3, scan_angle_step_rad=0.1)
    np.testing.assert_allclose(scan.scan_bearings, (-0.3, -0.2, -0.1, 0.0, 0.1, 0.2, 0.3), atol=1e-12)
    scan = DrivableSettings(scan_angle_min_rad=-0.3, scan_angle_max_rad=0.29, scan_angle_step_rad=0.1)
    assert len(scan.scan_bearings) == 6
