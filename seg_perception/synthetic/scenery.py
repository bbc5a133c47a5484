"""What a synthetic street is made of beside its traffic: sky, ground, houses, trees, poles, signs, fences, and its light."""

from __future__ import annotations

from functools import cache

import cv2
import numpy as np
from numpy.typing import NDArray

from seg_perception.labels import CAMVID
from seg_perception.synthetic.canvas import Canvas, Floats, Surface, to_pixels
from seg_perception.synthetic.classes import TERRAIN
from seg_perception.synthetic.objects import BUILDING, FENCE, POLE, SIGN, TREE, Billboard

SKY, ROAD, PAVEMENT = (CAMVID.by_name(name).id for name in ("sky", "road", "pavement"))
_NOISE_SIZE = 1024


@cache
def noise(octave: int) -> NDArray[np.float32]:
    """float32 [1024, 1024]: smooth noise of about unit spread, spots of 2**octave pixels; the same in every run."""
    small = max(_NOISE_SIZE >> octave, 2)
    rng = np.random.Generator(np.random.PCG64(octave))
    values = rng.standard_normal((small, small)).astype(np.float32)
    return cv2.resize(values, (_NOISE_SIZE, _NOISE_SIZE), interpolation=cv2.INTER_CUBIC)


def noise_patch(rng: np.random.Generator, octave: int, height: int, width: int) -> NDArray[np.float32]:
    """float32 [height, width]: a piece of `noise` from anywhere."""
    y, x = (int(rng.integers(0, max(_NOISE_SIZE - length, 0) + 1)) for length in (height, width))
    patch = noise(octave)[y : y + height, x : x + width]
    if patch.shape == (height, width):
        return patch
    return cv2.resize(patch, (width, height))


def rectangle(x0: float, x1: float, y0: float, y1: float, up: float = 0.0) -> Floats:
    """A rectangle on the ground or so far above it, [4, 3]."""
    return np.array(((x0, y0, up), (x1, y0, up), (x1, y1, up), (x0, y1, up)))


def wall(x0: float, y0: float, x1: float, y1: float, bottom: float, top: float) -> Floats:
    """An upright rectangle over the line (x0, y0)-(x1, y1), [4, 3]."""
    return np.array(((x0, y0, bottom), (x1, y1, bottom), (x1, y1, top), (x0, y0, top)))


def earthy(rng: np.random.Generator) -> Floats:
    """A colour of brick, stone or plaster; now and then a bright one."""
    warm = rng.uniform(-5, 45)
    color = (
        rng.uniform(40, 215) + np.array((0.5, 0.0, -0.7)) * warm + rng.normal(0, 25 if rng.random() < 0.15 else 4, 3)
    )
    return np.clip(color, 10, 240)


def paint_sky(canvas: Canvas, rng: np.random.Generator) -> None:
    """Sky over the whole canvas, from bright haze at the horizon up to blue or grey, with clouds."""
    height, width = canvas.codes.shape
    blue, white = np.array((60.0, 115, 190)), np.full(3, rng.uniform(120, 245))
    top = white + (blue - white) * rng.random() ** 2
    ramp = np.linspace(0, 1.6, height)[:, None].clip(0, 1)
    rows = top * (1 - ramp) + canvas.haze_color * ramp
    canvas.rgb[:] = rows[:, None].astype(np.uint8)
    if rng.random() < 0.5:
        clouds = cv2.convertScaleAbs(noise_patch(rng, 7, height, width).clip(0, 2), alpha=rng.uniform(5, 35))
        cv2.add(canvas.rgb, cv2.merge((clouds, clouds, clouds)), canvas.rgb)
    canvas.clear(SKY)


def paint_backdrop(canvas: Canvas, rng: np.random.Generator, distance_m: float) -> None:
    """A row of far trees or houses that closes the view."""
    edge = -150.0
    while edge < 150:
        wide, tall = rng.uniform(8, 45), rng.uniform(3, 16)
        color = rng.uniform((40, 55, 30), (110, 120, 90)) if (green := rng.random() < 0.5) else rng.uniform(60, 170, 3)
        steps = np.linspace(0, 1, 8)
        bumps = tall * (rng.uniform(0.7, 1.0, 8) if green else np.ones(8))
        top = np.column_stack((np.full(8, distance_m), edge + steps * wide, bumps))
        foot = np.array(((distance_m, edge + wide, 0.0), (distance_m, edge, 0.0)))
        canvas.paint(np.vstack((top, foot)), color, TREE if green else BUILDING)
        edge += wide * rng.uniform(0.8, 1.4)


