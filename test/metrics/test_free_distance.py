"""Free distance over a drive: errors by hand."""

from __future__ import annotations

import math
from typing import Any

import pytest

from seg_perception.labels import CAMVID
from seg_perception.metrics.free_distance import FreeDistance
from seg_perception.results import Drivable, DrivableArea

NAN, INF = math.nan, math.inf
ROAD, PAVEMENT = CAMVID.by_name("road").id, CAMVID.by_name("pavement").id


def ahead(free_m: float, width_m: float = 3.0) -> Drivable:
    """Road that is free so far, and pavement that must not count."""
    road = DrivableArea(ROAD, 0.5, 0.9, (), free_distance_m=free_m, free_distance_width_m=width_m)
    return Drivable((DrivableArea(PAVEMENT, 0.5, 0.9, (), free_distance_m=1.0), road))


def summary(*measured_exact: tuple[float, float | None]) -> dict[str, Any]:
    free = FreeDistance(CAMVID, range_m=40.0)
    for number, (measured, exact) in enumerate(measured_exact):
        free.add(number / 10, ahead(measured), exact)
    return free.summary()


def test_errors_are_told_by_exact_distance() -> None:
    """4.04 for 4 m and 8.5 for 8 m lie in the first band; 24.4 for 24 m, within 2 %, in the third, with one that was
    not measured, so 0 m, and one that was taken for free as far as one looks; the last is right beyond the range."""
    found = summary((4.04, 4.0), (8.5, 8.0), (24.4, 24.0), (NAN, 30.0), (INF, 30.0), (12.0, None), (INF, INF))
    assert found["free_distance_error_m"] == {"p50": pytest.approx(0.45), "p95": pytest.approx(25.0), "frames": 6}
    near, far, beyond = found["free_distance_bands"]
    assert (near["from_m"], near["to_m"], near["frames"], near["not_measured"]) == (0.0, 10.0, 2, 0)
    assert near["error_m"]["p50"] == pytest.approx(0.27) and near["within_tolerance"] == 0.5
    assert (far["from_m"], far["to_m"], far["frames"], far["not_measured"]) == (20.0, 40.0, 3, 1)
    assert far["error_m"] == {"p50": 10.0, "p95": 28.0, "frames": 3} and far["within_tolerance"] == 0.3333
    assert (beyond["from_m"], beyond["to_m"], beyond["within_tolerance"]) == (40.0, None, 1.0)


def test_an_obstacle_that_is_taken_for_free_is_no_small_error() -> None:
    """Sixty frames are right, in forty the node sees nothing where the road ends 8 m ahead."""
    found = summary(*[(8.0, 8.0)] * 60, *[(INF, 8.0)] * 40)
    assert found["free_distance_error_m"] == {"p50": 0.0, "p95": 32.0, "frames": 100}
    assert found["free_distance_missed"] == {"share": 0.4, "of": 100}
    assert found["free_distance_bands"][0]["within_tolerance"] == 0.6


def test_an_obstacle_that_is_not_there_is_told_too() -> None:
    found = summary((12.0, INF), (INF, INF), (NAN, INF), (41.0, 55.0), (39.0, 20.0))
    assert found["free_distance_false"] == {"share": 0.25, "of": 4}
    assert found["free_distance_not_measured"] == {"share": 0.2, "of": 5}
    assert found["free_distance_missed"] == {"share": 0.0, "of": 1}
    assert summary((8.0, 8.0))["free_distance_false"] == {"share": None, "of": 0}


def test_the_timeline_holds_every_frame() -> None:
    free = FreeDistance(CAMVID)
    free.add(0.0, ahead(5.0), None)
    free.add(0.1, Drivable(()), 7.0)
    told = free.timeline()
    assert list(told.sent_s) == [0.0, 0.1] and told.ahead_m[0] == 5.0 and told.width_m[0] == 3.0
    assert math.isnan(told.ahead_m[1]) and math.isnan(told.exact_m[0]) and told.exact_m[1] == 7.0


def test_without_anything_to_compare_nothing_is_told() -> None:
    free = FreeDistance(CAMVID)
    assert free.summary() == {} and len(free.timeline().sent_s) == 0
    free.add(0.1, ahead(9.0), None)
    assert free.summary() == {}
