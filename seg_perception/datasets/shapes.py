"""Labels that are drawn: polygons and masks, one upon the other, as ids and objects."""

from __future__ import annotations

import base64
import binascii
import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from seg_perception.datasets.base import MOST_OBJECTS, Remark, Sample, refuse_same_names
from seg_perception.datasets.label_sets import Meaning
from seg_perception.datasets.parts import Part, trimmed
from seg_perception.datasets.polygons import filled_part
from seg_perception.errors import SegPerceptionError, quoted
from seg_perception.files import in_either_form, read_rgb
from seg_perception.image_limits import ImageLimits
from seg_perception.labels import VOID

FEW = "shapes have fewer than 3 points and are left out"
OUTSIDE = "shapes lie outside their image and are left out"
BEYOND = "shapes reach out of their image and are cut at its border"
CROSSING = "polygons cross themselves, so that parts of them count as outside"
NO_PIXEL = "shapes cover no pixel (too thin, too small, or an empty mask) and are left out"
NO_AREA = "shapes have no area (points, lines and such) and are left out"

_FAR_PX = 1e9
"""Corners are no farther away, so that nothing overflows."""
_MARGIN_PX = 2.0
"""So far tools let a corner leave the image without anybody's doing."""
_LONGEST_NAME = 255
"""Letters of an image's name that are told, which is what file systems take."""
_CORNERS_OF_ELLIPSE = 64
_MOST_CROSSED = 400
"""Corners of the polygons that are searched for crossings, which takes their square."""


@dataclass(frozen=True)
class Shape:
    """One drawn thing. rings: polygons, float64 [K, 2] x and y in px from the image's corner; holes: what of
    them is not inside; mask: the pixels instead. where: to name it by; crowd: several objects, not to be numbered; group:
    shapes of one group are one object."""

    own_id: int
    where: str
    rings: tuple[NDArray[np.float64], ...] = ()
    holes: tuple[NDArray[np.float64], ...] = ()
    mask: Part | None = None
    crowd: bool = False
    group: str | None = None


class Drawn:
    """Adapters whose labels are shapes. images: files, by keys that `shapes` knows them by.

    smallest_in_front: where the order of shapes says nothing, as in COCO; otherwise the last one is.
    """

    smallest_in_front = False
    spare: Sequence[Path] = ()

    def __init__(self, name: str, categories: Mapping[int, str], images: Mapping[str, Path], meaning: Meaning) -> None:
        self.name, self.categories, self.meaning = name, categories, meaning
        self.missing: Sequence[Path] = ()
        self._images = images
        self._keys = list(images)
        refuse_same_names(images.values())

    def __len__(self) -> int:
        return len(self._keys)

    def path(self, index: int) -> Path:
        """The image's file."""
        return self._images[self._keys[index]]

    def __getitem__(self, index: int) -> Sample:
        path = self.path(index)
        rgb = read_rgb(path)
        shapes, remarks = self.shapes(self._keys[index], (rgb.shape[0], rgb.shape[1]))
        label, instance, more = painted(shapes, (rgb.shape[0], rgb.shape[1]), self.smallest_in_front)
        return Sample(path.stem, rgb, label, instance, remarks=(*remarks, *more))

    def shapes(self, key: str, size_hw: tuple[int, int]) -> tuple[list[Shape], list[Remark]]:
        """What is drawn on an image, and what could not be taken."""
        raise NotImplementedError


def painted(
    shapes: Iterable[Shape], size_hw: tuple[int, int], smallest_in_front: bool
) -> tuple[NDArray[np.uint8], NDArray[np.uint16], list[Remark]]:
    """uint8 [H, W] ids, 255 where nothing is drawn; uint16 [H, W] objects; and what is odd."""
    label = np.full(size_hw, VOID, np.uint8)
    instance = np.zeros(size_hw, np.uint16)
    remarks: list[Remark] = []
    drawn = [(shape, part) for shape in shapes if (part := _inside(shape, size_hw, remarks)) is not None]
    remarks += [Remark(NO_PIXEL, shape.where) for shape, (_, inside) in drawn if not inside.any()]
    if smallest_in_front:
        drawn.sort(key=lambda pair: -np.count_nonzero(pair[1][1]))
    numbers: dict[tuple[int, str], int] = {}
    for order, (shape, (place, inside)) in enumerate(drawn):
        key = (shape.own_id, f"{order}" if shape.group is None else f"group {shape.group}")
        number = 0 if shape.crowd else numbers.setdefault(key, len(numbers) + 1)
        if number > MOST_OBJECTS:
            raise SegPerceptionError(
                f"{shape.where} is one object too many: an image has at most {MOST_OBJECTS}, so leave the smallest out"
            )
        label[place][inside], instance[place][inside] = shape.own_id, number
    return label, instance, remarks


