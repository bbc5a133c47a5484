"""Changes of geometry and light, the same for image, label codes and instances. NumPy and OpenCV only."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from seg_perception.labels import VOID


@dataclass(frozen=True)
class Scene:
    """What is changed together: rgb uint8 [H, W, 3], codes uint8 [H, W] (255 void), instance uint16 [H, W] (0 none)."""

    rgb: NDArray[np.uint8]
    codes: NDArray[np.uint8]
    instance: NDArray[np.uint16]


@dataclass(frozen=True)
class CutOut:
    """One object to paste. mask: bool [h, w] within rgb uint8 [h, w, 3]; code: the label code of its class."""

    rgb: NDArray[np.uint8]
    mask: NDArray[np.bool_]
    code: int


@dataclass(frozen=True)
class AugmentSettings:
    """How strongly training images are changed.

    scale: range of the zoom against the network's full width; aspect: range of the stretch of x against that of y,
    since the node squeezes any camera's image to one shape, and most are wider than it; rotate_deg: largest tilt; light: strength of all
    changes of light and colour, 0 = none, 1 = as in the recipe; paste: largest number of objects pasted on an image.
    """

    scale: tuple[float, float] = (0.6, 1.8)
    aspect: tuple[float, float] = (0.5, 1.3)
    rotate_deg: float = 3.0
    light: float = 1.0
    paste: int = 4


def warp(
    scene: Scene, rng: np.random.Generator, settings: AugmentSettings, crop_hw: tuple[int, int], full_width: int
) -> Scene:
    """Zoom, stretch, tilt, flip and cut to crop_hw; what lies outside the image becomes void.

    At zoom 1 the image's whole width is full_width px wide.
    """
    height, width = scene.codes.shape
    zoom = np.exp(rng.uniform(*np.log(settings.scale))) * full_width / width
    stretch = np.exp(0.5 * rng.uniform(*np.log(settings.aspect)))
    zoom_x, zoom_y = zoom * stretch, zoom / stretch
    angle = np.deg2rad(rng.uniform(-settings.rotate_deg, settings.rotate_deg))
    mirror = -1.0 if rng.random() < 0.5 else 1.0
    linear = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]) @ np.diag(
        [mirror * zoom_x, zoom_y]
    )
    spare = np.array([width * zoom_x - crop_hw[1], height * zoom_y - crop_hw[0]])
    target = np.array(crop_hw[::-1]) / 2 + rng.uniform(-0.5, 0.5, 2) * np.maximum(spare, 0.15 * np.abs(spare))
    shift = target - linear @ np.array([width / 2, height / 2])
    matrix = np.column_stack([linear, shift])
    size = crop_hw[::-1]
    return Scene(
        cv2.warpAffine(scene.rgb, matrix, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101),
        cv2.warpAffine(scene.codes, matrix, size, flags=cv2.INTER_NEAREST, borderValue=VOID),
        cv2.warpAffine(scene.instance, matrix, size, flags=cv2.INTER_NEAREST, borderValue=0),
    )


def paste(scene: Scene, rng: np.random.Generator, cut_outs: list[CutOut], count: int) -> Scene:
    """Paste objects in front of the scene, larger the lower they stand; every second one overlaps its neighbour."""
    rgb, codes, instance = scene.rgb.copy(), scene.codes.copy(), scene.instance.copy()
    height, width = codes.shape
    x, foot = 0.0, 0.0
    number = int(instance.max())
    for k in range(count):
        cut_out = cut_outs[rng.integers(len(cut_outs))]
        if k % 2 == 0:
            x, foot = rng.uniform(0, width), rng.uniform(0.45, 1.05) * height
        else:
            x, foot = x + rng.uniform(-0.15, 0.15) * width, foot + rng.uniform(0, 0.06) * height
        tall = max(12.0, (foot - 0.3 * height) * rng.uniform(0.35, 1.0))
        _paste_one(rgb, codes, instance, cut_out, rng, (x, foot), tall, number + k + 1)
    return Scene(rgb, codes, instance)


def _paste_one(
    rgb: NDArray[np.uint8],
    codes: NDArray[np.uint8],
    instance: NDArray[np.uint16],
    cut_out: CutOut,
    rng: np.random.Generator,
    foot_xy: tuple[float, float],
    tall: float,
    number: int,
) -> None:
    zoom = tall / cut_out.mask.shape[0]
    size = max(4, round(cut_out.mask.shape[1] * zoom)), max(4, round(tall))
    patch = cv2.resize(cut_out.rgb, size, interpolation=cv2.INTER_AREA if zoom < 1 else cv2.INTER_LINEAR)
    mask = cv2.resize(cut_out.mask.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST)
    if rng.random() < 0.5:
        patch, mask = patch[:, ::-1], mask[:, ::-1]
    left, top = round(foot_xy[0] - size[0] / 2), round(foot_xy[1] - size[1])
    x0, y0 = max(left, 0), max(top, 0)
    x1, y1 = min(left + size[0], codes.shape[1]), min(top + size[1], codes.shape[0])
    if x1 - x0 < 3 or y1 - y0 < 3:
        return
    inside = np.s_[y0 - top : y1 - top, x0 - left : x1 - left]
    seen = mask[inside] > 0
    place = np.s_[y0:y1, x0:x1]
    rgb[place][seen] = patch[inside][seen]
    codes[place][seen] = cut_out.code
    instance[place][seen] = number


def change_light(rgb: NDArray[np.uint8], rng: np.random.Generator, strength: float) -> NDArray[np.uint8]:
    """Exposure, gamma, white balance, saturation, shadow, blur and noise, as other cameras and other days bring."""
    if strength <= 0:
        return rgb
    gain = np.exp(strength * rng.normal(0, 0.25)) * np.exp(strength * rng.normal(0, 0.08, 3))
    gamma = np.exp(strength * rng.normal(0, 0.25))
    lift = strength * rng.normal(0, 0.05)
    ramp = np.linspace(0, 1, 256)[:, None] ** gamma
    table = np.clip(255 * (ramp * gain + lift), 0, 255).astype(np.uint8)
    out = cv2.LUT(rgb, table[None].reshape(1, 256, 3))
    if rng.random() < 0.5:
        gray = cv2.cvtColor(cv2.cvtColor(out, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
        keep = float(np.clip(1 + strength * rng.normal(0, 0.4), 0, 2))
        out = cv2.addWeighted(out, keep, gray, 1 - keep, 0)
    if rng.random() < 0.25 * strength:
        out = _shadow(out, rng)
    if rng.random() < 0.12 * strength:
        out = _haze(out, rng)
    if rng.random() < 0.1 * strength:
        out = _glare(out, rng)
    if rng.random() < 0.2 * strength:
        out = cv2.GaussianBlur(out, (0, 0), rng.uniform(0.4, 1.3))
    elif rng.random() < 0.15 * strength:
        out = _coarse(out, rng)
    if rng.random() < 0.2 * strength:
        noise = np.empty(out.shape, np.int16)
        cv2.setRNGSeed(int(rng.integers(1 << 31)))
        cv2.randn(noise, 0, rng.uniform(2, 10))
        out = cv2.add(out, noise, dtype=cv2.CV_8U)
    if rng.random() < 0.2 * strength:
        _, jpeg = cv2.imencode(".jpg", out, (cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(25, 85))))
        out = cv2.imdecode(jpeg, cv2.IMREAD_COLOR)
    return out  # type: ignore[return-value]


def _shadow(rgb: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """A soft dark (or bright) quadrilateral over part of the image."""
    height, width = rgb.shape[:2]
    mask = np.zeros((height, width), np.uint8)
    corners = (rng.uniform(-0.3, 1.3, (4, 2)) * (width, height)).astype(np.int32)
    cv2.fillConvexPoly(mask, cv2.convexHull(corners), 255)
    mask = cv2.GaussianBlur(mask, (0, 0), rng.uniform(1, 8))
    dark = np.clip(rgb * rng.uniform(0.35, 1.3), 0, 255).astype(np.uint8)
    share = cv2.cvtColor(mask, cv2.COLOR_GRAY2RGB).astype(np.float32) / 255
    return (rgb + share * (dark.astype(np.float32) - rgb)).astype(np.uint8)


def _haze(rgb: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """Fog or a dirty lens: towards one light grey, most at a random height, where the horizon may be."""
    rows = np.linspace(0, 1, rgb.shape[0], dtype=np.float32)
    thick = rng.uniform(0.2, 0.7) * np.exp(-(((rows - rng.uniform(0.3, 0.6)) / rng.uniform(0.2, 0.8)) ** 2))
    grey = rng.uniform(140, 240) + rng.normal(0, 6, 3)
    share = thick[:, None, None]
    return np.clip(rgb + share * (grey.astype(np.float32) - rgb), 0, 255).astype(np.uint8)


def _glare(rgb: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """Low sun or a headlight: a bright blob that fades outwards."""
    height, width = rgb.shape[:2]
    dy = (np.arange(height, dtype=np.float32) - rng.uniform(0, 0.8) * height) / (rng.uniform(0.1, 0.5) * height)
    dx = (np.arange(width, dtype=np.float32) - rng.uniform(0, 1) * width) / (rng.uniform(0.1, 0.5) * width)
    blob = rng.uniform(60, 220) * np.outer(np.exp(-(dy**2)), np.exp(-(dx**2)))
    return cv2.add(rgb, cv2.cvtColor(blob.astype(np.uint8), cv2.COLOR_GRAY2RGB))  # type: ignore[return-value]


def _coarse(rgb: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """A camera of fewer pixels: smaller and back."""
    size = rgb.shape[1::-1]
    small = cv2.resize(rgb, None, fx=(f := rng.uniform(0.35, 0.8)), fy=f, interpolation=cv2.INTER_AREA)
    return cv2.resize(small, size, interpolation=cv2.INTER_LINEAR)  # type: ignore[return-value]
