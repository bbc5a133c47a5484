"""Weak labels as marks: which pixels belong to one point or one box, and of which class. NumPy and OpenCV only."""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from seg_perception.datasets.nearest import from_nearest
from seg_perception.labels import VOID
from seg_perception.training.data.augment import Scene

MOST_MARKS = 2**15 - 1


@dataclass(frozen=True)
class Weakness:
    """How the labels of a source are meant. kind: `points`, `scribbles` or `boxes`; mark_px: by which marks grow;
    may_be_thing: bool [256], by code; elsewhere: code of the classes that no box of the source is of."""

    kind: str
    mark_px: int
    may_be_thing: NDArray[np.bool_]
    elsewhere: int


def why_no_boxes(where: object) -> str:
    """Of a label with things, but without an instance mask, whose source has `weak: boxes`: cause and remedy."""
    return (
        f"the label of {where} has things and no numbers of objects, so that none of them is a box: add instance masks, or leave "
        "`weak: boxes` out"
    )


def weakened(scene: Scene, weakness: Weakness) -> Scene:
    """The scene with its labels taken for what they are: scribbles stay labels, points and boxes become marks.

    A point is each connected piece of one code; a box each object, whose pixels outside may be `elsewhere` alone.
    Neither leaves an instance.
    """
    nothing = np.zeros_like(scene.instance)
    if weakness.kind == "boxes":
        return _boxes(scene, weakness)
    codes = grown(scene.codes, weakness.mark_px)
    if weakness.kind == "scribbles":
        return replace(scene, codes=codes, instance=nothing)
    numbers, mark_codes = _pieces(codes)
    return Scene(scene.rgb, np.full_like(codes, VOID), nothing, numbers, mark_codes)


def grown(codes: NDArray[np.uint8], by_px: int) -> NDArray[np.uint8]:
    """uint8 [H, W]: void pixels at most by_px from a labelled one get the code of a nearest."""
    if not by_px or not (codes != VOID).any():
        return codes
    nearest, distance = from_nearest(codes, codes != VOID)
    return np.where(distance <= by_px, nearest, np.uint8(VOID))


def _pieces(codes: NDArray[np.uint8]) -> tuple[NDArray[np.int16], NDArray[np.uint8]]:
    """Numbers from 1 on of the connected pieces of each code, int16 [H, W], and the code of each number."""
    numbers, mark_codes = np.zeros(codes.shape, np.int16), [VOID]
    for code in np.unique(codes[codes != VOID]):
        count, pieces = cv2.connectedComponents((codes == code).astype(np.uint8), connectivity=8)
        if len(mark_codes) + count - 1 > MOST_MARKS:
            break
        numbers[pieces > 0] = (pieces[pieces > 0] + len(mark_codes) - 1).astype(np.int16)
        mark_codes += [int(code)] * (count - 1)
    return numbers, np.array(mark_codes, np.uint8)


def _boxes(scene: Scene, weakness: Weakness) -> Scene:
    """Objects become marks with numbers from -1 down; things without a number, such as crowds, say nothing."""
    values, first, inverse = np.unique(scene.instance, return_index=True, return_inverse=True)
    inverse = inverse.reshape(scene.instance.shape)  # flat with some versions of NumPy
    is_object = scene.instance > 0
    skipped = int(values[0] != 0)  # so that number 0 is none also where objects fill the image
    numbers = np.where(is_object, -(inverse + skipped), 0).astype(np.int16)
    mark_codes = np.concatenate([np.full(skipped, VOID, np.uint8), scene.codes.ravel()[first]])
    mark_codes[0] = VOID
    codes = np.where(scene.codes == VOID, np.uint8(weakness.elsewhere), scene.codes)
    codes[is_object | weakness.may_be_thing[scene.codes]] = VOID
    return Scene(scene.rgb, codes, np.zeros_like(scene.instance), numbers, mark_codes)