def _inside(shape: Shape, size_hw: tuple[int, int], remarks: list[Remark]) -> Part | None:
    """Where a shape is, None where it covers nothing by a fault that is told."""
    if shape.mask is not None:
        return shape.mask
    rings = [np.nan_to_num(ring).clip(-_FAR_PX, _FAR_PX) for ring in shape.rings]
    parts = [_filled(ring, size_hw) for ring in rings if _usable(ring, shape.where, size_hw, remarks)]
    if not parts:
        return None
    if len(parts) == 1 and not shape.holes:
        return parts[0]
    inside = np.zeros(size_hw, np.bool_)
    for place, part in parts:
        inside[place] |= part
    for place, part in (_filled(hole.clip(-_FAR_PX, _FAR_PX), size_hw) for hole in shape.holes):
        inside[place] &= ~part
    return trimmed(inside)


def _usable(ring: NDArray[np.float64], where: str, size_hw: tuple[int, int], remarks: list[Remark]) -> bool:
    """Whether a polygon can be filled; what is odd about it is added to the remarks."""
    kind = _fault(ring, size_hw)
    if kind:
        remarks.append(Remark(kind, where))
    return kind not in (FEW, OUTSIDE)


def _filled(ring: NDArray[np.float64], size_hw: tuple[int, int]) -> Part:
    far = np.array(size_hw[::-1], np.float64)
    if (ring < -far).any() or (ring > 2 * far).any():  # a wild corner would cost any memory
        ring = _cut(ring, -far, 2 * far)
    if not len(ring):
        return (slice(0), slice(0)), np.zeros((0, 0), np.bool_)
    return filled_part(ring, size_hw)


def _cut(ring: NDArray[np.float64], low: NDArray[np.float64], high: NDArray[np.float64]) -> NDArray[np.float64]:
    """What of a polygon [K, 2] lies within a box, from low to high: cut along one side after the other (Sutherland and
    Hodgman, CACM 1974)."""
    for axis, limit, sign in ((0, low[0], 1), (1, low[1], 1), (0, high[0], -1), (1, high[1], -1)):
        depth = sign * (ring[:, axis] - limit)
        after, after_depth = np.roll(ring, -1, axis=0), np.roll(depth, -1)
        crosses = (depth < 0) != (after_depth < 0)
        share = np.divide(depth, depth - after_depth, out=np.zeros_like(depth), where=crosses)
        met = ring + share[:, None] * (after - ring)
        met[:, axis] = limit
        kept = np.stack([depth >= 0, crosses], axis=1)  # a corner, then where the edge from it leaves or enters
        ring = np.stack([ring, met], axis=1)[kept]
    return ring


def _fault(ring: NDArray[np.float64], size_hw: tuple[int, int]) -> str:
    """What is odd about a polygon; "" for nothing."""
    size = np.array(size_hw[::-1], np.float64)
    if len(ring) < 3:
        return FEW
    if (ring.min(axis=0) >= size).any() or (ring.max(axis=0) <= 0).any():
        return OUTSIDE
    if (ring < -_MARGIN_PX).any() or (ring > size + _MARGIN_PX).any():
        return BEYOND
    return CROSSING if crosses_itself(ring) else ""


def crosses_itself(ring: NDArray[np.float64]) -> bool:
    """Whether two edges of a closed polygon [K, 2] cross between their ends; False of one with too many corners to look."""
    if len(ring) > _MOST_CROSSED:
        return False
    start, end = ring, np.roll(ring, -1, axis=0)

    def side(a: NDArray[np.float64], b: NDArray[np.float64], c: NDArray[np.float64]) -> NDArray[np.float64]:
        (ax, ay), (bx, by), (cx, cy) = np.moveaxis(a, -1, 0), np.moveaxis(b, -1, 0), np.moveaxis(c, -1, 0)
        return np.sign((bx - ax) * (cy - ay) - (by - ay) * (cx - ax))

    first = (start[:, None], end[:, None])
    second = (start[None], end[None])
    apart = side(*first, second[0]) * side(*first, second[1]) < 0
    return bool((apart & apart.T).any())


def ring_of(points: Any, where: str) -> NDArray[np.float64]:
    """float64 [K, 2] of pairs of numbers, or of numbers in turn. Raises SegPerceptionError for anything else."""
    try:
        ring = np.array(points, np.float64)
        if ring.ndim > 2 or (ring.ndim == 2 and ring.shape[1] != 2):  # such as x, y, z, of which others would be pairs
            raise ValueError(f"{' x '.join(map(str, ring.shape))} numbers")
        ring = ring.reshape(-1, 2)
    except (TypeError, ValueError, OverflowError) as error:
        raise SegPerceptionError(f"{where} is no list of x and y ({error}): export it again") from error
    if not np.isfinite(ring).all():
        raise SegPerceptionError(f"{where} has a corner that is no number: export it again")
    return ring


