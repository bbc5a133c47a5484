"""Ground laid flat by its depth: columns and rows of pixels drawn by hand, under a camera that looks straight down.

From its height h a pixel at row v whose depth is d h shows what on flat ground is seen at row v d, since the first row is
right below the camera.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from seg_perception.camera_model import CameraModel, CameraPose
from seg_perception.ground.geometry import GroundProjection
from seg_perception.ground.kernels import PINHOLE, LensNumbers, _put_down, flatten
from seg_perception.labels import CAMVID, UNSEEN_LABEL

LETTERS = {letter: CAMVID.by_name(name).id for letter, name in (("r", "road"), ("p", "pavement"), ("c", "car"))}
LETTERS["?"] = UNSEEN_LABEL
COSTS = CAMVID.drivable_costs
HEIGHT_M = 2.0
FOCAL = 8.0
DOWN = np.array(((0.0, -1.0, 0.0), (-1.0, 0.0, 0.0), (0.0, 0.0, -1.0)))
"""Base from optical axes: down the picture is backwards, to the right is to the right."""
LENS = LensNumbers(PINHOLE, FOCAL, FOCAL, 0.0, 0.0, (0.0,) * 14, (0.0,) * 9, math.inf)
NOT_KNOWN = math.nan
Ends = list[tuple[int, str, str, float]]
"""Of each: the place in the line, labels before it (on the side of higher numbers) and of it, and its depth in heights."""


def laid_flat(seen: str, depths: list[float], ends: Ends | None = None, across: bool = False) -> str:
    """A line of pixels from the picture's first row on (or across: column), drawn as it is seen and as it lies flat."""
    line = np.array([LETTERS[letter] for letter in seen], np.uint8)
    shape = (1, len(line)) if across else (len(line), 1)
    depth = (np.array(depths, np.float32) * np.float32(HEIGHT_M)).reshape(shape)
    rows, columns = np.indices(shape)
    slopes = np.stack((columns / FOCAL, rows / FOCAL), axis=-1).astype(np.float32)
    told = [
        ((at, 0, 1, 0) if across else (0, at, 0, 1)) + (LETTERS[near], LETTERS[far])
        for at, near, far, _ in ends or ()
    ]  # fmt: skip
    pixels = np.array(told, np.int32).reshape(-1, 6)
    end_depths = np.array([away * HEIGHT_M for *_, away in ends or ()])
    out, nearer = np.full(shape, 77, np.uint8), np.full((shape[1], 4), 5.0)
    flatten(
        line.reshape(shape), COSTS, depth, slopes, DOWN, HEIGHT_M, LENS, pixels, end_depths, nearer, out,
    )  # fmt: skip
    letters = {value: letter for letter, value in LETTERS.items()}
    return "".join(letters[value] for value in out.ravel().tolist())


@pytest.mark.parametrize("across", [False, True])
@pytest.mark.parametrize(
    ("seen", "depths", "flat"),
    [
        ("rprrcc", [1.0] * 6, "rprrcc"),  # flat already
        ("rprrcc", [NOT_KNOWN] * 6, "rprrcc"),
        ("rprrcc", [0.0, -1.0, math.inf, -math.inf, 1.0, 0.0], "rprrcc"),  # no depth of any kind
        # Twice as high as it seems: at 0, 0.5, ... 3.5, each drawn as far as 0.75 around its place.
        ("rrrrrrrr", [0.5] * 8, "rrrrr???"),
        # Lower than it seems: at 0, 2, 4, 6, and what lies between two that hang together is drawn like the farther one.
        ("rrrrcccc", [2.0] * 4 + [1.0] * 4, "rrrrrrrc"),
        ("rprp????", [2.0] * 8, "rrpprrp?"),
        # What comes to lie 8 px apart still hangs together, 10 px apart no more.
        ("rr??????????", [8.0] * 12, "rrrrrrrrr???"),
        ("rr??????????", [10.0] * 12, "r?????????r?"),
        # Over an obstacle nothing is drawn that would join what is before it with what is behind it.
        ("rcrcc", [1.0, 1.0, 2.0, 1.0, 1.0], "rc?cr"),
        # Beyond the picture's edges there is nothing to draw.
        ("rrrr", [1.0, 1.0, 2.0, 3.0], "rrrr"),
        ("rrrr", [1.0, 1.0, 40.0, 1.0], "rr?r"),
    ],
)
def test_a_line_of_pixels(seen: str, depths: list[float], flat: str, across: bool) -> None:
    if across and flat == "rrpprrp?":
        flat = "rpprrpp?"  # along a row the way takes the label of the pixel to the right
    assert laid_flat(seen, depths, across=across) == flat


@pytest.mark.parametrize(
    ("seen", "depths", "flat"),
    [
        # The last is moved from 3 to 1, so those above it move by 2 as well, as far as there is picture.
        ("rrrr", [NOT_KNOWN, NOT_KNOWN, NOT_KNOWN, 1 / 3], "rr??"),
        # Also beyond what is no ground.
        ("rcr", [NOT_KNOWN, NOT_KNOWN, 0.5], "?r?"),
        # From where depth is known again, by that.
        ("rrrrrr", [NOT_KNOWN, NOT_KNOWN, 1.0, NOT_KNOWN, NOT_KNOWN, 0.8], "rrrrr?"),
    ],
)
def test_what_has_no_depth_moves_as_what_is_below_it(seen: str, depths: list[float], flat: str) -> None:
    assert laid_flat(seen, depths) == flat


