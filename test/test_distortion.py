"""Calibrations as drivers and tools name them."""

from __future__ import annotations

import math

import cv2
import numpy as np
import pytest

from seg_perception.camera_model import CameraModel
from seg_perception.errors import SegPerceptionError
from seg_perception.ground.geometry import Lens

K = ((500.0, 0, 319.5), (0, 510.0, 239.5), (0, 0, 1))
PINHOLE = Lens(CameraModel(640, 480, K), (480, 640))
POINTS = np.array(((10.0, 20.0), (320.0, 240.0), (600.0, 470.0), (5.0, 475.0)))


def camera(model: str, d: tuple[float, ...]) -> CameraModel:
    return CameraModel(640, 480, K, model, d)


@pytest.mark.parametrize(
    "model",
    [
        "", "none", "None", "Brown-Conrady", "Inverse Brown Conrady", "modified_brown_conrady", "thin_prism", "plumb_bob",
        "rational_polynomial", "radtan", "pinhole", "ftheta", "unheard of",
    ],
)  # fmt: skip
@pytest.mark.parametrize("zeros", [0, 1, 4, 5, 6, 8, 14])
def test_without_a_coefficient_it_is_a_pinhole_whatever_it_is_called(model: str, zeros: int) -> None:
    found = Lens(camera(model, (0.0,) * zeros), (480, 640))
    assert not found.is_distorted
    np.testing.assert_array_equal(found.to_slopes(POINTS), PINHOLE.to_slopes(POINTS))


@pytest.mark.parametrize("model", ["equidistant", "fisheye", "Kannala-Brandt", "kannala_brandt4", "equi", "fisheye62"])
def test_a_fisheye_without_coefficients_stays_the_equidistant_lens(model: str) -> None:
    """r = f * angle: 45 degrees to the right lie 500 * pi / 4 px there, where a pinhole has them at 500."""
    for zeros in (0, 4, 5):
        lens = Lens(camera(model, (0.0,) * zeros), (480, 640))
        np.testing.assert_allclose(lens.to_pixels(np.array(((1.0, 0.0),))), ((319.5 + 500 * math.pi / 4, 239.5),))


POLYNOMIAL = (-0.28, 0.07, 0.0005, -0.0003, 0.01)
FISHEYE = (-0.02, 0.004, -0.003, 0.0005)


@pytest.mark.parametrize(
    ("model", "d", "same"),
    [
        ("equidistant", (*FISHEYE, 0.0), ("equidistant", FISHEYE)),
        ("Kannala-Brandt", FISHEYE, ("equidistant", FISHEYE)),
        ("KANNALA_BRANDT4", (*FISHEYE, 0.0), ("fisheye", FISHEYE)),
        ("fisheye62", (*FISHEYE, 0.0, 0.0, 0.0, 0.0), ("equidistant", FISHEYE)),
        ("rational_polynomial", POLYNOMIAL, ("plumb_bob", POLYNOMIAL)),
        ("rational_polynomial", POLYNOMIAL[:4], ("plumb_bob", POLYNOMIAL[:4])),
        ("plumb_bob", (*POLYNOMIAL, 0.1, 0.2, 0.3), ("rational_polynomial", (*POLYNOMIAL, 0.1, 0.2, 0.3))),
        ("plumb_bob", (*POLYNOMIAL, 0.0), ("plumb_bob", POLYNOMIAL)),
        ("Brown Conrady", POLYNOMIAL, ("plumb_bob", POLYNOMIAL)),
        ("radtan", POLYNOMIAL[:4], ("plumb_bob", POLYNOMIAL[:4])),
        ("thin_prism", (*POLYNOMIAL, 0, 0, 0, 1e-3, 0, 0, 0), ("rational_polynomial", (*POLYNOMIAL, 0, 0, 0, 1e-3, 0, 0, 0))),
    ],
)  # fmt: skip
def test_synonyms_are_the_same_lens(model: str, d: tuple[float, ...], same: tuple[str, tuple[float, ...]]) -> None:
    found, plain = Lens(camera(model, d), (480, 640)), Lens(camera(*same), (480, 640))
    np.testing.assert_array_equal(found.to_slopes(POINTS), plain.to_slopes(POINTS))
    assert found.is_distorted


