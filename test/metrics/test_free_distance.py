"""Free distance over a drive: errors by hand."""

from __future__ import annotations

import math

import pytest

from seg_perception.labels import CAMVID
from seg_perception.metrics.free_distance import FreeDistance
from seg_perception.results import Drivable, DrivableArea

ROAD, PAVEMENT = CAMVID.by_name("road").id, CAMVID.by_name("pavement").id


def ahead(free_m: float, width_m: float = 3.0) -> Drivable:
    """Road that is free so far, and pavement that must not count."""
    road = DrivableArea(ROAD, 0.5, 0.9, (), free_distance_m=free_m, free_distance_width_m=width_m)
    return Drivable((DrivableArea(PAVEMENT, 0.5, 0.9, (), free_distance_m=1.0), road))


def test_errors_are_told_by_exact_distance() -> None:
    """4.04 for 4 m and 8.5 for 8 m lie in the first band; 24.4 for 24 m, within 2 %, in the third, with one that was
    not measured and one that was taken for free."""
    free = FreeDistance(CAMVID)
    for number, (measured, exact) in enumerate(
        [(4.04, 4.0), (8.5, 8.0), (24.4, 24.0), (math.nan, 30.0), (math.inf, 30.0), (12.0, None), (12.0, math.inf)]
    ):
        free.add(number / 10, ahead(measured), exact)
    found = free.summary()
    assert found["free_distance_error_m"]["p50"] == pytest.approx(0.4)
    near, far = found["free_distance_bands"]
    assert (near["from_m"], near["to_m"], near["frames"], near["not_measured"]) == (0.0, 10.0, 2, 0)
    assert near["error_m"]["p50"] == pytest.approx(0.27) and near["within_tolerance"] == 0.5
    assert (far["from_m"], far["to_m"], far["frames"], far["not_measured"]) == (20.0, 40.0, 3, 2)
    assert far["error_m"] == pytest.approx({"p50": 0.4, "p95": 0.4}) and far["within_tolerance"] == 1.0


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
    free.add(0.0, ahead(math.nan), 10.0)
    free.add(0.1, ahead(9.0), None)
    free.add(0.2, ahead(9.0), math.inf)
    assert free.summary() == {}
