"""Compiled ways between pixels, rays and the flat ground z = 0, for every lens model. All of it is in this one file,
because Numba's cache does not notice a change in a function of another file that was compiled into one of its own."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from seg_perception.compiled import compiled
from seg_perception.labels import UNSEEN_LABEL

PINHOLE, POLYNOMIAL, FISHEYE = 0, 1, 2
UNSEEN = -1
_BEHIND_M = 1e-6
_MAX_STEPS = 30
_CONVERGED = 1e-12
"""Newton's method ends when it is right to this share of the focal length."""
_PROBE = 1e-7
"""Distance over which a lens' slope is taken."""
_SPREAD_PX = 0.75
"""How far from its place a pixel that is moved is still drawn, so that none between two is left out."""
_MOST_GAP_PX = 8.0
"""Neighbours that come to lie farther apart have something between them that was not seen."""


class LensNumbers(NamedTuple):
    """A lens as kernels take it. model: PINHOLE, POLYNOMIAL (plumb_bob and rational_polynomial) or FISHEYE.

    fx, fy, cx, cy: px, pixel centres at whole numbers. coefficients: 14 in OpenCV's order, 0 where there are none.
    tilt: 3 x 3 numbers row by row, what a tilted sensor does to distorted slopes. slope_limit_squared: how far from the
    axis, as a ray's slope, the model holds. Tuples rather than arrays, since the compiler keeps them in registers.
    """

    model: int
    fx: float
    fy: float
    cx: float
    cy: float
    coefficients: tuple[float, ...]
    tilt: tuple[float, ...]
    slope_limit_squared: float


@compiled
def _bent(x: float, y: float, lens: LensNumbers) -> tuple[float, float]:
    """Where the lens puts a ray of slopes x, y, in focal lengths.

    The polynomial with thin prism and tilted sensor: OpenCV's documentation of calib3d, after Brown (1966) and Louhichi
    et al. (2007). Fisheye: Kannala and Brandt (2006).
    """
    r2 = x * x + y * y
    k = lens.coefficients
    if lens.model == FISHEYE:
        slope = math.sqrt(r2)
        angle = math.atan(slope)
        a2 = angle * angle
        scale = angle * (1 + a2 * (k[0] + a2 * (k[1] + a2 * (k[2] + a2 * k[3])))) / slope if slope > 1e-8 else 1.0
        return x * scale, y * scale
    radial = (1 + r2 * (k[0] + r2 * (k[1] + r2 * k[4]))) / (1 + r2 * (k[5] + r2 * (k[6] + r2 * k[7])))
    xy = 2 * x * y
    u = x * radial + k[2] * xy + k[3] * (r2 + 2 * x * x) + r2 * (k[8] + r2 * k[9])
    v = y * radial + k[2] * (r2 + 2 * y * y) + k[3] * xy + r2 * (k[10] + r2 * k[11])
    if k[12] == 0 and k[13] == 0:
        return u, v
    t = lens.tilt
    w = t[6] * u + t[7] * v + t[8]
    return (t[0] * u + t[1] * v + t[2]) / w, (t[3] * u + t[4] * v + t[5]) / w


@compiled
def _to_pixel(right: float, down: float, ahead: float, lens: LensNumbers) -> tuple[float, float, bool]:
    """Pixel x, y of a point in optical axes, and whether it is one: not behind the camera nor beyond the lens' reach."""
    if not ahead > _BEHIND_M:
        return np.nan, np.nan, False
    x, y = right / ahead, down / ahead
    reached = x * x + y * y <= lens.slope_limit_squared
    if lens.model != PINHOLE:
        x, y = _bent(x, y, lens)
    return lens.fx * x + lens.cx, lens.fy * y + lens.cy, reached


@compiled
def _pixel_index(right: float, down: float, ahead: float, lens: LensNumbers, height: int, width: int) -> np.int32:
    """Flat index of the pixel that shows a point in optical axes; UNSEEN outside the image."""
    u, v, reached = _to_pixel(right, down, ahead, lens)
    if not (reached & (u > -0.5) & (u < width - 0.5) & (v > -0.5) & (v < height - 0.5)):
        return np.int32(UNSEEN)
    return np.int32(v + 0.5) * np.int32(width) + np.int32(u + 0.5)


@compiled
def bend(slopes: NDArray[np.float64], lens: LensNumbers, out: NDArray[np.float64]) -> None:
    """Pixels [K, 2] of rays given by their slopes [K, 2], into out; the lens' reach is not looked at."""
    for i in range(slopes.shape[0]):
        x, y = slopes[i, 0], slopes[i, 1]
        if lens.model != PINHOLE:
            x, y = _bent(x, y, lens)
        out[i, 0] = lens.fx * x + lens.cx
        out[i, 1] = lens.fy * y + lens.cy


