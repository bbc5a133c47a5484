"""Distortion models under the names that drivers and calibration tools give them, as the two kinds of lens that there are
for the geometry: OpenCV's polynomial and its fisheye."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from seg_perception.errors import LONGEST_QUOTE, SegPerceptionError, nearest_name, quoted

_COUNTS = {
    "plumb_bob": (0, 4, 5, 8, 12, 14),
    "rational_polynomial": (0, 4, 5, 8, 12, 14),
    "fisheye": (0, 4),
    "equidistant": (0, 4),
}
"""Coefficients of each model. OpenCV tells its polynomials apart by their number alone."""

_INVERSE, _MODIFIED = "inverse_brown_conrady", "modified_brown_conrady"
_SYNONYMS = {
    **{name: name for name in (*_COUNTS, _INVERSE, _MODIFIED)},
    **dict.fromkeys(("", "brown_conrady", "brown", "radtan", "radial_tangential", "opencv"), "plumb_bob"),
    **dict.fromkeys(
        ("brown_conrady_k6", "full_opencv", "perspective", "polynomial", "rational", "thin_prism"),
        "rational_polynomial",
    ),
    **dict.fromkeys(("equi", "fisheye62", "kannala_brandt", "kannala_brandt4", "kb4", "opencv_fisheye"), "equidistant"),
}
"""Names in small letters with "_" between words: of ROS, RealSense, Orbbec, DepthAI, Foxglove and Kalibr."""

_FITTED_TO, _FIT_PX = 5, 0.5
"""Coefficients of the polynomial that stands for the two Brown-Conrady models of RealSense, and how far off it may be."""
_GRID = 25
"""Points a side at which it is fitted."""


def known_distortion(
    model: str, coefficients: Sequence[float], matrix: np.ndarray, size: tuple[int, int]
) -> tuple[str, tuple[float, ...]]:
    """Name and coefficients of plumb_bob, rational_polynomial, fisheye or equidistant for the same lens.

    Where all coefficients are zero it is a pinhole whatever it is called, but for the fisheyes: theirs is then the ideal
    equidistant lens. Zeros beyond the model's own coefficients are left out. matrix: K [3, 3]; size: (width, height) in
    px of the calibrated image, for models that are fitted. Raises SegPerceptionError.
    """
    name = re.sub(r"[\W_]+", "_", model.strip().lower()).strip("_")
    found, values = _SYNONYMS.get(name), tuple(float(value) for value in coefficients)
    if not np.isfinite(values).all():
        raise SegPerceptionError("the camera's calibration holds numbers that are not finite: calibrate the camera")
    if not any(values) and found not in _COUNTS and "fisheye" not in name:
        return "plumb_bob", ()
    if found is None:
        raise SegPerceptionError(
            f"there is no distortion model '{quoted(model)}': {nearest_name(name[:LONGEST_QUOTE], _SYNONYMS)}"
        )
    if found in (_INVERSE, _MODIFIED):
        return "plumb_bob", _fitted(found, _shortened(model, values, (4, 5)), matrix, size)
    return found, _shortened(model, values, _COUNTS[found])


def _shortened(model: str, values: tuple[float, ...], counts: tuple[int, ...]) -> tuple[float, ...]:
    """The values, without zeros at their end where they are more than the model has."""
    if len(values) in counts:
        return values
    for count in reversed(counts):
        if count < len(values) and not any(values[count:]):
            return values[:count]
    allowed = " or ".join(map(str, counts))
    raise SegPerceptionError(
        f"distortion model {quoted(model)} came with {len(values)} coefficients: {allowed} are needed, or zeros behind them"
    )


def _fitted(model: str, values: tuple[float, ...], matrix: np.ndarray, size: tuple[int, int]) -> tuple[float, ...]:
    """The plumb_bob that bends the image as RealSense's variants of Brown-Conrady do: least squares, linear in its
    coefficients. The inverse one leads from the image to straight rays; the modified one shifts by the tangential part
    what the radial part has moved already (librealsense, rs2_deproject_pixel_to_point, rs2_project_point_to_pixel)."""
    width, height = size
    focal, centre = np.array((matrix[0, 0], matrix[1, 1])), matrix[:2, 2]
    grid = np.mgrid[0 : width - 1 : _GRID * 1j, 0 : height - 1 : _GRID * 1j].reshape(2, -1).T
    edge = (grid - centre) / focal
    radial, tangential = _brown_conrady(edge)
    k, p = np.array([*values[:2], *values[4:5]]), np.array(values[2:4])
    with np.errstate(over="ignore", invalid="ignore"):
        if model == _INVERSE:
            straight, bent = edge + radial[..., : len(k)] @ k + tangential @ p, edge
        else:
            moved = edge + radial[..., : len(k)] @ k
            straight, bent = edge, moved + _brown_conrady(moved)[1] @ p
        radial, tangential = _brown_conrady(straight)
        terms = np.concatenate((radial[..., :2], tangential, radial[..., 2:]), axis=-1)
        found = _least_squares(terms.reshape(-1, _FITTED_TO), (bent - straight).ravel())
        off_px = float(np.nan_to_num(np.abs((terms @ found + straight - bent) * focal), nan=np.inf).max())
    if off_px > _FIT_PX:
        raise SegPerceptionError(
            f"distortion model {model} bends this image in a way that plumb_bob is up to {off_px:.1f} px off: calibrate "
            "the camera as plumb_bob or rational_polynomial"
        )
    return tuple(found.tolist())


def _least_squares(terms: np.ndarray, sums: np.ndarray) -> np.ndarray:
    """The factors with which terms [N, K] come nearest to sums [N]; infinite where either is, since LAPACK fails at those."""
    if not (np.isfinite(terms).all() and np.isfinite(sums).all()):
        return np.full(terms.shape[1], np.inf)
    found, *_ = np.linalg.lstsq(terms, sums, rcond=None)
    return found


def _brown_conrady(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What k1, k2, k3 and what p1, p2 shift points [N, 2] by, a unit each: [N, 2, 3] and [N, 2, 2]."""
    x, y = points.T
    square = x * x + y * y
    radial = points[..., None] * np.stack((square, square**2, square**3), axis=-1)[:, None]
    tangential = np.stack((2 * x * y, square + 2 * x * x, square + 2 * y * y, 2 * x * y), axis=-1).reshape(-1, 2, 2)
    return radial, tangential
