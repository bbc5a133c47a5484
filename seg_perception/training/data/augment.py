"""Changes of geometry, the same for image, label codes and instances, and pasted objects. NumPy and OpenCV only."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from seg_perception.labels import VOID
from seg_perception.training.augment_settings import AugmentSettings

Value = TypeVar("Value", bound=np.generic)

CROP_TRIES = 10
"""How often a crop that one class fills is placed anew, as in mmsegmentation's cat_max_ratio."""

ELASTIC_CELL_PX = 64
"""Distance of the points whose displacement is drawn; what lies between is interpolated."""

LONGEST_SAMPLED_PX = 2**15 - 2
"""Of an image's sides that OpenCV samples; of longer ones each second pixel is enough for any crop."""


@dataclass(frozen=True)
class Scene:
    """What is changed together: rgb uint8 [H, W, 3], codes uint8 [H, W] (255 void), instance uint16 [H, W] (0 none).

    Of weak labels, else None: marks int16 [H, W], 0 none, the number of a point, or minus that of a box; mark_codes uint8
    [M], the code of each number without its sign.
    """

    rgb: NDArray[np.uint8]
    codes: NDArray[np.uint8]
    instance: NDArray[np.uint16]
    marks: NDArray[np.int16] | None = None
    mark_codes: NDArray[np.uint8] | None = None

    @property
    def codes_at_marks(self) -> NDArray[np.uint8]:
        """uint8 [H, W]: the code of each pixel's mark, VOID where there is none."""
        if self.marks is None or self.mark_codes is None:
            return np.full_like(self.codes, VOID)
        return self.mark_codes[np.abs(self.marks)]


@dataclass(frozen=True)
class CutOut:
    """One object to paste. mask: bool [h, w] within rgb uint8 [h, w, 3]; code: the label code of its class; brightness:
    mean value, 0-255, of the whole image that it comes from."""

    rgb: NDArray[np.uint8]
    mask: NDArray[np.bool_]
    code: int
    brightness: float


def warp(
    scene: Scene,
    rng: np.random.Generator,
    settings: AugmentSettings,
    crop_hw: tuple[int, int],
    full_width: int,
    mirrored_codes: NDArray[np.uint8] | None = None,
) -> Scene:
    """Zoom, stretch, tilt, flip, deform and cut to crop_hw; what lies outside the image becomes void.

    At zoom 1 the image's whole width is full_width px wide. mirrored_codes: uint8 [256], what each code is in a mirror,
    None: itself.
    """
    height, width = scene.codes.shape
    zoom = np.exp(rng.uniform(*np.log(settings.scale))) * full_width / width
    stretch = np.exp(0.5 * rng.uniform(*np.log(settings.aspect)))
    zoom_xy = np.array([zoom * stretch, zoom / stretch])
    angle = np.deg2rad(rng.uniform(-settings.rotate_deg, settings.rotate_deg))
    mirror = -1.0 if rng.random() < 0.5 and settings.mirror else 1.0
    tilt = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    linear = tilt @ np.diag(zoom_xy * (mirror, 1.0))
    grid = _elastic_grid(rng, settings.elastic_px, crop_hw) if settings.elastic_px else None
    size_wh, limit = np.array([width, height]), settings.largest_class_share
    for _ in range(CROP_TRIES):
        spare = size_wh * zoom_xy - crop_hw[::-1]
        middle = np.array(crop_hw[::-1]) / 2 + rng.uniform(-0.5, 0.5, 2) * np.maximum(spare, 0.15 * np.abs(spare))
        matrix = np.column_stack([linear, middle - linear @ (size_wh / 2)])
        codes = _sample_labels(scene.codes, matrix, crop_hw, grid, VOID)
        if limit >= 1 or _largest_share(codes) <= limit:
            break
    mark_codes = scene.mark_codes
    if mirror < 0 and mirrored_codes is not None:
        codes, mark_codes = mirrored_codes[codes], None if mark_codes is None else mirrored_codes[mark_codes]
    return Scene(
        _sample_rgb(scene.rgb, matrix, crop_hw, grid, zoom_xy),
        codes,
        _sample_labels(scene.instance, matrix, crop_hw, grid, 0),
        None if scene.marks is None else _sample_labels(scene.marks, matrix, crop_hw, grid, 0),
        mark_codes,
    )


def _largest_share(codes: NDArray[np.uint8]) -> float:
    """Part of the labelled pixels that the most frequent code has; 1 where nothing is labelled."""
    counts = cv2.calcHist([codes], [0], None, [256], [0, 256])[:VOID]
    return float(counts.max() / counts.sum()) if counts.any() else 1.0