@pytest.mark.parametrize("across", [False, True])
@pytest.mark.parametrize(
    ("seen", "depths", "ends", "flat"),
    [
        # The road that is seen from 20 on lies from 10 on, and the car's foot, seen at 19, at 4: from there to the road's
        # beginning there is road too.
        ("c" * 20 + "rrrr", [0.5] * 24, [(19, "r", "c", 4.5 / 19)], "c" * 5 + "r" * 8 + "c" * 7 + "????"),
        # Of a near side without depth that is where it is seen.
        ("c" * 8 + "rrrr", [NOT_KNOWN] * 12, [(7, "r", "c", 4.5 / 7)], "c" * 5 + "r" * 7),
        ("c" * 8 + "rrrr", [0.0] * 12, [(7, "r", "c", 4.5 / 7)], "c" * 5 + "r" * 7),
        ("c" * 8 + "rrrr", [math.inf] * 12, [(7, "r", "c", 4.5 / 7)], "c" * 5 + "r" * 7),
        # More than 8 px of it were not seen: no road is drawn there.
        ("c" * 20 + "rrrr", [0.5] * 24, [(19, "r", "c", 1.5 / 19)], "c" * 10 + "rrr" + "c" * 7 + "????"),
        # Nearer than flat ground has it: what stands on its foot at 10 rises up to where it was seen, at 5.
        ("c" * 6 + "r" * 10, [2.0] * 16, [(5, "r", "c", 2.0)], "c" * 11 + "r" * 5),
        # An end that is ground, or whose depth is not known, draws nothing.
        ("p" * 6 + "r" * 6, [NOT_KNOWN] * 12, [(5, "r", "p", 0.5)], "p" * 6 + "r" * 6),
        ("c" * 6 + "r" * 6, [NOT_KNOWN] * 12, [(5, "r", "c", NOT_KNOWN)], "c" * 6 + "r" * 6),
        # Where the view begins with it there is no ground before it.
        ("cccccc", [0.5] * 6, [(5, "?", "c", 0.5)], "cccccc"),
        ("??????cc", [0.5] * 8, [(7, "?", "c", 4.5 / 7)], "????c?cc"),
    ],
)
def test_the_foot_of_what_stands_is_drawn_where_it_stands(
    seen: str, depths: list[float], ends: Ends, flat: str, across: bool
) -> None:
    assert laid_flat(seen, depths, ends, across) == flat


@pytest.mark.parametrize(("middle", "moved"), [(4.0, 0.0), (NOT_KNOWN, -1.0)])
def test_what_cannot_be_put_down_moves_nothing(middle: float, moved: float) -> None:
    """A camera that looks 45 degrees down: the last pixel moves from row 2 to 1; the place under the middle one's point lies
    behind the camera. What is above them moves as the nearer one of those that could be put down."""
    s = math.sqrt(0.5)
    pitched = np.array(((0.0, -s, s), (-1.0, 0.0, 0.0), (0.0, -s, -s)))
    slopes = np.array((((0.0, 0.0),), ((0.0, 3.0),), ((0.0, 0.0),)), np.float32)
    depth = np.array(((NOT_KNOWN,), (middle,), (1 / s,)), np.float32)
    seen = np.full((3, 1), LETTERS["r"], np.uint8)
    out, nearer = np.empty((3, 1), np.uint8), np.empty((1, 4))
    flatten(
        seen, COSTS, depth, slopes, pitched, 1.0, LENS._replace(cy=1.0), np.empty((0, 6), np.int32), np.empty(0), nearer, out,
    )  # fmt: skip
    assert out.ravel().tolist() == [LETTERS["r"], LETTERS["r"], UNSEEN_LABEL]
    assert nearer[0, 2:].tolist() == [0.0, pytest.approx(moved, abs=1e-6)]


HW = (48, 64)
CAMERAS = {
    "none": CameraModel(64, 48, ((40.0, 0, 31.5), (0, 42.0, 23.5), (0, 0, 1))),
    "plumb_bob": CameraModel(64, 48, ((40.0, 0, 31.5), (0, 42.0, 23.5), (0, 0, 1)), "plumb_bob", (-0.2, 0.05, 0.001, -0.002)),
    "fisheye": CameraModel(64, 48, ((30.0, 0, 31.5), (0, 30.0, 23.5), (0, 0, 1)), "fisheye", (-0.02, 0.004, -0.003, 0.0005)),
}  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(
    lens=st.sampled_from(sorted(CAMERAS)),
    turned=st.tuples(st.floats(-0.3, 0.3), st.floats(0.1, 1.5), st.floats(-3, 3)),
    pixel=st.tuples(st.floats(0, 63), st.floats(0, 47)),
    depth=st.floats(0.2, 20),
)
def test_a_point_is_put_down_to_the_ground_right_below_or_above_it(
    lens: str, turned: tuple[float, float, float], pixel: tuple[float, float], depth: float
) -> None:
    projection = GroundProjection(CAMERAS[lens], CameraPose(1.0, -0.5, 1.4, *turned), HW)
    slopes = projection.lens.to_slopes(np.array((pixel,)))[0]
    if np.isnan(slopes).any():
        return
    point = projection.position + depth * (projection.base_from_optical @ (*slopes, 1.0))
    found = _put_down(*slopes, depth, projection.base_from_optical, projection.position[2], projection.lens.numbers)
    below: NDArray[np.float64] = projection.ground_to_pixels(point[None, :2])[0]
    np.testing.assert_allclose(found, below, rtol=1e-6, atol=1e-6)
