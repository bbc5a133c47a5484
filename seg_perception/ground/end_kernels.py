"""Every compiled way between the pixels at which ground ends (end_pixel_kernels.py), their places and their bearings: in one file,
because Numba's cache does not see changes in another."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from seg_perception.compiled import compiled
from seg_perception.ground.end_pixel_kernels import BLOCK_PX
from seg_perception.labels import UNSEEN_LABEL

_LONGEST_LEAN_PX = 512
"""A leaning side is followed so far down; the stairs of one that leans less have no second step in a picture."""
_SIDE_PX = 4
"""What stands beside a pixel for so long on its way to the camera is the side of a thing and not its foot."""
_LEAST_FALL = 1e-4
"""A ray that falls by less a unit of its way, so meets the ground beyond 10 km from 1 m above it, is taken to miss it."""
_PIXEL_BINS = 6
"""Bearings that the side of a pixel reaches over at most, see ends.py: the pixel that shows a place may stand beside it."""
_STRIDE = 4
"""Every so many samples of a ray it is looked whether something hides it."""
_FACE_PX = 2
"""What ends a class may be a face along x, seen from so many pixels before on."""
_LEAST_SIDE_M = 0.3
"""Nearer than this to the camera's own line a face along x is seen edge on."""


@compiled
def _at_depth(
    base_from_optical: NDArray[np.float64], scale: float, x: float, y: float, z: float
) -> tuple[float, float]:
    """Where a ray, in optical axes, is after scale times its length, seen from above, from under the camera in m."""
    r = base_from_optical
    return (r[0, 0] * x + r[0, 1] * y + r[0, 2] * z) * scale, (r[1, 0] * x + r[1, 1] * y + r[1, 2] * z) * scale


@compiled
def _on_ground(
    base_from_optical: NDArray[np.float64], height_m: float, x: float, y: float, z: float
) -> tuple[float, float]:
    """Where a ray, in optical axes, meets the ground, from under the camera in m; NaN where it does not."""
    r = base_from_optical
    fall = -(r[2, 0] * x + r[2, 1] * y + r[2, 2] * z)
    if not fall > _LEAST_FALL:
        return np.nan, np.nan
    return _at_depth(r, height_m / fall, x, y, z)


@compiled
def _bin(x: float, y: float, bins: int) -> float:
    """Where the bearing of (x, y) lies among bins all around, counted from that along x; cheaper than an angle."""
    around = y / (abs(x) + abs(y) + 1e-12)
    if x < 0:
        around = 2 - around
    elif around < 0:
        around += 4
    return around * bins / 4


@compiled
def _bearing_bin(x: float, y: float, bins: int) -> int:
    """Which of so many bearings all around is that of (x, y)."""
    return int(_bin(x, y, bins)) % bins


@compiled
def place_ends(
    mask: NDArray[np.uint8],
    costs: NDArray[np.int8],
    inward: NDArray[np.float32],
    below: tuple[float, float],
    rays: NDArray[np.float64],
    base_from_optical: NDArray[np.float64],
    position: NDArray[np.float64],
    limit_m: float,
    depths: NDArray[np.float64],
    pixels: NDArray[np.int32],
    ends: int,
    points: NDArray[np.float64],
    labels: NDArray[np.uint8],
    distances: NDArray[np.float64],
    nearest: NDArray[np.float64],
) -> int:
    """Put ends [N, 6] where their near sides, whose rays in optical axes are rays [3 N, 3], are by depths [N] in m, and on the
    ground where that is NaN; drop those that are beyond limit_m or that something hides: how many are left; their pixels,
    depths, points and labels are then the first of the buffers. Those after the first so many ends only hide, but where the view
    begins with them.

    The first pass also tells how near, by bearing, something stands; the second is _keep_seen.
    """
    nearest[:] = np.inf
    count = 0
    for i in range(len(pixels)):
        seen = True
        for corner in range(3):
            ray = 3 * i + corner
            if math.isnan(depths[i]):
                x, y = _on_ground(base_from_optical, position[2], rays[ray, 0], rays[ray, 1], rays[ray, 2])
            else:
                x, y = _at_depth(base_from_optical, depths[i] / rays[ray, 2], rays[ray, 0], rays[ray, 1], rays[ray, 2])
            if corner == 0:
                distances[count] = math.sqrt(x * x + y * y)
                seen = distances[count] <= limit_m  # False for NaN
                if not seen:
                    break
            elif math.isnan(x):
                x, y = points[count, 0, 0], points[count, 0, 1]
            points[count, corner, 0], points[count, corner, 1] = x, y
        if not seen:
            continue
        if pixels[i, 2] == 0 and pixels[i, 3] == 0:
            distances[count] = 0.0
            nearest[:] = 0.0
        for k in range(6):
            pixels[count, k] = pixels[i, k]
        depths[count] = depths[i]
        if costs[pixels[count, 5]] < 0:
            _hide_behind(points[count], distances[count], nearest)
        count += i < ends or pixels[count, 4] == UNSEEN_LABEL
    return _keep_seen(mask, costs, inward, below, position, depths, pixels[:count], points, labels, distances, nearest)