def box_ring(x: float, y: float, width: float, height: float) -> NDArray[np.float64]:
    """The corners of a box."""
    return np.array([(x, y), (x + width, y), (x + width, y + height), (x, y + height)], np.float64)


def ellipse_ring(middle: NDArray[np.float64], radii: NDArray[np.float64]) -> NDArray[np.float64]:
    """Corners of an ellipse; middle and radii: x and y."""
    turn = np.linspace(0, 2 * np.pi, _CORNERS_OF_ELLIPSE, endpoint=False)
    return np.asarray(middle + radii * np.stack([np.cos(turn), np.sin(turn)], axis=-1))


def turned(ring: NDArray[np.float64], degrees: float, around: NDArray[np.float64]) -> NDArray[np.float64]:
    """Clockwise as seen. Raises ValueError for what is no number."""
    if not (np.isfinite(ring).all() and np.isfinite(degrees)):
        raise ValueError("a corner or a turn that is no number")
    cos, sin = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return np.asarray(around + (ring - around) @ np.array([[cos, sin], [-sin, cos]]))


def png_mask(data: bytes, where: str) -> NDArray[np.bool_]:
    """bool [H, W]: where a PNG's last channel is not 0. Raises SegPerceptionError for what is no PNG, or one of too many pixels."""
    ImageLimits().check_encoded(data, f"the mask of {where}")
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if image is None:
        raise SegPerceptionError(f"the mask of {where} is no PNG: export it again")
    if image.ndim == 3 and image.shape[2] == 3:
        return np.asarray(image.any(axis=2))
    return np.asarray(np.atleast_3d(image)[..., -1] > 0)


def from_base64(text: Any, where: str) -> bytes:
    """The bytes behind a text. Raises SegPerceptionError where it is none."""
    try:
        return base64.b64decode(text, validate=True)
    except (TypeError, ValueError, binascii.Error) as error:
        raise SegPerceptionError(f"the mask of {where} is no base64 ({error}): export it again") from error


def require_inside(mask_hw: tuple[int, ...], x: int, y: int, size_hw: tuple[int, int], where: str) -> None:
    """Raises SegPerceptionError where a mask whose corner lies at x, y does not fit into an image: before it is unpacked."""
    height, width = mask_hw
    if not (0 <= x <= size_hw[1] - width and 0 <= y <= size_hw[0] - height):
        raise SegPerceptionError(
            f"the mask of {where} is {width}x{height} at x {x}, y {y}, which is not inside the image of "
            f"{size_hw[1]}x{size_hw[0]}: export both again"
        )


def at_place(mask: NDArray[np.bool_], x: int, y: int, size_hw: tuple[int, int], where: str) -> Part:
    """A mask whose corner lies at x, y, in an image. Raises SegPerceptionError where it does not fit in."""
    require_inside(mask.shape, x, y, size_hw, where)
    return trimmed(mask, y, x)


def same_size(found_hw: tuple[Any, Any], size_hw: tuple[int, int], where: Path | str) -> None:
    """Raises SegPerceptionError where a label was drawn on an image of another size; None and 0 are what nobody wrote down."""
    if tuple(found_hw) != size_hw and all(found_hw):
        turned = tuple(found_hw) == size_hw[::-1]
        height, width = map(quoted, found_hw)
        remedy = "put the image that was labelled in its place"
        raise SegPerceptionError(
            f"{where} was drawn on an image of {width}x{height}, which is {size_hw[1]}x{size_hw[0]} now: "
            + ("draw on it as its EXIF turns it, or take that out of the image" if turned else remedy)
        )


def _is_file(path: Path) -> bool:
    """False also of a name that no file can have."""
    try:
        return path.is_file()
    except OSError:
        return False


def find_image(name: str, folders: Iterable[Path], where: str) -> Path:
    """The file of an image that a label names, in the first folder that has it, with or without the name's own folders.

    Raises SegPerceptionError where none has it.
    """
    plain = name.replace("\\", "/")
    places = list(folders)
    for folder, wanted in itertools.product(places, dict.fromkeys((plain, Path(plain).name))):
        if wanted and _is_file(path := in_either_form(folder / wanted)):
            return path
    looked = ", ".join(dict.fromkeys(map(str, places)))
    raise SegPerceptionError(
        f"{where} is of the image '{quoted(name, _LONGEST_NAME)}', which is in none of {looked}: put it there"
    )
