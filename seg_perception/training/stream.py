"""The endless, reproducible series of training images: image i is the same whoever makes it and whenever."""

from __future__ import annotations

import functools
from collections.abc import Sequence

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset as TorchDataset

from seg_perception.errors import SegPerceptionError
from seg_perception.labels import VOID, LabelSet
from seg_perception.training.augment import CutOut, Scene, change_light, paste, warp
from seg_perception.training.config import TrainConfig
from seg_perception.training.datasets import Dataset, open_dataset
from seg_perception.training.targets import PartialLabels, boundaries, center_targets

GRID_STRIDE = 4
"""Input pixels per cell of the panoptic heads."""

SMALLEST_CUT_OUT_PX = 32
"""Height from which an object of a data set with instances is worth pasting."""


class TrainingStream(TorchDataset[dict[str, Tensor]]):
    """Item i holds image uint8 [h, w, 3], codes uint8 [h, w], edge uint8 [h, w] and the centre targets on the grid.

    Images are read once and kept: the sets of a robot team fit into memory, and decoding would cost half the step.
    """

    def __init__(self, config: TrainConfig, labels: LabelSet, length: int, stride: int = GRID_STRIDE) -> None:
        cv2.setNumThreads(1)  # a forked worker would wait for ever for its parent's threads
        self._config = config
        self._length = length
        self._classes = len(labels)
        self._stride = stride
        self.datasets: list[Dataset] = [open_dataset(s.name, config.root_of(s), s.split) for s in config.data]
        self.partial = PartialLabels(labels)
        self._codes = [self.partial.codes_of(dataset.meaning) for dataset in self.datasets]
        shares = np.array([source.share for source in config.data], np.float64)
        if (shares < 0).any() or shares.sum() <= 0:
            raise SegPerceptionError(
                f"the shares of the data are {shares.tolist()}: none may be negative, one must be positive"
            )
        self._bounds = np.cumsum(shares / shares.sum())
        self._read = functools.lru_cache(maxsize=None)(self._read_uncached)
        self._cut_outs: list[CutOut] | None = None

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, i: int) -> dict[str, Tensor]:
        config = self._config
        rng = np.random.default_rng([config.seed, i])
        which = int(np.searchsorted(self._bounds, rng.random(), side="right").clip(max=len(self.datasets) - 1))
        index = int(rng.integers(len(self.datasets[which])))
        keep = self.datasets[which].name != "synthetic"  # of those there is no end
        scene = (self._read if keep else self._read_uncached)(which, index)
        scene = warp(scene, rng, config.augment, config.crop_hw, config.size_hw[1])
        cut_outs = self._all_cut_outs()
        if cut_outs and config.augment.paste and rng.random() < 0.5:
            scene = paste(scene, rng, cut_outs, int(rng.integers(1, config.augment.paste + 1)))
        return self._tensors(scene, change_light(scene.rgb, rng, config.augment.light))

    def _tensors(self, scene: Scene, rgb: np.ndarray) -> dict[str, Tensor]:
        unknown = (self.partial.may_be_thing[scene.codes] | (scene.codes == VOID)) & (scene.instance == 0)
        centers = center_targets(scene.instance, unknown, self._stride, self._config.loss.center_sigma_px)
        arrays = {
            "image": rgb,
            "codes": scene.codes,
            "edge": boundaries(scene.codes),
            "heatmap": centers.heatmap,
            "heatmap_known": centers.heatmap_known,
            "offset": centers.offset,
            "offset_known": centers.offset_known,
        }
        return {name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in arrays.items()}

    def _read_uncached(self, which: int, index: int) -> Scene:
        sample = self.datasets[which][index]
        instance = np.zeros(sample.label.shape, np.uint16) if sample.instance is None else sample.instance
        return Scene(sample.rgb, self._codes[which][sample.label], instance)

    def _all_cut_outs(self) -> Sequence[CutOut]:
        """Objects of the data sets that know instances, cut out once; rendered ones stay where they are."""
        if self._cut_outs is None:
            self._cut_outs = []
            for which, dataset in enumerate(self.datasets):
                if dataset.name != "synthetic" and dataset[0].instance is not None:
                    for index in range(len(dataset)):
                        self._cut_outs += cut_outs_of(self._read(which, index), self.partial)
        return self._cut_outs

    def class_weights(self) -> np.ndarray:
        """float32 [256]: loss weight of each code from the class shares of the real data; void weighs 0.

        weight = (median share / share) ** class_balance, at most largest_class_weight; a set of classes weighs as its
        lightest member. Pixels that are labelled coarsely only do not count.
        """
        settings, classes = self._config.loss, self._classes
        counts = np.zeros(256, np.int64)
        for which, dataset in enumerate(self.datasets):
            if dataset.name != "synthetic":
                for index in range(len(dataset)):
                    counts += np.bincount(self._read(which, index).codes.ravel(), minlength=256)
        shares = counts[:classes] / max(1, counts[:classes].sum())
        seen = shares > 0
        weights = np.ones(classes)
        if seen.any():
            rarity = np.median(shares[seen]) / shares[seen]
            weights[seen] = np.minimum(rarity**settings.class_balance, settings.largest_class_weight)
        table = np.zeros(256, np.float32)
        for code, members in enumerate(self.partial.sets):
            table[code] = weights[list(members)].min()
        return table


def cut_outs_of(scene: Scene, partial: PartialLabels) -> list[CutOut]:
    """The things of a scene that are large enough and not cut off at its border."""
    found = []
    height, width = scene.codes.shape
    for number in np.unique(scene.instance[scene.instance > 0]):
        mask = scene.instance == number
        x, y, w, h = cv2.boundingRect(mask.astype(np.uint8))
        code = int(scene.codes[mask][0])
        whole = x > 1 and y > 1 and x + w < width - 1 and y + h < height - 1
        if whole and h >= SMALLEST_CUT_OUT_PX and w >= SMALLEST_CUT_OUT_PX // 3 and partial.may_be_thing[code]:
            box = np.s_[y : y + h, x : x + w]
            found.append(CutOut(scene.rgb[box].copy(), mask[box].copy(), code))
    return found
