"""What passes between the steps of a frame's path: frozen, shapes checked once at construction.

Arrays may be views of buffers that the step reuses: they hold until the same step runs again, and whoever keeps one
longer copies it. Image coordinates are x right, y down, pixel centres at whole numbers; ground coordinates are metres
in the vehicle's base frame, x forward, y left (REP 103).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from seg_perception.raw_image import RawImage


def _expect(name: str, array: NDArray[Any], dtype: type[np.generic], *shape: int | None) -> None:
    """Raise ValueError unless array has this dtype and shape; None stands for any length."""
    fits = array.ndim == len(shape) and all(want in (None, got) for want, got in zip(shape, array.shape, strict=True))
    if array.dtype != dtype or not fits:
        wanted = ", ".join("any" if length is None else str(length) for length in shape)
        raise ValueError(f"{name} is {array.dtype} {list(array.shape)}, expected {np.dtype(dtype).name} [{wanted}]")


@dataclass(frozen=True)
class Frame:
    """One camera image. pixels: RGB, uint8 [H, W, 3], or what the camera sent; stamp_ns: when it was taken, 0 or less where
    that is not known; frame_id: the camera's optical frame."""

    pixels: NDArray[np.uint8] | RawImage
    stamp_ns: int = 0
    frame_id: str = ""

    def __post_init__(self) -> None:
        if not isinstance(self.pixels, RawImage):
            _expect("pixels", self.pixels, np.uint8, None, None, 3)

    @property
    def size_hw(self) -> tuple[int, int]:
        """Height and width in px."""
        return self.pixels.size_hw if isinstance(self.pixels, RawImage) else self.pixels.shape[:2]

    @cached_property
    def rgb(self) -> NDArray[np.uint8]:
        """uint8 [H, W, 3], converted when first asked for: pictures need it, the network does not."""
        return self.pixels.to_rgb() if isinstance(self.pixels, RawImage) else self.pixels


@dataclass(frozen=True)
class NetworkOutput:
    """What a backend returns, all float32, h and w the grid of the logits: the network's input by the model's stride.

    semantic_logits [N, C, h, w]; center_heatmap [N, 1, h, w] in [0, 1]; center_offset [N, 2, h, w] = (dy, dx) in
    pixels of the network's input, from the pixel to its instance's centre.
    """

    semantic_logits: NDArray[np.float32]
    center_heatmap: NDArray[np.float32]
    center_offset: NDArray[np.float32]

    def __post_init__(self) -> None:
        _expect("semantic_logits", self.semantic_logits, np.float32, None, None, None, None)
        n, _, h, w = self.semantic_logits.shape
        _expect("center_heatmap", self.center_heatmap, np.float32, n, 1, h, w)
        _expect("center_offset", self.center_offset, np.float32, n, 2, h, w)

    def only(self, index: int) -> NetworkOutput:
        """Image `index` of the batch alone, as views."""
        if len(self.semantic_logits) == 1:
            return self
        one = slice(index, index + 1)
        return NetworkOutput(self.semantic_logits[one], self.center_heatmap[one], self.center_offset[one])


class GroundMotion(NamedTuple):
    """Where a thing's foot is on the ground and how it moves there. foot_m: x, y in m; velocity_m_s: x, y in m/s;
    covariance: of (x, y, vx, vy), rows of four numbers. All in the frame that Result.motion_frame names."""

    foot_m: tuple[float, float]
    velocity_m_s: tuple[float, float]
    covariance: tuple[tuple[float, ...], ...]


class Track(NamedTuple):
    """A thing as it is followed through the frames.

    id: its number, which no other thing of the stream has. class_id: what it was called most, by score. state: `new`,
    `confirmed`, `returned` (confirmed, and found again in this frame) or `lost` (not found in this frame). age_s: since
    it was first seen; seen: frames in which it was found; unseen_s: since it was last found, 0 where it was. box: left,
    top, width, height in px of the mask, of the whole thing as far as known, also where it is hidden. velocity_px_s and
    its standard deviation: of the box's middle, x right, y down. ground: None without geometry, or until its foot is seen.
    """

    id: int
    class_id: int
    state: str
    age_s: float
    seen: int
    unseen_s: float
    box: tuple[float, float, float, float]
    velocity_px_s: tuple[float, float]
    velocity_std_px_s: tuple[float, float]
    ground: GroundMotion | None = None