def paint_house(
    canvas: Surface, rng: np.random.Generator, x0: float, x1: float, y: float, height: float, sun: Floats
) -> None:
    """A house along the street from x0 to x1, its front at y (left positive), with windows, a roof, a gable."""
    out = 1.0 if y > 0 else -1.0
    color = earthy(rng)
    deep = y + out * rng.uniform(6, 12)
    lit = 0.6 + 0.4 * max(-out * sun[1], 0.0)
    gable = 0.6 + 0.4 * max(-sun[0], 0.0)
    if x0 > canvas.view.position[0]:
        canvas.paint(wall(x0, y, x0, deep, 0, height), color * gable, BUILDING)
    if rng.random() < 0.6:
        ridge = height + rng.uniform(1.5, 3.5)
        middle = (y + deep) / 2
        roof = np.array(((x0, y, height), (x1, y, height), (x1, middle, ridge), (x0, middle, ridge)))
        tiles = rng.uniform((60, 45, 40), (150, 95, 85))
        canvas.paint(roof, tiles, BUILDING)
        canvas.paint(np.array(((x0, y, height), (x0, deep, height), (x0, middle, ridge))), color * gable, BUILDING)
    canvas.paint(wall(x0, y, x1, y, 0, height), color * lit, BUILDING)
    if rng.random() < 0.5:
        canvas.paint(wall(x0, y, x1, y, 0, rng.uniform(0.6, 3.2)), earthy(rng) * lit, BUILDING)
    _paint_windows(canvas, rng, x0, x1, y, height)


def _paint_windows(canvas: Surface, rng: np.random.Generator, x0: float, x1: float, y: float, height: float) -> None:
    storey, spacing = rng.uniform(2.6, 3.6), rng.uniform(1.8, 3.6)
    lefts = np.arange(x0 + 0.5, x1 - spacing * 0.7, spacing)
    sills = np.arange(rng.uniform(0.7, 1.3), height - 1.7, storey)
    if not len(lefts) or not len(sills):
        return
    wide, tall = spacing * rng.uniform(0.35, 0.75), storey * rng.uniform(0.4, 0.6)
    left, sill = (values.ravel() for values in np.meshgrid(lefts, sills))
    corners = ((0, 0), (1, 0), (1, 1), (0, 1))
    grid = np.stack(
        [np.column_stack((left + a * wide, np.full_like(left, y), sill + b * tall)) for a, b in corners], axis=1
    )
    trim = rng.uniform(60, 240) + rng.normal(0, 10, 3)
    pane = np.array((60.0, 68, 78)) * rng.uniform(0.3, 2.0)
    canvas.paint_many(grid, trim, BUILDING)
    middle = grid.mean(axis=1, keepdims=True)
    canvas.paint_many(middle + (grid - middle) * 0.8, pane, BUILDING)


def paint_ground(canvas: Canvas, rng: np.random.Generator, right: float, left: float, walk: float, far: float) -> None:
    """Road between the kerbs at y = right and y = left, pavements walk metres wide and on to the houses, markings."""
    asphalt = np.full(3, rng.uniform(55, 150)) + rng.normal(0, 5, 3)
    paving = np.clip(asphalt + rng.uniform(-30, 70) + rng.normal(0, 9, 3), 30, 225)
    canvas.paint(rectangle(-3, far, -60, 60), paving, PAVEMENT)
    if rng.random() < 0.7:
        _paint_joints(canvas, paving * rng.uniform(0.75, 0.95), right, left, walk)
    for start, end in _pieces(rng, far):
        canvas.paint(rectangle(start, end, right, left), asphalt * rng.uniform(0.93, 1.05), ROAD)
    for kerb, out in ((right, -1), (left, 1)):
        canvas.paint(rectangle(-3, far, kerb, kerb + out * 0.14), paving * rng.uniform(0.7, 1.25), PAVEMENT)
    if rng.random() < 0.4:
        at = rng.uniform(8, 45)
        canvas.paint(rectangle(at, at + rng.uniform(5, 9), -60, 60), asphalt, ROAD)
    _paint_markings(canvas, rng, right, left, far)


def _pieces(rng: np.random.Generator, far: float) -> list[tuple[float, float]]:
    cut = rng.uniform(4, 30)
    return [(-3.0, far)] if rng.random() < 0.5 else [(-3.0, cut), (cut, far)]


