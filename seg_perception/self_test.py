"""A known image through the whole path of a frame, and whether its masks are those that the model file holds: so a wrong
engine, a broken GPU or another preprocessing is found before anybody relies on it. `export` writes the answer."""

from __future__ import annotations

import base64
import binascii
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from types import SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seg_perception.backends.base import Backend
from seg_perception.camera.messages import ImageReader
from seg_perception.errors import SegPerceptionError
from seg_perception.model_file import ModelInfo
from seg_perception.panoptic.decoder import PanopticSettings
from seg_perception.pipeline import Pipeline
from seg_perception.results import Frame, Panoptic, Wants, at_middles

PATTERN = 1
"""Number of the known image: another image, or another way to compare, has another number."""
SURE = 0.6
"""Confidence from which on a pixel's class is compared: what is in doubt may turn with the precision."""
UNSURE = 255
MOST_CELLS = 64
"""Along each side of the masks that are kept."""
ALLOWED = {"fp32": 0.002, "fp16": 0.003, "int8": 0.01}
"""Share of the compared cells that may differ, by what is computed in."""
MASKS = Wants(instances=True, confidence=True, areas=False, grid=False, free_space=False)


@lru_cache(maxsize=1)  # drawing takes 40 times its memory, which a node that tests itself often would not get back
def known_image(size_hw: tuple[int, int]) -> NDArray[np.uint8]:
    """A street drawn in whole numbers, uint8 [H, W, 3] BGR, the same on every machine: sky, houses, trees, a road with
    its marks, cars and people, all with grain. Not to be written to."""
    height, width = size_hw
    y, x = np.mgrid[:height, :width].astype(np.int64)
    y, x = y * 240 // height, x * 320 // width
    image = np.empty((height, width, 3), np.int64)
    image[:] = (170, 140, 110)
    image += (y[..., None] // 3) * np.array([0, 1, 1])

    def paint(where: NDArray[np.bool_], *bgr: int) -> None:
        image[where] = bgr

    paint((x < 90) & (y > 20) & (y < 130), 90, 105, 130)
    paint((x < 90) & (y > 30) & (y < 120) & (x % 22 > 8) & (y % 26 > 10), 60, 50, 45)
    paint((x > 215) & ((x - 275) ** 2 + (y - 75) ** 2 < 70**2), 40, 85, 55)
    paint((x > 268) & (x < 276) & (y > 80) & (y < 150), 40, 55, 70)
    paint(y > 122, 140, 145, 150)
    middle, reach = 160, (y - 112) * 5 // 4
    paint((y > 122) & (abs(x - middle) < reach), 85, 82, 80)
    paint((y > 122) & (abs(abs(x - middle) * 16 - reach * 15) < reach), 190, 195, 200)
    paint((y > 130) & (abs(x - middle) * 40 < reach) & ((y * y // 400) % 4 < 2), 205, 210, 215)
    for left, top, wide, high, bgr in ((96, 108, 46, 38, (45, 40, 150)), (182, 112, 36, 28, (150, 90, 40))):
        across, down = (x - left) * 100 // wide, (y - top) * 100 // high
        inside = (across >= 0) & (across < 100) & (down < 88)
        paint(inside & (down >= 35), *bgr)
        paint(inside & (down >= 0) & (down < 38) & (across > 12) & (across < 88), *bgr)
        paint(inside & (down > 6) & (down < 34) & (across > 18) & (across < 82), 70, 60, 50)
        paint(inside & (down > 55) & (down < 66) & ((across < 16) | (across > 84)), 40, 40, 220)
        paint((down >= 80) & (down < 100) & (abs(abs(across - 50) - 36) < 12), 25, 25, 25)
    for left, bgr in ((58, (120, 60, 40)), (250, (50, 50, 60))):
        paint((abs(x - left) < 5) & (y > 122) & (y < 150), *bgr)
        paint((abs(x - left) < 4) & (y >= 150) & (y < 172), 60, 45, 40)
        paint(((x - left) ** 2 + (y - 117) ** 2) < 18, 110, 130, 170)
    grain = (x * 7919 + y * 104729 + x * y * 31) % 13 - 6
    drawn = np.clip(image + grain[..., None], 0, 255).astype(np.uint8)
    drawn.flags.writeable = False
    return drawn


@dataclass(frozen=True)
class Masks:
    """What is compared, at some cells: semantic uint8 [h, w], UNSURE where the class is in doubt; instance uint8 [h, w], 0 =
    none, UNSURE where what belongs together is in doubt."""

    semantic: NDArray[np.uint8]
    instance: NDArray[np.uint8]

    def to_json(self) -> dict[str, Any]:
        """What the metadata holds as `self_test`."""
        packed = zlib.compress(self.semantic.tobytes() + self.instance.tobytes(), 9)
        rows, columns = self.semantic.shape
        return {"pattern": PATTERN, "rows": rows, "columns": columns, "masks": base64.b85encode(packed).decode()}

    @staticmethod
    def from_json(content: Mapping[str, Any]) -> Masks:
        """Of such `self_test`. Raises SegPerceptionError where it makes no sense."""
        try:
            rows, columns = int(content["rows"]), int(content["columns"])
            if not 0 < rows <= MOST_CELLS or not 0 < columns <= MOST_CELLS:
                raise ValueError(f"{rows} rows and {columns} columns")
            unpacked = zlib.decompressobj().decompress(base64.b85decode(content["masks"]), 2 * rows * columns)
            semantic, instance = np.frombuffer(unpacked, np.uint8).reshape(2, rows, columns)
        except (KeyError, TypeError, ValueError, OverflowError, binascii.Error, zlib.error) as error:
            raise SegPerceptionError(
                f"the model file's self_test cannot be read ({error!r}): export it again"
            ) from error
        return Masks(semantic, instance)


@dataclass(frozen=True)
class Outcome:
    """How a self-test ended. passed: None where there is nothing to compare with; differs: share of the compared cells."""

    passed: bool | None
    sentence: str
    differs: float = 0.0


class SelfTest:
    """The test of one backend. It is a user of the backend like any other pipeline: one thread at a time."""

    def __init__(self, model: ModelInfo, backend: Backend) -> None:
        """model: the file's, whose answer counts."""
        self._answer, self._model, self._backend = model.self_test, model, backend
        self._pipeline: Pipeline | None = None

    def run(self) -> Outcome:
        """Run the known image and compare. What the backend raises is an outcome, too."""
        if not self._answer:
            return Outcome(
                None,
                f"no self-test: {self._model.path} holds no answer to it, 'seg_perception export --model' writes one",
            )
        if self._answer.get("pattern") != PATTERN:
            return Outcome(
                None, f"no self-test: {self._model.path} is of another version, whose known image is not known here"
            )
        size_hw = self._backend.model.size_for(_image_hw(self._model.size_hw))
        if size_hw != self._model.size_hw:
            sizes = "the answer in the file is for {1}x{0}, the network runs at {3}x{2}"
            return Outcome(None, f"no self-test: {sizes.format(*self._model.size_hw, *size_hw)}")
        try:
            return self._judge(Masks.from_json(self._answer))
        except SegPerceptionError as error:
            return Outcome(False, f"the self-test failed: {error}", 1.0)

    def _judge(self, wanted: Masks) -> Outcome:
        if self._pipeline is None:
            self._pipeline = pipeline_of(self._backend)
        panoptic = seen(self._pipeline, self._model.size_hw)
        precision = self._backend.describe()["precision"]
        differs, classes, instances = compared(wanted, panoptic)
        share, allowed = max(classes, instances), ALLOWED.get(precision, max(ALLOWED.values()))
        told = (
            f"of the known image's cells {classes:.2%} have another class and {instances:.2%} belong to another object "
            f"(allowed: {allowed:.1%})"
        )
        if share <= allowed:
            return Outcome(True, f"passed: {told}", share)
        names = dict(enumerate(self._model.labels.names))  # an answer of another model may hold others
        where = ", ".join(f"{names.get(k, k)} {part:.0%}" for k, part in differs)
        return Outcome(
            False,
            f"the self-test failed: {told}{', most of them ' if where else ''}{where}: the engine, the GPU or the "
            "preprocessing is not what the model file was made for; clear the engine cache, check the driver",
            share,
        )


def pipeline_of(backend: Backend) -> Pipeline:
    """A pipeline of the settings that the answer was made with: the network's word alone, whatever is made of it later."""
    return Pipeline(backend.model, backend, panoptic=PanopticSettings(), whole_things=False)


def _image_hw(size_hw: tuple[int, int]) -> tuple[int, int]:
    """The known image is larger than the network's input, so that it is resized as a camera's is."""
    return 2 * size_hw[0], 2 * size_hw[1]


def seen(pipeline: Pipeline, size_hw: tuple[int, int]) -> Panoptic:
    """The known image's masks, from the camera's message on. size_hw: of the network's input."""
    image = known_image(_image_hw(size_hw))
    height, width = image.shape[:2]
    message = SimpleNamespace(
        encoding="bgr8", height=height, width=width, step=3 * width, is_bigendian=0, data=image.reshape(-1)
    )
    return pipeline.run(Frame(ImageReader().read(message)), MASKS).panoptic


def answer(backend: Backend) -> dict[str, Any]:
    """The `self_test` of the model file that backend runs, at its own size; empty where the network is sure of too little
    for it to tell anything."""
    pipeline, size_hw = pipeline_of(backend), backend.model.size_hw
    rows, columns = backend.model.grid_hw
    cells = min(MOST_CELLS, rows), min(MOST_CELLS, columns)
    panoptic = seen(pipeline, size_hw)
    semantic = at_middles(np.where(panoptic.confidence >= SURE * 255, panoptic.semantic, np.uint8(UNSURE)), cells)
    instance = at_middles(panoptic.instance, cells).clip(0, UNSURE).astype(np.uint8)
    for share in (0.5, 2.0):
        # An object whose centre is near the threshold may come and go with the precision.
        threshold = PanopticSettings().center_threshold * share
        pipeline.configure(panoptic=PanopticSettings(center_threshold=threshold))
        others = at_middles(seen(pipeline, size_hw).instance, cells)
        instance[_moved(instance, others)] = UNSURE
    instance[semantic == UNSURE] = UNSURE
    found = np.unique(semantic[semantic != UNSURE])
    if len(found) < 2 or np.count_nonzero(semantic != UNSURE) < semantic.size / 4:
        return {}
    return Masks(semantic, instance).to_json()


def compared(wanted: Masks, panoptic: Panoptic) -> tuple[list[tuple[int, float]], float, float]:
    """The classes with most that differs and their shares of it; the share of cells that have another class; and the share
    that belong to another object."""
    rows, columns = wanted.semantic.shape
    cells = rows, columns
    semantic, instance = at_middles(panoptic.semantic, cells), at_middles(panoptic.instance, cells)
    counted = wanted.semantic != UNSURE
    wrong = counted & (semantic != wanted.semantic)
    parts = {int(k): _share(wrong & (wanted.semantic == k), wrong) for k in np.unique(wanted.semantic[wrong])}
    most = sorted(parts.items(), key=lambda entry: -entry[1])[:3]
    joined = wanted.instance != UNSURE
    moved = joined & _moved(wanted.instance, instance)
    return most, _share(wrong, counted), _share(moved, joined)


def _share(part: NDArray[np.bool_], whole: NDArray[np.bool_]) -> float:
    return int(part.sum()) / max(1, int(whole.sum()))


def _moved(wanted: NDArray[np.uint8], found: NDArray[np.uint16]) -> NDArray[np.bool_]:
    """Which cells belong to another object. Ids go by score, which may change places: each object is the one that most of
    its cells are, the largest object first, and none is two."""
    moved = (wanted == 0) & (found != 0)
    objects, sizes = np.unique(wanted[(wanted != 0) & (wanted != UNSURE)], return_counts=True)
    taken = {0}
    for one in objects[np.argsort(-sizes, kind="stable")]:
        inside = wanted == one
        ids, counts = np.unique(found[inside], return_counts=True)
        same = int(ids[counts.argmax()])
        moved |= inside & ((found != same) | (same in taken))
        taken.add(same)
    return moved