@dataclass(frozen=True)
class Segment:
    """One thing, or all pixels of one stuff class.

    id: things have their value in the instance mask, stuff ids follow. score: mean confidence in [0, 1].
    area: px. box: x, y, width, height in px of the mask. track: of a thing, None where it is not followed.
    """

    id: int
    class_id: int
    is_thing: bool
    score: float
    area: int
    box: tuple[int, int, int, int]
    track: Track | None = None


@dataclass(frozen=True)
class Panoptic:
    """Masks of one frame. semantic: uint8 [H, W] class id, 255 = void. instance: uint16 [H, W], 0 = none, else the
    id of a thing segment. confidence: uint8 [H, W], 255 x the winner's softmax probability. ground: float32 [h, w], the
    softmax probability of all ground classes together on the network's grid, None where nobody wants it."""

    semantic: NDArray[np.uint8]
    instance: NDArray[np.uint16]
    confidence: NDArray[np.uint8]
    segments: tuple[Segment, ...]
    ground: NDArray[np.float32] | None = None

    def __post_init__(self) -> None:
        _expect("semantic", self.semantic, np.uint8, None, None)
        _expect("instance", self.instance, np.uint16, *self.semantic.shape)
        _expect("confidence", self.confidence, np.uint8, *self.semantic.shape)
        if self.ground is not None:
            _expect("ground", self.ground, np.float32, None, None)


@dataclass(frozen=True)
class Outline:
    """A closed polygon, last point joined to the first. points: float32 [K, 2], (x, y) in px of the mask or in metres
    on the ground. hole: whether it bounds a hole in the area rather than the area."""

    points: NDArray[np.float32]
    hole: bool = False

    def __post_init__(self) -> None:
        _expect("points", self.points, np.float32, None, 2)


@dataclass(frozen=True)
class LookAhead:
    """How far a class reaches to both sides of the x axis of the base frame, ahead_m along it; all in m.

    left_m and right_m count up from the axis: inf where the class runs out of the view, so that its edge is not seen;
    NaN where the class is not seen at (ahead_m, 0) itself, or is hidden there.
    """

    ahead_m: float
    left_m: float
    right_m: float


@dataclass(frozen=True)
class DrivableArea:
    """Where one drivable class is seen.

    coverage: share of the image in [0, 1]; confidence: mean in [0, 1]; outlines_ground and edges are empty, area_m2,
    free_distance_m (straight ahead of the base frame's origin, until the class ends), free_distance_width_m (the
    shortest such distance over the vehicle's width) and view_begins_m (from where on that width is seen, which is the
    camera's and the same for all classes) are NaN without geometry.
    """

    class_id: int
    coverage: float
    confidence: float
    outlines_px: tuple[Outline, ...]
    outlines_ground: tuple[Outline, ...] = ()
    area_m2: float = math.nan
    free_distance_m: float = math.nan
    free_distance_width_m: float = math.nan
    edges: tuple[LookAhead, ...] = ()
    view_begins_m: float = math.nan


@dataclass(frozen=True)
class Grid:
    """Occupancy of the ground. cells: int8 [rows, columns], row = y, column = x, cost 0-100, -1 unknown; the cell
    [0, 0] has its corner of smallest x and y at origin_m = (x, y) in the base frame."""

    cells: NDArray[np.int8]
    resolution_m: float
    origin_m: tuple[float, float]

    def __post_init__(self) -> None:
        _expect("cells", self.cells, np.int8, None, None)


@dataclass(frozen=True)
class FreeSpace:
    """Distance from the base frame's origin to what ends drivable ground, per bearing angle_min_rad + k * angle_step_rad
    (0 = ahead, left positive).

    ranges_m: float32 [K], the least in the sector around the bearing; inf = seen to be drivable up to range_max_m; NaN =
    what ends it, if anything, is not seen: the view ends before, void comes before, something hides it from the camera, or the
    view of the sector begins with what is not drivable. seen_m: float32 [K], how far along the bearing drivable ground is seen,
    0 where none is, or its sector begins so. Finite ranges are between range_min_m and range_max_m.
    """

    ranges_m: NDArray[np.float32]
    seen_m: NDArray[np.float32]
    angle_min_rad: float
    angle_step_rad: float
    range_min_m: float
    range_max_m: float

    def __post_init__(self) -> None:
        _expect("ranges_m", self.ranges_m, np.float32, None)
        _expect("seen_m", self.seen_m, np.float32, len(self.ranges_m))


