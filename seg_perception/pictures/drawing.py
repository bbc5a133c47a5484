"""What all pictures are drawn with: colours that colour-blind people tell apart, lines, text, legends. Images are RGB."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from seg_perception.labels import LabelSet
from seg_perception.results import Drivable, FreeSpace

Color = tuple[int, int, int]

WHITE: Color = (255, 255, 255)
DARK: Color = (24, 24, 24)
GROUND_COLORS: tuple[Color, ...] = ((0, 220, 255), (255, 176, 0), (150, 110, 255), (214, 255, 120))
"""Outlines of the drivable classes, cheapest first; blue against yellow is what every kind of colour-blindness leaves."""
FREE_COLOR = WHITE
"""The edge of free space, whatever the class."""

_FONT = cv2.FONT_HERSHEY_SIMPLEX
_HAS_ALL_LETTERS = int(cv2.__version__.partition(".")[0]) >= 5
_SHIFT = 4
"""Bits of a coordinate below the pixel."""
_FAR_PX = 20_000.0
"""Points farther out are brought here: fixed-point coordinates must not overflow."""


def ground_colors(labels: LabelSet) -> dict[int, Color]:
    """Outline colour of each drivable class, by its id."""
    by_cost = sorted(labels.drivable, key=lambda label: label.drivable_cost)
    return {label.id: GROUND_COLORS[place % len(GROUND_COLORS)] for place, label in enumerate(by_cost)}


def free_ahead_m(drivable: Drivable, labels: LabelSet) -> float:
    """Free distance straight ahead on the cheapest class that is seen, m; NaN when unknown."""
    cheapest = min(drivable.areas, key=lambda area: labels.classes[area.class_id].drivable_cost, default=None)
    return math.nan if cheapest is None else cheapest.free_distance_m


def in_metres(value_m: float, range_max_m: float = math.inf) -> str:
    """A distance in words; an infinite one is beyond range_max_m."""
    if math.isnan(value_m):
        return "unknown"
    return f"{value_m:.1f} m" if value_m <= range_max_m else f"> {range_max_m:g} m"


def free_ends_m(free_space: FreeSpace) -> NDArray[np.float64]:
    """Where on the ground free space ends to be seen, float64 [K, 2] (x, y) in m per bearing; NaN where none is."""
    bearings = free_space.angle_min_rad + free_space.angle_step_rad * np.arange(len(free_space.seen_m))
    seen = np.where(free_space.seen_m > 0, np.float64(free_space.seen_m), np.nan)
    return np.column_stack((np.cos(bearings), np.sin(bearings))) * seen[:, None]


def runs(points: NDArray[np.float64], kept: NDArray[np.bool_]) -> list[NDArray[np.float64]]:
    """The stretches of two or more neighbouring points [K, 2] that are kept."""
    borders = np.flatnonzero(np.diff(np.concatenate(([False], kept, [False])).astype(np.int8)))
    return [points[start:end] for start, end in zip(borders[::2], borders[1::2]) if end - start > 1]


def draw_lines(
    out: NDArray[np.uint8],
    lines: Sequence[NDArray[np.floating]],
    color: Color,
    thickness: int,
    *,
    closed: bool = False,
    cased: bool = False,
) -> None:
    """Draw lines, each [K, 2] (x, y) in px, smooth and to a sixteenth of a pixel. cased: with a dark rim, to be seen on
    any ground."""
    fixed = [np.rint(np.clip(line, -_FAR_PX, _FAR_PX) * (1 << _SHIFT)).astype(np.int32) for line in lines]
    if cased:
        cv2.polylines(out, fixed, closed, DARK, thickness + 2, cv2.LINE_AA, _SHIFT)
    cv2.polylines(out, fixed, closed, color, thickness, cv2.LINE_AA, _SHIFT)


def draw_text(out: NDArray[np.uint8], left: int, baseline: int, text: str, scale: float, color: Color = WHITE) -> None:
    """Write text, without a background."""
    cv2.putText(out, _in_its_letters(text), (left, baseline), _FONT, scale, color, thickness(out.shape[1]), cv2.LINE_AA)


def tag_size(text: str, scale: float) -> tuple[int, int]:
    """Width and height in px of draw_tag's box."""
    return text_width(text, scale) + 6, round(25 * scale) + 6


def draw_tag(out: NDArray[np.uint8], left: int, top: int, text: str, scale: float) -> None:
    """White on a dark box: an outline of thicker letters would be wider than they are in OpenCV 5."""
    width, height = tag_size(text, scale)
    cv2.rectangle(out, (left, top), (left + width - 1, top + height - 1), DARK, cv2.FILLED)
    draw_text(out, left + 3, top + height - 6, text, scale)


def flow_legend(items: Sequence[tuple[str, Color, Color]], width: int, scale: float) -> NDArray[np.uint8]:
    """uint8 [rows, width, 3]: names side by side, wrapped to width, each after a swatch. items: name, colour, rim."""
    line_px, swatch = round(44 * scale), round(26 * scale)
    places, x, line = [], 4, 0
    for name, _, _ in items:
        needed = swatch + 10 + text_width(name, scale)
        if x + needed > width and x > 4:
            x, line = 4, line + 1
        places.append((x, line))
        x += needed + 6
    strip = np.full(((line + 1) * line_px, width, 3), DARK, np.uint8)
    for (name, color, rim), (left, line) in zip(items, places):
        top = line * line_px + (line_px - swatch) // 2
        cv2.rectangle(strip, (left, top), (left + swatch, top + swatch), rim, cv2.FILLED)
        cv2.rectangle(strip, (left + 2, top + 2), (left + swatch - 2, top + swatch - 2), color, cv2.FILLED)
        draw_text(strip, left + swatch + 5, line * line_px + round(30 * scale), name, scale)
    return strip


def wrapped(text: str, width: int, scale: float) -> list[str]:
    """text in lines of at most width px, broken between words."""
    lines: list[str] = []
    for word in text.split():
        longer = f"{lines[-1]} {word}" if lines else word
        if lines and text_width(longer, scale) <= width:
            lines[-1] = longer
        else:
            lines.append(word)
    return lines


def font_scale(width: int) -> float:
    """0.4 at 640 px, the least that can be read, 0.55 at 1280."""
    return min(1.2, max(0.4, 0.25 + width * 0.3 / 1280))


def thickness(width: int) -> int:
    """Of letters and thin lines in a picture so wide, px."""
    return 1 if width < 1600 else 2


def text_width(text: str, scale: float) -> int:
    """px."""
    return int(cv2.getTextSize(_in_its_letters(text), _FONT, scale, 1)[0][0])


def _in_its_letters(text: str) -> str:
    """Text in letters that OpenCV has: before 5.0 those of ASCII, and each byte of any other was a question mark."""
    if _HAS_ALL_LETTERS or text.isascii():
        return text
    plain = unicodedata.normalize("NFKD", text.replace("ß", "ss"))
    return "".join(letter if letter.isascii() else "?" for letter in plain if not unicodedata.combining(letter))