def _paint_joints(canvas: Canvas, color: Floats, right: float, left: float, walk: float) -> None:
    at = np.arange(1.0, 30.0, 0.9)
    for y0, y1 in ((right - walk, right), (left, left + walk)):
        strips = np.stack([rectangle(x, x + 0.04, y0, y1) for x in at])
        canvas.paint_many(strips, color, PAVEMENT)


def _paint_markings(canvas: Canvas, rng: np.random.Generator, right: float, left: float, far: float) -> None:
    paint = np.array((225.0, 225, 220)) * rng.uniform(0.6, 1.1)
    if rng.random() < 0.75:
        middle = (right + left) / 2 + rng.uniform(-0.5, 0.5)
        dash, gap, phase = rng.uniform(1, 5), rng.uniform(1, 7), rng.uniform(0, 8)
        starts = np.arange(1.0 + phase - 8, min(far, 110), dash + gap)
        canvas.paint_many(np.stack([rectangle(x, x + dash, middle - 0.06, middle + 0.06) for x in starts]), paint, ROAD)
    for kerb, inward in ((right, 1), (left, -1)):
        if rng.random() < 0.4:
            near = kerb + inward * rng.uniform(0.2, 0.5)
            color = paint if rng.random() < 0.6 else np.array((215.0, 180, 60))
            canvas.paint(rectangle(-3, far, near, near + inward * 0.1), color, ROAD)
    if rng.random() < 0.2:
        at = rng.uniform(5, 35)
        bars = np.arange(right + 0.4, left - 0.4, 1.0)
        canvas.paint_many(np.stack([rectangle(at, at + 3, y, y + 0.5) for y in bars]), paint, ROAD)


def leafy(rng: np.random.Generator) -> Floats:
    """A colour of leaves, from dark green to autumn."""
    autumn = rng.random() ** 3
    color = (1 - autumn) * np.array((75.0, 100, 45)) + autumn * np.array((135.0, 100, 60))
    return np.clip(color * rng.uniform(0.35, 1.25) + rng.normal(0, 6, 3), 5, 220)


def paint_tree(canvas: Canvas, rng: np.random.Generator, x: float, y: float, up: float = 0.0) -> None:
    """Trunk and crown, its foot `up` metres above the road."""
    tall, crown = rng.uniform(4, 13), rng.uniform(1.2, 3.6)
    tree = Billboard(canvas, x, y, TREE, up=up)
    thick = rng.uniform(0.15, 0.45)
    tree.limb((0, 0), (0, tall * 0.8), thick, rng.uniform((40, 32, 25), (105, 90, 75)))
    leaf = leafy(rng)
    for _ in range(int(rng.integers(6, 13))):
        at = rng.normal(0, crown * 0.45), tall - crown * 0.8 + rng.normal(0, crown * 0.4)
        around = np.linspace(0, 2 * np.pi, 11, endpoint=False)
        radius = crown * rng.uniform(0.3, 0.6) * rng.uniform(0.75, 1.2, 11)
        blob = np.column_stack((at[0] + radius * np.cos(around), np.maximum(at[1] + radius * np.sin(around), 1.5)))
        tree.fill(blob, leaf * rng.uniform(0.7, 1.35))


def paint_hedge(canvas: Surface, rng: np.random.Generator, x0: float, x1: float, y: float) -> None:
    """Bushes along the street, labelled tree as CamVid does."""
    tall, leaf = rng.uniform(0.7, 2.5), leafy(rng)
    along = np.linspace(x0, x1, 14)
    top = np.column_stack((along, np.full(14, y), tall * rng.uniform(0.8, 1.1, 14)))
    canvas.paint(np.vstack((top, ((x1, y, 0), (x0, y, 0)))), leaf, TREE)


def paint_fence(canvas: Surface, rng: np.random.Generator, x0: float, x1: float, y: float) -> None:
    """A fence along the street: boards or bars; the gaps are labelled with it, as annotators do."""
    tall, color = rng.uniform(0.8, 2.0), rng.uniform(30, 200) + rng.normal(0, 14, 3)
    canvas.paint(wall(x0, y, x1, y, 0, tall), color, FENCE)
    step, share = rng.uniform(0.12, 0.6), rng.uniform(0.3, 0.9)
    at = np.arange(x0, min(x1, x0 + 60 * step), step)
    gaps = np.stack([wall(x, y, x + step * share, y, 0.08, tall - 0.1) for x in at])
    canvas.paint_many(gaps, np.clip(color * rng.uniform(0.55, 1.3), 0, 255), FENCE)