@compiled
def _fisheye_slopes(u: float, v: float, lens: LensNumbers) -> tuple[float, float]:
    """The ray's slopes that _bent takes to u, v: Newton's method on the angle, since slopes grow without bound. Where the
    polynomial has folded back before it reaches u, v there is no ray, whatever is found beyond."""
    radius = math.sqrt(u * u + v * v)
    if radius < 1e-8:
        return u, v
    k = lens.coefficients
    limit = math.atan(math.sqrt(lens.slope_limit_squared))
    angle, off, steepness = min(radius, limit), np.inf, 1.0
    for _ in range(_MAX_STEPS):
        a2 = angle * angle
        off = angle * (1 + a2 * (k[0] + a2 * (k[1] + a2 * (k[2] + a2 * k[3])))) - radius
        steepness = 1 + a2 * (3 * k[0] + a2 * (5 * k[1] + a2 * (7 * k[2] + a2 * 9 * k[3])))
        if abs(off) < _CONVERGED:
            break
        # From beyond the field, or from near a fold, a step may lead out of it.
        angle = min(max(angle - off / steepness, 0.5 * angle), 0.5 * (angle + limit))
    if not (abs(off) < _CONVERGED and steepness > 0 and 0 < angle < math.pi / 2 and angle <= limit * (1 + 1e-9)):
        return np.nan, np.nan
    scale = math.tan(angle) / radius
    return u * scale, v * scale


@compiled
def _polynomial_slopes(u: float, v: float, lens: LensNumbers) -> tuple[float, float]:
    """The ray's slopes that _bent takes to u, v: Newton's method. Where the polynomial has folded back before it reaches
    u, v there is no ray, whatever is found beyond."""
    x, y, off, turned = u, v, np.inf, 1.0
    for _ in range(_MAX_STEPS):
        beyond = math.sqrt((x * x + y * y) / lens.slope_limit_squared)
        if beyond > 1:  # there it folds back, and steps lead anywhere
            x, y = x / beyond, y / beyond
        at_u, at_v = _bent(x, y, lens)
        off_u, off_v = at_u - u, at_v - v
        right_u, right_v = _bent(x + _PROBE, y, lens)
        down_u, down_v = _bent(x, y + _PROBE, lens)
        a, b = (right_u - at_u) / _PROBE, (down_u - at_u) / _PROBE
        c, d = (right_v - at_v) / _PROBE, (down_v - at_v) / _PROBE
        turned = a * d - b * c
        off = abs(off_u) + abs(off_v)
        if off < _CONVERGED:
            break
        x -= (d * off_u - b * off_v) / turned
        y -= (a * off_v - c * off_u) / turned
    if not (off < _CONVERGED and turned > 0 and x * x + y * y <= lens.slope_limit_squared):
        return np.nan, np.nan
    return x, y


@compiled
def unbend(pixels: NDArray[np.float64], lens: LensNumbers, out: NDArray[np.float64]) -> None:
    """Slopes (x / z, y / z) [K, 2] of the rays of pixels [K, 2], into out; NaN where the lens has no ray."""
    for i in range(pixels.shape[0]):
        u, v = (pixels[i, 0] - lens.cx) / lens.fx, (pixels[i, 1] - lens.cy) / lens.fy
        if lens.model == FISHEYE:
            u, v = _fisheye_slopes(u, v, lens)
        elif lens.model == POLYNOMIAL:
            u, v = _polynomial_slopes(u, v, lens)
        out[i, 0], out[i, 1] = u, v


@compiled
def project(
    ground: NDArray[np.float64], to_optical: NDArray[np.float64], lens: LensNumbers, out: NDArray[np.float64]
) -> None:
    """Pixels [K, 2] of ground points [K, 2] in m, into out; NaN where there is none. to_optical [3, 3]: (x, y, 1) on the
    ground to the point in optical axes."""
    h = to_optical
    for i in range(ground.shape[0]):
        x, y = ground[i, 0], ground[i, 1]
        u, v, reached = _to_pixel(
            h[0, 0] * x + h[0, 1] * y + h[0, 2],
            h[1, 0] * x + h[1, 1] * y + h[1, 2],
            h[2, 0] * x + h[2, 1] * y + h[2, 2],
            lens,
        )
        out[i, 0], out[i, 1] = (u, v) if reached else (np.nan, np.nan)


