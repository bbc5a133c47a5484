"""What night, rain, fog, a low sun and a dirty lens do to a rendered picture; labels stay as they are."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import cv2
import numpy as np
from numpy.typing import NDArray

from seg_perception.synthetic.canvas import Canvas, Floats, Light, View
from seg_perception.synthetic.classes import TERRAIN
from seg_perception.synthetic.scenery import PAVEMENT, ROAD, noise_patch

Picture = NDArray[np.uint8]
_IS_GROUND = np.zeros(16, np.bool_)
_IS_GROUND[[ROAD, PAVEMENT, TERRAIN]] = True
_STREAKS = 640


@dataclass(frozen=True)
class Weather:
    """Each from 0 = none to 1. night: how dark; rain: how wet; fog: per m, what a metre takes away; sun: how low and
    blinding; dirt: how soiled the lens is."""

    night: float = 0.0
    rain: float = 0.0
    fog: float = 0.0
    sun: float = 0.0
    dirt: float = 0.0

    def prepare(self, canvas: Canvas, reach_m: float = 24.0) -> None:
        """Set the light and the air in which canvas will be painted."""
        if self.night:
            canvas.headlights = (1 - 0.93 * self.night, reach_m)
            canvas.set_haze(canvas.haze_per_m, canvas.haze_color * (1 - 0.93 * self.night))
        if self.fog:
            canvas.set_haze(self.fog, canvas.haze_color)

    def dim_sky(self, canvas: Canvas) -> None:
        """Rain, night and fog change the sky that has been painted."""
        if self.rain:
            _veil(canvas.rgb, canvas.haze_color * 0.85, min(1.4 * self.rain, 0.9))
        if self.night:
            cv2.convertScaleAbs(canvas.rgb, canvas.rgb, alpha=1 - 0.96 * self.night)
        if self.fog:
            _veil(canvas.rgb, canvas.haze_color, min(self.fog * 60, 1.0))

    def apply(self, canvas: Canvas, rng: np.random.Generator, moment: int = 0) -> None:
        """Change the picture of canvas, which was painted after prepare. What lies on lens and road follows rng, what
        falls and flickers the number of the frame, too."""
        if self == FAIR:
            return
        rgb, ground = canvas.rgb, _IS_GROUND[canvas.codes & 15]
        depth_m = _ground_depth(canvas.view, *ground.shape)
        if self.fog or self.night:
            _light_ground(canvas, ground, depth_m)
        if self.night:
            for light in canvas.lights:
                _glow(rgb, canvas.codes, light)
        if self.rain:
            _wet(rgb, ground, depth_m, self.rain, rng)
            _rain(rgb, self.rain, rng, moment)
        if self.sun:
            _glare(rgb, self.sun, rng)
        if self.rain > 0.3:
            _drops(rgb, self.rain, rng)
        if self.dirt:
            _dirt(rgb, self.dirt, rng)
        if self.night:
            grain = noise_patch(rng, 0, *ground.shape) * np.float32(rng.uniform(1, 7))
            grain = np.roll(grain, (31 * moment, 57 * moment), (0, 1))
            rgb[:] = np.clip(rgb + grain[:, :, None], 0, 255).astype(np.uint8)


FAIR = Weather()


def _veil(rgb: Picture, color: Floats, share: float) -> None:
    """Mix so much of one colour into a picture."""
    cv2.addWeighted(rgb, 1 - share, np.full_like(rgb, np.clip(color, 0, 255).astype(np.uint8)), share, 0, rgb)


def random_weather(rng: np.random.Generator) -> Weather:
    """Fair in half of all cases, else of one or two kinds."""
    if rng.random() < 0.5:
        return FAIR
    night = rng.uniform(0.5, 1.0) if rng.random() < 0.35 else 0.0
    rain = rng.uniform(0.2, 1.0) if rng.random() < 0.4 else 0.0
    fog = 10 ** rng.uniform(-2.2, -1.35) if rng.random() < 0.2 else 0.0
    sun = rng.uniform(0.3, 1.0) if not (night or rain or fog) or rng.random() < 0.1 else 0.0
    return Weather(night, rain, fog, 0.0 if night else sun, rng.uniform(0.2, 1) if rng.random() < 0.2 else 0.0)


def _ground_depth(view: View, height: int, width: int) -> NDArray[np.float32]:
    """How far level ground is seen at each pixel, in m along the optical axis: float32 [H, W]; 10,000 where it is not."""
    to_ray = np.asarray(np.linalg.inv(view.matrix), np.float64)
    down = -(to_ray[2, 0] * np.arange(width)[None] + to_ray[2, 1] * np.arange(height)[:, None] + to_ray[2, 2])
    return (view.position[2] / np.maximum(down, view.position[2] / 1e4)).astype(np.float32)


def _light_ground(canvas: Canvas, ground: NDArray[np.bool_], depth_m: NDArray[np.float32]) -> None:
    """Headlights and haze fade single pixels of the ground, which is painted in pieces that are too large for it."""
    width = ground.shape[1]
    share: NDArray[np.float32] = np.exp(depth_m * np.float32(-canvas.haze_per_m))
    gain = share
    if canvas.headlights is not None:
        ambient, reach_m = canvas.headlights
        aside = (np.arange(width, dtype=np.float32) / width - 0.5) * np.float32(2.2)
        gain = share * (ambient + (1 - ambient) * np.exp(-(aside**2)) / (1 + (depth_m / np.float32(reach_m)) ** 2))
    gain[~ground], share[~ground] = 1, 1
    hazed = cv2.merge([np.float32(c) * (1 - share) for c in canvas.haze_color])
    canvas.rgb[:] = np.clip(canvas.rgb * gain[:, :, None] + hazed, 0, 255).astype(np.uint8)


@cache
def _spot(size: int) -> NDArray[np.float32]:
    """float32 [size, size]: a light with its glow, 1 in the middle, 0 at the rim."""
    r = np.hypot(*np.meshgrid(*[np.linspace(-1, 1, size)] * 2))
    return np.maximum(0.75 * np.exp(-((r / 0.16) ** 2)) + 0.45 * (1 - r) ** 3, 0).astype(np.float32) * (r < 1)


def _glow(rgb: Picture, codes: NDArray[np.uint16], light: Light) -> None:
    column, row = int(light.at[0]), int(light.at[1])
    if codes[row, column] != light.code:
        return
    half = int(np.clip(light.radius_px * 7, 3, codes.shape[0] / 4))
    top, left = row - half, column - half
    y0, x0, y1, x1 = (
        max(top, 0),
        max(left, 0),
        min(row + half + 1, codes.shape[0]),
        min(column + half + 1, codes.shape[1]),
    )
    spot = cv2.resize(_spot(65), (2 * half + 1, 2 * half + 1))[y0 - top : y1 - top, x0 - left : x1 - left, None]
    color = np.asarray(light.color, np.float32) * 0.85 + 40
    rgb[y0:y1, x0:x1] = np.minimum(rgb[y0:y1, x0:x1] + spot * color, 255).astype(np.uint8)


def _wet(
    rgb: Picture, ground: NDArray[np.bool_], depth_m: NDArray[np.float32], strength: float, rng: np.random.Generator
) -> None:
    """Ground grows dark and mirrors, long drawn, what stands behind it; more where it is far or lies in a puddle."""
    height, width = ground.shape
    horizon = int(np.clip((depth_m[:, width // 2] > 150).sum(), 2, height - 2))
    rows = np.clip(2 * horizon - np.arange(height), 0, height - 1)
    small = cv2.resize(rgb[rows], (width // 2, height // 2), interpolation=cv2.INTER_AREA)
    mirror = cv2.resize(cv2.blur(small, (3, max(3, height // 24) | 1)), (width, height))
    puddles = np.clip(0.5 + 0.35 * noise_patch(rng, 6, height, width), 0, 1)
    share = np.clip(strength * 0.55 * puddles + 0.25 * strength * (depth_m > 25), 0, 0.75)
    share[~ground] = 0
    dark = np.where(ground, np.float32(1 - 0.4 * strength), np.float32(1))
    rgb[:] = (rgb * (dark * (1 - share))[:, :, None] + mirror * share[:, :, None]).astype(np.uint8)


@cache
def _streaks() -> NDArray[np.uint8]:
    rng = np.random.Generator(np.random.PCG64(77))
    drops = (rng.random((_STREAKS, _STREAKS)) > 0.9985).astype(np.float32)
    kernel = np.zeros((25, 25), np.float32)
    cv2.line(kernel, (10, 0), (14, 24), 1.0, 1, cv2.LINE_AA)
    return np.clip(cv2.filter2D(drops, -1, kernel) * 160, 0, 255).astype(np.uint8)


def _rain(rgb: Picture, strength: float, rng: np.random.Generator, moment: int) -> None:
    """Drops that fall while the shutter is open, and a veil of those that are too small to see."""
    height, width = rgb.shape[:2]
    fallen = rng.integers(0, _STREAKS, 2) + np.array((171, 43)) * moment
    streaks = np.roll(_streaks(), tuple(int(n) for n in fallen % _STREAKS), (0, 1))
    fall = cv2.resize(streaks, (width, height), interpolation=cv2.INTER_LINEAR)
    bright = min(float(rgb.mean()) / 120, 1.0)
    cv2.addWeighted(
        rgb, 1 - 0.15 * strength, cv2.merge((fall, fall, fall)), 0.4 * strength * bright, 26 * strength * bright, rgb
    )


def _glare(rgb: Picture, strength: float, rng: np.random.Generator) -> None:
    """A low sun in or beside the picture: a bright disc, a warm veil around it, ghosts of the lens."""
    height, width = rgb.shape[:2]
    x, y = rng.uniform(-0.1, 1.1) * width, rng.uniform(0.0, 0.45) * height
    far = np.hypot((np.arange(width)[None] - x) / width, (np.arange(height)[:, None] - y) / width).astype(np.float32)
    veil = strength * (230 * np.exp(-((far / 0.045) ** 2)) + 150 * np.exp(-far / 0.16) + 38)
    tint = np.array((1.0, rng.uniform(0.82, 0.97), rng.uniform(0.55, 0.9)), np.float32)
    contrast = np.float32(1 - 0.3 * strength)
    rgb[:] = np.minimum(rgb * contrast + veil[:, :, None] * tint, 255).astype(np.uint8)
    for share in rng.uniform(0.3, 1.6, int(rng.integers(0, 4))):
        at = int(x + (width / 2 - x) * share), int(y + (height / 2 - y) * share)
        ghost = np.zeros_like(rgb)
        cv2.circle(ghost, at, int(rng.uniform(0.01, 0.05) * width), rng.uniform(10, 50, 3).tolist(), -1, cv2.LINE_AA)
        cv2.add(rgb, ghost, rgb)


def _drops(rgb: Picture, strength: float, rng: np.random.Generator) -> None:
    """Drops on the lens: each shows the blurred picture upside down."""
    height, width = rgb.shape[:2]
    small = cv2.resize(rgb, (32, 24), interpolation=cv2.INTER_AREA)[::-1, ::-1]
    for _ in range(int(rng.integers(0, 1 + int(28 * strength)))):
        radius = int(rng.uniform(0.006, 0.03) * width) + 2
        y, x = int(rng.integers(0, height)), int(rng.integers(0, width))
        y0, x0, y1, x1 = max(y - radius, 0), max(x - radius, 0), min(y + radius, height), min(x + radius, width)
        if y1 - y0 < 2 or x1 - x0 < 2:
            continue
        inside = cv2.resize(small, (2 * radius, 2 * radius))[
            y0 - y + radius : y1 - y + radius, x0 - x + radius : x1 - x + radius
        ]
        alpha = _round(2 * radius)[y0 - y + radius : y1 - y + radius, x0 - x + radius : x1 - x + radius, None]
        patch = rgb[y0:y1, x0:x1]
        soft = cv2.blur(patch, (radius | 1, radius | 1))
        rgb[y0:y1, x0:x1] = (patch * (1 - alpha) + (0.55 * soft + 0.45 * inside) * alpha).astype(np.uint8)


@cache
def _round(size: int) -> NDArray[np.float32]:
    """float32 [size, size]: how much a drop covers, with a soft rim."""
    r = np.hypot(*np.meshgrid(*[np.linspace(-1, 1, size)] * 2))
    return (np.clip((1 - r) * 3, 0, 1) * 0.8).astype(np.float32)


def _dirt(rgb: Picture, strength: float, rng: np.random.Generator) -> None:
    """Smears that blur and fade, and specks of mud out of focus."""
    height, width = rgb.shape[:2]
    smear = np.clip(noise_patch(rng, 7, height, width) * 0.5, 0, 1) * np.float32(0.6 * strength)
    small = cv2.resize(rgb, (max(width // 6, 2), max(height // 6, 2)), interpolation=cv2.INTER_AREA)
    soft = cv2.resize(small, (width, height)) * np.float32(0.8) + np.float32(rng.uniform(5, 40))
    specks = np.zeros((height // 2, width // 2), np.float32)
    for _ in range(int(rng.integers(0, 1 + int(30 * strength)))):
        at = int(rng.integers(width // 2)), int(rng.integers(height // 2))
        cv2.circle(specks, at, int(1 + rng.exponential(0.006) * width / 2), float(rng.uniform(0.2, 0.7)), -1)
    specks = cv2.resize(cv2.GaussianBlur(specks, (0, 0), max(width / 640, 0.6)), (width, height))
    mud = np.array((62.0, 52, 40), np.float32) * np.float32(rng.uniform(0.4, 1.6))
    keep = (1 - smear)[:, :, None]
    mixed = (rgb * keep + soft * smear[:, :, None]) * (1 - specks)[:, :, None] + mud * specks[:, :, None]
    rgb[:] = np.clip(mixed, 0, 255).astype(np.uint8)
