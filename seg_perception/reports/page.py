"""HTML pages that carry their pictures with them."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import cv2
import jinja2
import numpy as np
from numpy.typing import NDArray


def render(template: Path, **content: Any) -> str:
    """The page that a template makes of its content, in which a name that is not given is an error."""
    environment = jinja2.Environment(
        autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined
    )
    return environment.from_string(template.read_text(encoding="utf-8")).render(**content)


def thumbnail(rgb: NDArray[np.uint8], width_px: int) -> NDArray[np.uint8]:
    """A picture, uint8 [H, W, 3], at most so wide."""
    if rgb.shape[1] <= width_px:
        return rgb
    height = max(1, round(rgb.shape[0] * width_px / rgb.shape[1]))
    return np.asarray(cv2.resize(rgb, (width_px, height), interpolation=cv2.INTER_AREA), np.uint8)


def jpeg_uri(rgb: NDArray[np.uint8], quality: int) -> str:
    """A picture, uint8 [H, W, 3], that stands in the page itself."""
    _, encoded = cv2.imencode(".jpg", cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, quality])
    return "data:image/jpeg;base64," + base64.b64encode(encoded.tobytes()).decode()
