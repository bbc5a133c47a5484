"""Pictures of drivable ground beside its exact truth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from seg_perception.files import write_image
from seg_perception.ground.maps import OBSTACLE
from seg_perception.labels import NOT_GROUND, LabelSet
from seg_perception.metrics.ground_truth import GroundTruth
from seg_perception.pictures.overlay import Overlay
from seg_perception.results import Drivable, Panoptic

UNKNOWN_COLOR = (44, 44, 50)
OBSTACLE_COLOR = (255, 255, 255)
WRONG_COLOR = (255, 0, 0)
NEAR_COLOR = (255, 220, 0)
_TITLE_PX = 24
_GRID_PX = 480


@dataclass(frozen=True)
class GroundPicture:
    """What one kind of labels gave for a frame. kind: its name; rgb: the frame, uint8 [H, W, 3]; labels: of the mask and
    of drivable."""

    kind: str
    rgb: NDArray[np.uint8]
    panoptic: Panoptic
    drivable: Drivable
    labels: LabelSet
    truth: GroundTruth


def write_picture(path: Path, answers: Sequence[GroundPicture]) -> None:
    """Write one row an answer: the frame with its outlines, the true grid, the answered one, and where they differ."""
    write_image(path, np.vstack([_row(answer) for answer in answers]))


def _row(answer: GroundPicture) -> NDArray[np.uint8]:
    truth = answer.truth
    exact = truth.grid.cells
    cells = answer.drivable.grid.cells if answer.drivable.grid else np.full_like(exact, NOT_GROUND)
    table = _colors(answer.labels)
    differences = table[cells.view(np.uint8)] // 2
    right = truth.right(cells)
    differences[truth.counted & (cells != exact) & right] = NEAR_COLOR
    differences[truth.counted & ~right] = WRONG_COLOR
    from_above = [
        _from_above(table[exact.view(np.uint8)]),
        _from_above(table[cells.view(np.uint8)]),
        _from_above(differences),
    ]
    overlay = Overlay(answer.labels).draw(answer.rgb, answer.panoptic, answer.drivable)
    height = len(from_above[0])
    width = round(height * overlay.shape[1] / overlay.shape[0])
    titles = (f"{answer.kind} labels", "exact grid", "answered grid", "yellow: not strictly right, red: wrong")
    images = (cv2.resize(overlay, (width, height), interpolation=cv2.INTER_AREA), *from_above)
    return np.hstack([_titled(title, image) for title, image in zip(titles, images)])


def _colors(labels: LabelSet) -> NDArray[np.uint8]:
    """uint8 [256, 3]: colour of a cell's value seen as uint8: that of the class of this cost."""
    table = np.full((256, 3), UNKNOWN_COLOR, np.uint8)
    for label in labels.drivable:
        table[label.drivable_cost] = label.color
    table[OBSTACLE] = OBSTACLE_COLOR
    return table


def _from_above(cells: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A grid's colours [rows, columns, 3] as a picture: ahead is up and left is left."""
    scale = max(1, _GRID_PX // cells.shape[1])
    return np.ascontiguousarray(cells.transpose(1, 0, 2)[::-1, ::-1].repeat(scale, 0).repeat(scale, 1))


def _titled(title: str, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    framed = cv2.copyMakeBorder(image, _TITLE_PX, 4, 4, 4, cv2.BORDER_CONSTANT, value=(24, 24, 24))
    return cv2.putText(framed, title, (8, 17), cv2.FONT_HERSHEY_SIMPLEX, 0.45, (255, 255, 255), 1, cv2.LINE_AA)
