"""Pages that carry their pictures with them: the picked frames and why."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import jinja2
import numpy as np
from numpy.typing import NDArray

from seg_perception.errors import SegPerceptionError
from seg_perception.labelling.job import Picked
from seg_perception.labels import LabelSet

TEMPLATE = Path(__file__).with_name("pick.html.j2")
_WIDTH = 320
_QUALITY = 80
_MIX = 0.55
"""Of the classes' colours in a thumbnail of the answer."""


@dataclass(frozen=True)
class Card:
    """A frame on the page. image, answer: JPEGs as data URIs; classes: names and colours of what the network sees."""

    picked: Picked
    image: str
    answer: str
    classes: tuple[tuple[str, str], ...]

    @staticmethod
    def of(picked: Picked, rgb: NDArray[np.uint8], answer: NDArray[np.uint8], labels: LabelSet) -> Card:
        """rgb: uint8 [H, W, 3]; answer: uint8 [h, w] classes."""
        small = thumbnail(rgb)
        colored = labels.colors[cv2.resize(answer, small.shape[1::-1], interpolation=cv2.INTER_NEAREST)]
        mixed = cv2.addWeighted(small, 1 - _MIX, colored, _MIX, 0)
        ids = np.argsort(-np.bincount(answer.ravel(), minlength=len(labels)), kind="stable")
        seen = [labels.classes[i] for i in ids if (answer == i).any()]
        words = tuple((label.name, f"rgb{label.color}") for label in seen)
        return Card(picked, jpeg_uri(small), jpeg_uri(mixed), words)


def thumbnail(rgb: NDArray[np.uint8], width: int = _WIDTH) -> NDArray[np.uint8]:
    """A picture at most `width` px wide."""
    if rgb.shape[1] <= width:
        return rgb
    height = max(1, round(rgb.shape[0] * width / rgb.shape[1]))
    return np.asarray(cv2.resize(rgb, (width, height), interpolation=cv2.INTER_AREA))


def jpeg_uri(rgb: NDArray[np.uint8]) -> str:
    """A picture that stands in the page itself."""
    done, data = cv2.imencode(".jpg", cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])
    if not done:
        raise SegPerceptionError(f"a picture of {rgb.shape} cannot be written as JPEG: report this")
    return f"data:image/jpeg;base64,{base64.b64encode(data.tobytes()).decode()}"


@dataclass(frozen=True)
class Line:
    """A recording on the page: its length in s, and where frames were taken, in percent of it."""

    name: str
    length_s: float
    places: tuple[float, ...]


def render(cards: Sequence[Card], lines: Sequence[Line], summary: str, problems: Sequence[str]) -> str:
    """The page of a job."""
    template = environment().from_string(TEMPLATE.read_text(encoding="utf-8"))
    return template.render(cards=cards, lines=lines, summary=summary, problems=problems)


def environment() -> jinja2.Environment:
    """How pages are made of templates."""
    return jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined)
