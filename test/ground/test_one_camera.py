"""What one camera cannot know: the tables of docs/ground.md, drawn and measured again."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator
from functools import lru_cache

import numpy as np
import pytest
from numpy.typing import NDArray
from places import CHECKOUT

from seg_perception.camera_model import CameraModel, CameraPose
from seg_perception.ground.drivable import DrivableExtractor, DrivableSettings
from seg_perception.ground.geometry import GroundProjection
from seg_perception.labels import CAMVID
from seg_perception.results import Panoptic, Wants

ROAD, CAR, TREE, SKY = (CAMVID.by_name(name).id for name in ("road", "car", "tree", "sky"))
HW = (720, 1280)
CAMERA = CameraModel(1280, 720, ((900, 0, 639.5), (0, 900, 359.5), (0, 0, 1)))
HEIGHT_M = 1.5
POSE = CameraPose(0, 0, HEIGHT_M, pitch=0.06)
FRAMES = 30
"""So long a correction needs to settle."""


@lru_cache
def rays() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Of each pixel, how far it goes up and to the left for each metre ahead, [H * W] each."""
    v, u = np.mgrid[: HW[0], : HW[1]]
    found = GroundProjection(CAMERA, POSE, HW).pixels_to_rays(np.column_stack((u.ravel(), v.ravel())))
    return found[:, 2] / found[:, 0], found[:, 1] / found[:, 0]


def told_m(mask: NDArray[np.integer], pitch_correction: str = "off") -> float:
    """The road's free distance straight ahead, up to 100 m."""
    extractor = DrivableExtractor(CAMVID, DrivableSettings(range_max_m=100.0, pitch_correction=pitch_correction))
    extractor.set_camera(CAMERA, POSE, HW)
    panoptic = Panoptic(mask.astype(np.uint8).reshape(HW), np.zeros(HW, np.uint16), np.full(HW, 200, np.uint8), ())
    for _ in range(FRAMES if pitch_correction != "off" else 1):
        areas = extractor.extract(panoptic, Wants(grid=False, free_space=False)).areas
    return next(area.free_distance_m for area in areas if area.class_id == ROAD)


def overhang(bottom_m: float, top_m: float, away_m: float) -> float:
    """A bar across the road."""
    up, _ = rays()
    at_bar_m = HEIGHT_M + up * away_m
    return told_m(np.where((at_bar_m >= bottom_m) & (at_bar_m <= top_m), CAR, np.where(up < 0, ROAD, SKY)))


def slope(percent: float, begins_m: float, away_m: float) -> float:
    """A wall on a road that is level under the vehicle and climbs from begins_m on."""
    up, _ = rays()
    climb = percent / 100
    with np.errstate(divide="ignore"):
        level = np.where(up < 0, HEIGHT_M / -up, np.inf)
        climbing = np.where(climb - up > 0, (HEIGHT_M + climb * begins_m) / (climb - up), np.inf)
    x = np.where(level <= begins_m, level, np.maximum(climbing, begins_m))
    return told_m(np.where(x < away_m, ROAD, CAR))


def taper(narrows_m: float, over_m: float, away_m: float) -> float:
    """A wall on a road 7 m wide that narrows, under `vanishing_point`."""
    up, left = rays()
    with np.errstate(divide="ignore"):
        x = np.where(up < 0, HEIGHT_M / -up, np.inf)
    with np.errstate(invalid="ignore"):
        ground = np.where(np.abs(left * x) < 3.5 - x * narrows_m / over_m / 2, ROAD, TREE)
    ground[~np.isfinite(x)] = SKY
    # A wall as wide as a car, so that the road's borders beside it are seen.
    standing = (np.abs(left * away_m) < 0.9) & (HEIGHT_M + up * away_m >= 0) & (HEIGHT_M + up * away_m <= 1.4)
    return told_m(np.where(standing, CAR, ground), "vanishing_point")


TABLES: dict[str, Callable[..., float]] = {"overhang": overhang, "slope": slope, "taper": taper}


def rows() -> Iterator[tuple[str, tuple[float, ...], str]]:
    """Of each table of the page its rows: numbers, and what is told, as it is written."""
    page = (CHECKOUT / "docs" / "ground.md").read_text(encoding="utf-8")
    for name in TABLES:
        table = page[page.index(f"<!-- {name} -->") : page.index(f"<!-- /{name} -->")]
        for line in re.findall(r"^\| (-?\d.*) \|$", table, re.MULTILINE):
            *numbers, told = (cell.strip() for cell in line.split("|"))
            yield name, tuple(map(float, numbers)), told


@pytest.mark.parametrize(("name", "numbers", "told"), list(rows()))
def test_what_the_page_says_is_measured(name: str, numbers: tuple[float, ...], told: str) -> None:
    value = TABLES[name](*numbers)
    if told == "infinite":
        assert value == math.inf
    else:
        assert value == pytest.approx(float(told.removesuffix(" m")), rel=0.01, abs=0.06)


def test_an_overhang_is_told_where_its_lower_edge_meets_the_ground() -> None:
    for bottom_m in (0.3, 0.7, 1.1):
        told = overhang(bottom_m, bottom_m + 0.4, 8.0)
        assert told == pytest.approx(8.0 * HEIGHT_M / (HEIGHT_M - bottom_m), rel=0.02)
        assert told > 8.0


def test_every_page_has_its_tables() -> None:
    assert {name for name, *_ in rows()} == set(TABLES)
