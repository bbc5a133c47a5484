"""Semantic mask and camera geometry -> drivable areas, occupancy grid, free distance per bearing.

What is known of the ground follows three rules. Ground is marked only where it is seen. The first cell along a ray from
the camera that is no ground is an obstacle's foot; everything behind it stays unknown, even ground that shines through
a gap, because what is seen above a foot may stand anywhere behind it. A void pixel ends a ray like an obstacle does,
but marks none. Without depth the ground is taken to be flat.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from seg_perception.camera_model import CameraModel, CameraPose
from seg_perception.errors import SegPerceptionError, nearest_name
from seg_perception.ground.depth import DepthProblem, DepthReader
from seg_perception.ground.ego_mask import EgoMask
from seg_perception.ground.end_kernels import end_at_hidden
from seg_perception.ground.ends import EndFinder, Ends, hiding_slack
from seg_perception.ground.geometry import GroundProjection
from seg_perception.ground.look_ahead import AheadMap
from seg_perception.ground.maps import OBSTACLE, GridMap, RayMap, fill_ground, scan_free
from seg_perception.ground.mark_kernels import mark_feet, nearest_in_sectors
from seg_perception.ground.metric_outlines import FlatImage, ground_outlines
from seg_perception.ground.outlines import OutlineTracer
from seg_perception.ground.pitch import PITCH_CORRECTIONS, PitchCorrection
from seg_perception.ground.points import PointPlacer
from seg_perception.labels import NOT_GROUND, UNSEEN_LABEL, VOID, LabelClass, LabelSet
from seg_perception.results import Depth, Drivable, DrivableArea, FreeSpace, Grid, Panoptic, Wants

_MAX_CELLS = 4_000_000
_MAX_SIDE = 32767
"""Nav2 refuses grids that are longer or wider."""
_STEP_M, _MOST_STEPS = 0.05, 2000
"""Between the samples of a ray, and at most so many along it: they tell how far ground is known, ends what stands on it."""
_MOST_LOOKS = 100
"""Distances of look_ahead_m: each is walked to both sides up to range_max_m in every frame."""
RANGE_MIN_M = 0.01
"""Least range that is sent; what is nearer is told to be there."""


@dataclass(frozen=True)
class DrivableSettings:
    """Sizes in m in the base frame, angles in rad (0 = ahead, left positive), tolerances in px of the mask.

    The grid begins grid_near_m ahead of the base frame's origin, is grid_length_m long and grid_width_m wide and lies
    with its middle grid_center_y_m to the left. free_max_cost: dearest class that counts as free for free_space.
    min_outline_area: share of the mask below which a patch or hole has no outline. vehicle_width_m: across the x axis,
    for free_distance_width_m. look_ahead_m: where edges are measured. pitch_correction: one of PITCH_CORRECTIONS. Raises
    ValueError naming the field.
    """

    grid_length_m: float = 20.0
    grid_width_m: float = 20.0
    grid_near_m: float = 0.0
    grid_center_y_m: float = 0.0
    resolution_m: float = 0.1
    outline_tolerance_px: float = 1.0
    min_outline_area: float = 0.0001
    scan_angle_min_rad: float = -math.pi / 4
    scan_angle_max_rad: float = math.pi / 4
    scan_angle_step_rad: float = math.pi / 180
    range_max_m: float = 40.0
    free_max_cost: int = 99
    vehicle_width_m: float = 1.8
    look_ahead_m: tuple[float, ...] = (5.0, 10.0, 15.0, 20.0)
    pitch_correction: str = "off"

    def __post_init__(self) -> None:
        for name, low, high in (
            ("grid_length_m", 0.1, 1000.0),
            ("grid_width_m", 0.1, 1000.0),
            ("grid_near_m", -1000.0, 1000.0),
            ("grid_center_y_m", -1000.0, 1000.0),
            ("resolution_m", 0.01, 10.0),
            ("outline_tolerance_px", 0.0, 100.0),
            ("min_outline_area", 0.0, 1.0),
            ("scan_angle_min_rad", -math.pi, math.pi),
            ("scan_angle_max_rad", -math.pi, math.pi),
            ("scan_angle_step_rad", 0.001, 1.0),
            ("range_max_m", 1.0, 1000.0),
            ("free_max_cost", 0, 100),
            ("vehicle_width_m", 0.1, 20.0),
            ("look_ahead_m", 0.1, 1000.0),
        ):
            value = getattr(self, name)
            if not all(low <= number <= high for number in np.atleast_1d(value)):
                raise ValueError(f"{name} is {value}: allowed is {low:g} to {high:g}")
        if len(self.look_ahead_m) > _MOST_LOOKS:
            raise ValueError(f"look_ahead_m has {len(self.look_ahead_m)} distances: allowed are at most {_MOST_LOOKS}")
        if self.pitch_correction not in PITCH_CORRECTIONS:
            raise ValueError(
                f"there is no pitch_correction '{self.pitch_correction}': "
                f"{nearest_name(self.pitch_correction, PITCH_CORRECTIONS)}"
            )
        if self.scan_angle_min_rad >= self.scan_angle_max_rad:
            raise ValueError(
                f"scan_angle_min_rad is {self.scan_angle_min_rad}: it must be below scan_angle_max_rad "
                f"({self.scan_angle_max_rad})"
            )
        rows, columns = self.grid_shape
        if rows * columns > _MAX_CELLS:
            raise ValueError(
                f"resolution_m is {self.resolution_m}: it makes {rows * columns} cells, at most {_MAX_CELLS}"
            )
        if max(rows, columns) > _MAX_SIDE:
            raise ValueError(
                f"resolution_m is {self.resolution_m}: it makes {max(rows, columns)} cells a side, at most {_MAX_SIDE}"
            )

    @property
    def grid_shape(self) -> tuple[int, int]:
        """Rows (y) and columns (x) of the grid."""
        return max(round(self.grid_width_m / self.resolution_m), 1), max(
            round(self.grid_length_m / self.resolution_m), 1
        )

    @property
    def grid_origin_m(self) -> tuple[float, float]:
        """x, y of the grid's corner."""
        return self.grid_near_m, self.grid_center_y_m - self.grid_shape[0] * self.resolution_m / 2

    @property
    def scan_bearings(self) -> NDArray[np.float64]:
        """Bearings of free_space, float64 [K], rad."""
        span = self.scan_angle_max_rad - self.scan_angle_min_rad
        steps = np.arange(math.floor(span / self.scan_angle_step_rad + 1e-9) + 1, dtype=np.float64)
        return self.scan_angle_min_rad + steps * self.scan_angle_step_rad


