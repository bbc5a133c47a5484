"""The exact ground of a frame of the synthetic drive, and how near an answer comes to it.

What is right in a cell is judged at 25 points of it, 2 cm apart in a grid of 0.1 m, by the rules that the node promises
(seg_perception.ground.drivable), applied to the bird's-eye view that the renderer draws straight onto the ground:

- Along a ray from under the camera ground is known up to the first point that is no ground: there is a foot of an
  obstacle. What lies behind is unknown, and so is what is not seen.
- A cell is right when what it says is true at one of its points (cells on a border hold two truths); what it says is an
  obstacle when a foot is at most one cell away; and where a foot is, a cell at most one away must say so.
- A cell is strictly right when it says what is true at its middle, and marks a foot in the very cell and nowhere else.

Cells count whose middle is in the picture and at most 20 m from the point under the camera.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from seg_perception.camera_model import Floats
from seg_perception.compiled import compiled
from seg_perception.ground.drivable import DrivableSettings
from seg_perception.ground.maps import OBSTACLE
from seg_perception.labels import NOT_GROUND, VOID, LabelSet
from seg_perception.results import Drivable, Grid, LookAhead, Outline
from seg_perception.synthetic.drive import SyntheticDrive

RANGE_M = 20.0
FREE_SHARE, FREE_M = 0.02, 0.05
"""A free distance is right when its error is at most this share of it, or at most so many metres."""
_PARTS = 5


@dataclass(frozen=True)
class GroundTruth:
    """What is true of one frame within the grid of some settings.

    points: int8 [rows, columns, 25], cost at the points of each cell, NOT_GROUND where nothing is known. feet, counted:
    bool [rows, columns], whether an obstacle's foot is in a cell, and whether it counts. road: bool [rows * 5, columns
    * 5], where road is seen. free_m, free_width_m: exact free distance ahead, along the x axis and over the vehicle's width, at
    most range_max_m. edges: where the road ends to both sides. settings: those of the grid.
    """

    points: NDArray[np.int8]
    feet: NDArray[np.bool_]
    counted: NDArray[np.bool_]
    road: NDArray[np.bool_]
    free_m: float
    free_width_m: float
    edges: tuple[LookAhead, ...]
    settings: DrivableSettings

    @staticmethod
    def of(drive: SyntheticDrive, i: int, settings: DrivableSettings) -> GroundTruth:
        """The truth of frame i of a drive."""
        rows, columns = settings.grid_shape
        origin_m, fine = settings.grid_origin_m, settings.resolution_m / _PARTS
        labels = drive.birds_eye(i, origin_m, (rows * _PARTS, columns * _PARTS), (fine, fine))
        pose = drive.pose_at(i)
        x = origin_m[0] - pose.x + (np.arange(labels.shape[1]) + 0.5) * fine
        y = origin_m[1] - pose.y + (np.arange(labels.shape[0]) + 0.5) * fine
        distances, bearings = np.hypot(x, y[:, None]), np.arctan2(y[:, None], x)
        seen = labels != VOID
        first, step = float(bearings[seen].min()), fine / float(distances.max())
        rays = first + step * np.arange(math.ceil((float(bearings[seen].max()) - first) / step) + 1, dtype=np.float64)
        costs = drive.labels.drivable_costs[labels]
        foot = np.array((pose.x - origin_m[0], pose.y - origin_m[1])) / fine
        ends, feet = _first_feet(costs, seen, rays, foot)
        ray = np.clip(np.rint((bearings - first) / step).astype(np.int32), 0, len(rays) - 1)
        known = np.where(distances < ends[ray] * fine, costs, np.int8(NOT_GROUND))
        middle = _PARTS * _PARTS // 2
        return GroundTruth(
            _by_cell(known),
            _by_cell(feet).max(axis=2),
            (_by_cell(seen) & (_by_cell(distances) <= RANGE_M))[..., middle],
            labels == _road(drive.labels),
            min(drive.exact_free_distance(i, settings.range_max_m), settings.range_max_m),
            min(drive.exact_free_distance(i, settings.range_max_m, settings.vehicle_width_m), settings.range_max_m),
            tuple(LookAhead(ahead_m, *drive.exact_edges(i, ahead_m)) for ahead_m in settings.look_ahead_m),
            settings,
        )

    @property
    def grid(self) -> Grid:
        """The grid that is strictly right."""
        cells = np.where(self.feet, np.int8(OBSTACLE), self.points[..., self.points.shape[2] // 2])
        return Grid(cells, self.settings.resolution_m, self.settings.grid_origin_m)

    def right(self, cells: NDArray[np.int8]) -> NDArray[np.bool_]:
        """bool [rows, columns]: which cells of a grid, int8 [rows, columns], are right."""
        marked = cells == OBSTACLE
        true_somewhere = (self.points == cells[..., None]).any(axis=2)
        return np.where(marked, _widened(self.feet), true_somewhere) & (~self.feet | _widened(marked))


def _by_cell(fine: NDArray[Any]) -> NDArray[Any]:
    """The points of each cell, [rows, columns, 25], of a raster [rows * 5, columns * 5]."""
    rows, columns = fine.shape[0] // _PARTS, fine.shape[1] // _PARTS
    return fine.reshape(rows, _PARTS, columns, _PARTS).transpose(0, 2, 1, 3).reshape(rows, columns, -1)


def _widened(cells: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The cells and their eight neighbours."""
    return cv2.dilate(cells.view(np.uint8), np.ones((3, 3), np.uint8)).view(np.bool_)