@dataclass(frozen=True)
class Depth:
    """How far ahead, along the optical axis (REP 118), lies what each pixel of a camera's image shows. values: uint16 [H, W]
    in mm or float32 [H, W] in m; 0, less, and what is not finite is not known."""

    values: NDArray[Any]

    def __post_init__(self) -> None:
        if self.values.dtype not in (np.uint16, np.float32) or self.values.ndim != 2:
            raise ValueError(
                f"depth is {self.values.dtype} {list(self.values.shape)}, expected uint16 or float32 [any, any]"
            )

    def metres(self, out: NDArray[np.float32]) -> NDArray[np.float32]:
        """In m at the middles of pixels of another size, into out [h, w]."""
        values = at_middles(self.values, (out.shape[0], out.shape[1]))
        np.multiply(values, np.float32(1e-3 if values.dtype == np.uint16 else 1), out=out)
        return out


POINT = np.dtype([("x", "<f4"), ("y", "<f4"), ("z", "<f4"), ("label", "u1"), ("confidence", "u1"), ("instance", "<u2")])
"""A pixel's place in the base frame in m, NaN where it is not known, with what the three masks hold there."""


@dataclass(frozen=True)
class Drivable:
    """What the ground offers. grid, free_space and points (POINT [H, W], of the masks' size) are None when not asked for,
    or without geometry. ego: uint8 [H, W], 255 where the image shows the own vehicle and so nothing of the ground, else 0;
    None where that is not known."""

    areas: tuple[DrivableArea, ...]
    grid: Grid | None = None
    free_space: FreeSpace | None = None
    ego: NDArray[np.uint8] | None = None
    points: NDArray[np.void] | None = None


@dataclass(frozen=True)
class Wants:
    """What somebody watches, so what is worth computing beside the semantic mask. ground: that of Panoptic."""

    instances: bool = True
    confidence: bool = True
    areas: bool = True
    grid: bool = True
    free_space: bool = True
    points: bool = False
    ground: bool = False

    @property
    def on_ground(self) -> bool:
        """Whether anything is computed of where the ground is."""
        return self.areas or self.grid or self.free_space or self.points


@dataclass(frozen=True)
class Result:
    """All of one frame. stages_ms: time of each step in ms, by its name, in the order of the path. tracks: all things that
    are followed, those too that are not found in this frame; motion_frame: what their ground motion is in: `odometry`,
    `base`, which moves with the vehicle, or empty where the ground's geometry is not known."""

    frame: Frame
    panoptic: Panoptic
    drivable: Drivable
    stages_ms: Mapping[str, float] = field(default_factory=dict)
    tracks: tuple[Track, ...] = ()
    motion_frame: str = ""


@dataclass(frozen=True)
class Truth:
    """Labels of one frame. semantic: uint8 [H, W], 255 = unlabelled; instance: uint16 [H, W], a thing pixel with 0
    belongs to a crowd; None where objects are not told apart."""

    semantic: NDArray[np.uint8]
    instance: NDArray[np.uint16] | None = None

    def __post_init__(self) -> None:
        if self.semantic.dtype != np.uint8 or self.semantic.ndim != 2:
            raise ValueError(f"semantic is {self.semantic.dtype} {list(self.semantic.shape)}, expected uint8 [H, W]")
        other = self.instance
        if other is not None and (other.dtype != np.uint16 or other.shape != self.semantic.shape):
            shape = list(self.semantic.shape)
            raise ValueError(f"instance is {other.dtype} {list(other.shape)}, expected uint16 {shape}")


def at_middles(mask: NDArray[Any], size_hw: tuple[int, int]) -> NDArray[Any]:
    """A mask [H, W] at another size: each pixel has the value under its middle, of two that meet there the second. The mask
    itself where it has that size."""
    if mask.shape == size_hw:
        return mask
    rows, columns = ((2 * np.arange(new) + 1) * old // (2 * new) for old, new in zip(mask.shape, size_hw, strict=True))
    return np.ascontiguousarray(mask[rows[:, None], columns])


@dataclass(frozen=True)
class Answer:
    """The node's answer to one frame. semantic: uint8 [H, W]; instance: uint16 [H, W]; drivable: its areas, grid and free
    space."""

    semantic: NDArray[np.uint8]
    instance: NDArray[np.uint16]
    segments: tuple[Segment, ...]
    drivable: Drivable