class _Ground:
    """All that depends on camera, pose, mask size and settings, with the buffers that frames and poses reuse."""

    projection: GroundProjection
    flat: FlatImage

    def __init__(self, labels: LabelSet, settings: DrivableSettings) -> None:
        self.settings = settings
        step_m = max(_STEP_M, settings.range_max_m / _MOST_STEPS)
        bearings = settings.scan_bearings
        self._costs = labels.drivable_costs
        self._free = (self._costs != NOT_GROUND) & (self._costs <= settings.free_max_cost)
        self._is_obstacle = self._costs == NOT_GROUND
        self._is_obstacle[VOID] = False
        self.finder = EndFinder(self._costs)
        self.scan = RayMap.around((0.0, 0.0), bearings, step_m, settings.range_max_m)
        self.ahead = AheadMap(settings.vehicle_width_m, settings.look_ahead_m, step_m, settings.range_max_m)
        self.grid = GridMap(settings.grid_origin_m, settings.grid_shape, settings.resolution_m)
        self._nearest = np.empty(len(bearings))
        self._ranges, self._seen = np.empty((2, len(bearings)), np.float32)
        self._cells = np.empty(settings.grid_shape, np.int8)
        self._painted = np.empty((0, 0), np.uint8)
        self._placer = PointPlacer(self._costs, self._is_obstacle, settings.range_max_m)
        self.depth_reader = DepthReader(self._costs)

    def update(self, projection: GroundProjection, ego: NDArray[np.uint8] | None) -> None:
        """Look at the ground from here. ego: uint8 [H, W], not 0 where the own vehicle is in the way, or None."""
        self.projection = projection
        self.flat = FlatImage.of(projection.lens, projection.image_hw)
        s = self.settings
        corner_m = np.abs((self.grid.origin_m, self.grid.far_corner_m)).max(axis=0)
        lane_m = math.hypot(s.range_max_m, s.vehicle_width_m / 2)
        farthest_m = math.hypot(*projection.position[:2]) + math.hypot(*corner_m) + lane_m
        self.finder.update(projection, self.flat, farthest_m)
        self.scan.update(projection, ego, self.flat.known)
        self.ahead.update(projection, ego, self.flat.known)
        self.grid.update(projection, len(self.finder.nearest))

    def seen(self, mask: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """mask with UNSEEN_LABEL where the lens has no ray; then a buffer that the next call overwrites."""
        if self.flat.known is None:
            return mask
        if self._painted.shape != mask.shape:
            self._painted = np.empty(mask.shape, np.uint8)
        self._painted.fill(UNSEEN_LABEL)
        cv2.copyTo(mask, self.flat.known, self._painted)
        return self._painted

    def occupancy(self, mask: NDArray[np.uint8], ends: Ends) -> Grid:
        """The grid; a view of a buffer that the next call overwrites."""
        g, s = self.grid, self.settings
        self._cells.fill(-1)
        mark_feet(ends.points, ends.labels, self._is_obstacle, g.origin_m, g.resolution_m, OBSTACLE, self._cells)
        fill_ground(
            mask.reshape(-1), self._costs, ends.nearest, g.cells, g.cell_pixels, g.cell_bins, g.distances,
            self._cells.reshape(-1),
        )  # fmt: skip
        return Grid(self._cells, s.resolution_m, s.grid_origin_m)

    def free_space(self, mask: NDArray[np.uint8], ends: Ends) -> FreeSpace:
        """The distance per bearing; views of buffers that the next call overwrites."""
        s, limits_m = self.settings, (RANGE_MIN_M, self.settings.range_max_m)
        nearest_in_sectors(
            ends.points, ends.labels, ends.depths, self._free, VOID, s.scan_angle_min_rad, s.scan_angle_step_rad, s.range_max_m,
            self._nearest,
        )  # fmt: skip
        scan_free(
            mask.reshape(-1), self._free, self.scan.pixels, self.scan.step_m, self._nearest, limits_m, ends.row_share,
            self._ranges, self._seen,
        )  # fmt: skip
        end_at_hidden(
            mask.reshape(-1), self.scan.pixels, self.scan.ways, self.scan.step_m, self.projection.position, ends.nearest,
            hiding_slack(self.projection), self._nearest, RANGE_MIN_M, self._ranges, self._seen,
        )  # fmt: skip
        return FreeSpace(self._ranges, self._seen, s.scan_angle_min_rad, s.scan_angle_step_rad, *limits_m)

    def points(
        self, panoptic: Panoptic, seen: NDArray[np.uint8], ends: Ends, depth: NDArray[np.float32] | None
    ) -> NDArray[np.void]:
        """The masks' points; a view of a buffer that the next call overwrites."""
        masks = (panoptic.semantic, panoptic.instance, panoptic.confidence)
        return self._placer.place(masks, seen, ends, self.projection, depth)


class DrivableExtractor:
    """Finds drivable ground in the masks of one camera. Belongs to one thread."""

    def __init__(self, labels: LabelSet, settings: DrivableSettings) -> None:
        self._labels = labels
        self._settings = settings
        self._placed: tuple[Any, ...] | None = None
        self._ground = _Ground(labels, settings)
        self._pitch = PitchCorrection(labels) if settings.pitch_correction != "off" else None
        self._nominal: GroundProjection | None = None
        self._projection: GroundProjection | None = None
        self._mapped: tuple[GroundProjection, Any] | None = None
        self._ego: NDArray[np.uint8] | None = None
        self._others: NDArray[np.uint8] | None = None
        self._without_ego = np.empty((0, 0), np.uint8)
        self._tracer: OutlineTracer | None = None
        self._sure: Any = None
        self.depth_problem: DepthProblem | None = None
        """Why the latest mask's depth was not used; None where it was, or there was none."""
        self._problem: str | None = "the camera's calibration and pose are not known yet"

    @property
    def ground_problem(self) -> str | None:
        """Why there is no ground output, in one sentence; None when there is."""
        return self._problem

    @property
    def projection(self) -> GroundProjection | None:
        """Between the latest mask's pixels and the ground; None while there is no ground output."""
        return self._projection

    def set_camera(
        self,
        camera: CameraModel | None,
        pose: CameraPose | None,
        mask_hw: tuple[int, int],
        image_hw: tuple[int, int] | None = None,
        ego: EgoMask | None = None,
    ) -> None:
        """Expect masks of mask_hw = (height, width); the next extract fills the maps if something changed.

        image_hw: of the image that they are of, where masks have another shape; it must be that of the calibration. ego:
        whose pixels count as unseen; without calibration it is taken to be of an image of image_hw.
        What cannot be right does not raise: it stands in ground_problem, and pixel outputs go on.
        """
        if (camera, pose, mask_hw, image_hw, ego) == self._placed:
            return
        self._placed = (camera, pose, mask_hw, image_hw, ego)
        self._nominal = self._problem = None
        height, width = image_hw or mask_hw
        ego_misfit = self._mask_out(ego, (camera.width, camera.height) if camera else (width, height), mask_hw)
        if camera is None:
            self._problem = "the camera is not calibrated: publish its camera_info"
        elif pose is None:
            self._problem = "the camera's pose is not known: give camera_pose or publish it in TF"
        elif misfit := camera.misfit(image_hw or mask_hw):
            self._problem = misfit
        elif ego_misfit:
            self._problem = ego_misfit
        else:
            try:
                self._nominal = GroundProjection(camera, pose, mask_hw)
            except SegPerceptionError as error:
                self._problem = str(error)
        self._projection = self._nominal

    def _mask_out(self, ego: EgoMask | None, size_wh: tuple[int, int], mask_hw: tuple[int, int]) -> str | None:
        """Leave the own vehicle out from now on; returns why that cannot be, None where it can."""
        misfit = ego.misfit(size_wh) if ego is not None else None
        pixels = ego.pixels(size_wh, mask_hw) if ego is not None and misfit is None else None
        if pixels is not None and pixels is not self._ego:
            self._others = cv2.bitwise_not(pixels)
            self._without_ego = np.full(pixels.shape, UNSEEN_LABEL, np.uint8)
        self._ego = pixels
        return misfit

    def extract(self, panoptic: Panoptic, wants: Wants, depth: Depth | None = None) -> Drivable:
        """What of the ground is wanted; grid and free space may be views of buffers that the next call overwrites.

        depth: of the image that the masks are of; where it is known nothing is taken to be flat.

        Raises ValueError when the masks are not of the size that set_camera was told.
        """
        mask, self.depth_problem = np.ascontiguousarray(panoptic.semantic), None
        if self._ego is not None and mask.shape == self._ego.shape:
            mask = cv2.copyTo(mask, self._others, self._without_ego)
        # Things' feet are placed by the projection too.
        projection = self._seen_from(mask) if wants.on_ground or wants.instances else None
        if projection is None or not wants.on_ground:
            return Drivable(self._areas(mask, panoptic.confidence, None) if wants.areas else (), ego=self._ego)
        ground = self._mapped_from(projection)
        seen = ground.seen(mask)
        metres = self._metres(depth, seen, ground) if depth is not None else None
        ends = ground.finder.find(seen, metres)
        flat = seen
        if metres is not None:
            flat = ground.depth_reader.flattened(seen, metres, ends, ground.projection, ground.flat.known)
        return Drivable(
            self._areas(mask, panoptic.confidence, (ground, flat, ends)) if wants.areas else (),
            ground.occupancy(flat, ends) if wants.grid else None,
            ground.free_space(flat, ends) if wants.free_space else None,
            self._ego,
            ground.points(panoptic, seen, ends, metres) if wants.points else None,
        )

    def _metres(self, depth: Depth, seen: NDArray[np.uint8], ground: _Ground) -> NDArray[np.float32] | None:
        """The depth of the mask's pixels; None where it is of no use."""
        metres = ground.depth_reader.read(depth, seen, ground.projection)
        if isinstance(metres, DepthProblem):
            self.depth_problem = metres
            return None
        return metres

    def _seen_from(self, mask: NDArray[np.uint8]) -> GroundProjection | None:
        """Between this mask's pixels and the ground, with the pitch that it shows; None without geometry."""
        nominal = self._nominal
        if nominal is None:
            return None
        if mask.shape != nominal.image_hw:
            raise ValueError(f"the mask is {mask.shape}, expected {nominal.image_hw}: call set_camera first")
        self._projection = self._pitch.corrected(nominal, mask) if self._pitch is not None else nominal
        return self._projection

    def _mapped_from(self, projection: GroundProjection) -> _Ground:
        """The ground, its maps filled again where camera, pose, pitch or the own vehicle's mask changed."""
        if self._mapped is None or projection is not self._mapped[0] or self._ego is not self._mapped[1]:
            self._ground.update(projection, self._ego)
            self._mapped = projection, self._ego
        return self._ground

    def _areas(
        self,
        mask: NDArray[np.uint8],
        confidence: NDArray[np.uint8],
        on: tuple[_Ground, NDArray[np.uint8], Ends] | None,
    ) -> tuple[DrivableArea, ...]:
        """on: the ground, and the mask as flat ground shows it."""
        areas = (self._area(label, mask, confidence, on) for label in self._labels.drivable)
        return tuple(area for area in areas if area is not None)

    def _area(
        self,
        label: LabelClass,
        mask: NDArray[np.uint8],
        confidence: NDArray[np.uint8],
        on: tuple[_Ground, NDArray[np.uint8], Ends] | None,
    ) -> DrivableArea | None:
        tracer = self._traced(mask, label)
        count = cv2.countNonZero(tracer.mask)
        if not count:
            return None
        settings = self._settings
        rings = tracer.trace(settings.min_outline_area * mask.size)
        outlines = rings.thinned(settings.outline_tolerance_px).outlines()
        # A mask of 0 and 255 cuts the values out; this is several times faster than cv2.mean with a mask.
        self._sure = cv2.bitwise_and(confidence, tracer.mask, dst=self._sure)
        sure = cv2.sumElems(self._sure)[0] / (255 * count)
        coverage = count / mask.size
        if on is None:
            return DrivableArea(label.id, coverage, sure, outlines)
        ground, flat, ends = on
        if flat is not mask:
            rings = self._traced(flat, label).trace(settings.min_outline_area * mask.size)
        on_ground = ground_outlines(rings, ground.flat, ground.projection, settings.range_max_m)
        free_m, free_width_m = ground.ahead.free(flat, label.id, ends)
        return DrivableArea(
            label.id,
            coverage,
            sure,
            outlines,
            on_ground.outlines(),
            on_ground.area(),
            free_m,
            free_width_m,
            ground.ahead.edges(flat, label.id, ends),
            ground.ahead.view_begins_m,
        )

    def _traced(self, mask: NDArray[np.uint8], label: LabelClass) -> OutlineTracer:
        """A tracer whose mask holds 255 at the pixels of a class, else 0."""
        if self._tracer is None or self._tracer.mask.shape != mask.shape:
            self._tracer = OutlineTracer((mask.shape[0], mask.shape[1]))
        cv2.inRange(mask, label.id, label.id, dst=self._tracer.mask)
        return self._tracer
