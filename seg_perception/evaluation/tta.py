"""Test-time augmentation: one frame seen several times, mirrored and enlarged, and the answers averaged.

An enlarged image is seen through overlapping windows of the model's default size, whatever the image's shape. What comes
out is a backend and a model like any other, only with a larger input; the pipeline runs them unchanged.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from seg_perception.backends.base import Backend
from seg_perception.errors import SegPerceptionError
from seg_perception.model_file import ModelInfo
from seg_perception.panoptic.decoder import PanopticSettings
from seg_perception.pipeline import Pipeline
from seg_perception.results import NetworkOutput
from seg_perception.tracking.settings import TrackingSettings

LARGEST_SCALE = 4.0
OVERLAP = 0.25
"""Share of a window that its neighbour sees too, at least."""


@dataclass(frozen=True)
class Views:
    """How a frame is seen. scales: sizes of the image in units of the model's input, 1 to 4, each through as many
    windows as it takes; flip: mirrored left to right as well.

    Raises SegPerceptionError for scales that cannot be.
    """

    scales: tuple[float, ...] = (1.0,)
    flip: bool = False

    def __post_init__(self) -> None:
        if not self.scales or not all(1 <= scale <= LARGEST_SCALE for scale in self.scales):
            raise SegPerceptionError(
                f"the scales are {list(self.scales)}: give numbers of 1 to {LARGEST_SCALE:g}, since the model's input is "
                "the smallest image that it can see"
            )

    def pipeline(
        self,
        model: ModelInfo,
        backend: Backend,
        tracking: TrackingSettings | None = None,
        panoptic: PanopticSettings | None = None,
    ) -> Pipeline:
        """A pipeline that sees every frame in all views; each costs at least one run of backend. tracking, panoptic: see
        Pipeline."""
        if self == Views():
            return Pipeline(model, backend, panoptic=panoptic, tracking=tracking)
        augmented = AugmentedBackend(model, backend, self)
        panoptic = panoptic or PanopticSettings()
        # the window is told in px of the network's input, which is that much larger now
        window_px = panoptic.center_window_px * max(self.scales)
        settings = dataclasses.replace(panoptic, center_window_px=window_px)
        return Pipeline(augmented.model, augmented, panoptic=settings, tracking=tracking)

    def __str__(self) -> str:
        scales = ", ".join(f"{scale:g}" for scale in self.scales)
        return f"scales {scales}" + (", each also mirrored" if self.flip else "")


def parse_scales(text: str) -> tuple[float, ...]:
    """Numbers separated by commas; raises SegPerceptionError where one is none."""
    try:
        return tuple(float(word) for word in text.split(","))
    except ValueError as error:
        raise SegPerceptionError(f"--scales is '{text}': give numbers such as 1.0,1.5") from error


def mirrored_classes(model: ModelInfo) -> list[int]:
    """The id of what each class is in a mirror. Raises SegPerceptionError where training never saw images in one."""
    if not model.mirror.get("seen", True):
        raise SegPerceptionError(
            f"--tta flip is of no use for the model '{model.name}', which was trained with augment.mirror: false, as for "
            "classes that know left from right: leave it out, or train with augment.swapped_by_mirror"
        )
    ids = list(range(len(model.labels)))
    for pair in model.mirror.get("swapped", ()):
        one, other = (model.labels.by_name(name).id for name in pair)
        ids[one], ids[other] = other, one
    return ids


class AugmentedBackend:
    """Runs a backend on every view of an image of the largest scale and averages what it finds on that scale's grid.

    model: what the pipeline takes for the model, of that larger input. Class probabilities (whose logarithms are the
    merged logits), heatmaps and offsets are averaged. Within a scale the windows are blended, the nearer to a window's
    middle the more it counts, since at its rim the network sees less of what surrounds a pixel. Where the model says which
    classes change places in a mirror, they do so back. Raises SegPerceptionError as mirrored_classes.
    """

    def __init__(self, model: ModelInfo, backend: Backend, views: Views) -> None:
        self._backend = backend
        self._views = views
        classes = mirrored_classes(model) if views.flip else []
        self._planes_in_mirror = [*classes, *range(len(classes), len(classes) + 3)]
        self._stride = model.stride
        self._window = model.grid_hw
        self._grids = [_scaled(model.grid_hw, scale) for scale in views.scales]
        self._grid = max(self._grids)
        size_hw = (self._grid[0] * self._stride, self._grid[1] * self._stride)
        self.model = dataclasses.replace(model, size_hw=size_hw, grid_hw=self._grid, limits=None)

    def infer(self, images: NDArray[np.uint8]) -> NetworkOutput:
        """See Backend; images are of the larger size, and every view of each is a run of its own."""
        merged = np.stack([self._merged(image) for image in images])
        logits = np.log(np.maximum(merged[:, :-3], np.finfo(np.float32).tiny))
        return NetworkOutput(logits, merged[:, -3:-2], merged[:, -2:])

    def warm_up(self) -> None:
        """See Backend."""
        self._backend.warm_up()

    def describe(self) -> Mapping[str, str]:
        """See Backend; `views` tells the augmentation."""
        return {**self._backend.describe(), "views": str(self._views)}

    def close(self) -> None:
        """See Backend."""
        self._backend.close()

    def _merged(self, image: NDArray[np.uint8]) -> NDArray[np.float32]:
        """float32 [C + 3, h, w]: class probabilities, heatmap and offset (in px of image) of uint8 [H, W, 3]."""
        found = []
        for grid in self._grids:
            view = self._resized(image, grid)
            found.append(self._to_grid(self._blended(view, grid)))
            if self._views.flip:
                maps = self._blended(view[:, ::-1], grid)[self._planes_in_mirror, :, ::-1]
                maps[-1] *= -1
                found.append(self._to_grid(maps))
        return np.mean(found, axis=0, dtype=np.float32)

    def _resized(self, image: NDArray[np.uint8], grid: tuple[int, int]) -> NDArray[np.uint8]:
        if grid == self._grid:
            return image
        size_wh = (grid[1] * self._stride, grid[0] * self._stride)
        return cv2.resize(image, size_wh, interpolation=cv2.INTER_AREA)

    def _blended(self, view: NDArray[np.uint8], grid: tuple[int, int]) -> NDArray[np.float32]:
        """float32 [C + 3, h, w] of a whole view, from its windows; offsets in px of the view."""
        rows, columns = self._window
        closeness = np.outer(_tent(rows), _tent(columns))
        weight = np.zeros(grid, np.float32)
        total: NDArray[np.float32] | None = None
        for top in _starts(grid[0], rows):
            for left in _starts(grid[1], columns):
                maps = self._see(view, top, left)
                if total is None:
                    total = np.zeros((len(maps), *grid), np.float32)
                down, across = slice(top, top + rows), slice(left, left + columns)
                total[:, down, across] += closeness * maps
                weight[down, across] += closeness
        assert total is not None
        return total / weight

    def _see(self, view: NDArray[np.uint8], top: int, left: int) -> NDArray[np.float32]:
        """float32 [C + 3, rows, columns] of the window whose first cell is (top, left)."""
        y, x = top * self._stride, left * self._stride
        height, width = self._window[0] * self._stride, self._window[1] * self._stride
        output = self._backend.infer(np.ascontiguousarray(view[None, y : y + height, x : x + width]))
        logits = output.semantic_logits[0]
        odds = np.exp(logits - logits.max(0))
        return np.concatenate([odds / odds.sum(0), output.center_heatmap[0], output.center_offset[0]])

    def _to_grid(self, maps: NDArray[np.float32]) -> NDArray[np.float32]:
        """Bilinearly to the largest grid, offsets into its px."""
        if maps.shape[1:] == self._grid:
            return maps
        larger = np.stack([cv2.resize(plane, self._grid[::-1], interpolation=cv2.INTER_LINEAR) for plane in maps])
        larger[-2] *= self._grid[0] / maps.shape[1]
        larger[-1] *= self._grid[1] / maps.shape[2]
        return larger


def _scaled(grid_hw: tuple[int, int], scale: float) -> tuple[int, int]:
    return round(grid_hw[0] * scale), round(grid_hw[1] * scale)


def _starts(length: int, window: int) -> list[int]:
    """First cells of evenly spaced windows that cover length and overlap."""
    steps = math.ceil((length - window) / (window * (1 - OVERLAP)))
    return [(length - window) * i // steps for i in range(steps + 1)] if steps else [0]


def _tent(length: int) -> NDArray[np.float32]:
    """float32 [length]: distance to the nearer end, in cells."""
    cells = np.arange(length, dtype=np.float32)
    return np.minimum(cells + 1, length - cells)
