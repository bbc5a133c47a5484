"""The page of a job: the picked frames and why."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from seg_perception.labelling.job import Picked
from seg_perception.labels import LabelSet
from seg_perception.reports import page

TEMPLATE = Path(__file__).with_name("pick.html.j2")
_WIDTH_PX = 320
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


def thumbnail(rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A picture as small as those of these pages."""
    return page.thumbnail(rgb, _WIDTH_PX)


def jpeg_uri(rgb: NDArray[np.uint8]) -> str:
    """A picture that stands in the page itself."""
    return page.jpeg_uri(rgb, _QUALITY)


@dataclass(frozen=True)
class Line:
    """A recording on the page: its length in s, and where frames were taken, in percent of it."""

    name: str
    length_s: float
    places: tuple[float, ...]


def render(cards: Sequence[Card], lines: Sequence[Line], summary: str, problems: Sequence[str]) -> str:
    """The page of a job."""
    return page.render(TEMPLATE, cards=cards, lines=lines, summary=summary, problems=problems)