@compiled
def look_along_rays(
    starts: NDArray[np.float64],
    ways: NDArray[np.float64],
    step_m: float,
    to_optical: NDArray[np.float64],
    lens: LensNumbers,
    height: int,
    width: int,
    out: NDArray[np.int32],
) -> None:
    """Into out [R, S]: flat index of the pixel that shows the point (s + 1) * step_m along each ray, or UNSEEN.

    starts, ways: [R, 2], where rays begin and their unit directions on the ground.
    """
    h = to_optical
    for ray in range(out.shape[0]):
        x, y = starts[ray, 0], starts[ray, 1]
        right, down, ahead = (
            h[0, 0] * x + h[0, 1] * y + h[0, 2],
            h[1, 0] * x + h[1, 1] * y + h[1, 2],
            h[2, 0] * x + h[2, 1] * y + h[2, 2],
        )
        x, y = ways[ray, 0], ways[ray, 1]
        right_m, down_m, ahead_m = (
            h[0, 0] * x + h[0, 1] * y,
            h[1, 0] * x + h[1, 1] * y,
            h[2, 0] * x + h[2, 1] * y,
        )
        for sample in range(out.shape[1]):
            d = (sample + 1) * step_m
            out[ray, sample] = _pixel_index(
                right + d * right_m, down + d * down_m, ahead + d * ahead_m, lens, height, width
            )


@compiled
def look_at_cells(
    origin_m: tuple[float, float],
    shape: tuple[int, int],
    resolution_m: float,
    to_optical: NDArray[np.float64],
    lens: LensNumbers,
    height: int,
    width: int,
    cells: NDArray[np.int32],
    pixels: NDArray[np.int32],
) -> int:
    """How many cells of a grid (rows y, columns x) have their middle in the image; their indices into cells and the
    flat index of the pixel that shows it into pixels."""
    h = to_optical
    count = 0
    for row in range(shape[0]):
        y = origin_m[1] + (row + 0.5) * resolution_m
        for column in range(shape[1]):
            x = origin_m[0] + (column + 0.5) * resolution_m
            pixel = _pixel_index(
                h[0, 0] * x + h[0, 1] * y + h[0, 2],
                h[1, 0] * x + h[1, 1] * y + h[1, 2],
                h[2, 0] * x + h[2, 1] * y + h[2, 2],
                lens,
                height,
                width,
            )
            if pixel != UNSEEN:
                cells[count] = row * shape[1] + column
                pixels[count] = pixel
                count += 1
    return count


@compiled
def _draw(out: NDArray[np.uint8], x: float, y: float, spread_x: float, spread_y: float, label: int) -> None:
    """Write a label into the pixels of out [H, W] around a place; nothing for NaN."""
    height, width = out.shape
    if not (-1 < x < width and -1 < y < height):
        return
    for row in range(max(math.ceil(y - spread_y), 0), min(math.floor(y + spread_y), height - 1) + 1):
        for column in range(max(math.ceil(x - spread_x), 0), min(math.floor(x + spread_x), width - 1) + 1):
            out[row, column] = label


@compiled
def _draw_way(out: NDArray[np.uint8], x: float, y: float, to_x: float, to_y: float, most: float, label: int) -> None:
    """Write a label along the way between two places, without either; not where that is longer than most, or one is none."""
    length = max(abs(to_x - x), abs(to_y - y))
    if not length <= most:
        return
    steps = math.ceil(length)
    for step in range(1, steps):
        share = step / steps
        _draw(out, x + share * (to_x - x), y + share * (to_y - y), _SPREAD_PX, _SPREAD_PX, label)


@compiled
def _put_down(
    slope_x: float, slope_y: float, depth: float, to_base: NDArray[np.float64], height_m: float, lens: LensNumbers
) -> tuple[float, float]:
    """The pixel x, y that shows the place on the plane z = 0 right below, or above, a point on a ray; NaN where none does.
    to_base [3, 3]: rotation from optical axes."""
    x, y = depth * slope_x, depth * slope_y
    z = to_base[2, 0] * x + to_base[2, 1] * y + to_base[2, 2] * depth + height_m
    ahead = depth - z * to_base[2, 2]
    u, v, reached = _to_pixel(x - z * to_base[2, 0], y - z * to_base[2, 1], ahead, lens)
    return (u, v) if reached else (np.nan, np.nan)


