"""How far ground is free along one bearing, and what a cell costs, in rays and cells drawn by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from seg_perception.ground.maps import fill_ground, scan_free
from seg_perception.labels import CAMVID, UNSEEN_LABEL, VOID

ROAD, PAVEMENT, CAR = (CAMVID.by_name(name).id for name in ("road", "pavement", "car"))
LETTERS = {"r": ROAD, "c": CAR, "v": VOID, "?": UNSEEN_LABEL}
MOST_M = 5.0
NOTHING, FOREVER = math.nan, math.inf


def scanned(ray: str, nearest_m: float, row_share: float, least_m: float = 0.5) -> tuple[float, float]:
    """Range and seen of a ray of four samples, 1 m to 4 m ahead; . is outside the picture."""
    mask = np.array([LETTERS.get(letter, CAR) for letter in ray], np.uint8)
    pixels = np.array([[-1 if letter == "." else k for k, letter in enumerate(ray)]], np.int32)
    ranges, seen = np.full((2, 1), 77, np.float32)
    scan_free(
        mask, np.arange(256) == ROAD, pixels, 1.0, np.array((nearest_m,)), (least_m, MOST_M), row_share, ranges, seen
    )
    return float(ranges[0]), float(seen[0])


@pytest.mark.parametrize(
    ("ray", "nearest_m", "row_share", "range_m", "seen_m"),
    [
        # Free as far as is looked, unless something stands in the sector within the range.
        ("rrrr", FOREVER, 0.0, FOREVER, MOST_M),
        ("rrrr", 3.2, 0.0, 3.2, 3.2),
        ("rrrr", 4.9, 0.0, 4.9, 4.9),
        ("rrrr", MOST_M, 0.0, MOST_M, MOST_M),
        ("rrrr", 5.1, 0.0, FOREVER, MOST_M),
        ("rrrr", 0.2, 0.0, 0.5, 0.2),  # no range is less than the least
        # Ends at what stands there: half a step before the first sample that shows it.
        ("rrcr", FOREVER, 0.0, 2.5, 2.5),
        ("rrrc", FOREVER, 0.0, 3.5, 3.5),
        ("rrcr", 2.1, 0.0, 2.1, 2.1),
        # The ends' place is better known than the samples': it counts up to a step beyond.
        ("rrcr", 3.4, 0.0, 3.4, 3.4),
        ("rrcr", 3.5, 0.0, 3.5, 3.5),
        ("rrcr", 3.6, 0.0, 2.5, 2.5),
        # By depth the mask may show it nearer by a row more, here 0.1 * 2.5 * 2.5 m.
        ("rrcr", 4.1, 0.1, 4.1, 4.1),
        ("rrcr", 4.2, 0.1, 2.5, 2.5),
        # Void ends what is known and is no obstacle.
        ("rrvr", FOREVER, 0.0, NOTHING, 2.5),
        ("rrvr", 2.2, 0.0, 2.2, 2.2),
        # Where the view begins with it, it may stand anywhere up to there, unless depth has measured it.
        ("crrr", FOREVER, 0.0, NOTHING, 0.0),
        ("crrr", 0.8, 0.0, NOTHING, 0.0),
        ("crrr", 0.8, 0.1, 0.8, 0.0),
        ("crrr", 0.2, 0.1, 0.5, 0.0),
        ("crrr", FOREVER, 0.1, NOTHING, 0.0),
        ("rrrr", NOTHING, 0.0, NOTHING, 0.0),
        # Beside the view only what stands in the sector is known.
        ("....", FOREVER, 0.0, NOTHING, 0.0),
        ("....", 2.0, 0.0, 2.0, 0.0),
        ("....", 0.1, 0.0, 0.5, 0.0),
        ("....", 5.1, 0.0, NOTHING, 0.0),
        ("????", 2.0, 0.0, 2.0, 0.0),
        # Where the view ends nothing stands; what is in the sector beside it counts up to a step beyond.
        ("rr..", FOREVER, 0.0, NOTHING, 2.5),
        ("rr?r", FOREVER, 0.0, NOTHING, 2.5),
        ("rr..", 3.0, 0.0, 3.0, 2.5),
        ("rr..", 4.0, 0.0, NOTHING, 2.5),
        ("rr..", 4.0, 0.5, NOTHING, 2.5),
        # Where it begins does not matter.
        (".?rr", FOREVER, 0.0, FOREVER, MOST_M),
        (".?rc", FOREVER, 0.0, 3.5, 3.5),
    ],
)
def test_one_bearing(ray: str, nearest_m: float, row_share: float, range_m: float, seen_m: float) -> None:
    found = scanned(ray, nearest_m, row_share)
    np.testing.assert_allclose(found, (range_m, seen_m), rtol=1e-6)


def test_what_ends_free_ground_nearer_than_the_least_range_is_told_at_that() -> None:
    assert scanned("rcrr", FOREVER, 0.0, least_m=2.0) == (2.0, 1.5)


def test_cells_of_ground_that_is_seen_get_its_cost() -> None:
    """Six cells of two pixels' classes, at bearings 0 and 1: nothing is known of bearing 1 from 4 m on."""
    mask = np.array((ROAD, PAVEMENT, CAR), np.uint8)
    cell = {
        "road": (1, 0, 0, 9.0, 0),
        "pavement": (2, 1, 0, 9.0, 60),
        "no ground": (3, 2, 0, 9.0, -1),
        "just before what hides it": (5, 0, 1, 3.9, 0),
        "behind what hides it": (6, 0, 1, 4.0, -1),
        "marked as an obstacle": (7, 0, 0, 1.0, 100),
    }
    out = np.full(9, -1, np.int8)
    out[7] = 100
    cells, pixels, bins, away, costs = zip(*cell.values())
    fill_ground(
        mask, CAMVID.drivable_costs, np.array((math.inf, 4.0)), np.array(cells, np.int32), np.array(pixels, np.int32),
        np.array(bins, np.int32), np.array(away), out,
    )  # fmt: skip
    assert dict(zip(cell, out[list(cells)].tolist())) == dict(zip(cell, costs))
    assert out[[0, 4, 8]].tolist() == [-1] * 3
