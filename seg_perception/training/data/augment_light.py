"""Changes of light, colour and sharpness, as other cameras and other days bring them. NumPy and OpenCV only."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray


def wither(rgb: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """Grass and leaves, uint8 [H, W, 3] RGB, as they are after months without rain: what is greener than it is red or blue
    becomes straw, and brighter. Roads are never green, so none of them changes."""
    red, green, blue = cv2.split(rgb.astype(np.float32))
    excess = (green - np.maximum(red, blue) - 4) / (0.06 * green + 3)
    share = cv2.GaussianBlur(np.clip(excess, 0, 1), (0, 0), 1.5)[..., None]
    straw = np.float32(rng.uniform((1.05, 0.92, 0.55), (1.2, 1.0, 0.85)))
    bright = green * np.float32(rng.uniform(1.1, 2.2)) + np.float32(rng.uniform(0, 40))
    # Brightest ones are not cut off: straw in the sun has a texture.
    dry = 250 * np.tanh(bright[..., None] * straw / 250)
    return (rgb + share * (dry - rgb)).astype(np.uint8)


def change_light(
    rgb: NDArray[np.uint8], rng: np.random.Generator, strength: float, motion_blur_px: float
) -> NDArray[np.uint8]:
    """Exposure, gamma, white balance, saturation, shadow, haze, glare, blur, noise and compression, each at times.

    rgb: uint8 [H, W, 3]; strength, motion_blur_px: as light and motion_blur_px of AugmentSettings.
    """
    if strength > 0:
        rgb = _change_colours(rgb, rng, strength)
        rgb = _change_weather(rgb, rng, strength)
        rgb = _lose_sharpness(rgb, rng, strength)
    if motion_blur_px and rng.random() < 0.25:
        rgb = _motion_blur(rgb, rng, motion_blur_px)
    return _add_camera_noise(rgb, rng, strength) if strength > 0 else rgb


def _change_colours(rgb: NDArray[np.uint8], rng: np.random.Generator, strength: float) -> NDArray[np.uint8]:
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
    return out


def _change_weather(rgb: NDArray[np.uint8], rng: np.random.Generator, strength: float) -> NDArray[np.uint8]:
    if rng.random() < 0.25 * strength:
        rgb = _shadow(rgb, rng)
    if rng.random() < 0.12 * strength:
        rgb = _haze(rgb, rng)
    if rng.random() < 0.1 * strength:
        rgb = _glare(rgb, rng)
    return rgb


def _lose_sharpness(rgb: NDArray[np.uint8], rng: np.random.Generator, strength: float) -> NDArray[np.uint8]:
    if rng.random() < 0.2 * strength:
        return cv2.GaussianBlur(rgb, (0, 0), rng.uniform(0.4, 1.3))
    return _coarse(rgb, rng) if rng.random() < 0.15 * strength else rgb


def _add_camera_noise(rgb: NDArray[np.uint8], rng: np.random.Generator, strength: float) -> NDArray[np.uint8]:
    if rng.random() < 0.2 * strength:
        noise = np.empty(rgb.shape, np.int16)
        cv2.setRNGSeed(int(rng.integers(1 << 31)))
        cv2.randn(noise, 0, rng.uniform(2, 10))
        rgb = cv2.add(rgb, noise, dtype=cv2.CV_8U)
    if rng.random() < 0.2 * strength:
        _, jpeg = cv2.imencode(".jpg", rgb, (cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(25, 85))))
        return cv2.imdecode(jpeg, cv2.IMREAD_COLOR)  # type: ignore[return-value]
    return rgb


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
    return cv2.add(rgb, cv2.cvtColor(blob.astype(np.uint8), cv2.COLOR_GRAY2RGB))


def _coarse(rgb: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """A camera of fewer pixels: smaller and back."""
    size = rgb.shape[1::-1]
    small = cv2.resize(rgb, None, fx=(f := rng.uniform(0.35, 0.8)), fy=f, interpolation=cv2.INTER_AREA)
    return cv2.resize(small, size, interpolation=cv2.INTER_LINEAR)


def _motion_blur(rgb: NDArray[np.uint8], rng: np.random.Generator, longest_px: float) -> NDArray[np.uint8]:
    """A straight smear that is symmetric to each pixel, so that the labels still lie in its middle."""
    length, angle = longest_px * rng.uniform(0.3, 1.0), rng.uniform(0, np.pi)
    size = 2 * int(np.ceil(length / 2)) + 1
    along = np.linspace(-length / 2, length / 2, 8 * size)
    edges = np.arange(size + 1) - size / 2
    kernel, _, _ = np.histogram2d(along * np.sin(angle), along * np.cos(angle), bins=(edges, edges))
    return cv2.filter2D(rgb, -1, kernel / kernel.sum())