def _road(labels: LabelSet) -> int:
    """Id of the class that costs nothing to drive on."""
    return min(labels.drivable, key=lambda label: label.drivable_cost).id


@compiled
def _first_feet(
    costs: NDArray[np.int8], seen: NDArray[np.bool_], bearings: Floats, start: Floats
) -> tuple[Floats, NDArray[np.bool_]]:
    """How far from start (column, row) each ray comes to ground that is none, in points, inf = never; and where."""
    feet = np.zeros(costs.shape, np.bool_)
    ends = np.full(len(bearings), np.inf)
    length = 2 * (abs(start[0]) + abs(start[1]) + costs.shape[0] + costs.shape[1])
    for ray in range(len(bearings)):
        for k in range(int(length)):
            column = math.floor(start[0] + math.cos(bearings[ray]) * 0.5 * k)
            row = math.floor(start[1] + math.sin(bearings[ray]) * 0.5 * k)
            if column < 0 or row < 0 or column >= costs.shape[1] or row >= costs.shape[0]:
                continue
            if seen[row, column] and costs[row, column] < 0:
                ends[ray] = 0.5 * k
                feet[row, column] = True
                break
    return ends, feet


@dataclass(frozen=True)
class Judgement:
    """How near one answer came. counted, right, strict: cells of the grid; known, known_right: those of which the truth or
    the answer says anything; free_m, exact_m: free distance ahead, answered and true; free_width_m, exact_width_m: the
    same over the vehicle's width; edge_errors_m: of the road's edges that both have seen, of edges that the truth has;
    iou: of the road's polygon."""

    counted: int
    right: int
    strict: int
    known: int
    known_right: int
    free_m: float
    exact_m: float
    free_width_m: float
    exact_width_m: float
    edge_errors_m: tuple[float, ...]
    edges: int
    iou: float


def judge(found: Drivable, labels: LabelSet, truth: GroundTruth) -> Judgement:
    """Hold one answer with these labels against the truth. What is not answered is 0 m, IoU 0, unknown."""
    exact = truth.grid.cells
    cells = found.grid.cells if found.grid else np.full_like(exact, NOT_GROUND)
    right = truth.counted & truth.right(cells)
    known = truth.counted & ((exact != NOT_GROUND) | (cells != NOT_GROUND))
    road = next((area for area in found.areas if area.class_id == _road(labels)), None)
    free_m, free_width_m = (0.0, 0.0) if road is None else (road.free_distance_m, road.free_distance_width_m)
    farthest_m = truth.settings.range_max_m
    return Judgement(
        int(truth.counted.sum()),
        int(right.sum()),
        int((truth.counted & (cells == exact)).sum()),
        int(known.sum()),
        int((known & right).sum()),
        0.0 if math.isnan(free_m) else min(free_m, farthest_m),
        truth.free_m,
        0.0 if math.isnan(free_width_m) else min(free_width_m, farthest_m),
        truth.free_width_m,
        _edge_errors(road.edges if road else (), truth.edges),
        sum(math.isfinite(reach_m) for edge in truth.edges for reach_m in (edge.left_m, edge.right_m)),
        polygon_iou(road.outlines_ground if road else (), truth.road, truth.settings),
    )