@compiled
def flatten(
    seen: NDArray[np.uint8],
    costs: NDArray[np.int8],
    depth: NDArray[np.float32],
    slopes: NDArray[np.float32],
    base_from_optical: NDArray[np.float64],
    height_m: float,
    lens: LensNumbers,
    ends: NDArray[np.int32],
    end_depths: NDArray[np.float64],
    nearer: NDArray[np.float64],
    out: NDArray[np.uint8],
) -> None:
    """The mask [H, W] as it would be if all ground lay in the plane z = 0 at the same x and y, into out [H, W].

    costs: by label value, -1 = no ground; depth: [H, W] in m, other than above 0 and finite = not known, then a pixel moves as
    the one below it does, so that ground that goes on as it began has no holes, and without such a one stays;
    slopes: [H, W, 2]; height_m: of the camera. ends [N, 6], as find_ends has them: their foot goes where end_depths [N] has it, and
    what stands on it rises from there. UNSEEN_LABEL where ground came from and none went to. nearer: buffer [W, 4].
    """
    height, width = seen.shape
    nearer[:, :2] = np.nan  # where the row below has come to lie
    nearer[:, 2:] = 0.0  # and how far it was moved
    for v in range(height - 1, -1, -1):
        for u in range(width):
            out[v, u] = seen[v, u] if costs[seen[v, u]] < 0 else UNSEEN_LABEL
    for v in range(height - 1, -1, -1):
        left_x, left_y = np.nan, np.nan
        for u in range(width):
            label = seen[v, u]
            if costs[label] < 0:
                left_x = left_y = nearer[u, 0] = nearer[u, 1] = np.nan
                continue
            x, y = float(u), float(v)
            ahead = depth[v, u]
            if ahead > 0 and ahead < np.inf:
                x, y = _put_down(slopes[v, u, 0], slopes[v, u, 1], ahead, base_from_optical, height_m, lens)
                nearer[u, 2], nearer[u, 3] = (x - u, y - v) if not math.isnan(x) else (0.0, 0.0)
            else:
                x, y = u + nearer[u, 2], v + nearer[u, 3]
            if abs(x - u) < 1 - _SPREAD_PX and abs(y - v) < 1 - _SPREAD_PX:
                out[v, u] = label  # as _draw does, at once
            else:
                _draw(out, x, y, _SPREAD_PX, _SPREAD_PX, label)
            if max(abs(x - left_x), abs(y - left_y)) > 2 * _SPREAD_PX:
                _draw_way(out, x, y, left_x, left_y, _MOST_GAP_PX, label)
            if max(abs(x - nearer[u, 0]), abs(y - nearer[u, 1])) > 2 * _SPREAD_PX:
                _draw_way(out, x, y, nearer[u, 0], nearer[u, 1], _MOST_GAP_PX, label)
            left_x = nearer[u, 0] = x
            left_y = nearer[u, 1] = y
    _raise_ends(costs, depth, slopes, base_from_optical, height_m, lens, ends, end_depths, out)


@compiled
def _raise_ends(
    costs: NDArray[np.int8],
    depth: NDArray[np.float32],
    slopes: NDArray[np.float32],
    base_from_optical: NDArray[np.float64],
    height_m: float,
    lens: LensNumbers,
    ends: NDArray[np.int32],
    end_depths: NDArray[np.float64],
    out: NDArray[np.uint8],
) -> None:
    """What flatten does with the ends: ground goes as far as they stand, and they stand up to where they were seen."""
    most = float(out.shape[0] + out.shape[1])
    for i in range(len(ends)):
        u, v, near, far = ends[i, 0], ends[i, 1], ends[i, 4], ends[i, 5]
        if costs[far] >= 0 or math.isnan(end_depths[i]):
            continue
        x, y = _put_down(slopes[v, u, 0], slopes[v, u, 1], end_depths[i], base_from_optical, height_m, lens)
        x, y = x - 0.5 * ends[i, 2], y - 0.5 * ends[i, 3]  # it begins with its near side
        side_u, side_v = u + ends[i, 2], v + ends[i, 3]
        if near != UNSEEN_LABEL:
            ahead = depth[side_v, side_u]
            side_x, side_y = float(side_u), float(side_v)
            if ahead > 0 and ahead < np.inf:
                side_x, side_y = _put_down(
                    slopes[side_v, side_u, 0], slopes[side_v, side_u, 1], ahead, base_from_optical, height_m, lens
                )
            _draw_way(out, side_x, side_y, x, y, _MOST_GAP_PX, near)
        if (x - u) * ends[i, 2] + (y - v) * ends[i, 3] > 0:  # nearer than flat ground has it
            _draw_way(out, x, y, float(u), float(v), most, far)
        # At one pixel along its own way to the camera, beside that without a gap.
        _draw(out, x, y, 0.5 if ends[i, 2] else _SPREAD_PX, 0.5 if ends[i, 3] else _SPREAD_PX, far)
