"""Boxes and points become masks, by an encoder and a decoder of the Segment Anything kind that the user has as ONNX files.

The decoder's interface is that of the exporter of facebookresearch/segment-anything (Kirillov et al., Segment Anything,
ICCV 2023), which exporters of its successors keep.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from seg_perception.backends.onnx_runtime import open_session
from seg_perception.datasets.json_stream import read_json
from seg_perception.datasets.shapes import ring_of
from seg_perception.errors import SegPerceptionError, cause_of

DECODER_INPUTS = ("image_embeddings", "point_coords", "point_labels", "mask_input", "has_mask_input", "orig_im_size")
_MEAN, _STD = np.array((123.675, 116.28, 103.53), np.float32), np.array((58.395, 57.12, 57.375), np.float32)
"""Of RGB in 0 to 255, by channel, as SAM was trained."""
_SIDE = 1024
"""Of the encoder's square input where the file does not say it."""
_MASK_SIDE = 256
_BACKGROUND, _FOREGROUND, _TOP_LEFT, _BOTTOM_RIGHT, _NO_BOX = 0, 1, 2, 3, -1
"""Labels of points."""


@dataclass(frozen=True)
class Prompt:
    """What a person marked of one thing. name: of its class; points: float [K, 2], x and y in px; is_inside: bool [K], whether
    each lies in it; box: left, top, right, bottom in px, or None."""

    name: str
    points: NDArray[np.float64]
    is_inside: NDArray[np.bool_]
    box: tuple[float, float, float, float] | None


class SegmentAnything:
    """Raises SegPerceptionError where a file cannot be loaded or has another interface."""

    def __init__(self, encoder: Path, decoder: Path, threads: int | None = None) -> None:
        self._encoder = open_session(encoder, threads=threads)
        self._decoder = open_session(decoder, threads=threads)
        self._input = self._image_input(encoder)
        known = {value.name: value for value in self._decoder.get_inputs()}
        missing = [name for name in DECODER_INPUTS if name not in known]
        if missing or "masks" not in {value.name for value in self._decoder.get_outputs()}:
            raise SegPerceptionError(
                f"{decoder} is no decoder of Segment Anything: it lacks {', '.join(missing) or 'the output masks'}; export it "
                "by the exporter of segment-anything"
            )
        sides = known["mask_input"].shape[-2:]
        self._mask_hw = tuple(side if isinstance(side, int) else _MASK_SIDE for side in sides)
        self._wants = set(known)

    def _image_input(self, path: Path) -> tuple[str, int, bool]:
        """The encoder's input, its side, and whether it takes [h, w, 3] pixels and normalises them itself."""
        inputs = self._encoder.get_inputs()
        shape = inputs[0].shape if len(inputs) == 1 else []
        if len(shape) == 3 and shape[2] == 3:
            sides, raw = shape[:2], True
        elif len(shape) == 4 and shape[1] == 3:
            sides, raw = shape[2:], False
        else:
            found = ", ".join(f"{value.name} {value.shape}" for value in inputs)
            raise SegPerceptionError(
                f"{path} is no encoder of Segment Anything: its inputs are {found}, expected one of [1, 3, side, side] or "
                "[height, width, 3]"
            )
        side = max((side for side in sides if isinstance(side, int)), default=_SIDE)
        return inputs[0].name, side, raw

    def masks(self, rgb: NDArray[np.uint8], prompts: Sequence[Prompt]) -> list[NDArray[np.bool_]]:
        """bool [H, W] of each prompt on one image, rgb uint8 [H, W, 3]."""
        if not prompts:
            return []
        scale = self._input[1] / max(rgb.shape[:2])
        embeddings = self._run(self._encoder, {self._input[0]: self._prepared(rgb, scale)})[0]
        return [self._mask(embeddings, prompt, rgb.shape[:2], scale) for prompt in prompts]

    def _prepared(self, rgb: NDArray[np.uint8], scale: float) -> NDArray[np.float32]:
        """The image with its longer side as the encoder wants it, normalised, then padded to the right and below with 0."""
        side, raw = self._input[1:]
        height, width = (max(1, int(length * scale + 0.5)) for length in rgb.shape[:2])
        sized = cv2.resize(rgb, (width, height), interpolation=cv2.INTER_LINEAR).astype(np.float32)
        if raw:
            padded = np.zeros((side, side, 3), np.float32)
            padded[:height, :width] = sized
            return padded
        planes = np.zeros((1, 3, side, side), np.float32)
        planes[0, :, :height, :width] = np.moveaxis((sized - _MEAN) / _STD, -1, 0)
        return planes

    def _mask(self, embeddings: Any, prompt: Prompt, size_hw: tuple[int, ...], scale: float) -> NDArray[np.bool_]:
        points, labels = prompt.points, np.where(prompt.is_inside, _FOREGROUND, _BACKGROUND)
        if prompt.box is None:
            corners, kinds = np.zeros((1, 2)), [_NO_BOX]
        else:
            corners, kinds = np.array(prompt.box).reshape(2, 2), [_TOP_LEFT, _BOTTOM_RIGHT]
        feeds = {
            "image_embeddings": embeddings,
            "point_coords": (np.concatenate([points, corners]) * scale)[None].astype(np.float32),
            "point_labels": np.concatenate([labels, kinds])[None].astype(np.float32),
            "mask_input": np.zeros((1, 1, *self._mask_hw), np.float32),
            "has_mask_input": np.zeros(1, np.float32),
            "orig_im_size": np.array(size_hw, np.float32),
        }
        names = [value.name for value in self._decoder.get_outputs()]
        outputs = dict(zip(names, self._run(self._decoder, feeds), strict=True))
        masks = outputs["masks"][0]
        best = int(outputs["iou_predictions"][0].argmax()) if "iou_predictions" in outputs else 0
        if masks[best].shape != tuple(size_hw):
            raise SegPerceptionError(
                f"the decoder gives masks of {masks[best].shape}, the image is {tuple(size_hw)}: export it as "
                "segment-anything does, with the enlarging to orig_im_size inside"
            )
        return np.asarray(masks[best] > 0)

    @staticmethod
    def _run(session: Any, feeds: dict[str, NDArray[np.float32]]) -> list[NDArray[np.float32]]:
        try:
            return list(session.run(None, feeds))
        except Exception as error:  # ONNX Runtime raises classes of its extension module, which have no common base
            cause = cause_of(error)
            raise SegPerceptionError(f"the encoder or decoder does not run ({cause}): export both again") from error