def _edge_errors(found: Sequence[LookAhead], exact: Sequence[LookAhead]) -> tuple[float, ...]:
    """Errors in m of the edges to both sides that are finite in both."""
    by_ahead = {edge.ahead_m: edge for edge in found}
    pairs = [(by_ahead[edge.ahead_m], edge) for edge in exact if edge.ahead_m in by_ahead]
    errors = [error for a, b in pairs for error in (abs(a.left_m - b.left_m), abs(a.right_m - b.right_m))]
    return tuple(error for error in errors if math.isfinite(error))


def summary(judgements: Sequence[Judgement]) -> dict[str, float | None]:
    """Of at least one frame: shares of cells; errors of the free distance, along the axis and over the vehicle's width
    (95th percentile, worst, and the share of frames that are right); error of the road's edges to both sides (95th
    percentile, None where none was seen), how many were seen and of how many; IoU of the road (mean and worst)."""
    counted = sum(j.counted for j in judgements)
    errors_m, errors = _free_errors([(j.free_m, j.exact_m) for j in judgements])
    width_errors_m, width_errors = _free_errors([(j.free_width_m, j.exact_width_m) for j in judgements])
    edge_errors_m = [error for j in judgements for error in j.edge_errors_m]
    ious = [j.iou for j in judgements]
    known = sum(j.known for j in judgements)
    numbers = {
        "grid_accuracy_20m": sum(j.right for j in judgements) / counted,
        "grid_accuracy_20m_strict": sum(j.strict for j in judgements) / counted,
        "grid_accuracy_20m_known": sum(j.known_right for j in judgements) / known if known else None,
        "free_distance_error": np.percentile(errors, 95),
        "free_distance_error_m": np.percentile(errors_m, 95),
        "free_distance_error_worst": errors.max(),
        "free_distance_within": ((errors <= FREE_SHARE) | (errors_m <= FREE_M)).mean(),
        "free_distance_width_error": np.percentile(width_errors, 95),
        "free_distance_width_within": ((width_errors <= FREE_SHARE) | (width_errors_m <= FREE_M)).mean(),
        "edge_error_m": np.percentile(edge_errors_m, 95) if edge_errors_m else None,
        "edges_seen": len(edge_errors_m),
        "edges": sum(j.edges for j in judgements),
        "polygon_iou": np.mean(ious),
        "polygon_iou_worst": min(ious),
    }
    return {name: None if value is None else round(float(value), 5) for name, value in numbers.items()}


def _free_errors(found_exact: Sequence[tuple[float, float]]) -> tuple[Floats, Floats]:
    """Errors of free distances, in m and as shares of the exact ones."""
    found, exact = np.array(found_exact).T
    errors_m: Floats = np.abs(found - exact)
    return errors_m, errors_m / np.maximum(exact, FREE_M)


def polygon_iou(outlines: Sequence[Outline], truth: NDArray[np.bool_], settings: DrivableSettings) -> float:
    """Intersection over union of outlines in m and a raster of the settings' grid, five points a cell; 1 of nothing."""
    drawn = np.zeros(truth.shape, np.uint8)
    scale = _PARTS / settings.resolution_m
    polygons = [(np.float64(outline.points) - settings.grid_origin_m) * scale - 0.5 for outline in outlines]
    # All at once: OpenCV then fills what an odd number of them encloses, which leaves holes out and islands in.
    cv2.fillPoly(drawn, [np.rint(points * 16).astype(np.int32) for points in polygons], (1,), cv2.LINE_8, 4)
    union = int((truth | (drawn > 0)).sum())
    return int((truth & (drawn > 0)).sum()) / union if union else 1.0