def _elastic_grid(rng: np.random.Generator, largest_px: float, crop_hw: tuple[int, int]) -> NDArray[np.float32]:
    """float32 [h, w, 2]: the place (x, y) in the undeformed crop that each of its pixels shows; pixel i lies between i
    and i + 1."""
    points = [max(2, round(length / ELASTIC_CELL_PX) + 1) for length in crop_hw]
    reach = rng.uniform(0, largest_px)
    field = rng.uniform(-reach, reach, (*points, 2)).astype(np.float32)
    field = cv2.resize(field, crop_hw[::-1], interpolation=cv2.INTER_CUBIC).clip(-reach, reach)
    return field + np.dstack(np.meshgrid(*(np.arange(length, dtype=np.float32) + 0.5 for length in crop_hw[::-1])))


def _sample_rgb(
    rgb: NDArray[np.uint8],
    matrix: NDArray[np.float64],
    crop_hw: tuple[int, int],
    grid: NDArray[np.float32] | None,
    zoom_xy: NDArray[np.float64],
) -> NDArray[np.uint8]:
    """A bilinear sample reads 2x2 pixels and would skip some when it shrinks more than twofold. There the crop is taken
    twice as large and halved by averaging, as by the node's Preprocessor, so training sees what the node sees. Much
    larger images are averaged first, since sampling them at several times the crop's size costs more."""
    size_hw = rgb.shape[:2]
    by_x, by_y = (max(1, int(0.5 / zoom)) for zoom in zoom_xy)
    if by_x > 1 or by_y > 1:
        smaller = max(1, size_hw[1] // by_x), max(1, size_hw[0] // by_y)
        rgb = cv2.resize(rgb, smaller, interpolation=cv2.INTER_AREA)
    how = {"flags": cv2.INTER_LINEAR, "borderMode": cv2.BORDER_REFLECT_101}
    if zoom_xy.min() > 0.5:
        return _sample(rgb, size_hw, matrix, crop_hw, grid, **how)
    large_hw = 2 * crop_hw[0], 2 * crop_hw[1]
    if grid is not None:
        grid = 2 * cv2.resize(grid, large_hw[::-1], interpolation=cv2.INTER_LINEAR)
    large = _sample(rgb, size_hw, 2 * matrix, large_hw, grid, **how)
    return cv2.resize(large, crop_hw[::-1], interpolation=cv2.INTER_AREA)


def _sample_labels(
    labels: NDArray[Value],
    matrix: NDArray[np.float64],
    crop_hw: tuple[int, int],
    grid: NDArray[np.float32] | None,
    outside: int,
) -> NDArray[Value]:
    how = {"flags": cv2.INTER_NEAREST, "borderMode": cv2.BORDER_CONSTANT, "borderValue": outside}
    return _sample(labels, labels.shape, matrix, crop_hw, grid, **how)


def _sample(
    layer: NDArray[Value],
    size_hw: tuple[int, ...],
    matrix: NDArray[np.float64],
    crop_hw: tuple[int, int],
    grid: NDArray[np.float32] | None,
    flags: int,
    **border: int,
) -> NDArray[Value]:
    """The crop out of one layer. matrix: float64 [2, 3] from an image of size_hw to the crop, where pixel i lies between
    i and i + 1; the layer may be a smaller version of that image."""
    thinned = [math.ceil(length / LONGEST_SAMPLED_PX) for length in layer.shape[:2]]
    layer = np.ascontiguousarray(layer[:: thinned[0], :: thinned[1]])
    linear = matrix[:, :2] @ np.diag([size_hw[1] / layer.shape[1], size_hw[0] / layer.shape[0]])
    if grid is None:
        # OpenCV's coordinates are those of the pixels' middles
        to_crop = np.column_stack([linear, matrix[:, 2] + linear @ (0.5, 0.5) - 0.5])
        return cv2.warpAffine(layer, to_crop, crop_hw[::-1], flags=flags, **border)
    from_crop = cv2.invertAffineTransform(np.column_stack([linear, matrix[:, 2]]))
    from_crop[:, 2] -= 0.5
    return cv2.remap(layer, cv2.transform(grid, from_crop), None, flags, **border)


def paste(
    scene: Scene,
    rng: np.random.Generator,
    cut_outs: Sequence[CutOut],
    count: int,
    *,
    mirror: bool = True,
    mirrored_codes: NDArray[np.uint8] | None = None,
) -> Scene:
    """Paste objects in front of the scene, larger the lower they stand; every second one overlaps its neighbour.

    Each gets an id that the scene does not use. Its colours are lit as its new surroundings are, and mix with them along
    its outline (Dwibedi et al., ICCV 2017: hard edges teach a network to find edges of pasting). mirror: whether every
    second one is mirrored; mirrored_codes: as of warp.
    """
    marks = None if scene.marks is None else scene.marks.copy()
    target = Scene(scene.rgb.copy(), scene.codes.copy(), scene.instance.copy(), marks, scene.mark_codes)
    height, width = target.codes.shape
    brightness = _brightness(scene.rgb)
    used = np.bincount(target.instance.ravel(), minlength=count + 1)
    unused = np.flatnonzero(np.append(used[1:], np.zeros(count)) == 0) + 1
    x, foot = 0.0, 0.0
    for k in range(count):
        cut_out = cut_outs[int(rng.integers(len(cut_outs)))]
        if k % 2 == 0:
            x, foot = rng.uniform(0, width), rng.uniform(0.45, 1.05) * height
        else:
            x, foot = x + rng.uniform(-0.15, 0.15) * width, foot + rng.uniform(0, 0.06) * height
        tall = max(12.0, (foot - 0.3 * height) * rng.uniform(0.35, 1.0))
        mirrored = rng.random() < 0.5 and mirror
        rgb, share = _resized(cut_out, tall, mirrored=mirrored)
        code = int(mirrored_codes[cut_out.code]) if mirrored and mirrored_codes is not None else cut_out.code
        gain = float(np.clip((brightness + 1) / (cut_out.brightness + 1), 0.5, 2.0))
        corner = round(x - share.shape[1] / 2), round(foot - share.shape[0])
        _put(target, cv2.convertScaleAbs(rgb, alpha=gain), share, corner, (code, int(unused[k])))
    return target


def cut_outs_of(scene: Scene, may_be_thing: NDArray[np.bool_], smallest_px: int) -> list[CutOut]:
    """The objects of a scene that are at least smallest_px high and not cut off at its border.

    may_be_thing: bool [256], which codes are worth it.
    """
    found = []
    height, width = scene.codes.shape
    brightness = _brightness(scene.rgb)
    for number in np.unique(scene.instance[scene.instance > 0]):
        mask = scene.instance == number
        x, y, w, h = cv2.boundingRect(mask.astype(np.uint8))
        code = int(scene.codes[mask][0])
        whole = x > 1 and y > 1 and x + w < width - 1 and y + h < height - 1
        if whole and h >= smallest_px and w >= smallest_px // 3 and may_be_thing[code]:
            box = np.s_[y : y + h, x : x + w]
            found.append(CutOut(scene.rgb[box].copy(), mask[box].copy(), code, brightness))
    return found


def _brightness(rgb: NDArray[np.uint8]) -> float:
    return sum(cv2.mean(rgb)[:3]) / 3


def _resized(cut_out: CutOut, tall: float, *, mirrored: bool) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """The object tall px high with a border for its soft outline: uint8 [h, w, 3] and its share of each pixel, float32
    [h, w] in [0, 1]."""
    zoom = tall / cut_out.mask.shape[0]
    size_wh = max(4, round(cut_out.mask.shape[1] * zoom)), max(4, round(tall))
    how = cv2.INTER_AREA if zoom < 1 else cv2.INTER_LINEAR
    rgb = cv2.resize(cut_out.rgb, size_wh, interpolation=how)
    share = cv2.resize(cut_out.mask.astype(np.float32), size_wh, interpolation=how)
    rgb = cv2.copyMakeBorder(rgb, 1, 1, 1, 1, cv2.BORDER_REPLICATE)
    share = cv2.copyMakeBorder(share, 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=0)
    share = cv2.GaussianBlur(share, (3, 3), 0.6)
    return (rgb[:, ::-1], share[:, ::-1]) if mirrored else (rgb, share)


def _put(
    target: Scene,
    rgb: NDArray[np.uint8],
    share: NDArray[np.float32],
    corner_xy: tuple[int, int],
    code_and_number: tuple[int, int],
) -> None:
    """Mix rgb into the target where its share says so; label what it has more than half of.

    A mark that it hides a part of is gone: it says that some of its pixels have a class, which may be the hidden ones.
    """
    left, top = corner_xy
    height, width = target.codes.shape
    x0, y0 = max(left, 0), max(top, 0)
    x1, y1 = min(left + share.shape[1], width), min(top + share.shape[0], height)
    if x1 - x0 < 3 or y1 - y0 < 3:
        return
    inside = np.s_[y0 - top : y1 - top, x0 - left : x1 - left]
    place = np.s_[y0:y1, x0:x1]
    below, part = target.rgb[place].astype(np.float32), share[inside]
    target.rgb[place] = (below + part[..., None] * (rgb[inside] - below) + 0.5).astype(np.uint8)
    target.codes[place][part > 0.5], target.instance[place][part > 0.5] = code_and_number
    if target.marks is not None:
        target.marks[np.isin(target.marks, np.unique(target.marks[place][part > 0.5]))] = 0