def read_prompts(path: Path) -> list[Prompt]:
    """The boxes and points of a labelme file, those of one group together. A point whose label begins with - lies outside of
    its group's thing. Raises SegPerceptionError for other shapes and for a group without a class."""
    content = read_json(path)
    groups: dict[Any, list[Any]] = {}
    try:
        for number, row in enumerate(content["shapes"]):
            group = row.get("group_id")
            groups.setdefault(("alone", number) if group is None else ("group", group), []).append(row)
        return [_prompt(rows, path) for rows in groups.values()]
    except (KeyError, TypeError, AttributeError) as error:
        raise SegPerceptionError(f"{path} is no label of labelme ({error!r}): export it again") from error


def _prompt(rows: Sequence[Any], path: Path) -> Prompt:
    names = {str(row["label"]) for row in rows if not str(row["label"]).startswith("-")}
    if len(names) != 1:
        told = " and ".join(sorted(names)) or "no class"
        raise SegPerceptionError(
            f"{path}: one thing is marked as {told}: give the boxes and points of a group one class, and those outside a "
            "label that begins with -"
        )
    points, inside = np.zeros((0, 2)), []
    box: tuple[float, float, float, float] | None = None
    for row in rows:
        corners = ring_of(row["points"], f"a shape of {path}")
        if row["shape_type"] == "point" and len(corners) == 1:
            points = np.concatenate([points, corners])
            inside.append(not str(row["label"]).startswith("-"))
        elif row["shape_type"] == "rectangle" and box is None and len(corners) > 1:
            (left, top), (right, bottom) = corners.min(axis=0).tolist(), corners.max(axis=0).tolist()
            box = left, top, right, bottom
        else:
            raise SegPerceptionError(
                f"{path} has a {row['shape_type']} of '{row['label']}': each thing is marked by points and one rectangle"
            )
    return Prompt(names.pop(), points, np.array(inside, np.bool_), box)