@compiled
def _hide_behind(side: NDArray[np.float64], distance: float, nearest: NDArray[np.float64]) -> None:
    """Let something so far away, whose near side has its middle and corners at side [3, 2], hide what is behind it."""
    bins = len(nearest)
    middle = _bearing_bin(side[0, 0], side[0, 1], bins)
    nearest[middle] = min(nearest[middle], distance)
    left, right = _bin(side[1, 0], side[1, 1], bins), _bin(side[2, 0], side[2, 1], bins)
    if abs(left - right) > bins / 2:  # over the seam
        left, right = max(left, right), min(left, right) + bins
    for number in range(math.ceil(min(left, right) - 0.5), math.floor(max(left, right) - 0.5) + 1):
        around = number if number < bins else number - bins
        nearest[around] = min(nearest[around], distance)


@compiled
def _keep_seen(
    mask: NDArray[np.uint8],
    costs: NDArray[np.int8],
    inward: NDArray[np.float32],
    below: tuple[float, float],
    position: NDArray[np.float64],
    depths: NDArray[np.float64],
    pixels: NDArray[np.int32],
    points: NDArray[np.float64],
    labels: NDArray[np.uint8],
    distances: NDArray[np.float64],
    nearest: NDArray[np.float64],
) -> int:
    """Of the ends that place_ends has put on the ground around the camera, those that nothing nearer hides and that are no
    step of a leaning side, moved to the base frame: how many."""
    bins, kept = len(nearest), 0
    for i in range(len(pixels)):
        at = _bearing_bin(points[i, 0, 0], points[i, 0, 1], bins)
        u, v, is_upright = pixels[i, 0], pixels[i, 1], pixels[i, 2] == 0
        if distances[i] > nearest[at] * (1 + 1e-9):
            continue
        if pixels[i, 4] != UNSEEN_LABEL and _is_stair(mask, costs, inward, below, u, v, is_upright):
            continue
        for corner in range(3):
            points[kept, corner, 0] = points[i, corner, 0] + position[0]
            points[kept, corner, 1] = points[i, corner, 1] + position[1]
        labels[kept, 0], labels[kept, 1] = pixels[i, 4], pixels[i, 5]
        depths[kept] = depths[i]
        for k in range(6):
            pixels[kept, k] = pixels[i, k]
        kept += 1
    return kept