_LAMP_LIGHT = (255.0, 205.0, 130.0)


def paint_pole(canvas: Canvas, rng: np.random.Generator, x: float, y: float) -> None:
    """A lamp post, a traffic light or a plain pole."""
    tall, color = rng.uniform(2.5, 9), np.full(3, rng.uniform(20, 170)) + rng.normal(0, 6, 3)
    pole = Billboard(canvas, x, y, POLE)
    pole.limb((0, 0), (0, tall), rng.uniform(0.08, 0.24), color)
    kind = rng.random()
    if kind < 0.4 and tall > 4:
        reach = rng.uniform(0.6, 2.0) * (1 if y < 0 else -1)
        pole.limb((0, tall), (-reach, tall + 0.2), 0.09, color)
        pole.disc((-reach, tall + 0.15), (0.3, 0.1), color * 1.3)
        canvas.shine(pole.place + (-reach) * pole.right + np.array((0, 0, tall + 0.15)), _LAMP_LIGHT, 0.35)
    elif kind < 0.6:
        box = np.array(((-0.17, 2.4), (0.17, 2.4), (0.17, 3.3), (-0.17, 3.3)))
        pole.fill(box, (25, 25, 25), SIGN)
        lamp = ((220.0, 30, 20), (240.0, 170, 30), (40.0, 220, 90))[int(rng.integers(3))]
        canvas.shine(pole.place + np.array((0, 0, 2.85)), lamp, 0.12)
        pole.fill(np.array((0, 2.85)) + 0.11 * np.array(((-1, -1), (1, -1), (1, 1), (-1, 1.0))), lamp, SIGN)


_SIGN_COLORS = (
    ((200.0, 25, 25), (240.0, 240, 240)),
    ((25.0, 70, 170), (40.0, 90, 200)),
    ((240.0, 240, 235), (30.0, 110, 60)),
)


def paint_sign(canvas: Canvas, rng: np.random.Generator, x: float, y: float) -> None:
    """A traffic sign on its pole: disc, triangle or board with a rim."""
    high, size = rng.uniform(2.0, 3.0), rng.uniform(0.25, 0.5)
    sign = Billboard(canvas, x, y, SIGN)
    post = Billboard(canvas, x, y, POLE)
    post.limb((0, 0), (0, high), rng.uniform(0.06, 0.12), np.full(3, rng.uniform(60, 170)))
    kind = int(rng.integers(3))
    rim, face = _SIGN_COLORS[int(rng.integers(len(_SIGN_COLORS)))]
    angles = np.linspace(0, 2 * np.pi, (16, 3, 4)[kind], endpoint=False) + (0, np.pi / 2, np.pi / 4)[kind]
    shape = np.column_stack((np.cos(angles), np.sin(angles))) * (1.0 if kind < 2 else (1.0, rng.uniform(0.6, 1.4)))
    for scale, color in ((1.0, rim), (0.75, face)):
        sign.fill(np.array((0, high)) + shape * size * scale, color)
    if rng.random() < 0.5:
        sign.fill(
            np.array((0, high)) + size * 0.3 * np.array(((-1, -0.3), (1, -0.3), (1, 0.3), (-1, 0.3))), (30, 30, 30)
        )


_LIES_ON = np.zeros(16, np.float32)
_LIES_ON[[ROAD, PAVEMENT, TERRAIN]] = 1.0, 1.0, 2.0
"""How strongly spots and stains show on the ground, by class id."""