def test_the_inverse_model_leads_from_the_image_to_straight_rays() -> None:
    """As librealsense deprojects: what the pixel's slope is shifted by depends on that slope itself."""
    k1, k2, p1, p2, k3 = d = (-0.055, 0.066, -0.0002, 0.0006, -0.021)
    x, y = ((POINTS - (319.5, 239.5)) / (500.0, 510.0)).T
    r2 = x * x + y * y
    f = 1 + k1 * r2 + k2 * r2**2 + k3 * r2**3
    straight = np.stack(
        (x * f + 2 * p1 * x * y + p2 * (r2 + 2 * x * x), y * f + 2 * p2 * x * y + p1 * (r2 + 2 * y * y)), -1
    )
    found = Lens(camera("Inverse Brown Conrady", d), (480, 640))
    assert np.abs(found.to_pixels(straight) - POINTS).max() < 0.1
    assert np.abs(PINHOLE.to_pixels(straight) - POINTS).max() > 3.0


def test_the_modified_model_shifts_what_the_radial_part_has_moved() -> None:
    k1, k2, p1, p2, k3 = d = (0.14, -0.43, 0.003, -0.002, 0.39)
    slopes = (POINTS - (319.5, 239.5)) / (500.0, 510.0)
    r2 = (slopes**2).sum(axis=1)
    x, y = (slopes * (1 + k1 * r2 + k2 * r2**2 + k3 * r2**3)[:, None]).T
    r2 = x * x + y * y
    bent = np.stack((x + 2 * p1 * x * y + p2 * (r2 + 2 * x * x), y + 2 * p2 * x * y + p1 * (r2 + 2 * y * y)), -1)
    found = Lens(camera("modified_brown_conrady", d), (480, 640))
    assert np.abs(found.to_pixels(slopes) - (bent * (500.0, 510.0) + (319.5, 239.5))).max() < 0.1


def test_what_opencv_reads_is_what_the_names_mean() -> None:
    """An independent judge of the polynomial by its number of coefficients."""
    d = (*POLYNOMIAL, 0.1, 0.2, 0.3)
    rays = np.array(((0.3, -0.2, 1.0), (-0.5, 0.1, 1.0)))
    theirs, _ = cv2.projectPoints(rays, np.zeros(3), np.zeros(3), np.array(K), np.array(d))
    found = Lens(camera("perspective", d), (480, 640)).to_pixels(rays[:, :2])
    np.testing.assert_allclose(found, theirs[:, 0], atol=1e-6)


@pytest.mark.parametrize(
    ("model", "d", "words"),
    [
        ("plum_bob", (0.1,) * 5, "did you mean 'plumb_bob'"),
        ("none", (0.1,), "no distortion model 'none'"),
        ("equidistant", (*FISHEYE, 0.1), "equidistant came with 5 coefficients: 0 or 4"),
        ("thin_prism_fisheye", (0.0,) * 8, "no distortion model"),
        ("inverse_brown_conrady", (2.0, 9.0, 0.0, 0.0, -3.0), "px off: calibrate"),
        ("plumb_bob", (math.nan,) * 5, "not finite"),
    ],
)
def test_what_cannot_be_read_is_said(model: str, d: tuple[float, ...], words: str) -> None:
    with pytest.raises(SegPerceptionError, match=words):
        camera(model, d)


INFO = {"width": 640, "height": 480, "distortion_model": "plumb_bob", "d": [], "r": [0.0] * 9}
P = [400.0, 0, 310, 0, 0, 410, 230, 0, 0, 0, 1, 0]


@pytest.mark.parametrize("model", ["inverse_brown_conrady", "modified_brown_conrady"])
@pytest.mark.parametrize("size", [1e20, 1e60, 1e100, 1e154, 1e200, 1e308])
def test_coefficients_beyond_reason_are_refused_like_any_that_cannot_be_fitted(model: str, size: float) -> None:
    """They come with a message, and are read where nothing may be raised but that."""
    for place in range(5):
        d = [0.0] * 5
        d[place] = size
        with pytest.raises(SegPerceptionError, match="calibrate"):
            CameraModel(640, 480, ((500, 0, 320), (0, 500, 240), (0, 0, 1)), model, tuple(d))


def test_no_k_beside_a_p_is_the_rectified_image_with_a_note() -> None:
    found = CameraModel.from_matrices(**INFO, k=[0.0] * 9, p=P)
    assert found == CameraModel.from_matrices(**INFO, k=[0.0] * 9, p=P, rectified=True)
    assert "image_rectified" in found.note
    assert CameraModel.from_matrices(**INFO, k=np.ravel(K).tolist(), p=P).note == ""
    with pytest.raises(SegPerceptionError, match="focal length"):
        CameraModel.from_matrices(**INFO, k=[0.0] * 9, p=[0.0] * 12)
