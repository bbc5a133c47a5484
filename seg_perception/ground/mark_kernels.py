"""What the ends that were found mark: cells, bearings, a lane and points; compiled."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from seg_perception.compiled import compiled
from seg_perception.labels import UNSEEN_LABEL


@compiled
def mark_feet(
    points: NDArray[np.float64],
    labels: NDArray[np.uint8],
    is_obstacle: NDArray[np.bool_],
    origin_m: tuple[float, float],
    resolution_m: float,
    value: int,
    cells: NDArray[np.int8],
) -> None:
    """Write value into every cell [rows, columns] that the near side of an obstacle's pixel [N, 3, 2] runs through."""
    rows, columns = cells.shape
    for i in range(len(points)):
        if not is_obstacle[labels[i, 1]]:
            continue
        x, y = points[i, 1, 0] - origin_m[0], points[i, 1, 1] - origin_m[1]
        along_x, along_y = points[i, 2, 0] - points[i, 1, 0], points[i, 2, 1] - points[i, 1, 1]
        # Near the horizon a side may be longer than the grid: only what of it lies in there is looked at.
        first, last = 0.0, 1.0
        for start, along, size in ((x, along_x, columns * resolution_m), (y, along_y, rows * resolution_m)):
            if along != 0:
                enters, leaves = -start / along, (size - start) / along
                first, last = max(first, min(enters, leaves)), min(last, max(enters, leaves))
        if not first <= last:
            continue
        one, other = (y + first * along_y) / resolution_m, (y + last * along_y) / resolution_m
        for row in range(max(math.floor(min(one, other)), 0), min(math.floor(max(one, other)), rows - 1) + 1):
            begin, end = first, last
            if along_y != 0:
                enters, leaves = (row * resolution_m - y) / along_y, ((row + 1) * resolution_m - y) / along_y
                begin, end = max(first, min(enters, leaves)), min(last, max(enters, leaves))
            one, other = (x + begin * along_x) / resolution_m, (x + end * along_x) / resolution_m
            low, high = max(math.floor(min(one, other)), 0), min(math.floor(max(one, other)), columns - 1)
            for column in range(low, high + 1):
                cells[row, column] = value


@compiled
def nearest_in_sectors(
    points: NDArray[np.float64],
    labels: NDArray[np.uint8],
    depths: NDArray[np.float64],
    free: NDArray[np.bool_],
    void: int,
    angle_min: float,
    angle_step: float,
    limit_m: float,
    out: NDArray[np.float64],
) -> None:
    """The least distance from the base frame's origin to an end of what is free, in the sector around each bearing,
    into out [K]: inf where there is none up to limit_m, NaN where in any part of it the view begins with what is not free and
    is not known by its depth, no farther than that end."""
    out[:] = np.inf
    # First what ends free ground, then where the view begins: what is seen to stand nearer counts beside that.
    for turn in range(2 * len(points)):
        i, begins = turn % len(points), turn >= len(points)
        near, far, measured = labels[i, 0], labels[i, 1], not math.isnan(depths[i])
        if free[far] or begins != (near == UNSEEN_LABEL and not measured):
            continue
        if not begins and (far == void or not (free[near] or near == UNSEEN_LABEL)):
            continue
        distance = math.sqrt(points[i, 0, 0] ** 2 + points[i, 0, 1] ** 2)
        if distance > limit_m:
            continue
        one = math.atan2(points[i, 1, 1], points[i, 1, 0])
        other = math.atan2(points[i, 2, 1], points[i, 2, 0])
        if abs(one - other) > math.pi:
            one, other = max(one, other), min(one, other) + 2 * math.pi
        for around in (-2 * math.pi, 0.0, 2 * math.pi):
            first = math.ceil((min(one, other) + around - angle_min) / angle_step - 0.5)
            last = math.floor((max(one, other) + around - angle_min) / angle_step + 0.5)
            for sector in range(max(first, 0), min(last, len(out) - 1) + 1):
                if distance <= out[sector]:
                    out[sector] = np.nan if begins else distance


@compiled
def nearest_in_lane(
    points: NDArray[np.float64],
    labels: NDArray[np.uint8],
    depths: NDArray[np.float64],
    class_id: int,
    void: int,
    half_width_m: float,
    begins_m: float,
) -> tuple[float, float]:
    """Distance along x to the first end of a class on the x axis, and in any part within half_width_m of it; inf where there
    is none, 0 where the view, which begins no farther than begins_m, begins with something else. Void is no end."""
    straight, wide = np.inf, np.inf
    for i in range(len(points)):
        near, far = labels[i, 0], labels[i, 1]
        x, one, other = points[i, 0, 0], points[i, 1, 1], points[i, 2, 1]
        begins = near == UNSEEN_LABEL
        behind = far != class_id and far != void
        if not ((begins or near == class_id) and behind and x > 0):
            continue
        distance = 0.0 if begins and math.isnan(depths[i]) and not x > begins_m else x
        if min(one, other) < half_width_m and max(one, other) > -half_width_m:
            wide = min(wide, distance)
        if one * other <= 0:
            straight = min(straight, distance)
    return straight, wide


@compiled
def place_feet(
    pixels: NDArray[np.int32],
    points: NDArray[np.float64],
    labels: NDArray[np.uint8],
    depths: NDArray[np.float64],
    is_obstacle: NDArray[np.bool_],
    position: NDArray[np.float64],
    range_max_m: float,
    columns: int,
    places: NDArray[np.float32],
) -> None:
    """Give the lowest pixel of each obstacle within the range the place of its near side, unless depth [N] has told it."""
    for i in range(len(pixels)):
        away_x, away_y = points[i, 0, 0] - position[0], points[i, 0, 1] - position[1]
        if (
            math.isnan(depths[i])
            and is_obstacle[labels[i, 1]]
            and math.sqrt(away_x * away_x + away_y * away_y) <= range_max_m
        ):
            at = pixels[i, 1] * columns + pixels[i, 0]
            places[at, 0], places[at, 1], places[at, 2] = points[i, 0, 0], points[i, 0, 1], 0.0
