"""The picture of one answer: the camera's image with what was found in it, beside it the ground from above."""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from seg_perception.camera_model import CameraModel, CameraPose
from seg_perception.errors import SegPerceptionError
from seg_perception.ground.drivable import DrivableSettings
from seg_perception.ground.ego_mask import EgoMask
from seg_perception.ground.geometry import GroundProjection
from seg_perception.labels import LabelSet
from seg_perception.pictures.birds_eye import BirdsEye
from seg_perception.pictures.overlay import Overlay, note_age
from seg_perception.results import Answer, Panoptic

LEAST_HEIGHT_PX = 480
"""Of the ground's panel: below that its numbers cannot be read."""
PANEL_ASPECT = 2 / 3
NO_ANSWER = "nothing was answered yet"


@dataclass(frozen=True)
class Placing:
    """How images are placed over the ground. note: what is to be said about it in every picture; problem: why there may
    be no ground, when there is none."""

    settings: DrivableSettings
    pose: CameraPose | None
    note: str = ""
    problem: str = ""


def panel_size(height: int) -> tuple[int, int]:
    """(width, height) in px of the ground's panel beside an image that is height px high."""
    height = max(height, LEAST_HEIGHT_PX)
    return round(height * PANEL_ASPECT), height


class Panels:
    """Draws into buffers of one size, that of the first image and the panel beside it; without placing there is none. ego:
    where the images show the own vehicle.

    camera, ground: the two pictures of the latest draw, uint8 [H, W, 3]; ground is None without placing.
    """

    def __init__(self, labels: LabelSet, placing: Placing | None, ego: EgoMask | None = None) -> None:
        self._labels, self._placing, self._ego = labels, placing, ego
        self._overlay = Overlay(labels)
        self._birds_eye: BirdsEye | None = None
        self._projection: GroundProjection | None = None
        self._projected_of: tuple[CameraModel, CameraPose, tuple[int, int]] | None = None
        self._board: NDArray[np.uint8] = np.zeros((0, 0, 3), np.uint8)
        self._image_hw = (0, 0)
        self._answered: NDArray[np.uint8] | None = None
        self.camera: NDArray[np.uint8] | None = None
        self.ground: NDArray[np.uint8] | None = None

    def draw(
        self, rgb: NDArray[np.uint8], answer: Answer | None, age_frames: int = 0, camera: CameraModel | None = None
    ) -> NDArray[np.uint8]:
        """uint8 [H, W, 3] that holds until the next call: rgb with an answer that is age_frames old, and the ground. camera:
        of rgb, where it is known.

        rgb is kept until the next answer.
        """
        self.camera = rgb
        projection = None
        if age_frames == 0:
            self._answered = rgb  # an old answer's ground is not where later images show it
        if answer is not None:
            panoptic = Panoptic(answer.semantic, answer.instance, np.zeros_like(answer.semantic), answer.segments)
            projection = self._projected(camera, (answer.semantic.shape[0], answer.semantic.shape[1]))
            shown = answer.drivable
            if self._ego is not None:
                size_wh = rgb.shape[1], rgb.shape[0]
                shown = replace(shown, ego=self._ego.pixels(size_wh, (rgb.shape[0], rgb.shape[1])))
            self.camera = self._overlay.draw(rgb, panoptic, shown, projection=projection)
            note_age(self.camera, age_frames)
        if self._placing is None:
            return self.camera
        if self._birds_eye is None:
            self._open(self._placing, rgb)
        assert self._birds_eye is not None
        drivable = None if answer is None else answer.drivable
        problem = NO_ANSWER if answer is None else self._placing.problem
        self.ground = self._birds_eye.draw(
            drivable, self.ground, problem=problem, rgb=self._answered, projection=projection
        )
        height, width = self._image_hw
        self._board[:height, :width] = fitted(self.camera, (width, height))
        self._board[: len(self.ground), width:] = self.ground
        return self._board

    def _open(self, placing: Placing, rgb: NDArray[np.uint8]) -> None:
        height, width = self._image_hw = rgb.shape[:2]
        panel_width, panel_height = panel_size(height)
        self._birds_eye = BirdsEye(self._labels, placing.settings, (panel_width, panel_height), placing.note)
        self._board = np.zeros((max(height, panel_height), width + panel_width, 3), np.uint8)

    def _projected(self, camera: CameraModel | None, mask_hw: tuple[int, int]) -> GroundProjection | None:
        """The projection for masks of that size; None where there is none, for which the node named the cause."""
        placing = self._placing
        if placing is None or camera is None or placing.pose is None:
            return None
        key = camera, placing.pose, mask_hw
        if key != self._projected_of:
            self._projected_of = key
            try:
                self._projection = GroundProjection(*key)
            except SegPerceptionError:
                self._projection = None
        return self._projection


def fitted(image: NDArray[np.uint8], size_wh: tuple[int, int]) -> NDArray[np.uint8]:
    """An image [H, W, 3] in the middle of a black one of that size, as large as it fits without being squashed; one that
    is only a pixel smaller is stretched."""
    width, height = size_wh
    missing = height - image.shape[0], width - image.shape[1]
    if missing == (0, 0):
        return image
    if min(missing) >= 0 and max(missing) == 1:
        return np.asarray(cv2.resize(image, size_wh, interpolation=cv2.INTER_LINEAR), np.uint8)
    scale = min(width / image.shape[1], height / image.shape[0])
    inner_wh = max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale))
    x, y = (width - inner_wh[0]) // 2, (height - inner_wh[1]) // 2
    framed = np.zeros((height, width, 3), np.uint8)
    framed[y : y + inner_wh[1], x : x + inner_wh[0]] = cv2.resize(image, inner_wh, interpolation=cv2.INTER_AREA)
    return framed