@compiled
def _is_stair(
    mask: NDArray[np.uint8],
    costs: NDArray[np.int8],
    inward: NDArray[np.float32],
    below: tuple[float, float],
    u: int,
    v: int,
    is_upright: bool,
) -> bool:
    """Whether an end is only a step in the stairs of a side that leans: on its way to the camera comes more of it.

    is_upright: whether the neighbour that it differs from is above or below.
    """
    way_x, way_y = inward[v // BLOCK_PX, u // BLOCK_PX, 0], inward[v // BLOCK_PX, u // BLOCK_PX, 1]
    if way_x == 0 and way_y == 0:
        way_x, way_y = below[0] - u, below[1] - v
        longer = max(abs(way_x), abs(way_y))
        way_x, way_y = way_x / longer, way_y / longer
    lean = abs(way_x) if is_upright else abs(way_y)
    if lean * 2 * _LONGEST_LEAN_PX < 1:
        return False
    far = mask[v, u]
    # The next step of the stairs is beside the neighbour: most feet end here. Where that goes on for long it is a side,
    # whatever a middle just within it looks past: no foot rises so steeply on the side to which things lean.
    side_x, side_y = int(np.sign(way_x)), int(np.sign(way_y))
    run = 0
    for k in range(_SIDE_PX):
        x, y = u + side_x * (1 if is_upright else 1 + k), v + side_y * (1 + k if is_upright else 1)
        if not (0 <= x < mask.shape[1] and 0 <= y < mask.shape[0]) or mask[y, x] == UNSEEN_LABEL:
            break
        if not (mask[y, x] == far or costs[mask[y, x]] < 0):
            break
        run += 1
    if run in (0, _SIDE_PX):
        return run > 0
    for k in range(1, math.ceil(0.5 / lean) + 2):
        x, y = math.floor(u + k * way_x + 0.5), math.floor(v + k * way_y + 0.5)
        if x < 0 or y < 0 or x >= mask.shape[1] or y >= mask.shape[0] or mask[y, x] == UNSEEN_LABEL:
            return False
        if mask[y, x] == far or costs[mask[y, x]] < 0:
            return True
    return False


@compiled
def bins_of(
    cells: NDArray[np.int32],
    position_m: tuple[float, float],
    origin_m: tuple[float, float],
    columns: int,
    resolution_m: float,
    bins: int,
    out: NDArray[np.int32],
    distances: NDArray[np.float64],
) -> None:
    """Into out and distances [C]: in which of so many bearings around a position the middle of each cell of a grid
    lies, and its distance in m."""
    for i in range(len(cells)):
        x = origin_m[0] + (cells[i] % columns + 0.5) * resolution_m - position_m[0]
        y = origin_m[1] + (cells[i] // columns + 0.5) * resolution_m - position_m[1]
        out[i] = _bearing_bin(x, y, bins)
        distances[i] = math.sqrt(x * x + y * y)


@compiled
def end_at_hidden(
    mask: NDArray[np.uint8],
    rays: NDArray[np.int32],
    ways: NDArray[np.float64],
    step_m: float,
    position: NDArray[np.float64],
    nearest: NDArray[np.float64],
    row_share: float,
    ends: NDArray[np.float64],
    least_m: float,
    ranges: NDArray[np.float32],
    seen: NDArray[np.float32],
) -> None:
    """End ranges and seen [K], as maps.scan_free has filled them, where something stands between the camera and the ray: what
    comes behind it is not known, and what the ray meets there stands elsewhere. Where all that is seen of the ray is behind it,
    nothing of it is seen.

    mask: flat; rays: int32 [K, S], as scan_free has them; ways: [K, 2], unit directions of these, from the base frame's origin, of
    whose samples scan_free has looked at one each step_m; nearest: distance from under the camera, at position, to what hides the
    ground, by bearing; row_share: how long a row of pixels is on the ground, as a share of its squared distance, 1/m; ends,
    least_m: see scan_free.
    """
    for ray in range(len(ways)):
        if not seen[ray] > 0:
            continue
        free = int(seen[ray] / step_m + 1e-3)
        way_x, way_y = step_m * ways[ray, 0], step_m * ways[ray, 1]
        hidden = _first_hidden((0.0, 0.0), (way_x, way_y), (1, free), position, nearest, step_m, row_share)
        if not hidden and ranges[ray] < np.inf and ends[ray] > ranges[ray]:
            # The next sample alone ends it, with no end near: that stands there, or before it on the camera's own ray.
            at = free + 1
            if _is_hidden(at * way_x, at * way_y, position, nearest, _PIXEL_BINS, step_m, row_share):
                hidden = at
        if not hidden:
            continue
        reach, begins = (hidden - 0.5) * step_m, _first_seen(mask, rays[ray], hidden)
        seen[ray] = min(reach, ends[ray]) if begins < hidden else 0
        ranges[ray] = max(ends[ray], least_m) if ends[ray] <= reach + step_m else np.nan


@compiled
def end_lines_at_hidden(
    mask: NDArray[np.uint8],
    lines: NDArray[np.int32],
    starts_y: NDArray[np.float64],
    step_m: float,
    position: NDArray[np.float64],
    nearest: NDArray[np.float64],
    row_share: float,
    known: NDArray[np.float32],
) -> None:
    """Shorten known [R], how far in m a class is known along lines in x from (0, starts_y [R]), to where something stands between
    the camera and the line; NaN where all that is seen of it is behind that.

    mask: flat; lines: int32 [R, S], pixels of samples that are step_m apart from there on; the rest as end_at_hidden has it.
    """
    for line in range(len(known)):
        if not known[line] > 0:
            continue
        last = lines.shape[1]
        if known[line] < np.inf:
            last = min(int(known[line] / step_m + 1e-3), last)
        begins, start = _first_seen(mask, lines[line], last), (0.0, starts_y[line])
        hidden = _first_hidden(start, (step_m, 0.0), (begins, last), position, nearest, step_m, row_share)
        if hidden:
            known[line] = np.float32((hidden - 0.5) * step_m) if hidden > begins else np.float32(np.nan)


@compiled
def forget_hidden_reaches(
    ahead_m: NDArray[np.float64],
    sides: NDArray[np.float64],
    stops: NDArray[np.int32],
    step_m: float,
    position: NDArray[np.float64],
    nearest: NDArray[np.float64],
    row_share: float,
    focal_px: float,
    reaches: NDArray[np.float64],
) -> None:
    """NaN into the reaches [R] to the sides [R], 1 or -1 along y, from (ahead_m [R], 0) on, of whose samples 0 to stops [R], step_m
    apart, something hides one from the camera. focal_px: across; the rest as end_at_hidden has it."""
    for ray in range(len(reaches)):
        if math.isnan(reaches[ray]):
            continue
        for sample in range(stops[ray] + 1):
            y, slack_m = sides[ray] * sample * step_m, step_m
            away = math.hypot(ahead_m[ray] - position[0], y - position[1])
            if reaches[ray] < np.inf and (stops[ray] - sample) * step_m <= step_m + _FACE_PX * away / focal_px:
                # A face along x begins a little before the point beside it that is seen first, by more the finer both
                # angles are that the ray and the mask's pixels leave.
                slack_m += away * (step_m + away / focal_px) / max(abs(y - position[1]), _LEAST_SIDE_M)
            if _is_hidden(ahead_m[ray], y, position, nearest, 0, slack_m, row_share):
                reaches[ray] = np.nan
                break


@compiled
def _first_seen(mask: NDArray[np.uint8], pixels: NDArray[np.int32], last: int) -> int:
    """The first sample of a ray that shows anything, counted from 1; pixels: of its samples; last: where there is none."""
    first = 1
    while first < last and (pixels[first - 1] < 0 or mask[pixels[first - 1]] == UNSEEN_LABEL):
        first += 1
    return first


@compiled
def _first_hidden(
    start: tuple[float, float],
    step: tuple[float, float],
    samples: tuple[int, int],
    position: NDArray[np.float64],
    nearest: NDArray[np.float64],
    step_m: float,
    row_share: float,
) -> int:
    """Which of a ray's samples, from the first to the last of `samples`, something hides first; 0 where none of those that are
    looked at. Sample k is at start + k step."""
    first, last = samples
    hidden = 0
    for sample in range(first, last + _STRIDE, _STRIDE):
        at = min(sample, last)
        if at and _is_hidden(start[0] + at * step[0], start[1] + at * step[1], position, nearest, 0, step_m, row_share):
            hidden = at
            break
    while hidden > first and _is_hidden(
        start[0] + (hidden - 1) * step[0], start[1] + (hidden - 1) * step[1], position, nearest, 0, step_m, row_share
    ):
        hidden -= 1
    return hidden


@compiled
def _is_hidden(
    x: float,
    y: float,
    position: NDArray[np.float64],
    nearest: NDArray[np.float64],
    beside: int,
    slack_m: float,
    row_share: float,
) -> bool:
    """Whether something stands between the camera and a place on the ground, nearer to it by more than slack_m and a row of
    pixels, in its bearing or so many beside it."""
    x, y = x - position[0], y - position[1]
    away = math.sqrt(x * x + y * y)
    number, least = _bearing_bin(x, y, len(nearest)), np.inf
    for other in range(number - beside, number + beside + 1):
        least = min(least, nearest[other % len(nearest)])
    return bool(away > least + slack_m + row_share * away * away)


@compiled
def place_ground(
    semantic: NDArray[np.uint8],
    instance: NDArray[np.uint16],
    confidence: NDArray[np.uint8],
    seen: NDArray[np.uint8],
    costs: NDArray[np.int8],
    depth: NDArray[np.float32],
    slopes: NDArray[np.float32],
    base_from_optical: NDArray[np.float64],
    position: NDArray[np.float64],
    range_max_m: float,
    nearest: NDArray[np.float64],
    places: NDArray[np.float32],
    words: NDArray[np.uint32],
) -> None:
    """Write all points [N, 4]: x, y, z into places, where depth [N] has them, else on the ground, NaN where what is seen is no
    ground or something nearer hides it; label, confidence and instance into the last of words, which is the same memory.

    depth: in m, other than above 0 and finite = not known; [0] where there is none."""
    bins, r = len(nearest), base_from_optical
    for i in range(len(semantic)):
        words[i, 3] = (
            np.uint32(semantic[i])
            | (np.uint32(confidence[i]) << np.uint32(8))
            | (np.uint32(instance[i]) << np.uint32(16))
        )
        places[i, 0] = places[i, 1] = places[i, 2] = np.nan
        if len(depth) and depth[i] > 0 and depth[i] < np.inf and seen[i] != UNSEEN_LABEL:
            x, y = _at_depth(r, depth[i], slopes[i, 0], slopes[i, 1], 1.0)
            if math.sqrt(x * x + y * y) <= range_max_m:
                places[i, 0], places[i, 1] = x + position[0], y + position[1]
                places[i, 2] = depth[i] * (r[2, 0] * slopes[i, 0] + r[2, 1] * slopes[i, 1] + r[2, 2]) + position[2]
            continue
        if costs[seen[i]] < 0:
            continue
        x, y = _on_ground(base_from_optical, position[2], slopes[i, 0], slopes[i, 1], 1.0)
        distance = math.sqrt(x * x + y * y)  # NaN is within no range
        if distance <= range_max_m and distance < nearest[_bearing_bin(x, y, bins)]:
            places[i, 0], places[i, 1], places[i, 2] = x + position[0], y + position[1], 0.0