def _on_ground(
    canvas: Canvas, rng: np.random.Generator, texture: NDArray[np.float32], far: float, wide: float
) -> NDArray[np.float32]:
    """float32 [H, W]: a texture [1024, 1024] of 3.75 cm as it lies on the ground so far ahead and so wide to either side, in m;
    0 beyond."""
    corners = np.array(((1.5, -wide, 0), (1.5, wide, 0), (far, wide, 0), (far, -wide, 0.0)))
    pixels = to_pixels(canvas.view.to_view(corners)).astype(np.float32)
    source = np.array(((0, 0), (37.5 * wide, 0), (37.5 * wide, 1000), (0, 1000)), np.float32) + np.float32(
        rng.integers(0, 20)
    )
    height, width = canvas.codes.shape
    matrix = cv2.getPerspectiveTransform(source, pixels)
    lies: NDArray[np.float32] = cv2.warpPerspective(
        texture, matrix, (width, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT
    )
    return lies


def add_ground_texture(
    canvas: Canvas, rng: np.random.Generator, strength: float, far: float, wide: float = 8.0
) -> None:
    """Spots, stains and streaks that lie on the ground in perspective, as far ahead and so wide to either side, in m."""
    lies = _on_ground(canvas, rng, noise(1) * 0.5 + noise(4), far, wide)
    change = (lies * _LIES_ON[canvas.codes & 15] * np.float32(strength))[:, :, None]
    canvas.rgb[:] = np.clip(canvas.rgb + change, 0, 255).astype(np.uint8)


def add_growth(canvas: Canvas, rng: np.random.Generator, color: Floats) -> None:
    """Terrain is not of one colour: patches of another one [3] shine through, tufts are dark at their foot and light at their
    tips."""
    grows = (canvas.codes & 15) == TERRAIN
    if not grows.any():
        return
    height, width = grows.shape
    patches = _on_ground(canvas, rng, noise(3) * 0.6 + noise(5) + noise(7), 90.0, 27.0)
    tufts = (
        noise_patch(rng, 0, height, width) * 0.5
        + noise_patch(rng, 1, height, width)
        + _on_ground(canvas, rng, noise(2), 50.0, 27.0)
    )
    share = np.clip(rng.uniform(0, 0.5) + patches * np.float32(rng.uniform(0.1, 0.5)), 0, 1)[:, :, None]
    own = canvas.rgb[grows].mean(axis=0) + 1
    other = np.float32(np.clip(color / own, 0.4, 2.5))
    rgb = canvas.rgb * (1 + share * (other - 1)) + (tufts * np.float32(rng.uniform(2, 20)))[:, :, None]
    canvas.rgb[grows] = np.clip(rgb, 0, 255).astype(np.uint8)[grows]


_ROUGHNESS = np.array([1, 7, 5, 4, 6, 22, 6, 10, 5, 12, 12, 17, 8, 6, 4, 4], np.float32)
"""Texture noise by class id, in grey levels."""


_STAINS = np.array([0, 7, 0, 4, 6, 9, 0, 6, 4, 0, 0, 9, 10, 7, 6, 4], np.float32)
"""Slow changes of brightness over a surface, by class id, in grey levels."""


def add_texture(canvas: Canvas, rng: np.random.Generator) -> None:
    """Noise in the picture, as strong as the surface of each class is rough."""
    height, width = canvas.codes.shape
    rough = _ROUGHNESS[canvas.codes & 15] * np.float32(rng.uniform(0.4, 1.4))
    grain = (noise_patch(rng, 1, height, width) * 0.6 + noise_patch(rng, 3, height, width) * 0.7) * rough
    grain += noise_patch(rng, 6, height, width) * (_STAINS[canvas.codes & 15] * np.float32(rng.uniform(0.2, 1.2)))
    canvas.rgb[:] = np.clip(canvas.rgb + grain[:, :, None], 0, 255).astype(np.uint8)


def expose(rgb: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """What light, lens and sensor do to the picture: tint, exposure, gamma, blur, noise, compression."""
    levels = np.arange(256, dtype=np.float64) / 255
    gain, gamma, lift = rng.uniform(0.6, 1.3), rng.uniform(0.75, 1.35), rng.uniform(0, 0.08)
    curves = np.stack([levels**gamma * gain * tint + lift for tint in rng.uniform(0.92, 1.08, 3)], axis=1)
    rgb = cv2.LUT(rgb, np.clip(curves * 255, 0, 255).astype(np.uint8).reshape(1, 256, 3))
    if rng.random() < 0.7:
        rgb = cv2.GaussianBlur(rgb, (0, 0), rng.uniform(0.3, 1.3))
    if rng.random() < 0.6:
        height, width = rgb.shape[:2]
        grain = noise_patch(rng, 0, height, width)[:, :, None] * np.float32(rng.uniform(1, 8))
        rgb = np.clip(rgb + grain, 0, 255).astype(np.uint8)
    if rng.random() < 0.4:
        _, packed = cv2.imencode(".jpg", rgb, [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(35, 95))])
        rgb = np.asarray(cv2.imdecode(packed, cv2.IMREAD_COLOR))
    return rgb
