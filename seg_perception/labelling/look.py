"""What a frame looks like to a network at a small size: how unsure it is, which classes it sees, and what is where."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from seg_perception.backends.base import Backend
from seg_perception.camera.preprocess import Preprocessor
from seg_perception.results import Frame

SMALL_PIXELS = 256 * 160
"""Of the network's input, where the model file leaves its size open: enough to judge a frame by."""
_CELLS_WH = (4, 3)
"""Parts of the image whose classes are told apart."""
_THUMBNAIL_WH = (8, 6)
_COLOR_WEIGHT = 0.5
"""Of how the image looks, against which classes are where."""


@dataclass(frozen=True)
class Look:
    """One frame. uncertainty: mean entropy of the classes' probabilities against the largest possible, in [0, 1]; shares:
    float32 [C], of the pixels, by class; descriptor: float32 [D], whose distances say how unlike frames are; contrast:
    standard deviation of the grey levels; answer: uint8 [h, w], the class of each cell of the network's grid."""

    uncertainty: float
    shares: NDArray[np.float32]
    descriptor: NDArray[np.float32]
    contrast: float
    answer: NDArray[np.uint8]


class Looker:
    """Looks at frames, one at a time, with a backend that it does not close."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self.labels = backend.model.labels
        limits, size_hw = backend.model.limits, backend.model.size_hw
        self._preprocess = Preprocessor(
            size_hw if limits is None else lambda image_hw: limits.nearest(image_hw, SMALL_PIXELS)
        )

    def __call__(self, frame: Frame) -> Look:
        """What a frame looks like; nothing of the frame itself is kept."""
        images = self._preprocess(frame)
        logits = self._backend.infer(images).semantic_logits[0]
        probability = _softmax(logits)
        answer = probability.argmax(axis=0).astype(np.uint8)
        classes = len(probability)
        with np.errstate(divide="ignore", invalid="ignore"):
            entropy = -np.nansum(probability * np.log(probability), axis=0) / np.log(max(2, classes))
        shares = np.bincount(answer.ravel(), minlength=classes).astype(np.float32) / answer.size
        return Look(
            float(entropy.mean()),
            shares,
            np.concatenate([_layout(probability), _COLOR_WEIGHT * _colors(images[0])]),
            float(cv2.cvtColor(images[0], cv2.COLOR_RGB2GRAY).std()),
            answer,
        )


def _softmax(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    """Over the first axis."""
    raised = np.exp(logits - logits.max(axis=0))
    return np.asarray(raised / raised.sum(axis=0), np.float32)


def _layout(probability: NDArray[np.float32]) -> NDArray[np.float32]:
    """float32 [cells x C] of length 1: which classes are where; roots, so that a little of a class counts (Hellinger)."""
    cells = np.stack([cv2.resize(plane, _CELLS_WH, interpolation=cv2.INTER_AREA) for plane in probability])
    return _unit(np.sqrt(np.maximum(cells, 0)).ravel())


def _colors(rgb: NDArray[np.uint8]) -> NDArray[np.float32]:
    """float32 [48 x 3] of length 1: a thumbnail in L*a*b*, without its mean lightness, which is the exposure."""
    small = cv2.resize(rgb, _THUMBNAIL_WH, interpolation=cv2.INTER_AREA).astype(np.float32) / 255
    lab = cv2.cvtColor(small, cv2.COLOR_RGB2LAB)
    lab[..., 0] -= lab[..., 0].mean()
    return _unit(lab.ravel())


def _unit(values: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.asarray(values / max(float(np.linalg.norm(values)), 1e-6), np.float32)
